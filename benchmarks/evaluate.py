"""Does each metric see its own defect and no other? And what does evaluating cost?

    python benchmarks/evaluate.py planted --run RUN --clip CLIP     # real: on the run's own swap
    python benchmarks/evaluate.py planted --run RUN --clip ACTOR    # actor: on the true swap
    python benchmarks/evaluate.py speed --run RUN --clip CLIP

`planted` damages a swap in one way at a time and measures each as `evaluate --converted` does. An
actor's clip (`faceswap-lite render`) has a true swap beside it, which is the undamaged one there.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from _door import enter, keep, line_of, need, parser_of
from faceswap_lite.config import ConvertConfig, EvaluateConfig
from faceswap_lite.conversion.casting import cast_clip
from faceswap_lite.conversion.composite import composite_frames
from faceswap_lite.conversion.detection_pass import build_run_packs
from faceswap_lite.conversion.paint import paint_frames
from faceswap_lite.evaluation.evaluate import evaluate_clips
from faceswap_lite.evaluation.workbench import Contender
from faceswap_lite.media.clips import as_uint8
from faceswap_lite.media.images import write_image
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.media.truth import load_truth
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun

SHOWN = (
    "identity_to_source", "identity_margin_positive", "yaw_correlation", "pose_error_deg",
    "mouth_correlation", "landmark_nme", "seam_delta_e", "sharpness_ratio", "flicker_ratio",
    "warp_error_ratio", "truth_matched_psnr_db", "truth_landmark_nme",
)  # fmt: skip

Frames = list[UInt8[np.ndarray, "h w 3"]]
Alphas = list[Float[np.ndarray, "h w 1"]]


def planted(
    run: TrainedRun, clip: Path, convert: ConvertConfig, wanted: list[str]
) -> dict[str, Any]:
    """The metrics of a swap and of the same swap with one thing wrong with it."""
    target, swap, alphas = swap_of(run, clip, convert)
    rng = np.random.default_rng(0)
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, damage in ((name, DAMAGES[name]) for name in wanted):
            print(name, flush=True)
            made = Path(folder) / name
            made.mkdir()
            for number, frame in enumerate(damage(target, swap, alphas, rng)):
                write_image(made / f"{number:06d}.png", frame)
            report = evaluate_clips(
                [Contender(run, convert)],
                [as_clip(clip)],
                Path(folder) / f"{name}.json",
                EvaluateConfig(memory=False),
                converted=[made],
                say=lambda line: None,
            )
            figures[name] = {
                metric: row["value"] for metric, row in report["results"][0]["metrics"].items()
            }
    return figures


def swap_of(run: TrainedRun, clip: Path, convert: ConvertConfig) -> tuple[Frames, Frames, Alphas]:
    """The clip's frames, the undamaged swap's, and how much of each pixel is swapped."""
    plan = cast_clip(run, as_clip(clip), build_run_packs(run, convert), convert)
    target: Frames = []
    swap: Frames = []
    alphas: Alphas = []
    with open_clip(clip) as reader:
        for made in composite_frames(paint_frames(reader, plan, run, convert), convert):
            alpha = np.zeros((*made.frame.image.shape[:2], 1))
            for layer in made.layers:
                alpha[layer.rows, layer.columns] = layer.alpha
            target.append(as_uint8(made.frame.image))
            swap.append(as_uint8(made.image))
            alphas.append(alpha)
    truth = load_truth(clip)
    if truth is not None and truth.twin is not None:
        with open_clip(truth.twin.matched) as reader:
            swap = [as_uint8(frame.image) for frame in reader]
        alphas = [mask[..., None] / 255.0 for mask in truth.face_masks]
    return target, swap, alphas


def undamaged(
    target: Frames, swap: Frames, alphas: Alphas, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The swap as it is."""
    yield from swap


def unswapped(
    target: Frames, swap: Frames, alphas: Alphas, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The target, untouched."""
    yield from target


def shuffled(
    target: Frames, swap: Frames, alphas: Alphas, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The swap's frames in a random order."""
    for place in rng.permutation(len(swap)):
        yield swap[place]


def blurred(
    target: Frames, swap: Frames, alphas: Alphas, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The face softened."""
    for frame, alpha in zip(swap, alphas, strict=True):
        yield laid(frame, cv2.GaussianBlur(frame, (0, 0), 2.0), alpha)


def jittered(
    target: Frames, swap: Frames, alphas: Alphas, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The face moved by up to a pixel and a half, anew in each frame."""
    for clean, frame, alpha in zip(target, swap, alphas, strict=True):
        move = np.array([[1, 0, rng.uniform(-1.5, 1.5)], [0, 1, rng.uniform(-1.5, 1.5)]])
        size = frame.shape[1::-1]
        yield laid(
            clean,
            cv2.warpAffine(frame, move, size, borderMode=cv2.BORDER_REPLICATE),
            cv2.warpAffine(alpha, move, size)[..., None],
        )


def flickering(
    target: Frames, swap: Frames, alphas: Alphas, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The face brighter or darker, warmer or colder by up to 6 %, anew in each frame."""
    for frame, alpha in zip(swap, alphas, strict=True):
        yield laid(frame, frame * (1 + rng.uniform(-0.06, 0.06, 3)), alpha)


def tinted(
    target: Frames, swap: Frames, alphas: Alphas, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The face redder and brighter than what surrounds it, always."""
    for frame, alpha in zip(swap, alphas, strict=True):
        yield laid(frame, frame * np.array([1.25, 1.1, 1.0]), alpha)


def laid(
    below: UInt8[np.ndarray, "h w 3"], above: np.ndarray, alpha: Float[np.ndarray, "h w 1"]
) -> UInt8[np.ndarray, "h w 3"]:
    """`above` over `below`."""
    mixed = below * (1 - alpha) + np.clip(above, 0, 255) * alpha
    return np.round(mixed).astype(np.uint8)


Damage = Callable[[Frames, Frames, Alphas, np.random.Generator], Iterator[np.ndarray]]

DAMAGES: dict[str, Damage] = {
    "undamaged": undamaged,
    "unswapped": unswapped,
    "shuffled": shuffled,
    "blurred": blurred,
    "jittered": jittered,
    "flickering": flickering,
    "tinted": tinted,
}


def speed(run: TrainedRun, clip: Path, convert: ConvertConfig) -> dict[str, Any]:
    """Seconds of evaluating a clip, and of the model's own part in it."""
    with tempfile.TemporaryDirectory() as folder:
        plan = cast_clip(run, as_clip(clip), build_run_packs(run, convert), convert)
        began = time.monotonic()
        with open_clip(clip) as reader:
            frames = sum(1 for _ in paint_frames(reader, plan, run, convert, rebuild=True))
        painted = time.monotonic()
        out = Path(folder) / "report.json"
        evaluate_clips(
            [Contender(run, convert)], [as_clip(clip)], out, EvaluateConfig(), overwrite=True
        )
        whole = time.monotonic() - painted
    model = painted - began
    return {"frames": frames, "whole_s": whole, "model_s": model, "beyond_s": whole - model}


def print_table(figures: dict[str, dict[str, float | None]]) -> None:
    """Damages as columns, metrics as rows."""
    print(f"{'':26}" + "".join(f"{name:>12}" for name in figures))
    for metric in SHOWN:
        row = [figures[name].get(metric) for name in figures]
        cells = [f"{'-' if value is None else format(value, '.3g'):>12}" for value in row]
        print(f"{metric:26}" + "".join(cells))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=("planted", "speed"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--only", choices=DAMAGES, action="append", help="not all of them")
    given = parser.parse_args()
    need(given.run, given.clip)
    run = load_run(given.run)
    convert = run.config.convert
    if given.what == "planted":
        figures = planted(run, given.clip, convert, given.only or list(DAMAGES))
        print_table(figures)
    else:
        figures = speed(run, given.clip, convert)
        print(line_of(figures))
    keep(given.out, figures)


if __name__ == "__main__":
    enter(main)
