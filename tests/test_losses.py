import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from faceswap_lite.training.losses import (
    dssim,
    dssim_window,
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
    assert [dssim_window(size) for size in (64, 128, 256)] == [5, 11, 23]


def test_equal_pictures_cost_nothing(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    weight = torch.ones(2, 1, 48, 48)
    assert dssim(pair[0], pair[0], weight).item() == pytest.approx(0, abs=1e-6)
    assert squared_error(pair[0], pair[0], weight).item() == 0
    assert dssim(*pair, weight).item() > 0.001


def test_nothing_outside_the_weight_counts(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, reference = pair
    weight = torch.zeros(2, 1, 48, 48)
    weight[..., 16:32, 16:32] = 1
    spoiled = image.clone()
    spoiled[..., :4, :] = 0
    assert squared_error(spoiled, reference, weight) == squared_error(image, reference, weight)
    assert dssim(spoiled, reference, weight) == dssim(image, reference, weight)


def test_gradient_reaches_every_pixel(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    image = pair[0].clone().requires_grad_()
    mask = torch.ones(2, 1, 48, 48)
    terms = reconstruction_loss((image, None), pair[1], mask, mask * 0, **WEIGHTS)
    torch.stack(list(terms.values())).sum().backward()
    assert image.grad is not None
    assert (image.grad.abs() > 0).float().mean() > 0.99


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
