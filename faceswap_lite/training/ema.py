"""A running average of the weights: what previews, conversion and evaluation use."""

import torch
from torch import nn


def ema_decay(step: int, decay: float) -> float:
    """The decay at a step, with a short ramp: min(decay, (1 + step) / (10 + step))."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average's weights toward the model's: a <- decay a + (1 - decay) m."""
    # foreach: one call for all tensors instead of one for each.
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
