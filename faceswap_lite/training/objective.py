"""What a training step lowers: the loss terms of painted faces under the config's weights."""

import torch
from torch import Tensor

from ..config import TrainingConfig
from ..models import SIDES, Side
from .augment import Views
from .losses import reconstruction_loss


def side_loss(
    painted: tuple[Tensor, Tensor | None], views: Views, options: TrainingConfig
) -> dict[str, Tensor]:
    """One side's loss terms under the config's weights."""
    return reconstruction_loss(
        painted,
        views.face,
        views.mask,
        views.features,
        dssim_weight=options.dssim_weight,
        mse_weight=options.mse_weight,
        mask_weight=options.mask_weight,
        features_weight=options.features_weight,
        background_weight=options.background_weight,
        l1_weight=options.l1_weight,
        gradient_weight=options.gradient_weight,
        frequency_weight=options.frequency_weight,
    )


def total_loss(
    painted: tuple[tuple[Tensor, Tensor | None], ...],
    views: dict[Side, Views],
    options: TrainingConfig,
) -> Tensor:
    """The sum of both sides' terms, for those who do not log them one by one."""
    terms = [side_loss(painted[place], views[side], options) for place, side in enumerate(SIDES)]
    return torch.stack([term for side in terms for term in side.values()]).sum()
