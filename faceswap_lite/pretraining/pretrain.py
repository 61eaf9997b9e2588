"""The `base` stage: a network that has seen thousands of rendered people, for others to begin with.

Every moment is acted by several people. The network sees one of them, is told who another one is,
and paints that one: so what it puts into the code is what they have in common.
"""

import copy
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from ..actors.cast import FIRST_OF_CROWD
from ..config import (
    AUGMENTED,
    Config,
    HeldoutConfig,
    LossConfig,
    OptimizerConfig,
    TrainingConfig,
    options_of,
)
from ..errors import FaceswapError
from ..faces.face_set import FaceSet
from ..faces.user_masks import masks_fingerprint
from ..faces.weights import find_weights
from ..models.architectures import build_model
from ..outputs import LOCK_SUFFIXES, TOOL, found_job, job_id, one_writer, write_json
from ..renames import under_old_names
from ..runs.bases import SUFFIX, read_base, write_base
from ..runs.checkpoints import (
    RunState,
    as_state,
    checkpoint_facts,
    drop_old,
    latest_valid_checkpoint,
    load_weights,
    restore_optimizer,
    save_checkpoint,
    set_aside_newer,
)
from ..runs.hardware import build_fabric
from ..runs.log import LOG_FILE, RunLog
from ..runs.manifest import set_fingerprint
from ..runs.split import FaceGroup, assign_split, read_roles
from ..training.augmentation import Geometry, Views, draw_geometry, make_views
from ..training.augmentation_strength import augmented
from ..training.loading import load_pixels
from ..training.optimizers import build_optimizer, ema_decay, update_ema
from ..training.schedules import cosine
from ..training.step import refuse_nonfinite_weights, side_loss
from .crowd import COVERAGE_SHARES, MARGIN, PEOPLE, traits_scale
from .person import PersonPainter
from .pool import GROUP, Pool, sample

BASE_JOB_FILE = "base.json"

STRENGTH = 0.5
"""Of the augmentation, where that is `auto`: people are many, but each stays the same."""

_WARM_UP = 100
"""Steps in which the rate rises: weights are fresh, whatever runs that begin with the base need."""

_LEARNED_BY = {
    "batch", "seed", "lr", "schedule.warmup_steps", "heldout.by", "heldout.share", "heldout.gap",
    *(f"optimizer.{name}" for name in OptimizerConfig.model_fields),
    *(f"loss.{name}" for name in LossConfig.model_fields),
    *(f"augment.{name}" for name in ("flip", *AUGMENTED)),
}  # fmt: skip
"""Options of `training` that make a base what it is; the others play no part, or only save."""


@dataclass(frozen=True)
class Batch:
    """Faces in twos; of each two, both are the same moment, or the same real person."""

    pixels: Float[Tensor, "b 5 m m"]
    traits: Float[Tensor, "b t"]
    """Of rendered people, scaled."""
    sets: Int[Tensor, " b"]
    """Which real person it is; -1: a rendered one."""
    painted: Int[Tensor, " b"]
    """Whom each face is to be painted as: a place in the batch."""


@one_writer(lambda out, work, **_: [out, work])
def make_base(
    out: Path,
    work: Path,
    config: Config,
    faces: Sequence[FaceSet] = (),
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Pretrain the config's network and write it as a base; go on with what `work` holds.

    `faces`: sets of real people, a person each, to learn from beside the rendered ones.
    Raises: FaceswapError when `out` is another's, `work` is another job's, or the disk is full.
    """
    if out.suffix != SUFFIX:
        raise FaceswapError(f"{out}: a base's name must end in {SUFFIX}")
    options = _options_of(config)
    seen = [_seen_of(one, config.training.heldout) for one in faces]
    learned_by = {k: v for k, v in options_of(options).items() if k in _LEARNED_BY}
    told: dict[str, Any] = {
        "model": config.model.model_dump(),
        "base": config.base.model_dump(),
        "training": learned_by,
        "faces": [[set_fingerprint(one), masks_fingerprint(one)] for one in faces],
    }
    job = job_id(**told | {"training": under_old_names("training", learned_by)})
    if out.exists() and not overwrite:
        if read_base(out).recipe.get("job") != job:
            raise FaceswapError(f"{out}: exists and is another base; pass --overwrite")
        say(f"{out}: already done")
        return
    _claim(work, job, overwrite)
    if options.threads:
        torch.set_num_threads(options.threads)
    own = [
        _pixels_of(one, groups, config.model.size) for one, groups in zip(faces, seen, strict=True)
    ]
    fabric = build_fabric(options.device, options.precision)
    with_mesh = _has_mesh(say)
    pool = Pool(work, config.base.crops // GROUP, config.model.size, with_mesh)
    average, seconds = _pretrained(fabric, work, config, options, pool, own, say)

    # The average of everybody is whom it paints when it is not told.
    average.fold(average.of_traits(torch.zeros(1, pool.traits.shape[-1]))[0])
    steps, groups = config.base.steps, _made(pool, config, config.base.steps)
    recipe = {
        **told,
        "job": job,
        "tool": TOOL,
        "people": PEOPLE * groups,
        "seeds": [FIRST_OF_CROWD, FIRST_OF_CROWD + PEOPLE * groups - 1],
        "crops": GROUP * groups,
        "mesh": with_mesh,
        "minutes": round(seconds / 60, 1),
        "faces": [len(pixels) for pixels in own],
        # A run that begins with it must not take what it has seen for unseen.
        "groups": [group.model_dump() for groups in seen for group in groups],
        "consent": config.consent.strip(),
    }
    write_base(out, average.network, config.model, recipe, steps, tuple(COVERAGE_SHARES))
    say(f"{out}: {PEOPLE * groups} people, {steps} steps; train --init {out}")


def _options_of(config: Config) -> TrainingConfig:
    """How the base learns. Raises: FaceswapError for what cannot be done here."""
    options = config.training
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise FaceswapError("base: is made by a single process; run it without torchrun")
    if options.lr == "auto":
        raise FaceswapError("base: training.lr is auto; set a rate, such as 1e-3")
    if options.optimizer.kind == "schedulefree":
        raise FaceswapError(
            "base: training.optimizer.kind schedulefree does not work here, where the rate "
            "falls to 0; choose another"
        )
    schedule = options.schedule.model_copy(update={"warmup_steps": _WARM_UP})
    augment = augmented(options.augment, STRENGTH)
    update = {"steps": config.base.steps, "schedule": schedule, "augment": augment}
    return options.model_copy(update=update)


def _pretrained(
    fabric: Fabric,
    work: Path,
    config: Config,
    options: TrainingConfig,
    pool: Pool,
    own: Sequence[UInt8[Tensor, "n 5 m m"]],
    say: Callable[[str], None],
) -> tuple[PersonPainter, float]:
    """The averaged weights after all steps, on the CPU, and the seconds that they took."""
    steps, every, size = config.base.steps, config.base.renew_every, config.model.size
    painter = _fresh_painter(config, pool.traits.shape[-1], len(own))
    average = copy.deepcopy(painter).requires_grad_(False)
    optimizer = build_optimizer(painter, options.optimizer, options.base_rate)
    model: Any
    model, wrapped = fabric.setup(painter, optimizer)
    fabric.to_device(average)
    state = RunState()
    start, problems = latest_valid_checkpoint(work)
    if problems and start is None:
        raise FaceswapError(
            f"{work}: there is no valid checkpoint ({problems[0]}); --overwrite starts over"
        )
    for problem in problems:
        say(f"warning: {problem}; going on from step {start}")
    for line in set_aside_newer(work, start):
        say(f"note: {line}")
    drop_old(work, keep=1)
    if start is not None:
        stored = checkpoint_facts(work, start)
        state = as_state(stored)
        for part, name in ((painter, "model"), (average, "ema")):
            # Of what is there twice under two names, a checkpoint has one.
            part.load_state_dict(load_weights(work, start, name), strict=False)
        restore_optimizer(optimizer, load_weights(work, start, "optimizer"), stored["optimizer"])
        say(f"going on from step {start}")
    pool.wind(_made(pool, config, state.step), options.threads or os.cpu_count() or 1)

    log, began, losses = RunLog(work, state.step), time.monotonic() - state.seconds, list[float]()
    bar = tqdm(desc="pretrain", total=steps, initial=state.step, unit="step", disable=None)
    with pool.renewal() if every else nullcontext(_nothing) as renew, bar:
        for step in range(state.step, steps):
            batch = sample_pool_batch(pool, own, options, step)
            batch = Batch(**{name: value.to(fabric.device) for name, value in vars(batch).items()})
            rate = options.base_rate * cosine(step, options.schedule, steps)
            for group in wrapped.param_groups:
                group["lr"] = rate
            loss = _loss(model, painter, batch, size, options, step)
            wrapped.zero_grad(set_to_none=True)
            fabric.backward(loss)
            if options.optimizer.clip_norm:
                fabric.clip_gradients(
                    model, wrapped, max_norm=options.optimizer.clip_norm, error_if_nonfinite=False
                )
            wrapped.step()
            update_ema(average, painter, ema_decay(step, options.optimizer.ema_decay))
            losses.append(loss.item())
            if every and step % every == every - 1:
                renew()
            bar.update()
            done, seconds = step + 1, time.monotonic() - began
            save_here = done % options.save_every == 0 or done == steps
            if done % options.log_every == 0:
                mean, losses = float(np.mean(losses)), []
                log.write({"step": done, "loss": mean, "lr": rate}, seconds)
                bar.set_postfix(loss=f"{mean:.3f}")
                if bar.disable and save_here:
                    say(f"step {done}  {seconds:.0f} s  loss {mean:.3f}")
            if save_here:
                refuse_nonfinite_weights(painter, done)
                state = RunState(done, seconds)
                weights = {"model": _once(painter), "ema": _once(average)}
                save_checkpoint(work, state, weights, optimizer, [], keep=1)
    log.close()
    return average.to("cpu"), state.seconds


def _made(pool: Pool, config: Config, step: int) -> int:
    """How many groups have been made by a step."""
    every = config.base.renew_every
    return pool.groups + (step // every if every else 0)


def _fresh_painter(config: Config, traits: int, sets: int) -> PersonPainter:
    network = build_model(config.model, config.training.seed)
    network.tie_sides()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return PersonPainter(network, traits, sets)


def sample_pool_batch(
    pool: Pool, own: Sequence[UInt8[Tensor, "n 5 m m"]], options: TrainingConfig, step: int
) -> Batch:
    """The faces of a step: a function of (seed, step) and of what is in the pool.

    Half of the moments are painted as their other person, half as they are: who is painted as
    himself keeps what no other one tells. Real people, where there are any, are half of all.
    """
    rng = np.random.default_rng([options.seed, step, 0xD4A3])
    pairs = options.batch
    real = pairs // 2 if own else 0
    pixels, traits = sample(pool, rng, pairs - real)
    mean, spread = traits_scale()
    faces = [torch.from_numpy(pixels)]
    scaled = [torch.from_numpy((traits - mean) / spread)]
    sets = [torch.full((len(pixels),), -1)]
    for number in rng.integers(0, max(len(own), 1), real).tolist():
        of_set = own[number]
        places = rng.integers(0, len(of_set), 2)
        faces.append(of_set[torch.from_numpy(places)])
        scaled.append(torch.zeros(2, traits.shape[-1]))
        sets.append(torch.full((2,), number))
    place = torch.arange(2 * pairs)
    swapped = (place // 2 % 2 == 0) & (place < len(pixels))
    return Batch(
        torch.cat(faces).float() / 255,
        torch.cat(scaled),
        torch.cat(sets),
        torch.where(swapped, place ^ 1, place),
    )


def _loss(
    model: Any, painter: PersonPainter, batch: Batch, size: int, options: TrainingConfig, step: int
) -> Tensor:
    """The loss of a batch: what is painted against those whom it is to show."""
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
    geometry = draw_geometry(len(batch.pixels), options.augment, generator)
    views = make_views(batch.pixels, _in_twos(geometry), size, 1 + 2 * MARGIN)
    people = painter.of_traits(batch.traits)
    if (batch.sets >= 0).any():
        people = torch.where(
            batch.sets[:, None] >= 0, painter.of_set(batch.sets.clamp(min=0)), people
        )
    face, mask = model(views.warped, people[batch.painted])
    shown = Views(
        warped=views.warped,
        face=views.face[batch.painted],
        mask=views.mask[batch.painted],
        features=views.features[batch.painted],
    )
    painted = face.float(), None if mask is None else mask.float()
    return torch.stack([*side_loss(painted, shown, options.loss).values()]).sum()


def _in_twos(geometry: Geometry) -> Geometry:
    """The same place, turn and light for both of two; each has its own warp."""
    pairs = {
        name: value if name == "nodes" else value[::2].repeat_interleave(2, 0)
        for name, value in vars(geometry).items()
    }
    return Geometry(**pairs)


def _seen_of(faces: FaceSet, options: HeldoutConfig) -> list[FaceGroup]:
    """The roles of a set's faces, as a run would share them out: what a run holds out of these
    clips, their base has not seen either. Raises: FaceswapError for crops of other coverage.
    """
    if faces.coverage not in COVERAGE_SHARES:
        raise FaceswapError(
            f"{faces.path}: its coverage is {faces.coverage}; a base supports "
            f"{', '.join(COVERAGE_SHARES)}"
        )
    return assign_split([], faces.places(), options, step=0)


def _pixels_of(faces: FaceSet, groups: Sequence[FaceGroup], size: int) -> UInt8[Tensor, "n 5 m m"]:
    """A set's seen faces, with the margin of the pool's."""
    roles = read_roles(groups)
    seen = [place for place, at in enumerate(faces.places()) if roles[at][0] == "seen"]
    pixels, with_margin = load_pixels(faces, size)
    kept = round(size * (1 + 2 * MARGIN))
    if pixels.shape[-1] < kept:
        raise FaceswapError(
            f"{faces.path}: its crops have a margin of {(with_margin - 1) / 2:.2f}, less than "
            f"{MARGIN}; extract again with extract.margin={MARGIN} or more"
        )
    cut = (pixels.shape[-1] - kept) // 2
    return pixels[seen][..., cut : cut + kept, cut : cut + kept].contiguous()


def _has_mesh(say: Callable[[str], None]) -> bool:
    try:
        find_weights("mesh")
    except FaceswapError as error:
        say(f"note: all faces are aligned by five points ({error})")
        return False
    return True


def _claim(work: Path, job: str, overwrite: bool) -> None:
    """Make the folder this job's. Raises: FaceswapError when it is another's."""
    file = work / BASE_JOB_FILE
    # `out` may lie there, and then its lock does.
    if work.exists() and any(p.suffix not in LOCK_SUFFIXES for p in work.iterdir()):
        if not file.is_file():
            raise FaceswapError(f"{work}: is not empty, and not a base's; choose another --work")
        if found_job(file).get("job") != job and not overwrite:
            raise FaceswapError(
                f"{work}: holds a base with other settings; choose another --work, or pass "
                "--overwrite, which starts over (crops of the same size stay)"
            )
        if overwrite:
            for name in ("checkpoints", "tensorboard"):
                shutil.rmtree(work / name, ignore_errors=True)
            (work / LOG_FILE).unlink(missing_ok=True)
    write_json(file, {"job": job})


def _once(painter: PersonPainter) -> dict[str, Tensor]:
    """Its weights, without the second name of what is there twice."""
    first: dict[int, str] = {}
    return {
        name: tensor
        for name, tensor in painter.state_dict().items()
        if first.setdefault(tensor.data_ptr(), name) == name
    }


def _nothing() -> None:
    """In place of a renewal."""
