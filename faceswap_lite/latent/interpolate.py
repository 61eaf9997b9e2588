"""Between two faces: a walk through codes, and a plain blend of pixels to compare it with."""

import numpy as np
from jaxtyping import Float


def lerp(
    a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."], steps: int
) -> Float[np.ndarray, "steps ..."]:
    """`steps` points on the straight line from a to b, both ends among them; codes or pictures."""
    parts = np.linspace(0, 1, steps).reshape(-1, *[1] * a.ndim)
    return (1 - parts) * a + parts * b


def slerp(
    a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"], steps: int
) -> Float[np.ndarray, "steps d"]:
    """The same on the arc around the origin, the length going evenly from one to the other.

    Source: Shoemake 1985, "Animating rotation with quaternion curves", of the unit vectors. Those
    that point the same way, or just against each other, have no arc: a straight line.
    """
    length_a, length_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(length_a, length_b) < 1e-12:
        return lerp(a, b, steps)
    unit_a, unit_b = a / length_a, b / length_b
    angle = float(np.arccos(np.clip(unit_a @ unit_b, -1, 1)))
    if np.sin(angle) < 1e-6:
        return lerp(a, b, steps)
    parts = np.linspace(0, 1, steps)[:, None]
    units = (np.sin((1 - parts) * angle) * unit_a + np.sin(parts * angle) * unit_b) / np.sin(angle)
    return units * ((1 - parts) * length_a + parts * length_b)


def path_errors(
    points: Float[np.ndarray, "steps n 2"], eye_distance: float
) -> Float[np.ndarray, " steps"]:
    """How far each step's landmarks lie from the straight way between the ends' landmarks.

    Mean over the points, in eye distances; 0 at the ends. NaN where a step has no landmarks.
    """
    wanted = lerp(points[0], points[-1], len(points))
    return np.linalg.norm(points - wanted, axis=2).mean(1) / eye_distance
