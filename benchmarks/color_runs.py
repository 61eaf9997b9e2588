"""How near trained swaps come to the truth in colour, by matcher. Beside `color.py`.

    python benchmarks/color_runs.py actors --work FOLDER
    python benchmarks/color_runs.py people --work FOLDER --media FOLDER

Runs of quick64, 4,200 steps, seed 0: what is not in --work is trained (four each, 10 minutes of one
core a run). actors: PSNR to the twin in the target's tone, inside both masks, on a clip never seen;
two of the runs have the source lit from one side and the target from the other. people: the
difference to the target at the cheekbones (CIEDE2000) in the finished frame, six ways.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

import faceswap_lite.actors.clip as actors_clip
from _color import DEFAULT, FORMER, METHODS, matched, means, psnr_db, yardsticks
from _door import FROM_SCRATCH, clips_of, enter, keep, line_of, need_weights, parser_of
from faceswap_lite.actors.performance import ActorState, random_performance
from faceswap_lite.config import ConvertConfig, SwapName
from faceswap_lite.config_files import load_config
from faceswap_lite.conversion.casting import cast_clip
from faceswap_lite.conversion.color_matchers import COLOR_MATCHERS
from faceswap_lite.conversion.composite import composite_frames
from faceswap_lite.conversion.detection_pass import build_run_packs
from faceswap_lite.conversion.paint import paint_frames
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.align import cut_crop
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.media.truth import load_truth
from faceswap_lite.runs.load import load_run


def main() -> None:
    parser = parser_of(__doc__, media=True)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--work", type=Path, default=Path("workspace/color"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    keep(options.out, PARTS[options.part](options))


# Trained runs: what the commands leave in --work.

QUICK = (*FROM_SCRATCH, "training.steps=4200", "training.seed=0", "training.threads=1")
TRAINED = "checkpoints/step_00004200"
TAKES, TAKE_FRAMES, UNSEEN_FRAMES = 12, 40, 100
CASTS = (
    ("dara", "ewa", False),
    ("random:46", "ada", False),
    ("ewa", "bruno", True),
    ("chen", "dara", True),
)


def command(*words: str | Path) -> None:
    called = [sys.executable, "-m", "faceswap_lite", *map(str, words)]
    done = subprocess.run(called, capture_output=True, text=True)
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"{words[0]}: ended with {done.returncode}"]
        raise FaceswapError(told[-1].removeprefix("error: "))


def train(source: Path, target: Path, run: Path) -> None:
    if not (run / TRAINED).is_dir():
        print(f"training {run}", flush=True)
        changes = [word for change in QUICK for word in ("--set", change)]
        sets = ["--source", str(source), "--target", str(target), "--run", str(run)]
        command("train", "--config", "quick64", *sets, *changes)


def actors_run(work: Path, source: str, target: str, elsewhere: bool) -> tuple[Path, Path]:
    """The run of two actors and an unseen clip of the target; made, where they are not there."""
    folder = work / f"{source}_{target}".replace(":", "")
    if (folder / "run" / TRAINED).is_dir():
        return folder / "run", folder / "unseen.mp4"
    folder.mkdir(parents=True, exist_ok=True)
    base, seed = load_config().render, 10 * sum(map(ord, source + target))
    for number, (side, actor) in enumerate((("source", source), ("target", target))):

        def lit(*args: Any, sign: int = 2 * number - 1) -> list[ActorState]:
            return [
                replace(
                    state,
                    light_yaw_deg=sign * abs(35 + 0.3 * state.light_yaw_deg),
                    warmth=-0.3 * sign,
                )
                for state in random_performance(*args)
            ]

        light = lit if elsewhere else random_performance
        with patch.object(actors_clip, "random_performance", light):
            takes = [folder / f"{side}_{take}.mp4" for take in range(1, TAKES + 1)]
            for take, clip in enumerate(takes):
                part = {"actor": actor, "twin": None, "frames": TAKE_FRAMES}
                part |= {"seed": seed + 100 * (1 + number) + take}
                actors_clip.render_clip(base.model_copy(update=part), clip)
            if side == "target":
                part = {"actor": actor, "twin": source, "frames": UNSEEN_FRAMES, "seed": seed + 777}
                actors_clip.render_clip(base.model_copy(update=part), folder / "unseen.mp4")
        command("extract", *takes, "--out", folder / side)
    train(folder / "source", folder / "target", folder / "run")
    return folder / "run", folder / "unseen.mp4"


def bench_runs(options: argparse.Namespace) -> dict[str, Any]:
    """PSNR to the twin in the target's tone, inside both masks, as `convert` would steady them."""
    need_weights("yunet", "mesh", "mobilefacenet")
    rows: list[dict[str, Any]] = []
    for source, target, elsewhere in CASTS:
        run_folder, clip = actors_run(options.work, source, target, elsewhere)
        run, config, truth = load_run(run_folder), ConvertConfig(), load_truth(clip)
        assert truth is not None and truth.twin is not None
        plan = cast_clip(run, as_clip(clip), build_run_packs(run, config), config)
        faces, truths, insides = [], [], []
        with open_clip(clip) as reader, open_clip(truth.twin.matched) as twins:
            painted = paint_frames(reader, plan, run, config)
            for frame, twin in zip(painted, twins, strict=True):
                for face in frame.faces[:1]:
                    size, index = len(face.face), frame.frame.index
                    cut = cut_crop(twin.image, face.frame_to_crop, size)
                    mask = np.repeat(truth.face_masks[index][..., None], 3, 2)
                    shown = cut_crop(mask, face.frame_to_crop, size)[..., 0] > 204
                    faces.append(face)
                    truths.append(cut.astype(np.float32) / 255)
                    insides.append(shown & (face.inside > 0.5))
        db: list[dict[str, float]] = []
        triples = [(face.face, face.true, face.inside) for face in faces]
        outs = {name: matched(triples, fit)[0] for name, fit in METHODS.items()}
        for k, (face, truth_here, inside) in enumerate(zip(faces, truths, insides, strict=True)):
            if inside.sum() > 100:
                shown_outs = {name: some[k] for name, some in outs.items()}
                shown_outs |= yardsticks(face.face, face.true, truth_here, inside)
                db.append(
                    {name: psnr_db(out, truth_here, inside) for name, out in shown_outs.items()}
                )
        name = f"{source} onto {target}{', lit from elsewhere' if elsewhere else ''}"
        rows.append({"run": name, "frames": len(db), "db": means(db)})
        print(f"{name}: {line_of(rows[-1]['db'])}", flush=True)
    mean = means(row["db"] for row in rows)
    print(f"mean: {line_of(mean)}")
    return {"rows": rows, "mean": mean}


# People.

PEOPLE: dict[str, tuple[str, str, SwapName]] = {
    "franck onto grid_s1": ("franck", "grid_s1", "source-to-target"),
    "grid_s1 onto franck": ("franck", "grid_s1", "target-to-source"),
    "lsman2 onto lsman3": ("lsman2", "lsman3", "source-to-target"),
    "lsman3 onto lsman2": ("lsman2", "lsman3", "target-to-source"),
    "lpd9 onto franck": ("lpd9", "franck", "source-to-target"),
    "grid_s1 onto lsman3": ("grid_s1", "lsman3", "source-to-target"),
}
CHEEKBONES = (50, 280, 101, 330)
EYE_CORNERS = (33, 263)
PATCH = 0.08
COMPARED = ("none", FORMER, DEFAULT)


def bench_real(options: argparse.Namespace) -> dict[str, Any]:
    """Swap against target at the cheekbones, in the finished frame; and the colour part alone."""
    for a, b, swap in PEOPLE.values():
        shown = b if swap == "source-to-target" else a
        wanted = (f"{a}_train_*", f"{b}_train_*", f"{shown}_eval_1")
        clips_of(options.media, *(f"video/{name}.mp4" for name in wanted))
    need_weights("yunet", "mesh", "mobilefacenet")
    rows: list[dict[str, Any]] = []
    for name, (a, b, swap) in PEOPLE.items():
        run_folder = people_run(options, a, b)
        shown = b if swap == "source-to-target" else a
        (clip,) = clips_of(options.media, f"video/{shown}_eval_1.mp4")
        for mode in COMPARED:
            row = {"swap": name, "color": mode} | cheekbones(run_folder, clip, swap, mode)
            rows.append(row)
            print(line_of(row), flush=True)
    report: dict[str, Any] = {"rows": rows}
    for mode in COMPARED:
        some = [row for row in rows if row["color"] == mode]
        report[mode] = {
            "whole_median": float(np.median([row["whole"] for row in some])),
            "chroma_median": float(np.median([row["chroma"] for row in some])),
            "chroma_worst": float(np.max([row["chroma"] for row in some])),
        }
        print(f"{mode}: {line_of(report[mode])}")
    return report


def people_run(options: argparse.Namespace, a: str, b: str) -> Path:
    sets = {name: options.work / "sets" / name for name in (a, b)}
    run = options.work / "runs" / f"{a}_{b}"
    if (run / TRAINED).is_dir():
        return run
    for name, faces in sets.items():
        command("extract", *clips_of(options.media, f"video/{name}_train_*.mp4"), "--out", faces)
    for name, other in ((a, b), (b, a)):
        command("curate", sets[name], "--against", sets[other], "--apply")
    train(sets[a], sets[b], run)
    return run


def cheekbones(run_folder: Path, clip: Path, swap: SwapName, mode: str) -> dict[str, float]:
    """Medians over the patches, then over the frames: CIEDE2000; at equal lightness; L* higher."""
    run, config = load_run(run_folder), ConvertConfig(swap=swap)
    plan = cast_clip(run, as_clip(clip), build_run_packs(run, config), config)
    differences = []
    # The config knows no mode that went.
    with patch.dict(COLOR_MATCHERS, {config.color.kind: METHODS[mode]}), open_clip(clip) as reader:
        painted = paint_frames(reader, plan, run, config)
        for made in composite_frames(painted, config):
            if made.layers:
                points = made.painted.faces[0].placement.landmarks
                was, now = (patches(image, points) for image in (made.frame.image, made.image))
                level = now.copy()
                level[:, 0] = was[:, 0]
                three = (
                    deltaE_ciede2000(was, now),
                    deltaE_ciede2000(was, level),
                    (now - was)[:, 0],
                )
                differences.append([float(np.median(values)) for values in three])
    whole, chroma, lighter = np.median(differences, axis=0).tolist()
    return {"frames": len(differences), "whole": whole, "chroma": chroma, "lighter": lighter}


def patches(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The mean Lab colours of the four patches."""
    half = 0.5 * PATCH * np.linalg.norm(np.subtract(*points[list(EYE_CORNERS)]))
    colors = []
    for x, y in points[list(CHEEKBONES)]:
        (left, right), (top, bottom) = (
            (round(v - half), round(v + half) + 1) for v in (float(x), float(y))
        )
        colors.append(rgb2lab(image[top:bottom, left:right] / 255).reshape(-1, 3).mean(0))
    return np.array(colors)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "actors": bench_runs,
    "people": bench_real,
}


if __name__ == "__main__":
    enter(main)
