"""The evaluate stage: how good is this run on a clip that training never saw?

The figures of a first honest version, in `report.json` and as a table. What cannot be measured is
null, with its reason beside it; nothing is guessed.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .. import __version__
from ..actors import ActorTruth, load_truth
from ..config import ConvertConfig, EvaluateConfig
from ..conversion import (
    CastPlan,
    PaintedFace,
    PaintedFrame,
    build_run_packs,
    composite,
    composite_frames,
    config_for,
    paint_frames,
    plan_cast,
    scout_clip,
    whom,
)
from ..conversion.convert import UNSEEN_SETTINGS, given_masks
from ..errors import FaceswapError
from ..faces import (
    FacePack,
    FoundFace,
    GivenMasks,
    LandmarksPack,
    as_uint8,
    cut_crop,
    estimate_pose,
    five_points,
    mouth_opening,
    open_face_set,
)
from ..media import Frame, clip_fingerprint, list_images, open_clip
from ..metrics import correlation, landmark_nme, psnr_db, sharpness_ratio, ssim
from ..outputs import claim, found_job, job_id, refuse_inputs, write_json
from ..training import TrainedRun
from ..training.hardware import pick_device
from ..training.runs import describe_identity
from ..training.split import read_roles, share_out
from .judge import Judge, build_judge

METRICS = (
    "frames",
    "faces",
    "seen_psnr_db",
    "heldout_psnr_db",
    "heldout_ssim",
    "generalization_gap_db",
    "detected",
    "identity_to_source",
    "identity_to_target",
    "identity_margin_positive",
    "yaw_correlation",
    "mouth_correlation",
    "landmark_nme",
    "sharpness_ratio",
    "truth_psnr_db",
    "truth_ssim",
    "unswapped_psnr_db",
    "truth_matched_psnr_db",
)
NOTES = {
    "heldout_psnr_db": "higher is better",
    "heldout_ssim": "at most 1",
    "generalization_gap_db": "near 0: what was learned holds on unseen frames",
    "detected": "share of frames",
    "identity_to_source": "a distance: lower is nearer",
    "identity_to_target": "a distance: should be the larger one",
    "identity_margin_positive": "share of frames nearer to the source",
    "yaw_correlation": "at most 1",
    "mouth_correlation": "at most 1",
    "landmark_nme": "in eye distances: lower is better",
    "sharpness_ratio": "below 1: softer than the target",
    "truth_psnr_db": "to the true swap",
    "truth_ssim": "to the true swap, at most 1",
    "unswapped_psnr_db": "what doing nothing scores",
    "truth_matched_psnr_db": "with colour matching",
}
"""How to read a figure."""

SEEN_FACES = 200
"""Training faces that `seen_psnr_db` looks at, spread evenly over all."""


@dataclass
class Measures:
    """One number a frame for each measure; NaN where a frame has none."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **numbers: float) -> None:
        """Append this frame's numbers."""
        for name, number in numbers.items():
            self.values.setdefault(name, []).append(number)

    def get(self, name: str) -> np.ndarray:
        """All numbers of a measure, in frame order."""
        return np.array(self.values.get(name, []), dtype=float)

    def mean(self, name: str) -> float | None:
        """Mean over the frames that have the measure, or None."""
        numbers = self.get(name)
        numbers = numbers[np.isfinite(numbers)]
        return float(numbers.mean()) if len(numbers) else None

    def median(self, name: str) -> float | None:
        """Median over the frames that have the measure, or None."""
        numbers = self.get(name)
        numbers = numbers[np.isfinite(numbers)]
        return float(np.median(numbers)) if len(numbers) else None


def evaluate_clip(
    run: TrainedRun,
    clip: Path,
    out: Path,
    config: EvaluateConfig,
    convert: ConvertConfig,
    *,
    converted: Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure `run` on `clip`, write the report to `out`, and return it.

    Identity, pose, expression and sharpness are measured on the frames of `converted` if it is
    given, else on the frames that `convert` would make.

    Raises: FaceswapError when the clip cannot be read, has no face of the target, or `converted`
    has other frames than `clip`.
    """
    refuse_inputs(out, clip, converted, run.path / "run.json", run.path / "config.yaml")
    # The whole clip is measured, with what the run would convert it with.
    convert = config_for(clip, convert).model_copy(update={"start": 0, "end": None})
    settings = {
        "evaluate": config.model_dump(),
        "convert": convert.model_dump(exclude=UNSEEN_SETTINGS),
        "converted": str(converted) if converted else None,
    }
    fingerprint = clip_fingerprint(clip)
    of_converted = clip_fingerprint(converted) if converted else None
    job = job_id(clip=fingerprint, run=run.fingerprint, settings=settings, converted=of_converted)
    before = found_job(out)
    if claim(out, job, before.get("job"), finished=True, overwrite=overwrite) == "done":
        say(f"{out}: already done")
        return before

    made_of = found_job(converted.with_name(converted.name + ".json")) if converted else {}
    if made_of.get("clip_sha256", fingerprint) != fingerprint:
        raise FaceswapError(f"{converted}: is a conversion of {made_of.get('clip')}, not of {clip}")
    trained_on_it = bool(_fingerprints(clip) & set(run.facts.target.clips))
    if trained_on_it:
        say(f"warning: the run was trained on {clip.name}: every figure flatters it")
    run.model.to(pick_device(convert.device))
    packs = build_run_packs(run, convert)
    pack = packs[0]
    for note in pack.notes:
        say(note)
    scouting = scout_clip(clip, fingerprint, run, packs, convert, say=say)
    wanted = whom(run, pack, convert)
    sure_score = run.config.extract.sure_score
    plan = plan_cast(scouting, run.facts.landmarks_pack, wanted, convert, sure_score)
    # A folder of crops may stand beside the clip that it was cut from, and bear its name.
    truth = load_truth(clip) if clip.is_file() else None
    reasons: dict[str, str] = {}
    judge = _pick_judge(run, config, truth, reasons)
    masks = given_masks(convert, run, fingerprint)
    measures, problems = _measure(
        run, clip, converted, plan, masks, pack, config, convert, truth, judge
    )
    for problem in problems:
        say(f"warning: {clip.name}: {problem}")
    if not len(measures.get("heldout_psnr_db")):
        raise FaceswapError(f"{clip}: no frame shows the target's face; is it the right clip?")
    metrics = _summarise(measures, run, truth, pack, reasons)
    if trained_on_it:
        for name in ("heldout_psnr_db", "heldout_ssim", "generalization_gap_db"):
            metrics[name] = None
            reasons[name] = "the run was trained on this clip"
    for name in METRICS:
        if metrics.get(name) is None:
            reasons.setdefault(name, "not one frame allows it")
    report = {
        "schema": 1,
        "tool": f"faceswap_lite {__version__}",
        "job": job,
        "metrics": {name: metrics.get(name) for name in METRICS},
        "reasons": {name: reasons[name] for name in METRICS if name in reasons},
        "clip": {"path": str(clip), "sha256": fingerprint},
        "run": {"path": str(run.path), "step": run.step, "weights": run.fingerprint},
        "settings": {
            **settings,
            "judge": judge.embedder.name if judge else None,
            # The true swap is this person's: it is one only if the run's source is the same.
            "truth_twin": truth.twin.identity.name if truth and truth.twin else None,
        },
    }
    write_json(out, report)
    return report


def _fingerprints(clip: Path) -> set[str]:
    """Of the clip; of a folder, also of its pictures and of the clips that its crops are from."""
    found = {clip_fingerprint(clip)}
    if clip.is_dir():
        found |= {clip_fingerprint(picture) for picture in list_images(clip)}
        with suppress(FaceswapError):
            found |= {face.record.clip_fingerprint for face in open_face_set(clip).faces}
    return found


def report_table(report: dict[str, Any]) -> str:
    """A report's metrics as lines: name, figure, how to read it or why there is none."""
    lines = []
    for name, value in report["metrics"].items():
        figure = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else value
        note = report["reasons"].get(name, "") if value is None else NOTES.get(name, "")
        lines.append(f"{name:26} {figure:>10}  {note}".rstrip())
    return "\n".join(lines)


def _pick_judge(
    run: TrainedRun, config: EvaluateConfig, truth: ActorTruth | None, reasons: dict[str, str]
) -> Judge | None:
    judge, reason = None, "actors are no identities to a face network"
    if truth is None:
        judge, reason = build_judge(run, config)
    if judge is None:
        for name in ("identity_to_source", "identity_to_target", "identity_margin_positive"):
            reasons[name] = reason
    return judge


def _measure(
    run: TrainedRun,
    clip: Path,
    converted: Path | None,
    plan: CastPlan,
    masks: GivenMasks | None,
    pack: FacePack,
    config: EvaluateConfig,
    convert: ConvertConfig,
    truth: ActorTruth | None,
    judge: Judge | None,
) -> tuple[Measures, list[str]]:
    """Walk the clip once, with its conversion and its twins beside it."""
    measures = Measures()
    without = convert.model_copy(update={"color": "none"})
    twins = (truth.twin.raw, truth.twin.matched) if truth and truth.twin else (None, None)
    beside = [_frames_of(path) for path in (converted, *twins)]
    with open_clip(clip) as reader:
        total = reader.info.frame_count
        frames = (frame for frame in reader if frame.index % config.every == 0)
        painted_frames = paint_frames(frames, plan, run, convert, rebuild=True)
        walk = composite_frames(painted_frames, convert, masks)
        others = [
            _every(frames, config.every, path)
            for frames, path in zip(beside, (converted, *twins), strict=True)
        ]
        for made in tqdm(walk, total=total, desc="evaluate", unit="frame", disable=None):
            frame = made.frame
            painted = made.painted.faces[0] if made.painted.faces else None
            swap, twin_raw, twin_matched = (next(other) for other in others)
            if swap is not None and swap.image.shape[:2] != frame.image.shape[:2]:
                raise FaceswapError(f"{converted}: is of another size than {clip}; is it its own?")
            # A frame whose face was missed stays as it is, and is measured so against the truth.
            raw, matched = frame.image, made.image
            measures.add(frames=1.0, faces=float(painted is not None))
            if painted is not None:
                _measure_rebuilt(measures, painted)
                if truth is not None:
                    raw = composite(PaintedFrame(frame, [painted]), without)
                shown = as_uint8(swap.image if swap is not None else matched)
                _measure_swap(measures, frame, painted, shown, run, pack, truth, judge)
            elif truth is not None:
                measures.add(detected=0.0)
            if truth is not None and twin_raw is not None and twin_matched is not None:
                inside = truth.face_masks[frame.index] / 255.0
                measures.add(
                    truth_psnr_db=psnr_db(raw, twin_raw.image, inside),
                    truth_ssim=ssim(raw, twin_raw.image, inside),
                    unswapped_psnr_db=psnr_db(frame.image, twin_raw.image, inside),
                    truth_matched_psnr_db=psnr_db(matched, twin_matched.image, inside),
                )
        problems = list(reader.problems)
    return measures, problems


def _frames_of(path: Path | None) -> Iterator[Frame | None]:
    if path is None:
        while True:
            yield None
    with open_clip(path) as reader:
        yield from reader


def _every(frames: Iterator[Frame | None], every: int, path: Path | None) -> Iterator[Frame | None]:
    for index, frame in enumerate(frames):
        if index % every == 0:
            yield frame
    raise FaceswapError(f"{path}: has fewer frames than the clip it belongs to")


def _measure_rebuilt(measures: Measures, painted: PaintedFace) -> None:
    """How well the target's own decoder rebuilds a face it never saw, at the model's size."""
    crop = painted.crop.astype(np.float32) / 255
    measures.add(
        heldout_psnr_db=psnr_db(painted.rebuilt, crop, painted.hull),
        heldout_ssim=ssim(painted.rebuilt, crop, painted.hull),
    )


def _measure_swap(
    measures: Measures,
    frame: Frame,
    painted: PaintedFace,
    shown: np.ndarray,
    run: TrainedRun,
    pack: FacePack,
    truth: ActorTruth | None,
    judge: Judge | None,
) -> None:
    """Identity, pose, expression and sharpness of the swapped frame against the target's."""
    name = run.facts.landmarks_pack
    nothing = float("nan")
    five = five_points(painted.placement.landmarks, name)
    distance = float(np.linalg.norm(five[1] - five[0]))
    face = _nearest(pack.find(shown), five, distance)
    size = run.config.model.size
    swap_crop = cut_crop(shown, painted.frame_to_crop, size)
    measures.add(
        detected=float(face is not None),
        sharpness=sharpness_ratio(swap_crop, painted.crop, painted.hull),
    )
    points_name: LandmarksPack
    points, points_name = painted.placement.landmarks, name
    if truth is not None:
        points, points_name = truth.landmarks[frame.index], "ibug68"
    mouth = mouth_opening(points, points_name)
    measures.add(
        target_yaw=estimate_pose(points, points_name).yaw_deg,
        target_mouth=nothing if mouth is None else mouth,
    )
    if face is None:
        measures.add(yaw=nothing, mouth=nothing, nme=nothing, to_source=nothing, to_target=nothing)
        return
    mouth = mouth_opening(face.landmarks, name)
    same_points = points_name == name
    measures.add(
        yaw=estimate_pose(face.landmarks, name).yaw_deg,
        mouth=nothing if mouth is None else mouth,
        nme=landmark_nme(
            face.landmarks if same_points else five_points(face.landmarks, name),
            points if same_points else five_points(points, points_name),
            distance,
        ),
    )
    to_source = to_target = nothing
    if judge is not None:
        to_source, to_target = judge.distances(
            judge.embedder(shown, five_points(face.landmarks, name))
        )
    measures.add(to_source=to_source, to_target=to_target)


def _nearest(found: list[FoundFace], five: np.ndarray, distance: float) -> FoundFace | None:
    """The found face whose points are nearest to `five`, if it is the same face at all."""
    gaps = [float(np.abs(face.detection.five - five).mean()) for face in found]
    if not gaps or min(gaps) > 0.5 * distance:
        return None
    return found[int(np.argmin(gaps))]


def _summarise(
    measures: Measures,
    run: TrainedRun,
    truth: ActorTruth | None,
    pack: FacePack,
    reasons: dict[str, str],
) -> dict[str, float | int | None]:
    metrics: dict[str, float | int | None] = {
        "frames": int(measures.get("frames").sum()),
        "faces": int(measures.get("faces").sum()),
        "seen_psnr_db": _seen_psnr(run, reasons),
        "heldout_psnr_db": measures.mean("heldout_psnr_db"),
        "heldout_ssim": measures.mean("heldout_ssim"),
        "detected": measures.mean("detected"),
        "yaw_correlation": correlation(measures.get("yaw"), measures.get("target_yaw")),
        "mouth_correlation": correlation(measures.get("mouth"), measures.get("target_mouth")),
        "landmark_nme": measures.mean("nme"),
        "sharpness_ratio": measures.median("sharpness"),
    }
    seen, heldout = metrics["seen_psnr_db"], metrics["heldout_psnr_db"]
    if seen is not None and heldout is not None:
        metrics["generalization_gap_db"] = seen - heldout
    else:
        reasons["generalization_gap_db"] = "needs both a seen and a held-out figure"
    to_source, to_target = measures.get("to_source"), measures.get("to_target")
    known = np.isfinite(to_source)
    if known.any():
        metrics["identity_to_source"] = measures.median("to_source")
        metrics["identity_to_target"] = measures.median("to_target")
        metrics["identity_margin_positive"] = float((to_source < to_target)[known].mean())
    if metrics["mouth_correlation"] is None:
        reasons["mouth_correlation"] = (
            "five points do not show the lips; needs landmarks mesh"
            if pack.landmarks_name == "five"
            else "the mouth does not move, or is found in fewer than three frames"
        )
    if metrics["yaw_correlation"] is None:
        reasons["yaw_correlation"] = "the head does not turn, or fewer than three faces were found"
    for name in ("truth_psnr_db", "truth_ssim", "unswapped_psnr_db", "truth_matched_psnr_db"):
        metrics[name] = measures.mean(name)
        if truth is None:
            reasons[name] = "only rendered actors have a true swap"
        elif truth.twin is None:
            reasons[name] = "this actor was rendered without a twin"
    return {name: _plain(value) for name, value in metrics.items()}


def _plain(value: float | int | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return round(value, 4) if isinstance(value, float) else value


@torch.no_grad()
def _seen_psnr(run: TrainedRun, reasons: dict[str, str]) -> float | None:
    """PSNR of the target's training faces: unwarped, in their masks, at the model's size."""
    options, size = run.config.training, run.config.model.size
    try:
        faces = open_face_set(Path(run.facts.target.path))
        if describe_identity(faces).fingerprint != run.facts.target.fingerprint:
            raise FaceswapError(f"{faces.path}: has changed since the run was trained on it")
        roles = read_roles(share_out(run.facts.target.groups, faces.places(), options, run.step))
        seen = np.array([i for i, p in enumerate(faces.places()) if roles[p][0] == "seen"])
        chosen = seen[np.unique(np.linspace(0, len(seen) - 1, SEEN_FACES).round().astype(int))]
        subset = replace(faces, faces=[faces.faces[i] for i in chosen])
        crops, masks = subset.crops(size, 0.0), subset.masks(size, 0.0)
    except FaceswapError as error:
        reasons["seen_psnr_db"] = str(error)
        return None
    device = next(run.model.parameters()).device
    numbers = []
    for part in np.array_split(np.arange(len(crops)), max(1, len(crops) // 32)):
        pixels = torch.from_numpy(crops[part]).to(device).permute(0, 3, 1, 2).float() / 255
        rebuilt = run.model.paint(pixels, "target")[0].float().permute(0, 2, 3, 1).cpu().numpy()
        for place, picture in zip(part, rebuilt, strict=True):
            crop = crops[place].astype(np.float32) / 255
            numbers.append(psnr_db(picture, crop, masks[place] / 255.0))
    return float(np.mean(numbers))
