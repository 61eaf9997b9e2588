"""Faces joined to tracks, and whose tracks they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces.embed import Metric
from ..faces.extract import wanted_person
from ..faces.pack import FacePack, FoundFace
from ..faces.tracks import Tracker, is_sure, overlap
from ..runs.trained import TrainedRun
from .journal import Sighting
from .settings import shown_facts

# A track this near, in units of `same_person`, shows how the person looks in this clip.
SURELY = 0.75
# Boxes of one frame that overlap more than this are one face, found twice.
SAME_FACE = 0.3
# A face this much farther from its track's others than one person's faces are is somebody else's.
STRANGER = 1.3


class Person(NamedTuple):
    """Somebody, as an embedder sees him: faces nearer to `center` than `same_person` are his."""

    center: Float[np.ndarray, " d"]
    metric: Metric
    same_person: float

    def distances(self, vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """To the person, in units of `same_person`."""
        rows = vectors.astype(np.float64)
        if self.metric == "euclidean":
            return np.linalg.norm(rows - self.center, axis=1) / self.same_person
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(self.center) + 1e-12
        return (1 - rows @ self.center.astype(np.float64) / lengths) / self.same_person


@dataclass(eq=False)
class Track:
    """One face over time."""

    frames: list[int] = field(default_factory=list)
    faces: list[FoundFace] = field(default_factory=list)

    @cached_property
    def vectors(self) -> Float[np.ndarray, "n d"] | None:
        """Its faces' vectors; None when none has one."""
        vectors = [face.embedding for face in self.faces if face.embedding is not None]
        return np.stack(vectors) if vectors else None

    @cached_property
    def boxes(self) -> dict[int, Float[np.ndarray, " 4"]]:
        """Its boxes by frame."""
        faces = zip(self.frames, self.faces, strict=True)
        return {frame: face.detection.box_xyxy for frame, face in faces}

    def distance(self, wanted: Person) -> float:
        """The median of its faces' distances to the person; infinite when none has a vector."""
        vectors = self.vectors
        return float("inf") if vectors is None else float(np.median(wanted.distances(vectors)))

    def is_sure(self, sure_score: float) -> bool:
        """Whether one of its faces stands by itself."""
        return any(is_sure(f.detection.score, f.presence, sure_score) for f in self.faces)

    def meets(self, other: "Track") -> float | None:
        """The usual overlap of the two in frames that have both; None when there are none."""
        if self.frames[-1] < other.frames[0] or other.frames[-1] < self.frames[0]:
            return None
        shared = self.boxes.keys() & other.boxes.keys()
        overlaps = [overlap(self.boxes[frame], other.boxes[frame]) for frame in shared]
        return float(np.median(overlaps)) if overlaps else None

    def is_beside(self, other: "Track") -> bool:
        """Whether both are in one frame, in different places."""
        overlapping = self.meets(other)
        return overlapping is not None and overlapping < SAME_FACE

    def only(self, frames: set[int]) -> "Track":
        """Its part in these frames."""
        kept = [i for i, frame in enumerate(self.frames) if frame in frames]
        return Track([self.frames[i] for i in kept], [self.faces[i] for i in kept])


def whom(
    run: TrainedRun, pack: FacePack, config: ConvertConfig, like: Path | None = None
) -> Person | None:
    """Whose faces are swapped: those on the photo, else the run's; None where none can be told.

    Raises: FaceswapError when the photo shows no face that can be compared.
    """
    if like is not None:
        person = wanted_person(like, pack)
        return Person(person.vector, person.embedder.metric, person.embedder.same_person)
    facts = shown_facts(run, config)
    if pack.embedder is None or facts.center is None or facts.embedder != pack.embedder_name:
        return None
    return Person(facts.center, pack.embedder.metric, pack.embedder.same_person)


def join_tracks(
    sightings: Sequence[Sighting], cuts: set[int], bridge: int, wanted: Person | None
) -> list[Track]:
    """Faces joined over time: neighbours overlap, no cut between them, one person's throughout.

    `cuts` are places in `sightings`; gaps are at most `bridge` frames long.
    """
    # A gap of `bridge` frames lies between frames that are one more apart.
    tracker = Tracker(max_gap_frames=bridge + 1)
    by_number: dict[int, Track] = {}
    for place, sighting in enumerate(sightings):
        faces = sighting.faces
        boxes = np.array([face.detection.box_xyxy for face in faces], np.float64).reshape(-1, 4)
        joined, _ = tracker.update(sighting.frame, boxes, [True] * len(faces), place in cuts)
        for track, face in zip(joined, faces, strict=True):
            mine = by_number.setdefault(track.number, Track())
            mine.frames.append(sighting.frame)
            mine.faces.append(face)
    tracks = list(by_number.values())
    return tracks if wanted is None else [one for t in tracks for one in _one_person(t, wanted)]


def pick_tracks(
    tracks: list[Track], wanted: Person | None, config: ConvertConfig, sure_score: float
) -> list[Track]:
    """The tracks to be swapped, in order of their first frames; no face is in two of them.

    Raises: FaceswapError when several faces cannot be told apart.
    """
    if wanted is not None and not config.all_faces and config.face is None:
        return _without_doubles(_whose(tracks, wanted))
    sure = _without_doubles([track for track in tracks if track.is_sure(sure_score)])
    if config.all_faces:
        return sure
    in_frame: dict[int, list[Track]] = {}
    for track in sure:
        for frame in track.frames:
            in_frame.setdefault(frame, []).append(track)
    if config.face is None:
        crowds = [frame for frame, some in in_frame.items() if len(some) > 1]
        if crowds:
            raise FaceswapError(
                f"frame {min(crowds)}: {len(in_frame[min(crowds)])} faces and no embedder to tell "
                "whose they are; pass --face N (0 is the leftmost) or --all-faces"
            )
        return sure
    frames: dict[Track, set[int]] = {}
    for frame, some in in_frame.items():
        some.sort(key=lambda track: float(track.boxes[frame][[0, 2]].mean()))
        if config.face < len(some):
            frames.setdefault(some[config.face], set()).add(frame)
    return [track.only(frames[track]) for track in sure if track in frames]


def _one_person(track: Track, wanted: Person) -> list[Track]:
    """The track, parted where its face becomes somebody else's (two people pass each other)."""
    parts, last = [Track()], None
    for frame, face in zip(track.frames, track.faces, strict=True):
        vector = face.embedding
        if vector is not None:
            before = last
            last = wanted._replace(center=vector)
            if before is not None and before.distances(vector[None])[0] > STRANGER:
                parts.append(Track())
        parts[-1].frames.append(frame)
        parts[-1].faces.append(face)
    return parts


def _whose(tracks: list[Track], wanted: Person) -> list[Track]:
    """The wanted person's tracks.

    A person is nowhere twice: who is seen beside a better match is somebody else, in every frame,
    and so is who is more like somebody else than like the person.
    """
    likeness = {track: track.distance(wanted) for track in tracks}
    known = [t.vectors for t in tracks if likeness[t] <= SURELY and t.vectors is not None]
    if known:
        # As the person looks in this light, by this camera, beside as the photo or the set shows.
        here = wanted._replace(center=np.mean([v.mean(0) for v in known], axis=0))
        likeness = {track: min(far, track.distance(here)) for track, far in likeness.items()}
    ranked = sorted((t for t in tracks if likeness[t] <= 1), key=lambda t: likeness[t])
    chosen: list[Track] = []
    others: list[Track] = []
    for track in ranked:
        (others if any(track.is_beside(c) for c in chosen) else chosen).append(track)
    others += [t for t in tracks if likeness[t] > 1 and any(t.is_beside(c) for c in chosen)]
    people = [wanted._replace(center=t.vectors.mean(0)) for t in others if t.vectors is not None]
    return [t for t in chosen if all(t.distance(other) > likeness[t] for other in people)]


def _without_doubles(tracks: list[Track]) -> list[Track]:
    """The tracks, each face once: of one that was found twice, the longer track has the frame."""
    kept: list[Track] = []
    for track in sorted(tracks, key=lambda t: (-len(t.frames), t.frames[0])):
        same = [longer for longer in kept if (track.meets(longer) or 0) > SAME_FACE]
        rest = set(track.frames).difference(*(longer.frames for longer in same))
        if rest:
            kept.append(track.only(rest) if same else track)
    return sorted(kept, key=lambda track: track.frames[0])
