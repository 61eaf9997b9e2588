"""The convert stage: a clip and a run in, the swapped clip out."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .. import __version__
from ..config import ConvertConfig
from ..errors import FaceswapError
from ..media import ClipWriter, SyntheticMark, clip_fingerprint, open_clip
from ..outputs import claim, found_job, job_id, write_json
from ..training import TrainedRun
from ..training.hardware import pick_device
from .paint import build_run_pack, composite, paint_frames


@dataclass(frozen=True)
class ConvertSummary:
    """What a conversion did."""

    path: Path
    frames: int
    swapped: int
    done_before: bool = False


def convert_clip(
    run: TrainedRun,
    clip: Path,
    out: Path,
    config: ConvertConfig,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> ConvertSummary:
    """Swap the target's face in every frame of `clip` and write `out`, timing and audio kept.

    Frames without the target's face pass through and are counted. `out` gets a machine-readable
    mark that it is synthetic, and `OUT.json` beside it says what it was made from.

    Raises: FaceswapError when the clip cannot be read, `out` is another job's, or nothing in the
    clip could be swapped.
    """
    sidecar = out.with_name(out.name + ".json")
    settings = config.model_dump(exclude={"batch", "device"})
    fingerprint = clip_fingerprint(clip)
    job = job_id(clip=fingerprint, run=run.fingerprint, settings=settings)
    if out.exists() and out.resolve() == clip.resolve():
        raise FaceswapError(f"{out}: is the clip itself; choose another name")
    before = found_job(sidecar)
    for path in (sidecar, out):
        action = claim(path, job, before.get("job"), finished=out.exists(), overwrite=overwrite)
    if action == "done":
        return ConvertSummary(out, before["frames"], before["swapped"], done_before=True)

    if out.is_dir() and "job" in before:
        # An earlier conversion's pictures, asked to be replaced; nobody else's folder is.
        shutil.rmtree(out)
    run.model.to(pick_device(config.device))
    pack = build_run_pack(run)
    for note in pack.notes:
        say(note)
    mark = SyntheticMark(version=__version__, run=run.fingerprint)
    frames = swapped = 0
    with open_clip(clip) as reader:
        info = reader.info
        with ClipWriter(
            out,
            like=info,
            codec=config.codec,
            quality=config.quality,
            audio_from=clip if info.has_audio else None,
            mark=mark,
        ) as writer:
            bar = tqdm(total=info.frame_count, desc="convert", unit="frame", disable=None)
            with bar:
                for frame, painted in paint_frames(reader, run, pack, config):
                    image = frame.image
                    if painted is not None:
                        image = composite(image, painted, config)
                        swapped += 1
                    writer.write(image, frame.pts)
                    frames += 1
                    bar.update()
            if not swapped:
                raise FaceswapError(
                    f"{clip}: the target's face was found in none of {frames} frames; "
                    "is it the right clip? (--face N swaps a face whoever it is)"
                )
    for line in [*reader.problems, *writer.notes]:
        say(f"warning: {clip.name}: {line}")
    facts = {
        "job": job,
        "tool": f"faceswap_lite {__version__}",
        "digital_source_type": mark.digital_source_type,
        "clip": str(clip),
        "clip_sha256": fingerprint,
        "run": str(run.path),
        "run_step": run.step,
        "run_fingerprint": run.fingerprint,
        "settings": settings,
        "frames": frames,
        "swapped": swapped,
    }
    write_json(sidecar, facts)
    return ConvertSummary(out, frames, swapped)
