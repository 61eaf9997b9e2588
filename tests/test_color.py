"""Colour matching with the truth known: a face gets a cast, the ideal match takes it off again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.linalg import sqrtm
from skimage.color import lab2rgb, rgb2lab
from skimage.data import astronaut
from skimage.exposure import match_histograms

from _measures import delta_e
from faceswap_lite.config import ColorName
from faceswap_lite.conversion.color import (
    COLOR_MATCHERS,
    fit_histogram,
    fit_mkl,
    fit_poisson,
    fit_reinhard,
    fit_robust_mkl,
    quantiles,
    relight,
)
from faceswap_lite.conversion.color_map import (
    KEEP,
    SAME_SHIFT,
    AffineMap,
    ColorMap,
    Samples,
    gaussian_transport,
    steady_color_map,
    voted_map,
)

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


def soften(picture: np.ndarray) -> np.ndarray:
    """What a network makes of a face: a little less detail."""
    return cv2.GaussianBlur(picture, (0, 0), 1.2)


def darken_chin(picture: np.ndarray) -> np.ndarray:
    """A beard, where the reference has none."""
    shade = np.clip((np.arange(SIZE) - 0.7 * SIZE) / 6, 0, 1)[:, None, None]
    return picture * (1 - 0.5 * shade)


def benchmark(
    name: str,
    faces: list[np.ndarray],
    content: Callable[[np.ndarray], np.ndarray] = lambda face: face,
    steady: bool = False,
) -> tuple[float, float]:
    """Mean error in the mask (CIEDE2000), and the mean step of the mean Lab error (flicker)."""
    fit, mask = COLOR_MATCHERS[name], oval(SIZE)
    errors, steps = [], []
    for seed in range(3):
        cast, drifts = Cast(seed), []
        ideals = [content(soften(face)) for face in faces]
        images = [cast(ideal) for ideal in ideals]
        maps = [fit(image, face, mask) for image, face in zip(images, faces, strict=True)]
        if steady:
            maps = [steady_color_map(maps, [1.0] * len(maps), k) for k in range(len(maps))]
        for image, ideal, color_map in zip(images, ideals, maps, strict=True):
            out = color_map.apply(image)
            errors.append(delta_e(out, ideal, mask))
            drift = rgb2lab(out) - rgb2lab(ideal)
            drifts.append(np.average(drift.reshape(-1, 3), axis=0, weights=mask.ravel()))
        steps.append(np.linalg.norm(np.diff(drifts, axis=0), axis=1).mean())
    return float(np.mean(errors)), float(np.mean(steps))


def statistics(picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and covariance of the colours of a picture."""
    colors = picture.reshape(-1, 3)
    mean = np.average(colors, axis=0, weights=mask.ravel())
    return mean, np.cov(colors.T, aweights=mask.ravel(), ddof=0)


def photos(media_dir: Path) -> list[Path]:
    return sorted(media_dir.glob("stills/identities/*/*.jpg"))


def aligned_face(path: Path) -> np.ndarray | None:
    """The picture in [0, 1], if it is one of the aligned faces of 150 px."""
    picture = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    if picture.shape != (150, 150, 3):
        return None
    return cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    return faces_of_the_astronaut()


def strangers() -> tuple[np.ndarray, np.ndarray]:
    """Two smooth pictures that share nothing, of mild contrast: no colour leaves the range."""
    rng = np.random.default_rng(5)
    small = rng.normal(0, 0.08, (2, 9, 9, 3)) + rng.uniform(0.4, 0.6, (2, 1, 1, 3))
    first, second = (cv2.resize(s, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for s in small)
    return np.clip(first, 0, 1), np.clip(second, 0, 1)


# The bars are the project's own for real crops: error 0.7, flicker 0.05.


def test_robust_mkl_takes_a_cast_off(faces: list[np.ndarray]) -> None:
    error, flicker = benchmark("robust_mkl", faces)
    untouched, _ = benchmark("none", faces)
    assert untouched > 3
    assert error <= 0.7
    assert flicker <= 0.05


def test_robust_mkl_is_not_fooled_by_a_beard(faces: list[np.ndarray]) -> None:
    error, _ = benchmark("robust_mkl", faces, darken_chin)
    by_all_pixels, _ = benchmark("reinhard", faces, darken_chin)
    assert error <= 1.3
    assert error < by_all_pixels / 2


def test_reinhard_takes_most_of_a_cast_off(faces: list[np.ndarray]) -> None:
    error, flicker = benchmark("reinhard", faces)
    untouched, _ = benchmark("none", faces)
    assert error < untouched / 3
    assert flicker <= 0.05


def test_casts_on_real_faces(media_dir: Path) -> None:
    faces = [face for path in photos(media_dir) if (face := aligned_face(path)) is not None]
    assert len(faces) >= 5
    error, _ = benchmark("robust_mkl", faces[::3])
    untouched, _ = benchmark("none", faces[::3])
    assert untouched > 3
    assert error <= 0.7


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


@pytest.mark.parametrize("name", ["mkl", "robust_mkl", "histogram"])
@given(gain=st.tuples(*[st.floats(0.7, 1.3)] * 3), offset=st.tuples(*[st.floats(-0.05, 0.05)] * 3))
@settings(max_examples=20, deadline=None)
def test_a_planted_gain_and_offset_is_undone(
    name: str, gain: tuple[float, ...], offset: tuple[float, ...]
) -> None:
    reference = 0.3 + 0.4 * faces_of_the_astronaut()[0]
    image = reference * gain + offset
    out = COLOR_MATCHERS[name](image, reference, oval(SIZE)).apply(image)
    np.testing.assert_allclose(out, reference, atol=SAME_COLOR)


@pytest.mark.parametrize("name", ["mean", "reinhard"])
def test_a_planted_gain_and_shift_in_lab_is_undone(name: str, faces: list[np.ndarray]) -> None:
    reference = 0.3 + 0.4 * faces[0]
    gain = np.ones(3) if name == "mean" else np.array([0.8, 1.1, 0.9])
    image = np.clip(lab2rgb(rgb2lab(reference) * gain + np.array([4.0, 2.0, -3.0])), 0, 1)
    out = COLOR_MATCHERS[name](image, reference, oval(SIZE)).apply(image)
    assert delta_e(out, reference, oval(SIZE)) < 0.2


@pytest.mark.parametrize("name", ["sliced_ot", "poisson"])
def test_the_fields_take_a_shift_off(name: str, faces: list[np.ndarray]) -> None:
    reference = 0.3 + 0.4 * faces[0]
    image = reference + np.array([0.05, -0.05, 0.02])
    out = COLOR_MATCHERS[name](image, reference, oval(SIZE)).apply(image)
    inside = oval(SIZE) > 0.5
    np.testing.assert_allclose(out[inside], reference[inside], atol=3 / 255)


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


def test_histogram_is_scikit_images_without_a_mask() -> None:
    image, reference = strangers()
    out = fit_histogram(image, reference, np.ones((SIZE, SIZE))).apply(image)
    wanted = match_histograms(image, reference, channel_axis=2)
    # 64 quantiles of 96 px against every pixel's rank.
    assert np.abs(out - wanted).mean() < 0.005
    assert np.quantile(np.abs(out - wanted), 0.99) < 0.03


def test_weighted_quantiles_are_those_of_repeated_values() -> None:
    rng = np.random.default_rng(0)
    values, repeats = rng.random(400), rng.integers(1, 5, 400)
    repeated = np.repeat(values, repeats)
    found = quantiles(values, repeats.astype(np.float64), 16)
    levels = (np.arange(16) + 0.5) / 16
    np.testing.assert_allclose(found, np.quantile(repeated, levels), atol=0.01)


def test_sliced_ot_brings_the_whole_distribution_nearer_than_mkl(faces: list[np.ndarray]) -> None:
    """Sliced Wasserstein distance along fixed axes, where one cheek is lit by another lamp."""
    mask = oval(SIZE)
    lamp = np.where(np.arange(SIZE)[None, :, None] < SIZE / 2, 1.0, 0.6)
    image = np.clip(faces[0] * lamp, 0, 1)
    axes = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]

    def distance(out: np.ndarray) -> float:
        gaps = [
            quantiles((picture @ axes[:, i]).ravel(), mask.ravel(), 50)
            for picture in (out, faces[0])
            for i in range(3)
        ]
        return float(np.abs(np.array(gaps[:3]) - np.array(gaps[3:])).mean())

    by_ot, by_mkl = (
        distance(COLOR_MATCHERS[name](image, faces[0], mask).apply(image))
        for name in ("sliced_ot", "mkl")
    )
    assert by_ot < by_mkl


@given(st.integers(0, 10_000), st.floats(0.0, 0.7), st.integers(0, 3))
@example(0, 0.07, 0)
@settings(max_examples=40, deadline=None)
def test_poisson_takes_any_mask(seed: int, radius: float, corner: int) -> None:
    """Small, at the border, in a corner, all of the picture: no failure, no wild colours."""
    rng = np.random.default_rng(seed)
    image, reference = 0.2 + 0.6 * rng.random((2, 32, 32, 3))
    middle = [(0, 0), (31, 16), (16, 16), (16, 31)][corner]
    y, x = np.mgrid[:32, :32]
    mask = (np.hypot(y - middle[0], x - middle[1]) < 60 * radius).astype(np.float64)
    out = fit_poisson(image, reference, mask).apply(image)
    assert np.isfinite(out).all()
    if mask.sum() < 9:
        np.testing.assert_array_equal(out, np.float32(image))


def test_poisson_keeps_the_gradients_and_takes_the_colours_of_the_edge() -> None:
    mask = np.ones((64, 64))
    ramp = np.repeat(np.linspace(-0.1, 0.1, 64)[None, :, None], 64, axis=0)
    image = 0.4 + 0.1 * np.sin(np.mgrid[:64, :64][0] / 3)[..., None] * np.ones(3)
    # A ramp is harmonic, so the clone is the picture plus the ramp.
    out = fit_poisson(image, image + ramp, mask).apply(image)
    np.testing.assert_allclose(out, image + ramp, atol=3 / 255)


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
    # With nothing in common the robust weights step back, and it is the plain transport.
    for fit in (fit_mkl, fit_robust_mkl):
        out = fit(image, reference, mask).apply(image)
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


def test_reinhard_gives_two_strangers_the_same_lab_mean_and_spread() -> None:
    image, reference = strangers()
    mask = oval(SIZE)
    out = fit_reinhard(image, reference, mask).apply(image)
    mean, covariance = statistics(rgb2lab(out), mask)
    wanted_mean, wanted_covariance = statistics(rgb2lab(reference), mask)
    np.testing.assert_allclose(mean, wanted_mean, atol=0.2)
    spread_error = np.log(np.diag(covariance) / np.diag(wanted_covariance)) / 2
    assert np.abs(spread_error).max() < 0.03


def test_two_people_are_matched_as_a_whole_not_where_they_happen_to_agree(media_dir: Path) -> None:
    """Mean error in Lab over pairs of people; plain robust weights leave more than 1."""
    first = {path.parent: path for path in reversed(photos(media_dir))}
    people = [face for path in first.values() if (face := aligned_face(path)) is not None]
    assert len(people) >= 2
    mask = oval(SIZE)
    errors = []
    for image in people:
        for reference in people:
            if image is not reference:
                out = fit_robust_mkl(image, reference, mask).apply(image)
                gap = rgb2lab(out) - rgb2lab(reference)
                errors.append(np.abs(np.average(gap.reshape(-1, 3), axis=0, weights=mask.ravel())))
    assert np.mean(errors) <= 1.0


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


@pytest.mark.parametrize("name", sorted(set(COLOR_MATCHERS) - {"none", "poisson"}))
@pytest.mark.parametrize("image", [FLAT, GREY, np.zeros_like(FLAT)], ids=["flat", "grey", "black"])
@pytest.mark.parametrize("turned", [False, True], ids=["onto a face", "a face onto it"])
def test_flat_and_grey_pictures_meet_in_the_mean(
    name: str, image: np.ndarray, turned: bool, faces: list[np.ndarray]
) -> None:
    """Covariances that cannot be inverted give the reference's mean colour and no noise."""
    pair = (faces[0], image) if turned else (image, faces[0])
    mask = oval(SIZE)
    color_map: Any = COLOR_MATCHERS[name](*pair, mask)
    if isinstance(color_map, AffineMap):
        assert np.abs(np.linalg.eigvals(color_map.matrix)).max() <= 3 + 1e-9
    out = color_map.apply(pair[0])
    assert np.isfinite(out).all()
    mean, wanted = statistics(out, mask)[0], statistics(pair[1], mask)[0]
    # Lab's mean is not RGB's; and a mean alone keeps a face's contrast, which black cuts off.
    np.testing.assert_allclose(mean, wanted, atol=0.09 if name == "mean" else 0.06)


@pytest.mark.parametrize("name", sorted(COLOR_MATCHERS))
def test_nothing_is_written_into_an_argument(name: str, faces: list[np.ndarray]) -> None:
    image, reference, mask = faces[0] * 0.8, faces[1].copy(), oval(SIZE)
    copies = [array.copy() for array in (image, reference, mask)]
    COLOR_MATCHERS[name](image, reference, mask).apply(image)
    for array, copy in zip((image, reference, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", sorted(set(COLOR_MATCHERS) - {"none", "poisson"}))
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
        maps.append(AffineMap("srgb", np.diag(gains), pivot, np.array([0.5, 0.4, 0.35])))
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
    steady_color_map([KEEP, fit_histogram(*strangers(), oval(SIZE)), KEEP], [1, 1, 1], 1)


@pytest.mark.parametrize("name", sorted(set(COLOR_MATCHERS) - {"none"}))
def test_steadying_equal_frames_changes_nothing(name: str, faces: list[np.ndarray]) -> None:
    color_map = COLOR_MATCHERS[name](Cast(3)(darken_chin(faces[0])), faces[0], oval(SIZE))
    steady = steady_color_map([color_map] * 3, [0.5, 1, 0.5], 1)
    before, after = (m.apply(faces[1]) for m in (color_map, steady))
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_steadying_lowers_the_flicker_of_robust_weights(faces: list[np.ndarray]) -> None:
    """Of the mean error, on casts that jump in every frame; the error itself stays."""
    error, flicker = benchmark("robust_mkl", faces)
    steady_error, steady_flicker = benchmark("robust_mkl", faces, steady=True)
    assert steady_flicker < flicker
    assert steady_flicker <= 0.02
    assert steady_error <= error + 0.1


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


def test_a_voted_map_counts_by_the_shifts_of_the_maps_as_fitted() -> None:
    """The centre, too: its votes are averaged first, and its share is that of its own fit."""
    rng = np.random.default_rng(1)
    image = rng.uniform(0.3, 0.7, (64, 3))
    reference = image + 0.05 + rng.normal(0, 0.02, (64, 3))
    samples = Samples(image, reference, np.ones(64), np.ones((8, 8), bool))
    maps = [voted_map(samples, rng.uniform(0, 1, 64) ** 4) for _ in range(2)]
    steady = steady_color_map(maps, [1.0, 1.0], 0)
    own = voted_map(samples, (maps[0].votes + maps[1].votes) / 2)
    gaps = [(m.goal - m.pivot) - (own.goal - own.pivot) for m in maps]
    shares = np.array([np.exp(-0.5 * gap @ gap / SAME_SHIFT**2) for gap in gaps])
    assert 0.2 < shares[0] < 0.7 and shares[1] > 0.2  # else this would tell nothing
    expected = np.tensordot(shares / shares.sum(), [own.matrix, maps[1].matrix], 1)
    assert isinstance(steady, AffineMap)
    np.testing.assert_allclose(steady.matrix, expected, atol=1e-12)
