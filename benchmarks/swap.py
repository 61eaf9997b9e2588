"""What an eye would notice in a swap: seam, flicker, torn movement, softness, jitter, views, speed.

    python benchmarks/swap.py seam --run RUN --clip CLIP         # seam, flicker, warp, sharpness
    python benchmarks/swap.py seam --run RUN --clip CLIP --cast  # self-swap, known cast
    python benchmarks/swap.py jitter                             # still and moving actors
    python benchmarks/swap.py views --run RUN --clip CLIP        # what --tta brings
    python benchmarks/swap.py speed --run RUN --clip CLIP        # stages alone and overlapped

Options of `convert` are changed by --set, as everywhere.
"""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from _door import enter, keep, need, parser_of
from _measures import delta_e, jitter, lag, mean_step
from faceswap_lite.actors.cast import ACTORS
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.actors.render import render_actor
from faceswap_lite.config import ConvertConfig
from faceswap_lite.config_files import change_section
from faceswap_lite.conversion.blend import BLENDERS, layer_mask, place_face
from faceswap_lite.conversion.casting import cast_clip
from faceswap_lite.conversion.composite import Composite, composite_frames
from faceswap_lite.conversion.convert import convert_clip
from faceswap_lite.conversion.detection_pass import build_run_packs
from faceswap_lite.conversion.mask import blend_alpha
from faceswap_lite.conversion.paint import paint_frames
from faceswap_lite.conversion.painted import PaintedFrame
from faceswap_lite.conversion.temporal_smoothing import smooth_points
from faceswap_lite.conversion.writers import FileOutputs
from faceswap_lite.faces.align import frame_to_canonical
from faceswap_lite.faces.pack import build_pack
from faceswap_lite.media.clips import Frame
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.media.writing import ClipWriter
from faceswap_lite.metrics.landmarks import five_points
from faceswap_lite.metrics.pictures import psnr_db, sharpness_ratio
from faceswap_lite.metrics.screen import flow_between, mean_lab, seam_delta_e, warp_error
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun

# The band beside the mask's edge, for a crop of 128 px; it grows with the face.
BAND = 4 / 128
# Sharpness and movement are looked at where the swap fully shows.
SHOWN = 0.95


def seam(run: TrainedRun, clip: Path, config: ConvertConfig, cast: bool) -> dict[str, Any]:
    """Figures of a swap, or with `cast` of the true face put back under a known cast."""
    plan = cast_clip(run, as_clip(clip), build_run_packs(run, config), config)
    sums: dict[str, list[float]] = {}
    labs: dict[str, list[np.ndarray]] = {"clip": [], "swap": []}
    before: Composite | None = None
    with open_clip(clip) as reader:
        painted = paint_frames(reader, plan, run, config)
        if cast:
            painted = (own_face_under_a_cast(frame) for frame in painted)
        for made in composite_frames(painted, config):
            if not made.layers:
                before = None
                continue
            figures = of_frame(made, labs)
            for name, value in figures.items():
                sums.setdefault(name, []).append(value)
            if before is not None and made.frame.index not in plan.cuts:
                for name, value in of_pair(before, made).items():
                    sums.setdefault(name, []).append(value)
            before = made
    means = {name: float(np.nanmean(values)) for name, values in sums.items()}
    step_clip, step_swap = (mean_step(np.array(labs[name])) for name in ("clip", "swap"))
    return {
        "clip": clip.name,
        "frames": len(sums["seam_swap"]),
        "excess_ring_delta_e": means["seam_swap"] - means["seam_clip"],
        "ring_delta_e_clip": means["seam_clip"],
        "warp_error_ratio": means["warp_swap"] / means["warp_clip"],
        "sharpness_ratio": means["sharpness_swap"],
        "sharpness_true_face": means["sharpness_true"],
        "sharpness_kept": means["sharpness_swap"] / means["sharpness_true"],
        "mean_lab_step_ratio": step_swap / step_clip,
        **({"delta_e_to_truth": means["to_truth"]} if cast else {}),
    }


def of_frame(made: Composite, labs: dict[str, list[np.ndarray]]) -> dict[str, float]:
    frame, image = made.frame.image, made.image
    box, alpha = shown_part(made)
    was, now = frame[box], image[box]
    face = made.painted.faces[0]
    band_px = max(2.0, BAND * len(face.face) / scale_of(face.frame_to_crop))
    shown = (alpha >= SHOWN).astype(np.float32)
    labs["clip"].append(mean_lab(was, shown))
    labs["swap"].append(mean_lab(now, shown))
    # The true face cut out and put back by the same road: what the crop's size alone costs.
    true = PaintedFrame(made.frame, [face])
    through = through_the_crop(true)[box]
    return {
        "seam_swap": seam_delta_e(now, alpha, band_px),
        "seam_clip": seam_delta_e(was, alpha, band_px),
        "sharpness_swap": sharpness_ratio(now, was, shown),
        "sharpness_true": sharpness_ratio(through, was, shown),
        "to_truth": delta_e(now, through, shown),
    }


def of_pair(before: Composite, made: Composite) -> dict[str, float]:
    box, alpha = shown_part(made)
    flow, believed = flow_between(before.frame.image[box], made.frame.image[box])
    mask = (alpha >= SHOWN) * believed.astype(np.float32)
    return {
        "warp_clip": warp_error(before.frame.image[box], made.frame.image[box], flow, mask),
        "warp_swap": warp_error(before.image[box], made.image[box], flow, mask),
    }


def shown_part(made: Composite) -> tuple[tuple[slice, slice], np.ndarray]:
    """The face's rectangle with a margin, and its alpha."""
    layer = made.layers[0]
    height, width = layer.alpha.shape[:2]
    margin = max(height, width) // 6
    shape = made.image.shape[:2]
    top, left = max(layer.top - margin, 0), max(layer.left - margin, 0)
    bottom = min(layer.top + height + margin, shape[0])
    right = min(layer.left + width + margin, shape[1])
    alpha = layer_mask(shape, made.layers, np.uint8)[..., 0] / 255
    box = (slice(top, bottom), slice(left, right))
    return box, alpha[box].astype(np.float32)


def scale_of(frame_to_crop: np.ndarray) -> float:
    return float(np.sqrt(abs(np.linalg.det(frame_to_crop[:, :2]))))


def through_the_crop(painted: PaintedFrame) -> np.ndarray:
    face = painted.faces[0]
    alpha = blend_alpha(face.hull, erode=-0.03, feather=0.05)
    image = painted.frame.image
    crop = face.crop.astype(np.float32) / 255
    layer = place_face(image.shape[:2], crop, alpha, face.frame_to_crop)
    return image if layer is None else BLENDERS["alpha"](image, layer)


def own_face_under_a_cast(painted: PaintedFrame) -> PaintedFrame:
    """The true face in place of the painted one: softer, and under a cast that shakes a little."""
    faces = []
    for face in painted.faces:
        rng = np.random.default_rng(painted.frame.index)
        gain = np.array([1.12, 0.95, 0.86]) * (1 + rng.normal(0, 0.01, 3))
        crop = cv2.GaussianBlur(face.crop.astype(np.float32) / 255, (0, 0), 0.6)
        changed = np.clip(np.power(crop, 1.1) * gain + 0.02, 0, 1).astype(np.float32)
        faces.append(type(face)(**{**vars(face), "face": changed, "learned": None}))
    return PaintedFrame(painted.frame, faces, painted.failed)


def jitters(config: ConvertConfig, count: int) -> dict[str, Any]:
    """A still actor with noise in the picture, and a moving one: what smoothing does to points."""
    pack = build_pack()
    figures: dict[str, Any] = {"landmarks": pack.landmarks_name, "sigma": config.temporal_smoothing}
    moving = [20 * np.sin(i / 12) for i in range(count)]
    for name, yaws in (("still", [8.0] * count), ("moving", moving)):
        rng = np.random.default_rng(0)
        points, truth = [], []
        for yaw in yaws:
            actor = render_actor(ACTORS["ada"], ActorState(yaw_deg=yaw), 256)
            noisy = actor.image + rng.normal(0, 6, actor.image.shape)
            found = pack.find(np.clip(np.round(noisy), 0, 255).astype(np.uint8))
            points.append(found[0].landmarks)
            truth.append(five_points(actor.landmarks.astype(np.float64), "ibug68"))
        raw = np.array(points, np.float64)
        frames = np.arange(len(raw), dtype=np.float64)
        smooth = smooth_points(frames, raw, frames, config.temporal_smoothing)
        if name == "still":
            # The crop's corners are what shakes on the screen.
            shake = [jitter(corners(some, pack.landmarks_name)) for some in (raw, smooth)]
            figures |= {"still_raw_px": shake[0], "still_smooth_px": shake[1]}
            figures["still_ratio"] = shake[1] / shake[0]
            figures["still_spread_ratio"] = float(smooth.std(0).mean() / raw.std(0).mean())
        else:
            nose = [five_points(some, pack.landmarks_name)[2, 0] for some in smooth]
            unsmoothed = [five_points(some, pack.landmarks_name)[2, 0] for some in raw]
            true_nose = np.array([five[2, 0] for five in truth])
            figures["moving_lag_frames"] = lag(np.array(nose), np.array(unsmoothed))
            figures["moving_lag_to_truth_frames"] = lag(
                np.array(nose) - np.mean(nose), true_nose - true_nose.mean()
            )
    return figures


def corners(points: np.ndarray, pack: Any) -> np.ndarray:
    """The corners of every frame's crop, in pixels of the frame."""
    square = np.array([[-1.6, -1.1], [1.6, -1.1], [1.6, 2.2], [-1.6, 2.2]])
    placed = []
    for some in points:
        matrix = frame_to_canonical(some, pack)
        back = np.linalg.inv(matrix[:, :2])
        placed.append((square - matrix[:, 2]) @ back.T)
    return np.array(placed)


def views(run: TrainedRun, clip: Path, config: ConvertConfig, counts: list[int]) -> dict[str, Any]:
    """Held-out error of the rebuilt true face, its flicker, and time, by number of views."""
    rows: dict[str, Any] = {"clip": clip.name}
    for count in counts:
        options = change_section(config, [f"test_time_augmentation={count}"])
        plan = cast_clip(run, as_clip(clip), build_run_packs(run, options), options)
        errors, flickers, psnrs = [], [], []
        last: tuple[int, np.ndarray] | None = None
        start, frames = time.perf_counter(), 0
        with open_clip(clip) as reader:
            for painted in paint_frames(reader, plan, run, options, rebuild=True):
                frames += 1
                if not painted.faces:
                    continue
                face = painted.faces[0]
                crop = face.crop.astype(np.float32) / 255
                gap = (face.rebuilt - crop) * face.hull[..., None]
                errors.append(float(np.abs(gap).sum() / face.hull.sum() / 3))
                psnrs.append(psnr_db(face.rebuilt, crop, face.hull))
                if last is not None and last[0] == face.placement.segment:
                    # Of the error: what the clip itself does is not flicker.
                    step = np.abs(gap - last[1]).sum() / face.hull.sum() / 3
                    flickers.append(float(step))
                last = face.placement.segment, gap
        rows[str(count)] = {
            "mae_255": 255 * float(np.mean(errors)),
            "flicker_255": 255 * float(np.mean(flickers)),
            "psnr_db": float(np.mean(psnrs)),
            "ms_a_frame": 1000 * (time.perf_counter() - start) / frames,
        }
    return rows


def speed(run: TrainedRun, clip: Path, config: ConvertConfig) -> dict[str, Any]:
    """Each stage of a conversion alone, and all of them overlapped, in seconds."""
    figures: dict[str, Any] = {"clip": clip.name, "size": run.config.model.size}
    figures["threads"] = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        cpu, start = cpu_seconds(), time.perf_counter()
        convert_clip(
            run,
            as_clip(clip),
            FileOutputs(Path(folder) / "swap.mp4"),
            config,
            say=lambda line: None,
        )
        figures["wall_s"] = time.perf_counter() - start
        figures["cpu_s"] = cpu_seconds() - cpu
        forget(run)
        frames: list[Frame] = []
        stages: dict[str, Callable[[], object]] = {
            "decode": lambda: frames.extend(decoded(clip)),
            "find": lambda: cast_clip(run, as_clip(clip), build_run_packs(run, config), config),
        }
        for name, work in stages.items():
            figures[name + "_s"] = seconds(work)
        plan = cast_clip(run, as_clip(clip), build_run_packs(run, config), config)
        painted: list[PaintedFrame] = []
        made: list[Composite] = []
        figures["paint_s"] = seconds(
            lambda: painted.extend(paint_frames(iter(frames), plan, run, config))
        )
        figures["composite_s"] = seconds(lambda: made.extend(composite_frames(painted, config)))
        figures["encode_s"] = seconds(lambda: encode(made, clip, Path(folder) / "alone.mp4"))
    forget(run)
    cores = float(torch.get_num_threads())
    slowest = max(figures[f"{n}_s"] for n in ("find", "paint", "composite", "encode"))
    figures["bound_s"] = max(slowest, figures["cpu_s"] / cores)
    figures["wall_over_bound"] = figures["wall_s"] / figures["bound_s"]
    return figures


def forget(run: TrainedRun) -> None:
    """What was found in clips: a conversion shall begin anew."""
    for journal in (run.path / "faces").glob("*"):
        journal.unlink()


def decoded(clip: Path) -> Iterator[Frame]:
    with open_clip(clip) as reader:
        yield from reader


def encode(made: list[Composite], clip: Path, out: Path) -> None:
    with open_clip(clip) as reader:
        info = reader.info
    with ClipWriter(out, like=info) as writer:
        for one in made:
            writer.write(one.image, one.frame.pts)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=["seam", "jitter", "views", "speed"])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--cast", action="store_true", help="seam: the true face, under a cast")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="views")
    parser.add_argument("--frames", type=int, default=120, help="jitter: of each actor")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    given = parser.parse_args()
    config = change_section(ConvertConfig(), given.changes)
    if given.what == "jitter":
        figures = jitters(config, given.frames)
    elif not (given.run and given.clip):
        parser.error("--run and --clip are wanted")
    else:
        need(given.run, given.clip)
        run = load_run(given.run, config.weights)
        if given.what == "seam":
            figures = seam(run, given.clip, config, given.cast)
        elif given.what == "views":
            figures = views(run, given.clip, config, given.counts)
        else:
            figures = speed(run, given.clip, config)
    for name, value in figures.items():
        print(f"{name:28} {value:.3f}" if isinstance(value, float) else f"{name:28} {value}")
    keep(given.out, figures)


if __name__ == "__main__":
    enter(main)
