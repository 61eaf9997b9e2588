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
from typing import Any, Literal, Protocol, runtime_checkable

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
# How far the shift of the mean colour of two frames may differ before they stop sharing a map.
# Measured from frame to frame: 0.003 where colours are steady, 0.03 where each frame has its own.
SAME_SHIFT = 0.004


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


@runtime_checkable
class ColorMap(Protocol):
    """A change of a face's colours, fitted to one frame."""

    def apply(self, image: Image) -> Image:
        """The image with its colours mapped, float32 in [0, 1]."""
        ...

    def steady(self, near: Sequence[tuple[Any, float | int]]) -> "ColorMap":
        """The map made steady by its neighbours in time, fitted by the same matcher in one shot.

        `near`: maps of the frames around it in their order, itself among them, and how much each
        counts (above 0).
        """
        ...


@dataclass(frozen=True)
class AffineMap:
    """Colours changed in three steps; most matchers use only the first.

    An affine map in `space`, `matrix @ (color - pivot) + goal`; then, in sRGB, `curves` are added
    channel by channel, and `field` place by place. In "srgb" colours are coded values in [0, 1];
    in "lab" L* is 0 to 100.
    """

    space: Literal["srgb", "lab"]
    matrix: Float[np.ndarray, "3 3"]
    pivot: Float[np.ndarray, " 3"]
    """The face's mean colour, which becomes `goal`."""
    goal: Float[np.ndarray, " 3"]
    curves: Float[np.ndarray, "3 k"] | None = None
    """What is added to a channel's value, at k even steps from 0 to 1."""
    field: Float[np.ndarray, "gh gw 3"] | None = None
    """What is added to a place's colour; a coarse grid, stretched over the picture."""

    @property
    def offset(self) -> Float[np.ndarray, " 3"]:
        """The affine part is also `matrix @ color + offset`."""
        return self.goal - self.matrix @ self.pivot

    def apply(self, image: Image) -> Float[np.ndarray, "h w 3"]:
        """The image with its colours mapped, float32, clipped to [0, 1]."""
        image = image.astype(np.float32)
        affine = np.column_stack([self.matrix, self.offset])
        if self.space == "srgb":
            out = cv2.transform(image, affine)
        else:
            lab = cv2.transform(cv2.cvtColor(image, cv2.COLOR_RGB2Lab), affine)
            out = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)
        if self.curves is not None:
            out = out + _along_curves(out, self.curves)
        if self.field is not None:
            out = out + stretch(self.field, image.shape[:2])
        return np.clip(out, 0, 1)

    def steady(self, near: Sequence[tuple["AffineMap", float | int]]) -> "AffineMap":
        """The frame's own mean colours, so that nothing lags where a swap's colours do jump.

        All else (gains, curves, fields) is averaged over frames whose colours are shifted alike.
        """
        return _averaged(self, self, near)


# Of `none`, and of masks too small to say anything; it is known by identity.
KEEP = AffineMap("srgb", np.eye(3), np.zeros(3), np.zeros(3))


@dataclass(frozen=True, kw_only=True)
class VotedMap(AffineMap):
    """A robust fit that remembers its samples, and how much each counts (0 to 1)."""

    samples: Samples
    votes: Weights

    def steady(self, near: Sequence[tuple[AffineMap, float | int]]) -> AffineMap:
        """The votes averaged first, place by place, and the frame's own pixels counted anew."""
        total, seen = np.zeros((2, *self.samples.inside.shape))
        for other, weight in near:
            if isinstance(other, VotedMap):
                total[other.samples.inside] += weight * other.votes
                seen[other.samples.inside] += weight
        inside = self.samples.inside
        own = voted_map(self.samples, total[inside] / seen[inside])
        return _averaged(own, self, near)


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


def transport(samples: Samples, weights: Weights) -> AffineMap:
    """The least change of colours that matches mean and covariance, as the weights count."""
    pivot, before = moments(samples.image, weights)
    goal, after = moments(samples.reference, weights)
    return AffineMap("srgb", gaussian_transport(before, after), pivot, goal)


def voted_map(samples: Samples, votes: Weights) -> VotedMap:
    """The transport of samples that count by their votes."""
    plain = transport(samples, samples.weights * votes)
    return VotedMap(
        plain.space, plain.matrix, plain.pivot, plain.goal, samples=samples, votes=votes
    )


def stretch(field: Float[np.ndarray, "gh gw 3"], shape: tuple[int, int]) -> Image:
    """The coarse grid over a picture of this (height, width)."""
    size = (shape[1], shape[0])
    return cv2.resize(field.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)


def _averaged(
    own: AffineMap, fitted: AffineMap, near: Sequence[tuple[AffineMap, float | int]]
) -> AffineMap:
    """`own`, its gains, curves and fields averaged over `near`, where it stands for `fitted`.

    How alike colours are shifted is told by the maps as they were fitted.
    """
    maps = [own if color_map is fitted else color_map for color_map, _ in near]
    shares = [weight * _shifted_alike(color_map, own) for color_map, weight in near]
    curves = [color_map.curves for color_map in maps if color_map.curves is not None]
    fields = [color_map.field for color_map in maps if color_map.field is not None]
    return replace(
        own,
        matrix=_average([color_map.matrix for color_map in maps], shares),
        curves=_average(curves, shares) if curves else None,
        field=_average(fields, shares) if fields else None,
    )


def _shifted_alike(one: AffineMap, other: AffineMap) -> float:
    """1 where two maps shift the mean colour alike, 0 where one of them has a cast of its own."""
    gap = (one.goal - one.pivot) - (other.goal - other.pivot)
    unit = SAME_SHIFT * (100 if one.space == "lab" else 1)
    return float(np.exp(-0.5 * gap @ gap / unit**2))


def _average(parts: Sequence[np.ndarray], shares: Sequence[float]) -> np.ndarray:
    return np.tensordot(np.array(shares) / sum(shares), np.array(parts), 1)


def _along_curves(image: Image, curves: Float[np.ndarray, "3 k"]) -> Image:
    knots = np.linspace(0, 1, curves.shape[1])
    channels = [np.interp(image[..., i], knots, curves[i]) for i in range(3)]
    return np.stack(channels, axis=2).astype(np.float32)
