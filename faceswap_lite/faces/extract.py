"""The extract stage: from clips to a face set, streaming, in a way that survives being killed.

Every crop is first written into a hidden folder and moved into the set when its track is sure; then
the frame's line goes into a journal. A killed extraction replays the journal, which brings the
tracks back to where they were, and goes on with the first frame that has no line: what it leaves
is, byte for byte, what an undisturbed one leaves.
"""

import json
import os
import queue
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from ..actors import load_true_landmarks
from ..config import ExtractConfig
from ..errors import FaceswapError
from ..media import ClipReader, Frame, clip_fingerprint, open_clip, read_image
from ..outputs import claim, file_sha256, job_id, write_json
from .align import COVERAGES, LandmarksPack, align, cut_crop, inner_view
from .embed import Embedder, embedding_distance
from .face_set import HIDDEN_FOLDER, JOB_FILE, crop_name, delete_crops_of, open_face_set, read_job
from .pack import MIN_PRESENCE, FacePack, FoundFace, as_uint8, build_pack
from .pose import estimate_pose, eye_opening, mouth_opening
from .quality import sharpness
from .records import FaceRecord, write_crop
from .tracks import Tracker, is_cut, is_sure, thumbnail

_JOURNAL_FILE = "journal.jsonl"
_PENDING_FOLDER = "pending"

_Append = Callable[[dict[str, Any]], None]

_MOST_FINDERS = 4
_WRITERS = 2
# A face this much farther from the photo than `same_person` is kept when its track has a near one.
_LIKE_SLACK = 1.2
# Fewer faces than this share of the set are no person of their own in the summary.
_PERSON_SHARE = 0.02

_UNSURE = "never sure enough in their track"
_UNLIKELY = "landmarks do not lie on them (profile, blur, no face)"
_STRANGER = "not the person on the photo"


@dataclass(frozen=True)
class ExtractSummary:
    """What an extraction found. `people`: faces of each person, most first; empty: not known."""

    out: Path
    already_done: bool
    clips: int
    frames: int
    frames_with_none: int
    frames_with_one: int
    frames_with_many: int
    kept: int
    dropped: dict[str, int]
    people: list[int]
    notes: list[str]
    problems: list[str]

    def lines(self) -> list[str]:
        """The summary for a person to read."""
        counts = (
            f"{self.frames_with_none} without a face, {self.frames_with_one} with one, "
            f"{self.frames_with_many} with several"
        )
        lines = [f"{self.out}: {self.kept} faces from {self.frames} frames ({counts})"]
        lines += [f"dropped {count}: {reason}" for reason, count in self.dropped.items() if count]
        if len(self.people) > 1:
            numbers = " + ".join(str(count) for count in self.people)
            lines.append(
                f"about {len(self.people)} people ({numbers} faces), all went in: "
                "--like PHOTO keeps one"
            )
        elif not self.people and self.frames_with_many:
            lines.append("several faces in a frame, all went in: --like PHOTO keeps one person")
        return lines + self.problems


def extract_faces(
    clips: Sequence[Path],
    out: Path,
    config: ExtractConfig,
    *,
    like: Path | None = None,
    overwrite: bool = False,
) -> ExtractSummary:
    """Find the faces of the clips and store them as a face set in `out`.

    The same call goes on where a killed one stopped, or does nothing when it has finished. With
    `like`, only the faces of the person on that photo (its largest face) are kept.
    Raises: FaceswapError when no clip can be read, no face is found, or `out` is another job's.
    """
    out = Path(out)
    sources, problems = _sources(clips)
    job = job_id(
        stage="extract",
        format=2,
        clips=[(source.path.name, source.fingerprint) for source in sources],
        config=config.model_dump(),
        like=None if like is None else _photo_sha256(like),
    )
    found = read_job(out)
    found_job = None if found is None else found["job"]
    finished = found is not None and bool(found.get("finished"))
    is_empty = out.is_dir() and not any(out.iterdir())
    todo = (
        "start" if is_empty else claim(out, job, found_job, finished=finished, overwrite=overwrite)
    )
    if todo == "done" and found is not None:
        _clean_up(out)
        summary = ExtractSummary(**{**found["summary"], "out": out, "already_done": True})
        print(f"{out}: already done, {summary.kept} faces")
        return summary
    names = (config.detector, config.landmarks, config.embedder)
    if todo == "resume" and found is not None:
        # What `auto` took at first is kept: a set holds one kind of landmarks.
        names = tuple(found["pack"])
    packs = _packs(names, config)
    wanted = None if like is None else _wanted(like, packs[0])
    if todo == "start":
        _start(out, found_job, job, packs[0], sources)
    extraction = _Extraction(out, job, config, sources, packs, wanted, problems)
    with _one_opencv_thread():
        extraction.run()
    summary = extraction.finish()
    print("\n".join(summary.lines()))
    return summary


@dataclass(frozen=True)
class _Source:
    """A clip, what its crops' names begin with, and the landmarks of a rendered actor's clip."""

    path: Path
    fingerprint: str
    prefix: str
    true_landmarks: Float[np.ndarray, "n 68 2"] | None

    def truth_of(self, frame: int, face: FoundFace) -> Float[np.ndarray, "68 2"] | None:
        """The renderer's landmarks of this face; None when it is no actor's."""
        if self.true_landmarks is None or frame >= len(self.true_landmarks):
            return None
        points = self.true_landmarks[frame]
        low, high = _corners(face)
        centre = points.mean(0)
        return points if ((low < centre) & (centre < high)).all() else None


def _sources(clips: Sequence[Path]) -> tuple[list[_Source], list[str]]:
    """The clips, each once, with names for their crops that do not collide."""
    problems = []
    prints: dict[str, Path] = {}
    for clip in clips:
        if not Path(clip).exists():
            raise FaceswapError(f"{clip}: no such clip")
        fingerprint = clip_fingerprint(clip)
        first = prints.setdefault(fingerprint, Path(clip))
        if first != Path(clip):
            problems.append(f"{clip}: the same as {first}, taken once")
    stems = Counter(path.stem.casefold() for path in prints.values())
    sources = []
    for fingerprint, path in prints.items():
        stem = path.stem.lstrip(".") or "clip"
        alone = stems[path.stem.casefold()] == 1
        prefix = stem if alone else f"{stem}_{fingerprint[:8]}"
        sources.append(_Source(path, fingerprint, prefix, load_true_landmarks(path)))
    return sources, problems


def _photo_sha256(photo: Path) -> str:
    if not photo.is_file():
        raise FaceswapError(f"{photo}: no such photo")
    return file_sha256(photo)


class _Wanted(NamedTuple):
    """The person on the photo."""

    vector: Float[np.ndarray, " d"]
    embedder: Embedder

    def distance(self, face: FoundFace) -> float:
        """To the photo's face."""
        if face.embedding is None:
            raise ValueError("a face without a vector cannot be compared")
        return embedding_distance(self.vector, face.embedding, self.embedder.metric)


def _wanted(photo: Path, pack: FacePack) -> _Wanted:
    if pack.embedder is None:
        raise FaceswapError(
            f"--like {photo}: needs an embedder to compare faces, and there is none; name one with "
            "--set extract.embedder=dlib (pip install 'faceswap_lite[dlib]')"
        )
    faces = pack.find(read_image(photo))
    if not faces:
        raise FaceswapError(f"--like {photo}: no face found on it")
    largest = max(faces, key=lambda face: float(np.prod(np.diff(_corners(face), axis=0))))
    if largest.embedding is None:
        raise FaceswapError(f"--like {photo}: its face could not be measured")
    return _Wanted(largest.embedding, pack.embedder)


def _corners(face: FoundFace) -> Float[np.ndarray, "2 2"]:
    return face.detection.box_xyxy.reshape(2, 2)


def _packs(names: tuple[str, ...], config: ExtractConfig) -> list[FacePack]:
    """One pack for each finding thread: the networks hold state."""
    build = partial(build_pack, min_face_px=config.min_face_px, max_side_px=config.max_side_px)
    first = build(*names)
    for note in first.notes:
        print(note)
    taken = (first.detector_name, first.landmarks_name, first.embedder_name or "none")
    more = min(_MOST_FINDERS, os.cpu_count() or 1) - 1
    return [first, *(build(*taken) for _ in range(more))]


def _start(
    out: Path, found_job: str | None, job: str, pack: FacePack, sources: Sequence[_Source]
) -> None:
    if out.exists() and not out.is_dir():
        raise FaceswapError(f"{out}: is a file; choose another name for the face set")
    if found_job is not None:
        delete_crops_of(out, found_job)
    shutil.rmtree(out / HIDDEN_FOLDER, ignore_errors=True)
    content = {
        "version": 1,
        "job": job,
        "finished": False,
        "pack": [pack.detector_name, pack.landmarks_name, pack.embedder_name or "none"],
        "notes": pack.notes,
        "clips": [
            {"name": source.path.name, "fingerprint": source.fingerprint, "prefix": source.prefix}
            for source in sources
        ],
    }
    write_json(out / HIDDEN_FOLDER / JOB_FILE, content)


def _clean_up(out: Path) -> None:
    hidden = out / HIDDEN_FOLDER
    shutil.rmtree(hidden / _PENDING_FOLDER, ignore_errors=True)
    (hidden / _JOURNAL_FILE).unlink(missing_ok=True)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Frames are worked on side by side: threads inside OpenCV would only get in their way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


class _Candidate(NamedTuple):
    """A face that may go in: its crop and its record, whose track is not known yet."""

    record: FaceRecord
    crop: UInt8[np.ndarray, "s s 3"]
    sure: bool


class _Finds(NamedTuple):
    """What one frame holds; the counts are of faces that cannot go in."""

    frame_index: int
    thumbnail: Float[np.ndarray, "a a 3"]
    candidates: list[_Candidate]
    unlikely: int
    strangers: int


class _Step(NamedTuple):
    """What is to be done when the writes of a frame have ended."""

    writes: list[Future[None]]
    promote: list[str]
    drop: list[str]
    line: dict[str, Any]


@dataclass
class _Tally:
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


class _Extraction:
    """One extraction under way: its folder, its journal, its counts."""

    def __init__(
        self,
        out: Path,
        job: str,
        config: ExtractConfig,
        sources: list[_Source],
        packs: list[FacePack],
        wanted: _Wanted | None,
        problems: list[str],
    ) -> None:
        self.out = out
        self.hidden = out / HIDDEN_FOLDER
        self.pending = self.hidden / _PENDING_FOLDER
        self.job = job
        self.config = config
        self.sources = sources
        self.wanted = wanted
        self.packs: queue.SimpleQueue[FacePack] = queue.SimpleQueue()
        for pack in packs:
            self.packs.put(pack)
        self.finders = len(packs)
        self.notes = packs[0].notes
        self.tally = _Tally(problems=problems)

    def run(self) -> None:
        """Work through what the journal does not hold yet."""
        self.pending.mkdir(parents=True, exist_ok=True)
        done = _read_journal(self.hidden / _JOURNAL_FILE)
        with (
            ThreadPoolExecutor(self.finders) as finders,
            ThreadPoolExecutor(_WRITERS) as writers,
            _journal(self.hidden / _JOURNAL_FILE) as append,
        ):
            for number, source in enumerate(self.sources):
                lines = [line for line in done if line["clip"] == number]
                state = _ClipState()
                for line in lines:
                    self._settle(self._replay(state, line))
                if not (lines and "end" in lines[-1]):
                    self._clip(number, source, state, lines, finders, writers, append)

    def _clip(
        self,
        number: int,
        source: _Source,
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
        source: _Source,
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
        self, source: _Source, reader: ClipReader, last: int, finders: ThreadPoolExecutor
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

    def _find(self, source: _Source, frame: Frame) -> _Finds:
        image = as_uint8(frame.image)
        pack = self.packs.get()
        try:
            faces = pack.find(image, min_score=self.config.weak_score, min_presence=0.0)
        finally:
            self.packs.put(pack)
        likely = [f for f in faces if f.presence is None or f.presence >= MIN_PRESENCE]
        near = [f for f in likely if self._nearness(f) <= _LIKE_SLACK]
        candidates = [
            _Candidate(
                *_record_and_crop(image, frame, face, place, source, pack, self.job, self.config),
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

    def finish(self) -> ExtractSummary:
        """Close the set; an extraction that found nothing leaves nothing."""
        tally = self.tally
        if not tally.files:
            self._leave_nothing()
        counts = Counter(tally.faces_of_frame.values())
        with_face = sum(counts.values())
        summary = ExtractSummary(
            out=self.out,
            already_done=False,
            clips=len(self.sources) - tally.refused,
            frames=tally.frames,
            frames_with_none=tally.frames - with_face,
            frames_with_one=counts[1],
            frames_with_many=with_face - counts[1],
            kept=len(tally.files),
            dropped={reason: count for reason, count in tally.dropped.items() if count},
            people=_people(self.out, self.packs.get()),
            notes=self.notes,
            problems=tally.problems,
        )
        job = read_job(self.out) or {}
        content = {**asdict(summary), "out": self.out.name}
        write_json(
            self.hidden / JOB_FILE,
            {**job, "finished": True, "files": sorted(tally.files), "summary": content},
        )
        _clean_up(self.out)
        return summary

    def _leave_nothing(self) -> None:
        shutil.rmtree(self.hidden, ignore_errors=True)
        if not any(self.out.iterdir()):
            self.out.rmdir()
        clips = ", ".join(str(source.path) for source in self.sources[:3])
        if self.tally.refused == len(self.sources):
            raise FaceswapError("; ".join(self.tally.problems).removeprefix("refused: "))
        dropped = "".join(f"; {n} {why}" for why, n in self.tally.dropped.items() if n)
        problems = "".join(f"; {problem}" for problem in self.tally.problems)
        count = self.tally.frames
        frames = "1 frame" if count == 1 else f"{count} frames"
        raise FaceswapError(f"{clips}: no face found in {frames}{dropped}{problems}")


def _skip(source: _Source, frame: Frame) -> _Finds:
    """A frame that the journal holds: only its thumbnail is needed, for the next frame's cut."""
    return _Finds(frame.index, thumbnail(as_uint8(frame.image)), [], 0, 0)


def _record_and_crop(
    image: UInt8[np.ndarray, "h w 3"],
    frame: Frame,
    face: FoundFace,
    place: int,
    source: _Source,
    pack: FacePack,
    job: str,
    config: ExtractConfig,
) -> tuple[FaceRecord, UInt8[np.ndarray, "s s 3"]]:
    side = COVERAGES[config.coverage] * (1 + 2 * config.margin)
    frame_to_crop = align(face.landmarks, pack.landmarks_name, side, config.size)
    crop = cut_crop(image, frame_to_crop, config.size)
    to_inner, inner_size = inner_view(
        config.size, config.margin, round(config.size / (1 + 2 * config.margin)), 0.0
    )
    truth = source.truth_of(frame.index, face)
    outline: tuple[Float[np.ndarray, "n 2"], LandmarksPack]
    outline = (face.landmarks, pack.landmarks_name) if truth is None else (truth, "ibug68")
    missing = {}
    if outline[1] == "five":
        missing["mouth_opening"] = "five points do not show the lips"
        missing["eye_opening"] = "five points do not show the lids"
    if face.presence is None:
        missing["presence"] = "the detector's points come without one"
    if pack.embedder is None:
        missing["embedding"] = "no embedder"
    record = FaceRecord(
        job=job,
        clip_name=source.path.name,
        clip_fingerprint=source.fingerprint,
        frame_index=frame.index,
        pts=frame.pts,
        time=str(frame.time),
        frame_width=image.shape[1],
        frame_height=image.shape[0],
        face=place,
        track=-1,
        box_xyxy=np.round(face.detection.box_xyxy, 2),
        score=round(face.detection.score, 4),
        presence=None if face.presence is None else round(face.presence, 4),
        detector=pack.detector_name,
        landmarks_pack="mesh" if pack.landmarks_name == "mesh" else "five",
        landmarks=face.landmarks,
        five=face.detection.five,
        true_landmarks=truth,
        embedder=pack.embedder_name,
        embedding=face.embedding,
        coverage=config.coverage,
        margin=config.margin,
        size=config.size,
        frame_to_crop=frame_to_crop,
        sharpness=round(sharpness(cut_crop(crop, to_inner, inner_size)), 4),
        pose=estimate_pose(face.landmarks, pack.landmarks_name).rounded(),
        mouth_opening=_rounded(mouth_opening(*outline)),
        eye_opening=_rounded(eye_opening(*outline)),
        missing=missing,
    )
    return record, crop


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _people(out: Path, pack: FacePack) -> list[int]:
    """About how many faces each person of the set has; empty when it cannot be told."""
    faces = open_face_set(out)
    vectors = faces.embeddings()
    if vectors is None or pack.embedder is None or faces.embedder != pack.embedder_name:
        return []
    records = [face.record for face in faces.faces]
    members: dict[tuple[str, int], list[int]] = {}
    for index, record in enumerate(records):
        members.setdefault((record.clip_fingerprint, record.track), []).append(index)
    people: list[tuple[np.ndarray, int]] = []
    # A track is one person; the longest say what the people look like.
    for indices in sorted(members.values(), key=lambda some: (-len(some), some[0])):
        centre, count = vectors[indices].mean(0), len(indices)
        distances = [embedding_distance(centre, other, pack.embedder.metric) for other, _ in people]
        if distances and min(distances) <= pack.embedder.same_person:
            nearest = int(np.argmin(distances))
            other, many = people[nearest]
            people[nearest] = ((other * many + centre * count) / (many + count), many + count)
        else:
            people.append((centre, count))
    least = _PERSON_SHARE * len(records)
    return sorted((count for _, count in people if count >= least), reverse=True)


def _read_journal(path: Path) -> list[dict[str, Any]]:
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
