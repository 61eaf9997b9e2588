"""How much augmentation these faces need: `training.augment.kind` auto.

Augmentation is paid for: it makes every step harder. More of it as held-out faces fall behind seen
ones (as Karras et al. 2020, "Training generative adversarial networks with limited data", do for
GANs) was tried and harmed: docs/training.md.
"""

import math

from ..config import AUGMENTED, AugmentConfig

MIN_AUGMENTATION = {
    "rotation_deg": 1.0,
    "zoom": 0.01,
    "shift": 0.005,
    "warp": 0.005,
    "brightness": 0.02,
    "contrast": 0.02,
}
MAX_AUGMENTATION = {
    "rotation_deg": 4.0,
    "zoom": 0.03,
    "shift": 0.02,
    "warp": 0.02,
    "brightness": 0.05,
    "contrast": 0.05,
}

MANY_FACES, FEW_FACES = 300, 40
"""Of the smaller side: from here up the least is enough, from here down they get FEW_STRENGTH."""

FEW_STRENGTH = 0.35
"""What few faces get: about half of what was the default."""


def strength_for(faces: int) -> float:
    """The strength, 0 to 1, for so many seen faces on a run's smaller side."""
    share = math.log(MANY_FACES / max(faces, 1)) / math.log(MANY_FACES / FEW_FACES)
    return FEW_STRENGTH * min(1.0, max(0.0, share))


def augmented(config: AugmentConfig, strength: float) -> AugmentConfig:
    """The options with the values of this strength, where augmentation is `auto`."""
    if config.kind == "hand":
        return config
    values = {
        name: MIN_AUGMENTATION[name] + strength * (MAX_AUGMENTATION[name] - MIN_AUGMENTATION[name])
        for name in AUGMENTED
    }
    return config.model_copy(update=values)
