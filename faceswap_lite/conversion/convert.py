"""The convert stage: a clip and a run in, the swapped clip out.

Two walks through the clip: the first finds the faces of every frame, so that tracks, cuts and
smoothing know what comes; the second paints, in pieces that survive being killed.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces.embed import Person
from ..faces.face_set import refuse_crops
from ..faces.pack import FacePack
from ..faces.user_masks import UserMasks
from ..media.clips import ClipInfo, Frame, Span, clip_fingerprint
from ..media.marks import SyntheticMark
from ..media.reader import Clip, give_frames_back
from ..media.sidecar import sidecar_path, write_sidecar
from ..outputs import TOOL, VERSION, job_id, one_writer, write_json
from ..runs.hardware import pick_device
from ..runs.trained import TrainedRun
from .casting import CastPlan, plan_cast, target_identity
from .composite import composite_frames, steadying_reach
from .detection_pass import DetectionPass, build_run_packs, detect_clip
from .expression import ClipExpression, choose_expression
from .job import ConvertJob, FrameTally, Outputs
from .mask import MASKS
from .paint import block_of, paint_frames
from .settings import as_job, config_for, find_user_masks, mask_facts, seen_settings


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
            parts.append(f"{self.bridged} of them bridging gaps in the detection")
        if self.frames - self.swapped:
            parts.append(f"{self.frames - self.swapped} passed through")
        if self.failed:
            parts.append(f"{self.failed} FAILED")
        before = " (already done)" if self.done_before else ""
        return f"{self.path}: {', '.join(parts)}{before}"


@dataclass(frozen=True)
class _Task:
    """What every step of a conversion reads. `settings`: the options that make the job."""

    run: TrainedRun
    clip: Clip
    outputs: Outputs
    config: ConvertConfig
    settings: dict[str, Any]
    like: Path | None
    masks: UserMasks | None
    expression: ClipExpression | None
    job: ConvertJob


def _written(outputs: Outputs, **_: Any) -> list[Path]:
    out, *others = outputs.paths.values()
    beside = [sidecar_path(out)] if out.name else []
    return [out, *beside, *others]


@one_writer(_written)
def convert_clip(
    run: TrainedRun,
    clip: Clip,
    outputs: Outputs,
    config: ConvertConfig,
    *,
    like: Path | None = None,
    consent: str = "",
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> ConvertSummary:
    """Swap the target's face in every frame of `clip` and write the outputs, timing and audio kept.

    Frames without the target's face, and such that fail, pass through and are counted. The swap
    gets a machine-readable mark that it is synthetic, and `OUT.json` beside it says what it was
    made from. `like`: a photo of the person to swap, instead of the run's target; `consent`: who
    agreed, if not as the run says. The same call goes on where a killed one stopped.

    Raises: FaceswapError when the clip cannot be read, is a face set, or an output is another
    job's.
    """
    refuse_crops(clip.path)
    task = _task(run, clip, outputs, config, like, say)
    out = task.job.swap
    before = task.job.begin(overwrite)
    if before is not None:
        if consent and before.get("consent") != consent:
            write_json(sidecar_path(out), {**before, "consent": consent})
        # What a kill after the last step left.
        task.job.clean_up()
        return _summary(out, before, done_before=True)
    run.model.to(pick_device(config.device))
    packs = build_run_packs(run, config)
    for note in packs[0].notes:
        say(note)
    wanted = target_identity(run, packs[0], config, like)
    # What is lost is said while it can be helped.
    early = _check_early(task)
    for line in early:
        say(f"warning: {clip.path.name}: {line}")

    # The first walk: where is whose face?
    detected, plan = _find_faces(task, packs, wanted, say)
    shown = plan.within(task.config)
    for line in detected.problems:
        if line not in early:
            say(f"warning: {clip.path.name}: {line}")
    # What is not synthetic must not say that it is.
    mark = None
    if shown.placements:
        mark = SyntheticMark(version=VERSION, run=run.fingerprint, job=task.job.id)
    else:
        say(
            f"warning: {clip.path}: the face to swap was found in none of "
            f"{len(detected.wanted_pts(task.config))} frames; they pass through as they are "
            "(--swap target-to-source swaps the other way round; --like PHOTO or --face N chooses "
            "another face)"
        )

    # The second: paint and write what is still to be written.
    if (looks := config.test_time_augmentation) > 1:
        inputs = f"{looks} shifted inputs, so painting takes {looks} times as long"
        say(f"test-time augmentation: {inputs}")
    if overwrite:
        task.job.restart()
    tally = FrameTally(task.job.work / "frames.jsonl", task.job.id)
    tally.read()
    notes = _write(task, detected, plan, mark, tally) if task.job.missing() else []
    late = [note for note in notes if note not in early]
    for line in [*late, *list(tally.failed.values())[:3]]:
        say(f"warning: {clip.path.name}: {line}")

    facts = _facts(task, shown.bridged, mark, tally, consent)
    write_sidecar(out, facts)
    task.job.clean_up()
    return _summary(out, facts)


def _task(
    run: TrainedRun, clip: Clip, outputs: Outputs, config: ConvertConfig, like: Path | None,
    say: Callable[[str], None],
) -> _Task:  # fmt: skip
    """The job by its content: where clip, run, photo and masks lie, and their names, make none."""
    masks = find_user_masks(config, run, clip)
    expression = choose_expression(run, config, say)
    unsaid = {"mask.folder", "mouth", "eyes"}
    unsaid |= {"start_number"} if config.start_number is None else set()
    # Alike, they do what `sharpen` alone once did.
    unsaid |= {"soften"} if config.soften == config.sharpen else set()
    settings = {name: v for name, v in seen_settings(config).items() if name not in unsaid}
    settings |= mask_facts(run, config)
    if expression is not None:
        settings["expression"] = expression.facts()
    job = job_id(
        clip=clip.fingerprint,
        run=run.fingerprint,
        settings=as_job(settings),
        like=None if like is None else clip_fingerprint(like),
        masks=None if masks is None else masks.fingerprint(),
    )
    beside = [run.path, *([like] if like else []), *([masks.folder] if masks else [])]
    convert_job = ConvertJob(job, outputs.paths, clip.path, beside)
    config = config_for(clip.path, config)
    return _Task(run, clip, outputs, config, settings, like, masks, expression, convert_job)


def _check_early(task: _Task) -> list[str]:
    """What of the clip is not kept, or not as one would think: a line each.

    Raises: FaceswapError for what would be refused after the first walk, or after the work.
    """
    try:
        MASKS[task.config.mask.kind]()
        with task.clip.open() as reader:
            problems = list(reader.problems)
            if (count := reader.info.frame_count) and count <= task.config.start:
                raise _beyond(task, count)
            return [*problems, *task.outputs.check(task.job, reader, task.config)]
    finally:
        with suppress(OSError):
            task.job.work.rmdir()  # unless it holds a killed call's work


def _beyond(task: _Task, frames: int | None) -> FaceswapError:
    has = f"; it has {frames}, --frames 0:{frames}, whatever their names say" if frames else ""
    start = task.config.start
    return FaceswapError(
        f"{task.clip.path}: ends before frame {start}, the first that is wanted "
        f"(--frames {start}:, --set convert.start={start}){has}"
    )


def _find_faces(
    task: _Task, packs: list[FacePack], wanted: Person | None, say: Callable[[str], None]
) -> tuple[DetectionPass, CastPlan]:
    """What the wanted frames and those around them show, and who is painted where in them."""
    give_frames_back()
    run, config, job = task.run, task.config, task.job
    job.work.mkdir(parents=True, exist_ok=True)
    try:
        detected = detect_clip(
            task.clip,
            run,
            packs,
            config,
            reuse=task.like is None,
            journal=job.work / "faces.jsonl",
            say=say,
        )
        if not detected.wanted_pts(config):
            raise _beyond(task, None)
        high_confidence = run.config.extract.high_confidence
        plan = plan_cast(detected, run.manifest.landmarks_pack, wanted, config, high_confidence)
        if config.face is not None and not plan.within(config).placements:
            raise FaceswapError(
                f"{task.clip.path}: no frame shows a face {config.face} from the left, counted "
                f"from 0 (--face {config.face}, --set convert.face={config.face})"
            )
    except FaceswapError:
        # Who mends it gives another call, which looks for another folder.
        job.clean_up()
        raise
    return detected, plan


def _write(
    task: _Task,
    detected: DetectionPass,
    plan: CastPlan,
    mark: SyntheticMark | None,
    tally: FrameTally,
) -> list[str]:
    """Paint and write what earlier calls have not; notes of the writers."""
    config, job = task.config, task.job
    with (
        task.clip.open(config.start_number) as reader,
        task.outputs.open(
            job, reader.info, config, mark, _span(reader.info, detected, config)
        ) as outputs,
    ):
        # What the tally does not know of is painted again: its counts shall be of all frames.
        done = min(len(tally.layers), outputs.done)
        outputs.keep(done)
        first = config.start + done
        frames = _with_neighbours(reader, first, config)
        painted = paint_frames(frames, plan, task.run, config, expression=task.expression)
        total = len(detected.wanted_pts(config))
        with tqdm(total=total, initial=done, desc="convert", unit="frame", disable=None) as bar:
            for composite in composite_frames(painted, config, task.masks):
                frame = composite.frame
                if frame.index < first:
                    continue
                if not config.wants(frame.index):
                    break
                tally.add(frame.index, len(composite.layers), composite.failed)
                outputs.write(composite)
                bar.update()
    return outputs.notes


def _with_neighbours(frames: Iterable[Frame], first: int, config: ConvertConfig) -> Iterator[Frame]:
    """The wanted frames from `first` on, and in whole blocks those that they are steadied over."""
    span = steadying_reach(config)

    def is_before(frame: Frame) -> bool:
        return frame.index < block_of(max(0, first - span), frame.image, config)

    def is_near(frame: Frame) -> bool:
        block = block_of(frame.index, frame.image, config)
        return config.end is None or block < config.end + span

    return takewhile(is_near, dropwhile(is_before, frames))


def _span(info: ClipInfo, detected: DetectionPass, config: ConvertConfig) -> Span | None:
    """The time that the wanted frames fill, when they are not all."""
    if config.start == 0 and config.end is None:
        return None
    end_pts = detected.end_pts(config)
    start = detected.wanted_pts(config)[0] * info.time_base
    return start, None if end_pts is None else end_pts * info.time_base


def _facts(
    task: _Task, bridged: int, mark: SyntheticMark | None, tally: FrameTally, consent: str
) -> dict[str, Any]:
    """What the sidecar says."""
    run, outputs = task.run, task.outputs.paths
    return {
        "job": task.job.id,
        "tool": TOOL,
        "digital_source_type": None if mark is None else mark.digital_source_type,
        "clip": str(task.clip.path),
        "clip_sha256": task.clip.fingerprint,
        "run": str(run.path),
        "run_step": run.step,
        "run_fingerprint": run.fingerprint,
        "consent": consent or run.manifest.consent,
        "settings": task.settings,
        "masks": None if task.masks is None else str(task.masks.folder),
        "outputs": {name: str(path.resolve()) for name, path in outputs.items()},
        "tracks_sha256": {
            name: clip_fingerprint(path) for name, path in outputs.items() if name != "swap"
        },
        "bridged": bridged,
        **tally.counts(),
    }


def _summary(out: Path, facts: dict[str, Any], *, done_before: bool = False) -> ConvertSummary:
    counts = {name: facts.get(name, 0) for name in ("frames", "swapped", "bridged", "failed")}
    return ConvertSummary(out, **counts, done_before=done_before)
