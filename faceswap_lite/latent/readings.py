"""What a picture of a face shows, in numbers: read off the picture alone, whoever painted it.

Inputs, reconstructions, swaps and faces decoded from codes are read by one instrument, so that its
own errors cancel where they are compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from skimage.color import rgb2lab

from ..errors import FaceswapError
from ..faces.align import CANONICAL_FIVE, COVERAGES, LandmarksPack, canonical_to_crop
from ..faces.detect import Detection, Detector, build_mtcnn
from ..faces.geometry import similarity_scale, transform_points
from ..faces.landmarks import Landmarker, build_mesh
from ..faces.pose import estimate_pose, eye_opening, mouth_opening
from ..metrics.pictures import as_bytes

READ_PX = 192
"""Crops are read at this size: what the mesh's network looks at."""

# Below this the mesh does not lie on a face.
_MIN_PRESENCE = 0.2
# Where a face lies in its crop, in eye distances around the middle of the canonical five points.
_BOX_ABOVE, _BOX_BELOW, _BOX_BESIDE = 1.1, 1.3, 1.0
# Detectors want some room around a face.
_BORDER = 0.25


@dataclass(frozen=True)
class Readings:
    """One number a face; NaN where it cannot be read. Angles as in faces/pose.py.

    Roll is missing: alignment has taken it out.
    """

    yaw_deg: Float[np.ndarray, " n"]
    pitch_deg: Float[np.ndarray, " n"]
    mouth: Float[np.ndarray, " n"]
    """The gap between the inner lips, in eye distances."""
    eyes: Float[np.ndarray, " n"]
    """The gap between the lids, in widths of the eye."""
    brightness: Float[np.ndarray, " n"]
    """Mean grey value inside the mask, 0 to 1."""
    hue_deg: Float[np.ndarray, " n"]
    """Angle of the mean CIE Lab colour inside the mask: 0 is red, 90 yellow."""

    def __len__(self) -> int:
        return len(self.yaw_deg)

    def only(self, wanted: Bool[np.ndarray, " n"]) -> "Readings":
        """Those that are wanted, in their order."""
        return replace(self, **{f.name: getattr(self, f.name)[wanted] for f in fields(self)})


def joined(parts: Sequence[Readings]) -> Readings:
    """The readings of several stacks of faces as one."""
    names = [field.name for field in fields(Readings)]
    return Readings(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


ATTRIBUTES = tuple(field.name for field in fields(Readings))


class Reader:
    """Reads crops of one coverage. `pack`: whose points; `five` shows neither mouth nor eyes."""

    def __init__(self, coverage: str) -> None:
        self._to_crop = canonical_to_crop(COVERAGES[coverage], READ_PX)
        self.pack: LandmarksPack = "mesh"
        self._find: Callable[[UInt8[np.ndarray, "r r 3"]], Float[np.ndarray, "n 2"] | None]
        try:
            self._mesh: Landmarker = build_mesh()
            self._find = self._lay_mesh
        except FaceswapError:
            self.pack = "five"
            self._detector: Detector = build_mtcnn(20, READ_PX * 2)
            self._find = self._detect

    def __call__(
        self,
        pictures: UInt8[np.ndarray, "n s s 3"] | Float[np.ndarray, "n s s 3"],
        masks: UInt8[np.ndarray, "n s s"] | Float[np.ndarray, "n s s"],
    ) -> Readings:
        """The readings of crops; floats are in [0, 1], masks say what of a crop is face."""
        rows = [self._read(*pair) for pair in zip(pictures, masks, strict=True)]
        columns = np.array(rows, np.float64).reshape(-1, len(ATTRIBUTES)).T
        return Readings(**dict(zip(ATTRIBUTES, columns, strict=True)))

    def landmarks(
        self, picture: UInt8[np.ndarray, "s s 3"] | Float[np.ndarray, "s s 3"]
    ) -> Float[np.ndarray, "n 2"] | None:
        """The points of the face, in sides of the crop from its top left; None without a face."""
        points = self._find(_to_read(picture))
        return None if points is None else (points + 0.5) / READ_PX

    def _read(self, picture: np.ndarray, mask: np.ndarray) -> list[float]:
        shown = _to_read(picture)
        points = self._find(shown)
        yaw = pitch = mouth = eyes = None
        if points is not None:
            pose = estimate_pose(points, self.pack)
            yaw, pitch = pose.yaw_deg, pose.pitch_deg
            mouth, eyes = mouth_opening(points, self.pack), eye_opening(points, self.pack)
        known = [np.nan if value is None else value for value in (yaw, pitch, mouth, eyes)]
        return [*known, *_colors(picture, mask)]

    def _lay_mesh(self, shown: UInt8[np.ndarray, "r r 3"]) -> Float[np.ndarray, "n 2"] | None:
        five = transform_points(CANONICAL_FIVE, self._to_crop)
        eyes_px = similarity_scale(self._to_crop)
        reach = eyes_px * np.array([[_BOX_BESIDE, _BOX_ABOVE], [-_BOX_BESIDE, -_BOX_BELOW]])
        found = self._mesh(shown, Detection((five.mean(0) - reach).ravel(), 1.0, five))
        there = found.presence is None or found.presence >= _MIN_PRESENCE
        return found.points if there else None

    def _detect(self, shown: UInt8[np.ndarray, "r r 3"]) -> Float[np.ndarray, "n 2"] | None:
        border = round(_BORDER * READ_PX)
        room = np.pad(shown, ((border, border), (border, border), (0, 0)), mode="reflect")
        found = self._detector(room, 0.6)
        middle = transform_points(CANONICAL_FIVE, self._to_crop).mean(0) + border
        if not found:
            return None
        nearest = min(found, key=lambda face: float(np.abs(face.five.mean(0) - middle).max()))
        return nearest.five - border


def _to_read(picture: np.ndarray) -> UInt8[np.ndarray, "r r 3"]:
    how = cv2.INTER_AREA if len(picture) > READ_PX else cv2.INTER_CUBIC
    shown = cv2.resize(as_bytes(picture), (READ_PX, READ_PX), interpolation=how)
    return shown.astype(np.uint8)


def _colors(picture: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    inside = mask > (127 if mask.dtype == np.uint8 else 0.5)
    if not inside.any():
        return np.nan, np.nan
    colors = as_bytes(picture)[inside] / 255.0
    brightness = float((colors @ np.array([0.299, 0.587, 0.114])).mean())
    _, a, b = rgb2lab(colors).mean(0)
    return brightness, float(np.degrees(np.arctan2(b, a)))
