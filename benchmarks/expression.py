"""How well mouths and eyes follow: as they are painted, as the clip's, and as `auto` chooses.

    python benchmarks/expression.py people --work FOLDER --media FOLDER
    python benchmarks/expression.py actors --work FOLDER
    python benchmarks/expression.py twins
    python benchmarks/expression.py steady --run RUN --clip CLIP

people: eight directions between two and three people, on clips never seen; runs and face sets are
those of `starts.py pairs`, if --work is the same. actors: four pairs, against the true swap.
twins: what a true swap reads, over what the clip does: the named actors as each other.
What is not in --work is made: runs of quick128, --minutes each on one thread. steady: how much the
colour of a swap's mouth steps from frame to frame, over the clip's; what moving mouths and eyes
costs; how near painted crops come to the clip's (of use where one person is swapped onto himself);
and with --sheet a picture of 24 mouths at three times their size.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from skimage.color import rgb2lab

from _door import clips_of, enter, keep, line_of, need, need_weights, parser_of
from _measures import mean_step
from faceswap_lite.actors.cast import ACTORS, find_actor
from faceswap_lite.actors.clip import render_clip
from faceswap_lite.actors.performance import random_performance
from faceswap_lite.actors.render import render_actor
from faceswap_lite.config import ConvertConfig
from faceswap_lite.config_files import load_config
from faceswap_lite.conversion.casting import cast_clip
from faceswap_lite.conversion.composite import composite_frames
from faceswap_lite.conversion.detection_pass import build_run_packs
from faceswap_lite.conversion.expression import ClipExpression, choose_expression
from faceswap_lite.conversion.paint import paint_frames
from faceswap_lite.conversion.painted import PaintedFace
from faceswap_lite.faces.align import align, cut_crop
from faceswap_lite.faces.crop_landmarker import READ_PX, CropLandmarker
from faceswap_lite.faces.hull import MESH_LIPS
from faceswap_lite.faces.openings import lip_gaps
from faceswap_lite.media.images import write_image
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.metrics.distributions import spread_ratio
from faceswap_lite.metrics.landmarks import eye_distance, five_points, read_points
from faceswap_lite.metrics.pictures import psnr_db
from faceswap_lite.runs.load import load_run
from starts import PAIRS, command, faces, together, trained

KINDS = ("source", "target", "auto")
"""Of convert.mouth and convert.eyes."""
FOLLOW = (
    "mouth_correlation", "mouth_spread_ratio", "eyes_correlation", "eyes_spread_ratio",
    "yaw_correlation", "yaw_spread_ratio", "identity_to_source", "identity_margin_positive",
    "warp_error_ratio",
)  # fmt: skip
TRUE = (
    "truth_mouth_error", "truth_mouth_correlation", "truth_mouth_psnr_db", "truth_eyes_error",
    "truth_eyes_psnr_db", "truth_matched_psnr_db", "truth_landmark_nme",
)  # fmt: skip
CASTS = (("dara", "bruno"), ("ewa", "chen"), ("random:46", "ada"), ("bruno", "random:7"))
SHOWN = ("yaw_deg", "pitch_deg", "mouth", "eyes")
SHUT = 0.02
"""Eye distances between the lips, below which they count as shut."""
TAKES, TAKE_FRAMES, UNSEEN_FRAMES = 10, 40, 120


def main() -> None:
    parser = parser_of(__doc__, media=True)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--work", type=Path, default=Path("workspace/starts"))
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, a run")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--run", type=Path, help="for steady")
    parser.add_argument("--clip", type=Path, help="for steady")
    parser.add_argument("--swap", default="source-to-target", help="for steady")
    parser.add_argument("--sheet", type=Path, help="for steady: a PNG of clip and swap")
    options = parser.parse_args()
    if options.part == "steady":
        if not (options.run and options.clip):
            parser.error("steady wants --run and --clip")
        need(options.run, options.clip)
    options.work = options.work.resolve()
    need_weights("yunet", "mesh", "mobilefacenet")
    keep(options.out, PARTS[options.part](options))


def judged(
    options: argparse.Namespace, run: Path, clip: Path, names: tuple[str, ...], swap: str
) -> dict[str, dict[str, Any]]:
    """The figures of a run on a clip, by whose mouth and eyes are shown."""
    found = {}
    for kind in options.kinds:
        out = run / f"expression_{swap}_{kind}.json"
        if not out.exists():
            words = ["--run", run, "--clip", clip, "--out", out, "--set", "evaluate.memory=false"]
            words += ["--set", f"convert.swap={swap}"]
            words += ["--set", f"convert.mouth={kind}", "--set", f"convert.eyes={kind}"]
            judge = [] if names is TRUE else ["--set", "evaluate.judge=dlib"]
            command("evaluate", *words, *judge)
        metrics = json.loads(out.read_text())["results"][0]["metrics"]
        found[kind] = {name: metrics[name]["value"] for name in names}
    return found


def bench_people(options: argparse.Namespace) -> dict[str, Any]:
    """Eight directions between people."""
    options.media = options.media.resolve()

    def go(pair: tuple[str, str]) -> dict[str, Any]:
        sets = faces(options, pair[0]), faces(options, pair[1])
        run = options.work / "runs" / f"quick128_{'_'.join(pair)}"
        kept = trained(run, sets, "quick128", options.minutes, 0)
        found = {}
        ways = (*pair, "source-to-target"), (*pair[::-1], "target-to-source")
        for source, target, swap in ways:
            (clip,) = clips_of(options.media, f"video/{target}_eval_1.mp4")
            found[f"{source} onto {target}"] = judged(options, kept, clip, FOLLOW, swap)
        return found

    return _told(options, together(options, [partial(go, pair) for pair in PAIRS]), FOLLOW)


def bench_actors(options: argparse.Namespace) -> dict[str, Any]:
    """Four pairs of actors, against the source in the target's place."""

    def go(cast: tuple[str, str]) -> dict[str, Any]:
        folder = options.work / "actors" / "_".join(cast).replace(":", "")
        clip, sets = folder / "unseen.mp4", (folder / "source", folder / "target")
        if not sets[1].is_dir():
            for takes, faces_of in zip(_rendered(folder, *cast).values(), sets, strict=True):
                command("extract", *takes, "--out", faces_of)
        run = trained(folder / "run", sets, "quick128", options.minutes, 0)
        return {" onto ".join(cast): judged(options, run, clip, TRUE, "source-to-target")}

    return _told(options, together(options, [partial(go, cast) for cast in CASTS]), TRUE)


def bench_twins(options: argparse.Namespace) -> dict[str, Any]:
    """What a true swap reads of yaw, mouth and eyes over what the clip does, by one instrument."""
    reader = CropLandmarker("full")
    states = random_performance(UNSEEN_FRAMES, 25.0, 0)

    def go(cast: tuple[str, str]) -> dict[str, float | None]:
        face, actor = map(find_actor, cast)
        rows = []
        for state in states:
            view = render_actor(actor, state, 256)
            twin = render_actor(actor, state, 256, face_of=face, skin_of=actor)
            matrix = align(view.landmarks.astype(np.float64), "ibug68", "full", READ_PX)
            crops = [cut_crop(picture.image, matrix, READ_PX) for picture in (view, twin)]
            points = [reader.landmarks(crop) for crop in crops]
            read = [{} if p is None else read_points(p, reader.pack) for p in points]
            rows.append([[found.get(name, np.nan) for name in SHOWN] for found in read])
        clip, true = np.array(rows, float).transpose(1, 2, 0)
        ratios = map(spread_ratio, true, clip)
        return {f"{name} spread": ratio for name, ratio in zip(SHOWN, ratios, strict=True)}

    casts = list(permutations(sorted(ACTORS), 2))
    each = together(options, [partial(go, cast) for cast in casts])
    found = {" onto ".join(cast): row for cast, row in zip(casts, each, strict=True)}
    for way, row in found.items():
        print(f"{way:22} {line_of(row)}")
    for name in each[0]:
        values = _known(row[name] for row in each)
        print(f"{name:12} median {median(values):.3f}, {min(values):.3f} to {max(values):.3f}")
    return found


def _rendered(folder: Path, source: str, target: str) -> dict[str, list[Path]]:
    """Takes of both actors, each under its own light; and a clip of the target with its twin."""
    base, seed = load_config().render, 10 * sum(map(ord, source + target))
    folder.mkdir(parents=True, exist_ok=True)
    takes = {}
    for number, (side, actor) in enumerate((("source", source), ("target", target)), 1):
        takes[side] = [folder / f"{side}_{take}.mp4" for take in range(1, TAKES + 1)]
        for take, clip in enumerate(takes[side]):
            part = {"actor": actor, "twin": None, "frames": TAKE_FRAMES}
            part |= {"seed": seed + 100 * number + take}
            render_clip(base.model_copy(update=part), clip)
    part = {"actor": target, "twin": source, "frames": UNSEEN_FRAMES, "seed": seed + 777}
    render_clip(base.model_copy(update=part), folder / "unseen.mp4")
    return takes


def _told(
    options: argparse.Namespace, parts: list[dict[str, Any]], names: tuple[str, ...]
) -> dict[str, Any]:
    found = {way: kinds for part in parts for way, kinds in part.items()}
    for kind in options.kinds:
        rows = {way: figures[kind] for way, figures in found.items()}
        middle = {name: median(_known(row[name] for row in rows.values())) for name in names}
        for way, row in {**rows, "median": middle}.items():
            print(f"{kind:7} {way:22} {line_of(row)}")
    return found


def _known(values: Iterator[float | None]) -> list[float]:
    return [value for value in values if value is not None] or [float("nan")]


def bench_steady(options: argparse.Namespace) -> dict[str, Any]:
    """Colour steps of the mouth's box, seconds a face, and a sheet of mouths."""
    run = load_run(options.run)
    found: dict[str, Any] = {}
    shown: dict[str, list[np.ndarray]] = {}
    for kind in KINDS:
        config = ConvertConfig(mouth=kind, eyes=kind, swap=options.swap)
        plan = cast_clip(run, as_clip(options.clip), build_run_packs(run, config), config)
        expression = choose_expression(run, config)
        labs: dict[str, list[np.ndarray]] = {"clip": [], "swap": []}
        gaps: list[float] = []
        decibels: list[float] = []
        boxes, mouths = [], []
        timed: Any = None if expression is None else _Timed(expression)
        with open_clip(options.clip) as reader:
            painted = paint_frames(reader, plan, run, config, expression=timed)
            for made in composite_frames(painted, config):
                faces = made.painted.faces
                decibels += [psnr_db(face.face, face.true, face.hull) for face in faces[:1]]
                points = faces[0].placement.landmarks if faces else np.full((468, 2), np.nan)
                gaps.append(float(lip_gaps(points).max()))
                boxes.append(_mouth_box(points, made.image.shape) if faces else None)
                for name, image in (("clip", made.frame.image), ("swap", made.image)):
                    part = None if boxes[-1] is None else image[boxes[-1]]
                    mean = np.full(3, np.nan) if part is None else rgb2lab(part).mean((0, 1))
                    labs[name].append(mean)
                mouths.append((made.frame.image, made.image))
        opened = np.array(gaps)
        # Where lips part or meet, the clip's own colour jumps, and so may the swap's.
        parts = np.abs(np.diff(opened > SHUT, prepend=False)).astype(bool)
        steps = {
            name: mean_step(_without(np.array(values), parts)) for name, values in labs.items()
        }
        found[f"{kind}: step over the clip's"] = steps["swap"] / steps["clip"]
        found[f"{kind}: PSNR to the clip, dB"] = float(np.mean(decibels))
        if timed is not None:
            found[f"{kind}: seconds a face"] = timed.seconds / max(1, np.isfinite(opened).sum())
        wide = np.argsort(np.nan_to_num(opened))[::-1][:: max(1, len(opened) // 24)][:24]
        pairs = [(mouths[i], boxes[i]) for i in wide if boxes[i] is not None]
        shown["clip"] = [pair[0][box] for pair, box in pairs]
        shown[kind] = [pair[1][box] for pair, box in pairs]
    print(line_of(found))
    if options.sheet:
        rows = [[cv2.resize(part, (192, 120)) for part in parts] for parts in shown.values()]
        halves = [
            np.concatenate([np.concatenate(row[h : h + 12], 1) for row in rows]) for h in (0, 12)
        ]
        write_image(options.sheet, np.concatenate(halves))
    return found


@dataclass
class _Timed:
    """Moves faces as `moves` does, and counts the seconds that it costs."""

    moves: ClipExpression
    seconds: float = 0.0

    def given_to(self, face: PaintedFace) -> PaintedFace:
        started = time.thread_time()
        given = self.moves.given_to(face)
        self.seconds += time.thread_time() - started
        return given


def _mouth_box(points: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Around the lips, half an eye distance to each side."""
    room = 0.25 * eye_distance(five_points(points, "mesh"))
    lips = points[list(MESH_LIPS)]
    low = np.clip((lips.min(0) - room).astype(int), 0, None)
    high = np.minimum((lips.max(0) + room).astype(int) + 1, shape[1::-1])
    return slice(low[1], max(low[1] + 1, high[1])), slice(low[0], max(low[0] + 1, high[0]))


def _without(values: np.ndarray, parts: np.ndarray) -> np.ndarray:
    kept = values.copy()
    kept[parts] = np.nan
    return kept


PARTS = {
    "people": bench_people, "actors": bench_actors, "twins": bench_twins, "steady": bench_steady,
}  # fmt: skip


if __name__ == "__main__":
    enter(main)
