"""A face's mouth opened or shut as another's, with what that one shows between the lips.

Lips are four lines from corner to corner, each a height over the way along the mouth. Lips move
across that way only, so that a picture is moved column by column: nothing tears but between the
inner lines, where the other's teeth and tongue go.
"""

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from ..metrics.landmarks import eye_distance, five_points

# Mesh points from the picture-left corner to the right one; those of a column belong together.
_UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)

# The jaw opens a mouth: what of a wider gap the upper lip takes, and what of a lip's way its outer
# line goes with the inner one.
_UPPER_SHARE = 0.25
_LIP_KEPT = 0.9
# How far beyond the lips skin moves along, in eye distances: up to the nose, down to the chin.
_ROOM_ABOVE, _ROOM_BELOW = 0.2, 0.45
# How far to the side of a corner skin is looked at for its light.
_ROOM_BESIDE = 0.2
# Light and skin differ by so much at most; beyond, a shadow or a beard was taken for skin.
_MOST_GAIN = 2.0
_EDGE_PX = 1.0

Picture = Float[np.ndarray, "s s 3"]
Points = Float[np.ndarray, "468 2"]
Gaps = Float[np.ndarray, "11"]


def lip_gaps(points: Points) -> Gaps:
    """The gaps between the inner lips from corner to corner, in eye distances; never below 0."""
    lines = _lines(points)
    return np.maximum(lines.lower_inner[1] - lines.upper_inner[1], 0) / lines.eyes


def with_mouth(
    face: Picture, points: Points, other: Picture, other_points: Points, gain: float = 1.0
) -> Picture:
    """The face with its lips as far apart as `gain` times the other's, and the other's inner mouth.

    Pictures are RGB in [0, 1] of one size, points in pixels of each. The other's teeth and tongue
    get the light of the face: the gain, by channel, between the skin around both mouths.
    """
    lines, given = _lines(points), _lines(other_points)
    wanted = gain * lip_gaps(other_points) * lines.eyes
    window = _window(lines, _ROOM_BESIDE, len(face))
    along, down = _coordinates(lines, window)
    before, after = _heights(lines, along), _heights(_moved(lines, wanted), along)
    moved = _sampled(face, lines, along, _piecewise(down, after, before))
    top, bottom = after[2], after[3]
    inside = 0.5 + np.minimum(down - top, bottom - down) / _EDGE_PX
    # Shut lips show nothing; where they part, little at first.
    alpha = (np.clip(inside, 0, 1) * np.clip((bottom - top) / _EDGE_PX, 0, 1))[..., None]
    painted = face.astype(np.float32)
    if not alpha.any():
        painted[window] = moved
        return painted
    width, other_width = (each.upper_inner[0][[0, -1]] for each in (lines, given))
    there = np.interp(along, width, other_width)
    share = np.clip((down - top) / np.maximum(bottom - top, 1e-6), 0, 1)
    upper, lower = (np.interp(there, *line) for line in (given.upper_inner, given.lower_inner))
    inner = _sampled(other, given, there, upper + share * (lower - upper))
    light = _skin(face, lines) / _skin(other, given)
    lit = np.clip(inner * np.clip(light, 1 / _MOST_GAIN, _MOST_GAIN), 0, 1)
    painted[window] = moved + alpha * (lit - moved)
    return painted


class _Lines(NamedTuple):
    """A mouth in its own frame: pixels along it and down from the middle between its corners."""

    middle: Float[np.ndarray, " 2"]
    axes: Float[np.ndarray, "2 2"]
    eyes: float
    upper_outer: Float[np.ndarray, "2 11"]
    """Along, and down."""
    upper_inner: Float[np.ndarray, "2 11"]
    lower_inner: Float[np.ndarray, "2 11"]
    lower_outer: Float[np.ndarray, "2 11"]


def _lines(points: Points) -> _Lines:
    left, right = points[_UPPER_OUTER[0]], points[_UPPER_OUTER[-1]]
    along = (right - left) / max(float(np.linalg.norm(right - left)), 1e-6)
    axes = np.array([along, [-along[1], along[0]]])
    middle = (left + right) / 2
    lines = [
        _rising(axes @ (points[list(line)] - middle).T)
        for line in (_UPPER_OUTER, _UPPER_INNER, _LOWER_INNER, _LOWER_OUTER)
    ]
    return _Lines(middle, axes, eye_distance(five_points(points, "mesh")), *lines)


def _rising(line: Float[np.ndarray, "2 11"]) -> Float[np.ndarray, "2 11"]:
    """Never backwards along the mouth, as a far corner of a turned head may seem to go."""
    return np.stack([np.maximum.accumulate(line[0]), line[1]])


def _moved(lines: _Lines, wanted: Gaps) -> _Lines:
    """The lips with these gaps, in pixels. Corners stay where they are."""
    more = wanted - (lines.lower_inner[1] - lines.upper_inner[1])
    more[[0, -1]] = 0
    up, down = -_UPPER_SHARE * more, (1 - _UPPER_SHARE) * more

    def shifted(line: np.ndarray, by: np.ndarray) -> np.ndarray:
        return np.stack([line[0], line[1] + by])

    return lines._replace(
        upper_outer=shifted(lines.upper_outer, _LIP_KEPT * up),
        upper_inner=shifted(lines.upper_inner, up),
        lower_inner=shifted(lines.lower_inner, down),
        lower_outer=shifted(lines.lower_outer, _LIP_KEPT * down),
    )


def _window(lines: _Lines, beside: float, size: int) -> tuple[slice, slice]:
    """The rectangle of a picture that holds the mouth and the room around it."""
    left, right = lines.upper_outer[0][[0, -1]] + np.array([-beside, beside]) * lines.eyes
    top = lines.upper_outer[1].min() - _ROOM_ABOVE * lines.eyes
    bottom = lines.lower_outer[1].max() + _ROOM_BELOW * lines.eyes
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    seen = corners @ lines.axes + lines.middle
    low = np.clip(np.floor(seen.min(0)), 0, size - 1).astype(int).tolist()
    high = np.clip(np.ceil(seen.max(0)) + 1, 1, size).astype(int).tolist()
    return slice(low[1], high[1]), slice(low[0], high[0])


def _coordinates(
    lines: _Lines, window: tuple[slice, slice]
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Where each pixel of a rectangle lies: along the mouth, and down."""
    rows, columns = np.mgrid[window].astype(np.float64)
    offset = np.stack([columns - lines.middle[0], rows - lines.middle[1]])
    along, down = np.tensordot(lines.axes, offset, 1)
    return along, down


def _heights(lines: _Lines, along: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "6 h w"]:
    """The heights of skin above, the four lines and skin below in every column, falling order."""
    four = [np.interp(along, *line) for line in lines[3:]]
    above = four[0] - _ROOM_ABOVE * lines.eyes
    below = four[3] + _ROOM_BELOW * lines.eyes
    return np.maximum.accumulate(np.stack([above, *four, below]), axis=0)


def _piecewise(
    down: Float[np.ndarray, "h w"],
    after: Float[np.ndarray, "6 h w"],
    before: Float[np.ndarray, "6 h w"],
) -> Float[np.ndarray, "h w"]:
    """The heights that pixels came from: as the lines moved, and between them evenly."""
    came_from = down.copy()
    for (top, bottom), (top_was, bottom_was) in zip(pairwise(after), pairwise(before), strict=True):
        share = (down - top) / np.maximum(bottom - top, 1e-6)
        within = (down >= top) & (down < bottom)
        came_from = np.where(within, top_was + share * (bottom_was - top_was), came_from)
    return came_from


def _sampled(
    picture: Picture, lines: _Lines, along: Float[np.ndarray, "h w"], down: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """The picture at places of a mouth's own frame."""
    x, y = np.tensordot(lines.axes.T, np.stack([along, down]), 1) + lines.middle[:, None, None]
    sampled = cv2.remap(
        picture.astype(np.float32), x.astype(np.float32), y.astype(np.float32),
        cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.clip(sampled, 0, 1)


def _skin(picture: Picture, lines: _Lines) -> Float[np.ndarray, "3"]:
    """The mean colour around the lips, never quite black."""
    window = _window(lines, _ROOM_BESIDE, len(picture))
    along, down = _coordinates(lines, window)
    heights, room = _heights(lines, along), _ROOM_BESIDE * lines.eyes
    left, right = lines.upper_outer[0][[0, -1]]
    near = (along > left - room) & (along < right + room)
    near &= (down > heights[0]) & (down < heights[5])
    lips = (along > left) & (along < right) & (down > heights[1]) & (down < heights[4])
    ring = near & ~lips
    return picture[window][ring].mean(0) + 0.02 if ring.any() else np.ones(3)
