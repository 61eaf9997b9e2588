"""What the colour benchmarks share: all matchers that there ever were, yardsticks, steadying."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np

from _color_modes import GONE_MODES
from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion.color_map import ColorMap, steady_color_map
from faceswap_lite.conversion.color_matchers import COLOR_MATCHERS
from faceswap_lite.conversion.skin import to_coded, to_linear
from faceswap_lite.conversion.temporal_smoothing import neighbour_weights

Match = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
METHODS: dict[str, Match] = {**COLOR_MATCHERS, **GONE_MODES}
FORMER = "robust_mkl"
DEFAULT = ConvertConfig().color.kind
STEADY_FRAMES = ConvertConfig().color.steady


def single(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def psnr_db(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(a - b)[inside].mean()))


def means(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    found = list(rows)
    return {key: float(np.mean([row[key] for row in found])) for key in found[0]}


# Yardsticks: one gain a channel, estimated or true, over all of the face or its skin alone.


def logarithm(coded: np.ndarray) -> np.ndarray:
    return np.log(to_linear(coded) + 0.01)


def plain_gain(painted: np.ndarray, true: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The robust mean of the logarithms of true / painted."""
    changes = (logarithm(true) - logarithm(painted))[inside]
    gain = np.median(changes, 0)
    for _ in range(5):
        off = np.linalg.norm(changes - gain, axis=1)
        weights = 1 / (1 + (off / (np.median(off) + 1e-6)) ** 2)
        gain = weights @ changes / weights.sum()
    return gain


def true_gain(painted: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.median((logarithm(truth) - logarithm(painted))[inside], 0)


def skin_share(painted: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Nearness to the painted skin's median colour in log light, luminance and chroma apart."""
    values = logarithm(painted)
    middle = np.median(values[inside], 0)
    tone = values.mean(-1) - middle.mean()
    chroma = values - values.mean(-1, keepdims=True) - (middle - middle.mean())
    squares = np.where(tone < 0, (tone / 1.6) ** 2, (tone / 0.96) ** 2)
    squares = squares + (2.5 * np.linalg.norm(chroma, axis=-1)) ** 2
    return cv2.GaussianBlur(single(np.exp(-0.5 * squares)), (0, 0), 1.0)[..., None]


def laid(painted: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return to_coded(single((to_linear(painted) + 0.01) * np.exp(gain) - 0.01))


def yardsticks(
    painted: np.ndarray, true: np.ndarray, truth: np.ndarray, inside: np.ndarray
) -> dict[str, np.ndarray]:
    share = skin_share(painted, inside)
    estimated, known = plain_gain(painted, true, inside), true_gain(painted, truth, inside)
    return {
        "gain": laid(painted, estimated),
        "gain, skin only": laid(painted, estimated * share),
        "true gain": laid(painted, known),
        "true gain, skin only": laid(painted, known * share),
    }


def matched(
    triples: list[tuple[np.ndarray, np.ndarray, np.ndarray]], fit: Match, steady: bool = True
) -> tuple[list[np.ndarray], float]:
    """The matched faces of successive frames; and the milliseconds that one took (the median)."""
    maps: list[ColorMap] = []
    outs, fit_times, times = [], [], []
    for triple in triples:
        start = time.thread_time()
        maps.append(fit(*triple))
        fit_times.append(time.thread_time() - start)
    steps = np.arange(len(maps), dtype=np.float64)
    for frame, (painted, _, _) in enumerate(triples):
        weights = neighbour_weights(steps - frame, STEADY_FRAMES)
        near = np.flatnonzero(weights)
        window: list[ColorMap | None] = [maps[i] for i in near]
        start = time.thread_time()
        color_map = maps[frame]
        if steady:
            color_map = steady_color_map(window, weights[near].tolist(), int(frame - near[0]))
        outs.append(color_map.apply(painted))
        times.append(time.thread_time() - start)
    return outs, 1000 * float(np.median(fit_times) + np.median(times))
