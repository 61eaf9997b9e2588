"""The table of metrics: what is measured, how it is read, how it comes from a clip, what it needs.

To add one: write it in a file of its own and add it here; report, page and table then have it.
"""

import numpy as np
from jaxtyping import Float

from ..metrics.distributions import correlation, finite, series_noise, spread_ratio
from .frame import against_truth, blending, identity_row, movement, occluding, reading, rebuilding
from .metric import Columns, Figure, FrameMeasure, Metric


def known_mean(values: Float[np.ndarray, " m"]) -> float | None:
    """The mean of those that are there."""
    known = finite(values)
    return float(known.mean()) if len(known) else None


def mean(name: str) -> Figure:
    """Of one column."""
    return lambda columns: known_mean(columns[name])


def median(name: str) -> Figure:
    """Of one column."""

    def of(columns: Columns) -> float | None:
        known = finite(columns[name])
        return float(np.median(known)) if len(known) else None

    return of


def ratio(name: str, over: str) -> Figure:
    """Mean over mean, of the frames that have both."""

    def of(columns: Columns) -> float | None:
        both = np.isfinite(columns[name]) & np.isfinite(columns[over])
        below = columns[over][both].mean() if both.any() else 0.0
        return float(columns[name][both].mean() / below) if below > 0 else None

    return of


def difference(name: str, minus: str) -> Figure:
    """The mean of one column less another."""
    return lambda columns: known_mean(columns[name] - columns[minus])


def error(name: str, reference: str) -> Figure:
    """The mean size of the difference."""
    return lambda columns: known_mean(np.abs(columns[name] - columns[reference]))


def follows(name: str, reference: str) -> Figure:
    """The correlation."""
    return lambda columns: correlation(columns[name], columns[reference])


def spread(name: str, reference: str) -> Figure:
    """Standard deviation over the reference's."""
    return lambda columns: spread_ratio(columns[name], columns[reference])


def _pose_error(columns: Columns) -> float | None:
    names = ("yaw_deg", "pitch_deg", "roll_deg")
    gaps = np.stack([columns[name] - columns[f"target_{name}"] for name in names])
    return known_mean(np.linalg.norm(gaps, axis=0))


def _nearer(columns: Columns) -> float | None:
    known = np.isfinite(columns["to_source"])
    nearer = columns["to_source"] < columns["to_target"]
    return float(nearer[known].mean()) if known.any() else None


def _normalised(columns: Columns) -> float | None:
    distance, own = finite(columns["to_source"]), finite(columns["own_spread"])
    return float(np.median(distance) / own[0]) if len(distance) and len(own) else None


def _sharp_as_source(columns: Columns) -> float | None:
    detail, own = finite(columns["detail"]), finite(columns["source_detail"])
    return float(np.median(detail) / own[0]) if len(detail) and len(own) else None


OCCLUDED = 0.02
"""A frame of whose face more than this is hidden has something before it."""


def _occluded(columns: Columns) -> float | None:
    known = finite(columns["hidden"])
    return float((known > OCCLUDED).mean()) if len(known) else None


def frame_measures() -> tuple[FrameMeasure, ...]:
    """What has to be measured of each frame, each once."""
    return tuple(dict.fromkeys(by for metric in METRICS.values() for by in metric.by))


METRICS: dict[str, Metric] = {
    "seen_psnr_db": Metric(
        "Rebuilt, seen in training", "dB", "higher", "reconstruction",
        "faces of the training set, unwarped; what the unseen ones are compared with",
        mean("seen_psnr_db"), needs=("seen faces",),
    ),
    "heldout_psnr_db": Metric(
        "Rebuilt, unseen", "dB", "higher", "reconstruction",
        "the target's face through its own decoder, inside the mask, at the model's size",
        mean("psnr_db"), (rebuilding,), needs=("unseen clip",),
    ),
    "heldout_frame_psnr_db": Metric(
        "Rebuilt, unseen, in the frame", "dB", "higher", "reconstruction",
        "the same, warped to where it was cut from and compared there: models of any size alike",
        mean("frame_psnr_db"), (rebuilding,), needs=("unseen clip",),
    ),
    "heldout_ssim": Metric(
        "SSIM, unseen", "", "higher", "reconstruction", "at most 1", mean("ssim"), (rebuilding,),
        needs=("unseen clip",),
    ),
    "heldout_ms_ssim": Metric(
        "MS-SSIM, unseen", "", "higher", "reconstruction",
        "at most 1; as many of the five scales as the model's size allows", mean("ms_ssim"),
        (rebuilding,), needs=("unseen clip",),
    ),
    "generalization_gap_db": Metric(
        "Generalisation gap", "dB", "zero", "reconstruction",
        "seen minus unseen; near 0: what was learned holds. The interval is of the unseen alone",
        difference("seen_psnr_db", "psnr_db"), (rebuilding,), needs=("unseen clip", "seen faces"),
    ),
    "detected": Metric(
        "Face found in the swap", "share", "higher", "identity",
        "of the frames in which a face was painted", mean("detected"), (identity_row,),
    ),
    "identity_to_source": Metric(
        "Distance to the source", "", "lower", "identity",
        "of the judge's vectors: lower is nearer", median("to_source"), (identity_row,),
        needs=("likeness",),
    ),
    "identity_to_target": Metric(
        "Distance to the target", "", None, "identity", "should be the larger one",
        median("to_target"), (identity_row,), needs=("likeness",),
    ),
    "identity_to_source_normalised": Metric(
        "Distance to the source, in its own spread", "", "lower", "identity",
        "1: as far from the source's mean as 95 % of its own faces keep within", _normalised,
        (identity_row,), needs=("likeness",),
    ),
    "identity_margin_positive": Metric(
        "Nearer to the source", "share", "higher", "identity",
        "frames nearer to the source's mean than to the target's", _nearer, (identity_row,),
        needs=("likeness",),
    ),
    "identity_top1": Metric(
        "Nearest of all known faces", "share", "higher", "identity",
        "frames whose nearest face among all known sets is one of the source", mean("top1"),
        (identity_row,), needs=("likeness",),
    ),
    "yaw_correlation": Metric(
        "Yaw follows", "", "higher", "pose", "correlation with the target's; at most 1",
        follows("yaw_deg", "target_yaw_deg"), (reading,),
    ),
    "yaw_spread_ratio": Metric(
        "Yaw's spread", "", "one", "pose",
        "standard deviation, divided by the target's: below 1, turns are held back",
        spread("yaw_deg", "target_yaw_deg"), (reading,),
    ),
    "yaw_error_deg": Metric(
        "Yaw error", "°", "lower", "pose", "read it beside the estimator's own noise",
        error("yaw_deg", "target_yaw_deg"), (reading,),
    ),
    "pose_error_deg": Metric(
        "Pose error", "°", "lower", "pose", "length of the yaw, pitch and roll errors together",
        _pose_error, (reading,),
    ),
    "yaw_noise_deg": Metric(
        "The estimator's own noise, yaw", "°", None, "pose",
        "standard deviation, from the target's own trembling: errors near it say nothing",
        lambda columns: series_noise(columns["target_yaw_deg"]), (reading,),
        needs=("every frame",),
    ),
    "mouth_correlation": Metric(
        "Mouth follows", "", "higher", "expression", "correlation of the lips' gap; at most 1",
        follows("mouth", "target_mouth"), (reading,), needs=("mesh",),
    ),
    "mouth_spread_ratio": Metric(
        "Mouth's spread", "", "one", "expression",
        "below 1, the mouth opens less than the target's", spread("mouth", "target_mouth"),
        (reading,), needs=("mesh",),
    ),
    "eyes_correlation": Metric(
        "Eyes follow", "", "higher", "expression", "correlation of the lids' gap; at most 1",
        follows("eyes", "target_eyes"), (reading,), needs=("mesh",),
    ),
    "eyes_spread_ratio": Metric(
        "Eyes' spread", "", "one", "expression",
        "below 1, the eyes open and close less than the target's", spread("eyes", "target_eyes"),
        (reading,), needs=("mesh",),
    ),
    "landmark_nme": Metric(
        "Landmark error", "eye distances", "lower", "expression",
        "mean distance of the points; another person's face has other proportions, so never 0",
        mean("nme"), (reading,),
    ),
    "seam_delta_e": Metric(
        "Seam", "ΔE", "zero", "blending",
        "colour step across the mask's edge, beyond that of the untouched frame; below 0: smoother",
        difference("seam_delta_e", "target_seam_delta_e"), (blending,),
    ),
    "occluded": Metric(
        "Something before the face", "share", None, "blending",
        "of the frames: more than 2 % of the face is hidden and stays the clip's own",
        _occluded, (occluding,), needs=("occlusion",),
    ),
    "sharpness_ratio": Metric(
        "Sharpness", "", "one", "blending", "below 1: softer than the target", median("sharpness"),
        (reading,),
    ),
    "sharpness_to_source": Metric(
        "Sharpness of the source reached", "", "one", "blending",
        "over the median of the source's own faces, in crops of 128 px", _sharp_as_source,
        (reading,), needs=("painted faces",),
    ),
    "flicker_ratio": Metric(
        "Colour flicker", "", "one", "time",
        "mean step of the face's mean Lab colour, divided by the target's",
        ratio("lab_step", "target_lab_step"), (blending,),
    ),
    "warp_error_ratio": Metric(
        "Temporal warp error", "", "one", "time",
        "divided by the target's; blur lowers it: read it beside the sharpness",
        ratio("warp", "target_warp"), (movement,),
    ),
    "truth_psnr_db": Metric(
        "To the true swap", "dB", "higher", "truth", "without colour matching",
        mean("truth_psnr_db"), (against_truth,), needs=("twin",),
    ),
    "truth_ssim": Metric(
        "SSIM to the true swap", "", "higher", "truth", "at most 1", mean("truth_ssim"),
        (against_truth,), needs=("twin",),
    ),
    "unswapped_psnr_db": Metric(
        "Doing nothing scores", "dB", None, "truth", "the untouched clip against the true swap",
        mean("unswapped_psnr_db"), (against_truth,), needs=("twin",),
    ),
    "truth_matched_psnr_db": Metric(
        "To the true swap, colours matched", "dB", "higher", "truth",
        "the finished frame against the true swap in the target's skin tone",
        mean("truth_matched_psnr_db"), (against_truth,), needs=("twin",),
    ),
    "truth_yaw_error_deg": Metric(
        "Yaw error to the true swap", "°", "lower", "truth", "both read by one instrument",
        error("yaw_deg", "truth_yaw_deg"), (reading, against_truth), needs=("twin",),
    ),
    "truth_mouth_correlation": Metric(
        "Mouth follows the true swap's", "", "higher", "truth", "at most 1",
        follows("mouth", "truth_mouth"), (reading, against_truth), needs=("twin", "mesh"),
    ),
    "truth_mouth_error": Metric(
        "Mouth error to the true swap", "eye distances", "lower", "truth",
        "of the lips' gap, both read by one instrument", error("mouth", "truth_mouth"),
        (reading, against_truth), needs=("twin", "mesh"),
    ),
    "truth_mouth_psnr_db": Metric(
        "To the true swap around the mouth", "dB", "higher", "truth",
        "the finished frame in a box around the lips, colours matched",
        mean("truth_mouth_psnr_db"), (against_truth,), needs=("twin",),
    ),
    "truth_eyes_correlation": Metric(
        "Eyes follow the true swap's", "", "higher", "truth", "at most 1",
        follows("eyes", "truth_eyes"), (reading, against_truth), needs=("twin", "mesh"),
    ),
    "truth_eyes_error": Metric(
        "Eyes' error to the true swap", "eye widths", "lower", "truth",
        "of the lids' gap, both read by one instrument", error("eyes", "truth_eyes"),
        (reading, against_truth), needs=("twin", "mesh"),
    ),
    "truth_eyes_psnr_db": Metric(
        "To the true swap around the eyes", "dB", "higher", "truth",
        "the finished frame in boxes around the eyes, colours matched",
        mean("truth_eyes_psnr_db"), (against_truth,), needs=("twin",),
    ),
    "truth_landmark_nme": Metric(
        "Landmark error to the true swap", "eye distances", "lower", "truth",
        "the same person's face: 0 is possible here", mean("truth_nme"), (against_truth,),
        needs=("twin",),
    ),
    "truth_sharpness_ratio": Metric(
        "Sharpness of the true swap reached", "", "one", "truth", "below 1: softer",
        median("truth_sharpness"), (against_truth,), needs=("twin",),
    ),
    "heldout_lpips": Metric(
        "LPIPS, unseen", "", "lower", "perceptual", "rebuilt against true; 0: alike", mean("lpips"),
        (rebuilding,), needs=("unseen clip", "lpips"),
    ),
    "truth_lpips": Metric(
        "LPIPS to the true swap", "", "lower", "perceptual", "0: alike", mean("truth_lpips"),
        (against_truth,), needs=("lpips", "twin"),
    ),
}  # fmt: skip
"""By name, in the order in which they are shown."""
