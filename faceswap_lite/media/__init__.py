"""Clips in, clips out: decode, encode, pictures, audio, colour tags, the synthetic mark."""
