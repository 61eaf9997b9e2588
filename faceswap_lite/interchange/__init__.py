"""Models and faces of other tools, in and out."""
