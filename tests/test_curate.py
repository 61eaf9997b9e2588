"""The whole of `curate` on rendered actors: judged, shown, applied, undone, used by training."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Cast, silent
from PIL import Image
from test_train import checkpoint_tensors, with_training

from faceswap_lite.cli import main
from faceswap_lite.config import CurateConfig
from faceswap_lite.curation.curate import curate_faces, undo_curation
from faceswap_lite.curation.decisions import read_decisions, sampling_weights
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.records import read_record, write_crop
from faceswap_lite.training.advice import advise
from faceswap_lite.training.loading import load_side
from faceswap_lite.training.resume import describe_run
from faceswap_lite.training.train import train

BLURRED = 3


@pytest.fixture
def faces(cast: Cast, tmp_path: Path) -> Path:
    """An actor's set with some crops out of focus."""
    path = tmp_path / "set"
    shutil.copytree(cast.source, path)
    for file in blurred(path):
        with Image.open(file) as picture:
            crop = cv2.GaussianBlur(np.asarray(picture.convert("RGB")), (0, 0), 6)
        record = read_record(file)
        assert record is not None
        write_crop(file, crop, record)
    return path


def blurred(path: Path) -> list[Path]:
    return sorted(path.glob("*.png"))[10 : 10 + BLURRED]


def contents(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["faceswap-lite", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_preview_shows_and_moves_nothing(faces: Path) -> None:
    before = contents(faces)
    summary = curate_faces(faces, CurateConfig())
    after = contents(faces)
    assert crops(after) == crops(before)
    folder = faces.with_name("set_curation")
    assert {d.file for d in summary.decisions if d.reason == "blurred"} == {
        file.name for file in blurred(faces)
    }
    assert "--apply" in summary.lines()[-1]
    with Image.open(folder / "sheet_rejected_blurred.png") as sheet:
        assert sheet.size[0] > 500
    assert blurred(faces)[0].name in (folder / "index.html").read_text()
    assert (folder / "decisions.csv").read_text().count("\n") == len(summary.decisions) + 1


def test_apply_and_undo_leave_the_folder_as_it_was(faces: Path) -> None:
    open_face_set(faces)
    before = contents(faces)
    curate_faces(faces, CurateConfig(), apply=True)
    aside = sorted((faces / "_rejected" / "blurred").iterdir())
    assert len(aside) == BLURRED
    assert len(open_face_set(faces).faces) == len(crops(before)) - len(aside)
    # Judged again: those aside are judged with the rest, and stay where they are.
    summary = curate_faces(faces, CurateConfig(), apply=True)
    assert summary.moved == 0 and len(summary.decisions) == len(crops(before))
    # Nor does it tell of them in another order: a kill amid the moves changes no result.
    assert [decision.file for decision in summary.decisions] == sorted(crops(before))
    assert f"{BLURRED} crops are back" in undo_curation(faces)
    assert contents(faces) == before


def crops(listing: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in listing.items() if name.endswith(".png")}


def test_what_the_user_wants_stays(faces: Path) -> None:
    wanted, unwanted = blurred(faces)[0].name, sorted(faces.glob("*.png"))[0].name
    curate_faces(faces, CurateConfig(), accept=[wanted], reject=[unwanted])
    summary = curate_faces(faces, CurateConfig(), apply=True)
    fates = {d.file: d for d in summary.decisions}
    assert fates[wanted].kept and fates[wanted].by_user and (faces / wanted).exists()
    assert not fates[unwanted].kept and (faces / "_rejected" / "by_hand" / unwanted).exists()
    # Moved back by hand: the same.
    back = next((faces / "_rejected" / "blurred").iterdir())
    back.rename(faces / back.name)
    summary = curate_faces(faces, CurateConfig(), apply=True)
    assert {d.file: d.kept for d in summary.decisions}[back.name]
    assert (faces / back.name).exists()


def test_only_the_best_are_kept(faces: Path) -> None:
    summary = curate_faces(faces, CurateConfig(), best=12)
    kept = [d for d in summary.decisions if d.kept]
    assert len(kept) == 12 and not {d.file for d in kept} & {f.name for f in blurred(faces)}
    assert sum(d.reason == "surplus" for d in summary.decisions) == len(summary.decisions) - 12 - 3


def test_the_target_that_is_not_covered_is_told(faces: Path, cast: Cast) -> None:
    stored = open_face_set(faces).faces
    yaw = [face.record.pose.yaw_deg if face.record.pose else 0 for face in stored]
    for face, angle in zip(stored, yaw, strict=True):
        if angle > np.median(yaw):
            face.path.unlink()
    summary = curate_faces(faces, CurateConfig(), against=cast.target)
    written = json.loads((faces.with_name("set_curation") / "coverage.json").read_text())
    assert ("yaw_deg", "above") in {(gap["attribute"], gap["direction"]) for gap in written["gaps"]}
    said = "\n".join(summary.lines())
    assert all(gap["words"] in said for gap in written["gaps"])
    with Image.open(faces.with_name("set_curation") / "coverage.png") as picture:
        assert picture.size[0] > 500


def test_training_draws_as_decided_and_says_what_is_missing(
    faces: Path, cast: Cast, tmp_path: Path
) -> None:
    curate_faces(faces, CurateConfig())
    source, target = open_face_set(faces), open_face_set(cast.target)
    weights = sampling_weights(source)
    assert weights is not None and weights.max() > 1
    config = with_training(cast.config, steps=2)
    facts = describe_run(source, target, config).source
    balance = config.training.pose_balance
    side = load_side(source, config.model.size, balance, facts.groups, facts.weights)
    drawn = {name: float(w) for name, w in zip(side.names, side.weights, strict=True)}
    decided = {d.file: d.weight for d in read_decisions(faces)}
    scale = decided[side.names[0]] / drawn[side.names[0]]
    assert all(decided[n] == pytest.approx(scale * w) for n, w in drawn.items())
    assert float(side.weights.mean()) == pytest.approx(1)
    said: list[str] = []
    advise(source, target, tmp_path / "run", False, said.append)
    assert any(line.startswith("coverage: ") for line in said)
    assert f"source: {BLURRED} faces that curate rejects are in the set" in "\n".join(said)
    train(source, target, tmp_path / "run", config, say=silent)
    # A run that goes on has been told.
    advise(source, target, tmp_path / "run", False, pytest.fail)


def test_the_command_says_what_it_did(
    faces: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text(f"{blurred(faces)[0].name}\n\n")
    assert run(monkeypatch, "curate", str(faces), "--apply", "--accept", str(names)) == 0
    assert f"moved {BLURRED - 1} crops" in capsys.readouterr().out
    assert run(monkeypatch, "curate", str(faces), "--undo") == 0
    assert f"{BLURRED - 1} crops are back" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["curate", "{0}/nowhere"], 1, "no such face set"),
        (["curate", "{0}/nowhere", "--undo"], 1, "no such face set"),
        (["curate", "{1}", "--undo", "--apply"], 2, "--undo cannot be combined"),
        (["curate", "{1}", "--reject", "nobody.png"], 1, "nobody.png: no such face in the set"),
        (["curate", "{1}", "--accept", "{0}/none.txt"], 2, "cannot be read as a list of names"),
        (["curate", "{1}", "--against", "{0}/nowhere"], 1, "no such face set"),
        (["curate", "{1}", "--set", "curate.blur_limt=2"], 2, "did you mean blur_limit?"),
    ],
)
def test_mistakes_are_told_in_a_line(
    faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    before = contents(faces)
    assert run(monkeypatch, *(word.format(tmp_path, faces) for word in words)) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert crops(contents(faces)) == crops(before)


def test_a_set_that_is_all_aside_says_how_to_get_it_back(faces: Path) -> None:
    names = [file.name for file in sorted(faces.glob("*.png"))]
    curate_faces(faces, CurateConfig(), apply=True, reject=names)
    with pytest.raises(FaceswapError, match=r"all of its faces are set aside.*--undo"):
        curate_faces(faces, CurateConfig())
    undo_curation(faces)
    assert len(open_face_set(faces).faces) == len(names)


def test_so_many_as_before_are_kept_until_told_otherwise(faces: Path) -> None:
    curate_faces(faces, CurateConfig(), apply=True, best=12)
    again = curate_faces(faces, CurateConfig(), apply=True)
    assert again.moved == 0 and sum(d.kept for d in again.decisions) == 12
    assert any("--keep 0 keeps all again" in note for note in again.notes)
    assert sum(d.kept for d in curate_faces(faces, CurateConfig(), best=1).decisions) == 1
    whole = curate_faces(faces, CurateConfig(), apply=True, best=0)
    assert not any(d.reason == "surplus" for d in whole.decisions)
    assert whole.aside == sum(not d.kept for d in whole.decisions)


def test_a_copy_taken_back_is_judged_once(faces: Path) -> None:
    curate_faces(faces, CurateConfig(), apply=True)
    aside = next((faces / "_rejected" / "blurred").iterdir())
    shutil.copy(aside, faces / aside.name)
    summary = curate_faces(faces, CurateConfig())
    assert len({d.key for d in summary.decisions}) == len(summary.decisions)
    assert {d.file: d.reason for d in summary.decisions}[aside.name] == "blurred"


def test_a_renamed_set_can_be_undone(faces: Path) -> None:
    before = crops(contents(faces))
    curate_faces(faces, CurateConfig(), apply=True)
    renamed = faces.rename(faces.with_name("other"))
    undo_curation(renamed)
    assert crops(contents(renamed)) == before


def test_a_resumed_run_draws_as_it_began(faces: Path, cast: Cast, tmp_path: Path) -> None:
    """What is curated between two calls does not change a run under way."""
    target = open_face_set(cast.target)
    curate_faces(faces, CurateConfig())
    whole = tmp_path / "whole"
    train(open_face_set(faces), target, whole, with_training(cast.config, steps=8), say=quiet)
    halves = tmp_path / "halves"
    train(open_face_set(faces), target, halves, with_training(cast.config, steps=4), say=quiet)
    curate_faces(faces, CurateConfig(rare_weight=1.0))
    train(open_face_set(faces), target, halves, with_training(cast.config, steps=8), say=quiet)
    one, other = (checkpoint_tensors(run, 8) for run in (whole, halves))
    assert all(torch.equal(one[name], other[name]) for name in one)


def quiet(line: str) -> None:
    """Says nothing."""


def test_a_target_that_cannot_be_compared_is_refused(faces: Path, cast: Cast) -> None:
    every = [file.name for file in faces.glob("*.png")]
    with pytest.raises(FaceswapError, match="no face is kept that could cover"):
        curate_faces(faces, CurateConfig(), reject=every, against=cast.target)
    # What the user said is not lost by that.
    assert all(d.by_user for d in read_decisions(faces))
