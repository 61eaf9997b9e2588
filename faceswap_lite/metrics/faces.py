"""Measures of a face's points."""

import numpy as np
from jaxtyping import Float


def interocular_px(five: Float[np.ndarray, "5 2"]) -> float:
    """Distance between the eyes of the five points (the two eyes come first), in their unit."""
    return float(np.linalg.norm(five[1] - five[0]))


def landmark_nme(
    points: Float[np.ndarray, "n 2"], reference: Float[np.ndarray, "n 2"], interocular: float
) -> float:
    """Normalised mean error: mean distance of the points, in distances between the eyes.

    `interocular` is the reference's, in the unit of the points.
    Raises: ValueError when it is not above 0.
    """
    if not interocular > 0:
        raise ValueError("the distance between the eyes must be above 0")
    return float(np.linalg.norm(points - reference, axis=1).mean() / interocular)
