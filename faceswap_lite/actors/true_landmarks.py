"""The iBUG-68 landmarks of an actor: fixed places on the head's grid, carried along with it."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from .cast import ActorIdentity
from .head import BROW_X, EYE_HALF_WIDTH, EYE_X, MOUTH_HALF_WIDTH, column_at, head_grid
from .surface import brow_curve, lip_edges


def landmark_points(
    face: ActorIdentity, posed: Float[np.ndarray, "r c 3"]
) -> Float[np.ndarray, "68 3"]:
    """The landmarks on a posed head that wears the face of `face`, in the head's frame."""
    place = _places(face)
    row, column = place[:, 0], place[:, 1]
    i = np.minimum(row.astype(int), posed.shape[0] - 2)
    j = np.minimum(column.astype(int), posed.shape[1] - 2)
    s, t = (row - i)[:, None], (column - j)[:, None]
    top = posed[i, j] * (1 - t) + posed[i, j + 1] * t
    bottom = posed[i + 1, j] * (1 - t) + posed[i + 1, j + 1] * t
    return top * (1 - s) + bottom * s


@lru_cache(maxsize=64)
def _places(face: ActorIdentity) -> Float[np.ndarray, "68 2"]:
    """Fractional (row, column) of each landmark."""
    brow_x = np.linspace(BROW_X[1] - 0.04, BROW_X[0] + 0.04, 5)
    heights = brow_curve(face, brow_x).tolist()
    brows = [(-x, y) for x, y in zip(brow_x.tolist(), heights, strict=True)]
    nose = [(0.0, 0.0), (0.0, -0.18), (0.0, -0.36), (0.0, -0.54)]
    base = [(-0.235, -0.68), (-0.115, -0.735), (0.0, -0.755), (0.115, -0.735), (0.235, -0.68)]
    free = [*brows, *[(-x, y) for x, y in brows[::-1]], *nose, *base]
    lips = _lip_outline()
    places = [*_jaw(), *[_place_of(x, y) for x, y in free], *_eyes(), *lips]
    return np.array(places)


def _jaw() -> list[tuple[float, float]]:
    """The outline from ear to ear around the chin: where the head's side turns under."""
    grid = head_grid()
    degrees = np.array([80, 77, 74, 70, 64, 53, 38, 20, 0])
    heights = np.array([0.0, -0.27, -0.54, -0.80, -1.06, -1.32, -1.58, -1.76, -1.80])
    angles = np.deg2rad(np.concatenate([-degrees, degrees[-2::-1]]))
    heights = np.concatenate([heights, heights[-2::-1]])
    places = []
    for angle, height in zip(angles, heights, strict=True):
        column = float(np.interp(angle, grid.angle, np.arange(len(grid.angle))))
        line = grid.rest[:, round(column), 1]
        lowest = int(np.argmin(line))
        row = float(np.interp(-height, -line[: lowest + 1], np.arange(lowest + 1)))
        places.append((row, column))
    return places


def _eyes() -> list[tuple[float, float]]:
    """Corners and lid points, clockwise from the picture-left corner, both eyes."""
    grid = head_grid()
    places = []
    for lateral in (-1, 1):
        left, right = (lateral * EYE_X + k * EYE_HALF_WIDTH for k in (-1, 1))
        inner = [left + (right - left) * k for k in (0.34, 0.68)]
        upper, lower = grid.eye_row, grid.eye_row + 1
        rows = [upper, upper, upper, upper, lower, lower]
        points = [left, *inner, right, *inner[::-1]]
        places += [(float(row), column_at(row, x)) for row, x in zip(rows, points, strict=True)]
    return places


def _lip_outline() -> list[tuple[float, float]]:
    grid = head_grid()
    top_x = np.array([-0.25, -0.10, 0.0, 0.10, 0.25])
    bottom_x = np.array([0.25, 0.12, 0.0, -0.12, -0.25])
    top = zip(top_x.tolist(), lip_edges(top_x)[0].tolist(), strict=True)
    bottom = zip(bottom_x.tolist(), lip_edges(bottom_x)[1].tolist(), strict=True)
    upper, lower = float(grid.mouth_row), float(grid.mouth_row + 1)
    corner, inner = MOUTH_HALF_WIDTH, MOUTH_HALF_WIDTH - 0.035

    def between(row: float, *xs: float) -> list[tuple[float, float]]:
        return [(row, column_at(grid.mouth_row, x)) for x in xs]

    outer_top = [_place_of(x, y) for x, y in top]
    outer_bottom = [_place_of(x, y) for x, y in bottom]
    outer = [*between(upper, -corner), *outer_top, *between(upper, corner), *outer_bottom]
    return [
        *outer,
        *between(upper, -inner, -0.16, 0.0, 0.16, inner),
        *between(lower, 0.16, 0.0, -0.16),
    ]


def _place_of(x: float, y: float) -> tuple[float, float]:
    """Fractional (row, column) of a position on the front of the resting head."""
    grid = head_grid()
    column = len(grid.angle) / 2
    row = 0.0
    # Rows are nearly level and columns nearly upright: alternating between them converges at once.
    for _ in range(4):
        near = round(column)
        line = grid.rest[:, near, 1]
        lowest = int(np.argmin(line))
        row = float(np.interp(-y, -line[: lowest + 1], np.arange(lowest + 1)))
        column = column_at(round(row), x)
    return row, column
