"""A trained run, loaded for use."""

from dataclasses import dataclass
from pathlib import Path

from ..config import Config, WeightsName, load_config
from ..errors import FaceswapError
from ..models.architectures import build_model
from ..models.autoencoder import SwapAutoencoder
from ..outputs import file_sha256
from .checkpoints import (
    as_state,
    checkpoint_facts,
    checkpoint_folder,
    load_into,
    load_weights,
    newest_good,
)
from .manifest import CONFIG_FILE, RunManifest, read_manifest


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


def load_run(run: Path, weights: WeightsName = "best") -> TrainedRun:
    """The newest good checkpoint of a run, with averaged weights.

    Best: those of the lowest held-out loss so far; the last ones as long as there is none.
    Raises: FaceswapError when the folder is no run, holds no good checkpoint, or its weights do
    not fit its config.
    """
    manifest = read_manifest(run)
    config = load_config(run / CONFIG_FILE)
    step, problems = newest_good(run)
    if step is None:
        reason = problems[0] if problems else "it has no checkpoint yet; train it first"
        raise FaceswapError(f"{run}: {reason}")
    best = as_state(checkpoint_facts(run, step)).best
    name, of_step = ("ema", step) if weights == "last" or best is None else ("best", best.step)
    model = build_model(config.model)
    file = checkpoint_folder(run, step) / f"{name}.safetensors"
    load_into(model, load_weights(run, step, name), file)
    return TrainedRun(run, model.eval(), config, manifest, of_step, file_sha256(file)[:16])
