"""Milliseconds of what conversion does to one face without a network, on one thread.

python scripts/bench_blend.py
"""

import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from faceswap_lite.conversion.blend import paste_face
from faceswap_lite.conversion.color import COLOR_MATCHERS, apply_color_map
from faceswap_lite.conversion.mask import soft_alpha

FACE_PX = 253
FRAME_SHAPE = (720, 1280, 3)
REPEATS = 30


def main() -> None:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, FRAME_SHAPE, np.uint8)
    for size in (64, 128, 256, 512):
        face, reference = (smooth_picture(size, rng) for _ in range(2))
        mask = disc(size)
        alpha = soft_alpha(mask, 0.0, 0.06)
        # The disc fills 0.8 of the crop, so the shown face is FACE_PX wide.
        frame_to_crop = placed(0.8 * size / FACE_PX, 8, (640, 360), size)
        times = {
            "mask": milliseconds(partial(soft_alpha, mask, 0.0, 0.06)),
            "paste": milliseconds(partial(paste_face, frame, face, alpha, frame_to_crop)),
        }
        for name in COLOR_MATCHERS:
            times[name] = milliseconds(partial(match, name, face, reference, mask))
        figures = "  ".join(f"{name} {value:.2f}" for name, value in times.items())
        print(
            f"crop {size} px, face {FACE_PX} px in {FRAME_SHAPE[1]}x{FRAME_SHAPE[0]}, ms: {figures}"
        )


def match(name: str, face: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return apply_color_map(face, COLOR_MATCHERS[name](face, reference, mask))


def milliseconds(work: Callable[[], object]) -> float:
    """The median time of a few runs, after one to warm up."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def smooth_picture(size: int, rng: np.random.Generator) -> np.ndarray:
    small = rng.random((8, 8, 3), np.float32)
    return np.clip(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


def disc(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (np.hypot(x, y) < 0.4 * size).astype(np.float32)


def placed(scale: float, turn_deg: float, at: tuple[float, float], size: int) -> np.ndarray:
    """The frame_to_crop that shows `at` in the crop's middle."""
    matrix = np.array(cv2.getRotationMatrix2D(at, turn_deg, scale), np.float64)
    matrix[:, 2] += (size - 1) / 2 - np.array(at)
    return matrix


if __name__ == "__main__":
    main()
