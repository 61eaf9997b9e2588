"""Encoder, inter, decoders; architectures by name."""

from .architectures import ARCHITECTURES, build_model, count_parameters
from .autoencoder import SIDES, Side, SwapAutoencoder

__all__ = ["ARCHITECTURES", "SIDES", "Side", "SwapAutoencoder", "build_model", "count_parameters"]
