"""Hands: jointed, seen from the back or from the palm, with or without a sleeve."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .sprites import Canvas, Sprite, noise, outline_of, places

SKIN = (205.0, 205.0, 205.0)
"""Of what is skin: a share of the tone that the hand is given when it is planted."""
_RED, _PALE = (215.0, 180.0, 172.0), (222.0, 206.0, 204.0)

# Of index, middle, ring and little finger: where they begin, how long they are, how thick.
_KNUCKLES = np.array([[-0.27, -0.02], [-0.09, -0.07], [0.09, -0.05], [0.25, 0.03]])
_LENGTHS = (0.50, 0.56, 0.52, 0.41)
_THICK = (0.088, 0.090, 0.085, 0.075)
_PHALANGES = (0.45, 0.31, 0.24)
_WRIST = np.array([0.0, 0.55])


class _Pose(NamedTuple):
    """How the fingers stand: bends of the three joints (0 to 90 degrees), and spread."""

    bends_deg: tuple[float, float, float]
    spread_deg: float
    pointing: tuple[int, ...] = ()
    """Fingers that stay straight."""


_POSES = (
    _Pose((8, 8, 5), 9),
    _Pose((5, 5, 3), 1),
    _Pose((20, 30, 20), 5),
    _Pose((35, 55, 35), 3),
    _Pose((75, 95, 60), 1),
    _Pose((75, 95, 60), 1, (0,)),
    _Pose((75, 95, 60), 7, (0, 1)),
    _Pose((50, 40, 25), 4, (3,)),
)


def draw_hand(rng: np.random.Generator) -> Sprite:
    """A right hand whose arm comes from below; fingers up."""
    canvas, palm = Canvas(), bool(rng.random() < 0.4)
    pose = _POSES[rng.integers(len(_POSES))]
    width = rng.uniform(0.88, 1.12)
    _arm(canvas, rng, width)
    for base in _KNUCKLES:
        start = _WRIST + np.array([0.5 * base[0], 0])
        canvas.tube((*start, 0.02), (*(base * (width, 1)), 0.03), (0.15, 0.115), SKIN, 1)
    _thumb(canvas, rng, width, palm)
    turn = rng.normal(0, 4)
    tips = []
    for finger in rng.permutation(4):
        bends = np.zeros(3) if finger in pose.pointing else np.array(pose.bends_deg)
        bends = bends * rng.uniform(0.75, 1.15) + rng.normal(0, 4, 3)
        angle = turn + (finger - 1.5) * pose.spread_deg + rng.normal(0, 2)
        base = _KNUCKLES[finger] * (width, 1)
        tips.append(_finger(canvas, base, angle, np.maximum(bends, 0), int(finger), width))
    _mottle(canvas, rng)
    if palm:
        _palm_lines(canvas, rng)
    else:
        for tip in tips:
            _nail(canvas, rng, tip)
    if rng.random() < 0.45:
        _sleeve(canvas, rng)
    return canvas.sprite(smooth=0.035, gloss=0.06)


def _arm(canvas: Canvas, rng: np.random.Generator, width: float) -> None:
    bottom = (float(rng.normal(0, 0.05)), 1.1, 0.0)
    canvas.tube((0, 0.55, 0), bottom, (0.21 * width, 0.27 * width), SKIN, 1)


def _thumb(canvas: Canvas, rng: np.random.Generator, width: float, palm: bool) -> None:
    base, lift = np.array([-0.17 * width, 0.38]), 0.05 if palm else -0.02
    angle = np.deg2rad(rng.uniform(-75, -12))
    first = base + 0.27 * np.array([np.sin(angle), -np.cos(angle)])
    bent = angle + np.deg2rad(rng.uniform(-10, 45))
    second = first + 0.20 * np.array([np.sin(bent), -np.cos(bent)])
    third = second + 0.15 * np.array([np.sin(bent + 0.1), -np.cos(bent + 0.1)])
    canvas.tube((*base, lift), (*first, lift + 0.02), (0.16, 0.105), SKIN, 1)
    canvas.tube((*first, lift + 0.02), (*second, lift + 0.03), (0.10, 0.092), SKIN, 1)
    canvas.tube((*second, lift + 0.03), (*third, lift + 0.02), (0.092, 0.07), SKIN, 1)


def _finger(
    canvas: Canvas,
    base: Float[np.ndarray, "2"],
    angle_deg: float,
    bends_deg: Float[np.ndarray, "3"],
    finger: int,
    width: float,
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"], float]:
    """Draw it; its last joint, its tip and how thick it is there."""
    up = np.array([np.sin(np.deg2rad(angle_deg)), -np.cos(np.deg2rad(angle_deg))])
    at, height, bend = np.array(base, float), 0.04, 0.0
    thick = _THICK[finger] * width
    before = at
    for joint, (share, more) in enumerate(zip(_PHALANGES, bends_deg, strict=True)):
        bend += np.deg2rad(more)
        length = share * _LENGTHS[finger]
        # A bent finger comes towards the camera, and what goes back to the palm lies above it.
        to = at + length * np.cos(bend) * up
        rises = height + 0.6 * length * np.sin(min(bend, np.pi / 2)) + 0.01
        wide, narrow = thick * (1.0, 0.93, 0.88)[joint], thick * (0.93, 0.88, 0.72)[joint]
        canvas.tube((*at, height), (*to, rises), (wide, narrow), SKIN, 1)
        # Joints are a little thicker and redder.
        color = np.array(_RED) if joint < 2 else np.array(SKIN)
        canvas.tube((*to, rises), (*(to + 0.01 * up), rises), (narrow * 1.02,) * 2, color, 1)
        before, at, height = at, to, rises
    return before, at, thick


def _nail(
    canvas: Canvas,
    rng: np.random.Generator,
    tip: tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"], float],
) -> None:
    last, end, thick = tip
    along = end - last
    length = float(np.hypot(*along))
    # Only where the finger's back is seen.
    if length < 0.07:
        return
    angles = np.linspace(0, 2 * np.pi, 24)
    direction = along / length
    side = np.array([-direction[1], direction[0]])
    at = end + 0.012 * direction
    ring = at + thick * (
        0.62 * np.cos(angles)[:, None] * direction + 0.5 * np.sin(angles)[:, None] * side
    )
    lacquered = rng.random() < 0.2
    color = rng.uniform(30, 230, 3) if lacquered else np.array(_PALE)
    cover = 0.75 * outline_of(ring)
    canvas.stain(cover, color)
    if lacquered:
        canvas.skin *= 1 - cover


def _mottle(canvas: Canvas, rng: np.random.Generator) -> None:
    fine = 1 + 0.025 * noise(rng, 8, 4)
    red = 1 + 0.02 * noise(rng, 5, 2)
    canvas.color *= np.dstack([fine * red, fine, fine * (2 - red)])


def _palm_lines(canvas: Canvas, rng: np.random.Generator) -> None:
    x, y = places()
    # A palm is lighter than the back of its hand.
    canvas.color *= 1.06
    for height in (0.12, 0.24, 0.38):
        bow = height + 0.25 * (x - rng.uniform(-0.1, 0.1)) ** 2 + rng.uniform(-0.3, 0.3) * x
        line = np.exp(-(((y - bow) / 0.012) ** 2)) * (np.abs(x) < 0.3)
        canvas.stain(0.35 * line.astype(np.float32), (150, 105, 100))


def _sleeve(canvas: Canvas, rng: np.random.Generator) -> None:
    top = rng.uniform(0.5, 0.85)
    cloth = rng.uniform(15, 240) * np.exp(rng.normal(0, 0.25, 3))
    x, _ = places()
    radius = 0.32 * rng.uniform(0.95, 1.25)
    folds = 0.012 * noise(rng, 7, 3)
    profile = np.sqrt(np.maximum(radius**2 - x**2, 0)) + 0.04 + folds
    tilt = rng.normal(0, 0.06)
    corners = np.array([
        [-radius, top - tilt], [radius, top + tilt], [radius * 1.15, 1.2], [-radius * 1.15, 1.2],
    ])  # fmt: skip
    color = np.clip(cloth * (1 + 0.06 * noise(rng, 6)[..., None]), 0, 255)
    canvas.plate(corners, profile, color)
