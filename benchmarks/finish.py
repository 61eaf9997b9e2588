"""What finishing a run brings: its detail, whether that is detail or noise, and what it costs.

    python benchmarks/finish.py phase --run RUN --clip CLIP --work FOLDER
    python benchmarks/finish.py label --run RUN --work FOLDER
    python benchmarks/finish.py guard --run RUN --work FOLDER
    python benchmarks/finish.py degraded --run RUN --clip CLIP --work FOLDER
    python benchmarks/finish.py sheets --run RUN --work FOLDER

phase: copies of a run, finished for --minutes each (or as many --steps as that) with an adversary
and without, and judged: at the model's size on the source's held-out faces, and on an unseen clip
of the target. label: the variance of the painter's adversarial loss over the last third, with
smoothed labels and with hard ones. guard: a phase driven into artefacts on purpose (an adversary
twenty times as strong). sheets: eyes, mouth and cheek of swapped held-out faces at 300 %, painted
before and after the phase of a finished run, which is left and which is right by chance; key.json
tells.
degraded: the run as it is on an actor's clip, and on the clip and its twin blurred (1.5 px), noised
(4 levels) and compressed (crf 32) alike: sharpness, grain and dB of the swap against the true one,
without matching them to the clip's own face, as is the default, and sharpened. With --perfect what
is painted is the clean twin's own face at the run's size (whoever the run is of): what conversion
alone does.

Sharpness: RMS of the luma's Laplacian in the eroded mask over that of the source's own held-out
faces. Octaves: energy between two Gaussians of the rebuilt faces over that of the true ones, roots.
Nyquist: the same of a checkerboard's frequency. High-pass: correlation of rebuilt with true
Laplacians. What is in --work is not done again.
"""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from _door import enter, keep, line_of, need, need_weights, parser_of
from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion.blend import Layer
from faceswap_lite.conversion.casting import cast_clip
from faceswap_lite.conversion.composite import Composite, composite_frames
from faceswap_lite.conversion.detail import measure_grain
from faceswap_lite.conversion.detection_pass import build_run_packs
from faceswap_lite.conversion.expression import choose_expression
from faceswap_lite.conversion.paint import paint_frames
from faceswap_lite.conversion.painted import PaintedFrame
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.align import align, cut_crop, inner_view
from faceswap_lite.faces.crop_landmarker import READ_PX
from faceswap_lite.geometry import compose, transform_points
from faceswap_lite.media.images import write_image
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.media.truth import load_truth
from faceswap_lite.media.writing import ClipWriter
from faceswap_lite.metrics.landmarks import five_points
from faceswap_lite.metrics.pictures import psnr_db, sharpness_ratio
from faceswap_lite.models.crops import rebuild
from faceswap_lite.runs.finished import finish_folder
from faceswap_lite.runs.known import known_faces
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun
from faceswap_lite.training.heldout import psnr_and_ssim
from starts import command

OCTAVES_PX = (0.5, 1.0, 2.0, 4.0)
KINDS = {"no adversary": ["adversary=0"], "adversary": []}
JUDGED = (
    "sharpness_to_source", "sharpness_ratio", "identity_margin_positive", "identity_to_source",
    "landmark_nme", "warp_error_ratio", "mouth_correlation", "eyes_correlation", "yaw_correlation",
    "truth_sharpness_ratio", "truth_psnr_db", "truth_matched_psnr_db",
)  # fmt: skip
PAIRS_SHOWN = 6
CHEAPER = 0.72 / 0.45
"""Seconds of a step with an adversary over those without, quick128, one quiet core."""
STRONG = 120
BLUR_PX, NOISE, CRF = 1.5, 4.0, 32
WAYS: dict[str, dict[str, Any]] = {
    "as painted": {"soften": 0, "grain": 0}, "default": {}, "sharpened": {"sharpen": 0.5},
}  # fmt: skip


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--clip", type=Path, help="an unseen clip of the target")
    parser.add_argument("--work", type=Path, default=Path("workspace/finish"))
    parser.add_argument("--side", default="source", choices=("source", "target"))
    parser.add_argument("--minutes", type=float, default=8.0, help="of each phase")
    parser.add_argument(
        "--steps", type=int, help="of a phase with an adversary, instead of minutes"
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0, help="for sheets: which is left")
    parser.add_argument("--perfect", action="store_true", help="for degraded: paint the true face")
    options = parser.parse_args()
    need(options.run, *([options.clip] if options.clip else []))
    need_weights("yunet", "mesh", "mobilefacenet")
    options.work = options.work.resolve()
    keep(options.out, PARTS[options.part](options))


def finished(options: Any, name: str, *changes: str) -> Path:
    """A copy of the run, finished."""
    run: Path = options.work / f"{options.run.name}_{options.side}_{name.replace(' ', '_')}"
    if not (finish_folder(run) / "finish.json").exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        if not run.exists():
            shutil.copytree(options.run, run)
        given = [f"sides={options.side}", _long(options, changes), *changes]
        words = [word for change in given for word in ("--set", f"training.finish.{change}")]
        command("finish", "--run", run, *words, "--set", "training.threads=1")
    return run


def _long(options: Any, changes: tuple[str, ...]) -> str:
    """How long a phase takes, as an option. Counted in steps, other work does not count."""
    if not options.steps:
        return f"minutes={options.minutes}"
    return f"steps={round(options.steps * (CHEAPER if 'adversary=0' in changes else 1))}"


def phase(options: Any) -> dict[str, Any]:
    """Before, without an adversary, with one."""
    runs = {"before": options.run.resolve()}
    runs |= {name: finished(options, name, *KINDS[name]) for name in options.kinds}
    found = {}
    for name, run in runs.items():
        figures = of_network(load_run(run), options.side)
        if options.clip:
            figures |= of_clip(options, run, name)
        found[name] = figures
        print(f"{name:13} {line_of(figures)}", flush=True)
    return found


def of_network(run: TrainedRun, side: Any) -> dict[str, float]:
    """Figures of held-out faces at the model's size."""
    other: Any = "target" if side == "source" else "source"
    true, shown = (
        known.only(~known.seen) for known in (known_faces(run, s) for s in (side, other))
    )
    rebuilt, swaps = rebuild(run.model, true.crops, side), rebuild(run.model, shown.crops, side)
    of_true, of_rebuilt, of_swap = (lumas(faces) for faces in (true.crops / 255, rebuilt, swaps))
    inside, inside_shown = inner(true.masks), inner(shown.masks)
    sharp = rms(laplacians(of_true), inside)
    figures = {
        "heldout_psnr_db": heldout_db(rebuilt, true.crops, true.masks),
        "rebuilt_sharpness": rms(laplacians(of_rebuilt), inside) / sharp,
        "swap_sharpness": rms(laplacians(of_swap), inside_shown) / sharp,
    }
    for low, high in pairwise(OCTAVES_PX):
        ratio = rms(octave(of_rebuilt, low, high), inside) / rms(octave(of_true, low, high), inside)
        figures[f"octave_{low:g}_{high:g}"] = ratio
    figures["nyquist"] = rms(checks(of_rebuilt), inside) / rms(checks(of_true), inside)
    pairs = laplacians(of_rebuilt)[inside], laplacians(of_true)[inside]
    return {**figures, "high_pass_correlation": float(np.corrcoef(*pairs)[0, 1])}


def of_clip(options: Any, run: Path, name: str) -> dict[str, float]:
    """Figures of a conversion of the unseen clip."""
    out = options.work / f"{run.name}_{name.replace(' ', '_')}_on_{options.clip.stem}.json"
    if not out.exists():
        swap = "source-to-target" if options.side == "source" else "target-to-source"
        words = ["--set", f"convert.swap={swap}", "--set", "evaluate.memory=false"]
        command("evaluate", "--run", run, "--clip", options.clip.resolve(), "--out", out, *words)
    rows = json.loads(out.read_text(encoding="utf-8"))["results"][0]["metrics"]
    return {key: rows[key]["value"] for key in JUDGED if rows[key]["value"] is not None}


def label(options: Any) -> dict[str, Any]:
    """The painter's adversarial loss over the last third, label by label."""
    found = {}
    for value in (0.9, 1.0):
        run = finished(options, f"label {value}", f"label={value}")
        lines = (finish_folder(run) / "log.jsonl").read_text(encoding="utf-8").splitlines()
        losses = [
            record["adversary"] for line in lines if "adversary" in (record := json.loads(line))
        ]
        last = np.array(losses[-len(losses) // 3 :])
        found[f"label {value}"] = {"variance": float(last.var()), "mean": float(last.mean())}
        print(f"label {value}  {line_of(found[f'label {value}'])}")
    return found


def guard(options: Any) -> dict[str, Any]:
    """Why a phase that goes wrong ends, and what it leaves."""
    run = finished(options, "strong", f"adversary={STRONG}", "every=50")
    facts = json.loads((finish_folder(run) / "finish.json").read_text(encoding="utf-8"))
    print(f"ended at step {facts['step']} ({facts['reason']}); kept {facts['after']}")
    return {name: facts[name] for name in ("step", "reason", "before", "after")}


def sheets(options: Any) -> dict[str, Any]:
    """Pairs for eyes that do not know which is which; the key."""
    other: Any = "target" if options.side == "source" else "source"
    run = load_run(options.run)
    known = known_faces(run, other)
    shown = known.only(~known.seen)
    places = np.linspace(0, len(shown) - 1, PAIRS_SHOWN).round().astype(int)
    nets = [load_run(options.run, finished=False).model, run.model]
    painted = [rebuild(net, shown.crops[places], options.side) for net in nets]
    # Only what is shown in the end: outside of its mask nobody holds a face to anything.
    inside = shown.masks[places][..., None] / np.float32(255)
    painted = [inside * faces + (1 - inside) / 2 for faces in painted]
    size = run.config.model.size
    left = np.random.default_rng(options.seed).permutation(np.arange(PAIRS_SHOWN) % 2 == 0)
    key = {}
    for number, place in enumerate(places):
        record = shown.faces[place].record
        to_view, _ = inner_view(record.size, record.margin, size, 0.0)
        points = transform_points(record.landmarks, compose(record.frame_to_crop, to_view))
        five = five_points(points, record.landmarks_pack)
        rows = []
        for centre in (five[:2].mean(0), five[3:].mean(0), (five[0] + five[3]) / 2):
            pair = [_at_300(faces[number], centre, size) for faces in painted]
            rows.append(np.concatenate(pair[::-1] if left[number] else pair, 1))
        write_image(options.work / f"pair_{number}.png", np.concatenate(rows))
        key[f"pair_{number}"] = "after is left" if left[number] else "after is right"
    (options.work / "key.json").write_text(json.dumps(key, indent=1), encoding="utf-8")
    return key


def _at_300(face: Float[np.ndarray, "s s 3"], centre: np.ndarray, size: int) -> np.ndarray:
    """A part of a painted face, three times as large, with a rim."""
    half = np.array([0.3, 0.18]) * size
    low = np.clip(np.round(centre - half), 0, size - 2 * half).astype(int)
    wide, high = (2 * half).astype(int)
    part = np.round(np.clip(face[low[1] : low[1] + high, low[0] : low[0] + wide], 0, 1) * 255)
    grown = cv2.resize(part.astype(np.uint8), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(grown, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=(128, 128, 128))


def degraded(options: Any) -> dict[str, Any]:
    """A clean clip and a degraded one, converted in each of WAYS, against the true swap."""
    truth = load_truth(options.clip)
    if truth is None or truth.twin is None:
        raise FaceswapError(f"{options.clip}: has no twin; `render` makes clips that have")
    clean = options.clip, truth.twin.matched
    harmed = [worse(path, options.work, seed) for seed, path in enumerate(clean)]
    run, found = load_run(options.run), {}
    config = ConvertConfig()
    if options.perfect:
        config = config.model_copy(update={"face": 0, "mouth": "source", "eyes": "source"})
    for name, (clip, twin) in {"clean": clean, "degraded": harmed}.items():
        plan = cast_clip(run, as_clip(clip), build_run_packs(run, config), config)
        with open_clip(clip) as reader:
            moved = choose_expression(run, config)
            painted = list(paint_frames(reader, plan, run, config, expression=moved))
        if options.perfect:
            painted = [
                perfect(of, true) for of, true in zip(painted, images(clean[1]), strict=True)
            ]
        twins = images(twin)
        for way, changes in WAYS.items():
            made = composite_frames(painted, config.model_copy(update=changes))
            rows = [
                against(composite, twins[composite.frame.index], run)
                for composite in made
                if composite.layers
            ]
            found[f"{name}, {way}"] = {
                key: float(np.median([row[key] for row in rows])) for key in rows[0]
            }
            print(f"{name:8} {way:10} {line_of(found[f'{name}, {way}'])}", flush=True)
    return found


def images(clip: Path) -> list[UInt8[np.ndarray, "h w 3"]]:
    with open_clip(clip) as reader:
        return [frame.image for frame in reader]


def perfect(painted: PaintedFrame, true: UInt8[np.ndarray, "h w 3"]) -> PaintedFrame:
    """The frame as if the network had painted the true face."""
    faces = [
        replace(face, face=cut_crop(true, face.frame_to_crop, len(face.face)) / np.float32(255))
        for face in painted.faces
    ]
    return replace(painted, faces=faces)


def worse(clip: Path, work: Path, seed: int) -> Path:
    """The clip blurred, noised and compressed, in `work`."""
    out, rng = work / f"{clip.parent.name}_{clip.stem}_worse.mp4", np.random.default_rng(seed)
    if not out.exists():
        work.mkdir(parents=True, exist_ok=True)
        with open_clip(clip) as reader, ClipWriter(out, like=reader.info, quality=CRF) as writer:
            for frame in reader:
                soft = cv2.GaussianBlur(frame.image.astype(np.float32), (0, 0), BLUR_PX)
                soft = soft + NOISE * rng.standard_normal(soft.shape, np.float32)
                writer.write(np.round(np.clip(soft, 0, 255)).astype(np.uint8), frame.pts)
    return out


def against(made: Composite, twin: UInt8[np.ndarray, "h w 3"], run: TrainedRun) -> dict[str, float]:
    """One swapped frame beside the true one."""
    layer, placement, of = made.layers[0], made.painted.faces[0].placement, run.manifest
    inside = np.zeros(twin.shape[:2], np.float32)
    inside[layer.rows, layer.columns] = layer.alpha[..., 0]
    matrix = align(placement.landmarks, of.landmarks_pack, of.coverage, READ_PX)
    crops = (cut_crop(image, matrix, READ_PX) for image in (made.image, twin))
    # Grain is measured where a layer does not show: on the face itself, that is.
    around = Layer(0, 0, np.zeros_like(twin, np.float32), (inside < 0.98)[..., None].astype("f4"))
    noise, true_noise = (measure_grain(image, around).sigma for image in (made.image, twin))
    return {
        "truth_sharpness": sharpness_ratio(*crops),
        "inside_alone": sharpness_ratio(made.image, twin, inside),
        "grain": 255 * noise,
        "true_grain": 255 * true_noise,
        "psnr_db": psnr_db(made.image, twin, inside),
    }


def heldout_db(
    rebuilt: Float[np.ndarray, "n s s 3"], crops: UInt8[np.ndarray, "n s s 3"],
    masks: UInt8[np.ndarray, "n s s"],
) -> float:  # fmt: skip
    import torch

    made, true = (
        torch.from_numpy(p.astype(np.float32)).permute(0, 3, 1, 2) for p in (rebuilt, crops / 255)
    )
    return float(
        psnr_and_ssim(made, true, torch.from_numpy(masks[:, None] / 255.0).float())[0].mean()
    )


def lumas(pictures: Float[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n s s"]:
    return np.stack([cv2.cvtColor(p.astype(np.float32), cv2.COLOR_RGB2GRAY) for p in pictures])


def inner(masks: UInt8[np.ndarray, "n s s"]) -> np.ndarray:
    return np.stack([cv2.blur(mask.astype(np.float32) / 255, (9, 9)) > 0.95 for mask in masks])


def laplacians(pictures: Float[np.ndarray, "n s s"]) -> Float[np.ndarray, "n s s"]:
    return np.stack([cv2.Laplacian(p, cv2.CV_32F) for p in pictures])


def octave(pictures: Float[np.ndarray, "n s s"], low: float, high: float) -> np.ndarray:
    return np.stack([
        cv2.GaussianBlur(p, (0, 0), low) - cv2.GaussianBlur(p, (0, 0), high) for p in pictures
    ])  # fmt: skip


def checks(pictures: Float[np.ndarray, "n s s"]) -> np.ndarray:
    kernel = np.array([[1, -1], [-1, 1]], np.float32) / 4
    return np.stack([cv2.filter2D(p, cv2.CV_32F, kernel) for p in pictures])


def rms(values: np.ndarray, inside: np.ndarray) -> float:
    return float(np.sqrt(np.square(values[inside]).mean()))


PARTS = {"phase": phase, "label": label, "guard": guard, "degraded": degraded, "sheets": sheets}

if __name__ == "__main__":
    enter(main)
