"""Files that earlier commits wrote, moved to another folder, open and go on: see data/."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from faceswap_lite import cli
from faceswap_lite.config_files import load_config
from faceswap_lite.conversion import convert, writers

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
MADE_IN = Path("/tmp/made_at_c0de366")
FRAMES, PIECE = 150, 120


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The files, where nothing in them says they are."""
    assert not MADE_IN.exists(), f"{MADE_IN} would be found by the paths in the files: remove it"
    return unpacked("c0de366", tmp_path / "moved")


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Those of the last commit whose options were flat."""
    return unpacked("1401d84", tmp_path / "moved")


def unpacked(commit: str, folder: Path) -> Path:
    with tarfile.open(DATA / commit / "files.tar.xz") as archive:
        # Python 3.11.2, which Debian 12 has, knows no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
    return folder


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command that has to succeed; what it said."""

    def call(*words: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["faceswap-lite", *map(str, words)])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
        said = capsys.readouterr()
        assert not code, said.err
        return said.out

    return call


@contextmanager
def counting_faces() -> Iterator[list[int]]:
    """How many faces networks are shown: pictures that come to a layer of three channels."""
    shown: list[int] = []

    def count(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Conv2d) and module.in_channels == 3:
            shown.append(len(inputs[0]))

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        yield shown
    finally:
        handle.remove()


def frames_of(clip: Path) -> np.ndarray:
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames)


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["source", "target"])
def test_a_face_set_opens(old: Path, call: Any, name: str) -> None:
    said = call("info", old / name)
    assert "24 faces from 1 clip" in said
    assert "pack       mtcnn + five" in said


def test_the_face_sets_train_with_what_curate_decided(old: Path, call: Any) -> None:
    sets = ["--source", old / "source", "--target", old / "target"]
    config = ["--config", old / "df" / "config.yaml", "--steps", "1"]
    said = call("train", *sets, "--run", old / "new", *config)
    assert "target: faces are drawn as curate weighed them, 2 of them as rare ones" in said
    assert "training: 20 source and 20 target faces, 2 and 2 held out" in said


@pytest.mark.parametrize("name", ["df", "liae"])
def test_a_run_goes_on(old: Path, call: Any, name: str) -> None:
    run = old / name
    before = log_of(run)
    sets = ["--source", old / "source", "--target", old / "target"]
    said = call("train", *sets, "--run", run, "--config", run / "config.yaml", "--steps", "24")
    assert "resuming at step 20: 20 source and 20 target faces, 2 and 2 held out" in said
    after = log_of(run)
    assert after[: len(before)] == before
    assert [line["step"] for line in after if "loss" in line] == list(range(1, 25))
    # Where it stood, and not from new weights.
    losses = [line["loss"] for line in after if "loss" in line]
    assert max(losses[20:]) < 1.2 * max(losses[15:20])
    assert (run / "checkpoints" / "step_00000024" / "state.json").is_file()


def test_a_half_done_conversion_whose_colour_match_went_starts_anew(old: Path, call: Any) -> None:
    folder = old / "conversion"
    convert = ["convert", "--run", old / "df", "--clip", folder / "scene.mp4"]
    pieces = list(folder.glob(".swap.mp4.*.work/swap/.000000.mkv"))
    assert len(frames_of(pieces[0])) == PIECE
    with counting_faces() as shown:
        said = call(*convert, "--out", folder / "swap.mp4", "--set", "convert.device=cpu")
    assert (
        "config.yaml: convert.color.kind robust_mkl no longer exists; skin_gain is used instead"
        in said
    )
    assert said.count("no longer exists") == 1
    assert f"{FRAMES} of {FRAMES} frames swapped" in said
    assert sum(shown) >= FRAMES
    assert not list(folder.glob(".swap*"))
    assert len(frames_of(folder / "swap.mp4")) == FRAMES


def test_an_old_run_converts(old: Path, call: Any) -> None:
    clip, out = old / "conversion" / "scene.mp4", old / "swap.mkv"
    what = ["--run", old / "liae", "--clip", clip, "--frames", "10:14"]
    said = call("convert", *what, "--out", out, "--set", "convert.output.codec=ffv1")
    assert "4 of 4 frames swapped" in said
    assert np.abs(frames_of(out).astype(int) - frames_of(clip)[10:14]).max() > 20


def test_old_runs_are_evaluated(old: Path) -> None:
    runs = ["--run", "df", "--run", "liae", "--clip", "conversion/scene.mp4"]
    few = ["--set", "convert.end=40", "--set", "evaluate.every=20", "--set", "evaluate.gallery=5"]
    # A process of its own: here every shape is checked, and resampling has many.
    done = subprocess.run(
        [sys.executable, "-m", "faceswap_lite", "evaluate", *runs, *few, "--out", "report.json"],
        cwd=old,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((old / "report.json").read_text())["results"]
    figures = [{n: row["value"] for n, row in r["metrics"].items()} for r in results]
    assert len(figures) == 2
    for found in figures:
        # The training's own faces are found again, too.
        assert found["seen_psnr_db"] > 8
        assert found["heldout_psnr_db"] > 8
        assert found["detected"] is not None


def test_a_run_and_face_sets_of_flat_options_go_on(flat: Path, call: Any) -> None:
    run = flat / "run"
    options = load_config(run / "config.yaml")
    training, convert = options.training, options.convert
    assert (training.optimizer.kind, training.optimizer.weight_decay) == ("adamw", 0.02)
    assert (training.schedule.kind, training.schedule.step_every) == ("step", 4)
    assert (training.loss.l1, training.loss.mse) == (2, 30)
    assert (training.augment.kind, training.augment.warp) == ("hand", 0.01)
    assert (training.heldout.every, training.heldout.gap) == (3, 1)
    assert (convert.color.kind, convert.mask.kind, convert.mask.feather) == ("mkl", "hull", 0.1)
    assert convert.output.quality == 20
    assert "10 faces from 1 clip" in call("info", flat / "target")
    before = log_of(run)
    sets = ["--source", flat / "source", "--target", flat / "target"]
    said = call("train", *sets, "--run", run, "--steps", "9")
    assert "training.plateau_floor is 0.01 now, and no longer an option" in said
    assert "resuming at step 6: 8 source and 8 target faces, 1 and 1 held out" in said
    after = log_of(run)
    assert after[: len(before)] == before and after[-1]["step"] == 9
    # As it says itself from now on.
    assert "plateau_floor" not in call("train", *sets, "--run", run, "--steps", "9")
    assert load_config(run / "config.yaml").convert == convert


def test_a_half_done_conversion_of_flat_options_goes_on(
    flat: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "PIECE_FRAMES", 3)
    # What was begun by one version is no piece of another's.
    monkeypatch.setattr(convert, "VERSION", "0.1.0")
    monkeypatch.setattr(writers, "VERSION", "0.1.0")
    (work,) = flat.glob(".swap.*.work")
    done = {path.name: path.read_bytes() for path in work.glob("swap/pictures/*.png")}
    assert len(done) == 3
    painted: list[int] = []
    take = convert.FrameTally.add

    def noted(tally: Any, frame: int, *rest: Any) -> None:
        painted.append(frame)
        take(tally, frame, *rest)

    monkeypatch.setattr(convert.FrameTally, "add", noted)
    changes = ["convert.device=cpu", "convert.color.steady=1", "convert.batch=1"]
    words = [word for change in changes for word in ("--set", change)]
    what = ["--run", flat / "run", "--clip", flat / "scene.mp4", "--out", flat / "swap"]
    said = call("convert", *what, *words)
    assert "6 of 6 frames swapped" in said and painted == [3, 4, 5]
    assert not list(flat.glob(".swap.*.work"))
    made = {path.name: path.read_bytes() for path in (flat / "swap").glob("*.png")}
    assert len(made) == 6 and done.items() <= made.items()
    # Found again by what it says, under the new names.
    assert "already done" in call("convert", *what, *words)
    settings = json.loads((flat / "swap.json").read_text())["settings"]
    assert (settings["color.steady"], settings["mask.kind"]) == (1, "hull")
