"""Benchmarks can be called: each has its row, its help, and a line for what is not there."""

import importlib
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
import torch
from conftest import ROOT, Cast

from faceswap_lite.faces import weights
from faceswap_lite.outputs import read_json

FOLDER = ROOT / "benchmarks"
BENCHMARKS = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
NOWHERE = "nowhere/at_all"

# What to call each with that needs clips, sets or runs, so that the first of them is not there.
MISSING = {
    "color": ["casts", "--media", NOWHERE],
    "color_runs": ["people", "--media", NOWHERE],
    "curation": ["speed", "--media", NOWHERE],
    "evaluate": ["speed", "--run", NOWHERE, "--clip", NOWHERE],
    "expression": ["steady", "--run", NOWHERE, "--clip", NOWHERE],
    "files": ["memory", "--run", NOWHERE, "--clip", NOWHERE],
    "finish": ["guard", "--run", NOWHERE],
    "interchange": ["--faces", NOWHERE],
    "latent": [NOWHERE],
    "masks_used": ["convert", "--run", NOWHERE],
    "masks": ["real", "--media", NOWHERE],
    "memorisation": ["--sets", NOWHERE, NOWHERE, "--clips", NOWHERE, NOWHERE],
    "starts": ["frame", "--media", NOWHERE],
    "study_training": ["fit", "--media", NOWHERE],
    "swap": ["seam", "--run", NOWHERE, "--clip", NOWHERE],
    "trust": ["--run", NOWHERE, "--clip", NOWHERE],
    "who": ["--run", NOWHERE, "--media", NOWHERE],
}
# Takes real clips on top, if they are given, and renders its own.
CONTENT_WITHOUT_REAL_CLIPS = {"unchanged"}
NEEDS = ("--media", "--run", "--clip", "--source")

Call = Callable[..., str]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Calls a benchmark as `python benchmarks/NAME.py` does, in this process; what it prints."""

    def called(name: str, *arguments: object) -> str:
        path = str(FOLDER / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out

    threads = torch.get_num_threads(), cv2.getNumThreads()
    yield called
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def help_of(call: Call, name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        call(name, "--help")
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_is_imported_and_says_what_it_measures(name: str) -> None:
    module = importlib.import_module(name)
    assert callable(module.main)
    assert f"python benchmarks/{name}.py" in (module.__doc__ or "")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_has_a_row_in_the_readme(name: str) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith(f"| `{name}.py`")]
    assert len(rows) == 1
    assert rows[0].count("|") == 6


@pytest.mark.parametrize("name", BENCHMARKS)
def test_help_tells_what_the_docstring_tells(
    call: Call, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    first = (importlib.import_module(name).__doc__ or "").splitlines()[0]
    assert " ".join(first.split()) in " ".join(help_of(call, name, capsys).split())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_is_not_there_is_one_line(
    call: Call, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    if name not in MISSING:
        text = help_of(call, name, capsys)
        assert name in CONTENT_WITHOUT_REAL_CLIPS or not any(option in text for option in NEEDS)
        return
    with pytest.raises(SystemExit) as ended:
        call(name, *MISSING[name])
    # A line to exit with is printed and means exit code 1.
    assert re.fullmatch(rf"error: {NOWHERE}\S*: .+", str(ended.value.code))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["actors", "color", "coverage_gaps"])
def test_weights_that_cannot_be_had_are_one_line(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    def offline(address: str) -> Any:
        raise OSError("no network")

    monkeypatch.delenv(weights.WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setattr(weights, "weights_cache", lambda: tmp_path)
    monkeypatch.setattr(weights, "connect", offline)
    monkeypatch.setattr(weights, "_failures", {})
    files = media_of(importlib.import_module("color").CLIPS, tmp_path)
    more = ["casts", "--media", files] if name == "color" else []
    with pytest.raises(SystemExit, match=r"\Aerror: weights of yunet: .+by hand.+\Z"):
        call(name, *more)


# But CHANGELOG.md, which tells of what was.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", FOLDER / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_scripts_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:benchmarks|scripts)/\w+\.\w+", text))
    assert sorted(file for file in named if not (ROOT / file).is_file()) == []
    assert re.findall(r"\bbench_\w+", text) == []


# --- The quick ones, at their smallest ------------------------------------------------------------


def media_of(stems: tuple[str, ...], folder: Path, clip: Path | None = None) -> Path:
    """A folder of clips with these names; without one to copy they are empty."""
    (folder / "media" / "video").mkdir(parents=True)
    for stem in stems:
        out = folder / "media" / "video" / f"{stem}.mp4"
        if clip is None:
            out.touch()
        else:
            shutil.copy(clip, out)
    return folder / "media"


def test_actors(call: Call, with_weights: Path, tmp_path: Path) -> None:
    call("actors", "--frames", 2, "--size", 96, "--out", tmp_path / "out.json")
    figures = read_json(tmp_path / "out.json")
    assert all(speed > 0 for speed in figures["frames_a_second"].values())
    assert figures["mtcnn"]["ada"]["found"] == figures["yunet"]["ada"]["found"] == 1


def test_convert(call: Call, tmp_path: Path) -> None:
    call("convert", "--repeats", 1, "--out", tmp_path / "out.json")
    figures = read_json(tmp_path / "out.json")
    assert len(figures) == 9
    assert all(row["sum"] > 0 for row in figures.values())


def test_train(call: Call, tmp_path: Path) -> None:
    small = ("--arch", "df", "--dims", 8, "--size", 32, "--batch", 2, "--steps", 1)
    call("train", *small, "--pipeline", 32, "--out", tmp_path / "out.json")
    figures = read_json(tmp_path / "out.json")
    assert set(figures["cpu_s_a_step"]) == {"plain", "ours, fp32", "ours, bf16"}
    assert figures["faces_a_cpu_s"]["32"]["plain"] > 0


def test_coverage_gaps(call: Call, with_weights: Path, tmp_path: Path) -> None:
    said = call("coverage_gaps", "--pairs", 1, "--frames", 12, "--size", 96, "--work", tmp_path)
    assert "faces in 12 of 12 target frames" in said


@pytest.fixture
def color(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Calls a part of `color` with small scenes; what it keeps."""
    module: ModuleType = importlib.import_module("color")
    monkeypatch.setattr(module, "CLIPS", ("ada_1", "bruno_1"))
    monkeypatch.setattr(module, "MOMENTS", (3,))
    pair = module.Pair("bruno", "ada", False, 0)
    monkeypatch.setattr(module, "all_pairs", lambda: [pair])
    monkeypatch.setattr(module, "ProcessPoolExecutor", ThreadPoolExecutor)

    def called(part: str, **options: object) -> dict[str, Any]:
        given = [f"--{name}={value}" for name, value in options.items()]
        out = tmp_path / "out.json"
        monkeypatch.setattr(sys, "argv", ["", part, *given, f"--out={out}"])
        module.main()
        return read_json(out)

    return called


def test_color_casts(
    with_weights: Path, cast: Cast, color: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    media = media_of(("bruno_1",), tmp_path, cast.source_clip)
    shutil.copy(cast.target_clip, media / "video" / "ada_1.mp4")
    rows = color("casts", media=media, frames=2, cache=tmp_path)["rows"]
    errors = {
        row["matcher"]: row["delta_e"]
        for row in rows
        if row["case"] == "light" and not row["steady"]
    }
    assert errors["robust_mkl"] < 0.5 * errors["none"]
    assert errors["skin_gain"] < errors["robust_mkl"]


def test_color_pairs(color: Callable[..., dict[str, Any]]) -> None:
    report = color("pairs")
    assert {row["case"] for row in report["rows"]} == {
        *("as it is", "lit from elsewhere", "exposed otherwise")
    }
    found = report["as it is, named, unseen"]
    assert found["pairs"] == found["above every other mode"] == 1
    assert found["mean"]["skin_gain"] > found["mean"]["gain"] > found["mean"]["none"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "only", "times"),
    [("kills", "train", 3), ("kills", "convert", 3), ("disk", "convert", 3)],
)
def test_faults(
    call: Call, with_weights: Path, tmp_path: Path, what: str, only: str, times: int
) -> None:
    call("faults", what, "--only", only, "--times", times, "--out", tmp_path / "out.json")
    figures = read_json(tmp_path / "out.json")[what]
    assert (figures["faults"], figures["wrong"]) == (times, 0)


def test_jitter(call: Call, with_weights: Path, tmp_path: Path) -> None:
    call("swap", "jitter", "--frames", 30, "--out", tmp_path / "out.json")
    assert read_json(tmp_path / "out.json")["still_ratio"] < 1
