"""What in a face is skin, what is no skin, and where a lamp is mirrored in it: told by colour.

In linear light, on a colour map's samples. A colour is taken for so much of the skin's own colour
with a neutral light over it, the dichromatic model of Shafer 1985 ("Using color to separate
reflection components"): two unknowns, which red and blue tell.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32

from .color_map import Samples

Linear = Float32[np.ndarray, "*n 3"]

# Added to linear light before its logarithm is taken: there noise begins.
BLACK = 0.002
# Skin is lit as the skin around it is: so far, in sides of the grid.
AROUND = 0.3
# How much darker than around it skin still is, and is no longer: brows, lashes, nostrils, beards.
# (Logarithms of light. The shadow beside a nose is 0.5, a brow on light skin 2.)
SHADOW, TOO_DARK = 0.9, 1.9
# The neutral share of a colour's light at which it is no skin (teeth have half of it) ...
NEUTRAL, TOO_NEUTRAL = 0.25, 0.45
# ... unless so much skin shows through, as a share of the skin around: that is a highlight ...
LITTLE_SKIN, ENOUGH_SKIN = 0.4, 0.7
# ... as long as it is no stronger than highlights are.
STRONG, TOO_STRONG = 0.1, 0.25
# Of light skin (by its red) that is not asked: there a camera's white cuts colours off.
DIM, BRIGHT = 0.35, 0.6
# Nor is anything told by colour on grey pictures, or under a lamp that hides the colour of skin:
# its red less its blue, in shares of its light.
GREY, TINTED = 0.1, 0.3
# Lips follow the skin's tone by less. They are told by how much more red they have to their green.
ROSY, RED, LESS_OF_LIPS = 1.2, 1.65, 0.2
# Skin's colour is uneven by this share of its light; only what is more is a highlight.
UNEVEN = 0.12

_THIRDS = np.full(3, 1 / 3, np.float32)


class Look(NamedTuple):
    """What the places of k pictures are."""

    skin: Float32[np.ndarray, "k n"]
    """From 0 to 1."""
    pale: Float32[np.ndarray, "k n"]
    """No skin, and not dark either: the white of eyes, teeth; from 0 to 1."""
    highlight: Float32[np.ndarray, "k n"]
    """Light that is mirrored by skin, linear, the same in each channel."""


def look_at(linear: Float32[np.ndarray, "k n 3"], samples: Samples) -> Look:
    """What is skin among the colours of k pictures, of each of which most is."""
    weights = samples.weights.astype(np.float32)
    color = median(linear[:, weights > 0.5 * weights.max()].swapaxes(0, 1))[:, None]
    red, blue, mean = color[..., 0], color[..., 2], color.mean(-1)
    shade = np.log(linear @ _THIRDS + 2 * BLACK) - np.log(mean + 2 * BLACK)
    around = _around(shade, weights, samples.inside)
    lit = np.maximum(mean, BLACK) * np.exp(around)
    tint = (red - blue) / np.maximum(mean, BLACK)
    through = (linear[..., 0] - linear[..., 2]) / (np.maximum(tint, GREY) * lit)
    neutral = linear[..., 2] - through * lit * (blue / np.maximum(mean, BLACK))
    share = neutral / np.maximum(neutral + np.maximum(through, 0) * lit, BLACK)
    pale = rise(share, NEUTRAL, TOO_NEUTRAL) * rise(through, ENOUGH_SKIN, LITTLE_SKIN)
    strong = rise(neutral * mean / lit, STRONG, TOO_STRONG) * rise(red, BRIGHT, DIM)
    other = np.maximum(pale, strong) * rise(tint, GREY, TINTED)
    light_enough = rise(shade - around, -TOO_DARK, -SHADOW)
    redder = (linear[..., 0] + BLACK) / (linear[..., 1] + BLACK)
    redder *= (color[..., 1] + BLACK) / (red + BLACK)
    skin = (1 - other) * light_enough * (1 - LESS_OF_LIPS * rise(redder, ROSY, RED))
    highlight = np.maximum(neutral - UNEVEN * lit, 0) * skin
    least = np.minimum(np.minimum(linear[..., 0], linear[..., 1]), linear[..., 2])
    return Look(skin, other * light_enough, np.minimum(highlight, 0.9 * least))


def _around(
    shade: Float32[np.ndarray, "k n"], weights: Float32[np.ndarray, " n"], inside: np.ndarray
) -> Float32[np.ndarray, "k n"]:
    """The mean of what lies broadly around each place, inside the mask."""
    sums = np.zeros((*inside.shape, len(shade) + 1), np.float32)
    sums[inside] = np.vstack([weights * shade, weights]).T
    box = (2 * round(AROUND * max(inside.shape) / 2) + 1,) * 2
    for _ in range(2):  # nearly a Gaussian's, and sooner
        sums = cv2.blur(sums, box, borderType=cv2.BORDER_CONSTANT)
    *totals, count = sums[inside].T
    return np.stack(totals) / count


def median(rows: np.ndarray) -> Any:
    """The median along the first axis; of an even number the upper one."""
    middle = len(rows) // 2
    return np.partition(rows, middle, axis=0)[middle]


def rise(value: np.ndarray | float, low: float, high: float) -> Any:
    """0 at `low`, 1 at `high` (which may be the smaller), straight between, flat beyond."""
    # Sooner than np.clip, for as few values as these.
    return np.minimum(np.maximum((value - low) / (high - low), 0), 1)


def to_linear(coded: Float[np.ndarray, "*n 3"]) -> Linear:
    """Linear light of sRGB's coded values (IEC 61966-2-1)."""
    coded = coded.astype(np.float32)
    bent = np.power((np.maximum(coded, 0) + np.float32(0.055)) / np.float32(1.055), np.float32(2.4))
    return np.where(coded <= 0.04045, coded / np.float32(12.92), bent)


def to_coded(linear: Linear) -> Linear:
    """sRGB's coded values of linear light, in [0, 1]."""
    linear = np.clip(linear, 0, 1)
    bent = np.float32(1.055) * np.power(linear, np.float32(1 / 2.4)) - np.float32(0.055)
    return np.where(linear <= 0.0031308, np.float32(12.92) * linear, bent)
