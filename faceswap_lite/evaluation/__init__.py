"""Held-out evaluation, the study of generalisation, and the report."""
