"""The codes of faces: what a run knows, and what moves when a code is moved."""

from .known import KnownFaces, decode, encode, known_faces, rebuild
from .readings import ATTRIBUTES, Reader, Readings

__all__ = [
    "ATTRIBUTES",
    "KnownFaces",
    "Reader",
    "Readings",
    "decode",
    "encode",
    "known_faces",
    "rebuild",
]
