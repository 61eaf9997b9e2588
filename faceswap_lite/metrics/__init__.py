"""Pure measures of pictures, faces and clips: arrays in, numbers out."""

from .clips import correlation, spread_ratio
from .faces import interocular_px, landmark_nme
from .pictures import MAX_PSNR_DB, delta_e, psnr_db, sharpness_ratio, ssim
from .screen import (
    flow_between,
    jitter,
    lag,
    mean_lab,
    mean_step,
    seam_delta_e,
    warp_error,
)

__all__ = [
    "MAX_PSNR_DB",
    "correlation",
    "delta_e",
    "flow_between",
    "interocular_px",
    "jitter",
    "lag",
    "landmark_nme",
    "mean_lab",
    "mean_step",
    "psnr_db",
    "seam_delta_e",
    "sharpness_ratio",
    "spread_ratio",
    "ssim",
    "warp_error",
]
