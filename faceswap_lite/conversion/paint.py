"""The network's part: cut the planned faces out of their frames and paint them as the other person.

Frames go in blocks that begin at fixed places of the clip: a conversion that was killed and goes on
in the middle runs the same batches, and so gets the same bits.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ..config import ConvertConfig
from ..faces import align, as_uint8, cut_crop, face_mask
from ..media import Frame
from ..models import Side
from ..training import TrainedRun
from .casting import CastPlan, Placement
from .views import View, pick_views, see, unsee


@dataclass(frozen=True)
class PaintedFace:
    """One face of one frame, painted as the other person, not yet put in place."""

    placement: Placement
    frame_to_crop: Float[np.ndarray, "2 3"]
    crop: UInt8[np.ndarray, "s s 3"]
    """The true face, as the network was shown it."""
    face: Float[np.ndarray, "s s 3"]
    rebuilt: Float[np.ndarray, "s s 3"]
    """The true face through its own decoder: what reconstruction is judged by."""
    hull: Float[np.ndarray, "s s"]
    learned: Float[np.ndarray, "s s"] | None


@dataclass(frozen=True)
class PaintedFrame:
    """A frame and its painted faces; `failed` says why one that should have any has none."""

    frame: Frame
    faces: list[PaintedFace]
    failed: str | None = None


def painted_side(config: ConvertConfig) -> Side:
    """Whose face is painted."""
    return "source" if config.swap == "source-to-target" else "target"


def shown_side(config: ConvertConfig) -> Side:
    """Who is in the clip."""
    return "target" if config.swap == "source-to-target" else "source"


def paint_frames(
    frames: Iterable[Frame],
    plan: CastPlan,
    run: TrainedRun,
    config: ConvertConfig,
    *,
    rebuild: bool = False,
) -> Iterator[PaintedFrame]:
    """Each frame with its painted faces, in order. A face that cannot be painted fails its frame.

    `rebuild` also runs the decoder of the person in the clip (`PaintedFace.rebuilt`; else zero).
    """
    flips = run.config.training.flip > 0
    views = pick_views(config.views, run.config.model.size, flips)
    for _, block in groupby(frames, lambda frame: frame.index // config.batch):
        yield from _paint_block(list(block), plan, run, views, config, rebuild)


def _paint_block(
    frames: list[Frame],
    plan: CastPlan,
    run: TrainedRun,
    views: list[View],
    config: ConvertConfig,
    rebuild: bool,
) -> Iterator[PaintedFrame]:
    cuts: list[list[_Cut] | str] = [
        _cut_faces(frame, plan.placements.get(frame.index, []), run) for frame in frames
    ]
    every = [cut for some in cuts if not isinstance(some, str) for cut in some]
    painted = iter(_run_model([cut.crop for cut in every], run, views, config, rebuild))
    for frame, some in zip(frames, cuts, strict=True):
        if isinstance(some, str):
            yield PaintedFrame(frame, [], failed=some)
            continue
        faces = [
            PaintedFace(cut.placement, cut.frame_to_crop, cut.crop, *rest[:2], cut.hull, rest[2])
            for cut, rest in zip(some, painted, strict=False)
        ]
        yield PaintedFrame(frame, faces)


@dataclass(frozen=True)
class _Cut:
    placement: Placement
    frame_to_crop: Float[np.ndarray, "2 3"]
    crop: UInt8[np.ndarray, "s s 3"]
    hull: Float[np.ndarray, "s s"]


def _cut_faces(frame: Frame, placements: list[Placement], run: TrainedRun) -> list[_Cut] | str:
    size, pack = run.config.model.size, run.facts.landmarks_pack
    cuts = []
    try:
        for placement in placements:
            matrix = align(placement.landmarks, pack, run.facts.coverage, size)
            crop = cut_crop(as_uint8(frame.image), matrix, size)
            hull = face_mask(placement.landmarks, pack, matrix, size)
            cuts.append(_Cut(placement, matrix, crop, hull))
    except (ValueError, np.linalg.LinAlgError) as error:
        return f"frame {frame.index}: its face cannot be cut out ({error})"
    return cuts


_Painting = tuple[np.ndarray, np.ndarray, np.ndarray | None]


@torch.no_grad()
def _run_model(
    crops: list[UInt8[np.ndarray, "s s 3"]],
    run: TrainedRun,
    views: list[View],
    config: ConvertConfig,
    rebuild: bool,
) -> list[_Painting]:
    """Painted face, rebuilt face and learned mask of each crop, the mean over all views."""
    if not crops:
        return []
    device = next(run.model.parameters()).device
    pixels = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2).float() / 255
    sums: list[torch.Tensor] = []
    for view in views:
        code = run.model.encode(see(pixels, view))
        face, mask = run.model.decode(code, painted_side(config))
        rebuilt = run.model.decode(code, shown_side(config))[0] if rebuild else None
        seen = [unsee(x, view) for x in (face, rebuilt, mask) if x is not None]
        sums = [a + b for a, b in zip(sums, seen, strict=True)] if sums else seen
    means = [x.float() / len(views) for x in sums]

    def pictures(x: torch.Tensor) -> np.ndarray:
        return x.permute(0, 2, 3, 1).cpu().numpy()

    faces = pictures(means[0])
    rebuilds = pictures(means[1]) if rebuild else np.zeros_like(faces)
    has_mask = len(means) > 1 + rebuild
    masks = list(means[-1][:, 0].cpu().numpy()) if has_mask else [None] * len(crops)
    return list(zip(faces, rebuilds, masks, strict=True))
