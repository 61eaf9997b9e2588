"""Decisions about faces: written, overridden, applied, undone, and killed while at it."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import Cast

from faceswap_lite.curation import applying
from faceswap_lite.curation.applying import (
    Undone,
    apply_decisions,
    rejected_faces,
    returned_faces,
    undo_moves,
    write_decisions,
)
from faceswap_lite.curation.decisions import (
    Decision,
    Reason,
    read_decisions,
    report_folder,
    sampling_weights,
)
from faceswap_lite.curation.overrides import carry_overrides, override
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import HIDDEN_FOLDER, REJECTED_FOLDER, face_key, open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.faces.records import read_record, write_crop
from faceswap_lite.training.advice import pending_rejections

BEST = 40
WORDS = "not the same person: 0.91 from the others, limit 0.45"
REJECTED: dict[int, Reason] = {
    1: "other_person", 2: "blurred", 5: "blurred", 6: "duplicate", 9: "exposure",
}  # fmt: skip


def journal(faces: Path) -> Path:
    return faces / "_rejected" / ".moves.json"


@pytest.fixture
def faces(cast: Cast, tmp_path: Path) -> Path:
    """A small set of an actor's crops, opened before, so that it has its index."""
    return small_set(cast, tmp_path / "set")


def small_set(cast: Cast, path: Path, count: int = 12) -> Path:
    shutil.copytree(cast.source, path)
    for crop in sorted(path.glob("*.png"))[count:]:
        crop.unlink()
    open_face_set(path)
    return path


def decide(faces: Path, rejected: dict[int, Reason] = REJECTED) -> list[Decision]:
    return [
        Decision(
            key=face_key(face.record),
            file=face.path.name,
            kept=place not in rejected,
            reason=rejected.get(place, ""),
            words=WORDS if place in rejected else "",
            weight=1.0,
            scores={"identity": 0.25 * place, "sharpness": float(place == 3)},
        )
        for place, face in enumerate(open_face_set(faces).faces)
    ]


def decided(faces: Path, rejected: dict[int, Reason] = REJECTED) -> list[Decision]:
    """Decisions, written."""
    decisions = decide(faces, rejected)
    write_decisions(faces, decisions, BEST)
    return decisions


def snapshot(folder: Path) -> dict[str, tuple[bytes, int | None]]:
    """Every file by its path, hidden ones too; of crops also when they were changed.

    What a kill left half written is left out: it is there until its next writer.
    """
    return {
        str(file.relative_to(folder)): (
            file.read_bytes(),
            file.stat().st_mtime_ns if file.suffix == ".png" else None,
        )
        for file in sorted(folder.rglob("*"))
        if file.is_file() and ".partial." not in file.name
    }


def crops_anywhere(folder: Path) -> Counter[bytes]:
    """The bytes of every crop in the folder, wherever it lies."""
    return Counter(file.read_bytes() for file in folder.rglob("*.png"))


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("*.png")}


def aside(faces: Path) -> set[str]:
    """What lies in `_rejected`, as REASON/NAME."""
    folder = faces / REJECTED_FOLDER
    return {str(file.relative_to(folder)) for file in folder.rglob("*.png")}


def expected_aside(decisions: list[Decision]) -> set[str]:
    return {f"{d.reason}/{d.file}" for d in decisions if not d.kept}


def test_decisions_come_back_as_written(faces: Path) -> None:
    decisions = decide(faces)
    decisions[0] = decisions[0].model_copy(update={"scores": {"size": 0.5}})
    write_decisions(faces, decisions, BEST)
    read = read_decisions(faces)
    assert read == decisions
    folder = faces.parent / "set_curation"
    assert report_folder(faces) == folder
    content = json.loads((folder / "decisions.json").read_text())
    assert (content["schema"], content["set"], content["best"]) == (1, "set", BEST)
    assert {file.name for file in folder.iterdir()} == {"decisions.json", "decisions.csv"}


def test_the_table(faces: Path) -> None:
    decisions = decide(faces, {1: "other_person"})
    decisions[2] = decisions[2].model_copy(update={"reason": "rare", "weight": 2.5, "scores": {}})
    write_decisions(faces, override(decisions, reject=[decisions[3].file]), BEST)
    with (report_folder(faces) / "decisions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(decisions)
    head = ["file", "verdict", "reason", "words", "weight", "by_user"]
    assert list(rows[0]) == [*head, "identity", "sharpness"]
    assert list(rows[0].values()) == [decisions[0].file, "kept", "", "", "1", "no", "0", "0"]
    # A comma in the words stays one cell.
    assert list(rows[1].values())[1:6] == ["rejected", "other_person", WORDS, "1", "no"]
    assert list(rows[2].values())[1:] == ["kept", "rare", "", "2.5", "no", "", ""]
    by_hand = ["rejected", "by_hand", "rejected by hand (was: kept)", "1", "yes", "0.75", "1"]
    assert list(rows[3].values())[1:] == by_hand


def test_the_report_lies_beside_the_set_however_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set" / "inner").mkdir(parents=True)
    assert report_folder(Path("a/set/")) == Path("a/set_curation")
    monkeypatch.chdir(tmp_path / "set")
    assert report_folder(Path(".")) == tmp_path.resolve() / "set_curation"
    monkeypatch.chdir(tmp_path / "set" / "inner")
    assert report_folder(Path("..")) == tmp_path.resolve() / "set_curation"


def test_there_are_no_decisions_and_no_moves_at_first(faces: Path) -> None:
    assert read_decisions(faces) == []
    assert rejected_faces(faces) == {}
    assert returned_faces(faces) == set()
    before = snapshot(faces)
    assert undo_moves(faces) == Undone(0, [])
    assert apply_decisions(faces, decide(faces, {})) == 0
    assert snapshot(faces) == before
    assert not report_folder(faces).exists()
    with pytest.raises(FaceswapError, match="no such face set"):
        undo_moves(faces / "nowhere")


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "decisions": [{"key": 3}]}'],
)
def test_broken_files_are_one_line_that_says_what_to_do(faces: Path, content: str) -> None:
    decisions = decided(faces)
    (report_folder(faces) / "decisions.json").write_text(content)
    with pytest.raises(FaceswapError, match=r"decisions\.json: .*; delete it and curate") as error:
        read_decisions(faces)
    assert "\n" not in str(error.value)
    journal(faces).parent.mkdir()
    journal(faces).write_text(content)
    for act in (lambda: apply_decisions(faces, decisions), lambda: undo_moves(faces)):
        with pytest.raises(FaceswapError, match=r"moves\.json: .*by hand and delete it") as error:
            act()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["..", "../other.png", "/etc/passwd", ""])
def test_a_journal_names_nothing_outside_the_set(faces: Path, name: str) -> None:
    apply_decisions(faces, decided(faces))
    file = journal(faces)
    for part in ("name", "folder", "file"):
        content = json.loads(file.read_text())
        content["moves"][0][part] = name
        good = file.read_text()
        file.write_text(json.dumps(content))
        with pytest.raises(FaceswapError, match=rf"moves\.0\.{part}: .*the name of a file"):
            undo_moves(faces)
        file.write_text(good)


def test_applied_and_undone_the_folder_is_byte_for_byte_as_before(faces: Path) -> None:
    (faces / "notes.txt").write_text("mine")
    before = snapshot(faces)
    decisions = decided(faces)
    assert snapshot(faces) == before, "a preview moves nothing"
    assert apply_decisions(faces, decisions) == 5
    assert aside(faces) == expected_aside(decisions)
    assert rejected_faces(faces) == {
        faces / REJECTED_FOLDER / d.reason / d.file: d.file for d in decisions if not d.kept
    }
    left = open_face_set(faces)
    assert [face.path.name for face in left.faces] == [d.file for d in decisions if d.kept]
    assert crops_anywhere(faces) == Counter(data for data, when in before.values() if when)
    assert apply_decisions(faces, decisions) == 0
    assert undo_moves(faces) == Undone(5, [])
    assert snapshot(faces) == before
    assert not (faces / REJECTED_FOLDER).exists()
    assert not journal(faces).exists()
    open_face_set(faces)
    assert snapshot(faces) == before
    assert read_decisions(faces) == decisions
    assert undo_moves(faces) == Undone(0, [])


def test_undone_without_opening_between_it_is_as_before_too(faces: Path) -> None:
    before = snapshot(faces)
    apply_decisions(faces, decided(faces))
    undo_moves(faces)
    assert snapshot(faces) == before


def test_a_judgement_that_changes_moves_crops_on_and_back(faces: Path) -> None:
    before = snapshot(faces)
    apply_decisions(faces, decided(faces))
    changed: dict[int, Reason] = {2: "duplicate", 5: "blurred", 8: "too_small"}
    by_file = {d.file: d for d in decide_all(faces, before, changed)}
    later = list(by_file.values())
    # 1, 6 and 9 come back, 2 has another reason, 8 goes; 5 stays.
    assert apply_decisions(faces, later) == 5
    assert aside(faces) == expected_aside(later)
    assert names(faces) == {d.file for d in later if d.kept}
    # Of a face that nobody judged this time, the place stays as it is.
    assert apply_decisions(faces, [d for d in later if d.kept]) == 0
    assert aside(faces) == expected_aside(later)
    assert undo_moves(faces) == Undone(3, [])
    assert snapshot(faces) == before


def decide_all(
    faces: Path, before: dict[str, tuple[bytes, int | None]], rejected: dict[int, Reason]
) -> list[Decision]:
    """Decisions on every crop that was there before, set aside or not."""
    where = {path.name: path for path in faces.rglob("*.png")}
    decisions = []
    for place, name in enumerate(sorted(name for name, (_, when) in before.items() if when)):
        record = read_record(where[name])
        assert record is not None
        decision = Decision(
            key=face_key(record), file=name, kept=place not in rejected,
            reason=rejected.get(place, ""), words="", weight=1,
        )  # fmt: skip
        decisions.append(decision)
    return decisions


CHILD = """
import os, signal, sys
from pathlib import Path
from faceswap_lite.curation.applying import apply_decisions, undo_moves
from faceswap_lite.curation.decisions import read_decisions

action, *folders = sys.argv[1:]
left = 0

def counted(change):
    def until_killed(*paths):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        change(*paths)
    return until_killed

os.rename, os.replace = counted(os.rename), counted(os.replace)
# Each folder is worked on by a process of its own, killed one change later than the last.
for moment, folder in enumerate(map(Path, folders)):
    child = os.fork()
    if child == 0:
        left = moment
        try:
            if action == "apply":
                apply_decisions(folder, read_decisions(folder))
            else:
                undo_moves(folder)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(os.waitstatus_to_exitcode(status))
"""


def killed(action: str, folders: list[Path]) -> list[int]:
    """Run `action` on each folder, killed before its first, second, ... change; how each ended."""
    command = [sys.executable, "-c", CHILD, action, *map(str, folders)]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


# Journal, five crops, journal; and when nothing is left to be killed at.
MOMENTS = 8


def copies(faces: Path, count: int) -> list[Path]:
    """The set with what lies beside it, so many times."""
    made = []
    for number in range(count):
        copy = faces.parent / str(number) / faces.name
        shutil.copytree(faces, copy)
        shutil.copytree(report_folder(faces), report_folder(copy))
        made.append(copy)
    return made


def test_a_killed_apply_loses_nothing_and_is_finished_by_the_next(faces: Path) -> None:
    before = snapshot(faces)
    crops = crops_anywhere(faces)
    decisions = decided(faces)
    folders = copies(faces, 2 * MOMENTS)
    ends = killed("apply", folders[:MOMENTS]) + killed("apply", folders[MOMENTS:])
    assert ends == 2 * ([-signal.SIGKILL] * (MOMENTS - 1) + [0])
    for place, folder in enumerate(folders):
        moment = place % MOMENTS
        assert crops_anywhere(folder) == crops
        assert len(aside(folder)) == min(max(moment - 1, 0), 5)
        # What had not left yet has not come back.
        assert returned_faces(folder) == set()
        if place < MOMENTS:
            assert apply_decisions(folder, decisions) == 5 - min(max(moment - 1, 0), 5)
            assert aside(folder) == expected_aside(decisions)
            open_face_set(folder)
        assert undo_moves(folder).kept_back == []
        assert snapshot(folder) == before
        assert not journal(folder).exists()


def test_a_killed_undo_loses_nothing_and_is_finished_by_the_next(faces: Path) -> None:
    before = snapshot(faces)
    crops = crops_anywhere(faces)
    decisions = decided(faces)
    apply_decisions(faces, decisions)
    open_face_set(faces)
    folders = copies(faces, 2 * MOMENTS)
    # The index in place of the second journal, which is removed.
    ends = killed("undo", folders[:MOMENTS]) + killed("undo", folders[MOMENTS:])
    assert ends == 2 * ([-signal.SIGKILL] * (MOMENTS - 1) + [0])
    for place, folder in enumerate(folders):
        moment = place % MOMENTS
        assert crops_anywhere(folder) == crops
        assert len(aside(folder)) == 5 - min(max(moment - 1, 0), 5)
        # What the undoing brought back was not brought back by hand.
        assert returned_faces(folder) == set()
        if place >= MOMENTS:
            apply_decisions(folder, decisions)
            assert aside(folder) == expected_aside(decisions)
        undone = undo_moves(folder)
        assert undone.kept_back == []
        assert snapshot(folder) == before


def test_a_crop_that_cannot_be_moved_is_one_line_and_the_next_call_goes_on(
    faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(faces)
    decisions = decided(faces)
    real = os.rename

    def refuse(source: Path, target: Path) -> None:
        if Path(source).name == decisions[5].file:
            raise PermissionError(13, "Permission denied")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(applying.os, "rename", refuse)
        with pytest.raises(FaceswapError, match=rf"{decisions[5].file}: .*Permission denied"):
            apply_decisions(faces, decisions)
    assert returned_faces(faces) == set()
    apply_decisions(faces, decisions)
    assert aside(faces) == expected_aside(decisions)
    undo_moves(faces)
    assert snapshot(faces) == before


def test_nothing_is_written_over(faces: Path) -> None:
    """Names taken among the rejected ones and, at undoing, in the set."""
    decisions = decided(faces)
    first, second = decisions[1].file, decisions[2].file
    own = {file: (faces / file).read_bytes() for file in (first, second)}
    there = faces / REJECTED_FOLDER / "other_person" / first
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")
    assert apply_decisions(faces, decisions) == 5
    moved = there.with_name(f"{there.stem} (2).png")
    assert there.read_bytes() == b"mine" and moved.read_bytes() == own[first]
    (faces / second).write_bytes(b"mine, too")
    assert undo_moves(faces) == Undone(4, [second])
    assert (faces / first).read_bytes() == own[first]
    assert (faces / second).read_bytes() == b"mine, too"
    assert (faces / REJECTED_FOLDER / "blurred" / second).read_bytes() == own[second]
    assert there.read_bytes() == b"mine"
    # The name is free again: the same call finishes, and leaves what is the user's.
    (faces / second).unlink()
    assert undo_moves(faces) == Undone(1, [])
    assert (faces / second).read_bytes() == own[second]
    assert aside(faces) == {f"other_person/{first}"} and there.read_bytes() == b"mine"


def test_of_two_crops_of_one_name_the_later_comes_back(faces: Path) -> None:
    decisions = decided(faces, {1: "blurred"})
    apply_decisions(faces, decisions)
    name = decisions[1].file
    later = (faces / decisions[2].file).read_bytes()
    (faces / decisions[2].file).rename(faces / name)
    apply_decisions(faces, decide(faces, {1: "blurred"}))
    stem = Path(name).stem
    assert aside(faces) == {f"blurred/{name}", f"blurred/{stem} (2).png"}
    assert undo_moves(faces) == Undone(1, [name])
    assert (faces / name).read_bytes() == later


def test_files_that_are_no_faces_are_never_touched(faces: Path) -> None:
    decisions = decided(faces)
    (faces / "holiday.png").write_bytes(b"no picture")
    (faces / "folder").mkdir()
    (faces / "folder" / decisions[1].file).write_bytes(b"mine")
    before = snapshot(faces)
    apply_decisions(faces, decisions)
    after = snapshot(faces)
    for file in ("holiday.png", f"folder/{decisions[1].file}"):
        assert after[file] == before[file]
    undo_moves(faces)
    assert snapshot(faces) == before


def test_renamed_crops_and_copies_share_their_decision(faces: Path) -> None:
    decisions = decided(faces)
    (faces / decisions[1].file).rename(faces / "zzz my favourite.png")
    shutil.copy2(faces / decisions[2].file, faces / f"copy of {decisions[2].file}")
    open_face_set(faces)
    before = snapshot(faces)
    assert apply_decisions(faces, decisions) == 6
    assert {"other_person/zzz my favourite.png", f"blurred/copy of {decisions[2].file}"} < aside(
        faces
    )
    assert len(open_face_set(faces).faces) == 7
    assert returned_faces(faces) == set()
    assert undo_moves(faces) == Undone(6, [])
    assert snapshot(faces) == before


def test_overrides_by_name(faces: Path) -> None:
    decisions = decide(faces)
    decisions[3] = decisions[3].model_copy(
        update={"reason": "rare", "weight": 3.0, "words": "rare: yaw 71 deg"}
    )
    keep = [decisions[1].file, str(faces / decisions[3].file)]
    changed = override(decisions, keep=keep, reject=[decisions[0].file, decisions[2].file])
    seen = [(d.kept, d.reason, d.words, d.weight, d.by_user) for d in changed[:4]]
    assert seen == [
        (False, "by_hand", "rejected by hand (was: kept)", 1, True),
        (True, "", f"kept by hand (was: {WORDS})", 1, True),
        (False, "by_hand", f"rejected by hand ({WORDS})", 1, True),
        (True, "rare", "kept by hand (rare: yaw 71 deg)", 3, True),
    ]
    assert changed[4:] == decisions[4:]
    assert override(changed, keep=keep) == changed, "said twice is said once"
    back = override(changed, keep=[decisions[0].file])[0]
    assert (back.kept, back.reason) == (True, "")
    assert not any(d.by_user for d in decisions), "the old ones are left as they were"


def test_overrides_that_cannot_be(faces: Path) -> None:
    decisions = decide(faces)
    wrong = decisions[4].file.replace("_0.png", "_0.pgn")
    with pytest.raises(FaceswapError, match=rf"{wrong}: no such face .*mean {decisions[4].file}"):
        override(decisions, keep=[wrong])
    with pytest.raises(FaceswapError, match=r"quite_else\.jpg: no such face in the set$"):
        override(decisions, reject=["quite_else.jpg"])
    with pytest.raises(FaceswapError, match="both kept and rejected"):
        override(decisions, keep=[decisions[0].file], reject=[decisions[0].file])


def test_a_new_judgement_keeps_what_the_user_decided(faces: Path) -> None:
    old = override(decide(faces), keep=[decide(faces)[1].file], reject=[decide(faces)[0].file])
    new = decide(faces, {1: "occluded", 0: "blurred", 4: "exposure", 7: "surplus"})
    carried = carry_overrides(new, old, {new[4].key})
    assert [d.key for d in carried] == [d.key for d in new]
    assert [(d.kept, d.reason, d.by_user) for d in carried[:5]] == [
        (False, "by_hand", True),
        (True, "", True),
        (True, "", False),
        (True, "", False),
        (True, "", True),
    ]
    # Not what the user said nothing about: 2 was rejected before and is kept, 7 the other way.
    assert (carried[2], carried[7]) == (new[2], new[7])
    again = carry_overrides(decide(faces, {}), carried, set())
    assert [d.kept for d in again[:2]] == [False, True] and again[1].by_user


def judged_again(faces: Path, judged: list[Decision]) -> list[Decision]:
    """What the command does: the same judgement anew, with what the user decided, written."""
    decisions = carry_overrides(judged, read_decisions(faces), returned_faces(faces))
    write_decisions(faces, decisions, BEST)
    return decisions


def test_a_crop_moved_back_by_hand_is_kept_from_then_on(faces: Path) -> None:
    judged = decided(faces)
    apply_decisions(faces, judged)
    crop = judged[1]
    renamed = faces / "this is her.png"
    (faces / REJECTED_FOLDER / "other_person" / crop.file).rename(renamed)
    assert returned_faces(faces) == {crop.key}
    assert pending_rejections(open_face_set(faces)) == 0
    decisions = judged_again(faces, judged)
    assert decisions[1].kept and decisions[1].by_user
    assert decisions[1].words == f"kept by hand (was: {WORDS})"
    assert returned_faces(faces) == set(), "taken down, and asked no more"
    assert apply_decisions(faces, decisions) == 0
    assert renamed.exists()
    undo_moves(faces)
    assert renamed.exists() and len(names(faces)) == 12
    assert apply_decisions(faces, judged_again(faces, judged)) == 4
    assert renamed.exists()


def test_the_later_word_of_the_user_counts(faces: Path) -> None:
    judged = decided(faces)
    apply_decisions(faces, judged)
    place = faces / REJECTED_FOLDER / "other_person" / judged[1].file
    place.rename(faces / judged[1].file)
    kept = judged_again(faces, judged)
    write_decisions(faces, override(kept, reject=[judged[1].file]), BEST)
    rejected = judged_again(faces, judged)
    assert not rejected[1].kept and rejected[1].by_user
    apply_decisions(faces, rejected)
    place = faces / REJECTED_FOLDER / "by_hand" / judged[1].file
    place.rename(faces / judged[1].file)
    assert judged_again(faces, judged)[1].kept


def test_undoing_remembers_what_was_moved_back_by_hand(faces: Path) -> None:
    judged = decided(faces)
    apply_decisions(faces, judged)
    (faces / REJECTED_FOLDER / "other_person" / judged[1].file).rename(faces / judged[1].file)
    assert undo_moves(faces) == Undone(4, [])
    assert [d.by_user for d in read_decisions(faces)].count(True) == 1
    assert judged_again(faces, judged)[1].kept
    written = json.loads((report_folder(faces) / "decisions.json").read_text())
    assert written["best"] == BEST


def test_a_crop_rejected_by_hand_is_left_where_it_is(faces: Path) -> None:
    decisions = decided(faces)
    apply_decisions(faces, decisions)
    mine = faces / REJECTED_FOLDER / "ugly" / decisions[0].file
    mine.parent.mkdir()
    (faces / decisions[0].file).rename(mine)
    among_ours = faces / REJECTED_FOLDER / "blurred" / decisions[3].file
    (faces / decisions[3].file).rename(among_ours)
    assert len(open_face_set(faces).faces) == 5
    assert {mine, among_ours}.isdisjoint(rejected_faces(faces))
    assert apply_decisions(faces, decisions) == 0
    assert undo_moves(faces) == Undone(5, [])
    assert aside(faces) == {f"ugly/{mine.name}", f"blurred/{among_ours.name}"}
    # Emptied folders go, the user's stay.
    assert {p.name for p in (faces / REJECTED_FOLDER).iterdir()} == {"ugly", "blurred"}


def test_another_crop_put_in_the_place_of_ours_is_the_users(faces: Path) -> None:
    decisions = decided(faces)
    apply_decisions(faces, decisions)
    place = faces / REJECTED_FOLDER / "exposure" / decisions[9].file
    place.unlink()
    (faces / decisions[0].file).rename(place)
    assert place not in rejected_faces(faces)
    assert undo_moves(faces) == Undone(4, [])
    assert place.exists()


def test_crops_touched_or_broken_while_aside_still_come_back(faces: Path) -> None:
    decisions = decided(faces)
    apply_decisions(faces, decisions)
    touched = faces / REJECTED_FOLDER / "other_person" / decisions[1].file
    os.utime(touched)
    broken = faces / REJECTED_FOLDER / "blurred" / decisions[2].file
    broken.write_bytes(broken.read_bytes()[:60])
    assert undo_moves(faces) == Undone(5, [])
    assert len(names(faces)) == 12


def test_faces_extracted_anew_have_not_come_back_by_hand(faces: Path) -> None:
    judged = decided(faces)
    crop = open_face_set(faces).crops(32, 0)[1]
    record = read_record(faces / judged[1].file)
    assert record is not None
    record = record.model_copy(update={"size": 32, "margin": 0.0})
    apply_decisions(faces, judged)
    shutil.rmtree(faces / REJECTED_FOLDER)
    write_crop(faces / judged[1].file, crop, record)
    assert returned_faces(faces) == set()
    assert not judged_again(faces, judged)[1].kept


def test_an_extraction_that_is_done_stays_done(cast: Cast, tmp_path: Path) -> None:
    faces = small_set(cast, tmp_path / "set", count=40)
    apply_decisions(faces, decided(faces))
    before = snapshot(faces)
    assert extract_faces(find_footage([cast.source_clip]), faces, cast.config.extract).already_done
    assert snapshot(faces) == before
    total = len(names(faces)) + 5
    line = f"5 of {total} extracted faces are set aside in _rejected"
    assert open_face_set(faces).problems == [line]


def test_weights_follow_faces_and_not_names(faces: Path) -> None:
    opened = open_face_set(faces)
    assert sampling_weights(opened) is None and pending_rejections(opened) == 0
    decisions = decided(faces)
    assert sampling_weights(opened) is None, "nothing but ordinary faces"
    assert pending_rejections(opened) == 5
    decisions[3] = decisions[3].model_copy(update={"weight": 2.5})
    # Of a rejected face, no weight counts.
    decisions[1] = decisions[1].model_copy(update={"weight": 7.0})
    write_decisions(faces, decisions[:-1], BEST)
    (faces / decisions[3].file).rename(faces / "aaa.png")
    opened = open_face_set(faces)
    weights = sampling_weights(opened)
    expected = np.ones(12)
    expected[3] = 2.5
    np.testing.assert_array_equal(weights, expected)
    apply_decisions(faces, decisions)
    opened = open_face_set(faces)
    weights = sampling_weights(opened)
    assert weights is not None and len(weights) == 7 and (weights != 1).sum() == 1
    assert opened.faces[int(weights.argmax())].path.name == "aaa.png"
    assert pending_rejections(opened) == 0


def test_a_set_whose_faces_are_all_aside_says_so_and_can_be_undone(faces: Path) -> None:
    before = snapshot(faces)
    apply_decisions(faces, decided(faces, dict.fromkeys(range(12), "other_person")))
    with pytest.raises(FaceswapError, match=r"no faces .*are set aside in _rejected"):
        open_face_set(faces)
    undo_moves(faces)
    assert snapshot(faces) == before


def test_what_a_kill_left_of_an_index_goes_with_the_next(faces: Path) -> None:
    left = faces / HIDDEN_FOLDER / ".index.partial.npz"
    left.write_bytes(b"half")
    apply_decisions(faces, decided(faces))
    open_face_set(faces)
    assert not left.exists()
