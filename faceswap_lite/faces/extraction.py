"""An extraction under way: frames in, crops out, and a journal that survives being killed.

Every crop is first written into a hidden folder and moved into the set when its track is sure; then
the frame's line goes into a journal. A killed extraction replays the journal, which brings the
tracks back to where they were, and goes on with the first frame that has no line: what it leaves
is, byte for byte, what an undisturbed one leaves.
"""

import json
import os
import queue
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from ..config import ExtractConfig
from ..errors import FaceswapError
from ..media.clips import Frame
from ..media.reading import ClipReader, open_clip
from .candidates import Candidate, Source, Wanted, record_and_crop
from .face_set import HIDDEN_FOLDER, crop_name
from .landmarks import MIN_PRESENCE
from .pack import FacePack, FoundFace, as_uint8
from .records import write_crop
from .tracks import Tracker, is_cut, is_sure, thumbnail

JOURNAL_FILE = "journal.jsonl"
PENDING_FOLDER = "pending"

_Append = Callable[[dict[str, Any]], None]

_WRITERS = 2
# A face this much farther from the photo than `same_person` is kept when its track has a near one.
_LIKE_SLACK = 1.2

_UNSURE = "never sure enough in their track"
_UNLIKELY = "landmarks do not lie on them (profile, blur, no face)"
_STRANGER = "not the person on the photo"


class _Finds(NamedTuple):
    """What one frame holds; the counts are of faces that cannot go in."""

    frame_index: int
    thumbnail: Float[np.ndarray, "a a 3"]
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
    """One extraction under way: its folder, its journal, its counts."""

    def __init__(
        self,
        out: Path,
        job: str,
        config: ExtractConfig,
        sources: list[Source],
        packs: list[FacePack],
        wanted: Wanted | None,
        problems: list[str],
    ) -> None:
        self.out = out
        self.hidden = out / HIDDEN_FOLDER
        self.pending = self.hidden / PENDING_FOLDER
        self.job = job
        self.config = config
        self.sources = sources
        self.wanted = wanted
        self.packs: queue.SimpleQueue[FacePack] = queue.SimpleQueue()
        for pack in packs:
            self.packs.put(pack)
        self.finders = len(packs)
        self.tally = Tally(problems=problems)

    def run(self) -> Tally:
        """Work through what the journal does not hold yet; the counts of all."""
        self.pending.mkdir(parents=True, exist_ok=True)
        done = read_journal(self.hidden / JOURNAL_FILE)
        with (
            ThreadPoolExecutor(self.finders) as finders,
            ThreadPoolExecutor(_WRITERS) as writers,
            _journal(self.hidden / JOURNAL_FILE) as append,
        ):
            for number, source in enumerate(self.sources):
                lines = [line for line in done if line["clip"] == number]
                state = _ClipState()
                for line in lines:
                    self._settle(self._replay(state, line))
                if not (lines and "end" in lines[-1]):
                    self._clip(number, source, state, lines, finders, writers, append)
        return self.tally

    def _clip(
        self,
        number: int,
        source: Source,
        state: _ClipState,
        lines: list[dict[str, Any]],
        finders: ThreadPoolExecutor,
        writers: ThreadPoolExecutor,
        append: _Append,
    ) -> None:
        end: dict[str, Any] = {"clip": number, "end": True, "problems": []}
        try:
            reader = open_clip(source.path)
        except FaceswapError as error:
            end = {**end, "problems": [f"refused: {error}"], "refused": True}
            self._settle(self._replay(state, end))
            append(end)
            return
        steps: deque[_Step] = deque()
        last = lines[-1]["frame"] if lines else -1
        with reader:
            for step in self._steps(number, source, state, reader, last, finders, writers):
                steps.append(step)
                # Some frames ahead, so that writing and finding overlap.
                while len(steps) > 2 * _WRITERS:
                    self._commit(steps.popleft(), append)
            while steps:
                self._commit(steps.popleft(), append)
            end["problems"] = [f"{source.path.name}: {problem}" for problem in reader.problems]
        self._settle(self._replay(state, end))
        append(end)

    def _steps(
        self,
        number: int,
        source: Source,
        state: _ClipState,
        reader: ClipReader,
        last: int,
        finders: ThreadPoolExecutor,
        writers: ThreadPoolExecutor,
    ) -> Iterator[_Step]:
        """The steps of the frames after `last`, in order."""
        before: Float[np.ndarray, "a a 3"] | None = None
        for finds in self._finds(source, reader, last, finders):
            cut = before is not None and is_cut(before, finds.thumbnail)
            before = finds.thumbnail
            if finds.frame_index <= last:
                continue
            names = [f"{crop_name(source.prefix, c.record)}.png" for c in finds.candidates]
            line = {
                "clip": number,
                "frame": finds.frame_index,
                "cut": cut,
                "names": names,
                "boxes": [candidate.record.box_xyxy.tolist() for candidate in finds.candidates],
                "sure": [candidate.sure for candidate in finds.candidates],
                "unlikely": finds.unlikely,
                "strangers": finds.strangers,
            }
            step = self._replay(state, line)
            tracks = step.line["tracks"]
            writes = [
                writers.submit(
                    write_crop,
                    self.pending / name,
                    candidate.crop,
                    candidate.record.model_copy(update={"track": track}),
                )
                for name, candidate, track in zip(names, finds.candidates, tracks, strict=True)
            ]
            yield step._replace(writes=writes)

    def _finds(
        self, source: Source, reader: ClipReader, last: int, finders: ThreadPoolExecutor
    ) -> Iterator[_Finds]:
        """What the frames hold, found side by side, in order; nothing is sought up to `last`."""
        ahead: deque[Future[_Finds]] = deque()
        total = reader.info.frame_count
        with tqdm(total=total, desc=source.path.name, unit="frame", disable=None) as bar:
            for frame in reader:
                bar.update()
                if frame.index % self.config.every:
                    continue
                work = self._find if frame.index > last else _skip
                ahead.append(finders.submit(work, source, frame))
                if len(ahead) > 2 * self.finders:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _find(self, source: Source, frame: Frame) -> _Finds:
        image = as_uint8(frame.image)
        pack = self.packs.get()
        try:
            faces = pack.find(image, min_score=self.config.weak_score, min_presence=0.0)
        finally:
            self.packs.put(pack)
        likely = [f for f in faces if f.presence is None or f.presence >= MIN_PRESENCE]
        near = [f for f in likely if self._nearness(f) <= _LIKE_SLACK]
        candidates = [
            Candidate(
                *record_and_crop(image, frame, face, place, source, pack, self.job, self.config),
                is_sure(face.detection.score, face.presence, self.config.sure_score)
                and self._nearness(face) <= 1,
            )
            for place, face in enumerate(near)
        ]
        return _Finds(
            frame.index,
            thumbnail(image),
            candidates,
            len(faces) - len(likely),
            len(likely) - len(near),
        )

    def _nearness(self, face: FoundFace) -> float:
        """Distance to the photo in units of `same_person`; 0 when nobody is asked for."""
        if self.wanted is None:
            return 0.0
        return self.wanted.distance(face) / self.wanted.embedder.same_person

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

    def _commit(self, step: _Step, append: _Append) -> None:
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


def _skip(source: Source, frame: Frame) -> _Finds:
    """A frame that the journal holds: only its thumbnail is needed, for the next frame's cut."""
    return _Finds(frame.index, thumbnail(as_uint8(frame.image)), [], 0, 0)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The journal's lines; what a kill left of a last one is cut off the file."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
    return [json.loads(line) for line in content[:whole].decode("utf-8").splitlines()]


@contextmanager
def _journal(path: Path) -> Iterator[_Append]:
    """A function that adds a line to the journal; a kill right after it loses nothing."""
    with path.open("ab", buffering=0) as file:

        def append(line: dict[str, Any]) -> None:
            try:
                file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            except OSError as error:
                raise FaceswapError(f"{path}: cannot be written ({error.strerror})") from error

        yield append
