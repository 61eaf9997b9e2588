"""Who is painted where: cuts, tracks, whose they are, and their landmarks made steady.

From the sightings of a clip to a plan of every frame. Nothing is joined or smoothed across a cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces import FoundFace, LandmarksPack, embedding_distance, five_points
from ..faces.embed import Metric
from ..faces.tracks import Tracker, is_sure, overlap
from .scout import Sighting
from .smoothing import smooth_points

# Mean differences of two thumbnails, of 255: above the first there is a cut; above the second when
# it also stands out so many times from those beside it.
CERTAIN_CUT = 28.0
POSSIBLE_CUT = 3.0
CUT_STANDS_OUT = 5.0
CUT_NEIGHBOURS = 4

# A face that moves by more than this between two frames, in eye distances, and by so many times
# what it moves before and after, has jumped: sentences cut together, a frame lost.
JUMP = 0.25
JUMP_STANDS_OUT = 4.0

# A track this near, in units of `same_person`, shows how the person looks in this clip.
SURELY = 0.75
# Boxes of one frame that overlap more than this are one face, found twice.
SAME_FACE = 0.3

# A face this much farther from its track's others than one person's faces are is somebody else's.
STRANGER = 1.3


class Wanted(NamedTuple):
    """Whose faces are swapped: nearer to `center` than `same_person`."""

    center: Float[np.ndarray, " d"]
    metric: Metric
    same_person: float

    def distance(self, face: FoundFace) -> float:
        """To the person, in units of `same_person`."""
        if face.embedding is None:
            raise ValueError("a face without a vector cannot be compared")
        return embedding_distance(face.embedding, self.center, self.metric) / self.same_person


@dataclass(frozen=True)
class Placement:
    """A face to be painted in a frame.

    `stretch` numbers the unbroken stretches of tracks: what is steadied over time stays in one.
    `landmarks` are smoothed; `found` is the face as it was seen, None in a gap that was filled.
    """

    frame: int
    stretch: int
    landmarks: Float[np.ndarray, "n 2"]
    found: FoundFace | None


@dataclass(frozen=True)
class CastPlan:
    """Every frame's placements, from left to right, and where the cuts are."""

    placements: dict[int, list[Placement]]
    cuts: list[int]

    @property
    def bridged(self) -> int:
        """Frames where only gaps were filled."""
        return sum(all(p.found is None for p in some) for some in self.placements.values())


@dataclass(eq=False)
class _Track:
    frames: list[int] = field(default_factory=list)
    faces: list[FoundFace] = field(default_factory=list)

    @property
    def vector(self) -> Float[np.ndarray, " d"] | None:
        """The mean of its faces' vectors; None when none has one."""
        vectors = [face.embedding for face in self.faces if face.embedding is not None]
        return np.asarray(np.mean(vectors, axis=0, dtype=np.float64)) if vectors else None

    def distance(self, wanted: Wanted) -> float:
        """The median of its faces' distances to the person; infinite when none has a vector."""
        distances = [wanted.distance(f) for f in self.faces if f.embedding is not None]
        return float(np.median(distances)) if distances else float("inf")

    def is_sure(self, sure_score: float) -> bool:
        """Whether one of its faces stands by itself."""
        return any(is_sure(f.detection.score, f.presence, sure_score) for f in self.faces)

    def is_beside(self, other: "_Track") -> bool:
        """Whether both are in one frame, in different places."""
        mine = dict(zip(self.frames, self.faces, strict=True))
        shared = [
            overlap(mine[frame].detection.box_xyxy, face.detection.box_xyxy)
            for frame, face in zip(other.frames, other.faces, strict=True)
            if frame in mine
        ]
        return bool(shared) and float(np.median(shared)) < SAME_FACE


def plan_cast(
    sightings: Sequence[Sighting],
    pack: LandmarksPack,
    wanted: Wanted | None,
    config: ConvertConfig,
    sure_score: float,
) -> CastPlan:
    """Which face of each frame is painted, and where its landmarks are.

    `wanted` None: nobody can be told apart; then only lone faces are taken.
    Raises: FaceswapError when several faces cannot be told apart.
    """
    cuts = find_cuts([sighting.change for sighting in sightings])
    first = sightings[0].frame if sightings else 0
    tracks = _tracks(_casting(sightings, wanted, config), cuts, first, config, wanted)
    if wanted is not None and not config.all_faces and config.face is None:
        chosen = _whose(tracks, wanted)
    else:
        chosen = [track for track in tracks if track.is_sure(sure_score)]
    placements: dict[int, list[Placement]] = {}
    number = 0
    for track in chosen:
        for frames, faces in _stretches(track, pack, config.bridge):
            for placement in _steady(frames, faces, number, config.smooth):
                placements.setdefault(placement.frame, []).append(placement)
            number += 1
    for some in placements.values():
        some.sort(key=lambda p: float(p.landmarks[:, 0].mean()))
    return CastPlan(placements, [first + cut for cut in sorted(cuts)])


def find_cuts(changes: Sequence[float]) -> set[int]:
    """Places of the frames that begin a new shot, from each frame's `change` to the one before.

    A cut stands out from the frames around it; movement, a pan or a fade does not.
    Source: the idea of PySceneDetect's adaptive detector (content change over its running mean).
    """
    values = np.asarray(changes, np.float64)
    cuts = set()
    for i, value in enumerate(values):
        around = np.concatenate(
            [values[max(1, i - CUT_NEIGHBOURS) : i], values[i + 1 : i + 1 + CUT_NEIGHBOURS]]
        )
        usual = float(np.median(around)) if len(around) else 0.0
        if value > CERTAIN_CUT or (value > POSSIBLE_CUT and value > CUT_STANDS_OUT * usual):
            cuts.add(i)
    return cuts


def _casting(
    sightings: Sequence[Sighting], wanted: Wanted | None, config: ConvertConfig
) -> list[tuple[int, list[FoundFace]]]:
    """Each frame's faces that come into question."""
    some = []
    for sighting in sightings:
        faces = sighting.faces
        if config.face is not None:
            faces = faces[config.face : config.face + 1]
        elif wanted is None and not config.all_faces and len(faces) > 1:
            raise FaceswapError(
                f"frame {sighting.frame}: {len(faces)} faces and no embedder to tell whose they "
                "are; pass --face N (0 is the leftmost) or --all-faces"
            )
        some.append((sighting.frame, faces))
    return some


def _tracks(
    casting: list[tuple[int, list[FoundFace]]],
    cuts: set[int],
    first: int,
    config: ConvertConfig,
    wanted: Wanted | None,
) -> list[_Track]:
    """Faces joined over time: neighbours overlap, no cut between them, one person's throughout."""
    # A gap of `bridge` frames lies between frames that are one more apart.
    tracker = Tracker(max_gap_frames=config.bridge + 1)
    by_number: dict[int, _Track] = {}
    for frame, faces in casting:
        boxes = np.array([face.detection.box_xyxy for face in faces], np.float64).reshape(-1, 4)
        joined, _ = tracker.update(frame, boxes, [True] * len(faces), frame - first in cuts)
        for track, face in zip(joined, faces, strict=True):
            mine = by_number.setdefault(track.number, _Track())
            mine.frames.append(frame)
            mine.faces.append(face)
    tracks = list(by_number.values())
    return tracks if wanted is None else [one for t in tracks for one in _one_person(t, wanted)]


def _one_person(track: _Track, wanted: Wanted) -> list[_Track]:
    """The track, parted where its face becomes somebody else's (two people pass each other)."""
    parts, last = [_Track()], None
    for frame, face in zip(track.frames, track.faces, strict=True):
        vector = face.embedding
        if vector is not None:
            far = last is not None and (
                embedding_distance(vector, last, wanted.metric) > STRANGER * wanted.same_person
            )
            if far:
                parts.append(_Track())
            last = vector
        parts[-1].frames.append(frame)
        parts[-1].faces.append(face)
    return parts


def _whose(tracks: list[_Track], wanted: Wanted) -> list[_Track]:
    """The wanted person's tracks.

    A person is nowhere twice: who is seen beside a better match is somebody else, in every frame,
    and so is who is more like somebody else than like the person.
    """
    likeness = {track: track.distance(wanted) for track in tracks}
    known = [t.vector for t in tracks if likeness[t] <= SURELY and t.vector is not None]
    if known:
        # As the person looks in this light, by this camera, beside as the photo or the set shows.
        here = wanted._replace(center=np.mean(known, axis=0))
        likeness = {track: min(far, track.distance(here)) for track, far in likeness.items()}
    ranked = sorted((t for t in tracks if likeness[t] <= 1), key=lambda t: likeness[t])
    chosen: list[_Track] = []
    others: list[_Track] = []
    for track in ranked:
        beside = [better for better in chosen if track.is_beside(better)]
        (others if beside else chosen).append(track)
    others += [t for t in tracks if likeness[t] > 1 and any(t.is_beside(c) for c in chosen)]
    vectors = [track.vector for track in others if track.vector is not None]
    kept = [
        track
        for track in chosen
        if all(track.distance(wanted._replace(center=v)) > likeness[track] for v in vectors)
    ]
    return _one_a_frame(kept)


def _one_a_frame(tracks: list[_Track]) -> list[_Track]:
    """The tracks, best first, without frames that a better one has: a face that was found twice."""
    taken: set[int] = set()
    kept = []
    for track in tracks:
        free = [i for i, frame in enumerate(track.frames) if frame not in taken]
        taken.update(track.frames)
        if free:
            kept.append(_Track([track.frames[i] for i in free], [track.faces[i] for i in free]))
    return sorted(kept, key=lambda track: track.frames[0])


def _stretches(
    track: _Track, pack: LandmarksPack, bridge: int
) -> list[tuple[list[int], list[FoundFace]]]:
    """The track, parted where its face jumps, and at gaps that are too long to fill."""
    if len(track.frames) < 2:
        return [(track.frames, track.faces)]
    five = np.stack([five_points(face.landmarks, pack) for face in track.faces])  # (n, 5, 2)
    frames = np.array(track.frames)
    eyes = np.linalg.norm(five[:, 1] - five[:, 0], axis=1)
    moves = np.linalg.norm(np.diff(five, axis=0), axis=2).mean(1)
    # Of one frame's step; in a profile the eyes are near each other, the face is not small.
    speeds = moves / np.diff(frames) / np.maximum(eyes[1:], np.median(eyes))
    jumps = [
        i + 1
        for i, speed in enumerate(speeds)
        if speed > JUMP and speed > JUMP_STANDS_OUT * _usual(speeds, i)
    ]
    gaps = (np.flatnonzero(np.diff(frames) > bridge + 1) + 1).tolist()
    edges = [0, *sorted({*jumps, *gaps}), len(frames)]
    return [(track.frames[a:b], track.faces[a:b]) for a, b in pairwise(edges)]


def _usual(values: Float[np.ndarray, " n"], i: int) -> float:
    around = np.concatenate([values[max(0, i - 3) : i], values[i + 1 : i + 4]])
    return float(np.median(around)) if len(around) else 0.0


def _steady(
    frames: list[int], faces: list[FoundFace], stretch: int, sigma: float
) -> list[Placement]:
    """A placement for every frame from the first to the last, gaps filled."""
    found = dict(zip(frames, faces, strict=True))
    points = np.stack([face.landmarks for face in faces])
    every = range(frames[0], frames[-1] + 1)
    smooth = smooth_points(np.array(frames, np.float64), points, np.array(every, np.float64), sigma)
    return [Placement(frame, stretch, smooth[i], found.get(frame)) for i, frame in enumerate(every)]
