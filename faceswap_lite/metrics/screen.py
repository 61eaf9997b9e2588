"""Measures of what an eye notices on the screen: seams, flicker, jitter, movement that tears.

Pictures are RGB, uint8, uint16 or float in [0, 1]; masks 0 to 1.
"""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from skimage.color import deltaE_ciede2000, rgb2lab

from .pictures import AnyMask, AnyPicture, as_float

# A flow is believed where going there and back ends within this many pixels.
CLOSED_PX = 1.0


def seam_delta_e(
    picture: AnyPicture,
    alpha: AnyMask,
    width_px: float | int,
    seen: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """Colour step across the edge of `alpha`, CIEDE2000, mean along the edge; NaN without an edge.

    At each place of the edge (alpha 1/2) the mean colours of the two bands beside it are compared,
    each `width_px` wide. On the untouched picture the same number is what belongs there: the excess
    over it is the seam. Where something is before the face, `seen` is False: no edge is there.
    """
    inside = as_float(alpha) >= 0.5
    in_px, out_px = _distance(inside), _distance(~inside)
    edge = (in_px > 0) & (in_px < 2)
    if seen is not None:
        edge, inside = edge & seen, inside & seen
    lab = rgb2lab(as_float(picture))
    means_in, some_in = _local_means(lab, inside & (in_px <= width_px), 1.5 * width_px)
    beside = (out_px > 0) & (out_px <= width_px)
    means_out, some_out = _local_means(lab, beside, 1.5 * width_px)
    there = edge & (some_in > 1e-3) & (some_out > 1e-3)
    if not there.any():
        return float("nan")
    return float(deltaE_ciede2000(means_in[there], means_out[there]).mean())


def mean_lab(picture: AnyPicture, mask: AnyMask) -> Float[np.ndarray, " 3"]:
    """Mean CIE Lab colour inside the mask; NaN when it is empty."""
    weights = as_float(mask)
    total = weights.sum()
    if not total > 0:
        return np.full(3, np.nan)
    return (rgb2lab(as_float(picture)) * weights[..., None]).sum((0, 1)) / total


def flow_between(
    before: AnyPicture, after: AnyPicture
) -> tuple[Float[np.ndarray, "h w 2"], UInt8[np.ndarray, "h w"]]:
    """Where each pixel of `after` was in `before` (x, y, pixels), and 1 where that is believed.

    Source: Kroeger et al. 2016, "Fast optical flow using dense inverse search"; a flow is believed
    where the way back closes.
    """
    a, b = (_grey(picture) for picture in (before, after))
    # OpenCV's stubs do not know that the flow to begin with may be None.
    finder: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back, forth = finder.calc(b, a, None), finder.calc(a, b, None)
    returned = back + _pull(forth, back)
    return back, (np.linalg.norm(returned, axis=2) <= CLOSED_PX).astype(np.uint8)


def warp_error(
    before: AnyPicture, after: AnyPicture, flow: Float[np.ndarray, "h w 2"], mask: AnyMask
) -> float:
    """Mean squared difference, in the mask, of `after` and `before` moved along the flow.

    The flow is the true clip's, so that only what does not move with the scene counts. A blurred
    picture scores better: read it beside a sharpness ratio. NaN when the mask is empty.
    Source: Lai et al. 2018, "Learning blind video temporal consistency".
    """
    weights = as_float(mask)
    total = weights.sum()
    if not total > 0:
        return float("nan")
    moved = _pull(as_float(before).astype(np.float32), flow)
    squared = np.square(moved - as_float(after)).mean(2)
    return float((squared * weights).sum() / total)


def _distance(inside: np.ndarray) -> np.ndarray:
    """Pixels from each pixel inside to the nearest outside; 0 outside."""
    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _local_means(
    lab: np.ndarray, band: np.ndarray, sigma_px: float
) -> tuple[np.ndarray, np.ndarray]:
    weights = band.astype(np.float32)
    total = cv2.GaussianBlur(weights, (0, 0), sigma_px)
    sums = cv2.GaussianBlur(lab.astype(np.float32) * weights[..., None], (0, 0), sigma_px)
    return sums / np.maximum(total, 1e-6)[..., None], total


def _grey(picture: AnyPicture) -> UInt8[np.ndarray, "h w"]:
    grey = cv2.cvtColor(as_float(picture).astype(np.float32), cv2.COLOR_RGB2GRAY)
    return np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8)


def _pull(picture: np.ndarray, flow: Float[np.ndarray, "h w 2"]) -> np.ndarray:
    """The picture's values where the flow points to."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    picture, x, y = picture.astype(np.float32), x + flow[..., 0], y + flow[..., 1]
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
