"""Test-time augmentation: a network's mean answer to slightly moved and mirrored inputs.

An answer shakes with its input's place; the mean of several, moved back, shakes less.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..config import Side
from .autoencoder import Painted, SwapAutoencoder

# How far a view is moved, in crop sides. Whole pixels: nothing is interpolated, nothing blurred.
SHIFT = 1 / 64


class View(NamedTuple):
    """A face moved by whole pixels to the right and down, then mirrored if `flip`."""

    right_px: int
    down_px: int
    flip: bool


@torch.no_grad()
def answers(
    model: SwapAutoencoder,
    pixels: Float[Tensor, "b 3 s s"],
    views: Sequence[View],
    sides: Sequence[Side],
) -> list[tuple[Float[Tensor, "b d"], list[Painted]]]:
    """Of each view: the code, and what the decoders of `sides` paint of it, moved back in place."""
    given = []
    for view in views:
        code = model.encode(see(pixels, view))
        painted = [model.decode(code, side) for side in sides]
        back = [(unsee(f, view), None if m is None else unsee(m, view)) for f, m in painted]
        given.append((code, back))
    return given


def pick_views(count: int, size: int, flips: bool) -> list[View]:
    """The first `count` views, the face as it is first, near ones before far ones.

    With `flips` every other view is mirrored, which asks other weights. That is for networks that
    learned from mirrored faces: of one that did not, it doubles the error.
    """
    step = max(1, round(SHIFT * size))
    ways = (False, True) if flips else (False,)
    ring = 1
    while len(ways) * (2 * ring + 1) ** 2 < count:
        ring += 1
    places = [(x, y) for y in range(-ring, ring + 1) for x in range(-ring, ring + 1)]
    places.sort(key=lambda p: (p[0] ** 2 + p[1] ** 2, p[1], p[0]))
    return [View(x * step, y * step, flip) for x, y in places for flip in ways][:count]


def see(faces: Float[Tensor, "b c s s"], view: View) -> Float[Tensor, "b c s s"]:
    """The faces in a view; what moves in at a side repeats the border."""
    moved = _move(faces, view.right_px, view.down_px)
    return moved.flip(3) if view.flip else moved


def unsee(faces: Float[Tensor, "b c s s"], view: View) -> Float[Tensor, "b c s s"]:
    """Pictures made from a view, back in the faces' own place."""
    back = faces.flip(3) if view.flip else faces
    return _move(back, -view.right_px, -view.down_px)


def _move(faces: Tensor, right_px: int, down_px: int) -> Tensor:
    size = faces.shape[-1]
    x = (torch.arange(size, device=faces.device) - right_px).clamp(0, size - 1)
    y = (torch.arange(size, device=faces.device) - down_px).clamp(0, size - 1)
    return faces[:, :, y][:, :, :, x]
