"""Losses: pure functions of pictures and weights.

Pictures are float in [0, 1], (b, c, h, w); weights are (b, 1, h, w), not negative.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

SSIM_K1, SSIM_K2 = 0.01, 0.03


def dssim_window(size: int) -> int:
    """The field's window for a picture of `size` px: size / 11.6, odd, at least 3."""
    return max(3, int(size / 11.6) // 2 * 2 + 1)


@lru_cache(maxsize=16)
def _filter_matrix(size: int, window: int, sigma: float) -> Float[Tensor, "v n"]:
    """The 1-D Gaussian filter without padding as a band matrix, (size - window + 1, size).

    Two products with it filter a whole batch; on a CPU that is several times faster than a
    depthwise convolution and its gradient.
    """
    taps = torch.exp(-((torch.arange(window) - (window - 1) / 2) ** 2) / (2 * sigma**2))
    taps = taps / taps.sum()
    matrix = torch.zeros(size - window + 1, size)
    for row in range(len(matrix)):
        matrix[row, row : row + window] = taps
    return matrix


def ssim_map(
    image: Float[Tensor, "b c h w"],
    reference: Float[Tensor, "b c h w"],
    window: int,
    sigma: float = 1.5,
) -> Float[Tensor, "b c h2 w2"]:
    """Structural similarity at every place where the whole window fits.

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural
    similarity", eq. 13, with a Gaussian window.
    """
    rows = _filter_matrix(image.shape[-2], window, sigma).to(image)
    columns = _filter_matrix(image.shape[-1], window, sigma).to(image).T

    def blur(x: Tensor) -> Tensor:
        return rows @ (x @ columns)

    mean_i, mean_r = blur(image), blur(reference)
    variance_i = blur(image * image) - mean_i * mean_i
    variance_r = blur(reference * reference) - mean_r * mean_r
    covariance = blur(image * reference) - mean_i * mean_r
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    luminance = (2 * mean_i * mean_r + c1) / (mean_i * mean_i + mean_r * mean_r + c1)
    return luminance * (2 * covariance + c2) / (variance_i + variance_r + c2)


def dssim(
    image: Float[Tensor, "b c h w"],
    reference: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "b 1 h w"],
    window: int | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean of (1 - SSIM) / 2, in [0, 1]: 0 for equal pictures."""
    window = window or dssim_window(image.shape[-1])
    edge = (window - 1) // 2
    inner = weight[..., edge : weight.shape[-2] - edge, edge : weight.shape[-1] - edge]
    return weighted_mean((1 - ssim_map(image, reference, window)) / 2, inner)


def squared_error(
    image: Float[Tensor, "b c h w"],
    reference: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, ""]:
    """Weighted mean of the squared difference."""
    return weighted_mean((image - reference).square(), weight)


def weighted_mean(
    values: Float[Tensor, "b c h w"], weight: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """Mean of `values` over batch, channels and places, weighted by place."""
    return (values * weight).sum() / (weight.sum() * values.shape[1]).clamp(min=1e-6)


def soft_mask(mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """The mask with a soft rim outside it: blurred by size / 32, the upper half stretched to 1.

    The rim lets the loss see the face's outline without painting the background.
    """
    size = mask.shape[-1]
    sigma = max(size / 32, 0.5)
    window = int(sigma * 3) * 2 + 1
    matrix = _filter_matrix(size + window - 1, window, sigma).to(mask)
    padded = F.pad(mask, [(window - 1) // 2] * 4, mode="replicate")
    return (matrix @ (padded @ matrix.T) * 2).clamp(0, 1)


def reconstruction_loss(
    painted: tuple[Tensor, Tensor | None],
    face: Float[Tensor, "b 3 s s"],
    mask: Float[Tensor, "b 1 s s"],
    features: Float[Tensor, "b 1 s s"],
    *,
    dssim_weight: float,
    mse_weight: float,
    mask_weight: float,
    features_weight: float,
    background_weight: float,
) -> dict[str, Float[Tensor, ""]]:
    """The terms of one side's loss, already weighted; their sum is what training lowers.

    The picture counts inside the soft mask, `background_weight` outside it. Eyes and mouth count
    `1 + features_weight` times: they are small, and they are what people watch.
    """
    image, painted_mask = painted
    image = image.float()
    weight = background_weight + (1 - background_weight) * soft_mask(mask)
    weight = weight * (1 + features_weight * features)
    terms = {
        "dssim": dssim_weight * dssim(image, face, weight),
        "mse": mse_weight * squared_error(image, face, weight),
    }
    if painted_mask is not None:
        terms["mask"] = mask_weight * (painted_mask.float() - mask).square().mean()
    return terms
