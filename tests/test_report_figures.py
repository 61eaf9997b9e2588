"""The report's figures, from series whose figures are known."""

from typing import Any

import numpy as np
import pytest

from faceswap_lite.evaluation.metric import (
    Difference,
    Series,
    difference_json,
    differences,
    figures,
)
from faceswap_lite.evaluation.metric_table import METRICS
from faceswap_lite.metrics.intervals import Interval

FRAMES = 120


def series(**columns: Any) -> Series:
    filled = {name: np.broadcast_to(value, FRAMES).astype(float) for name, value in columns.items()}
    return Series(np.arange(FRAMES), np.arange(FRAMES) / 25, filled)


def wave(period: float | int = 40) -> np.ndarray:
    return 20 * np.sin(2 * np.pi * np.arange(FRAMES) / period)


def values_of(of: Series) -> dict[str, float]:
    return {
        name: found.value
        for name, found in figures(METRICS, of, seed=0).items()
        if found is not None
    }


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
        found = figures(METRICS, series(psnr_db=30 + values), seed=0)["heldout_psnr_db"]
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[1] > 1.5 * widths[0]


def noisy(values: np.ndarray | float, seed: int) -> np.ndarray:
    return values + np.random.default_rng(seed).standard_normal(FRAMES)


def compared(name: str, a: Series, b: Series) -> dict[str, Any]:
    return difference_json(differences(METRICS, a, b, seed=0)[name])


def test_a_difference_within_the_noise_is_not_real_and_one_beyond_is() -> None:
    a = series(psnr_db=noisy(30 + wave(), 1))
    same = compared("heldout_psnr_db", a, series(psnr_db=noisy(30 + wave(), 2)))
    assert not same["real"] and same["better"] is None
    better = compared("heldout_psnr_db", a, series(psnr_db=noisy(31 + wave(), 3)))
    assert better["real"] and better["better"] == "b"
    # Paired: the swing that both share does not widen the interval.
    assert better["high"] - better["low"] < 1.5


@pytest.mark.parametrize(
    ("name", "columns", "better"),
    [
        ("heldout_psnr_db", ({"psnr_db": 30}, {"psnr_db": 34}), "b"),
        ("landmark_nme", ({"nme": 10}, {"nme": 14}), "a"),
        ("identity_to_target", ({"to_target": 10}, {"to_target": 14}), None),
        # Best at 1, and a lies as far below as b above: that they differ makes neither better.
        ("sharpness_ratio", ({"sharpness": -1}, {"sharpness": 3}), None),
        ("sharpness_ratio", ({"sharpness": -3}, {"sharpness": 2}), "b"),
    ],
)
def test_who_is_better_depends_on_what_is_good(
    name: str, columns: tuple[dict[str, float], dict[str, float]], better: str | None
) -> None:
    a, b = (
        series(**{column: noisy(value, seed) for column, value in of.items()})
        for seed, of in enumerate(columns)
    )
    found = compared(name, a, b)
    assert found["real"] and found["better"] == better


def test_an_interval_that_is_not_known_proves_nothing() -> None:
    unknown = Interval(1.0, float("nan"), float("nan"))
    found = difference_json(Difference(unknown, unknown))
    assert not found["real"] and found["better"] is None and found["low"] is None
    # The training faces' figure is one number, whatever frames are drawn.
    a, b = (series(seen_psnr_db=value) for value in (30.0, 33.0))
    same = compared("seen_psnr_db", a, b)
    assert same["difference"] == 3 and not same["real"] and same["better"] is None
