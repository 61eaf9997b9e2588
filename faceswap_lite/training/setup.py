"""Setting a run up: faces in memory, weights fresh or as they were, the rate, the optimiser."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from ..config import Config, Side, TrainingConfig
from ..errors import FaceswapError
from ..faces.face_set import FaceSet
from ..faces.user_masks import masks_line
from ..models.architectures import build_model
from ..models.autoencoder import SIDES
from ..runs.checkpoints import (
    RunState,
    as_state,
    checkpoint_facts,
    load_into,
    load_weights,
    restore_optimizer,
)
from ..runs.hardware import agreed
from ..runs.manifest import RunManifest, write_run
from ..runs.mask_weights import MASK_FILE, mask_of, read_mask, shipped_mask, write_mask
from .augmentation_strength import augmented, strength_for
from .batches import SideData, side_batch
from .find_lr import rate_of_new_run
from .initial import frozen_parts, import_weights, rate_shares, settle_steps
from .loading import load_sides
from .loop import ReadyRun
from .mask_refinement import Refined, refine_mask
from .resume import CURVE_FILE, TakenUp
from .step import build_learner


def set_up_training(
    fabric: Fabric,
    sets: dict[Side, FaceSet],
    run: Path,
    config: Config,
    taken: TakenUp,
    say: Callable[[str], None],
) -> ReadyRun:
    """Make ready what `take_up` has decided on.

    Raises: FaceswapError when too few faces are left to train on, a batch cannot be shared by the
    processes, weights do not fit, or no rate lowered the loss of a range test.
    """
    options, size, manifest = config.training, config.model.size, taken.manifest
    first, begins = fabric.is_global_zero, taken.start is None

    # What is before faces: by a mask network that knows these faces.
    refined = _refine(fabric, sets, run, options, taken, say)
    seen = None
    if options.visible_only:
        own = refined.network if refined is not None else None
        seen = (own or mask_of(run).network()).to(fabric.device)
    sides = load_sides(sets, manifest, size, options.pose_balance, seen)
    minimum = min(len(side.seen) for side in sides.values())
    augment = augmented(options.augment, strength_for(minimum))
    options = options.model_copy(update={"augment": augment})
    for name, faces in sets.items():
        if line := masks_line(faces):
            say(f"{name}: {line}")
    share = _share_of_batch(fabric, options)

    # Weights: fresh, or another run's, or imported. Those of a run that was trained before follow
    # when the optimiser is there.
    network = build_model(config.model, options.seed)
    if begins:
        imported = import_weights(network, config, manifest.coverage)
        for line in imported.lines:
            say(line)
        manifest = manifest.model_copy(update={"lineage": imported.lineage})
    elif taken.state.step == 0:
        load_into(network, load_weights(run, 0, "model"), run)
        say(f"begins with {manifest.lineage[-1]['run']}")
    frozen = frozen_parts(network, config.init)
    if first:
        write_run(run, manifest, config)
        if refined is not None and refined.network is not None:
            write_mask(run / MASK_FILE, refined.network, refined.recipe)
            own_mask = read_mask(run / MASK_FILE).fingerprint()
            manifest = manifest.model_copy(update={"mask": own_mask})
            write_run(run, manifest, config)

    # The rate, once for a run's whole life.
    if options.lr == "auto":
        if manifest.lr is None:
            say(f"lr auto: a range test of up to {options.find_lr_steps} steps comes first")
            named = rate_of_new_run(run, manifest, network, sides, config) if first else None
            manifest = manifest.model_copy(update={"lr": agreed(fabric, named)})
            if first:
                write_run(run, manifest, config)
        say(f"rate {manifest.lr:.1e}, chosen by a range test ({run / CURVE_FILE})")
        options = options.model_copy(update={"lr": manifest.lr})
    shares = rate_shares(network, config.init, manifest.lineage)
    settling = settle_steps(config.init, manifest.lineage)
    learner = build_learner(
        fabric, network, options, frozen, config.init.freeze_steps, shares, settling
    )
    sides = {name: _place(side, fabric.device) for name, side in sides.items()}

    # Where this run stood.
    state, best = RunState(), None
    if taken.start is not None:
        stored = checkpoint_facts(run, taken.start)
        state = as_state(stored)
        load_into(learner.network, load_weights(run, taken.start, "model"), run)
        load_into(learner.average, load_weights(run, taken.start, "ema"), run)
        tensors = load_weights(run, taken.start, "optimizer")
        restore_optimizer(learner.optimizer, tensors, stored["optimizer"])
        best = load_weights(run, taken.start, "best") if state.best else None
    ready = ReadyRun(learner, sides, size, options, manifest.lineage, state, best, share)
    _say_what_begins(ready, config, manifest, say)
    return ready


def _refine(
    fabric: Fabric,
    sets: dict[Side, FaceSet],
    run: Path,
    options: TrainingConfig,
    taken: TakenUp,
    say: Callable[[str], None],
) -> Refined | None:
    """The mask network made anew with the run's faces; None: it is not wanted, or is there."""
    own, is_there = taken.manifest.mask, False
    with suppress(FaceswapError):
        is_there = bool(own) and read_mask(run / MASK_FILE).fingerprint() == own
    wanted = options.mask_steps and not is_there and (not taken.start or own)
    if not agreed(fabric, bool(wanted)):
        return None
    refined = None
    if fabric.is_global_zero:
        say(f"the mask learns these faces: {options.mask_steps} steps")
        refined = refine_mask(
            shipped_mask().network(), sets, options.mask_steps, options.seed, fabric.device
        )
    refined = agreed(fabric, refined)
    assert refined is not None, "the first process has told the others"
    say(refined.line)
    return refined


def _say_what_begins(
    ready: ReadyRun, config: Config, manifest: RunManifest, say: Callable[[str], None]
) -> None:
    """The lines that a training begins with."""
    fabric, options, step = ready.learner.fabric, ready.options, ready.state.step
    source, target = (ready.sides[side] for side in SIDES)
    processes = f", {fabric.world_size} processes" if fabric.world_size > 1 else ""
    say(
        f"{f'resuming at step {step}' if step else 'training'}: "
        f"{len(source.seen)} source and {len(target.seen)} target faces, "
        f"{len(source.heldout)} and {len(target.heldout)} held out; "
        f"{config.model.architecture} {config.model.size} px on {fabric.device}, "
        f"{fabric._precision.precision}{processes}"
    )
    if not manifest.consent:
        say('no consent recorded: --set consent="who, when, to what"')
    if options.steps is None and options.minutes is None and options.patience is None:
        say("no --steps and no --minutes: training goes on until Ctrl-C, which saves")


def _share_of_batch(fabric: Fabric, options: TrainingConfig) -> tuple[int, int]:
    """This process's number and how many there are. Raises: FaceswapError for unequal shares."""
    processes = fabric.world_size
    for side in SIDES:
        if (count := side_batch(options, side)) % processes:
            raise FaceswapError(
                f"training.batch: {count} {side} faces cannot be divided evenly among "
                f"{processes} processes; choose a multiple"
            )
    return fabric.global_rank, processes


def _place(side: SideData, device: torch.device) -> SideData:
    """Faces on the device where they fit beside the model; else they move batch by batch."""
    if device.type != "cuda":
        return side
    free, _ = torch.cuda.mem_get_info(device)
    if side.seen.nbytes + side.heldout.nbytes > free // 3:
        return side
    return replace(side, seen=side.seen.to(device), heldout=side.heldout.to(device))
