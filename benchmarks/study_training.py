"""Studies of training on real clips and on actors: what docs/training.md reports.

    python benchmarks/study_training.py fit   --media FOLDER  # fit-training beside from scratch
    python benchmarks/study_training.py inter --media FOLDER  # liae's fit: the target's inter anew?
    python benchmarks/study_training.py rates --media FOLDER  # range test, a grid of rates, EMA
    python benchmarks/study_training.py best  --media FOLDER  # best checkpoint against the last
    python benchmarks/study_training.py pose                  # pose balance on a skewed set

Runs are kept in workspace/studies, so that a study that was stopped goes on; each writes its
figures as PNG and its numbers as JSON into --out. Everything is 64 px on a CPU; two to three hours
for all five with three seeds.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _door import FROM_SCRATCH, clips_of, enter, need_weights, parser_of
from faceswap_lite.actors.clip import render_clip
from faceswap_lite.config import Config, ExtractConfig, HeldoutConfig, RenderConfig, Side
from faceswap_lite.config_files import load_config
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import FaceSet, open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.figures import Curve, write_line_figure
from faceswap_lite.models.autoencoder import SIDES
from faceswap_lite.outputs import write_json
from faceswap_lite.runs.checkpoints import load_into, load_weights
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun
from faceswap_lite.training.batches import SideData
from faceswap_lite.training.find_lr import find_lr
from faceswap_lite.training.fit import HeldoutCurve, fit_run
from faceswap_lite.training.heldout import heldout_loss
from faceswap_lite.training.loading import load_pixels, load_side
from faceswap_lite.training.train import train

WORK = Path("workspace/studies")
GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
FIELD_RATE = 5e-5
BALANCES = (0.0, 0.25, 0.5, 1.0)
# What each study wants below --media.
FITTED = ("lsman3_train_*", "franck_train_*", "grid_s1_train_*")
WANTED = {
    "fit": FITTED,
    "inter": FITTED,
    "rates": ("lsman3_train_*", "grid_s1_train_*"),
    "best": ("grid_s1_train_*", "franck_train_*", "grid_s1_eval_1", "franck_eval_1"),
}


def main() -> None:
    parser = parser_of(__doc__, media=True, folder="docs/training")
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.study in WANTED:
        clips_of(options.media, *(f"video/{name}.mp4" for name in WANTED[options.study]))
        need_weights("yunet", "mesh")
    numbers = STUDIES[options.study](options)
    write_json(options.out / f"{options.study}.json", numbers)


def study_fit(options: argparse.Namespace) -> dict[str, Any]:
    """A base of lsman3 and franck, fitted to grid_s1: four clips, and one clip alone."""
    source, old = faces_of(options, "lsman3", "train_*"), faces_of(options, "franck", "train_*")
    rows, found = [], []
    for seed in range(options.seeds):
        base = trained(source, old, f"fit_base_{seed}", steps=3000, seed=seed)
        row, *both = fitted(options, base, "train_*", seed)
        rows.append(row)
        found.append(both)
    curves = {
        name: curve
        for kind, of_kind in zip(("fit", "scratch"), zip(*found, strict=True), strict=True)
        for name, curve in by_seed(kind, of_kind).items()
    }
    # One seed: what a clip does whose end is like nothing before it. No claim rests on it.
    alone, fit, fresh = fitted(options, WORK / "fit_base_0", "train_1", 0)
    for name, chosen in (
        ("fit", curves),
        (
            "fit_alone",
            {"fit": Curve(fit.steps, fit.target), "scratch": Curve(fresh.steps, fresh.target)},
        ),
    ):
        write_line_figure(
            options.out / f"{name}.png",
            chosen,
            title="Fit-training, and from scratch",
            x_label="step",
            y_label="held-out loss of the new target",
            y_range=(0.0, 3.0),
        )
    return {"rows": rows, "mean": means(rows), "one clip": alone}


def fitted(
    options: argparse.Namespace, base: Path, which: str, seed: int
) -> tuple[dict[str, Any], HeldoutCurve, HeldoutCurve]:
    """What a fit to grid_s1 brought: numbers, its curve, and that of training from scratch."""
    changes = ["training.steps=600", f"training.seed={seed}", "training.patience=null"]
    new = faces_of(options, "grid_s1", which)
    run = WORK / f"fit_{'one_' if which == 'train_1' else ''}{seed}"
    report = fit_run(base, new.path, run, load_config("fit", changes), compare_scratch=True)
    other = report.scratch
    assert other is not None
    row = {
        "seed": seed,
        "ratio_at_100": other.ratio_at_100,
        "ratio_at_last": other.ratio_at_last,
        "share_of_steps": other.share_of_steps,
        "source_ratio": report.source_ratio,
        "fit_last": report.fit.target[-1],
        "fit_best": min(report.fit.target),
        "scratch_last": other.curve.target[-1],
    }
    print(row, flush=True)
    return row, report.fit, other.curve


def by_seed(kind: str, curves: Sequence[HeldoutCurve]) -> dict[str, Curve]:
    """The last seed's curve, the others' pale in its colour."""
    last = len(curves) - 1
    return {
        f"{kind}, seed {seed}": Curve(curve.steps, curve.target, faint=seed < last)
        for seed, curve in enumerate(curves)
    }


def study_inter(options: argparse.Namespace) -> dict[str, Any]:
    """A fit of liae, the target's own inter from the base's weights or anew."""
    source, old, new = (
        faces_of(options, "lsman3", "train_*"),
        faces_of(options, "franck", "train_*"),
        faces_of(options, "grid_s1", "train_*"),
    )
    starts = {"base": "null", "anew": "[encoder, inter_AB, decoder]"}
    rows: list[dict[str, Any]] = []
    found: dict[str, list[HeldoutCurve]] = {start: [] for start in starts}
    for seed in range(options.seeds):
        config = quick(steps=1000, seed=seed)
        model = config.model.model_copy(update={"architecture": "liae", "inter_dims": 64})
        base = WORK / f"inter_base_{seed}"
        train(source, old, base, config.model_copy(update={"model": model}))
        row: dict[str, Any] = {"seed": seed}
        for start, parts in starts.items():
            changes = [
                f"init.parts={parts}",
                "training.steps=400",
                f"training.seed={seed}",
                "training.patience=null",
            ]
            report = fit_run(
                base, new.path, WORK / f"inter_fit_{start}_{seed}", load_config("fit", changes)
            )
            losses = dict(zip(report.fit.steps, report.fit.target, strict=True))
            row |= {f"{start}, at {step}": losses[step] for step in (100, 400)}
            row[f"{start}, source ratio"] = report.source_ratio
            found[start].append(report.fit)
        rows.append(row)
        print(row, flush=True)
    write_line_figure(
        options.out / "inter.png",
        {n: c for start, of in found.items() for n, c in by_seed(f"inter {start}", of).items()},
        title="liae fitted to one clip: the target's inter from the base, or anew",
        x_label="step",
        y_label="held-out loss of the new target",
        y_range=(0.0, 4.0),
    )
    return {"rows": rows, "mean": means(rows)}


def study_rates(options: argparse.Namespace) -> dict[str, Any]:
    """A grid of constant rates beside the one that the range test names; EMA beside raw weights."""
    source = faces_of(options, "lsman3", "train_*")
    target = faces_of(options, "grid_s1", "train_*")
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        config = quick(steps=600, seed=seed)
        named = find_lr(source, target, WORK / f"rates_find_{seed}", config)
        losses: dict[float, float] = {}
        for rate in (FIELD_RATE, *GRID, named):
            run = trained(source, target, f"rates_{seed}_{rate:g}", steps=600, seed=seed, lr=rate)
            losses[rate] = own_loss(load_run(run, "last"), source, target)
        best = min(GRID, key=losses.__getitem__)
        middle = WORK / f"rates_{seed}_{1e-3:g}"
        rows.append(
            {
                "seed": seed,
                "losses": {f"{rate:g}": loss for rate, loss in losses.items()},
                "named": named,
                "named_over_best": named / best,
                "loss_over_field_rate": losses[named] / losses[FIELD_RATE],
                "ema_over_raw": losses[1e-3] / raw_loss(middle, source, target),
            }
        )
        print(rows[-1], flush=True)
    write_line_figure(
        options.out / "rates.png",
        {
            f"seed {row['seed']}": Curve(
                sorted(float(r) for r in row["losses"]),
                [row["losses"][r] for r in sorted(row["losses"], key=float)],
            )
            for row in rows
        },
        title="Held-out loss after 600 steps, by rate; dashed: what the range test names",
        x_label="learning rate",
        y_label="held-out loss",
        log_x=True,
        marks={str(row["seed"]): row["named"] for row in rows},
        y_range=(0.0, 6.0),
    )
    return {"rows": rows, "mean": means(rows)}


def study_best(options: argparse.Namespace) -> dict[str, Any]:
    """The best checkpoint by a held-out clip against the last one, on another unseen clip."""
    sets = {
        "source": faces_of(options, "grid_s1", "train_*"),
        "target": faces_of(options, "franck", "train_*"),
    }
    unseen: dict[Side, FaceSet] = {
        "source": faces_of(options, "grid_s1", "eval_1"),
        "target": faces_of(options, "franck", "eval_1"),
    }
    rows = []
    for seed in range(options.seeds):
        run = trained(
            sets["source"],
            sets["target"],
            f"best_{seed}",
            steps=2000,
            seed=seed,
            heldout=HeldoutConfig(by="clip"),
        )
        best, last = load_run(run, "best"), load_run(run, "last")
        for side in SIDES:
            losses = [loss_on(weights, unseen[side], side) for weights in (best, last)]
            rows.append(
                {
                    "seed": seed,
                    "identity": side,
                    "best_step": best.step,
                    "best": losses[0],
                    "last": losses[1],
                    "best_over_last": losses[0] / losses[1],
                }
            )
            print(rows[-1], flush=True)
    return {"rows": rows, "mean": means(rows)}


def study_pose(options: argparse.Namespace) -> dict[str, Any]:
    """Pose balance where nine tenths of the training faces look ahead."""
    sets = {"source": skewed_faces("source", "dara"), "target": skewed_faces("target", "bruno")}
    config = load_config("demo", FROM_SCRATCH)
    wide = RenderConfig(actor="bruno", twin=None, frames=240, size=192, seed=901, max_yaw_deg=45)
    render_clip(wide, WORK / "pose_unseen.mp4")
    extract = config.extract
    extract_faces(find_footage([WORK / "pose_unseen.mp4"]), WORK / "pose_unseen", extract)
    unseen = open_face_set(WORK / "pose_unseen")
    yaws = np.array([abs(f.record.pose.yaw_deg) if f.record.pose else 0.0 for f in unseen.faces])
    groups = {"top decile": yaws >= np.quantile(yaws, 0.9), "frontal": yaws <= 10}
    rows = []
    for seed in range(options.seeds):
        losses: dict[float, dict[str, float]] = {}
        for balance in BALANCES:
            training = config.training.model_copy(
                update={
                    "minutes": None,
                    "steps": 1000,
                    "seed": seed,
                    "threads": 1,
                    "pose_balance": balance,
                }
            )
            run = WORK / f"pose_{seed}_{balance:g}"
            train(
                sets["source"],
                sets["target"],
                run,
                config.model_copy(update={"training": training}),
            )
            weights = load_run(run, "last")
            losses[balance] = {
                name: loss_on(weights, subset(unseen, chosen), "target")
                for name, chosen in groups.items()
            }
        row: dict[str, Any] = {"seed": seed}
        for name in groups:
            row[f"{name}, plain"] = losses[0.0][name]
            for balance in BALANCES[1:]:
                row[f"{name}, {balance:g}, ratio"] = losses[balance][name] / losses[0.0][name]
        rows.append(row)
        print(rows[-1], flush=True)
    return {"rows": rows, "mean": means(rows)}


def faces_of(options: argparse.Namespace, who: str, which: str) -> FaceSet:
    out = WORK / f"faces_{who}_{which.replace('_*', '')}"
    clips = clips_of(options.media, f"video/{who}_{which}.mp4")
    extract_faces(find_footage(clips), out, ExtractConfig())
    return open_face_set(out, minimum=10)


def skewed_faces(side: str, actor: str) -> FaceSet:
    """Nine clips that look ahead to one that turns far."""
    clips = []
    for take in range(10):
        clip = WORK / f"pose_{side}_{take}.mp4"
        part = RenderConfig(
            actor=actor,
            twin=None,
            frames=40,
            rate=8,
            size=192,
            seed=600 + 20 * (side == "target") + take,
            max_yaw_deg=45 if take == 9 else 8,
        )
        render_clip(part, clip)
        clips.append(clip)
    out = WORK / f"pose_{side}"
    extract_faces(find_footage(clips), out, load_config("demo").extract)
    return open_face_set(out)


def quick(**training: Any) -> Config:
    config = load_config("quick64", FROM_SCRATCH)
    update = {"preview_every": 10**6, "save_every": 500, "threads": 1, **training}
    return config.model_copy(update={"training": config.training.model_copy(update=update)})


def trained(source: FaceSet, target: FaceSet, name: str, **training: Any) -> Path:
    run = WORK / name
    train(source, target, run, quick(**training))
    return run


def own_loss(weights: TrainedRun, source: FaceSet, target: FaceSet) -> float:
    """Held-out loss of both sides, on the faces that the run itself held out."""
    options, size = weights.config.training, weights.config.model.size
    total = 0.0
    sets: dict[Side, FaceSet] = {"source": source, "target": target}
    for side, faces in sets.items():
        data = load_side(faces, size, options.pose_balance, getattr(weights.manifest, side).groups)
        total += heldout_loss(weights.model, data, size, options.loss, side)
    return total


def raw_loss(run: Path, source: FaceSet, target: FaceSet) -> float:
    """The same without averaging the weights."""
    weights = load_run(run, "last")
    load_into(weights.model, load_weights(run, weights.step, "model"), run)
    return own_loss(weights, source, target)


def loss_on(weights: TrainedRun, faces: FaceSet, side: Side) -> float:
    """The loss on faces that training never saw."""
    options, size = weights.config.training, weights.config.model.size
    pixels, edge_with_margin = load_pixels(faces, size)
    nothing = torch.zeros(0)
    data = SideData(pixels[:0], pixels, edge_with_margin, nothing, nothing.long())
    return heldout_loss(weights.model, data, size, options.loss, side)


def subset(faces: FaceSet, chosen: np.ndarray) -> FaceSet:
    kept = [face for face, keep in zip(faces.faces, chosen, strict=True) if keep]
    return replace(faces, faces=kept)


def means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of every number over the rows."""
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


STUDIES = {
    "fit": study_fit,
    "inter": study_inter,
    "rates": study_rates,
    "best": study_best,
    "pose": study_pose,
}


if __name__ == "__main__":
    enter(main)
