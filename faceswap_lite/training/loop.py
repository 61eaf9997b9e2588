"""The training loop, read top to bottom."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..config import Side, TrainingConfig
from ..media.images import write_image
from ..models.autoencoder import SIDES
from ..runs.checkpoints import Best, PlateauState, RunState, save_checkpoint
from ..runs.hardware import agreed, memory_used
from ..runs.log import RunLog
from .batches import SideData, sample_batch, sample_step
from .heldout import heldout_losses
from .preview import preview_sheet
from .schedules import SCHEDULES, next_plateau
from .step import (
    Learner,
    everywhere,
    refuse_nonfinite_loss,
    refuse_nonfinite_weights,
    take_average,
    train_step,
)
from .stopping import stop_on_signal, why_stop


@dataclass(frozen=True)
class TrainSummary:
    """How a call of `train` ended: where the run stands, and why it stopped."""

    step: int
    seconds: float
    reason: str


@dataclass(frozen=True)
class ReadyRun:
    """A run that can be trained on."""

    learner: Learner
    sides: dict[Side, SideData]
    size: int
    """Side of the model's faces, px."""
    options: TrainingConfig
    """The config's, with the rate as a number."""
    lineage: list[dict[str, Any]]
    """The runs that the first weights came from."""
    state: RunState
    best: dict[str, Tensor] | None
    """The averaged weights of `state.best`."""
    share: tuple[int, int]
    """This process's number, and how many share a batch."""


def run_loop(run: Path, ready: ReadyRun, say: Callable[[str], None]) -> TrainSummary:
    """Train until `why_stop` has a reason, or Ctrl-C; save, log and show on the way.

    Under `torchrun`, every process takes its share of each batch and the first one writes.
    Raises: FaceswapError when the loss stops being a number. KeyboardInterrupt, after saving, when
    a person stopped it.
    """
    learner, sides, size, options = ready.learner, ready.sides, ready.size, ready.options
    fabric = learner.fabric
    first = fabric.is_global_zero

    # A step depends on (seed, step), the weights and the run's state alone, all of them saved, so
    # that a resumed run repeats an uninterrupted one bit for bit on the same machine.
    log = RunLog(run, ready.state.step) if first else None
    state, best_weights = ready.state, ready.best
    step, parts, told_at = state.step, options.accumulate, state.seconds
    losses: dict[str, Any] = {}
    bar = tqdm(
        None, "train", options.steps, initial=step, unit="step", disable=None if first else True
    )
    if log and step == 0:
        begun = heldout_losses(learner.average, sides, size, options.loss, fabric.autocast)
        log.write({"step": 0, **begun}, state.seconds)
    began = time.monotonic() - state.seconds
    with stop_on_signal() as stopped, bar:
        while not (reason := agreed(fabric, why_stop(state, options))):
            # Draw this step's views of both sides.
            views = sample_batch(sides, size, options, step, fabric.device, ready.share)

            # Learn from them at this step's rate.
            scheduled = SCHEDULES[options.schedule.kind](step, options.schedule, options.steps)
            rate = options.base_rate * state.plateau.scale * scheduled
            terms, parts = train_step(learner, views, options, step, rate, parts, say)
            step += 1
            bar.update()
            state = replace(state, step=step, seconds=time.monotonic() - began, heldout=None)

            # What is to be done after this step?
            by_hand = agreed(fabric, bool(stopped))
            stop_here = by_hand or agreed(fabric, bool(why_stop(state, options)))
            save_here = stop_here or step % options.save_every == 0
            log_here = step % options.log_every == 0
            judge_here = step % options.heldout.every == 0
            show_here = stop_here or step % options.preview_every == 0
            if save_here or judge_here or show_here:
                take_average(learner)

            # Log, before anything of this step can be saved.
            if log_here or save_here:
                terms = everywhere(fabric, terms)
                refuse_nonfinite_loss(terms, step, rate, _names(sides, options, step - 1))
                values = {f"{s}_{n}": t.item() for s in SIDES for n, t in terms[s].items()}
                loss = sum(values.values())
                if log and log_here:
                    log.write({"step": step, "loss": loss, **values, "lr": rate}, state.seconds)
                speed = (step - ready.state.step) / (state.seconds - ready.state.seconds)
                bar.set_postfix(_progress(loss, losses, speed, state, options, fabric.device))

            # Judge the weights by the faces that they never learned from.
            if judge_here or stop_here:
                judged = heldout_losses(learner.average, sides, size, options.loss, fabric.autocast)
                losses = agreed(fabric, judged)
                state = replace(state, heldout=losses["heldout"])
            if judge_here:
                before, state = state, _judged(state, losses["heldout"], options)
                if state.best != before.best:
                    best_weights = copy_of_weights(learner.average)
                _tell_of_drop(before.plateau, state.plateau, step, bar, say)
                stop_here = stop_here or agreed(fabric, bool(why_stop(state, options)))
                save_here = save_here or stop_here
            if log and (judge_here or stop_here):
                record = {"step": step, **losses} | ({} if judge_here else {"ended": True})
                if judge_here and options.schedule.kind == "plateau":
                    record |= {f"plateau_{n}": v for n, v in asdict(state.plateau).items()}
                log.write(record, state.seconds)
            if bar.disable and (judge_here or stop_here or state.seconds - told_at >= 60):
                told_at = state.seconds
                say(f"step {step}  {told_at:.0f} s  held out {_shown(losses)}  lr {rate:.1e}")

            # Show, and save.
            if first and (show_here or stop_here):
                sheet = preview_sheet(learner.average, sides["source"], sides["target"], size)
                write_image(run / "previews" / f"step_{step:08d}.png", sheet)
                write_image(run / "preview.png", sheet)
            if save_here:
                refuse_nonfinite_weights(learner.network, step)
                state = replace(state, seconds=time.monotonic() - began)
                if first:
                    _save(run, state, learner, best_weights, ready)
                fabric.barrier()
            if by_hand:
                reason = "stopped by hand"
                break
    if log:
        log.close()
    if reason == "stopped by hand":
        say(f"stopped at step {step}; saved. The same command continues from here")
        raise KeyboardInterrupt
    return TrainSummary(step, time.monotonic() - began, reason)


def _save(
    run: Path,
    state: RunState,
    learner: Learner,
    best_weights: dict[str, Tensor] | None,
    ready: ReadyRun,
) -> None:
    weights = {"model": learner.network.state_dict(), "ema": learner.average.state_dict()}
    if best_weights is not None:
        weights["best"] = best_weights
    lineage, keep = ready.lineage, ready.options.keep
    save_checkpoint(run, state, weights, learner.optimizer, lineage, keep)


def _judged(state: RunState, heldout: float, options: TrainingConfig) -> RunState:
    """The state after a look at the held-out faces: the best so far, and what a plateau does."""
    if state.best is None or heldout < state.best.heldout:
        state = replace(state, best=Best(state.step, heldout))
    if options.schedule.kind == "plateau":
        state = replace(state, plateau=next_plateau(state.plateau, heldout, options.schedule))
    return state


def _progress(
    loss: float,
    losses: dict[str, Any],
    speed: float,
    state: RunState,
    options: TrainingConfig,
    device: torch.device,
) -> dict[str, str]:
    """What stands behind the bar; `speed` in steps a second."""
    shown = {
        "loss": f"{loss:.3f}",
        "heldout": _shown(losses),
        "faces_s": f"{2 * options.batch * speed:.0f}",
        "mem": memory_used(device),
    }
    if options.minutes is not None:
        # What the bar cannot know when a run ends by the clock.
        shown["left"] = f"{max(0.0, options.minutes - state.seconds / 60):.0f}min"
    return shown


def _shown(losses: dict[str, Any]) -> str:
    """The last held-out loss, with the mean PSNR of both sides' held-out faces."""
    if not losses:
        return "-"
    decibels = [losses[f"heldout_{side}_psnr_db"] for side in SIDES]
    known = [value for value in decibels if value is not None]
    beside = f" ({sum(known) / len(known):.1f} dB)" if known else ""
    return f"{losses['heldout']:.3f}{beside}"


def _tell_of_drop(
    before: PlateauState, after: PlateauState, step: int, bar: Any, say: Callable[[str], None]
) -> None:
    if after.scale != before.scale:
        bar.clear()
        say(
            f"step {step}: no gain in the held-out loss; the rate goes from "
            f"{before.scale:g} to {after.scale:g} of training.lr"
        )


def copy_of_weights(average: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now, out of the GPU's way."""
    return {name: tensor.detach().cpu().clone() for name, tensor in average.state_dict().items()}


def _names(
    sides: dict[Side, SideData], options: TrainingConfig, step: int
) -> Callable[[], dict[Side, list[str]]]:
    """Which files a step's faces came from, worked out when somebody asks."""

    def names() -> dict[Side, list[str]]:
        drawn = {}
        for side in SIDES:
            chosen = sample_step(sides, options, step, side).chosen
            drawn[side] = [sides[side].names[place] for place in chosen.tolist()]
        return drawn

    return names
