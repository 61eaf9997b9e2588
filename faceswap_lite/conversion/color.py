"""Colour matching: give a painted face the colours of the face that it replaces.

A matcher fits an affine map of colours from statistics taken inside the mask and nowhere else (an
average that counts zeroed pixels, or the background, paints them into the face); `apply_color_map`
applies it. The two are apart so that maps of neighbouring frames can be averaged: an average of
two maps of one space is the average of their matrices and offsets.

Images are RGB, sRGB-coded floats in [0, 1]; masks weigh the pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float

Image = Float[np.ndarray, "h w 3"]
Mask = Float[np.ndarray, "h w"]

# Statistics of a larger picture are taken from a shrunken one: they say the same, sooner. (Half of
# it takes casts off a little better, but flickers more and misses the spread of fine detail.)
LARGEST_SIDE_PX = 128
# Fewer pixels than this say nothing about a face's colours.
FEWEST_PIXELS = 16
# No map stretches or squeezes colours more than this; a flat face would otherwise become noise.
MOST_GAIN = 3.0
# Variance of rounding to 8 bits: keeps flat colours and grey pictures away from a division by zero.
STEP = 1 / 255
NOISE_VARIANCE = STEP**2 / 12

REWEIGHTINGS = 3
# Residuals, in medians, where a pixel's weight begins to fall and where it has fallen to nothing.
# (The measured rule is a cut at 2; a slope about it does not flicker when pixels cross it.)
FULL_WEIGHT_MEDIANS = 1.0
NO_WEIGHT_MEDIANS = 3.0
# Likeness of the two pictures after the match, below which dropping pixels only hurts, and above
# which it is trusted. Measured: one face under two lights, part of it different: 0.85 and more;
# two people: 0.83 at most, 0.71 in the middle.
NO_TRUST = 0.80
FULL_TRUST = 0.92


@dataclass(frozen=True)
class ColorMap:
    """An affine map of colours: `matrix @ color + offset`.

    In "srgb" colours are coded values in [0, 1]; in "lab" L* is 0 to 100.
    """

    space: Literal["srgb", "lab"]
    matrix: Float[np.ndarray, "3 3"]
    offset: Float[np.ndarray, " 3"]


KEEP = ColorMap("srgb", np.eye(3), np.zeros(3))


def fit_none(image: Image, reference: Image, mask: Mask) -> ColorMap:
    """The map that changes nothing."""
    return KEEP


def fit_reinhard(image: Image, reference: Image, mask: Mask) -> ColorMap:
    """The map that gives each Lab channel of `image` the mean and spread of `reference`.

    Source: Reinhard et al. 2001, "Color transfer between images", eqs. 10-11, in CIE Lab.
    """
    picked = _pick(image, reference, mask)
    if picked is None:
        return KEEP
    x, y, weights = picked
    mean_i, covariance_i = _moments(_to_lab(x), weights)
    mean_r, covariance_r = _moments(_to_lab(y), weights)
    # NOISE_VARIANCE is of values in [0, 1]; Lab's run to about 100.
    noise = 100**2 * NOISE_VARIANCE
    variances = (np.diag(covariance) + noise for covariance in (covariance_r, covariance_i))
    gain = np.clip(np.sqrt(np.divide(*variances)), 1 / MOST_GAIN, MOST_GAIN)
    return ColorMap("lab", np.diag(gain), mean_r - gain * mean_i)


def fit_mkl(image: Image, reference: Image, mask: Mask) -> ColorMap:
    """The least change of colours that gives `image` the mean and covariance of `reference`.

    Source: Pitié and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping for
    example-based colour transfer". In coded sRGB, where a camera's gain, white balance and offset
    are themselves affine: such casts go where Lab leaves twice the error.
    """
    picked = _pick(image, reference, mask)
    return KEEP if picked is None else ColorMap("srgb", *_mkl(*picked))


def fit_robust_mkl(image: Image, reference: Image, mask: Mask) -> ColorMap:
    """`fit_mkl` without the pixels that show different things (a beard, a hand, an open mouth).

    The match is repeated three times; each time pixels count less the more they still differ, in
    medians of that difference. That helps where the pictures correspond. Where they do not (two
    people) it would keep only the pixels that happen to agree, so the weights go back to the mask's
    as the likeness of the matched pictures falls: then this is `fit_mkl`.
    """
    picked = _pick(image, reference, mask)
    if picked is None:
        return KEEP
    x, y, weights = picked
    matrix, offset = _mkl(x, y, weights)
    keep = np.ones_like(weights)
    for _ in range(REWEIGHTINGS):
        # The median is over the whole mask, so at least half of it counts in every round.
        keep = _agreement(np.linalg.norm(x @ matrix.T + offset - y, axis=1), weights)
        matrix, offset = _mkl(x, y, weights * keep)
    likeness = _likeness(x @ matrix.T + offset, y, weights * keep)
    trust = np.clip((likeness - NO_TRUST) / (FULL_TRUST - NO_TRUST), 0, 1)
    return ColorMap("srgb", *_mkl(x, y, weights * (trust * keep + 1 - trust)))


def apply_color_map(image: Image, color_map: ColorMap) -> Float[np.ndarray, "h w 3"]:
    """The image with its colours mapped, float32, clipped to [0, 1]."""
    image = image.astype(np.float32)
    affine = np.column_stack([color_map.matrix, color_map.offset])
    if color_map.space == "srgb":
        return np.clip(cv2.transform(image, affine), 0, 1)
    lab = cv2.transform(cv2.cvtColor(image, cv2.COLOR_RGB2Lab), affine)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)


def _pick(
    image: Image, reference: Image, mask: Mask
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]] | None:
    """Colours of both pictures inside the mask, and their weights; None when there are too few."""
    shrink = max(1.0, max(mask.shape) / LARGEST_SIDE_PX)
    # Averages of weighted colours over averages of weights: nothing from outside gets in.
    weights = _shrink(mask, shrink)
    inside = weights > 1e-6
    weights = weights[inside].astype(np.float64)
    if weights.sum() < FEWEST_PIXELS:
        return None
    x, y = (
        _shrink(picture * mask[..., None], shrink)[inside] / weights[:, None]
        for picture in (image, reference)
    )
    return x, y, weights


def _shrink(picture: np.ndarray, factor: float) -> np.ndarray:
    scale = 1 / factor
    picture = picture.astype(np.float32)
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _to_lab(colors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return cv2.cvtColor(colors[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0].astype(np.float64)


def _moments(
    colors: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"]]:
    """Weighted mean and covariance."""
    share = weights / weights.sum()
    mean = share @ colors
    centred = colors - mean
    return mean, (centred * share[:, None]).T @ centred


def _mkl(
    x: Float[np.ndarray, "n 3"], y: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Matrix and offset of the optimal transport between the Gaussians of `x` and `y`.

    With covariances A and B the matrix is A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2: symmetric, positive.
    """
    mean_x, covariance_x = _moments(x, weights)
    mean_y, covariance_y = _moments(y, weights)
    noise = NOISE_VARIANCE * np.eye(3)
    root = _power(covariance_x + noise, 0.5)
    inverse = _power(covariance_x + noise, -0.5)
    matrix = inverse @ _power(root @ (covariance_y + noise) @ root, 0.5) @ inverse
    values, vectors = np.linalg.eigh(matrix)
    matrix = (vectors * np.clip(values, 1 / MOST_GAIN, MOST_GAIN)) @ vectors.T
    return matrix, mean_y - matrix @ mean_x


def _power(matrix: Float[np.ndarray, "3 3"], exponent: float) -> Float[np.ndarray, "3 3"]:
    """A power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T


def _agreement(
    residuals: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """1 where pixels agree, falling to 0 where they differ by several medians."""
    # The soft edge of the mask has no vote; a mask without a core (all soft) votes as a whole.
    core = weights > 0.5 * weights.max()
    median = max(float(np.median(residuals[core])), STEP)
    slope = NO_WEIGHT_MEDIANS - FULL_WEIGHT_MEDIANS
    return np.clip((NO_WEIGHT_MEDIANS - residuals / median) / slope, 0, 1)


def _likeness(
    matched: Float[np.ndarray, "n 3"],
    reference: Float[np.ndarray, "n 3"],
    weights: Float[np.ndarray, " n"],
) -> float:
    """Correlation of two pictures of equal mean and covariance: 1 for equal ones, 0 for strangers.

    There the mean squared difference is twice the variance times one minus the correlation.
    """
    squared = np.square(matched - reference).sum(1) @ weights / weights.sum()
    _, covariance = _moments(reference, weights)
    return 1 - squared / (2 * np.trace(covariance) + NOISE_VARIANCE)


ColorFitter = Callable[[Image, Image, Mask], ColorMap]
COLOR_MATCHERS: dict[str, ColorFitter] = {
    "none": fit_none,
    "reinhard": fit_reinhard,
    "robust_mkl": fit_robust_mkl,
}
