"""Which faces training sees, which are held out, and since when: kept over a run's whole life."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, field_validator

from ..config import HeldoutConfig
from ..errors import FaceswapError

MIN_GROUP = 20
"""Clips with fewer faces than this (stills, mostly) are split as one sequence."""

MAX_GROUP_FRAMES = 10**8
"""Of a group: twenty days of a clip."""

RoleName = Literal["seen", "left_out", "heldout"]
"""left_out: too near in time to held-out faces for either."""

Place = tuple[str, int]
"""A face's clip, by its fingerprint, and its frame. All faces of a frame go together."""


class FaceGroup(BaseModel):
    """Frames of one clip that play one role in a run, from one step on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: str
    role: RoleName
    since: int
    """The run's step when they joined; 0: there from the start."""
    frames: str
    """Frame numbers, in order: 0-84,90,92."""

    @field_validator("frames")
    @classmethod
    def _are_numbers(cls, text: str) -> str:
        if sum(run.stop - run.start for run in _read_runs(text)) > MAX_GROUP_FRAMES:
            raise ValueError("are more frames than any clip has")
        return text


Roles = dict[Place, tuple[RoleName, int]]
"""Each face's role, and the step since when it has it."""


def assign_split(
    known: Iterable[FaceGroup], places: Sequence[Place], config: HeldoutConfig, step: int
) -> list[FaceGroup]:
    """The roles of `known`, and of all `places` (in order of time) that are new at this step.

    Nobody changes roles, and who leaves is remembered, in case of a return. Raises: FaceswapError
    when there is nothing to hold out.
    """
    roles = {place: (role, min(since, step)) for place, (role, since) in read_roles(known).items()}
    if not roles:
        return _to_groups(_split(places, config, since=0, minimum=1))
    spans: dict[str, list[int]] = {}
    for clip, frame in sorted(roles):
        spans.setdefault(clip, []).append(frame)
    beyond: list[Place] = []
    joined: Roles = {}
    for clip, frame in (place for place in places if place not in roles):
        if clip not in spans and config.by == "clip":
            joined[clip, frame] = ("seen", step)
        elif clip in spans and (frame < spans[clip][-1] or config.by == "clip"):
            # Among the known ones of its clip it is all but a copy of the nearest.
            near = min(abs(frame - other) for other in spans[clip])
            nearest = [roles.get((clip, frame + sign * near)) for sign in (-1, 1)]
            is_heldout = [role for role in nearest if role and role[0] != "seen"]
            joined[clip, frame] = (is_heldout[0][0] if is_heldout else "seen", step)
        elif clip in spans and frame <= spans[clip][-1] + config.gap:
            joined[clip, frame] = ("left_out", step)
        else:
            beyond.append((clip, frame))
    joined |= _split(beyond, config, since=step, minimum=0)
    return _to_groups(roles | joined)


def read_roles(groups: Iterable[FaceGroup]) -> Roles:
    """The role of every place in the groups."""
    return {
        (group.clip, frame): (group.role, group.since)
        for group in groups
        for run in _read_runs(group.frames)
        for frame in run
    }


def split_heldout(
    clips: Sequence[str], *, by: Literal["block", "clip"], share: float, gap: int, minimum: int = 1
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " k"]]:
    """Places of the seen and of the held-out faces, given each face's clip, in order of time.

    By block: the last `share` (but `minimum` faces) of every clip, with `gap` faces before it left
    out of both, since neighbours in time are all but copies. By clip: the whole last clip. Never
    random frames.
    """
    names = list(dict.fromkeys(clips))
    groups = [[i for i, clip in enumerate(clips) if clip == name] for name in names]
    if by == "clip":
        if len(groups) < 2:
            raise FaceswapError("heldout.by clip needs faces of at least two clips")
        seen = [i for group in groups[:-1] for i in group]
        return np.array(seen), np.array(groups[-1])
    large = [group for group in groups if len(group) >= MIN_GROUP]
    pooled = [i for group in groups if len(group) < MIN_GROUP for i in group]
    seen, heldout = [], []
    for group in [*large, *([pooled] if pooled else [])]:
        count = max(minimum, round(len(group) * share))
        # A short group gives up a smaller gap rather than all its faces.
        skipped = min(gap, len(group) // 10)
        seen += group[: len(group) - count - skipped]
        heldout += group[len(group) - count :]
    return np.array(sorted(seen), dtype=int), np.array(sorted(heldout), dtype=int)


def _split(places: Sequence[Place], config: HeldoutConfig, *, since: int, minimum: int) -> Roles:
    if not places:
        return {}
    clips, how = [clip for clip, _ in places], config.model_dump(include={"by", "share", "gap"})
    seen, heldout = split_heldout(clips, **how, minimum=minimum)
    # The stricter role last: it wins where a split falls between two faces of one frame.
    roles: Roles = {places[i]: ("seen", since) for i in seen}
    used = {*seen.tolist(), *heldout.tolist()}
    roles |= {place: ("left_out", since) for i, place in enumerate(places) if i not in used}
    return roles | {places[i]: ("heldout", since) for i in heldout}


def _to_groups(roles: Mapping[Place, tuple[RoleName, int]]) -> list[FaceGroup]:
    frames: dict[tuple[str, RoleName, int], list[int]] = {}
    for (clip, frame), (role, since) in sorted(roles.items()):
        frames.setdefault((clip, role, since), []).append(frame)
    return [
        FaceGroup(clip=clip, role=role, since=since, frames=_write_frames(numbers))
        for (clip, role, since), numbers in frames.items()
    ]


def _write_frames(numbers: Sequence[int]) -> str:
    """Rising numbers as text, unbroken runs as first-last."""
    breaks = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    runs = zip([0, *breaks], [*breaks, len(numbers)], strict=True)
    ends = [(numbers[start], numbers[stop - 1]) for start, stop in runs]
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in ends)


def _read_runs(text: str) -> list[range]:
    ends = [run.partition("-") for run in text.split(",")]
    return [range(int(first), int(last or first) + 1) for first, _, last in ends]
