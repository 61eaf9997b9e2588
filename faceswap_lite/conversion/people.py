"""Whose tracks are swapped: one person's, the n-th face's, everybody's."""

from pathlib import Path

import numpy as np

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces.embed import Person
from ..faces.finding import wanted_person
from ..faces.pack import FacePack
from ..faces.tracks import SAME_FACE, Track
from ..runs.trained import TrainedRun
from .settings import shown_facts

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
    facts = shown_facts(run, config)
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
