"""One run on one clip: everything that is measured, explained and shown of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import ConvertConfig, EvaluateConfig, Side
from ..conversion.casting import CastPlan, cast_clip
from ..conversion.detection_pass import build_run_packs
from ..conversion.expression import choose_expression
from ..conversion.settings import config_for, find_user_masks
from ..errors import FaceswapError
from ..faces.attributes import Reader
from ..faces.pack import FacePack
from ..media.clips import clip_fingerprint, list_images
from ..media.reader import Clip
from ..media.truth import ClipTruth, load_truth
from ..metrics.perceptual import build_lpips
from ..metrics.pictures import laplacian_rms
from ..outputs import plain
from ..runs.hardware import pick_device
from ..runs.known import open_known_set, spread_evenly
from ..runs.trained import TrainedRun
from .explain import Background, explain, study_run
from .frame import DETAIL_PX
from .judge import Judge, build_judges
from .memorisation import MontageRow
from .metric import Instruments, Need, Perceptual, Series, figures
from .metric_table import METRICS, OCCLUDED, frame_measures
from .report_page import ResultPictures, Shot
from .walk import Walked, walk_clip

CONSTANT_COLUMNS = ("seen_psnr_db", "own_spread", "source_detail")
"""Columns of a series that one number fills."""

DETAIL_FACES = 100
"""True faces whose detail is measured."""

SHOT_NUMBERS = (
    "psnr_db", "expected_error_db", "trusted", "sharpness", "to_source", "to_target", "hidden"
)  # fmt: skip
"""What the page sorts its frames by."""


@dataclass(frozen=True)
class Contender:
    """A run, and how it would convert the clips."""

    run: TrainedRun
    convert: ConvertConfig


@dataclass(frozen=True)
class Workbench:
    """A contender with all that is the same for each of its clips. Instruments: one a worker.

    `no_judge`: why there are no judges.
    """

    contender: Contender
    plans: dict[Path, CastPlan]
    packs: list[FacePack]
    readers: list[Reader]
    judges: list[Judge]
    no_judge: str
    lpips: Perceptual | None
    background: Background
    source_detail: float


@dataclass(frozen=True)
class Measured:
    """Its part of the report, its pictures, and the series that its figures come from."""

    result: dict[str, Any]
    pictures: ResultPictures
    series: Series


def open_workbench(
    contender: Contender,
    clips: Sequence[Clip],
    config: EvaluateConfig,
    *,
    judged: bool,
    say: Callable[[str], None],
) -> Workbench:
    """What a contender's clips are measured with. `judged`: some clip shows more than actors.

    Raises: FaceswapError when a clip shows nobody to swap.
    """
    run, convert = contender.run, contender.convert
    lpips = None if config.lpips is None else build_lpips(Path(config.lpips))
    run.model.to(pick_device(convert.device))
    packs = build_run_packs(run, convert)
    for note in packs[0].notes:
        say(note)
    # Who is in the clips, before the runs and their people are studied, which takes longer.
    plans = {
        clip.path: cast_clip(run, clip, packs, config_for(clip.path, convert), say=say)
        for clip in clips
    }
    for path, plan in plans.items():
        if not plan.placements:
            raise FaceswapError(_nobody(path))
    background = study_run(run, convert)
    for trouble in background.troubles.values():
        say(f"warning: {trouble}")
    judges: list[Judge] = []
    no_judge = NO_IDENTITIES
    if judged:
        people = convert.painted_side, convert.shown_side
        judges, no_judge = build_judges(run, people, config, len(packs))
    readers = [Reader(run.manifest.coverage) for _ in packs]
    detail = _source_detail(run, convert.painted_side)
    return Workbench(contender, plans, packs, readers, judges, no_judge, lpips, background, detail)


def _nobody(clip: Path) -> str:
    return f"{clip}: no frame shows the target's face; is it the right clip?"


NO_IDENTITIES = "a face network cannot tell rendered actors apart"


def measure_clip(
    bench: Workbench,
    clip: Clip,
    config: EvaluateConfig,
    *,
    converted: Path | None,
    say: Callable[[str], None],
) -> Measured:
    """All that can be said of one clip.

    Raises: FaceswapError when none of its faces can be cut out, or `converted` has other frames.
    """
    run = bench.contender.run
    convert = config_for(clip.path, bench.contender.convert)
    # Of a folder, its pictures may be what was trained on.
    pictures = list_images(clip.path) if clip.path.is_dir() else []
    of_clip = {clip.fingerprint, *map(clip_fingerprint, pictures)}
    trained_on_it = not of_clip.isdisjoint(run.manifest.of(convert.shown_side).clips)
    if trained_on_it:
        say(f"warning: the run was trained on {clip.path.name}: every figure flatters it")
    truth = truth_of(clip)
    judges = bench.judges if truth is None else []
    expression = choose_expression(run, convert, say)
    nobody_judges: list[Judge | None] = [None] * len(bench.packs)
    everybody = zip(bench.packs, bench.readers, judges or nobody_judges, strict=True)
    walked = walk_clip(
        run,
        clip,
        bench.plans[clip.path],
        convert,
        frame_measures(),
        [Instruments(*tools, lpips=bench.lpips) for tools in everybody],
        every=config.every,
        converted=converted,
        expression=expression,
        masks=find_user_masks(convert, run, clip),
        truth=truth,
    )
    for problem in walked.problems:
        say(f"warning: {clip.path.name}: {problem}")
    if walked.faces is None:
        raise FaceswapError(_nobody(clip.path))
    say(f"{clip.path.name}: what holds it back?")
    explained = explain(
        bench.background,
        walked.faces,
        walked.series,
        bench.readers,
        truth.landmarks if truth is not None else None,
        moved=() if expression is None else expression.facts(),
        memory=config.memory,
        seed=config.seed,
    )
    seen = bench.background.seen_db.get(bench.background.shown)
    # Constants fill a column, so that every figure is a function of columns.
    constants = {
        "seen_psnr_db": float("nan") if seen is None else seen.value,
        "own_spread": judges[0].own_spread if judges else float("nan"),
        "source_detail": bench.source_detail,
    }
    series = replace(
        walked.series,
        columns={
            **walked.series.columns,
            **explained.columns,
            **{name: np.full(len(walked.series), value) for name, value in constants.items()},
        },
    )
    lacks = lacking(bench, config, series, truth, trained_on_it=trained_on_it)
    result = {
        **explained.report,
        "metrics": _metrics(series, lacks, config.seed),
        "frames": _frames(series),
        "occluded": occluded_spans(series),
        "judge": judges[0].embedder.name if judges else None,
        # The true swap is this person's: it is one only if the run's source is the same.
        "truth_twin": truth.twin.name if truth and truth.twin else None,
    }
    return Measured(result, _pictures(walked, series, explained.montage), series)


def truth_of(clip: Clip) -> ClipTruth | None:
    """What is known of a rendered actor's clip; None of any other.

    A folder of crops may stand beside the clip that it was cut from, and bear its name.
    """
    return load_truth(clip.path) if clip.path.is_file() else None


def _source_detail(run: TrainedRun, side: Side) -> float:
    """The median detail of an identity's true faces; NaN where they are gone."""
    try:
        known = open_known_set(run, side)
    except FaceswapError:
        return float("nan")
    chosen = spread_evenly(len(known.faces), DETAIL_FACES)
    some = replace(known, faces=[known.faces[place] for place in chosen])
    pairs = zip(some.crops(DETAIL_PX, 0.0), some.masks(DETAIL_PX, 0.0), strict=True)
    return float(np.nanmedian([laplacian_rms(crop, mask) for crop, mask in pairs]))


def lacking(
    bench: Workbench,
    config: EvaluateConfig,
    series: Series,
    truth: ClipTruth | None,
    *,
    trained_on_it: bool,
) -> dict[Need, str]:
    """Of what metrics need: what is not there for this clip, and why."""
    lacks: dict[Need, str] = {}
    if trained_on_it:
        lacks["unseen clip"] = "the run was trained on this clip"
    if config.every > 1:
        # Between frames that are not neighbours, movement would pass for noise.
        lacks["every frame"] = "needs every frame (evaluate.every=1)"
    trouble = bench.background.troubles.get(bench.background.shown)
    if trouble:
        lacks["seen faces"] = trouble
    if trouble := bench.background.troubles.get(bench.background.painted):
        lacks["painted faces"] = trouble
    if not np.isfinite(series.get("to_source")).any():
        nobody = bench.no_judge if truth is None else NO_IDENTITIES
        lacks["likeness"] = nobody or "no face was found in the swap"
    if bench.readers[0].pack == "five":
        lacks["mesh"] = "five points show neither lips nor lids; needs the mesh's weights"
    if truth is None:
        lacks["twin"] = "only rendered actors have a true swap"
    elif truth.twin is None:
        lacks["twin"] = "this actor was rendered without a twin"
    if bench.contender.convert.mask.kind != "visible":
        lacks["occlusion"] = "needs convert.mask.kind=visible"
    if bench.lpips is None:
        lacks["lpips"] = "needs weights: --set evaluate.lpips=FILE"
    return lacks


def _metrics(series: Series, lacks: Mapping[Need, str], seed: int) -> dict[str, dict[str, Any]]:
    """Every figure with its interval, or why it is missing."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in figures(METRICS, series, seed).items():
        missing = [lacks[need] for need in METRICS[name].needs if need in lacks]
        if value is None or missing:
            reason = [*missing, "the clip does not allow it"][0]
            found[name] = {"value": None, "low": None, "high": None, "reason": reason}
        else:
            bounds = {part: plain(bound) for part, bound in value._asdict().items()}
            found[name] = {**bounds, "reason": None}
    return found


def occluded_spans(series: Series) -> list[list[int]]:
    """The first and the last frame of each stretch with something before the face."""
    where = np.flatnonzero(np.nan_to_num(series.get("hidden")) > OCCLUDED)
    parts = np.split(where, np.flatnonzero(np.diff(where) > 1) + 1)
    return [series.index[p[[0, -1]]].tolist() for p in parts if len(p)]


def _frames(series: Series) -> dict[str, Any]:
    """The frames' numbers."""
    columns = {name: of for name, of in series.columns.items() if name not in CONSTANT_COLUMNS}
    return {
        "index": series.index.tolist(),
        "time_s": [plain(time) for time in series.time_s.tolist()],
        "series": {name: [plain(one) for one in of.tolist()] for name, of in columns.items()},
    }


def _pictures(walked: Walked, series: Series, rows: list[MontageRow]) -> ResultPictures:
    """What the page shows: frames around the face, the best and the worst by reconstruction."""
    shots = [
        Shot(
            frame=int(series.index[one.row]),
            time_s=float(series.time_s[one.row]),
            target=one.target,
            swap=one.swap,
            mask=one.mask,
            rebuilt=one.rebuilt,
            numbers={name: float(series.get(name)[one.row]) for name in SHOT_NUMBERS},
        )
        for one in walked.glimpses
    ]
    quality = np.array([shot.numbers["psnr_db"] for shot in shots])
    # What cannot be rated is no extreme, unless nothing can.
    rated = np.flatnonzero(np.isfinite(quality)) if np.isfinite(quality).any() else [0]
    order = sorted(map(int, rated), key=lambda place: quality[place])
    worst, median, best = (order[int(share * (len(order) - 1))] for share in (0, 0.5, 1))
    return ResultPictures(shots=shots, best=best, median=median, worst=worst, montage=rows)
