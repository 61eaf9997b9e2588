"""Masks of a crop, drawn from landmarks: the face to repaint, and its eyes and mouth."""

import cv2
import numpy as np
from jaxtyping import Float, Int

from ..geometry import compose, invert_similarity, similarity_scale, transform_points
from ..metrics.landmarks import MESH_LEFT_EYE, MESH_RIGHT_EYE, LandmarksPack, fit_head, five_points
from .align import frame_to_canonical

MESH_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip

# The ellipsoid whose outline, seen from the head's pose by five points, overlaps most with the mesh
# hull: 0.89 of the union on frontal faces, 0.88 at yaws up to 55 degrees. Canonical units.
_ELLIPSOID_CENTRE = np.array([0.0, 0.52, 0.6])
_ELLIPSOID_RADII = np.array([1.11, 1.42, 1.0])

# How far the features reach beyond their outlines, and the discs of `five`, canonical units.
_FEATURE_BORDER = 0.09
_EYE_RADII = (0.30, 0.19)
_MOUTH_RADII = (0.52, 0.30)

_SUBPIXEL_BITS = 6

_ANGLES = np.linspace(0, 2 * np.pi, 64, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def face_mask(
    landmarks: Float[np.ndarray, "n 2"],
    pack: LandmarksPack,
    frame_to_crop: Float[np.ndarray, "2 3"],
    size: int,
) -> Float[np.ndarray, "{size} {size}"]:
    """The face from forehead to chin, 0 to 1 with smooth edges.

    mesh: the hull of the points, which reach the hair line. five: an ellipse fitted to the points.
    ibug68: the hull of the points and of the ellipse's forehead.
    """
    if pack == "mesh":
        return _draw([_hull(landmarks)], frame_to_crop, size)
    ellipse = _head_ellipse(landmarks, pack)
    if pack == "five":
        return _draw([ellipse], frame_to_crop, size)
    above_eyes = transform_points(ellipse, frame_to_canonical(landmarks, pack))[:, 1] < 0
    forehead = ellipse[above_eyes]
    return _draw([_hull(np.concatenate([landmarks, forehead]))], frame_to_crop, size)


def features_mask(
    landmarks: Float[np.ndarray, "n 2"],
    pack: LandmarksPack,
    frame_to_crop: Float[np.ndarray, "2 3"],
    size: int,
) -> Float[np.ndarray, "{size} {size}"]:
    """Eyes and mouth with a narrow border, 0 to 1. five: ovals around the points."""
    border_px = _FEATURE_BORDER * similarity_scale(
        compose(invert_similarity(frame_to_canonical(landmarks, pack)), frame_to_crop)
    )
    if pack == "mesh":
        rings = (MESH_LEFT_EYE, MESH_RIGHT_EYE, MESH_LIPS)
        return _draw([landmarks[list(ring)] for ring in rings], frame_to_crop, size, border_px)
    if pack == "ibug68":
        parts = (slice(36, 42), slice(42, 48), slice(48, 60))
        return _draw([landmarks[part] for part in parts], frame_to_crop, size, border_px)
    five = five_points(landmarks, pack)
    to_frame = invert_similarity(frame_to_canonical(landmarks, pack))
    mouth = (five[3] + five[4]) / 2
    ovals = [(five[0], _EYE_RADII), (five[1], _EYE_RADII), (mouth, _MOUTH_RADII)]
    outlines = [(_CIRCLE * radii) @ to_frame[:, :2].T + at for at, radii in ovals]
    return _draw(outlines, frame_to_crop, size)


def _head_ellipse(
    landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack
) -> Float[np.ndarray, "64 2"]:
    """The outline of the head's ellipsoid, in pixels of the picture.

    The shadow of an ellipsoid x' A^-1 x = 1 on a plane is the ellipse of A's block for that plane.
    """
    head = fit_head(landmarks, pack)
    shape = head.rotation @ np.diag(_ELLIPSOID_RADII**2) @ head.rotation.T
    squares, axes = np.linalg.eigh(shape[:2, :2])
    outline = (_CIRCLE * np.sqrt(squares)) @ axes.T + (head.rotation @ _ELLIPSOID_CENTRE)[:2]
    return head.scale * outline + head.shift


def _hull(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "k 2"]:
    return cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)


def _draw(
    outlines: list[Float[np.ndarray, "_ 2"]],
    frame_to_crop: Float[np.ndarray, "2 3"],
    size: int,
    border_px: float = 0.0,
) -> Float[np.ndarray, "{size} {size}"]:
    canvas = np.zeros((size, size), np.uint8)
    for outline in outlines:
        polygon = _fixed_point(transform_points(outline, frame_to_crop))
        cv2.fillPoly(canvas, [polygon], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        if border_px >= 0.5:
            width = max(1, round(2 * border_px))
            cv2.polylines(canvas, [polygon], True, 255, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    return canvas.astype(np.float32) / 255


def _fixed_point(points: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
    # Far outside the crop, coordinates would overflow OpenCV's fixed point.
    return np.round(np.clip(points, -8192, 8192) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
