"""Steadier over time, without lag: landmarks along a track, and the weights of its neighbours.

Everything here works on one unbroken stretch of a face's track; who calls it breaks tracks at cuts.
"""

import numpy as np
from jaxtyping import Float

# Beyond so many sigmas a neighbour has no weight left.
REACH_SIGMAS = 2.5
# A quadratic wants three points; with fewer a straight line or a mean is fitted.
DEGREE = 2


def reach(sigma: float) -> int:
    """How many frames to each side have a weight."""
    return int(np.ceil(REACH_SIGMAS * sigma))


def neighbour_weights(steps: Float[np.ndarray, " n"], sigma: float) -> Float[np.ndarray, " n"]:
    """The weights, summing to 1, of frames that lie `steps` frames away; sigma 0: only step 0."""
    if sigma <= 0:
        weights = (steps == 0).astype(np.float64)
    else:
        weights = np.exp(-0.5 * np.square(steps / sigma)) * (np.abs(steps) <= reach(sigma))
    return weights / max(weights.sum(), 1e-12)


def smooth_points(
    times: Float[np.ndarray, " n"],
    points: Float[np.ndarray, "n p 2"],
    at: Float[np.ndarray, " m"],
    sigma: float,
) -> Float[np.ndarray, "m p 2"]:
    """The points at the times `at`, by a quadratic fitted to the neighbours of each time.

    Times are in frames and rise; they need not be even, and `at` may name times between them: gaps
    are filled by the same fit. A movement of constant speed or acceleration comes out as it is: no
    lag. With sigma 0 the nearest two points are joined by a line.
    Source: Savitzky and Golay 1964; Cleveland 1979 (local regression with weights).
    """
    flat = points.reshape(len(points), -1).astype(np.float64)
    out = np.empty((len(at), flat.shape[1]))
    for place, when in enumerate(at):
        near = neighbours(times, float(when), sigma)
        out[place] = _fit_weights(times[near] - when, sigma) @ flat[near]
    return out.reshape(len(at), *points.shape[1:])


def neighbours(times: Float[np.ndarray, " n"], when: float, sigma: float) -> slice:
    """Which points smooth the one at a time: those within reach, at least one on either side."""
    span = reach(sigma) + 1e-9
    first, last = np.searchsorted(times, [when - span, when + span])
    before, after = np.searchsorted(times, when, "right"), np.searchsorted(times, when, "left")
    # In a gap nothing may be within reach: the nearest on either side serve.
    return slice(min(first, max(before - 1, 0)), max(last, min(after + 1, len(times))))


def _fit_weights(steps: Float[np.ndarray, " n"], sigma: float) -> Float[np.ndarray, " n"]:
    """The weight of every point in the fit's value at step 0."""
    width = max(sigma, float(np.abs(steps).max()) / REACH_SIGMAS, 0.5)
    powers = np.vander(steps / width, min(DEGREE + 1, len(steps)), increasing=True)
    # Weighted least squares; the value at 0 is the constant term.
    root = np.exp(-0.25 * np.square(steps / width))
    return np.linalg.pinv(powers * root[:, None])[0] * root
