"""One walk through a clip with one run. Frames are measured side by side."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from jaxtyping import Bool, Int
from tqdm import tqdm

from ..config import ConvertConfig
from ..conversion.casting import CastPlan
from ..conversion.composite import composite_frames
from ..conversion.expression import ClipExpression
from ..conversion.paint import paint_frames
from ..errors import FaceswapError
from ..faces.finding import in_order, one_opencv_thread
from ..faces.user_masks import UserMasks
from ..media.clips import Frame
from ..media.reader import Clip
from ..media.reading import open_clip
from ..media.truth import ClipTruth
from ..runs.trained import TrainedRun
from .keeper import ClipFaces, Glimpse, Keeper
from .metric import FrameMeasure, Instruments, Moment, Row, Scene, Series

JUDGED_FACES = 200
"""Faces of a clip that the judge is asked about, or a few less: it takes as long as all the rest,
and who a face is does not change from frame to frame."""


@dataclass(frozen=True)
class Walked:
    """What a walk brings home. `problems`: what was wrong with the clip."""

    series: Series
    faces: ClipFaces | None
    glimpses: list[Glimpse]
    problems: list[str]


def walk_clip(
    run: TrainedRun,
    clip: Clip,
    plan: CastPlan,
    convert: ConvertConfig,
    measures: Sequence[FrameMeasure],
    instruments: Sequence[Instruments],
    *,
    every: int = 1,
    converted: Path | None = None,
    expression: ClipExpression | None = None,
    masks: UserMasks | None = None,
    truth: ClipTruth | None = None,
) -> Walked:
    """Measure every n-th frame of a clip, with its conversion and its twins beside it.

    `instruments`: those of each worker. Pose, expression, identity, seam and movement are those of
    the frames of `converted` where it is given, else of the frames that `convert` makes.
    Raises: FaceswapError when `converted` has other frames than `clip`.
    """
    free: SimpleQueue[Instruments] = SimpleQueue()
    for some in instruments:
        free.put(some)
    keeper = Keeper(run.config.model.size, sum(i % every == 0 for i in plan.placements))
    rows: list[tuple[int, float, Row]] = []
    problems: list[str] = []

    def measure(pair: tuple[Moment | None, Moment | None]) -> tuple[Moment, Row]:
        before, moment = pair
        assert moment is not None, "the first of all stands before"
        tools = free.get()
        scene = Scene(moment, before, run, convert, tools, truth)
        row: Row = {"found": float(moment.face is not None)}
        try:
            for columns in measures:
                row |= columns(scene)
        finally:
            free.put(tools)
        return moment, row

    moments = _moments(
        run, clip, plan, convert, every, converted, expression, masks, truth, problems
    )
    pairs = pairwise(chain([None], moments))
    with one_opencv_thread(), ThreadPoolExecutor(len(instruments)) as pool:
        for moment, row in in_order(measure, pairs, pool, 2 * len(instruments)):
            frame = moment.made.frame
            keeper.keep(moment, row.get("psnr_db", float("nan")), len(rows))
            rows.append((frame.index, float(frame.time), row))
    return Walked(series_of(rows, plan.cuts, every), keeper.faces(), keeper.glimpses(), problems)


def _moments(
    run: TrainedRun,
    clip: Clip,
    plan: CastPlan,
    convert: ConvertConfig,
    every: int,
    converted: Path | None,
    expression: ClipExpression | None,
    masks: UserMasks | None,
    truth: ClipTruth | None,
    problems: list[str],
) -> Iterator[Moment]:
    twins = (truth.twin.raw, truth.twin.matched) if truth and truth.twin else (None, None)
    judge_step = -(-len(plan.placements) // (every * JUDGED_FACES)) or 1
    others = [_every(_frames_of(path), every, path) for path in (converted, *twins)]
    with clip.open(convert.start_number) as reader:
        frames = (frame for frame in reader if frame.index % every == 0)
        painted = paint_frames(frames, plan, run, convert, expression=expression, rebuild=True)
        walk = composite_frames(painted, convert, masks)
        total, number = reader.info.frame_count, 0
        total = None if total is None else -(-total // every)
        for made in tqdm(walk, total=total, desc="evaluate", unit="frame", disable=None):
            swap, raw, matched = (next(other) for other in others)
            if swap is not None and swap.image.shape[:2] != made.frame.image.shape[:2]:
                raise FaceswapError(
                    f"{converted}: differs in size from {clip.path}; "
                    "is it a conversion of that clip?"
                )
            yield Moment(made, swap, raw, matched, number, judged=number % judge_step == 0)
            number += bool(made.painted.faces)
        if converted is not None and _goes_on(others[0]):
            raise FaceswapError(
                f"{converted}: has more frames than {clip.path}; is it a conversion of that clip?"
            )
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


def _goes_on(frames: Iterator[Frame | None]) -> bool:
    try:
        next(frames)
    except FaceswapError:  # that it is over
        return False
    return True


def series_of(rows: Sequence[tuple[int, float, Row]], cuts: Sequence[int], every: int) -> Series:
    """The frames' numbers as columns. Rows: frame, time in seconds, numbers.

    `lab_step` comes from the mean colours of neighbouring frames. It and the warp error are NaN
    where the frame before is not the neighbour, `every` frames away, or belongs to another shot.
    """
    index = np.array([index for index, _, _ in rows], np.int64)
    times = np.array([time for _, time, _ in rows], np.float64)
    names = dict.fromkeys(name for _, _, row in rows for name in row)
    columns = {
        name: np.array([row.get(name, np.nan) for _, _, row in rows], np.float64) for name in names
    }
    apart = _apart(index, cuts, every)
    for prefix in ("", "target_"):
        lab = [columns.pop(f"{prefix}lab_{name}", np.full(len(index), np.nan)) for name in "lab"]
        steps = np.linalg.norm(np.diff(np.stack(lab, 1), axis=0, prepend=np.nan), axis=1)
        columns[f"{prefix}lab_step"] = steps
        for name in (f"{prefix}lab_step", f"{prefix}warp"):
            if name in columns:
                columns[name][apart] = np.nan
    return Series(index, times, columns)


def _apart(index: Int[np.ndarray, " n"], cuts: Sequence[int], every: int) -> Bool[np.ndarray, " n"]:
    """Of each frame: nothing can be said of how it follows the one before."""
    shots = np.searchsorted(np.sort(np.array(cuts, np.int64)), index, side="right")
    apart = np.ones(len(index), bool)
    apart[1:] = (np.diff(index) != every) | (np.diff(shots) != 0)
    return apart
