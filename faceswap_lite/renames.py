"""What options were called before, and what they are called now.

The one table of it: an old name on the command line or in a config is told the new one; a run's own
config is read as it was written; a job keeps the id that it had.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_INTO_GROUPS = {
    "training.optimizer": ("beta1", "beta2", "weight_decay", "clip_norm", "ema_decay"),
    "training.schedule": (
        "warmup_steps", "step_every", "step_factor", "plateau_threshold", "plateau_patience",
        "plateau_cooldown", "plateau_factor",
    ),
    "training.augment": (
        "rotation_deg", "zoom", "shift", "flip", "warp", "warp_until", "brightness", "contrast",
        "hue", "saturation", "value", "color_transfer",
    ),
    "convert.color": ("relight",),
    "convert.mask": ("erode", "feather", "top", "bottom", "left", "right"),
    "convert.output": ("codec", "quality", "label", "c2pa", "c2pa_certificate", "c2pa_key"),
}  # fmt: skip
"""Options that lay in the section and kept their names: training.warp is training.augment.warp."""
_LOSSES = ("dssim", "mse", "l1", "gradient", "frequency", "mask", "features", "background")

_ROWS = {
    "extract.coverage": "extract.crop_coverage",
    "extract.sure_score": "extract.high_confidence",
    "extract.weak_score": "extract.low_confidence",
    "extract.max_side_px": "extract.max_edge_px",
    "curate.misplacement_limit": "curate.alignment_error_limit",
    "convert.smooth": "convert.temporal_smoothing",
    "convert.views": "convert.test_time_augmentation",
    "convert.color_steady": "convert.color.steady",
    "convert.mask_steady": "convert.mask.steady",
    "convert.masks": "convert.mask.folder",
    **{group: f"{group}.kind" for group in _INTO_GROUPS if group != "convert.output"},
    **{f"training.{loss}_weight": f"training.loss.{loss}" for loss in _LOSSES},
    **{f"training.heldout_{n}": f"training.heldout.{n}" for n in ("by", "share", "gap", "every")},
    **{
        f"{group.partition('.')[0]}.{name}": f"{group}.{name}"
        for group, names in _INTO_GROUPS.items()
        for name in names
    },
}
_SECTIONS = ("extract", "curate", "training", "convert")
RENAMED = dict(sorted(_ROWS.items(), key=lambda row: _SECTIONS.index(row[0].partition(".")[0])))
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
