"""Crop geometries of other tools, by their own rules, so that what they trained sees what it knows.

Both tools fit points of a face to a mean face in a unit box, and name a crop by how many edges of
that box it shows. DeepFaceLab moves the crop toward the forehead for whole faces and heads, and for
heads sideways after the yaw. FaceSwap puts a point of the head, as it is turned, into the middle.
"""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ..geometry import compose, fit_similarity, transform_points
from ..metrics.landmarks import (
    CANONICAL_FIVE,
    IBUG_MODEL,
    LandmarksPack,
    fit_head,
    five_points,
    ibug68_of,
)

# Where iBUG's points 17 to 67 (brows, nose, eyes, mouth) lie in the mean face's box.
_MEAN_FACE: Float[np.ndarray, "51 2"] = np.array(
    [
        [0.000213, 0.106454], [0.075262, 0.038915], [0.181130, 0.018748], [0.290770, 0.034489],
        [0.393397, 0.077391], [0.586856, 0.077391], [0.689483, 0.034489], [0.799124, 0.018748],
        [0.904991, 0.038915], [0.980040, 0.106454], [0.490127, 0.203352], [0.490127, 0.307009],
        [0.490127, 0.409805], [0.490127, 0.515625], [0.366880, 0.587326], [0.426036, 0.609345],
        [0.490127, 0.628106], [0.554217, 0.609345], [0.613373, 0.587326], [0.121737, 0.216423],
        [0.187122, 0.178758], [0.265825, 0.179852], [0.334606, 0.231733], [0.260918, 0.245099],
        [0.182743, 0.244077], [0.645647, 0.231733], [0.714428, 0.179852], [0.793132, 0.178758],
        [0.858516, 0.216423], [0.797510, 0.244077], [0.719335, 0.245099], [0.254149, 0.780233],
        [0.340985, 0.745405], [0.428858, 0.727388], [0.490127, 0.742578], [0.551395, 0.727388],
        [0.639268, 0.745405], [0.726104, 0.780233], [0.642159, 0.864805], [0.556721, 0.902192],
        [0.490127, 0.909281], [0.423532, 0.902192], [0.338094, 0.864805], [0.290379, 0.784792],
        [0.428096, 0.778746], [0.490127, 0.785343], [0.552157, 0.778746], [0.689874, 0.784792],
        [0.553364, 0.824182], [0.490127, 0.831803], [0.426890, 0.824182],
    ]
)  # fmt: skip
_ALL = tuple(range(17, 68))
# Those that expressions hardly move, and the outer corners of the mouth.
_STEADY = (*range(17, 49), 54)

_CANONICAL_TO_BOX = fit_similarity(
    np.array([IBUG_MODEL[point][:2] for point in IBUG_MODEL]),
    _MEAN_FACE[[point - 17 for point in IBUG_MODEL]],
)

# The outermost points of the jaw, left and right, and the bridge of the nose, from the top down.
_LEFT_JAW, _NOSE, _RIGHT_JAW = [0, 1, 2], [27, 28, 29], [16, 15, 14]


@dataclass(frozen=True)
class Geometry:
    """What a crop shows, in edges of the mean face's box."""

    edge: float
    up: float = 0.0
    """How far the crop's middle lies above the box's."""
    left: float = 0.0
    follows_yaw: bool = False
    """Whether a turned head moves it sideways."""
    follows: tuple[float, float] | None = None
    """The point of the head that is the crop's middle instead, however the head turns: y and z of
    the canonical face, between its halves.
    """
    fitted: tuple[int, ...] = _STEADY
    """Which of iBUG's 68 points are fitted to the mean face."""

    def frame_to_crop(
        self, landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack, size: float | int,
        margin: float | int = 0.0,
    ) -> Float[np.ndarray, "2 3"]:  # fmt: skip
        """The map of a crop of `size` px a side, which holds `margin` (in edges) around.

        Five points do not say how the head is turned: of them, it is that of a frontal face.
        """
        if pack == "five":
            to_canonical = fit_similarity(five_points(landmarks, pack), CANONICAL_FIVE)
            return compose(to_canonical, self.canonical_to_crop(size, margin))
        points = ibug68_of(landmarks, pack)
        mean = _MEAN_FACE[[point - 17 for point in self.fitted]]
        to_box = fit_similarity(points[list(self.fitted)], mean)
        middle = self._frontal_middle()
        if self.follows_yaw:
            yaw = _yaw(transform_points(points, to_box))
            middle[0] += yaw * abs(np.tanh(2 * yaw)) / 2
        if self.follows is not None:
            head = fit_head(transform_points(landmarks, to_box), pack)
            middle = head.shift + head.scale * head.rotation[:2, 1:] @ np.array(self.follows)
        return compose(to_box, self._box_to_crop(middle, size, margin))

    def canonical_to_crop(
        self, size: float | int, margin: float | int = 0.0
    ) -> Float[np.ndarray, "2 3"]:
        """The map from the canonical face, as it is of a frontal one."""
        return compose(_CANONICAL_TO_BOX, self._box_to_crop(self._frontal_middle(), size, margin))

    def _frontal_middle(self) -> Float[np.ndarray, " 2"]:
        if self.follows is not None:
            return transform_points(np.array([[0.0, self.follows[0]]]), _CANONICAL_TO_BOX)[0]
        return np.array([0.5 - self.left, 0.5 - self.up])

    def _box_to_crop(
        self, middle: Float[np.ndarray, " 2"], size: float | int, margin: float | int
    ) -> Float[np.ndarray, "2 3"]:
        edge = self.edge * (1 + 2 * margin)
        scale = size / edge
        left, top = scale * (middle - edge / 2)
        return np.array([[scale, 0.0, -left], [0.0, scale, -top]])


def _yaw(points: Float[np.ndarray, "68 2"]) -> float:
    """How much farther the picture-right jaw is from the nose than the left one."""
    x = points[:, 0]
    return float((x[_RIGHT_JAW] - x[_NOSE]).mean() - (x[_NOSE] - x[_LEFT_JAW]).mean())


def _padded(padding: float, up: float = 0.0, follows_yaw: bool = False) -> Geometry:
    """DeepFaceLab's way of saying it: padding in half diagonals of the box."""
    return Geometry(1 + 2 * math.sqrt(2) * padding, up, follows_yaw=follows_yaw)


def _extracted(padding: float, follows: tuple[float, float] | None = None) -> Geometry:
    """FaceSwap's way of saying it: padding in shares of the crop. Its mean face is the same one,
    moved until it is in the middle of its box.
    """
    return Geometry(1 / (1 - padding), left=0.009873, follows=follows, fitted=_ALL)


def find_geometry(coverage: str) -> Geometry | None:
    """The geometry of that name; None: there is none.

    NAME@87.5 shows so many percent of its edge: FaceSwap's coverage.
    """
    name, at, percent = coverage.partition("@")
    geometry = GEOMETRIES.get(name)
    if geometry is None or not at:
        return geometry
    if not (name.startswith("fs_") and re.fullmatch(r"[1-9]\d(\.\d{1,2})?|100", percent)):
        return None
    return replace(geometry, edge=geometry.edge * float(percent) / 100)


GEOMETRIES: dict[str, Geometry] = {
    "dfl_half": _padded(0.0),
    "dfl_mid": _padded(0.0675),
    "dfl_full": _padded(0.2109375),
    "dfl_whole": _padded(0.40, up=0.07),
    "dfl_head": _padded(0.70, up=0.5, follows_yaw=True),
    "fs_legacy": _extracted(0.375),
    # FaceSwap finds the turn by a head of its own and in perspective. Followed by ours, its two
    # points lie here: least squares over 453 faces of five people, whose crops' middles are then
    # off by .5 and .9 % of the edge in the mean.
    "fs_face": _extracted(0.5, (0.274, -0.032)),
    "fs_head": _extracted(0.625, (0.195, 0.721)),
}
