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
from ..media.reading import open_clip
from .candidates import Candidate, Source, record_and_crop
from .embed import Person
from .face_set import HIDDEN_FOLDER, crop_name
from .finding import find_in_frames
from .journal import Append, append_lines, read_lines
from .pack import MIN_PRESENCE, FacePack, FoundFace
from .records import write_crop
from .tracks import Tracker, is_sure, mark_cuts

JOURNAL_FILE = "journal.jsonl"
PENDING_FOLDER = "pending"

_WRITERS = 2
# A face this much farther from the photo than `same_person` is kept when its track has a near one.
_LIKE_SLACK = 1.2

_UNSURE = "never sure enough in their track"
_UNLIKELY = "landmarks do not lie on them (profile, blur, no face)"
_STRANGER = "not the person on the photo"


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
class Tally:
    """Running counts; replaying the journal brings them back."""

    frames: int = 0
    faces_of_frame: Counter[tuple[int, int]] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    refused: int = 0


class _ClipState:
    """The tracks of one clip, and the crops that wait for theirs to become sure."""

    def __init__(self) -> None:
        self.tracker = Tracker()
        self.waiting: dict[int, list[str]] = {}

    def take(
        self, frame: int, names: list[str], boxes: list[Any], sure: list[bool], cut: bool
    ) -> tuple[list[int], list[str], list[str]]:
        """Track numbers of the faces, and the crops to be let in and to be dropped now."""
        tracks, ended = self.tracker.update(
            frame, np.array(boxes, np.float64).reshape(-1, 4), sure, cut
        )
        drop = [name for track in ended for name in self.waiting.pop(track.number, [])]
        for track, name in zip(tracks, names, strict=True):
            self.waiting.setdefault(track.number, []).append(name)
        promote = [
            name for track in tracks if track.sure for name in self.waiting.pop(track.number, [])
        ]
        return [track.number for track in tracks], promote, drop

    def finish(self) -> list[str]:
        """The crops that the end of the clip drops."""
        self.tracker.finish()
        drop = [name for names in self.waiting.values() for name in names]
        self.waiting.clear()
        return drop


class Extraction:
    """One extraction under way: its folder, its journal, its counts.

    `done`: what `read_progress` says; None: nothing, the journal begins.
    """

    def __init__(
        self,
        out: Path,
        job: str,
        config: ExtractConfig,
        sources: list[Source],
        packs: list[FacePack],
        wanted: Person | None,
        problems: list[str],
        done: list[dict[str, Any]] | None,
    ) -> None:
        self.out = out
        self.pending = out / HIDDEN_FOLDER / PENDING_FOLDER
        self.job = job
        self.config = config
        self.sources = sources
        self.wanted = wanted
        self.packs = packs
        self.tally = Tally(problems=problems)
        self.done = done

    def run(self) -> Tally:
        """Work through what the journal does not hold yet; the counts of all."""
        self.pending.mkdir(parents=True, exist_ok=True)
        journal = self.out / HIDDEN_FOLDER / JOURNAL_FILE
        with (
            ThreadPoolExecutor(_WRITERS) as writers,
            append_lines(journal, _head(self.job) if self.done is None else None) as append,
        ):
            for number, source in enumerate(self.sources):
                lines = [line for line in self.done or () if line["clip"] == number]
                state = _ClipState()
                for line in lines:
                    self._settle(self._replay(state, line))
                if not (lines and "end" in lines[-1]):
                    last = lines[-1]["frame"] if lines else -1
                    end = {"clip": number, "end": True, "problems": []}
                    end |= self._clip(number, source, state, last, writers, append)
                    self._settle(self._replay(state, end))
                    append(end)
        return self.tally

    def _clip(
        self,
        number: int,
        source: Source,
        state: _ClipState,
        last: int,
        writers: ThreadPoolExecutor,
        append: Append,
    ) -> dict[str, Any]:
        """Work through the frames after `last`; what the end of the clip has to tell."""
        try:
            reader = open_clip(source.path)
        except FaceswapError as error:
            return {"problems": [f"refused: {error}"], "refused": True}
        steps: deque[_Step] = deque()
        name, count = source.path.name, reader.info.frame_count
        with reader, tqdm(total=count, desc=name, unit="frame", disable=None) as bar:
            look, new_shot = partial(self._look, source), False
            finds = find_in_frames(reader, self.packs, look, last, self.config.every)
            # A cut is told a few frames late: until then a frame's crops are held.
            for found, cut in mark_cuts((found.change, found) for found in finds):
                bar.update()
                new_shot = found.frame > last and (cut or new_shot)
                if found.finds is None:
                    continue
                steps.append(
                    self._step(number, source, state, found.frame, found.finds, new_shot, writers)
                )
                new_shot = False
                # Some frames ahead, so that writing and finding overlap.
                while len(steps) > 2 * _WRITERS:
                    self._commit(steps.popleft(), append)
            while steps:
                self._commit(steps.popleft(), append)
            return {"problems": [f"{name}: {line}" for line in reader.problems]}

    def _step(
        self,
        number: int,
        source: Source,
        state: _ClipState,
        frame: int,
        finds: _Finds,
        cut: bool,
        writers: ThreadPoolExecutor,
    ) -> _Step:
        """A frame's faces joined to their tracks, the writing of its crops begun."""
        names = [f"{crop_name(source.prefix, c.record)}.png" for c in finds.candidates]
        line = {
            "clip": number,
            "frame": frame,
            "cut": cut,
            "names": names,
            "boxes": [candidate.record.box_xyxy.tolist() for candidate in finds.candidates],
            "sure": [candidate.sure for candidate in finds.candidates],
            "unlikely": finds.unlikely,
            "strangers": finds.strangers,
        }
        step = self._replay(state, line)
        writes = [
            writers.submit(
                write_crop,
                self.pending / name,
                candidate.crop,
                candidate.record.model_copy(update={"track": track}),
            )
            for name, candidate, track in zip(
                names, finds.candidates, step.line["tracks"], strict=True
            )
        ]
        return step._replace(writes=writes)

    def _look(self, source: Source, pack: FacePack, frame: Frame) -> _Finds:
        faces = pack.find(frame.image, min_score=self.config.weak_score, min_presence=0.0)
        likely = [f for f in faces if f.presence is None or f.presence >= MIN_PRESENCE]
        near = [f for f in likely if self._distance(f) <= _LIKE_SLACK]
        candidates = [
            Candidate(
                *record_and_crop(frame, face, place, source, pack, self.job, self.config),
                is_sure(face.detection.score, face.presence, self.config.sure_score)
                and self._distance(face) <= 1,
            )
            for place, face in enumerate(near)
        ]
        return _Finds(candidates, len(faces) - len(likely), len(likely) - len(near))

    def _distance(self, face: FoundFace) -> float:
        """To the photo, in units of `same_person`; 0 when nobody is asked for."""
        if self.wanted is None:
            return 0.0
        if face.embedding is None:
            raise ValueError("a face without a vector cannot be compared")
        return float(self.wanted.distances(face.embedding[None])[0])

    def _replay(self, state: _ClipState, line: dict[str, Any]) -> _Step:
        """The step that belongs to a line of the journal; counts it."""
        if "end" in line:
            self.tally.problems += line["problems"]
            self.tally.refused += bool(line.get("refused"))
            return self._counted(_Step([], [], state.finish(), line))
        self.tally.frames += 1
        self.tally.dropped[_UNLIKELY] += line["unlikely"]
        self.tally.dropped[_STRANGER] += line["strangers"]
        tracks, promote, drop = state.take(
            line["frame"], line["names"], line["boxes"], line["sure"], line["cut"]
        )
        return self._counted(_Step([], promote, drop, {**line, "tracks": tracks}))

    def _counted(self, step: _Step) -> _Step:
        self.tally.dropped[_UNSURE] += len(step.drop)
        self.tally.files += step.promote
        for name in step.promote:
            frame = int(name.rsplit("_", 2)[1])
            self.tally.faces_of_frame[step.line["clip"], frame] += 1
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

    Journals without a head are of versions that saw cuts otherwise: what they began cannot go on.
    """
    return read_lines(out / HIDDEN_FOLDER / JOURNAL_FILE, _head(job), dict, repair=True)


def _head(job: str) -> dict[str, Any]:
    return {"version": 2, "job": job}
