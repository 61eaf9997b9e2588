"""What in a face is skin, what is no skin, and where a lamp is mirrored in it: told by colour.

A colour is taken for so much of the skin's own colour with a neutral light over it, the dichromatic
model of Shafer 1985, "Using color to separate reflection components":
color = through * skin + neutral * (1, 1, 1), in linear light.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32

from .color_map import Samples

Linear = Float32[np.ndarray, "*n 3"]
Planes = Float32[np.ndarray, "k n"]

# Added to linear light before its logarithm is taken: there noise begins.
BLACK = 0.002
# The skin around a place is looked at this far, in sides of the grid.
AROUND = 0.3
# How much darker than around it (logarithms of light) skin still is, and is no longer. The shadow
# beside a nose is 0.5; a brow on light skin, lashes, nostrils, a beard are 2.
SHADOW, TOO_DARK = 0.9, 1.9
# The neutral share of a colour's light from which it is not all skin, and no skin. Teeth have 0.5.
NEUTRAL, TOO_NEUTRAL = 0.25, 0.45
# Where so much skin shows through, in shares of the skin around, a neutral light is a highlight.
LITTLE_SKIN, ENOUGH_SKIN = 0.4, 0.7
# No highlight is stronger than this (linear light on evenly lit skin).
STRONG, TOO_STRONG = 0.1, 0.25
# Light skin (by its red) is not asked for that: a camera's white cuts its highlights off.
DIM, BRIGHT = 0.35, 0.6
# Skin's red less its blue, in shares of its light, from which pale things can be told by colour. On
# grey pictures, and under a lamp that hides the colour of skin, they cannot.
GREY, TINTED = 0.1, 0.3
# Skin's colour is uneven by this share of its light; a highlight is what is more.
UNEVEN = 0.12
# Lips follow the skin's tone by less. They have so many times more red to their green than it.
ROSY, RED, LESS_OF_LIPS = 1.2, 1.65, 0.2

_THIRDS = np.full(3, 1 / 3, np.float32)


class SkinParts(NamedTuple):
    """What the places of k pictures are."""

    skin: Planes
    """0 to 1: how much a place takes part in what skin does."""
    pale: Planes
    """0 to 1: no skin, and not dark either; the white of eyes, teeth."""
    highlight: Planes
    """Linear light mirrored by skin, the same in each channel."""


def skin_parts(linear: Float32[np.ndarray, "k n 3"], samples: Samples) -> SkinParts:
    """What each place of k pictures is; most of each picture must be skin.

    `linear` are the colours of the samples' places, in linear light.
    """
    weights = samples.weights.astype(np.float32)
    color = upper_median(linear[:, weights > 0.5 * weights.max()].swapaxes(0, 1))[:, None]
    mean = np.maximum(color.mean(-1), BLACK)
    shade = np.log(linear @ _THIRDS + 2 * BLACK) - np.log(mean + 2 * BLACK)
    around = _around(shade, weights, samples)
    lit = mean * np.exp(around)
    tint = (color[..., 0] - color[..., 2]) / mean
    through, neutral = _two_lights(linear, color / mean[..., None], np.maximum(tint, GREY), lit)
    share = neutral / np.maximum(neutral + np.maximum(through, 0) * lit, BLACK)
    pale = linear_ramp(share, NEUTRAL, TOO_NEUTRAL) * linear_ramp(through, ENOUGH_SKIN, LITTLE_SKIN)
    strong = linear_ramp(neutral * mean / lit, STRONG, TOO_STRONG) * linear_ramp(
        color[..., 0], BRIGHT, DIM
    )
    pale = np.maximum(pale, strong) * linear_ramp(tint, GREY, TINTED)
    seen = linear_ramp(shade - around, -TOO_DARK, -SHADOW)
    redder = (linear[..., 0] + BLACK) / (linear[..., 1] + BLACK)
    redder *= (color[..., 1] + BLACK) / (color[..., 0] + BLACK)
    skin = (1 - pale) * seen * (1 - LESS_OF_LIPS * linear_ramp(redder, ROSY, RED))
    highlight = np.maximum(neutral - UNEVEN * lit, 0) * skin
    minimum = np.minimum(np.minimum(linear[..., 0], linear[..., 1]), linear[..., 2])
    return SkinParts(skin, pale * seen, np.minimum(highlight, 0.9 * minimum))


def _two_lights(
    linear: Float32[np.ndarray, "k n 3"],
    hue: Float32[np.ndarray, "k 1 3"],
    tint: Float32[np.ndarray, "k 1"],
    lit: Planes,
) -> tuple[Planes, Planes]:
    """How much skin shows through (1: as the skin around), and the neutral light over it.

    From red and blue; `hue` is skin's colour over its mean, `tint` its red less its blue.
    """
    through = (linear[..., 0] - linear[..., 2]) / (tint * lit)
    return through, linear[..., 2] - through * lit * hue[..., 2]


def _around(shade: Planes, weights: Float32[np.ndarray, " n"], samples: Samples) -> Planes:
    """The mean of what lies broadly around each place, inside the mask."""
    sums = samples.on_grid(np.vstack([weights * shade, weights]).T)
    box = (2 * round(AROUND * max(samples.inside.shape) / 2) + 1,) * 2
    for _ in range(2):  # nearly a Gaussian's, and sooner
        sums = cv2.blur(sums, box, borderType=cv2.BORDER_CONSTANT)
    *totals, count = sums[samples.inside].T
    return np.stack(totals) / count


def upper_median(rows: np.ndarray) -> Any:
    """The median along the first axis; of an even number the upper one."""
    middle = len(rows) // 2
    return np.partition(rows, middle, axis=0)[middle]


def linear_ramp(value: np.ndarray | float, start: float | int, end: float | int) -> Any:
    """0 at `start`, 1 at `end` (which may be the smaller), straight between, flat beyond."""
    # Sooner than np.clip, for as few values as these.
    return np.minimum(np.maximum((value - start) / (end - start), 0), 1)


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
