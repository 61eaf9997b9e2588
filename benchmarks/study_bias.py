"""The designed study of bias and generalisation on actors: what docs/evaluation.md reports.

    python benchmarks/study_bias.py

Small trainings of the project's own df model on faces whose yaw and mouth are known and whose
light, gaze, lids, backdrop and place vary: of one yaw, of two far ones, of two near ones, and with
3, 8, 15 and 22 of 25 combinations of yaw and mouth. What the source's decoder paints is read by a
small network that was trained on true renders. One thread of a CPU, about a quarter of an hour.
Every training is kept in workspace/studies/bias, so that a study that was stopped goes on; remove
the folder to begin anew. Writes bias.json and bias.png into --out. After Zhao et al. 2018, "Bias
and Generalization in Deep Generative Models".
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from _door import FROM_SCRATCH, enter, parser_of
from _measures import (
    cells,
    count_modes,
    histogram,
    histogram_l1,
    kernel_density,
    novel_combination_rate,
)
from faceswap_lite.actors.cast import find_actor
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.actors.render import render_actor
from faceswap_lite.config import Config, Side
from faceswap_lite.config_files import load_config
from faceswap_lite.faces.align import align, cut_crop
from faceswap_lite.faces.hull import features_mask
from faceswap_lite.figures import COLORS, DOTS_PER_INCH, GRID, INK, QUIET
from faceswap_lite.metrics.distributions import wasserstein_1
from faceswap_lite.models.architectures import build_model
from faceswap_lite.models.autoencoder import SIDES, SwapAutoencoder
from faceswap_lite.outputs import read_json, whole_file, write_json
from faceswap_lite.runs.hardware import build_fabric
from faceswap_lite.training.augmentation import central_views, draw_geometry, make_views
from faceswap_lite.training.batches import SideData, sample_batch
from faceswap_lite.training.step import build_learner, train_step

WORK = Path("workspace/studies/bias")
KINDS = ("train", "heldout")
ACTOR: dict[Side, str] = {"source": "dara", "target": "bruno"}

SIZE = 32
"""Of the model's faces: enough to read yaw and mouth, and the probe says how well."""
STORED = 42
"""Of the crops, with the margin that augmentation moves in."""
COVERAGE = 2.6
"""Eye distances on SIZE: from the brows to below the chin of an open mouth."""

MIDDLE, FAR = 0.0, 30.0
NEAR = (4.0, 8.0)
"""The second value of the studies of near values, degrees of yaw; the first is MIDDLE."""

YAWS = (-30.0, -15.0, 0.0, 15.0, 30.0)
MOUTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
YAW_EDGES = np.array([-22.5, -7.5, 7.5, 22.5])
MOUTH_EDGES = np.array([0.125, 0.375, 0.625, 0.875])
YAW_JITTER, MOUTH_JITTER = 2.0, 0.03
"""Faces of a cell lie this far around its middle, evenly."""
PRESENT = (3, 8, 15, 22)

BIN_DEG = 5.0
"""Of the histograms that are added up: a few times the probe's error."""
BANDWIDTH_DEG = 1.0
"""Of the densities whose modes are counted."""


@dataclass(frozen=True)
class Scale:
    """How large the study is; tests run a tiny one."""

    steps: int = 500
    cell_steps: int = 1500
    """25 combinations take longer to learn than one or two."""
    faces: int = 400
    """That a side is trained on."""
    heldout: int = 120
    """Of each trained value."""
    heldout_of_cell: int = 20
    control_of_cell: int = 100
    samples: int = 1000
    probe_faces: int = 1600
    probe_steps: int = 1000
    probe_heldout: int = 300
    control_steps: int = 1600


@dataclass(frozen=True)
class Renders:
    """Crops of an actor and their truth."""

    pixels: UInt8[Tensor, "n 5 m m"]
    yaw_deg: Float[np.ndarray, " n"]
    mouth: Float[np.ndarray, " n"]

    def only(self, wanted: Bool[np.ndarray, " n"]) -> "Renders":
        """Those that are wanted, in their order."""
        return Renders(
            self.pixels[torch.from_numpy(wanted)], self.yaw_deg[wanted], self.mouth[wanted]
        )

    @property
    def truth(self) -> Float[np.ndarray, "n 2"]:
        """Yaw and mouth."""
        return np.stack([self.yaw_deg, self.mouth], 1)


def main() -> None:
    options = parser_of(__doc__, folder="docs/evaluation").parse_args()
    torch.set_num_threads(1)
    numbers, curves = study(Scale(), WORK)
    write_json(options.out / "bias.json", numbers)
    draw(options.out / "bias.png", numbers, curves)


def study(scale: Scale, work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The numbers, and the readings that the figure is drawn from."""
    work.mkdir(parents=True, exist_ok=True)
    probe, errors = trained_probe(scale, work)
    print({"probe": errors}, flush=True)
    values, readings = study_values(scale, work, probe)
    combinations = study_combinations(scale, work, probe)
    numbers = {
        "scale": asdict(scale),
        "probe": errors,
        "values": values,
        "combinations": combinations,
    }
    return numbers, readings


def study_values(
    scale: Scale, work: Path, probe: nn.Module
) -> tuple[dict[str, Any], dict[str, Float[np.ndarray, " n"]]]:
    """One value of yaw, two far ones, two near ones: what is painted, beside the sum of ones."""
    readings: dict[str, np.ndarray] = {}
    spreads: dict[str, Any] = {}
    pairs = {"far": FAR, **{f"near {value:g}": value for value in NEAR}}
    for values in [
        (MIDDLE,),
        *[(v,) for v in pairs.values()],
        *[(MIDDLE, v) for v in pairs.values()],
    ]:
        name = name_of(values)
        for kind, yaws in kept_json(
            work / f"{name}.json", partial(read_values, values, scale, work, probe)
        ).items():
            readings[f"{name} {kind}"] = np.array(yaws)
        own = readings[f"{name} sampled"]
        spreads[name] = {
            "mean_deg": float(own.mean()),
            "sd_deg": float(own.std()),
            "heldout_mean_deg": float(readings[f"{name} heldout"].mean()),
            "heldout_sd_deg": float(readings[f"{name} heldout"].std()),
        }
        print({name: spreads[name]}, flush=True)
    rows = {}
    for which, value in pairs.items():
        row: dict[str, Any] = {"values_deg": [MIDDLE, value]}
        for kind in ("sampled", "heldout"):
            both = readings[f"{name_of((MIDDLE, value))} {kind}"]
            ones = [readings[f"{name_of((v,))} {kind}"] for v in (MIDDLE, value)]
            row[kind] = compared(both, ones, MIDDLE, value)
        rows[which] = row
        print({which: row}, flush=True)
    return {"spreads": spreads, "pairs": rows}, readings


def read_values(
    values: Sequence[float], scale: Scale, work: Path, probe: nn.Module
) -> dict[str, list[float]]:
    """The yaws that a training on given ones paints: of drawn codes, and of held-out faces."""
    model, sides = trained_values(values, scale, work)
    pictures = {
        "sampled": sampled(model, sides["source"], scale.samples, np.random.default_rng(17)),
        "heldout": painted(model, faces_of("source", values, scale.heldout, "heldout").pixels),
    }
    return {kind: read(probe, *shown)[:, 0].round(3).tolist() for kind, shown in pictures.items()}


def compared(
    both: Float[np.ndarray, " n"], ones: Sequence[np.ndarray], low: float, high: float
) -> dict[str, Any]:
    """The outputs of a training on two values, beside those of two trainings on one, pooled."""
    pooled = np.concatenate(ones)
    distances = {}
    for name, width in (("l1", BIN_DEG), ("l1_half_bins", BIN_DEG / 2)):
        # The trained values lie in the middles of bins.
        edges = np.arange(-50.0 - width / 2, 80.0, width)
        distances[name] = histogram_l1(histogram(both, edges), histogram(pooled, edges))
    middle = np.array([(low + high) / 2])
    densities = [float(kernel_density(x, middle, BANDWIDTH_DEG)[0]) for x in (both, pooled)]
    return {
        **distances,
        "wasserstein_deg": wasserstein_1(both, pooled),
        "modes": count_modes(both, BANDWIDTH_DEG),
        "modes_of_sum": count_modes(pooled, BANDWIDTH_DEG),
        "middle": densities[0],
        "middle_of_sum": densities[1],
    }


def study_combinations(scale: Scale, work: Path, probe: nn.Module) -> list[dict[str, Any]]:
    """The source has k of 25 combinations, the target all: do outputs reach the absent ones?"""
    order = np.random.default_rng(5).permutation(len(YAWS) * len(MOUTHS))
    rows = []
    for count in PRESENT:
        present = np.sort(order[:count])
        row = kept_json(work / f"cells_{count}.json", partial(row_of, present, scale, work, probe))
        rows.append(row)
        print(row, flush=True)
    return rows


def row_of(
    present: Int[np.ndarray, " k"], scale: Scale, work: Path, probe: nn.Module
) -> dict[str, Any]:
    """What one training makes of swaps and reconstructions of all combinations."""
    count, everything = len(present), np.arange(len(YAWS) * len(MOUTHS))
    sides: dict[Side, Renders] = {
        "source": cell_faces("source", present, scale.faces // count, "train"),
        "target": cell_faces("target", everything, scale.faces // len(everything), "train"),
    }
    model = trained(f"cells_{count}", sides, scale.cell_steps, work)
    row: dict[str, Any] = {"present": count, "cells": present.tolist()}
    asked: dict[str, Side] = {"swap": "target", "rebuilt": "source"}
    for what, side in asked.items():
        inputs = cell_faces(side, everything, scale.heldout_of_cell, "heldout")
        truth = cells_of(inputs)
        outputs = read(probe, *painted(model, inputs.pixels))
        found = cells(outputs[:, 0], outputs[:, 1], (YAW_EDGES, MOUTH_EDGES))
        novel = novel_combination_rate(truth, found, present)
        absent = ~np.isin(truth, present)
        row[what] = {
            "inputs": novel.inputs,
            "own": novel.own,
            "absent": novel.absent,
            "absent_by_chance": 1 - count / len(everything),
            "own_of_present": float((truth == found)[~absent].mean()),
            "yaw_error_deg": mean_error(outputs[absent, 0], inputs.yaw_deg[absent]),
            "mouth_error": mean_error(outputs[absent, 1], inputs.mouth[absent]),
            "own_by_cell": [
                float((found[truth == cell] == cell).mean()) for cell in everything.tolist()
            ],
        }
    row["control"] = control(present, scale)
    return row


def control(present: Int[np.ndarray, " k"], scale: Scale) -> float:
    """Held-out accuracy of the same encoder, taught which faces are of a combination in training.

    Balanced: the mean of both classes' accuracies.
    """
    everything = np.arange(len(YAWS) * len(MOUTHS))
    seen, unseen = (
        cell_faces("source", everything, count, kind)
        for count, kind in ((scale.control_of_cell, "train"), (scale.heldout_of_cell, "heldout"))
    )
    model = Control()
    labels = torch.from_numpy(np.isin(cells_of(seen), present)).float()[:, None]
    weights = torch.where(labels > 0, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))

    def loss(pictures: Tensor, chosen: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(model(pictures), labels[chosen], weights[chosen])

    fitted(model, loss, seen, scale.control_steps, blur=False)
    with torch.no_grad():
        said = torch.cat([model(part) for part in masked_views(unseen.pixels).split(256)]) > 0
    truth = np.isin(cells_of(unseen), present)
    right = said[:, 0].numpy() == truth
    return float(np.mean([right[truth].mean(), right[~truth].mean()]))


class Control(nn.Module):
    """The study's model up to its code, and one number from there."""

    def __init__(self) -> None:
        super().__init__()
        config = study_config().model
        self.model = build_model(config, 3)
        self.out = nn.Linear(config.inter_dims, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, faces: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 1"]:
        """Above 0: of a combination in training."""
        return self.out(F.leaky_relu(self.model.encode(faces), 0.1))


def kept_json(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` returns; made once."""
    if not path.exists():
        write_json(path, make())
    return read_json(path)


# Faces.


def faces_of(side: Side, values: Sequence[float], each: int, kind: str) -> Renders:
    """Faces of given yaws and any mouth; fewer of a value are the first of more."""
    drawn = []
    for value in values:
        for number in range(each):
            seed = (SIDES.index(side), KINDS.index(kind), round(value * 100) + 10**6, number)
            mouth = np.random.default_rng([*seed, 1]).uniform(0, 1)
            drawn.append((value, mouth, seed))
    return rendered(side, drawn)


def cell_faces(side: Side, which: Int[np.ndarray, " k"], each: int, kind: str) -> Renders:
    """Faces of some of the 25 combinations; a combination's number is 5 yaw + mouth."""
    drawn = []
    for cell in which.tolist():
        for number in range(each):
            seed = (SIDES.index(side), KINDS.index(kind), cell, number)
            jitter = np.random.default_rng([*seed, 1]).uniform(-1, 1, 2)
            yaw = YAWS[cell // 5] + jitter[0] * YAW_JITTER
            mouth = np.clip(MOUTHS[cell % 5] + jitter[1] * MOUTH_JITTER, 0, 1)
            drawn.append((float(yaw), float(mouth), seed))
    return rendered(side, drawn)


def any_faces(count: int, kind: str) -> Renders:
    """The source at any yaw and mouth: a little beyond what the study asks for."""
    drawn = []
    for number in range(count):
        seed = (0, KINDS.index(kind), 0, number)
        yaw, mouth = np.random.default_rng([*seed, 1]).uniform([-42, 0], [42, 1])
        drawn.append((float(yaw), float(mouth), seed))
    return rendered("source", drawn)


def cells_of(faces: Renders) -> Int[np.ndarray, " n"]:
    return cells(faces.yaw_deg, faces.mouth, (YAW_EDGES, MOUTH_EDGES))


def rendered(side: Side, drawn: Sequence[tuple[float, float, tuple[int, ...]]]) -> Renders:
    """Faces by yaw, mouth and the seed of all else."""
    pixels = np.stack([render_face(ACTOR[side], *one) for one in drawn])
    yaw, mouth = np.array([one[:2] for one in drawn]).T
    return Renders(torch.from_numpy(pixels), yaw, mouth)


@cache
def render_face(
    actor: str, yaw_deg: float, mouth: float, seed: tuple[int, ...]
) -> UInt8[np.ndarray, "5 m m"]:
    """A face of known yaw and mouth as training stores it; all else is drawn by chance."""
    rng = np.random.default_rng(seed)
    state = ActorState(yaw_deg=yaw_deg, mouth=mouth, **by_chance(rng))
    frame = render_actor(find_actor(actor), state, 96, background=int(rng.integers(12)))
    # Landmarks are never exact.
    found = (frame.landmarks + rng.normal(0, 0.15, 2)).astype(np.float32)
    to_crop = align(found, "ibug68", COVERAGE * STORED / SIZE, STORED)
    mask = np.repeat((frame.face_mask * 255).astype(np.uint8)[..., None], 3, -1)
    features = features_mask(found, "ibug68", to_crop, STORED) * 255
    pixels = np.zeros((5, STORED, STORED), np.uint8)
    pixels[:3] = cut_crop(frame.image, to_crop, STORED).transpose(2, 0, 1)
    pixels[3] = cut_crop(mask, to_crop, STORED)[..., 0]
    pixels[4] = np.round(features)
    return pixels


def by_chance(rng: np.random.Generator) -> dict[str, Any]:
    """All of a face's state but yaw and mouth."""
    return {
        "pitch_deg": float(np.clip(rng.normal(0, 2), -5, 5)),
        "roll_deg": float(rng.normal(0, 2)),
        "smile": float(rng.uniform(-0.1, 0.3)),
        "blink": float(rng.choice([0.0, 0.0, 0.0, 0.5, 1.0])),
        "brow": float(rng.uniform(-0.4, 0.4)),
        "gaze_x": float(rng.uniform(-0.6, 0.6)),
        "gaze_y": float(rng.uniform(-0.4, 0.4)),
        "light_yaw_deg": float(rng.uniform(-55, 55)),
        "light_pitch_deg": float(rng.uniform(15, 50)),
        "light": float(rng.uniform(0.8, 1.2)),
        "ambient": float(rng.uniform(0.85, 1.15)),
        "warmth": float(rng.uniform(-0.4, 0.4)),
        "noise": 1.2,
        "noise_seed": int(rng.integers(2**31)),
    }


# Trainings.


def study_config() -> Config:
    """quick64 at a size that a study of a dozen trainings can afford."""
    small = ("size=32", "encoder_dims=24", "inter_dims=64", "decoder_dims=12", "mask_dims=4")
    changes = [*(f"model.{change}" for change in small), "training.optimizer.ema_decay=0.99"]
    return load_config("quick64", [*FROM_SCRATCH, *changes])


def name_of(values: Sequence[float]) -> str:
    return "yaw " + " + ".join(f"{value:g}" for value in values)


def trained_values(
    values: Sequence[float], scale: Scale, work: Path
) -> tuple[SwapAutoencoder, dict[Side, Renders]]:
    """A model of both actors at given yaws, and what it was trained on."""
    sides = {side: faces_of(side, values, scale.faces // len(values), "train") for side in SIDES}
    return trained(name_of(values), sides, scale.steps, work), sides


def trained(name: str, sides: dict[Side, Renders], steps: int, work: Path) -> SwapAutoencoder:
    """The averaged weights after some of the project's own training steps; or what was kept."""
    config = study_config()
    options, fabric = config.training, build_fabric("cpu", "32-true")
    learner = build_learner(fabric, build_model(config.model, options.seed), options)
    kept = work / f"{name}.safetensors"
    if kept.exists():
        learner.average.load_state_dict(load_file(kept))
        return learner.average
    data = {side: side_data(faces) for side, faces in sides.items()}
    for step in range(steps):
        views = sample_batch(data, SIZE, options, step, fabric.device)
        train_step(learner, views, options, step, options.base_rate)
    save_file(learner.average.state_dict(), kept)
    return learner.average


def side_data(faces: Renders) -> SideData:
    count = len(faces.pixels)
    even = torch.ones(count, dtype=torch.double)
    return SideData(faces.pixels, faces.pixels[:1], STORED / SIZE, even, torch.zeros(count).long())


Picture = tuple[Float[Tensor, "n 3 s s"], Float[Tensor, "n 1 s s"]]


@torch.no_grad()
def painted(model: SwapAutoencoder, pixels: UInt8[Tensor, "n 5 m m"]) -> Picture:
    """What the source's decoder makes of faces: pictures and their masks."""
    parts = [
        model.paint(central_views(part, SIZE, STORED / SIZE).warped, "source")
        for part in pixels.split(128)
    ]
    faces, masks = zip(*parts, strict=True)
    return torch.cat(faces), torch.cat(masks)


@torch.no_grad()
def sampled(model: SwapAutoencoder, seen: Renders, count: int, rng: np.random.Generator) -> Picture:
    """What the source's decoder makes of codes that are drawn, not encoded.

    An autoencoder has no sampler. The plainest one that knows of its training: a normal
    distribution of codes for each trained value, with the mean and the covariance of the codes of
    that value's faces.
    """
    views = central_views(seen.pixels, SIZE, STORED / SIZE).warped
    codes = torch.cat([model.encode(part) for part in views.split(128)]).double().numpy()
    values = np.unique(seen.yaw_deg)
    drawn = np.concatenate(
        [
            rng.multivariate_normal(own.mean(0), np.cov(own.T), count // len(values))
            for own in (codes[seen.yaw_deg == value] for value in values)
        ]
    )
    faces, masks = model.decode(torch.from_numpy(drawn).float(), "source")
    assert masks is not None, "the study's model paints masks"
    return faces, masks


# The probe: what reads yaw and mouth.


def trained_probe(scale: Scale, work: Path) -> tuple[nn.Module, dict[str, float]]:
    """A network that reads yaw and mouth, and its errors on renders that it never saw."""
    probe, kept = build_probe(), work / "probe.pt"
    if not kept.exists():
        seen = any_faces(scale.probe_faces, "train")
        truth = torch.from_numpy(scaled(seen.truth)).float()

        def loss(pictures: Tensor, chosen: Tensor) -> Tensor:
            return F.smooth_l1_loss(probe(pictures), truth[chosen], beta=0.05)

        fitted(probe, loss, seen, scale.probe_steps, blur=True)
        save_file(probe.state_dict(), kept)
    probe.load_state_dict(load_file(kept))
    return probe, kept_json(work / "probe.json", partial(probe_errors, probe, scale.probe_heldout))


def probe_errors(probe: nn.Module, count: int) -> dict[str, float]:
    """On sharp and on soft faces: mean absolute errors, and the spread of the yaw's."""
    unseen = any_faces(count, "heldout")
    views = central_views(unseen.pixels, SIZE, STORED / SIZE)
    errors = {}
    for name, sigma in (("sharp", 0.0), ("blurred", 0.8)):
        found = read(probe, blurred(views.face, sigma), blurred(views.mask, sigma))
        difference = found - unseen.truth
        errors[f"{name}_yaw_deg"] = float(np.abs(difference[:, 0]).mean())
        errors[f"{name}_yaw_sd_deg"] = float(difference[:, 0].std())
        errors[f"{name}_mouth"] = float(np.abs(difference[:, 1]).mean())
    return errors


def build_probe() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * (SIZE // 8) ** 2, 96), nn.ReLU(), nn.Linear(96, 2),
        )  # fmt: skip


@torch.no_grad()
def read(
    probe: nn.Module, faces: Float[Tensor, "n 3 s s"], masks: Float[Tensor, "n 1 s s"]
) -> Float[np.ndarray, "n 2"]:
    """Yaw in degrees and mouth, 0 to 1, of what is inside the masks."""
    pictures = on_grey(faces, masks)
    found = torch.cat([probe(part) for part in pictures.split(256)]).double().numpy()
    return found * [40.0, 1.0] + [0.0, 0.5]


def scaled(truth: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    return (truth - [0.0, 0.5]) / [40.0, 1.0]


def on_grey(
    faces: Float[Tensor, "n 3 s s"], masks: Float[Tensor, "n 1 s s"]
) -> Float[Tensor, "n 3 s s"]:
    """Nothing but the face, centred about 0: what is around it is not painted with care."""
    return (faces - 0.5) * masks


def masked_views(pixels: UInt8[Tensor, "n 5 m m"]) -> Float[Tensor, "n 3 s s"]:
    views = central_views(pixels, SIZE, STORED / SIZE)
    return on_grey(views.face, views.mask)


def blurred(pictures: Float[Tensor, "n c s s"], sigma: float) -> Float[Tensor, "n c s s"]:
    if sigma == 0:
        return pictures
    taps = torch.exp(-(torch.arange(-3, 4) ** 2) / (2 * sigma**2))
    taps = (taps / taps.sum()).expand(pictures.shape[1], 1, 1, 7)
    channels = pictures.shape[1]
    across = F.conv2d(F.pad(pictures, (3, 3, 0, 0), "replicate"), taps, groups=channels)
    down = F.pad(across, (0, 0, 3, 3), "replicate")
    return F.conv2d(down, taps.transpose(2, 3), groups=channels)


def fitted(model: nn.Module, loss: Any, faces: Renders, steps: int, blur: bool) -> None:
    """Adam with a falling rate on slightly moved and, if wanted, blurred faces.

    Blur, because decoders paint softly and the probe must not mind.
    """
    options = load_config(
        "quick64", ["training.augment.warp=0", "training.augment.rotation_deg=2"]
    ).training.augment
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(11)
    for _ in range(steps):
        chosen = torch.randint(len(faces.pixels), (48,), generator=generator)
        stored = faces.pixels[chosen].float() / 255
        views = make_views(stored, draw_geometry(48, options, generator), SIZE, STORED / SIZE)
        sigma = float(torch.rand((), generator=generator)) * 1.2 * blur
        sigma = sigma if sigma > 0.3 else 0.0
        optimizer.zero_grad()
        loss(on_grey(blurred(views.face, sigma), blurred(views.mask, sigma)), chosen).backward()
        optimizer.step()
        schedule.step()


def mean_error(found: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> float:
    return float(np.abs(found - truth).mean())


# The figure.


def draw(path: Path, numbers: dict[str, Any], readings: dict[str, Float[np.ndarray, " n"]]) -> None:
    """Above: yaws of one value, of two far ones, of two near ones. Below: the combinations."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(11.0, 6.4), dpi=DOTS_PER_INCH, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.0), hspace=0.06)
    pairs = numbers["values"]["pairs"]
    for axes, (which, pair) in zip(above.subplots(1, len(pairs)), pairs.items(), strict=True):
        draw_pair(axes, which, pair, readings)
    rows = numbers["combinations"]
    left, right = below.subfigures(1, 2, width_ratios=(2.0, 1.1))
    left.suptitle(
        "Swaps from a source with 3, 8, 15, 22 combinations",
        color=INK, fontsize=10.5, fontweight="bold", x=0.02, ha="left",
    )  # fmt: skip
    for axes, row in zip(left.subplots(1, len(rows)), rows, strict=True):
        shown = draw_cells(axes, row, first=row is rows[0])
    bar = left.colorbar(shown, ax=left.axes, orientation="horizontal", fraction=0.06, aspect=50)
    bar.set_label("share of swaps that show the target's own combination", color=INK, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=QUIET, labelsize=8)
    draw_rates(right.subplots(), rows)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")


def draw_pair(
    axes: Any, which: str, pair: dict[str, Any], readings: dict[str, Float[np.ndarray, " n"]]
) -> None:
    low, high = pair["values_deg"]
    both = readings[f"{name_of((low, high))} sampled"]
    ones = np.concatenate([readings[f"{name_of((v,))} sampled"] for v in (low, high)])
    reach = 8.0 if high - low < 12 else 14.0
    at = np.linspace(low - reach, high + reach, 400)
    summed, merged = (kernel_density(values, at, BANDWIDTH_DEG) for values in (ones, both))
    axes.fill_between(at, summed, color=COLORS[5], alpha=0.45, linewidth=0)
    axes.plot(at, summed, color=COLORS[5], linewidth=1.2, label="two trainings, one yaw each")
    axes.plot(at, merged, color=COLORS[1], linewidth=2.0, label="one training, both yaws")
    top = 1.3 * max(summed.max(), merged.max())
    axes.vlines((low, high), 0, 0.8 * top, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    found = pair["sampled"]
    if which == "far":
        title = f"{high - low:g}° apart: they add up (L1 {found['l1']:.2f})"
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="upper center")
    else:
        title = f"{high - low:g}° apart: {modes(found['modes'])} (sum: {found['modes_of_sum']})"
    plain(axes, title, "yaw of what is painted, degrees; dashed: trained on")
    axes.set_xticks(np.arange(*((-10, 41, 10) if which == "far" else (-4, high + 5, 4))))
    axes.set_ylim(0, top)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def modes(count: int) -> str:
    return f"{count} mode" if count == 1 else f"{count} modes"


def draw_cells(axes: Any, row: dict[str, Any], first: bool) -> Any:
    """The 25 combinations: how often each is reached; those of the training are framed."""
    from matplotlib.patches import Rectangle

    share = np.array(row["swap"]["own_by_cell"]).reshape(5, 5).T
    shown = axes.imshow(share, cmap="cividis", vmin=0, vmax=1, origin="lower", aspect="equal")
    for cell in row["cells"]:
        frame = Rectangle(
            (cell // 5 - 0.42, cell % 5 - 0.42), 0.84, 0.84, fill=False,
            edgecolor=COLORS[1], linewidth=2.0,
        )  # fmt: skip
        axes.add_patch(frame)
    axes.set_title(f"{row['present']} of 25", color=INK, fontsize=10)
    axes.set_xticks(range(5), [f"{yaw:g}" for yaw in YAWS], fontsize=7)
    axes.set_yticks(range(5), [f"{mouth:g}" for mouth in MOUTHS] if first else [""] * 5, fontsize=7)
    axes.set_xlabel("yaw, degrees", color=INK, fontsize=8)
    if first:
        axes.set_ylabel("mouth; framed: in training", color=INK, fontsize=8)
    axes.tick_params(colors=QUIET, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return shown


def draw_rates(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    counts = [row["present"] for row in rows]
    for color, (what, label) in zip(
        (COLORS[0], COLORS[2]), (("swap", "swaps"), ("rebuilt", "reconstructions")), strict=True
    ):
        own = [row[what]["own"] for row in rows]
        axes.plot(counts, own, color=color, marker="o", linewidth=2.0, label=label)
    axes.plot(
        counts, [row["control"] for row in rows],
        color=INK, marker="s", markersize=4, linewidth=1.0, linestyle=(0, (4, 3)),
        label="control: a classifier",
    )  # fmt: skip
    plain(axes, "Unseen combinations that are reached", "combinations in training, of 25")
    axes.set_ylabel("share of faces of unseen combinations", color=INK, fontsize=8)
    axes.set_xticks(counts)
    axes.set_ylim(0, 1.05)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right")


def plain(axes: Any, title: str, x_label: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=10.5, fontweight="bold")
    axes.set_xlabel(x_label, color=INK, fontsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(QUIET)


if __name__ == "__main__":
    enter(main)
