"""Colour matching, masks, blending, the convert stage."""

from .convert import ConvertSummary, convert_clip
from .paint import PaintedFace, build_run_pack, composite, paint_frames

__all__ = [
    "ConvertSummary",
    "PaintedFace",
    "build_run_pack",
    "composite",
    "convert_clip",
    "paint_frames",
]
