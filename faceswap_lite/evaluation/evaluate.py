"""The evaluate stage: how good are these runs on clips that training never saw, and why?

Every figure stands beside its confidence interval; what cannot be measured is null, with its
reason; nothing is guessed.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import EvaluateConfig
from ..conversion.sides import UNSEEN_SETTINGS
from ..errors import FaceswapError, UsageError
from ..faces.face_set import open_face_set
from ..media.clips import clip_fingerprint
from ..media.reading import open_clip
from ..media.truth import load_truth
from ..metrics.perceptual import lpips_files
from ..outputs import claim, found_job, job_id, refuse_inputs, write_json
from ..runs.manifest import describe_identity
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
    runs_own = [c.run.path / name for c in contenders for name in ("run.json", "config.yaml")]
    refuse_inputs(out, *clips, *converted, *runs_own)
    page = out.with_suffix(".html")
    if page == out:
        raise FaceswapError(f"{out}: is where the page goes; name a .json")
    refuse_inputs(page, *clips, *converted, *runs_own)
    prints = [clip_fingerprint(clip) for clip in clips]
    _refuse_repeats([c.run.path.resolve() for c in contenders], "--run")
    _refuse_repeats(prints, "--clip")
    if converted and (len(converted) != len(clips) or len(contenders) != 1):
        raise UsageError("--converted: name one run, and as many conversions as clips")
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
        # Also: a set that is none is refused now.
        known=[describe_identity(open_face_set(Path(path))).fingerprint for path in config.known],
        lpips=[clip_fingerprint(file) for file in lpips_files(Path(config.lpips))]
        if config.lpips
        else None,
    )
    before = found_job(out)
    ours = before.get("job") if before.get("schema") == SCHEMA and "results" in before else None
    claims = {claim(path, job, ours, finished=True, overwrite=overwrite) for path in (out, page)}
    if claims == {"done"}:
        say(f"{out}: already done")
        return before
    _check_clips(clips, prints, converted)

    judged = any(not clip.is_file() or load_truth(clip) is None for clip in clips)
    results, pictures, series, runs = [], [], {}, []
    names = _told_apart([contender.run.path.resolve() for contender in contenders])
    for number, contender in enumerate(contenders):
        bench = set_up(contender, config, judged=judged, say=say)
        runs.append(_describe_run(contender, names[number], bench.background))
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
        "clips": [
            _describe_clip(*three) for three in zip(clips, _told_apart(clips), prints, strict=True)
        ],
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
    # By the report the page is known as ours, should it be missing.
    write_json(out, report)
    write_report_page(page, report, pictures)
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


def _refuse_repeats(given: Sequence[Path] | Sequence[str], option: str) -> None:
    if len(set(given)) < len(given):
        raise UsageError(f"{option}: one of them is given twice")


def _check_clips(clips: Sequence[Path], prints: Sequence[str], converted: Sequence[Path]) -> None:
    """Refuse now what would be refused after the work on the clips before it."""
    infos = []
    for clip in (*clips, *converted):
        with open_clip(clip) as reader:
            infos.append(reader.info)
    conversions = zip(clips, prints, infos, converted, infos[len(clips) :], strict=False)
    for clip, fingerprint, info, swap, of_swap in conversions:
        made_of = found_job(swap.with_name(swap.name + ".json"))
        if made_of.get("clip_sha256", fingerprint) != fingerprint:
            other = made_of.get("clip", "another clip")
            raise FaceswapError(f"{swap}: is a conversion of {other}, not of {clip}")
        if (info.width, info.height) != (of_swap.width, of_swap.height):
            raise FaceswapError(f"{swap}: is of another size than {clip}; is it its own?")


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


def _describe_clip(clip: Path, name: str, fingerprint: str) -> dict[str, Any]:
    with open_clip(clip) as reader:
        info = reader.info
    return {
        "name": name,
        "path": str(clip),
        "sha256": fingerprint,
        "frames": info.frame_count,
        "rate": None if info.rate is None else plain(float(info.rate)),
        "actor": clip.is_file() and load_truth(clip) is not None,
    }
