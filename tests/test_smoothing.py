"""Smoothing along a track: less noise, no lag, gaps filled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _measures import jitter, lag
from faceswap_lite.conversion.temporal_smoothing import neighbour_weights, reach, smooth_points

FRAMES = np.arange(60, dtype=np.float64)


def along(values: np.ndarray) -> np.ndarray:
    """One point whose x runs through the values."""
    return np.stack([values, np.zeros_like(values)], axis=1)[:, None]


def test_noise_on_a_still_face_is_more_than_halved() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (300, 40, 2))
    frames = np.arange(300.0)
    smooth = smooth_points(frames, noise, frames, 2.5)
    assert smooth.std() < 0.5 * noise.std()
    assert jitter(smooth) < 0.2 * jitter(noise)


@pytest.mark.parametrize("speed, pull", [(0.0, 0.0), (2.0, 0.0), (1.0, 0.05)])
def test_steady_movement_comes_out_as_it_is(speed: float, pull: float) -> None:
    truth = along(5 + speed * FRAMES + pull * FRAMES**2)
    np.testing.assert_allclose(smooth_points(FRAMES, truth, FRAMES, 3.0), truth, atol=1e-8)


def test_a_nod_keeps_its_time_and_nearly_its_height() -> None:
    nod = 10 * np.exp(-0.5 * ((FRAMES - 30) / 5) ** 2)
    smooth = smooth_points(FRAMES, along(nod), FRAMES, 2.0)[:, 0, 0]
    assert abs(lag(smooth, nod)) <= 0.1
    assert smooth.max() > 0.95 * nod.max()


def test_gaps_are_filled_along_the_movement() -> None:
    kept = np.array([f for f in FRAMES if not 20 <= f < 25])
    truth = along(3 * FRAMES + 1)
    smooth = smooth_points(kept, truth[kept.astype(int)], FRAMES, 2.0)
    np.testing.assert_allclose(smooth, truth, atol=1e-6)


def test_no_smoothing_leaves_the_points_and_joins_gaps_by_lines() -> None:
    rng = np.random.default_rng(1)
    kept = np.array([0.0, 1.0, 4.0, 5.0])
    points = rng.normal(0, 1, (4, 3, 2))
    smooth = smooth_points(kept, points, np.arange(6.0), 0.0)
    np.testing.assert_allclose(smooth[[0, 1, 4, 5]], points, atol=1e-9)
    np.testing.assert_allclose(smooth[2], points[1] * 2 / 3 + points[2] / 3, atol=1e-9)


@given(st.integers(1, 12), st.floats(0, 6))
def test_a_constant_stays_constant(count: int, sigma: float) -> None:
    frames = np.arange(count, dtype=np.float64)
    points = np.full((count, 2, 2), 7.0)
    np.testing.assert_allclose(smooth_points(frames, points, frames, sigma), points, atol=1e-6)


def test_weights_of_neighbours() -> None:
    steps = np.arange(-9.0, 10.0)
    weights = neighbour_weights(steps, 2.0)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1])
    assert np.flatnonzero(weights).size == 2 * reach(2.0) + 1
    assert neighbour_weights(steps, 0.0)[9] == 1
