"""Who the actors are: a handful of named people, and random ones from a seed."""

import difflib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..errors import UsageError

HairStyle = Literal["short", "crop", "fringe", "long", "bob", "bald"]
Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class ActorIdentity:
    """One person. Shape numbers are relative to an average head: 0 is average, about -1..1.

    Colours are sRGB, 0..1.
    """

    name: str
    # Skull and outline.
    face_width: float = 0.0
    face_length: float = 0.0
    jaw_width: float = 0.0
    chin_length: float = 0.0
    chin_forward: float = 0.0
    cheekbones: float = 0.0
    cheek_fullness: float = 0.0
    # Eyes and brows.
    eye_spacing: float = 0.0
    eye_size: float = 0.0
    eye_tilt: float = 0.0
    eye_depth: float = 0.0
    lid_fold: float = 0.5
    brow_height: float = 0.0
    brow_arch: float = 0.0
    brow_thickness: float = 0.0
    brow_ridge: float = 0.0
    # Nose.
    nose_length: float = 0.0
    nose_width: float = 0.0
    nose_projection: float = 0.0
    nose_hump: float = 0.0
    # Mouth.
    mouth_width: float = 0.0
    upper_lip: float = 0.0
    lower_lip: float = 0.0
    # Colours.
    skin: Rgb = (0.86, 0.68, 0.58)
    blush: float = 0.5
    lips: Rgb = (0.76, 0.42, 0.40)
    iris: Rgb = (0.36, 0.25, 0.16)
    brow_color: Rgb = (0.22, 0.15, 0.11)
    # What lies on the face.
    stubble: float = 0.0
    freckles: float = 0.0
    wrinkles: float = 0.0
    make_up: float = 0.0
    # What is not of the face: it stays the wearer's when a face is swapped.
    hair: Rgb = (0.25, 0.17, 0.12)
    hair_style: HairStyle = "short"
    hairline: float = 0.0
    ear_size: float = 0.0
    neck_width: float = 0.0
    shirt: Rgb = (0.25, 0.30, 0.38)
    collar: Literal["crew", "v", "shirt"] = "crew"
    # Chooses the mottling of the skin, the strands of the hair, the hairs of the brows.
    texture_seed: int = 0


# Who has a name, and the rest of them in the same order.
_NAMES = ("ada", "bruno", "chen", "dara", "ewa")
_NAMED: dict[str, tuple[Any, ...]] = {
    "face_width": (-0.5, 0.5, 0.5, 0.0, 0.1),
    "face_length": (-0.2, 0.3, -0.4, 0.6, 0.1),
    "jaw_width": (-0.7, 0.9, -0.1, 0.1, 0.0),
    "chin_length": (-0.3, 0.5, -0.4, 0.1, 0.0),
    "chin_forward": (0.0, 0.5, 0.0, -0.2, 0.0),
    "cheekbones": (0.5, 0.1, 0.7, 0.5, -0.1),
    "cheek_fullness": (0.0, -0.3, 0.6, -0.1, 0.1),
    "eye_spacing": (0.2, -0.2, 0.5, 0.1, 0.0),
    "eye_size": (0.8, -0.3, -0.1, 0.4, 0.1),
    "eye_tilt": (0.4, -0.2, 0.8, 0.1, -0.4),
    "eye_depth": (0.0, 0.6, -0.9, 0.0, 0.3),
    "lid_fold": (0.7, 0.3, 0.1, 0.6, 0.9),
    "brow_height": (0.5, -0.6, 0.3, 0.1, 0.1),
    "brow_arch": (0.7, -0.4, -0.1, 0.3, 0.2),
    "brow_thickness": (-0.5, 0.9, 0.0, 0.1, -0.3),
    "brow_ridge": (-0.7, 0.9, -0.8, 0.0, 0.0),
    "nose_length": (-0.4, 0.5, -0.2, 0.1, 0.4),
    "nose_width": (-0.6, 0.6, 0.3, 1.0, -0.1),
    "nose_projection": (-0.2, 0.5, -0.7, -0.2, 0.3),
    "nose_hump": (-0.5, 0.7, -0.7, -0.4, 0.2),
    "mouth_width": (0.0, 0.5, -0.4, 0.6, 0.2),
    "upper_lip": (0.6, -0.4, 0.2, 1.0, -0.6),
    "lower_lip": (0.6, 0.0, 0.4, 1.0, -0.3),
    "skin": (
        (0.93, 0.76, 0.68),
        (0.72, 0.52, 0.4),
        (0.89, 0.71, 0.55),
        (0.46, 0.3, 0.215),
        (0.91, 0.73, 0.66),
    ),
    "blush": (0.8, 0.4, 0.45, 0.3, 0.7),
    "lips": (
        (0.78, 0.33, 0.35),
        (0.62, 0.37, 0.33),
        (0.74, 0.42, 0.38),
        (0.46, 0.22, 0.2),
        (0.72, 0.42, 0.41),
    ),
    "iris": (
        (0.22, 0.45, 0.36),
        (0.3, 0.18, 0.09),
        (0.15, 0.09, 0.06),
        (0.13, 0.07, 0.04),
        (0.33, 0.47, 0.6),
    ),
    "brow_color": (
        (0.42, 0.24, 0.14),
        (0.1, 0.075, 0.06),
        (0.07, 0.06, 0.06),
        (0.06, 0.045, 0.04),
        (0.5, 0.44, 0.38),
    ),
    "stubble": (0.0, 0.75, 0.0, 0.0, 0.0),
    "freckles": (0.7, 0.0, 0.0, 0.0, 0.0),
    "wrinkles": (0.0, 0.5, 0.0, 0.0, 0.9),
    "make_up": (0.6, 0.0, 0.0, 0.0, 0.0),
    "hair": (
        (0.5, 0.25, 0.12),
        (0.11, 0.085, 0.07),
        (0.055, 0.05, 0.055),
        (0.075, 0.06, 0.055),
        (0.66, 0.63, 0.6),
    ),
    "hair_style": ("long", "short", "fringe", "crop", "bob"),
    "hairline": (0.0, 0.3, 0.0, -0.1, 0.0),
    "ear_size": (0.0, 0.5, 0.0, -0.2, 0.0),
    "neck_width": (-0.6, 0.8, -0.2, 0.0, 0.0),
    "shirt": (
        (0.16, 0.33, 0.33),
        (0.72, 0.74, 0.76),
        (0.55, 0.16, 0.18),
        (0.85, 0.66, 0.22),
        (0.3, 0.26, 0.42),
    ),
    "collar": ("v", "shirt", "crew", "crew", "crew"),
    "texture_seed": (1, 2, 3, 4, 5),
}
ACTORS: dict[str, ActorIdentity] = {
    name: ActorIdentity(name, **{field: each[i] for field, each in _NAMED.items()})
    for i, name in enumerate(_NAMES)
}

_SKINS: tuple[Rgb, ...] = (
    (0.94, 0.79, 0.71),
    (0.89, 0.71, 0.58),
    (0.80, 0.60, 0.46),
    (0.66, 0.46, 0.34),
    (0.50, 0.33, 0.24),
    (0.37, 0.24, 0.175),
)
_HAIRS: tuple[Rgb, ...] = (
    (0.06, 0.05, 0.05),
    (0.17, 0.11, 0.08),
    (0.33, 0.21, 0.13),
    (0.62, 0.46, 0.27),
    (0.52, 0.25, 0.11),
    (0.62, 0.60, 0.58),
)
_IRISES: tuple[Rgb, ...] = (
    (0.14, 0.08, 0.05),
    (0.34, 0.21, 0.10),
    (0.28, 0.40, 0.26),
    (0.32, 0.47, 0.62),
    (0.40, 0.43, 0.45),
)
FIRST_OF_CROWD = 100_000
"""Random people from here on are those that bases learn from: nothing is judged on them."""

# Fields that a random person draws around 0.
_SHAPES = (
    *("face_width", "face_length", "jaw_width", "chin_length", "chin_forward"),
    *("cheekbones", "cheek_fullness", "eye_spacing", "eye_size", "eye_tilt", "eye_depth"),
    *("brow_height", "brow_arch", "brow_thickness", "brow_ridge"),
    *("nose_length", "nose_width", "nose_projection", "nose_hump"),
    *("mouth_width", "upper_lip", "lower_lip", "ear_size", "neck_width", "hairline"),
)


def random_actor(seed: int) -> ActorIdentity:
    """A person drawn from plausible ranges; the same seed gives the same person."""
    rng = np.random.default_rng([seed, 0xAC7])
    shape: dict[str, Any] = {name: float(np.clip(rng.normal(0, 0.5), -1, 1)) for name in _SHAPES}
    tone = rng.uniform(0, len(_SKINS) - 1)
    skin = _mix(_SKINS[int(tone)], _SKINS[int(tone) + 1], tone % 1)
    dark = tone > 3
    hair = _HAIRS[int(rng.integers(0, 2 if dark else len(_HAIRS)))]
    iris = _IRISES[int(rng.integers(0, 2 if dark else len(_IRISES)))]
    lips = _mix(skin, (0.70, 0.22, 0.24), float(rng.uniform(0.3, 0.6)))
    styles: tuple[HairStyle, ...] = ("short", "crop", "fringe", "long", "bob", "bald")
    style = styles[int(rng.choice(len(styles), p=(0.28, 0.16, 0.18, 0.18, 0.14, 0.06)))]
    collars: tuple[Literal["crew", "v", "shirt"], ...] = ("crew", "v", "shirt")
    bearded = style in ("short", "crop", "bald") and rng.random() < 0.5
    person = ActorIdentity(
        name=f"random:{seed}",
        skin=_jitter(rng, skin, 0.02),
        lips=lips if not dark else _mix(lips, skin, 0.3),
        iris=_jitter(rng, iris, 0.04),
        hair=_jitter(rng, hair, 0.02),
        brow_color=_mix(hair, (0.08, 0.06, 0.05), 0.5),
        blush=float(rng.uniform(0.2, 0.8)),
        lid_fold=float(rng.uniform(0.1, 0.9)),
        stubble=float(rng.uniform(0.3, 0.9)) if bearded else 0.0,
        freckles=float(max(0, rng.normal(0, 0.4))) if tone < 2 else 0.0,
        wrinkles=float(max(0, rng.normal(0.1, 0.4))),
        make_up=float(rng.uniform(0, 0.7)) if style in ("long", "bob") else 0.0,
        hair_style=style,
        shirt=_shirt(rng),
        collar=collars[int(rng.integers(0, 3))],
        texture_seed=int(rng.integers(0, 2**31)),
    )
    return replace(person, **shape)


def find_actor(name: str) -> ActorIdentity:
    """The actor called `name`, or the random one of `random:SEED`. Raises: UsageError."""
    if name in ACTORS:
        return ACTORS[name]
    kind, colon, seed = name.partition(":")
    if kind == "random" and colon and seed.isdecimal():
        if int(seed) >= FIRST_OF_CROWD:
            raise UsageError(
                f"actor {name}: seeds from {FIRST_OF_CROWD} up are reserved for the people "
                "that bases learn from; choose a smaller one"
            )
        return random_actor(int(seed))
    near = difflib.get_close_matches(name, ACTORS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"actor {name}: no such actor; {hint}known: {', '.join(ACTORS)}, random:SEED")


def _mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    r, g, b_ = (float(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return (r, g, b_)


def _shirt(rng: np.random.Generator) -> Rgb:
    r, g, b = (float(c) for c in np.clip(rng.uniform(0.2, 0.7) + rng.normal(0, 0.12, 3), 0.05, 0.9))
    return (r, g, b)


def _jitter(rng: np.random.Generator, color: Rgb, spread: float) -> Rgb:
    """A neighbour of `color`: lighter or darker, hardly another hue."""
    shift = rng.normal(0, spread) + rng.normal(0, 0.25 * spread, 3)
    r, g, b = (float(c) for c in np.clip(np.asarray(color) + shift, 0.02, 0.97))
    return (r, g, b)
