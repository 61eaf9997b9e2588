"""A run for other tools: `.dfm` for DeepFaceLive, FaceFusion and VisoMaster, ONNX, one file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import ExportName, Side
from ..errors import FaceswapError
from ..faces.align import frontal_to_crop
from ..faces.hull import face_mask
from ..media.marks import IPTC, SOURCE_TYPE
from ..metrics.landmarks import CANONICAL_FIVE
from ..outputs import TOOL, one_writer, refuse_inputs, whole_file
from ..runs.known import MAX_KNOWN_FACES, open_known_set, spread_evenly
from ..runs.log import read_history
from ..runs.trained import TrainedRun
from .bundles import SUFFIX, write_bundle
from .onnx_files import DFM, PLAIN, Masks, write_onnx

SUFFIXES: dict[ExportName, str] = {"dfm": ".dfm", "onnx": ".onnx", "safetensors": SUFFIX}

PLAYED_COVERAGE = "dfl_whole"
"""How the players of `.dfm` cut faces."""


@one_writer(lambda out, **_: [out])
def export_run(
    run: TrainedRun,
    out: Path,
    form: ExportName | None = None,
    *,
    anyway: bool = False,
    with_consent: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Write a run's averaged weights as one file, whole and checked, or not at all.

    `form`: None is what the file's name says.
    `anyway`: as `.dfm` also of crops that no player cuts.
    Raises: FaceswapError when the players cut faces otherwise, `out` is there already, or what was
    written does not do what the run does.
    """
    refuse_inputs(out, run.path)
    of_name = next((name for name, suffix in SUFFIXES.items() if out.suffix == suffix), None)
    form = form or of_name
    if form is None or form != of_name:
        wanted = SUFFIXES[form] if form else ", ".join(SUFFIXES.values())
        raise FaceswapError(f"{out}: is no name for that; it must end in {wanted}")
    if out.exists() and not overwrite:
        raise FaceswapError(f"{out}: exists; choose another name or pass --overwrite")
    coverage, size = run.manifest.coverage, run.config.model.size
    if form == "dfm" and coverage != PLAYED_COVERAGE:
        reason = f"its faces are cut as {coverage}, and the players of .dfm cut {PLAYED_COVERAGE}"
        if not anyway:
            raise FaceswapError(
                f"{run.path}: {reason}; extract with "
                f"--set extract.crop_coverage={PLAYED_COVERAGE} and train on that, or pass --anyway"
            )
        say(f"warning: {reason}: what they paint will lie askew")
    if not with_consent:
        run = replace(run, manifest=run.manifest.model_copy(update={"consent": ""}))
    told = _told(run)
    with whole_file(out) as partial:
        if form == "safetensors":
            write_bundle(partial, run, told)
            detail = "with config and manifest"
        else:
            masks = None if run.config.model.mask_head else _mean_masks(run, say)
            shape = DFM if form == "dfm" else PLAIN
            try:
                opset = write_onnx(partial, run.model, size, shape, masks, told)
            except FaceswapError as error:
                raise FaceswapError(f"{out}: is not written: {error}") from error
            detail = f"opset {opset}, checked against the run"
    say(f"{out}: {size} px, step {run.step}, {detail}")


def _told(run: TrainedRun) -> dict[str, Any]:
    """What a file says of where it comes from: it paints faces that nobody filmed."""
    told: dict[str, Any] = {
        "digital_source_type": IPTC + SOURCE_TYPE,
        "tool": TOOL,
        "run": run.fingerprint,
        "step": run.step,
        "coverage": run.manifest.coverage,
        "lineage": run.manifest.lineage,
    }
    history = read_history(run.path)
    at = np.flatnonzero(history.step == run.step)
    if len(at):
        figures = ("heldout", "heldout_source_psnr_db", "heldout_target_psnr_db",
                   "heldout_source_ssim", "heldout_target_ssim")  # fmt: skip
        values = {name: float(getattr(history, name)[at[-1]]) for name in figures}
        told["heldout"] = {name: round(v, 4) for name, v in values.items() if np.isfinite(v)}
    if run.manifest.consent:
        told["consent"] = run.manifest.consent
    return told


def _mean_masks(run: TrainedRun, say: Callable[[str], None]) -> Masks:
    """What stands for the masks of a network that paints none."""
    size, coverage = run.config.model.size, run.manifest.coverage
    if run.manifest.source.is_nobody:
        say("it paints no masks and knows no faces: the mask is that of a frontal face")
        mask = face_mask(CANONICAL_FIVE, "five", frontal_to_crop(coverage, size), size)
        return mask.astype(np.float32), mask.astype(np.float32)
    say("it paints no masks: the mean masks of its face sets are exported")
    return _mean_mask(run, "target"), _mean_mask(run, "source")


def _mean_mask(run: TrainedRun, side: Side) -> np.ndarray:
    faces = open_known_set(run, side)
    chosen = [faces.faces[i] for i in spread_evenly(len(faces.faces), MAX_KNOWN_FACES)]
    masks = replace(faces, faces=chosen).masks(run.config.model.size, 0.0)
    return (masks.mean(0) / 255).astype(np.float32)
