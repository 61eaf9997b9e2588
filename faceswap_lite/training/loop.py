"""The training loop, read top to bottom."""

import copy
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ..config import Config, TrainingConfig
from ..errors import FaceswapError
from ..faces import FaceSet
from ..media import write_image
from ..models import SIDES, Side, SwapAutoencoder, build_model
from ..outputs import claim, write_text
from .augment import central_views
from .batches import SideData, draw_views, load_side
from .checkpoints import (
    Progress,
    load_into,
    load_weights,
    newest_good,
    read_state,
    remove_after,
    restore_optimizer,
    save_checkpoint,
)
from .ema import ema_decay, update_ema
from .hardware import memory_used, pick_device, pick_precision
from .objective import side_loss
from .optimizers import build_optimizer
from .preview import preview_sheet
from .range_test import CURVE_FILE, SWEEP_FILE, rate_of_new_run
from .runs import FACTS_FILE, carry_on, describe_run, read_facts, write_run
from .schedules import SCHEDULES, PlateauState, next_plateau

HELDOUT_FACES = 128
"""Held-out faces of each side that a held-out loss looks at, spread evenly over all."""


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
    """Train until the config's steps or minutes are spent, or Ctrl-C; resume what `run` holds.

    Raises: FaceswapError when the sets do not go together, `run` is another job's, or the loss
    stops being a number. KeyboardInterrupt, after saving, when a person stopped it.
    """
    options, size = config.training, config.model.size
    device = pick_device(options.device)

    # What is this run, and where does it stand?
    facts = describe_run(source, target, config)
    found = read_facts(run) if (run / FACTS_FILE).is_file() else None
    start, problems = newest_good(run)
    if problems and start is None:
        raise FaceswapError(f"{run}: no checkpoint is good ({problems[0]}); or pass --overwrite")
    for problem in problems:
        say(f"warning: {problem}; going on from step {start}")
    done = Progress(0, 0.0)
    if found is not None and start is not None:
        state = read_state(run, start)
        done = Progress(start, state["seconds"])
    finished = start is not None and _is_over(done, options)
    # A range test by itself is no run: training begins beside it.
    is_empty = run.is_dir() and {p.name for p in run.iterdir()} <= {CURVE_FILE, SWEEP_FILE}
    action = (
        "start"
        if is_empty
        else claim(
            run, facts.job, found.job if found else None, finished=finished, overwrite=overwrite
        )
    )
    if action == "done":
        return TrainSummary(done.step, done.seconds, "already done")
    if action == "start" and run.exists() and not is_empty:
        if found is None and any(run.iterdir()):
            raise FaceswapError(f"{run}: is not a run folder and not empty; choose another name")
        _clear(run)
    if action == "resume" and found is not None:
        facts = carry_on(found, facts, say)
        remove_after(run, start)
    sides: dict[Side, SideData] = {
        "source": load_side(source, size, options),
        "target": load_side(target, size, options),
    }
    write_run(run, facts, config)

    # Device, precision, model, optimiser.
    if options.threads:
        torch.set_num_threads(options.threads)
    fabric = Fabric(
        accelerator=device.type,
        devices=1,
        precision=pick_precision(options.precision, device),  # type: ignore[arg-type]
    )
    network = build_model(config.model, options.seed)
    if fabric.device.type == "cuda":
        # Tensor cores want channels last; on CPUs it measured slower.
        network = network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).requires_grad_(False)
    plateau = PlateauState()
    if options.lr == "auto":
        if facts.lr is None:
            say(f"lr auto: a range test of up to {options.find_lr_steps} steps comes first")
            named = rate_of_new_run(run, facts, network, sides, config, device)
            # Kept: a resumed run goes on at the rate that it began with.
            facts = facts.model_copy(update={"lr": named})
            write_run(run, facts, config)
        say(f"rate {facts.lr:.1e}, named by a range test ({run / CURVE_FILE})")
        options = options.model_copy(update={"lr": facts.lr})
    optimizer = build_optimizer(network, options)
    model, optimizer = fabric.setup(network, optimizer)
    fabric.to_device(average)
    sides = {name: _place(side, fabric.device) for name, side in sides.items()}
    if action == "resume" and start is not None:
        load_into(network, load_weights(run, start, "model"), run)
        load_into(average, load_weights(run, start, "ema"), run)
        restore_optimizer(optimizer, load_weights(run, start, "optimizer"), state["optimizer"])
        plateau = PlateauState(**state["plateau"])
    else:
        done = Progress(0, 0.0)
    say(
        f"{'resuming at step ' + str(done.step) if done.step else 'training'}: "
        f"{len(sides['source'].seen)} source and {len(sides['target'].seen)} target faces, "
        f"{len(sides['source'].heldout)} and {len(sides['target'].heldout)} held out; "
        f"{config.model.architecture} {size} px on {fabric.device}, {fabric._precision.precision}"
    )
    if options.steps is None and options.minutes is None:
        say("no --steps and no --minutes: training goes on until Ctrl-C, which saves")

    # The loop. A step depends on (seed, step) and the weights alone, so that a resumed run repeats
    # an uninterrupted one bit for bit on the same machine.
    log = _open_log(run, done.step)
    board = SummaryWriter(str(run / "tensorboard"), purge_step=done.step + 1)
    step, began = done.step, time.monotonic() - done.seconds
    reason, heldout = "", float("nan")
    bar = tqdm(total=options.steps, initial=step, desc="train", unit="step", disable=None)
    with _stop_on_signal() as stopped, log, bar:
        while not (reason := _why_stop(Progress(step, time.monotonic() - began), options)):
            # Draw this step's views of both sides.
            views = {
                side: draw_views(sides[side], size, options, step, side, fabric.device)
                for side in SIDES
            }

            # Set the learning rate.
            rate = options.base_rate * plateau.scale * SCHEDULES[options.schedule](step, options)
            for group in optimizer.param_groups:
                group["lr"] = rate

            # Forward: each identity is rebuilt by its own path from the one shared code.
            painted = model(views["source"].warped, views["target"].warped)
            terms = {
                side: side_loss(painted[place], views[side], options)
                for place, side in enumerate(SIDES)
            }
            loss = torch.stack([term for side in SIDES for term in terms[side].values()]).sum()

            # Backward.
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            if options.clip_norm:
                # One freak batch would otherwise cost Adam hundreds of steps.
                fabric.clip_gradients(
                    model, optimizer, max_norm=options.clip_norm, error_if_nonfinite=False
                )
            optimizer.step()
            update_ema(average, network, ema_decay(step, options.ema_decay))
            step += 1
            bar.update()

            # Log, before anything of this step can be saved.
            now = Progress(step, time.monotonic() - began)
            stop_here = bool(stopped) or bool(_why_stop(now, options))
            save_here = stop_here or step % options.save_every == 0
            if step % options.log_every == 0 or save_here:
                value = _finite(loss, step, rate)
                record = {
                    "step": step,
                    "loss": value,
                    **{
                        f"{side}_{name}": term.item()
                        for side in SIDES
                        for name, term in terms[side].items()
                    },
                    "lr": rate,
                }
                if step % options.log_every == 0:
                    _write_log(log, board, record, now.seconds)
                speed = 2 * options.batch * (step - done.step) / (now.seconds - done.seconds)
                bar.set_postfix(
                    loss=f"{value:.3f}",
                    heldout=f"{heldout:.3f}",
                    faces_s=f"{speed:.0f}",
                    mem=memory_used(fabric.device),
                )
            if step % options.heldout_every == 0 or stop_here:
                losses = {s: heldout_loss(average, sides[s], size, options, s) for s in SIDES}
                heldout = sum(losses.values())
                if step % options.heldout_every == 0:
                    record = {"step": step, "heldout": heldout}
                    record |= {f"heldout_{side}": losses[side] for side in SIDES}
                    if options.schedule == "plateau":
                        before, plateau = plateau, next_plateau(plateau, heldout, options)
                        record |= {f"plateau_{name}": v for name, v in asdict(plateau).items()}
                        if plateau.scale != before.scale:
                            bar.clear()
                            say(
                                f"step {step}: no gain in the held-out loss; the rate goes from "
                                f"{before.scale:g} to {plateau.scale:g} of training.lr"
                            )
                    _write_log(log, board, record, now.seconds)
                if bar.disable:
                    say(
                        f"step {step}  {now.seconds:.0f} s  loss {loss.item():.3f}  "
                        f"held out {heldout:.3f}  lr {rate:.1e}"
                    )
            if step % options.preview_every == 0 or stop_here:
                sheet = preview_sheet(average, sides["source"], sides["target"], size)
                write_image(run / "previews" / f"step_{step:08d}.png", sheet)
                write_image(run / "preview.png", sheet)
            if save_here:
                _check_weights(network, step)
                now = Progress(step, time.monotonic() - began)
                save_checkpoint(run, now, network, average, optimizer, plateau, options.keep)
            if stopped:
                reason = "stopped by hand"
                break
    board.close()
    if stopped:
        say(f"stopped at step {step}; saved. The same command goes on from here")
        raise KeyboardInterrupt
    return TrainSummary(step, time.monotonic() - began, reason)


@torch.no_grad()
def heldout_loss(
    average: SwapAutoencoder, data: SideData, size: int, options: TrainingConfig, side: Any
) -> float:
    """The loss of the averaged weights on one side's held-out faces, unwarped."""
    device = next(average.parameters()).device
    chosen = torch.linspace(0, len(data.heldout) - 1, min(HELDOUT_FACES, len(data.heldout))).long()
    total = 0.0
    for part in chosen.split(32):
        views = central_views(data.heldout[part].to(device), size, data.side_with_margin)
        terms = side_loss(average.paint(views.warped, side), views, options)
        total += sum(float(term) for term in terms.values()) * len(part)
    return total / len(chosen)


def _is_over(progress: Progress, options: TrainingConfig) -> bool:
    return bool(_why_stop(progress, options))


def _why_stop(progress: Progress, options: TrainingConfig) -> str:
    if options.steps is not None and progress.step >= options.steps:
        return f"{options.steps} steps done"
    if options.minutes is not None and progress.seconds >= 60 * options.minutes:
        return f"{options.minutes:g} minutes spent"
    return ""


def _finite(loss: torch.Tensor, step: int, rate: float) -> float:
    value = loss.item()
    if value != value or value in (float("inf"), float("-inf")):
        raise FaceswapError(
            f"step {step}: the loss is no longer a number (rate {rate:.1e}); the last "
            "checkpoint is good: try training.lr three times lower, or training.precision=32-true"
        )
    return value


def _check_weights(network: SwapAutoencoder, step: int) -> None:
    # The loss is that of the weights before this step's update; what is saved are those after it.
    if not all(bool(p.isfinite().all()) for p in network.parameters()):
        raise FaceswapError(
            f"step {step}: the weights are no longer numbers; the last checkpoint is good: try "
            "training.lr three times lower, or training.precision=32-true"
        )


def _place(side: SideData, device: torch.device) -> SideData:
    """Faces on the device where they fit beside the model; else they move batch by batch."""
    if device.type != "cuda":
        return side
    free, _ = torch.cuda.mem_get_info(device)
    if side.seen.nbytes + side.heldout.nbytes > free // 3:
        return side
    return SideData(side.seen.to(device), side.heldout.to(device), side.side_with_margin)


def _clear(run: Path) -> None:
    """Remove what an earlier run wrote into this folder, and nothing else."""
    for name in ("checkpoints", "previews", "tensorboard"):
        shutil.rmtree(run / name, ignore_errors=True)
    for name in ("log.jsonl", "preview.png", "config.yaml", CURVE_FILE, SWEEP_FILE, FACTS_FILE):
        (run / name).unlink(missing_ok=True)


def _open_log(run: Path, step: int) -> Any:
    """The log, with lines after `step` dropped: those steps will be done again."""
    path = run / "log.jsonl"
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_text(path, "".join(line + "\n" for line in kept))
    return path.open("a", encoding="utf-8")


def _write_log(log: Any, board: SummaryWriter, record: dict[str, Any], seconds: float) -> None:
    log.write(json.dumps({**record, "seconds": round(seconds, 2)}) + "\n")
    log.flush()
    for name, value in record.items():
        if name != "step":
            board.add_scalar(name.replace("_", "/", 1), value, record["step"])


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
