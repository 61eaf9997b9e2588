"""The evaluate stage: how good are these runs on clips that training never saw, and why?

Every figure stands beside its confidence interval; what cannot be measured is null, with its
reason; nothing is guessed.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..actors import ActorTruth, load_truth
from ..config import ConvertConfig, EvaluateConfig
from ..conversion import CastPlan, build_run_packs, cast_clip, config_for
from ..conversion.convert import UNSEEN_SETTINGS, given_masks
from ..conversion.sides import painted_facts, shown_facts
from ..errors import FaceswapError
from ..faces import open_face_set
from ..latent import Reader
from ..media import clip_fingerprint, list_images, open_clip
from ..metrics.perceptual import build_lpips
from ..outputs import claim, found_job, job_id, refuse_inputs, write_json
from ..training import TrainedRun
from ..training.hardware import pick_device
from .explain import Background, explain, study_run
from .frame import Instruments
from .judge import Judge, build_judges
from .measures import METRICS, differences, figures, judge_difference, plain
from .memorisation import MontageRow
from .page import ResultPictures, Shot, write_report_page
from .walk import Series, Walked, walk_clip

SCHEMA = 2

CONSTANTS = ("seen_psnr_db", "own_spread")
"""Columns of a series that one number fills."""

SHOT_NUMBERS = ("psnr_db", "expected_error_db", "trusted", "sharpness", "to_source", "to_target")
"""What the page sorts its frames by."""


@dataclass(frozen=True)
class Contender:
    """A run, and how it would convert the clips."""

    run: TrainedRun
    convert: ConvertConfig

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self.run.path.resolve().name


def evaluate_clips(
    contenders: Sequence[Contender],
    clips: Sequence[Path],
    out: Path,
    config: EvaluateConfig,
    *,
    converted: Sequence[Path] = (),
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure the runs on the clips; write the report to `out` and, as a page, beside it.

    Identity, pose, expression and all that is seen on the screen are measured on the frames of
    `converted` (one for each clip) if they are given, else on the frames that converting would
    make. Returns the report.

    Raises: FaceswapError when a clip cannot be read, has no face of the target, or a conversion has
    other frames than its clip.
    """
    if converted and (len(converted) != len(clips) or len(contenders) != 1):
        raise FaceswapError("--converted: name one run, and as many conversions as clips")
    page = out.with_suffix(".html")
    for path in (out, page):
        refuse_inputs(path, *clips, *converted)
        for contender in contenders:
            run = contender.run.path
            refuse_inputs(path, run / "run.json", run / "config.yaml")
    # The whole clip is measured, with what the run would convert it with.
    prints = [clip_fingerprint(clip) for clip in clips]
    settings = {
        "evaluate": config.model_dump(),
        "convert": [c.convert.model_dump(exclude=UNSEEN_SETTINGS) for c in contenders],
        "converted": [str(path) for path in converted],
    }
    job = job_id(
        schema=SCHEMA,
        clips=prints,
        runs=[contender.run.fingerprint for contender in contenders],
        settings=settings,
        converted=[clip_fingerprint(path) for path in converted],
    )
    before = found_job(out)
    if claim(out, job, before.get("job"), finished=True, overwrite=overwrite) == "done":
        say(f"{out}: already done")
        return before
    claim(page, job, before.get("job") and job, finished=True, overwrite=overwrite)
    _check_conversions(clips, prints, converted)

    results, pictures, series = [], [], {}
    runs = []
    for number, contender in enumerate(contenders):
        bench = _Bench(contender, config, say)
        runs.append(_describe_run(contender, bench.background))
        for place, clip in enumerate(clips):
            swap = converted[place] if converted else None
            measured = bench.measure(clip, prints[place], swap)
            results.append({"run": number, "clip": place, **measured.result})
            pictures.append(measured.pictures)
            series[number, place] = measured.series
    report = {
        "schema": SCHEMA,
        "tool": f"faceswap_lite {__version__}",
        "job": job,
        "runs": runs,
        "clips": [_describe_clip(*pair) for pair in zip(clips, prints, strict=True)],
        "metrics": [
            {
                "name": name,
                "title": metric.title,
                "unit": metric.unit,
                "better": metric.better,
                "group": metric.group,
                "note": metric.note,
            }
            for name, metric in METRICS.items()
        ],
        "results": results,
        "comparisons": _compare(results, series, len(contenders), len(clips), config.seed),
        "settings": settings,
    }
    write_report_page(page, report, pictures)
    write_json(out, report)
    return report


@dataclass(frozen=True)
class _Measured:
    """One run on one clip: its part of the report, its pictures, its figures' origin."""

    result: dict[str, Any]
    pictures: ResultPictures
    series: Series


class _Bench:
    """A contender with all that is the same for each of its clips."""

    def __init__(
        self, contender: Contender, config: EvaluateConfig, say: Callable[[str], None]
    ) -> None:
        self.run, self.convert, self.config, self.say = (
            contender.run, contender.convert, config, say,
        )  # fmt: skip
        self.run.model.to(pick_device(self.convert.device))
        self.packs = build_run_packs(self.run, self.convert)
        for note in self.packs[0].notes:
            say(note)
        self.readers = [Reader(self.run.facts.coverage) for _ in self.packs]
        lpips = None if config.lpips is None else Path(config.lpips)
        self.lpips = [None if lpips is None else build_lpips(lpips) for _ in self.packs]
        self._judges: tuple[list[Judge], str] | None = None
        self.background = study_run(self.run, self.convert)

    def judges(self) -> tuple[list[Judge], str]:
        """The judges, built when somebody asks: actors need none."""
        if self._judges is None:
            painted = painted_facts(self.run, self.convert)
            shown = shown_facts(self.run, self.convert)
            self._judges = build_judges(painted, shown, self.config, len(self.packs))
        return self._judges

    def plan(self, clip: Path) -> tuple[CastPlan, ConvertConfig]:
        """Whose faces are where in the clip."""
        whole = {"start": 0, "end": None}
        convert = config_for(clip, self.convert).model_copy(update=whole)
        plan = cast_clip(self.run, clip, self.packs, convert, say=self.say)
        if not plan.placements:
            raise FaceswapError(f"{clip}: no frame shows the target's face; is it the right clip?")
        return plan, convert

    def measure(self, clip: Path, fingerprint: str, converted: Path | None) -> _Measured:
        """All that can be said of one clip."""
        plan, convert = self.plan(clip)
        trained_on_it = bool(_fingerprints(clip) & set(shown_facts(self.run, convert).clips))
        if trained_on_it:
            self.say(f"warning: the run was trained on {clip.name}: every figure flatters it")
        # A folder of crops may stand beside the clip that it was cut from, and bear its name.
        truth = load_truth(clip) if clip.is_file() else None
        nobody: tuple[list[Judge], str] = ([], "actors are no identities to a face network")
        judges, no_judge = self.judges() if truth is None else nobody
        instruments = [
            Instruments(pack, reader, judges[i] if judges else None, self.lpips[i])
            for i, (pack, reader) in enumerate(zip(self.packs, self.readers, strict=True))
        ]
        walked = walk_clip(
            self.run,
            clip,
            plan,
            convert,
            instruments,
            every=self.config.every,
            converted=converted,
            masks=given_masks(convert, self.run, fingerprint),
            truth=truth,
        )
        for problem in walked.problems:
            self.say(f"warning: {clip.name}: {problem}")
        if walked.faces is None:
            raise FaceswapError(f"{clip}: no frame shows the target's face; is it the right clip?")
        self.say(f"{clip.name}: what holds it back?")
        explained = explain(
            self.background,
            walked.faces,
            walked.series,
            self.readers,
            truth.landmarks if truth is not None else None,
            memory=self.config.memory,
            seed=self.config.seed,
        )
        series = self._with_constants(walked.series, judges, explained.columns)
        reasons = self._reasons(truth, no_judge, trained_on_it)
        result = {
            **explained.report,
            "metrics": _metrics(series, reasons, self.config.seed),
            "frames": {
                "index": series.index.tolist(),
                "time_s": [plain(time) for time in series.time_s.tolist()],
                "series": {
                    name: [plain(value) for value in column.tolist()]
                    for name, column in series.columns.items()
                    if name not in CONSTANTS
                },
            },
            "judge": judges[0].embedder.name if judges else None,
            # The true swap is this person's: it is one only if the run's source is the same.
            "truth_twin": truth.twin.identity.name if truth and truth.twin else None,
        }
        return _Measured(result, _pictures(walked, series, explained.montage), series)

    def _with_constants(
        self, series: Series, judges: Sequence[Judge], columns: dict[str, np.ndarray]
    ) -> Series:
        """With what does not change along the clip, so that figures are functions of columns."""
        seen = self.background.seen_db.get(self.background.shown)
        constants = {
            "seen_psnr_db": float("nan") if seen is None else seen.value,
            "own_spread": judges[0].own_spread if judges else float("nan"),
        }
        filled = {name: np.full(len(series), constants[name]) for name in CONSTANTS}
        return Series(series.index, series.time_s, {**series.columns, **columns, **filled})

    def _reasons(
        self, truth: ActorTruth | None, no_judge: str, trained_on_it: bool
    ) -> dict[str, str]:
        """Why a figure may be missing, by its name or its group's."""
        reasons = {"identity": no_judge or "no face was found in the swap"}
        trouble = self.background.troubles.get(self.background.shown)
        if trouble:
            reasons |= {"seen_psnr_db": trouble, "generalization_gap_db": trouble}
        if truth is None:
            reasons["truth"] = "only rendered actors have a true swap"
        elif truth.twin is None:
            reasons["truth"] = "this actor was rendered without a twin"
        if self.readers[0].pack == "five":
            reasons["expression"] = (
                "five points show neither lips nor lids; needs the mesh's weights"
            )
        reasons["perceptual"] = "needs weights: --set evaluate.lpips=FILE"
        if self.config.every > 1:
            # Between frames that are not neighbours, movement would pass for noise.
            reasons["!yaw_noise_deg"] = "needs every frame (evaluate.every=1)"
        if trained_on_it:
            for name in ("heldout_psnr_db", "heldout_ssim", "heldout_ms_ssim", "heldout_lpips"):
                reasons["!" + name] = "the run was trained on this clip"
            reasons["!generalization_gap_db"] = "the run was trained on this clip"
        return reasons


def _metrics(series: Series, reasons: dict[str, str], seed: int) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in figures(series, seed).items():
        refused = reasons.get("!" + name)
        if value is not None and refused is None:
            found[name] = {
                "value": plain(value.value),
                "low": plain(value.low),
                "high": plain(value.high),
                "reason": None,
            }
            continue
        group = METRICS[name].group
        reason = refused or reasons.get(name) or reasons.get(group) or "the clip does not allow it"
        found[name] = {"value": None, "low": None, "high": None, "reason": reason}
    return found


def _compare(
    results: list[dict[str, Any]],
    series: dict[tuple[int, int], Series],
    runs: int,
    clips: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Every two runs on every clip: which differences are real."""
    metrics = {(result["run"], result["clip"]): result["metrics"] for result in results}
    compared = []
    for clip in range(clips):
        for a, b in combinations(range(runs), 2):
            gaps = differences(series[a, clip], series[b, clip], seed)
            rows = {}
            for name, gap in gaps.items():
                of_a, of_b = (metrics[run, clip][name]["value"] for run in (a, b))
                if of_a is not None and of_b is not None:
                    rows[name] = judge_difference(METRICS[name], of_a, of_b, gap)
            compared.append({"clip": clip, "a": a, "b": b, "metrics": rows})
    return compared


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
    order = sorted(range(len(shots)), key=lambda place: shots[place].numbers["psnr_db"])
    worst, median, best = (order[int(share * (len(order) - 1))] for share in (0, 0.5, 1))
    return ResultPictures(shots=shots, best=best, median=median, worst=worst, montage=rows)


def _check_conversions(
    clips: Sequence[Path], prints: Sequence[str], converted: Sequence[Path]
) -> None:
    for clip, fingerprint, swap in zip(clips, prints, converted, strict=False):
        made_of = found_job(swap.with_name(swap.name + ".json"))
        if made_of.get("clip_sha256", fingerprint) != fingerprint:
            raise FaceswapError(f"{swap}: is a conversion of {made_of.get('clip')}, not of {clip}")


def _fingerprints(clip: Path) -> set[str]:
    """Of the clip; of a folder, also of its pictures and of the clips that its crops are from."""
    found = {clip_fingerprint(clip)}
    if clip.is_dir():
        found |= {clip_fingerprint(picture) for picture in list_images(clip)}
        with suppress(FaceswapError):
            found |= {face.record.clip_fingerprint for face in open_face_set(clip).faces}
    return found


def _describe_run(contender: Contender, background: Background) -> dict[str, Any]:
    run, model = contender.run, contender.run.config.model
    sides = {"source": run.facts.source, "target": run.facts.target}
    history = {
        name: [plain(value) if isinstance(value, float) else value for value in column.tolist()]
        for name, column in vars(background.history).items()
        if not name.startswith("loss")
    }
    return {
        "name": contender.name,
        "path": str(run.path),
        "step": run.step,
        "weights": run.fingerprint,
        "architecture": f"{model.architecture} {model.size} px",
        **{
            side: {"name": Path(facts.path).name, "faces": facts.faces}
            for side, facts in sides.items()
        },
        "painted": background.painted,
        "history": {**history, "best_step": run.step},
    }


def _describe_clip(clip: Path, fingerprint: str) -> dict[str, Any]:
    with open_clip(clip) as reader:
        info = reader.info
    return {
        "name": clip.name,
        "path": str(clip),
        "sha256": fingerprint,
        "frames": info.frame_count,
        "rate": None if info.rate is None else plain(float(info.rate)),
        "actor": clip.is_file() and load_truth(clip) is not None,
    }


def report_table(report: dict[str, Any]) -> str:
    """A report's figures as lines: name, figure, interval, how to read it or why there is none."""
    lines = []
    for result in report["results"]:
        run, clip = report["runs"][result["run"]], report["clips"][result["clip"]]
        if len(report["results"]) > 1:
            lines.append(f"{run['name']} on {clip['name']}")
        notes = {metric["name"]: metric["note"] for metric in report["metrics"]}
        for name, figure in result["metrics"].items():
            lines.append(_line(name, figure, notes[name]))
        lines += _verdict_lines(result)
    for compared in report["comparisons"]:
        lines += _comparison_lines(report, compared)
    return "\n".join(lines)


def _verdict_lines(result: dict[str, Any]) -> list[str]:
    lines = []
    if result["trust"] is not None:
        share, bound = result["trust"]["share"], result["trust"]["bound_db"]
        lines.append(
            f"trusted: {100 * share:.0f} % of the faces ({bound:.1f} dB or better expected)"
        )
    verdict = result["verdict"]
    for finding in (verdict, *verdict["further"]):
        lines.append(f"{finding['sentence']} {finding['advice'].capitalize()}.")
    return lines + [one["sentence"] for one in result["held_back"]]


def _line(name: str, figure: dict[str, Any], note: str) -> str:
    if figure["value"] is None:
        return f"{name:30} {'-':>8}  {'':19}  {figure['reason']}"
    interval = ""
    if figure["low"] is not None and figure["high"] != figure["low"]:
        interval = f"{figure['low']:.4g} to {figure['high']:.4g}"
    return f"{name:30} {figure['value']:>8.4g}  {interval:19}  {note}".rstrip()


def _comparison_lines(report: dict[str, Any], compared: dict[str, Any]) -> list[str]:
    a, b = (report["runs"][compared[side]]["name"] for side in "ab")
    lines = [f"{b} against {a} on {report['clips'][compared['clip']]['name']}"]
    for name, row in compared["metrics"].items():
        if not row["real"]:
            continue
        winner = {"a": f"{a} is better", "b": f"{b} is better"}.get(row["better"], "")
        interval = f"{row['low']:+.4g} to {row['high']:+.4g}"
        lines.append(f"{name:30} {row['difference']:>+8.4g}  {interval:19}  {winner}".rstrip())
    if len(lines) == 1:
        lines.append("no difference is real: every interval includes 0")
    return lines
