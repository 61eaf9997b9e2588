"""A network run on crops, a few at a time: codes of pictures, pictures of codes.

Crops are at the model's size: bytes, or floats in [0, 1].
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..config import Side
from .autoencoder import SwapAutoencoder

Crops = UInt8[np.ndarray, "n s s 3"] | Float[np.ndarray, "n s s 3"]

AT_ONCE = 32
"""Crops that go through a network together."""


@torch.no_grad()
def encode(model: SwapAutoencoder, crops: Crops) -> Float[np.ndarray, "n d"]:
    """The codes of crops."""
    parts = (crops[start : start + AT_ONCE] for start in range(0, len(crops), AT_ONCE))
    return np.concatenate(
        [model.encode(as_pixels(model, part)).float().cpu().numpy() for part in parts]
    )


@torch.no_grad()
def decode(
    model: SwapAutoencoder, codes: Float[np.ndarray, "n d"], side: Side
) -> Float[np.ndarray, "n s s 3"]:
    """The pictures in [0, 1] that one side's decoder paints of codes."""
    device = next(model.parameters()).device
    pictures = []
    for start in range(0, len(codes), AT_ONCE):
        part = torch.from_numpy(codes[start : start + AT_ONCE].astype(np.float32)).to(device)
        pictures.append(as_pictures(model.decode(part, side)[0].float()))
    return np.concatenate(pictures)


def rebuild(model: SwapAutoencoder, crops: Crops, side: Side) -> Float[np.ndarray, "n s s 3"]:
    """What one side's decoder makes of crops, in [0, 1]."""
    return decode(model, encode(model, crops), side)


def as_pixels(model: SwapAutoencoder, crops: Crops) -> Float[Tensor, "n 3 s s"]:
    """Crops as the network takes them, on its device."""
    device = next(model.parameters()).device
    pixels = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float()
    return pixels / 255 if crops.dtype == np.uint8 else pixels


def as_pictures(pixels: Float[Tensor, "n c s s"]) -> Float[np.ndarray, "n s s c"]:
    """A network's pictures as arrays."""
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
