"""Faces in memory, and which of them a step sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..config import AugmentConfig, Side, TrainingConfig
from ..models.autoencoder import SIDES
from ..occluders.planting import plant
from .augmentation import Geometry, Views, draw_geometry, make_views
from .color_augmentation import jitter_hsv, transfer_colors

CACHED_PIXELS = 2**17
"""Of the faces that a CPU makes views of at a time."""

# Each has its own random numbers, so that an option draws nothing away from another.
PURPOSES = ("order", "geometry", "start", "transfer", "hsv", "occlude")


@dataclass(frozen=True)
class SideData:
    """One identity's faces: uint8 red, green, blue, mask, features; margin included."""

    seen: UInt8[Tensor, "n 5 m m"]
    heldout: UInt8[Tensor, "k 5 m m"]
    edge_with_margin: float
    """The stored side in sides of the model's view."""
    weights: Float[Tensor, " n"]
    """How often each seen face is drawn, beside the others; on the CPU."""
    since: Int[Tensor, " n"]
    """The step at which each seen face joined the run; 0: there from the start; on the CPU."""
    names: Sequence[str] = ()
    """The files of the seen faces."""


def side_batch(config: TrainingConfig, side: Side) -> int:
    """How many faces of this side a step sees; at least one."""
    of_source = min(max(1, round(2 * config.batch * config.source_share)), 2 * config.batch - 1)
    return of_source if side == "source" else 2 * config.batch - of_source


def weight_ramp(since: Int[Tensor, " n"], step: int, steps: int) -> Float[Tensor, " n"]:
    """The share of its weight that each face has at a step: rises for `steps` from its joining."""
    risen = (step + 1 - since).double() / max(steps, 1)
    return torch.where(since == 0, 1.0, risen.clamp(0, 1))


def sample_faces(
    weights: Float[Tensor, " n"], batch: int, seed: int, step: int, side: Side
) -> Int[Tensor, " b"]:
    """Which faces a step sees, as a function of (seed, step) and the weights of this step alone.

    Systematic resampling, an epoch at a time: the faces lie side by side, each as wide as its
    weight; as many pointers as faces lie over them, evenly from a random start; the pointers are
    shuffled, and every step takes the next few. So a face is drawn in an epoch as often as its
    weight says, to within one draw, where independent draws would scatter; and with equal weights
    an epoch is a plain shuffle.
    """
    ends = weights.double().cumsum(0)
    count = int((weights > 0).sum())
    places = torch.arange(step * batch, (step + 1) * batch)
    pointers = torch.empty(batch, dtype=torch.double)
    for epoch in torch.unique(places // count).tolist():
        order = torch.randperm(count, generator=_generator(seed, epoch, side, "order"))
        start = torch.rand((), generator=_generator(seed, epoch, side, "start"))
        here = places // count == epoch
        pointers[here] = order[places[here] % count] + start.double()
    return torch.searchsorted(ends * count, pointers * ends[-1], right=True)


def sample_batch(
    sides: Mapping[Side, SideData],
    size: int,
    config: TrainingConfig,
    step: int,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
) -> dict[Side, Views]:
    """Both sides' views of one step."""
    return {side: sample_views(sides, size, config, step, side, device, share) for side in SIDES}


def sample_views(
    sides: Mapping[Side, SideData],
    size: int,
    config: TrainingConfig,
    step: int,
    side: Side,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
) -> Views:
    """One side's views of one step; of `share` (i, n) every n-th from the i-th on."""
    draws = sample_step(sides, config, step, side)
    # Chance decides for all, so that any number of processes sees the same views.
    mine = torch.arange(share[0], side_batch(config, side), share[1])
    parts = mine.split(_at_once(sides[side], device))
    views = [_make_part(sides, draws, part, size, config.augment, side, device) for part in parts]
    if len(views) == 1:
        return views[0]
    names = [field.name for field in fields(Views)]
    return Views(**{name: torch.cat([getattr(view, name) for view in views]) for name in names})


@dataclass(frozen=True)
class Draws:
    """All that chance decides about one side of a step, for the whole batch; on the CPU."""

    chosen: Int[Tensor, " b"]
    """Places among the seen faces of the side."""
    partners: Int[Tensor, " b"]
    """Places among the target's seen faces, whose colours these take; -1: they keep their own."""
    hsv: Float[Tensor, "3 b"]
    """Turn of the hue, factors of saturation and value."""
    occluders: Int[Tensor, " b"]
    """Seeds of what is put before the faces of the inputs; -1: nothing."""
    geometry: Geometry


def sample_step(
    sides: Mapping[Side, SideData], config: TrainingConfig, step: int, side: Side
) -> Draws:
    """What chance decides about one side of a step: a function of (seed, step) and the weights."""
    count, augment = side_batch(config, side), config.augment
    partners = torch.full((count,), -1)
    if side == "source" and augment.color_transfer:
        # Toward target faces of the same step: then colours do not tell the source.
        generator = _generator(config.seed, step, side, "transfer")
        chance, place = torch.rand(2, count, generator=generator)
        others = _choose(sides["target"], config, step, "target")
        others = others[(place * len(others)).long()]
        partners = torch.where(chance < augment.color_transfer, others, -1)
    occluders = torch.full((count,), -1)
    if augment.occlude:
        generator = _generator(config.seed, step, side, "occlude")
        chance = torch.rand(count, generator=generator)
        seeds = torch.randint(2**31, (count,), generator=generator)
        occluders = torch.where(chance < augment.occlude, seeds, -1)
    spread = torch.rand(3, count, generator=_generator(config.seed, step, side, "hsv"))
    limits = torch.tensor([augment.hue, augment.saturation, augment.value])[:, None]
    geometry = draw_geometry(count, augment, _generator(config.seed, step, side, "geometry"))
    if augment.warp_until is not None and step >= augment.warp_until:
        geometry = replace(geometry, nodes=torch.zeros_like(geometry.nodes))
    return Draws(
        chosen=_choose(sides[side], config, step, side),
        partners=partners,
        hsv=torch.tensor([0.0, 1.0, 1.0])[:, None] + (spread * 2 - 1) * limits,
        occluders=occluders,
        geometry=geometry,
    )


def _make_part(
    sides: Mapping[Side, SideData],
    draws: Draws,
    part: Int[Tensor, " k"],
    size: int,
    augment: AugmentConfig,
    side: Side,
    device: torch.device,
) -> Views:
    """The views of some faces of a step."""
    faces = _take(sides[side], draws.chosen[part], device)
    partners = draws.partners[part]
    moved = (partners >= 0).nonzero()[:, 0]
    if len(moved):
        others = _take(sides["target"], partners[moved], device)
        moved = moved.to(device)
        own = faces[moved]
        faces[moved, :3] = transfer_colors(own[:, :3], own[:, 3:4], others[:, :3], others[:, 3:4])
    if augment.hue or augment.saturation or augment.value:
        faces[:, :3] = jitter_hsv(faces[:, :3], *draws.hsv[:, part].to(device))
    inputs = _occluded(faces, draws.occluders[part])
    return make_views(faces, draws.geometry.of(part), size, sides[side].edge_with_margin, inputs)


def _occluded(
    faces: Float[Tensor, "k 5 m m"], seeds: Int[Tensor, " k"]
) -> Float[Tensor, "k 3 m m"] | None:
    """The faces' pictures with something before those that have a seed; None: there are none."""
    if not (seeds >= 0).any():
        return None
    inputs = faces[:, :3].clone()
    for place in (seeds >= 0).nonzero()[:, 0].tolist():
        pixels = (inputs[place] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        rng = np.random.default_rng(int(seeds[place]))
        planted = plant(rng, pixels, faces[place, 3].cpu().numpy()).pixels
        inputs[place] = torch.from_numpy(planted).permute(2, 0, 1).to(inputs) / 255
    return inputs


def _at_once(data: SideData, device: torch.device) -> int:
    """Faces to make views of at a time: on CPUs as many as stay in the cache, which halves it."""
    count = CACHED_PIXELS // data.seen[0, 0].numel()
    return max(1, count) if device.type == "cpu" else 2**31


def _choose(data: SideData, config: TrainingConfig, step: int, side: Side) -> Int[Tensor, " b"]:
    weights = data.weights * weight_ramp(data.since, step, config.late_ramp)
    return sample_faces(weights, side_batch(config, side), config.seed, step, side)


def _take(
    data: SideData, chosen: Int[Tensor, " k"], device: torch.device
) -> Float[Tensor, "k 5 m m"]:
    return data.seen[chosen.to(data.seen.device)].to(device).float().div_(255)


def _generator(seed: int, step: int, side: Side, purpose: str) -> torch.Generator:
    # SeedSequence spreads small integers over the whole state; neighbours do not correlate.
    words = [seed, step, SIDES.index(side), PURPOSES.index(purpose)]
    state = np.random.SeedSequence(words).generate_state(2)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
