"""The `base` stage: a network that has seen thousands of rendered people, for others to begin with.

Every moment is acted by several people. The network sees one of them, is told who another one is,
and paints that one: so what it puts into the code is what they have in common.
"""

import copy
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from ..actors.identity import FIRST_OF_CROWD
from ..config import Config, TrainingConfig
from ..errors import FaceswapError
from ..faces.face_set import FaceSet
from ..faces.weights import find_weights
from ..models.architectures import build_model
from ..outputs import TOOL, job_id, read_json, write_json
from ..runs.bases import SUFFIX, read_base, write_base
from ..runs.checkpoints import (
    RunState,
    as_state,
    checkpoint_facts,
    load_weights,
    newest_good,
    remove_after,
    restore_optimizer,
    save_checkpoint,
)
from ..runs.hardware import build_fabric
from ..runs.log import LOG_FILE, RunLog
from ..training.augment import Geometry, Views, draw_geometry, make_views
from ..training.loading import load_pixels
from ..training.optimizers import build_optimizer, ema_decay, update_ema
from ..training.schedules import cosine
from ..training.step import side_loss
from ..training.strength import augmented
from .crowd import COVERAGE_SHARES, MARGIN, PEOPLE, traits_scale
from .person import PersonPainter
from .pool import GROUP, Pool, sample

JOB_FILE = "base.json"

STRENGTH = 0.5
"""Of the augmentation, where that is `auto`: people are many, but each stays the same."""

# When to look and save, and where: not what is learned.
_NOT_LEARNED = {"minutes", "keep", "log_every", "save_every", "device", "threads", "precision"}


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
    options = config.training.model_copy(update={"steps": config.base.steps})
    options = augmented(options, STRENGTH)
    told: dict[str, Any] = {
        "model": config.model.model_dump(),
        "base": config.base.model_dump(),
        "training": options.model_dump(exclude=_NOT_LEARNED),
        "faces": [[face.path.name for face in one.faces] for one in faces],
    }
    job = job_id(**told)
    _claim(work, job, overwrite)
    if out.exists() and not overwrite:
        if read_base(out).recipe.get("job") != job:
            raise FaceswapError(f"{out}: exists and is another base; pass --overwrite")
        say(f"{out}: already done")
        return
    if options.threads:
        torch.set_num_threads(options.threads)

    # People to learn from.
    with_mesh = _has_mesh(say)
    pool = Pool(work, config.base.crops // GROUP, config.model.size, with_mesh)
    pool.fill(os.cpu_count() or 1)
    own = [_pixels_of(face_set, config.model.size) for face_set in faces]

    # What learns.
    fabric = build_fabric(options.device, options.precision)
    network = build_model(config.model, options.seed)
    network.share_sides()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        painter = PersonPainter(network, pool.traits.shape[-1], len(own))
    average = copy.deepcopy(painter).requires_grad_(False)
    optimizer = build_optimizer(painter, options)
    model: Any
    model, optimizer_ = fabric.setup(painter, optimizer)
    fabric.to_device(average)
    state = RunState()
    start, _ = newest_good(work)
    if start is not None:
        stored = checkpoint_facts(work, start)
        state = as_state(stored)
        # Of what is there twice under two names, a checkpoint has one.
        painter.load_state_dict(load_weights(work, start, "model"), strict=False)
        average.load_state_dict(load_weights(work, start, "ema"), strict=False)
        restore_optimizer(optimizer, load_weights(work, start, "optimizer"), stored["optimizer"])
        say(f"going on from step {start}")

    # The loop.
    log, began = RunLog(work, state.step), time.monotonic() - state.seconds
    bar = tqdm(desc="pretrain", total=config.base.steps, initial=state.step, disable=None)
    every = config.base.renew_every
    losses: list[float] = []
    renewal = pool.renewal(pool.groups + state.step // every) if every else nullcontext(_nothing)
    with renewal as renew, bar:
        for step in range(state.step, config.base.steps):
            batch = draw(pool, own, options, step)
            batch = Batch(**{name: value.to(fabric.device) for name, value in vars(batch).items()})
            for group in optimizer_.param_groups:
                group["lr"] = options.base_rate * cosine(step, options)
            loss = _loss(model, painter, batch, config.model.size, options, step)
            optimizer_.zero_grad(set_to_none=True)
            fabric.backward(loss)
            fabric.clip_gradients(model, optimizer_, max_norm=options.clip_norm)
            optimizer_.step()
            update_ema(average, painter, ema_decay(step, options.ema_decay))
            losses.append(loss.item())
            if every and step % every == every - 1:
                renew()
            bar.update()
            if (step + 1) % options.log_every == 0:
                mean, losses = float(np.mean(losses)), []
                if not np.isfinite(mean):
                    raise FaceswapError(f"step {step + 1}: the loss is no number any more")
                log.write({"step": step + 1, "loss": mean}, time.monotonic() - began)
                bar.set_postfix(loss=f"{mean:.3f}")
                if bar.disable and (step + 1) % options.save_every == 0:
                    say(f"step {step + 1}  {time.monotonic() - began:.0f} s  loss {mean:.3f}")
            if (step + 1) % options.save_every == 0 or step + 1 == config.base.steps:
                state = RunState(step + 1, time.monotonic() - began)
                weights = {"model": painter.state_dict(), "ema": average.state_dict()}
                weights = {name: _once(part) for name, part in weights.items()}
                save_checkpoint(work, state, weights, optimizer, [], keep=1)
    log.close()

    # The average of everybody is whom it paints when it is not told.
    average.to("cpu").fold(average.of_traits(torch.zeros(1, pool.traits.shape[-1]))[0])
    renewed = config.base.steps // every if every else 0
    people = PEOPLE * (pool.groups + renewed)
    recipe = {
        **told,
        "job": job,
        "tool": TOOL,
        "people": people,
        "seeds": [FIRST_OF_CROWD, FIRST_OF_CROWD + people - 1],
        "crops": GROUP * (pool.groups + renewed),
        "mesh": with_mesh,
        "minutes": round(state.seconds / 60, 1),
        "faces": [len(one.faces) for one in faces],
    }
    coverages = tuple(COVERAGE_SHARES)
    write_base(out, average.network, config.model, recipe, config.base.steps, coverages)
    say(f"{out}: {people} people, {config.base.steps} steps; train --init {out}")


def draw(
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
    geometry = draw_geometry(len(batch.pixels), options, generator)
    views = make_views(batch.pixels, _in_twos(geometry), size, 1 + 2 * MARGIN)
    people = painter.of_traits(batch.traits)
    if (batch.sets >= 0).any():
        people = torch.where(
            batch.sets[:, None] >= 0, painter.of_set(batch.sets.clamp(min=0)), people
        )
    (face, mask), _ = model(views.warped, people[batch.painted])
    shown = Views(
        warped=views.warped,
        face=views.face[batch.painted],
        mask=views.mask[batch.painted],
        features=views.features[batch.painted],
    )
    painted = face.float(), None if mask is None else mask.float()
    return torch.stack([*side_loss(painted, shown, options).values()]).sum()


def _in_twos(geometry: Geometry) -> Geometry:
    """The same place, turn and light for both of two; each has its own warp."""
    pairs = {
        name: value if name == "nodes" else value[::2].repeat_interleave(2, 0)
        for name, value in vars(geometry).items()
    }
    return Geometry(**pairs)


def _pixels_of(faces: FaceSet, size: int) -> UInt8[Tensor, "n 5 m m"]:
    """A set's faces, with the margin of the pool's."""
    pixels, with_margin = load_pixels(faces, size)
    side = round(size * (1 + 2 * MARGIN))
    if pixels.shape[-1] < side:
        raise FaceswapError(
            f"{faces.path}: its crops have a margin of {(with_margin - 1) / 2:.2f}, less than "
            f"{MARGIN}; extract again with extract.margin={MARGIN} or more"
        )
    edge = (pixels.shape[-1] - side) // 2
    return pixels[..., edge : edge + side, edge : edge + side].contiguous()


def _has_mesh(say: Callable[[str], None]) -> bool:
    try:
        find_weights("mesh")
    except FaceswapError as error:
        say(f"note: all faces are cut by five points ({error})")
        return False
    return True


def _claim(work: Path, job: str, overwrite: bool) -> None:
    """Make the folder this job's. Raises: FaceswapError when it is another's."""
    file = work / JOB_FILE
    if work.exists() and any(work.iterdir()):
        if not file.is_file():
            raise FaceswapError(f"{work}: is not empty, and no base's; choose another --work")
        if read_json(file).get("job") != job:
            if not overwrite:
                raise FaceswapError(
                    f"{work}: holds a base of other settings; choose another --work, or pass "
                    "--overwrite, which starts anew (the pool stays where it can)"
                )
            remove_after(work, None)
            (work / LOG_FILE).unlink(missing_ok=True)
    write_json(file, {"job": job})


def _once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the second name of what is there twice."""
    first: dict[int, str] = {}
    return {
        name: tensor
        for name, tensor in state.items()
        if first.setdefault(tensor.data_ptr(), name) == name
    }


def _nothing() -> None:
    """In place of a renewal."""
