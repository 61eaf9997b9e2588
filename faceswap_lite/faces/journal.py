"""What was found in a clip, as a file that survives being killed: JSON, one line a frame."""

import base64
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..errors import FaceswapError
from .detect import Detection
from .pack import FoundFace

Append = Callable[[dict[str, Any]], None]

_Line = TypeVar("_Line")


class Sighting(NamedTuple):
    """One frame: its faces from left to right, and its difference to the frame before.

    `change` is the mean difference of two thumbnails, of 255.
    """

    frame: int
    pts: int
    change: float
    faces: list[FoundFace]


class JournalEnd(NamedTuple):
    """A journal's last line."""

    frame_ticks: float
    problems: list[str]


class Journal(NamedTuple):
    """What a journal holds."""

    sightings: list[Sighting]
    end: JournalEnd | None
    """None: the clip's end is not reached yet."""


def as_kept(face: FoundFace) -> FoundFace:
    """The face as a journal keeps it, so that what goes on after a kill goes on with the same."""
    return _face(_face_line(face))


def sighting_line(sighting: Sighting) -> dict[str, Any]:
    """A frame's line."""
    return {**sighting._asdict(), "faces": [_face_line(face) for face in sighting.faces]}


def read_journal(path: Path, head: dict[str, Any], *, repair: bool = False) -> Journal | None:
    """What was sighted; None when there is no journal, or it is not of this search."""
    lines = read_lines(path, head, _sighting_or_end, repair=repair)
    if lines is None:
        return None
    sightings = [line for line in lines if isinstance(line, Sighting)]
    ends = [line for line in lines if isinstance(line, JournalEnd)]
    frames = [sighting.frame for sighting in sightings]
    if frames != sorted(set(frames)) or (ends and not sightings):
        return None
    return Journal(sightings, ends[-1] if ends else None)


def read_lines(
    path: Path,
    head: dict[str, Any],
    parse: Callable[[dict[str, Any]], _Line],
    *,
    repair: bool = False,
) -> list[_Line] | None:
    """A journal's lines after its head; None when it has another, or is as no program wrote it.

    `repair` cuts off what a kill left of a last line, so that the journal can go on.
    """
    lines: list[_Line] = []
    good = 0
    try:
        with path.open("rb") as file:
            for raw in file:
                line = _whole_line(raw)
                if line is None or (good == 0 and line != head):
                    break
                if good:
                    lines.append(parse(line))
                good += len(raw)
        if good and repair:
            os.truncate(path, good)
    except (OSError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    return lines if good else None


@contextmanager
def append_lines(path: Path, head: dict[str, Any] | None = None) -> Iterator[Append]:
    """A function that adds a line to a journal, which is begun anew where a `head` is given.

    A kill right after it loses nothing. Raises: FaceswapError when the disk refuses.
    """
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab" if head is None else "wb", buffering=0)

    def append(line: dict[str, Any]) -> None:
        left = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with _told(path):
            while left:  # a full disk takes a part
                left = left[file.write(left) :]

    with file:
        if head is not None:
            append(head)
        yield append


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """The disk's refusal as one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise FaceswapError(
            f"{path.parent}: cannot be written ({reason}); mend that, and give the command again"
        ) from error


def _sighting_or_end(line: dict[str, Any]) -> Sighting | JournalEnd:
    if "end" in line:
        # Earlier versions had a time between them.
        ticks, *_, problems = line["end"]
        if not 0 < ticks < float("inf"):
            raise ValueError("no length of a frame")
        return JournalEnd(float(ticks), [str(problem) for problem in problems])
    faces = [_face(face) for face in line["faces"]]
    return Sighting(int(line["frame"]), int(line["pts"]), float(line["change"]), faces)


def _face_line(face: FoundFace) -> dict[str, Any]:
    return {
        "box": np.round(face.detection.box_xyxy, 2).tolist(),
        "score": round(face.detection.score, 4),
        "five": np.round(face.detection.five, 2).tolist(),
        "points": _packed(face.landmarks),
        "vector": None if face.embedding is None else _packed(face.embedding),
        "presence": None if face.presence is None else round(face.presence, 4),
    }


def _face(line: dict[str, Any]) -> FoundFace:
    vector, presence = line["vector"], line["presence"]
    box = np.array(line["box"], np.float64).reshape(4)
    five = np.array(line["five"], np.float64).reshape(5, 2)
    points = _unpacked(line["points"]).reshape(-1, 2)
    if not (np.isfinite(box).all() and np.isfinite(five).all() and np.isfinite(points).all()):
        raise ValueError("not finite")
    return FoundFace(
        Detection(box, float(line["score"]), five),
        points,
        None if vector is None else _unpacked(vector),
        None if presence is None else float(presence),
    )


def _packed(numbers: np.ndarray) -> str:
    """Numbers as little-endian float32 in base64: an hour of faces as digits takes minutes."""
    return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode("ascii")


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)


def _whole_line(raw: bytes) -> dict[str, Any] | None:
    """A journal's line; None when it was cut short."""
    if not raw.endswith(b"\n"):
        return None
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None
