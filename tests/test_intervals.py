"""Block bootstrap: coverage of simulated series whose truth is known, and its parts."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm, t

from faceswap_lite.metrics.intervals import best_length, block_length, draw_blocks, interval

SERIES = 300
DRAWS = 300


def autoregressive(rho: float, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Mean and median 0; each frame keeps `rho` of the one before."""
    return lfilter([1], [1, -rho], rng.normal(size=frames + 200))[200:]


def correlated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


# Truth, measure (of one series or a row of them) and how many of the two series it reads.
STATISTICS: dict[str, tuple[float, Callable[[np.ndarray, np.ndarray], np.ndarray], int]] = {
    "mean": (0.0, lambda x, y: x.mean(-1), 1),
    "median": (0.0, lambda x, y: np.median(x, axis=-1), 1),
    "correlation": (0.6, correlated, 2),
    # Two runs on the same frames: y - x has mean 0 too.
    "difference": (0.0, lambda x, y: y.mean(-1) - x.mean(-1), 2),
}


def handed_out(numbers: list[np.ndarray]) -> Callable[[np.ndarray], float]:
    left = iter(numbers)
    return lambda i: float(next(left))


def coverage(statistic: str, rho: float, frames: int, independent: bool = False) -> float:
    """Share of simulated series whose 95 % bounds hold the truth."""
    rng = np.random.default_rng(0)
    truth, measure, read = STATISTICS[statistic]
    held = 0
    for _ in range(SERIES):
        x, other = (autoregressive(rho, frames, rng) for _ in range(2))
        y = 0.6 * x + 0.8 * other
        block = max(block_length(values) for values in (x, y)[:read])
        draws = draw_blocks(frames, 1 if independent else block, DRAWS, rng)
        # All at once, handed out in their order: one by one takes too long here.
        bounds = interval(handed_out([measure(x, y), *measure(x[draws], y[draws])]), draws)
        held += bounds.low <= truth <= bounds.high
    return held / SERIES


# 300 series give a share of 0.95 to 0.0126, one standard deviation.
@pytest.mark.parametrize(
    ("statistic", "rho", "frames", "minimum"),
    [
        ("mean", 0.0, 150, 0.9),
        ("mean", 0.5, 150, 0.9),
        ("mean", 0.9, 400, 0.9),
        ("median", 0.5, 250, 0.9),
        ("correlation", 0.5, 150, 0.9),
        ("correlation", 0.9, 400, 0.9),
        ("difference", 0.5, 250, 0.9),
        # Worth eight independent frames: bounds are too narrow there, as documented.
        ("mean", 0.9, 150, 0.84),
    ],
)
def test_bounds_hold_the_truth_as_often_as_they_say(statistic, rho, frames, minimum) -> None:
    assert minimum <= coverage(statistic, rho, frames) <= 0.985


@pytest.mark.parametrize(("statistic", "rho"), [("mean", 0.5), ("correlation", 0.9)])
def test_frames_drawn_one_by_one_fail_the_same_test(statistic: str, rho: float) -> None:
    assert coverage(statistic, rho, 150, independent=True) < 0.87


# Patton's own length for circular blocks: (3/2 (2 rho / (1 - rho^2))^2 n)^(1/3) in theory.
@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_block_length_nears_the_theory_on_long_series(rho: float) -> None:
    frames, rng = 20000, np.random.default_rng(0)
    lengths = [best_length(autoregressive(rho, frames, rng)) for _ in range(10)]
    theory = (1.5 * (2 * rho / (1 - rho**2)) ** 2 * frames) ** (1 / 3)
    assert np.mean(lengths) == pytest.approx(theory, rel=0.15)


def test_best_length_equals_that_of_another_package() -> None:
    # `arch` 8.0.0, optimal_block_length(...)["circular"], on these very series. The other lengths
    # differ by up to a third where `arch` takes another lag for the last that counts.
    rng = np.random.default_rng(0)
    series = [lfilter([1], [1, -rho], rng.normal(size=1200))[200:] for rho in (0, 0.3, 0.5)]
    assert [best_length(series[0][:n]) for n in (150, 400)] == pytest.approx(
        [0.931, 1.901], abs=1e-3
    )
    assert best_length(series[1][:400]) == pytest.approx(4.303, rel=0.05)
    assert best_length(series[2]) == pytest.approx(11.759, rel=0.05)


def test_block_length_grows_with_likeness_and_is_blind_to_scale() -> None:
    rng = np.random.default_rng(1)
    lengths = [block_length(autoregressive(rho, 400, rng)) for rho in (0, 0.5, 0.9)]
    assert 1 <= lengths[0] < lengths[1] < lengths[2] <= 400 // 3
    values = autoregressive(0.8, 300, rng)
    assert block_length(1e6 * values + 7) == block_length(values)


def test_block_length_of_gaps_of_trends_and_of_what_says_nothing() -> None:
    rng = np.random.default_rng(2)
    values = autoregressive(0.9, 400, rng)
    holed = values.copy()
    holed[rng.random(400) < 0.2] = np.nan
    assert block_length(holed) == pytest.approx(block_length(values), rel=0.25)
    assert block_length(np.arange(90.0)) == 30
    for nothing in ([], [1.0], [0.1] * 50, [np.nan] * 50, [1.0, 2.0, 1.0]):
        assert block_length(np.array(nothing)) == 1


def test_blocks_are_runs_of_frames_round_the_clip() -> None:
    draws = draw_blocks(23, 5, 4000, np.random.default_rng(0))
    assert draws.shape == (4000, 23)
    for start in range(0, 23, 5):
        block = draws[:, start : start + 5]
        np.testing.assert_array_equal(np.diff(block, axis=1) % 23, 1)
    # Every frame is drawn alike, the ends too: 4000 on average.
    assert np.bincount(draws.ravel(), minlength=23) == pytest.approx(4000, rel=0.08)


def test_draws_repeat_with_their_generator_and_blocks_must_fit() -> None:
    one, two = (draw_blocks(9, 3, 5, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    for block in (0, 10):
        with pytest.raises(ValueError, match="do not fit a clip of 9"):
            draw_blocks(9, block, 5, np.random.default_rng(0))


@pytest.mark.parametrize("level", [0.68, 0.95])
@pytest.mark.parametrize("block", [1, 20])
def test_bounds_are_percentiles_by_students_t(block: int, level: float) -> None:
    values = np.random.default_rng(0).gamma(1, 1, 200)
    draws = draw_blocks(200, block, 4000, np.random.default_rng(1))
    result = interval(lambda i: values[i].mean(), draws, level)
    blocks = 200 / block
    wide = t.ppf((1 + level) / 2, blocks - 1) * math.sqrt(blocks / (blocks - 1))
    expected = np.quantile(values[draws].mean(1), norm.cdf([-wide, wide]))
    assert result.value == pytest.approx(values.mean())
    # Blocks that happen to follow each other count as one: hardly a difference.
    assert result[1:] == pytest.approx(expected, rel=0.01)
    if block == 1:
        plain = np.quantile(values[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
        assert result[1:] == pytest.approx(plain, rel=0.01)


def test_few_long_blocks_give_wider_bounds_within_the_statistics_range() -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 90))
    y = x + 0.1 * noise
    one, few = (draw_blocks(90, block, 2000, rng) for block in (1, 18))
    plain, blocked = (interval(lambda i: x[i].mean(), draws) for draws in (one, few))
    assert blocked.high - blocked.low > 1.1 * (plain.high - plain.low)
    near_one = interval(lambda i: float(correlated(x[i], y[i])), few)
    assert 0.9 < near_one.low < near_one.value < near_one.high <= 1


def test_draws_without_a_number_are_left_out_up_to_half_of_them() -> None:
    draws = draw_blocks(50, 1, 1000, np.random.default_rng(0))
    values = np.random.default_rng(1).normal(size=50)

    def without(share: float) -> Callable[[np.ndarray], float | None]:
        # The first call is for the clip as it is.
        there = iter([True, *(np.arange(1000) % 100 >= 100 * share)])
        return lambda i: float(values[i].mean()) if next(there) else None

    full = interval(lambda i: values[i].mean(), draws)
    some = interval(without(0.4), draws)
    assert some[1:] == pytest.approx(full[1:], abs=0.05)
    none = interval(without(0.6), draws)
    assert math.isnan(none.low)
    assert math.isnan(none.high)
    assert all(math.isnan(number) for number in interval(lambda i: None, draws))
    short = interval(lambda i: 3.0, draw_blocks(2, 1, 10, np.random.default_rng(0)))
    assert short.value == 3
    assert math.isnan(short.low)
