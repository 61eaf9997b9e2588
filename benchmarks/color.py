"""How well colour matching takes a known cast off, and matches two people; with milliseconds.

    python benchmarks/color.py --media FOLDER [--out docs/conversion/color.json]
    python benchmarks/color.py --media FOLDER --run RUN --clip CLIP

Truth: real faces, blurred, with a gain, offset and gamma that jitter from frame to frame; the
ideal output is the blurred face without them. Pairs: one person's blurred face in the place of
another's of the nearest pose; with --run also the raw swaps of a trained run. Crops are cut once
and kept in --cache. Milliseconds are of one core's own time.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from skimage.color import deltaE_ciede2000, rgb2lab

from _door import clips_of, enter, keep, line_of, need, parser_of
from faceswap_lite.conversion.color import COLOR_MATCHERS, relight
from faceswap_lite.conversion.color_map import AffineMap, ColorMap, steady_color_map
from faceswap_lite.faces.align import align, cut_crop
from faceswap_lite.faces.mask import face_mask
from faceswap_lite.faces.pack import FacePack, as_uint8, build_pack
from faceswap_lite.media.reading import open_clip
from faceswap_lite.metrics.landmarks import estimate_pose
from faceswap_lite.runs.trained import TrainedRun, load_run

SIZE = 128
CLIPS = (
    "franck_train_1",
    "franck_eval_1",
    "grid_s1_train_1",
    "grid_s1_eval_1",
    "lpd9_train_1",
    "lsman2_train_1",
    "lsman3_train_1",
)
BLUR_PX = 1.2
RING_PX = 4
STEADY_FRAMES = 3.0
# What a swap's colours do, calibrated so that `none` is as bad as in evaluation_notes 4.2.
GAIN, OFFSET, GAMMA = 0.09, 0.027, 0.10
GAIN_JITTER, OFFSET_JITTER, GAMMA_JITTER = 0.019, 0.0075, 0.019

Match = Callable[[np.ndarray, np.ndarray, np.ndarray], ColorMap]


@dataclass(frozen=True)
class Crops:
    """Aligned faces of one clip: pictures and masks in [0, 1], yaw and pitch in degrees."""

    name: str
    faces: np.ndarray  # (n, s, s, 3)
    masks: np.ndarray  # (n, s, s)
    poses: np.ndarray  # (n, 2)


def main() -> None:
    parser = parser_of(__doc__, media=True)
    parser.add_argument("--frames", type=int, default=60, help="of each clip; and so many pairs")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "bench_color")
    parser.add_argument("--run", type=Path, help="with --clip: measure its raw swaps too")
    parser.add_argument("--clip", type=Path)
    options = parser.parse_args()
    if (options.run is None) != (options.clip is None):
        parser.error("--run and --clip go together")
    cv2.setNumThreads(1)
    files = clips_of(options.media, *(f"video/{name}.mp4" for name in CLIPS))
    need(*filter(None, [options.clip]))
    run = load_run(options.run) if options.run else None
    pack = build_pack("yunet", "mesh", "none")
    clips = [crops_of(file, pack, options.frames, options.cache) for file in files]
    report = {
        "truth": [row for case in CASES for row in bench_truth(clips, case)],
        "pairs": bench_pairs(list(strangers(clips, options.frames))),
    }
    if run:
        report["swaps"] = bench_pairs(list(swaps_of(run, options.clip, options.frames)))
    keep(options.out, report)


# The truth.


def bench_truth(clips: list[Crops], case: str) -> list[dict[str, Any]]:
    """A row for each matcher, without and with steadying."""
    scenes = [scene(crops, case, seed) for seed, crops in enumerate(clips)]
    rows = []
    for name in METHODS:
        for steady in (False, True):
            if steady and name not in COLOR_MATCHERS:
                continue
            figures = [play(one, name, steady) for one in scenes]
            row: dict[str, Any] = {"case": case, "matcher": name, "steady": steady}
            row |= {key: float(np.mean([f[key] for f in figures])) for key in figures[0]}
            rows.append(row)
            print(line_of(row), flush=True)
    return rows


@dataclass(frozen=True)
class Scene:
    """Successive frames: what was painted, what it replaces, what it should look like."""

    images: list[np.ndarray]
    references: list[np.ndarray]
    ideals: list[np.ndarray]
    ideal_labs: list[np.ndarray]
    """Lab colours of the ideal inside the mask."""
    masks: list[np.ndarray]


def scene(crops: Crops, case: str, seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    gain = rng.uniform(1 - GAIN, 1 + GAIN, 3)
    offset = rng.uniform(-OFFSET, OFFSET, 3)
    gamma = rng.uniform(1 - GAMMA, 1 + GAMMA)
    images, references, ideals = [], [], []
    for face in crops.faces:
        ideal = CASES[case](cv2.GaussianBlur(face, (0, 0), BLUR_PX))
        cast = ideal
        if case == "lighting ramp":
            cast = ideal * np.linspace(0.9, 1.1, SIZE)[None, :, None]
        cast = cast * (gain + rng.normal(0, GAIN_JITTER, 3))
        cast = np.clip(cast + offset + rng.normal(0, OFFSET_JITTER, 3), 0, 1)
        cast = cast ** (gamma + rng.normal(0, GAMMA_JITTER))
        images.append(np.clip(cast, 0, 1).astype(np.float32))
        references.append(face)
        ideals.append(ideal.astype(np.float32))
    labs = [rgb2lab(ideal[mask > 0]) for ideal, mask in zip(ideals, crops.masks, strict=True)]
    return Scene(images, references, ideals, labs, list(crops.masks))


def dark_lower_face(face: np.ndarray) -> np.ndarray:
    """A beard on the painted face, where the target has none."""
    shade = np.clip((np.arange(SIZE) - 0.66 * SIZE) / 6, 0, 1)[:, None, None]
    return face * (1 - 0.4 * shade)


CASES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cast": lambda face: face,
    "lighting ramp": lambda face: face,
    "different content": dark_lower_face,
}


def play(scene: Scene, name: str, steady: bool) -> dict[str, float]:
    """Errors against the ideal (CIEDE2000), flicker of the mean Lab error, milliseconds a face."""
    outs, milliseconds = matched(scene, name, steady)
    errors, ring_errors, drifts = [], [], []
    for out, reference, ideal_lab, ideal, mask in zip(
        outs, scene.references, scene.ideal_labs, scene.ideals, scene.masks, strict=True
    ):
        inside = mask > 0
        lab, weights = rgb2lab(out[inside]), mask[inside]
        errors.append(np.average(deltaE_ciede2000(lab, ideal_lab), weights=weights))
        drifts.append(np.average(lab - ideal_lab, axis=0, weights=weights))
        # The ring is seen in place: the face over the frame with a soft edge.
        alpha, ring = soft_edge(mask)
        shown, wanted = (reference + alpha[..., None] * (face - reference) for face in (out, ideal))
        ring_errors.append(
            deltaE_ciede2000(rgb2lab(shown[ring][None]), rgb2lab(wanted[ring][None])).mean()
        )
    steps = np.linalg.norm(np.diff(drifts, axis=0), axis=1)
    return {
        "delta_e": float(np.mean(errors)),
        "ring": float(np.mean(ring_errors)),
        "flicker": float(steps.mean()),
        "ms": milliseconds,
    }


def matched(scene: Scene, name: str, steady: bool) -> tuple[list[np.ndarray], float]:
    """The matched faces, and the milliseconds that one took (the median)."""
    maps, outs, times = [], [], []
    triples = list(zip(scene.images, scene.references, scene.masks, strict=True))
    for image, reference, mask in triples:
        start = time.process_time()
        maps.append(METHODS[name](image, reference, mask))
        times.append(time.process_time() - start)
    fit_time = np.median(times)
    times = []
    reach = int(2 * STEADY_FRAMES)
    for frame, (image, reference, mask) in enumerate(triples):
        start = time.process_time()
        color_map = maps[frame]
        if steady:
            window, weights, centre = around(maps, frame, reach)
            color_map = steady_color_map(window, weights, centre)
        out = color_map.apply(image)
        if name.endswith("relight"):
            out = relight(out, reference, mask, 1.0)
        outs.append(out)
        times.append(time.process_time() - start)
    return outs, 1000 * float(fit_time + np.median(times))


def around(
    maps: list[ColorMap], frame: int, reach: int
) -> tuple[list[ColorMap | None], list[float], int]:
    first, last = max(0, frame - reach), min(len(maps), frame + reach + 1)
    weights = [float(np.exp(-0.5 * ((i - frame) / STEADY_FRAMES) ** 2)) for i in range(first, last)]
    return list(maps[first:last]), weights, frame - first


def soft_edge(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How opaque the face is (nothing outside the mask), and the ring about the mask's border."""
    solid = (mask > 0.5).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING_PX + 1, 2 * RING_PX + 1))
    ring = (cv2.dilate(solid, kernel) > 0) & (cv2.erode(solid, kernel, borderValue=0) == 0)
    inner = cv2.erode(solid, np.ones((3, 3), np.uint8), borderValue=0)
    alpha = cv2.GaussianBlur(inner.astype(np.float32), (0, 0), RING_PX / 2)
    return alpha, ring


# Two people.


@dataclass(frozen=True)
class Pair:
    """A raw swap, the target that it replaces, and the mask of both."""

    image: np.ndarray
    reference: np.ndarray
    mask: np.ndarray


def strangers(clips: list[Crops], pairs: int) -> Iterator[Pair]:
    """Faces of one person in the places of another's of the nearest pose, blurred as swaps are."""
    rng = np.random.default_rng(0)
    people = [(a, b) for a in clips for b in clips if person(a) != person(b)]
    for place in range(pairs):
        source, target = people[(place * 7) % len(people)]
        frame = int(rng.integers(len(target.faces)))
        near = int(np.linalg.norm(source.poses - target.poses[frame], axis=1).argmin())
        image = cv2.GaussianBlur(source.faces[near], (0, 0), BLUR_PX)
        mask = target.masks[frame] * source.masks[near]
        yield Pair(image, target.faces[frame], mask)


def person(crops: Crops) -> str:
    return crops.name.split("_")[0]


def swaps_of(run: TrainedRun, clip: Path, count: int) -> Iterator[Pair]:
    """Raw swaps of a trained run on a clip, at the model's size."""
    size, coverage = run.config.model.size, run.manifest.coverage
    pack = build_pack(run.manifest.detector, run.manifest.landmarks_pack, "none")
    crops = cut_clip(clip, pack, coverage, size, count, every=4)
    for face, mask in zip(crops.faces, crops.masks, strict=True):
        with torch.no_grad():
            code = run.model.encode(torch.from_numpy(face).permute(2, 0, 1)[None])
            swap, learned = run.model.decode(code, "source")
        inside = mask if learned is None else mask * learned[0, 0].numpy()
        yield Pair(np.ascontiguousarray(swap[0].permute(1, 2, 0).numpy()), face, inside)


def bench_pairs(pairs: list[Pair]) -> list[dict[str, Any]]:
    """Lab errors of the mean (distance) and of the spread (|log ratio|, mean of the channels)."""
    rows = []
    for name, fit in METHODS.items():
        means, spreads, times = [], [], []
        for pair in pairs:
            start = time.process_time()
            out = fit(pair.image, pair.reference, pair.mask).apply(pair.image)
            if name.endswith("relight"):
                out = relight(out, pair.reference, pair.mask, 1.0)
            times.append(time.process_time() - start)
            (mean, std), (wanted_mean, wanted_std) = (
                lab_statistics(picture, pair.mask) for picture in (out, pair.reference)
            )
            means.append(mean - wanted_mean)
            spreads.append(np.abs(np.log(std / wanted_std)).mean())
        row = {
            "matcher": name,
            "pairs": len(pairs),
            "mean_error": float(np.linalg.norm(means, axis=1).mean()),
            "mean_error_per_channel": float(np.abs(means).mean()),
            "log_spread": float(np.mean(spreads)),
            "ms": 1000 * float(np.median(times)),
        }
        rows.append(row)
        print(line_of(row), flush=True)
    return rows


def lab_statistics(picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    colors, weights = rgb2lab(picture).reshape(-1, 3), mask.ravel()
    mean = np.average(colors, axis=0, weights=weights)
    return mean, np.sqrt(np.average((colors - mean) ** 2, axis=0, weights=weights))


# The rival.


def fit_reinhard_zeros_counted(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray
) -> AffineMap:
    """What not to do: pixels outside the mask are made black, and then counted."""
    labs = [
        cv2.cvtColor((picture * mask[..., None]).astype(np.float32), cv2.COLOR_RGB2Lab)
        for picture in (image, reference)
    ]
    (pivot, before), (goal, after) = (
        (lab.mean((0, 1), np.float64), lab.std((0, 1), np.float64)) for lab in labs
    )
    return AffineMap("lab", np.diag(after / np.maximum(before, 1e-6)), pivot, goal)


METHODS: dict[str, Match] = {
    "Reinhard, zeros counted": fit_reinhard_zeros_counted,
    **COLOR_MATCHERS,
    "mkl + relight": COLOR_MATCHERS["mkl"],
    "robust_mkl + relight": COLOR_MATCHERS["robust_mkl"],
}


# Crops.


def crops_of(clip: Path, pack: FacePack, frames: int, cache: Path) -> Crops:
    """Crops of a clip's first faces, cut once."""
    file = cache / f"{clip.stem}_{frames}.npz"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        crops = cut_clip(clip, pack, "full", SIZE, frames)
        np.savez(file, faces=crops.faces, masks=crops.masks, poses=crops.poses)
    kept = np.load(file)
    return Crops(clip.stem, kept["faces"], kept["masks"], kept["poses"])


def cut_clip(
    clip: Path, pack: FacePack, coverage: str | float, size: int, frames: int, every: int = 1
) -> Crops:
    faces, masks, poses = [], [], []
    with open_clip(clip) as reader:
        for frame in reader:
            found = pack.find(frame.image) if frame.index % every == 0 else []
            if not found:
                continue
            points = found[0].landmarks
            matrix = align(points, pack.landmarks_name, coverage, size)
            faces.append(cut_crop(as_uint8(frame.image), matrix, size) / np.float32(255))
            masks.append(face_mask(points, pack.landmarks_name, matrix, size).astype(np.float32))
            pose = estimate_pose(points, pack.landmarks_name)
            poses.append([pose.yaw_deg, pose.pitch_deg])
            if len(faces) == frames:
                break
    return Crops(clip.stem, np.stack(faces), np.stack(masks), np.array(poses))


if __name__ == "__main__":
    enter(main)
