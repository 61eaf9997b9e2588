"""What is this? The `info` command: face sets, runs, clips and pictures in a few lines."""

from pathlib import Path

from .errors import FaceswapError
from .faces import describe_face_set
from .media import list_images, open_clip, read_synthetic_mark
from .outputs import found_job
from .training.checkpoints import newest_good
from .training.runs import CONFIG_FILE, FACTS_FILE, read_facts


def describe(path: Path) -> str:
    """A few lines on a face set, a run, a clip or a picture.

    Raises: FaceswapError when it is none of these.
    """
    if not path.exists():
        raise FaceswapError(f"{path}: no such file or folder")
    if (path / FACTS_FILE).is_file():
        return _describe_run(path)
    if path.is_dir():
        try:
            return describe_face_set(path)
        except FaceswapError:
            # Not faces; pictures may still be a clip.
            if not list_images(path):
                raise
    return _describe_clip(path)


def _describe_run(path: Path) -> str:
    facts = read_facts(path)
    step, problems = newest_good(path)
    lines = [
        f"run       {path}",
        f"step      {step if step is not None else 'no checkpoint yet'}",
        f"source    {facts.source.path} ({facts.source.faces} faces)",
        f"target    {facts.target.path} ({facts.target.faces} faces)",
        f"faces by  {facts.detector}, {facts.landmarks_pack} landmarks, coverage {facts.coverage}",
        f"config    {path / CONFIG_FILE}",
    ]
    if (path / "report.json").is_file():
        lines.append(f"report    {path / 'report.json'}")
    return "\n".join(lines + [f"warning   {problem}" for problem in problems])


def _describe_clip(path: Path) -> str:
    with open_clip(path) as reader:
        clip = reader.info
    rate = f"{float(clip.rate):.3f} frames/s" if clip.rate else "no frame rate"
    lines = [
        f"{clip.kind:9} {path}",
        f"frames    {clip.frame_count or 'unknown'}, {clip.width}x{clip.height}, {rate}",
        f"codec     {clip.codec}, {clip.pixel_format}, {clip.bit_depth} bit",
        f"audio     {'yes' if clip.has_audio else 'no'}",
    ]
    mark = read_synthetic_mark(path)
    if mark is None:
        lines.append("synthetic no mark found")
    else:
        lines.append(
            f"synthetic {mark.digital_source_type}, by {mark.tool} {mark.version}, run {mark.run}"
        )
    sidecar = path.with_name(path.name + ".json")
    facts = found_job(sidecar)
    if "run_fingerprint" in facts:
        lines.append(f"made from {facts['clip']} by run {facts['run']}")
    return "\n".join(lines)
