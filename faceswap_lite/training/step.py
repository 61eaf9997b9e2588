"""One training step: the gradient of a batch, clipped; the weights moved, their average after."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from ..config import LossConfig, Side, TrainingConfig
from ..errors import FaceswapError
from ..models.autoencoder import SIDES, SwapAutoencoder
from .augmentation import Views
from .losses import reconstruction_loss
from .optimizers import average_of, build_optimizer, ema_decay, keeps_average, set_rate, update_ema

Terms = dict[Side, dict[str, Tensor]]
"""The weighted terms of both sides' losses; their sum is what training lowers."""


@dataclass(frozen=True)
class Learner:
    """A network under training, and what moves it."""

    fabric: Fabric
    network: SwapAutoencoder
    average: SwapAutoencoder
    """The running average of its weights."""
    optimizer: Optimizer
    wrapped: tuple[Any, Any]
    """Network and optimiser as Fabric has set them up: what a step calls."""
    frozen: Sequence[nn.Module] = ()
    """Parts that stay as they are for the first `freeze_steps`."""
    freeze_steps: int = 0
    settle_steps: int = 0
    """The first steps, in which it learns as `settled` says."""


def build_learner(
    fabric: Fabric,
    network: SwapAutoencoder,
    options: TrainingConfig,
    frozen: Sequence[nn.Module] = (),
    freeze_steps: int = 0,
    shares: Mapping[str, float] | None = None,
    settle_steps: int = 0,
) -> Learner:
    """The network on Fabric's device with its optimiser and the average of its weights.

    `shares`: parts that learn at a share of the rate, from `settle_steps` on. `options.lr` is a
    number here: whoever wants "auto" has named a rate before.
    """
    if fabric.device.type == "cuda":
        # Tensor cores want channels last; on CPUs it measured slower.
        network = network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = build_optimizer(network, options.optimizer, options.base_rate, shares)
    compiled: Any = torch.compile(network) if options.compile else network
    wrapped = fabric.setup(compiled, optimizer)
    fabric.to_device(average)
    return Learner(fabric, network, average, optimizer, wrapped, frozen, freeze_steps, settle_steps)


def settled(step: int, steps: int) -> float:
    """How far a run that begins with a base has settled: from 0 to 1 at step `steps` and after.

    Until then what makes codes learns faster, and eyes and mouth count less, than later.
    """
    return min(1.0, step / steps) if steps else 1.0


def train_step(
    learner: Learner,
    views: dict[Side, Views],
    options: TrainingConfig,
    step: int,
    rate: float,
    parts: int = 1,
    say: Callable[[str], None] = print,
) -> tuple[Terms, int]:
    """Learn from one batch at a rate; the loss's terms, and the parts that the batch went in.

    A function of the weights, the views and the step alone. `parts`: as few as are tried; a GPU
    that is too small for them takes more, and `say` tells.
    """
    model, optimizer = learner.wrapped
    share = settled(step, learner.settle_steps)
    set_rate(optimizer, rate, share)
    loss = options.loss.model_copy(update={"features": share * options.loss.features})

    # Forward and backward.
    gradient = partial(accumulate_gradient, learner.fabric, model, optimizer, views, loss)
    maximum = min(len(views[side].face) for side in SIDES)
    terms, parts = gradient_within_memory(gradient, min(parts, maximum), maximum, say)

    # Move the weights, and their average after them.
    if step < learner.freeze_steps:
        for parameter in (p for part in learner.frozen for p in part.parameters()):
            parameter.grad = None
    if max_norm := options.optimizer.clip_norm:
        # One freak batch would otherwise cost Adam hundreds of steps.
        learner.fabric.clip_gradients(model, optimizer, max_norm=max_norm, error_if_nonfinite=False)
    optimizer.step()
    if not keeps_average(learner.optimizer):
        decay = ema_decay(step, options.optimizer.ema_decay)
        update_ema(learner.average, learner.network, decay)
    return terms, parts


@torch.no_grad()
def take_average(learner: Learner) -> None:
    """Bring the average up to date where the optimiser keeps it, before it is looked at."""
    if keeps_average(learner.optimizer):
        learned = average_of(learner.optimizer, learner.network)
        for mine, theirs in zip(learner.average.parameters(), learned, strict=True):
            mine.copy_(theirs)


def accumulate_gradient(
    fabric: Fabric,
    model: Any,
    optimizer: Any,
    views: dict[Side, Views],
    loss: LossConfig,
    parts: int,
) -> Terms:
    """Leave the batch's gradient in the model, worked out in `parts`; return the loss's terms.

    Each identity is rebuilt by its own path from the one shared code. Any number of parts, and of
    processes, gives the same gradient: faces count alike.
    """
    optimizer.zero_grad(set_to_none=True)
    sums: Terms = {side: {} for side in SIDES}
    pieces = list(zip(*(_split(views[side], parts) for side in SIDES), strict=True))
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        with fabric.no_backward_sync(model, enabled=not last):
            painted = model(piece[0].warped, piece[1].warped)
            shares = []
            for place, side in enumerate(SIDES):
                share = len(piece[place].face) / len(views[side].face)
                for name, term in side_loss(painted[place], piece[place], loss).items():
                    shares.append(share * term)
                    known = sums[side].get(name, torch.zeros_like(term))
                    sums[side][name] = known + share * term.detach()
            fabric.backward(torch.stack(shares).sum())
    return sums


def gradient_within_memory(
    gradient: Callable[[int], Terms], parts: int, maximum: int, say: Callable[[str], None]
) -> tuple[Terms, int]:
    """`gradient` of as few parts as the memory lets through, from `parts` on; and that number.

    Raises: FaceswapError when not even single faces fit.
    """
    while True:
        try:
            return gradient(parts), parts
        except torch.OutOfMemoryError:
            if parts >= maximum:
                raise FaceswapError(
                    "out of memory with one face at a time; choose a smaller model.size or dims"
                ) from None
        torch.cuda.empty_cache()
        parts = min(2 * parts, maximum)
        say(f"out of memory: each batch is split into {parts} parts from here on")


def everywhere(fabric: Fabric, terms: Terms) -> Terms:
    """The mean of the terms over all processes."""
    mean: Any = fabric.all_reduce(terms)
    return terms if fabric.world_size == 1 else mean


def side_loss(
    painted: tuple[Tensor, Tensor | None], views: Views, loss: LossConfig
) -> dict[str, Tensor]:
    """One side's loss terms under the config's weights."""
    return reconstruction_loss(
        painted,
        views.face,
        views.mask,
        views.features,
        dssim_weight=loss.dssim,
        mse_weight=loss.mse,
        mask_weight=loss.mask,
        features_weight=loss.features,
        background_weight=loss.background,
        l1_weight=loss.l1,
        gradient_weight=loss.gradient,
        frequency_weight=loss.frequency,
    )


def refuse_nonfinite_loss(
    terms: Terms, step: int, rate: float, faces: Callable[[], dict[Side, list[str]]]
) -> None:
    """Stop before a loss that is no number can be saved.

    Raises: FaceswapError naming the terms and, by `faces`, the batch.
    """
    bad = [(s, name) for s in SIDES for name, term in terms[s].items() if not term.isfinite()]
    if not bad:
        return
    parts = ", ".join(f"{side}'s {name}" for side, name in bad)
    batch = "; ".join(f"{side} {', '.join(names)}" for side, names in faces().items())
    raise FaceswapError(
        f"step {step}: the loss is no longer a number ({parts}; rate {rate:.1e}; faces: {batch}); "
        "the last checkpoint is good: try training.lr three times lower, or "
        "training.precision=32-true"
    )


def refuse_nonfinite_weights(network: nn.Module, step: int) -> None:
    """Stop before weights that are no numbers can be saved.

    The loss is that of the weights before a step's update; what is saved are those after it.
    Raises: FaceswapError naming the parts.
    """
    bad = [
        name
        for name, part in network.named_children()
        if not all(bool(p.isfinite().all()) for p in part.parameters())
    ]
    if bad:
        raise FaceswapError(
            f"step {step}: the weights of {', '.join(bad)} are no longer numbers; the last "
            "checkpoint is good: try training.lr three times lower, or training.precision=32-true"
        )


def _split(views: Views, parts: int) -> Iterator[Views]:
    """The views in `parts` parts of nearly the same size."""
    chunks = [
        torch.tensor_split(tensor, parts)
        for tensor in (views.warped, views.face, views.mask, views.features)
    ]
    return (Views(*chunk) for chunk in zip(*chunks, strict=True))
