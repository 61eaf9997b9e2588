"""The train stage: two face sets in, a run out."""

from collections.abc import Callable
from pathlib import Path

import torch

from ..config import Config, Side
from ..faces.face_set import FaceSet
from ..outputs import one_writer
from ..runs.hardware import agreed, build_fabric
from .loop import TrainSummary, run_loop
from .resume import as_begun, as_cut, take_up
from .setup import set_up_training


@one_writer(lambda run, **_: [run])
def train(
    source: FaceSet,
    target: FaceSet,
    run: Path,
    config: Config,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> TrainSummary:
    """Train until the config's steps or minutes are spent, the held-out loss has stood still for
    `patience`, or Ctrl-C; resume what `run` holds.

    Under `torchrun`, every process takes its share of each batch and the first one writes.
    Raises: FaceswapError when the sets do not go together, `run` is another job's, or the loss
    stops being a number. KeyboardInterrupt, after saving, when a person stopped it.
    """
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    fabric = build_fabric(config.training.device, config.training.precision)
    first = fabric.is_global_zero
    say = say if first else (lambda line: None)

    # What is this run, and where does it stand?
    sets: dict[Side, FaceSet] = {"source": source, "target": target}
    sets = as_cut(run, sets, say, overwrite)
    if not overwrite:
        config = agreed(fabric, as_begun(run, config) if first else config)
    taken = take_up(run, sets, config, overwrite=overwrite, say=say) if first else None
    taken = agreed(fabric, taken)
    assert taken is not None, "the first process has told the others"
    if taken.action == "done":
        return TrainSummary(taken.state.step, taken.state.seconds, "already done")
    ready = set_up_training(fabric, sets, run, config, taken, say)
    return run_loop(run, ready, say)
