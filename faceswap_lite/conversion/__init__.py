"""Colour matching, masks, blending, steadiness over time, the convert stage."""

from .casting import CastPlan, Placement, cast_clip, plan_cast
from .composite import Composite, composite, composite_frames
from .convert import ConvertSummary, Tracks, config_for, convert_clip
from .paint import PaintedFace, PaintedFrame, paint_frames
from .people import whom
from .preview import preview_sheet
from .scout import Scouting, build_run_packs, scout_clip

__all__ = [
    "CastPlan",
    "Composite",
    "ConvertSummary",
    "PaintedFace",
    "PaintedFrame",
    "Placement",
    "Scouting",
    "Tracks",
    "build_run_packs",
    "cast_clip",
    "composite",
    "composite_frames",
    "config_for",
    "convert_clip",
    "paint_frames",
    "plan_cast",
    "preview_sheet",
    "scout_clip",
    "whom",
]
