"""What a model of another tool is, once read: our network's options and weights, and its origin."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import FaceswapError
from ..models.architectures import build_model


@dataclass(frozen=True)
class ForeignModel:
    """A model of another tool as a network of ours.

    Its weights take and give RGB, as all of ours do, whatever the tool's own order is.
    """

    origin: str
    """Tool and kind of model: DeepFaceLab SAEHD."""
    name: str
    model: ModelConfig
    coverage: str
    weights: dict[str, Tensor]
    iterations: int
    parts: dict[str, str]
    """By its parts' own names, what they are here."""
    files: list[Path]
    """What it was read from."""

    def lines(self) -> list[str]:
        """For a person to read."""
        lines = []
        for theirs, ours in self.parts.items():
            tensors = [t for name, t in self.weights.items() if name.startswith(f"{ours}.")]
            count = sum(tensor.numel() for tensor in tensors)
            lines.append(f"  {theirs} -> {ours}: {len(tensors)} tensors, {count:,} numbers")
        return lines


def check_weights(model: ModelConfig, weights: Mapping[str, Tensor], where: str) -> None:
    """See that these weights are all of this network's, before it takes any memory.

    Raises: FaceswapError for a tensor that is missing, left over, of another shape, or not finite.
    """
    with torch.device("meta"):
        wanted = {name: tuple(t.shape) for name, t in build_model(model).state_dict().items()}
    for name, shape in wanted.items():
        if name not in weights:
            raise FaceswapError(f"{where}: {name} is missing")
        if tuple(weights[name].shape) != shape:
            there = " x ".join(map(str, weights[name].shape))
            raise FaceswapError(
                f"{where}: {name} is {there}, not {' x '.join(map(str, shape))} as its options say"
            )
    if left := [name for name in weights if name not in wanted]:
        raise FaceswapError(f"{where}: holds {left[0]}, which this network does not have")
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise FaceswapError(f"{where}: {name} holds numbers that are not finite")
