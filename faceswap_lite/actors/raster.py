"""Triangles to pixels: one z-buffered pass in bulk array operations, no loop over triangles."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Fragments(NamedTuple):
    """The visible samples: where each lies, and where in the atlas it looks."""

    pixel: Int[np.ndarray, " n"]
    u: Float[np.ndarray, " n"]
    v: Float[np.ndarray, " n"]


# Triangles are handled together with others of about their size: a bounding box of this many
# samples a side, then the next larger one.
_BOX_SIDES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024, 2048, 4096)
# A bulk holds no more candidate samples than this, so that big frames need no more memory.
_BULK = 1 << 20
# Samples on a shared edge belong to both triangles: a gap would be seen, a double is not.
_EDGE = -1e-4


def rasterise(
    points: Float[np.ndarray, "n 3"],
    triangles: Int[np.ndarray, "m 3"],
    uv: Float[np.ndarray, "n 2"],
    width: int,
    height: int,
) -> Fragments:
    """The nearest surface under each sample of a `width` x `height` grid.

    `points` are (x, y) in samples and z, larger = nearer. Each covered sample comes once.
    """
    corners = points[triangles]  # (m, 3, 3)
    xy = corners[:, :, :2]
    low = np.ceil(xy.min(1)).astype(np.int32)
    high = np.floor(xy.max(1)).astype(np.int32)
    np.clip(low, 0, (width, height), out=low)
    np.clip(high, -1, (width - 1, height - 1), out=high)
    extent = high - low + 1
    side, other = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    area = side[:, 0] * other[:, 1] - side[:, 1] * other[:, 0]
    kept = np.flatnonzero((extent.min(1) > 0) & (np.abs(area) > 1e-6))
    weights = _barycentric_planes(xy[kept], area[kept], low[kept])
    found = [
        _inside(weights[rows], extent[kept[rows]], bulk) + (kept[rows],)
        for bulk, rows in _bulks(extent[kept])
    ]
    if not found:
        none = np.zeros(0, np.int64)
        return Fragments(none, none.astype(np.float32), none.astype(np.float32))
    parts = []
    depth = np.full(width * height, -np.inf, np.float32)
    for at, j, i, b0, b1, owner in found:
        triangle = owner[at]
        pixel = (low[triangle, 1] + j) * width + low[triangle, 0] + i
        z = corners[triangle, :, 2]
        nearness = z[:, 2] + b0 * (z[:, 0] - z[:, 2]) + b1 * (z[:, 1] - z[:, 2])
        np.maximum.at(depth, pixel, nearness)
        parts.append((pixel, nearness, triangle, b0, b1))
    winner = np.full(width * height, -1, np.int64)
    pixel, nearness, triangle, b0, b1 = (np.concatenate(column) for column in zip(*parts, strict=True))
    nearest = np.flatnonzero(nearness >= depth[pixel])
    winner[pixel[nearest]] = nearest
    chosen = winner[winner >= 0]
    triangle, b0, b1 = triangle[chosen], b0[chosen], b1[chosen]
    c = uv[triangles].reshape(-1, 6)[triangle]
    u = c[:, 4] + b0 * (c[:, 0] - c[:, 4]) + b1 * (c[:, 2] - c[:, 4])
    v = c[:, 5] + b0 * (c[:, 1] - c[:, 5]) + b1 * (c[:, 3] - c[:, 5])
    return Fragments(pixel[chosen], u, v)


def _barycentric_planes(
    xy: Float[np.ndarray, "m 3 2"], area: Float[np.ndarray, " m"], low: Int[np.ndarray, "m 2"]
) -> Float[np.ndarray, "m 2 3"]:
    """(d/dx, d/dy, value at the box's low corner) of the first two barycentric weights."""
    a, b, c = xy[:, 0], xy[:, 1], xy[:, 2]
    inverse = (1 / area).astype(np.float32)
    planes = np.empty((len(xy), 2, 3), np.float32)
    for k, (p, q) in enumerate(((b, c), (c, a))):
        planes[:, k, 0] = (p[:, 1] - q[:, 1]) * inverse
        planes[:, k, 1] = (q[:, 0] - p[:, 0]) * inverse
        offset = low - p
        planes[:, k, 2] = offset[:, 0] * planes[:, k, 0] + offset[:, 1] * planes[:, k, 1]
    return planes


def _bulks(extent: Int[np.ndarray, "m 2"]) -> list[tuple[tuple[int, int], Int[np.ndarray, " k"]]]:
    """Groups of triangles by box size: ((width, height) of the box, their rows)."""
    sides = np.asarray(_BOX_SIDES)
    kinds = np.searchsorted(sides, extent)  # (m, 2)
    codes = kinds[:, 0] * len(sides) + kinds[:, 1]
    groups = []
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        box = (int(sides[code // len(sides)]), int(sides[code % len(sides)]))
        step = max(1, _BULK // (box[0] * box[1]))
        groups += [(box, rows[start : start + step]) for start in range(0, len(rows), step)]
    return groups


def _inside(
    planes: Float[np.ndarray, "k 2 3"], extent: Int[np.ndarray, "k 2"], box: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Triangle, row, column and two weights of the samples of a bulk that lie inside."""
    i = np.arange(box[0], dtype=np.float32)
    j = np.arange(box[1], dtype=np.float32)
    b0, b1 = (
        (planes[:, k, 0, None] * i)[:, None, :]
        + (planes[:, k, 1, None] * j + planes[:, k, 2, None])[:, :, None]
        for k in (0, 1)
    )  # (k, box height, box width)
    inside = (np.minimum(b0, b1) >= _EDGE) & (b0 + b1 <= 1 - _EDGE)
    at, row, column = np.nonzero(inside)
    # Boxes at the frame's edge are cut short.
    ok = (row < extent[at, 1]) & (column < extent[at, 0])
    if not ok.all():
        at, row, column = at[ok], row[ok], column[ok]
    return at, row, column, b0[at, row, column], b1[at, row, column]
