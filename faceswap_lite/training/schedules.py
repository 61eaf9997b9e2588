"""Learning-rate schedules: pure functions of the step, as factors of the base rate."""

import math
from collections.abc import Callable

from ..config import TrainingConfig


def warm_up(step: int, steps: int) -> float:
    """Linear rise from 1/steps at step 0 to 1 at step `steps` - 1 and after."""
    return min(1.0, (step + 1) / steps) if steps else 1.0


def constant(step: int, config: TrainingConfig) -> float:
    """The base rate once warm."""
    return warm_up(step, config.warmup_steps)


def cosine(step: int, config: TrainingConfig) -> float:
    """Warm-up, then half a cosine down to 0 at `config.steps` (Loshchilov and Hutter 2017, eq. 5).

    Raises: ValueError without a last step.
    """
    if config.steps is None:
        raise ValueError("schedule cosine needs training.steps")
    if step < config.warmup_steps:
        return warm_up(step, config.warmup_steps)
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


SCHEDULES: dict[str, Callable[[int, TrainingConfig], float]] = {
    "constant": constant,
    "cosine": cosine,
}
