"""The codes of faces: what a run knows, what pictures show, and what moves with a code."""

from .counterfactual_stage import counterfactual
from .direction_stage import find_direction, sweep_direction
from .interpolate_stage import interpolate_faces
from .known import KnownFaces, decode, encode, known_faces, rebuild, spread_evenly
from .readings import ATTRIBUTES, Reader, Readings

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
