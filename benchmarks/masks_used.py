"""What the mask network brings where it is used: in training and in conversion.

    python benchmarks/masks_used.py hidden --sets SOURCE TARGET --work FOLDER
    python benchmarks/masks_used.py refine --sets SOURCE TARGET --work FOLDER
    python benchmarks/masks_used.py convert --run RUN --clips CLIP CLIP --work FOLDER
    python benchmarks/masks_used.py cost --run RUN --clips CLIP --frames 40

`hidden`: runs of quick64 with things put before a share of their inputs and without, three seeds;
held-out faces with something before them, rebuilt, against these faces without it.
`refine`: copies of two sets with hands drawn before every other face; how much of these hands the
package's network sees, and that which has been refined on the very sets, and how long that takes.
`convert`: clips converted with the network and without, in turn: processor time, how far alpha
differs in the mean inside the painted rectangle (nothing should be where nothing is before a face),
and how far each mask's alpha changes from frame to frame in and around what hides a face, where the
picture rests.
`cost`: processor milliseconds of painting and compositing a frame, with the network and without, in
one process, the least of all turns: for machines that others use, too.
"""

import resource
import shutil
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool

from _door import enter, keep, line_of, need, need_weights, parser_of
from faceswap_lite.config import ConvertConfig, MaskConfig
from faceswap_lite.conversion.casting import cast_clip
from faceswap_lite.conversion.composite import composite_frames
from faceswap_lite.conversion.detection_pass import build_run_packs
from faceswap_lite.conversion.paint import paint_frames
from faceswap_lite.faces.align import cut_crop
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.records import write_crop
from faceswap_lite.media.clips import as_uint8
from faceswap_lite.media.images import read_image
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.models.autoencoder import SIDES
from faceswap_lite.models.crops import rebuild
from faceswap_lite.models.mask_network import MASK_SIZE, clear_shares
from faceswap_lite.occluders.planting import plant
from faceswap_lite.runs.known import known_faces
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.mask_weights import shipped_mask
from faceswap_lite.runs.trained import TrainedRun
from faceswap_lite.training.mask_refinement import refine_mask
from starts import command

OCCLUDED_INPUTS, SEEDS, FIT_STEPS = (0.0, 0.3), 3, 1500
REFINED_STEPS = 150
HIDDEN = 0.5
"""Of a pixel: what is more counts as hidden."""
RESTS, AROUND = 4.0, 0.05
"""A picture rests where it changes by less, of 255; around: within so many sides of the face."""


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=("hidden", "refine", "convert", "cost"))
    parser.add_argument("--work", type=Path, default=Path("workspace/masks"))
    parser.add_argument("--sets", type=Path, nargs=2, default=[], help="of rendered actors")
    parser.add_argument("--run", type=Path, default=Path("run"))
    parser.add_argument("--clips", type=Path, nargs="+", default=[])
    parser.add_argument("--set", nargs="*", default=[], help="further options of `convert`")
    parser.add_argument("--turns", type=int, default=4, help="of each way; the first warms up")
    parser.add_argument("--frames", type=int, default=40, help="for `cost`: of each clip")
    options = parser.parse_args()
    options.work = options.work.resolve()
    if options.what in ("convert", "cost"):
        need(options.run, *options.clips)
    else:
        need(*options.sets)
    need_weights("mesh")
    if options.what == "hidden":
        keep(options.out, under_occluders(options.sets, options.work))
    elif options.what == "refine":
        keep(options.out, refined_among_hands(options.sets, options.work))
    elif options.what == "convert":
        keep(options.out, conversions(options))
    else:
        keep(options.out, painting_costs(options))


def under_occluders(sets: list[Path], work: Path) -> dict[str, Any]:
    """By share of inputs with something before them: errors of what was hidden and of the rest."""
    sums: dict[str, dict[str, float]] = {}
    for share_of_inputs in OCCLUDED_INPUTS:
        rows = []
        for seed in range(SEEDS):
            run = work / f"occlude_{share_of_inputs}_{seed}"
            changes = (f"augment.occlude={share_of_inputs}", f"seed={seed}", f"steps={FIT_STEPS}")
            words = [word for change in changes for word in ("--set", f"training.{change}")]
            faces = ("--source", sets[0], "--target", sets[1])
            command("train", *faces, "--run", run, "--config", "quick64", *words)
            rows.append(errors_of(load_run(run), seed))
            print(f"{share_of_inputs:.1f} of the inputs, seed {seed}  {line_of(rows[-1])}")
        sums[str(share_of_inputs)] = {
            name: float(np.mean([row[name] for row in rows])) for name in rows[0]
        }
    without, with_them = sums.values()
    print(line_of({name: with_them[name] / without[name] - 1 for name in without}))
    return sums


def errors_of(run: TrainedRun, seed: int) -> dict[str, float]:
    """Mean absolute errors, of 255, of held-out faces of both sides, rebuilt."""
    hidden_errors, seen_errors, clear_errors = [], [], []
    for side in SIDES:
        known = known_faces(run, side)
        known = known.only(~known.seen)
        rng = np.random.default_rng([seed, 0xFACE])
        masks = known.masks / np.float32(255)
        planted = [plant(rng, *one) for one in zip(known.crops, masks, strict=True)]
        shown = np.stack([one.pixels for one in planted])
        error, clear = (
            np.abs(rebuild(run.model, crops, side) * 255 - known.crops).mean(-1)
            for crops in (shown, known.crops)
        )
        visible = np.stack([one.visible for one in planted])
        hidden_errors.append(error[masks - visible > HIDDEN])
        seen_errors.append(error[visible > HIDDEN])
        clear_errors.append(clear[masks > HIDDEN])
    return {
        "hidden": float(np.concatenate(hidden_errors).mean()),
        "seen": float(np.concatenate(seen_errors).mean()),
        "nothing before": float(np.concatenate(clear_errors).mean()),
    }


def refined_among_hands(sets: list[Path], work: Path) -> dict[str, float]:
    """Share of the hands that is seen, before and after; seconds of the refinement."""
    hidden, copies = {}, {}
    for side, faces in zip(SIDES, sets, strict=True):
        hidden[side] = draw_hands(faces, work / f"hands_{side}")
        copies[side] = open_face_set(work / f"hands_{side}")
    began = time.monotonic()
    base = shipped_mask().network()
    refined = refine_mask(base, copies, REFINED_STEPS, 0, torch.device("cpu"))
    seconds = time.monotonic() - began
    print(refined.line)
    found = {"seconds": seconds}
    for name, network in (("base", base), ("refined", refined.network or base)):
        missed = total = 0.0
        for side, copy in copies.items():
            crops, outlines = (f(MASK_SIZE, 0.0) for f in (copy.crops, copy.masks))
            clear = clear_shares(network, crops, outlines / np.float32(255))
            missed += float((clear >= HIDDEN)[hidden[side]].sum())
            total += float(hidden[side].sum())
        found[f"hands seen, {name}"] = 1 - missed / total
    print(line_of(found))
    return found


def draw_hands(path: Path, out: Path) -> Bool[np.ndarray, "n s s"]:
    """A copy of a set with a hand before every other face; which pixels of each these hide."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(path, out)
    faces, rows = open_face_set(path), []
    for number, face in enumerate(faces.faces):
        record = face.record
        picture = read_image(face.path)
        inner = round(record.size / (1 + 2 * record.margin))
        outline = replace(faces, faces=[face]).masks(inner, record.margin)[0] / 255
        hidden = np.zeros_like(outline)
        if number % 2:
            planted = plant(np.random.default_rng([number, 0xFACE]), picture, outline, ["hand"])
            write_crop(out / face.path.name, planted.pixels, record)
            hidden = outline - planted.visible
        to_view, _, edge = face.to_view(MASK_SIZE, 0.0)
        rows.append(cut_crop(hidden.astype(np.float32), to_view, edge) > HIDDEN)
    return np.stack(rows)


def conversions(options: Any) -> dict[str, Any]:
    """Of each clip: processor seconds with the network over those without, and alpha's change."""
    found = {}
    for clip in options.clips:
        seconds: dict[str, list[float]] = {"product": [], "visible": [], "hull": []}
        # In turn, the first of each to warm up; what one leaves the other must not find.
        for turn in range(options.turns):
            for kind, taken in seconds.items():
                if kind == "hull" and turn:
                    continue
                run, out = (options.work / f"{clip.stem}_{kind}{end}" for end in ("", ".mp4"))
                for old in (run, out, *out.parent.glob(f"{out.name}.*"), mask_file(out)):
                    shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
                shutil.copytree(options.run, run, ignore=shutil.ignore_patterns("faces"))
                changes = [f"convert.{one}" for one in (f"mask.kind={kind}", *options.set)]
                began = children_seconds()
                command(
                    "convert", "--run", run, "--clip", clip.resolve(), "--out", out,
                    "--mask-out", mask_file(out), "--all-faces",
                    *(word for change in changes for word in ("--set", change)),
                )  # fmt: skip
                if turn or options.turns == 1:
                    taken.append(children_seconds() - began)
        masks = {kind: mask_file(options.work / f"{clip.stem}_{kind}.mp4") for kind in seconds}
        found[clip.stem] = {
            "time_ratio": float(np.median(np.divide(seconds["visible"], seconds["product"]))),
            "alpha": alpha_change(masks["product"], masks["visible"]),
            **flicker(clip, masks),
        }
        print(f"{clip.stem}  {line_of(found[clip.stem])}", flush=True)
    return found


def painting_costs(options: Any) -> dict[str, Any]:
    """Of each clip: milliseconds of a frame, by the kind of mask."""
    run, found = load_run(options.run), {}
    configs = {
        kind: ConvertConfig(all_faces=True, end=options.frames, mask=MaskConfig(kind=kind))
        for kind in ("product", "visible")
    }
    packs = build_run_packs(run, configs["visible"])
    for clip in options.clips:
        plan = cast_clip(run, as_clip(clip), packs, configs["visible"], say=print)
        frames = list(islice(open_clip(clip), options.frames))
        taken: dict[str, list[float]] = {kind: [] for kind in configs}
        for _ in range(options.turns):
            for kind, config in configs.items():
                began = time.process_time()
                for _ in composite_frames(paint_frames(frames, plan, run, config), config):
                    pass
                taken[kind].append(1000 * (time.process_time() - began) / len(frames))
        found[clip.stem] = {f"ms, {kind}": min(some) for kind, some in taken.items()}
        print(f"{clip.stem}  {line_of(found[clip.stem])}", flush=True)
    return found


def mask_file(out: Path) -> Path:
    """Beside a conversion, its alpha."""
    return out.with_name(f"{out.stem}_mask.mkv")


def children_seconds() -> float:
    """Processor time of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def alpha_change(one: Path, other: Path) -> float:
    """Mean absolute difference, 0 to 1, in the rectangle around what the first shows."""
    changes = []
    for before, after in zip(open_clip(one), open_clip(other), strict=True):
        a, b = (as_uint8(frame.image)[..., 0] / 255 for frame in (before, after))
        rows, columns = (np.flatnonzero(a.max(axis)) for axis in (1, 0))
        if len(rows):
            place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            changes.append(np.abs(a - b)[place].mean())
    return float(np.mean(changes))


def flicker(clip: Path, masks: dict[str, Path]) -> dict[str, float]:
    """Of each mask: mean absolute change of alpha from frame to frame, 0 to 1, where the picture
    rests, in and around what hides a face; NaN where nothing does."""
    changes: dict[str, list[np.ndarray]] = {kind: [] for kind in masks}
    before: dict[str, np.ndarray] = {}
    # A clip may be converted in part.
    for frames in zip(open_clip(clip), *map(open_clip, masks.values()), strict=False):
        picture, *alphas = (as_uint8(frame.image) for frame in frames)
        shown = {kind: alpha[..., 0] / 255 for kind, alpha in zip(masks, alphas, strict=True)}
        hidden = (shown["hull"] - shown["visible"] > HIDDEN).astype(np.uint8)
        reach = 1 + 2 * round(AROUND * np.sqrt((shown["hull"] > 0).sum()))
        near = cv2.dilate(hidden, np.ones((reach, reach), np.uint8)) > 0
        if before:
            gap = cv2.blur(cv2.subtract(picture, before["picture"], dtype=cv2.CV_32F), (5, 5))
            place = near & before["near"] & (np.abs(gap).max(-1) < RESTS)
            for kind, alpha in shown.items():
                changes[kind].append(np.abs(alpha - before[kind])[place])
        before = {**shown, "picture": picture, "near": near}
    return {
        f"flicker, {kind}": float(np.concatenate(some).mean()) for kind, some in changes.items()
    }


if __name__ == "__main__":
    enter(main)
