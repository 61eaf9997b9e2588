"""The first walk through a clip: which faces are in which frame, and how much the picture changes.

It is looked at once and kept: a journal, one line a frame, survives being killed, and lies in the
run's folder afterwards, so that other settings of the same clip begin with painting. Frames whose
face lies in the target's face set already are not searched again.
"""

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces import (
    Detection,
    FacePack,
    FoundFace,
    as_uint8,
    build_pack,
    one_opencv_thread,
    open_face_set,
)
from ..faces.extraction import read_journal
from ..faces.tracks import thumbnail
from ..media import Frame, open_clip
from ..outputs import job_id
from ..training import TrainedRun

FACES_FOLDER = "faces"
"""In a run's folder: what was found in the clips that it converted."""

_MOST_FINDERS = 4


class Sighting(NamedTuple):
    """One frame: its faces from left to right, and its difference to the frame before.

    `change` is the mean difference of two thumbnails, of 255. `complete`: every face was looked
    for, not only the target's, which a face set knew already.
    """

    frame: int
    pts: int
    change: float
    faces: list[FoundFace]
    complete: bool = True


@dataclass(frozen=True)
class Scouting:
    """A clip's sightings in order, and what was wrong with the clip."""

    sightings: list[Sighting]
    problems: list[str]


def build_run_packs(run: TrainedRun, count: int | None = None) -> list[FacePack]:
    """The finders that the run's face sets were made with, one for each thread."""
    extract = run.config.extract
    count = min(_MOST_FINDERS, os.cpu_count() or 1) if count is None else count
    return [
        build_pack(
            run.facts.detector,
            run.facts.landmarks_pack,
            run.facts.target.embedder or "none",
            min_face_px=extract.min_face_px,
            max_side_px=extract.max_side_px,
        )
        for _ in range(count)
    ]


def scout_clip(
    clip: Path,
    fingerprint: str,
    run: TrainedRun,
    packs: list[FacePack],
    config: ConvertConfig,
    *,
    journal: Path | None = None,
    say: Callable[[str], None] = print,
) -> Scouting:
    """What the frames from `config.start` to `config.end` of the clip show.

    Goes on where a killed call with the same `journal` stopped. A whole clip is kept in the run's
    folder, where the next call finds it.
    Raises: FaceswapError when the clip cannot be read.
    """
    known = {} if config.all_faces or config.face is not None else known_faces(run, fingerprint)
    head = {"version": 1, "job": _scouting_id(fingerprint, run, packs[0], known)}
    kept = run.path / FACES_FOLDER / f"{head['job']}.jsonl"
    done = _read(kept, head)
    if done is not None and done.problems is not None:
        say(f"{clip.name}: faces as found before ({kept})")
        end = len(done.sightings) if config.end is None else config.end
        return Scouting(done.sightings[config.start : end], done.problems)
    if known:
        say(f"{clip.name}: {len(known)} frames' faces are taken from {run.facts.target.path}")
    path = journal or kept.with_suffix(f".{os.getpid()}.partial")
    scouting = _walk(clip, packs, config, run, known, path, head)
    if config.start == 0 and config.end is None:
        # A run's folder that may not be written to only costs the next call its search.
        with suppress(OSError):
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, kept.with_suffix(".partial"))
            os.replace(kept.with_suffix(".partial"), kept)
    if journal is None:
        path.unlink(missing_ok=True)
    return scouting


def known_faces(run: TrainedRun, fingerprint: str) -> dict[int, list[FoundFace]]:
    """By frame, the target's faces that its face set holds of this clip."""
    facts = run.facts
    if fingerprint not in facts.target.clips:
        return {}
    try:
        faces = open_face_set(Path(facts.target.path)).faces
    except FaceswapError:
        return {}
    known: dict[int, list[FoundFace]] = {}
    for face in faces:
        record = face.record
        fits = (
            record.clip_fingerprint == fingerprint
            and record.landmarks_pack == facts.landmarks_pack
            and record.detector == facts.detector
            and record.embedder == facts.target.embedder
        )
        if fits:
            detection = Detection(record.box_xyxy, record.score, record.five.astype(np.float64))
            known.setdefault(record.frame_index, []).append(
                FoundFace(
                    detection,
                    record.landmarks,
                    record.embedding,
                    record.presence,
                )
            )
    return known


def _scouting_id(
    fingerprint: str, run: TrainedRun, pack: FacePack, known: dict[int, list[FoundFace]]
) -> str:
    extract = run.config.extract
    return job_id(
        clip=fingerprint,
        pack=[pack.detector_name, pack.landmarks_name, pack.embedder_name],
        sizes=[extract.min_face_px, extract.max_side_px, extract.weak_score],
        known=sorted(known),
    )


def _walk(
    clip: Path,
    packs: list[FacePack],
    config: ConvertConfig,
    run: TrainedRun,
    known: dict[int, list[FoundFace]],
    path: Path,
    head: dict[str, Any],
) -> Scouting:
    before = _read(path, head)
    if before is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(head) + "\n", encoding="utf-8")
        before = _Journal([], None)
    if before.problems is not None:
        return Scouting(before.sightings, before.problems)
    sightings = before.sightings
    last = sightings[-1].frame if sightings else config.start - 1
    # With an embedder, likeness tells true faces from false ones: weak detections may stay.
    min_score = run.config.extract.weak_score if packs[0].embedder is not None else None
    with open_clip(clip) as reader, path.open("a", encoding="utf-8") as file, one_opencv_thread():
        total = reader.info.frame_count
        bar = tqdm(total=total, desc="find faces", unit="frame", disable=None)
        looks = _look_ahead(reader, packs, known, min_score, config, last)
        with bar:
            for sighting in looks:
                bar.update()
                if sighting.frame > last and sighting.frame >= config.start:
                    sightings.append(sighting)
                    file.write(json.dumps(_line(sighting), separators=(",", ":")) + "\n")
                    file.flush()
        problems = list(reader.problems)
        file.write(json.dumps({"end": True, "problems": problems}) + "\n")
    return Scouting(sightings, problems)


def _look_ahead(
    frames: Iterable[Frame],
    packs: list[FacePack],
    known: dict[int, list[FoundFace]],
    min_score: float | None,
    config: ConvertConfig,
    last: int,
) -> Iterator[Sighting]:
    """The frames' sightings in order, searched side by side; none is sought up to `last`."""
    idle: SimpleQueue[FacePack] = SimpleQueue()
    for pack in packs:
        idle.put(pack)

    def look(frame: Frame, before: np.ndarray | None, now: np.ndarray) -> Sighting:
        change = 0.0 if before is None else round(float(np.abs(now - before).mean()), 3)
        faces, complete = known.get(frame.index), False
        if frame.index <= last:
            faces = []
        elif faces is None:
            pack = idle.get()
            try:
                faces, complete = pack.find(frame.image, min_score=min_score), True
            finally:
                idle.put(pack)
        return Sighting(frame.index, frame.pts, change, [_rounded(f) for f in faces], complete)

    with ThreadPoolExecutor(len(packs)) as searchers:
        ahead: deque[Future[Sighting]] = deque()
        before = None
        for frame in frames:
            if config.end is not None and frame.index >= config.end:
                break
            now = thumbnail(as_uint8(frame.image))
            ahead.append(searchers.submit(look, frame, before, now))
            before = now
            if len(ahead) > 2 * len(packs):
                yield ahead.popleft().result()
        for future in ahead:
            yield future.result()


def _rounded(face: FoundFace) -> FoundFace:
    """As the journal keeps it, so that a conversion that was killed goes on with the same."""
    return _face(_face_line(face))


def _line(sighting: Sighting) -> dict[str, Any]:
    return {
        "frame": sighting.frame,
        "pts": sighting.pts,
        "change": sighting.change,
        "complete": sighting.complete,
        "faces": [_face_line(face) for face in sighting.faces],
    }


def _face_line(face: FoundFace) -> dict[str, Any]:
    def numbers(array: Float[np.ndarray, "..."], decimals: int) -> list[Any]:
        return np.round(np.asarray(array, np.float64), decimals).tolist()

    return {
        "box": numbers(face.detection.box_xyxy, 2),
        "score": round(face.detection.score, 4),
        "five": numbers(face.detection.five, 2),
        "points": numbers(face.landmarks, 2),
        "vector": None if face.embedding is None else numbers(face.embedding, 5),
        "presence": None if face.presence is None else round(face.presence, 4),
    }


def _face(line: dict[str, Any]) -> FoundFace:
    vector = line["vector"]
    return FoundFace(
        Detection(np.array(line["box"]), line["score"], np.array(line["five"])),
        np.array(line["points"], np.float32),
        None if vector is None else np.array(vector, np.float32),
        line["presence"],
    )


class _Journal(NamedTuple):
    sightings: list[Sighting]
    problems: list[str] | None
    """None: it does not reach the clip's end yet."""


def _read(path: Path, head: dict[str, Any]) -> _Journal | None:
    """What a journal holds; None when there is none, or it is not of this search."""
    try:
        lines = read_journal(path)
    except (OSError, ValueError):
        return None
    if not lines or lines[0] != head:
        return None
    ended = "end" in lines[-1]
    body = lines[1:-1] if ended else lines[1:]
    sightings = [
        Sighting(
            line["frame"],
            line["pts"],
            line["change"],
            [_face(face) for face in line["faces"]],
            line["complete"],
        )
        for line in body
    ]
    return _Journal(sightings, lines[-1]["problems"] if ended else None)
