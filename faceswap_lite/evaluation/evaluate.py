"""The evaluate stage: how good are these runs on clips that training never saw, and why?

Every figure stands beside its confidence interval; what cannot be measured is null, with its
reason; nothing is guessed.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from .. import __version__
from ..actors import load_truth
from ..config import EvaluateConfig
from ..conversion.convert import UNSEEN_SETTINGS
from ..errors import FaceswapError
from ..faces import open_face_set
from ..media import clip_fingerprint, open_clip
from ..outputs import claim, found_job, job_id, refuse_inputs, write_json
from ..training.runs import describe_identity
from .explain import Background
from .measures import METRICS, difference_json, differences, plain
from .page import write_report_page
from .walk import Series
from .workbench import Contender, measure_clip, set_up

SCHEMA = 2


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
        known=[describe_identity(open_face_set(Path(path))).fingerprint for path in config.known],
        lpips=None if config.lpips is None else clip_fingerprint(Path(config.lpips)),
    )
    before = found_job(out)
    if claim(out, job, before.get("job"), finished=True, overwrite=overwrite) == "done":
        say(f"{out}: already done")
        return before
    claim(page, job, before.get("job") and job, finished=True, overwrite=overwrite)
    _check_conversions(clips, prints, converted)

    judged = any(not clip.is_file() or load_truth(clip) is None for clip in clips)
    results, pictures, series, runs = [], [], {}, []
    for number, contender in enumerate(contenders):
        bench = set_up(contender, config, judged=judged, say=say)
        runs.append(_describe_run(contender, bench.background))
        for place, clip in enumerate(clips):
            swap = converted[place] if converted else None
            measured = measure_clip(bench, clip, prints[place], config, converted=swap, say=say)
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
            # What one of them refuses to say is not compared either.
            rows = {
                name: difference_json(gap)
                for name, gap in gaps.items()
                if all(metrics[run, clip][name]["value"] is not None for run in (a, b))
            }
            compared.append({"clip": clip, "a": a, "b": b, "metrics": rows})
    return compared


def _check_conversions(
    clips: Sequence[Path], prints: Sequence[str], converted: Sequence[Path]
) -> None:
    for clip, fingerprint, swap in zip(clips, prints, converted, strict=False):
        made_of = found_job(swap.with_name(swap.name + ".json"))
        if made_of.get("clip_sha256", fingerprint) != fingerprint:
            raise FaceswapError(f"{swap}: is a conversion of {made_of.get('clip')}, not of {clip}")


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
