"""The first walk through a clip: which faces are in which frame, and how much the picture changes.

It is looked at once and kept: a journal, one line a frame, survives being killed, and lies in the
run's folder afterwards, so that other settings of the same clip begin with painting. Frames whose
face lies in the target's face set already are not searched again.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces.detect import Detection
from ..faces.finding import build_packs, find_in_frames, one_opencv_thread
from ..faces.journal import JournalEnd, Sighting, append_lines, as_kept, read_journal, sighting_line
from ..faces.pack import FacePack, FoundFace
from ..media.clips import Frame
from ..media.reader import Clip
from ..outputs import job_id, whole_file
from ..runs.known import open_known_set
from ..runs.trained import TrainedRun
from .temporal_smoothing import reach

FACES_FOLDER = "faces"
"""In a run's folder: what was found in the clips that it converted."""
JOURNAL_VERSION = 3
"""Raised when what is kept of a clip changes; of earlier ones, 2 has times that jump."""
TRACK_FRAMES = 200
"""So much of a track, before and after the wanted frames, tells whose face it is."""


@dataclass(frozen=True)
class DetectionPass:
    """A clip's sightings in order: of the wanted frames, and of those that say something of them.

    `frame_ticks` is a usual frame's length in the clip's time base; `problems` what was wrong with
    the clip.
    """

    sightings: Sequence[Sighting]
    frame_ticks: float = 1.0
    problems: list[str] = field(default_factory=list)

    @cached_property
    def frames(self) -> Int[np.ndarray, " n"]:
        """The number of each sighting's frame, rising."""
        return np.fromiter((s.frame for s in self.sightings), np.int64)

    @cached_property
    def pts(self) -> Int[np.ndarray, " n"]:
        """When each is shown, in the clip's time base."""
        return np.fromiter((s.pts for s in self.sightings), np.int64)

    def wanted_pts(self, config: ConvertConfig) -> list[int]:
        """When those from `config.start` to `config.end` are shown."""
        end = np.inf if config.end is None else config.end
        found: list[int] = self.pts[(self.frames >= config.start) & (self.frames < end)].tolist()
        return found

    def end_pts(self, config: ConvertConfig) -> int | None:
        """When the frame after the last wanted one is shown; None at the clip's end."""
        after = [] if config.end is None else self.pts[self.frames >= config.end].tolist()
        return after[0] if after else None


def build_run_packs(
    run: TrainedRun, config: ConvertConfig, count: int | None = None
) -> list[FacePack]:
    """The finders that the run's face sets were made with, one for each thread."""
    extract = run.config.extract
    facts = run.manifest.of(config.shown_side)
    embedder = facts.embedder or ("auto" if facts.is_nobody else "none")
    return build_packs(
        (run.manifest.detector, run.manifest.landmarks_pack, embedder),
        min_face_px=extract.min_face_px,
        max_edge_px=extract.max_edge_px,
        count=count,
    )


def detect_clip(
    clip: Clip,
    run: TrainedRun,
    packs: list[FacePack],
    config: ConvertConfig,
    *,
    reuse: bool = True,
    journal: Path | None = None,
    say: Callable[[str], None] = print,
) -> DetectionPass:
    """What the frames from `config.start` to `config.end` of the clip show, and those around them.

    What is painted in a frame hangs on its neighbours: a part of a clip is looked at with as much
    before and after it as tells the same of it as the whole.

    `reuse`: faces of the run's face set that come from this clip are taken from there, if the set
    is of the person who is swapped. With a `journal`, a call goes on where a killed one stopped. A
    whole clip is kept in the run's folder, where the next call finds it.
    Raises: FaceswapError when the clip cannot be read.
    """
    reuse = reuse and not config.all_faces and config.face is None
    known = _faces_of_set(run, config, clip.fingerprint) if reuse else {}
    head = {
        "version": JOURNAL_VERSION,
        "job": _detection_job_id(clip.fingerprint, run, packs[0], known),
    }
    kept = run.path / FACES_FOLDER / f"{head['job']}.jsonl"
    done = read_journal(kept, head)
    if done is not None and done.end is not None:
        say(f"{clip.path.name}: using the faces found before ({kept})")
        return DetectionPass(done.sightings, done.end.frame_ticks, done.end.problems)
    if kept.is_file():
        say(
            f"{clip.path.name}: {kept} is damaged or of an earlier version: the faces are searched "
            "for again"
        )
    if known:
        where = open_known_set(run, config.shown_side).path
        say(f"{clip.path.name}: the faces of {len(known)} frames are taken from {where}")
    with tempfile.TemporaryDirectory() as folder:
        path = journal or Path(folder) / "faces.jsonl"
        first, end = _looked_at(config)
        part = {} if (first, end) == (0, None) else {"frames": [first, end]}
        head |= part
        _walk(clip, packs, first, end, run, known, path, head)
        if not part:
            # A run's folder that may not be written to only costs the next call its search.
            with suppress(FaceswapError), whole_file(kept) as partial:
                shutil.copyfile(path, partial)
        found = read_journal(path, head)
        if found is None or found.end is None:
            raise FaceswapError(
                f"{path}: was changed by another process; run the same command again"
            )
        return DetectionPass(found.sightings, found.end.frame_ticks, found.end.problems)


def _looked_at(config: ConvertConfig) -> tuple[int, int | None]:
    """The first frame that says something of the wanted ones, and the one after the last."""
    steadied = reach(max(config.color.steady, config.mask.steady)) + config.batch
    # The landmarks of covered faces are smoothed over up to twice as many frames.
    smoothing = config.temporal_smoothing * (2 if config.mask.kind == "visible" else 1)
    around = TRACK_FRAMES + steadied + reach(smoothing) + config.bridge
    return max(0, config.start - around), None if config.end is None else config.end + around


def _faces_of_set(
    run: TrainedRun, config: ConvertConfig, fingerprint: str
) -> dict[int, list[FoundFace]]:
    """By frame, the faces that the face set of the person in the clip holds of this clip."""
    facts = run.manifest.of(config.shown_side)
    if fingerprint not in facts.clips:
        return {}
    try:
        faces = open_known_set(run, config.shown_side).faces
    except FaceswapError:
        return {}
    known: dict[int, list[FoundFace]] = {}
    for record in (face.record for face in faces):
        fits = (
            record.clip_fingerprint == fingerprint
            and record.landmarks_pack == run.manifest.landmarks_pack
            and record.detector == run.manifest.detector
            and record.embedder == facts.embedder
        )
        if fits:
            detection = Detection(
                record.box_xyxy, record.confidence, record.five.astype(np.float64)
            )
            face = FoundFace(detection, record.landmarks, record.embedding, record.presence)
            known.setdefault(record.frame_index, []).append(face)
    return known


def _detection_job_id(
    fingerprint: str, run: TrainedRun, pack: FacePack, known: dict[int, list[FoundFace]]
) -> str:
    extract = run.config.extract
    return job_id(
        clip=fingerprint,
        pack=[pack.detector_name, pack.landmarks_name, pack.embedder_name],
        sizes=[extract.min_face_px, extract.max_edge_px, extract.low_confidence],
        known=[
            (frame, [np.round(face.detection.box_xyxy).tolist() for face in known[frame]])
            for frame in sorted(known)
        ],
    )


def _walk(
    clip: Clip,
    packs: list[FacePack],
    first: int,
    end: int | None,
    run: TrainedRun,
    known: dict[int, list[FoundFace]],
    path: Path,
    head: dict[str, Any],
) -> None:
    """Journal the sightings of the frames from `first` to `end`."""
    before = read_journal(path, head, repair=True)
    if before is not None and before.end is not None:
        return
    last = before.sightings[-1].frame if before is not None and before.sightings else first - 1
    # With an embedder, likeness tells true faces from false ones: weak detections may stay.
    min_confidence = run.config.extract.low_confidence if packs[0].embedder is not None else None

    def look(pack: FacePack, frame: Frame) -> list[FoundFace]:
        faces = known.get(frame.index)
        if faces is None:
            faces = pack.find(frame.image, min_confidence=min_confidence)
        return [as_kept(face) for face in faces]

    with (
        clip.open() as reader,
        append_lines(path, head if before is None else None) as append,
        one_opencv_thread(),
    ):
        info = reader.info
        frames = takewhile(lambda frame: end is None or frame.index < end, reader)
        with tqdm(total=info.frame_count, desc="find faces", unit="frame", disable=None) as bar:
            for found in find_in_frames(frames, packs, look, last):
                bar.update()
                if found.finds is not None:
                    seen = Sighting(found.frame, found.pts, found.change, found.finds)
                    append(sighting_line(seen))
        ticks = float(1 / (Fraction(info.rate or 25) * info.time_base))
        append({"end": JournalEnd(ticks, list(reader.problems))})
