"""Fit-training: a trained run's weights go on to the faces of one clip; and what that brought."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..config import Config, ExtractConfig, InitConfig, TrainingConfig
from ..errors import FaceswapError
from ..faces.extract import extract_faces
from ..faces.face_set import FaceSet, open_face_set
from ..faces.footage import find_footage
from ..faces.recut import recut
from ..figures import Curve, write_line_figure
from ..outputs import one_writer, short_name, write_json
from ..runs.known import open_known_set
from ..runs.load import load_run
from ..runs.log import LOG_FILE, read_history
from ..runs.trained import TrainedRun
from .advice import advise
from .train import train

REPORT_FILE = "fit_report.json"
FIGURE_FILE = "fit_report.png"


@dataclass(frozen=True)
class HeldoutCurve:
    """Held-out losses of one run by step; step 0 is before the first one."""

    steps: list[int]
    seconds: list[float]
    source: list[float]
    target: list[float]


@dataclass(frozen=True)
class Comparison:
    """The fit beside training from fresh weights, on the target's held-out loss.

    Ratios are fit / scratch. `reached_*`: where the fit first was as low as scratch's last loss;
    None when it never was.
    """

    curve: HeldoutCurve
    ratio_at_100: float | None
    ratio_at_last: float
    reached_at_step: int | None
    reached_after_seconds: float | None
    share_of_steps: float | None


@dataclass(frozen=True)
class FitReport:
    """What a fit brought, and what it cost the identity that did not change (the source)."""

    run: Path
    base: Path
    fit: HeldoutCurve
    source_ratio: float
    """The source's held-out loss at the end over that of the base."""
    scratch: Comparison | None

    def lines(self) -> list[str]:
        """For a person to read."""
        fit = self.fit
        lines = [
            f"{self.run}: {fit.steps[-1]} steps in {fit.seconds[-1]:.0f} s",
            f"target, held out: {fit.target[0]:.3f} -> {fit.target[-1]:.3f}",
            f"source, held out: {fit.source[0]:.3f} -> {fit.source[-1]:.3f} "
            f"({self.source_ratio:.2f} x the base's)",
        ]
        if self.scratch is None:
            return lines
        other = self.scratch
        lines.append(
            f"from scratch, held out: {other.curve.target[-1]:.3f} after {other.curve.steps[-1]} "
            f"steps; the fit ends at {other.ratio_at_last:.2f} x that"
        )
        if other.reached_at_step is None:
            return [*lines, "the fit never reached scratch's last loss"]
        return [
            *lines,
            f"the fit reached it at step {other.reached_at_step}, after "
            f"{other.reached_after_seconds:.0f} s",
        ]


@one_writer(lambda run, **_: [run])
def fit_run(
    base: Path,
    target: Path,
    run: Path,
    config: Config,
    *,
    source: Path | None = None,
    compare_scratch: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> FitReport:
    """Train `run` on from `base` with the target exchanged for the faces of a clip or face set.

    `source`: the source's face set, of a base that knows none or another one.

    What `config` does not set is the base's. A clip is extracted as the base's faces were, into
    RUN_target beside the run; the comparison goes into RUN_scratch. The report is written into the
    run's folder as JSON and as a picture.
    Raises: FaceswapError when the base cannot be loaded or its source's faces are gone.
    """
    old = load_run(base)
    if source is None and old.manifest.source.is_nobody:
        raise FaceswapError(f"{base}: was imported, and knows no faces: pass --source FACES")
    own = open_known_set(old, "source", minimum=10) if source is None else open_face_set(source, 10)
    own = recut(own, old.manifest.coverage)
    faces = recut(_target_faces(old, target, run, config.extract, overwrite), old.manifest.coverage)
    fitted = _config_of(old, base, config)
    advise(own, faces, run, overwrite, say)
    train(own, faces, run, fitted, overwrite=overwrite, say=say)
    curve = read_curve(run)
    comparison = None
    if compare_scratch:
        say("from scratch, as the base was trained, to compare with")
        beside = run.with_name(f"{short_name(run.name, 240)}_scratch")
        train(own, faces, beside, _from_scratch(old, fitted), overwrite=overwrite, say=say)
        comparison = compare_with_scratch(curve, read_curve(beside))
    report = FitReport(run, base, curve, curve.source[-1] / curve.source[0], comparison)
    told = {"run": str(run), "base": str(base)}
    write_json(run / REPORT_FILE, {"schema": 1, **asdict(report), **told})
    _draw(report)
    return report


def compare_with_scratch(fit: HeldoutCurve, scratch: HeldoutCurve) -> Comparison:
    """How much sooner and how much lower the fit came."""
    last = scratch.target[-1]
    reached = [place for place, loss in enumerate(fit.target) if loss <= last]
    first = reached[0] if reached else None
    at_100 = None
    if 100 in fit.steps and 100 in scratch.steps:
        at_100 = fit.target[fit.steps.index(100)] / scratch.target[scratch.steps.index(100)]
    return Comparison(
        curve=scratch,
        ratio_at_100=at_100,
        ratio_at_last=fit.target[-1] / last,
        reached_at_step=None if first is None else fit.steps[first],
        reached_after_seconds=None if first is None else fit.seconds[first],
        share_of_steps=None if first is None else fit.steps[first] / scratch.steps[-1],
    )


def read_curve(run: Path) -> HeldoutCurve:
    """The held-out losses in a run's log. Raises: FaceswapError when there are none."""
    history = read_history(run)
    if not len(history):
        raise FaceswapError(f"{run / LOG_FILE}: holds no held-out loss")
    return HeldoutCurve(
        steps=history.step.tolist(),
        seconds=history.seconds.tolist(),
        source=history.heldout_source.tolist(),
        target=history.heldout_target.tolist(),
    )


def _target_faces(
    old: TrainedRun, target: Path, run: Path, config: ExtractConfig, overwrite: bool
) -> FaceSet:
    if not target.exists():
        raise FaceswapError(f"{target}: no such clip or face set")
    if target.is_dir():
        try:
            return open_face_set(target, minimum=10)
        except FaceswapError:
            # A folder of numbered pictures is a clip.
            if any(target.glob("*/*")):
                raise
    manifest = old.manifest
    same = {
        "detector": manifest.detector,
        "landmarks": manifest.landmarks_pack,
        "embedder": manifest.target.embedder or ("auto" if manifest.target.is_nobody else "none"),
        "crop_coverage": manifest.coverage,
    }
    out = run.with_name(f"{short_name(run.name, 240)}_target")
    as_before = config.model_copy(update=same)
    extract_faces(find_footage([target]), out, as_before, overwrite=overwrite)
    return open_face_set(out, minimum=10)


def _config_of(old: TrainedRun, base: Path, config: Config) -> Config:
    """The base's config, with what the given one sets, and its weights to begin with."""
    training = old.config.training.model_dump()
    # When to stop is never inherited.
    training |= {"steps": None, "minutes": None, "patience": None}
    for name, value in config.training.model_dump(exclude_unset=True).items():
        training[name] = {**training[name], **value} if isinstance(value, dict) else value
    return config.model_copy(
        update={
            "model": old.config.model,
            "training": TrainingConfig.model_validate(training),
            "init": config.init.model_copy(update={"run": str(base.resolve())}),
        }
    )


def _from_scratch(old: TrainedRun, fitted: Config) -> Config:
    """The base's way of training, for as long as the fit's and judged like it."""
    judged = ("steps", "minutes", "heldout")
    same = {name: getattr(fitted.training, name) for name in judged}
    training = old.config.training.model_copy(update={**same, "patience": None})
    return fitted.model_copy(update={"init": InitConfig(run="none"), "training": training})


def _draw(report: FitReport) -> None:
    fit = report.fit
    curves = {
        "target, fit": Curve(fit.steps, fit.target),
        "source, fit": Curve(fit.steps, fit.source),
    }
    if report.scratch is not None:
        fresh = report.scratch.curve
        curves["target, from scratch"] = Curve(fresh.steps, fresh.target)
    marks = {}
    if report.scratch is not None and report.scratch.reached_at_step is not None:
        marks["as low as scratch ends"] = report.scratch.reached_at_step
    write_line_figure(
        report.run / FIGURE_FILE,
        curves,
        title=f"Fit of {report.base.name} to a new target",
        x_label="step",
        y_label="held-out loss",
        marks=marks,
        # Fresh weights' first losses would flatten everything else.
        y_range=(0.0, 1.5 * max(fit.target + fit.source)),
    )
