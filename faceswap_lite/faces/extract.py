"""The extract stage: from clips to a face set, streaming, in a way that survives being killed."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import ExtractConfig
from ..errors import FaceswapError
from ..media.clips import IMAGE_SUFFIXES, Photo, counted, list_images
from ..outputs import (
    check_space,
    claim,
    file_sha256,
    job_id,
    one_writer,
    sealed,
    short_name,
    whole_folder,
    write_json,
)
from ..renames import under_old_names
from .candidates import Footage
from .embed import embedding_distance
from .extraction import JOURNAL_FILE, PENDING_FOLDER, Extraction, ExtractionTally, read_progress
from .face_set import EXTRACTION_JOB_FILE, HIDDEN_FOLDER, open_face_set, read_job, stored_faces
from .finding import build_packs, one_opencv_thread, photo_identity
from .pack import FacePack
from .unfound import why_so_few

FEW_SHARE = 0.5
"""Of the frames: where fewer gave a face, the summary says why."""
CROP_BYTES_A_PIXEL = 1.5
"""Of a filmed face as PNG, about."""

# Fewer faces than this share of the set are no person of their own in the summary.
_PERSON_SHARE = 0.02


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
                f"about {len(self.people)} people ({numbers} faces), all were kept: --like "
                "PHOTO keeps only one"
            )
        elif not self.people and self.frames_with_many:
            lines.append(
                "several faces in a frame, all were kept: --like PHOTO keeps only one person"
            )
        return lines + self.problems


@one_writer(lambda out, **_: [out])
def extract_faces(
    clips: Sequence[Footage],
    out: Path,
    config: ExtractConfig,
    *,
    like: Photo | None = None,
    overwrite: bool = False,
) -> ExtractSummary:
    """Find the faces of the clips (`find_footage`) and store them as a face set in `out`.

    The same call goes on where a killed one stopped, or does nothing when it has finished. With
    `like`, only the faces of the person on that photo (its largest face) are kept.
    Raises: FaceswapError when no clip can be read, no face is found, or `out` is another job's.
    """
    out = Path(out)
    clips, problems = _each_once(clips)
    job = job_id(
        stage="extract",
        format=2,
        clips=[(clip.path.name, clip.fingerprint) for clip in clips],
        config=under_old_names("extract", config.model_dump()),
        like=None if like is None else file_sha256(like.path),
    )
    found = read_job(out)
    found_job = None if found is None else found["job"]
    finished = found is not None and bool(found.get("finished"))
    # A kill may leave the folder for our own files without any.
    is_empty = out.is_dir() and found is None and {p.name for p in out.iterdir()} <= {HIDDEN_FOLDER}
    todo = "start"
    if not is_empty:
        todo = claim(out, job, found_job, finished=finished, overwrite=overwrite)
    if todo == "done" and found is not None:
        _clean_up(out)
        summary = ExtractSummary(**{**found["summary"], "out": out, "already_done": True})
        print(f"{out}: already done, {summary.kept} faces")
        return summary
    frames = _count_frames(clips)
    # One face a frame; there may be none in most.
    crop_bytes = round(CROP_BYTES_A_PIXEL * config.size**2)
    for line in check_space(out, frames // config.every * crop_bytes, crop_bytes):
        print(f"warning: {line}")
    done = read_progress(out, job) if todo == "resume" else None
    names = (config.detector, config.landmarks, config.embedder)
    if todo == "resume" and found is not None and found.get("pack"):
        # What `auto` took at first is kept: a set holds one kind of landmarks.
        names = tuple(found["pack"])
    packs = build_packs(names, min_face_px=config.min_face_px, max_edge_px=config.max_edge_px)
    for note in packs[0].notes:
        print(note)
    wanted = None if like is None else photo_identity(like, packs[0])
    if done is None:
        if todo == "resume" and (out / HIDDEN_FOLDER / JOURNAL_FILE).exists():
            print(f"{out}: what was begun there cannot be resumed; starting over")
        _start(out, found, job, packs[0], clips)
    tally = ExtractionTally(problems=problems)
    with one_opencv_thread():
        Extraction(out, job, config, clips, packs, wanted, done, tally).run()
        if len(tally.faces_of_frame) < FEW_SHARE * tally.frames:
            found_in = tally.faces_of_frame.keys()
            if why := why_so_few(clips, found_in, config, packs[0].detector_name):
                tally.problems.append(why)
    summary = _finish(out, clips, packs[0], tally)
    print("\n".join(summary.lines()))
    return summary


def delete_crops_of(path: Path, job: str) -> None:
    """Delete the crops that this extraction wrote into the folder, whatever they are called now."""
    for face in stored_faces(path):
        if face.record.job == job:
            face.path.unlink(missing_ok=True)


def _each_once(clips: Sequence[Footage]) -> tuple[list[Footage], list[str]]:
    """The clips, each once, with names for their crops that do not collide; which were left out."""
    problems = []
    firsts: dict[str, Footage] = {}
    for clip in clips:
        first = firsts.setdefault(clip.fingerprint, clip)
        if first.path != clip.path:
            problems.append(f"{clip.path}: is the same as {first.path}; used once")
    stems = Counter(clip.path.stem.casefold() for clip in firsts.values())
    named = []
    for clip in firsts.values():
        # Room for what makes it the name of a crop.
        stem = short_name(clip.path.stem.lstrip(".") or "clip", 215)
        alone = stems[clip.path.stem.casefold()] == 1
        prefix = stem if alone else f"{stem}_{clip.fingerprint[:8]}"
        named.append(replace(clip, prefix=prefix))
    return named, problems


def _count_frames(clips: Sequence[Footage]) -> int:
    """How many frames the clips have, as far as they say; which will be refused is said now.

    Raises: FaceswapError when no clip is left.
    """
    refused = []
    frames = 0
    for clip in clips:
        if clip.path.is_dir() or clip.path.suffix.lower() in IMAGE_SUFFIXES:
            # Thousands, maybe, and read as quickly as here.
            frames += len(list_images(clip.path)) if clip.path.is_dir() else 1
            continue
        try:
            with clip.open() as reader:
                frames += reader.info.frame_count or 0
        except FaceswapError as error:
            refused.append(str(error))
    if refused and len(refused) == len(clips):
        raise FaceswapError("; ".join(refused))
    for line in refused:
        print(f"warning: {line}; it is left out")
    return frames


def _start(
    out: Path, found: dict[str, Any] | None, job: str, pack: FacePack, clips: Sequence[Footage]
) -> None:
    if out.exists() and not out.is_dir():
        raise FaceswapError(f"{out}: is a file; choose another name for the face set")
    was_there = out.is_dir()
    if found is not None:
        delete_crops_of(out, found["job"])
        was_there = found.get("folder_was_there", True)
    content = {
        "version": 1,
        "job": job,
        "finished": False,
        "folder_was_there": was_there,
        "pack": [pack.detector_name, pack.landmarks_name, pack.embedder_name or "none"],
        "notes": pack.notes,
        "clips": [
            {"name": clip.path.name, "fingerprint": clip.fingerprint, "prefix": clip.prefix}
            for clip in clips
        ],
    }
    if out.is_dir():
        write_json(out / HIDDEN_FOLDER / EXTRACTION_JOB_FILE, sealed(content))
        _clean_up(out)
    else:
        # At once: after a kill it is as it was, or ours.
        with whole_folder(out) as partial:
            write_json(partial / HIDDEN_FOLDER / EXTRACTION_JOB_FILE, sealed(content))


def _clean_up(out: Path) -> None:
    hidden = out / HIDDEN_FOLDER
    shutil.rmtree(hidden / PENDING_FOLDER, ignore_errors=True)
    (hidden / JOURNAL_FILE).unlink(missing_ok=True)


def _finish(
    out: Path, clips: Sequence[Footage], pack: FacePack, tally: ExtractionTally
) -> ExtractSummary:
    """Close the set; where nothing was found, nothing is left but a folder that was there."""
    if not tally.files:
        _leave_nothing(out, clips, tally)
    counts = Counter(tally.faces_of_frame.values())
    with_face = sum(counts.values())
    job = read_job(out) or {}
    summary = ExtractSummary(
        out=out,
        already_done=False,
        clips=len(clips) - tally.refused,
        frames=tally.frames,
        frames_with_none=tally.frames - with_face,
        frames_with_one=counts[1],
        frames_with_many=with_face - counts[1],
        kept=len(tally.files),
        dropped={reason: count for reason, count in tally.dropped.items() if count},
        people=_people(out, pack),
        # Of the call that began: it chose the pack.
        notes=job.get("notes", pack.notes),
        problems=tally.problems,
    )
    content = {**asdict(summary), "out": out.name}
    told = {**job, "finished": True, "files": sorted(tally.files), "summary": content}
    write_json(out / HIDDEN_FOLDER / EXTRACTION_JOB_FILE, sealed(told))
    _clean_up(out)
    return summary


def _leave_nothing(out: Path, clips: Sequence[Footage], tally: ExtractionTally) -> None:
    was_there = (read_job(out) or {}).get("folder_was_there", False)
    shutil.rmtree(out / HIDDEN_FOLDER, ignore_errors=True)
    if not was_there and not any(out.iterdir()):
        out.rmdir()
    names = ", ".join(str(clip.path) for clip in clips[:3])
    if tally.refused == len(clips):
        raise FaceswapError("; ".join(tally.problems).removeprefix("refused: "))
    dropped = "".join(f"; {n} {why}" for why, n in tally.dropped.items() if n)
    problems = "".join(f"; {problem}" for problem in tally.problems)
    frames = counted(tally.frames, "frame", "frames")
    raise FaceswapError(f"{names}: no face found in {frames}{dropped}{problems}")


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
    minimum = _PERSON_SHARE * len(records)
    return sorted((count for _, count in people if count >= minimum), reverse=True)
