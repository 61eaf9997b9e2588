"""Process CPU seconds of a training step, one thread, and faces/s of the batch pipeline.

    python benchmarks/train.py --arch original --size 64 --batch 16

A step is the package's own, with the defaults of `train`.
Beside it stands a plain one of the same net, as a tutorial would write it: mean absolute
difference, a forward, a backward and an Adam step for each identity in turn, nothing fused. The
kinds take turns, so that their ratio holds on a machine that others use too.
"""

import itertools
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from _door import enter, keep, parser_of
from faceswap_lite.config import AugmentConfig, ModelConfig, PrecisionName, Side, TrainingConfig
from faceswap_lite.models.architectures import ARCHITECTURES, build_model, count_parameters
from faceswap_lite.models.autoencoder import SIDES, SwapAutoencoder
from faceswap_lite.runs.hardware import build_fabric
from faceswap_lite.training.augmentation import Views
from faceswap_lite.training.batches import SideData, sample_batch
from faceswap_lite.training.loading import pose_weights
from faceswap_lite.training.step import build_learner, train_step

MARGIN = 1.3
EVERY_COLOR = AugmentConfig(hue=0.03, saturation=0.1, value=0.1, color_transfer=0.5)

Step = Callable[[dict[Side, Views]], None]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--arch", default="original", choices=list(ARCHITECTURES))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--dims", type=int, default=64, help="of encoder and decoders, as is usual")
    parser.add_argument("--batch", type=int, default=16, help="faces of each identity")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--pipeline", type=int, nargs="+", default=[64, 128, 256], help="sizes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    flags = "" if options.arch == "original" else "ud"
    dims = options.dims
    config = ModelConfig(
        architecture=options.arch, flags=flags, size=options.size, mask_head=False,
        encoder_dims=dims, inter_dims=4 * dims, decoder_dims=dims,
    )  # fmt: skip
    print(
        f"{options.arch} {options.size} px, {count_parameters(build_model(config)):,} parameters, "
        f"batch {options.batch} a side; the least CPU seconds of {options.steps} steps, one thread"
    )
    training = TrainingConfig(batch=options.batch)
    kinds: dict[str, Callable[[SwapAutoencoder], Step]] = {
        "plain": plain_step,
        "ours, fp32": lambda model: our_step(model, training, "32-true"),
        "ours, bf16": lambda model: our_step(model, training, "bf16-mixed"),
    }
    spent = step_seconds(kinds, config, training, options.steps)
    for name, seconds in spent.items():
        print(f"{name:12} {seconds:.2f} cpu-s a step, {spent['plain'] / seconds:.2f} x as fast")
    speeds = {}
    for size in options.pipeline:
        plain = pipeline_speed(size, TrainingConfig(batch=16))
        full = pipeline_speed(size, TrainingConfig(batch=16, pose_balance=1, augment=EVERY_COLOR))
        print(
            f"batch pipeline at {size} px: {plain:,.0f} faces per cpu-s; with HSV jitter, colour "
            f"transfer and weights {full:,.0f}"
        )
        speeds[str(size)] = {"plain": plain, "full": full}
    keep(options.out, {"cpu_s_a_step": spent, "faces_a_cpu_s": speeds})


def step_seconds(
    kinds: dict[str, Callable[[SwapAutoencoder], Step]],
    config: ModelConfig,
    training: TrainingConfig,
    count: int,
) -> dict[str, float]:
    """The least seconds of a step of each kind, on the same views."""
    sides = {side: random_side(4 * training.batch, config.size, training) for side in SIDES}
    cpu = torch.device("cpu")
    steps = {name: make(build_model(config)) for name, make in kinds.items()}
    best = dict.fromkeys(kinds, float("inf"))
    for number in range(count + 1):
        views = sample_batch(sides, config.size, training, number, cpu)
        for name, step in steps.items():
            began = time.process_time()
            step(views)
            # The first step also allocates.
            if number:
                best[name] = min(best[name], time.process_time() - began)
    return best


def our_step(model: SwapAutoencoder, training: TrainingConfig, precision: PrecisionName) -> Step:
    learner = build_learner(build_fabric("cpu", precision), model, training)
    numbers = itertools.count()

    def step(views: dict[Side, Views]) -> None:
        train_step(learner, views, training, next(numbers), training.base_rate)

    return step


def plain_step(model: SwapAutoencoder) -> Step:
    # Each identity's Adam moves the shared encoder too.
    own = {side: getattr(model, f"decoder_{side}", model).parameters() for side in SIDES}
    shared = [p for name, p in model.named_parameters() if not name.startswith("decoder_")]
    adams = {
        side: torch.optim.Adam(
            {id(p): p for p in [*shared, *own[side]]}.values(), lr=1e-4, foreach=False, fused=False
        )
        for side in SIDES
    }

    def step(views: dict[Side, Views]) -> None:
        for side, adam in adams.items():
            face, _mask = model.paint(views[side].warped, side)
            adam.zero_grad(set_to_none=True)
            nn.functional.l1_loss(face, views[side].face).backward()
            adam.step()

    return step


def pipeline_speed(size: int, config: TrainingConfig) -> float:
    """Faces per CPU second, both sides drawn: views with warp, mask, features and colours."""
    sides = {side: random_side(500, size, config) for side in SIDES}
    best = 0.0
    for step in range(20):
        began = time.process_time()
        sample_batch(sides, size, config, step, torch.device("cpu"))
        best = max(best, 2 * config.batch / (time.process_time() - began))
    return best


def random_side(count: int, size: int, config: TrainingConfig) -> SideData:
    side = round(size * MARGIN)
    faces = torch.randint(0, 256, (count, 5, side, side), dtype=torch.uint8)
    yaw_deg = np.random.default_rng(0).normal(0, 15, count)
    weights = torch.from_numpy(pose_weights(yaw_deg, config.pose_balance))
    return SideData(faces, faces[:1], MARGIN, weights, torch.zeros(count, dtype=torch.long))


if __name__ == "__main__":
    enter(main)
