"""Evaluation from end to end on rendered actors, after a short training."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import Cast, convert_file, figures_of, silent
from safetensors.torch import save_file

from faceswap_lite.config import ConvertConfig, EvaluateConfig, MaskConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.evaluation import workbench
from faceswap_lite.evaluation.check import check_clip
from faceswap_lite.evaluation.evaluate import evaluate_clips, report_table
from faceswap_lite.evaluation.metric import Metric, Row, Scene
from faceswap_lite.evaluation.metric_table import METRICS, mean
from faceswap_lite.evaluation.workbench import Contender
from faceswap_lite.media.images import write_image
from faceswap_lite.media.reading import as_clip
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun


def evaluated(run: TrainedRun, clip: Path, out: Path, **options: Any) -> dict[str, Any]:
    converted = options.pop("converted", [])
    contenders = [Contender(run, options.pop("convert", ConvertConfig()))]
    say = options.pop("say", silent)
    config = EvaluateConfig(**options)
    return evaluate_clips(contenders, [as_clip(clip)], out, config, converted=converted, say=say)


@pytest.fixture(scope="module")
def report_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report") / "report.json"


@pytest.fixture(scope="module")
def report(cast: Cast, run: TrainedRun, report_path: Path) -> dict[str, Any]:
    return evaluated(run, cast.unseen_clip, report_path)


def test_every_figure_has_its_interval_or_says_why_it_is_missing(report: dict[str, Any]) -> None:
    assert report["schema"] == 2
    (result,) = report["results"]
    assert set(result["metrics"]) == set(METRICS) == {m["name"] for m in report["metrics"]}
    for name, row in result["metrics"].items():
        assert (row["value"] is None) == bool(row["reason"]), name
        if row["low"] is not None:
            assert row["low"] <= row["high"], name
    assert "actors" in result["metrics"]["identity_to_source"]["reason"]
    assert "evaluate.lpips" in result["metrics"]["heldout_lpips"]["reason"]
    assert len(result["frames"]["index"]) == 12 == sum(result["frames"]["series"]["found"])


def test_whole_clips_are_measured_whatever_part_is_converted(
    cast: Cast, run: TrainedRun, report: dict[str, Any], report_path: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    part = ConvertConfig(start=3, end=7)
    again = evaluated(run, cast.unseen_clip, report_path, convert=part, say=said.append)
    assert again == report and "convert.start" in said[0] and "already done" in said[1]
    swap = tmp_path / "part.mkv"
    convert_file(run, cast.unseen_clip, swap, part, say=silent)
    with pytest.raises(FaceswapError, match=r"part\.mkv: is a conversion of frames 3:7 alone"):
        evaluated(run, cast.unseen_clip, tmp_path / "r.json", converted=[swap])


def test_figures_of_a_short_training(report: dict[str, Any]) -> None:
    metrics = figures_of(report)
    seen, unseen = metrics["seen_psnr_db"], metrics["heldout_psnr_db"]
    # Each of the three is rounded to .001.
    assert metrics["generalization_gap_db"] == pytest.approx(seen - unseen, abs=1.6e-3)
    # Even a short training brings the picture nearer to the true swap.
    assert metrics["truth_psnr_db"] > metrics["unswapped_psnr_db"] + 1
    assert metrics["yaw_correlation"] > 0.8


def test_the_report_says_what_holds_the_result_back(report: dict[str, Any]) -> None:
    (result,) = report["results"]
    verdict = result["verdict"]
    # Stopped after 150 steps.
    assert verdict["kind"] in ("still_improving", "too_early", "data_limited", "out_of_range")
    assert verdict["sentence"] and verdict["advice"]
    trust = result["trust"]
    assert 0 <= trust["share"] <= 1 and trust["bound_db"] > 10
    series = result["frames"]["series"]
    assert sum(series["trusted"]) == pytest.approx(12 * trust["share"], abs=0.01)
    assert 0 <= result["memorisation"]["generalising_share"] <= 1
    assert abs(result["bias"]["rebuilt"]["brightness"]["mean_shift"]) < 0.2
    assert result["coverage"]["target_faces"] == 12
    assert report["runs"][0]["history"]["step"][-1] == 150


def test_the_page_lies_beside_the_report(report: dict[str, Any], report_path: Path) -> None:
    page = report_path.with_suffix(".html").read_text()
    assert report["results"][0]["verdict"]["sentence"].split(":")[0] in page
    assert len(page) > 50_000  # frames are in it


def test_a_run_whose_face_set_is_gone_is_measured_all_the_same(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    target = run.manifest.target.model_copy(update={"path": str(tmp_path / "gone")})
    lost = replace(run, manifest=run.manifest.model_copy(update={"target": target}))
    report = evaluated(lost, cast.unseen_clip, tmp_path / "r.json", every=3)
    (result,) = report["results"]
    assert "no such face set" in result["metrics"]["seen_psnr_db"]["reason"]
    assert result["metrics"]["heldout_psnr_db"]["value"] is not None
    assert result["trust"] is None and result["memorisation"] is None
    assert "no such face set" in result["missing"]["target"]


def test_a_run_of_a_coverage_that_nobody_knows_is_refused(run: TrainedRun, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    facts = json.loads((run.path / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**facts, "coverage": "zzz"}))
    with pytest.raises(FaceswapError, match=r"run\.json: was not written by this version"):
        load_run(tmp_path / "run")


def test_check_says_what_can_be_trusted(
    cast: Cast, run: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "check.json"
    found = check_clip(run, as_clip(cast.unseen_clip), out, ConvertConfig())
    said = capsys.readouterr().out
    assert "frames" in said and "can be trusted" in said
    assert found == json.loads(out.read_text())
    assert out.with_suffix(".png").is_file()


def test_the_table_shows_every_figure(report: dict[str, Any]) -> None:
    table = report_table(report)
    for name in METRICS:
        assert name in table


def test_a_metric_is_declared_once(
    cast: Cast, run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def level(scene: Scene) -> Row:
        return {"level": float(scene.moment.shown.mean())}

    words = ("Mean level", "", None, "planted", "of the whole frame", mean("level"), (level,))
    monkeypatch.setitem(METRICS, "level", Metric(*words))
    monkeypatch.setitem(METRICS, "level_lpips", Metric(*words, needs=("twin", "lpips")))
    out = tmp_path / "r.json"
    report = evaluated(run, cast.unseen_clip, out, every=6, memory=False)
    (result,) = report["results"]
    series = result["frames"]["series"]["level"]
    assert figures_of(report)["level"] == pytest.approx(sum(series) / len(series), rel=1e-4)
    # What it needs and does not have comes before what could be measured.
    assert result["metrics"]["level_lpips"]["value"] is None
    assert "evaluate.lpips" in result["metrics"]["level_lpips"]["reason"]
    assert "of the whole frame" in report_table(report)
    assert "Mean level" in out.with_suffix(".html").read_text()


def test_evaluating_again_does_nothing(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    first = evaluated(run, cast.unseen_clip, out, every=4)
    assert json.loads(out.read_text()) == first
    written = out.stat().st_mtime_ns
    assert evaluated(run, cast.unseen_clip, out, every=4) == first
    assert out.stat().st_mtime_ns == written
    with pytest.raises(FaceswapError, match="--overwrite"):
        evaluated(run, cast.unseen_clip, out, every=6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"out": "r.html"}, "name a .json"),
        ({"out": ""}, "is not a name for an output"),
        ({"known": ["no_such_set"]}, "no such face set"),
        ({"twice": True}, "--clip: one of them is given twice"),
        ({"bad": True}, "bad.mp4"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    cast: Cast,
    run: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    said: str,
) -> None:
    def no_work(*_: object, **__: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("faceswap_lite.evaluation.evaluate.open_workbench", no_work)
    monkeypatch.chdir(tmp_path)
    clips = [cast.unseen_clip]
    if "twice" in given:
        clips *= 2
    if "bad" in given:
        Path("bad.mp4").write_text("no clip")
        clips.append(Path("bad.mp4"))
    config = EvaluateConfig(known=given.get("known", []))
    out = Path(given.get("out", "r.json"))
    with pytest.raises(FaceswapError, match=re.escape(said)):
        evaluate_clips(
            [Contender(run, ConvertConfig())], [*map(as_clip, clips)], out, config, say=silent
        )
    assert not [path for path in tmp_path.iterdir() if path.name != "bad.mp4"]


def test_a_clip_of_nobody_is_told_before_the_run_is_studied(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbench, "study_run", lambda *_: pytest.fail("studied"))
    write_image(tmp_path / "wall.png", np.full((64, 64, 3), 99, np.uint8))
    with pytest.raises(FaceswapError, match=r"wall\.png: no frame shows the target's face"):
        evaluate_clips(
            [Contender(run, ConvertConfig())],
            [as_clip(tmp_path / "wall.png")],
            tmp_path / "r.json",
            EvaluateConfig(),
            say=silent,
        )


def test_lpips_by_weights_that_the_user_brings(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    net = torchvision.models.alexnet(weights=None).state_dict()
    save_file({n: t for n, t in net.items() if n.startswith("features")}, folder / "a.safetensors")
    widths = (64, 192, 384, 256, 256)
    heads = {f"lin{i}.model.1.weight": torch.ones(1, w, 1, 1) for i, w in enumerate(widths)}
    save_file(heads, folder / "b.safetensors")
    out = tmp_path / "r.json"
    report = evaluated(run, cast.unseen_clip, out, every=6, memory=False, lpips=str(folder))
    metrics = figures_of(report)
    assert metrics["heldout_lpips"] > 0 and metrics["truth_lpips"] > 0
    # Other weights, other figures: not done yet.
    save_file({n: 2 * t for n, t in heads.items()}, folder / "b.safetensors")
    with pytest.raises(FaceswapError, match="--overwrite"):
        evaluated(run, cast.unseen_clip, out, every=6, memory=False, lpips=str(folder))


def test_a_page_that_is_gone_is_made_again(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    evaluated(run, cast.unseen_clip, out, every=6, memory=False)
    out.with_suffix(".html").unlink()
    evaluated(run, cast.unseen_clip, out, every=6, memory=False)
    assert out.with_suffix(".html").is_file()


def test_what_was_trained_on_has_no_held_out_figure(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    report = evaluated(run, cast.target_clip, tmp_path / "r.json", every=8)
    row = report["results"][0]["metrics"]["heldout_psnr_db"]
    assert row["value"] is None and "trained on this clip" in row["reason"]
    assert figures_of(report)["detected"] == 1
    with pytest.raises(FaceswapError, match="is a face set, no clip"):
        evaluated(run, cast.target, tmp_path / "set.json")


def test_a_conversion_of_another_length_is_refused(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    with pytest.raises(FaceswapError, match="fewer frames"):
        evaluated(run, cast.source_clip, tmp_path / "r.json", converted=[cast.unseen_clip])
    with pytest.raises(FaceswapError, match="more frames"):
        evaluated(run, cast.unseen_clip, tmp_path / "r.json", converted=[cast.source_clip])
    assert not (tmp_path / "r.json").exists()


def test_the_untouched_clip_as_its_own_conversion_is_perfect_but_no_swap(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    report = evaluated(run, cast.unseen_clip, tmp_path / "r.json", converted=[cast.unseen_clip])
    metrics = figures_of(report)
    for name in ("yaw_correlation", "sharpness_ratio", "flicker_ratio", "warp_error_ratio"):
        assert metrics[name] == pytest.approx(1, abs=1e-3), name
    for name in ("pose_error_deg", "landmark_nme", "seam_delta_e"):
        assert metrics[name] == pytest.approx(0, abs=1e-3), name
    assert metrics["truth_matched_psnr_db"] < 30


def test_a_run_is_no_better_than_itself(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "copy")
    copy = replace(run, path=tmp_path / "copy")
    twice = [Contender(run, ConvertConfig()), Contender(copy, ConvertConfig())]
    config = EvaluateConfig(every=3, memory=False)
    report = evaluate_clips(
        twice, [as_clip(cast.unseen_clip)], tmp_path / "r.json", config, say=silent
    )
    assert [(r["run"], r["clip"]) for r in report["results"]] == [(0, 0), (1, 0)]
    (compared,) = report["comparisons"]
    assert compared["metrics"]
    assert not any(row["real"] for row in compared["metrics"].values())
    assert "no difference is real" in report_table(report)


def test_a_worse_conversion_is_told_from_a_better_one(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    shutil.copytree(run.path, tmp_path / "copy")
    hull = MaskConfig(kind="hull")
    soft = Contender(replace(run, path=tmp_path / "copy"), ConvertConfig(scale=0.6, mask=hull))
    pair, said = [Contender(run, ConvertConfig()), soft], list[str]()
    config = EvaluateConfig(every=2, memory=False)
    report = evaluate_clips(
        pair, [as_clip(cast.unseen_clip)], tmp_path / "r.json", config, say=said.append
    )
    assert [line for line in said if "not measured on the same pixels" in line]
    row = report["comparisons"][0]["metrics"]["truth_matched_psnr_db"]
    assert row["real"] and row["better"] == "a" and row["high"] < 0
