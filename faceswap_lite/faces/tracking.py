"""Faces over time: where shots begin, which boxes are one face, and which faces are sure."""

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar, overload

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from .embed import Person
from .journal import Sighting
from .pack import FoundFace

MIN_OVERLAP = 0.3
MAX_GAP_FRAMES = 5

# A mesh that certainly lies on a face makes up for this much of the detector's confidence.
_PRESENCE_BONUS = 0.05
_CERTAIN_PRESENCE = 0.95
_LIKELY_PRESENCE = 0.5

_THUMBNAIL_PX = 16

# Mean differences of two thumbnails, of 255: above the first there is a cut; above the second when
# it also stands out so many times from those beside it. A frame shown again differs by less than
# the last, and says nothing of how fast things move.
CERTAIN_CUT = 28.0
POSSIBLE_CUT = 3.0
CUT_STANDS_OUT = 5.0
CUT_NEIGHBOURS = 4
SHOWN_AGAIN = 0.1

# Boxes of one frame that overlap more than this are one face, found twice.
SAME_FACE = 0.3
# A face this much farther from its track's others than one person's faces are is somebody else's.
STRANGER = 1.3

_Item = TypeVar("_Item")


def thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "a a 3"]:
    """A tiny view of a frame, for `change`."""
    size = (_THUMBNAIL_PX, _THUMBNAIL_PX)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def change(before: Float[np.ndarray, "a a 3"] | None, now: Float[np.ndarray, "a a 3"]) -> float:
    """The mean difference of two frames' thumbnails, of 255; 0 without a frame before."""
    return 0.0 if before is None else round(float(np.abs(now - before).mean()), 3)


def mark_cuts(frames: Iterable[tuple[float, _Item]]) -> Iterator[tuple[_Item, bool]]:
    """Whether each frame, given with its `change`, begins a new shot; CUT_NEIGHBOURS frames late.

    A cut stands out from the frames around it; movement, a pan or a fade does not.
    Source: the idea of PySceneDetect's adaptive detector (content change over its running mean).
    """
    before: deque[float] = deque(maxlen=CUT_NEIGHBOURS)
    ahead: deque[tuple[float, _Item]] = deque()
    is_first = True

    def judged() -> tuple[_Item, bool]:
        nonlocal is_first
        value, item = ahead.popleft()
        cut = _stands_out(value, [*before, *(other for other, _ in ahead)])
        # The first frame's change is none, or to a frame that is not asked about.
        if not is_first:
            before.append(value)
        is_first = False
        return item, cut

    for frame in frames:
        ahead.append(frame)
        if len(ahead) > CUT_NEIGHBOURS:
            yield judged()
    while ahead:
        yield judged()


def _stands_out(value: float, around: list[float]) -> bool:
    if value <= POSSIBLE_CUT:
        return False
    moving = [other for other in around if other > SHOWN_AGAIN]
    usual = float(np.median(moving)) if moving else 0.0
    return value > CERTAIN_CUT or value > CUT_STANDS_OUT * usual


def find_cuts(changes: Iterable[float | int]) -> set[int]:
    """Places of the frames that begin a new shot, see `mark_cuts`."""
    marked = mark_cuts((float(value), place) for place, value in enumerate(changes))
    return {place for place, cut in marked if cut}


def is_sure(confidence: float, presence: float | None, high_confidence: float) -> bool:
    """Whether a face stands by itself.

    A dog scores 0.87 with the detector and 0.25 with the mesh, a small tilted face 0.86 and 1.0, a
    face that is upside down (and so has its points all wrong) 0.83 and 1.0.
    """
    if presence is None:
        return confidence >= high_confidence
    if presence >= _CERTAIN_PRESENCE:
        return confidence >= high_confidence - _PRESENCE_BONUS
    return confidence >= high_confidence and presence >= _LIKELY_PRESENCE


@dataclass(eq=False)
class LiveTrack:
    """Where a track has come to; sure as soon as one of its frames is."""

    number: int
    box_xyxy: Float[np.ndarray, " 4"]
    last_frame: int
    sure: bool = False


@dataclass
class Tracker:
    """Joins the boxes of a clip's frames to tracks by overlap; a cut or a gap ends them all."""

    max_gap_frames: int = MAX_GAP_FRAMES
    live: list[LiveTrack] = field(default_factory=list)
    count: int = 0

    def update(
        self, frame: int, boxes: Float[np.ndarray, "n 4"], sure: list[bool], cut: bool
    ) -> tuple[list[LiveTrack], list[LiveTrack]]:
        """The track of each box, and the tracks that ended before this frame."""
        ended = [t for t in self.live if cut or frame - t.last_frame > self.max_gap_frames]
        self.live = [track for track in self.live if track not in ended]
        tracks: list[LiveTrack | None] = [None] * len(boxes)
        for box, old in _best_pairs(boxes, self.live):
            tracks[box] = self.live[old]
        joined = []
        for box, track, box_sure in zip(boxes, tracks, sure, strict=True):
            if track is None:
                track = LiveTrack(self.count, box, frame)
                self.live.append(track)
                self.count += 1
            track.box_xyxy, track.last_frame = box, frame
            track.sure = track.sure or box_sure
            joined.append(track)
        return joined, ended


def _best_pairs(boxes: Float[np.ndarray, "n 4"], tracks: list[LiveTrack]) -> list[tuple[int, int]]:
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


class SightedFaces(Sequence[FoundFace]):
    """One face of each of some sightings, taken out of these when it is asked for."""

    def __init__(
        self, sightings: Sequence[Sighting], places: "array[int]", numbers: "array[int]"
    ) -> None:
        """Face `numbers[i]`, from the left, of the sighting at `places[i]`."""
        self._sightings, self._places, self._numbers = sightings, places, numbers

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, i: int) -> FoundFace: ...
    @overload
    def __getitem__(self, i: slice) -> "SightedFaces": ...

    def __getitem__(self, i: int | slice) -> "FoundFace | SightedFaces":
        if isinstance(i, slice):
            return SightedFaces(self._sightings, self._places[i], self._numbers[i])
        return self._sightings[self._places[i]].faces[self._numbers[i]]

    def pick(self, kept: Sequence[int]) -> "SightedFaces":
        """Those at these places of it."""
        places, numbers = (
            array("q", [of[i] for i in kept]) for of in (self._places, self._numbers)
        )
        return SightedFaces(self._sightings, places, numbers)


@dataclass(eq=False)
class Track:
    """One face over time. Its faces stay in the sightings; where they are is in memory."""

    frames: Int[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]
    faces: SightedFaces

    def vectors(self) -> Float[np.ndarray, "k d"] | None:
        """The vectors of those of its faces that have one; None when none has."""
        some: np.ndarray | None = None
        count = 0
        for face in self.faces:
            if face.embedding is not None:
                if some is None:
                    some = np.empty((len(self.faces), len(face.embedding)), np.float32)
                some[count] = face.embedding
                count += 1
        return None if some is None else some[:count]

    def center(self) -> Float[np.ndarray, " d"] | None:
        """The mean of its vectors; None when it has none."""
        vectors = self.vectors()
        return None if vectors is None else vectors.mean(0)

    def box(self, frame: int) -> Float[np.ndarray, " 4"]:
        """Where it is in one of its frames."""
        found: Float[np.ndarray, " 4"] = self.boxes[np.searchsorted(self.frames, frame)]
        return found

    def distance(self, wanted: Person) -> float:
        """The median of its faces' distances to the person; infinite when none has a vector."""
        vectors = self.vectors()
        return float("inf") if vectors is None else float(np.median(wanted.distances(vectors)))

    def is_sure(self, high_confidence: float) -> bool:
        """Whether one of its faces stands by itself."""
        return any(is_sure(f.detection.confidence, f.presence, high_confidence) for f in self.faces)

    def meets(self, other: "Track") -> float | None:
        """The usual overlap of the two in frames that have both; None when there are none."""
        if self.frames[-1] < other.frames[0] or other.frames[-1] < self.frames[0]:
            return None
        shared = np.intersect1d(self.frames, other.frames)
        overlaps = [overlap(self.box(frame), other.box(frame)) for frame in shared.tolist()]
        return float(np.median(overlaps)) if overlaps else None

    def is_beside(self, other: "Track") -> bool:
        """Whether both are in one frame, in different places."""
        overlapping = self.meets(other)
        return overlapping is not None and overlapping < SAME_FACE

    def only(self, frames: set[int]) -> "Track":
        """Its part in these frames."""
        kept = [i for i, frame in enumerate(self.frames.tolist()) if frame in frames]
        return Track(self.frames[kept], self.boxes[kept], self.faces.pick(kept))

    def parted(self, edges: Iterable[int]) -> list["Track"]:
        """Its parts between these places in it."""
        ends = [0, *edges, len(self.frames)]
        return [
            Track(self.frames[a:b], self.boxes[a:b], self.faces[a:b]) for a, b in pairwise(ends)
        ]


@dataclass
class _Growing:
    """A track while it is followed."""

    frames: "array[int]" = field(default_factory=lambda: array("q"))
    boxes: "array[float]" = field(default_factory=lambda: array("d"))
    places: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: "array[int]" = field(default_factory=lambda: array("q"))


def join_tracks(
    sightings: Sequence[Sighting], cuts: set[int], bridge: int, wanted: Person | None
) -> list[Track]:
    """Faces joined over time: neighbours overlap, no cut between them, one person's throughout.

    `cuts` are places in `sightings`; gaps are at most `bridge` frames long.
    """
    # A gap of `bridge` frames lies between frames that are one more apart.
    tracker = Tracker(max_gap_frames=bridge + 1)
    by_number: dict[int, _Growing] = {}
    for place, sighting in enumerate(sightings):
        faces = sighting.faces
        boxes = np.array([face.detection.box_xyxy for face in faces], np.float64).reshape(-1, 4)
        joined, _ = tracker.update(sighting.frame, boxes, [True] * len(faces), place in cuts)
        for number, (track, box) in enumerate(zip(joined, boxes, strict=True)):
            mine = by_number.setdefault(track.number, _Growing())
            mine.frames.append(sighting.frame)
            mine.boxes.extend(box)
            mine.places.append(place)
            mine.numbers.append(number)
    tracks = [
        Track(
            np.array(mine.frames, np.int64),
            np.array(mine.boxes).reshape(-1, 4),
            SightedFaces(sightings, mine.places, mine.numbers),
        )
        for mine in by_number.values()
    ]
    return tracks if wanted is None else [one for t in tracks for one in _one_person(t, wanted)]


def _one_person(track: Track, wanted: Person) -> list[Track]:
    """The track, parted where its face becomes somebody else's (two people pass each other)."""
    edges: list[int] = []
    last: Person | None = None
    for i, face in enumerate(track.faces):
        if face.embedding is not None:
            if last is not None and last.distances(face.embedding[None])[0] > STRANGER:
                edges.append(i)
            last = wanted._replace(center=face.embedding)
    return track.parted(edges)
