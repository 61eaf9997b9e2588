"""Held-out evaluation and the report."""

from .evaluate import evaluate_clip, report_table

__all__ = ["evaluate_clip", "report_table"]
