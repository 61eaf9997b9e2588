"""Pure measures of pictures, faces and clips: arrays in, numbers out."""

from .clips import correlation, spread_ratio
from .faces import interocular_px, landmark_nme
from .pictures import MAX_PSNR_DB, delta_e, psnr_db, sharpness_ratio, ssim

__all__ = [
    "MAX_PSNR_DB",
    "correlation",
    "delta_e",
    "interocular_px",
    "landmark_nme",
    "psnr_db",
    "sharpness_ratio",
    "spread_ratio",
    "ssim",
]
