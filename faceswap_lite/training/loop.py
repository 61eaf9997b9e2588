"""The training loop, read top to bottom."""

import copy
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from ..config import Config, TrainingConfig
from ..curation.curate import say_coverage
from ..curation.decisions import pending_rejections
from ..curation.verdicts import RARE
from ..errors import FaceswapError
from ..faces.face_set import FaceSet
from ..faces.given_masks import masks_line
from ..media.images import write_image
from ..models.architectures import build_model
from ..models.autoencoder import SIDES, Side
from ..runs.checkpoints import (
    Best,
    PlateauState,
    RunState,
    as_state,
    checkpoint_facts,
    load_into,
    load_weights,
    restore_optimizer,
    save_checkpoint,
)
from ..runs.hardware import build_fabric, memory_used
from ..runs.log import RunLog
from ..runs.manifest import RunManifest, write_run
from .batches import draw_step, draw_views, side_batch
from .ema import ema_decay, update_ema
from .find_lr import rate_of_new_run
from .heldout import heldout_losses
from .initial import frozen_parts, import_weights, lineage_of
from .loading import SideData, load_side
from .optimizers import average_of, build_optimizer, keeps_average
from .preview import preview_sheet
from .resume import CURVE_FILE, TakenUp, describe_run, take_up
from .schedules import SCHEDULES, next_plateau
from .step import (
    accumulate_gradient,
    everywhere,
    gradient_within_memory,
    refuse_nonfinite_loss,
    refuse_nonfinite_weights,
)

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class TrainSummary:
    """How a call of `train` ended."""

    step: int
    seconds: float
    reason: str


def train(
    source: FaceSet,
    target: FaceSet,
    run: Path,
    config: Config,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> TrainSummary:
    """Train until the config's steps or minutes are spent, the held-out loss has stood still for
    `patience`, or Ctrl-C; resume what `run` holds.

    Under `torchrun`, every process takes its share of each batch and the first one writes.
    Raises: FaceswapError when the sets do not go together, `run` is another job's, or the loss
    stops being a number. KeyboardInterrupt, after saving, when a person stopped it.
    """
    options, size = config.training, config.model.size
    if options.threads:
        torch.set_num_threads(options.threads)
    fabric = build_fabric(options.device, options.precision)
    first = fabric.is_global_zero
    if not first:
        say = _say_nothing

    # What is this run, and where does it stand?
    sets: dict[Side, FaceSet] = {"source": source, "target": target}
    taken: TakenUp | None = None
    if first:
        manifest = describe_run(source, target, config)
        why_stop = partial(_why_stop, options=options)
        taken = take_up(
            run, manifest, sets, config, why_stop=why_stop, overwrite=overwrite, say=say
        )
    taken = _agreed(fabric, taken)
    assert taken is not None, "the first process has told the others"
    start, manifest = taken.start, taken.manifest
    stored = {} if start is None else checkpoint_facts(run, start)
    state = RunState() if start is None else as_state(stored)
    if taken.action == "done":
        return TrainSummary(state.step, state.seconds, "already done")
    sides: dict[Side, SideData] = {
        "source": load_side(source, size, options, manifest.source.groups, manifest.source.weights),
        "target": load_side(target, size, options, manifest.target.groups, manifest.target.weights),
    }
    for name, faces in sets.items():
        if line := masks_line(faces):
            say(f"{name}: {line}")
    share = _share_of_batch(fabric, options)
    if start is None:
        _say_what_curation_knows(sets, manifest, say)

    # Model and optimiser; fresh, from another run, or where this one stood.
    network = build_model(config.model, options.seed)
    if start is None:
        imported = import_weights(network, config.init)
        for report in imported:
            say(report.line())
        manifest = manifest.model_copy(update={"lineage": lineage_of(config.init, imported)})
    frozen = frozen_parts(network, config.init)
    if first:
        write_run(run, manifest, config)
    if fabric.device.type == "cuda":
        # Tensor cores want channels last; on CPUs it measured slower.
        network = network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).requires_grad_(False)
    if options.lr == "auto":
        if manifest.lr is None:
            say(f"lr auto: a range test of up to {options.find_lr_steps} steps comes first")
            named = rate_of_new_run(run, manifest, network, sides, config) if first else None
            # Kept: a resumed run goes on at the rate that it began with.
            manifest = manifest.model_copy(update={"lr": _agreed(fabric, named)})
            if first:
                write_run(run, manifest, config)
        say(f"rate {manifest.lr:.1e}, named by a range test ({run / CURVE_FILE})")
        options = options.model_copy(update={"lr": manifest.lr})
    bare_optimizer = build_optimizer(network, options)
    compiled: Any = torch.compile(network) if options.compile else network
    model, optimizer = fabric.setup(compiled, bare_optimizer)
    fabric.to_device(average)
    sides = {name: _place(side, fabric.device) for name, side in sides.items()}
    best_weights: dict[str, Tensor] | None = None
    if start is not None:
        load_into(network, load_weights(run, start, "model"), run)
        load_into(average, load_weights(run, start, "ema"), run)
        restore_optimizer(
            bare_optimizer, load_weights(run, start, "optimizer"), stored["optimizer"]
        )
        best_weights = load_weights(run, start, "best") if state.best else None
    say(
        f"{'resuming at step ' + str(state.step) if state.step else 'training'}: "
        f"{len(sides['source'].seen)} source and {len(sides['target'].seen)} target faces, "
        f"{len(sides['source'].heldout)} and {len(sides['target'].heldout)} held out; "
        f"{config.model.architecture} {size} px on {fabric.device}, {fabric._precision.precision}"
        + (f", {fabric.world_size} processes" if fabric.world_size > 1 else "")
    )
    if not manifest.consent:
        say('no consent recorded: --set consent="who, when, to what"')
    if options.steps is None and options.minutes is None and options.patience is None:
        say("no --steps and no --minutes: training goes on until Ctrl-C, which saves")

    # The loop. A step depends on (seed, step) and the weights alone, so that a resumed run repeats
    # an uninterrupted one bit for bit on the same machine.
    log = RunLog(run, state.step) if first else None
    began, began_at, step = time.monotonic() - state.seconds, state, state.step
    parts, told_at = options.accumulate, state.seconds
    losses: dict[str, Any] = {}
    bar = tqdm(
        total=options.steps,
        initial=step,
        desc="train",
        unit="step",
        disable=None if first else True,
    )
    if log and step == 0:
        log.write({"step": 0, **heldout_losses(average, sides, size, options)}, state.seconds)
    with _stop_on_signal() as stopped, bar:
        while not (reason := _agreed(fabric, _why_stop(state, options))):
            # Draw this step's views of both sides.
            views = {
                side: draw_views(sides, size, options, step, side, fabric.device, share)
                for side in SIDES
            }

            # Set the learning rate.
            rate = (
                options.base_rate * state.plateau.scale * SCHEDULES[options.schedule](step, options)
            )
            for group in optimizer.param_groups:
                group["lr"] = rate

            # Forward and backward.
            gradient = partial(accumulate_gradient, fabric, model, optimizer, views, options)
            most = min(len(views[side].face) for side in SIDES)
            terms, parts = gradient_within_memory(gradient, min(parts, most), most, say)

            # Move the weights, and their average after them.
            if step < config.init.freeze_steps:
                for parameter in (p for part in frozen for p in part.parameters()):
                    parameter.grad = None
            if options.clip_norm:
                # One freak batch would otherwise cost Adam hundreds of steps.
                fabric.clip_gradients(
                    model, optimizer, max_norm=options.clip_norm, error_if_nonfinite=False
                )
            optimizer.step()
            if not keeps_average(bare_optimizer):
                update_ema(average, network, ema_decay(step, options.ema_decay))
            step += 1
            bar.update()
            state = replace(state, step=step, seconds=time.monotonic() - began)

            # What is to be done after this step?
            by_hand = _agreed(fabric, bool(stopped))
            stop_here = by_hand or _agreed(fabric, bool(_why_stop(state, options)))
            save_here = stop_here or step % options.save_every == 0
            log_here = step % options.log_every == 0
            judge_here = step % options.heldout_every == 0
            show_here = stop_here or step % options.preview_every == 0
            if keeps_average(bare_optimizer) and (save_here or judge_here or show_here):
                for mine, learned in zip(
                    average.parameters(), average_of(bare_optimizer, network), strict=True
                ):
                    mine.copy_(learned)

            # Log, before anything of this step can be saved.
            if log_here or save_here:
                terms = everywhere(fabric, terms)
                refuse_nonfinite_loss(terms, step, rate, _names(sides, options, step - 1))
                values = {f"{s}_{n}": t.item() for s in SIDES for n, t in terms[s].items()}
                loss = sum(values.values())
                if log and log_here:
                    log.write({"step": step, "loss": loss, **values, "lr": rate}, state.seconds)
                spent = state.seconds - began_at.seconds
                speed = 2 * options.batch * (step - began_at.step) / spent
                shown = {
                    "loss": f"{loss:.3f}",
                    "heldout": _shown(losses),
                    "faces_s": f"{speed:.0f}",
                }
                shown |= {"mem": memory_used(fabric.device), **_time_left(state, options)}
                bar.set_postfix(shown)
            if judge_here or stop_here:
                losses = _agreed(fabric, heldout_losses(average, sides, size, options))
                record, heldout = {"step": step, **losses}, losses["heldout"]
                if judge_here:
                    if state.best is None or heldout < state.best.heldout:
                        state = replace(state, best=Best(step, heldout))
                        best_weights = _copy_of(average)
                    if options.schedule == "plateau":
                        before = state.plateau
                        state = replace(state, plateau=next_plateau(before, heldout, options))
                        record |= {f"plateau_{n}": v for n, v in asdict(state.plateau).items()}
                        _tell_of_drop(before, state.plateau, step, bar, say)
                    stop_here = stop_here or _agreed(fabric, bool(_why_stop(state, options)))
                    save_here = save_here or stop_here
                    if log:
                        log.write(record, state.seconds)
            if bar.disable and (judge_here or stop_here or state.seconds - told_at >= 60):
                told_at = state.seconds
                say(f"step {step}  {told_at:.0f} s  held out {_shown(losses)}  lr {rate:.1e}")
            if first and (show_here or stop_here):
                sheet = preview_sheet(average, sides["source"], sides["target"], size)
                write_image(run / "previews" / f"step_{step:08d}.png", sheet)
                write_image(run / "preview.png", sheet)
            if save_here:
                refuse_nonfinite_weights(network, step)
                state = replace(state, seconds=time.monotonic() - began)
                if first:
                    save_checkpoint(
                        run,
                        state,
                        network,
                        average,
                        best_weights,
                        bare_optimizer,
                        manifest.lineage,
                        options.keep,
                    )
                fabric.barrier()
            if by_hand:
                reason = "stopped by hand"
                break
    if log:
        log.close()
    if reason == "stopped by hand":
        say(f"stopped at step {step}; saved. The same command goes on from here")
        raise KeyboardInterrupt
    return TrainSummary(step, time.monotonic() - began, reason)


def _say_what_curation_knows(
    sets: dict[Side, FaceSet], manifest: RunManifest, say: Callable[[str], None]
) -> None:
    """What the sets lack, and what was decided about their faces."""
    say_coverage(sets["source"], sets["target"], say)
    for side, faces in sets.items():
        if weights := getattr(manifest, side).weights:
            rare = sum(weight >= RARE for weight in weights.values())
            say(f"{side}: faces are drawn as curate weighed them, {rare} of them as rare ones")
        if pending := pending_rejections(faces):
            say(
                f"{side}: {pending} faces that curate rejects are in the set: "
                f"faceswap-lite curate {faces.path} --apply sets them aside"
            )


def _why_stop(state: RunState, options: TrainingConfig) -> str:
    if options.steps is not None and state.step >= options.steps:
        return f"all of its {options.steps} steps"
    if options.minutes is not None and state.seconds >= 60 * options.minutes:
        return f"its {options.minutes:g} minutes are over"
    if options.patience is not None and state.best is not None:
        since = state.step - state.best.step
        if since >= options.patience * options.heldout_every:
            return f"no better held-out loss than that of step {state.best.step}"
    return ""


def _shown(losses: dict[str, Any]) -> str:
    """The last held-out loss, with the mean PSNR of both sides' held-out faces."""
    if not losses:
        return "-"
    decibels = [losses[f"heldout_{side}_psnr_db"] for side in SIDES]
    known = [value for value in decibels if value is not None]
    beside = f" ({sum(known) / len(known):.1f} dB)" if known else ""
    return f"{losses['heldout']:.3f}{beside}"


def _time_left(state: RunState, options: TrainingConfig) -> dict[str, str]:
    """What the bar cannot know when a run ends by the clock."""
    if options.minutes is None:
        return {}
    return {"left": f"{max(0.0, options.minutes - state.seconds / 60):.0f}min"}


def _tell_of_drop(
    before: PlateauState, after: PlateauState, step: int, bar: Any, say: Callable[[str], None]
) -> None:
    if after.scale != before.scale:
        bar.clear()
        say(
            f"step {step}: no gain in the held-out loss; the rate goes from "
            f"{before.scale:g} to {after.scale:g} of training.lr"
        )


def _copy_of(average: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now, out of the GPU's way."""
    return {name: tensor.detach().cpu().clone() for name, tensor in average.state_dict().items()}


def _names(
    sides: dict[Side, SideData], options: TrainingConfig, step: int
) -> Callable[[], dict[Side, list[str]]]:
    """Which files a step's faces came from, worked out when somebody asks."""

    def names() -> dict[Side, list[str]]:
        drawn = {}
        for side in SIDES:
            chosen = draw_step(sides, options, step, side).chosen
            drawn[side] = [sides[side].names[place] for place in chosen.tolist()]
        return drawn

    return names


def _share_of_batch(fabric: Fabric, options: TrainingConfig) -> tuple[int, int]:
    """This process's number and how many there are. Raises: FaceswapError for unequal shares."""
    processes = fabric.world_size
    for side in SIDES:
        if (count := side_batch(options, side)) % processes:
            raise FaceswapError(
                f"training.batch: {count} {side} faces cannot be shared alike by {processes} "
                "processes; choose a multiple"
            )
    return fabric.global_rank, processes


def _agreed(fabric: Fabric, value: _Value) -> _Value:
    """The first process's value: only it looks at the clock and at the disk."""
    return fabric.broadcast(value) if fabric.world_size > 1 else value


def _say_nothing(line: str) -> None:
    """What the other processes say."""


def _place(side: SideData, device: torch.device) -> SideData:
    """Faces on the device where they fit beside the model; else they move batch by batch."""
    if device.type != "cuda":
        return side
    free, _ = torch.cuda.mem_get_info(device)
    if side.seen.nbytes + side.heldout.nbytes > free // 3:
        return side
    return replace(side, seen=side.seen.to(device), heldout=side.heldout.to(device))


@contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """Collects the first Ctrl-C or SIGTERM instead of raising; a second one stops at once."""
    stopped: list[int] = []

    def remember(number: int, _frame: Any) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)

    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, remember) for number in watched}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
