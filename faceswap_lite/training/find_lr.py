"""The learning-rate range test: a short sweep of the rate, its curve, and the rate that it names.

Source: Smith 2017, "Cyclical learning rates for training neural networks", section 3.3. The rate
rises exponentially here, from far too low until the loss breaks out.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from ..config import Config, Side
from ..errors import FaceswapError
from ..faces.face_set import FaceSet
from ..figures import Curve, write_line_figure
from ..models.architectures import build_model
from ..models.autoencoder import SIDES, SwapAutoencoder
from ..outputs import claim, found_job, job_id, one_writer, write_json
from ..runs.checkpoints import latest_valid_checkpoint, load_into, load_weights
from ..runs.hardware import pick_device, pick_precision
from ..runs.manifest import RunManifest, read_manifest
from ..runs.mask_weights import mask_of
from .augmentation_strength import augmented, strength_for
from .batches import SideData, sample_batch
from .initial import import_weights, rate_shares, start_fingerprint
from .loading import load_sides
from .resume import CURVE_FILE, SWEEP_FILE, as_cut, describe_run
from .step import build_learner, train_step

SMOOTHING = 0.9
"""Weight of the past in the smoothed loss."""

DIVERGED = 2.0
"""The sweep ends when the smoothed loss is this many times its lowest."""

SHARE_OF_EDGE = 1 / 3
"""The named rate, in shares of the one where the smoothed loss is lowest. That one is next to where
training breaks down, and the smoothing shows it late; half a decade below it is safe for thousands
of steps and still many times the field's 5e-5."""


@dataclass(frozen=True)
class RangeTest:
    """What a range test saw. As long as the steps it took; all numbers finite."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    rate: float
    """The named one."""


def sweep_rates(low: float, high: float, steps: int) -> list[float]:
    """`steps` rates from `low` to `high`, each the same factor above the one before."""
    return [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]


def smooth(losses: Sequence[float], past: float = SMOOTHING) -> list[float]:
    """The exponential running mean, corrected for its start at 0 (Kingma and Ba 2015, section 3).

    A constant series stays as it is.
    """
    mean, smoothed = 0.0, []
    for step, loss in enumerate(losses, 1):
        mean = past * mean + (1 - past) * loss
        smoothed.append(mean / (1 - past**step))
    return smoothed


def suggest_learning_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A third of the rate where the loss is lowest (of equal ones the first), to two digits.

    Raises: ValueError when the first loss is the lowest: no rate of the sweep helped.
    """
    lowest = min(range(len(losses)), key=losses.__getitem__, default=0)
    if lowest == 0:
        raise ValueError("the loss never fell")
    return float(f"{SHARE_OF_EDGE * rates[lowest]:.1e}")


def range_test(
    network: SwapAutoencoder,
    sides: dict[Side, SideData],
    config: Config,
    shares: Mapping[str, float] | None = None,
    say: Callable[[str], None] = print,
) -> RangeTest:
    """The sweep from `network`'s weights on the first steps' views. It works on a copy.

    The same seed gives the same sweep on a CPU. Neither the schedule nor its warm-up plays a part.
    Raises: FaceswapError when no rate lowered the loss.
    """
    options, size = config.training, config.model.size
    rates = sweep_rates(options.find_lr_low, options.find_lr_high, options.find_lr_steps)
    device = pick_device(options.device)
    # Its own Fabric: a loss that breaks out would spoil the run's fp16 scale. One process: of
    # several, the first one tests, with the whole batch.
    fabric = Fabric(
        accelerator=device.type,
        devices=1,
        precision=pick_precision(options.precision, device),  # type: ignore[arg-type]
    )
    strength = strength_for(min(len(side.seen) for side in sides.values()))
    options = options.model_copy(update={"augment": augmented(options.augment, strength)})
    start = options.model_copy(update={"lr": rates[0], "compile": False})
    learner = build_learner(fabric, copy.deepcopy(network), start, shares=shares)
    losses, parts = list[float](), options.accumulate
    for step, rate in enumerate(tqdm(rates, desc="range test", unit="step", disable=None)):
        views = sample_batch(sides, size, options, step, fabric.device)
        terms, parts = train_step(learner, views, options, step, rate, parts, say)
        loss = sum(term.item() for side in SIDES for term in terms[side].values())
        if not math.isfinite(loss):
            break
        losses.append(loss)
        smoothed = smooth(losses)
        if smoothed[-1] > DIVERGED * min(smoothed):
            break
    rates, smoothed = rates[: len(losses)], smooth(losses)
    try:
        named = suggest_learning_rate(rates, smoothed)
    except ValueError as error:
        raise FaceswapError(
            f"range test: {error} at rates from {options.find_lr_low:g}; lower "
            "training.find_lr_low, or set training.lr by hand"
        ) from error
    return RangeTest(rates, losses, smoothed, named)


@one_writer(lambda run, **_: [run])
def find_lr(
    source: FaceSet,
    target: FaceSet,
    run: Path,
    config: Config,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> float:
    """The rate that a range test from a new run's first weights names; its curve goes into `run`.

    Nothing else is written: `run` can be trained afterwards, or may be a run already. The test that
    stands there is not done twice.
    Raises: FaceswapError when the sets do not go together, or `run` holds another test.
    """
    options, size = config.training, config.model.size
    sets = as_cut(run, {"source": source, "target": target}, say)
    manifest = describe_run(sets["source"], sets["target"], with_auto_rate(config))
    job, found = sweep_job(manifest, config), found_job(run / SWEEP_FILE)
    if claim(run / SWEEP_FILE, job, found.get("job"), finished=True, overwrite=overwrite) == "done":
        say(f"{run / SWEEP_FILE}: already done")
        return float(found["rate"])
    if options.threads:
        torch.set_num_threads(options.threads)
    seen = mask_of(run).network() if options.visible_only else None
    sides = load_sides(sets, manifest, size, options.pose_balance, seen)
    network = build_model(config.model, options.seed)
    if latest_valid_checkpoint(run)[0] == 0:
        # Imported, and not trained since.
        load_into(network, load_weights(run, 0, "model"), run)
        lineage = read_manifest(run).lineage
    else:
        imported = import_weights(network, config, manifest.coverage)
        for line in imported.lines:
            say(line)
        lineage = imported.lineage
    shares = rate_shares(network, config.init, lineage)
    sweep = range_test(network, sides, config, shares, say)
    write_sweep(run, sweep, job)
    return sweep.rate


def rate_of_new_run(
    run: Path,
    manifest: RunManifest,
    network: SwapAutoencoder,
    sides: dict[Side, SideData],
    config: Config,
) -> float:
    """The rate for a run with `lr: auto` that begins: of the test in its folder, else of a new one.

    Raises: FaceswapError when no rate lowered the loss.
    """
    job, found = sweep_job(manifest, config), found_job(run / SWEEP_FILE)
    if found.get("job") == job:
        return float(found["rate"])
    shares = rate_shares(network, config.init, manifest.lineage)
    sweep = range_test(network, sides, config, shares)
    write_sweep(run, sweep, job)
    return sweep.rate


def with_auto_rate(config: Config) -> Config:
    """The config with `lr: auto`: a test is the same whatever rate stands in the config."""
    training = config.training.model_copy(update={"lr": "auto"})
    return config.model_copy(update={"training": training})


def sweep_job(manifest: RunManifest, config: Config) -> str:
    """The name of the test of a run with `lr: auto`: its settings, faces and first weights."""
    faces = [manifest.source.fingerprint, manifest.target.fingerprint]
    base = start_fingerprint(config, manifest.coverage)
    return job_id(run=manifest.job, faces=faces, base=base)


def write_sweep(run: Path, sweep: RangeTest, job: str) -> None:
    """Write a sweep's curve and numbers into the run's folder."""
    # What comes after the break would squeeze what comes before.
    top = max(1.05 * max(sweep.losses[0], sweep.smoothed[0]), DIVERGED * min(sweep.smoothed))
    steps = Curve(sweep.rates, sweep.losses, faint=True)
    write_line_figure(
        run / CURVE_FILE,
        {"loss of a step": steps, "smoothed": Curve(sweep.rates, sweep.smoothed)},
        title=f"Learning-rate range test: {sweep.rate:.1e}",
        x_label="learning rate",
        y_label="training loss",
        log_x=True,
        marks={f"suggested {sweep.rate:.1e}": sweep.rate},
        y_range=(0.0, top),
    )
    write_json(run / SWEEP_FILE, {"job": job, **asdict(sweep)})
