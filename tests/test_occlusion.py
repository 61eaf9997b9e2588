"""What covers a face, on planted faces: a plane of pictures, and squares pasted on some."""

import numpy as np
import pytest

from faceswap_lite.curation.occlusion import disagreement

SIZE, COUNT = 32, 120


def planted(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Smooth pictures that differ in six ways and in light; the mask is a disc."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    waves = np.stack([np.cos(np.pi * (a * x + b * y)) for a, b in ((1, 0), (0, 1), (1, 1), (2, 1))])
    base = 0.5 + 0.2 * np.cos(3 * np.pi * x) * np.cos(2 * np.pi * y)
    amounts = rng.normal(0, 0.05, (COUNT, len(waves)))
    faces = base + np.einsum("nk,khw->nhw", amounts, waves)
    light = rng.uniform(0.7, 1.1, (COUNT, 1, 1))
    pictures = (faces * light)[..., None] * [1.0, 0.8, 0.7] + rng.normal(
        0, 0.01, (COUNT, SIZE, SIZE, 3)
    )
    disc = np.hypot(x - 0.5, y - 0.5) < 0.42
    masks = np.repeat(disc[None].astype(np.float32), COUNT, 0)
    return np.clip(pictures, 0, 1).astype(np.float32), masks


@pytest.mark.parametrize("every", [6, 12])
def test_covered_faces_stand_out_and_the_place_is_told(every: int) -> None:
    """The same thing at the same place: in so many faces it is nearly a feature of the set."""
    pictures, masks = planted(np.random.default_rng(0))
    covered = list(range(0, COUNT, every))
    pictures[covered, 14:22, 6:14] = [0.1, 0.1, 0.2]
    found = disagreement(pictures, masks)
    others = np.setdiff1d(np.arange(COUNT), covered)
    assert found.peak[covered].min() > 2 * found.peak[others].max()
    assert np.abs(found.place[covered] - [10 / SIZE, 18 / SIZE]).max() < 0.15
    assert np.mean(found.extent[others] > 0) < 0.1 and (found.extent[covered] > 0.05).all()


def test_light_alone_explains_nothing_away_and_raises_nothing() -> None:
    pictures, masks = planted(np.random.default_rng(1))
    before = disagreement(pictures, masks).peak
    dimmed = pictures.copy()
    dimmed[3] *= 0.6
    assert disagreement(dimmed, masks).peak[3] == pytest.approx(before[3], rel=0.1)


def test_what_lies_outside_the_mask_does_not_count() -> None:
    pictures, masks = planted(np.random.default_rng(2))
    before = disagreement(pictures, masks).peak
    pictures[::3, :4, :4] = 1.0
    np.testing.assert_allclose(disagreement(pictures, masks).peak, before, rtol=0.05)


def test_a_few_faces_say_nothing() -> None:
    pictures, masks = planted(np.random.default_rng(3))
    assert (disagreement(pictures[:4], masks[:4]).peak == 0).all()


def test_the_arguments_are_left_alone() -> None:
    pictures, masks = planted(np.random.default_rng(4))
    copies = pictures.copy(), masks.copy()
    disagreement(pictures, masks)
    assert (pictures == copies[0]).all() and (masks == copies[1]).all()
