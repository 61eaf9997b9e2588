"""Process CPU seconds of a training step, one thread, and faces/s of the batch pipeline.

    python scripts/bench_train.py --arch original --size 64 --batch 16

The step is what `train` does: augmented views, forward, SSIM + MSE in a mask, backward, Adam, EMA.
Compare by ratio within one run: machines differ, and shared ones are noisy.
"""

import argparse
import copy
import time
from contextlib import nullcontext

import torch

from faceswap_lite.config import ModelConfig, TrainingConfig
from faceswap_lite.models import SIDES, build_model, count_parameters
from faceswap_lite.models.architectures import ARCHITECTURES
from faceswap_lite.training.augment import draw_geometry, make_views
from faceswap_lite.training.ema import update_ema
from faceswap_lite.training.losses import reconstruction_loss

MARGIN = 1.3


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
        print(f"batch pipeline at {size} px: {pipeline_speed(size):,.0f} faces per cpu-s")


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
    stored = random_faces(options.batch, options.size)
    spent = []
    for step in range(options.steps + 1):
        began = time.process_time()
        generator = torch.Generator().manual_seed(step)
        views = [
            make_views(
                stored, draw_geometry(options.batch, training, generator), options.size, MARGIN
            )
            for _ in SIDES
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


def pipeline_speed(size: int, batch: int = 16) -> float:
    """Faces per CPU second: views with warp, mask, features and colour jitter."""
    config = TrainingConfig()
    stored = random_faces(batch, size)
    best = 0.0
    for step in range(5):
        began = time.process_time()
        generator = torch.Generator().manual_seed(step)
        make_views(stored, draw_geometry(batch, config, generator), size, MARGIN)
        best = max(best, batch / (time.process_time() - began))
    return best


def random_faces(count: int, size: int) -> torch.Tensor:
    side = round(size * MARGIN)
    return torch.randint(0, 256, (count, 5, side, side), dtype=torch.uint8)


if __name__ == "__main__":
    main()
