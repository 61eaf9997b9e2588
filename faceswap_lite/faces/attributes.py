"""What a picture of a face shows, in numbers: read off the picture alone, whoever painted it.

Inputs, reconstructions, swaps and faces decoded from codes are read by one instrument, so that its
own errors cancel where they are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ..media.clips import as_uint8
from ..media.images import resized
from ..metrics.landmarks import read_points
from ..metrics.pictures import brightness_and_hue
from .crop_landmarker import READ_PX, CropLandmarker


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


class Reader(CropLandmarker):
    """Reads crops of one coverage; points of pack `five` show neither mouth nor eyes."""

    def __call__(
        self,
        pictures: UInt8[np.ndarray, "n s s 3"] | Float[np.ndarray, "n s s 3"],
        masks: UInt8[np.ndarray, "n s s"] | Float[np.ndarray, "n s s"],
    ) -> Readings:
        """The readings of crops; floats are in [0, 1], masks say what of a crop is face."""
        rows = [self._read(*pair) for pair in zip(pictures, masks, strict=True)]
        columns = {name: [row.get(name, np.nan) for row in rows] for name in ATTRIBUTES}
        return Readings(**{name: np.array(column, np.float64) for name, column in columns.items()})

    def _read(self, picture: np.ndarray, mask: np.ndarray) -> dict[str, float]:
        points = self._find(resized(as_uint8(picture), READ_PX))
        brightness, hue_deg = brightness_and_hue(picture, mask)
        shown = {} if points is None else read_points(points, self.pack)
        return {**shown, "brightness": brightness, "hue_deg": hue_deg}
