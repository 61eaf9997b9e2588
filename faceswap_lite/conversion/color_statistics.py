"""What the pixels inside a mask say about two pictures' colours: moments, transports, quantiles.

Nothing outside the mask is counted, not even as zero. Colours are rows of three; weights are the
mask's. Sums are in double precision.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

Image = Float[np.ndarray, "h w 3"]
Mask = Float[np.ndarray, "h w"]
Colors = Float[np.ndarray, "n 3"]
Weights = Float[np.ndarray, " n"]
Moments = tuple[Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"]]

# Fewer places than this say nothing about a face's colours.
FEWEST_PIXELS = 16
# No transport stretches or squeezes more than this; a flat face would otherwise become noise.
MOST_GAIN = 3.0
# Variance of rounding to 8 bits: keeps flat colours and grey pictures away from a division by zero.
STEP = 1 / 255
NOISE_VARIANCE = STEP**2 / 12


@dataclass(frozen=True)
class Samples:
    """Colours of an image and its reference at the same places of a grid, inside the mask only."""

    image: Colors
    reference: Colors
    weights: Weights
    inside: Bool[np.ndarray, "gh gw"]
    """The places of the grid that the rows are of."""


def take_samples(image: Image, reference: Image, mask: Mask, side_px: int) -> Samples | None:
    """Both pictures on a grid whose longer side is at most `side_px`; None for too small a mask.

    A place's colour is the average over its pixels, weighted by the mask: nothing from outside
    gets in.
    """
    scale = min(1.0, side_px / max(mask.shape))
    weights = _shrink(mask, scale)
    inside = weights > 1e-3
    if weights[inside].sum() < FEWEST_PIXELS:
        return None
    x, y = (
        _shrink(picture * mask[..., None], scale)[inside] / weights[inside, None]
        for picture in (image, reference)
    )
    return Samples(
        x.astype(np.float64), y.astype(np.float64), weights[inside].astype(np.float64), inside
    )


def _shrink(picture: np.ndarray, scale: float) -> np.ndarray:
    picture = picture.astype(np.float32)
    if scale == 1:
        return picture
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def moments(colors: Colors, weights: Weights) -> Moments:
    """Weighted mean and covariance."""
    share = weights / weights.sum()
    mean = share @ colors
    centred = colors - mean
    return mean, (centred * share[:, None]).T @ centred


def gaussian_transport(
    before: Float[np.ndarray, "3 3"], after: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "3 3"]:
    """The least linear change that takes colours of covariance `before` to covariance `after`.

    With these covariances A and B it is A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2: symmetric, positive;
    its gains are held to `MOST_GAIN`.
    Source: Pitié and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping for
    example-based colour transfer".
    """
    noise = NOISE_VARIANCE * np.eye(3)
    values, vectors = np.linalg.eigh(before + noise)
    values = np.sqrt(np.maximum(values, 1e-12))
    root, inverse = (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
    values, vectors = np.linalg.eigh(root @ (after + noise) @ root)
    middle = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    values, vectors = np.linalg.eigh(inverse @ middle @ inverse)
    return (vectors * np.clip(values, 1 / MOST_GAIN, MOST_GAIN)) @ vectors.T


def quantiles(values: Float[np.ndarray, " n"], weights: Weights, levels: int) -> np.ndarray:
    """The values below which (i + 1/2) / `levels` of the weight lies, for each i; rising."""
    order = np.argsort(values)
    ranks = np.cumsum(weights[order])
    ranks = (ranks - 0.5 * weights[order]) / ranks[-1]
    return np.interp((np.arange(levels) + 0.5) / levels, ranks, values[order])
