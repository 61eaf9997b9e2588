"""A face's mouth and eyes opened or shut as another's, with what that one shows between the lips.

Lips and lids are lines from corner to corner, each a height over the way along. They move across
that way only, so that a picture is moved column by column: nothing tears but between the inner
lips, where the other's teeth and tongue go.
"""

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from ..metrics.landmarks import eye_distance, five_points

# Mesh points from the picture-left corner to the right one, the upper line first; those of a column
# belong together.
_LIPS = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
)
_LIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)

# What of a wider gap the upper line takes: the jaw opens a mouth, the upper lid an eye.
_UPPER_LIP, _UPPER_LID = 0.25, 0.85
# What of an inner lip's way the outer line goes along.
_LIP_KEPT = 0.9
# How far skin moves along above and below: to the nose and the chin in eye distances, to the brow
# and the cheek in widths of the eye.
_LIPS_ROOM, _LIDS_ROOM = (0.2, 0.45), (0.45, 0.35)
# How far to the side of a corner skin is looked at for its light, in eye distances.
_BESIDE = 0.2
# Light and skin differ by so much at most; beyond, a shadow or a beard was taken for skin.
_MAX_LIGHT = 2.0
_EDGE_PX = 1.0
# Half the width of the dark line between shut lips, in eye distances.
_LINE = 0.06

Crop = Float[np.ndarray, "s s 3"]
Points = Float[np.ndarray, "468 2"]
_Plane = Float[np.ndarray, "h w"]
_Planes = Float[np.ndarray, "n h w"]


def lip_gaps(points: Points) -> Float[np.ndarray, "11"]:
    """The gaps between the inner lips from corner to corner, in eye distances; never below 0."""
    return _lips(points).gaps


def lid_gaps(points: Points) -> Float[np.ndarray, "2 9"]:
    """The gaps between the lids of both eyes from corner to corner, in widths of the eye."""
    return np.stack([_eye(points, lines).gaps for lines in _LIDS])


def with_mouth(
    face: Crop, points: Points, other: Crop, other_points: Points, gain: float = 1.0
) -> Crop:
    """The face with its lips as far apart as `gain` times the other's, and the other's inner mouth.

    Pictures are RGB in [0, 1] of one size, points in pixels of each. The other's teeth and tongue
    get the light of the face: the ratio, by channel, of the skin around both mouths.
    """
    lips, given = _lips(points), _lips(other_points)
    window = lips.window(len(face))
    along, down = lips.coordinates(window)
    before, after = lips.heights(along), lips.moved(gain * given.gaps, _UPPER_LIP).heights(along)
    top, bottom = after[2], after[3]
    # The dark line where shut lips meet is no part of them once they open.
    line = np.clip((bottom - top - (before[3] - before[2])) / 2, 0, _LINE * lips.unit)
    before = np.stack([*before[:2], before[2] - line, before[3] + line, *before[4:]])
    before = np.maximum.accumulate(before, axis=0)
    made = face.astype(np.float32)
    made[window] = _sampled(face, lips, along, _piecewise(down, after, before))
    inside = 0.5 + np.minimum(down - top, bottom - down) / _EDGE_PX
    # Shut lips show nothing; where they part, little at first.
    alpha = (np.clip(inside, 0, 1) * np.clip((bottom - top) / _EDGE_PX, 0, 1))[..., None]
    if not alpha.any():
        return made
    (upper, lower), own = given.inner, lips.inner[0]
    there = np.interp(along, own[0][[0, -1]], upper[0][[0, -1]])
    share = np.clip((down - top) / np.maximum(bottom - top, 1e-6), 0, 1)
    above, below = np.interp(there, *upper), np.interp(there, *lower)
    inner = _sampled(other, given, there, above + share * (below - above))
    light = np.clip(_skin(face, lips) / _skin(other, given), 1 / _MAX_LIGHT, _MAX_LIGHT)
    made[window] += alpha * (np.clip(inner * light, 0, 1) - made[window])
    return made


def with_lids(face: Crop, points: Points, gaps: Float[np.ndarray, "2 9"]) -> Crop:
    """The face with its lids so far apart, in widths of each eye: lids slide over a still eye.

    An eye that opens further than it was shown is stretched.
    """
    made = face.astype(np.float32)
    for lines, wanted in zip(_LIDS, gaps, strict=True):
        eye = _eye(points, lines)
        window = eye.window(len(face))
        along, down = eye.coordinates(window)
        before, after = eye.heights(along), eye.moved(wanted, _UPPER_LID).heights(along)
        came_from = _piecewise(down, after, before)
        slid = (down > after[1]) & (down < after[2])
        slid &= after[2] - after[1] < before[2] - before[1]
        corners = eye.lines[0][0][[0, -1]]
        within = (along > corners[0]) & (along < corners[1])
        came_from = np.where(within & ~slid, came_from, down)
        made[window] = _sampled(made, eye, along, came_from)
    return made


class _Opening(NamedTuple):
    """A mouth or an eye in its own frame: pixels along it, and down from between its corners."""

    middle: Float[np.ndarray, " 2"]
    axes: Float[np.ndarray, "2 2"]
    unit: float
    """Of gaps and of rooms, pixels."""
    room: tuple[float, float]
    """How far skin above and below moves along."""
    lines: tuple[Float[np.ndarray, "2 k"], ...]
    """Along and down, from the uppermost on: two, or four with the outer ones."""

    @property
    def inner(self) -> tuple[Float[np.ndarray, "2 k"], Float[np.ndarray, "2 k"]]:
        """The two lines that meet when it is shut."""
        half = len(self.lines) // 2
        return self.lines[half - 1], self.lines[half]

    @property
    def gaps(self) -> Float[np.ndarray, " k"]:
        """Between them, in units; never below 0."""
        upper, lower = self.inner
        return np.maximum(lower[1] - upper[1], 0) / self.unit

    def moved(self, gaps: Float[np.ndarray, " k"], upper_share: float) -> "_Opening":
        """With these gaps. Corners stay where they are."""
        upper, lower = self.inner
        more = np.maximum(gaps, 0) * self.unit - (lower[1] - upper[1])
        more[[0, -1]] = 0
        ways = [-upper_share * more, (1 - upper_share) * more]
        if len(self.lines) == 4:
            ways = [_LIP_KEPT * ways[0], *ways, _LIP_KEPT * ways[1]]
        moved = zip(self.lines, ways, strict=True)
        return self._replace(lines=tuple(np.stack([x, y + way]) for (x, y), way in moved))

    def window(self, size: int) -> tuple[slice, slice]:
        """The rectangle of a picture that holds it and the room around it."""
        left, right = self.lines[0][0][[0, -1]] + np.array([-_BESIDE, _BESIDE]) * self.unit
        top = self.lines[0][1].min() - self.room[0] * self.unit
        bottom = self.lines[-1][1].max() + self.room[1] * self.unit
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        seen = corners @ self.axes + self.middle
        low = np.clip(np.floor(seen.min(0)), 0, size - 1).astype(int).tolist()
        high = np.clip(np.ceil(seen.max(0)) + 1, 1, size).astype(int).tolist()
        return slice(low[1], high[1]), slice(low[0], high[0])

    def coordinates(self, window: tuple[slice, slice]) -> tuple[_Plane, _Plane]:
        """Where each pixel of a rectangle lies: along, and down."""
        rows, columns = np.mgrid[window].astype(np.float64)
        offset = np.stack([columns - self.middle[0], rows - self.middle[1]])
        along, down = np.tensordot(self.axes, offset, 1)
        return along, down

    def heights(self, along: _Plane) -> _Planes:
        """Of still skin above, of the lines and of still skin below in every column."""
        lines = [np.interp(along, *line) for line in self.lines]
        above = lines[0] - self.room[0] * self.unit
        below = lines[-1] + self.room[1] * self.unit
        return np.maximum.accumulate(np.stack([above, *lines, below]), axis=0)


def _lips(points: Points) -> _Opening:
    corners = points[_LIPS[0][0]], points[_LIPS[0][-1]]
    return _opening(points, _LIPS, corners, eye_distance(five_points(points, "mesh")), _LIPS_ROOM)


def _eye(points: Points, lines: tuple[tuple[int, ...], ...]) -> _Opening:
    corners = points[lines[0][0]], points[lines[0][-1]]
    width = float(np.linalg.norm(corners[1] - corners[0]))
    return _opening(points, lines, corners, max(width, 1e-6), _LIDS_ROOM)


def _opening(
    points: Points,
    lines: tuple[tuple[int, ...], ...],
    corners: tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]],
    unit: float,
    room: tuple[float, float],
) -> _Opening:
    left, right = corners
    along = (right - left) / max(float(np.linalg.norm(right - left)), 1e-6)
    axes = np.array([along, [-along[1], along[0]]])
    middle = (left + right) / 2
    seen = [axes @ (points[list(line)] - middle).T for line in lines]
    # Never backwards along it, as the far corner of a turned head may seem to go.
    rising = tuple(np.stack([np.maximum.accumulate(line[0]), line[1]]) for line in seen)
    return _Opening(middle, axes, unit, room, rising)


def _piecewise(down: _Plane, after: _Planes, before: _Planes) -> _Plane:
    """The heights that pixels came from: as the lines moved, and between them evenly."""
    came_from = down.copy()
    for (top, bottom), (top_was, bottom_was) in zip(pairwise(after), pairwise(before), strict=True):
        share = (down - top) / np.maximum(bottom - top, 1e-6)
        within = (down >= top) & (down < bottom)
        came_from = np.where(within, top_was + share * (bottom_was - top_was), came_from)
    return came_from


def _sampled(
    picture: Crop, opening: _Opening, along: _Plane, down: _Plane
) -> Float[np.ndarray, "h w 3"]:
    """The picture at places of an opening's own frame."""
    places = np.stack([along, down])
    x, y = np.tensordot(opening.axes.T, places, 1) + opening.middle[:, None, None]
    sampled = cv2.remap(
        picture.astype(np.float32), x.astype(np.float32), y.astype(np.float32),
        cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.clip(sampled, 0, 1)


def _skin(picture: Crop, lips: _Opening) -> Float[np.ndarray, "3"]:
    """The mean colour around the lips, never quite black."""
    window = lips.window(len(picture))
    along, down = lips.coordinates(window)
    heights, room = lips.heights(along), _BESIDE * lips.unit
    left, right = lips.lines[0][0][[0, -1]]
    near = (along > left - room) & (along < right + room)
    near &= (down > heights[0]) & (down < heights[-1])
    mouth = (along > left) & (along < right) & (down > heights[1]) & (down < heights[-2])
    ring = near & ~mouth
    return picture[window][ring].mean(0) + 0.02 if ring.any() else np.ones(3)
