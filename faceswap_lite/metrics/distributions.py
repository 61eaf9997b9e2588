"""Measures of values: how two series go together, how sets are spread, how much a series shakes.

NaN is left out: frames where either is NaN of values that belong together, each NaN of sets that
do not. None where too little is left to say anything.
"""

import numpy as np
from jaxtyping import Float

# A correlation of two pairs is always +1 or -1 and says nothing.
MIN_PAIRS = 3
# Median size of a normal value of standard deviation 1.
MEDIAN_OF_SIZE = 0.6744897501960817


def correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float | None:
    """Pearson's correlation, -1 to 1; frames where either is NaN are left out.

    None when fewer than three pairs are left, or one of the two does not vary.
    """
    a, b = finite_pairs(a, b)
    if not (varies(a) and varies(b)):
        return None
    a, b = a - a.mean(), b - b.mean()
    # Scaled first: the squares of tiny values would vanish.
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def spread_ratio(out: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"]) -> float | None:
    """Standard deviation of `out` over that of `reference`: below 1, `out` is held back.

    Frames where either is NaN are left out. None when fewer than three pairs are left, or the
    reference does not vary.
    """
    out, reference = finite_pairs(out, reference)
    if not varies(reference):
        return None
    return float(out.std() / reference.std())


def spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float | None:
    """Spearman's rank correlation, -1 to 1: does one rise where the other does; ties share a rank.

    None when fewer than three pairs are left, or one of the two does not vary.
    """
    a, b = finite_pairs(a, b)
    if not (varies(a) and varies(b)):
        return None
    return correlation(_ranks(a), _ranks(b))


def wasserstein_1(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> float | None:
    """How far, on average, values must be moved to turn one set into the other, in their unit.

    The area between the two distribution functions. None when a set is empty.
    """
    a, b = np.sort(finite(a)), np.sort(finite(b))
    if not (len(a) and len(b)):
        return None
    at = np.sort(np.concatenate([a, b]))
    below_a = np.searchsorted(a, at[:-1], side="right") / len(a)
    below_b = np.searchsorted(b, at[:-1], side="right") / len(b)
    return float(np.abs(below_a - below_b) @ np.diff(at))


def slope(out: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"]) -> float | None:
    """By how much `out` changes for each unit of `reference`: the least-squares line's slope.

    1 follows in full, 0 not at all. Noise of the reference pulls it towards 0. None when fewer than
    three pairs are left, or the reference does not vary.
    """
    out, reference = finite_pairs(out, reference)
    if not varies(reference):
        return None
    off = reference - reference.mean()
    # Scaled first: the squares of tiny values would vanish.
    scale = np.abs(off).max()
    off = off / scale
    return float(off @ (out - out.mean()) / (off @ off) / scale)


def series_noise(values: Float[np.ndarray, " n"]) -> float | None:
    """Standard deviation of the measuring error of a smooth series, in its unit.

    From the second differences: a steady movement vanishes there, and independent errors have six
    times their variance. The spread is read off the median of their sizes, so that a few blinks or
    cuts do not count. It misleads where the movement itself turns within a few frames (it then
    counts as noise) and where the errors last for several (a smoothing tracker: they vanish).
    Frames beside a NaN are left out; None when fewer than three second differences are left.
    Source: Gasser, Sroka & Jennen-Steinmetz 1986, "Residual variance and residual pattern in
    nonlinear regression", with the median in place of the mean.
    """
    second = finite(np.diff(values, 2))
    if len(second) < MIN_PAIRS:
        return None
    return float(np.median(np.abs(second)) / (MEDIAN_OF_SIZE * np.sqrt(6)))


def principal_axes(
    points: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, " k"]]:
    """Columns of unit length in which points vary most, and the standard deviations along them.

    In falling order; each column's largest number is positive, so that signs do not depend on the
    machine. k is the lesser of n and d.
    """
    centered = points - points.mean(0, dtype=np.float64)
    _, lengths, rows = np.linalg.svd(centered, full_matrices=False)
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(1)]
    return (rows * np.where(largest < 0, -1.0, 1.0)[:, None]).T, lengths / np.sqrt(len(points))


def finite_pairs(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """The frames where both have a value, as float64."""
    both = np.isfinite(a) & np.isfinite(b)
    return a[both].astype(np.float64), b[both].astype(np.float64)


def varies(values: Float[np.ndarray, " n"]) -> bool:
    """Whether there are values enough to say anything, and not all are equal."""
    if len(values) < MIN_PAIRS:
        return False
    # The mean of equal values may be off by a rounding, which is no variance.
    return bool(np.ptp(values) > 1e-9 * np.abs(values).max())


def finite(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """The values that are there, as float64."""
    return values[np.isfinite(values)].astype(np.float64)


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Places in order, from 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[which]
