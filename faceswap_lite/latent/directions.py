"""The direction of codes in which one attribute changes, and how well codes tell that attribute.

The direction is an activation pattern, cov(z, a) / var(a), not the weights of a regression. Weights
say how to read an attribute off a code, which includes cancelling what else moves the same numbers;
a code that is moved along them hardly moves as codes of faces do, and its face hardly changes.
Source: Haufe et al. 2014, "On the interpretation of weight vectors of linear models in multivariate
neuroimaging", theorem 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

Fold = tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]
"""Places to learn from, and places to be judged by."""
_Codes = Float[np.ndarray, "n d"]
_Code = Float[np.ndarray, " d"]
_Values = Float[np.ndarray, " n"]

FOLDS = 5
FOLD_GAP = 5
"""Faces beside a cut inside a clip that are not learned from: all but copies of those that judge"""

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of ridge regression, in mean variances of a number of the code."""


def pattern(codes: _Codes, values: _Values) -> _Code:
    """The mean change of the code for a rise of the attribute by 1: cov(z, a) / var(a).

    Source: Haufe et al. 2014, theorem 1 for one attribute.
    Raises: ValueError when the attribute does not vary.
    """
    offset = values - values.mean()
    spread = _spread(offset, values)
    return offset @ (codes - codes.mean(0)) / spread


def bent_pattern(codes: _Codes, values: _Values) -> tuple[_Code, _Code]:
    """Line and bend of the mean code by attribute: z = z0 + line u + bend u², u = a - mean(a).

    Least squares. Codes of a turning head lie on a curve, which a straight pattern leaves soon.
    Raises: ValueError when the attribute does not vary.
    """
    offset = values - values.mean()
    _spread(offset, values)
    design = np.stack([np.ones_like(offset), offset, offset**2], 1)
    fit = np.linalg.lstsq(design, codes.astype(np.float64), rcond=None)[0]
    return fit[1], fit[2]


@dataclass(frozen=True)
class Direction:
    """How codes move with one attribute of one side's faces: straight on, or along a curve."""

    line: _Code
    """Per unit of the attribute."""
    bend: _Code
    """Per unit squared, counted from `middle`; zeros where it is straight."""
    middle: float
    """The attribute's mean."""
    deviation: float
    """The attribute's standard deviation: the unit of sweeps."""

    def moved(self, code: _Code, value: float, change: float) -> _Code:
        """The code of a face that shows `value`, moved as a change of the attribute would."""
        before = value - self.middle
        return code + self.line * change + self.bend * ((before + change) ** 2 - before**2)


def sweep_codes(
    direction: Direction, codes: _Codes, values: _Values, steps: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "n k d"]:
    """Every code moved by every step, in standard deviations of the attribute."""
    rows = zip(codes, values.tolist(), strict=True)
    moves = [float(step) * direction.deviation for step in steps]
    return np.array(
        [[direction.moved(code, value, move) for move in moves] for code, value in rows]
    )


def blocked_folds(clips: Sequence[str], count: int = FOLDS, gap: int = FOLD_GAP) -> list[Fold]:
    """Folds of faces in order of clip and time, each judged by one unbroken stretch.

    Of three clips or more, up to `count` folds; a cut moves to the nearest end of a clip unless
    that is half a fold away. The `gap` faces beside a cut inside a clip are not learned from.
    Never random frames: their neighbours would tell. Raises: ValueError for fewer faces than folds.
    """
    total = len(clips)
    ends = [i for i in range(1, total) if clips[i] != clips[i - 1]]
    count = min(count, len(ends) + 1) if len(ends) >= 2 else count
    if count < 2 or total < count:
        raise ValueError(f"{total} faces cannot make {count} folds")
    cuts = {0, total}
    for fold in range(1, count):
        ideal = round(total * fold / count)
        near = min(ends, key=lambda end: abs(end - ideal), default=ideal)
        cuts.add(near if abs(near - ideal) <= total / count / 2 else ideal)
    edges = sorted(cuts)
    folds = []
    for start, stop in pairwise(edges):
        below = start if start in ends else max(0, start - gap)
        above = stop if stop in ends else min(total, stop + gap)
        folds.append((np.r_[0:below, above:total], np.arange(start, stop)))
    return folds


def ridge(codes: _Codes, values: _Values, penalty: float) -> tuple[_Code, float]:
    """Weights and offset that read the attribute off a code: a = weights . z + offset.

    `penalty` is in mean variances of a number of the code, times the number of faces.
    """
    mean = codes.mean(0, dtype=np.float64)
    centered = codes - mean
    inner = centered.T @ centered
    held = inner + penalty * np.trace(inner) / len(inner) * np.eye(len(inner))
    weights = np.linalg.solve(held, centered.T @ (values - values.mean()))
    return weights, float(values.mean() - mean @ weights)


def chosen_penalty(codes: _Codes, values: _Values, clips: Sequence[str]) -> float:
    """The one of `PENALTIES` that reads best across blocked folds."""
    folds = blocked_folds(clips)
    errors = [
        float(np.square(_predicted(codes, values, folds, [penalty] * len(folds)) - values).sum())
        for penalty in PENALTIES
    ]
    return PENALTIES[int(np.argmin(errors))]


def cross_validated_r2(codes: _Codes, values: _Values, clips: Sequence[str]) -> float:
    """R² of a ridge regression over stretches of time that it never saw: 1 perfect, 0 the mean.

    The faces are in order of clip and time. Each fold chooses its penalty by folds of its own part.
    Raises: ValueError when the attribute does not vary, or for too few faces.
    """
    spread = _spread(values - values.mean(), values)
    folds = blocked_folds(clips)
    names = np.array(clips)
    penalties = [
        chosen_penalty(codes[learned], values[learned], names[learned].tolist())
        for learned, _ in folds
    ]
    predicted = _predicted(codes, values, folds, penalties)
    return 1 - float(np.square(values - predicted).sum()) / spread


def sweep_figures(
    requested: Float[np.ndarray, " k"], read: Float[np.ndarray, "n k"]
) -> tuple[float, float]:
    """Achieved over requested change (least squares), and the share of steps that go up.

    `requested` are changes in rising order, 0 among them; `read` the attribute of each face at
    each. What could not be read (NaN) does not count; NaN when nothing could.
    """
    start = read[:, [int(np.argmin(np.abs(requested)))]]
    achieved = read - start
    known = ~np.isnan(achieved)
    asked = np.where(known, requested, 0.0)
    power = float(np.square(asked).sum())
    slope = float((asked * np.where(known, achieved, 0.0)).sum()) / power if power else np.nan
    rises = np.diff(read, axis=1)
    compared = rises[~np.isnan(rises)]
    return slope, float((compared > 0).mean()) if compared.size else np.nan


def _spread(offset: _Values, values: _Values) -> float:
    spread = float(offset @ offset)
    # Rounding alone leaves about 1e-16 of the values' own squares.
    if not spread > 1e-20 * float(values @ values):
        raise ValueError("an attribute that never varies has no direction")
    return spread


def _predicted(
    codes: _Codes, values: _Values, folds: Sequence[Fold], penalties: Sequence[float]
) -> _Values:
    predicted = np.empty(len(values))
    for (learned, judged), penalty in zip(folds, penalties, strict=True):
        weights, offset = ridge(codes[learned], values[learned], penalty)
        predicted[judged] = codes[judged] @ weights + offset
    return predicted
