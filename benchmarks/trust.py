"""How well a run knows, of faces it never saw, how badly it will rebuild them.

    python benchmarks/trust.py --run RUN --clip CLIP [--side target] [--run ...] [--out FILE]

Each --run goes with the --clip and the --side (who is in the clip; target) of the same place. The
clip must be unseen. The bars: a rank correlation of at least 0.5 between expected and true error;
an area of at least 0.95 under the curve that tells disturbed faces (something pasted over, turned
by 35 degrees, darkened) from the same clip's and from held-out faces; and the share of faces that
are trusted within 10 points of the share whose error is within the bound, for the clip and for the
clip with half of its faces disturbed. None of these disturbances is in the calibration.
"""

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from _door import enter, keep, need, parser_of
from _measures import auroc
from faceswap_lite.config import ConvertConfig, Side
from faceswap_lite.conversion.casting import cast_clip
from faceswap_lite.conversion.detection_pass import build_run_packs
from faceswap_lite.conversion.paint import paint_frames
from faceswap_lite.evaluation.trust import SIGNS, Trust, TrustScores, as_db, fit_trust, rms_inside
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.metrics.distributions import spearman
from faceswap_lite.models.crops import rebuild
from faceswap_lite.runs.known import known_faces, spread_evenly
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun

MIN_CORRELATION, MIN_AREA, MAX_APART = 0.5, 0.95, 0.10
FACES = 150


def paste_hand(crops: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A palm with four fingers, speckled, of any colour, over 15 to 25 % of each face."""
    out = crops.copy()
    size = crops.shape[1]
    for picture, mask in zip(out, masks, strict=True):
        inside = mask > mask.max() / 2
        row, column = np.argwhere(inside)[rng.integers(inside.sum())]
        turn, wanted = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.25)
        for scale in np.linspace(0.1, 1.5, 60) * size:
            hand = np.zeros((size, size), np.uint8)
            cv2.circle(hand, (int(column), int(row)), max(1, round(0.2 * scale)), 1, -1)
            for spread in (-0.6, -0.2, 0.2, 0.6):
                way = np.array([np.cos(turn + spread), np.sin(turn + spread)])
                tip = np.round(np.array([column, row]) + 0.55 * scale * way).astype(int)
                start, end = (int(column), int(row)), (int(tip[0]), int(tip[1]))
                cv2.line(hand, start, end, 1, max(1, round(0.09 * scale)))
            if hand[inside].mean() >= wanted:
                break
        color = rng.uniform(40, 220, 3) + rng.normal(0, 25, (size, size, 1))
        picture[hand > 0] = np.clip(color, 0, 255)[hand > 0].astype(np.uint8)
    return out


def turn(crops: np.ndarray, degrees: float) -> np.ndarray:
    size = crops.shape[1]
    matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), degrees, 1.0)
    border = cv2.BORDER_REPLICATE
    return np.stack([cv2.warpAffine(c, matrix, (size, size), borderMode=border) for c in crops])


def disturbed(
    crops: np.ndarray, masks: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    return {
        "hand pasted": paste_hand(crops, masks, rng),
        "turned 35": turn(crops, 35),
        "turned -35": turn(crops, -35),
        "dark 40 %": np.round(crops * 0.40).astype(np.uint8),
        "dark 15 %": np.round(crops * 0.15).astype(np.uint8),
    }


def clip_faces(run: TrainedRun, clip: Path, side: Side) -> tuple[np.ndarray, np.ndarray]:
    config = ConvertConfig(
        swap="source-to-target" if side == "target" else "target-to-source", device="cpu"
    )
    plan = cast_clip(
        run, as_clip(clip), build_run_packs(run, config), config, say=lambda line: None
    )
    crops, masks = [], []
    with open_clip(clip) as frames:
        for painted in paint_frames(frames, plan, run, config):
            crops += [face.crop for face in painted.faces[:1]]
            masks += [np.round(face.hull * 255).astype(np.uint8) for face in painted.faces[:1]]
    chosen = spread_evenly(len(crops), FACES)
    return np.stack(crops)[chosen], np.stack(masks)[chosen]


def judge(
    run: TrainedRun, trust: Trust, crops: np.ndarray, masks: np.ndarray
) -> tuple[TrustScores, np.ndarray]:
    true = rms_inside(rebuild(run.model, crops, trust.side), crops / 255.0, masks)
    return trust.judge(run, crops, masks), true


def bench(run: TrainedRun, clip: Path, side: Side) -> dict[str, Any]:
    known = known_faces(run, side)
    began = time.process_time()
    trust = fit_trust(run, known)
    fit_s = time.process_time() - began
    rng = np.random.default_rng(7)
    crops, masks = clip_faces(run, clip, side)
    scores, true = judge(run, trust, crops, masks)
    heldout = known.only(~known.seen)
    heldout = heldout.only(np.isin(np.arange(len(heldout)), spread_evenly(len(heldout), 60)))
    plain, plain_true = judge(run, trust, heldout.crops, heldout.masks)
    some = spread_evenly(len(heldout), 30)
    of_heldout = disturbed(heldout.crops[some], heldout.masks[some], rng)
    odd = {n: judge(run, trust, c, heldout.masks[some])[0] for n, c in of_heldout.items()}
    few = spread_evenly(len(crops), 30)
    of_clip = disturbed(crops[few], masks[few], rng)
    mixed = {n: judge(run, trust, c, masks[few]) for n, c in of_clip.items()}
    # As many disturbed faces as others.
    half = rng.permutation(len(crops))[: len(few) * len(mixed)]
    mixed_trusted = np.concatenate([scores.trusted[half], *(s.trusted for s, _ in mixed.values())])
    mixed_true = np.concatenate([true[half], *(t for _, t in mixed.values())])

    def by_sign(error: np.ndarray, s: TrustScores) -> dict[str, float]:
        signs = ("expected_error", *SIGNS)
        return {n: round(spearman(getattr(s, n), error) or 0.0, 3) for n in signs}

    return {
        "clip": clip.name,
        "side": side,
        "step": run.step,
        "faces": len(crops),
        "fit_cpu_s": round(fit_s, 1),
        "weights": dict(zip(SIGNS, trust.calibration.weights.round(3).tolist(), strict=True)),
        "bound_db": round(trust.bound_db, 2),
        "median_db": {
            "heldout": round(float(np.median(as_db(plain_true))), 2),
            "clip": round(float(np.median(as_db(true))), 2),
            "clip_expected": round(float(np.median(scores.expected_db)), 2),
        },
        "correlation": by_sign(true, scores),
        "area_to_heldout": {
            n: round(auroc(s.expected_error, plain.expected_error) or 0.0, 3)
            for n, s in odd.items()
        },
        "area_to_clip": {
            n: round(auroc(s.expected_error, scores.expected_error) or 0.0, 3)
            for n, (s, _) in mixed.items()
        },
        "trusted": {
            "clip": [float(scores.trusted.mean()), float((true <= trust.bound).mean())],
            "half_disturbed": [
                float(mixed_trusted.mean()), float((mixed_true <= trust.bound).mean())
            ],
        },
    }  # fmt: skip


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--run", type=Path, action="append", required=True)
    parser.add_argument("--clip", type=Path, action="append", required=True)
    parser.add_argument("--side", choices=("source", "target"), action="append", default=[])
    options = parser.parse_args()
    if len(options.run) != len(options.clip):
        parser.error("each --run needs its --clip")
    need(*options.run, *options.clip)
    sides = options.side + ["target"] * (len(options.run) - len(options.side))
    results = []
    for path, clip, side in zip(options.run, options.clip, sides, strict=True):
        result = bench(load_run(path), clip, side)
        results.append(result)
        minimum = min(*result["area_to_heldout"].values(), *result["area_to_clip"].values())
        apart = max(abs(said - true) for said, true in result["trusted"].values())
        rank = result["correlation"]["expected_error"]
        met = (rank >= MIN_CORRELATION, minimum >= MIN_AREA, apart <= MAX_APART)
        print(
            f"{clip.name} ({side}): correlation {rank:.2f}, least area {minimum:.3f}, shares apart"
        )
        print(f"  by {100 * apart:.0f} points; bars met: {met}; {result}", flush=True)
    bars = [MIN_CORRELATION, MIN_AREA, MAX_APART]
    keep(options.out, {"bars": bars, "runs": results})


if __name__ == "__main__":
    enter(main)
