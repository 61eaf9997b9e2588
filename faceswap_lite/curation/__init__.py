"""Judge a face set: what does not belong, what is rare, what is missing; reasons, reversible."""
