"""From landmarks to crops: the canonical face, how much of the head a crop shows, the cutting.

The canonical face is that of metrics/landmarks.py: crops cut by `mesh` and by `five` agree.
"""

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from ..geometry import (
    compose,
    fit_similarity,
    invert_similarity,
    similarity_scale,
    transform_points,
)
from ..metrics.landmarks import CANONICAL_FIVE, MESH_RIGID, LandmarksPack, five_points
from .geometries import GEOMETRIES, find_geometry

_MESH_RIGID_INDICES = np.array(list(MESH_RIGID))
_MESH_RIGID_TEMPLATE = np.array(list(MESH_RIGID.values()))[:, :2]

# The face between forehead and chin is 2.72 high; this is its middle.
CROP_CENTRE = np.array([0.0, 0.54])


def frame_to_canonical(
    landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack
) -> Float[np.ndarray, "2 3"]:
    """The similarity from frame pixels to the canonical face."""
    if pack == "mesh":
        return fit_similarity(landmarks[_MESH_RIGID_INDICES], _MESH_RIGID_TEMPLATE)
    return fit_similarity(five_points(landmarks, pack), CANONICAL_FIVE)


def align(
    landmarks: Float[np.ndarray, "n 2"],
    pack: LandmarksPack,
    coverage: float | int | str,
    size: float | int,
    margin: float | int = 0.0,
) -> Float[np.ndarray, "2 3"]:
    """frame_to_crop of the upright square crop of `size` px a side that shows `coverage`.

    `coverage` is the crop's side in eye distances of the canonical face, or a name that
    `coverage_eyes` knows. `margin`, in sides, is shown around it.
    """
    geometry = find_geometry(coverage) if isinstance(coverage, str) else None
    if geometry is not None:
        return geometry.frame_to_crop(landmarks, pack, size, margin)
    edge = coverage_eyes(coverage) if isinstance(coverage, str) else coverage
    to_canonical = frame_to_canonical(landmarks, pack)
    return compose(to_canonical, canonical_to_crop(edge * (1 + 2 * margin), size))


def frontal_to_crop(
    coverage: str, size: float | int, margin: float | int = 0.0
) -> Float[np.ndarray, "2 3"]:
    """The map from the canonical face to a crop of this coverage, as it is of a frontal face."""
    if (geometry := find_geometry(coverage)) is not None:
        return geometry.canonical_to_crop(size, margin)
    return canonical_to_crop(CROP_COVERAGES[coverage] * (1 + 2 * margin), size)


def coverage_eyes(coverage: str) -> float:
    """A crop's side in eye distances of the canonical face.

    Raises: ValueError for a name that is none of CROP_COVERAGES, with a share or without.
    """
    if coverage in CROP_COVERAGES:
        return CROP_COVERAGES[coverage]
    if (geometry := find_geometry(coverage)) is None:
        raise ValueError(f"unknown coverage {coverage}")
    return 1 / similarity_scale(geometry.canonical_to_crop(1))


def canonical_to_crop(edge: float | int, size: float | int) -> Float[np.ndarray, "2 3"]:
    """The map from the canonical face to a crop that shows `edge` eye distances on `size` px."""
    scale = size / edge
    shift = (size - 1) / 2 - scale * CROP_CENTRE
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def inner_view(
    edge: int, margin: float | int, size: int, wanted_margin: float | int
) -> tuple[Float[np.ndarray, "2 3"], int]:
    """The map from a stored crop to a view of its inner crop at `size` px, and the view's side.

    The stored crop has `edge` px and holds `margin` (in inner sides) around its inner crop; the
    view keeps `wanted_margin` of it. Raises: ValueError when more margin is wanted than stored.
    """
    if wanted_margin > margin + 1e-9:
        raise ValueError(f"a margin of {wanted_margin} is wanted, {margin} is stored")
    scale = size * (1 + 2 * margin) / edge
    view = round(size * (1 + 2 * wanted_margin))
    shift = (view - 1) / 2 - scale * (edge - 1) / 2
    return np.array([[scale, 0.0, shift], [0.0, scale, shift]]), view


def cut_crop(
    image: UInt8[np.ndarray, "h w 3"], frame_to_crop: Float[np.ndarray, "2 3"], size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """The crop of `size` px a side; what lies outside the picture repeats its border.

    Shrinking averages areas, so that nothing aliases. Works on the crop's own rectangle only.
    """
    region, to_crop = _shrunken_region(image, frame_to_crop, size)
    return cv2.warpAffine(
        region, to_crop, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def within_frame(
    width: int, height: int, frame_to_crop: Float[np.ndarray, "2 3"], size: int
) -> Float32[np.ndarray, "{size} {size}"]:
    """1 where a crop of `size` px shows the frame, 0 where `cut_crop` repeats its border."""
    right, bottom = width - 0.5, height - 0.5
    corners = np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])
    shown = np.zeros((size, size), np.uint8)
    polygon = np.round(16 * transform_points(corners, frame_to_crop)).astype(np.int32)
    return cv2.fillConvexPoly(shown, polygon, 1, cv2.LINE_8, 4).astype(np.float32)


def _shrunken_region(
    image: UInt8[np.ndarray, "h w 3"], frame_to_crop: Float[np.ndarray, "2 3"], size: int
) -> tuple[UInt8[np.ndarray, "a b 3"], Float[np.ndarray, "2 3"]]:
    """The part of the picture that the crop shows, area-averaged to about the crop's scale."""
    height, width = image.shape[:2]
    square = np.array([[0, 0, 1], [size, 0, 1], [size, size, 1], [0, size, 1]], np.float64) - 0.5
    square[:, 2] = 1
    back = invert_similarity(frame_to_crop)
    corners = square @ back.T
    # Three pixels more than the crop shows: the reach of the cubic kernel.
    low = np.floor(corners.min(0) - 3).astype(int)
    high = np.ceil(corners.max(0) + 4).astype(int)
    # A crop beside the picture still sees its nearest border.
    left, top = np.clip(low, 0, [width - 1, height - 1])
    right, bottom = np.clip(high, [left + 1, top + 1], [width, height])
    region = image[top:bottom, left:right]
    region_to_frame = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
    scale = similarity_scale(frame_to_crop)
    if scale < 0.75:
        old_width, old_height = right - left, bottom - top
        new = (max(1, round(old_width * scale)), max(1, round(old_height * scale)))
        region = cv2.resize(region, new, interpolation=cv2.INTER_AREA)
        # Pixel centres are integers: x_old = (x_new + 1/2) * step - 1/2.
        step_x, step_y = old_width / new[0], old_height / new[1]
        small_to_region = np.array(
            [[step_x, 0.0, step_x / 2 - 0.5], [0.0, step_y, step_y / 2 - 0.5]]
        )
        region_to_frame = compose(small_to_region, region_to_frame)
    return np.ascontiguousarray(region), compose(region_to_frame, frame_to_crop)


# Side of the crop in eye distances of the canonical face.
CROP_COVERAGES: dict[str, float] = {
    "face": 2.7,
    "full": 3.3,
    "whole": 4.2,
    "head": 5.8,
    **{name: 1 / similarity_scale(of.canonical_to_crop(1)) for name, of in GEOMETRIES.items()},
}
