"""The painted surfaces: skin, lips, brows, lashes, hair, irises, teeth, cloth.

A texture has `detail` texels a grid cell. Colours are linear light in the sense of gamma 2 (sRGB
values squared), which costs a square root where the true curve would cost a power.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from .body import hairline
from .cast import ActorIdentity, Rgb
from .head import (
    BROW_X,
    EYE_HALF_WIDTH,
    EYE_X,
    MOUTH_HALF_WIDTH,
    MOUTH_Y,
    bump,
    head_grid,
    smoothstep,
)

_Rng = np.random.Generator


class Paint(NamedTuple):
    """A texture: colour, gloss of a broad, of a tight highlight, of the one along hair."""

    color: Float[np.ndarray, "h w 3"]
    broad: Float[np.ndarray, "h w"]
    tight: Float[np.ndarray, "h w"]
    hair: Float[np.ndarray, "h w"] | None = None


def _paint(color: np.ndarray, broad: np.ndarray | float, tight: np.ndarray | float) -> Paint:
    flat = color.shape[:2]
    return Paint(
        np.ascontiguousarray(color, np.float32),
        np.broadcast_to(np.asarray(broad, np.float32), flat).copy(),
        np.broadcast_to(np.asarray(tight, np.float32), flat).copy(),
    )


def linear(color: Rgb) -> Float[np.ndarray, "3"]:
    """An sRGB colour in the linear light of the textures."""
    return np.square(np.asarray(color, np.float32))


def to_texels(values: Float[np.ndarray, "r c *d"], detail: int) -> Float[np.ndarray, "h w *d"]:
    """Values on grid points, interpolated to the texels between them."""
    size = (values.shape[1] * detail, values.shape[0] * detail)
    return cv2.resize(np.ascontiguousarray(values, np.float32), size)


def _noise(rng: _Rng, shape: tuple[int, int], sigma: tuple[float, float]) -> np.ndarray:
    """Smooth noise of standard deviation 1; `sigma` in texels, across and down."""
    raw = rng.standard_normal(shape).astype(np.float32)
    smooth = cv2.GaussianBlur(raw, (0, 0), sigmaX=max(sigma[0], 0.1), sigmaY=max(sigma[1], 0.1))
    return smooth / smooth.std()


class _Place(NamedTuple):
    """Where each texel of the head lies on the resting head; `texel`: a quarter of a grid cell."""

    x: np.ndarray
    y: np.ndarray
    lateral: np.ndarray
    angle: np.ndarray
    upper_lid: np.ndarray
    upper_lip: np.ndarray
    front: np.ndarray
    texel: float


@lru_cache(maxsize=4)
def _place(detail: int) -> _Place:
    grid = head_grid()
    x, y = (to_texels(grid.rest[..., k], detail) for k in (0, 1))
    angle = np.broadcast_to(grid.angle, grid.rest.shape[:2])
    rows = np.arange(len(x) // detail, dtype=np.float32)[:, None]
    row = to_texels(np.broadcast_to(rows, angle.shape), detail)
    upper_lid, upper_lip = row < grid.eye_row + 0.5, row < grid.mouth_row + 0.5
    angle = to_texels(angle, detail)
    front = smoothstep(np.abs(angle), 1.75, 1.35)
    return _Place(x, y, np.abs(x), angle, upper_lid, upper_lip, front, detail / 4)


@lru_cache(maxsize=64)
def paint_face(face: ActorIdentity, skin_of: ActorIdentity, detail: int) -> Paint:
    """The skin of a whole head with the features of `face` in the skin tone of `skin_of`."""
    at = _place(detail)
    rng = np.random.default_rng([face.texture_seed, 11])
    color = np.broadcast_to(linear(skin_of.skin), (*at.x.shape, 3)).copy()
    dark = 1 - float(np.mean(skin_of.skin))
    color *= _skin_relief(face, at)[..., None]
    _redden(color, _blush(face, at) * (0.9 - 0.5 * dark))
    mottle = 0.55 * _noise(rng, at.x.shape, (1.0 * at.texel, 1.0 * at.texel))
    mottle += _noise(rng, at.x.shape, (5 * at.texel, 5 * at.texel))
    color *= (1 + 0.018 * mottle)[..., None]
    _freckle(color, face, at, rng)
    _wrinkle(color, face, at)
    _shave(color, face, at, rng)
    gloss = np.stack([_oil(at), 0.35 * _oil(at)], -1)
    # On another skin the lips are as much darker and redder as on their own.
    lips = linear(face.lips) * (linear(skin_of.skin) / linear(face.skin)) ** 0.8
    _paint_lips(color, gloss, face, lips, at, rng)
    _paint_eyes(color, face, at)
    _paint_brows(color, face, at, rng)
    return _paint(color, gloss[..., 0], gloss[..., 1])


@lru_cache(maxsize=64)
def paint_head(
    wearer: ActorIdentity, face_of: ActorIdentity, skin_of: ActorIdentity, detail: int
) -> tuple[Paint, UInt8[np.ndarray, "h w"]]:
    """A head with another's face in it, and the share of the face in each texel, 0..255."""
    own = paint_face(wearer, wearer, detail)
    share = to_texels(face_weight(wearer), detail)
    color, broad, tight = own.color, own.broad, own.tight
    if (face_of, skin_of) != (wearer, wearer):
        other = paint_face(face_of, skin_of, detail)
        color = color + share[..., None] * (other.color - color)
        broad = broad + share * (other.broad - broad)
        tight = tight + share * (other.tight - tight)
    hair, alpha = _hair_on_head(wearer, detail)
    color = color + alpha[..., None] * (hair - color)
    texture = Paint(color, broad * (1 - alpha), tight * (1 - alpha), alpha)
    support = to_texels(face_support(wearer), detail)
    levels = np.ceil(255 * np.maximum(share, 0.025 * support)).astype(np.uint8)
    return texture, levels


@lru_cache(maxsize=64)
def face_weight(wearer: ActorIdentity) -> Float[np.ndarray, "r c"]:
    """Which part of `wearer`'s head a swap exchanges: 1 inside, 0 outside, soft between.

    It ends before the ears, under the hairline and under the chin.
    """
    grid = head_grid()
    x, y = grid.rest[..., 0], grid.rest[..., 1]
    flanks = smoothstep(np.abs(grid.angle), np.deg2rad(80), np.deg2rad(54))[None, :]
    # Over the temples the region narrows to a dome.
    top = smoothstep(np.hypot(x / 1.12 * smoothstep(y, -0.45, 0.35), np.maximum(y, 0)), 1.0, 0.74)
    line = hairline(wearer, grid.angle)[None, :]
    hair = smoothstep(y, line + 0.02, line - 0.13)
    front = grid.rest[:, len(grid.angle) // 2]
    throat = np.where(front[:, 1] < -1.5, smoothstep(front[:, 2], 0.65, 1.0), 1)[:, None]
    return (flanks * np.minimum(top, hair) * throat).astype(np.float32)


@lru_cache(maxsize=64)
def face_support(wearer: ActorIdentity) -> Float[np.ndarray, "r c"]:
    """1 wherever a swap can change anything: normals reach a little beyond the exchanged points."""
    touched = (face_weight(wearer) > 0).astype(np.uint8)
    return cv2.dilate(touched, np.ones((5, 5), np.uint8)).astype(np.float32)


def _redden(color: np.ndarray, amount: np.ndarray) -> None:
    color *= 1 - amount[..., None] * np.array([0.06, 0.42, 0.38], np.float32)


def _skin_relief(face: ActorIdentity, at: _Place) -> np.ndarray:
    """Painted shade where little light gets to: sockets, beside and below the nose, the chin."""
    x, y, lateral = at.x, at.y, at.lateral
    shade = 0.22 * bump(lateral, y, (0.235, 0.04), (0.10, 0.13))
    shade += 0.10 * bump(lateral, y, (EYE_X, 0.12), (0.30, 0.08))
    shade += 0.12 * bump(lateral, y, (0.46, -0.17), (0.22, 0.07))
    shade += 0.16 * bump(lateral, y, (0.31, -0.66), (0.06, 0.09))
    shade += 0.22 * bump(x, y, (0.0, -0.76), (0.17, 0.045))
    shade += 0.12 * bump(x, y, (0.0, -0.90), (0.05, 0.09))
    shade += 0.24 * bump(x, y, (0.0, -1.335), (0.24, 0.06))
    shade += 0.10 * bump(lateral, y, (0.46, MOUTH_Y - 0.02), (0.05, 0.07))
    shade += 0.10 * smoothstep(y, -1.70, -1.86)
    nostril = bump(lateral, y, (0.105, -0.705), (0.062 + 0.008 * face.nose_width, 0.026))
    return (1 - at.front * shade) * (1 - 0.93 * at.front * np.clip(1.5 * nostril, 0, 1))


def _blush(face: ActorIdentity, at: _Place) -> np.ndarray:
    x, y, lateral = at.x, at.y, at.lateral
    red = 0.50 * bump(lateral, y, (0.62, -0.52), (0.30, 0.24))
    red += 0.35 * bump(x, y, (0.0, -0.56), (0.22, 0.16)) + 0.15 * bump(
        x, y, (0.0, -1.6), (0.3, 0.15)
    )
    red += 0.20 * bump(lateral, y, (EYE_X, 0.06), (0.24, 0.06))
    ears = smoothstep(np.abs(at.angle), 1.3, 1.5) * smoothstep(np.abs(at.angle), 2.1, 1.8)
    return face.blush * (red * at.front + 0.25 * ears)


def _oil(at: _Place) -> np.ndarray:
    """Gloss of the skin: forehead, nose, cheekbones, chin shine more than the rest."""
    x, y, lateral = at.x, at.y, at.lateral
    oil = (
        0.55
        + 0.5 * bump(x, y, (0.0, 0.6), (0.5, 0.35))
        + 0.9 * bump(x, y, (0.0, -0.45), (0.12, 0.3))
    )
    oil += 0.4 * bump(lateral, y, (0.66, -0.3), (0.25, 0.2)) + 0.3 * bump(
        x, y, (0.0, -1.6), (0.2, 0.15)
    )
    return oil * (0.4 + 0.6 * at.front)


def _freckle(color: np.ndarray, face: ActorIdentity, at: _Place, rng: _Rng) -> None:
    dots = smoothstep(_noise(rng, at.x.shape, (1.1 * at.texel, 1.1 * at.texel)), 1.3, 2.2)
    where = bump(at.lateral, at.y, (0.45, -0.42), (0.40, 0.22)) + 0.6 * bump(
        at.x, at.y, (0.0, -0.35), (0.25, 0.2)
    )
    amount = face.freckles * at.front * np.clip(where, 0, 1) * dots
    color *= 1 - amount[..., None] * np.array([0.30, 0.48, 0.55], np.float32)


def _wrinkle(color: np.ndarray, face: ActorIdentity, at: _Place) -> None:
    x, y, lateral = at.x, at.y, at.lateral
    # The fold from the nose's wing to the mouth's corner: everyone has a hint of it.
    t = np.clip((-0.60 - y) / 0.52, 0, 1)
    fold_x = 0.285 + 0.23 * t**1.3
    fold = (
        np.exp(-(((lateral - fold_x) / 0.028) ** 2))
        * smoothstep(y, -0.54, -0.68)
        * smoothstep(y, -1.2, -1.02)
    )
    lines = (0.10 + 0.22 * face.wrinkles) * fold
    for k, height in enumerate((0.60, 0.74, 0.87)):
        wave = height + 0.02 * np.cos(4 * x + k)
        lines = lines + 0.12 * face.wrinkles * np.exp(-(((y - wave) / 0.014) ** 2)) * smoothstep(
            lateral, 0.62, 0.2
        )
    crow = sum(
        np.exp(-(((y - 0.02 + 0.35 * k * (lateral - 0.74)) / 0.012) ** 2)) for k in (-1.0, 0.0, 1.0)
    ) * bump(lateral, y, (0.86, 0.0), (0.07, 0.12))
    lines = lines + 0.16 * face.wrinkles * crow
    bag = np.exp(-(((y + 0.185 - 0.10 * ((lateral - EYE_X) / 0.25) ** 2) / 0.02) ** 2))
    lines = lines + (0.05 + 0.14 * face.wrinkles) * bag * smoothstep(
        np.abs(lateral - EYE_X), 0.28, 0.1
    )
    color *= (1 - at.front * np.clip(lines, 0, 0.8))[..., None]


def _shave(color: np.ndarray, face: ActorIdentity, at: _Place, rng: _Rng) -> None:
    if face.stubble <= 0:
        return
    x, y, lateral = at.x, at.y, at.lateral
    line = np.interp(
        lateral, [0, 0.3, 0.5, 0.75, 0.95, 1.1], [-0.84, -0.88, -0.98, -0.86, -0.45, 0.1]
    )
    beard = smoothstep(y, line + 0.06, line - 0.10)
    beard = beard * (
        1 - 0.9 * bump(x, y, (0.0, -1.36), (0.26, 0.05)) * smoothstep(lateral, 0.05, 0.15)
    )
    beard = beard * (1 - bump(lateral, y, (0.0, -1.08), (0.40, 0.11)))
    beard = np.clip(beard + 0.8 * bump(x, y, (0.0, -0.93), (0.36, 0.06)), 0, 1)
    hairs = 0.85 + 0.16 * _noise(rng, at.x.shape, (0.55 * at.texel, 0.8 * at.texel))
    amount = np.clip(face.stubble * beard * hairs, 0, 0.92) * smoothstep(
        np.abs(at.angle), 1.65, 1.35
    )
    tone = 0.8 * linear(face.brow_color) + 0.12 * linear(face.skin)
    color += amount[..., None] * (tone - color)


def lip_edges(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights of the upper and the lower border of the lips at rest, at `x`."""
    s = np.clip(np.abs(x) / MOUTH_HALF_WIDTH, 0, 1)
    bow = (
        0.125 * (1 - s**1.9)
        - 0.022 * np.exp(-((s / 0.13) ** 2))
        + 0.012 * np.exp(-(((s - 0.28) / 0.16) ** 2))
    )
    full = 0.165 * (1 - s**2.3) ** 0.9
    return MOUTH_Y + bow, MOUTH_Y - full


def _paint_lips(
    color: np.ndarray,
    gloss: np.ndarray,
    face: ActorIdentity,
    tone: np.ndarray,
    at: _Place,
    rng: _Rng,
) -> None:
    x, y, front = at.x, at.y, at.front
    top, bottom = lip_edges(x)
    inside = smoothstep(at.lateral, MOUTH_HALF_WIDTH + 0.03, MOUTH_HALF_WIDTH - 0.03) * front
    lips = (
        inside
        * smoothstep(y, top + 0.016, top - 0.016)
        * smoothstep(y, bottom - 0.02, bottom + 0.02)
    )
    streaks = 1 + 0.06 * _noise(rng, x.shape, (0.8 * at.texel, 4 * at.texel))
    paint = tone * np.where(at.upper_lip, 0.80, 1.0)[..., None] * streaks[..., None]
    color += (0.9 * lips)[..., None] * (paint - color)
    # Between the lips it is dark and moist; the corners go on as a short line.
    s = np.clip(at.lateral / MOUTH_HALF_WIDTH, 0, 1.3)
    between = np.exp(-(((y - MOUTH_Y) / 0.017) ** 2)) * smoothstep(s, 1.12, 0.94) * front
    color *= (1 - 0.72 * between)[..., None]
    shine = lips * (0.5 + 1.2 * bump(x, y, (0.0, MOUTH_Y - 0.085), (0.22, 0.045)))
    gloss[..., 0] = gloss[..., 0] * (1 - lips) + 0.8 * shine
    gloss[..., 1] = gloss[..., 1] * (1 - lips) + (0.9 + 0.6 * face.make_up) * shine


def _paint_eyes(color: np.ndarray, face: ActorIdentity, at: _Place) -> None:
    y, lateral, front = at.y, at.lateral, at.front
    t = (lateral - EYE_X) / EYE_HALF_WIDTH
    within = smoothstep(np.abs(t), 1.12, 0.9) * front
    up, down = within * at.upper_lid, within * ~at.upper_lid
    arch = np.clip(1 - np.abs(t) ** 2.2, 0, 1)
    # The fold over the upper lid.
    fold_y = 0.055 + (0.05 + 0.05 * face.lid_fold) * arch
    fold = (
        np.exp(-(((y - fold_y) / 0.016) ** 2))
        * smoothstep(np.abs(t), 1.25, 0.8)
        * at.upper_lid
        * front
    )
    color *= (1 - (0.22 + 0.34 * face.lid_fold) * fold)[..., None]
    # Make-up and the natural shade of lids.
    lid = up * smoothstep(y, fold_y + 0.03, fold_y - 0.02)
    shadow = np.array([0.30, 0.42, 0.40], np.float32)
    color *= 1 - ((0.25 + 0.6 * face.make_up) * lid)[..., None] * shadow
    # Lashes: thick above, thicker outward; a thin pink rim and a few lashes below.
    outward = 0.75 + 0.35 * np.clip(t, -1, 1)
    lash = up * smoothstep(y, (0.042 + 0.014 * face.make_up) * outward, 0.018 * outward)
    color *= (1 - (0.80 + 0.15 * face.make_up) * np.clip(lash, 0, 1))[..., None]
    rim = down * smoothstep(y, -0.030, -0.012)
    color += (0.6 * rim)[..., None] * (color * np.array([1.05, 0.72, 0.68], np.float32) - color)
    under = down * np.exp(-(((y + 0.034) / 0.012) ** 2)) * (0.6 + 0.4 * np.clip(t, 0, 1))
    color *= (1 - (0.28 + 0.3 * face.make_up) * under)[..., None]


def brow_curve(face: ActorIdentity, x: np.ndarray) -> np.ndarray:
    """Height of the brow's middle at rest, at |x|."""
    s = (np.abs(x) - BROW_X[0]) / (BROW_X[1] - BROW_X[0])
    arch = 0.065 + 0.05 * face.brow_arch
    rise = np.where(
        s < 0.62,
        np.sin(np.pi / 2 * np.clip(s / 0.62, -0.2, 1)),
        1 - 1.18 * np.clip((s - 0.62) / 0.38, 0, None) ** 1.2,
    )
    return 0.285 + arch * rise


def _paint_brows(color: np.ndarray, face: ActorIdentity, at: _Place, rng: _Rng) -> None:
    s = (at.lateral - BROW_X[0]) / (BROW_X[1] - BROW_X[0])
    middle = brow_curve(face, np.clip(at.lateral, 0.05, 0.95))
    half = (0.048 + 0.022 * face.brow_thickness) * np.interp(
        s, [-0.1, 0.05, 0.35, 0.7, 1.0, 1.08], [0.3, 0.85, 1.0, 0.75, 0.25, 0.0]
    )
    off = np.abs(at.y - middle)
    hairs = 0.92 + 0.13 * _noise(rng, at.x.shape, (0.6 * at.texel, 0.9 * at.texel))
    inside = (
        smoothstep(off, half * 1.25 + 0.006, half * 0.45)
        * smoothstep(s, -0.09, 0.08)
        * smoothstep(s, 1.09, 0.93)
    )
    amount = np.clip(inside * hairs * (0.80 + 0.12 * face.brow_thickness), 0, 0.96) * at.front
    color += amount[..., None] * (linear(face.brow_color) - color)


def _hair_on_head(
    who: ActorIdentity, detail: int
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    at = _place(detail)
    rng = np.random.default_rng([who.texture_seed, 12])
    texel = at.texel
    strands = _strands(rng, at.x.shape, texel)
    line = hairline(who, at.angle)
    shade = 0.70
    if who.hair_style == "crop":
        curls = _noise(rng, at.x.shape, (1.1 * texel, 1.1 * texel))
        strands = 1 + 0.30 * curls
        alpha = smoothstep(at.y + 0.02 * curls, line - 0.06, line + 0.08)
        alpha = np.clip(alpha * (0.94 + 0.08 * curls), 0, 1)
    elif who.hair_style == "fringe":
        # Cut straight over the brows, soft at the temples and in the neck.
        over_brows = smoothstep(np.abs(at.angle), 0.95, 0.7)
        ragged = line + 0.03 * over_brows * _noise(rng, at.x.shape, (1.0 * texel, 6 * texel))
        soft = 0.05 + 0.07 * (1 - over_brows)
        alpha = smoothstep(at.y, ragged - soft, ragged + soft)
    else:
        # Single hairs grow out of the skin along a broad border.
        hairs = _noise(rng, at.x.shape, (0.6 * texel, 4 * texel))
        spread = 0.03 if who.hair_style in ("long", "bob") else 0.05
        alpha = smoothstep(at.y + spread * hairs, line - 2 * spread, line + 2.5 * spread)
        shade = 0.85
    color = linear(who.hair) * strands[..., None]
    part_x = {"long": 0.0, "bob": 0.28}.get(who.hair_style)
    if part_x is not None:
        combed = _combed(rng, at, part_x)
        share = smoothstep(np.abs(at.angle), 1.25, 0.7)[..., None]
        color = color + share * (linear(who.hair) * combed[..., None] - color)
        part = np.exp(-(((at.x - part_x) / 0.020) ** 2)) * smoothstep(at.y, 1.0, 1.2)
        color = color + (0.5 * part)[..., None] * (0.5 * linear(who.skin) - color)
    # The roots lie in shade.
    color = color * (shade + (1 - shade) * smoothstep(at.y, line, line + 0.35))[..., None]
    return color.astype(np.float32), alpha.astype(np.float32)


def _combed(rng: _Rng, at: _Place, part_x: float) -> np.ndarray:
    """Strands that leave a parting sideways and fall: brightness by texel."""
    across = np.abs(at.x - part_x)
    # A strand is where this is constant.
    lane = at.y + 0.95 * across**1.5
    fine, locks = (
        cv2.GaussianBlur(rng.standard_normal((1, 4096)).astype(np.float32), (0, 0), sigma)[0]
        for sigma in (5.0, 22.0)
    )
    index = np.clip((lane + 3 + np.where(at.x > part_x, 0.37, 0)) * 600, 0, 4095).astype(int)
    return np.clip(
        1 + 0.20 * (fine / fine.std())[index] + 0.22 * (locks / locks.std())[index], 0.3, 2
    )


def _strands(rng: _Rng, shape: tuple[int, int], texel: float) -> np.ndarray:
    fine = _noise(rng, shape, (0.8 * texel, 14 * texel))
    locks = _noise(rng, shape, (3.0 * texel, 26 * texel))
    return np.clip(1 + 0.20 * fine + 0.22 * locks, 0.3, 2)


@lru_cache(maxsize=32)
def paint_curtain(who: ActorIdentity, rows: int, columns: int, detail: int) -> Paint:
    """Hanging hair."""
    shape = (rows * detail, columns * detail)
    rng = np.random.default_rng([who.texture_seed, 13])
    strands = _strands(rng, shape, detail / 4)
    color = linear(who.hair) * strands[..., None]
    down = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None, None]
    color = color * (1 - 0.25 * down)
    return _paint(color, 0.0, 0.0)._replace(hair=np.ones(shape, np.float32))


@lru_cache(maxsize=32)
def paint_ear(who: ActorIdentity, rows: int, columns: int, detail: int) -> Paint:
    """An ear: redder than the face, dark toward its hole. Rows run from the middle outward."""
    shape = (rows * detail, columns * detail)
    r = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    turn = np.linspace(0, 2 * np.pi, shape[1], dtype=np.float32)[None, :]
    color = np.broadcast_to(linear(who.skin), (*shape, 3)).copy()
    _redden(color, np.full(shape, 0.30, np.float32))
    # The hole, the groove under the rim, the groove inside the inner ridge; the lobe has neither.
    above = smoothstep(np.sin(turn), -0.75, -0.2)
    shade = 0.80 * np.exp(-((r / 0.36) ** 2)) * (0.8 - 0.2 * np.cos(turn))
    shade = shade + 0.45 * np.exp(-(((r - 0.80) / 0.07) ** 2)) * above
    shade = shade + 0.25 * np.exp(-(((r - 0.48) / 0.08) ** 2)) * above
    shade = np.clip(shade - 0.12 * np.exp(-(((r - 0.93) / 0.05) ** 2)) * above, -0.15, 0.9)
    color *= (1 - shade)[..., None]
    return _paint(color, 0.5, 0.15)


@lru_cache(maxsize=32)
def paint_neck(who: ActorIdentity, rows: int, columns: int, detail: int) -> Paint:
    """The neck: in the shade of the chin above, lighter below."""
    shape = (rows * detail, columns * detail)
    down = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    color = np.broadcast_to(linear(who.skin), (*shape, 3)).copy()
    _redden(color, np.full(shape, 0.10, np.float32))
    around = np.abs(np.linspace(-np.pi, np.pi, shape[1], dtype=np.float32))[None, :]
    light = 0.34 + 0.66 * smoothstep(down, 0.35, 0.90)
    light = light * (0.75 + 0.25 * smoothstep(around, 1.9, 1.2))
    return _paint(color * light[..., None], 0.35, 0.08)


@lru_cache(maxsize=32)
def paint_shoulders(who: ActorIdentity, rows: int, columns: int, detail: int) -> Paint:
    """Cloth with its neckline, skin inside it. Rows run from the neck outward."""
    shape = (rows * detail, columns * detail)
    rng = np.random.default_rng([who.texture_seed, 14])
    out = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    around = np.abs(np.linspace(-np.pi, np.pi, shape[1], dtype=np.float32))[None, :]
    edge = {
        "crew": 0.075 + 0.035 * smoothstep(around, 0.9, 0.0),
        "v": 0.06 + 0.40 * np.clip(1 - around / 0.62, 0, 1) ** 1.1,
        "shirt": 0.05 + 0.16 * np.clip(1 - around / 0.34, 0, 1) ** 1.3,
    }[who.collar]
    cloth = smoothstep(out, edge - 0.008, edge + 0.008)
    weave = 1 + 0.05 * _noise(rng, shape, (0.8, 0.8)) + 0.05 * _noise(rng, shape, (4.0, 12.0))
    hem = np.exp(-(((out - edge - 0.055) / 0.008) ** 2))
    wide = 0.16 if who.collar == "shirt" else 0.05
    collar = smoothstep(out, edge + wide + 0.01, edge + wide - 0.01)
    tone = linear(who.shirt) * (weave * (1 - 0.35 * hem) * (1 - 0.12 * collar))[..., None]
    shade = 1 - 0.5 * np.exp(-(((out - edge + 0.012) / 0.02) ** 2))
    skin = linear(who.skin) * (shade * (0.75 + 0.25 * smoothstep(out, 0.0, 0.1)))[..., None]
    color = skin + cloth[..., None] * (tone - skin)
    return _paint(color, 0.3 * (1 - cloth), 0.0)


@lru_cache(maxsize=8)
def paint_teeth(rows: int, columns: int, detail: int, upper: bool) -> Paint:
    """A row of teeth with gaps, shaded toward the cheeks and the gums."""
    shape = (rows * detail, columns * detail)
    across = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    down = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    from_gum = down if upper else 1 - down
    gaps = np.abs(np.sin(across * np.pi * (4.0 if upper else 5.0)))
    light = 0.86 * (1 - 0.32 * np.exp(-((gaps / 0.10) ** 2))) * (1 - 0.72 * np.abs(across) ** 1.8)
    light = light * (0.55 + 0.45 * smoothstep(from_gum, 0.2, 0.8))
    tone = np.array([0.86, 0.82, 0.74], np.float32) ** 2
    gum = np.array([0.55, 0.24, 0.24], np.float32) ** 2
    color = gum + smoothstep(from_gum, 0.16, 0.30)[..., None] * (tone - gum)
    return _paint(color * light[..., None], 0.15, 0.35)


@lru_cache(maxsize=8)
def paint_cave(rows: int, columns: int, detail: int) -> Paint:
    """The inside of the mouth: dark red, nearly black in its depth."""
    shape = (rows * detail, columns * detail)
    across = np.abs(np.linspace(-1, 1, shape[1], dtype=np.float32))[None, :]
    down = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    light = 0.018 + 0.05 * np.clip(np.hypot(across, down) - 0.45, 0, 1)
    color = light[..., None] * np.array([1.0, 0.34, 0.32], np.float32)
    return _paint(color, 0.0, 0.0)


@lru_cache(maxsize=8)
def paint_tongue(rows: int, columns: int, detail: int) -> Paint:
    """The tongue, lost in the dark toward the throat."""
    shape = (rows * detail, columns * detail)
    along = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    light = (
        (0.10 + 0.42 * along) * (1 - 0.25 * np.exp(-((across / 0.12) ** 2))) * (1 - 0.4 * across**2)
    )
    color = light[..., None] * np.array([0.62, 0.30, 0.30], np.float32) ** 1.6
    return _paint(color, 0.1, 0.12)


def paint_eyeball(
    face: ActorIdentity,
    directions: Float[np.ndarray, "h w 3"],
    gaze: tuple[float, float],
    lid_height: Float[np.ndarray, "h w"],
    inner_lateral: int,
) -> Paint:
    """White, iris and pupil as seen on an eyeball that looks along `gaze` (degrees right, up).

    `directions` are the texels' unit directions from the eye's middle; `lid_height` is the upper
    lid's edge above the texel's column, in eye radii; `inner_lateral`: where the nose is (-1, 1).
    """
    right, up = np.deg2rad(gaze)
    axis = np.array(
        [np.sin(right) * np.cos(up), np.sin(up), np.cos(right) * np.cos(up)], np.float32
    )
    off = np.arccos(np.clip(directions @ axis, -1, 1))
    iris_edge, pupil_edge = 0.385, 0.165
    level = directions[..., 1] - axis[1]
    across = directions[..., 0] - axis[0]
    turn = np.arctan2(level, across)
    white = np.array([0.72, 0.685, 0.66], np.float32)
    corner = smoothstep(directions[..., 0] * inner_lateral, 0.58, 0.80)
    color = white * (1 - 0.25 * smoothstep(np.abs(directions[..., 0]), 0.25, 0.8))[..., None]
    color = color + corner[..., None] * (np.array([0.56, 0.27, 0.25], np.float32) - color)
    inside = smoothstep(off, iris_edge + 0.025, iris_edge - 0.025)
    rays = 1 + 0.22 * np.sin(17 * turn + 1.0) * np.sin(9 * turn) + 0.1 * np.sin(31 * turn)
    ring = 1 - 0.62 * smoothstep(off, 0.72 * iris_edge, iris_edge)
    glow = 1 + 0.75 * smoothstep(level, 0.05, -0.28)
    lighter = 1 + 0.6 * smoothstep(off, iris_edge * 0.75, pupil_edge)
    tone = linear(face.iris) * (0.95 * rays * ring * glow * lighter)[..., None]
    color = color + inside[..., None] * (tone - color)
    pupil = smoothstep(off, pupil_edge + 0.03, pupil_edge - 0.03)
    color = color * (1 - 0.96 * pupil)[..., None]
    # The lid and its lashes throw a shade on the ball.
    color = (
        color * (0.38 + 0.62 * smoothstep(lid_height - directions[..., 1], 0.0, 0.26))[..., None]
    )
    return _paint(color, 0.0, 1.0)
