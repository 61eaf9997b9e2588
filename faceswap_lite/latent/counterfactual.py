"""What would have to change for another answer: directions of codes, ranked by what they do."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from .directions import blocked_folds

SHRINKAGE = 0.01
"""Share of the mean variance in the classifier's covariance (after Ledoit and Wolf 2004)."""

_Code = Float[np.ndarray, " d"]
_Codes = Float[np.ndarray, "n d"]


def one_deviation(direction: _Code, codes: _Codes) -> _Code:
    """The direction at the length of one standard deviation of the codes along it."""
    unit = direction / np.linalg.norm(direction)
    return unit * float((codes @ unit).std())


def identity_logit(source: _Codes, target: Float[np.ndarray, "m d"]) -> tuple[_Code, float]:
    """Weights and offset of the logit that a code is of the source: above 0 says so.

    Linear discriminant analysis (Hastie et al. 2009, "The elements of statistical learning", eq.
    4.9) with equal priors, the shared covariance shrunk towards a sphere.
    """
    means = source.mean(0, dtype=np.float64), target.mean(0, dtype=np.float64)
    within = np.concatenate([source - means[0], target - means[1]])
    covariance = within.T @ within / max(1, len(within) - 2)
    size = len(covariance)
    sphere = np.trace(covariance) / size * np.eye(size)
    weights = np.linalg.solve(
        (1 - SHRINKAGE) * covariance + SHRINKAGE * sphere, means[0] - means[1]
    )
    return weights, -float(weights @ (means[0] + means[1])) / 2


def identity_accuracy(
    codes: _Codes, is_source: Bool[np.ndarray, " n"], clips: Sequence[str]
) -> float:
    """Share of faces named rightly by classifiers that never saw their stretch of time.

    The faces of a side are in order of clip and time. Each side is cut by itself.
    """
    names = np.array(clips)
    places = [np.flatnonzero(is_source == side) for side in (True, False)]
    folds = [blocked_folds(names[where].tolist()) for where in places]
    right = total = 0
    # One side may make fewer folds than the other: they go round.
    for turn in range(max(map(len, folds))):
        parts = [cut[turn % len(cut)] for cut in folds]
        source, target = (where[part[0]] for where, part in zip(places, parts, strict=True))
        weights, offset = identity_logit(codes[source], codes[target])
        judged = np.concatenate([where[part[1]] for where, part in zip(places, parts, strict=True)])
        right += int(((codes[judged] @ weights + offset > 0) == is_source[judged]).sum())
        total += len(judged)
    return right / total


def explained_shares(
    weights: _Code, move: _Code, axes: Float[np.ndarray, "d k"]
) -> Float[np.ndarray, " k"]:
    """Which share of the change of a linear answer each axis brings when a code makes this move.

    They add up to 1 when the axes span the move; a share may be negative.
    """
    return (weights @ axes) * (move @ axes) / float(weights @ move)
