"""The points of a face in its crop, whoever painted it."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from ..errors import FaceswapError
from ..geometry import transform_points
from ..media.clips import as_uint8
from ..media.images import resized
from ..metrics.landmarks import CANONICAL_FIVE, LandmarksPack
from .align import frontal_to_crop
from .detect import Detector, build_mtcnn
from .landmarkers import MIN_PRESENCE, Landmarks, build_mesh, find_in_crop

READ_PX = 192
"""Crops are read at this size: what the mesh's network looks at."""

# Detectors want some room around a face.
_BORDER = 0.25


class CropLandmarker:
    """Finds points in crops of one coverage. `pack`: whose; five where the mesh cannot be had."""

    def __init__(self, coverage: str) -> None:
        self._to_crop = frontal_to_crop(coverage, READ_PX)
        self.pack: LandmarksPack = "mesh"
        self._find: Callable[[UInt8[np.ndarray, "r r 3"]], Float[np.ndarray, "n 2"] | None]
        try:
            self._mesh = build_mesh()
            self._find = self._lay_mesh
        except FaceswapError:
            self.pack = "five"
            self._detector: Detector = build_mtcnn(20, READ_PX * 2)
            self._find = self._detect

    def landmarks(
        self,
        picture: UInt8[np.ndarray, "s s 3"] | Float[np.ndarray, "s s 3"],
        near: Float[np.ndarray, "n 2"] | None = None,
    ) -> Float[np.ndarray, "n 2"] | None:
        """The points of the face, in sides of the crop from its top left; None without a face.

        `near`: about where they lie, of the mesh, which then takes half the time.
        """
        shown = resized(as_uint8(picture), READ_PX)
        if near is None or self.pack == "five":
            points = self._find(shown)
        else:
            points = _sure(self._mesh.near(shown, near * READ_PX - 0.5))
        return None if points is None else (points + 0.5) / READ_PX

    def _lay_mesh(self, shown: UInt8[np.ndarray, "r r 3"]) -> Float[np.ndarray, "n 2"] | None:
        return _sure(find_in_crop(self._mesh, shown, self._to_crop))

    def _detect(self, shown: UInt8[np.ndarray, "r r 3"]) -> Float[np.ndarray, "n 2"] | None:
        border = round(_BORDER * READ_PX)
        room = np.pad(shown, ((border, border), (border, border), (0, 0)), mode="reflect")
        found = self._detector(room, 0.6)
        middle = transform_points(CANONICAL_FIVE, self._to_crop).mean(0) + border
        if not found:
            return None
        nearest = min(found, key=lambda face: float(np.abs(face.five.mean(0) - middle).max()))
        return nearest.five - border


def _sure(found: Landmarks) -> Float[np.ndarray, "n 2"] | None:
    there = found.presence is None or found.presence >= MIN_PRESENCE
    return found.points if there else None
