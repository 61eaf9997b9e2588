"""From stored crops to training views: every geometric change composed into one sampling grid.

All randomness is drawn on the CPU from a generator that depends on (seed, step) alone, then moved
to the device, so that every device and every resumed run sees the same views.

Faces are floats in [0, 1]; their colours change before views are cut (color_augmentation.py).
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from ..config import AugmentConfig

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
    pixels: Float[Tensor, "b 5 m m"],
    geometry: Geometry,
    size: int,
    edge_with_margin: float,
    inputs: Float[Tensor, "b 3 m m"] | None = None,
) -> Views:
    """Views of `size` px from crops: red, green, blue, mask, features in [0, 1]; margin included.

    `edge_with_margin` is the crop's side in sides of the view: the margin is what rotations and
    shifts may use without inventing borders. `inputs`: pictures that the network is shown instead
    of the crops' own, from which it is to paint these.
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
    if inputs is not None or geometry.nodes.any():
        shown = pixels[:, :3] if inputs is None else inputs
        warped = F.grid_sample(shown, grid, padding_mode="border", align_corners=False)
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
