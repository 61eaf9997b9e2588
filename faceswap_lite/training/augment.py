"""From stored crops to training views: every geometric change composed into one sampling grid.

All randomness is drawn on the CPU from a generator that depends on (seed, step) alone, then moved
to the device, so that every device and every resumed run sees the same views.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from ..config import TrainingConfig

WARP_NODES = 5


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


def draw_geometry(count: int, config: TrainingConfig, generator: torch.Generator) -> Geometry:
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
    pixels: Float[Tensor, "b 5 m m"], geometry: Geometry, size: int, side_with_margin: float
) -> Views:
    """Views of `size` px from crops: red, green, blue, mask, features in [0, 1]; margin included.

    `side_with_margin` is the crop's side in sides of the view: the margin is what rotations and
    shifts may use without inventing borders.
    """
    device = pixels.device
    place = _base_grid(size).to(device)  # (s, s, 2), in crop sides
    matrix = geometry.matrix.to(device)
    grid = torch.einsum("hwj,bij->bhwi", place, matrix) + geometry.shift.to(device)[:, None, None]
    warp = F.interpolate(
        geometry.nodes.to(device), size=(size, size), mode="bicubic", align_corners=True
    ).permute(0, 2, 3, 1)
    # A stored crop spans -1..1 in the sampler's coordinates, align_corners off.
    scale = 2 / side_with_margin
    plain = F.grid_sample(pixels, grid * scale, padding_mode="border", align_corners=False)
    warped = F.grid_sample(
        pixels[:, :3], (grid + warp) * scale, padding_mode="border", align_corners=False
    )
    gain, offset = (v.to(device)[:, None, None, None] for v in (geometry.gain, geometry.offset))
    return Views(
        warped=_jitter(warped, gain, offset),
        face=_jitter(plain[:, :3], gain, offset),
        mask=plain[:, 3:4],
        features=plain[:, 4:5],
    )


def central_views(stored: UInt8[Tensor, "b 5 m m"], size: int, side_with_margin: float) -> Views:
    """The same crops as they are: unwarped, unturned, for held-out losses and previews."""
    count = len(stored)
    still = Geometry(
        matrix=torch.eye(2).expand(count, 2, 2),
        shift=torch.zeros(count, 2),
        nodes=torch.zeros(count, 2, WARP_NODES, WARP_NODES),
        gain=torch.ones(count),
        offset=torch.zeros(count),
    )
    return make_views(stored.float() / 255, still, size, side_with_margin)


def _base_grid(size: int) -> Float[Tensor, "s s 2"]:
    """Pixel centres of a crop in crop sides from its middle: x then y."""
    steps = (torch.arange(size) + 0.5) / size - 0.5
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x, y], -1)


def _jitter(image: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    return ((image - 0.5) * gain + 0.5 + offset).clamp(0, 1)
