"""What is this? The `info` command: face sets, runs, clips, pictures and configs in a few lines."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .config import Config, ConvertConfig, options_of
from .errors import FaceswapError
from .faces.face_set import HIDDEN_FOLDER, open_face_set
from .interchange.bundles import is_bundle, read_bundle
from .interchange.exporting import SUFFIXES
from .interchange.onnx_files import read_notes
from .media.clips import list_images
from .media.credentials import read_credentials
from .media.marks import as_words
from .media.provenance import check_output, read_synthetic_mark
from .media.reading import open_clip
from .renames import RENAMED
from .runs.bases import SUFFIX as BASE_SUFFIX
from .runs.bases import Base, read_base
from .runs.checkpoints import as_state, checkpoint_facts, latest_valid_checkpoint
from .runs.manifest import CONFIG_FILE, MANIFEST_FILE, IdentityFacts, RunManifest, read_manifest
from .training.cost import TrainingCost, training_cost


def describe(path: Path) -> str:
    """A few lines on a face set, a run, a base, an export, a clip or a picture.

    Raises: FaceswapError when it is none of these.
    """
    if not path.exists():
        raise FaceswapError(f"{path}: no such file or folder")
    if (path / MANIFEST_FILE).is_file():
        return _describe_run(path)
    if path.suffix == BASE_SUFFIX:
        return _describe_bundle(path) if is_bundle(path) else _describe_base(read_base(path))
    if path.suffix in (SUFFIXES["dfm"], SUFFIXES["onnx"]):
        return _describe_exported(path)
    if path.is_dir():
        try:
            return describe_face_set(path)
        except FaceswapError:
            inside = sorted(
                child.name
                for child in path.iterdir()
                if (child / MANIFEST_FILE).is_file() or (child / HIDDEN_FOLDER).is_dir()
            )
            if inside:
                names = ", ".join(inside[:5]) + (", ..." if len(inside) > 5 else "")
                raise FaceswapError(
                    f"{path}: holds {len(inside)} face sets and runs; name one of them ({names})"
                ) from None
            # Not faces; pictures may still be a clip.
            if not list_images(path):
                raise
    return _describe_clip(path)


def describe_face_set(path: Path) -> str:
    """What a face set holds, as lines of text."""
    faces = open_face_set(path)
    records = [face.record for face in faces.faces]
    clips = Counter(record.clip_name for record in records)
    sizes = sorted({record.size for record in records})
    packs = Counter(
        f"{r.detector} + {r.landmarks_pack} + {r.embedder or 'no embedder'}" for r in records
    )
    lines = [
        f"face set {path}: {len(records)} faces from {len(clips)} "
        f"{'clip' if len(clips) == 1 else 'clips'}",
        f"  crops      {', '.join(f'{size}x{size}' for size in sizes)} px, coverage "
        f"{faces.coverage}, margin {min(r.margin for r in records)}",
        *(f"  pack       {pack} ({count})" for pack, count in packs.most_common()),
    ]
    truths = sum(record.true_landmarks is not None for record in records)
    if truths:
        lines.append(f"  truth      masks and openings from the renderer's landmarks ({truths})")
    poses = [record.pose for record in records if record.pose is not None]
    if poses:
        lines.append(_range("yaw", [pose.yaw_deg for pose in poses], "deg", 0))
        lines.append(_range("pitch", [pose.pitch_deg for pose in poses], "deg", 0))
    for name in ("mouth_opening", "eye_opening", "sharpness"):
        values = [v for record in records if (v := getattr(record, name)) is not None]
        if values:
            lines.append(_range(name.replace("_opening", ""), values, "", 2))
        else:
            reason = records[0].missing.get(name, "not measured")
            lines.append(f"  {name.replace('_opening', ''):10} none: {reason}")
    boxes = [float(np.max(r.box_xyxy[2:] - r.box_xyxy[:2])) for r in records]
    lines.append(_range("face size", boxes, "px in the frame", 0))
    lines += [f"  clip       {name}: {count}" for name, count in sorted(clips.items())]
    lines += [f"  note       {problem}" for problem in faces.problems]
    return "\n".join(lines)


def _range(name: str, values: Sequence[float], unit: str, decimals: int) -> str:
    low, middle, high = np.percentile(values, [2, 50, 98])
    text = f"{low:.{decimals}f} to {high:.{decimals}f}, median {middle:.{decimals}f} {unit}"
    return f"  {name:10} {text}".rstrip()


def describe_config(config: Config) -> str:
    """A few lines on what a config costs to train here. Takes some steps on random faces."""
    return cost_lines(config, training_cost(config))


def cost_lines(config: Config, cost: TrainingCost) -> str:
    """The lines of a config's cost: parameters, memory and speed."""
    model, training = config.model, config.training
    flags = f"-{model.flags}" if model.flags else ""
    total = sum(cost.parameters.values())
    held = cost.weights + cost.gradients + cost.optimizer + cost.average
    faces = 2 * training.batch * cost.steps_per_second
    lines = [
        f"model       {model.architecture}{flags}, {model.size} px, {total:,} parameters",
        *(f"  {name:<16} {count:>13,}" for name, count in cost.parameters.items()),
        f"memory      {_size(held + cost.activations)} at batch {training.batch} per side: "
        f"{_size(held)} throughout and {_size(cost.activations)} more in each step",
        f"  weights {_size(cost.weights)}, gradients {_size(cost.gradients)}, "
        f"optimiser {_size(cost.optimizer)}, average {_size(cost.average)} (counted)",
        f"  activations {_size(cost.activations)} (measured: what the backward pass keeps)",
    ]
    if cost.peak is not None:
        lines.append(f"  peak {_size(cost.peak)} (measured: the GPU's own count)")
    lines += [
        "  the faces in memory and the libraries need more on top of that",
        f"speed       {cost.steps_per_second:.3g} steps/s, {faces:.3g} faces/s "
        f"(measured: {cost.steps} steps on random faces, {cost.device}, {cost.precision})",
    ]
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _describe_run(path: Path) -> str:
    manifest = read_manifest(path)
    step, problems = latest_valid_checkpoint(path)
    none = "no undamaged checkpoint" if problems else "no checkpoint yet"
    lines = [
        f"run       {path}",
        f"step      {step if step is not None else none}",
        *_faces_lines(manifest),
        f"config    {path / CONFIG_FILE}",
    ]
    if manifest.lr is not None:
        lines.append(f"rate      {manifest.lr:.1e}, chosen by a range test")
    best = as_state(checkpoint_facts(path, step)).lowest if step is not None else None
    if best is not None:
        lines.insert(2, f"best      step {best.step}, held-out loss {best.heldout:.3f}")
    lines += _lineage_lines(manifest.lineage)
    lines.append(_consent_line(manifest.consent))
    if (path / "report.json").is_file():
        lines.append(f"report    {path / 'report.json'}")
    return "\n".join(lines + [f"warning   {problem}" for problem in problems])


def _faces_lines(manifest: RunManifest) -> list[str]:
    return [
        f"source    {_who(manifest.source)}",
        f"target    {_who(manifest.target)}",
        f"faces by  {manifest.detector}, {manifest.landmarks_pack} landmarks, "
        f"coverage {manifest.coverage}",
    ]


def _lineage_lines(lineage: list[dict[str, Any]]) -> list[str]:
    return [
        f"began as  {origin['run']}, step {origin['step']} ({', '.join(origin['parts'])})"
        for origin in lineage
    ]


def _describe_bundle(path: Path) -> str:
    bundle = read_bundle(path)
    lines = [f"run       {path}, in one file", f"step      {bundle.step}"]
    lines += [*_faces_lines(bundle.manifest), *_lineage_lines(bundle.manifest.lineage)]
    return "\n".join([*lines, _consent_line(bundle.manifest.consent)])


def _describe_exported(path: Path) -> str:
    """What a file says of itself; another tool's says nothing that is known."""
    return "\n".join(
        [f"network   {path}", *(f"  {k}: {as_words(v, 500)}" for k, v in read_notes(path).items())]
    )


def _who(facts: IdentityFacts) -> str:
    return "nobody it knows" if facts.is_nobody else f"{facts.path} ({facts.faces} faces)"


def _describe_base(base: Base) -> str:
    model, recipe = base.model, base.recipe
    flags = f"-{model.flags}" if model.flags else ""
    real = recipe.get("faces") or []
    lines = [
        f"base      {base.file}, sha256 {base.fingerprint()}...",
        f"network   {model.architecture}{flags}, {model.size} px, dims {model.encoder_dims}, "
        f"{model.inter_dims}, {model.decoder_dims}, {model.mask_dims}",
        f"crops     {', '.join(base.coverages)}",
        f"made of   {recipe['people']} rendered people (seeds {recipe['seeds'][0]} to "
        f"{recipe['seeds'][1]}), {recipe['crops']} crops"
        + (f"; {len(real)} real ones, {sum(real)} crops" if real else "; no real one"),
        f"steps     {base.step}, {recipe['minutes']} minutes, by {recipe['tool']}",
    ]
    if real:
        lines.append(_consent_line(recipe.get("consent", "")))
    return "\n".join(lines)


def _describe_clip(path: Path) -> str:
    with open_clip(path) as reader:
        clip = reader.info
    # A picture, or a folder of them, has one only by assumption.
    timed = clip.kind == "video" and clip.rate is not None
    rate = f"{float(clip.rate or 0):.3f} frames/s" if timed else "no frame rate"
    lines = [
        f"{clip.kind:9} {path}",
        f"frames    {clip.frame_count or 'unknown'}, {clip.width}x{clip.height}, {rate}",
        f"codec     {clip.codec}, {clip.pixel_format}, {clip.bit_depth} bit",
        f"audio     {'yes' if clip.has_audio else 'no'}",
    ]
    return "\n".join([*lines, *describe_origin(path), *_credentials_lines(path)])


def describe_origin(path: Path) -> list[str]:
    """Lines on what a clip's mark and its sidecar say of its making, and whether they still fit."""
    mark = read_synthetic_mark(path)
    verdict = check_output(path, mark)
    sidecar, facts = verdict.sidecar, verdict.facts
    # A conversion that found nobody to swap says null: nobody calls its output synthetic.
    calls_it_so = sidecar is not None and facts.get("digital_source_type", "") is not None
    said = "no mark found"
    if mark is not None:
        run = f" (run {mark.run})" if mark.run else ""
        by = f"{mark.digital_source_type}, by {mark.tool} {mark.version}{run}"
        said = f"{by}; {verdict.line()}"
    elif calls_it_so:
        said = f"no mark found, but {sidecar} says that it is; {verdict.line()}"
    return [f"synthetic {said}", *(_sidecar_lines(facts) if "run_fingerprint" in facts else [])]


def _sidecar_lines(facts: dict[str, Any]) -> list[str]:
    """What a conversion wrote of itself; what an older version did not write is left out."""
    step = f", step {facts['run_step']}" if "run_step" in facts else ""
    clip, run = (as_words(str(facts.get(name, "?")), 400) for name in ("clip", "run"))
    lines = [f"made from {clip} by run {run}{as_words(step)}"]
    if isinstance(facts.get("settings"), dict):
        lines.append(f"settings  {changed_settings(facts['settings'])}")
    counts = {"frames": "", "swapped": "swapped", "passed_through": "passed through"}
    counts["failed"] = "failed"
    told = [f"{facts[name]} {what}".strip() for name, what in counts.items() if name in facts]
    if told:
        lines.append(f"frames    {', '.join(told)}")
    return [*lines, _consent_line(facts.get("consent"))]


def changed_settings(settings: dict[str, Any]) -> str:
    """The settings of a conversion that are not the defaults, in the form of `--set`."""
    # Under the names of its day.
    settings = {
        RENAMED.get(f"convert.{k}", f"convert.{k}").removeprefix("convert."): v
        for k, v in settings.items()
    }
    defaults = options_of(ConvertConfig())
    # Which weights told what is before a face is no option.
    settings.pop("mask.weights", None)
    changed = [f"{k}={v}" for k, v in settings.items() if k not in defaults or defaults[k] != v]
    return as_words(", ".join(changed), 2000) or "the defaults"


def _consent_line(consent: object) -> str:
    words = as_words(str(consent or ""), 10_000)
    return f"consent   {words or 'nothing recorded'}"


def _credentials_lines(path: Path) -> list[str]:
    try:
        credentials = read_credentials(path)
    except FaceswapError as error:
        return [f"c2pa      has a manifest, which could not be read: {error}"]
    return [] if credentials is None else [f"c2pa      {credentials.line()}"]
