"""Measures that studies and tests ask for and no stage does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import find_peaks
from scipy.stats import rankdata
from skimage.color import deltaE_ciede2000, rgb2lab

from faceswap_lite.metrics.distributions import finite
from faceswap_lite.metrics.pictures import AnyMask, AnyPicture, as_float


def delta_e(a: AnyPicture, b: AnyPicture, mask: AnyMask | None = None) -> float:
    """Mean colour difference, CIEDE2000 (about 1 is the least that an eye sees).

    Source: CIE 142-2001, D65 white, sRGB pictures.
    """
    weights = np.ones(a.shape[:2]) if mask is None else as_float(mask)
    inside = weights > 0
    x, y = (rgb2lab(as_float(picture)[inside]) for picture in (a, b))
    within = weights[inside]
    return float((deltaE_ciede2000(x, y) * within).sum() / within.sum()) if len(within) else np.nan


def auroc(positive: Float[np.ndarray, " n"], negative: Float[np.ndarray, " m"]) -> float | None:
    """How often a positive's score is above a negative's (ties count half): 1 apart, 0.5 no better.

    Source: Hanley & McNeil 1982, "The meaning and use of the area under a receiver operating
    characteristic curve": the Mann-Whitney statistic. None when a set is empty.
    """
    positive, negative = finite(positive), finite(negative)
    n, m = len(positive), len(negative)
    if not (n and m):
        return None
    ranks = rankdata(np.concatenate([positive, negative]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def histogram_l1(a: Float[np.ndarray, " k"], b: Float[np.ndarray, " k"]) -> float | None:
    """Sum of the differences of two histograms' shares: 0 the same, 2 no bin in common.

    Counts or densities over the same bins of equal width. None when one of the two is empty.
    """
    if not (a.sum() > 0 and b.sum() > 0):
        return None
    return float(np.abs(a / a.sum() - b / b.sum()).sum())


def mean_step(values: Float[np.ndarray, "n d"]) -> float:
    """Mean length of the step from one frame to the next; pairs with NaN are left out."""
    steps = np.linalg.norm(np.diff(values, axis=0), axis=1)
    steps = steps[np.isfinite(steps)]
    return float(steps.mean()) if len(steps) else float("nan")


def jitter(points: Float[np.ndarray, "n p 2"]) -> float:
    """Root mean square of the points' second differences, in pixels: what trembles, not moves."""
    return float(np.sqrt(np.square(np.diff(points, 2, axis=0)).sum(2).mean()))


def lag(values: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"]) -> float:
    """By how many frames `values` come after `reference`: the shift that fits best, to 1/20 frame.

    The mean square difference is searched within five frames; ends are left out.
    """
    frames = np.arange(len(values), dtype=np.float64)
    inner = frames[6:-6]
    shifts = np.arange(-100, 101) / 20
    errors = [
        float(np.square(np.interp(inner + s, frames, values) - reference[6:-6]).mean())
        for s in shifts
    ]
    return float(shifts[int(np.argmin(errors))])


PROMINENCE = 0.1
"""A mode stands this far above the valley to the next higher one, in shares of the highest."""


def cells(
    yaw_deg: Float[np.ndarray, " n"],
    mouth: Float[np.ndarray, " n"],
    edges: tuple[Float[np.ndarray, " a"], Float[np.ndarray, " b"]],
) -> Int[np.ndarray, " n"]:
    """Which combination of yaw and mouth each face shows: row (b + 1) * yaw's bin + mouth's bin.

    `edges`: the inner borders of the bins, rising; the outer bins are open. -1: not readable.
    """
    rows, columns = np.digitize(yaw_deg, edges[0]), np.digitize(mouth, edges[1])
    known = np.isfinite(yaw_deg) & np.isfinite(mouth)
    return np.where(known, rows * (len(edges[1]) + 1) + columns, -1)


@dataclass(frozen=True)
class NovelRate:
    """Of `inputs` faces that show a combination that training never saw; None without any."""

    inputs: int
    absent: float | None
    """The share whose output shows some combination that training never saw."""
    own: float | None
    """The share whose output shows the very combination of its input."""


def novel_combination_rate(
    input_cells: Int[np.ndarray, " n"],
    output_cells: Int[np.ndarray, " n"],
    present: Sequence[int] | Int[np.ndarray, " k"],
) -> NovelRate:
    """How often inputs of absent cells lead to outputs in absent cells.

    `present`: the cells of the training. Inputs that cannot be read (-1) are left out; outputs that
    cannot be read have failed.
    """
    asked = (input_cells >= 0) & ~np.isin(input_cells, present)
    before, after = input_cells[asked], output_cells[asked]
    if not len(before):
        return NovelRate(0, None, None)
    absent = (after >= 0) & ~np.isin(after, present)
    return NovelRate(len(before), float(absent.mean()), float((after == before).mean()))


def histogram(
    values: Float[np.ndarray, " n"], edges: Float[np.ndarray, " b"]
) -> Float[np.ndarray, " c"]:
    """The share of the values in each bin; what lies beyond the edges is in the outermost bins."""
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return counts / len(values)


def kernel_density(
    values: Float[np.ndarray, " n"], at: Float[np.ndarray, " g"], bandwidth: float
) -> Float[np.ndarray, " g"]:
    """Density of the values at given places: the mean of normal bells of SD `bandwidth`."""
    away = (at[:, None] - values[None]) / bandwidth
    return np.exp(-(away**2) / 2).mean(1) / (bandwidth * np.sqrt(2 * np.pi))


def count_modes(
    values: Float[np.ndarray, " n"], bandwidth: float, prominence: float = PROMINENCE
) -> int:
    """How many peaks the kernel density has that stand out.

    A peak counts when it rises above the higher of the valleys beside it by `prominence` of the
    highest peak, so that the ripple of chance does not.
    """
    reach = 4 * bandwidth
    at = np.arange(values.min() - reach, values.max() + reach, bandwidth / 8)
    density = kernel_density(values, at, bandwidth)
    return len(find_peaks(density, prominence=prominence * density.max())[0])
