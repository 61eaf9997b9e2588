"""From a frame to a painted face and back: find the target, paint the source, put it in place."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces import (
    FacePack,
    FoundFace,
    align,
    as_uint8,
    build_pack,
    cut_crop,
    embedding_distance,
    face_mask,
)
from ..media import Frame
from ..training import TrainedRun
from .blend import paste_face
from .color import COLOR_MATCHERS, apply_color_map
from .mask import blend_alpha

Picture = Shaped[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class PaintedFace:
    """One face of one frame, painted as the source, not yet put in place."""

    found: FoundFace
    frame_to_crop: Float[np.ndarray, "2 3"]
    crop: UInt8[np.ndarray, "s s 3"]
    face: Float[np.ndarray, "s s 3"]
    rebuilt: Float[np.ndarray, "s s 3"]
    """The target's own face through the target's decoder: what reconstruction is judged by."""
    hull: Float[np.ndarray, "s s"]
    learned: Float[np.ndarray, "s s"] | None


def build_run_pack(run: TrainedRun) -> FacePack:
    """The detector, landmarks and embedder that the run's face sets were made with."""
    extract = run.config.extract
    return build_pack(
        run.facts.detector,
        run.facts.landmarks_pack,
        run.facts.target.embedder or "none",
        min_face_px=extract.min_face_px,
        max_side_px=extract.max_side_px,
    )


def choose_face(
    found: list[FoundFace], run: TrainedRun, pack: FacePack, number: int | None
) -> FoundFace | None:
    """The face to swap among those of a frame (left to right), or None.

    By number if one is given; else the one most like the target's face set, if any is like it; a
    lone face needs no embedder.

    Raises: FaceswapError when several faces cannot be told apart.
    """
    if number is not None:
        return found[number] if number < len(found) else None
    center = run.facts.target.center
    if pack.embedder is not None and center is not None:
        near = [
            (embedding_distance(face.embedding, center, pack.embedder.metric), place)
            for place, face in enumerate(found)
            if face.embedding is not None
        ]
        if not near or min(near)[0] > pack.embedder.same_person:
            return None
        return found[min(near)[1]]
    if len(found) > 1:
        raise FaceswapError(
            f"{len(found)} faces and no embedder to tell whose they are; "
            "pass --face N (0 is the leftmost)"
        )
    return found[0] if found else None


def paint_frames(
    frames: Iterable[Frame],
    run: TrainedRun,
    pack: FacePack,
    config: ConvertConfig,
    *,
    rebuild: bool = False,
) -> Iterator[tuple[Frame, PaintedFace | None]]:
    """Each frame with its painted face, or None where there is none to swap. Batched, in order.

    `pack` is busy in a thread of its own until the last frame: no one else may use it meanwhile.
    `rebuild` also runs the target's own decoder (`PaintedFace.rebuilt`; else it is zero).
    """
    waiting: list[tuple[Frame, FoundFace | None]] = []
    for frame, found in _find_ahead(frames, run, pack, config.batch):
        try:
            face = choose_face(found, run, pack, config.face)
        except FaceswapError as error:
            raise FaceswapError(f"frame {frame.index}: {error}") from error
        waiting.append((frame, face))
        if len(waiting) == config.batch:
            yield from _paint_batch(waiting, run, rebuild)
            waiting = []
    yield from _paint_batch(waiting, run, rebuild)


def composite(image: Picture, painted: PaintedFace, config: ConvertConfig) -> Picture:
    """The frame with the painted face in place: colour matched, masked, blended once."""
    target = painted.crop.astype(np.float32) / 255
    inside = painted.hull if painted.learned is None else painted.hull * painted.learned
    color_map = COLOR_MATCHERS[config.color](painted.face, target, inside)
    face = apply_color_map(painted.face, color_map)
    alpha = blend_alpha(
        painted.hull, painted.learned, config.mask, erode=config.erode, feather=config.feather
    )
    return paste_face(image, face, alpha, painted.frame_to_crop)


def _find_ahead(
    frames: Iterable[Frame], run: TrainedRun, pack: FacePack, depth: int
) -> Iterator[tuple[Frame, list[FoundFace]]]:
    """Each frame and its faces; the next `depth` frames are searched while this one is used."""
    # With an embedder, likeness tells true faces from false ones: weak detections may stay.
    min_score = run.config.extract.weak_score if pack.embedder is not None else None
    # One searcher: a pack's networks serve one thread at a time.
    with ThreadPoolExecutor(1) as searcher:
        ahead: deque[tuple[Frame, Future[list[FoundFace]]]] = deque()
        for frame in frames:
            ahead.append((frame, searcher.submit(pack.find, frame.image, min_score=min_score)))
            if len(ahead) > depth:
                first, found = ahead.popleft()
                yield first, found.result()
        for first, found in ahead:
            yield first, found.result()


def _paint_batch(
    waiting: list[tuple[Frame, FoundFace | None]], run: TrainedRun, rebuild: bool
) -> Iterator[tuple[Frame, PaintedFace | None]]:
    size, pack_name = run.config.model.size, run.facts.landmarks_pack
    faces = [face for _, face in waiting if face is not None]
    matrices = [align(face.landmarks, pack_name, run.facts.coverage, size) for face in faces]
    crops = [
        cut_crop(as_uint8(frame.image), matrix, size)
        for (frame, _), matrix in zip(
            [w for w in waiting if w[1] is not None], matrices, strict=True
        )
    ]
    painted = iter(_run_model(crops, run, rebuild)) if crops else iter(())
    placed = iter(zip(matrices, crops, strict=True))
    for frame, face in waiting:
        if face is None:
            yield frame, None
            continue
        matrix, crop = next(placed)
        swapped, rebuilt, learned = next(painted)
        hull = face_mask(face.landmarks, pack_name, matrix, size)
        yield frame, PaintedFace(face, matrix, crop, swapped, rebuilt, hull, learned)


@torch.no_grad()
def _run_model(
    crops: list[UInt8[np.ndarray, "s s 3"]], run: TrainedRun, rebuild: bool
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    device = next(run.model.parameters()).device
    pixels = torch.from_numpy(np.stack(crops)).to(device)
    code = run.model.encode(pixels.permute(0, 3, 1, 2).float() / 255)
    face, mask = run.model.decode(code, "source")
    rebuilt = run.model.decode(code, "target")[0] if rebuild else torch.zeros_like(face)

    def pictures(x: torch.Tensor) -> np.ndarray:
        return x.float().permute(0, 2, 3, 1).cpu().numpy()

    masks = [None] * len(crops) if mask is None else list(mask[:, 0].float().cpu().numpy())
    return list(zip(pictures(face), pictures(rebuilt), masks, strict=True))
