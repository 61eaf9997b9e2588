"""Pure measures of pictures, faces and clips: arrays in, numbers out."""

from .clips import correlation, spread_ratio
from .distributions import (
    auroc,
    histogram_l1,
    series_noise,
    slope,
    spearman,
    wasserstein_1,
)
from .faces import interocular_px, landmark_nme
from .intervals import Interval, block_length, draw_blocks, interval
from .perceptual import build_lpips
from .pictures import MAX_PSNR_DB, delta_e, ms_ssim, psnr_db, sharpness_ratio, ssim
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
    "Interval",
    "auroc",
    "block_length",
    "build_lpips",
    "correlation",
    "delta_e",
    "draw_blocks",
    "flow_between",
    "histogram_l1",
    "interocular_px",
    "interval",
    "jitter",
    "lag",
    "landmark_nme",
    "mean_lab",
    "mean_step",
    "ms_ssim",
    "psnr_db",
    "seam_delta_e",
    "series_noise",
    "sharpness_ratio",
    "slope",
    "spearman",
    "spread_ratio",
    "ssim",
    "warp_error",
    "wasserstein_1",
]
