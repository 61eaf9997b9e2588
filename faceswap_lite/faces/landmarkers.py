"""Landmarkers: the points of a detected face."""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ..geometry import invert_similarity, similarity_scale, transform_points
from ..metrics.landmarks import CANONICAL_FIVE
from .detect import Detection
from .weights import find_weights

# Below this presence the points do not lie on a face (a full profile, a blur, a dog).
MIN_PRESENCE = 0.2

_Picture = UInt8[np.ndarray, "h w 3"]
_Line = Float[np.ndarray, " 2"]
_Affine = Float[np.ndarray, "2 3"]


class Landmarks(NamedTuple):
    """Points in pixels of the picture; how surely they lie on a face (0 to 1, None: unknown)."""

    points: Float[np.ndarray, "n 2"]
    presence: float | None


@runtime_checkable
class Landmarker(Protocol):
    """Finds the points of one detected face."""

    def __call__(self, image: _Picture, face: Detection) -> Landmarks:
        """The face's points."""


_MESH_INPUT_PX = 192
_MESH_POINTS = 468
_MESH_OUTPUTS = ["conv2d_21", "conv2d_31"]  # points; logit of "this is a face"
# The net's view in sides of the detected box, then of the first pass's points. Measured on three
# clips: the second pass takes a quarter off the jitter and two thirds off the box's influence.
_BOX_TO_VIEW = 1.4
_POINTS_TO_VIEW = 1.35


class Mesh:
    """468 points. Kartynnik et al. 2019, "Real-time facial surface geometry from mono video"."""

    def __init__(self, weights: str) -> None:
        # OpenCV 5's new engine hands out one output a pass; the classic one (all that OpenCV 4 has)
        # hands out both.
        engine = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
        options = {} if engine is None else {"engine": engine}
        self._net = cv2.dnn.readNetFromTFLite(weights, **options)

    def __call__(self, image: _Picture, face: Detection) -> Landmarks:
        """The points, from a view of the box and then from one of the first pass's points."""
        corners = face.box_xyxy.reshape(2, 2)
        edge = float(np.max(corners[1] - corners[0]))
        eyes_line = face.five[1] - face.five[0]
        view = _upright_view(corners.mean(0), _BOX_TO_VIEW * edge, eyes_line)
        return self.near(image, self._pass(image, view).points)

    def near(self, image: _Picture, points: Float[np.ndarray, "468 2"]) -> Landmarks:
        """The points of a face that lies about where others do: in half the time."""
        eyes_line = points[263] - points[33]
        centre, edge = _upright_square(points, eyes_line)
        return self._pass(image, _upright_view(centre, _POINTS_TO_VIEW * edge, eyes_line))

    def _pass(self, image: _Picture, frame_to_view: _Affine) -> Landmarks:
        size = (_MESH_INPUT_PX, _MESH_INPUT_PX)
        view = cv2.warpAffine(image, frame_to_view, size, flags=cv2.INTER_LINEAR)
        self._net.setInput(cv2.dnn.blobFromImage(view, 1 / 255))
        points, logit = self._net.forward(_MESH_OUTPUTS)
        in_view = points.reshape(_MESH_POINTS, 3)[:, :2].astype(np.float64)
        presence = 1 / (1 + math.exp(-float(logit.ravel()[0])))
        return Landmarks(transform_points(in_view, invert_similarity(frame_to_view)), presence)


# Where a face lies in its crop, in eye distances around the middle of the canonical five points.
_BOX_ABOVE, _BOX_BELOW, _BOX_BESIDE = 1.1, 1.3, 1.0


def find_in_crop(
    landmarker: Landmarker, crop: UInt8[np.ndarray, "s s 3"], canonical_to_crop: _Affine
) -> Landmarks:
    """The points of an aligned crop's face, without a detector: alignment says where it is."""
    five = transform_points(CANONICAL_FIVE, canonical_to_crop)
    eyes = similarity_scale(canonical_to_crop)
    reach = eyes * np.array([[_BOX_BESIDE, _BOX_ABOVE], [-_BOX_BESIDE, -_BOX_BELOW]])
    return landmarker(crop, Detection((five.mean(0) - reach).ravel(), 1.0, five))


class Five:
    """The detector's own five points; needs no weights."""

    def __call__(self, image: _Picture, face: Detection) -> Landmarks:
        """The points that came with the box."""
        return Landmarks(face.five, None)


def _upright_view(centre: _Line, edge: float, eyes_line: _Line) -> _Affine:
    """The map onto the net's input of a square in the picture, turned until the eyes are level."""
    turn = _MESH_INPUT_PX / max(edge, 1.0) * _leveling(eyes_line)
    return np.column_stack([turn, (_MESH_INPUT_PX - 1) / 2 - turn @ centre])


def _upright_square(points: Float[np.ndarray, "n 2"], eyes_line: _Line) -> tuple[_Line, float]:
    """Centre and side of the square around the points that is level with the eyes."""
    turn = _leveling(eyes_line)
    level = points @ turn.T
    low, high = level.min(0), level.max(0)
    return turn.T @ ((low + high) / 2), float((high - low).max())


def _leveling(line: _Line) -> Float[np.ndarray, "2 2"]:
    """The rotation that makes a line level."""
    length = float(np.hypot(*line))
    cos, sin = (float(part) / length for part in line) if length > 0 else (1.0, 0.0)
    return np.array([[cos, sin], [-sin, cos]])


def build_mesh() -> Mesh:
    """The 468-point mesh. Raises: FaceswapError when its weights cannot be had."""
    return Mesh(str(find_weights("mesh")))


LANDMARKERS: dict[str, Callable[[], Landmarker]] = {"mesh": build_mesh, "five": Five}
