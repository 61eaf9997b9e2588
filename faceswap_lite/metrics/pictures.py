"""Measures of one picture against another, inside a mask.

Pictures are RGB: uint8, uint16 or float in [0, 1]. Masks weigh pixels (soft values count in part)
and follow the same ranges; no mask means every pixel counts once. Where there is nothing to
measure (an empty mask, a flat reference) the figure is NaN.

Training has PSNR and SSIM in torch beside these (`training.heldout.psnr_and_ssim`): a batch at a
time, on its device; tests/test_step.py holds the two equal.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16
from skimage.color import rgb2lab

from ..media.clips import as_uint8

AnyPicture = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 3"]
AnyMask = UInt8[np.ndarray, "h w"] | Float[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]

# Equal pictures have no error to take a logarithm of, and a JSON report can hold no infinity.
MAX_PSNR_DB = 100.0

# Wang et al. 2004, section III.B: an 11 px window with sigma 1.5, K1 = .01, K2 = .03.
SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
# Pixels whose window lies inside the picture.
SSIM_INNER = (slice(SSIM_WINDOW_PX // 2, -(SSIM_WINDOW_PX // 2)),) * 2

# Wang, Simoncelli & Bovik 2003, section 3.2: weights of the scales, finest first.
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr_db(a: AnyPicture, b: AnyPicture, mask: AnyMask | None = None) -> float:
    """Peak signal-to-noise ratio of `a` against `b`, dB, at most `MAX_PSNR_DB`; more is nearer.

    The squared error is averaged with the mask as weights, over the three channels alike.
    """
    squared = np.square(as_float(a) - as_float(b)).mean(2)
    error = _mean_inside(squared, mask)
    return error if np.isnan(error) else min(MAX_PSNR_DB, -10 * float(np.log10(max(error, 1e-12))))


def ssim(a: AnyPicture, b: AnyPicture, mask: AnyMask | None = None) -> float:
    """Structural similarity, -1 to 1 (equal): mean over the channels and, weighted, the mask.

    The five pixels at the border, whose windows reach outside, do not count.
    Source: Wang et al. 2004, "Image quality assessment", eq. 13, with population covariances.
    Raises: ValueError when a side is shorter than the window.
    """
    if min(a.shape[:2]) < SSIM_WINDOW_PX:
        raise ValueError(f"pictures of {a.shape[:2]} are smaller than the window")
    light, structure = _ssim_maps(as_float(a), as_float(b))
    return _mean_inside((light * structure).mean(2), None if mask is None else mask[SSIM_INNER])


def ms_ssim(a: AnyPicture, b: AnyPicture, mask: AnyMask | None = None) -> float:
    """Structural similarity over up to five scales, 0 (also where it would be below) to 1 (equal).

    Between scales pictures and mask are halved by the mean of four pixels, an odd last row or
    column left out. At each scale contrast and structure are averaged as `ssim` is, light at the
    coarsest alone; the means are raised to the scale's weight and multiplied, each channel for
    itself. Pictures below 176 px are too small for five scales: they use as many as fit the window,
    with those weights scaled to the sum of 1, and compare only with pictures of their size. NaN
    where the mask reaches no window of the coarsest scale (a face at the edge of a small picture).
    Source: Wang, Simoncelli & Bovik 2003, "Multi-scale structural similarity", eq. 7.
    Raises: ValueError when a side is shorter than the window.
    """
    scales = scales_that_fit(min(a.shape[:2]))
    if not scales:
        raise ValueError(f"pictures of {a.shape[:2]} are smaller than the window")
    x, y = as_float(a), as_float(b)
    weights = np.ones(x.shape[:2]) if mask is None else as_float(mask)
    likeness = np.ones(3)
    for scale in range(scales):
        if scale:
            x, y, weights = _halved(x), _halved(y), _halved(weights)
        light, structure = _ssim_maps(x, y)
        values = light * structure if scale == scales - 1 else structure
        means = [_mean_inside(values[..., channel], weights[SSIM_INNER]) for channel in range(3)]
        # A negative mean has no such power.
        power = MS_SSIM_WEIGHTS[scale] / sum(MS_SSIM_WEIGHTS[:scales])
        likeness = likeness * np.maximum(means, 0) ** power
    return float(likeness.mean())


def scales_that_fit(edge_px: int) -> int:
    """On how many scales, 0 to 5, `ms_ssim` compares pictures of this shorter side."""
    return sum(edge_px // 2**scale >= SSIM_WINDOW_PX for scale in range(len(MS_SSIM_WEIGHTS)))


def sharpness_ratio(out: AnyPicture, reference: AnyPicture, mask: AnyMask | None = None) -> float:
    """Fine detail of `out` over that of `reference`: root mean square of the grey Laplacian.

    1 is as sharp, below 1 softer.
    """
    detail, wanted = laplacian_rms(out, mask), laplacian_rms(reference, mask)
    return detail / wanted if wanted > 1e-6 else float("nan")


def mean_grey(picture: UInt8[np.ndarray, "h w 3"], inside: Bool[np.ndarray, "h w"]) -> float:
    """Mean brightness of what lies inside, 0 to 1; of all of the picture where nothing does."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return float((grey[inside] if inside.any() else grey).mean()) / 255


def brightness_and_hue(
    picture: UInt8[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"] | Float[np.ndarray, "h w"],
) -> tuple[float, float]:
    """Mean grey value, 0 to 1, and the angle in degrees of the mean CIE Lab colour, where the mask
    is above a half: 0 is red, 90 yellow.
    """
    inside = mask > (127 if mask.dtype == np.uint8 else 0.5)
    if not inside.any():
        return np.nan, np.nan
    colors = as_uint8(picture)[inside] / 255.0
    brightness = float((colors @ np.array([0.299, 0.587, 0.114])).mean())
    _, a, b = rgb2lab(colors).mean(0)
    return brightness, float(np.degrees(np.arctan2(b, a)))


def as_float(picture: np.ndarray) -> np.ndarray:
    """A picture or mask as float64 in [0, 1]; integers are divided by their type's largest."""
    if np.issubdtype(picture.dtype, np.integer):
        return picture / float(np.iinfo(picture.dtype).max)
    return picture.astype(np.float64)


def _mean_inside(values: np.ndarray, mask: np.ndarray | None) -> float:
    weights = np.ones(values.shape) if mask is None else as_float(mask)
    total = weights.sum()
    return float((values * weights).sum() / total) if total > 0 else float("nan")


def _ssim_maps(
    x: Float[np.ndarray, "h w 3"], y: Float[np.ndarray, "h w 3"]
) -> tuple[Float[np.ndarray, "i j 3"], Float[np.ndarray, "i j 3"]]:
    """SSIM's two factors where the window lies inside: light; contrast and structure."""
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = _window_mean(x * x) - mean_x * mean_x
    var_y = _window_mean(y * y) - mean_y * mean_y
    covariance = _window_mean(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (var_x + var_y + SSIM_C2)
    return light[SSIM_INNER], structure[SSIM_INNER]


def _halved(values: np.ndarray) -> np.ndarray:
    height, width = (edge // 2 * 2 for edge in values.shape[:2])
    even = values[:height, :width]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _window_mean(picture: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    window = (SSIM_WINDOW_PX, SSIM_WINDOW_PX)
    return cv2.GaussianBlur(picture, window, SSIM_SIGMA_PX, borderType=cv2.BORDER_REFLECT)


def laplacian_rms(picture: AnyPicture, mask: AnyMask | None = None) -> float:
    """Fine detail: root mean square of the Laplacian of grey values in [0, 1], inside the mask."""
    grey = cv2.cvtColor(as_float(picture).astype(np.float32), cv2.COLOR_RGB2GRAY)
    return float(np.sqrt(_mean_inside(np.square(cv2.Laplacian(grey, cv2.CV_32F)), mask)))
