import pytest

from faceswap_lite.config import TrainingConfig
from faceswap_lite.training.ema import ema_decay
from faceswap_lite.training.schedules import SCHEDULES


def test_constant_rises_then_stays() -> None:
    config = TrainingConfig(warmup_steps=4)
    trace = [SCHEDULES["constant"](step, config) for step in range(6)]
    assert trace == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_rises_then_falls_to_nothing() -> None:
    config = TrainingConfig(warmup_steps=2, steps=10, schedule="cosine")
    trace = [SCHEDULES["cosine"](step, config) for step in range(11)]
    assert trace[:3] == [0.5, 1.0, 1.0]
    assert trace[6] == pytest.approx(0.5)
    assert trace[10] == pytest.approx(0)
    assert trace[2:] == sorted(trace[2:], reverse=True)


def test_cosine_needs_an_end() -> None:
    with pytest.raises(ValueError, match="steps"):
        TrainingConfig(schedule="cosine")


def test_ema_ramps_up_to_its_decay() -> None:
    assert ema_decay(0, 0.998) == pytest.approx(0.1)
    assert ema_decay(90, 0.998) == pytest.approx(0.91)
    assert ema_decay(10**6, 0.998) == 0.998
    assert ema_decay(50, 0.0) == 0.0
