"""Measures of spread against scipy and on planted cases."""

import numpy as np
import pytest
from scipy import stats

from _measures import auroc, histogram_l1
from faceswap_lite.metrics.distributions import series_noise, slope, spearman, wasserstein_1

# The same formulas in another order of additions.
SAME = 1e-9


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_spearman_equals_scipy_with_ties_and_without_missing_frames(rng) -> None:
    a = np.round(rng.normal(size=80), 1)
    b = np.round(a + rng.normal(size=80), 1)
    a[::9], b[4] = np.nan, np.nan
    expected = stats.spearmanr(a, b, nan_policy="omit").statistic
    assert spearman(a, b) == pytest.approx(expected, abs=SAME)


def test_spearman_sees_order_and_nothing_else(rng) -> None:
    a = rng.normal(size=30)
    assert spearman(a, np.exp(5 * a)) == pytest.approx(1)
    assert spearman(a, -(a**3)) == pytest.approx(-1)
    assert spearman(a[:2], a[:2]) is None
    assert spearman(a, np.full(30, 0.1)) is None


def test_auroc_is_the_share_of_pairs_in_order_ties_half(rng) -> None:
    positive, negative = np.round(rng.normal(0.7, 1, 40), 1), np.round(rng.normal(size=25), 1)
    above = positive[:, None] - negative[None]
    expected = np.where(above == 0, 0.5, above > 0).mean()
    assert (above == 0).any()
    holed = np.append(positive, np.nan)
    assert auroc(holed, negative) == pytest.approx(expected, abs=SAME)
    u = stats.mannwhitneyu(positive, negative).statistic
    assert auroc(positive, negative) == pytest.approx(u / (40 * 25), abs=SAME)


def test_auroc_apart_alike_and_of_nothing() -> None:
    low, high = np.arange(5.0), np.arange(5.0) + 9
    assert auroc(high, low) == 1
    assert auroc(low, high) == 0
    assert auroc(low, low) == 0.5
    assert auroc(np.array([np.nan]), low) is None
    assert auroc(low, np.array([])) is None


def test_wasserstein_equals_scipy_for_sets_of_two_sizes(rng) -> None:
    a, b = rng.normal(size=70), rng.gamma(2, 3, size=41)
    expected = stats.wasserstein_distance(a, b)
    assert wasserstein_1(np.append(a, np.nan), b) == pytest.approx(expected, abs=SAME)
    assert wasserstein_1(b, a) == pytest.approx(expected, abs=SAME)


def test_wasserstein_of_a_shift_is_the_shift(rng) -> None:
    a = rng.normal(size=50)
    assert wasserstein_1(a, rng.permutation(a)) == pytest.approx(0, abs=SAME)
    assert wasserstein_1(a, a - 3.5) == pytest.approx(3.5)
    assert wasserstein_1(a, np.array([np.nan])) is None


def test_slope_equals_the_least_squares_line(rng) -> None:
    reference = rng.normal(5, 2, 60)
    out = 0.3 * reference + rng.normal(size=60)
    expected = stats.linregress(reference, out).slope
    assert slope(out, reference) == pytest.approx(expected, abs=SAME)
    # In this order: the other way round is another line.
    assert slope(reference, out) != pytest.approx(expected, rel=0.1)
    holed = out.copy()
    holed[::7] = np.nan
    kept = np.isfinite(holed)
    expected = stats.linregress(reference[kept], out[kept]).slope
    assert slope(holed, reference) == pytest.approx(expected, abs=SAME)


def test_slope_of_tiny_values_and_of_what_does_not_vary() -> None:
    values = np.array([1.0, 2, 4, 3])
    assert slope(2e-200 * values, 1e-200 * values) == pytest.approx(2)
    assert slope(values, np.full(4, 0.1)) is None
    assert slope(np.full(4, 0.1), values) == pytest.approx(0, abs=SAME)
    assert slope(values[:2], values[:2]) is None


def test_histograms_differ_by_their_shares() -> None:
    a = np.array([2.0, 2, 0, 0])
    assert histogram_l1(a, 10 * a) == pytest.approx(0)
    assert histogram_l1(a, a[::-1].copy()) == pytest.approx(2)
    assert histogram_l1(a, np.ones(4)) == pytest.approx(1)
    assert histogram_l1(a, np.zeros(4)) is None


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_series_noise_is_that_of_the_errors_not_of_the_movement(rng, noise: float) -> None:
    frames = np.arange(2000)
    smooth = 20 * np.sin(frames / 40) + 0.02 * frames
    values = smooth + rng.normal(0, noise, 2000)
    # 2000 frames give the median of sizes to some 3 %.
    assert series_noise(values) == pytest.approx(noise, rel=0.1)
    values[::37] = np.nan
    assert series_noise(values) == pytest.approx(noise, rel=0.1)


def test_series_noise_forgives_blinks_and_counts_fast_movement(rng) -> None:
    frames = np.arange(1000)
    values = rng.normal(0, 0.1, 1000)
    blinking = values + 5 * (frames % 60 == 0)
    assert series_noise(blinking) == pytest.approx(0.1, rel=0.15)
    # Turning within two frames, it cannot be told from noise.
    shaking = series_noise(values + (-1.0) ** frames)
    assert shaking is not None
    assert shaking > 0.5


def test_series_noise_of_a_line_and_of_too_little() -> None:
    assert series_noise(3 * np.arange(50.0)) == pytest.approx(0, abs=SAME)
    assert series_noise(np.array([1.0, 2, 3, 2])) is None
    assert series_noise(np.array([1.0, 2, np.nan] * 9)) is None
