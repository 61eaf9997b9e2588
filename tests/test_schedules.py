import json
import math
from dataclasses import asdict
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from faceswap_lite.config import ScheduleConfig, TrainingConfig
from faceswap_lite.runs.checkpoints import PlateauState
from faceswap_lite.training import schedules
from faceswap_lite.training.optimizers import ema_decay
from faceswap_lite.training.schedules import SCHEDULES, next_plateau


def test_constant_rises_then_stays() -> None:
    config = ScheduleConfig(warmup_steps=4)
    trace = [SCHEDULES["constant"](step, config, None) for step in range(6)]
    assert trace == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_rises_then_falls_to_nothing() -> None:
    config = ScheduleConfig(warmup_steps=2, kind="cosine")
    trace = [SCHEDULES["cosine"](step, config, 10) for step in range(11)]
    assert trace[:3] == [0.5, 1.0, 1.0]
    assert trace[6] == pytest.approx(0.5)
    assert trace[10] == pytest.approx(0)
    assert trace[2:] == sorted(trace[2:], reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_cosine_and_one_cycle_need_an_end(schedule: str) -> None:
    with pytest.raises(ValueError, match=f"schedule {schedule} needs training.steps"):
        TrainingConfig.model_validate({"schedule": {"kind": schedule}})
    with pytest.raises(ValueError, match=f"schedule {schedule} needs training.steps"):
        SCHEDULES[schedule](0, ScheduleConfig(), None)


def optimizer_at(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_step_falls_like_a_staircase() -> None:
    config = ScheduleConfig(kind="step", warmup_steps=2, step_every=3, step_factor=0.5)
    trace = [SCHEDULES["step"](step, config, None) for step in range(10)]
    assert trace == [0.5, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_step_equals_torch_s() -> None:
    config = ScheduleConfig(kind="step", warmup_steps=0, step_every=7, step_factor=0.3)
    optimizer = optimizer_at(0.01)
    theirs = StepLR(optimizer, step_size=7, gamma=0.3)
    for step in range(40):
        rate = 0.01 * SCHEDULES["step"](step, config, None)
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50, 1000])
def test_one_cycle_equals_torch_s(steps: int) -> None:
    config = ScheduleConfig(kind="one_cycle")
    optimizer = optimizer_at(0.01)
    theirs = OneCycleLR(optimizer, max_lr=0.01, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        rate = 0.01 * SCHEDULES["one_cycle"](step, config, steps)
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


def test_one_cycle_s_ends_and_top() -> None:
    config = ScheduleConfig(kind="one_cycle")
    trace = [SCHEDULES["one_cycle"](step, config, 100) for step in range(102)]
    assert trace[0] == pytest.approx(0.04)
    assert trace[29] == max(trace) == 1
    # A rate that went on past the last step would rise again.
    assert trace[99:] == pytest.approx([4e-6] * 3)


def plateau_trace(
    losses: list[float], *, floor: float = 0.0, smoothing: float = 0.0, **changes: float
) -> list[PlateauState]:
    exact = {
        "kind": "plateau",
        "plateau_threshold": 0.0,
        "plateau_patience": 1,
        "plateau_cooldown": 0,
        "plateau_factor": 0.5,
    }
    config = ScheduleConfig.model_validate({**exact, **changes})
    state, states = PlateauState(), []
    with patch.multiple(schedules, PLATEAU_FLOOR=floor, PLATEAU_SMOOTHING=smoothing):
        for loss in losses:
            state = next_plateau(state, float(loss), config)
            states.append(state)
    return states


def test_plateau_bears_its_patience_then_drops() -> None:
    states = plateau_trace([4, 3, 3, 3, 2, 2, 2, 2, 2])
    assert [state.scale for state in states] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert [state.bad for state in states] == [0, 0, 1, 0, 0, 1, 0, 1, 0]
    assert states[-1].best == 2


def test_plateau_does_not_judge_while_it_cools_down() -> None:
    states = plateau_trace([1] * 12, plateau_cooldown=3)
    # The first sets the best, two are bad: drop; three cool down, two are bad: drop.
    assert [state.scale for state in states] == [1, 1] + [0.5] * 5 + [0.25] * 5
    assert [state.cooldown for state in states] == [0, 0, 3, 2, 1, 0, 0, 3, 2, 1, 0, 0]


def test_plateau_stops_at_its_floor() -> None:
    states = plateau_trace([1] * 20, plateau_patience=0, floor=0.2)
    assert [state.scale for state in states[:5]] == [1, 0.5, 0.25, 0.2, 0.2]
    assert states[-1].scale == 0.2


def test_plateau_smooths_and_asks_for_a_real_gain() -> None:
    # Noise around a level that falls by half: each dip alone would look like a gain.
    smooth = plateau_trace([8, 4, 4, 2], smoothing=0.5)
    assert [state.smoothed for state in smooth] == [8, 6, 5, 3.5]
    creeping = [1 - 0.001 * step for step in range(4)]
    assert plateau_trace(creeping)[-1].scale == 1
    assert plateau_trace(creeping, plateau_threshold=0.01)[-1].scale == 0.5


def test_plateau_never_fires_while_the_loss_falls() -> None:
    states = plateau_trace([math.exp(-step / 20) for step in range(100)], smoothing=0.9)
    assert {state.scale for state in states} == {1.0}


def test_plateau_equals_torch_s() -> None:
    losses = 1 / np.arange(1, 301) + 0.05 * np.random.default_rng(3).random(300)
    ours = plateau_trace(
        losses.tolist(),
        plateau_threshold=0.02,
        plateau_patience=4,
        plateau_cooldown=3,
        plateau_factor=0.7,
        floor=0.05,
    )
    optimizer = optimizer_at(1.0)
    theirs = ReduceLROnPlateau(
        optimizer, factor=0.7, patience=4, threshold=0.02, cooldown=3, min_lr=0.05
    )
    for state, loss in zip(ours, losses.tolist(), strict=True):
        theirs.step(loss)
        assert state.scale == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert ours[-1].scale == 0.05


def test_plateau_s_state_survives_json() -> None:
    state = plateau_trace([1.1, 1 / 3, 0.7], smoothing=0.3)[-1]
    assert PlateauState(**json.loads(json.dumps(asdict(state)))) == state
    assert PlateauState(**json.loads(json.dumps(asdict(PlateauState())))) == PlateauState()


def test_ema_ramps_up_to_its_decay() -> None:
    assert ema_decay(0, 0.998) == pytest.approx(0.1)
    assert ema_decay(90, 0.998) == pytest.approx(0.91)
    assert ema_decay(10**6, 0.998) == 0.998
    assert ema_decay(50, 0.0) == 0.0
