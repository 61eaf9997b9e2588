"""Held-out evaluation and the report."""

from .evaluate import Contender, evaluate_clips, report_table

__all__ = ["Contender", "evaluate_clips", "report_table"]
