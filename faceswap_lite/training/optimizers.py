"""The optimiser of a run."""

import torch
from torch import nn

from ..config import TrainingConfig


def build_optimizer(network: nn.Module, options: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser of `network`'s weights, at the config's rate."""
    return torch.optim.Adam(
        network.parameters(),
        lr=options.base_rate,
        betas=(options.beta1, options.beta2),
        fused=True,
    )
