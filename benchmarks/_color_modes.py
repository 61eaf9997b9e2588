"""The colour matchers that went, for comparison: equal statistics, and gradients kept.

What was the package's until `skin_gain`; as there, a matcher is `(painted, true, mask) -> map`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float

from faceswap_lite.conversion.color_map import (
    COLOR_NOISE_VARIANCE,
    MAX_COLOR_GAIN,
    SAME_SHIFT,
    STEP,
    Colors,
    Image,
    Mask,
    Moments,
    PixelWeights,
    Samples,
    enlarged,
    gaussian_transport,
    moments,
    spread_out,
    take_samples,
)

# Statistics of a larger picture are taken from a shrunken one: they say the same, sooner. (Measured
# at 128 px: errors within 0.04 of those from all pixels.)
MAX_EDGE_PX = 96
# Transports of single pixels are smooth over the face: a coarse grid holds them.
FIELD_EDGE_PX = 64

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

HISTOGRAM_LEVELS = 64
CURVE_KNOTS = 256

SLICES = 10
# Blurs, as shares of the picture's side: of a transport of single pixels, and of a Poisson field
# beyond its region.
FIELD_SIGMA = 0.06
EDGE_SIGMA = 0.03


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
            out = out + enlarged(self.field, image.shape[:2])
        return np.clip(out, 0, 1)

    def steady(self, near: Sequence[tuple["AffineMap", float | int]]) -> "AffineMap":
        """The frame's own mean colours, so that nothing lags where a swap's colours do jump.

        All else (gains, curves, fields) is averaged over frames whose colours are shifted alike.
        """
        return _averaged(self, self, near)


KEEP = AffineMap("srgb", np.eye(3), np.zeros(3), np.zeros(3))


@dataclass(frozen=True, kw_only=True)
class VotedMap(AffineMap):
    """A robust fit that remembers its samples, and how much each counts (0 to 1)."""

    samples: Samples
    votes: PixelWeights

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


def transport(samples: Samples, weights: PixelWeights) -> AffineMap:
    """The least change of colours that matches mean and covariance, as the weights count."""
    pivot, before = moments(samples.image, weights)
    goal, after = moments(samples.reference, weights)
    return AffineMap("srgb", gaussian_transport(before, after), pivot, goal)


def voted_map(samples: Samples, votes: PixelWeights) -> VotedMap:
    """The transport of samples that count by their votes."""
    plain = transport(samples, samples.weights * votes)
    return VotedMap(
        plain.space, plain.matrix, plain.pivot, plain.goal, samples=samples, votes=votes
    )


def fit_mean(image: Image, reference: Image, mask: Mask) -> AffineMap:
    """The map that gives `image` the mean Lab colour of `reference`."""
    samples = take_samples(image, reference, mask, MAX_EDGE_PX)
    if samples is None:
        return KEEP
    (pivot, _), (goal, _) = _lab_moments(samples)
    return AffineMap("lab", np.eye(3), pivot, goal)


def fit_reinhard(image: Image, reference: Image, mask: Mask) -> AffineMap:
    """The map that gives each Lab channel of `image` the mean and spread of `reference`.

    Source: Reinhard et al. 2001, "Color transfer between images", eqs. 10-11, in CIE Lab.
    """
    samples = take_samples(image, reference, mask, MAX_EDGE_PX)
    if samples is None:
        return KEEP
    (pivot, before), (goal, after) = _lab_moments(samples)
    # COLOR_NOISE_VARIANCE is of values in [0, 1]; Lab's run to about 100.
    return AffineMap(
        "lab", _spread_gains(before, after, 100**2 * COLOR_NOISE_VARIANCE), pivot, goal
    )


def fit_robust_mkl(image: Image, reference: Image, mask: Mask) -> AffineMap:
    """`fit_mkl` without the pixels that show different things (a beard, a hand, an open mouth).

    The match is repeated three times; each time pixels count less the more they still differ, in
    medians of that difference. That helps where the pictures correspond. Where they do not (two
    people) it would keep only the pixels that happen to agree, so the weights go back to the mask's
    as the likeness of the matched pictures falls: then this is `fit_mkl`.
    """
    samples = take_samples(image, reference, mask, MAX_EDGE_PX)
    if samples is None:
        return KEEP
    weights = samples.weights
    shares = np.ones_like(weights)
    for _ in range(REWEIGHTINGS):
        matched = _mapped(samples.image, transport(samples, weights * shares))
        # The median is over the whole mask, so at least half of it counts in every round.
        residuals = np.linalg.norm(matched - samples.reference, axis=1)
        shares = _agreement(residuals, weights)
    matched = _mapped(samples.image, transport(samples, weights * shares))
    likeness = _likeness(matched, samples.reference, weights * shares)
    trust = float(np.clip((likeness - NO_TRUST) / (FULL_TRUST - NO_TRUST), 0, 1))
    return voted_map(samples, trust * shares + 1 - trust)


def fit_histogram(image: Image, reference: Image, mask: Mask) -> AffineMap:
    """The map that gives each sRGB channel of `image` the distribution of `reference`.

    Curves of weighted quantiles, over the affine map that matches the mean and spread.
    """
    samples = take_samples(image, reference, mask, MAX_EDGE_PX)
    if samples is None:
        return KEEP
    (pivot, before), (goal, after) = (
        moments(colors, samples.weights) for colors in (samples.image, samples.reference)
    )
    affine = AffineMap("srgb", _spread_gains(before, after, COLOR_NOISE_VARIANCE), pivot, goal)
    matched = _mapped(samples.image, affine)
    curves = [
        _histogram_curve(matched[:, channel], samples.reference[:, channel], samples.weights)
        for channel in range(3)
    ]
    return replace(affine, curves=np.stack(curves))


def fit_sliced_ot(image: Image, reference: Image, mask: Mask) -> AffineMap:
    """The map that gives `image` the joint distribution of `reference`'s colours, smoothly.

    Along random axes (always the same ones) every pixel takes the reference's value of its rank;
    what this adds to `fit_mkl` is blurred over the face, so that neighbours move together.
    Source: Rabin et al. 2011, "Wasserstein barycenter and its application to texture mixing",
    with the steps of Pitié et al. 2007, "Automated colour grading using colour distribution
    transfer" (all axes of a rotation at once).
    """
    samples = take_samples(image, reference, mask, FIELD_EDGE_PX)
    if samples is None:
        return KEEP
    affine = transport(samples, samples.weights)
    matched = _mapped(samples.image, affine)
    moved = matched
    rng = np.random.default_rng(0)
    for _ in range(SLICES):
        axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        along, wanted = moved @ axes, samples.reference @ axes
        steps = np.stack(
            [_to_ranks(along[:, i], wanted[:, i], samples.weights) - along[:, i] for i in range(3)]
        )
        moved = moved + steps.T @ axes.T
    field = spread_out(moved - matched, samples, FIELD_SIGMA)
    return replace(affine, field=field)


def fit_poisson(image: Image, reference: Image, mask: Mask) -> AffineMap:
    """The map that keeps the gradients of `image` and takes `reference`'s colours along the edge.

    Source: Pérez et al. 2003, "Poisson image editing", eq. 3, by OpenCV's seamlessClone. What it
    adds to the picture is smooth (harmonic).
    """
    samples = take_samples(image, reference, mask, FIELD_EDGE_PX)
    if samples is None:
        return KEEP
    field = _poisson_field(samples)
    if field is None:
        return KEEP
    rows, share = field[samples.inside], samples.weights / samples.weights.sum()
    pivot, shift = share @ samples.image, share @ rows
    return AffineMap("srgb", np.eye(3), pivot, pivot + shift, field=field - shift)


def _lab_moments(samples: Samples) -> tuple[Moments, Moments]:
    image, reference = (_to_lab(colors) for colors in (samples.image, samples.reference))
    return moments(image, samples.weights), moments(reference, samples.weights)


def _to_lab(colors: Colors) -> Colors:
    return cv2.cvtColor(colors[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0].astype(np.float64)


def _spread_gains(
    before: Float[np.ndarray, "3 3"], after: Float[np.ndarray, "3 3"], noise: float
) -> Float[np.ndarray, "3 3"]:
    """The diagonal matrix that takes each channel's spread to the wanted one."""
    gains = np.sqrt((np.diag(after) + noise) / (np.diag(before) + noise))
    return np.diag(np.clip(gains, 1 / MAX_COLOR_GAIN, MAX_COLOR_GAIN))


def _mapped(colors: Colors, color_map: AffineMap) -> Colors:
    return (colors - color_map.pivot) @ color_map.matrix.T + color_map.goal


def _agreement(residuals: PixelWeights, weights: PixelWeights) -> PixelWeights:
    """1 where pixels agree, falling to 0 where they differ by several medians."""
    # The soft edge of the mask has no vote; a mask without a core (all soft) votes as a whole.
    core = weights > 0.5 * weights.max()
    median = max(float(np.median(residuals[core])), STEP)
    slope = NO_WEIGHT_MEDIANS - FULL_WEIGHT_MEDIANS
    return np.clip((NO_WEIGHT_MEDIANS - residuals / median) / slope, 0, 1)


def _likeness(matched: Colors, reference: Colors, weights: PixelWeights) -> float:
    """Correlation of two pictures of equal mean and covariance: 1 for equal ones, 0 for strangers.

    There the mean squared difference is twice the variance times one minus the correlation.
    """
    squared = np.square(matched - reference).sum(1) @ weights / weights.sum()
    _, covariance = moments(reference, weights)
    return 1 - squared / (2 * np.trace(covariance) + COLOR_NOISE_VARIANCE)


def quantiles(values: Float[np.ndarray, " n"], weights: PixelWeights, levels: int) -> np.ndarray:
    """The values below which (i + 1/2) / `levels` of the weight lies, for each i; rising."""
    order = np.argsort(values)
    ranks = np.cumsum(weights[order])
    ranks = (ranks - 0.5 * weights[order]) / ranks[-1]
    return np.interp((np.arange(levels) + 0.5) / levels, ranks, values[order])


def _histogram_curve(
    values: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " n"], weights: PixelWeights
) -> Float[np.ndarray, " k"]:
    """What takes `values` to the distribution of `wanted`, as an addition at even steps."""
    x, y = (quantiles(v, weights, HISTOGRAM_LEVELS) for v in (values, wanted))
    # No step may stretch by more than MAX_COLOR_GAIN: a flat face stays flat, in the right mean.
    steps = np.minimum(np.diff(y), MAX_COLOR_GAIN * np.diff(x))
    risen = np.concatenate([[0], np.cumsum(steps)])
    added = risen + (y.mean() - risen.mean()) - x
    # np.interp wants rising places; equal ones are set apart by less than any colour.
    return np.interp(np.linspace(0, 1, CURVE_KNOTS), x + 1e-9 * np.arange(len(x)), added)


def _to_ranks(
    values: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " n"], weights: PixelWeights
) -> Float[np.ndarray, " n"]:
    """For each value the one of `wanted` that has the same share of the weight below it."""
    rows, targets = np.argsort(values), np.argsort(wanted)
    ranks = np.cumsum(weights[rows]) - 0.5 * weights[rows]
    out = np.empty_like(values)
    out[rows] = np.interp(
        ranks, np.cumsum(weights[targets]) - 0.5 * weights[targets], wanted[targets]
    )
    return out


def _poisson_field(samples: Samples) -> Float[np.ndarray, "gh gw 3"] | None:
    """What seamlessClone adds, on the grid of the samples; None for a region under 3 px wide."""
    # seamlessClone reads a pixel beyond its region, and may read none beyond the picture.
    border = 3
    shape = tuple(side + 2 * border for side in samples.inside.shape)
    source, destination = (np.zeros((*shape, 3), np.uint8) for _ in range(2))
    middle = (slice(border, -border),) * 2
    for canvas, colors in ((source, samples.image), (destination, samples.reference)):
        canvas[middle][samples.inside] = np.round(255 * np.clip(colors, 0, 1))
    region = np.zeros(shape, np.uint8)
    region[middle][samples.inside] = 255
    region = cv2.erode(region, np.ones((3, 3), np.uint8))
    x, y, width, height = cv2.boundingRect(region)
    # OpenCV fails on narrower ones.
    if min(width, height) < 3:
        return None
    centre = (x + width // 2, y + height // 2)
    # OpenCV rounds down; so does the picture cloned into itself.
    clone, same = (
        cv2.seamlessClone(source, canvas, region, centre, cv2.NORMAL_CLONE).astype(np.float64)
        for canvas in (destination, source)
    )
    rows = (clone - same)[middle][samples.inside] / 255
    field = spread_out(rows, samples, EDGE_SIGMA)
    field[samples.inside] = rows
    return field


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


GONE_MODES: dict[str, Callable[[Image, Image, Mask], AffineMap]] = {
    "mean": fit_mean,
    "reinhard": fit_reinhard,
    "robust_mkl": fit_robust_mkl,
    "histogram": fit_histogram,
    "sliced_ot": fit_sliced_ot,
    "poisson": fit_poisson,
}
