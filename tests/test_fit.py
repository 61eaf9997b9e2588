"""Fit-training on rendered actors: what is taken over, what is kept apart, what is reported."""

import json
from pathlib import Path

import pytest
from conftest import Cast
from PIL import Image
from test_train import run_steps

from faceswap_lite.config import Config
from faceswap_lite.config_files import load_config
from faceswap_lite.errors import FaceswapError
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.split import read_roles
from faceswap_lite.training.fit import HeldoutCurve, compare_with_scratch, fit_run, read_curve

SHORT = ("training.steps=20", "training.heldout.every=10", "training.schedule.warmup_steps=2")


@pytest.fixture(scope="module")
def base(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("base") / "run"
    run_steps(cast, run, steps=60, lr=3e-3, loss={"l1": 0.5})
    return run


def fit_config(*changes: str) -> Config:
    return load_config("fit", [*SHORT, "training.threads=1", *changes])


def test_a_fit_to_a_clip_goes_on_from_the_base(cast: Cast, base: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = tmp_path / "fit"
    report = fit_run(
        base, cast.unseen_clip, run, fit_config(), compare_scratch=True, say=said.append
    )
    fitted, old = load_run(run, "last"), load_run(base)
    # What the fit does not set is the base's.
    assert fitted.config.model == old.config.model
    assert fitted.config.training.loss.l1 == 0.5
    assert fitted.config.training.schedule.kind == "cosine"
    assert fitted.manifest.target.path == str(tmp_path / "fit_target")
    assert fitted.manifest.lineage[0]["run"] == str(base.resolve())
    # No face of the source changes between seen and held out, and the base's target is known.
    assert read_roles(fitted.manifest.source.groups) == read_roles(old.manifest.source.groups)
    assert set(old.manifest.target.clips) < set(fitted.manifest.target.clips)
    # Step 0 is the base itself; scratch begins with nothing.
    assert report.fit.steps == [0, 10, 20]
    assert report.scratch is not None
    assert report.fit.target[0] < report.scratch.curve.target[0]
    assert report.scratch.ratio_at_last == report.fit.target[-1] / report.scratch.curve.target[-1]
    # Scratch is trained as the base was.
    assert load_run(tmp_path / "fit_scratch").config.training.schedule.kind == "constant"
    written = json.loads((run / "fit_report.json").read_text())
    assert written["fit"]["target"] == report.fit.target
    with Image.open(run / "fit_report.png") as picture:
        assert picture.size[0] > 500
    assert any("source, held out" in line for line in report.lines())
    # Given again: nothing is trained.
    again = fit_run(base, cast.unseen_clip, run, fit_config(), compare_scratch=True)
    assert again.fit == report.fit


def test_a_fit_says_what_is_missing(cast: Cast, base: Path, tmp_path: Path) -> None:
    with pytest.raises(FaceswapError, match="no such clip or face set"):
        fit_run(base, tmp_path / "none.mp4", tmp_path / "fit", fit_config())
    with pytest.raises(FaceswapError, match="is not a run folder"):
        fit_run(tmp_path / "nowhere", cast.target, tmp_path / "fit", fit_config())
    assert not (tmp_path / "fit").exists()


def curve(*target: float) -> HeldoutCurve:
    steps = [50 * place for place in range(len(target))]
    return HeldoutCurve(steps, [s / 10 for s in steps], [1.0] * len(target), list(target))


def test_the_comparison_says_when_the_fit_was_as_low() -> None:
    found = compare_with_scratch(curve(2.0, 0.9, 0.8, 0.7), curve(5.0, 3.0, 1.6, 0.9))
    assert found.ratio_at_100 == 0.5
    assert found.ratio_at_last == pytest.approx(0.7 / 0.9)
    assert (found.reached_at_step, found.reached_after_seconds) == (50, 5.0)
    assert found.share_of_steps == pytest.approx(50 / 150)
    never = compare_with_scratch(curve(2.0, 1.9), curve(5.0, 1.0))
    assert never.reached_at_step is None and never.share_of_steps is None
    assert never.ratio_at_100 is None


def test_a_log_without_heldout_losses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    with pytest.raises(FaceswapError, match="holds no held-out loss"):
        read_curve(tmp_path)
