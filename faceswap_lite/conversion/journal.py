"""What was found in a clip, as a file that survives being killed: JSON, one line a frame."""

import base64
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..faces.detect import Detection
from ..faces.pack import FoundFace


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
    end_pts: int | None
    problems: list[str]


class Journal(NamedTuple):
    """What a journal holds."""

    sightings: list[Sighting]
    end: JournalEnd | None
    """None: the clip's end is not reached yet."""


def as_kept(face: FoundFace) -> FoundFace:
    """The face as a journal keeps it, so that what goes on after a kill goes on with the same."""
    return _face(_face_line(face))


def head_line(head: dict[str, Any]) -> str:
    """A journal's first line: what it is of."""
    return json.dumps(head) + "\n"


def sighting_line(sighting: Sighting) -> str:
    """A frame's line."""
    line = {
        "frame": sighting.frame,
        "pts": sighting.pts,
        "change": sighting.change,
        "faces": [_face_line(face) for face in sighting.faces],
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


def end_line(end: JournalEnd) -> str:
    """The last line."""
    return json.dumps({"end": end}) + "\n"


def read_journal(path: Path, head: dict[str, Any], *, repair: bool = False) -> Journal | None:
    """What a journal holds; None when there is none, or it is not of this search.

    `repair` cuts off what a kill left of a last line, so that the journal can go on.
    """
    sightings: list[Sighting] = []
    end: JournalEnd | None = None
    good = 0
    try:
        with path.open("rb") as file:
            for raw in file:
                line = _parsed(raw)
                if line is None or (good == 0 and line != head):
                    break
                if "end" in line:
                    ticks, end_pts, problems = line["end"]
                    if not 0 < ticks < float("inf"):
                        return None
                    end = JournalEnd(float(ticks), end_pts, [str(p) for p in problems])
                elif good:
                    faces = [_face(face) for face in line["faces"]]
                    numbers = int(line["frame"]), int(line["pts"]), float(line["change"])
                    sightings.append(Sighting(*numbers, faces))
                good += len(raw)
        if good and repair:
            os.truncate(path, good)
    except (OSError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        # Not as this program writes it: as good as none.
        return None
    frames = [sighting.frame for sighting in sightings]
    if frames != sorted(set(frames)) or (end is not None and not sightings):
        return None
    return Journal(sightings, end) if good else None


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


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """A journal's line; None when it was cut short."""
    if not raw.endswith(b"\n"):
        return None
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None
