"""A trained run, loaded for use."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from ..config import Config, WeightsName, load_config
from ..errors import FaceswapError
from ..models.architectures import build_model
from ..models.autoencoder import SwapAutoencoder
from ..outputs import file_sha256
from .checkpoints import as_state, checkpoint_facts, checkpoint_folder, load_into, newest_good
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
    manifest, config = read_manifest(run), load_config(run / CONFIG_FILE)
    step, file = _weights_file(run, weights)
    model = build_model(config.model)
    load_into(model, load_file(file), file)
    return TrainedRun(run, model.eval(), config, manifest, step, file_sha256(file)[:16])


def weights_fingerprint(run: Path) -> str:
    """The fingerprint of a run's best weights. Raises: FaceswapError when it has none."""
    return file_sha256(_weights_file(run, "best")[1])[:16]


def _weights_file(run: Path, weights: WeightsName) -> tuple[int, Path]:
    """Where averaged weights lie, and the step that they are of."""
    step, problems = newest_good(run)
    if step is None:
        reason = problems[0] if problems else "it has no checkpoint yet; train it first"
        raise FaceswapError(f"{run}: {reason}")
    best = as_state(checkpoint_facts(run, step)).best
    name, of_step = ("ema", step) if weights == "last" or best is None else ("best", best.step)
    return of_step, checkpoint_folder(run, step) / f"{name}.safetensors"
