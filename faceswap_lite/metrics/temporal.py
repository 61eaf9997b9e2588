"""Measures of a value that runs along a clip: one number a frame, NaN where a frame has none."""

import numpy as np
from jaxtyping import Float

# A correlation of two pairs is always +1 or -1 and says nothing.
MIN_PAIRS = 3


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
