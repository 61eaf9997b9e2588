"""The head as a grid: one rest shape for all, bent into each identity, then into each expression.

Head units: 1 is the average distance between the pupils; x to the picture's right, y up, z toward
the viewer; the origin lies between the ears at the height of the eyes. Every identity has its eyes,
nose and mouth at the same place of the same grid, so two identities correspond point by point.

The grid runs from the crown (row 0) to the throat, and around from the back over the front to the
back. Two of its rows are doubled: along the closed lids and along the closed lips. What opens is
the gap between the two copies.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .cast import ActorIdentity
from .performance import ActorState

EYE_X = 0.5
EYE_HALF_WIDTH = 0.235
EYE_RADIUS = 0.30
MOUTH_Y = -1.1
MOUTH_HALF_WIDTH = 0.40
BROW_X = (0.17, 0.84)

# Outline by rows: height at the front, at the back, half width, front and back depth.
_OUTLINE = np.array(
    [
        # front y, back y, width, front z, back z
        (0.45, 0.45, 1.215, 1.370, -1.62),
        (0.25, 0.25, 1.205, 1.375, -1.64),
        (0.00, 0.00, 1.180, 1.330, -1.62),
        (-0.25, -0.22, 1.150, 1.330, -1.56),
        (-0.50, -0.42, 1.110, 1.345, -1.46),
        (-0.75, -0.60, 1.060, 1.355, -1.34),
        (-1.10, -0.80, 0.975, 1.370, -1.18),
        (-1.40, -0.95, 0.885, 1.345, -1.06),
        (-1.60, -1.04, 0.800, 1.320, -1.00),
        (-1.74, -1.10, 0.715, 1.265, -0.96),
        (-1.83, -1.14, 0.620, 1.150, -0.94),
        (-1.84, -1.18, 0.540, 0.950, -0.90),
        (-1.80, -1.22, 0.480, 0.700, -0.86),
        (-1.74, -1.28, 0.440, 0.450, -0.80),
    ],
    np.float32,
)
_CROWN_Y, _DOME_Y = 1.86, 0.45


class HeadGrid(NamedTuple):
    """The rest shape and where its parts lie. Rows x columns; `y` falls with the row."""

    rest: Float[np.ndarray, "r c 3"]
    angle: Float[np.ndarray, " c"]  # radians around the head, 0 at the front, > 0 at x > 0
    eye_row: int  # the upper lid's copy; the lower lid's is the next
    mouth_row: int  # the upper lip's copy; the lower lip's is the next
    triangles: Int[np.ndarray, "m 3"]


@lru_cache(maxsize=1)
def head_grid() -> HeadGrid:
    """The grid that all heads share."""
    angle = _columns()
    rows, eye_row, mouth_row = _rows()
    base = np.stack([_ring(row, angle) for row in rows])
    shape = base.shape[:2]
    triangles = grid_triangles(*shape)
    gaps = np.isin(triangles[:, 0] // shape[1], (eye_row, mouth_row))
    upper = np.isin(triangles // shape[1], (eye_row + 1, mouth_row + 1)).any(1)
    return HeadGrid(base.astype(np.float32), angle, eye_row, mouth_row, triangles[~(gaps & upper)])


@lru_cache(maxsize=32)
def grid_triangles(rows: int, columns: int) -> Int[np.ndarray, "m 3"]:
    """Two triangles a cell of a grid of points numbered row by row.

    Cells are cut along the diagonal that mirrors about the middle column.
    """
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    left = np.tile(np.arange(columns - 1) < (columns - 1) // 2, rows - 1)[:, None]
    first = np.where(left, np.stack([a, c, b], 1), np.stack([a, c, d], 1))
    second = np.where(left, np.stack([b, c, d], 1), np.stack([a, d, b], 1))
    return np.stack([first, second], 1).reshape(-1, 3)


def _columns() -> Float[np.ndarray, " c"]:
    # Fine over the face, coarse behind the ears; the back column comes twice, at both ends.
    half = [0.0]
    while half[-1] < 180:
        at = half[-1]
        half.append(at + (1.9 if at < 42 else min(1.9 + 0.09 * (at - 42), 8.0)))
    scaled = np.asarray(half) * 180 / half[-1]
    # The corners of the eyes and of the mouth lie exactly on columns.
    eye, mouth = (_OUTLINE[np.argmin(np.abs(_OUTLINE[:, 0] - y))] for y in (0.0, MOUTH_Y))
    corners = [
        _angle_at(mouth, MOUTH_HALF_WIDTH),
        _angle_at(eye, EYE_X - EYE_HALF_WIDTH),
        _angle_at(eye, EYE_X + EYE_HALF_WIDTH),
    ]
    targets = sorted(np.rad2deg(corners))
    nodes = [float(scaled[np.argmin(np.abs(scaled - target))]) for target in targets]
    moved = np.interp(scaled, [0, *nodes, 60, 180], [0, *targets, 60, 180])
    return np.deg2rad(np.concatenate([-moved[:0:-1], moved])).astype(np.float32)


def _angle_at(outline: Float[np.ndarray, " 5"], x: float) -> float:
    """Where around the head a ring of the outline reaches `x` on its front."""
    angle = np.linspace(0, np.pi / 2, 2000)
    return float(np.interp(x, _ring(outline, angle)[:, 0], angle))


def _rows() -> tuple[Float[np.ndarray, "r 5"], int, int]:
    """Outline rows from crown to throat, and the two doubled ones."""
    lift = np.linspace(90, 0, 19)[:-1]
    dome = np.empty((len(lift), 5), np.float32)
    up = np.sin(np.deg2rad(lift))
    # A super-ellipse: foreheads and temples rise steeply, then turn over quickly.
    wide, front, back = ((1 - up**p) ** (1 / p) for p in (2.25, 2.7, 2.1))
    middle_z = -0.12 * up
    dome[:, 0] = dome[:, 1] = _DOME_Y + (_CROWN_Y - _DOME_Y) * up
    dome[:, 2] = _OUTLINE[0, 2] * wide
    dome[:, 3] = middle_z + (_OUTLINE[0, 3]) * front
    dome[:, 4] = middle_z + (_OUTLINE[0, 4]) * back
    step = np.diff(_OUTLINE[:, [0, 3]], axis=0)
    way = np.concatenate([[0], np.cumsum(np.hypot(step[:, 0], step[:, 1]))])
    eye, mouth = (float(np.interp(-y, -_OUTLINE[:, 0], way)) for y in (0.0, MOUTH_Y))
    spans = [
        np.linspace(0, eye - 0.24, 6)[:-1],
        np.linspace(eye - 0.24, eye, 9),
        np.linspace(eye, eye + 0.16, 6),
        np.linspace(eye + 0.16, mouth - 0.24, 15)[1:-1],
        np.linspace(mouth - 0.24, mouth, 8),
        np.linspace(mouth, mouth + 0.24, 8),
        np.linspace(mouth + 0.24, way[-1], 20)[1:],
    ]
    ends = np.cumsum([len(span) for span in spans])
    at = np.concatenate(spans)
    face = np.stack([_smooth_curve(way, column, at) for column in _OUTLINE.T], 1)
    # The doubled rows and the heights that features are placed by must be met exactly.
    eye_row, mouth_row = len(dome) + ends[1] - 1, len(dome) + ends[4] - 1
    return np.concatenate([dome, face]).astype(np.float32), int(eye_row), int(mouth_row)


def _smooth_curve(
    x: Float[np.ndarray, " k"], y: Float[np.ndarray, " k"], at: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """A cubic through the points whose slopes are those of the neighbours (Catmull-Rom)."""
    slope = np.gradient(y.astype(np.float64), x)
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    h = x[i + 1] - x[i]
    t = (at - x[i]) / h
    a, b = (1 + 2 * t) * (1 - t) ** 2, t * (1 - t) ** 2
    c, d = t**2 * (3 - 2 * t), t**2 * (t - 1)
    return a * y[i] + b * h * slope[i] + c * y[i + 1] + d * h * slope[i + 1]


def _ring(row: Float[np.ndarray, " 5"], angle: Float[np.ndarray, " c"]) -> Float[np.ndarray, "c 3"]:
    y_front, y_back, width, front, back = (float(v) for v in row)
    middle = min(0.0, front - 0.2)
    sine, cosine = np.abs(np.sin(angle)), np.abs(np.cos(angle))
    depth = np.where(np.cos(angle) > 0, front - middle, middle - back)
    p = np.where(np.cos(angle) > 0, 2.3, 2.1)
    with np.errstate(divide="ignore"):
        radius = ((sine / max(width, 1e-4)) ** p + (cosine / np.maximum(depth, 1e-4)) ** p) ** (
            -1 / p
        )
    if width < 1e-3:
        radius = np.zeros_like(angle)
    x = radius * np.sin(angle)
    z = middle + radius * np.cos(angle)
    y = y_front + (y_back - y_front) * ((1 - np.cos(angle)) / 2) ** 1.1
    return np.stack([x, y, z], 1)


def bump(
    x: np.ndarray, y: np.ndarray, at: tuple[float, float], spread: tuple[float, float]
) -> np.ndarray:
    """A smooth hill of height 1."""
    return np.exp(-(((x - at[0]) / spread[0]) ** 2) - ((y - at[1]) / spread[1]) ** 2)


def smoothstep(value: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """0 at `low`, 1 at `high` (which may be the smaller one), smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@lru_cache(maxsize=64)
def identity_shape(identity: ActorIdentity) -> Float[np.ndarray, "r c 3"]:
    """The neutral head of `identity`: eyes and mouth shut, lids and lips met."""
    who = identity
    rest = head_grid().rest.astype(np.float64)
    x, y = rest[..., 0].copy(), rest[..., 1].copy()
    z = rest[..., 2] + np.where(rest[..., 2] > 0, _relief(who, x, y), 0)
    return _proportions(who, x, y, np.stack([x, y, z], -1)).astype(np.float32)


def _relief(who: ActorIdentity, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far the features of a face stand out in z, at rest positions."""
    lateral = np.abs(x)
    relief = (0.045 + 0.035 * who.brow_ridge) * bump(lateral, y, (0.42, 0.29), (0.36, 0.11))
    relief += (0.02 + 0.02 * who.brow_ridge) * bump(x, y, (0.0, 0.24), (0.22, 0.11))
    # Eye sockets, deepest beside the nose.
    relief -= (0.115 + 0.035 * who.eye_depth) * bump(lateral, y, (0.50, 0.0), (0.30, 0.20))
    relief -= (0.075 + 0.025 * who.eye_depth) * bump(lateral, y, (0.22, 0.03), (0.11, 0.15))
    # The nose: a ridge whose height and width follow y, a tip, two wings, two nostrils.
    heights = [0.35, 0.18, 0.05, -0.12, -0.3, -0.46, -0.54, -0.60, -0.66, -0.71, -0.75, -0.82, -0.9]
    ridge = [0.0, 0.02, 0.08, 0.17, 0.27, 0.365, 0.395, 0.385, 0.33, 0.23, 0.12, 0.03, 0.0]
    widths = [0.16, 0.12, 0.10, 0.105, 0.12, 0.145, 0.155, 0.155, 0.15, 0.14, 0.13, 0.12, 0.12]
    order = np.array(heights)[::-1]
    tall = _smooth_curve(order, np.array(ridge)[::-1], np.clip(y, -0.9, 0.35))
    wide = np.interp(y, order, np.array(widths)[::-1]) * (1 + 0.12 * who.nose_width)
    tall = tall * (1 + 0.22 * who.nose_projection) + 0.05 * who.nose_hump * np.exp(
        -(((y + 0.2) / 0.16) ** 2)
    )
    relief += tall * np.exp(-((lateral / wide) ** 2.2))
    base = 1 + 0.15 * who.nose_projection
    relief += 0.06 * base * bump(lateral, y, (0.16, -0.52), (0.16, 0.22))
    relief += 0.15 * base * bump(lateral, y, (0.215, -0.60), (0.085, 0.10))
    relief -= 0.06 * bump(lateral, y, (0.105, -0.70), (0.055, 0.035))
    # Cheeks, the fold beside the nose, temples.
    relief += (0.05 + 0.04 * who.cheekbones) * bump(lateral, y, (0.68, -0.36), (0.26, 0.2))
    relief += (0.03 + 0.05 * who.cheek_fullness) * bump(lateral, y, (0.60, -0.85), (0.28, 0.3))
    relief -= (0.02 + 0.02 * who.wrinkles) * bump(lateral, y, (0.40, -0.80), (0.06, 0.22))
    relief -= 0.03 * bump(lateral, y, (1.05, 0.35), (0.15, 0.3))
    # Lips, philtrum, chin.
    arch = np.clip(1 - (lateral / 0.44) ** 2, 0, None)
    upper = 0.075 + 0.03 * who.upper_lip
    lower = 0.095 + 0.03 * who.lower_lip
    muzzle = 0.05 * bump(x, y, (0.0, -1.08), (0.42, 0.34))
    relief += muzzle
    relief += upper * arch * np.exp(-(((y - MOUTH_Y - 0.055) / 0.060) ** 2))
    relief += lower * arch * np.exp(-(((y - MOUTH_Y + 0.075) / 0.070) ** 2))
    relief -= 0.03 * arch**0.5 * np.exp(-(((y - MOUTH_Y) / 0.025) ** 2))
    relief -= 0.025 * bump(x, y, (0.0, -0.90), (0.045, 0.09))
    relief -= 0.02 * bump(lateral, y, (0.45, MOUTH_Y), (0.06, 0.08))
    relief -= 0.055 * bump(x, y, (0.0, -1.34), (0.26, 0.075))
    relief += (0.075 + 0.06 * who.chin_forward) * bump(x, y, (0.0, -1.60), (0.27, 0.16))
    return relief


def _proportions(who: ActorIdentity, x: np.ndarray, y: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """`shape` with sizes and distances of its parts as `who` has them; x, y at rest."""
    lateral, sign = np.abs(x), np.sign(x)
    front = smoothstep(shape[..., 2], -0.2, 0.5)
    dx, dy, dz = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    # Eyes: apart, larger, tilted.
    near = bump(lateral, y, (EYE_X, 0.0), (0.38, 0.34))
    dx += 0.045 * who.eye_spacing * sign * bump(lateral, y, (EYE_X, 0.0), (0.45, 0.45))
    grow = 0.12 * who.eye_size
    dx += grow * (lateral - EYE_X) * sign * near
    dy += grow * y * near + 0.13 * who.eye_tilt * (lateral - EYE_X) * near
    # Brows.
    dy += 0.05 * who.brow_height * bump(lateral, y, (0.5, 0.32), (0.5, 0.13))
    # Nose.
    dy -= 0.075 * who.nose_length * bump(x, y, (0.0, -0.64), (0.40, 0.30))
    dx += 0.20 * who.nose_width * x * bump(x, y, (0.0, -0.58), (0.30, 0.22))
    # Mouth and lips.
    dx += 0.13 * who.mouth_width * x * bump(x, y, (0.0, MOUTH_Y), (0.7, 0.26))
    height = y - MOUTH_Y
    fuller = np.where(height > 0, 0.30 * who.upper_lip, 0.30 * who.lower_lip)
    dy += fuller * height * bump(x, y, (0.0, MOUTH_Y), (0.55, 0.19))
    # Chin, jaw, cheeks, whole face.
    dy -= 0.13 * who.chin_length * smoothstep(y, -1.15, -1.75) * front
    dx += 0.11 * who.jaw_width * x * smoothstep(y, -0.35, -1.25) * front
    dx += 0.07 * who.cheek_fullness * x * bump(lateral, y, (0.85, -0.85), (0.5, 0.4))
    dx += 0.045 * who.cheekbones * x * bump(lateral, y, (1.0, -0.35), (0.5, 0.3))
    dx += 0.07 * who.face_width * x
    dy += 0.055 * who.face_length * y
    return shape + np.stack([dx, dy, dz], -1)


class Eye(NamedTuple):
    """An eyeball and its lids, in head units."""

    center: Float[np.ndarray, "3"]
    radius: float


def find_eyes(shape: Float[np.ndarray, "r c 3"]) -> tuple[Eye, Eye]:
    """The eyeballs behind the lids of a neutral head: picture-left, picture-right."""
    grid = head_grid()
    eyes = []
    for sign in (-1, 1):
        inner, outer = (
            _on_row(shape, grid.eye_row, sign * (EYE_X + k * EYE_HALF_WIDTH)) for k in (-1, 1)
        )
        middle = (inner + outer) / 2
        half = float(np.hypot(*(outer - inner)[:2])) / 2
        radius = EYE_RADIUS * half / EYE_HALF_WIDTH
        # The corners lie just on the ball.
        center = middle + np.array([0, 0.0, -np.sqrt(max(radius**2 - half**2, 0)) - 0.015])
        eyes.append(Eye(center.astype(np.float32), radius))
    return eyes[0], eyes[1]


def column_at(row: int, x: float) -> float:
    """Where, among the columns, a row of the resting head crosses `x` on its front."""
    grid = head_grid()
    front = np.flatnonzero(np.abs(grid.angle) < 1.4)
    return np.interp(x, grid.rest[row, front, 0], front)


def _on_row(shape: np.ndarray, row: int, x: float) -> np.ndarray:
    """The point of a head where its row crosses the rest position `x`."""
    column = column_at(row, x)
    low = int(column)
    return shape[row, low] + (column - low) * (shape[row, low + 1] - shape[row, low])


@lru_cache(maxsize=1)
def _expression_weights() -> dict[str, np.ndarray]:
    """What the expressions move, on the grid: computed once, at rest positions."""
    grid = head_grid()
    x, y, z = (grid.rest[..., k].astype(np.float64) for k in range(3))
    lateral, row = np.abs(x), np.arange(len(x))[:, None]
    front = smoothstep(z, 0.2, 0.8)
    t = (lateral - EYE_X) / EYE_HALF_WIDTH
    in_eye = front * (np.abs(t) < 1)
    above = np.broadcast_to(row <= grid.eye_row, x.shape)
    # The upper lid's arch peaks a little toward the nose, the lower lid's away from it.
    arch_up = np.clip(1 - np.abs(np.clip(t + 0.10 * (1 - t * t), -1, 1)) ** 2.3, 0, None)
    arch_down = np.clip(1 - np.abs(np.clip(t - 0.10 * (1 - t * t), -1, 1)) ** 2.1, 0, None)
    fade_up = np.clip(1 - y / 0.34, 0, 1) ** 2 * (1 + 2 * np.clip(y / 0.34, 0, 1))
    fade_down = np.clip(1 + y / 0.28, 0, 1) ** 2 * (1 - 2 * np.clip(y / 0.28, -1, 0))
    upper_lip = row <= grid.mouth_row
    s = np.clip(lateral / MOUTH_HALF_WIDTH, 0, 1)
    # The jaw: nothing above the nose's base, everything at the chin, half at the mouth's corners;
    # within the mouth the upper lip stays and the lower one goes all the way.
    down = smoothstep(y, -0.62, -1.58)
    opening = (1 - s**2.2) ** 0.62 * front
    stay = down * (1 - opening * np.exp(-(((y - MOUTH_Y) / 0.30) ** 2)))
    go = down + (1 - down) * opening * np.exp(-(((y - MOUTH_Y) / 0.40) ** 2))
    jaw = np.where(upper_lip, stay, go)
    # It is the front of the lower face that moves: less at the jaw's angle, little at the throat.
    around = np.abs(grid.angle)[None, :]
    jaw = jaw * smoothstep(around, np.deg2rad(112), np.deg2rad(48))
    throat = smoothstep(grid.rest[:, len(grid.angle) // 2, 2], 0.45, 1.1)
    jaw = jaw * np.where(grid.rest[:, len(grid.angle) // 2, 1] < -1.5, throat, 1)[:, None]
    corner = bump(lateral, y, (0.42, MOUTH_Y), (0.24, 0.24)) * front
    return {
        "lid_up": in_eye * above * arch_up * fade_up,
        "lid_down": in_eye * arch_down * np.where(above, fade_up, fade_down),
        "near_eye": front * bump(lateral, y, (EYE_X, 0.0), (0.36, 0.30)),
        "jaw": jaw,
        "lips": front * bump(x, y, (0.0, MOUTH_Y), (0.55, 0.20)),
        "corner": corner,
        "cheek": front * bump(lateral, y, (0.62, -0.55), (0.25, 0.25)),
        "brow": front
        * smoothstep(y, 0.08, 0.30)
        * smoothstep(y, 1.0, 0.45)
        * smoothstep(lateral, 1.1, 0.7),
        "frown": front * bump(lateral, y, (0.2, 0.28), (0.16, 0.16)),
        "upper_lip": opening * upper_lip * np.exp(-(((y - MOUTH_Y) / 0.16) ** 2)),
        "sign": np.sign(x),
    }


JAW_PIVOT = np.array([0.0, -0.25, 0.05])
JAW_DEG = 17.0


def jaw_turn(mouth: float) -> Float[np.ndarray, "3 3"]:
    """The lower jaw's rotation about `JAW_PIVOT` at an opening of 0..1."""
    a = np.deg2rad(JAW_DEG * mouth)
    return np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])


def lid_rise(state: ActorState) -> float:
    """How high the upper lid's middle stands over the line of the eye's corners."""
    return 0.112 * (1 - state.blink) * (1 + 0.22 * state.gaze_y + 0.16 * state.brow)


def expressed(
    shape: Float[np.ndarray, "r c 3"], eyes: tuple[Eye, Eye], state: ActorState
) -> Float[np.ndarray, "r c 3"]:
    """A neutral head with jaw, lips, lids and brows moved as `state` says."""
    w = _expression_weights()
    posed = shape.astype(np.float64)
    # Smile or pursed lips, before the jaw turns them.
    wide = state.smile if state.smile > 0 else 0.8 * state.smile
    posed[..., 0] += w["sign"] * w["corner"] * (0.075 * wide - 0.045 * state.mouth)
    posed[..., 1] += w["corner"] * 0.07 * max(state.smile, 0)
    posed[..., 2] += -0.03 * wide * w["corner"] - 0.05 * min(state.smile, 0) * w["lips"]
    posed[..., 2] += 0.045 * max(state.smile, 0) * w["cheek"]
    posed[..., 1] += 0.03 * max(state.smile, 0) * w["cheek"]
    # Brows.
    posed[..., 1] += 0.055 * state.brow * w["brow"]
    frown = max(-state.brow, 0)
    posed[..., 0] -= 0.03 * frown * w["sign"] * w["frown"]
    posed[..., 1] -= 0.03 * frown * w["frown"]
    # The jaw turns about the ears; each point goes its share of the way.
    turned = (posed - JAW_PIVOT) @ jaw_turn(state.mouth).T + JAW_PIVOT
    posed += w["jaw"][..., None] * (turned - posed)
    posed[..., 1] += 0.030 * state.mouth * w["upper_lip"]
    # Lids: the upper one follows the gaze; a smile lifts the lower one.
    opened = 1 - state.blink
    rise = lid_rise(state)
    size = np.where(w["sign"] < 0, eyes[0].radius, eyes[1].radius) / EYE_RADIUS
    low = 0.066 - 0.025 * max(state.smile, 0) * opened
    # At rest the lids meet on the straight row; shut, they meet on the lower lid's arch.
    posed[..., 1] += size * (w["lid_up"] * rise - w["lid_down"] * low)
    upper = w["lid_up"] > 0
    posed[..., 1] += np.where(upper, size * w["lid_down"] * low * opened, 0)
    return _over_eyeballs(posed, eyes, w["near_eye"]).astype(np.float32)


def _over_eyeballs(
    posed: np.ndarray, eyes: tuple[Eye, Eye], near: np.ndarray
) -> Float[np.ndarray, "r c 3"]:
    """Lids lie on the eyeballs: skin that would sink into one is lifted onto it, softly."""
    lifted = posed.copy()
    for lateral, eye in zip((-1, 1), eyes, strict=True):
        rows, columns = np.nonzero((near > 0.02) & (np.sign(posed[..., 0]) == lateral))
        x, y, z = posed[rows, columns].T - eye.center[:, None]
        room = (eye.radius + 0.035) ** 2 - x * x - y * y
        ball = np.sqrt(np.maximum(room, 0))
        gap = z - ball
        soft = 0.03
        higher = ball + np.where(np.abs(gap) < 8 * soft, soft * np.log1p(np.exp(gap / soft)), 0)
        higher = np.where(gap >= 8 * soft, z, higher)
        weight = near[rows, columns] ** 0.5 * (room > 0)
        lifted[rows, columns, 2] += weight * np.maximum(higher - z, 0) * smoothstep(room, 0.0, 0.03)
    return lifted


def grid_normals(
    posed: Float[np.ndarray, "r c 3"], seams: tuple[int, ...] = (), *, closed: bool = False
) -> Float[np.ndarray, "r c 3"]:
    """Unit normals of a grid of points, outward where columns run left to right and rows down.

    `seams` are rows whose step to the next is a gap, not surface. `closed`: the first and last
    columns are the same points.
    """
    down = np.diff(posed, axis=0)
    down[list(seams)] = 0
    along = np.diff(posed, axis=1)
    first = along[:, -1:] if closed else along[:, :1]
    last = along[:, :1] if closed else along[:, -1:]
    rows = np.concatenate([down[:1], down[:-1] + down[1:], down[-1:]])
    columns = np.concatenate(
        [first + along[:, :1], along[:, :-1] + along[:, 1:], along[:, -1:] + last], 1
    )
    normal = np.cross(rows, columns)
    length = np.sqrt((normal * normal).sum(-1, keepdims=True))
    return (normal / np.maximum(length, 1e-9)).astype(np.float32)
