"""Finishing: the fine detail that averaging losses took, brought back after training.

The decoder of whoever is painted goes on alone, without augmentation, against a discriminator that
tells the detail of that person's true faces from that of swapped ones; rebuilt ones have a true
face, to whose detail they are held, and swaps become as sharp as they are. A guard looks at
held-out faces, ends the phase where it does harm, and keeps the best state. The run's own
checkpoints stay as they are (`runs/finished.py`).

After Isola et al. 2017, "Image-to-image translation with conditional adversarial networks" (patches
and a pixel loss), and Shrivastava et al. 2017, "Learning from simulated and unsupervised images"
(what is painted is held to what it was).
"""

import copy
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from ..config import AUGMENTED, Config, FinishConfig, Side, TrainingConfig
from ..errors import FaceswapError
from ..faces.face_set import FaceSet
from ..media.images import write_image
from ..models.autoencoder import SIDES, SwapAutoencoder
from ..models.crops import rebuild
from ..models.discriminator import PatchDiscriminator
from ..outputs import job_id, one_writer, whole_file
from ..runs.checkpoints import (
    Best,
    RunState,
    as_state,
    checkpoint_facts,
    latest_valid_checkpoint,
    load_weights,
    restore_optimizer,
    save_checkpoint,
    set_aside_newer,
)
from ..runs.finished import (
    finish_folder,
    finished_file,
    finished_weights,
    read_finish,
    undo_finish,
    write_finish,
)
from ..runs.hardware import pick_device
from ..runs.known import known_faces, open_known_set
from ..runs.load import load_run
from ..runs.log import LOG_FILE, RunLog
from ..runs.manifest import set_fingerprint
from ..runs.mask_weights import mask_of
from ..runs.trained import TrainedRun
from .adversarial import (
    ADVERSARIES,
    accuracy,
    augmented_alike,
    detail_in_excess,
    detail_wanted,
    fine_detail,
    laplacian,
    low_pass,
    patches_inside,
)
from .augmentation import Views
from .batches import SideData, sample_batch
from .finish_guard import Guard, GuardLook, as_record, best_look, from_record, why_end
from .loading import load_sides
from .loop import copy_of_weights
from .losses import weighted_mean
from .optimizers import ema_decay, update_ema
from .step import refuse_nonfinite_weights
from .stopping import stop_on_signal

SHARE_OF_TRAINING = 0.4
"""How long a finish takes, as a share of the training before it, where nobody says."""

BETAS = (0.5, 0.99)
"""Adam's, for both players: a long memory of the gradient makes adversaries circle."""

AVERAGE_DECAY = 0.99
"""Of the averaged weights: the phase has some hundreds of steps."""

FEW_FACES = 300
"""Of fewer faces a discriminator knows each by heart: true and painted ones are varied alike."""

MAX_GRADIENT = 10.0
"""About the middle of a decoder's gradient norms in a phase; single steps had three to eight times
as much, which with these betas Adam would follow a long way."""

METHOD = 2
"""Which way of finishing: a phase that another way began does not go on in this one."""


@dataclass(frozen=True)
class FinishSummary:
    """How a call of `finish_run` ended. `before`, `after`: the guard's look at the first and at the
    kept weights."""

    run: Path
    step: int
    seconds: float
    reason: str
    before: GuardLook
    after: GuardLook

    def lines(self) -> list[str]:
        """For a person to read."""
        lines = [
            f"{self.run}: finished, {self.step} steps, {self.seconds / 60:.1f} minutes "
            f"({self.reason})",
            f"before           {self.before.line()}",
        ]
        if self.after.step == 0:
            return [*lines, "no step of it was better than what was there: the run stays as it was"]
        return [*lines, f"kept, step {self.after.step:<5}{self.after.line()}"]


@dataclass(frozen=True)
class _Player:
    """One finished side, and who judges it."""

    side: Side
    discriminator: PatchDiscriminator


@dataclass(frozen=True)
class _Game:
    """All that a phase moves, and what it is held to."""

    network: SwapAutoencoder
    average: SwapAutoencoder
    before: SwapAutoencoder
    players: list[_Player]
    discriminators: nn.ModuleDict
    optimizer: torch.optim.Adam
    few: bool


@one_writer(lambda run, **_: [run])
def finish_run(
    run: Path, config: Config, *, overwrite: bool = False, say: Callable[[str], None] = print
) -> FinishSummary:
    """Finish a trained run by `config.training.finish`; go on with a finish that was interrupted.

    What the guard found best is used from then on wherever the run is; `undo_finish` takes it back.
    Raises: FaceswapError when the run or its face sets cannot be used, or its finish is one with
    other settings. KeyboardInterrupt, after saving, when a person stopped it.
    """
    options = config.training
    trained = load_run(run, say=say, finished=False)
    folder, job = finish_folder(run), _job(trained, options)
    if overwrite:
        undo_finish(run)
    limits = _limits(run, options.finish)
    facts = read_finish(run)
    # Damaged weights are made again of the phase's own checkpoint.
    whole = facts.get("weights") is None or finished_weights(run, trained.fingerprint)[0]
    if facts.get("job") == job and whole and (done := _done(run, facts, limits)):
        return done
    _refuse_other(folder, job)
    if options.threads:
        torch.set_num_threads(options.threads)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise FaceswapError("finish: runs in one process; call it without torchrun")
    sets = {side: _unchanged_set(trained, side) for side in SIDES}
    seen = mask_of(run).network() if options.visible_only else None
    data = load_sides(sets, trained.manifest, config.model.size, options.pose_balance, seen)
    sides = _sides(trained.model, options.finish)
    guard = Guard(trained, sides)
    for note in guard.notes:
        say(f"note: {note}")
    # In whole precision: half of it rounds away a level of 8 bits, the detail that this is about.
    device = pick_device(options.device)
    plain = _without_augmentation(options)
    first = sample_batch(data, config.model.size, plain, 0, device)
    game = _begin(device, trained.model, sides, data, options, first)
    state, best, looks = _restore(folder, game)
    say(
        f"{f'finishing, from step {state.step}' if state.step else 'finishing'} "
        f"{' and '.join(sides)}, {sum(len(data[side].seen) for side in SIDES)} faces; "
        f"{config.model.size} px on {device}"
    )
    _write_job(folder, job)
    log = RunLog(folder, state.step)
    began, reason = time.monotonic() - state.seconds, ""
    if not looks:
        looks.append(guard.look(game.average, 0))
        best = copy_of_weights(game.average)
        state = replace(state, best=Best(0, 0.0))
        log.write(as_record(looks[0]), state.seconds)
        say(f"step 0  {looks[0].line()}")
    bar = tqdm(None, "finish", limits.steps, initial=state.step, unit="step", disable=None)
    right = 0.5
    with stop_on_signal() as stopped, bar:
        while not (reason := limits.reached(state) or why_end(looks)):
            views = sample_batch(data, config.model.size, plain, state.step, device)
            now = finishing_step(game, views, options.finish, state.step, options.seed)
            right += 0.05 * (now["accuracy"] - right)
            bar.update()
            step, seconds = state.step + 1, time.monotonic() - began
            state = replace(state, step=step, seconds=seconds)
            ends = bool(limits.reached(state))
            if step % options.log_every == 0:
                log.write({"step": step, **now}, seconds)
            # Not where a person stops it: a look more would change what is kept in the end.
            if step % options.finish.every == 0 or ends:
                looks.append(guard.look(game.average, step))
                log.write(as_record(looks[-1]), seconds)
                if best_look(looks) == len(looks) - 1:
                    best = copy_of_weights(game.average)
                    state = replace(state, best=Best(step, looks[-1].error))
                bar.clear()
                say(f"step {step}  {looks[-1].line()}  adversary right {right:.0%}")
            if step % options.save_every == 0 or stopped or ends or why_end(looks):
                refuse_nonfinite_weights(game.network, step)
                _save(folder, replace(state, seconds=time.monotonic() - began), game, best)
            if stopped and not ends:
                log.close()
                say(f"stopped at step {step}; saved. The same command continues from here")
                raise KeyboardInterrupt
    log.close()
    kept = looks[best_look(looks)]
    assert best is not None, "the first look has left weights"
    _keep(run, trained, job, kept, looks[0], state, reason, best)
    _write_sheet(folder / "preview.png", trained, best, sides[0])
    return FinishSummary(run, state.step, state.seconds, reason, looks[0], kept)


def finishing_step(
    game: _Game, views: Mapping[Side, Views], options: FinishConfig, step: int, seed: int
) -> dict[str, float]:
    """One step of both players for each finished side; the losses, and the discriminator's share of
    right answers.

    A function of the weights, the views, the step and the seed alone.
    """
    told: dict[str, list[float]] = {}
    for place, player in enumerate(game.players):
        side, other = player.side, "target" if player.side == "source" else "source"
        true, shown = views[side], views[other]  # type: ignore[index]
        network = game.network
        with torch.no_grad():
            codes = network.encode(true.warped), network.encode(shown.warped)
            held = game.before.decode(codes[1], side)[0]
        rebuilt, swapped = (network.decode(code, side)[0] for code in codes)

        generator = torch.Generator().manual_seed((seed << 32) + 4 * step + 2 * place)
        losses = {
            "rebuild": weighted_mean((rebuilt - true.face).abs(), true.mask),
            "detail": weighted_mean((laplacian(rebuilt) - laplacian(true.face)).abs(), true.mask),
            "excess": detail_in_excess(swapped, shown.mask, true.face),
            "hold": weighted_mean((low_pass(swapped) - low_pass(held)).abs(), shown.mask),
        }
        if options.adversary:
            told.setdefault("accuracy", []).append(
                _judge(game, player, true, swapped.detach(), shown.mask, options, generator)
            )
            losses["adversary"] = _fool(game, player, swapped, shown.mask, options, generator)
        weights = {name: getattr(options, name) for name in losses}
        if options.adversary:
            wanted = detail_wanted(swapped, shown.mask, rebuilt, true.mask)
            weights["adversary"] *= wanted
            told.setdefault("wanted", []).append(wanted)
        game.optimizer.zero_grad(set_to_none=True)
        torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()
        nn.utils.clip_grad_norm_(game.optimizer.param_groups[0]["params"], MAX_GRADIENT)
        game.optimizer.step()
        for name, loss in losses.items():
            told.setdefault(name, []).append(float(loss.detach()))
    update_ema(game.average, game.network, ema_decay(step, AVERAGE_DECAY))
    return {"accuracy": 0.5, **{name: float(np.mean(values)) for name, values in told.items()}}


def _judge(
    game: _Game, player: _Player, true: Views, fake: Tensor, inside: Tensor,
    options: FinishConfig, generator: torch.Generator,
) -> float:  # fmt: skip
    """The discriminator learns; the share of its answers that were right."""
    real, real_inside = true.face, true.mask
    if game.few:
        real, real_inside = augmented_alike(real, real_inside, generator)
        fake, inside = augmented_alike(fake, inside, generator)
    answers = [player.discriminator(fine_detail(pictures)) for pictures in (real, fake)]
    edge = answers[0].shape[-1]
    given = answers[0], patches_inside(real_inside, edge), answers[1], patches_inside(inside, edge)
    loss = ADVERSARIES[options.kind].discriminator(*given)
    game.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    game.optimizer.step()
    return accuracy(options.kind, *given)


def _fool(
    game: _Game, player: _Player, fake: Tensor, inside: Tensor, options: FinishConfig,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """The painter's loss before the discriminator, which does not learn from it."""
    if game.few:
        fake, inside = augmented_alike(fake, inside, generator)
    player.discriminator.requires_grad_(False)
    answers = player.discriminator(fine_detail(fake))
    player.discriminator.requires_grad_(True)
    inside = patches_inside(inside, answers.shape[-1])
    return ADVERSARIES[options.kind].generator(answers, inside, options.label)


@dataclass(frozen=True)
class _Limits:
    steps: int | None
    minutes: float | None

    def reached(self, state: RunState) -> str:
        """Why a phase that stands there is over; empty: it is not."""
        if self.steps is not None and state.step >= self.steps:
            return f"all of its {self.steps} steps"
        if self.minutes is not None and state.seconds >= 60 * self.minutes:
            return f"all of its {self.minutes:.1f} minutes"
        return ""


def _limits(run: Path, options: FinishConfig) -> _Limits:
    if options.steps is not None or options.minutes is not None:
        return _Limits(options.steps, options.minutes)
    step, _ = latest_valid_checkpoint(run, "last")
    assert step is not None, "the run was loaded"
    seconds = as_state(checkpoint_facts(run, step)).seconds
    return _Limits(None, SHARE_OF_TRAINING * seconds / 60)


def _sides(network: SwapAutoencoder, options: FinishConfig) -> list[Side]:
    both = options.sides == "both" or len(set(network.painters.values())) == 1
    return list(SIDES) if both else [options.sides]  # type: ignore[list-item]


def _job(run: TrainedRun, options: TrainingConfig) -> str:
    """What the phase learns is a function of this; how long it takes is not."""
    settings = options.finish.model_dump(exclude={"steps", "minutes", "after_training"})
    now = {"seed": options.seed, "batch": options.batch, "method": METHOD}
    return job_id(began_with=run.fingerprint, **now, **settings)


def _refuse_other(folder: Path, job: str) -> None:
    try:
        known = (folder / _JOB_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):
        known = ""
    if known != job:
        raise FaceswapError(
            f"{folder}: is a finish of other weights or with other settings; --undo takes it back, "
            "--overwrite makes it anew"
        )


_JOB_FILE = "job.txt"


def _write_job(folder: Path, job: str) -> None:
    with whole_file(folder / _JOB_FILE) as partial:
        partial.write_text(job, encoding="utf-8")


def _done(run: Path, facts: dict[str, Any], limits: _Limits) -> FinishSummary | None:
    """The summary of a finish that has nothing left to do."""
    state = RunState(step=facts["step"], seconds=facts["seconds"])
    if not (limits.reached(state) or facts["ended"]):
        return None
    looks = [from_record(facts[name]) for name in ("before", "after")]
    return FinishSummary(run, state.step, state.seconds, "already done", *looks)


def _unchanged_set(run: TrainedRun, side: Side) -> FaceSet:
    faces = open_known_set(run, side, minimum=10)
    if set_fingerprint(faces) != run.manifest.of(side).fingerprint:
        raise FaceswapError(
            f"{faces.path}: has changed since the run was trained on it; train on with it first"
        )
    return faces


def _without_augmentation(options: TrainingConfig) -> TrainingConfig:
    still = dict.fromkeys(
        (*AUGMENTED, "hue", "saturation", "value", "color_transfer", "occlude"), 0.0
    )
    augment = options.augment.model_copy(update={"kind": "hand", **still})
    return options.model_copy(update={"augment": augment})


def _begin(
    device: torch.device, network: SwapAutoencoder, sides: Sequence[Side],
    data: Mapping[Side, SideData], options: TrainingConfig, first: Mapping[Side, Views],
) -> _Game:  # fmt: skip
    """Both players at their start: the run's weights, and fresh discriminators, which see the
    detail of the first faces at a scale of their own."""
    before, network, average = (copy.deepcopy(network).requires_grad_(False) for _ in range(3))
    for module in (before, network, average):
        module.to(device)
    learning = [
        parameter
        for part in sorted({network.painters[side] for side in sides})
        # What covers a face is no matter of detail.
        for name, parameter in network.get_submodule(part).named_parameters()
        if not name.startswith("mask")
    ]
    for parameter in learning:
        parameter.requires_grad_(True)
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        players = [_Player(side, PatchDiscriminator()) for side in sides]
    for player in players:
        true = first[player.side]
        of_true = weighted_mean(fine_detail(true.face).square(), true.mask).sqrt()
        player.discriminator.true_rms.copy_(of_true.clamp(min=1e-4))
    discriminators = nn.ModuleDict({player.side: player.discriminator for player in players})
    discriminators.to(device)
    finish = options.finish
    optimizer = torch.optim.Adam(
        [
            {"params": learning, "lr": finish.lr},
            {"params": list(discriminators.parameters()), "lr": finish.adversary_lr},
        ],
        betas=BETAS,
    )
    few = min(len(data[side].seen) for side in sides) < FEW_FACES
    return _Game(network, average, before, players, discriminators, optimizer, few)


def _restore(
    folder: Path, game: _Game
) -> tuple[RunState, dict[str, Tensor] | None, list[GuardLook]]:
    """Where a phase stood: its state, the best weights, and the looks so far."""
    start, _ = latest_valid_checkpoint(folder)
    if start is None:
        return RunState(), None, []
    set_aside_newer(folder, start)
    facts = checkpoint_facts(folder, start)
    for name, module in (
        ("model", game.network), ("ema", game.average), ("discriminator", game.discriminators),
    ):  # fmt: skip
        module.load_state_dict(load_weights(folder, start, name))
    restore_optimizer(game.optimizer, load_weights(folder, start, "optimizer"), facts["optimizer"])
    looks = [
        from_record(record)
        for line in (folder / LOG_FILE).read_text(encoding="utf-8").splitlines()
        if "swap_sharpness" in (record := json.loads(line)) and record["step"] <= start
    ]
    return as_state(facts), load_weights(folder, start, "best"), looks


def _save(folder: Path, state: RunState, game: _Game, best: dict[str, Tensor] | None) -> None:
    weights = {
        "model": game.network.state_dict(),
        "ema": game.average.state_dict(),
        "discriminator": game.discriminators.state_dict(),
    }
    if best is not None:
        weights["best"] = best
    save_checkpoint(folder, state, weights, game.optimizer, [], keep=1)


def _keep(
    run: Path, trained: TrainedRun, job: str, kept: GuardLook, first: GuardLook, state: RunState,
    reason: str, best: dict[str, Tensor],
) -> None:  # fmt: skip
    """The phase's result, where the run's users look for it; none where nothing was better."""
    file = finished_file(run)
    if kept.step:
        with whole_file(file) as partial:
            save_file({name: tensor.contiguous() for name, tensor in best.items()}, partial)
    else:
        file.unlink(missing_ok=True)
    facts = {"job": job, "began_with": trained.fingerprint, "step": state.step}
    facts |= {"seconds": state.seconds, "reason": reason, "ended": not reason.startswith("all of")}
    write_finish(run, {**facts, "before": as_record(first), "after": as_record(kept)})


def _write_sheet(path: Path, trained: TrainedRun, best: dict[str, Tensor], side: Side) -> None:
    """Faces of the other side; painted before the phase; and after it."""
    other: Side = "target" if side == "source" else "source"
    crops = known_faces(trained, other, maximum=8).crops
    finished = copy.deepcopy(trained.model).cpu()
    finished.load_state_dict(best)
    rows = [crops / 255.0, *(rebuild(net, crops, side) for net in (trained.model.cpu(), finished))]
    sheet = np.concatenate([np.concatenate(list(row), 1) for row in rows])
    write_image(path, np.round(np.clip(sheet, 0, 1) * 255).astype(np.uint8))
