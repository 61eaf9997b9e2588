"""Process CPU seconds of a training step, one thread, and faces/s of the batch pipeline.

    python scripts/bench_train.py --arch original --size 64 --batch 16

The step is what `train` does: augmented views, forward, SSIM + MSE in a mask, backward, Adam, EMA.
Compare by ratio within one run: machines differ, and shared ones are noisy.
"""

import argparse
import copy
import time
from contextlib import nullcontext

import numpy as np
import torch

from faceswap_lite.config import ModelConfig, TrainingConfig
from faceswap_lite.models import SIDES, Side, build_model, count_parameters
from faceswap_lite.models.architectures import ARCHITECTURES
from faceswap_lite.training.batches import SideData, draw_views, pose_weights
from faceswap_lite.training.ema import update_ema
from faceswap_lite.training.losses import reconstruction_loss

MARGIN = 1.3
EVERY_COLOR = {
    "hue": 0.03, "saturation": 0.1, "value": 0.1, "color_transfer": 0.5, "pose_balance": 1.0,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="original", choices=list(ARCHITECTURES))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16, help="faces of each identity")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--precision", default="both", choices=["both", "fp32", "bf16"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("CPU seconds are process time on one thread; the least of the steps is given")
    for precision in ("fp32", "bf16") if options.precision == "both" else (options.precision,):
        seconds, parameters = step_seconds(options, precision)
        print(
            f"{options.arch} {options.size} px, {parameters:,} parameters, batch {options.batch} a "
            f"side, {precision}: {seconds:.2f} cpu-s a step"
        )
    for size in (64, 128, 256):
        plain = pipeline_speed(size, TrainingConfig(batch=16))
        full = pipeline_speed(size, TrainingConfig(batch=16, **EVERY_COLOR))
        print(
            f"batch pipeline at {size} px: {plain:,.0f} faces per cpu-s; with HSV jitter, colour "
            f"transfer and weights {full:,.0f}"
        )


def step_seconds(options: argparse.Namespace, precision: str) -> tuple[float, int]:
    flags = "" if options.arch == "original" else "ud"
    config = ModelConfig(architecture=options.arch, flags=flags, size=options.size, mask_head=False)
    if options.arch != "original":
        config = config.model_copy(
            update={"encoder_dims": 64, "inter_dims": 256, "decoder_dims": 64, "mask_dims": 22}
        )
    training = TrainingConfig(batch=options.batch)
    model = build_model(config)
    average = copy.deepcopy(model)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    sides: dict[Side, SideData] = {
        side: random_side(4 * options.batch, options.size, training) for side in SIDES
    }
    spent = []
    for step in range(options.steps + 1):
        began = time.process_time()
        views = [
            draw_views(sides, options.size, training, step, side, torch.device("cpu"))
            for side in SIDES
        ]
        autocast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()
        with autocast:
            painted = model(views[0].warped, views[1].warped)
        loss = torch.zeros(())
        for side, view in zip(painted, views, strict=True):
            terms = reconstruction_loss(
                side,
                view.face,
                view.mask,
                view.features,
                dssim_weight=2.0,
                mse_weight=1.0,
                mask_weight=0.0,
                features_weight=0.0,
                background_weight=0.0,
            )
            loss = loss + sum(terms.values())
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        update_ema(average, model, 0.998)
        spent.append(time.process_time() - began)
    # The first step also allocates.
    return min(spent[1:]), count_parameters(model)


def pipeline_speed(size: int, config: TrainingConfig) -> float:
    """Faces per CPU second, both sides drawn: views with warp, mask, features and colours."""
    sides: dict[Side, SideData] = {side: random_side(500, size, config) for side in SIDES}
    best = 0.0
    for step in range(20):
        began = time.process_time()
        for side in SIDES:
            draw_views(sides, size, config, step, side, torch.device("cpu"))
        best = max(best, 2 * config.batch / (time.process_time() - began))
    return best


def random_side(count: int, size: int, config: TrainingConfig) -> SideData:
    faces = random_faces(count, size)
    yaw_deg = np.random.default_rng(0).normal(0, 15, count)
    weights = torch.from_numpy(pose_weights(yaw_deg, config.pose_balance))
    return SideData(faces, faces[:1], MARGIN, weights, torch.zeros(count, dtype=torch.long))


def random_faces(count: int, size: int) -> torch.Tensor:
    side = round(size * MARGIN)
    return torch.randint(0, 256, (count, 5, side, side), dtype=torch.uint8)


if __name__ == "__main__":
    main()
