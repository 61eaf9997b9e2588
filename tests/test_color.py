"""Colour matching with the truth known: a face gets a cast, the ideal match takes it off again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from skimage.data import astronaut

from _measures import delta_e
from faceswap_lite.config import ColorName
from faceswap_lite.conversion.color_map import (
    KEEP,
    AffineMap,
    ColorMap,
    gaussian_transport,
    steady_color_map,
)
from faceswap_lite.conversion.color_matchers import COLOR_MATCHERS, fit_mkl, relight

SIZE = 128
FRAMES = 8
# Half a step of 8 bits and a little: OpenCV's Lab is a table.
SAME_COLOR = 3e-3


def oval(size: int) -> np.ndarray:
    """A soft face-shaped mask; its edge is a twentieth of the side wide."""
    y, x = np.mgrid[:size, :size] / size
    radius = np.hypot((x - 0.5) / 0.32, (y - 0.5) / 0.4)
    return np.clip((1 - radius) / 0.14, 0, 1)


def faces_of_the_astronaut() -> list[np.ndarray]:
    """Crops of one face that drift over a picture, float in [0, 1]."""
    picture = astronaut() / 255.0
    crops = []
    for step in range(FRAMES):
        turn = cv2.getRotationMatrix2D((222, 105), 2 * np.sin(step), 1.1)
        matrix = np.array(turn, np.float64)
        matrix[:, 2] += SIZE / 2 - np.array([222 + step / 3, 105])
        crops.append(np.clip(cv2.warpAffine(picture, matrix, (SIZE, SIZE)), 0, 1))
    return crops


class Cast:
    """Gain, offset and gamma of each channel, shaken a little in every frame."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.gain = self.rng.uniform(0.9, 1.1, 3)
        self.offset = self.rng.uniform(-0.03, 0.03, 3)
        self.gamma = self.rng.uniform(0.9, 1.1)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        gain = self.gain + self.rng.normal(0, 0.02, 3)
        offset = self.offset + self.rng.normal(0, 0.01, 3)
        gamma = self.gamma + self.rng.normal(0, 0.02)
        return np.clip(np.clip(picture * gain + offset, 0, 1) ** gamma, 0, 1)


def darken_chin(picture: np.ndarray) -> np.ndarray:
    """A beard, where the reference has none."""
    shade = np.clip((np.arange(SIZE) - 0.7 * SIZE) / 6, 0, 1)[:, None, None]
    return picture * (1 - 0.5 * shade)


def statistics(picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and covariance of the colours of a picture."""
    colors = picture.reshape(-1, 3)
    mean = np.average(colors, axis=0, weights=mask.ravel())
    return mean, np.cov(colors.T, aweights=mask.ravel(), ddof=0)


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    return faces_of_the_astronaut()


def strangers() -> tuple[np.ndarray, np.ndarray]:
    """Two smooth pictures that share nothing, of mild contrast: no colour leaves the range."""
    rng = np.random.default_rng(5)
    small = rng.normal(0, 0.08, (2, 9, 9, 3)) + rng.uniform(0.4, 0.6, (2, 1, 1, 3))
    first, second = (cv2.resize(s, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for s in small)
    return np.clip(first, 0, 1), np.clip(second, 0, 1)


MAGENTA = np.array([1.0, 0.0, 1.0])


@pytest.mark.parametrize("name", sorted(COLOR_MATCHERS))
@pytest.mark.parametrize("size", [64, 128, 300])
@pytest.mark.parametrize("color", [MAGENTA, np.zeros(3)], ids=["magenta", "black"])
def test_only_the_inside_of_the_mask_counts(
    name: str, size: int, color: np.ndarray, faces: list[np.ndarray]
) -> None:
    mask = oval(size)
    image, reference = (cv2.resize(face, (size, size)) for face in (Cast(0)(faces[0]), faces[0]))
    painted = [np.where(mask[..., None] > 0, picture, color) for picture in (image, reference)]
    before = COLOR_MATCHERS[name](image, reference, mask).apply(image)
    after = COLOR_MATCHERS[name](painted[0], painted[1], mask).apply(image)
    np.testing.assert_array_equal(before, after)


@given(gain=st.tuples(*[st.floats(0.7, 1.3)] * 3), offset=st.tuples(*[st.floats(-0.05, 0.05)] * 3))
@settings(max_examples=20, deadline=None)
def test_a_planted_gain_and_offset_is_undone(
    gain: tuple[float, ...], offset: tuple[float, ...]
) -> None:
    reference = 0.3 + 0.4 * faces_of_the_astronaut()[0]
    image = reference * gain + offset
    out = fit_mkl(image, reference, oval(SIZE)).apply(image)
    np.testing.assert_allclose(out, reference, atol=SAME_COLOR)


def test_mkl_is_scipys_square_roots() -> None:
    image, reference = strangers()
    mask = oval(SIZE)
    mean, before = statistics(image, mask)
    wanted_mean, after = statistics(reference, mask)
    root = sqrtm(before)
    inverse = np.linalg.inv(root)
    wanted = np.real(inverse @ sqrtm(root @ after @ root) @ inverse)
    # Statistics of 96 px, and the noise of 8 bits in the covariances.
    color_map = fit_mkl(image, reference, mask)
    np.testing.assert_allclose(color_map.matrix, wanted, atol=0.02)
    np.testing.assert_allclose(color_map.pivot, mean, atol=1e-3)
    np.testing.assert_allclose(color_map.goal, wanted_mean, atol=1e-3)
    np.testing.assert_allclose(gaussian_transport(before, after), wanted, atol=2e-3)


# Broad light.


def lit_from_the_left(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture * np.linspace(1.2, 0.8, SIZE)[None, :, None], 0, 1)


def test_relight_brings_the_light_over(faces: list[np.ndarray]) -> None:
    face = 0.2 + 0.5 * faces[0]
    mask, reference = oval(SIZE), lit_from_the_left(face)
    dark, half, full = (
        delta_e(relight(face, reference, mask, strength), reference, mask)
        for strength in (0.0, 0.5, 1.0)
    )
    assert full < half < dark
    assert full < dark / 3


def test_relight_leaves_fine_detail_alone(faces: list[np.ndarray]) -> None:
    """Only what is broader than some pixels changes."""
    face = 0.2 + 0.5 * faces[0]
    change = relight(face, lit_from_the_left(face), oval(SIZE), 1.0) - face
    inside = cv2.erode(oval(SIZE), np.ones((9, 9))) > 0.9
    assert np.abs(cv2.Laplacian(change, cv2.CV_64F))[inside].max() < 2e-3


@pytest.mark.parametrize("size", [64, 128, 300])
def test_relight_ignores_what_is_outside_the_mask(size: int, faces: list[np.ndarray]) -> None:
    mask = oval(size)
    face, reference = (cv2.resize(picture, (size, size)) for picture in faces[:2])
    painted = np.where(mask[..., None] > 0, reference, MAGENTA)
    before, after = (relight(face, picture, mask, 1.0) for picture in (reference, painted))
    np.testing.assert_array_equal(before, after)
    assert before.dtype == np.float32
    assert before.min() >= 0 and before.max() <= 1


def test_relight_without_strength_or_mask_changes_nothing(faces: list[np.ndarray]) -> None:
    mask = oval(SIZE)
    for strength, inside in ((0.0, mask), (1.0, 0 * mask)):
        out = relight(faces[0], faces[1], inside, strength)
        np.testing.assert_array_equal(out, np.float32(faces[0]))


def test_mkl_gives_two_strangers_the_same_mean_and_covariance() -> None:
    image, reference = strangers()
    mask = oval(SIZE)
    out = fit_mkl(image, reference, mask).apply(image)
    mean, covariance = statistics(out, mask)
    wanted_mean, wanted_covariance = statistics(reference, mask)
    np.testing.assert_allclose(mean, wanted_mean, atol=SAME_COLOR)
    np.testing.assert_allclose(covariance, wanted_covariance, atol=2e-4)


def test_mkl_is_the_closed_form_of_one_dimension_on_grey() -> None:
    """On one axis the transport is (x - mean) * std ratio + mean."""
    x, _ = strangers()
    grey = np.repeat(x[..., :1], 3, axis=2)
    reference = 0.25 + 1.5 * (grey - 0.5)
    out = fit_mkl(grey, reference, oval(SIZE)).apply(grey)
    np.testing.assert_allclose(out, np.clip(reference, 0, 1), atol=SAME_COLOR)


def test_the_mkl_matrix_is_symmetric_and_positive() -> None:
    matrix = fit_mkl(*strangers(), oval(SIZE)).matrix
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > 0


@pytest.mark.parametrize("name", sorted(COLOR_MATCHERS))
@pytest.mark.parametrize("size", [64, 100, 256])
def test_the_same_picture_stays_as_it_is(name: str, size: int, faces: list[np.ndarray]) -> None:
    picture = cv2.resize(faces[0], (size, size))
    out = COLOR_MATCHERS[name](picture, picture, oval(size)).apply(picture)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, picture, atol=SAME_COLOR)


@pytest.mark.parametrize("name", sorted(COLOR_MATCHERS))
def test_an_empty_mask_changes_nothing(name: str, faces: list[np.ndarray]) -> None:
    color_map = COLOR_MATCHERS[name](faces[0], faces[1] * 0.5, np.zeros((SIZE, SIZE)))
    np.testing.assert_array_equal(color_map.apply(faces[0]), np.float32(faces[0]))


FLAT = np.full((SIZE, SIZE, 3), [0.6, 0.4, 0.3])
GREY = np.repeat(strangers()[0][..., :1], 3, axis=2)


@pytest.mark.parametrize("name", sorted(set(COLOR_MATCHERS) - {"none"}))
@pytest.mark.parametrize("image", [FLAT, GREY, np.zeros_like(FLAT)], ids=["flat", "grey", "black"])
@pytest.mark.parametrize("turned", [False, True], ids=["onto a face", "a face onto it"])
def test_flat_and_grey_pictures_are_matched_without_noise(
    name: str, image: np.ndarray, turned: bool, faces: list[np.ndarray]
) -> None:
    """Covariances that cannot be inverted, colours without a hue, and no light at all."""
    pair = (faces[0], image) if turned else (image, faces[0])
    mask = oval(SIZE)
    color_map: Any = COLOR_MATCHERS[name](*pair, mask)
    if isinstance(color_map, AffineMap):
        assert np.abs(np.linalg.eigvals(color_map.matrix)).max() <= 3 + 1e-9
    out = color_map.apply(pair[0])
    assert np.isfinite(out).all()
    mean, wanted = statistics(out, mask)[0], statistics(pair[1], mask)[0]
    # A gain brings no light to black, and matches skin, not the mean of all.
    if name == "mkl":
        np.testing.assert_allclose(mean, wanted, atol=0.06)
    elif pair[0].any() and pair[1].any():
        np.testing.assert_allclose(mean, wanted, atol=0.2)


@pytest.mark.parametrize("name", sorted(COLOR_MATCHERS))
def test_nothing_is_written_into_an_argument(name: str, faces: list[np.ndarray]) -> None:
    image, reference, mask = faces[0] * 0.8, faces[1].copy(), oval(SIZE)
    copies = [array.copy() for array in (image, reference, mask)]
    COLOR_MATCHERS[name](image, reference, mask).apply(image)
    for array, copy in zip((image, reference, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", sorted(set(COLOR_MATCHERS) - {"none"}))
def test_a_small_change_of_the_frame_is_a_small_change_of_the_map(
    name: str, faces: list[np.ndarray]
) -> None:
    """No pixel's crossing of a limit may make the colours jump from frame to frame."""
    image = Cast(1)(darken_chin(faces[0]))
    first = COLOR_MATCHERS[name](image, faces[0], oval(SIZE))
    second = COLOR_MATCHERS[name](np.clip(image + 1e-4, 0, 1), faces[0], oval(SIZE))
    step = np.abs(first.apply(image) - second.apply(image))
    assert step.max() < 1e-3


def noisy_maps(rng: np.random.Generator, jitter: float) -> list[AffineMap]:
    """Maps of one clip: gains that were measured badly; means that jump in truth by `jitter`."""
    maps = []
    for _ in range(30):
        pivot = np.array([0.6, 0.4, 0.3]) + rng.normal(0, jitter, 3)
        gains = 1 + (pivot - 0.4) * (jitter > 0) + rng.normal(0, 0.03, 3) * (jitter == 0)
        maps.append(AffineMap(np.diag(gains), pivot, np.array([0.5, 0.4, 0.35])))
    return maps


def steadied(maps: list[AffineMap | None]) -> list[Any]:
    weights = [float(np.exp(-0.5 * ((i - 6) / 3) ** 2)) for i in range(13)]
    return [
        steady_color_map(maps[k - 6 : k + 7], weights, 6)
        for k in range(6, len(maps) - 6)
        if maps[k] is not None
    ]


def steps(maps: list[AffineMap]) -> float:
    return float(np.abs(np.diff([m.matrix for m in maps], axis=0)).mean())


def test_steadying_takes_noise_out_of_the_gains_and_keeps_each_frames_mean() -> None:
    maps = noisy_maps(np.random.default_rng(0), 0.0)
    steady = steadied(list(maps))
    assert steps(steady) < steps(maps) / 3
    for before, after in zip(maps[6:-6], steady, strict=True):
        np.testing.assert_array_equal(after.pivot, before.pivot)
        np.testing.assert_array_equal(after.goal, before.goal)


def test_steadying_does_not_lag_behind_colours_that_jump() -> None:
    maps = noisy_maps(np.random.default_rng(1), 0.05)
    for before, after in zip(maps[6:-6], steadied(list(maps)), strict=True):
        np.testing.assert_allclose(after.matrix, before.matrix, atol=2e-3)
        np.testing.assert_allclose(after.offset, before.offset, atol=2e-3)


def test_steadying_passes_over_frames_without_a_face() -> None:
    maps: list[AffineMap | None] = list(noisy_maps(np.random.default_rng(2), 0.0))
    alone: Any = steady_color_map([None, maps[0], None], [1, 1, 1], 1)
    np.testing.assert_allclose(alone.matrix, maps[0].matrix if maps[0] else 0, atol=1e-12)
    with pytest.raises(ValueError, match="no colour map"):
        steady_color_map([maps[0], None], [1.0, 1.0], 1)
    # A frame whose mask was too small for a fit holds a map of another kind.
    steady_color_map([KEEP, fit_mkl(*strangers(), oval(SIZE)), KEEP], [1, 1, 1], 1)


@pytest.mark.parametrize("name", sorted(set(COLOR_MATCHERS) - {"none"}))
def test_steadying_equal_frames_changes_nothing(name: str, faces: list[np.ndarray]) -> None:
    color_map = COLOR_MATCHERS[name](Cast(3)(darken_chin(faces[0])), faces[0], oval(SIZE))
    steady = steady_color_map([color_map] * 3, [0.5, 1, 0.5], 1)
    before, after = (m.apply(faces[1]) for m in (color_map, steady))
    np.testing.assert_allclose(after, before, atol=1e-5)


@dataclass(frozen=True)
class Gamma:
    """A map of another kind than ours: a power, the neighbours' mean as it is steadied."""

    power: float

    def apply(self, image: np.ndarray) -> np.ndarray:
        return image.astype(np.float32) ** self.power

    def steady(self, near: Sequence[tuple["Gamma", float]]) -> "Gamma":
        total = sum(weight for _, weight in near)
        return Gamma(sum(other.power * weight for other, weight in near) / total)


def test_a_matcher_may_bring_its_own_kind_of_map() -> None:
    assert isinstance(Gamma(1.0), ColorMap)
    steady = steady_color_map([Gamma(1.0), Gamma(2.0), None, KEEP, Gamma(4.0)], [1, 2, 9, 9, 1], 1)
    assert steady == Gamma(9 / 4)


def test_the_registry_holds_what_the_config_names() -> None:
    assert set(COLOR_MATCHERS) == set(get_args(ColorName))
