"""What options were called before, and what they are called now.

The one table of it: an old name on the command line or in a config is told the new one; a run's own
config is read as it was written; a job keeps the id that it had.
"""

from collections.abc import Iterator, Mapping
from typing import Any

RENAMED = {
    "extract.coverage": "extract.crop_coverage",
    "extract.sure_score": "extract.high_confidence",
    "extract.weak_score": "extract.low_confidence",
    "extract.max_side_px": "extract.max_edge_px",
    "curate.misplacement_limit": "curate.alignment_error_limit",
    "training.optimizer": "training.optimizer.kind",
    "training.beta1": "training.optimizer.beta1",
    "training.beta2": "training.optimizer.beta2",
    "training.weight_decay": "training.optimizer.weight_decay",
    "training.clip_norm": "training.optimizer.clip_norm",
    "training.ema_decay": "training.optimizer.ema_decay",
    "training.schedule": "training.schedule.kind",
    "training.warmup_steps": "training.schedule.warmup_steps",
    "training.step_every": "training.schedule.step_every",
    "training.step_factor": "training.schedule.step_factor",
    "training.plateau_threshold": "training.schedule.plateau_threshold",
    "training.plateau_patience": "training.schedule.plateau_patience",
    "training.plateau_cooldown": "training.schedule.plateau_cooldown",
    "training.plateau_factor": "training.schedule.plateau_factor",
    "training.dssim_weight": "training.loss.dssim",
    "training.mse_weight": "training.loss.mse",
    "training.l1_weight": "training.loss.l1",
    "training.gradient_weight": "training.loss.gradient",
    "training.frequency_weight": "training.loss.frequency",
    "training.mask_weight": "training.loss.mask",
    "training.features_weight": "training.loss.features",
    "training.background_weight": "training.loss.background",
    "training.augment": "training.augment.kind",
    "training.rotation_deg": "training.augment.rotation_deg",
    "training.zoom": "training.augment.zoom",
    "training.shift": "training.augment.shift",
    "training.flip": "training.augment.flip",
    "training.warp": "training.augment.warp",
    "training.warp_until": "training.augment.warp_until",
    "training.brightness": "training.augment.brightness",
    "training.contrast": "training.augment.contrast",
    "training.hue": "training.augment.hue",
    "training.saturation": "training.augment.saturation",
    "training.value": "training.augment.value",
    "training.color_transfer": "training.augment.color_transfer",
    "training.heldout_by": "training.heldout.by",
    "training.heldout_share": "training.heldout.share",
    "training.heldout_gap": "training.heldout.gap",
    "training.heldout_every": "training.heldout.every",
    "convert.smooth": "convert.temporal_smoothing",
    "convert.views": "convert.test_time_augmentation",
    "convert.color": "convert.color.kind",
    "convert.color_steady": "convert.color.steady",
    "convert.relight": "convert.color.relight",
    "convert.mask": "convert.mask.kind",
    "convert.erode": "convert.mask.erode",
    "convert.feather": "convert.mask.feather",
    "convert.top": "convert.mask.top",
    "convert.bottom": "convert.mask.bottom",
    "convert.left": "convert.mask.left",
    "convert.right": "convert.mask.right",
    "convert.mask_steady": "convert.mask.steady",
    "convert.masks": "convert.mask.folder",
    "convert.codec": "convert.output.codec",
    "convert.quality": "convert.output.quality",
    "convert.label": "convert.output.label",
    "convert.c2pa": "convert.output.c2pa",
    "convert.c2pa_certificate": "convert.output.c2pa_certificate",
    "convert.c2pa_key": "convert.output.c2pa_key",
}
"""Where an old name is a group's now, the old option was the choice that is the group's `kind`."""

CONSTANTS = {"training.plateau_floor": 0.01, "training.plateau_smoothing": 0.5}
"""Options that went, and the values that hold in their place."""


def old_names_in(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The options with old names among a config's sections, and their values."""
    for old in [*RENAMED, *CONSTANTS]:
        section, key = old.split(".")
        held = values.get(section)
        if isinstance(held, Mapping) and key in held and is_old(old, held[key]):
            yield old, held[key]


def is_old(name: str, value: object) -> bool:
    """Whether this is an option under its old name, and no group that is called so now."""
    return (name in RENAMED or name in CONSTANTS) and not isinstance(value, Mapping)


def new_name(old: str) -> str:
    """What to say of an old name."""
    if old in CONSTANTS:
        return f"{old} is {CONSTANTS[old]} now, and no longer an option"
    return f"{old} is {RENAMED[old]} now"


def under_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sections with every option under its new name; those that went are left out."""
    old = dict(old_names_in(values))
    renamed = {
        section: {k: v for k, v in held.items() if f"{section}.{k}" not in old}
        if isinstance(held, Mapping)
        else held
        for section, held in values.items()
    }
    for name in old.keys() & RENAMED.keys():
        section, *group, key = RENAMED[name].split(".")
        held = renamed[section]
        (held.setdefault(group[0], {}) if group else held)[key] = old[name]
    return renamed


def under_old_names(section: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A section's options, by their dotted names, as jobs have known them: under old names."""
    old = {new: old.split(".")[1] for old, new in RENAMED.items()}
    return {old.get(f"{section}.{name}", name): value for name, value in options.items()}
