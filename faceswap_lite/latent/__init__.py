"""The codes of faces: what a run knows, what pictures show, and what moves with a code."""

from .known import KnownFaces, decode, encode, known_faces, rebuild, spread_evenly
from .readings import ATTRIBUTES, Reader, Readings
from .stage import counterfactual, find_direction, interpolate_faces, sweep_direction

__all__ = [
    "ATTRIBUTES",
    "KnownFaces",
    "Reader",
    "Readings",
    "counterfactual",
    "decode",
    "encode",
    "find_direction",
    "interpolate_faces",
    "known_faces",
    "rebuild",
    "spread_evenly",
    "sweep_direction",
]
