"""What was found in a clip, as a file that survives being killed: JSON, one line a frame.

Each line ends with a sum of itself and of all lines before: what was damaged, moved or lost on the
way is not taken for what was found.
"""

import base64
import json
import os
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, overload

import numpy as np

from ..errors import FaceswapError
from .detect import Detection
from .pack import FoundFace

Append = Callable[[dict[str, Any]], None]

_RECENT = 256
"""Sightings that are kept after they were asked for: smoothing asks for neighbours."""


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


class Sightings(Sequence[Sighting]):
    """The frames that a journal tells of, in order, read from it when they are asked for.

    In memory is where each of them begins, and some that were asked for last. The file may be
    removed meanwhile, and may be read by several threads.
    """

    def __init__(self, path: Path, begins: "array[int]") -> None:
        """`begins`: the place of each line in the file, in bytes."""
        self._file = path.open("rb")
        self._begins = begins
        self._recent: OrderedDict[int, Sighting] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._begins)

    @overload
    def __getitem__(self, place: int) -> Sighting: ...
    @overload
    def __getitem__(self, place: slice) -> list[Sighting]: ...

    def __getitem__(self, place: int | slice) -> Sighting | list[Sighting]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        begin = self._begins[place]
        with self._lock:
            found = self._recent.pop(begin, None)
            if found is None:
                self._file.seek(begin)
                line = json.loads(self._file.readline())
                faces = [*map(_face, line["faces"])]
                found = Sighting(line["frame"], line["pts"], line["change"], faces)
            self._recent[begin] = found
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Journal(NamedTuple):
    """What a journal holds."""

    sightings: Sightings
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
    begins, end = array("q"), None
    lines = _sound_lines(path, head, repair=repair)
    if next(lines, None) is None:
        return None
    for line, begin in lines:
        if "end" in line:
            end = JournalEnd(*line["end"])
        else:
            begins.append(begin)
    return Journal(Sightings(path, begins), end)


def read_lines(
    path: Path, head: dict[str, Any], *, repair: bool = False
) -> list[dict[str, Any]] | None:
    """A journal's lines after its head, up to the first that is not whole; None: another's head.

    `repair` cuts off the rest, such as a kill leaves, so that the journal can go on.
    """
    lines = [line for line, _ in _sound_lines(path, head, repair=repair)]
    return lines[1:] if lines else None


def _sound_lines(
    path: Path, head: dict[str, Any], *, repair: bool
) -> Iterator[tuple[dict[str, Any], int]]:
    """The journal's lines as long as they are as they were written, and where each begins."""
    good = total = 0
    try:
        with path.open("rb") as file:
            for raw in file:
                text, _, told = raw.rpartition(_SUM)
                total = zlib.crc32(text, total)
                if told != _told_sum(total):
                    break
                line = json.loads(text + b"}")
                if good == 0 and line != head:
                    break
                yield line, good
                good += len(raw)
        if good and repair:
            os.truncate(path, good)
    except OSError:
        return


_SUM = b',"sum":"'


def _told_sum(total: int) -> bytes:
    return b'%08x"}\n' % total


def _last_sum(path: Path) -> int:
    """The sum that the last line of a sound journal ends with."""
    with path.open("rb") as file:
        file.seek(-len(_told_sum(0)), os.SEEK_END)
        return int(file.read(8), 16)


@contextmanager
def append_lines(path: Path, head: dict[str, Any] | None = None) -> Iterator[Append]:
    """A function that adds a line to a journal, which is begun anew where a `head` is given.

    Without, it is one that was read with `repair`. A kill right after a line loses nothing.
    Raises: FaceswapError when the disk refuses.
    """
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        total = 0 if head is not None else _last_sum(path)
        file = path.open("ab" if head is None else "wb", buffering=0)

    def append(line: dict[str, Any]) -> None:
        nonlocal total
        text = json.dumps(line, separators=(",", ":")).encode()[:-1]
        total = zlib.crc32(text, total)
        left = text + _SUM + _told_sum(total)
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
            f"{path.parent}: cannot be written ({reason}); fix that and run the same command again"
        ) from error


def _face_line(face: FoundFace) -> dict[str, Any]:
    return {
        "box": np.round(face.detection.box_xyxy, 2).tolist(),
        "score": round(face.detection.confidence, 4),
        "five": np.round(face.detection.five, 2).tolist(),
        "points": _packed(face.landmarks),
        "vector": None if face.embedding is None else _packed(face.embedding),
        "presence": None if face.presence is None else round(face.presence, 4),
    }


def _face(line: dict[str, Any]) -> FoundFace:
    box, five = np.array(line["box"], np.float64), np.array(line["five"])
    vector = None if line["vector"] is None else _unpacked(line["vector"])
    points = _unpacked(line["points"]).reshape(-1, 2)
    return FoundFace(Detection(box, line["score"], five), points, vector, line["presence"])


def _packed(numbers: np.ndarray) -> str:
    """Numbers as little-endian float32 in base64: an hour of faces as digits takes minutes."""
    return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode("ascii")


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
