"""Similarities of the plane: fitting, applying, inverting, chaining. 2x3 matrices, float64."""

import numpy as np
from jaxtyping import Float

_Points = Float[np.ndarray, "n 2"]
_Affine = Float[np.ndarray, "2 3"]


def fit_similarity(points: _Points, template: _Points) -> _Affine:
    """Least-squares similarity (rotation, scale, shift) that takes `points` onto `template`.

    Never a reflection. Source: Umeyama 1991, "Least-squares estimation of transformation
    parameters", eqs. 40-43; in the plane, rotation and scale are one complex number.
    Raises: ValueError when all points coincide (scale is undefined).
    """
    points = np.asarray(points, np.float64)
    template = np.asarray(template, np.float64)
    centre, aim = points.mean(0), template.mean(0)
    x, y = (points - centre).T
    u, v = (template - aim).T
    spread = (x * x + y * y).sum()
    if not spread > 0:
        raise ValueError("all points coincide: no scale can be fitted")
    a = (x * u + y * v).sum() / spread
    b = (x * v - y * u).sum() / spread
    turn = np.array([[a, -b], [b, a]])
    return np.column_stack([turn, aim - turn @ centre])


def transform_points(points: _Points, matrix: _Affine) -> _Points:
    """The points after the map of `matrix`."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def invert_similarity(matrix: _Affine) -> _Affine:
    """The map that undoes `matrix`. Raises: numpy.linalg.LinAlgError when it flattens the plane."""
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def compose(first: _Affine, then: _Affine) -> _Affine:
    """The map that does `first` and then `then`: compose(frame_to_crop, crop_to_view)."""
    turn = then[:, :2] @ first[:, :2]
    return np.column_stack([turn, then[:, :2] @ first[:, 2] + then[:, 2]])


def similarity_scale(matrix: _Affine) -> float:
    """How many units a unit of length becomes under `matrix`."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
