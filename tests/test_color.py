"""Colour matching with the truth known: a face gets a cast, the ideal match takes it off again."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab
from skimage.data import astronaut

from faceswap_lite.config import ColorName
from faceswap_lite.conversion.color import (
    COLOR_MATCHERS,
    ColorMap,
    apply_color_map,
    fit_mkl,
    fit_reinhard,
    fit_robust_mkl,
)
from faceswap_lite.metrics import delta_e

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
) -> tuple[float, float]:
    """Mean error in the mask (CIEDE2000), and the mean step of the mean Lab error (flicker)."""
    fit, mask = COLOR_MATCHERS[name], oval(SIZE)
    errors, steps = [], []
    for seed in range(3):
        cast, drifts = Cast(seed), []
        for face in faces:
            ideal = content(soften(face))
            image = cast(ideal)
            out = apply_color_map(image, fit(image, face, mask))
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


@pytest.mark.parametrize("name", sorted(COLOR_MATCHERS))
@pytest.mark.parametrize("size", [64, 128, 300])
def test_only_the_inside_of_the_mask_counts(name: str, size: int, faces: list[np.ndarray]) -> None:
    mask = oval(size)
    image, reference = (cv2.resize(face, (size, size)) for face in (Cast(0)(faces[0]), faces[0]))
    zeroed = [np.where(mask[..., None] > 0, picture, 0) for picture in (image, reference)]
    before = COLOR_MATCHERS[name](image, reference, mask)
    after = COLOR_MATCHERS[name](zeroed[0], zeroed[1], mask)
    np.testing.assert_array_equal(before.matrix, after.matrix)
    np.testing.assert_array_equal(before.offset, after.offset)


def test_mkl_gives_two_strangers_the_same_mean_and_covariance() -> None:
    image, reference = strangers()
    mask = oval(SIZE)
    # With nothing in common the robust weights step back, and it is the plain transport.
    for fit in (fit_mkl, fit_robust_mkl):
        out = apply_color_map(image, fit(image, reference, mask))
        mean, covariance = statistics(out, mask)
        wanted_mean, wanted_covariance = statistics(reference, mask)
        np.testing.assert_allclose(mean, wanted_mean, atol=SAME_COLOR)
        np.testing.assert_allclose(covariance, wanted_covariance, atol=2e-4)


def test_mkl_is_the_closed_form_of_one_dimension_on_grey() -> None:
    """On one axis the transport is (x - mean) * std ratio + mean."""
    x, _ = strangers()
    grey = np.repeat(x[..., :1], 3, axis=2)
    reference = 0.25 + 1.5 * (grey - 0.5)
    out = apply_color_map(grey, fit_mkl(grey, reference, oval(SIZE)))
    np.testing.assert_allclose(out, np.clip(reference, 0, 1), atol=SAME_COLOR)


def test_the_mkl_matrix_is_symmetric_and_positive() -> None:
    matrix = fit_mkl(*strangers(), oval(SIZE)).matrix
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_reinhard_gives_two_strangers_the_same_lab_mean_and_spread() -> None:
    image, reference = strangers()
    mask = oval(SIZE)
    out = apply_color_map(image, fit_reinhard(image, reference, mask))
    mean, covariance = statistics(rgb2lab(out), mask)
    wanted_mean, wanted_covariance = statistics(rgb2lab(reference), mask)
    np.testing.assert_allclose(mean, wanted_mean, atol=0.2)
    spread_error = np.log(np.diag(covariance) / np.diag(wanted_covariance)) / 2
    assert np.abs(spread_error).max() < 0.03


def test_two_people_are_matched_as_a_whole_not_where_they_happen_to_agree(
    media_dir: Path,
) -> None:
    """Mean error in Lab over pairs of people; plain robust weights leave more than 1."""
    first = {path.parent: path for path in reversed(photos(media_dir))}
    people = [face for path in first.values() if (face := aligned_face(path)) is not None]
    assert len(people) >= 2
    mask = oval(SIZE)
    errors = []
    for image in people:
        for reference in people:
            if image is not reference:
                out = apply_color_map(image, fit_robust_mkl(image, reference, mask))
                gap = rgb2lab(out) - rgb2lab(reference)
                errors.append(np.abs(np.average(gap.reshape(-1, 3), axis=0, weights=mask.ravel())))
    assert np.mean(errors) <= 1.0


@pytest.mark.parametrize("name", sorted(COLOR_MATCHERS))
@pytest.mark.parametrize("size", [64, 100, 256])
def test_the_same_picture_stays_as_it_is(name: str, size: int, faces: list[np.ndarray]) -> None:
    picture = cv2.resize(faces[0], (size, size))
    out = apply_color_map(picture, COLOR_MATCHERS[name](picture, picture, oval(size)))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, picture, atol=SAME_COLOR)


@pytest.mark.parametrize("name", sorted(COLOR_MATCHERS))
def test_an_empty_mask_changes_nothing(name: str, faces: list[np.ndarray]) -> None:
    color_map = COLOR_MATCHERS[name](faces[0], faces[1] * 0.5, np.zeros((SIZE, SIZE)))
    np.testing.assert_array_equal(apply_color_map(faces[0], color_map), np.float32(faces[0]))


FLAT = np.full((SIZE, SIZE, 3), [0.6, 0.4, 0.3])
GREY = np.repeat(strangers()[0][..., :1], 3, axis=2)


@pytest.mark.parametrize("name", ["reinhard", "robust_mkl"])
@pytest.mark.parametrize("image", [FLAT, GREY, np.zeros_like(FLAT)], ids=["flat", "grey", "black"])
@pytest.mark.parametrize("turned", [False, True], ids=["onto a face", "a face onto it"])
def test_flat_and_grey_pictures_meet_in_the_mean(
    name: str, image: np.ndarray, turned: bool, faces: list[np.ndarray]
) -> None:
    """Covariances that cannot be inverted give the reference's mean colour and no noise."""
    pair = (faces[0], image) if turned else (image, faces[0])
    mask = oval(SIZE)
    color_map = COLOR_MATCHERS[name](*pair, mask)
    assert np.abs(np.linalg.eigvals(color_map.matrix)).max() <= 3 + 1e-9
    out = apply_color_map(pair[0], color_map)
    assert np.isfinite(out).all()
    mean, wanted = statistics(out, mask)[0], statistics(pair[1], mask)[0]
    np.testing.assert_allclose(mean, wanted, atol=0.06)  # Lab's mean is not RGB's; clipping


@pytest.mark.parametrize("name", sorted(COLOR_MATCHERS))
def test_nothing_is_written_into_an_argument(name: str, faces: list[np.ndarray]) -> None:
    image, reference, mask = faces[0] * 0.8, faces[1].copy(), oval(SIZE)
    copies = [array.copy() for array in (image, reference, mask)]
    apply_color_map(image, COLOR_MATCHERS[name](image, reference, mask))
    for array, copy in zip((image, reference, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", ["reinhard", "robust_mkl"])
def test_a_small_change_of_the_frame_is_a_small_change_of_the_map(
    name: str, faces: list[np.ndarray]
) -> None:
    """No pixel's crossing of a limit may make the colours jump from frame to frame."""
    image = Cast(1)(darken_chin(faces[0]))
    first = COLOR_MATCHERS[name](image, faces[0], oval(SIZE))
    second = COLOR_MATCHERS[name](np.clip(image + 1e-4, 0, 1), faces[0], oval(SIZE))
    step = np.abs(apply_color_map(image, first) - apply_color_map(image, second))
    assert step.max() < 1e-3


def test_the_average_of_two_maps_paints_the_average_of_their_pictures() -> None:
    first = ColorMap("srgb", np.eye(3), np.array([0.1, 0.0, 0.0]))
    second = ColorMap("srgb", 0.8 * np.eye(3), np.array([0.0, 0.1, 0.0]))
    middle = ColorMap(
        "srgb", (first.matrix + second.matrix) / 2, (first.offset + second.offset) / 2
    )
    image = strangers()[0]
    wanted = (apply_color_map(image, first) + apply_color_map(image, second)) / 2
    np.testing.assert_allclose(apply_color_map(image, middle), wanted, atol=1e-6)


def test_the_registry_holds_what_the_config_names() -> None:
    assert set(COLOR_MATCHERS) == set(get_args(ColorName))
