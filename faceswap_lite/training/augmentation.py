"""From stored crops to training views: every geometric change composed into one sampling grid.

All randomness is drawn on the CPU from a generator that depends on (seed, step) alone, then moved
to the device, so that every device and every resumed run sees the same views.

Colours of whole batches change before views are cut: input and ground truth share the change, so
it teaches the model to keep a colour, never to undo one. Faces are sRGB-coded floats in [0, 1].
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from ..config import AugmentConfig

WARP_NODES = 5

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


@dataclass(frozen=True)
class Views:
    """What one side of a step learns from. All float in [0, 1]."""

    warped: Float[Tensor, "b 3 s s"]
    face: Float[Tensor, "b 3 s s"]
    mask: Float[Tensor, "b 1 s s"]
    features: Float[Tensor, "b 1 s s"]


@dataclass(frozen=True)
class Geometry:
    """Random placement of each view, in crop sides and radians."""

    matrix: Float[Tensor, "b 2 2"]
    shift: Float[Tensor, "b 2"]
    nodes: Float[Tensor, "b 2 n n"]
    gain: Float[Tensor, " b"]
    offset: Float[Tensor, " b"]

    def of(self, part: Int[Tensor, " k"]) -> "Geometry":
        """That of some of the views."""
        return Geometry(**{name: value[part] for name, value in vars(self).items()})


def draw_geometry(count: int, config: AugmentConfig, generator: torch.Generator) -> Geometry:
    """Random rotation, zoom, shift, flip, warp nodes and colour jitter for `count` views."""

    def spread(limit: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * 2 - 1) * limit

    angle = torch.deg2rad(spread(config.rotation_deg))
    zoom = 1 + spread(config.zoom)
    flip = torch.where(torch.rand(count, generator=generator) < config.flip, -1.0, 1.0)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    rows = [torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)]
    nodes = torch.randn(count, 2, WARP_NODES, WARP_NODES, generator=generator) * config.warp
    return Geometry(
        matrix=torch.stack(rows, 1),
        shift=spread(config.shift, 2),
        nodes=nodes,
        gain=1 + spread(config.contrast),
        offset=spread(config.brightness),
    )


def make_views(
    pixels: Float[Tensor, "b 5 m m"], geometry: Geometry, size: int, edge_with_margin: float
) -> Views:
    """Views of `size` px from crops: red, green, blue, mask, features in [0, 1]; margin included.

    `edge_with_margin` is the crop's side in sides of the view: the margin is what rotations and
    shifts may use without inventing borders.
    """
    device = pixels.device
    basis = _basis(size).to(device)
    # A crop spans -1..1 in the sampler's coordinates, align_corners off.
    coefficients = (_coefficients(geometry) * (2 / edge_with_margin)).to(device)
    still = WARP_NODES  # from there on, the basis knows no warp
    grid = _fields(coefficients[:, :, still:, still:], basis[:, still:])
    plain = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    warped = plain[:, :3]
    if geometry.nodes.any():
        grid = _fields(coefficients, basis)
        warped = F.grid_sample(pixels[:, :3], grid, padding_mode="border", align_corners=False)
    gain, offset = (v.to(device)[:, None, None, None] for v in (geometry.gain, geometry.offset))
    return Views(
        warped=_jitter(warped, gain, offset),
        face=_jitter(plain[:, :3], gain, offset),
        mask=plain[:, 3:4],
        features=plain[:, 4:5],
    )


def central_views(stored: UInt8[Tensor, "b 5 m m"], size: int, edge_with_margin: float) -> Views:
    """The same crops as they are: unwarped, unturned, for held-out losses and previews."""
    count = len(stored)
    still = Geometry(
        matrix=torch.eye(2).expand(count, 2, 2),
        shift=torch.zeros(count, 2),
        nodes=torch.zeros(count, 2, WARP_NODES, WARP_NODES),
        gain=torch.ones(count),
        offset=torch.zeros(count),
    )
    return make_views(stored.float() / 255, still, size, edge_with_margin)


# Where each pixel of a view looks is a sum of products of one function of its row and one of its
# column: the spline of every warp node, a constant, and the place itself. So all grids of a batch
# are two small products.


@lru_cache
def _basis(size: int) -> Float[Tensor, "s k"]:
    """The splines of the warp's nodes along one side of a view, 1, and the place in crop sides."""
    impulses = torch.eye(WARP_NODES)[None, :, :, None]
    splines = F.interpolate(impulses, size=(size, 1), mode="bicubic", align_corners=True)
    steps = (torch.arange(size) + 0.5) / size - 0.5
    return torch.cat([splines[0, :, :, 0].T, torch.ones(size, 1), steps[:, None]], 1)


def _coefficients(geometry: Geometry) -> Float[Tensor, "b 2 k k"]:
    """What to multiply functions of the row (third axis) and of the column (last) by."""
    constant, place = WARP_NODES, WARP_NODES + 1
    coefficients = F.pad(geometry.nodes, (0, 2, 0, 2))
    coefficients[:, :, constant, constant] = geometry.shift
    coefficients[:, :, constant, place] = geometry.matrix[:, :, 0]
    coefficients[:, :, place, constant] = geometry.matrix[:, :, 1]
    return coefficients


def _fields(
    coefficients: Float[Tensor, "b 2 k k"], basis: Float[Tensor, "s k"]
) -> Float[Tensor, "b s s 2"]:
    """Fields of x and y over the pixels."""
    size = len(basis)
    down = basis @ coefficients.permute(0, 2, 3, 1).flatten(2)  # (b, s, k * 2)
    # With x and y side by side, as the sampler wants them: this product is the large one.
    across = torch.kron(basis.T.contiguous(), torch.eye(2, device=basis.device))  # (k * 2, s * 2)
    return (down @ across).view(-1, size, size, 2)


def _jitter(image: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """Contrast about middle grey, then brightness."""
    return (image * gain).add_(0.5 + offset - 0.5 * gain).clamp_(0, 1)


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
