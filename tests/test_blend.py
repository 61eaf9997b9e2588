from typing import get_args

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from faceswap_lite.config import MaskName
from faceswap_lite.conversion.blend import paste_face
from faceswap_lite.conversion.mask import MASKS, blend_alpha, soft_alpha

# Half a step of 8 bits: what rounding may cost.
ROUNDING = 0.5 / 255 + 1e-6


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (np.hypot(x, y) < radius * size).astype(np.float32)


def placed(scale: float, turn_deg: float, at: tuple[float, float], size: int) -> np.ndarray:
    """The frame_to_crop that shows `at` in the crop's middle, a frame pixel being `scale` wide."""
    matrix = np.array(cv2.getRotationMatrix2D(at, turn_deg, scale), np.float64)
    matrix[:, 2] += (size - 1) / 2 - np.array(at)
    return matrix


def shifted(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, -x], [0, 1, -y]])


def solid(size: int, value: float) -> np.ndarray:
    return np.full((size, size, 3), value, np.float32)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return astronaut()[:240, :320]


@pytest.fixture(scope="module")
def soft() -> np.ndarray:
    return soft_alpha(disc(96, 0.4), 0.0, 0.2)


# Where alpha goes


def test_alpha_is_applied_exactly_once(soft: np.ndarray) -> None:
    """White on black shows alpha itself; applied twice it would show its square."""
    frame = np.zeros((150, 200, 3), np.uint8)
    out = paste_face(frame, solid(96, 1), soft, shifted(40, 30))
    shown = out[30:126, 40:136, 1] / 255
    edge = (soft > 0.2) & (soft < 0.8)
    assert edge.sum() > 500
    assert np.abs(shown - soft).max() <= ROUNDING
    assert np.abs(shown - soft**2)[edge].mean() > 0.15


@pytest.mark.parametrize("scale", [0.35, 1.0, 2.3])
@pytest.mark.parametrize("value", [0, 1])
def test_a_face_of_the_frames_colour_leaves_no_seam(scale, value, soft) -> None:
    frame = np.full((200, 300, 3), 255 * value, np.uint8)
    out = paste_face(frame, solid(96, value), soft, placed(scale, 20, (150, 100), 96))
    np.testing.assert_array_equal(out, frame)


@pytest.mark.parametrize("scale", [0.35, 1.0, 2.3])
def test_what_alpha_hides_never_bleeds_into_the_edge(scale: float) -> None:
    """A network's crop is black, or anything, outside its mask."""
    alpha = disc(96, 0.3)
    face = solid(96, 1) * alpha[..., None]
    frame = np.full((200, 300, 3), 255, np.uint8)
    out = paste_face(frame, face, alpha, placed(scale, 20, (150, 100), 96))
    np.testing.assert_array_equal(out, frame)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [0.35, 1.0, 2.3])
def test_pixels_without_alpha_keep_every_bit(dtype: type, scale: float, soft: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, np.iinfo(dtype).max, (200, 300, 3), dtype, endpoint=True)
    matrix = placed(scale, 33, (140, 110), 96)
    out = paste_face(frame, solid(96, 0.5), soft, matrix)
    y, x = np.mgrid[:200, :300]
    place = np.stack([x, y], -1) @ matrix[:, :2].T + matrix[:, 2] - 47.5
    # Interpolation and antialiasing reach a few pixels of the coarser picture.
    outside = np.hypot(place[..., 0], place[..., 1]) > 0.4 * 96 + 3 * max(1, scale)
    np.testing.assert_array_equal(out[outside], frame[outside])
    assert (out != frame)[~outside].mean() > 0.5
    assert out.dtype == dtype


def test_the_frame_itself_is_not_written_into(scene: np.ndarray, soft: np.ndarray) -> None:
    before = scene.copy()
    face, alpha = solid(96, 0.5), soft.copy()
    out = paste_face(scene, face, alpha, shifted(40, 30))
    assert out is not scene
    np.testing.assert_array_equal(scene, before)
    np.testing.assert_array_equal(alpha, soft)
    assert (face == 0.5).all()


def test_sixteen_bits_are_kept() -> None:
    frame = np.zeros((120, 120, 3), np.uint16)
    ramp = np.linspace(0, 1, 96, dtype=np.float32)
    face = np.repeat(np.broadcast_to(ramp, (96, 96))[..., None], 3, axis=2)
    alpha = np.zeros((96, 96), np.float32)
    alpha[1:-1, 1:-1] = 1
    out = paste_face(frame, face, alpha, shifted(10, 10))
    wanted = np.rint(65535 * face)[1:-1, 1:-1]
    assert np.abs(out[11:105, 11:105] - wanted).max() <= 1


# Where the face goes


def test_a_face_at_whole_pixels_is_copied_as_it_is(scene: np.ndarray) -> None:
    face = (scene[20:116, 160:256] / 255).astype(np.float32)
    alpha = disc(96, 0.4)
    out = paste_face(np.zeros_like(scene), face, alpha, shifted(33, 57))
    np.testing.assert_array_equal(
        out[57:153, 33:129], scene[20:116, 160:256] * (alpha > 0)[..., None]
    )


def test_a_crop_put_back_is_the_frame_again(scene: np.ndarray) -> None:
    """frame_to_crop is read in the right direction, to a fraction of a pixel."""
    smooth = cv2.GaussianBlur(scene, (0, 0), 2)
    matrix = placed(1.3, 25, (171.3, 102.6), 128)
    crop = cv2.warpAffine(smooth, matrix, (128, 128), flags=cv2.INTER_CUBIC)
    alpha = soft_alpha(disc(128, 0.45), 0.0, 0.06)
    out = paste_face(smooth, crop / np.float32(255), alpha, matrix)
    assert np.abs(out.astype(int) - smooth).max() <= 4
    assert np.abs(out.astype(int) - smooth).mean() < 0.2


@pytest.mark.parametrize("at", [(0, 0), (319, 239), (-20, 100), (160, 250)])
def test_a_face_partly_outside_is_the_inside_of_a_larger_frame(scene, soft, at) -> None:
    wide = np.pad(scene, ((100, 100), (100, 100), (0, 0)), mode="edge")
    face = np.random.default_rng(0).random((96, 96, 3), np.float32)
    out = paste_face(scene, face, soft, placed(1.0, 10, at, 96))
    larger = paste_face(wide, face, soft, placed(1.0, 10, (at[0] + 100, at[1] + 100), 96))
    gap = np.abs(out.astype(int) - larger[100:-100, 100:-100])
    # Coordinates are rounded to 1/32 pixel, and the two frames have other origins.
    assert gap.mean() < 0.1
    assert gap.max() <= 24


@pytest.mark.parametrize("at", [(-500, 100), (100, 900), (4000, 4000)])
def test_a_face_fully_outside_changes_nothing(scene, soft, at) -> None:
    out = paste_face(scene, solid(96, 1), soft, placed(1.0, 10, at, 96))
    np.testing.assert_array_equal(out, scene)


def test_an_empty_alpha_changes_nothing(scene: np.ndarray) -> None:
    out = paste_face(scene, solid(96, 1), np.zeros((96, 96), np.float32), shifted(0, 0))
    np.testing.assert_array_equal(out, scene)
    assert out is not scene


def test_a_matrix_that_flattens_is_refused(scene: np.ndarray, soft: np.ndarray) -> None:
    with pytest.raises(ValueError, match="inverted"):
        paste_face(scene, solid(96, 1), soft, np.array([[1.0, 1, 0], [2, 2, 0]]))


# How the face is resampled


def opaque(size: int) -> np.ndarray:
    alpha = np.zeros((size, size), np.float32)
    alpha[2:-2, 2:-2] = 1
    return alpha


def test_a_shrunken_face_is_as_smooth_as_an_area_average() -> None:
    """Stripes of one pixel, four to a frame pixel, must turn grey and not into other stripes."""
    stripes = np.broadcast_to((np.arange(256) % 2)[None, :, None], (256, 256, 3))
    out = paste_face(
        np.zeros((100, 100, 3), np.uint8),
        stripes.astype(np.float32),
        opaque(256),
        placed(4.2, 0, (50, 50), 256),
    )
    inner = out[30:70, 30:70]
    assert abs(inner.mean() - 127.5) < 2
    assert inner.std() < 4


def test_a_shrunken_face_is_near_the_area_average(scene: np.ndarray) -> None:
    face = cv2.resize(scene[:192, 128:320], (256, 256)) / np.float32(255)
    small = cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA)
    # A pixel of the small picture is four wide, and its middle lies at 1.5 of the large one.
    frame_to_crop = np.array([[4.0, 0, 1.5], [0, 4, 1.5]])
    out = paste_face(np.zeros((64, 64, 3), np.uint8), face, opaque(256), frame_to_crop) / 255
    error = np.square(out - small)[4:-4, 4:-4].mean()
    bare = cv2.warpAffine(
        face, frame_to_crop, (64, 64), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    assert -10 * np.log10(error) > 33
    assert error < np.square(bare - small)[4:-4, 4:-4].mean() / 2


def test_a_magnified_face_is_nearer_the_truth_than_by_linear_interpolation(scene) -> None:
    """64 px shown at 160: what a small model's face goes through."""
    truth = cv2.GaussianBlur(scene[20:180, 140:300], (0, 0), 2.5)
    small = cv2.resize(truth, (64, 64), interpolation=cv2.INTER_AREA) / np.float32(255)
    frame_to_crop = np.array([[0.4, 0, -0.3], [0, 0.4, -0.3]])
    out = paste_face(np.zeros_like(truth), small, opaque(64), frame_to_crop)
    linear = 255 * cv2.resize(small, (160, 160), interpolation=cv2.INTER_LINEAR)
    inner = np.s_[12:-12, 12:-12]
    error = np.square(out[inner].astype(float) - truth[inner]).mean()
    assert error < 0.6 * np.square(linear[inner] - truth[inner]).mean()


def test_sharpness_does_not_blink_where_the_size_crosses_one_to_one(scene: np.ndarray) -> None:
    face = (scene[20:148, 150:278] / 255).astype(np.float32)
    detail = []
    for scale in np.linspace(0.9, 1.2, 13):
        out = paste_face(
            np.zeros((160, 160, 3), np.uint8), face, opaque(128), placed(scale, 9, (80, 80), 128)
        )
        grey = cv2.cvtColor(out[40:120, 40:120], cv2.COLOR_RGB2GRAY)
        detail.append(cv2.Laplacian(grey, cv2.CV_32F).std())
    assert np.abs(np.diff(np.log(detail))).max() < 0.15


def test_only_the_faces_rectangle_is_computed(soft, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alpha's disc is 77 px wide, shown at half the size; the frame has two megapixels."""
    sizes = []
    warp = cv2.warpAffine

    def watched(image, matrix, size, **options):
        sizes.append(size)
        return warp(image, matrix, size, **options)

    monkeypatch.setattr(cv2, "warpAffine", watched)
    frame = np.zeros((1080, 1920, 3), np.uint8)
    out = paste_face(frame, solid(96, 1), soft, placed(2.0, 0, (300, 180), 96))
    assert out.any()
    assert len(sizes) == 1
    assert max(sizes[0]) <= 77 / 2 + 12


# The mask


@pytest.mark.parametrize("erode", [-0.1, 0.0, 0.1])
@pytest.mark.parametrize("feather", [0.0, 0.06, 0.3])
@pytest.mark.parametrize("size", [64, 100, 256])
def test_no_square_shows_even_of_a_full_mask(erode: float, feather: float, size: int) -> None:
    alpha = soft_alpha(np.ones((size, size), np.float32), erode, feather)
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert (border == 0).all()
    assert alpha.dtype == np.float32
    assert alpha.max() == pytest.approx(1, abs=1e-5)
    if feather:
        # No step is steeper than the edge is wide.
        assert np.abs(np.diff(alpha, axis=1)).max() <= 2.5 / (feather * size)


@pytest.mark.parametrize("size", [64, 256])
def test_the_soft_edge_lies_inside_and_has_the_asked_width(size: int) -> None:
    mask = disc(size, 0.35)
    alpha = soft_alpha(mask, 0.0, 0.1)
    assert (alpha[mask == 0] == 0).all()
    row = alpha[size // 2, : size // 2]
    width = ((row > 0.01) & (row < 0.99)).sum()
    assert 0.06 * size <= width <= 0.1 * size + 1
    assert (np.diff(row) >= -1e-6).all()


def test_erode_and_dilate_move_the_edge_by_fractions_of_the_side() -> None:
    for size in (100, 200):
        mask = disc(size, 0.3)
        widths = [
            int((soft_alpha(mask, erode, 0.0)[size // 2] > 0.5).sum())
            for erode in (0.05, 0.0, -0.05)
        ]
        assert widths == [0.5 * size, 0.6 * size, 0.7 * size]


def test_without_feather_the_masks_own_softness_stays() -> None:
    mask = cv2.GaussianBlur(disc(100, 0.3), (0, 0), 3)
    mask[mask < 1e-4] = 0
    np.testing.assert_allclose(soft_alpha(mask, 0.0, 0.0), mask)


def test_a_mask_smaller_than_its_edge_vanishes_quietly() -> None:
    assert (soft_alpha(disc(100, 0.05), 0.0, 0.3) == 0).all()
    assert (soft_alpha(np.zeros((64, 64), np.float32), -0.1, 0.06) == 0).all()


def test_masks_combine_as_their_names_say() -> None:
    hull = disc(64, 0.4)
    learned = np.full((64, 64), 0.5, np.float32)
    learned[:32] = 0
    np.testing.assert_array_equal(MASKS["hull"](hull, learned), hull)
    np.testing.assert_array_equal(MASKS["learned"](hull, learned), learned)
    np.testing.assert_array_equal(MASKS["product"](hull, learned), hull * learned)
    assert set(MASKS) == set(get_args(MaskName))


def test_blend_alpha_takes_the_hull_where_a_model_has_no_mask() -> None:
    hull = disc(64, 0.4)
    learned = disc(64, 0.2)
    for name in MASKS:
        with_mask = blend_alpha(hull, learned, name, erode=0.0, feather=0.06)
        np.testing.assert_array_equal(with_mask, soft_alpha(MASKS[name](hull, learned), 0.0, 0.06))
        without = blend_alpha(hull, None, name, erode=0.0, feather=0.06)
        np.testing.assert_array_equal(without, soft_alpha(hull, 0.0, 0.06))
