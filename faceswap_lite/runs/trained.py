"""A trained run, loaded for use."""

from dataclasses import dataclass
from pathlib import Path

from ..config import Config
from ..models.autoencoder import SwapAutoencoder
from .manifest import RunManifest


@dataclass(frozen=True)
class TrainedRun:
    """A run loaded for use: `model` is in eval mode, on the CPU."""

    path: Path
    model: SwapAutoencoder
    config: Config
    manifest: RunManifest
    step: int
    """Of the loaded weights."""
    fingerprint: str
    """16 hex digits of the loaded weights' sha256."""
