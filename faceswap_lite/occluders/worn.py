"""Things that lie where they belong on a face, in shares of the box around its outline.

Eyes are at about (+-0.42, -0.38) there, the mouth at (0, 0.45), the chin at (0, 1).
"""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from .objects import any_color, printed
from .sprites import (
    EDGE,
    SUBPIXEL_BITS,
    Canvas,
    Sprite,
    flat_sprite,
    noise,
    outline_of,
    pixels_of,
    places,
)

_HAIR = np.array([
    (22, 18, 16), (50, 34, 24), (88, 58, 38), (128, 92, 60), (190, 155, 105), (150, 70, 36),
    (150, 150, 150), (215, 210, 200),
], np.float32)  # fmt: skip
REACH = 1.5
"""Of the canvas, beyond the box."""

_EYE = np.array([0.42, -0.36])


def hair_color(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Of hair; now and then dyed."""
    if rng.random() < 0.06:
        return any_color(rng)
    return _HAIR[rng.integers(len(_HAIR))] * np.exp(rng.normal(0, 0.12, 3))


def draw_sunglasses(rng: np.random.Generator) -> Sprite:
    """Dark or mirrored lenses."""
    lens = any_color(rng) * (0.2 if rng.random() < 0.75 else 0.8)
    return _glasses(rng, lens, rng.uniform(0.82, 1.0), rng.uniform(0.015, 0.05))


def draw_spectacles(rng: np.random.Generator) -> Sprite:
    """A frame, and lenses that hide next to nothing."""
    shine = np.full(3, 230.0)
    return _glasses(rng, shine, rng.uniform(0.0, 0.14), rng.uniform(0.008, 0.04))


def _glasses(rng: np.random.Generator, lens: np.ndarray, opacity: float, thick: float) -> Sprite:
    color, alpha = np.empty((EDGE, EDGE, 3), np.float32), np.zeros((EDGE, EDGE), np.float32)
    frame = any_color(rng) * (0.3 if rng.random() < 0.6 else 1)
    color[:] = frame
    radii = np.array([rng.uniform(0.26, 0.4), rng.uniform(0.17, 0.28)])
    square = rng.uniform(2, 5)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    cos, sin = np.cos(angles), np.sin(angles)
    ring = np.stack([np.sign(v) * np.abs(v) ** (2 / square) for v in (cos, sin)], 1) * radii
    lower = rng.normal(0, 0.04)
    x, y = places(REACH)
    fade = np.clip(1 - rng.uniform(0, 0.35) * (y - _EYE[1]), 0, 1) + 0 * x
    glare = np.clip(noise(rng, 3, 2) - 1.1, 0, 0.5) * (rng.random() < 0.6)
    rimless = rng.random() < 0.12
    for side in (-1, 1):
        at = np.array([side * _EYE[0], _EYE[1] + lower])
        inside = outline_of(at + ring, REACH)
        color += inside[..., None] * (lens + 255 * glare[..., None] - color)
        alpha = np.maximum(alpha, inside * np.clip(opacity * fade + glare, 0, 1))
        if not rimless:
            rim = inside - outline_of(at + ring * (1 - thick / radii), REACH)
            rim = np.clip(
                np.maximum(rim, outline_of(at + ring * (1 + thick / radii), REACH) - inside), 0, 1
            )
            color += rim[..., None] * (frame - color)
            alpha = np.maximum(alpha, rim)
        # The arm, to the ear.
        hinge = at + radii * np.array([side, -0.4])
        _line(color, alpha, [hinge, (side * 1.15, _EYE[1] + rng.uniform(-0.1, 0.1))], frame, thick)
    level = _EYE[1] + lower - 0.05
    inner = _EYE[0] - radii[0]
    _line(color, alpha, [(-inner, level), (0, level - 0.04), (inner, level)], frame, thick)
    return flat_sprite(color, alpha, gloss=0.2)


def draw_hair(rng: np.random.Generator) -> Sprite:
    """Locks and single hairs that fall over the face from above or from a side."""
    color, alpha = np.zeros((EDGE, EDGE, 3), np.float32), np.zeros((EDGE, EDGE), np.float32)
    tone = hair_color(rng)
    color[:] = tone
    root, to = rng.uniform(-1, 1), rng.uniform(-1.1, 1.1)
    bow, end = rng.normal(0, 0.4), rng.uniform(-0.1, 1.3)
    width, count = rng.uniform(0.02, 0.35), int(rng.integers(4, 70))
    for _ in range(count):
        off = width * rng.normal(0, 0.6)
        along = np.linspace(0, 1, 14)
        y = -1.4 + (end + rng.normal(0, 0.1) + 1.4) * along
        x = root + (to - root) * along + bow * np.sin(np.pi * along) + off * (0.5 + along)
        x += 0.03 * np.sin(rng.uniform(3, 14) * along + rng.uniform(0, 6))
        shade = tone * np.exp(rng.normal(0, 0.22))
        thick = float(rng.choice([0.006, 0.012, 0.022]))
        _line(color, alpha, np.stack([x, y], 1), shade, thick, rng.uniform(0.6, 1))
    return flat_sprite(color, alpha)


def draw_fringe(rng: np.random.Generator) -> Sprite:
    """Hair over the forehead, often down to the eyes, its ends ragged."""
    color, alpha = np.zeros((EDGE, EDGE, 3), np.float32), np.zeros((EDGE, EDGE), np.float32)
    tone, slant = hair_color(rng), rng.normal(0, 0.25)
    color[:] = tone
    line, ragged = rng.uniform(-0.75, -0.25), rng.uniform(0.03, 0.15)
    gap = rng.uniform(-0.6, 0.6) if rng.random() < 0.3 else None
    for _ in range(180):
        start = rng.uniform(-1.5, 1.5)
        end = line + slant * start + ragged * rng.normal() - 0.25 * abs(start) * rng.random()
        if gap is not None:
            end -= 0.5 * np.exp(-(((start - gap) / 0.2) ** 2))
        along = np.linspace(0, 1, 6)
        x = start + 0.3 * slant * along + 0.02 * rng.normal() * along**2
        points = np.stack([x, -1.6 + (end + 1.6) * along], 1)
        shade = tone * np.exp(rng.normal(0, 0.18))
        _line(color, alpha, points, shade, float(rng.choice([0.012, 0.025, 0.05])))
    return flat_sprite(color, alpha)


def draw_scarf(rng: np.random.Generator) -> Sprite:
    """Cloth over the lower face, or a veil's edge at its side; in folds."""
    canvas, (x, y) = Canvas(REACH), places(REACH)
    across = np.linspace(-1.8, 1.8, 24)
    upper = rng.uniform(-0.1, 0.65) + rng.normal(0, 0.15) * across + rng.normal(0, 0.2) * across**2
    upper = upper + 0.03 * np.sin(rng.uniform(2, 7) * across + rng.uniform(0, 6))
    corners = np.concatenate([np.stack([across, upper], 1), [[1.8, 2.0], [-1.8, 2.0]]])
    turn, folds = rng.normal(0, 0.4), rng.uniform(4, 16)
    waves = np.sin(folds * (y + turn * x) + 1.5 * noise(rng, 3, 2))
    relief = 0.035 * waves + 0.02 * noise(rng, 6)
    canvas.plate(corners, relief.astype(np.float32), printed(rng))
    return canvas.sprite(depth=1.6)


def draw_medical_mask(rng: np.random.Generator) -> Sprite:
    """A mask over nose and mouth, pleated or moulded, with straps to the ears."""
    canvas, (x, y) = Canvas(REACH), places(REACH)
    tones = np.array([(150, 195, 215), (235, 238, 240), (25, 25, 28), (140, 190, 170)])
    color = printed(rng)
    if rng.random() < 0.7:
        tone = tones[rng.integers(4)] * np.exp(rng.normal(0, 0.05, 3))
        color = np.clip(tone * (1 + 0.02 * noise(rng, 30, 2))[..., None], 0, 255)
    top, low = rng.uniform(-0.25, 0.2), rng.uniform(0.9, 1.2)
    corners = np.array([
        [-0.98, top + 0.15], [-0.4, top + 0.02], [0, top - 0.08], [0.4, top + 0.02],
        [0.98, top + 0.15], [0.95, 0.6], [0.6, low], [0, low + 0.08], [-0.6, low], [-0.95, 0.6],
    ])  # fmt: skip
    pleats = 0.03 * np.abs(np.sin(rng.uniform(4, 9) * y)) * (rng.random() < 0.6)
    swell = 0.45 * np.sqrt(np.maximum(1.4 - x**2 - 0.5 * (y - 0.4) ** 2, 0)) + pleats
    canvas.plate(_smooth(corners), swell.astype(np.float32), color.astype(np.float32))
    strap = np.full(3, rng.uniform(180, 250)) if rng.random() < 0.7 else any_color(rng)
    for side in (-1, 1):
        for y0, y1 in ((top + 0.15, -0.35), (0.6, 0.1)):
            canvas.tube((side * 0.93, y0, 0.3), (side * 1.2, y1, 0.3), (0.012, 0.012), strap)
    return canvas.sprite(smooth=0.015)


def draw_strap(rng: np.random.Generator) -> Sprite:
    """A band right across: a belt, a strap, a cable, a bar, a branch; one or several."""
    canvas = Canvas(REACH)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        half = float(rng.choice([rng.uniform(0.015, 0.06), rng.uniform(0.06, 0.22)]))
        at, lean, color = rng.normal(0, 0.25), rng.normal(0, 0.15), printed(rng)
        if rng.random() < 0.5:
            canvas.tube((at - lean, -1.8, 0), (at + lean, 1.8, 0), (half, half), color)
        else:
            corners = np.array([
                [at - lean - half, -1.8], [at - lean + half, -1.8],
                [at + lean + half, 1.8], [at + lean - half, 1.8],
            ])  # fmt: skip
            canvas.plate(corners, 0.05, color)
    return canvas.sprite(gloss=float(rng.choice([0, 0.3])))


def draw_cap(rng: np.random.Generator) -> Sprite:
    """A cap, a hat or a hood: cloth from above with a bowed edge."""
    canvas, (x, y) = Canvas(REACH), places(REACH)
    across = np.linspace(-1.8, 1.8, 24)
    bow = rng.uniform(-0.35, 0.35)
    edge = rng.uniform(-0.8, -0.35) + bow * across**2 + rng.normal(0, 0.08) * across
    corners = np.concatenate([np.stack([across, edge], 1), [[1.8, -2.0], [-1.8, -2.0]]])
    relief = 0.5 * np.sqrt(np.maximum(2.2 - x**2 - 0.3 * y**2, 0)) + 0.02 * noise(rng, 5)
    canvas.plate(corners, relief.astype(np.float32), printed(rng))
    return canvas.sprite()


def draw_beard(rng: np.random.Generator) -> Sprite:
    """A beard with a moustache: face, not something before it."""
    x, y = places(REACH)
    tone = hair_color(rng)
    grain = np.exp(0.16 * noise(rng, 70, 2) + 0.1 * noise(rng, 8, 2))
    jaw = np.clip((1.1 - np.hypot(x, np.maximum(y, 0) * 0.95)) / 0.12, 0, 1)
    lower = jaw * np.clip((y - rng.uniform(0.0, 0.5) - 0.5 * (1 - np.abs(x))) / 0.2 + 0.5, 0, 1)
    lip = np.exp(-((x / 0.42) ** 4) - ((y - 0.27) / 0.1) ** 2) * (rng.random() < 0.8)
    mouth = np.exp(-((x / 0.36) ** 4) - ((y - 0.45) / 0.1) ** 4)
    amount = np.clip(np.maximum(lower * (1 - mouth), lip), 0, 1)
    alpha = amount * rng.uniform(0.3, 0.97) * np.clip(0.8 + 0.3 * noise(rng, 70, 2), 0, 1)
    return flat_sprite(tone * grain[..., None], alpha)


def draw_light(rng: np.random.Generator) -> Sprite:
    """Light or shadow that falls on a face: it is visible all the same."""
    color = np.zeros(3) if rng.random() < 0.7 else 255 * np.exp(-np.abs(rng.normal(0, 0.3, 3)))
    if rng.random() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        x, y = places(REACH)
        edge = x * np.cos(angle) + y * np.sin(angle) + rng.uniform(-0.4, 0.6)
        cover = np.clip(edge / rng.uniform(0.02, 0.8) + 0.5, 0, 1)
    else:
        cover = np.clip(rng.uniform(1, 8) * noise(rng, int(rng.integers(1, 5)), 2), 0, 1)
    return flat_sprite(np.broadcast_to(color, (EDGE, EDGE, 3)), rng.uniform(0.15, 0.6) * cover)


def draw_lettering(rng: np.random.Generator) -> Sprite:
    """Words, a subtitle, a logo; on a box or bare."""
    color, alpha = np.zeros((EDGE, EDGE, 3), np.float32), np.zeros((EDGE, EDGE), np.uint8)
    ink, other = any_color(rng), any_color(rng)
    color[:] = ink
    opacity = rng.uniform(0.6, 1)
    if rng.random() < 0.3:
        low, high = np.sort(rng.integers(0, EDGE, (2, 2)), 0)
        boxed = np.zeros_like(alpha)
        cv2.rectangle(boxed, low.tolist(), high.tolist(), 255, -1)
        color[boxed > 0] = other
        alpha = np.maximum(alpha, boxed)
    letters = np.zeros_like(alpha)
    for _ in range(int(rng.integers(1, 4))):
        text = "".join(chr(rng.integers(65, 91)) for _ in range(rng.integers(1, 9)))
        size, thick = rng.uniform(0.6, 3.5), int(rng.integers(1, 8))
        at = (int(rng.integers(-20, EDGE // 2)), int(rng.integers(20, EDGE)))
        font = int(rng.integers(0, 8))
        cv2.putText(letters, text, at, font, size, 255, thick, cv2.LINE_AA)
    if rng.random() < 0.35:
        centre = rng.integers(20, EDGE - 20, 2).tolist()
        cv2.circle(letters, centre, int(rng.integers(10, 40)), 255, int(rng.choice([-1, 3, 8])))
    share = (letters / 255)[..., None]
    color += share * (ink - color)
    return flat_sprite(color, opacity * np.maximum(alpha, letters) / 255)


def draw_smoke(rng: np.random.Generator) -> Sprite:
    """Smoke, steam, a splash of light: thick in places, thin in others."""
    x, y = places(REACH)
    cloud = noise(rng, int(rng.integers(2, 5)), 4)
    near = np.exp(-((x - rng.normal(0, 0.3)) ** 2 + (y - rng.normal(0, 0.3)) ** 2) / 0.5)
    alpha = np.clip(0.55 * cloud + rng.uniform(0.1, 0.6), 0, 1) * near * rng.uniform(0.6, 1)
    tone = np.full(3, rng.uniform(60, 245)) * np.exp(rng.normal(0, 0.05, 3))
    return flat_sprite(np.broadcast_to(tone, (EDGE, EDGE, 3)), alpha)


def _line(
    color: np.ndarray,
    alpha: np.ndarray,
    points: np.ndarray | list[Any],
    tone: np.ndarray,
    half_width: float | int,
    opacity: float | int = 1,
) -> None:
    """Draw a line onto a colour and an alpha picture."""
    bits = SUBPIXEL_BITS
    at = np.round(pixels_of(np.asarray(points), REACH) * (1 << bits)).astype(np.int32)
    low = np.maximum(at.min(0) // (1 << bits) - 6, 0)
    high = np.minimum(at.max(0) // (1 << bits) + 7, EDGE)
    if (high <= low).any():
        return
    width, height = (high - low).tolist()
    drawn = np.zeros((height, width), np.uint8)
    # A line narrower than a pixel is a paler one.
    width_px = half_width * EDGE / REACH
    cv2.polylines(
        drawn, [at - low * (1 << bits)], False, 255, max(1, round(width_px)), cv2.LINE_AA, bits
    )
    cover = drawn * np.float32(opacity * min(1.0, width_px) / 255)
    here = slice(low[1], high[1]), slice(low[0], high[0])
    color[here] += cover[..., None] * (tone - color[here])
    alpha[here] += cover * (1 - alpha[here])


def _smooth(corners: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "n 2"]:
    """Corners cut twice (Chaikin)."""
    for _ in range(2):
        after = np.roll(corners, -1, 0)
        both = np.stack([0.75 * corners + 0.25 * after, 0.25 * corners + 0.75 * after], 1)
        corners = both.reshape(-1, 2)
    return corners
