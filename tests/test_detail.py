import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from faceswap_lite.conversion.blend import Layer, alpha_over
from faceswap_lite.conversion.detail import (
    NO_GRAIN,
    Grain,
    add_grain,
    match_sharpness,
    measure_grain,
)

EDGE = 128
Y, X = np.mgrid[:EDGE, :EDGE] - (EDGE - 1) / 2
MASK = (np.hypot(X, Y) < 50).astype(np.float32)
INSIDE = np.hypot(X, Y) < 46
# What the brief of sharpness and grain allows.
TOLERANCE = 0.15


def texture(name: str) -> np.ndarray:
    if name == "photo":
        region = astronaut()[20:220, 120:320]
        return cv2.resize(region, (EDGE, EDGE), interpolation=cv2.INTER_AREA) / np.float32(255)
    # Natural pictures have about this spectrum: amplitude falls with frequency.
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(EDGE), np.fft.fftfreq(EDGE)))
    frequency[0, 0] = 1
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((EDGE, EDGE))) / frequency).real
    grey = np.clip(0.5 + 0.1 * noise / noise.std(), 0, 1).astype(np.float32)
    return np.repeat(grey[..., None], 3, axis=2)


def matched(
    face: np.ndarray, reference: np.ndarray, mask: np.ndarray, strength: float,
    grain: Grain = NO_GRAIN,
) -> np.ndarray:  # fmt: skip
    """The face laid over a picture as deep as 16 bits, and sharpened or softened by it."""
    layer = Layer(0, 0, face.astype(np.float32), mask[..., None])
    frame = np.round(np.clip(reference, 0, 1) * 65535).astype(np.uint16)
    return match_sharpness(layer, frame, grain, sharpen=strength, soften=strength).color


def laplacian_energy(picture: np.ndarray) -> float:
    grey = cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return float(np.square(cv2.Laplacian(grey, cv2.CV_32F))[INSIDE].mean())


# Sharpness


@pytest.mark.parametrize("name", ["photo", "noise"])
@pytest.mark.parametrize("blur_px", [0.5, 0.7, 1.0])
def test_a_blurred_face_becomes_as_sharp_as_the_reference(name: str, blur_px: float) -> None:
    reference = texture(name)
    face = cv2.GaussianBlur(reference, (0, 0), blur_px) * MASK[..., None]
    wanted = laplacian_energy(reference)
    assert laplacian_energy(face) < 0.5 * wanted
    energies = [
        laplacian_energy(matched(face, reference, MASK, strength))
        for strength in (0.0, 0.3, 0.6, 1.0)
    ]
    assert energies == sorted(energies)
    assert energies[-1] == pytest.approx(wanted, rel=TOLERANCE)


def test_a_slight_blur_is_undone_and_not_only_masked() -> None:
    reference = texture("photo")
    face = cv2.GaussianBlur(reference, (0, 0), 0.5)
    out = matched(face, reference, MASK, 1.0)
    before, after = (np.square(picture - reference)[INSIDE].mean() for picture in (face, out))
    assert after < 0.5 * before


@settings(max_examples=20, deadline=None)
@given(blur_px=st.floats(0.3, 4.0), strength=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_no_face_becomes_sharper_than_the_reference(
    blur_px: float, strength: float, seed: int
) -> None:
    """Another face than the reference: two people's details have nothing in common."""
    reference = cv2.GaussianBlur(texture("photo"), (0, 0), 0.6)
    face = np.roll(texture("noise"), seed, axis=(0, 1))
    face = cv2.GaussianBlur(face, (0, 0), blur_px)
    out = matched(face, reference, MASK, strength)
    maximum = max(laplacian_energy(face), laplacian_energy(reference))
    assert laplacian_energy(out) <= 1.05 * maximum


@pytest.mark.parametrize("blur_px", [0.7, 1.5])
def test_a_sharper_face_becomes_as_soft_as_the_reference(blur_px: float) -> None:
    reference = cv2.GaussianBlur(texture("photo"), (0, 0), blur_px)
    out = matched(texture("photo"), reference, MASK, 1.0)
    wanted = laplacian_energy(reference)
    assert laplacian_energy(out) == pytest.approx(wanted, rel=0.25)
    assert (
        np.abs(out - reference)[INSIDE].mean() < np.abs(texture("photo") - reference)[INSIDE].mean()
    )


def test_the_pictures_grain_is_no_detail() -> None:
    reference = cv2.GaussianBlur(texture("photo"), (0, 0), 1.5)
    noise = np.random.default_rng(2).standard_normal((EDGE, EDGE, 1)) * 4 / 255
    wanted = laplacian_energy(reference)
    blind = matched(texture("photo"), reference + noise, MASK, 1.0)
    out = matched(texture("photo"), reference + noise, MASK, 1.0, Grain(4 / 255, 0.0))
    assert laplacian_energy(blind) > 3 * wanted
    assert laplacian_energy(out) < 1.6 * wanted


def test_up_and_down_are_asked_for_apart() -> None:
    sharp = texture("photo")
    soft = cv2.GaussianBlur(sharp, (0, 0), 1.0)
    for face, reference, way in ((soft, sharp, "sharpen"), (sharp, soft, "soften")):
        layer = Layer(0, 0, face.astype(np.float32), MASK[..., None])
        frame = np.round(reference * 65535).astype(np.uint16)
        other = {"sharpen": "soften", "soften": "sharpen"}[way]
        assert match_sharpness(layer, frame, NO_GRAIN, **{other: 1.0}) is layer
        changed = match_sharpness(layer, frame, NO_GRAIN, **{way: 1.0})
        assert np.abs(changed.color - layer.color).max() > 0.02


def test_strength_nought_and_an_empty_mask_change_nothing() -> None:
    face = cv2.GaussianBlur(texture("photo"), (0, 0), 1)
    np.testing.assert_array_equal(matched(face, texture("photo"), MASK, 0.0), face)
    none = np.zeros_like(MASK)
    np.testing.assert_array_equal(matched(face, texture("photo"), none, 1.0), face)


@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_a_flat_face_stays_flat_to_its_very_edge(hidden: float) -> None:
    """Whatever the network paints outside the mask, its jump there does not ring."""
    face = np.full((EDGE, EDGE, 3), hidden, np.float32)
    face[MASK > 0] = 0.5
    out = matched(face, texture("noise"), MASK, 1.0)
    np.testing.assert_allclose(out, face, atol=1e-3)


def test_nothing_changes_outside_the_mask() -> None:
    face = cv2.GaussianBlur(texture("photo"), (0, 0), 1)
    out = matched(face, texture("photo"), MASK, 1.0)
    np.testing.assert_array_equal(out[MASK == 0], face[MASK == 0])
    assert np.abs(out - face)[MASK > 0].max() > 0.02
    assert out.min() >= 0
    assert out.max() <= 1


# Grain


def grainy(scene: np.ndarray, sigma: float, coarse_px: float, seed: int, dtype: type) -> np.ndarray:
    """The scene (0 to 1) with grain of `sigma` 8-bit steps, drawn apart from the code."""
    noise: np.ndarray = np.random.default_rng(seed).standard_normal(scene.shape[:2])
    if coarse_px:
        noise = cv2.GaussianBlur(noise, (0, 0), coarse_px)
        noise = noise / noise.std()
    whole = np.iinfo(dtype).max
    return np.rint(whole * np.clip(scene + sigma / 255 * noise[..., None], 0, 1)).astype(dtype)


def scene(name: str) -> np.ndarray:
    if name == "flat":
        return np.full((360, 480, 3), 0.5)
    # Edges and broad shading, without fine texture.
    photo = cv2.resize(astronaut(), (480, 360)).astype(np.float64) / 255
    smooth = cv2.GaussianBlur(photo, (0, 0), 4)
    y, x = np.mgrid[:360, :480]
    smooth[(x // 60 + y // 45) % 2 == 0] *= 0.8
    return smooth


def plain_layer(value: float = 0.5) -> Layer:
    alpha = (np.hypot(*(np.mgrid[:160, :160] - 79.5)) < 76).astype(np.float32)
    return Layer(160, 100, np.full((160, 160, 3), value, np.float32), alpha[..., None])


def spread(layer: Layer) -> float:
    """Standard deviation of the shown luma, in 8-bit steps."""
    grey = cv2.cvtColor(layer.color, cv2.COLOR_RGB2GRAY)
    return 255 * float(grey[layer.alpha[..., 0] > 0].std())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("coarse_px", [0.0, 0.7, 1.2])
@pytest.mark.parametrize("sigma", [1.5, 4.0, 8.0])
@pytest.mark.parametrize("name", ["flat", "edges"])
def test_a_smooth_face_gets_the_grain_around_it(name, sigma, coarse_px, dtype) -> None:
    frame = grainy(scene(name), sigma, coarse_px, seed=1, dtype=dtype)
    grain = measure_grain(frame, plain_layer())
    assert 255 * grain.sigma == pytest.approx(sigma, rel=TOLERANCE)
    if coarse_px:
        assert grain.coarse_px == pytest.approx(coarse_px, abs=0.25)
    else:
        # Finer than a third of a pixel is as good as white.
        assert grain.coarse_px <= 0.45
    out = add_grain(plain_layer(), frame, grain, np.random.default_rng(0), 1.0)
    assert spread(out) == pytest.approx(sigma, rel=TOLERANCE)
    # It shows in the frame, and only there where the face does.
    shown = alpha_over(frame, out)[out.rows, out.columns]
    hidden = out.alpha[..., 0] == 0
    np.testing.assert_array_equal(shown[hidden], frame[out.rows, out.columns][hidden])


def test_the_faces_own_grain_counts() -> None:
    own = np.random.default_rng(5).standard_normal((160, 160, 1)).astype(np.float32)
    layer = Layer(160, 100, 0.5 + 3 / 255 * np.repeat(own, 3, 2), plain_layer().alpha)
    for sigma, then in ((5, 5), (2, 3)):
        frame = grainy(scene("flat"), sigma, 0.0, seed=1, dtype=np.uint8)
        out = add_grain(layer, frame, Grain(sigma / 255, 0.0), np.random.default_rng(0), 1.0)
        assert spread(out) == pytest.approx(then, rel=TOLERANCE)


def test_texture_of_the_hidden_face_is_no_grain_of_the_frame() -> None:
    """Skin is rougher than what is around it: the face gets no more than the grain around."""
    frame = grainy(scene("flat"), 6, 0.0, seed=1, dtype=np.uint8)
    out = add_grain(plain_layer(), frame, Grain(2 / 255, 0.0), np.random.default_rng(0), 1.0)
    assert spread(out) == pytest.approx(2, rel=TOLERANCE)


def test_a_smooth_face_gets_no_grain_of_rougher_surroundings() -> None:
    frame = grainy(scene("flat"), 0, 0.0, seed=1, dtype=np.uint8)
    layer = plain_layer()
    assert add_grain(layer, frame, Grain(3 / 255, 0.0), np.random.default_rng(0), 1.0) is layer


@pytest.mark.parametrize("name", ["flat", "edges"])
def test_a_clip_without_grain_gives_none(name: str) -> None:
    frame = grainy(scene(name), 0.0, 0.0, seed=0, dtype=np.uint8)
    assert measure_grain(frame, plain_layer()) == NO_GRAIN
    layer = plain_layer()
    assert add_grain(layer, frame, NO_GRAIN, np.random.default_rng(0), 1.0) is layer


def test_a_face_that_fills_the_frame_gives_none() -> None:
    color = np.full((64, 64, 3), 0.5, np.float32)
    layer = Layer(0, 0, color, np.ones((64, 64, 1), np.float32))
    frame = grainy(np.full((64, 64, 3), 0.5), 5, 0.0, seed=0, dtype=np.uint8)
    assert measure_grain(frame, layer) == NO_GRAIN


def test_grain_is_the_generators_alone() -> None:
    layer, frame = plain_layer(), grainy(scene("flat"), 4, 0.8, seed=1, dtype=np.uint8)
    first, again, other = (
        add_grain(layer, frame, Grain(4 / 255, 0.8), np.random.default_rng(seed), 0.7)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.color, again.color)
    assert np.abs(first.color - other.color).max() > 1 / 255
    assert spread(first) == pytest.approx(0.7 * 4, rel=0.1)
    assert (layer.color == 0.5).all()
    np.testing.assert_array_equal(first.alpha, layer.alpha)
