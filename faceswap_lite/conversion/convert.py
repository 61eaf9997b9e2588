"""The convert stage: a clip and a run in, the swapped clip out.

Two walks through the clip: the first finds the faces of every frame, so that tracks, cuts and
smoothing know what comes; the second paints, in pieces that survive being killed.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import __version__
from ..config import CodecName, ConvertConfig
from ..errors import FaceswapError
from ..faces import FacePack, open_face_set, wanted_person
from ..faces.given_masks import GivenMasks, given_masks_for
from ..media import (
    ClipInfo,
    ClipWriter,
    SyntheticMark,
    check_signing,
    clip_fingerprint,
    draw_label,
    open_clip,
    sidecar_path,
    sign_file,
    write_sidecar,
)
from ..outputs import claim, found_job, job_id, write_json
from ..training import TrainedRun
from ..training.hardware import pick_device
from .blend import layer_mask, layer_rgba
from .casting import CastPlan, Wanted, plan_cast
from .composite import Composite, composite_frames
from .paint import paint_frames, shown_side
from .scout import Scouting, build_run_packs, scout_clip
from .smoothing import reach

PIECE_FRAMES = 120
"""What a kill can cost, in frames."""

UNSEEN_SETTINGS = {"batch", "device", "c2pa_certificate", "c2pa_key"}
"""What does not change the pictures; the last two are nobody else's business."""

_ALL_WRITTEN = "all_written.json"
"""In a work folder, once every frame is encoded and only the joining is left."""

# Codecs that hold a layer's alpha, by what the file is called.
_ALPHA_CODECS: dict[str, CodecName] = {".mov": "prores", ".mkv": "ffv1", ".mp4": "ffv1"}


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


@dataclass
class _Tally:
    """What became of each frame; a file, so that a conversion that goes on knows of its past."""

    path: Path
    layers: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    def read(self) -> None:
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                self._take(*json.loads(line))

    def add(self, frame: int, layers: int, failed: str | None) -> None:
        self._take(frame, layers, failed)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([frame, layers, failed]) + "\n")

    def _take(self, frame: int, layers: int, failed: str | None) -> None:
        self.layers[frame] = layers
        self.failed.pop(frame, None)
        if failed is not None:
            self.failed[frame] = failed

    @property
    def swapped(self) -> int:
        return sum(count > 0 for count in self.layers.values())


def convert_clip(
    run: TrainedRun,
    clip: Path,
    out: Path,
    config: ConvertConfig,
    *,
    like: Path | None = None,
    tracks: Tracks | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> ConvertSummary:
    """Swap the target's face in every frame of `clip` and write `out`, timing and audio kept.

    Frames without the target's face, and such that fail, pass through and are counted. `out` gets
    a machine-readable mark that it is synthetic, and `OUT.json` beside it says what it was made
    from. `like`: a photo of the person to swap, instead of the run's target. The same call goes on
    where a killed one stopped.

    Raises: FaceswapError when the clip cannot be read or `out` is another job's.
    """
    tracks = tracks or Tracks()
    fingerprint = clip_fingerprint(clip)
    settings = config.model_dump(exclude=UNSEEN_SETTINGS)
    _check_early(out, config)
    masks = None if config.masks is None else _given_masks(Path(config.masks), run, fingerprint)
    facts: dict[str, Any] = {
        "job": job_id(
            clip=fingerprint,
            run=run.fingerprint,
            settings=settings,
            like=None if like is None else clip_fingerprint(like),
            masks=None if masks is None else masks.fingerprint(),
        ),
        "tool": f"faceswap_lite {__version__}",
        "clip": str(clip),
        "clip_sha256": fingerprint,
        "run": str(run.path),
        "run_step": run.step,
        "run_fingerprint": run.fingerprint,
        "consent": run.facts.consent,
        "settings": settings,
    }
    outputs = {"swap": out, **tracks.named()}
    work = out.with_name(f".{out.name}.{facts['job']}.work")
    before = _claim(
        clip, outputs, sidecar_path(out), facts["job"], _finished(outputs, work), overwrite
    )
    if before is not None:
        return _summary(out, before, done_before=True)

    run.model.to(pick_device(config.device))
    packs = build_run_packs(run)
    for note in packs[0].notes:
        say(note)
    work.mkdir(parents=True, exist_ok=True)
    scouting = scout_clip(
        clip, fingerprint, run, packs, config, journal=work / "faces.jsonl", say=say
    )
    wanted = whom(run, packs[0], config, like)
    plan = plan_cast(
        scouting.sightings, run.facts.landmarks_pack, wanted, config, run.config.extract.sure_score
    )
    # What is not synthetic must not say that it is.
    mark = None
    if plan.placements:
        mark = SyntheticMark(version=__version__, run=run.fingerprint, job=facts["job"])
    else:
        say(
            f"warning: {clip}: the face to swap was found in none of {len(scouting.sightings)} "
            "frames; they pass through as they are (--like PHOTO or --face N name another face)"
        )
    tally = _Tally(work / "frames.jsonl")
    tally.read()
    problems = scouting.problems
    todo = {k: path for k, path in outputs.items() if k not in _finished(outputs, work)}
    if todo:
        problems = problems + _write(
            clip, todo, scouting, plan, run, config, masks, mark, tally, work
        )
    for line in problems:
        say(f"warning: {clip.name}: {line}")
    for reason in list(tally.failed.values())[:3]:
        say(f"warning: {clip.name}: {reason}")
    facts |= {
        "digital_source_type": None if mark is None else mark.digital_source_type,
        "tracks": {name: str(path) for name, path in tracks.named().items()},
        "frames": len(tally.layers),
        "swapped": tally.swapped,
        "bridged": plan.bridged,
        "passed_through": len(tally.layers) - tally.swapped,
        "failed": len(tally.failed),
    }
    write_sidecar(out, facts)
    shutil.rmtree(work, ignore_errors=True)
    return _summary(out, facts)


def whom(
    run: TrainedRun, pack: FacePack, config: ConvertConfig, like: Path | None = None
) -> Wanted | None:
    """Whose faces are swapped: those on the photo, else the run's; None where none can be told."""
    if like is not None:
        person = wanted_person(like, pack)
        return Wanted(person.vector, person.embedder.metric, person.embedder.same_person)
    center = getattr(run.facts, shown_side(config)).center
    if pack.embedder is None or center is None:
        return None
    return Wanted(center, pack.embedder.metric, pack.embedder.same_person)


def _claim(
    clip: Path,
    outputs: dict[str, Path],
    sidecar: Path,
    job: str,
    finished: set[str],
    overwrite: bool,
) -> dict[str, Any] | None:
    """What a finished conversion of the same job says of itself; None: there is work to do."""
    paths = [path.resolve() for path in outputs.values()]
    if clip.resolve() in paths:
        raise FaceswapError(f"{clip}: is the clip itself; choose another name")
    if len(set(paths)) < len(paths):
        raise FaceswapError("two outputs have the same name; choose another")
    before = found_job(sidecar)
    ours = {str(outputs["swap"]), *before.get("tracks", {}).values()}
    claim(sidecar, job, before.get("job"), finished=True, overwrite=overwrite)
    for name, path in outputs.items():
        made_by = job if name in finished else before.get("job") if str(path) in ours else None
        claim(path, job, made_by, finished=True, overwrite=overwrite)
    done = before.get("job") == job and all(path.exists() for path in outputs.values())
    if done and not overwrite:
        return before
    for name, path in outputs.items():
        if path.is_dir() and str(path) in ours and name not in finished:
            # An earlier conversion's pictures, to be replaced; nobody else's folder is.
            shutil.rmtree(path)
    return None


def _finished(outputs: dict[str, Path], work: Path) -> set[str]:
    """The outputs that a killed call of this very job left whole under their final names."""
    if not (work / _ALL_WRITTEN).is_file():
        return set()
    # A writer's own folder goes when its output has come.
    return {name for name, path in outputs.items() if path.exists() and not (work / name).exists()}


def _check_early(out: Path, config: ConvertConfig) -> None:
    """Refuse now what would be refused after the work."""
    if config.c2pa:
        check_signing(out, *_certificate(config))
    draw_label(np.zeros((720, 1280, 3), np.uint8), config.label)


def _certificate(config: ConvertConfig) -> tuple[Path | None, Path | None]:
    paths = (config.c2pa_certificate, config.c2pa_key)
    certificate, key = (None if path is None else Path(path) for path in paths)
    return certificate, key


def _given_masks(folder: Path, run: TrainedRun, fingerprint: str) -> GivenMasks:
    """The masks of a folder; such as are named like crops are those of the target's face set."""
    faces = None
    with suppress(FaceswapError):
        faces = open_face_set(Path(run.facts.target.path))
    return given_masks_for(folder, faces, fingerprint)


def _writer(
    name: str,
    path: Path,
    info: ClipInfo,
    clip: Path,
    sightings: list[Any],
    config: ConvertConfig,
    work: Path,
    mark: SyntheticMark | None,
) -> ClipWriter:
    codec = config.codec
    if name == "layer" and codec not in ("prores", "ffv1"):
        codec = _ALPHA_CODECS.get(path.suffix.lower(), codec)
    keeps_tracks = name in ("swap", "compare") and info.kind == "video"
    finish = None
    if config.c2pa and name == "swap" and mark is not None:
        finish = partial(_sign, mark=mark, config=config, name=path.name, clip=clip)
    return ClipWriter(
        path,
        like=info,
        width=info.width * (2 if name == "compare" else 1),
        codec=codec,
        quality=config.quality,
        copy_from=clip if keeps_tracks else None,
        span=_span(info, sightings, config),
        mark=mark,
        alpha=name == "layer",
        work=work / name,
        piece_frames=PIECE_FRAMES,
        finish=finish,
    )


def _span(
    info: ClipInfo, sightings: list[Any], config: ConvertConfig
) -> tuple[Fraction, Fraction | None] | None:
    """The time that the wanted frames fill, when they are not all."""
    if not sightings or (config.start == 0 and config.end is None):
        return None
    start, last = (sightings[i].pts * info.time_base for i in (0, -1))
    return start, (None if config.end is None else last + 1 / (info.rate or 25))


def _sign(path: Path, *, mark: SyntheticMark, config: ConvertConfig, name: str, clip: Path) -> None:
    certificate, key = _certificate(config)
    sign_file(path, mark, title=name, clip=clip, certificate=certificate, key=key)


def _write(
    clip: Path,
    outputs: dict[str, Path],
    scouting: Scouting,
    plan: CastPlan,
    run: TrainedRun,
    config: ConvertConfig,
    masks: GivenMasks | None,
    mark: SyntheticMark | None,
    tally: _Tally,
    work: Path,
) -> list[str]:
    """Paint and write what earlier calls have not; notes of the writers."""
    sightings = scouting.sightings
    with open_clip(clip) as reader, ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                _writer(name, path, reader.info, clip, sightings, config, work, mark)
            )
            for name, path in outputs.items()
        }
        done = min(writer.done for writer in writers.values())
        for writer in writers.values():
            writer.keep(done)
        first = config.start + done
        # Colours and masks of the frames before are needed again; painting begins where a block
        # does.
        span = reach(max(config.color_steady, config.mask_steady))
        begin = max(config.start, first - span) // config.batch * config.batch
        frames = takewhile(lambda f: config.end is None or f.index < config.end, reader)
        again = (frame for frame in frames if frame.index >= max(begin, config.start))
        painted = paint_frames(again, plan, run, config)
        bar = tqdm(total=len(sightings), initial=done, desc="convert", unit="frame", disable=None)
        with bar:
            for composite in composite_frames(painted, config, masks):
                frame = composite.frame
                if frame.index < first:
                    continue
                tally.add(frame.index, len(composite.layers), composite.failed)
                for name, picture in _pictures(composite, config, set(writers)).items():
                    writers[name].write(picture, frame.pts)
                bar.update()
        write_json(work / _ALL_WRITTEN, {"frames": len(tally.layers)})
    return [f"{writer.path.name}: {note}" for writer in writers.values() for note in writer.notes]


def _pictures(
    composite: Composite, config: ConvertConfig, names: set[str]
) -> dict[str, np.ndarray]:
    before, image = composite.frame.image, composite.image
    if config.label:
        image = image.copy() if image is before else image
        draw_label(image, config.label)
    pictures = {"swap": image}
    if "mask" in names:
        pictures["mask"] = layer_mask(image.shape[:2], composite.layers, image.dtype.type)
    if "layer" in names:
        pictures["layer"] = layer_rgba(image.shape[:2], composite.layers, image.dtype.type)
    if "compare" in names:
        pictures["compare"] = np.concatenate([before, image], axis=1)
    return pictures


def _summary(out: Path, facts: dict[str, Any], *, done_before: bool = False) -> ConvertSummary:
    return ConvertSummary(
        out,
        facts["frames"],
        facts["swapped"],
        facts.get("bridged", 0),
        facts.get("failed", 0),
        done_before,
    )
