"""The codes of faces: what moves with a code, and what a change of it does to the picture."""
