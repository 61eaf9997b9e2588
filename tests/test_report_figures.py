"""The report's figures, from series whose figures are known."""

from typing import Any

import numpy as np
import pytest

from faceswap_lite.evaluation.measures import METRICS, differences, figures, judge_difference
from faceswap_lite.evaluation.walk import Series
from faceswap_lite.metrics.intervals import Interval

FRAMES = 120


def series(**columns: Any) -> Series:
    filled = {name: np.broadcast_to(value, FRAMES).astype(float) for name, value in columns.items()}
    return Series(np.arange(FRAMES), np.arange(FRAMES) / 25, filled)


def wave(period: float | int = 40) -> np.ndarray:
    return 20 * np.sin(2 * np.pi * np.arange(FRAMES) / period)


def values_of(of: Series) -> dict[str, float]:
    return {name: found.value for name, found in figures(of, seed=0).items() if found is not None}


def test_what_was_not_measured_has_no_figure() -> None:
    assert values_of(series(found=1.0)) == {}


def test_a_swap_that_follows_at_half_the_size() -> None:
    found = values_of(series(yaw_deg=0.5 * wave() + 3, target_yaw_deg=wave()))
    assert found["yaw_correlation"] == pytest.approx(1)
    assert found["yaw_spread_ratio"] == pytest.approx(0.5)
    assert found["yaw_error_deg"] == pytest.approx(np.abs(3 - 0.5 * wave()).mean())


def test_pose_error_is_the_length_of_the_three() -> None:
    columns = {f"target_{name}_deg": wave() for name in ("yaw", "pitch", "roll")}
    columns |= {f"{name}_deg": wave() + gap for name, gap in
                (("yaw", 2), ("pitch", 3), ("roll", 6))}  # fmt: skip
    assert values_of(series(**columns))["pose_error_deg"] == pytest.approx(7)


def test_distances_in_the_source_s_own_spread_and_the_margin() -> None:
    near = np.where(np.arange(FRAMES) < 90, 0.3, 0.9)
    found = values_of(series(to_source=near, to_target=0.6, own_spread=0.2, top1=near < 0.5))
    assert found["identity_to_source_normalised"] == pytest.approx(1.5)
    assert found["identity_margin_positive"] == pytest.approx(0.75) == found["identity_top1"]


def test_ratios_are_of_means_over_frames_that_have_both() -> None:
    steps = np.where(np.arange(FRAMES) % 2, 4.0, 0.0)
    steps[7] = np.nan
    target = np.where(np.arange(FRAMES) % 2, 1.0, 3.0)
    found = values_of(series(lab_step=steps, target_lab_step=target))
    both = np.isfinite(steps)
    assert found["flicker_ratio"] == pytest.approx(steps[both].mean() / target[both].mean())


def test_the_gap_is_seen_less_unseen() -> None:
    found = values_of(series(seen_psnr_db=33.0, psnr_db=30.0))
    assert found["generalization_gap_db"] == pytest.approx(3)
    assert found["seen_psnr_db"] == pytest.approx(33)


def test_slow_series_are_less_sure_than_quick_ones() -> None:
    rng = np.random.default_rng(0)
    quick = rng.standard_normal(FRAMES)
    slow = np.convolve(rng.standard_normal(FRAMES + 24), np.ones(25) / 5, "valid")
    widths = []
    for values in (quick, slow):
        found = figures(series(psnr_db=30 + values), seed=0)["heldout_psnr_db"]
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[1] > 1.5 * widths[0]


def test_a_difference_within_the_noise_is_not_real_and_one_beyond_is() -> None:
    rng = np.random.default_rng(1)
    common = wave()
    a = series(psnr_db=30 + common + rng.standard_normal(FRAMES))
    same = series(psnr_db=30 + common + rng.standard_normal(FRAMES))
    better = series(psnr_db=31 + common + rng.standard_normal(FRAMES))
    metric = METRICS["heldout_psnr_db"]
    for other, real in ((same, False), (better, True)):
        gap = differences(a, other, seed=0)["heldout_psnr_db"]
        found = judge_difference(metric, 30.0, 30 + gap.value, gap)
        assert found["real"] is real
        assert found["better"] == ("b" if real else None)
    # Paired: the swing that both share does not widen the interval.
    gap = differences(a, better, seed=0)["heldout_psnr_db"]
    assert gap.high - gap.low < 1.5


@pytest.mark.parametrize(
    ("name", "a", "b", "better"),
    [
        ("heldout_psnr_db", 30.0, 31.0, "b"),
        ("landmark_nme", 0.1, 0.2, "a"),
        ("flicker_ratio", 0.8, 1.1, "b"),
        ("seam_delta_e", -0.5, 0.2, "b"),
        ("identity_to_target", 0.5, 0.7, None),
    ],
)
def test_who_is_better_depends_on_what_is_good(
    name: str, a: float, b: float, better: str | None
) -> None:
    gap = Interval(b - a, b - a - 0.01, b - a + 0.01)
    found = judge_difference(METRICS[name], a, b, gap)
    assert found["real"] and found["better"] == better


def test_an_interval_that_is_not_known_proves_nothing() -> None:
    gap = Interval(1.0, float("nan"), float("nan"))
    found = judge_difference(METRICS["heldout_psnr_db"], 30.0, 31.0, gap)
    assert not found["real"] and found["better"] is None and found["low"] is None
