"""Which boxes of consecutive frames are one face, and which faces are sure."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8

MIN_OVERLAP = 0.3
MAX_GAP_FRAMES = 5

# A mesh that certainly lies on a face makes up for this much of the detector's score.
_PRESENCE_BONUS = 0.05
_CERTAIN_PRESENCE = 0.95
_LIKELY_PRESENCE = 0.5

_THUMBNAIL_PX = 16
_CUT_DIFFERENCE = 28.0


def is_sure(score: float, presence: float | None, sure_score: float) -> bool:
    """Whether a face stands by itself.

    A dog scores 0.87 with the detector and 0.25 with the mesh, a small tilted face 0.86 and 1.0, a
    face that is upside down (and so has its points all wrong) 0.83 and 1.0.
    """
    if presence is None:
        return score >= sure_score
    if presence >= _CERTAIN_PRESENCE:
        return score >= sure_score - _PRESENCE_BONUS
    return score >= sure_score and presence >= _LIKELY_PRESENCE


@dataclass(eq=False)
class Track:
    """One face over time; sure as soon as one of its frames is."""

    number: int
    box_xyxy: Float[np.ndarray, " 4"]
    last_frame: int
    sure: bool = False


@dataclass
class Tracker:
    """Joins the boxes of a clip's frames to tracks by overlap; a cut or a gap ends them all."""

    max_gap_frames: int = MAX_GAP_FRAMES
    live: list[Track] = field(default_factory=list)
    count: int = 0

    def update(
        self,
        frame: int,
        boxes: Float[np.ndarray, "n 4"],
        sure: list[bool],
        cut: bool,
    ) -> tuple[list[Track], list[Track]]:
        """The track of each box, and the tracks that ended before this frame."""
        ended = [t for t in self.live if cut or frame - t.last_frame > self.max_gap_frames]
        self.live = [track for track in self.live if track not in ended]
        tracks: list[Track | None] = [None] * len(boxes)
        for box, old in _best_pairs(boxes, self.live):
            tracks[box] = self.live[old]
        joined = []
        for box, track, box_sure in zip(boxes, tracks, sure, strict=True):
            if track is None:
                track = Track(self.count, box, frame)
                self.live.append(track)
                self.count += 1
            track.box_xyxy, track.last_frame = box, frame
            track.sure = track.sure or box_sure
            joined.append(track)
        return joined, ended

    def finish(self) -> list[Track]:
        """The tracks that the end of the clip ends."""
        ended, self.live = self.live, []
        return ended


def _best_pairs(boxes: Float[np.ndarray, "n 4"], tracks: list[Track]) -> list[tuple[int, int]]:
    """(box, track) pairs, the largest overlap first, each used once."""
    overlaps = [
        (overlap(box, track.box_xyxy), i, j)
        for i, box in enumerate(boxes)
        for j, track in enumerate(tracks)
    ]
    pairs: list[tuple[int, int]] = []
    for value, i, j in sorted(overlaps, key=lambda o: (-o[0], o[1], o[2])):
        if value < MIN_OVERLAP:
            break
        if all(i != box and j != track for box, track in pairs):
            pairs.append((i, j))
    return pairs


def overlap(a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = float(np.prod(np.clip(high - low, 0, None)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common
    return common / union if union > 0 else 0.0


def thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "a a 3"]:
    """A tiny view of a frame, for `is_cut`."""
    size = (_THUMBNAIL_PX, _THUMBNAIL_PX)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def is_cut(before: Float[np.ndarray, "a a 3"], after: Float[np.ndarray, "a a 3"]) -> bool:
    """Whether the picture changes as a whole between two frames' thumbnails."""
    return float(np.abs(after - before).mean()) > _CUT_DIFFERENCE
