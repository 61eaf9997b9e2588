"""Who is painted where: cuts, tracks, whose they are, and their landmarks made steady.

From the sightings of a clip to a plan of every frame. Nothing is joined or smoothed across a cut.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces.embed import Person
from ..faces.face_set import refuse_crops
from ..faces.finding import wanted_person
from ..faces.pack import FacePack
from ..faces.tracks import SAME_FACE, Track, find_cuts, join_tracks
from ..media.clips import clip_fingerprint
from ..metrics.landmarks import LandmarksPack, five_points
from ..runs.trained import TrainedRun
from .painted import Placement
from .scout import Scouting, scout_clip
from .smoothing import smooth_points

# A face that moves by more than this between two frames, in eye distances, and by so many times
# what it moves before and after, has jumped: sentences cut together, a frame lost.
JUMP = 0.25
JUMP_STANDS_OUT = 4.0
STILL_SPEED = 0.002


@dataclass(frozen=True)
class CastPlan:
    """Every frame's placements, from left to right, and where the cuts are."""

    placements: dict[int, list[Placement]]
    cuts: list[int]

    @property
    def bridged(self) -> int:
        """Frames where only gaps were filled."""
        return sum(all(p.found is None for p in some) for some in self.placements.values())

    def within(self, config: ConvertConfig) -> "CastPlan":
        """The part of it from `config.start` to `config.end`."""
        placements = {f: some for f, some in self.placements.items() if config.wants(f)}
        return CastPlan(placements, [cut for cut in self.cuts if config.wants(cut)])


def cast_clip(
    run: TrainedRun,
    clip: Path,
    packs: list[FacePack],
    config: ConvertConfig,
    *,
    like: Path | None = None,
    say: Callable[[str], None] = print,
) -> CastPlan:
    """The plan of a whole clip, or of its frames from `config.start` to `config.end`.

    `like`: a photo of the person to swap. Raises: as `scout_clip`, `whom` and `plan_cast`;
    FaceswapError when the clip is a face set.
    """
    refuse_crops(clip)
    wanted = whom(run, packs[0], config, like)
    scouting = scout_clip(
        clip, clip_fingerprint(clip), run, packs, config, reuse=like is None, say=say
    )
    sure_score = run.config.extract.sure_score
    plan = plan_cast(scouting, run.manifest.landmarks_pack, wanted, config, sure_score)
    return plan.within(config)


def plan_cast(
    scouting: Scouting,
    pack: LandmarksPack,
    wanted: Person | None,
    config: ConvertConfig,
    sure_score: float,
) -> CastPlan:
    """Which face of each sighted frame is painted, and where its landmarks are.

    `wanted` None: nobody can be told apart; then only lone faces are taken.
    Raises: FaceswapError when several faces cannot be told apart.
    """
    sightings = scouting.sightings
    cuts = find_cuts([sighting.change for sighting in sightings])
    tracks = join_tracks(sightings, cuts, config.bridge, wanted)
    # In usual frames: where a clip pauses, a movement does not.
    times = {s.frame: s.pts / scouting.frame_ticks for s in sightings}
    placements: dict[int, list[Placement]] = {}
    stretches = [
        stretch
        for track in pick_tracks(tracks, wanted, config, sure_score)
        for stretch in _stretches(track, pack, config.bridge)
    ]
    for number, stretch in enumerate(stretches):
        for placement in _steady(stretch, number, config.smooth, times):
            placements.setdefault(placement.frame, []).append(placement)
    return CastPlan(
        {frame: _without_fillers(some) for frame, some in placements.items()},
        [sightings[place].frame for place in sorted(cuts)],
    )


def _stretches(track: Track, pack: LandmarksPack, bridge: int) -> list[Track]:
    """The track, parted where its face jumps, and at gaps that are too long to fill."""
    if len(track.frames) < 2:
        return [track]
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
    return [Track(track.frames[a:b], track.faces[a:b]) for a, b in pairwise(edges)]


def _usual(values: Float[np.ndarray, " n"], i: int) -> float:
    around = np.concatenate([values[max(0, i - 3) : i], values[i + 1 : i + 4]])
    around = around[around > STILL_SPEED]
    return float(np.median(around)) if len(around) else 0.0


def _steady(track: Track, stretch: int, sigma: float, times: dict[int, float]) -> list[Placement]:
    """A placement for every frame from the first to the last, gaps filled."""
    found = dict(zip(track.frames, track.faces, strict=True))
    every = range(track.frames[0], track.frames[-1] + 1)
    smooth = smooth_points(
        np.array([times[frame] for frame in track.frames]),
        np.stack([face.landmarks for face in track.faces]),
        np.array([times[frame] for frame in every]),
        sigma,
    ).astype(np.float32)
    return [Placement(frame, stretch, smooth[i], found.get(frame)) for i, frame in enumerate(every)]


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


def whom(
    run: TrainedRun, pack: FacePack, config: ConvertConfig, like: Path | None = None
) -> Person | None:
    """Whose faces are swapped: those on the photo, else the run's; None where none can be told.

    Raises: FaceswapError when the photo shows no face that can be compared.
    """
    if like is not None:
        return wanted_person(like, pack)
    facts = run.manifest.of(config.shown_side)
    if pack.embedder is None or facts.center is None or facts.embedder != pack.embedder_name:
        return None
    return Person(facts.center, pack.embedder.metric, pack.embedder.same_person)


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
