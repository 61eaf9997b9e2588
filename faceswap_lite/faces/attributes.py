"""What a picture of a face shows, in numbers: read off the picture alone, whoever painted it.

Inputs, reconstructions, swaps and faces decoded from codes are read by one instrument, so that its
own errors cancel where they are compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ..errors import FaceswapError
from ..faces.detect import build_mtcnn
from ..geometry import transform_points
from ..media.images import resized
from ..metrics.landmarks import CANONICAL_FIVE, LandmarksPack, read_points
from ..metrics.pictures import as_bytes, brightness_and_hue
from .align import frontal_to_crop
from .detect import Detector
from .landmarkers import MIN_PRESENCE, Landmarks, build_mesh, find_in_crop

READ_PX = 192
"""Crops are read at this size: what the mesh's network looks at."""

# Detectors want some room around a face.
_BORDER = 0.25


@dataclass(frozen=True)
class Readings:
    """One number a face; NaN where it cannot be read. Angles as in metrics/landmarks.py.

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

    def __call__(
        self,
        pictures: UInt8[np.ndarray, "n s s 3"] | Float[np.ndarray, "n s s 3"],
        masks: UInt8[np.ndarray, "n s s"] | Float[np.ndarray, "n s s"],
    ) -> Readings:
        """The readings of crops; floats are in [0, 1], masks say what of a crop is face."""
        rows = [self._read(*pair) for pair in zip(pictures, masks, strict=True)]
        columns = {name: [row.get(name, np.nan) for row in rows] for name in ATTRIBUTES}
        return Readings(**{name: np.array(column, np.float64) for name, column in columns.items()})

    def landmarks(
        self,
        picture: UInt8[np.ndarray, "s s 3"] | Float[np.ndarray, "s s 3"],
        near: Float[np.ndarray, "n 2"] | None = None,
    ) -> Float[np.ndarray, "n 2"] | None:
        """The points of the face, in sides of the crop from its top left; None without a face.

        `near`: about where they lie, of the mesh, which then takes half the time.
        """
        shown = resized(as_bytes(picture), READ_PX)
        if near is None or self.pack == "five":
            points = self._find(shown)
        else:
            points = _sure(self._mesh.near(shown, near * READ_PX - 0.5))
        return None if points is None else (points + 0.5) / READ_PX

    def _read(self, picture: np.ndarray, mask: np.ndarray) -> dict[str, float]:
        points = self._find(resized(as_bytes(picture), READ_PX))
        brightness, hue_deg = brightness_and_hue(picture, mask)
        shown = {} if points is None else read_points(points, self.pack)
        return {**shown, "brightness": brightness, "hue_deg": hue_deg}

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
