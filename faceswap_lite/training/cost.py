"""What a config costs to train: parameters, memory, and steps a second on this machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import Config, Side
from ..models.architectures import build_model, count_parameters
from ..models.autoencoder import SIDES
from ..runs.hardware import build_fabric
from .batches import SideData, sample_batch, side_batch
from .step import build_learner, train_step

SECONDS = 10.0
"""Timed steps end after this long."""

MAX_STEPS = 20


@dataclass(frozen=True)
class TrainingCost:
    """What training needs. Memory in bytes, without the faces and what the libraries hold."""

    parameters: dict[str, int]
    """By part of the network."""
    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    """What the backward pass of one step keeps, measured."""
    peak: int | None
    """The GPU's own count of the most held at once; None elsewhere."""
    device: str
    precision: str
    steps: int
    """How many were timed."""
    steps_per_second: float


def count_by_part(network: nn.Module) -> dict[str, int]:
    """Parameters of each part that has any."""
    counts = {name: count_parameters(part) for name, part in network.named_children()}
    return {name: count for name, count in counts.items() if count}


def training_cost(config: Config, seconds: float = SECONDS) -> TrainingCost:
    """The cost of a config, measured on random faces: one step to warm up, then timed ones.

    Whole steps: views, forward, losses, backward, clipping, optimiser, average. Decoding faces,
    held-out losses, previews and checkpoints are left out.
    """
    options, size = config.training, config.model.size
    if options.lr == "auto":
        options = options.model_copy(update={"lr": options.find_lr_low})
    if options.threads:
        torch.set_num_threads(options.threads)
    fabric = build_fabric(options.device, options.precision)
    device = fabric.device
    network = build_model(config.model, options.seed)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    learner = build_learner(fabric, network, options.model_copy(update={"compile": False}))
    sides: dict[Side, SideData] = {
        side: _random_faces(size, side_batch(options, side)) for side in SIDES
    }

    parts = options.accumulate

    def step(number: int) -> int:
        """One step; what its backward pass kept, in bytes."""
        nonlocal parts
        views = sample_batch(sides, size, options, number, device)
        with _count_saved(network) as saved:
            _, parts = train_step(learner, views, options, number, options.base_rate, parts)
        return max(saved)

    activations = step(0)
    _wait(device)
    began, done = time.monotonic(), 0
    while done < MAX_STEPS and (done == 0 or time.monotonic() - began < seconds):
        done += 1
        step(done)
        _wait(device)
    spent = time.monotonic() - began
    weights = sum(parameter.nbytes for parameter in network.parameters())
    state = (value for entry in learner.optimizer.state.values() for value in entry.values())
    return TrainingCost(
        parameters=count_by_part(network),
        weights=weights,
        gradients=weights,
        optimizer=sum(value.nbytes for value in state if isinstance(value, Tensor)),
        average=weights,
        activations=activations,
        peak=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        device=device.type,
        precision=fabric._precision.precision,
        steps=done,
        steps_per_second=done / spent,
    )


def _random_faces(size: int, batch: int) -> SideData:
    edge = int(size * 1.3)
    generator = torch.Generator().manual_seed(0)
    count, dtype = 2 * batch, torch.uint8
    pixels = torch.randint(0, 256, (count, 5, edge, edge), dtype=dtype, generator=generator)
    since = torch.zeros(count, dtype=torch.long)
    return SideData(pixels, pixels[:1], edge / size, torch.ones(count), since)


@contextmanager
def _count_saved(network: nn.Module) -> Iterator[list[int]]:
    """Bytes that each pass inside keeps for its backward, the weights left out, one by one."""
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    blocks: dict[int, int] = {}
    counts = [0]
    went_back = False

    def keep(tensor: Tensor) -> Tensor:
        nonlocal went_back
        if went_back:
            # Another part of the batch: what the one before kept is free again.
            blocks.clear()
            counts.append(0)
            went_back = False
        block = tensor.untyped_storage()
        if block.data_ptr() not in own:
            blocks[block.data_ptr()] = block.nbytes()
            counts[-1] = sum(blocks.values())
        return tensor

    def give(tensor: Tensor) -> Tensor:
        nonlocal went_back
        went_back = True
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, give):
        yield counts


def _wait(device: torch.device) -> None:
    """Until the device has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    if device.type == "mps":
        torch.mps.synchronize()
