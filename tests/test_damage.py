"""What is damaged is told or made again: journals, records, logs, numbers that are none."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from faceswap_lite.conversion.job import Tally
from faceswap_lite.curation.decisions import Decision
from faceswap_lite.faces.detect import Detection
from faceswap_lite.faces.journal import (
    JournalEnd,
    Sighting,
    append_lines,
    read_journal,
    read_lines,
    sighting_line,
)
from faceswap_lite.faces.pack import FoundFace
from faceswap_lite.media.clock import picture_streams
from faceswap_lite.media.pieces import Piece, PieceShelf
from faceswap_lite.outputs import is_broken, sealed
from faceswap_lite.runs.log import RunLog, read_history
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
    tally = Tally(tmp_path / "frames.jsonl", "job")
    tally.read()
    for frame in range(6):
        tally.add(frame, 1, None)
    text = tally.path.read_text()
    tally.path.write_text(text.replace('"frame":4,"layers":1', '"frame":4,"layers":0'))
    again = Tally(tally.path, "job")
    again.read()
    assert again.layers == dict.fromkeys(range(4), 1)
    other = Tally(tally.path, "another job")
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
