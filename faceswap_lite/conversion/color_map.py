"""Changes of colours: fitted to samples of a frame, made steady over time, and applied.

Frames are fitted each by itself, side by side and in any order. State over time is in no matcher:
a map carries what its frame's statistics were, and is made steady from the maps of the frames
before and after it, so that nothing lags, and a conversion that goes on in the middle gets the same
bits.

Nothing outside the mask is counted, not even as zero. Colours are rows of three; weights are the
mask's. Sums are in double precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

Image = Float[np.ndarray, "h w 3"]
Mask = Float[np.ndarray, "h w"]
Colors = Float[np.ndarray, "n 3"]
PixelWeights = Float[np.ndarray, " n"]
Moments = tuple[Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"]]

# Fewer places than this say nothing about a face's colours.
MIN_COLOR_PIXELS = 16
# No transport stretches or squeezes more than this; a flat face would otherwise become noise.
MAX_COLOR_GAIN = 3.0
# Variance of rounding to 8 bits: keeps flat colours and grey pictures away from a division by zero.
STEP = 1 / 255
COLOR_NOISE_VARIANCE = STEP**2 / 12
# How far the shift of the mean colour of two frames may differ before they stop sharing a map.
# Measured from frame to frame: 0.003 where colours are steady, 0.03 where each frame has its own.
SAME_SHIFT = 0.004


@dataclass(frozen=True)
class Samples:
    """Colours of an image and its reference at the same places of a grid, inside the mask only."""

    image: Colors
    reference: Colors
    weights: PixelWeights
    inside: Bool[np.ndarray, "gh gw"]
    """The places of the grid that the rows are of."""

    def on_grid(self, rows: Float[np.ndarray, "n k"]) -> Float32[np.ndarray, "gh gw k"]:
        """Rows of these places on the grid, 0 outside the mask."""
        grid = np.zeros((*self.inside.shape, rows.shape[1]), np.float32)
        grid[self.inside] = rows
        return grid


def take_samples(image: Image, reference: Image, mask: Mask, edge_px: int) -> Samples | None:
    """Both pictures on a grid whose longer side is at most `edge_px`; None for too small a mask.

    A place's colour is the average over its pixels, weighted by the mask: nothing from outside
    gets in.
    """
    scale = min(1.0, edge_px / max(mask.shape))
    weights = _shrink(mask, scale)
    inside = weights > 1e-3
    if weights[inside].sum() < MIN_COLOR_PIXELS:
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


def moments(colors: Colors, weights: PixelWeights) -> Moments:
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
    its gains are held to `MAX_COLOR_GAIN`.
    Source: Pitié and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping for
    example-based colour transfer".
    """
    noise = COLOR_NOISE_VARIANCE * np.eye(3)
    values, vectors = np.linalg.eigh(before + noise)
    values = np.sqrt(np.maximum(values, 1e-12))
    root, inverse = (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
    values, vectors = np.linalg.eigh(root @ (after + noise) @ root)
    middle = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    values, vectors = np.linalg.eigh(inverse @ middle @ inverse)
    return (vectors * np.clip(values, 1 / MAX_COLOR_GAIN, MAX_COLOR_GAIN)) @ vectors.T


@runtime_checkable
class ColorMap(Protocol):
    """A change of a face's colours, fitted to one frame."""

    def apply(self, image: Image) -> Image:
        """The picture that it was fitted to with its colours mapped, float32 in [0, 1]."""

    def steady(self, near: Sequence[tuple[Any, float | int]]) -> "ColorMap":
        """The map made steady by its neighbours in time, fitted by the same matcher in one shot.

        `near`: maps of the frames around it in their order, itself among them, and how much each
        counts (above 0).
        """


@dataclass(frozen=True)
class AffineMap:
    """Coded sRGB colours in [0, 1] become `matrix @ (color - pivot) + goal`."""

    matrix: Float[np.ndarray, "3 3"]
    pivot: Float[np.ndarray, " 3"]
    """The face's mean colour, which becomes `goal`."""
    goal: Float[np.ndarray, " 3"]

    @property
    def offset(self) -> Float[np.ndarray, " 3"]:
        """The map is also `matrix @ color + offset`."""
        return self.goal - self.matrix @ self.pivot

    def apply(self, image: Image) -> Float[np.ndarray, "h w 3"]:
        """The image with its colours mapped, float32, clipped to [0, 1]."""
        affine = np.column_stack([self.matrix, self.offset])
        return np.clip(cv2.transform(image.astype(np.float32), affine), 0, 1)

    def steady(self, near: Sequence[tuple["AffineMap", float | int]]) -> "AffineMap":
        """The frame's own mean colours, so that nothing lags where a swap's colours do jump.

        Gains are averaged over frames whose colours are shifted alike.
        """
        shares = np.array([weight * _shifted_alike(other, self) for other, weight in near])
        matrices = np.array([other.matrix for other, _ in near])
        return replace(self, matrix=np.tensordot(shares / shares.sum(), matrices, 1))


# Of `none`, and of masks too small to say anything; it is known by identity.
KEEP = AffineMap(np.eye(3), np.zeros(3), np.zeros(3))


def steady_color_map(
    window: Sequence[ColorMap | None], weights: Sequence[float | int], centre: int
) -> ColorMap:
    """The map of the frame at `centre`, made steady by its neighbours' maps.

    `window` holds the maps of successive frames of one shot, fitted by one matcher; None where a
    frame has no face. `weights`, above 0, say how much each counts.
    Raises: ValueError when the centre has no map.
    """
    own = window[centre]
    if own is None:
        raise ValueError(f"frame {centre} of the window has no colour map")
    if own is KEEP:
        return own
    pairs = zip(window, weights, strict=True)
    return own.steady([(some, w) for some, w in pairs if some is not None and some is not KEEP])


def enlarged(field: Float[np.ndarray, "gh gw 3"], shape: tuple[int, int]) -> Image:
    """The coarse grid over a picture of this (height, width)."""
    size = (shape[1], shape[0])
    return cv2.resize(field.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)


def spread_out(rows: Colors, samples: Samples, sigma: float) -> Float[np.ndarray, "gh gw 3"]:
    """Normalised convolution: rows of the samples, blurred over the grid by `sigma` sides.

    Beyond the mask it goes on as at its edge, and fades far away.
    Source: Knutsson and Westin 1993, "Normalized and differential convolution".
    """
    weights = samples.weights[:, None]
    grid = samples.on_grid(np.hstack([rows * weights, weights]))
    blurred = cv2.GaussianBlur(
        grid, (0, 0), sigma * max(grid.shape[:2]), borderType=cv2.BORDER_CONSTANT
    )
    return blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-3)


def _shifted_alike(one: AffineMap, other: AffineMap) -> float:
    """1 where two maps shift the mean colour alike, 0 where one of them has a cast of its own."""
    gap = (one.goal - one.pivot) - (other.goal - other.pivot)
    return float(np.exp(-0.5 * gap @ gap / SAME_SHIFT**2))
