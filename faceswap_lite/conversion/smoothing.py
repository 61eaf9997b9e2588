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
    rows = [_fit_row(times - when, sigma) for when in at]
    flat = points.reshape(len(points), -1).astype(np.float64)
    return (np.stack(rows) @ flat).reshape(len(at), *points.shape[1:])


def _fit_row(steps: Float[np.ndarray, " n"], sigma: float) -> Float[np.ndarray, " n"]:
    """The weight of every point in the fit's value at step 0."""
    near = np.abs(steps) <= reach(sigma) if sigma > 0 else np.abs(steps) < 1e-9
    # A gap's middle may have no neighbour within reach: the nearest on either side serve.
    for side in (steps <= 0, steps >= 0):
        if side.any():
            near[np.flatnonzero(side)[np.argmin(np.abs(steps[side]))]] = True
    chosen = np.flatnonzero(near)
    x = steps[chosen]
    width = max(sigma, float(np.abs(x).max()) / REACH_SIGMAS, 0.5)
    weights = np.exp(-0.5 * np.square(x / width))
    powers = np.vander(x / width, min(DEGREE + 1, len(x)), increasing=True)
    # Weighted least squares; the value at 0 is the constant term.
    root = np.sqrt(weights)
    solution = np.linalg.pinv(powers * root[:, None])[0] * root
    row = np.zeros(len(steps))
    row[chosen] = solution
    return row
