from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from faceswap_lite.config import BlendName
from faceswap_lite.conversion.blend import (
    BLENDERS,
    MIN_ALPHA,
    Layer,
    alpha_over,
    gate_layer,
    lay_over,
    layer_mask,
    layer_rgba,
    place_face,
)
from faceswap_lite.conversion.mask import soft_alpha

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


def paste(
    frame: np.ndarray, face: np.ndarray, alpha: np.ndarray, matrix: np.ndarray, blend: str = "alpha"
) -> np.ndarray:
    layer = place_face((frame.shape[0], frame.shape[1]), face, alpha, matrix)
    return frame.copy() if layer is None else BLENDERS[blend](frame, layer)


def some_layer(seed: int, left: int, top: int, height: int, width: int) -> Layer:
    rng = np.random.default_rng(seed)
    alpha = np.clip(1.6 * rng.random((height, width, 1), np.float32) - 0.3, 0, 1)
    alpha[alpha <= MIN_ALPHA] = 0
    return Layer(left, top, rng.random((height, width, 3), np.float32), alpha)


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
    out = paste(frame, solid(96, 1), soft, shifted(40, 30))
    shown = out[30:126, 40:136, 1] / 255
    edge = (soft > 0.2) & (soft < 0.8)
    assert edge.sum() > 500
    assert np.abs(shown - soft).max() <= ROUNDING
    assert np.abs(shown - soft**2)[edge].mean() > 0.15


@pytest.mark.parametrize("scale", [0.35, 1.0, 2.3])
@pytest.mark.parametrize("value", [0, 1])
def test_a_face_of_the_frames_colour_leaves_no_seam(scale, value, soft) -> None:
    frame = np.full((200, 300, 3), 255 * value, np.uint8)
    out = paste(frame, solid(96, value), soft, placed(scale, 20, (150, 100), 96))
    np.testing.assert_array_equal(out, frame)


@pytest.mark.parametrize("scale", [0.35, 1.0, 2.3])
def test_what_alpha_hides_never_bleeds_into_the_edge(scale: float) -> None:
    """A network's crop is black, or anything, outside its mask."""
    alpha = disc(96, 0.3)
    face = solid(96, 1) * alpha[..., None]
    frame = np.full((200, 300, 3), 255, np.uint8)
    out = paste(frame, face, alpha, placed(scale, 20, (150, 100), 96))
    np.testing.assert_array_equal(out, frame)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [0.35, 1.0, 2.3])
def test_pixels_without_alpha_keep_every_bit(dtype: type, scale: float, soft: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, np.iinfo(dtype).max, (200, 300, 3), dtype, endpoint=True)
    matrix = placed(scale, 33, (140, 110), 96)
    out = paste(frame, solid(96, 0.5), soft, matrix)
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
    out = paste(scene, face, alpha, shifted(40, 30))
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
    out = paste(frame, face, alpha, shifted(10, 10))
    wanted = np.rint(65535 * face)[1:-1, 1:-1]
    assert np.abs(out[11:105, 11:105] - wanted).max() <= 1


# Where the face goes


def test_a_face_at_whole_pixels_is_copied_as_it_is(scene: np.ndarray) -> None:
    face = (scene[20:116, 160:256] / 255).astype(np.float32)
    alpha = disc(96, 0.4)
    out = paste(np.zeros_like(scene), face, alpha, shifted(33, 57))
    np.testing.assert_array_equal(
        out[57:153, 33:129], scene[20:116, 160:256] * (alpha > 0)[..., None]
    )


def test_a_crop_put_back_is_the_frame_again(scene: np.ndarray) -> None:
    """frame_to_crop is read in the right direction, to a fraction of a pixel."""
    smooth = cv2.GaussianBlur(scene, (0, 0), 2)
    matrix = placed(1.3, 25, (171.3, 102.6), 128)
    crop = cv2.warpAffine(smooth, matrix, (128, 128), flags=cv2.INTER_CUBIC)
    alpha = soft_alpha(disc(128, 0.45), 0.0, 0.06)
    out = paste(smooth, crop / np.float32(255), alpha, matrix)
    assert np.abs(out.astype(int) - smooth).max() <= 4
    assert np.abs(out.astype(int) - smooth).mean() < 0.2


@pytest.mark.parametrize("at", [(0, 0), (319, 239), (-20, 100), (160, 250)])
def test_a_face_partly_outside_is_the_inside_of_a_larger_frame(scene, soft, at) -> None:
    wide = np.pad(scene, ((100, 100), (100, 100), (0, 0)), mode="edge")
    face = np.random.default_rng(0).random((96, 96, 3), np.float32)
    out = paste(scene, face, soft, placed(1.0, 10, at, 96))
    larger = paste(wide, face, soft, placed(1.0, 10, (at[0] + 100, at[1] + 100), 96))
    gap = np.abs(out.astype(int) - larger[100:-100, 100:-100])
    # Coordinates are rounded to 1/32 pixel, and the two frames have other origins.
    assert gap.mean() < 0.1
    assert gap.max() <= 24


@pytest.mark.parametrize("at", [(-500, 100), (100, 900), (4000, 4000)])
def test_a_face_fully_outside_changes_nothing(scene, soft, at) -> None:
    out = paste(scene, solid(96, 1), soft, placed(1.0, 10, at, 96))
    np.testing.assert_array_equal(out, scene)


def test_an_empty_alpha_changes_nothing(scene: np.ndarray) -> None:
    out = paste(scene, solid(96, 1), np.zeros((96, 96), np.float32), shifted(0, 0))
    np.testing.assert_array_equal(out, scene)
    assert out is not scene


def test_a_matrix_that_flattens_is_refused(scene: np.ndarray, soft: np.ndarray) -> None:
    with pytest.raises(ValueError, match="inverted"):
        paste(scene, solid(96, 1), soft, np.array([[1.0, 1, 0], [2, 2, 0]]))


# How the face is resampled


def opaque(size: int) -> np.ndarray:
    alpha = np.zeros((size, size), np.float32)
    alpha[2:-2, 2:-2] = 1
    return alpha


def test_a_shrunken_face_is_as_smooth_as_an_area_average() -> None:
    """Stripes of one pixel, four to a frame pixel, must turn grey and not into other stripes."""
    stripes = np.broadcast_to((np.arange(256) % 2)[None, :, None], (256, 256, 3))
    out = paste(
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
    out = paste(np.zeros((64, 64, 3), np.uint8), face, opaque(256), frame_to_crop) / 255
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
    out = paste(np.zeros_like(truth), small, opaque(64), frame_to_crop)
    linear = 255 * cv2.resize(small, (160, 160), interpolation=cv2.INTER_LINEAR)
    inner = np.s_[12:-12, 12:-12]
    error = np.square(out[inner].astype(float) - truth[inner]).mean()
    assert error < 0.6 * np.square(linear[inner] - truth[inner]).mean()


def test_sharpness_does_not_blink_where_the_size_crosses_one_to_one(scene: np.ndarray) -> None:
    face = (scene[20:148, 150:278] / 255).astype(np.float32)
    detail = []
    for scale in np.linspace(0.9, 1.2, 13):
        out = paste(
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
    out = paste(frame, solid(96, 1), soft, placed(2.0, 0, (300, 180), 96))
    assert out.any()
    assert len(sizes) == 1
    assert max(sizes[0]) <= 77 / 2 + 12


# Blending


def random_frame(dtype: type, seed: int = 0, shape: tuple[int, int] = (90, 120)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, (*shape, 3), dtype, endpoint=True)


def test_config_names_the_blenders() -> None:
    assert set(get_args(BlendName)) == set(BLENDERS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), left=st.integers(0, 60), top=st.integers(0, 40))
def test_alpha_over_is_the_sum_by_shares(dtype: type, seed: int, left: int, top: int) -> None:
    frame = random_frame(dtype, seed)
    layer = some_layer(seed, left, top, 50, 60)
    out = alpha_over(frame, layer)
    share = layer.alpha.astype(np.float64)
    color = np.iinfo(dtype).max * layer.color.astype(np.float64)
    wanted = frame.astype(np.float64)
    wanted[layer.rows, layer.columns] *= 1 - share
    wanted[layer.rows, layer.columns] += color * share
    # Half a step of rounding, and what float32 loses of 65535.
    assert np.abs(out - wanted).max() <= 0.5 + 1e-6 * np.iinfo(dtype).max


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("blend", BLENDERS)
def test_a_blender_keeps_what_it_promises(blend: str, dtype: type, soft: np.ndarray) -> None:
    frame = random_frame(dtype, shape=(200, 300))
    before = frame.copy()
    layer = place_face((200, 300), solid(96, 0.5), soft, placed(0.5, 33, (140, 80), 96))
    assert layer is not None
    out = BLENDERS[blend](frame, layer)
    np.testing.assert_array_equal(frame, before)
    assert out.dtype == dtype
    hidden = np.ones((200, 300), bool)
    hidden[layer.rows, layer.columns] = layer.alpha[..., 0] == 0
    assert 10_000 < hidden.sum() < 50_000
    np.testing.assert_array_equal(out[hidden], frame[hidden])
    middle = np.abs(out[75:85, 135:145] / np.iinfo(dtype).max - 0.5)
    assert middle.max() <= ROUNDING if blend == "alpha" else middle.mean() <= 0.02


@pytest.mark.parametrize("at", [(0, 0), (319, 239), (-20, 100), (160, 250), (4000, 0)])
@pytest.mark.parametrize("scale", [0.35, 1.0, 2.3])
@pytest.mark.parametrize("blend", BLENDERS)
def test_any_placement_blends_without_a_seam_of_like_colours(blend, scale, at, soft) -> None:
    frame = np.full((240, 320, 3), 200, np.uint8)
    out = paste(frame, solid(96, 200 / 255), soft, placed(scale, 70, at, 96), blend)
    np.testing.assert_array_equal(out, frame)


def test_multiband_is_alpha_far_from_the_edge() -> None:
    """Two plain colours: the face's in its middle, the frame's outside, nothing beyond the two."""
    frame = np.full((400, 400, 3), 100, np.uint8)
    alpha = soft_alpha(disc(256, 0.45), 0.0, 0.05)
    matrix = shifted(72, 72)
    plain = paste(frame, solid(256, 140 / 255), alpha, matrix)
    banded = paste(frame, solid(256, 140 / 255), alpha, matrix, "multiband")
    y, x = np.mgrid[:400, :400] - 199.5
    middle = np.hypot(x, y) < 0.22 * 256
    np.testing.assert_array_equal(banded[middle], plain[middle])
    assert banded.min() == 100
    assert banded.max() == 140
    # Broad differences fade over a wider rim than detail does.
    assert (banded.astype(int) - plain).min() < -10


def edge_excess(out: np.ndarray, truth: np.ndarray, rim: np.ndarray) -> float:
    """How much steeper the picture is than the truth along the rim, in steps a pixel."""
    steep = [np.hypot(*np.gradient(picture.astype(np.float64).mean(2))) for picture in (out, truth)]
    return float((steep[0] - steep[1])[rim].mean())


def test_multiband_hides_a_cast_and_keeps_detail() -> None:
    scene = cv2.resize(astronaut()[:256, 100:356], (400, 400))
    scene = np.clip(scene * 0.6 + 20, 0, 255).astype(np.uint8)
    face = (scene[72:328, 72:328].astype(np.float32) + 30) / 255
    alpha = soft_alpha(disc(256, 0.45), 0.0, 0.05)
    y, x = np.mgrid[:400, :400] - 199.5
    distance = np.hypot(x, y)
    rim = (distance > 0.38 * 256) & (distance < 0.46 * 256)
    excess = {}
    for blend in BLENDERS:
        out = paste(scene, face, alpha, shifted(72, 72), blend)
        excess[blend] = edge_excess(out, scene, rim)
        middle = distance < 0.2 * 256
        np.testing.assert_allclose(out[middle], scene[middle] + 30.0, atol=1)
    assert excess["alpha"] > 0.5
    assert excess["multiband"] < 0.5 * excess["alpha"]


def test_multiband_shows_detail_by_alpha() -> None:
    """Stripes that average out to the frame's grey have no low band to fade."""
    stripes = np.broadcast_to((np.arange(256) % 2)[None, :, None], (256, 256, 3))
    alpha = soft_alpha(disc(256, 0.45), 0.0, 0.05)
    frame = np.full((300, 300, 3), 128, np.uint8)
    plain = paste(frame, stripes.astype(np.float32), alpha, shifted(20, 20))
    banded = paste(frame, stripes.astype(np.float32), alpha, shifted(20, 20), "multiband")
    assert np.abs(plain.astype(int) - banded).mean() < 1
    assert np.abs(plain.astype(int) - banded).max() < 20


def test_multiband_does_not_fade_where_the_frame_ends() -> None:
    frame = np.full((200, 300, 3), 100, np.uint8)
    alpha = soft_alpha(disc(256, 0.48), 0.0, 0.05)
    out = paste(frame, solid(256, 0.8), alpha, shifted(20, -128), "multiband")
    np.testing.assert_array_equal(out[0, 120:170], 204)
    np.testing.assert_array_equal(out[:10, 148], 204)


def test_multiband_does_not_blink_as_a_face_grows() -> None:
    """Bands are added at certain sizes: the picture's mean moves on evenly all the same."""
    alpha = soft_alpha(disc(128, 0.45), 0.0, 0.05)
    shares = []
    # 112 px to 448 px: three bands to five.
    for side in np.geomspace(112, 448, 25):
        out = paste(
            np.zeros((500, 500, 3), np.uint8),
            solid(128, 1),
            alpha,
            placed(128 / side, 0, (250, 250), 128),
            "multiband",
        )
        shares.append(out.mean() / 255 * 500**2 / side**2)
    # 0.6 of the crop's square is the disc; measured: 0.008.
    assert np.abs(np.diff(shares)).max() < 0.02


# Layers


@pytest.mark.parametrize("blend", BLENDERS)
def test_lay_over_writes_the_layers_in_order(blend: str) -> None:
    frame = random_frame(np.uint16)
    layers = [some_layer(1, 10, 5, 50, 60), some_layer(2, 40, 20, 70, 80)]
    wanted = BLENDERS[blend](BLENDERS[blend](frame, layers[0]), layers[1])
    lay_over(frame, layers, blend)
    np.testing.assert_array_equal(frame, wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_exported_layer_makes_the_same_picture(dtype: type) -> None:
    frame = random_frame(dtype)
    layers = [some_layer(1, 10, 5, 50, 60), some_layer(2, 40, 20, 70, 80)]
    whole = np.iinfo(dtype).max
    picture = layer_rgba((90, 120), layers, dtype)
    assert picture.dtype == dtype
    share = picture[..., 3:] / whole
    by_hand = frame * (1 - share) + picture[..., :3] * share
    out = frame.copy()
    lay_over(out, layers)
    # Three roundings (each layer, the colour, alpha) of half a step.
    assert np.abs(by_hand - out).max() <= 2
    np.testing.assert_array_equal(
        layer_mask((90, 120), layers, dtype), np.repeat(picture[..., 3:], 3, axis=2)
    )
    assert (picture[picture[..., 3] == 0] == 0).all()
    assert (picture[:5] == 0).all()


def test_without_layers_the_pictures_are_black() -> None:
    assert not layer_rgba((20, 30), [], np.uint8).any()
    assert layer_mask((20, 30), [], np.uint16).shape == (20, 30, 3)


def test_a_given_mask_gates_alpha_once() -> None:
    layer = some_layer(3, 10, 5, 50, 60)
    given_mask = np.zeros((90, 120), np.float32)
    given_mask[:, 30:60] = 1
    given_mask[:, 60:] = 0.5
    gated = gate_layer(layer, given_mask)
    assert gated is not None
    wanted = layer.alpha[..., 0] * given_mask[5:55, 10:70]
    np.testing.assert_array_equal(gated.alpha[..., 0], wanted * (wanted > MIN_ALPHA))
    frame = random_frame(np.uint8)
    for blend in BLENDERS:
        out = BLENDERS[blend](frame, gated)
        np.testing.assert_array_equal(out[:, :30], frame[:, :30])
        assert (out[5:55, 30:70] != frame[5:55, 30:70]).mean() > 0.5
    assert gate_layer(layer, np.zeros((90, 120), np.float32)) is None
