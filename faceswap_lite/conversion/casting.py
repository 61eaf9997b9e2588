"""Who is painted where: cuts, tracks, whose they are, and their landmarks made steady.

From the sightings of a clip to a plan of every frame. Nothing is joined or smoothed across a cut.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..config import ConvertConfig
from ..faces.align import LandmarksPack, five_points
from ..faces.pack import FacePack
from ..media.clips import clip_fingerprint
from ..runs.trained import TrainedRun
from .painted import Placement
from .people import Person, Track, join_tracks, pick_tracks, whom
from .scout import Scouting, scout_clip
from .smoothing import smooth_points

# Mean differences of two thumbnails, of 255: above the first there is a cut; above the second when
# it also stands out so many times from those beside it. A frame shown again differs by less than
# the last, and says nothing of how fast things move.
CERTAIN_CUT = 28.0
POSSIBLE_CUT = 3.0
CUT_STANDS_OUT = 5.0
CUT_NEIGHBOURS = 4
SHOWN_AGAIN = 0.1

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

    `like`: a photo of the person to swap. Raises: as `scout_clip`, `whom` and `plan_cast`.
    """
    wanted = whom(run, packs[0], config, like)
    scouting = scout_clip(
        clip, clip_fingerprint(clip), run, packs, config, reuse=like is None, say=say
    )
    sure_score = run.config.extract.sure_score
    return plan_cast(scouting, run.manifest.landmarks_pack, wanted, config, sure_score)


def plan_cast(
    scouting: Scouting,
    pack: LandmarksPack,
    wanted: Person | None,
    config: ConvertConfig,
    sure_score: float,
) -> CastPlan:
    """Which face of each frame is painted, and where its landmarks are.

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


def find_cuts(changes: Sequence[float | int]) -> set[int]:
    """Places of the frames that begin a new shot, from each frame's `change` to the one before.

    A cut stands out from the frames around it; movement, a pan or a fade does not.
    Source: the idea of PySceneDetect's adaptive detector (content change over its running mean).
    """
    values = np.asarray(changes, np.float64)
    cuts = set()
    for i in np.flatnonzero(values > POSSIBLE_CUT).tolist():
        around = np.concatenate(
            [values[max(1, i - CUT_NEIGHBOURS) : i], values[i + 1 : i + 1 + CUT_NEIGHBOURS]]
        )
        around = around[around > SHOWN_AGAIN]
        usual = float(np.median(around)) if len(around) else 0.0
        if values[i] > CERTAIN_CUT or values[i] > CUT_STANDS_OUT * usual:
            cuts.add(i)
    return cuts


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
