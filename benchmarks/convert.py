"""What compositing one face costs, without the network and the codecs, step by step.

python benchmarks/convert.py [--repeats 30] [--out docs/conversion/compositing.json]
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

from _door import enter, keep, parser_of
from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion.blend import BLENDERS, lay_over, place_face
from faceswap_lite.conversion.color_map import steady_color_map
from faceswap_lite.conversion.color_matchers import COLOR_MATCHERS
from faceswap_lite.conversion.detail import add_grain, match_sharpness, measure_grain
from faceswap_lite.conversion.mask import blend_alpha, carry_outwards, steady_mask, without_wall
from faceswap_lite.conversion.temporal_smoothing import neighbour_weights
from faceswap_lite.faces.align import align, cut_crop
from faceswap_lite.faces.hull import face_mask
from faceswap_lite.metrics.landmarks import MESH_RIGID

FACE_PX = 253
FRAMES = {"1280x720": (720, 1280), "1920x1080": (1080, 1920), "3840x2160": (2160, 3840)}
CROPS_PX = (64, 128, 256)
COVERAGE = "full"
BAR_MS = 20


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--repeats", type=int, default=30, help="of each step, for its median")
    options = parser.parse_args()
    keep(options.out, compositing(options.repeats))


def compositing(repeats: int) -> dict[str, Any]:
    """Milliseconds of what one face costs without a network, on one thread."""
    cv2.setNumThreads(1)
    config = ConvertConfig()
    kinds = f"color {config.color.kind}, mask {config.mask.kind}"
    print(f"a face {FACE_PX} px wide; {kinds}; bar {BAR_MS} ms")
    figures: dict[str, Any] = {}
    for size in CROPS_PX:
        for name, shape in FRAMES.items():
            steps, extras = time_steps(shape, size, config, repeats)
            print(f"crop {size:3} px in {name:9}: {listed(steps)}  sum {sum(steps.values()):.2f}")
            if name == "1280x720":
                print(f"    by choice: {listed(extras)}")
            figures[f"{size} px in {name}"] = {"sum": sum(steps.values()), **steps}
    return figures


def time_steps(
    shape: tuple[int, int], size: int, config: ConvertConfig, repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of each step with the default config, and of what else may be chosen."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (*shape, 3), np.uint8)
    landmarks = mesh_at((shape[1] / 2, shape[0] / 2))
    find = partial(align, landmarks, "mesh", COVERAGE, size)
    matrix = find()
    cut = partial(cut_crop, frame, matrix, size)
    outline = partial(face_mask, landmarks, "mesh", matrix, size)
    target, hull = cut().astype(np.float32) / 255, outline()
    painted = np.clip(cv2.GaussianBlur(target, (0, 0), 1) * 0.9 + 0.05, 0, 1)

    fitted = COLOR_MATCHERS[config.color.kind](painted, target, hull)
    steps_away = np.arange(-8.0, 9.0)
    weights = [neighbour_weights(steps_away, s) for s in (config.color.steady, config.mask.steady)]

    def match() -> np.ndarray:
        color_map = COLOR_MATCHERS[config.color.kind](painted, target, hull)
        return carry_outwards(color_map.apply(painted), without_wall(painted, hull))

    def mask(**sides: float) -> np.ndarray:
        edge = config.mask
        given = {"top": edge.top, **sides}
        return blend_alpha(hull * hull, erode=edge.erode, feather=edge.feather, **given)

    def steady() -> None:
        """What averaging over neighbours adds to the fit and the mask of the frame itself."""
        maps = [fitted if weight > 0 else None for weight in weights[0]]
        steady_color_map(maps, weights[0].tolist(), 8)
        steady_mask([hull if weight > 0 else None for weight in weights[1]], weights[1])

    face, alpha = match(), mask()
    place = partial(place_face, shape, face, alpha, matrix)
    layer = place()
    assert layer is not None
    steps: dict[str, Callable[[], object]] = {
        "align": find,
        "cut": cut,
        "outline": outline,
        "color": match,
        "mask": mask,
        "steady": steady,
        "place": place,
        config.blend: partial(lay_over, frame, [layer], config.blend),
    }
    grain = measure_grain(frame, layer)
    extras: dict[str, Callable[[], object]] = {
        **{name: partial(lay_over, frame, [layer], name) for name in BLENDERS},
        "sides": partial(mask, top=0.05, right=-0.02),
        "sharpen": partial(match_sharpness, layer, frame, grain, sharpen=1),
        "soften": partial(match_sharpness, layer, frame, grain, soften=1),
        "measure_grain": partial(measure_grain, frame, layer),
        "add_grain": partial(add_grain, layer, frame, grain, rng, 1.0),
        "frame.copy": frame.copy,
    }
    return (
        {name: milliseconds(work, repeats) for name, work in steps.items()},
        {name: milliseconds(work, repeats) for name, work in extras.items()},
    )


def mesh_at(middle: tuple[float, float]) -> np.ndarray:
    """468 points whose outline is FACE_PX wide and a little turned, about `middle`.

    Only the points that alignment and the outline look at lie where a face has them; the rest fill
    the face's oval.
    """
    golden = np.pi * (3 - np.sqrt(5))
    place = np.sqrt(np.arange(468) / 467)
    angle = golden * np.arange(468)
    oval = np.column_stack([1.05 * place * np.cos(angle), 0.54 + 1.36 * place * np.sin(angle)])
    for index, point in MESH_RIGID.items():
        oval[index] = point[:2]
    turn = np.deg2rad(8)
    turned = (oval - (0, 0.54)) @ np.array(
        [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    )
    return turned * (FACE_PX / 2.1) + np.array(middle)


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """The median processor time of a few runs in this thread, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        # Not the clock's time: what else the machine does meanwhile is no cost of ours.
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return 1000 * float(np.median(times))


def listed(times: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.2f}" for name, value in times.items())


if __name__ == "__main__":
    enter(main)
