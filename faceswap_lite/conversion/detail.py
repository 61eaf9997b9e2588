"""Sharpness and grain: a painted face as crisp and as noisy as the picture around it.

Both are taken from luma (BT.601, of coded values) and added to all three channels alike, so that no
coloured fringes or specks appear.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float, Float32, Shaped

from .blend import Layer

Luma = Float32[np.ndarray, "h w"]

# Bands of detail, each between two Gaussians (sigma, pixels of the painted face). Measured on
# pictures blurred by 0.5 to 1.5 px: coarser bands reach the same sharpness at twice the error.
BAND_SIGMAS_PX = (0.5, 1.0)
# Detail that is hardly there would else become noise: measured, more than this leaves the truth
# farther away than the blur did.
MAX_DETAIL_GAIN = 4.0
# A sharper face is blurred by at most so much (sigma); its sigma is found by halving this so often.
MAX_BLUR_PX, BLUR_TRIES = 4.0, 7
# Below this (in 8-bit steps, squared) there is no detail to speak of, only rounding.
MIN_ENERGY = (0.1 / 255) ** 2

# How far around a layer's rectangle grain is looked for, in its sides.
SURROUNDINGS = 0.15
# The part of the surroundings, the flattest, that grain is measured on.
FLATTEST = 0.25
# Fewer pixels say nothing about grain.
MIN_DETAIL_PIXELS = 256
# Rounding to 8 bits alone looks like this much grain; it is taken off in variance.
ROUNDING_SIGMA = 0.35 / 255
# Fainter grain than the first is not told from texture, and is none; from the second on it counts
# whole, and between them by degrees.
NO_SIGMA, FULL_SIGMA = 0.5 / 255, 1.0 / 255
# The size of grain, as the sigma of a Gaussian that white noise went through, that is told apart.
MAX_COARSE_PX = 1.5


@dataclass(frozen=True)
class Grain:
    """Noise of a picture: its sigma in [0, 1] luma, and how coarse it is.

    `coarse_px` is the sigma of the Gaussian that white noise went through; 0 is white.
    """

    sigma: float
    coarse_px: float


NO_GRAIN = Grain(0.0, 0.0)


def match_sharpness(
    layer: Layer,
    frame: Shaped[np.ndarray, "h w 3"],
    grain: Grain,
    *,
    sharpen: float | int = 0.0,
    soften: float | int = 0.0,
    enlarged: float | int = 1.0,
) -> Layer:
    """The layer with its fine detail brought to that of the picture it hides, up or down.

    0 changes nothing, 1 goes to the picture's energy of detail (the mean squared Laplacian of luma
    where the layer shows, less what `grain` has of it), or as near as `MAX_DETAIL_GAIN` lets it. A
    sharper face is blurred by `soften`; a softer one is raised by `sharpen`, by unsharp masking
    with a gain for each of `BAND_SIGMAS_PX`, the bands that it lacks most the most. `enlarged`:
    frame pixels of a painted one; above 1, bands are as much wider, for it has nothing finer.
    """
    mask = layer.alpha[..., 0]
    # The Laplacian and the bands look a few pixels around: only the mask's inside is compared.
    inside = cv2.erode(mask, np.ones((5, 5), np.uint8), borderValue=0)
    if not (sharpen or soften) or inside.sum() < 1:
        return layer
    whole = np.iinfo(frame.dtype).max
    picture = _luma(frame[layer.rows, layer.columns].astype(np.float32) / whole)
    luma, sigmas = _filled(_luma(layer.color), mask), [s * max(enlarged, 1) for s in BAND_SIGMAS_PX]
    noise = _noise_energies(grain, sigmas)
    wanted = max(_energy(cv2.Laplacian(picture, cv2.CV_32F), inside) - noise[0], 0.0)
    sharper = _energy(cv2.Laplacian(luma, cv2.CV_32F), inside) > wanted
    strength = soften if sharper else sharpen
    if not strength:
        return layer
    if sharper:
        change = _blurred_to(luma, inside, wanted) - luma
    else:
        missing = np.zeros_like(luma)
        bands = zip(_bands(luma, sigmas), _bands(picture, sigmas), noise[1:], strict=True)
        for band, wanted_band, grainy in bands:
            ratio = (_energy(wanted_band, inside) - grainy) / max(_energy(band, inside), MIN_ENERGY)
            missing += (np.sqrt(np.clip(ratio, 1, MAX_DETAIL_GAIN**2)) - 1) * band
        change = np.float32(_amount(luma, missing, inside, wanted)) * missing
    color = np.clip(layer.color + np.float32(strength) * (change * mask)[..., None], 0, 1)
    return replace(layer, color=color)


def measure_grain(frame: Shaped[np.ndarray, "h w 3"], layer: Layer) -> Grain:
    """The grain of the frame around a layer, where the layer does not show.

    Source: Immerkaer 1996, "Fast noise variance estimation": a kernel blind to planes and straight
    edges; here on the flattest quarter, with a median for the sigma (robust to what is left of
    them), and at three spacings, whose responses tell how coarse the grain is.
    """
    height, width = layer.alpha.shape[:2]
    x, y = round(SURROUNDINGS * width), round(SURROUNDINGS * height)
    top, left = max(layer.top - y, 0), max(layer.left - x, 0)
    region = frame[top : layer.rows.stop + y, left : layer.columns.stop + x]
    away = np.ones(region.shape[:2], bool)
    hidden = away[layer.top - top :, layer.left - left :][:height, :width]
    hidden[layer.alpha[..., 0] > 0] = False
    return _grain(_luma(region.astype(np.float32) / np.iinfo(frame.dtype).max), away)


def add_grain(
    layer: Layer,
    frame: Shaped[np.ndarray, "h w 3"],
    grain: Grain,
    rng: np.random.Generator,
    strength: float | int,
) -> Layer:
    """The layer with the grain that it lacks, times `strength` (0 to 1), in its colour.

    It lacks what both the frame around (`grain`) and the face that it hides have more than itself,
    in variance: two grains add up that way. One alone may be rough skin, or a rough wall.
    """
    if not strength * grain.sigma > 0:
        return layer
    shown = layer.alpha[..., 0] > 0.5
    picture = _luma(frame[layer.rows, layer.columns].astype(np.float32) / np.iinfo(frame.dtype).max)
    hidden, own = (_grain(luma, shown).sigma ** 2 for luma in (picture, _luma(layer.color)))
    lacking = min(hidden, grain.sigma**2) - own
    if not lacking > 0:
        return layer
    noise = _noise(shown.shape, grain.coarse_px, rng) * np.float32(strength * np.sqrt(lacking))
    return replace(layer, color=np.clip(layer.color + cv2.merge([noise] * 3), 0, 1))


def _luma(picture: Float[np.ndarray, "h w 3"]) -> Luma:
    return cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)


def _filled(luma: Luma, mask: Float[np.ndarray, "h w"]) -> Luma:
    """The picture with what the mask hides replaced by averages of what it shows nearby.

    A network's crop is anything there; its jump at the mask's edge must not count as detail.
    """
    mask = mask.astype(np.float32)
    spread = 4 * BAND_SIGMAS_PX[-1]
    share = cv2.GaussianBlur(mask, (0, 0), spread)
    mean = float((luma * mask).sum() / mask.sum())
    # Far from the mask, where nothing is near, it is the mean.
    near = (cv2.GaussianBlur(luma * mask, (0, 0), spread) + 1e-3 * mean) / (share + 1e-3)
    return mask * luma + (1 - mask) * near


def _bands(luma: Luma, sigmas: Sequence[float]) -> list[Luma]:
    """Differences of neighbouring Gaussians, the finest first; the coarse rest is left out."""
    smooth = [luma, *(cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in sigmas)]
    return [fine - coarse for fine, coarse in pairwise(smooth)]


def _noise_energies(grain: Grain, sigmas: Sequence[float]) -> list[float]:
    """What grain alone has of the Laplacian's energy, and of each band's."""
    if not grain.sigma > 0:
        return [0.0] * (1 + len(sigmas))
    # A patch is enough, and always the same one: these are means.
    patch = _noise((96, 96), grain.coarse_px, np.random.default_rng(0)) * np.float32(grain.sigma)
    pictures = [cv2.Laplacian(patch, cv2.CV_32F), *_bands(patch, sigmas)]
    return [float(np.square(picture).mean()) for picture in pictures]


def _energy(picture: Luma, weights: Luma) -> float:
    return float((np.square(picture) * weights).sum() / weights.sum())


def _amount(luma: Luma, missing: Luma, weights: Luma, wanted: float) -> float:
    """How much of `missing` brings the Laplacian energy up to `wanted`, 0 to MAX_DETAIL_GAIN.

    The root of |L luma + amount * L missing|^2 = wanted.
    """
    own, more = (cv2.Laplacian(picture, cv2.CV_32F) for picture in (luma, missing))
    a, c = _energy(more, weights), _energy(own, weights) - wanted
    b = float((own * more * weights).sum() / weights.sum())
    if c >= 0 or a <= MIN_ENERGY * 1e-6:
        return 0.0
    return min((np.sqrt(b * b - a * c) - b) / a, MAX_DETAIL_GAIN)


def _blurred_to(luma: Luma, weights: Luma, wanted: float) -> Luma:
    """The picture blurred until its Laplacian energy has come down to `wanted`."""
    low, high = 0.0, MAX_BLUR_PX
    blurred = luma
    for _ in range(BLUR_TRIES):
        sigma = (low + high) / 2
        blurred = cv2.GaussianBlur(luma, (0, 0), sigma)
        if _energy(cv2.Laplacian(blurred, cv2.CV_32F), weights) > wanted:
            low = sigma
        else:
            high = sigma
    return blurred


# Second differences over 1, 2 and 4 pixels.
_TAPS = [np.array([1.0, *[0.0] * (step - 1), -2.0, *[0.0] * (step - 1), 1.0]) for step in (1, 2, 4)]


def _response(taps: np.ndarray, coarse_px: float) -> float:
    """Variance that the kernel `taps` x `taps` leaves of grain of variance 1."""
    # The correlation of white noise after a Gaussian is a Gaussian of sqrt(2) times its sigma.
    lags = np.subtract.outer(np.arange(len(taps)), np.arange(len(taps)))
    kernel = _gaussian(coarse_px)
    correlation = np.correlate(kernel, kernel, "full")
    middle = len(kernel) - 1
    padded = np.pad(correlation / correlation[middle], len(taps))
    return float(taps @ padded[lags + middle + len(taps)] @ taps) ** 2


def _gaussian(sigma_px: float) -> Float[np.ndarray, " n"]:
    """Its sum is 1; a single 1 for no blur. Wide enough that its size does not step with sigma."""
    steps = np.arange(-8, 9)
    weights = np.exp(-0.5 * np.square(steps / max(sigma_px, 1e-3)))
    return weights / weights.sum()


_COARSE_PX = np.linspace(0.0, MAX_COARSE_PX, 31)
# Variances that each spacing leaves of grain of variance 1, for every coarseness.
_RESPONSES = np.array([[_response(taps, coarse) for taps in _TAPS] for coarse in _COARSE_PX])


def _grain(luma: Luma, where: Shaped[np.ndarray, "h w"]) -> Grain:
    """The grain of the flattest part of `where`."""
    # Kernels must not look across the edge, where hidden pixels or nothing lies.
    where = cv2.erode(where.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0
    if where.sum() < MIN_DETAIL_PIXELS:
        return NO_GRAIN
    smooth = cv2.GaussianBlur(luma, (0, 0), 2.0)
    slope = cv2.Sobel(smooth, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(smooth, cv2.CV_32F, 0, 1) ** 2
    flat = where & (slope <= np.quantile(slope[where], FLATTEST))
    # A normal variable's median distance from 0 is 0.6745 sigmas.
    sigmas = [
        float(np.median(np.abs(cv2.sepFilter2D(luma, cv2.CV_32F, taps, taps)[flat]))) / 0.6745
        for taps in _TAPS
    ]
    seen = np.square(sigmas)
    rounding = ROUNDING_SIGMA**2 * _RESPONSES[0, 0]
    # For each coarseness the variance that it would take; then the one that explains all spacings.
    variances = np.maximum(seen - rounding, 0).sum() / _RESPONSES.sum(1)
    explained = variances[:, None] * _RESPONSES
    misfit = np.square(np.log(explained + rounding) - np.log(np.maximum(seen, rounding))).sum(1)
    best = int(np.argmin(misfit))
    sigma = float(np.sqrt(variances[best]))
    share = float(np.clip((sigma - NO_SIGMA) / (FULL_SIGMA - NO_SIGMA), 0, 1))
    return Grain(share * sigma, float(_COARSE_PX[best])) if share > 0 else NO_GRAIN


def _noise(
    shape: tuple[int, ...], coarse_px: float, rng: np.random.Generator
) -> Float32[np.ndarray, "h w"]:
    """Noise of sigma 1, as coarse as asked."""
    kernel = _gaussian(coarse_px)
    reach = len(kernel) // 2
    white: np.ndarray = rng.standard_normal(
        (shape[0] + 2 * reach, shape[1] + 2 * reach), np.float32
    )
    if coarse_px > 0:
        gain = 1 / np.square(kernel).sum()
        white = cv2.sepFilter2D(white, cv2.CV_32F, gain * kernel, kernel)
    return white[reach:-reach, reach:-reach]
