"""Held-out evaluation, the study of generalisation, and the report."""

from .check import check_clip
from .evaluate import evaluate_clips
from .table import report_table
from .workbench import Contender

__all__ = ["Contender", "check_clip", "evaluate_clips", "report_table"]
