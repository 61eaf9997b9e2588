"""Decisions written beside the set, applied to its crops and undone; a kill loses nothing.

Nothing here deletes a crop or writes over one. A journal names every place that a crop may be
moved to before the first is moved; where the crops then lie tells how far a killed command came.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter

from ..errors import FaceswapError
from ..faces.face_set import REJECTED_FOLDER, face_key, stored_faces
from ..faces.records import read_record
from ..outputs import short_name, write_json, write_text
from .decisions import (
    DECISIONS_FILE,
    DECISIONS_SCHEMA,
    Decision,
    asked_to_keep,
    read_decisions,
    read_list,
    report_folder,
)
from .overrides import carry_overrides

MOVES_FILE = ".moves.json"
TABLE_FILE = "decisions.csv"


def write_decisions(faces: Path, decisions: Sequence[Decision], best: int | None = None) -> None:
    """Write the decisions beside the set, as JSON and as CSV, each whole or not at all.

    `best`: how many faces were asked to be kept at most; the next call goes by it.

    What the user moved back into the set is forgotten as a move once a decision says so: what is
    decided of it later counts from then on.
    """
    folder = report_folder(faces)
    content = {
        "schema": DECISIONS_SCHEMA,
        "set": folder.name.removesuffix("_curation"),
        "best": best,
        "decisions": [decision.model_dump(mode="json") for decision in decisions],
    }
    write_text(folder / TABLE_FILE, _table(decisions))
    write_json(folder / DECISIONS_FILE, content)
    settled = returned_faces(faces) & {decision.key for decision in decisions if decision.by_user}
    if settled:
        moves = _read_moves(faces)
        _write_moves(faces, [m for m in moves if m.key not in settled or _is_there(faces, m)])


def _table(decisions: Sequence[Decision]) -> str:
    scores = list(dict.fromkeys(name for decision in decisions for name in decision.scores))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "verdict", "reason", "words", "weight", "by_user", *scores])
    for d in decisions:
        verdict, by_user = "kept" if d.kept else "rejected", "yes" if d.by_user else "no"
        values = [f"{d.scores[name]:.6g}" if name in d.scores else "" for name in scores]
        table.writerow([d.file, verdict, d.reason, d.words, f"{d.weight:.6g}", by_user, *values])
    return text.getvalue()


class Undone(NamedTuple):
    """What undoing did: crops moved back, and names of those whose name in the set is taken."""

    restored: int
    kept_back: list[str]


def _plain_name(name: str) -> str:
    if name in ("", ".", "..") or Path(name).name != name:
        raise ValueError("must be the name of a file")
    return name


_Name = Annotated[str, AfterValidator(_plain_name)]


class _Move(BaseModel):
    """A crop of the set that lies, or is about to lie, in a folder of rejected ones.

    `stamp`: size in bytes and time of the last change in ns; both outlive a move by hand.
    `settled`: the command that moved it ended. Before, a crop in the set has not come back; it has
    not left.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    name: _Name
    folder: _Name
    file: _Name
    stamp: tuple[int, int]
    settled: bool

    def place(self, faces: Path) -> Path:
        return faces / REJECTED_FOLDER / self.folder / self.file


def apply_decisions(faces: Path, decisions: Sequence[Decision]) -> int:
    """Move rejected crops, with all their copies, to `_rejected/REASON/`; how many crops moved.

    Crops moved there before and kept now come back, unless another file took their name: those
    stay in `rejected_faces`. Crops there that no decision is about stay. Killed at any moment, the
    same call finishes.
    Raises: FaceswapError when a crop cannot be moved.
    """
    fates = {decision.key: decision for decision in decisions}
    staying, back, out = list[_Move](), list[_Move](), list[tuple[Path, _Move]]()
    promised: set[Path] = set()
    for move in _moves_there(faces):
        fate = fates.get(move.key)
        if fate is None or (not fate.kept and fate.reason == move.folder):
            staying.append(move)
        elif fate.kept:
            back.append(move)
        else:
            # Rejected for another reason than before.
            source = move.place(faces)
            again = _planned(faces, source, move.key, move.name, fate.reason, promised)
            staying.append(move.model_copy(update={"settled": False}))
            out.append((source, again))
    for face in stored_faces(faces):
        key = face_key(face.record)
        fate = fates.get(key)
        if fate is not None and not fate.kept:
            name = face.path.name
            move = _planned(faces, face.path, key, name, fate.reason, promised)
            out.append((face.path, move))
    moves = [*staying, *_unsettled(back), *(move for _, move in out)]
    if back or out:
        _write_moves(faces, moves)
    # Out first: that may free the names of those that come back.
    moved = sum(_rename(source, move.place(faces)) for source, move in out)
    moved += sum(_rename(move.place(faces), faces / move.name) for move in back)
    _settle(faces, moves)
    return moved


def undo_moves(faces: Path) -> Undone:
    """Move back every crop that `apply_decisions` moved; what the user put aside stays there.

    A crop whose name another file took stays where it is, for the next time. Killed at any moment,
    the same call finishes.
    Raises: FaceswapError when there is no such folder, or a crop cannot be moved.
    """
    if not faces.is_dir():
        raise FaceswapError(f"{faces}: no such face set")
    # What the user moved back becomes a decision: the journal will no longer tell.
    if (returned := returned_faces(faces)) and (old := read_decisions(faces)):
        write_decisions(faces, carry_overrides(old, old, returned), asked_to_keep(faces))
    moves = _moves_there(faces)
    if moves:
        _write_moves(faces, _unsettled(moves))
    # The latest first: of two that had one name, it is the one that was in the set at the end.
    restored = [_rename(move.place(faces), faces / move.name) for move in reversed(moves)]
    _settle(faces, moves)
    # Brings the index of the set back to what it was.
    stored_faces(faces)
    kept_back = [move.name for move in moves if move.place(faces).exists()]
    return Undone(sum(restored), sorted(kept_back))


def rejected_faces(faces: Path) -> dict[Path, str]:
    """The crops in `_rejected` that `apply_decisions` moved there, and their names in the set."""
    return {move.place(faces): move.name for move in _moves_there(faces)}


def returned_faces(faces: Path) -> set[str]:
    """The keys of crops that were moved out and that the user moved back into the set by hand."""
    gone = {
        (move.key, move.stamp)
        for move in _read_moves(faces)
        if move.settled and not _is_there(faces, move)
    }
    if not gone:
        return set()
    # The stamp tells a crop that came back from one that was extracted anew.
    keys = {key for key, _ in gone}
    here = ((face_key(face.record), face.path) for face in stored_faces(faces))
    return {key for key, path in here if key in keys and (key, _stamp(path)) in gone}


def _planned(
    faces: Path, source: Path, key: str, name: str, folder: str, promised: set[Path]
) -> _Move:
    """The move of a crop to a place there that is free and not promised to another."""
    stem, suffix = os.path.splitext(source.name)
    file, number = source.name, 1
    while (place := faces / REJECTED_FOLDER / folder / file) in promised or os.path.lexists(place):
        number += 1
        file = f"{short_name(stem, 240)} ({number}){suffix}"
    promised.add(place)
    return _Move(key=key, name=name, folder=folder, file=file, stamp=_stamp(source), settled=False)


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _unsettled(moves: Iterable[_Move]) -> list[_Move]:
    return [move.model_copy(update={"settled": False}) for move in moves]


def _rename(source: Path, target: Path) -> bool:
    """Move a crop within the set's folder; whether it moved, or the place is taken."""
    if os.path.lexists(target):
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
    except OSError as error:
        raise FaceswapError(
            f"{source}: cannot be moved to {target.parent} ({error.strerror or error}); "
            "nothing is lost: fix that and run the same command again"
        ) from error
    return True


def _settle(faces: Path, moves: Iterable[_Move]) -> None:
    """Close the journal on what lies aside now, and remove folders that hold nothing any more."""
    there = [move for move in moves if move.place(faces).exists()]
    _write_moves(faces, [move.model_copy(update={"settled": True}) for move in there])
    folder = faces / REJECTED_FOLDER
    if folder.is_dir() and not folder.is_symlink():
        for emptied in [*sorted(p for p in folder.iterdir() if p.is_dir()), folder]:
            # Not empty: it holds what is not ours, or stays aside.
            with suppress(OSError):
                emptied.rmdir()


def _is_there(faces: Path, move: _Move) -> bool:
    """Whether the crop lies where the move put it: that face, not another of the same name."""
    place = move.place(faces)
    if not place.is_file():
        return False
    if _stamp(place) == move.stamp:
        return True
    try:
        record = read_record(place)
    except FaceswapError:
        # Broken since, and still the set's.
        return True
    return record is not None and face_key(record) == move.key


def _journal(faces: Path) -> Path:
    """In the folder of rejected ones: whoever renames the set or that folder takes it along."""
    return faces / REJECTED_FOLDER / MOVES_FILE


def _moves_there(faces: Path) -> list[_Move]:
    return [move for move in _read_moves(faces) if _is_there(faces, move)]


def _read_moves(faces: Path) -> list[_Move]:
    file = _journal(faces)
    advice = f"move the crops in {faces / REJECTED_FOLDER} back by hand and delete it"
    return read_list(file, "moves", _MOVES.validate_python, advice)


def _write_moves(faces: Path, moves: Sequence[_Move]) -> None:
    """Write the journal; an empty one is removed."""
    file = _journal(faces)
    if moves:
        content = [move.model_dump(mode="json") for move in moves]
        write_json(file, {"schema": DECISIONS_SCHEMA, "moves": content})
    else:
        file.unlink(missing_ok=True)


_MOVES = TypeAdapter(list[_Move])
