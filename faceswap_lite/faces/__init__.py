"""Find, landmark, align, mask, embed, store: from frames to a face set."""
