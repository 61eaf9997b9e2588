"""The nouns of a conversion: where a face is, and what was painted for it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from ..faces.pack import FoundFace
from ..media.clips import Frame
from ..metrics.landmarks import LandmarksPack
from .occlusion import Occlusion


@dataclass(frozen=True)
class Placement:
    """A face to be painted in a frame.

    `segment` numbers the unbroken segments of tracks: what is steadied over time stays in one.
    `landmarks` are smoothed; `found` is the face as it was seen, None in a gap that was filled.
    """

    frame: int
    segment: int
    landmarks: Float[np.ndarray, "n 2"]
    found: FoundFace | None


@dataclass(frozen=True)
class PaintedFace:
    """One face of one frame, painted as the other person, not yet put in place."""

    placement: Placement
    pack: LandmarksPack
    """Whose landmarks the placement's are."""
    frame_to_crop: Float[np.ndarray, "2 3"]
    crop: UInt8[np.ndarray, "s s 3"]
    """The true face, as the network was shown it."""
    face: Float[np.ndarray, "s s 3"]
    rebuilt: Float[np.ndarray, "s s 3"]
    """The true face through its own decoder: what reconstruction is judged by."""
    hull: Float[np.ndarray, "s s"]
    """What is face by the landmarks."""
    learned: Float[np.ndarray, "s s"] | None
    """What is face by the model; None: it paints no masks."""
    occlusion: Occlusion | None = None
    """What is before the face; None: nobody has looked."""

    @property
    def true(self) -> Float[np.ndarray, "s s 3"]:
        """The true face in [0, 1]."""
        return self.crop.astype(np.float32) / 255

    @property
    def own(self) -> Float[np.ndarray, "s s"]:
        """The learned mask, for which the hull stands where there is none."""
        return self.hull if self.learned is None else self.learned

    @property
    def both(self) -> Float[np.ndarray, "s s"]:
        """What is face by both masks."""
        return self.hull if self.learned is None else self.hull * self.learned

    @property
    def inside(self) -> Float[np.ndarray, "s s"]:
        """What is face by both masks and seen: where colours are compared."""
        return self._seen(self.both)

    @property
    def seen(self) -> Float[np.ndarray, "s s"]:
        """What is face by the landmarks and seen."""
        return self._seen(self.hull)

    def _seen(self, mask: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
        if self.occlusion is None:
            return mask
        return mask * self.occlusion.clear_in(self.frame_to_crop, len(mask))


@dataclass(frozen=True)
class PaintedFrame:
    """A frame and its painted faces; `failed` says why one that should have any has none."""

    frame: Frame
    faces: list[PaintedFace]
    failed: str | None = None
