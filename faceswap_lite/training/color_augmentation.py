"""Colour augmentation: whole batches change their colours before views are cut.

Input and ground truth share the change, so it teaches a model to keep a colour, never to undo one.
Faces are sRGB-coded floats in [0, 1].
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Brightness, yellow against blue, red against green: the rotation of Reinhard et al. 2001, eq. 6.
# Theirs is of logarithms of cone responses; of coded sRGB, the whole transfer stays one affine map.
OPPONENT_AXES = (
    (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)),
    (1 / math.sqrt(6), 1 / math.sqrt(6), -2 / math.sqrt(6)),
    (1 / math.sqrt(2), -1 / math.sqrt(2), 0.0),
)
MAX_TRANSFER_GAIN = 3.0
"""No axis is stretched or squeezed more than this: a flat face would become noise."""

COLOR_NOISE_VARIANCE = (1 / 255) ** 2 / 12
"""Of rounding to 8 bits: keeps flat faces away from a division by zero."""

MIN_TRANSFER_PIXELS = 16
"""A mask with less in it says nothing about a face's colours: the face stays as it is."""


def transfer_colors(
    faces: Float[Tensor, "b 3 h w"],
    masks: Float[Tensor, "b 1 h w"],
    references: Float[Tensor, "b 3 hr wr"],
    reference_masks: Float[Tensor, "b 1 hr wr"],
) -> Float[Tensor, "b 3 h w"]:
    """The faces with the mean and spread of the references along three decorrelated axes.

    Statistics are of what lies in the masks; the whole picture is mapped, clipped to [0, 1].
    Source: Reinhard et al. 2001, "Color transfer between images", eqs. 10-11.
    """
    axes = torch.tensor(OPPONENT_AXES, device=faces.device)
    mean, spread, pixels = _color_stats(faces, masks, axes)
    mean_r, spread_r, pixels_r = _color_stats(references, reference_masks, axes)
    gain = (spread_r / spread).clamp(1 / MAX_TRANSFER_GAIN, MAX_TRANSFER_GAIN)
    matrix = axes.T @ (gain[:, :, None] * axes)  # (b, 3, 3): to the axes, stretched, and back
    offset = mean_r[:, :, None] - matrix @ mean[:, :, None]
    known = (torch.minimum(pixels, pixels_r) >= MIN_TRANSFER_PIXELS)[:, None, None]
    matrix = torch.where(known, matrix, torch.eye(3, device=faces.device))
    offset = torch.where(known, offset, 0.0)
    mapped = torch.baddbmm(offset, matrix, faces.flatten(2)).clamp_(0, 1)
    return mapped.view_as(faces)


def jitter_hsv(
    faces: Float[Tensor, "b 3 h w"],
    hue: Float[Tensor, " b"],
    saturation: Float[Tensor, " b"],
    value: Float[Tensor, " b"],
) -> Float[Tensor, "b 3 h w"]:
    """The faces with their hue turned (in turns), their HSV saturation and value multiplied.

    Saturation and value end at 1. Source: Smith 1978, "Color gamut transform pairs".
    """
    hue, saturation, value = (v[:, None, None] for v in (hue, saturation, value))
    red, green, blue = faces.unbind(1)  # (b, h, w) each
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    # Turns away from red, 0 to 1/2; on green's side above 0, on blue's below. Equal to the textbook
    # form, without its branches: those cost more than all the rest.
    away = (green + blue).sub_(red).sub_(low).div_(chroma.clamp_min(1e-8)).add_(1).div_(6)
    turned = torch.copysign(away, green - blue).add_(hue)
    high_after = (high * value).clamp_(max=1)
    chroma_after = (chroma / high.clamp_min(1e-8)).mul_(saturation).clamp_(max=1).mul_(high_after)
    # Within 1/6 of a turn of its own hue a channel is the highest, from 2/6 on the lowest.
    top, slope = high_after.add_(chroma_after), chroma_after * 6
    recolored = torch.empty_like(faces)
    for channel in range(3):
        apart = turned - channel / 3
        apart = apart.sub_(apart.round()).abs_().clamp_(1 / 6, 1 / 3)
        torch.addcmul(top, slope, apart, value=-1, out=recolored[:, channel])
    return recolored.clamp_(0, 1)


def _color_stats(
    faces: Float[Tensor, "b 3 h w"], masks: Float[Tensor, "b 1 h w"], axes: Float[Tensor, "3 3"]
) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"], Float[Tensor, " b"]]:
    """Mean colour in RGB, spread along the axes, and how many pixels they are of."""
    # Every second pixel a side says the same in a quarter of the time.
    colors, weights = faces[..., ::2, ::2].flatten(2), masks[..., ::2, ::2].flatten(2)
    total = weights.sum(2)  # (b, 1)
    share = weights / total.clamp_min(1e-6)[..., None]
    mean = (colors * share).sum(2)
    along = axes @ (colors - mean[..., None])
    spread = ((along.square() * share).sum(2) + COLOR_NOISE_VARIANCE).sqrt()
    return mean, spread, 4 * total[:, 0]
