"""The evaluate stage: how good are these runs on clips that training never saw, and why?

Every figure stands beside its confidence interval; what cannot be measured is null, with its
reason; nothing is guessed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from ..config import EvaluateConfig
from ..conversion.settings import as_job, mask_facts, seen_settings
from ..errors import FaceswapError, UsageError
from ..faces.face_set import open_face_set
from ..media.clips import clip_fingerprint
from ..media.reader import Clip
from ..media.reading import open_clip
from ..media.sidecar import sidecar_path
from ..metrics.perceptual import lpips_files
from ..outputs import (
    TOOL,
    beside,
    claim,
    found_job,
    job_id,
    one_writer,
    plain,
    refuse_inputs,
    write_json,
)
from ..runs.manifest import set_fingerprint
from .explain import Background
from .metric import difference_json, differences
from .metric_table import METRICS
from .report_page import write_report_page
from .workbench import Contender, Measured, measure_clip, open_workbench, truth_of

REPORT_SCHEMA = 2
SAID_OF_METRICS = ("title", "unit", "better", "group", "note")


@one_writer(lambda out, **_: beside(out, ".html"))
def evaluate_clips(
    contenders: Sequence[Contender],
    clips: Sequence[Clip],
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
    _refuse(contenders, clips, out, converted)
    contenders = _of_whole_clips(contenders, say)
    kinds = sorted({contender.convert.mask.kind for contender in contenders})
    if len(kinds) > 1:
        say(
            f"note: convert.mask.kind is {' and '.join(kinds)}: the runs are not measured on the "
            f"same pixels; --set convert.mask.kind={kinds[0]} gives all the same"
        )
    _, page = beside(out, ".html")
    settings: dict[str, Any] = {
        "evaluate": config.model_dump(),
        "convert": [seen_settings(c.convert) | mask_facts(c.run, c.convert) for c in contenders],
        "converted": [str(path) for path in converted],
    }
    weights = Path(config.lpips) if config.lpips else None
    job = job_id(
        schema=REPORT_SCHEMA,
        clips=[clip.fingerprint for clip in clips],
        runs=[contender.run.fingerprint for contender in contenders],
        settings={**settings, "convert": [as_job(one) for one in settings["convert"]]},
        converted=[clip_fingerprint(path) for path in converted],
        # Also: a set that is none is refused now.
        known=[set_fingerprint(open_face_set(Path(path))) for path in config.known],
        lpips=weights and [clip_fingerprint(file) for file in lpips_files(weights)],
    )
    before = found_job(out)
    ours = (
        before.get("job") if before.get("schema") == REPORT_SCHEMA and "results" in before else None
    )
    claims = {claim(path, job, ours, finished=True, overwrite=overwrite) for path in (out, page)}
    if claims == {"done"}:
        say(f"{out}: already done")
        return before
    _check_clips(clips, converted)

    runs, found = _measure(contenders, clips, converted, config, say)
    report = {
        "schema": REPORT_SCHEMA,
        "tool": TOOL,
        "job": job,
        "runs": runs,
        "clips": [*map(_describe_clip, clips, _told_apart([clip.path for clip in clips]))],
        "metrics": [
            {"name": name, **{part: getattr(metric, part) for part in SAID_OF_METRICS}}
            for name, metric in METRICS.items()
        ],
        "results": [{"run": run, "clip": clip, **one.result} for run, clip, one in found],
        "comparisons": _compare(found, config.seed),
        "settings": settings,
    }
    # By the report the page is known as ours, should it be missing.
    write_json(out, report)
    write_report_page(page, report, [one.pictures for _, _, one in found])
    return report


def _refuse(
    contenders: Sequence[Contender], clips: Sequence[Clip], out: Path, converted: Sequence[Path]
) -> None:
    """Refuse what cannot be, by names and fingerprints alone."""
    paths = [clip.path for clip in clips]
    runs_own = [c.run.path / name for c in contenders for name in ("run.json", "config.yaml")]
    refuse_inputs(out, *paths, *converted, *runs_own)
    _, page = beside(out, ".html")
    if page == out:
        raise FaceswapError(f"{out}: is the name of the page; name a .json for the report")
    refuse_inputs(page, *paths, *converted, *runs_own)
    given = {
        "--run": [str(c.run.path.resolve()) for c in contenders],
        "--clip": [clip.fingerprint for clip in clips],
    }
    for option, some in given.items():
        if len(set(some)) < len(some):
            raise UsageError(f"{option}: one of them is given twice")
    if converted and (len(converted) != len(clips) or len(contenders) != 1):
        raise UsageError("--converted: needs exactly one run, and as many conversions as clips")


def _of_whole_clips(contenders: Sequence[Contender], say: Callable[[str], None]) -> list[Contender]:
    """The contenders as they would convert whole clips, so that all are of the same frames."""
    if any(c.convert.start or c.convert.end is not None for c in contenders):
        say("convert.start and convert.end have no effect here: whole clips are measured")
    whole = {"start": 0, "end": None}
    return [replace(c, convert=c.convert.model_copy(update=whole)) for c in contenders]


def _measure(
    contenders: Sequence[Contender],
    clips: Sequence[Clip],
    converted: Sequence[Path],
    config: EvaluateConfig,
    say: Callable[[str], None],
) -> tuple[list[dict[str, Any]], list[tuple[int, int, Measured]]]:
    """What each run is; and by the run's place and the clip's, what it is on each clip."""
    judged = any(truth_of(clip) is None for clip in clips)
    names = _told_apart([contender.run.path.resolve() for contender in contenders])
    runs, found = [], []
    for number, (contender, name) in enumerate(zip(contenders, names, strict=True)):
        bench = open_workbench(contender, clips, config, judged=judged, say=say)
        runs.append(_describe_run(contender, name, bench.background))
        for place, clip in enumerate(clips):
            swap = converted[place] if converted else None
            measured = measure_clip(bench, clip, config, converted=swap, say=say)
            found.append((number, place, measured))
    return runs, found


def _compare(found: Sequence[tuple[int, int, Measured]], seed: int) -> list[dict[str, Any]]:
    """Every two runs on every clip: which differences are real."""
    compared = []
    for clip in sorted({clip for _, clip, _ in found}):
        of_clip = [(run, one) for run, where, one in found if where == clip]
        for (a, of_a), (b, of_b) in combinations(of_clip, 2):
            gaps = differences(METRICS, of_a.series, of_b.series, seed)
            # What one of them refuses to say is not compared either.
            rows = {
                name: difference_json(gap)
                for name, gap in gaps.items()
                if all(of.result["metrics"][name]["value"] is not None for of in (of_a, of_b))
            }
            compared.append({"clip": clip, "a": a, "b": b, "metrics": rows})
    return compared


def _check_clips(clips: Sequence[Clip], converted: Sequence[Path]) -> None:
    """Refuse now what would be refused after the work on the clips before it."""
    infos = []
    for reader in chain((clip.open() for clip in clips), map(open_clip, converted)):
        with reader:
            infos.append(reader.info)
    conversions = zip(clips, infos, converted, infos[len(clips) :], strict=False)
    for clip, info, swap, of_swap in conversions:
        made_of = found_job(sidecar_path(swap))
        if made_of.get("clip_sha256", clip.fingerprint) != clip.fingerprint:
            other = made_of.get("clip", "another clip")
            raise FaceswapError(f"{swap}: is a conversion of {other}, not of {clip.path}")
        made_with = made_of.get("settings")
        part = made_with if isinstance(made_with, dict) else {}
        first, end = part.get("start", 0), part.get("end")
        if first or end is not None:
            raise FaceswapError(
                f"{swap}: is a conversion of frames {first}:{end or ''} alone, and whole clips are "
                "measured; convert the whole clip"
            )
        if (info.width, info.height) != (of_swap.width, of_swap.height):
            raise FaceswapError(
                f"{swap}: differs in size from {clip.path}; is it a conversion of that clip?"
            )


def _told_apart(paths: Sequence[Path]) -> list[str]:
    """The paths' last parts; whole paths where two of them are alike."""
    names = [path.name for path in paths]
    return [str(p) if names.count(p.name) > 1 else p.name for p in paths]


def _describe_run(contender: Contender, name: str, background: Background) -> dict[str, Any]:
    run, model = contender.run, contender.run.config.model
    sides = {"source": run.manifest.source, "target": run.manifest.target}
    history = {
        name: [plain(value) if isinstance(value, float) else value for value in column.tolist()]
        for name, column in vars(background.history).items()
        if not name.startswith("loss")
    }
    return {
        "name": name,
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


def _describe_clip(clip: Clip, name: str) -> dict[str, Any]:
    with clip.open() as reader:
        info = reader.info
    return {
        "name": name,
        "path": str(clip.path),
        "sha256": clip.fingerprint,
        "frames": info.frame_count,
        "rate": None if info.rate is None else plain(float(info.rate)),
        "actor": truth_of(clip) is not None,
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
    if (trust := result["trust"]) is not None:
        said = f"{trust['bound_db']:.1f} dB or better expected"
        lines.append(f"trusted: {100 * trust['share']:.0f} % of the faces ({said})")
    if occluded := result.get("occluded"):
        spans = (f"{first}" if first == last else f"{first} to {last}" for first, last in occluded)
        lines.append(f"something is before the face in frames {', '.join(spans)}")
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
    a, b = (report["runs"][compared[letter]]["name"] for letter in "ab")
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
