"""Colour matching, masks, blending, steadiness over time, the convert stage."""
