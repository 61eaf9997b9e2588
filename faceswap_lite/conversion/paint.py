"""The network's part: cut the planned faces out of their frames and paint them as the other person.

Frames go in blocks that begin at fixed places of the clip: a conversion that was killed and goes on
in the middle runs the same batches, and so gets the same bits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ..config import ConvertConfig
from ..faces.align import align, cut_crop
from ..faces.hull import face_mask
from ..media.clips import Frame, as_uint8
from ..metrics.landmarks import LandmarksPack
from ..models.crops import as_pictures, as_pixels
from ..models.mask_network import MaskNetwork
from ..models.tta import View, answers, pick_views
from ..runs.hardware import pick_precision
from ..runs.mask_weights import mask_of
from ..runs.trained import TrainedRun
from .casting import CastPlan
from .expression import ClipExpression
from .occlusion import MaskView, Occlusion, find_occlusions, mask_view
from .painted import PaintedFace, PaintedFrame, Placement

BLOCK_BYTES = 128 << 20
"""A block holds fewer frames than `convert.batch` where they are large."""

_CUT_ERRORS = (ValueError, np.linalg.LinAlgError)


def paint_frames(
    frames: Iterable[Frame],
    plan: CastPlan,
    run: TrainedRun,
    config: ConvertConfig,
    *,
    expression: ClipExpression | None = None,
    rebuild: bool = False,
) -> Iterator[PaintedFrame]:
    """Each frame with its painted faces, in order. A face that cannot be painted fails its frame.

    `expression` moves mouths and eyes as the clip's (`choose_expression`); None: they stay.
    `rebuild` also runs the decoder of the person in the clip (`PaintedFace.rebuilt`; else zero).
    """
    flips = run.config.training.augment.flip > 0
    views = pick_views(config.test_time_augmentation, run.config.model.size, flips)
    mask = None
    if config.mask.kind == "visible":
        device = next(run.model.parameters()).device
        mask = mask_of(run.path).network().to(device)
        if pick_precision("auto", device) == "bf16-mixed":
            # In half the time; no answer changes by as much as 0.1, the mean by 0.0004.
            mask = mask.bfloat16()
    for _, block in groupby(frames, lambda frame: block_of(frame.index, frame.image, config)):
        yield from _paint_block(list(block), plan, run, views, mask, config, expression, rebuild)


def block_of(index: int, image: np.ndarray, config: ConvertConfig) -> int:
    """The first frame of the block that a frame is painted in, by the size of the clip's frames."""
    count = max(1, min(config.batch, BLOCK_BYTES // image.nbytes))
    return index // count * count


def _paint_block(
    frames: list[Frame],
    plan: CastPlan,
    run: TrainedRun,
    views: list[View],
    mask: MaskNetwork | None,
    config: ConvertConfig,
    expression: ClipExpression | None,
    rebuild: bool,
) -> Iterator[PaintedFrame]:
    placed = [plan.placements.get(frame.index, []) for frame in frames]
    if mask is None:
        cuts = [
            _cut_faces(frame, some, run, [None] * len(some))
            for frame, some in zip(frames, placed, strict=True)
        ]
    else:
        cuts = _cut_with_occlusions(frames, placed, plan, run, mask)
    crops = [cut.crop for some in cuts if not isinstance(some, str) for cut in some]
    painted = iter(_run_model(crops, run, views, config, rebuild))
    for some in cuts:
        # Not held here any longer than it is needed: frames are large.
        frame = frames.pop(0)
        if isinstance(some, str):
            yield PaintedFrame(frame, [], failed=some)
            continue
        paintings = [next(painted) for _ in some]
        if not all(np.isfinite(painting.face).all() for painting in paintings):
            reason = f"frame {frame.index}: the network's output is not finite"
            yield PaintedFrame(frame, [], failed=reason)
            continue
        pairs = zip(some, paintings, strict=True)
        faces = [PaintedFace(**vars(cut), **painting._asdict()) for cut, painting in pairs]
        yield PaintedFrame(
            frame, faces if expression is None else list(map(expression.given_to, faces))
        )


@dataclass(frozen=True)
class _Cut:
    placement: Placement
    pack: LandmarksPack
    frame_to_crop: Float[np.ndarray, "2 3"]
    crop: UInt8[np.ndarray, "s s 3"]
    hull: Float[np.ndarray, "s s"]
    occlusion: Occlusion | None = None


def _cut_faces(
    frame: Frame, placements: list[Placement], run: TrainedRun, seen: Sequence[Occlusion | None]
) -> list[_Cut] | str:
    size, pack, cuts = run.config.model.size, run.manifest.landmarks_pack, []
    try:
        for placement, before in zip(placements, seen, strict=True):
            matrix = align(placement.landmarks, pack, run.manifest.coverage, size)
            crop = cut_crop(as_uint8(frame.image), matrix, size)
            hull = face_mask(placement.landmarks, pack, matrix, size)
            cuts.append(_Cut(placement, pack, matrix, crop, hull, before))
    except _CUT_ERRORS as error:
        return _cannot_be_cut(frame, error)
    return cuts


def _cut_with_occlusions(
    frames: list[Frame],
    placed: list[list[Placement]],
    plan: CastPlan,
    run: TrainedRun,
    mask: MaskNetwork,
) -> list[list[_Cut] | str]:
    """The cuts with what is before each face; covered faces are placed steadier."""
    pack = run.manifest.landmarks_pack
    shown: list[list[MaskView] | str] = []
    for frame, some in zip(frames, placed, strict=True):
        try:
            image = as_uint8(frame.image)
            shown.append([mask_view(image, one.landmarks, pack) for one in some])
        except _CUT_ERRORS as error:
            shown.append(_cannot_be_cut(frame, error))
    views = [view for some in shown if not isinstance(some, str) for view in some]
    found = iter(find_occlusions(mask, views))
    cuts: list[list[_Cut] | str] = []
    for frame, some, seen in zip(frames, placed, shown, strict=True):
        if isinstance(seen, str):
            cuts.append(seen)
            continue
        occlusions = [next(found) for _ in some]
        steadied = [
            plan.placements.steadier(placement, occlusion.steadier)
            for placement, occlusion in zip(some, occlusions, strict=True)
        ]
        cuts.append(_cut_faces(frame, steadied, run, occlusions))
    return cuts


def _cannot_be_cut(frame: Frame, error: Exception) -> str:
    return f"frame {frame.index}: its face cannot be cut out ({' '.join(str(error).split())})"


class _Painting(NamedTuple):
    face: Float[np.ndarray, "s s 3"]
    rebuilt: Float[np.ndarray, "s s 3"]
    learned: Float[np.ndarray, "s s"] | None


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
    sides = (config.painted_side, *([config.shown_side] if rebuild else []))
    pixels = as_pixels(run.model, np.stack(crops))
    sums: list[torch.Tensor] = []
    for _, painted in answers(run.model, pixels, views, sides):
        mask = painted[0][1]
        seen = [*(face for face, _ in painted), *([] if mask is None else [mask])]
        sums = [a + b for a, b in zip(sums, seen, strict=True)] if sums else seen
    means = [as_pictures(x.float() / len(views)) for x in sums]
    faces = means[0]
    rebuilds = means[1] if rebuild else np.zeros_like(faces)
    masks = list(means[-1][..., 0]) if len(means) > len(sides) else [None] * len(crops)
    return [_Painting(*three) for three in zip(faces, rebuilds, masks, strict=True)]
