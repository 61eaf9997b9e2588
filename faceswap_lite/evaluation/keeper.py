"""Holds on to some faces and some pictures while a clip goes by, however long it is."""

import heapq
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from ..conversion.painted import PaintedFace, Placement
from ..geometry import invert_similarity, similarity_scale, transform_points
from ..media.clips import as_uint8
from .metric import Moment

MAX_KEPT_FACES, MAX_KEPT_BYTES = 2000, 1 << 30
"""Of a clip's faces, spread evenly, no more are kept; fewer where they are large."""
SPREAD_GLIMPSES = 45
"""Frames whose pictures are kept, spread evenly; the best and the worst come on top."""
EXTREME_GLIMPSES = 5
GLIMPSE_PX = 224
# How much of the frame a glimpse shows, in sides of the model's crop.
GLIMPSE_CROPS = 1.25


@dataclass(frozen=True)
class ClipFaces:
    """The painted faces of some of the clip's frames, at the model's size."""

    rows: Int[np.ndarray, " n"]
    """Places in the series."""
    crops: UInt8[np.ndarray, "n s s 3"]
    """The true faces, as the model is shown them."""
    rebuilt: UInt8[np.ndarray, "n s s 3"]
    swapped: UInt8[np.ndarray, "n s s 3"]
    masks: UInt8[np.ndarray, "n s s"]
    placements: list[Placement]


@dataclass(frozen=True)
class Glimpse:
    """The surroundings of the face in one frame; `row` is its place in the series."""

    row: int
    target: UInt8[np.ndarray, "c c 3"]
    swap: UInt8[np.ndarray, "c c 3"]
    mask: UInt8[np.ndarray, "c c"]
    rebuilt: UInt8[np.ndarray, "s s 3"]


class Keeper:
    """`size`: the model's, px; `faces`: how many will come by."""

    def __init__(self, size: int, faces: int) -> None:
        # Three pictures of three channels, and a mask.
        maximum = min(MAX_KEPT_FACES, MAX_KEPT_BYTES // (10 * size**2))
        self._face_step = -(-faces // maximum) or 1
        self._glimpse_step = -(-faces // SPREAD_GLIMPSES) or 1
        # As `ClipFaces` has them.
        self._kept: list[tuple[Any, ...]] = []
        self._spread: list[Glimpse] = []
        self._best: list[tuple[float, int, Glimpse]] = []
        self._worst: list[tuple[float, int, Glimpse]] = []

    def keep(self, moment: Moment, quality: float, place: int) -> None:
        """Take what is wanted of a frame: `quality`, more is better; `place` in the series."""
        face = moment.face
        if face is None:
            return
        if moment.number % self._face_step == 0:
            made = map(as_uint8, (face.rebuilt, face.face, face.seen))
            self._kept.append((place, face.crop, *made, face.placement))
        wanted = moment.number % self._glimpse_step == 0
        # Each heap gives up its smallest first: of the best the worst, and the other way round.
        ranked = [(self._best, quality), (self._worst, -quality)]
        if not wanted and not any(
            np.isfinite(rank) and (len(heap) < EXTREME_GLIMPSES or rank > heap[0][0])
            for heap, rank in ranked
        ):
            return
        glimpse = _glimpse(moment, face, place)
        if wanted:
            self._spread.append(glimpse)
        for heap, rank in ranked:
            if np.isfinite(rank):
                push = heapq.heappush if len(heap) < EXTREME_GLIMPSES else heapq.heappushpop
                push(heap, (rank, place, glimpse))

    def faces(self) -> ClipFaces | None:
        """The faces that were kept, or None when there are none."""
        if not self._kept:
            return None
        rows, *pictures, placements = zip(*self._kept, strict=True)
        crops, rebuilt, swapped, masks = map(np.stack, pictures)
        places = np.array(rows, np.int64)
        return ClipFaces(places, crops, rebuilt, swapped, masks, list(placements))

    def glimpses(self) -> list[Glimpse]:
        """The pictures that were kept, in order, each once."""
        extremes = [one for heap in (self._best, self._worst) for _, _, one in heap]
        by_row = {one.row: one for one in [*self._spread, *extremes]}
        return [by_row[row] for row in sorted(by_row)]


def _glimpse(moment: Moment, face: PaintedFace, place: int) -> Glimpse:
    """The square around the face, in the frame and in what was made of it."""
    size, to_frame = len(face.crop), invert_similarity(face.frame_to_crop)
    edge = max(4, round(GLIMPSE_CROPS * size * similarity_scale(to_frame)))
    middle = transform_points(np.full((1, 2), (size - 1) / 2), to_frame)[0]
    left, top = np.round(middle - edge / 2).astype(int)
    height, width = moment.target.shape[:2]
    alpha = np.zeros((height, width), np.float32)
    if moment.layer is not None:
        alpha[moment.layer.rows, moment.layer.columns] = moment.layer.alpha[..., 0]

    def cut(image: np.ndarray) -> np.ndarray:
        x, y = (np.arange(first, first + edge) for first in (left, top))
        part = image[np.clip(y, 0, height - 1)][:, np.clip(x, 0, width - 1)]
        way = cv2.INTER_AREA if edge > GLIMPSE_PX else cv2.INTER_CUBIC
        return cv2.resize(part, (GLIMPSE_PX, GLIMPSE_PX), interpolation=way).astype(np.uint8)

    return Glimpse(
        row=place,
        target=cut(moment.target),
        swap=cut(moment.shown),
        mask=cut(as_uint8(alpha)),
        rebuilt=as_uint8(face.rebuilt),
    )
