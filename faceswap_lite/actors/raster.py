"""Triangles to samples: one z-buffered pass in bulk array operations, no loop over triangles."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Fragments(NamedTuple):
    """The visible samples: where each lies, and where in the atlas it looks."""

    pixel: Int[np.ndarray, " n"]
    u: Float[np.ndarray, " n"]
    v: Float[np.ndarray, " n"]


# A sample this near to a shared edge belongs to both triangles: a gap would be seen, a double not.
_EDGE = 1e-3


def rasterise(
    points: Float[np.ndarray, "n 3"],
    triangles: Int[np.ndarray, "m 3"],
    uv: Float[np.ndarray, "n 2"],
    width: int,
    height: int,
) -> Fragments:
    """The nearest surface under each sample of a `width` x `height` grid, each sample once.

    `points` are (x, y) in samples and z, larger = nearer. Triangles become spans (their cut with
    one row of samples), spans become samples; z, u and v are linear along a span.
    """
    xs, ys, zs = (np.ascontiguousarray(points[:, k])[triangles.T] for k in range(3))  # (3, m)
    area = (xs[1] - xs[0]) * (ys[2] - ys[0]) - (xs[2] - xs[0]) * (ys[1] - ys[0])
    # Spans: which triangle, which row.
    top = np.maximum(np.ceil(np.minimum(np.minimum(ys[0], ys[1]), ys[2])), 0).astype(np.int32)
    last = np.maximum(np.maximum(ys[0], ys[1]), ys[2])
    rows = np.minimum(np.floor(last), height - 1).astype(np.int32) - top + 1
    rows = np.where(np.abs(area) < 1e-6, 0, np.maximum(rows, 0))
    triangle, row = _expand(rows)
    y = (top[triangle] + row).astype(np.float32)
    low, high = _cuts(xs, ys, area, triangle, y)
    left = np.maximum(np.ceil(low - _EDGE), 0).astype(np.int32)
    right = np.minimum(np.floor(high + _EDGE), width - 1).astype(np.int32)
    lengths = np.maximum(right - left + 1, 0)
    kept = np.flatnonzero(lengths)
    triangle, y, left = triangle[kept], y[kept], left[kept]
    # Samples: which span, how far along it.
    span, along = _expand(lengths[kept])
    step = along.astype(np.float32)
    pixel = (y.astype(np.int32) * width + left)[span] + along
    depth_at, depth_step = _along(zs, xs, ys, area, triangle, left, y)
    nearness = depth_at[span] + depth_step[span] * step
    nearest = np.full(width * height, -np.inf, np.float32)
    np.maximum.at(nearest, pixel, nearness)
    front = np.flatnonzero(nearness >= nearest[pixel])
    winner = np.full(width * height, -1, np.int32)
    winner[pixel[front]] = front
    chosen = winner[winner >= 0]
    span, step = span[chosen], step[chosen]
    u, v = (
        at[span] + change[span] * step
        for at, change in (
            _along(np.ascontiguousarray(uv[:, k])[triangles.T], xs, ys, area, triangle, left, y)
            for k in (0, 1)
        )
    )
    return Fragments(pixel[chosen], u, v)


def _expand(counts: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """For each thing `counts[i]` entries: (i, 0), (i, 1), ... as two columns."""
    ends = np.cumsum(counts, dtype=np.int32)
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    total = int(ends[-1]) if len(ends) else 0
    return owner, np.arange(total, dtype=np.int32) - (ends - counts.astype(np.int32))[owner]


def _cuts(
    xs: Float[np.ndarray, "3 m"],
    ys: Float[np.ndarray, "3 m"],
    area: Float[np.ndarray, " m"],
    triangle: Int[np.ndarray, " k"],
    y: Float[np.ndarray, " k"],
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Where each row enters and leaves its triangle."""
    low = np.full(len(y), -np.inf, np.float32)
    high = np.full(len(y), np.inf, np.float32)
    for k in range(3):
        x0, y0 = xs[k], ys[k]
        dx, dy = xs[(k + 1) % 3] - x0, ys[(k + 1) % 3] - y0
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = dx / dy
        # An edge that goes down bounds a positively turned triangle on the right.
        entering = (dy < 0) == (area > 0)
        level = dy == 0
        slope[level] = 0
        cut = x0[triangle] + slope[triangle] * (y - y0[triangle])
        enters = (entering & ~level)[triangle]
        leaves = (~entering & ~level)[triangle]
        np.maximum(low, cut, out=low, where=enters)
        np.minimum(high, cut, out=high, where=leaves)
    return low, high


def _along(
    values: Float[np.ndarray, "3 m"],
    xs: Float[np.ndarray, "3 m"],
    ys: Float[np.ndarray, "3 m"],
    area: Float[np.ndarray, " m"],
    triangle: Int[np.ndarray, " k"],
    left: Int[np.ndarray, " k"],
    y: Float[np.ndarray, " k"],
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """A corner value's plane at the first sample of each span, and its change a sample."""
    p, q = values[1] - values[0], values[2] - values[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        by_x = (p * (ys[2] - ys[0]) - q * (ys[1] - ys[0])) / area
        by_y = (q * (xs[1] - xs[0]) - p * (xs[2] - xs[0])) / area
    change = by_x[triangle]
    offset = left.astype(np.float32) - xs[0][triangle]
    return (
        values[0][triangle] + change * offset + by_y[triangle] * (y - ys[0][triangle]),
        change,
    )
