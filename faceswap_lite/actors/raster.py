"""Triangles to samples: a z-buffer filled by batches of triangles in bulk array operations."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Surface(NamedTuple):
    """What is seen at each sample: how near it is, and where in the atlas the sample looks."""

    nearness: Float[np.ndarray, "h w"]  # -inf where nothing is
    u: Float[np.ndarray, "h w"]  # -9, outside the atlas, where nothing is
    v: Float[np.ndarray, "h w"]


# A sample this near to a shared edge belongs to both triangles: a gap would be seen, a double not.
_EDGE = 1e-3
# Triangles at a time. With all at once, up to a third of a frame went into fetching fresh memory.
_BATCH = 2048


def rasterise(
    points: Float[np.ndarray, "n 3"],
    triangles: Int[np.ndarray, "m 3"],
    uv: Float[np.ndarray, "n 2"],
    width: int,
    height: int,
) -> Surface:
    """The nearest surface under each sample of a `width` x `height` grid; of equals, the last.

    `points` are (x, y) in samples and z, larger = nearer. Triangles become spans (their cut with
    one row of samples), spans become samples; z, u and v are linear along a span.
    """
    surface = Surface(
        *(np.full((height, width), empty, np.float32) for empty in (-np.inf, -9.0, -9.0))
    )
    corners = np.concatenate([points, uv], 1)
    for start in range(0, len(triangles), _BATCH):
        _draw_batch(corners.take(triangles[start : start + _BATCH], axis=0), surface)
    return surface


def _draw_batch(corners: Float[np.ndarray, "m 3 5"], surface: Surface) -> None:
    """Draw triangles, given by x, y, z, u, v of their corners, into `surface`."""
    height, width = surface.nearness.shape
    edges, planes = _edges(corners[..., :2]), _planes(corners)
    # Spans: which triangle, which row.
    top = np.maximum(np.ceil(edges[:, 1]), 0).astype(np.int32)
    last = np.minimum(np.floor(edges[:, 6]), height - 1).astype(np.int32)
    flat = ~np.isfinite(planes).all(1)
    triangle, row = _expand(np.where(flat, 0, np.maximum(last - top + 1, 0)))
    y = (top.take(triangle) + row).astype(np.float32)
    # Where each row enters and leaves its triangle.
    x0, y0, long, upper, x1, y1, _, lower = edges.take(triangle, axis=0).T
    one = x0 + long * (y - y0)
    other = np.where(y < y1, x0 + upper * (y - y0), x1 + lower * (y - y1))
    left = np.maximum(np.ceil(np.minimum(one, other) - _EDGE), 0)
    right = np.minimum(np.floor(np.maximum(one, other) + _EDGE), width - 1)
    lengths = np.maximum(right - left + 1, 0).astype(np.int32)
    kept = np.flatnonzero(lengths)
    left, y = left[kept], y[kept]
    at, step = _at_starts(planes.take(triangle[kept], axis=0), left, y)
    # Samples: which span, how far along it.
    span, along = _expand(lengths[kept])
    pixel = (y.astype(np.int32) * width + left.astype(np.int32)).take(span) + along
    reach = along.astype(np.float32)
    nearness = at[0].take(span) + step[0].take(span) * reach
    nearest = surface.nearness.reshape(-1)
    np.maximum.at(nearest, pixel, nearness)
    front = np.flatnonzero(nearness >= nearest.take(pixel))
    # Where two are equally near, the one written later stays.
    pixel, owner, reach = pixel.take(front), span.take(front), reach.take(front)
    for k, places in ((1, surface.u), (2, surface.v)):
        places.reshape(-1)[pixel] = at[k].take(owner) + step[k].take(owner) * reach


def _expand(counts: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """For each thing `counts[i]` entries: (i, 0), (i, 1), ... as two columns."""
    ends = np.cumsum(counts, dtype=np.int32)
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    starts = ends - counts.astype(np.int32)
    return owner, np.arange(len(owner), dtype=np.int32) - starts.take(owner)


def _edges(corners: Float[np.ndarray, "m 3 2"]) -> Float[np.ndarray, "m 8"]:
    """The sides of each triangle, its corners taken from the top down.

    Columns: top x, top y, slope (x by y) from the top to the bottom and to the middle, middle x,
    middle y, bottom y, slope from the middle to the bottom.
    """
    x, y = (np.ascontiguousarray(corners[..., k].T) for k in (0, 1))  # (3, m)
    for i, j in ((0, 1), (1, 2), (0, 1)):
        swap = y[i] > y[j]
        for values in (x, y):
            one, other = values[i], values[j]
            values[i], values[j] = np.where(swap, other, one), np.where(swap, one, other)
    edges = np.empty((len(corners), 8), np.float32)
    edges[:, 0], edges[:, 1], edges[:, 4], edges[:, 5], edges[:, 6] = x[0], y[0], x[1], y[1], y[2]
    for column, i, j in ((2, 0, 2), (3, 0, 1), (7, 1, 2)):
        rise = y[j] - y[i]
        # A level side is never asked for inside itself.
        edges[:, column] = np.where(rise > 0, (x[j] - x[i]) / np.where(rise > 0, rise, 1), 0)
    return edges


def _planes(corners: Float[np.ndarray, "m 3 5"]) -> Float[np.ndarray, "m 11"]:
    """z, u and v as planes over x, y: each its value at the first corner, its change by x, by y.

    The last two columns are the first corner. Not finite where a triangle has no area.
    """
    first = corners[:, 0]
    p, q = (corners[:, 1] - first).T, (corners[:, 2] - first).T
    area = p[0] * q[1] - q[0] * p[1]
    planes = np.empty((len(corners), 11), np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        for k in (2, 3, 4):
            planes[:, k - 2] = first[:, k]
            planes[:, k + 1] = (p[k] * q[1] - q[k] * p[1]) / area
            planes[:, k + 4] = (q[k] * p[0] - p[k] * q[0]) / area
    planes[:, 9:] = first[:, :2]
    return planes


def _at_starts(
    planes: Float[np.ndarray, "k 11"], left: Float[np.ndarray, " k"], y: Float[np.ndarray, " k"]
) -> tuple[list[Float[np.ndarray, " k"]], list[Float[np.ndarray, " k"]]]:
    """z, u and v at the first sample of each span, and their change a sample."""
    right, down = left - planes[:, 9], y - planes[:, 10]
    step = [np.ascontiguousarray(planes[:, k]) for k in (3, 4, 5)]
    at = [planes[:, k] + step[k] * right + planes[:, k + 6] * down for k in (0, 1, 2)]
    return at, step
