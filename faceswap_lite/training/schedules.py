"""Learning-rate schedules: pure functions of the step, as factors of the base rate.

`plateau` is the exception: its factor comes on top, from a state that the held-out losses drive.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from ..config import ScheduleConfig
from ..runs.checkpoints import PlateauState

ONE_CYCLE_RISE = 0.3
"""Share of the steps in which a one-cycle rate rises."""

ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1 / 25 / 1e4
"""Factors of the base rate where a one-cycle schedule begins and ends."""

PLATEAU_FLOOR = 0.01
"""The lowest scale, seven halvings down: a run that its minutes end still learns until then."""

PLATEAU_SMOOTHING = 0.5
"""Weight of the past in the smoothed held-out loss. It is of the same faces every time, so that a
little is enough, and more would see a plateau late."""


def warm_up(step: int, steps: int) -> float:
    """Linear rise from 1/steps at step 0 to 1 at step `steps` - 1 and after."""
    return min(1.0, (step + 1) / steps) if steps else 1.0


def constant(step: int, config: ScheduleConfig, steps: int | None) -> float:
    """The base rate once warm."""
    return warm_up(step, config.warmup_steps)


def cosine(step: int, config: ScheduleConfig, steps: int | None) -> float:
    """Warm-up, then half a cosine down to 0 at `steps` (Loshchilov and Hutter 2017, eq. 5).

    Raises: ValueError without a last step.
    """
    if steps is None:
        raise ValueError("schedule cosine needs training.steps")
    if step < config.warmup_steps:
        return warm_up(step, config.warmup_steps)
    share = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def staircase(step: int, config: ScheduleConfig, steps: int | None) -> float:
    """Warm-up, and `config.step_factor` once more every `config.step_every` steps of the run."""
    drops = step // config.step_every
    return warm_up(step, config.warmup_steps) * config.step_factor**drops


def one_cycle(step: int, config: ScheduleConfig, steps: int | None) -> float:
    """Half a cosine up to 1 in the first 0.3 of `steps`, half a cosine down in the rest.

    Source: Smith and Topin 2018, "Super-convergence", with the shape and the ends that PyTorch's
    OneCycleLR has by default. The momentum is not cycled, and `warmup_steps` plays no part.
    Raises: ValueError without a last step.
    """
    if steps is None:
        raise ValueError("schedule one_cycle needs training.steps")
    top, last = ONE_CYCLE_RISE * steps - 1, steps - 1
    if step < top:
        return _half_cosine(ONE_CYCLE_START, 1.0, step / top)
    return _half_cosine(1.0, ONE_CYCLE_END, min(1.0, (step - top) / (last - top)))


def next_plateau(state: PlateauState, heldout: float, config: ScheduleConfig) -> PlateauState:
    """The state after one more held-out loss.

    The scale drops by `plateau_factor`, never below PLATEAU_FLOOR, when more than
    `plateau_patience` smoothed losses in a row were no better than the best by the share
    `plateau_threshold`. The `plateau_cooldown` losses after a drop may set a new best, but do not
    count against it.
    """
    past = PLATEAU_SMOOTHING if state.smoothed is not None else 0.0
    smoothed = past * (state.smoothed or 0.0) + (1 - past) * heldout
    state = replace(state, smoothed=smoothed)
    if state.best is None or smoothed < state.best * (1 - config.plateau_threshold):
        state = replace(state, best=smoothed, bad=0)
    else:
        state = replace(state, bad=state.bad + 1)
    if state.cooldown:
        return replace(state, cooldown=state.cooldown - 1, bad=0)
    if state.bad <= config.plateau_patience:
        return state
    lower = max(state.scale * config.plateau_factor, PLATEAU_FLOOR)
    return replace(state, scale=lower, bad=0, cooldown=config.plateau_cooldown)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


SCHEDULES: dict[str, Callable[[int, ScheduleConfig, int | None], float]] = {
    "constant": constant,
    "cosine": cosine,
    "step": staircase,
    "one_cycle": one_cycle,
    # Times the scale of its state.
    "plateau": constant,
}
