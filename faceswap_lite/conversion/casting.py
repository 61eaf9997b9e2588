"""Who is painted where: cuts, tracks, whose they are, and their landmarks made steady.

From the sightings of a clip to a plan of every frame. Nothing is joined or smoothed across a cut.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces.embed import Person
from ..faces.face_set import refuse_crops
from ..faces.finding import photo_identity
from ..faces.pack import FacePack
from ..faces.tracking import SAME_FACE, Track, find_cuts, join_tracks
from ..media.images import read_photo
from ..media.reader import Clip
from ..metrics.landmarks import LandmarksPack, five_points
from ..runs.trained import TrainedRun
from .detection_pass import DetectionPass, detect_clip
from .painted import Placement
from .temporal_smoothing import neighbours, smooth_points

# A face that moves by more than this between two frames, in eye distances, and by so many times
# what it moves before and after, has jumped: sentences cut together, a frame lost.
JUMP = 0.25
JUMP_STANDS_OUT = 4.0
STILL_SPEED = 0.002


class Placements(Mapping[int, list[Placement]]):
    """By frame, where its faces are painted, from left to right; worked out when it is asked for.

    What a long clip's faces look like stays on the disk, where the search has left it.
    """

    def __init__(self, segments: Sequence["_Segment"], sigma: float) -> None:
        self._segments, self._sigma = segments, sigma
        of_frame: dict[int, tuple[int, ...]] = {}
        for number, segment in enumerate(segments):
            alone = (number,)
            for frame in segment.every:
                of_frame[frame] = of_frame[frame] + alone if frame in of_frame else alone
        self._of_frame = of_frame

    def __len__(self) -> int:
        return len(self._of_frame)

    def __iter__(self) -> Iterator[int]:
        return iter(self._of_frame)

    def __contains__(self, frame: object) -> bool:
        return frame in self._of_frame

    def __getitem__(self, frame: int) -> list[Placement]:
        numbers = self._of_frame[frame]
        return _without_fillers([
            self._segments[number].placement(frame, number, self._sigma) for number in numbers
        ])  # fmt: skip

    def steadier(self, placement: Placement, times: float) -> Placement:
        """The placement as it is when smoothed over so many times as many frames."""
        if times == 1:
            return placement
        segment = self._segments[placement.segment]
        return segment.placement(placement.frame, placement.segment, times * self._sigma)

    def is_bridged(self, frame: int) -> bool:
        """Whether only gaps are filled there."""
        return not any(self._segments[n].has(frame) for n in self._of_frame[frame])

    def only(self, config: ConvertConfig) -> "Placements":
        """Those of the frames that are wanted."""
        part = Placements([], self._sigma)
        part._segments = self._segments
        part._of_frame = {f: some for f, some in self._of_frame.items() if config.wants(f)}
        return part


@dataclass(frozen=True)
class _Segment:
    """An unbroken piece of a track; `times` are of its frames, `at` of all from first to last."""

    track: Track
    times: Float[np.ndarray, " n"]
    at: Float[np.ndarray, " m"]

    @property
    def every(self) -> range:
        return range(int(self.track.frames[0]), int(self.track.frames[-1]) + 1)

    def has(self, frame: int) -> bool:
        """Whether the face was seen there."""
        return self._place(frame) is not None

    def placement(self, frame: int, number: int, sigma: float) -> Placement:
        """Where the face is in a frame, steadied by its neighbours in time; a gap is filled."""
        when = self.at[[frame - self.every.start]]
        some = neighbours(self.times, float(when[0]), sigma)
        points = np.stack([face.landmarks for face in self.track.faces[some]])
        (steady,) = smooth_points(self.times[some], points, when, sigma).astype(np.float32)
        place = self._place(frame)
        return Placement(frame, number, steady, None if place is None else self.track.faces[place])

    def _place(self, frame: int) -> int | None:
        place = int(np.searchsorted(self.track.frames, frame))
        return place if self.track.frames[place] == frame else None


@dataclass(frozen=True)
class CastPlan:
    """Every frame's placements, and where the cuts are."""

    placements: Placements
    cuts: list[int]

    @property
    def bridged(self) -> int:
        """Frames where only gaps were filled."""
        return sum(map(self.placements.is_bridged, self.placements))

    def within(self, config: ConvertConfig) -> "CastPlan":
        """The part of it from `config.start` to `config.end`."""
        cuts = [cut for cut in self.cuts if config.wants(cut)]
        return CastPlan(self.placements.only(config), cuts)


def cast_clip(
    run: TrainedRun,
    clip: Clip,
    packs: list[FacePack],
    config: ConvertConfig,
    *,
    like: Path | None = None,
    say: Callable[[str], None] = print,
) -> CastPlan:
    """The plan of a whole clip, or of its frames from `config.start` to `config.end`.

    `like`: a photo of the person to swap.
    Raises: as `detect_clip`, `target_identity` and `plan_cast`; FaceswapError when the clip is a
    face set.
    """
    refuse_crops(clip.path)
    wanted = target_identity(run, packs[0], config, like)
    detected = detect_clip(clip, run, packs, config, reuse=like is None, say=say)
    high_confidence = run.config.extract.high_confidence
    plan = plan_cast(detected, run.manifest.landmarks_pack, wanted, config, high_confidence)
    return plan.within(config)


def plan_cast(
    detected: DetectionPass,
    pack: LandmarksPack,
    wanted: Person | None,
    config: ConvertConfig,
    high_confidence: float,
) -> CastPlan:
    """Which face of each sighted frame is painted, and where its landmarks are.

    `wanted` None: nobody can be told apart; then only lone faces are taken.
    Raises: FaceswapError when several faces cannot be told apart.
    """
    sightings, frames = detected.sightings, detected.frames
    cuts = find_cuts(sighting.change for sighting in sightings)
    tracks = join_tracks(sightings, cuts, config.bridge, wanted)
    # In usual frames: where a clip pauses, a movement does not.
    times = detected.pts / detected.frame_ticks
    segments = []
    for track in pick_tracks(tracks, wanted, config, high_confidence):
        for part in _segments(track, pack, config.bridge):
            first, last = np.searchsorted(frames, part.frames[[0, -1]])
            own = times[np.searchsorted(frames, part.frames)]
            segments.append(_Segment(part, own, times[first : last + 1]))
    placements = Placements(segments, config.temporal_smoothing)
    return CastPlan(placements, [int(frames[place]) for place in sorted(cuts)])


def _segments(track: Track, pack: LandmarksPack, bridge: int) -> list[Track]:
    """The track, parted where its face jumps, and at gaps that are too long to fill."""
    if len(track.frames) < 2:
        return [track]
    five = np.empty((len(track.frames), 5, 2))
    for i, face in enumerate(track.faces):
        five[i] = five_points(face.landmarks, pack)
    frames = track.frames
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
    return track.parted(sorted({*jumps, *gaps}))


def _usual(values: Float[np.ndarray, " n"], i: int) -> float:
    around = np.concatenate([values[max(0, i - 3) : i], values[i + 1 : i + 4]])
    around = around[around > STILL_SPEED]
    return float(np.median(around)) if len(around) else 0.0


def _without_fillers(some: list[Placement]) -> list[Placement]:
    """A frame's placements from left to right, without gap fillers where the face was found."""
    found = [placement for placement in some if placement.found is not None]

    def is_there(filler: Placement) -> bool:
        middle = filler.landmarks.mean(0)
        boxes = (p.found.detection.box_xyxy for p in found if p.found is not None)
        return any((box[:2] <= middle).all() and (middle <= box[2:]).all() for box in boxes)

    kept = found + [p for p in some if p.found is None and not is_there(p)]
    return sorted(kept, key=lambda p: float(p.landmarks[:, 0].mean()))


# A track this near, in units of `same_person`, shows how the person looks in this clip.
SURELY = 0.75


def target_identity(
    run: TrainedRun, pack: FacePack, config: ConvertConfig, like: Path | None = None
) -> Person | None:
    """Whose faces are swapped: those on the photo, else the run's; None where none can be told.

    Raises: FaceswapError when there is no photo, or no face on it that can be compared.
    """
    if like is not None:
        return photo_identity(read_photo(like), pack)
    facts = run.manifest.of(config.shown_side)
    if pack.embedder is None or facts.center is None or facts.embedder != pack.embedder_name:
        return None
    return Person(facts.center, pack.embedder.metric, pack.embedder.same_person)


def pick_tracks(
    tracks: list[Track], wanted: Person | None, config: ConvertConfig, high_confidence: float
) -> list[Track]:
    """The tracks to be swapped, in order of their first frames; no face is in two of them.

    Raises: FaceswapError when several faces cannot be told apart.
    """
    if wanted is not None and not config.all_faces and config.face is None:
        return _without_doubles(_whose(tracks, wanted))
    sure = _without_doubles([track for track in tracks if track.is_sure(high_confidence)])
    if config.all_faces:
        return sure
    in_frame: dict[int, list[Track]] = {}
    for track in sure:
        for frame in track.frames.tolist():
            in_frame.setdefault(frame, []).append(track)
    if config.face is None:
        crowds = [frame for frame, some in in_frame.items() if len(some) > 1]
        if crowds:
            raise FaceswapError(
                f"frame {min(crowds)}: {len(in_frame[min(crowds)])} faces and nothing to tell "
                "whose they are; pass --face N (0 is the leftmost), --all-faces, or, with an "
                "embedder, --like PHOTO"
            )
        return sure
    frames: dict[Track, set[int]] = {}
    for frame, some in in_frame.items():
        some.sort(key=lambda track: float(track.box(frame)[[0, 2]].mean()))
        if config.face < len(some):
            frames.setdefault(some[config.face], set()).add(frame)
    return [track.only(frames[track]) for track in sure if track in frames]


def _whose(tracks: list[Track], wanted: Person) -> list[Track]:
    """The wanted person's tracks.

    A person is nowhere twice: who is seen beside a better match is somebody else, in every frame,
    and so is who is more like somebody else than like the person.
    """
    likeness = {track: track.distance(wanted) for track in tracks}
    near = [track.center() for track in tracks if likeness[track] <= SURELY]
    known = [center for center in near if center is not None]
    if known:
        # As the person looks in this light, by this camera, beside as the photo or the set shows.
        here = wanted._replace(center=np.mean(known, axis=0))
        likeness = {track: min(far, track.distance(here)) for track, far in likeness.items()}
    ranked = sorted((t for t in tracks if likeness[t] <= 1), key=lambda t: likeness[t])
    chosen: list[Track] = []
    others: list[Track] = []
    for track in ranked:
        (others if any(track.is_beside(c) for c in chosen) else chosen).append(track)
    others += [t for t in tracks if likeness[t] > 1 and any(t.is_beside(c) for c in chosen)]
    centers = [track.center() for track in others]
    people = [wanted._replace(center=center) for center in centers if center is not None]
    return [t for t in chosen if all(t.distance(other) > likeness[t] for other in people)]


def _without_doubles(tracks: list[Track]) -> list[Track]:
    """The tracks, each face once: of one that was found twice, the longer track has the frame."""
    kept: list[Track] = []
    for track in sorted(tracks, key=lambda t: (-len(t.frames), int(t.frames[0]))):
        same = [longer for longer in kept if (track.meets(longer) or 0) > SAME_FACE]
        taken = (longer.frames.tolist() for longer in same)
        rest = set(track.frames.tolist()).difference(*taken)
        if rest:
            kept.append(track.only(rest) if same else track)
    return sorted(kept, key=lambda track: int(track.frames[0]))
