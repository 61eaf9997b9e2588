"""Losses: pure functions of pictures and weights.

Pictures are float in [0, 1], (b, c, h, w); weights are (b, 1, h, w), not negative.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

SSIM_K1, SSIM_K2 = 0.01, 0.03
SSIM_SIGMA = 1.5

GRADIENT_SCALES = 4
"""Resolutions of the gradient term, each half the one before."""


def dssim_filters(size: int) -> tuple[tuple[int, float], ...]:
    """Window and sigma in px of each scale for pictures of `size` px: two scales from 256 px up.

    The windows are the field's, size / 11.6 and size / 23.2, made odd, at least 3. The field has a
    sigma of 1.5 in both, which makes them one scale counted twice (beyond five pixels that bell is
    next to nothing); here the wider one's is 3.
    """
    wide, narrow = (max(3, int(size / share) // 2 * 2 + 1) for share in (11.6, 23.2))
    if size < 256:
        return ((wide, SSIM_SIGMA),)
    return ((wide, 2 * SSIM_SIGMA), (narrow, SSIM_SIGMA))


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
    sigma: float = SSIM_SIGMA,
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
    filters: tuple[tuple[int, float], ...] | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean of (1 - SSIM) / 2, in [0, 1]: 0 for equal pictures. All scales count alike."""
    scales = []
    for window, sigma in filters or dssim_filters(image.shape[-1]):
        edge = (window - 1) // 2
        inner = weight[..., edge : weight.shape[-2] - edge, edge : weight.shape[-1] - edge]
        scales.append(weighted_mean((1 - ssim_map(image, reference, window, sigma)) / 2, inner))
    return torch.stack(scales).mean()


def squared_error(
    image: Float[Tensor, "b c h w"],
    reference: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, ""]:
    """Weighted mean of the squared difference."""
    return weighted_mean((image - reference).square(), weight)


def absolute_error(
    image: Float[Tensor, "b c h w"],
    reference: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, ""]:
    """Weighted mean of the absolute difference."""
    return weighted_mean((image - reference).abs(), weight)


def gradient_error(
    image: Float[Tensor, "b c h w"],
    reference: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, ""]:
    """How far the slopes are from the reference's: mean over scales of |d/dx| + |d/dy|.

    d is the difference of the pictures, at full size and halved three times; slopes are steps to
    the next pixel. A step, or a pixel of a halved picture, weighs as much as the least of the
    pixels that it is made of, so that nothing outside the weight counts. Sides: at least 16 px.
    After the multi-scale gradient matching of Li and Snavely 2018, "MegaDepth", which is for depth.
    """
    difference = image - reference
    scales = []
    for scale in range(GRADIENT_SCALES):
        if scale:
            difference = F.avg_pool2d(difference, 2)
            weight = -F.max_pool2d(-weight, 2)
        across, down = difference.diff(dim=-1).abs(), difference.diff(dim=-2).abs()
        weight_across = torch.minimum(weight[..., 1:], weight[..., :-1])
        weight_down = torch.minimum(weight[..., 1:, :], weight[..., :-1, :])
        scales.append(weighted_mean(across, weight_across) + weighted_mean(down, weight_down))
    return torch.stack(scales).mean()


def focal_frequency_error(
    image: Float[Tensor, "b c h w"],
    reference: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "b 1 h w"],
    alpha: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean squared difference of the spectra, each frequency weighed by how wrong it still is.

    The weight is |difference| ** alpha, divided by its largest in that picture and channel, and
    taken as a constant by the gradient. Pictures are multiplied by the root of `weight` first: the
    transform keeps energy, so with alpha 0 this is `squared_error`.
    Source: Jiang et al. 2021, "Focal Frequency Loss for Image Reconstruction and Synthesis"; the
    transform is orthonormal and alpha 1, as the authors have them.
    """
    spectrum = torch.fft.fft2((image - reference) * weight.sqrt(), norm="ortho")
    power = spectrum.real.square() + spectrum.imag.square()  # (b, c, h, w)
    focus = power.detach() ** (alpha / 2)
    focus = focus / focus.amax((-2, -1), keepdim=True).clamp(min=1e-12)
    return ((focus * power).mean((1, 2, 3)) / weight.mean((1, 2, 3)).clamp(min=1e-6)).mean()


def weighted_mean(
    values: Float[Tensor, "b c h w"], weight: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """Mean of `values` over batch, channels and places, weighted by place within each picture.

    Every picture counts alike, so that parts of a batch, wherever they are worked out, add up.
    """
    inside = (values * weight).sum((1, 2, 3))
    return (inside / (weight.sum((1, 2, 3)) * values.shape[1]).clamp(min=1e-6)).mean()


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
    l1_weight: float = 0.0,
    gradient_weight: float = 0.0,
    frequency_weight: float = 0.0,
) -> dict[str, Float[Tensor, ""]]:
    """The terms of one side's loss, already weighted; their sum is what training lowers.

    The picture counts inside the soft mask, `background_weight` outside it. Eyes and mouth count
    `1 + features_weight` times: they are small, and they are what people watch. The last three
    terms are left out, and cost nothing, where their weight is 0.
    """
    image, painted_mask = painted
    image = image.float()
    weight = background_weight + (1 - background_weight) * soft_mask(mask)
    weight = weight * (1 + features_weight * features)
    terms = {
        "dssim": dssim_weight * dssim(image, face, weight),
        "mse": mse_weight * squared_error(image, face, weight),
    }
    if l1_weight:
        terms["l1"] = l1_weight * absolute_error(image, face, weight)
    if gradient_weight:
        terms["gradient"] = gradient_weight * gradient_error(image, face, weight)
    if frequency_weight:
        terms["frequency"] = frequency_weight * focal_frequency_error(image, face, weight)
    if painted_mask is not None:
        terms["mask"] = mask_weight * (painted_mask.float() - mask).square().mean()
    return terms
