"""An extraction under way: frames in, crops out, and a journal that survives being killed.

Every crop is first written into a hidden folder and moved into the set when its track is sure; then
the frame's line goes into a journal. A killed extraction replays the journal, which brings the
tracks back to where they were, and goes on with the first frame that has no line: what it leaves
is, byte for byte, what an undisturbed one leaves.
"""

import os
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ..config import ExtractConfig
from ..errors import FaceswapError
from ..media.clips import Frame
from .candidates import Candidate, Footage, record_and_crop
from .embed import Person
from .face_set import HIDDEN_FOLDER, crop_name
from .finding import find_in_frames
from .journal import Append, append_lines, read_lines
from .landmarkers import MIN_PRESENCE
from .pack import FacePack, FoundFace
from .records import write_crop
from .tracking import Tracker, is_sure, mark_cuts

JOURNAL_FILE = "journal.jsonl"
PENDING_FOLDER = "pending"

_WRITERS = 2
# A face this much farther from the photo than `same_person` is kept when its track has a near one.
_LIKE_SLACK = 1.2

_UNSURE = "never confident enough in their track"
_UNLIKELY = "landmarks do not fit them (profile, blur, no face)"
_STRANGER = "not the person in the photo"


class _Finds(NamedTuple):
    """What one frame holds; the counts are of faces that cannot go in."""

    candidates: list[Candidate]
    unlikely: int
    strangers: int


class _Step(NamedTuple):
    """What is to be done when the writes of a frame have ended."""

    writes: list[Future[None]]
    promote: list[str]
    drop: list[str]
    line: dict[str, Any]


@dataclass
class ExtractionTally:
    """Running counts; replaying the journal brings them back."""

    frames: int = 0
    faces_of_frame: Counter[tuple[int, int]] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    refused: int = 0

    def add(self, step: _Step) -> None:
        """Count what becomes of a frame's faces, or what the end of a clip has to tell."""
        line = step.line
        if "end" in line:
            self.problems += line["problems"]
            self.refused += bool(line.get("refused"))
        else:
            self.frames += 1
            self.dropped[_UNLIKELY] += line["unlikely"]
            self.dropped[_STRANGER] += line["strangers"]
        self.dropped[_UNSURE] += len(step.drop)
        self.files += step.promote
        for name in step.promote:
            self.faces_of_frame[line["clip"], int(name.rsplit("_", 2)[1])] += 1


@dataclass
class _Clip:
    """A clip, its tracks, and the crops that wait for theirs to become sure."""

    number: int
    footage: Footage
    tracker: Tracker = field(default_factory=Tracker)
    waiting: dict[int, list[str]] = field(default_factory=dict)

    def take(self, line: dict[str, Any]) -> _Step:
        """What is to be done at a line of the journal, which is told its faces' tracks."""
        if "end" in line:
            left = [name for names in self.waiting.values() for name in names]
            return _Step([], [], left, line)
        boxes = np.array(line["boxes"], np.float64).reshape(-1, 4)
        tracks, ended = self.tracker.update(line["frame"], boxes, line["sure"], line["cut"])
        drop = [name for track in ended for name in self.waiting.pop(track.number, [])]
        for track, name in zip(tracks, line["names"], strict=True):
            self.waiting.setdefault(track.number, []).append(name)
        promote = [
            name for track in tracks if track.sure for name in self.waiting.pop(track.number, [])
        ]
        return _Step([], promote, drop, {**line, "tracks": [track.number for track in tracks]})


@dataclass
class Extraction:
    """One extraction under way: its folder, what it looks for, its counts.

    `done`: what `read_progress` says; None: nothing, the journal begins.
    """

    out: Path
    job: str
    config: ExtractConfig
    footage: list[Footage]
    packs: list[FacePack]
    wanted: Person | None
    done: list[dict[str, Any]] | None
    tally: ExtractionTally

    @property
    def pending(self) -> Path:
        """Where crops wait."""
        return self.out / HIDDEN_FOLDER / PENDING_FOLDER

    def run(self) -> None:
        """Work through what the journal does not hold yet."""
        self.pending.mkdir(parents=True, exist_ok=True)
        journal = self.out / HIDDEN_FOLDER / JOURNAL_FILE
        with (
            ThreadPoolExecutor(_WRITERS) as writers,
            append_lines(journal, _head(self.job) if self.done is None else None) as append,
        ):
            for number, footage in enumerate(self.footage):
                clip = _Clip(number, footage)
                lines = [line for line in self.done or () if line["clip"] == number]
                for line in lines:
                    self._settle(self._counted(clip, line))
                if not (lines and "end" in lines[-1]):
                    last = lines[-1]["frame"] if lines else -1
                    end = {"clip": number, "end": True}
                    end |= self._walk(clip, last, writers, append)
                    self._settle(self._counted(clip, end))
                    append(end)

    def _walk(
        self, clip: _Clip, last: int, writers: ThreadPoolExecutor, append: Append
    ) -> dict[str, Any]:
        """Work through a clip's frames after `last`; what its end has to tell."""
        try:
            reader = clip.footage.open()
        except FaceswapError as error:
            return {"problems": [f"refused: {error}"], "refused": True}
        name, count = clip.footage.path.name, reader.info.frame_count
        steps: deque[_Step] = deque()
        with reader, tqdm(total=count, desc=name, unit="frame", disable=None) as bar:
            look, new_shot = partial(self._look, clip.footage), False
            finds = find_in_frames(reader, self.packs, look, last, self.config.every)
            # A cut is told a few frames late: until then a frame's crops are held.
            for found, cut in mark_cuts((found.change, found) for found in finds):
                bar.update()
                new_shot = found.frame > last and (cut or new_shot)
                if found.finds is None:
                    continue
                steps.append(self._step(clip, found.frame, new_shot, found.finds, writers))
                new_shot = False
                # Some frames ahead, so that writing and finding overlap.
                while len(steps) > 2 * _WRITERS:
                    self._commit(steps.popleft(), append)
            while steps:
                self._commit(steps.popleft(), append)
            return {"problems": [f"{name}: {problem}" for problem in reader.problems]}

    def _step(
        self, clip: _Clip, frame: int, cut: bool, finds: _Finds, writers: ThreadPoolExecutor
    ) -> _Step:
        """A frame's faces joined to their tracks, the writing of their crops begun."""
        records = [candidate.record for candidate in finds.candidates]
        names = [f"{crop_name(clip.footage.prefix, record)}.png" for record in records]
        line = {
            "clip": clip.number,
            "frame": frame,
            "cut": cut,
            "names": names,
            "boxes": [record.box_xyxy.tolist() for record in records],
            "sure": [candidate.sure for candidate in finds.candidates],
            "unlikely": finds.unlikely,
            "strangers": finds.strangers,
        }
        step = self._counted(clip, line)
        for name, candidate, track in zip(
            names, finds.candidates, step.line["tracks"], strict=True
        ):
            record = candidate.record.model_copy(update={"track": track})
            write = writers.submit(write_crop, self.pending / name, candidate.crop, record)
            step.writes.append(write)
        return step

    def _look(self, footage: Footage, pack: FacePack, frame: Frame) -> _Finds:
        faces = pack.find(frame.image, min_confidence=self.config.low_confidence, min_presence=0.0)
        likely = [f for f in faces if f.presence is None or f.presence >= MIN_PRESENCE]
        near = [(f, far) for f in likely if (far := self._distance(f)) <= _LIKE_SLACK]
        candidates = [
            Candidate(
                *record_and_crop(frame, face, place, footage, pack, self.job, self.config),
                far <= 1
                and is_sure(face.detection.confidence, face.presence, self.config.high_confidence),
            )
            for place, (face, far) in enumerate(near)
        ]
        return _Finds(candidates, len(faces) - len(likely), len(likely) - len(near))

    def _distance(self, face: FoundFace) -> float:
        """To the photo, in units of `same_person`; 0 when nobody is asked for."""
        if self.wanted is None:
            return 0.0
        if face.embedding is None:
            raise ValueError("a face without a vector cannot be compared")
        return float(self.wanted.distances(face.embedding[None])[0])

    def _counted(self, clip: _Clip, line: dict[str, Any]) -> _Step:
        step = clip.take(line)
        self.tally.add(step)
        return step

    def _commit(self, step: _Step, append: Append) -> None:
        for write in step.writes:
            write.result()
        self._settle(step)
        append(step.line)

    def _settle(self, step: _Step) -> None:
        """Move what is sure into the set, and drop what never will be."""
        for name in step.promote:
            waiting = self.pending / name
            # Not there: moved before a kill, and perhaps deleted by a person since.
            if waiting.exists():
                os.replace(waiting, self.out / name)
        for name in step.drop:
            (self.pending / name).unlink(missing_ok=True)


def read_progress(out: Path, job: str) -> list[dict[str, Any]] | None:
    """The frames and clips that are done; None when no journal of this job lies there.

    Journals of other versions, which saw cuts otherwise or had no sums, cannot go on.
    """
    return read_lines(out / HIDDEN_FOLDER / JOURNAL_FILE, _head(job), repair=True)


def _head(job: str) -> dict[str, Any]:
    return {"version": 3, "job": job}
