"""Encoder, inter, decoders; architectures by name."""
