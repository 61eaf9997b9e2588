import numpy as np
import pytest
import torch
from jaxtyping import Float
from scipy.ndimage import correlate1d, uniform_filter  # scikit-image brings it
from skimage.measure import block_reduce
from skimage.metrics import structural_similarity

from faceswap_lite.training.losses import (
    absolute_error,
    dssim,
    dssim_filters,
    focal_frequency_error,
    gradient_error,
    reconstruction_loss,
    soft_mask,
    squared_error,
    ssim_map,
)

WEIGHTS = {
    "dssim_weight": 10.0,
    "mse_weight": 10.0,
    "mask_weight": 3.0,
    "features_weight": 3.0,
    "background_weight": 0.1,
}


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    a = torch.rand(2, 3, 48, 48, generator=generator)
    return a, (a + 0.2 * torch.rand(2, 3, 48, 48, generator=generator)).clamp(0, 1)


def test_ssim_equals_scikit_image(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    ours = ssim_map(*pair, window=11).mean((1, 2, 3))
    for place in range(2):
        a, b = (x[place].permute(1, 2, 0).numpy() for x in pair)
        _, theirs = structural_similarity(
            a,
            b,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=2,
            full=True,
        )
        # Ours has no padding: compare where the whole 11 px window fits.
        assert ours[place].item() == pytest.approx(theirs[5:-5, 5:-5].mean(), abs=1e-5)


def test_the_field_s_windows() -> None:
    assert [dssim_filters(size) for size in (64, 128, 224)] == [((s, 1.5),) for s in (5, 11, 19)]
    assert dssim_filters(256) == ((23, 3.0), (11, 1.5))


def ssim_by_scipy(
    a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"], window: int, sigma: float
) -> Float[np.ndarray, "h2 w2"]:
    """In double precision, with the formula of the paper's eq. 13 (C3 = C2 / 2)."""
    taps = np.exp(-0.5 * ((np.arange(window) - window // 2) / sigma) ** 2)
    taps /= taps.sum()

    def blur(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, taps, 0), taps, 1)

    c1, c2 = 0.01**2, 0.03**2
    covariance = blur(a * b) - blur(a) * blur(b)
    spread = blur(a * a) - blur(a) ** 2 + blur(b * b) - blur(b) ** 2
    luminance = (2 * blur(a) * blur(b) + c1) / (blur(a) ** 2 + blur(b) ** 2 + c1)
    edge = window // 2
    return (luminance * (2 * covariance + c2) / (spread + c2))[edge:-edge, edge:-edge]


def test_dssim_has_two_scales_from_256_px() -> None:
    generator = np.random.default_rng(1)
    # Smooth pictures that differ at every size of detail.
    a, b = (uniform_filter(generator.random((256, 256)), size) for size in (7, 3))
    wide, narrow = ((1 - ssim_by_scipy(a, b, *f).mean()) / 2 for f in ((23, 3.0), (11, 1.5)))
    assert abs(wide - narrow) > 0.01
    image, reference = (torch.from_numpy(x).float()[None, None] for x in (a, b))
    ours = dssim(image, reference, torch.ones(1, 1, 256, 256)).item()
    assert ours == pytest.approx((wide + narrow) / 2, abs=1e-5)


def average_of_pictures(values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted within each picture, plainly over them."""
    spread = np.broadcast_to(weights, values.shape)
    return float(np.mean([np.average(v, weights=w) for v, w in zip(values, spread, strict=True)]))


def test_absolute_error_equals_numpy(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    weight = random_weight()
    a, b, w = (x.double().numpy() for x in (*pair, weight))
    expected = average_of_pictures(np.abs(a - b), w)
    assert absolute_error(*pair, weight).item() == pytest.approx(expected, rel=1e-5)


def random_weight() -> torch.Tensor:
    return torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(2))


def test_gradient_error_equals_numpy(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    weight = random_weight()
    a, b, w = (x.double().numpy() for x in (*pair, weight))
    expected = 0.0
    for side in (1, 2, 4, 8):
        d = block_reduce(a - b, (1, 1, side, side), np.mean)
        minimum = np.broadcast_to(block_reduce(w, (1, 1, side, side), np.min), d.shape)
        for axis in (2, 3):
            of_step = np.minimum(
                np.delete(minimum, 0, axis), np.delete(minimum, minimum.shape[axis] - 1, axis)
            )
            expected += average_of_pictures(np.abs(np.diff(d, axis=axis)), of_step) / 4
    assert gradient_error(*pair, weight).item() == pytest.approx(expected, rel=1e-5)


def test_gradient_error_sees_slopes_and_not_levels(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    weight = torch.ones(2, 1, 48, 48)
    assert gradient_error(pair[0] + 0.1, pair[0], weight).item() == pytest.approx(0, abs=1e-6)
    # A ramp of 0.01 a pixel: 0.01, 0.02, 0.04 and 0.08 from one pixel to the next.
    ramp = torch.arange(48) * 0.01 + torch.zeros(2, 3, 48, 48)
    assert gradient_error(pair[0] + ramp, pair[0], weight).item() == pytest.approx(0.15 / 4)


def focal_frequency_by_numpy(d: np.ndarray, alpha: float) -> tuple[float, np.ndarray]:
    """The paper's loss of a difference of pictures, and its gradient with the weights held."""
    spectrum = np.fft.fft2(d) / np.sqrt(d.shape[-2] * d.shape[-1])
    focus = np.abs(spectrum) ** alpha
    focus /= focus.max((-2, -1), keepdims=True)
    gradient = np.fft.ifft2(2 * focus * spectrum).real * np.sqrt(d.shape[-2] * d.shape[-1]) / d.size
    return float((focus * np.abs(spectrum) ** 2).mean()), gradient


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_focal_frequency_equals_the_paper_s(
    pair: tuple[torch.Tensor, torch.Tensor], alpha: float
) -> None:
    image = pair[0].clone().requires_grad_()
    loss = focal_frequency_error(image, pair[1], torch.ones(2, 1, 48, 48), alpha)
    loss.backward()
    expected, gradient = focal_frequency_by_numpy((pair[0] - pair[1]).double().numpy(), alpha)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert image.grad is not None
    np.testing.assert_allclose(image.grad.numpy(), gradient, atol=1e-5 * np.abs(gradient).max())


def test_focal_frequency_of_one_wave_is_its_squared_error() -> None:
    # One frequency has the full weight of 1: amplitude 0.2, so 0.2 ** 2 / 2.
    wave = 0.2 * torch.cos(2 * torch.pi * 5 * torch.arange(64) / 64) + torch.zeros(1, 3, 64, 64)
    weight = torch.ones(1, 1, 64, 64)
    assert focal_frequency_error(wave, wave * 0, weight).item() == pytest.approx(0.02, rel=1e-4)


def test_focal_frequency_weighs_places_as_the_squared_error_does(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    weight = random_weight()
    flat = focal_frequency_error(*pair, weight, alpha=0.0).item()
    assert flat == pytest.approx(squared_error(*pair, weight).item(), rel=1e-5)


def test_equal_pictures_cost_nothing(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    weight = torch.ones(2, 1, 48, 48)
    assert dssim(pair[0], pair[0], weight).item() == pytest.approx(0, abs=1e-6)
    for error in (squared_error, absolute_error, gradient_error, focal_frequency_error):
        assert error(pair[0], pair[0], weight).item() == 0
        assert error(*pair, weight).item() > 1e-4
    assert dssim(*pair, weight).item() > 0.001


def test_nothing_outside_the_weight_counts(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, reference = pair
    weight = torch.zeros(2, 1, 48, 48)
    weight[..., 16:32, 16:32] = 1
    spoiled = image.clone()
    spoiled[..., :4, :] = 0
    for error in (squared_error, absolute_error, gradient_error, focal_frequency_error):
        assert error(spoiled, reference, weight) == error(image, reference, weight)
    assert dssim(spoiled, reference, weight) == dssim(image, reference, weight)


def test_gradient_reaches_every_pixel(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    image = pair[0].clone().requires_grad_()
    mask = torch.ones(2, 1, 48, 48)
    terms = reconstruction_loss((image, None), pair[1], mask, mask * 0, **WEIGHTS)
    torch.stack(list(terms.values())).sum().backward()
    assert image.grad is not None
    assert (image.grad.abs() > 0).float().mean() > 0.99


def test_terms_of_no_weight_are_left_out(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    mask = torch.ones(2, 1, 48, 48)
    plain = reconstruction_loss((pair[0], None), pair[1], mask, mask * 0, **WEIGHTS)
    assert plain.keys() == {"dssim", "mse"}
    extra = {"l1_weight": 2.0, "gradient_weight": 3.0, "frequency_weight": 4.0}
    full = reconstruction_loss((pair[0], None), pair[1], mask, mask * 0, **WEIGHTS, **extra)
    assert full.keys() == {"dssim", "mse", "l1", "gradient", "frequency"}
    assert all(torch.equal(full[name], plain[name]) for name in plain)
    assert full["l1"].item() == pytest.approx(2 * absolute_error(*pair, mask).item())
    assert full["gradient"].item() == pytest.approx(3 * gradient_error(*pair, mask).item())
    assert full["frequency"].item() == pytest.approx(4 * focal_frequency_error(*pair, mask).item())


def test_features_count_more(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    reference = pair[1]
    mask, eyes = torch.ones(2, 1, 48, 48), torch.zeros(2, 1, 48, 48)
    eyes[..., 20:24, 10:20] = 1
    wrong_eyes = reference.clone()
    wrong_eyes[..., 20:24, 10:20] = 0.5
    wrong_cheek = reference.clone()
    wrong_cheek[..., 34:38, 10:20] = 0.5

    def cost(picture: torch.Tensor) -> float:
        return reconstruction_loss((picture, None), reference, mask, eyes, **WEIGHTS)["mse"].item()

    assert cost(wrong_eyes) > 2 * cost(wrong_cheek)


def test_soft_mask_widens_and_keeps_the_inside() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    soft = soft_mask(mask)
    assert soft.shape == mask.shape
    # A corner is a quarter, twice that is what the rim leaves of it.
    assert soft[mask > 0].min() > 0.5
    assert soft[..., 30, 14].item() > 0.05
    assert soft[..., 30, 4].item() == pytest.approx(0, abs=1e-6)
    assert np.isfinite(soft.numpy()).all()
