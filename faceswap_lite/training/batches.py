"""Faces in memory, what is held out of training, and which faces a step sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from ..config import TrainingConfig
from ..errors import FaceswapError
from ..faces import FaceSet
from ..models import SIDES, Side
from .augment import Geometry, Views, draw_geometry, make_views

SMALLEST_GROUP = 20
"""Clips with fewer faces than this (stills, mostly) are split as one sequence."""


@dataclass(frozen=True)
class SideData:
    """One identity's faces: uint8 red, green, blue, mask, features; margin included."""

    seen: UInt8[Tensor, "n 5 m m"]
    heldout: UInt8[Tensor, "k 5 m m"]
    side_with_margin: float
    """The stored side in sides of the model's view."""
    names: list[str]
    """The files of the seen faces."""


def load_side(faces: FaceSet, size: int, config: TrainingConfig) -> SideData:
    """A face set decoded once, at the model's size plus margin, and split.

    Raises: FaceswapError when too few faces are left to train on.
    """
    margin = min(face.record.margin for face in faces.faces)
    crops = faces.crops(size, margin)  # (n, m, m, 3)
    extra = np.stack([faces.masks(size, margin), faces.features(size, margin)], -1)
    pixels = torch.from_numpy(np.concatenate([crops, extra], -1)).permute(0, 3, 1, 2).contiguous()
    seen, heldout = split_heldout(
        [face.record.clip_fingerprint for face in faces.faces],
        by=config.heldout_by,
        share=config.heldout_share,
        gap=config.heldout_gap,
    )
    if len(seen) < 2 or not len(heldout):
        raise FaceswapError(
            f"{faces.path}: {len(crops)} faces leave {len(seen)} to train on and {len(heldout)} "
            "held out; add faces, or lower training.heldout_share and training.heldout_gap"
        )
    names = [faces.faces[place].path.name for place in seen]
    return SideData(pixels[seen], pixels[heldout], crops.shape[1] / size, names)


def side_batch(config: TrainingConfig, side: Side) -> int:
    """How many faces of this side a step sees; at least one."""
    of_source = min(max(1, round(2 * config.batch * config.source_share)), 2 * config.batch - 1)
    return of_source if side == "source" else 2 * config.batch - of_source


def split_heldout(
    clips: Sequence[str], *, by: Literal["block", "clip"], share: float, gap: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " k"]]:
    """Places of the seen and of the held-out faces, given each face's clip, in order of time.

    By block: the last `share` of every clip, with `gap` faces before it left out of both, since
    neighbours in time are all but copies. By clip: the whole last clip. Never random frames.
    """
    names = list(dict.fromkeys(clips))
    groups = [[i for i, clip in enumerate(clips) if clip == name] for name in names]
    if by == "clip":
        if len(groups) < 2:
            raise FaceswapError("heldout_by clip needs faces of at least two clips")
        seen = [i for group in groups[:-1] for i in group]
        return np.array(seen), np.array(groups[-1])
    large = [group for group in groups if len(group) >= SMALLEST_GROUP]
    pooled = [i for group in groups if len(group) < SMALLEST_GROUP for i in group]
    seen, heldout = [], []
    for group in [*large, *([pooled] if pooled else [])]:
        count = max(1, round(len(group) * share))
        # A short group gives up a smaller gap rather than all its faces.
        skipped = min(gap, len(group) // 10)
        seen += group[: len(group) - count - skipped]
        heldout += group[len(group) - count :]
    return np.array(sorted(seen), dtype=int), np.array(sorted(heldout), dtype=int)


def draw_faces(count: int, batch: int, seed: int, step: int, side: Side) -> Int[Tensor, " b"]:
    """Which of `count` faces a step sees: shuffled epochs, as a function of (seed, step) alone."""
    places = torch.arange(step * batch, (step + 1) * batch)
    chosen = torch.empty(batch, dtype=torch.long)
    for epoch in torch.unique(places // count).tolist():
        order = torch.randperm(count, generator=_generator(seed, epoch, side, "order"))
        here = places // count == epoch
        chosen[here] = order[places[here] % count]
    return chosen


def draw_views(
    data: SideData,
    size: int,
    config: TrainingConfig,
    step: int,
    side: Side,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
) -> Views:
    """One side's views of one step; of `share` (i, n) every n-th from the i-th on."""
    count, (first, every) = side_batch(config, side), share
    chosen = draw_faces(len(data.seen), count, config.seed, step, side)[first::every]
    stored = data.seen[chosen.to(data.seen.device)].to(device)
    # Drawn for all, so that any number of processes sees the same views.
    geometry = draw_geometry(count, config, _generator(config.seed, step, side, "geometry"))
    geometry = Geometry(**{name: value[first::every] for name, value in vars(geometry).items()})
    return make_views(stored, geometry, size, data.side_with_margin)


def _generator(seed: int, step: int, side: Side, purpose: str) -> torch.Generator:
    # SeedSequence spreads small integers over the whole state; neighbours do not correlate.
    words = [seed, step, SIDES.index(side), ("order", "geometry").index(purpose)]
    state = np.random.SeedSequence(words).generate_state(2)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
