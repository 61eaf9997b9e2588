"""What finishing a run brings: its detail, whether that is detail or noise, and what it costs.

    python benchmarks/finish.py phase --run RUN --clip CLIP --work FOLDER
    python benchmarks/finish.py label --run RUN --work FOLDER
    python benchmarks/finish.py guard --run RUN --work FOLDER

phase: copies of a run, finished for --minutes each with an adversary and without, and judged: at
the model's size on the source's held-out faces, and on an unseen clip of the target. label: the
variance of the painter's adversarial loss over the last third, with smoothed labels and with hard
ones. guard: a phase driven into artefacts on purpose (an adversary twenty times as strong).

Sharpness: RMS of the luma's Laplacian in the eroded mask over that of the source's own held-out
faces. Octaves: energy between two Gaussians of the rebuilt faces over that of the true ones, roots.
Nyquist: the same of a checkerboard's frequency. High-pass: correlation of rebuilt with true
Laplacians. What is in --work is not done again.
"""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from _door import enter, keep, line_of, need, need_weights, parser_of
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
STRONG = 120


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--clip", type=Path, help="an unseen clip of the target")
    parser.add_argument("--work", type=Path, default=Path("workspace/finish"))
    parser.add_argument("--side", default="source", choices=("source", "target"))
    parser.add_argument("--minutes", type=float, default=8.0, help="of each phase")
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
        given = [f"sides={options.side}", f"minutes={options.minutes}", *changes]
        words = [word for change in given for word in ("--set", f"training.finish.{change}")]
        command("finish", "--run", run, *words, "--set", "training.threads=1")
    return run


def phase(options: Any) -> dict[str, Any]:
    """Before, without an adversary, with one."""
    runs = {"before": options.run.resolve()}
    runs |= {name: finished(options, name, *changes) for name, changes in KINDS.items()}
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


PARTS = {"phase": phase, "label": label, "guard": guard}

if __name__ == "__main__":
    enter(main)
