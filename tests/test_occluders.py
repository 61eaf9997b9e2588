"""Things planted before faces: exact masks, the same for a seed, neither too much nor little."""

import cv2
import numpy as np
import pytest

from faceswap_lite.occluders.planting import KINDS, MAX_HIDDEN, MIN_HIDDEN, plant

EDGE = 96


def face() -> tuple[np.ndarray, np.ndarray]:
    """A crop of one colour with a face's oval in it."""
    pixels = np.full((EDGE, EDGE, 3), (190, 140, 120), np.uint8)
    outline = np.zeros((EDGE, EDGE), np.uint8)
    cv2.ellipse(outline, (EDGE // 2, EDGE // 2), (32, 40), 0, 0, 360, 255, -1, cv2.LINE_AA)
    return pixels, outline.astype(np.float32) / 255


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_the_same_for_a_seed_and_leaves_its_arguments_alone(kind: str) -> None:
    pixels, outline = face()
    before = pixels.copy(), outline.copy()
    one, two = (plant(np.random.default_rng(4), pixels, outline, [kind]) for _ in range(2))
    assert np.array_equal(one.pixels, two.pixels) and np.array_equal(one.visible, two.visible)
    assert np.array_equal(pixels, before[0]) and np.array_equal(outline, before[1])
    other = plant(np.random.default_rng(5), pixels, outline, [kind])
    assert not np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_lies_inside_the_outline_and_what_is_hidden_is_painted(kind: str) -> None:
    pixels, outline = face()
    hidden = []
    for seed in range(12):
        planted = plant(np.random.default_rng(seed), pixels, outline, [kind])
        assert planted.visible.dtype == np.float32
        assert (planted.visible <= outline + 1e-6).all() and (planted.visible >= 0).all()
        changed = np.abs(planted.pixels.astype(int) - pixels).max(2) > 0
        gone = outline - planted.visible > 0.5
        # Paint of the very colour of the face is rare.
        assert (changed & gone).sum() >= 0.9 * gone.sum()
        hidden.append(1 - planted.visible.sum() / outline.sum())
    if KINDS[kind].decoy:
        assert np.allclose(hidden, 0, atol=1e-6)
    else:
        assert MIN_HIDDEN / 2 < np.median(hidden) < MAX_HIDDEN
        assert max(hidden) < 0.8


def test_without_a_face_nothing_is_planted() -> None:
    pixels, outline = face()
    planted = plant(np.random.default_rng(0), pixels, 0 * outline)
    assert np.array_equal(planted.pixels, pixels) and not planted.visible.any()
