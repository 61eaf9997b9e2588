"""One walk through a clip with one run: what is measured of each frame, and the faces kept.

Frames are measured side by side: each worker has instruments of its own.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from tqdm import tqdm

from ..actors import ActorTruth
from ..config import ConvertConfig
from ..conversion import CastPlan, PaintedFace, PaintedFrame, Placement, composite, paint_frames
from ..conversion.blend import Layer
from ..conversion.composite import Composite, composite_frames
from ..errors import FaceswapError
from ..faces import (
    FacePack,
    FoundFace,
    GivenMasks,
    align,
    as_uint8,
    cut_crop,
    estimate_pose,
    eye_opening,
    five_points,
    mouth_opening,
    one_opencv_thread,
)
from ..latent import Reader
from ..latent.readings import READ_PX
from ..media import Frame, open_clip
from ..metrics import (
    flow_between,
    landmark_nme,
    mean_lab,
    ms_ssim,
    psnr_db,
    seam_delta_e,
    sharpness_ratio,
    ssim,
    warp_error,
)
from ..training import TrainedRun
from .judge import Judge

MOST_FACES = 2000
"""Faces of a clip whose crops are kept, spread evenly."""
SPREAD_GLIMPSES = 45
"""Frames whose pictures are kept, spread evenly; the best and the worst come on top."""
EXTREME_GLIMPSES = 5
GLIMPSE_PX = 224
# How much of the frame a glimpse shows, in widths of the face.
GLIMPSE_FACES = 1.6

# Room around the face in which it is compared over time, pixels: how far a flow may look.
_FLOW_PX = 16
# Each side of a mask's edge, in face sides: what the eye takes in at once.
_SEAM = 0.03

Row = dict[str, float]


@dataclass(frozen=True)
class Instruments:
    """What one worker measures with."""

    pack: FacePack
    reader: Reader
    judge: Judge | None
    lpips: Callable[[np.ndarray, np.ndarray], float] | None


@dataclass(frozen=True)
class Series:
    """One row a frame; a column's value is NaN where a frame has none."""

    index: Int[np.ndarray, " n"]
    time_s: Float[np.ndarray, " n"]
    columns: dict[str, Float[np.ndarray, " n"]]

    def __len__(self) -> int:
        return len(self.index)

    def get(self, name: str) -> Float[np.ndarray, " n"]:
        """A column; all NaN where nothing of the kind was measured."""
        return self.columns.get(name, np.full(len(self), np.nan))


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


@dataclass(frozen=True)
class Walked:
    """What a walk brings home. `problems`: what was wrong with the clip."""

    series: Series
    faces: ClipFaces | None
    glimpses: list[Glimpse]
    problems: list[str]


@dataclass(frozen=True)
class _Moment:
    """A frame with all that is beside it. `swap`, `twins`: frames of clips of the same length."""

    made: Composite
    swap: Frame | None
    twin_raw: Frame | None
    twin_matched: Frame | None
    number: int
    """Of the face among the clip's."""

    @property
    def face(self) -> PaintedFace | None:
        return self.made.painted.faces[0] if self.made.painted.faces else None

    @property
    def layer(self) -> Layer | None:
        return self.made.layers[0] if self.made.layers else None

    @property
    def shown(self) -> np.ndarray:
        return as_uint8(self.swap.image if self.swap is not None else self.made.image)

    @property
    def target(self) -> np.ndarray:
        return as_uint8(self.made.frame.image)


def walk_clip(
    run: TrainedRun,
    clip: Path,
    plan: CastPlan,
    convert: ConvertConfig,
    instruments: Sequence[Instruments],
    *,
    every: int = 1,
    converted: Path | None = None,
    masks: GivenMasks | None = None,
    truth: ActorTruth | None = None,
) -> Walked:
    """Measure every n-th frame of a clip, with its conversion and its twins beside it.

    Pose, expression, identity, seam and movement are those of the frames of `converted` where it is
    given, else of the frames that `convert` makes.
    Raises: FaceswapError when `converted` has other frames than `clip`.
    """
    free: SimpleQueue[Instruments] = SimpleQueue()
    for some in instruments:
        free.put(some)
    keeper = _Keeper(run.config.model.size, sum(i % every == 0 for i in plan.placements))
    rows: list[tuple[int, float, Row]] = []
    problems: list[str] = []

    def measure(moment: _Moment, before: _Moment | None) -> Row:
        tools = free.get()
        try:
            return _measure(moment, before, run, convert, tools, truth)
        finally:
            free.put(tools)

    def take(moment: _Moment, row: Row) -> None:
        frame = moment.made.frame
        keeper.keep(moment, row, len(rows))
        rows.append((frame.index, float(frame.time), row))

    going: deque[tuple[_Moment, Future[Row]]] = deque()
    before: _Moment | None = None
    with one_opencv_thread(), ThreadPoolExecutor(len(instruments)) as pool:
        for moment in _moments(run, clip, plan, convert, every, converted, masks, truth, problems):
            going.append((moment, pool.submit(measure, moment, before)))
            before = moment
            while len(going) > 2 * len(instruments):
                done, row = going.popleft()
                take(done, row.result())
        while going:
            done, row = going.popleft()
            take(done, row.result())
    return Walked(_series(rows, plan, every), keeper.faces(), keeper.glimpses(), problems)


def _moments(
    run: TrainedRun,
    clip: Path,
    plan: CastPlan,
    convert: ConvertConfig,
    every: int,
    converted: Path | None,
    masks: GivenMasks | None,
    truth: ActorTruth | None,
    problems: list[str],
) -> Iterator[_Moment]:
    twins = (truth.twin.raw, truth.twin.matched) if truth and truth.twin else (None, None)
    others = [_every(_frames_of(path), every, path) for path in (converted, *twins)]
    with open_clip(clip) as reader:
        frames = (frame for frame in reader if frame.index % every == 0)
        painted = paint_frames(frames, plan, run, convert, rebuild=True)
        walk = composite_frames(painted, convert, masks)
        total, number = reader.info.frame_count, 0
        total = None if total is None else -(-total // every)
        for made in tqdm(walk, total=total, desc="evaluate", unit="frame", disable=None):
            swap, raw, matched = (next(other) for other in others)
            if swap is not None and swap.image.shape[:2] != made.frame.image.shape[:2]:
                raise FaceswapError(f"{converted}: is of another size than {clip}; is it its own?")
            yield _Moment(made, swap, raw, matched, number)
            number += bool(made.painted.faces)
        problems += reader.problems


def _frames_of(path: Path | None) -> Iterator[Frame | None]:
    if path is None:
        while True:
            yield None
    with open_clip(path) as reader:
        yield from reader


def _every(frames: Iterator[Frame | None], every: int, path: Path | None) -> Iterator[Frame | None]:
    for index, frame in enumerate(frames):
        if index % every == 0:
            yield frame
    raise FaceswapError(f"{path}: has fewer frames than the clip it belongs to")


def _measure(
    moment: _Moment,
    before: _Moment | None,
    run: TrainedRun,
    convert: ConvertConfig,
    tools: Instruments,
    truth: ActorTruth | None,
) -> Row:
    row: Row = {"found": float(moment.face is not None)}
    if moment.face is not None:
        row |= _rebuilding(moment.face, tools)
        row |= _likeness(moment, run, tools)
        row |= _points(moment, run, tools)
    if moment.layer is not None:
        row |= _blending(moment, moment.layer)
        if before is not None:
            row |= _movement(before, moment, moment.layer)
    if truth is not None and moment.twin_raw is not None and moment.twin_matched is not None:
        row |= _against_truth(moment, run, convert, tools, truth)
    return row


def _rebuilding(face: PaintedFace, tools: Instruments) -> Row:
    """How well the target's own decoder rebuilds a face it never saw, at the model's size."""
    true = face.true
    row = {
        "psnr_db": psnr_db(face.rebuilt, true, face.hull),
        "ssim": ssim(face.rebuilt, true, face.hull),
        "ms_ssim": ms_ssim(face.rebuilt, true, face.hull),
    }
    if tools.lpips is not None:
        row["lpips"] = tools.lpips(face.rebuilt, true)
    return row


def _likeness(moment: _Moment, run: TrainedRun, tools: Instruments) -> Row:
    """Is a face found where one was painted, and whose is it?"""
    assert moment.face is not None
    name = run.facts.landmarks_pack
    five = five_points(moment.face.placement.landmarks, name)
    distance = float(np.linalg.norm(five[1] - five[0]))
    found = _nearest(tools.pack.find(moment.shown), five, distance)
    if found is None or tools.judge is None:
        return {"detected": float(found is not None)}
    likeness = tools.judge(moment.shown, five_points(found.landmarks, name))
    return {
        "detected": 1.0,
        "to_source": likeness.to_source,
        "to_target": likeness.to_target,
        "top1": float(likeness.source_is_nearest),
    }


def _nearest(found: list[FoundFace], five: np.ndarray, distance: float) -> FoundFace | None:
    """The found face whose points are nearest to `five`, if it is the same face at all."""
    gaps = [float(np.abs(face.detection.five - five).mean()) for face in found]
    if not gaps or min(gaps) > 0.5 * distance:
        return None
    return found[int(np.argmin(gaps))]


def _points(moment: _Moment, run: TrainedRun, tools: Instruments) -> Row:
    """Pose, expression and sharpness of the swap and of the target, read in one view of both."""
    face = moment.face
    assert face is not None
    matrix = align(face.placement.landmarks, run.facts.landmarks_pack, run.facts.coverage, READ_PX)
    shown, target = (cut_crop(image, matrix, READ_PX) for image in (moment.shown, moment.target))
    swap_points, points = (tools.reader.landmarks(crop) for crop in (shown, target))
    size = run.config.model.size
    swap_crop = cut_crop(moment.shown, face.frame_to_crop, size)
    row = {
        **_shape(swap_points, tools.reader, ""),
        **_shape(points, tools.reader, "target_"),
        "sharpness": sharpness_ratio(swap_crop, face.crop, face.hull),
    }
    if swap_points is not None and points is not None:
        row["nme"] = _nme(swap_points, points, tools.reader)
    return row


def _shape(points: Float[np.ndarray, "n 2"] | None, reader: Reader, prefix: str) -> Row:
    if points is None:
        return {}
    pose = estimate_pose(points, reader.pack)
    row = {"yaw_deg": pose.yaw_deg, "pitch_deg": pose.pitch_deg, "roll_deg": pose.roll_deg}
    openings = {
        "mouth": mouth_opening(points, reader.pack),
        "eyes": eye_opening(points, reader.pack),
    }
    row |= {name: value for name, value in openings.items() if value is not None}
    return {prefix + name: value for name, value in row.items()}


def _nme(
    points: Float[np.ndarray, "n 2"], reference: Float[np.ndarray, "n 2"], reader: Reader
) -> float:
    five = five_points(reference, reader.pack)
    return landmark_nme(points, reference, float(np.linalg.norm(five[1] - five[0])))


def _blending(moment: _Moment, layer: Layer) -> Row:
    """The step across the mask's edge and the mean colour inside, of swap and target."""
    rows, columns = _around(layer, moment.target.shape, margin=8)
    alpha = _alpha_in(layer, rows, columns)
    width = max(1.5, _SEAM * float(np.sqrt((alpha >= 0.5).sum())))
    row: Row = {}
    for prefix, image in (("", moment.shown), ("target_", moment.target)):
        part = image[rows, columns]
        row[f"{prefix}seam_delta_e"] = seam_delta_e(part, alpha, width)
        for name, value in zip("lab", mean_lab(part, alpha), strict=True):
            row[f"{prefix}lab_{name}"] = float(value)
    return row


def _movement(before: _Moment, moment: _Moment, layer: Layer) -> Row:
    """What does not move with the target's own flow, of swap and target; nothing across a cut."""
    rows, columns = _around(layer, moment.target.shape, margin=_FLOW_PX)
    alpha = _alpha_in(layer, rows, columns)
    flow, believed = flow_between(before.target[rows, columns], moment.target[rows, columns])
    weights = alpha * believed
    return {
        f"{prefix}warp": warp_error(earlier[rows, columns], later[rows, columns], flow, weights)
        for prefix, earlier, later in (
            ("", before.shown, moment.shown),
            ("target_", before.target, moment.target),
        )
    }


def _around(layer: Layer, shape: tuple[int, ...], margin: int) -> tuple[slice, slice]:
    """The layer's rectangle of the frame, with room around it."""
    rows = slice(max(0, layer.rows.start - margin), min(shape[0], layer.rows.stop + margin))
    columns = slice(
        max(0, layer.columns.start - margin), min(shape[1], layer.columns.stop + margin)
    )
    return rows, columns


def _alpha_in(layer: Layer, rows: slice, columns: slice) -> Float[np.ndarray, "h w"]:
    alpha = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    top, left = layer.top - rows.start, layer.left - columns.start
    height, width = layer.alpha.shape[:2]
    alpha[top : top + height, left : left + width] = layer.alpha[..., 0]
    return alpha


def _against_truth(
    moment: _Moment,
    run: TrainedRun,
    convert: ConvertConfig,
    tools: Instruments,
    truth: ActorTruth,
) -> Row:
    """Against the true swap. A frame whose face was missed is measured as it stayed."""
    assert moment.twin_raw is not None and moment.twin_matched is not None
    frame, face = moment.made.frame, moment.face
    raw = frame.image
    if face is not None:
        without = convert.model_copy(update={"color": "none"})
        raw = composite(PaintedFrame(frame, [face]), without)
    twin, matched = moment.twin_raw.image, moment.twin_matched.image
    inside = truth.face_masks[frame.index] / 255.0
    row = {
        "truth_psnr_db": psnr_db(raw, twin, inside),
        "truth_ssim": ssim(raw, twin, inside),
        "unswapped_psnr_db": psnr_db(frame.image, twin, inside),
        "truth_matched_psnr_db": psnr_db(moment.shown, as_uint8(matched), inside),
    }
    if face is None:
        return row
    matrix = align(face.placement.landmarks, run.facts.landmarks_pack, run.facts.coverage, READ_PX)
    crops = [cut_crop(as_uint8(image), matrix, READ_PX) for image in (moment.shown, matched)]
    row["truth_sharpness"] = sharpness_ratio(*crops)
    points, true_points = (tools.reader.landmarks(crop) for crop in crops)
    row |= _shape(true_points, tools.reader, "truth_")
    if points is not None and true_points is not None:
        row["truth_nme"] = _nme(points, true_points, tools.reader)
    if tools.lpips is not None:
        row["truth_lpips"] = tools.lpips(*crops)
    return row


def _series(rows: Sequence[tuple[int, float, Row]], plan: CastPlan, every: int) -> Series:
    names = dict.fromkeys(name for _, _, row in rows for name in row)
    columns = {
        name: np.array([row.get(name, np.nan) for _, _, row in rows], np.float64) for name in names
    }
    index = np.array([index for index, _, _ in rows], np.int64)
    times = np.array([time for _, time, _ in rows], np.float64)
    # Between frames that are not neighbours, or on both sides of a cut, nothing moves or flickers.
    apart = np.ones(len(index), bool)
    apart[1:] = (np.diff(index) != every) | np.isin(index[1:], plan.cuts)
    if every > 1:
        apart |= np.array([any(i - every < cut <= i for cut in plan.cuts) for i in index], bool)
    for prefix in ("", "target_"):
        lab = [columns.pop(f"{prefix}lab_{name}", np.full(len(index), np.nan)) for name in "lab"]
        steps = np.linalg.norm(np.diff(np.stack(lab, 1), axis=0), axis=1)
        columns[f"{prefix}lab_step"] = np.concatenate([np.full(min(1, len(index)), np.nan), steps])
        for name in (f"{prefix}lab_step", f"{prefix}warp"):
            if name in columns:
                columns[name][apart] = np.nan
    return Series(index, times, columns)


class _Keeper:
    """Holds on to some faces and some pictures while a clip goes by, however long it is."""

    def __init__(self, size: int, faces: int) -> None:
        self._size = size
        self._face_step = -(-faces // MOST_FACES) or 1
        self._glimpse_step = -(-faces // SPREAD_GLIMPSES) or 1
        self._rows: list[int] = []
        self._crops: list[np.ndarray] = []
        self._rebuilt: list[np.ndarray] = []
        self._swapped: list[np.ndarray] = []
        self._masks: list[np.ndarray] = []
        self._placements: list[Placement] = []
        self._spread: list[Glimpse] = []
        self._best: list[tuple[float, int, Glimpse]] = []
        self._worst: list[tuple[float, int, Glimpse]] = []

    def keep(self, moment: _Moment, row: Row, place: int) -> None:
        """Take what is wanted of this frame."""
        face = moment.face
        if face is None:
            return
        if moment.number % self._face_step == 0:
            self._rows.append(place)
            self._crops.append(face.crop)
            self._rebuilt.append(_as_bytes(face.rebuilt))
            self._swapped.append(_as_bytes(face.face))
            self._masks.append(_as_bytes(face.hull))
            self._placements.append(face.placement)
        quality = row["psnr_db"]
        wanted = moment.number % self._glimpse_step == 0
        # Each heap gives up its smallest first: of the best the worst, and the other way round.
        ranked = [(self._best, quality), (self._worst, -quality)]
        if not wanted and not any(_enters(heap, rank) for heap, rank in ranked):
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
        if not self._rows:
            return None
        return ClipFaces(
            rows=np.array(self._rows, np.int64),
            crops=np.stack(self._crops),
            rebuilt=np.stack(self._rebuilt),
            swapped=np.stack(self._swapped),
            masks=np.stack(self._masks),
            placements=self._placements,
        )

    def glimpses(self) -> list[Glimpse]:
        """The pictures that were kept, in order, each once."""
        extremes = [one for heap in (self._best, self._worst) for _, _, one in heap]
        by_row = {one.row: one for one in [*self._spread, *extremes]}
        return [by_row[row] for row in sorted(by_row)]


def _enters(heap: list[tuple[float, int, Glimpse]], rank: float) -> bool:
    return np.isfinite(rank) and (len(heap) < EXTREME_GLIMPSES or rank > heap[0][0])


def _as_bytes(picture: np.ndarray) -> np.ndarray:
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _glimpse(moment: _Moment, face: PaintedFace, place: int) -> Glimpse:
    """The square around the face, in the frame and in what was made of it."""
    points = face.placement.landmarks
    low, high = points.min(0), points.max(0)
    side = max(4, round(2 * GLIMPSE_FACES * float((high - low).max())) // 2)
    left, top = np.round((low + high - side) / 2).astype(int)
    height, width = moment.target.shape[:2]
    alpha = np.zeros((height, width), np.float32)
    if moment.layer is not None:
        alpha[moment.layer.rows, moment.layer.columns] = moment.layer.alpha[..., 0]

    def cut(image: np.ndarray) -> np.ndarray:
        x, y = (np.arange(first, first + side) for first in (left, top))
        part = image[np.clip(y, 0, height - 1)][:, np.clip(x, 0, width - 1)]
        way = cv2.INTER_AREA if side > GLIMPSE_PX else cv2.INTER_CUBIC
        return cv2.resize(part, (GLIMPSE_PX, GLIMPSE_PX), interpolation=way).astype(np.uint8)

    return Glimpse(
        row=place,
        target=cut(moment.target),
        swap=cut(moment.shown),
        mask=cut(_as_bytes(alpha)),
        rebuilt=_as_bytes(face.rebuilt),
    )
