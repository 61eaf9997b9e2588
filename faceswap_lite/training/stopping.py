"""When training stops: by its options, or because a person says so."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..config import TrainingConfig
from ..runs.checkpoints import RunState


def why_stop(state: RunState, options: TrainingConfig) -> str:
    """Why a run that stands there goes no further; empty: it goes on."""
    if options.steps is not None and state.step >= options.steps:
        return f"all of its {options.steps} steps"
    if options.minutes is not None and state.seconds >= 60 * options.minutes:
        return f"all of its {options.minutes:g} minutes"
    if options.patience is not None and state.best is not None:
        since = state.step - state.best.step
        if since >= options.patience * options.heldout.every:
            return f"no better held-out loss than that of step {state.best.step}"
    return ""


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collects the first Ctrl-C or SIGTERM instead of raising; a second one stops at once."""
    stopped: list[int] = []

    def remember(number: int, _frame: Any) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)

    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, remember) for number in watched}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
