"""What is damaged is told or made again: journals, records, logs, numbers that are none."""

import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from pydantic import ValidationError

from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion.casting import plan_cast
from faceswap_lite.conversion.detection_pass import DetectionPass
from faceswap_lite.conversion.job import FrameTally
from faceswap_lite.curation.decisions import Decision
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.detect import Detection
from faceswap_lite.faces.embed import Person
from faceswap_lite.faces.face_set import EXTRACTION_JOB_FILE, HIDDEN_FOLDER, read_job
from faceswap_lite.faces.journal import (
    JournalEnd,
    Sighting,
    append_lines,
    read_journal,
    read_lines,
    sighting_line,
)
from faceswap_lite.faces.pack import FoundFace
from faceswap_lite.faces.records import FaceRecord, parse_record, record_text
from faceswap_lite.media.clock import picture_streams
from faceswap_lite.media.pieces import Piece, PieceShelf
from faceswap_lite.media.truth import load_true_landmarks, truth_path
from faceswap_lite.outputs import is_broken, read_json, sealed
from faceswap_lite.runs.log import RunLog, read_history
from faceswap_lite.runs.manifest import IdentityFacts, RunManifest, is_same_person
from faceswap_lite.runs.split import FaceGroup

HEAD = {"version": 3, "job": "a"}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    with append_lines(tmp_path / "journal", HEAD) as append:
        for number in range(5):
            append({"n": number, "name": f"crop_{number}.png"})
    return tmp_path / "journal"


def moved(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[4], lines[3], *lines[5:]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [*lines[:3], lines[3].replace(b"crop_2", b"../../x"), *lines[4:]],
        lambda lines: [*lines[:3], lines[3].replace(b'"n":2', b'"n":3'), *lines[4:]],
        lambda lines: [*lines[:3], *lines[4:]],
        lambda lines: [*lines[:3], lines[2], *lines[3:]],
        moved,
        lambda lines: [*lines[:3], b"[" * 100_000 + b"\n", *lines[3:]],
        lambda lines: [*lines[:3], lines[3][:-9]],
    ],
    ids=["a name", "a number", "lost", "twice", "moved", "garbage", "cut"],
)
def test_a_journal_counts_up_to_the_first_line_that_is_not_as_it_was(
    journal: Path, damage: Any
) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(damage(lines)))
    found = read_lines(journal, HEAD, repair=True)
    assert found is not None and [line["n"] for line in found] == [0, 1]
    with append_lines(journal) as append:
        append({"n": 2})
    again = read_lines(journal, HEAD)
    assert again is not None and [line["n"] for line in again] == [0, 1, 2]


def test_sightings_are_on_the_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces = []
    with append_lines(tmp_path / "journal", HEAD) as append:
        for number in range(600):
            points = rng.random((468, 2), np.float32)
            five = np.round(rng.random((5, 2)) * 90, 2)
            faces.append(FoundFace(Detection(np.array([1.0, 2, 3, 4]), 0.5, five), points, None))
            append(sighting_line(Sighting(number, number * 2, 0.5, [faces[-1]])))
        append({"end": JournalEnd(2.0, ["a gap"])})
    found = read_journal(tmp_path / "journal", HEAD)
    assert found is not None and found.end == JournalEnd(2.0, ["a gap"])
    # A temporary folder goes before the sightings do.
    (tmp_path / "journal").unlink()
    assert len(found.sightings) == 600
    for place in (0, 599, 300, -1):
        sighting = found.sightings[place]
        assert (sighting.frame, sighting.pts) == (place % 600, place % 600 * 2)
        np.testing.assert_array_equal(sighting.faces[0].landmarks, faces[place].landmarks)
    assert len(found.sightings._recent) < 300


def test_a_tally_knows_the_frames_before_the_damage(tmp_path: Path) -> None:
    tally = FrameTally(tmp_path / "frames.jsonl", "job")
    tally.read()
    for frame in range(6):
        tally.add(frame, 1, None)
    text = tally.path.read_text()
    tally.path.write_text(text.replace('"frame":4,"layers":1', '"frame":4,"layers":0'))
    again = FrameTally(tally.path, "job")
    again.read()
    assert again.layers == dict.fromkeys(range(4), 1)
    other = FrameTally(tally.path, "another job")
    other.read()
    assert other.layers == {}


def test_a_damaged_piece_is_made_again(tmp_path: Path) -> None:
    shelf = PieceShelf(tmp_path, "recipe")
    for number in range(3):
        shelf.file(number).write_bytes(bytes(100))
        shelf.add(Piece([number]))
    assert PieceShelf(tmp_path, "recipe").frames == 3
    shelf.file(1).write_bytes(bytes(99) + b"x")
    assert PieceShelf(tmp_path, "recipe").frames == 1
    record = tmp_path / ".000000.json"
    record.write_text(record.read_text().replace('"delay": 0', '"delay": 7'))
    assert PieceShelf(tmp_path, "recipe").frames == 0
    record.write_text("[]")
    assert PieceShelf(tmp_path, "recipe").frames == 0


def test_facts_tell_whether_they_are_as_they_were_written() -> None:
    facts = json.loads(json.dumps(sealed({"step": 3, "seconds": 0.1, "best": None})))
    assert not is_broken(facts)
    assert is_broken({**facts, "step": 4}) and is_broken({**facts, "more": 1})
    assert not is_broken({"step": 3})


def test_a_run_goes_on_past_lines_of_its_log_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(
        b'{"step": 1, "loss": 2.0}\n{"step": 2, "lo}\n\xff\xfe}\n[]}\n{"step": "x"}\n{"step": 9}\n'
    )
    RunLog(tmp_path, 5).close()
    assert read_history(tmp_path).loss_step.tolist() == [1]


def test_a_group_of_faces_has_no_more_frames_than_a_clip() -> None:
    told = {"clip": "c", "role": "seen", "since": 0}
    assert FaceGroup(**told, frames="0-84,90,92").frames
    for frames in ("0-9999999999999999999999999", "0-84,x", ""):
        with pytest.raises(ValidationError):
            FaceGroup(**told, frames=frames)


@pytest.mark.parametrize("weight", ["NaN", "Infinity", "1e999"])
def test_a_decision_s_weight_is_a_number(weight: str) -> None:
    told = {"key": "k", "file": "f", "kept": True, "reason": "", "words": ""}
    with pytest.raises(ValidationError):
        Decision.model_validate({**told, "weight": json.loads(weight)})


def test_a_stream_that_no_decoder_is_there_for_is_no_picture() -> None:
    known, unknown = (
        SimpleNamespace(disposition=0, codec_context=context) for context in (object(), None)
    )
    container = SimpleNamespace(streams=SimpleNamespace(video=[unknown, known]))
    assert picture_streams(container) == [known]


def kept_bytes(path: Path, frames: int) -> int:
    """What is in memory of a clip of so many frames when its plan has been gone through."""
    rng = np.random.default_rng(0)
    points = rng.random((468, 2), np.float32) * 60
    vector = rng.random(512, np.float32)
    with append_lines(path, HEAD) as append:
        for number in range(frames):
            at = np.float32(10 * np.sin(number / 40))
            box = np.array([at, at, at + 60, at + 60], np.float64)
            face = FoundFace(Detection(box, 0.99, points[:5] + at), points + at, vector, 1.0)
            append(sighting_line(Sighting(number, number, 0.5, [face])))
        append({"end": JournalEnd(1.0, [])})
    wanted = Person(vector.astype(np.float64), "cosine", 0.5)
    tracemalloc.start()
    try:
        found = read_journal(path, HEAD)
        assert found is not None
        plan = plan_cast(DetectionPass(found.sightings), "mesh", wanted, ConvertConfig(), 0.9)
        assert all(len(plan.placements[frame]) == 1 for frame in range(frames))
        assert plan.bridged == 0 and len(plan.placements) == frames
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_long_clip_s_plan_keeps_less_than_a_kilobyte_a_frame(tmp_path: Path) -> None:
    # What is asked for last is kept whole, however long the clip is: it is in both.
    few, many = (
        # What other tests have left running may take some meanwhile.
        min(kept_bytes(tmp_path / f"{frames}_{again}", frames) for again in range(3))
        for frames in (280, 430)
    )
    assert (many - few) / 150 < 1000


def make_record() -> FaceRecord:
    return FaceRecord(
        job="j", clip_name="c.mp4", clip_fingerprint="f", frame_index=1, pts=1, time="1/25",
        frame_width=96, frame_height=96, face=0, track=0, box_xyxy=np.arange(4.0), confidence=0.9,
        presence=None, detector="d", landmarks_pack="five", landmarks=np.zeros((5, 2), np.float32),
        five=np.zeros((5, 2), np.float32), embedder=None, embedding=None, coverage="face",
        margin=0.1, size=64, frame_to_crop=np.eye(2, 3), sharpness=1.0, pose=None,
        mouth_opening=None, eye_opening=None, missing={},
    )  # fmt: skip


def test_what_a_record_says_is_none_or_refused(tmp_path: Path) -> None:
    """Each of a record's values becomes each odd one: a ValueError, or a record all the same."""
    record = json.loads(record_text(make_record()))
    odd: tuple[Any, ...] = (
        None,
        -1,
        10**400,
        "x",
        "1/0",
        [],
        {},
        [[]],
        [{"x": 1}],
        float("nan"),
        "[" * 10**5,
    )
    for name in record:
        for value in odd:
            with suppress(ValueError):
                parse_record(json.dumps({**record, name: value}))
    with pytest.raises(ValueError):
        parse_record("[" * 100_000)


@pytest.mark.parametrize("shape", [(4, 67, 2), (68, 2), (4, 68, 3)])
def test_a_truth_of_other_points_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    clip = tmp_path / "clip.mp4"
    np.savez(truth_path(clip), landmarks=np.zeros(shape))
    with pytest.raises(FaceswapError, match="is not a readable truth file"):
        load_true_landmarks(clip)


def test_a_truth_that_asks_for_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    head = str({"descr": "<f8", "fortran_order": False, "shape": (10**15, 68, 2)}).ljust(117) + "\n"
    with zipfile.ZipFile(truth_path(clip), "w") as file:
        file.writestr("landmarks.npy", b"\x93NUMPY\x01\x00\x76\x00" + head.encode())
    with pytest.raises(FaceswapError, match="is not a readable truth file"):
        load_true_landmarks(clip)


def test_a_truth_whose_head_is_cut_off_is_refused(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with zipfile.ZipFile(truth_path(clip), "w") as file:
        head = b"{'descr': '<f8', 'shape': (4, 68L,".ljust(117) + b"\n"
        file.writestr("landmarks.npy", b"\x93NUMPY\x01\x00\x76\x00" + head)
    with pytest.raises(FaceswapError, match="is not a readable truth file"):
        load_true_landmarks(clip)


@pytest.mark.parametrize(
    "odd",
    [
        [],
        {"job": 1},
        {"files": 3},
        {"files": [1]},
        {"clips": {}},
        {"clips": [{"name": "a"}]},
        {"pack": ["mtcnn"]},
    ],
    ids=str,
)
def test_an_odd_note_of_an_extraction_is_none(tmp_path: Path, odd: Any) -> None:
    file = tmp_path / HIDDEN_FOLDER / EXTRACTION_JOB_FILE
    file.parent.mkdir()
    job = {"job": "a", "files": ["a.png"], "clips": [{"fingerprint": "b", "prefix": "c"}]}
    file.write_text(json.dumps(job))
    assert read_job(tmp_path) == job
    file.write_text(json.dumps({**job, **odd} if isinstance(odd, dict) else odd))
    assert read_job(tmp_path) is None


def test_centroids_of_two_lengths_tell_nobody_apart() -> None:
    one, other = (
        IdentityFacts(
            path="", faces=1, fingerprint="", clips=[], embedder="dlib", centroid=[0.5] * length
        )
        for length in (128, 129)
    )
    assert is_same_person(one, one, one) is not None
    assert is_same_person(one, one, other) is None
    facts = {"job": "", "landmarks_pack": "mesh", "detector": "", "coverage": "full"}
    RunManifest.model_validate({**facts, "source": one, "target": one})
    with pytest.raises(ValidationError, match="two lengths"):
        RunManifest.model_validate({**facts, "source": one, "target": other})


@pytest.mark.slow
def test_a_share_of_the_mutated_files_is_done_or_refused(weights_dir: Path, tmp_path: Path) -> None:
    script = ROOT / "benchmarks" / "mutations.py"
    environment = {
        **os.environ, "FACESWAP_LITE_WEIGHTS": str(weights_dir), "FACESWAP_LITE_MEDIA": "",
        "FACESWAP_LITE_FIXTURES": "",
    }  # fmt: skip
    call = [sys.executable, str(script), "--count", "60", "--seed", "7"]
    ended = subprocess.run(
        [*call, "--out", str(tmp_path / "figures.json")],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert read_json(tmp_path / "figures.json")["files"] > 40


@pytest.mark.slow
def test_a_share_of_other_tools_files_is_read_or_refused(
    weights_dir: Path, fixtures_dir: Path, tmp_path: Path
) -> None:
    script = ROOT / "benchmarks" / "mutations.py"
    environment = {
        **os.environ, "FACESWAP_LITE_WEIGHTS": str(weights_dir),
        "FACESWAP_LITE_FIXTURES": str(fixtures_dir),
    }  # fmt: skip
    call = [sys.executable, str(script), "--only", "interchange", "--count", "160", "--seed", "7"]
    ended = subprocess.run(
        [*call, "--out", str(tmp_path / "figures.json")],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert read_json(tmp_path / "figures.json")["files"] > 100
