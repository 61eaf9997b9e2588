"""What is not the head's own surface: eyeballs, teeth, mouth, ears, hair, neck and shoulders.

All in head units, in the head's frame (ears, eyes, mouth, hair) or the body's (neck, shoulders).
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from .cast import ActorIdentity, HairStyle
from .head import JAW_PIVOT, MOUTH_HALF_WIDTH, Eye, head_grid, identity_shape, jaw_turn, smoothstep

# The hairline: angles around the resting head (degrees), and its height there.
_HAIRLINES: dict[HairStyle, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "short": (
        (0, 14, 30, 42, 51, 58, 66, 72, 82, 87, 96, 112, 122, 140, 180),
        (1, 1.03, 1.13, 0.98, 0.66, 0.42, 0.12, -0.25, -0.3, 0.1, 0.32, 0.05, -0.55, -0.95, -1.02),
    ),
    "crop": (
        (0, 25, 42, 50, 58, 67, 73, 82, 87, 96, 112, 122, 140, 180),
        (0.98, 1.0, 0.93, 0.62, 0.4, 0.1, -0.12, -0.16, 0.12, 0.32, 0.05, -0.5, -0.9, -0.97),
    ),
    "fringe": (
        (0, 20, 38, 48, 56, 66, 74, 86, 92, 104, 116, 140, 180),
        (0.54, 0.55, 0.52, 0.42, 0.2, -0.15, -0.45, -0.5, -0.2, -0.2, -0.6, -1.05, -1.1),
    ),
    "long": (
        (0, 8, 22, 36, 48, 57, 64, 72, 90, 120, 180),
        (1.2, 1.1, 0.9, 0.66, 0.36, 0.0, -0.4, -0.75, -1.0, -1.1, -1.2),
    ),
    "bob": (
        (0, 12, 26, 40, 50, 58, 65, 72, 90, 120, 180),
        (1.02, 0.94, 0.8, 0.6, 0.34, 0.0, -0.4, -0.75, -1.0, -1.1, -1.2),
    ),
    "bald": ((0, 180), (2.5, 2.5)),
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
    degrees = np.abs(np.rad2deg(angle))
    height = np.interp(degrees, *_HAIRLINES[identity.hair_style])
    shift = 0.0 if identity.hair_style == "fringe" else 0.09 * identity.hairline
    return height + shift * smoothstep(degrees, 62.0, 48.0)


@lru_cache(maxsize=64)
def hair_lift(identity: ActorIdentity) -> Float[np.ndarray, "r c 3"]:
    """What the hair adds to the skull's points."""
    grid = head_grid()
    top, flanks = _VOLUMES[identity.hair_style]
    y = grid.rest[..., 1].astype(np.float64)
    line = hairline(identity, grid.angle)[None, :]
    depth = smoothstep(y, line - 0.02, line + 0.34)
    if identity.hair_style == "fringe":
        depth = smoothstep(y, line - 0.03, line + 0.10)
    thick = depth * (flanks + (top - flanks) * smoothstep(y, 0.3, 1.3))
    if identity.hair_style == "short":
        # Brushed up over the forehead.
        thick = thick * (1 + 0.45 * smoothstep(grid.rest[..., 2], 0.5, 1.2))
    away = grid.rest - np.array([0, 0.25, -0.1])
    away /= np.linalg.norm(away, axis=-1, keepdims=True)
    return (thick[..., None] * away).astype(np.float32)


@lru_cache(maxsize=64)
def hair_curtain(identity: ActorIdentity) -> Float[np.ndarray, "r c 3"] | None:
    """The hair that hangs beside and behind the head, or None for short styles."""
    fall = _FALLS.get(identity.hair_style)
    if fall is None:
        return None
    rows, columns = 24, 41
    long = identity.hair_style == "long"
    y = np.linspace(1.30, fall, rows)
    turn = np.linspace(-1, 1, columns)
    # Columns are close together at the two front edges.
    around = np.deg2rad(180 + 130 * np.sin(np.pi / 2 * turn))[None, :]
    # Above `_FREE_Y` the hair lies on the skull (just inside its lifted surface); below it hangs.
    radius = _hair_radius(identity, around[0], np.maximum(y, _FREE_Y))
    below = [-3.0, -2.2, -1.5, -1.0, -0.4, -0.1, 0.2, _FREE_Y]
    if long:
        flanks = [1.06, 1.09, 1.09, 1.085, 1.055, 1.03, 1.01, 1.0]
        behind = [0.66, 0.70, 0.76, 0.86, 0.96, 0.99, 1.0, 1.0]
    else:
        flanks = [0.92, 0.92, 0.98, 1.12, 1.10, 1.06, 1.02, 1.0]
        behind = [0.70, 0.70, 0.74, 0.90, 1.0, 1.01, 1.005, 1.0]
    flank_fall, back_fall = (np.interp(y, below, table)[:, None] for table in (flanks, behind))
    waves = 0.030 * np.sin(3.9 * y[:, None] + 6 * around) + 0.014 * np.sin(
        9 * y[:, None] - 11 * around
    )
    stretch = 1 + waves * smoothstep(y, 0.4, -0.8)[:, None]
    # The front edges roll inward, toward the cheeks.
    stretch = stretch * (
        1 - 0.17 * smoothstep(np.abs(turn), 0.80, 1.0) * smoothstep(y, 1.3, 0.6)[:, None]
    )
    x = radius * flank_fall * np.sin(around) * stretch
    rear = np.where(np.cos(around) < 0, back_fall, 1.0)
    z = _SKULL_MIDDLE[1] + radius * rear * np.cos(around) * stretch
    height = np.broadcast_to(y[:, None], x.shape).copy()
    # The ends are cut uneven; those of a bob turn in.
    ends = (
        0.10 * np.sin(7 * around) + 0.05 * np.sin(23 * around)
        if long
        else 0.04 * np.sin(19 * around)
    )
    tapered = (0.55 if long else 0.12) * smoothstep(np.abs(turn), 0.72, 1.0)
    height += smoothstep(y, -0.5, fall)[:, None] * (ends + tapered)
    return np.stack([x, height, z], -1).astype(np.float32)


# Hanging hair leaves the skull at this height.
_FREE_Y = 0.45
# (x, z) about which hair is measured.
_SKULL_MIDDLE = (0.0, -0.10)


def _hair_radius(
    identity: ActorIdentity, around: np.ndarray, y: np.ndarray
) -> Float[np.ndarray, "h a"]:
    """How far from the middle the surface of the hair on the skull lies, at heights x angles."""
    grid = head_grid()
    skull = identity_shape(identity) + hair_lift(identity)
    above = skull[: grid.eye_row + 1]
    away_x, away_z = above[..., 0] - _SKULL_MIDDLE[0], above[..., 2] - _SKULL_MIDDLE[1]
    distance, angle = np.hypot(away_x, away_z), np.arctan2(away_x, away_z)
    wanted = np.arctan2(np.sin(around), np.cos(around))
    # First around each row, then down each wanted angle.
    at_angle = np.stack(
        [np.interp(wanted, a, d, period=2 * np.pi) for a, d in zip(angle, distance, strict=True)]
    )
    heights = above[:, len(grid.angle) // 2, 1]
    return 0.992 * np.stack([np.interp(-y, -heights, column) for column in at_angle.T], 1)


@lru_cache(maxsize=1)
def eye_directions() -> Float[np.ndarray, "r c 3"]:
    """Unit directions from an eyeball's middle to the points of its grid."""
    a = np.deg2rad(np.linspace(-72, 72, 13))
    b = np.deg2rad(np.linspace(66, -66, 11))
    x = np.sin(a)[None, :] * np.cos(b)[:, None]
    y = np.broadcast_to(np.sin(b)[:, None], x.shape)
    z = np.cos(a)[None, :] * np.cos(b)[:, None]
    return np.stack([x, y, z], -1).astype(np.float32)


def eyeball(eye: Eye, lateral: int) -> Float[np.ndarray, "r c 3"]:
    """The visible half of the eyeball at `lateral` (-1 or 1); it does not turn, its picture does.

    Its edge toward the nose reaches under the skin, so that nobody looks past it into the head.
    """
    points = eye.center + eye.radius * eye_directions()
    inner = (0, 1) if lateral > 0 else (-1, -2)
    points[:, inner[0], 0] = points[:, inner[1], 0] - lateral * 0.45 * eye.radius
    points[:, inner[0], 2] = points[:, inner[1], 2] - 0.1 * eye.radius
    return points


def mouth_cave(posed: Float[np.ndarray, "r c 3"]) -> Float[np.ndarray, "i j 3"]:
    """The dark inside of the mouth: a bowl whose brim lies just under the skin around the lips."""
    grid = head_grid()
    middle = len(grid.angle) // 2
    wide = int(np.sum(np.abs(grid.rest[grid.mouth_row, middle:, 0]) < MOUTH_HALF_WIDTH + 0.09))
    columns = slice(middle - wide, middle + wide + 1)
    inset = np.array([0, 0, 0.05], np.float32)
    top = posed[grid.mouth_row - 3, columns] - inset
    bottom = posed[grid.mouth_row + 4, columns] - inset
    share = np.linspace(0, 1, 9, dtype=np.float32)[:, None, None]
    cave = top + share * (bottom - top)
    across = np.linspace(-1, 1, 2 * wide + 1)
    bowl = np.cos(np.pi / 2 * across) ** 0.5 * np.sin(np.pi * share[:, 0])
    cave[..., 2] -= 0.6 * bowl
    return cave.astype(np.float32)


def teeth(lips: Float[np.ndarray, "3"], mouth: float, upper: bool) -> Float[np.ndarray, "r c 3"]:
    """One row of teeth: a curved band; the upper one is the skull's, the lower one the jaw's."""
    across = np.linspace(-0.31, 0.31, 17)
    edge, root = (-0.075, 0.12) if upper else (-0.080, -0.24)
    down = np.linspace(max(edge, root), min(edge, root), 4)
    x, y = np.meshgrid(across, lips[1] + down)
    inset = 0.125 if upper else 0.150
    z = lips[2] - inset - 1.15 * x * x
    row = np.stack([x, y, z], -1)
    return (row if upper else _with_jaw(row, mouth)).astype(np.float32)


def tongue(lips: Float[np.ndarray, "3"], mouth: float) -> Float[np.ndarray, "r c 3"]:
    """The tongue's back and tip, lying behind the lower teeth."""
    a = np.linspace(-1, 1, 9)
    along = np.linspace(0, 1, 7)
    x, t = np.meshgrid(0.25 * a, along)
    lateral = np.abs(a)[None, :]
    y = lips[1] - 0.15 - 0.06 * lateral**2 - 0.11 * t**2
    z = lips[2] - 0.42 + 0.20 * t - 0.05 * lateral**2
    return _with_jaw(np.stack([x, y, z], -1), 0.92 * mouth).astype(np.float32)


def _with_jaw(points: np.ndarray, mouth: float) -> np.ndarray:
    return (points - JAW_PIVOT) @ jaw_turn(mouth).T + JAW_PIVOT


def ear(
    shape: Float[np.ndarray, "r c 3"], identity: ActorIdentity, lateral: int
) -> Float[np.ndarray, "i j 3"]:
    """An outer ear: a dish with a rim, hinged before the hole of the ear. lateral: -1 or 1."""
    grid = head_grid()
    column = int(np.argmin(np.abs(grid.angle - lateral * np.deg2rad(90))))
    row = int(np.argmin(np.abs(grid.rest[:, column, 1] + 0.10)))
    hinge = shape[row, column] + np.array([-0.02 * lateral, 0, 0.0])
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
    lobe = smoothstep(np.sin(turn), -0.55, -0.85)
    out = -0.07 * np.exp(-((r / 0.40) ** 2))
    out = out + 0.05 * np.exp(-(((r - 0.62) / 0.09) ** 2)) * smoothstep(back, -0.3, 0.5) * (
        1 - lobe
    )
    out = out - 0.035 * np.exp(-(((r - 0.78) / 0.06) ** 2)) * smoothstep(back, -0.6, 0.0) * (
        1 - lobe
    )
    out = out + 0.05 * np.exp(-(((r - 0.93) / 0.08) ** 2)) * smoothstep(back, -0.9, -0.2)
    out = out - 0.05 * smoothstep(r, 0.965, 1.0)
    flare = np.deg2rad(27)
    lean = np.deg2rad(9)
    backward = np.array([lateral * np.sin(flare), 0, -np.cos(flare)])
    upward = np.array([0, np.cos(lean), -np.sin(lean)])
    outward = np.array([lateral * np.cos(flare), 0, np.sin(flare)])
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
    deep = np.interp(-y, [0.95, 1.5, 2.1, 2.8], [0.62, 0.60, 0.60, 0.42]) * wide
    middle = np.interp(-y, [0.95, 1.5, 2.4, 2.8], [-0.22, -0.22, -0.42, -0.45])
    x = half[:, None] * np.sin(around)
    z = middle[:, None] + deep[:, None] * np.cos(around)
    # Two cords from behind the ears to the pit of the throat, and the throat between them.
    spread = np.interp(-y, [1.2, 2.4], [62, 16])[:, None]
    cords = np.exp(-(((np.abs(np.rad2deg(around)) - spread) / 11) ** 2))
    z = z + 0.05 * cords + 0.035 * np.exp(-((np.rad2deg(around) / 13) ** 2))
    points = np.stack([x, np.broadcast_to(y[:, None], x.shape), z], -1)
    share = smoothstep(y, -2.35, -1.25)[:, None, None]
    return (points + share * (points @ turned.T - points)).astype(np.float32)


def shoulders(identity: ActorIdentity) -> Float[np.ndarray, "r c 3"]:
    """Shoulders and chest from the neck outward, in the body's frame."""
    q = np.concatenate([np.linspace(0.0, 0.2, 6), np.linspace(0.2, 1, 16)[1:]])[:, None]
    around = np.linspace(-np.pi, np.pi, 61)[None, :]
    front = np.cos(around)
    sideways = np.abs(np.sin(around))
    wide = 0.66 * (1 + 0.12 * identity.neck_width)
    reach = 2.27 + 0.25 * identity.neck_width
    x = (wide + reach * q**0.9) * np.sin(around)
    z = -0.42 + (0.54 + 0.72 * q**0.5) * front
    slope = -2.26 - 0.62 * q**1.1 - 1.6 * np.clip(q - 0.72, 0, 1) ** 1.5 * 3
    chest = np.where(front > 0, -2.38 - 2.2 * q, -2.2 - 1.7 * q)
    y = slope + (chest - slope) * (1 - sideways**2.2)
    return np.stack([x, y, z], -1).astype(np.float32)


def lips_middle(posed_closed: Float[np.ndarray, "r c 3"]) -> Float[np.ndarray, "3"]:
    """The middle of the shut lips of a neutral head: where teeth and mouth hang."""
    grid = head_grid()
    middle = len(grid.angle) // 2
    return np.array(
        [0, posed_closed[grid.mouth_row, middle, 1], posed_closed[grid.mouth_row, middle, 2]],
        np.float32,
    )
