"""Files that commit c0de366 wrote, moved to another folder, open and go on: see data/c0de366."""

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

ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = ROOT / "tests" / "data" / "c0de366" / "files.tar.xz"
MADE_IN = Path("/tmp/made_at_c0de366")
FRAMES, PIECE = 150, 120


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The files, where nothing in them says they are."""
    assert not MADE_IN.exists(), f"{MADE_IN} would be found by the paths in the files: remove it"
    folder = tmp_path / "moved"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
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
    assert "config.yaml: convert.color.kind robust_mkl is no more; skin_gain stands in" in said
    assert said.count("is no more") == 1
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
