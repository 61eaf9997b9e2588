"""Rendered synthetic actors with exact truth: pose, expression, light, mask, swapped twin."""
