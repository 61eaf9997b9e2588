"""The convert stage: a clip and a run in, the swapped clip out.

Two walks through the clip: the first finds the faces of every frame, so that tracks, cuts and
smoothing know what comes; the second paints, in pieces that survive being killed.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import __version__
from ..config import CodecName, ConvertConfig
from ..errors import FaceswapError
from ..faces.given_masks import GivenMasks
from ..media.clips import IMAGE_SUFFIXES, ClipInfo, clip_fingerprint
from ..media.credentials import check_signing, sign_file
from ..media.label import draw_label
from ..media.marks import SyntheticMark
from ..media.memory import give_frames_back
from ..media.reading import open_clip
from ..media.sidecar import sidecar_path, write_sidecar
from ..media.writing import PIECE_FRAMES, ClipWriter
from ..outputs import job_id, write_json
from ..runs.hardware import pick_device
from ..runs.trained import TrainedRun
from .blend import layer_mask, layer_rgba
from .casting import CastPlan, plan_cast
from .composite import Composite, composite_frames, steadying_reach
from .job import ConvertJob, Tally
from .paint import block_of, paint_frames
from .people import whom
from .scout import Scouting, build_run_packs, scout_clip
from .sides import UNSEEN_SETTINGS, config_for, given_masks

# Codecs that hold a layer's alpha, by what the file is called.
_ALPHA_CODECS: dict[str, CodecName] = {".mov": "prores", ".mkv": "ffv1"}


@dataclass(frozen=True)
class Tracks:
    """What else to write, for compositors and for a look: each a clip or a folder of PNG."""

    mask: Path | None = None
    """Grey: how much of the painted face each pixel shows."""
    layer: Path | None = None
    """The painted face alone, with straight alpha."""
    compare: Path | None = None
    """The clip and the swap beside one another."""

    def named(self) -> dict[str, Path]:
        """Those that are wanted."""
        every = {"mask": self.mask, "layer": self.layer, "compare": self.compare}
        return {name: path for name, path in every.items() if path is not None}


@dataclass(frozen=True)
class ConvertSummary:
    """What a conversion did, in frames."""

    path: Path
    frames: int
    swapped: int
    bridged: int = 0
    """Of the swapped: in gaps of the detector, where the face was placed by its neighbours."""
    failed: int = 0
    """Passed through because something went wrong with them."""
    done_before: bool = False

    def line(self) -> str:
        """For a person to read."""
        parts = [f"{self.swapped} of {self.frames} frames swapped"]
        if self.bridged:
            parts.append(f"{self.bridged} of them in gaps of the detector")
        if self.frames - self.swapped:
            parts.append(f"{self.frames - self.swapped} passed through")
        if self.failed:
            parts.append(f"{self.failed} FAILED")
        before = " (already done)" if self.done_before else ""
        return f"{self.path}: {', '.join(parts)}{before}"


def convert_clip(
    run: TrainedRun,
    clip: Path,
    out: Path,
    config: ConvertConfig,
    *,
    like: Path | None = None,
    tracks: Tracks | None = None,
    consent: str = "",
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> ConvertSummary:
    """Swap the target's face in every frame of `clip` and write `out`, timing and audio kept.

    Frames without the target's face, and such that fail, pass through and are counted. `out` gets
    a machine-readable mark that it is synthetic, and `OUT.json` beside it says what it was made
    from. `like`: a photo of the person to swap, instead of the run's target; `consent`: who agreed,
    if not as the run says. The same call goes on where a killed one stopped.

    Raises: FaceswapError when the clip cannot be read or `out` is another job's.
    """
    fingerprint = clip_fingerprint(clip)
    outputs = {"swap": out, **(tracks or Tracks()).named()}
    masks = given_masks(config, run, fingerprint)
    # A path's spelling makes no other job: what lies there counts, by its hash.
    settings = config.model_dump(exclude=UNSEEN_SETTINGS | {"masks"})
    job = ConvertJob(
        id=job_id(
            clip=fingerprint,
            run=run.fingerprint,
            settings=settings,
            like=None if like is None else clip_fingerprint(like),
            masks=None if masks is None else masks.fingerprint(),
        ),
        outputs=outputs,
        inputs=[clip, run.path, *([like] if like else []), *([masks.folder] if masks else [])],
    )
    before = job.begin(overwrite)
    if before is not None:
        if consent and before.get("consent") != consent:
            write_json(sidecar_path(out), {**before, "consent": consent})
        # What a kill after the last step left.
        job.clean_up()
        return _summary(out, before, done_before=True)
    config = config_for(clip, config)
    run.model.to(pick_device(config.device))
    packs = build_run_packs(run, config)
    for note in packs[0].notes:
        say(note)
    wanted = whom(run, packs[0], config, like)
    try:
        _check_early(clip, job, config)
    finally:
        with suppress(OSError):
            job.work.rmdir()  # unless it holds a killed call's work

    # The first walk: where is whose face?
    give_frames_back()
    job.work.mkdir(parents=True, exist_ok=True)
    journal = job.work / "faces.jsonl"
    sure_score = run.config.extract.sure_score
    try:
        scouting = scout_clip(
            clip, fingerprint, run, packs, config, reuse=like is None, journal=journal, say=say
        )
        if not scouting.sightings:
            raise FaceswapError(f"{clip}: ends before frame {config.start}, where --frames begins")
        plan = plan_cast(scouting, run.manifest.landmarks_pack, wanted, config, sure_score)
    except FaceswapError:
        # Who mends it gives another call, which looks for another folder.
        job.clean_up()
        raise
    mark = None
    # What is not synthetic must not say that it is.
    if plan.placements:
        mark = SyntheticMark(version=__version__, run=run.fingerprint, job=job.id)
    else:
        say(f"warning: {clip}: {_nobody(len(scouting.sightings))}")

    # The second: paint and write what is still to be written.
    if config.views > 1:
        say(f"{config.views} views: painting takes {config.views} times as long as with one")
    tally = Tally(job.work / "frames.jsonl")
    tally.read()
    problems = list(scouting.problems)
    if overwrite:
        job.restart()
    job.make_room()
    if job.missing():
        problems += _write(clip, job, scouting, plan, run, config, masks, mark, tally)
    for line in problems + list(tally.failed.values())[:3]:
        say(f"warning: {clip.name}: {line}")
    facts = {
        "job": job.id,
        "tool": f"faceswap_lite {__version__}",
        "digital_source_type": None if mark is None else mark.digital_source_type,
        "clip": str(clip),
        "clip_sha256": fingerprint,
        "run": str(run.path),
        "run_step": run.step,
        "run_fingerprint": run.fingerprint,
        "consent": consent or run.manifest.consent,
        "settings": settings,
        "masks": None if masks is None else str(masks.folder),
        "outputs": {name: str(path.resolve()) for name, path in outputs.items()},
        "tracks_sha256": {
            name: clip_fingerprint(path) for name, path in outputs.items() if name != "swap"
        },
        "bridged": plan.bridged,
        **tally.counts(),
    }
    write_sidecar(out, facts)
    job.clean_up()
    return _summary(out, facts)


def _nobody(frames: int) -> str:
    return (
        f"the face to swap was found in none of {frames} frames; they pass through as they are "
        "(--swap target-to-source turns the run round; --like PHOTO or --face N name another face)"
    )


def _check_early(clip: Path, job: ConvertJob, config: ConvertConfig) -> None:
    """Refuse now what would be refused after the first walk, or after the work."""
    if config.c2pa:
        check_signing(job.swap, *_certificate(config))
    with open_clip(clip) as reader:
        info = reader.info
    draw_label(np.zeros((info.height, info.width, 3), np.uint8), config.label)
    mark = SyntheticMark(version=__version__, run=None)
    for name, path in job.missing().items():
        frames = (info.frame_count or 1) if config.end is None else config.end
        if path.suffix.lower() in IMAGE_SUFFIXES and frames - config.start > 1:
            raise FaceswapError(f"{path}: holds one picture; name a video, or a folder")
        if not path.exists():
            # In the job's own folder: what a kill leaves there is found again.
            work = job.work / f"{name}.check"
            _writer(name, path, info, clip, None, config, job, work, mark).check()


def _certificate(config: ConvertConfig) -> tuple[Path | None, Path | None]:
    paths = (config.c2pa_certificate, config.c2pa_key)
    certificate, key = (None if path is None else Path(path) for path in paths)
    return certificate, key


def _writer(
    name: str,
    path: Path,
    info: ClipInfo,
    clip: Path,
    scouting: Scouting | None,
    config: ConvertConfig,
    job: ConvertJob,
    work: Path,
    mark: SyntheticMark | None,
) -> ClipWriter:
    codec = config.codec
    if name == "layer" and codec not in ("prores", "ffv1"):
        codec = _ALPHA_CODECS.get(path.suffix.lower(), codec)
    keeps_tracks = name in ("swap", "compare") and info.kind == "video"

    def finish(made: Path) -> None:
        if config.c2pa and name == "swap" and mark is not None:
            _sign(made, mark=mark, config=config, name=path.name, clip=clip)
        job.note_whole(name, made)

    return ClipWriter(
        path,
        like=info,
        width=info.width * (2 if name == "compare" else 1),
        codec=codec,
        quality=config.quality,
        copy_from=clip if keeps_tracks else None,
        span=None if scouting is None else _span(info, scouting, config),
        mark=mark,
        alpha=name == "layer",
        work=work,
        piece_frames=PIECE_FRAMES,
        finish=finish,
    )


def _span(
    info: ClipInfo, scouting: Scouting, config: ConvertConfig
) -> tuple[Fraction, Fraction | None] | None:
    """The time that the wanted frames fill, when they are not all."""
    if config.start == 0 and config.end is None:
        return None
    start = scouting.sightings[0].pts * info.time_base
    end = None if scouting.end_pts is None else scouting.end_pts * info.time_base
    return start, end


def _sign(path: Path, *, mark: SyntheticMark, config: ConvertConfig, name: str, clip: Path) -> None:
    certificate, key = _certificate(config)
    sign_file(path, mark, title=name, clip=clip, certificate=certificate, key=key)


def _write(
    clip: Path,
    job: ConvertJob,
    scouting: Scouting,
    plan: CastPlan,
    run: TrainedRun,
    config: ConvertConfig,
    masks: GivenMasks | None,
    mark: SyntheticMark | None,
    tally: Tally,
) -> list[str]:
    """Paint and write what earlier calls have not; notes of the writers."""
    with open_clip(clip) as reader, ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                _writer(name, path, reader.info, clip, scouting, config, job, job.work / name, mark)
            )
            for name, path in job.missing().items()
        }
        done = min(writer.done for writer in writers.values())
        for writer in writers.values():
            writer.keep(done)
        first = config.start + done
        # Colours and masks of the frames before are needed again, from where a block begins.
        needed = max(config.start, first - steadying_reach(config))
        frames = takewhile(lambda f: config.end is None or f.index < config.end, reader)
        again = (
            frame
            for frame in frames
            if frame.index >= max(config.start, block_of(needed, frame.image, config))
        )
        painted = paint_frames(again, plan, run, config)
        total = len(scouting.sightings)
        bar = tqdm(total=total, initial=done, desc="convert", unit="frame", disable=None)
        with bar:
            for composite in composite_frames(painted, config, masks):
                frame = composite.frame
                if frame.index < first:
                    continue
                tally.add(frame.index, len(composite.layers), composite.failed)
                swap = _labelled(composite, config)
                for name, writer in writers.items():
                    writer.write(_picture(name, composite, swap), frame.pts)
                bar.update()
    return [f"{writer.path.name}: {note}" for writer in writers.values() for note in writer.notes]


def _labelled(composite: Composite, config: ConvertConfig) -> np.ndarray:
    image = composite.image
    if config.label:
        image = image.copy() if image is composite.frame.image else image
        draw_label(image, config.label)
    return image


def _picture(name: str, composite: Composite, swap: np.ndarray) -> np.ndarray:
    """What one output shows of a frame."""
    shape, dtype = swap.shape[:2], swap.dtype.type
    if name == "mask":
        return layer_mask(shape, composite.layers, dtype)
    if name == "layer":
        return layer_rgba(shape, composite.layers, dtype)
    if name == "compare":
        return np.concatenate([composite.frame.image, swap], axis=1)
    return swap


def _summary(out: Path, facts: dict[str, Any], *, done_before: bool = False) -> ConvertSummary:
    return ConvertSummary(
        out,
        facts["frames"],
        facts["swapped"],
        facts.get("bridged", 0),
        facts.get("failed", 0),
        done_before,
    )
