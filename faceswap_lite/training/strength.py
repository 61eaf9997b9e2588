"""How much augmentation these faces need: `training.augment: auto`.

Augmentation is paid for: it makes every step harder. Where faces are few, though, the network would
know them by heart without it.
After Karras et al. 2020, "Training generative adversarial networks with limited data", section 3:
the strength follows a measure of over-fitting, here the gap between faces seen and held out.
"""

import math
from typing import Any

from ..config import AUGMENTED, TrainingConfig

LEAST = {
    "rotation_deg": 1.0,
    "zoom": 0.01,
    "shift": 0.005,
    "warp": 0.005,
    "brightness": 0.02,
    "contrast": 0.02,
}
MOST = {
    "rotation_deg": 4.0,
    "zoom": 0.03,
    "shift": 0.02,
    "warp": 0.02,
    "brightness": 0.05,
    "contrast": 0.05,
}

MANY_FACES, FEW_FACES = 300, 40
"""Of the smaller side: from here up a run begins with the least, from here down with FIRST."""

FIRST = 0.35
"""The strength that few faces begin with: about half of what was the default."""

ENOUGH_HELDOUT = 20
"""Held-out faces of each side whose gap to the seen ones can be trusted."""

GAP_DB = 3.0
"""A gap that is not yet over-fitting: held-out faces are other moments than the seen ones."""

STEP = 0.05
"""How far the strength moves after a look at the held-out faces."""


def first_strength(faces: int) -> float:
    """The strength that a run with so many seen faces on its smaller side begins with, 0 to 1."""
    share = math.log(MANY_FACES / max(faces, 1)) / math.log(MANY_FACES / FEW_FACES)
    return FIRST * min(1.0, max(0.0, share))


def next_strength(strength: float, losses: dict[str, Any], heldout: int) -> float:
    """The strength after a look: more where seen faces are rebuilt much better than held-out ones.

    `losses`: what `heldout_losses` gave; `heldout`: held-out faces of the smaller side.
    """
    gaps = [
        losses[f"seen_{side}_psnr_db"] - losses[f"heldout_{side}_psnr_db"]
        for side in ("source", "target")
        if losses[f"seen_{side}_psnr_db"] is not None
        and losses[f"heldout_{side}_psnr_db"] is not None
    ]
    if heldout < ENOUGH_HELDOUT or not gaps:
        return strength
    moved = strength + math.copysign(STEP, sum(gaps) / len(gaps) - GAP_DB)
    return min(1.0, max(0.0, moved))


def augmented(options: TrainingConfig, strength: float) -> TrainingConfig:
    """The options with the values of this strength, where augmentation is `auto`."""
    if options.augment == "hand":
        return options
    values = {name: LEAST[name] + strength * (MOST[name] - LEAST[name]) for name in AUGMENTED}
    return options.model_copy(update=values)
