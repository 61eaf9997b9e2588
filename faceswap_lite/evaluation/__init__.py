"""Held-out evaluation, the study of generalisation, and the report."""

from .check import check_clip
from .evaluate import Contender, evaluate_clips, report_table

__all__ = ["Contender", "check_clip", "evaluate_clips", "report_table"]
