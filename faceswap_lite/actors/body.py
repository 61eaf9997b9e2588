"""What is not the head's own surface: eyeballs, teeth, mouth, ears, hair, neck and shoulders.

All in head units, in the head's frame (ears, eyes, mouth, hair) or the body's (neck, shoulders).
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from .head import (
    JAW_PIVOT,
    Eye,
    head_grid,
    jaw_turn,
    ramp,
)
from .identity import ActorIdentity, HairStyle

# The hairline: height on the resting head by the angle around it (degrees).
_HAIRLINES: dict[HairStyle, list[tuple[float, float]]] = {
    "short": [(0, 1.02), (20, 1.0), (38, 0.93), (50, 0.66), (58, 0.42), (66, 0.12), (72, -0.22)]
    + [(82, -0.28), (87, 0.12), (96, 0.32), (112, 0.05), (122, -0.55), (140, -0.95), (180, -1.02)],
    "crop": [(0, 0.96), (25, 0.95), (44, 0.90), (53, 0.62), (60, 0.40), (68, 0.10), (73, -0.12)]
    + [(82, -0.16), (87, 0.12), (96, 0.32), (112, 0.05), (122, -0.50), (140, -0.90), (180, -0.97)],
    "fringe": [(0, 0.54), (20, 0.55), (38, 0.52), (48, 0.42), (56, 0.20), (66, -0.15), (74, -0.45)]
    + [(86, -0.50), (92, -0.20), (104, -0.2), (116, -0.6), (140, -1.05), (180, -1.10)],
    "long": [(0, 1.08), (12, 1.02), (30, 0.92), (44, 0.72), (56, 0.35), (66, 0.02), (74, -0.20)]
    + [(90, -0.50), (120, -0.9), (180, -1.1)],
    "bob": [(0, 0.86), (10, 0.90), (24, 0.98), (40, 0.76), (54, 0.40), (65, 0.02), (74, -0.30)]
    + [(90, -0.55), (120, -0.9), (180, -1.1)],
    "bald": [(0, 2.5), (180, 2.5)],
}
# How far the hair stands off the skull: above, at the sides.
_VOLUMES: dict[HairStyle, tuple[float, float]] = {
    "short": (0.17, 0.055),
    "crop": (0.075, 0.04),
    "fringe": (0.15, 0.13),
    "long": (0.16, 0.15),
    "bob": (0.20, 0.17),
    "bald": (0.0, 0.0),
}
_FALLS: dict[HairStyle, float] = {"long": -2.75, "bob": -1.45}


def hairline(identity: ActorIdentity, angle: np.ndarray) -> np.ndarray:
    """Height of the hairline around the head, at rest."""
    knots = np.array(_HAIRLINES[identity.hair_style])
    degrees = np.abs(np.rad2deg(angle))
    height = np.interp(degrees, knots[:, 0], knots[:, 1])
    shift = 0.0 if identity.hair_style == "fringe" else 0.09 * identity.hairline
    return height + shift * ramp(degrees, 62.0, 48.0)


@lru_cache(maxsize=64)
def hair_lift(identity: ActorIdentity) -> Float[np.ndarray, "r c 3"]:
    """What the hair adds to the skull's points."""
    grid = head_grid()
    top, sides = _VOLUMES[identity.hair_style]
    y = grid.rest[..., 1].astype(np.float64)
    line = hairline(identity, grid.angle)[None, :]
    depth = ramp(y, line - 0.02, line + 0.30)
    if identity.hair_style == "fringe":
        depth = ramp(y, line - 0.03, line + 0.10)
    thick = depth * (sides + (top - sides) * ramp(y, 0.3, 1.3))
    if identity.hair_style == "short":
        # Brushed up over the forehead.
        thick = thick * (1 + 0.45 * ramp(grid.rest[..., 2], 0.5, 1.2))
    away = grid.rest - np.array([0, 0.25, -0.1])
    away /= np.linalg.norm(away, axis=-1, keepdims=True)
    return (thick[..., None] * away).astype(np.float32)


def hair_curtain(identity: ActorIdentity) -> Float[np.ndarray, "r c 3"] | None:
    """The hair that hangs beside and behind the head, or None for short styles."""
    fall = _FALLS.get(identity.hair_style)
    if fall is None:
        return None
    rows, columns = 22, 33
    y = np.linspace(1.35, fall, rows)
    degrees = np.linspace(52, 308, columns)
    around = np.deg2rad(degrees)[None, :]
    heights = [-3.0, -2.2, -1.5, -1.0, -0.3, 0.3, 0.8, 1.2, 1.5]
    long = identity.hair_style == "long"
    width = np.interp(y, heights, [1.40, 1.45, 1.44, 1.42, 1.39, 1.34, 1.18, 0.90, 0.6])
    if not long:
        width = np.interp(y, heights, [1.3, 1.3, 1.36, 1.52, 1.50, 1.40, 1.20, 0.92, 0.6])
    back = np.interp(y, heights, [1.15, 1.2, 1.3, 1.5, 1.75, 1.82, 1.66, 1.3, 0.8])
    front = np.interp(y, heights, [1.25, 1.2, 1.05, 1.0, 1.0, 1.0, 1.0, 0.9, 0.6])
    wave = 0.025 * np.sin(4.3 * y[:, None] + 5 * around) + 0.012 * np.sin(9 * y[:, None] - 9 * around)
    stretch = 1 + wave * ramp(y, 0.6, -0.6)[:, None]
    x = width[:, None] * np.sin(around) * stretch
    depth = np.where(np.cos(around) > 0, front[:, None], back[:, None])
    z = -0.10 + depth * np.cos(around) * stretch
    height = np.broadcast_to(y[:, None], x.shape).copy()
    # The ends are cut round, a little longer behind.
    height += ramp(y, -0.5, fall)[:, None] * 0.22 * (0.5 + 0.5 * np.cos(around * 3)) * (0.5 if long else 0.3)
    return np.stack([x, height, z], -1).astype(np.float32)


@lru_cache(maxsize=1)
def _eye_patch() -> Float[np.ndarray, "r c 3"]:
    a = np.deg2rad(np.linspace(-78, 78, 13))
    b = np.deg2rad(np.linspace(70, -70, 11))
    x = np.sin(a)[None, :] * np.cos(b)[:, None]
    y = np.broadcast_to(np.sin(b)[:, None], x.shape)
    z = np.cos(a)[None, :] * np.cos(b)[:, None]
    return np.stack([x, y, z], -1).astype(np.float32)


def eyeball(eye: Eye) -> Float[np.ndarray, "r c 3"]:
    """The visible half of an eyeball; it does not turn, its picture does."""
    return eye.center + eye.radius * _eye_patch()


def mouth_cave(lips: Float[np.ndarray, "3"], mouth: float) -> Float[np.ndarray, "r c 3"]:
    """The dark inside of the mouth: a bowl behind the lips whose floor follows the jaw."""
    across = np.linspace(-1, 1, 11)
    down = np.linspace(0.22, -0.34, 9)
    x, y = np.meshgrid(0.66 * across, lips[1] + down)
    z = lips[2] - 0.17 - 0.62 * x * x - 0.42 * np.cos(np.pi / 2 * across) ** 0.5 * np.cos(
        np.pi * (down - down.mean()) / np.ptp(down)
    )[:, None] - 0.0 * y
    cave = np.stack([x, y, z], -1)
    share = ramp(down, 0.12, -0.2)[:, None, None]
    return (cave + share * (_with_jaw(cave, mouth) - cave)).astype(np.float32)


def teeth(
    lips: Float[np.ndarray, "3"], mouth: float, upper: bool
) -> Float[np.ndarray, "r c 3"]:
    """One row of teeth: a curved band; the upper one is the skull's, the lower one the jaw's."""
    across = np.linspace(-0.36, 0.36, 17)
    edge, root = (-0.045, 0.14) if upper else (-0.035, -0.21)
    down = np.linspace(max(edge, root), min(edge, root), 4)
    x, y = np.meshgrid(across, lips[1] + down)
    inset = 0.105 if upper else 0.135
    z = lips[2] - inset - 1.15 * x * x
    row = np.stack([x, y, z], -1)
    return (row if upper else _with_jaw(row, mouth)).astype(np.float32)


def tongue(lips: Float[np.ndarray, "3"], mouth: float) -> Float[np.ndarray, "r c 3"]:
    """The tongue's back and tip, lying behind the lower teeth."""
    a = np.linspace(-1, 1, 9)
    along = np.linspace(0, 1, 7)
    x, t = np.meshgrid(0.25 * a, along)
    side = np.abs(a)[None, :]
    y = lips[1] - 0.15 - 0.06 * side**2 - 0.11 * t**2
    z = lips[2] - 0.42 + 0.20 * t - 0.05 * side**2
    return _with_jaw(np.stack([x, y, z], -1), 0.92 * mouth).astype(np.float32)


def _with_jaw(points: np.ndarray, mouth: float) -> np.ndarray:
    return (points - JAW_PIVOT) @ jaw_turn(mouth).T + JAW_PIVOT


def ear(
    shape: Float[np.ndarray, "r c 3"], identity: ActorIdentity, side: int
) -> Float[np.ndarray, "r c 3"]:
    """An outer ear: a dish with a rim, hinged before the hole of the ear. side: -1 or 1."""
    grid = head_grid()
    column = int(np.argmin(np.abs(grid.angle - side * np.deg2rad(90))))
    row = int(np.argmin(np.abs(grid.rest[:, column, 1] + 0.10)))
    hinge = shape[row, column] + np.array([-0.02 * side, 0, 0.0])
    size = 1 + 0.15 * identity.ear_size
    ring = np.array([0.0, 0.22, 0.42, 0.58, 0.72, 0.82, 0.90, 0.97, 1.0])[:, None]
    turn = np.linspace(0, 2 * np.pi, 29)[None, :]
    wide = 0.185 * (1 + 0.22 * np.sin(turn)) * np.cos(turn)
    tall = 0.33 * np.sin(turn) * (1 - 0.06 * np.cos(turn))
    # The dish's middle lies forward and low: the hole of the ear.
    a = ring * wide - 0.05 * (1 - ring)
    b = ring * tall - 0.04 * (1 - ring)
    r = np.broadcast_to(ring, a.shape)
    back = np.cos(turn)
    lobe = ramp(np.sin(turn), -0.55, -0.85)
    out = -0.07 * np.exp(-((r / 0.40) ** 2))
    out = out + 0.035 * np.exp(-(((r - 0.62) / 0.10) ** 2)) * ramp(back, -0.3, 0.5) * (1 - lobe)
    out = out - 0.02 * np.exp(-(((r - 0.78) / 0.06) ** 2)) * ramp(back, -0.6, 0.0) * (1 - lobe)
    out = out + 0.05 * np.exp(-(((r - 0.93) / 0.08) ** 2)) * ramp(back, -0.9, -0.2)
    out = out - 0.05 * ramp(r, 0.965, 1.0)
    flare = np.deg2rad(27)
    lean = np.deg2rad(9)
    backward = np.array([side * np.sin(flare), 0, -np.cos(flare)])
    upward = np.array([0, np.cos(lean), -np.sin(lean)])
    outward = np.array([side * np.cos(flare), 0, np.sin(flare)])
    center = hinge + 0.15 * size * backward
    points = (
        center
        + size * (a[..., None] * backward + b[..., None] * upward)
        + size * out[..., None] * outward
    )
    return points.astype(np.float32)


def neck(identity: ActorIdentity, turned: np.ndarray) -> Float[np.ndarray, "r c 3"]:
    """The neck in the body's frame; its top goes along with the head, `turned` (rotation)."""
    y = np.concatenate([np.linspace(-0.95, -2.2, 11), np.linspace(-2.35, -2.8, 4)])
    around = np.linspace(-np.pi, np.pi, 41)[None, :]
    wide = 1 + 0.12 * identity.neck_width
    half = np.interp(-y, [0.95, 1.5, 2.1, 2.4, 2.8], [0.62, 0.62, 0.66, 0.80, 1.15]) * wide
    deep = np.interp(-y, [0.95, 1.5, 2.1, 2.8], [0.62, 0.60, 0.62, 0.75]) * wide
    middle = np.interp(-y, [0.95, 1.5, 2.4, 2.8], [-0.22, -0.22, -0.42, -0.45])
    x = half[:, None] * np.sin(around)
    z = middle[:, None] + deep[:, None] * np.cos(around)
    # Two cords from behind the ears to the pit of the throat, and the throat between them.
    spread = np.interp(-y, [1.2, 2.4], [62, 16])[:, None]
    cords = np.exp(-(((np.abs(np.rad2deg(around)) - spread) / 11) ** 2))
    z = z + 0.05 * cords + 0.035 * np.exp(-((np.rad2deg(around) / 13) ** 2))
    points = np.stack([x, np.broadcast_to(y[:, None], x.shape), z], -1)
    share = ramp(y, -2.35, -1.25)[:, None, None]
    return (points + share * (points @ turned.T - points)).astype(np.float32)


def shoulders(identity: ActorIdentity) -> Float[np.ndarray, "r c 3"]:
    """Shoulders and chest from the neck outward, in the body's frame."""
    q = np.concatenate([np.linspace(0, 0.2, 6), np.linspace(0.2, 1, 16)[1:]])[:, None]
    around = np.linspace(-np.pi, np.pi, 61)[None, :]
    front = np.cos(around)
    sideways = np.abs(np.sin(around))
    wide = 0.78 * (1 + 0.12 * identity.neck_width)
    reach = 2.15 + 0.25 * identity.neck_width
    x = (wide + reach * q**0.9) * np.sin(around)
    z = -0.42 + (0.66 + 0.62 * q**0.6) * front
    slope = -2.26 - 0.62 * q**1.1 - 1.6 * np.clip(q - 0.72, 0, 1) ** 1.5 * 3
    chest = np.where(front > 0, -2.50 - 2.2 * q, -2.2 - 1.7 * q)
    y = slope + (chest - slope) * (1 - sideways**2.2)
    return np.stack([x, y, z], -1).astype(np.float32)


def lips_middle(posed_closed: Float[np.ndarray, "r c 3"]) -> Float[np.ndarray, "3"]:
    """The middle of the shut lips of a neutral head: where teeth and mouth hang."""
    grid = head_grid()
    middle = len(grid.angle) // 2
    return np.array([0, posed_closed[grid.mouth_row, middle, 1], posed_closed[grid.mouth_row, middle, 2]], np.float32)


