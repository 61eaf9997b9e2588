"""Measures of the screen on planted faults: each sees its own and not the others."""

import cv2
import numpy as np
import pytest

from _measures import delta_e, jitter, lag, mean_step
from faceswap_lite.metrics.screen import flow_between, mean_lab, seam_delta_e, warp_error

SIZE = 128


def texture(seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).random((16, 16, 3), np.float32)
    picture = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.clip(0.2 + 0.6 * picture, 0, 1)


def disc(radius: float = 40, soft: float = 0) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    inside = (np.hypot(x, y) < radius).astype(np.float32)
    return cv2.GaussianBlur(inside, (0, 0), soft) if soft else inside


def test_a_seam_is_a_step_at_the_edge() -> None:
    flat, alpha = np.full((SIZE, SIZE, 3), 0.5), disc()
    assert seam_delta_e(flat, alpha, 4) == pytest.approx(0, abs=1e-4)
    lighter = flat + 0.1 * alpha[..., None]
    step = delta_e(np.full((8, 8, 3), 0.5), np.full((8, 8, 3), 0.6))
    assert seam_delta_e(lighter, alpha, 4) == pytest.approx(step, rel=0.02)
    # A step elsewhere is no seam.
    assert seam_delta_e(flat + 0.1 * disc(20)[..., None], alpha, 4) < 0.2
    assert np.isnan(seam_delta_e(flat, np.zeros((SIZE, SIZE)), 4))


def test_a_soft_edge_hides_part_of_the_step() -> None:
    flat = np.full((SIZE, SIZE, 3), 0.5)
    hard = seam_delta_e(flat + 0.1 * disc()[..., None], disc(), 4)
    soft = seam_delta_e(flat + 0.1 * disc(soft=5)[..., None], disc(soft=5), 4)
    assert 0.1 * hard < soft < 0.6 * hard


def test_mean_lab_and_its_steps() -> None:
    grey = np.full((SIZE, SIZE, 3), 128, np.uint8)
    np.testing.assert_allclose(mean_lab(grey, disc())[1:], 0, atol=0.01)
    assert np.isnan(mean_lab(grey, np.zeros((SIZE, SIZE)))).all()
    values = np.array([[50.0, 0, 0], [53, 4, 0], [np.nan] * 3, [50, 0, 0], [50, 0, 0]])
    assert mean_step(values) == pytest.approx((5 + 0) / 2)


def test_what_moves_with_the_scene_has_no_warp_error() -> None:
    before = texture()
    after = np.roll(before, (1, 2), (0, 1))
    flow, believed = flow_between(before, after)
    inner = believed * disc()
    assert inner.sum() > 0.9 * disc().sum()
    moving = warp_error(before, after, flow, inner)
    stuck = warp_error(before, before, flow, inner)
    assert moving < 0.1 * stuck
    rng = np.random.default_rng(0)
    noisy = np.clip(after + rng.normal(0, 0.03, after.shape), 0, 1)
    assert warp_error(before, noisy, flow, inner) == pytest.approx(0.03**2 + moving, rel=0.2)


def test_jitter_sees_trembling_and_not_movement() -> None:
    frames = np.arange(50.0)
    steady = np.stack([3 * frames, 2 * frames], 1)[:, None]
    assert jitter(steady) == pytest.approx(0, abs=1e-9)
    noise = np.random.default_rng(0).normal(0, 1, (500, 5, 2))
    # A second difference of white noise has six times its variance; x and y add up.
    assert jitter(noise) == pytest.approx(np.sqrt(2 * 6), rel=0.05)


@pytest.mark.parametrize("late", [-2.0, 0.0, 0.5, 3.0])
def test_lag_finds_the_delay(late: float) -> None:
    frames = np.arange(80.0)
    wave = np.sin(frames / 6)
    assert lag(np.sin((frames - late) / 6), wave) == pytest.approx(late, abs=0.06)
