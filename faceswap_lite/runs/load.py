"""A run's folder, loaded for use: the weights that count, in their network."""

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file

from ..config import WeightsName
from ..config_files import load_config
from ..errors import FaceswapError
from ..models.architectures import build_model
from ..outputs import file_sha256
from .checkpoints import (
    averaged_weights,
    checkpoint_facts,
    find_damage,
    latest_valid_checkpoint,
    load_into,
)
from .finished import finished_weights
from .manifest import CONFIG_FILE, read_manifest
from .trained import TrainedRun


def load_run(
    run: Path,
    weights: WeightsName = "best",
    say: Callable[[str], None] = print,
    finished: bool = True,
) -> TrainedRun:
    """The averaged weights of a run's newest checkpoint that holds them whole.

    Best: those of the lowest held-out loss so far; the last ones as long as there is none. Of a
    finished run, the finished ones; unless `finished` is off, those that the finish began with.
    Raises: FaceswapError when the folder is no run, holds no such checkpoint, or its weights do
    not fit its config.
    """
    manifest, config = read_manifest(run), load_config(run / CONFIG_FILE)
    step, file, problems = _find_weights(run, weights, finished)
    for problem in problems:
        say(f"warning: {problem}; going on with {file.parent.name}/{file.name}")
    model = build_model(config.model)
    load_into(model, load_file(file), file)
    return TrainedRun(run, model.eval(), config, manifest, step, file_sha256(file)[:16])


def weights_fingerprint(run: Path) -> str:
    """The fingerprint of a run's best weights. Raises: FaceswapError when it has none."""
    return file_sha256(_find_weights(run, "best", finished=True)[1])[:16]


def _find_weights(run: Path, weights: WeightsName, finished: bool) -> tuple[int, Path, list[str]]:
    """The step that averaged weights are of, where they lie, and what was met that is damaged.

    The last ones stand in where the best are nowhere whole.
    """
    kinds: dict[WeightsName, None] = {weights: None, "last": None}
    for kind in kinds:
        step, problems = latest_valid_checkpoint(run, kind)
        if step is None:
            continue
        damage = find_damage(run, step) if problems else {}
        of_step, file = averaged_weights(run, step, kind, damage)
        if finished and weights == "best":
            began_with = checkpoint_facts(run, step)["sha256"][file.name][:16]
            better, problem = finished_weights(run, began_with)
            return of_step, better or file, [*problems, *([problem] if problem else [])]
        return of_step, file, problems
    reason = "it has no checkpoint yet; train it first"
    if problems:
        reason = f"there is no valid checkpoint ({problems[0]}); train --overwrite starts over"
    raise FaceswapError(f"{run}: {reason}")
