"""Encoder, inter, decoders; architectures by name."""

from .autoencoder import (
    ARCHITECTURES,
    SIDES,
    Side,
    SwapAutoencoder,
    build_model,
    count_parameters,
)

__all__ = ["ARCHITECTURES", "SIDES", "Side", "SwapAutoencoder", "build_model", "count_parameters"]
