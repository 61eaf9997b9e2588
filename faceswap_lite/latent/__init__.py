"""The codes of faces: what a run knows, what pictures show, and what moves with a code."""
