"""Things that are held before a face, mostly with the fingers that hold them."""

import itertools

import cv2
import numpy as np
from jaxtyping import Float

from .hands import SKIN
from .sprites import EDGE, Canvas, Sprite, noise, places


def any_color(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Of things: often grey, sometimes loud."""
    value = 245 * rng.random() ** 0.8 + 8
    loud = rng.choice([0.06, 0.25, 0.6], p=[0.45, 0.35, 0.2])
    return np.clip(value * np.exp(loud * rng.normal(0, 1, 3)), 4, 250)


def printed(rng: np.random.Generator) -> Float[np.ndarray, "e e 3"]:
    """A surface: plain, striped, chequered or spotted, a little uneven."""
    x, y = places()
    base, other = any_color(rng), any_color(rng)
    kind, turn = rng.random(), rng.uniform(0, np.pi)
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    pitch = rng.uniform(0.06, 0.4)
    if kind < 0.45:
        share = np.zeros((EDGE, EDGE))
    elif kind < 0.65:
        share = (np.mod(along, pitch) < pitch * rng.uniform(0.2, 0.6)).astype(float)
    elif kind < 0.8:
        lines = [np.mod(d, pitch) < 0.4 * pitch for d in (along, across)]
        share = 0.5 * lines[0] + 0.5 * lines[1]
    else:
        share = np.clip(3 * noise(rng, int(rng.integers(2, 12)), 2), 0, 1)
    color = base + share[..., None] * (other - base)
    uneven = 1 + rng.uniform(0.01, 0.08) * noise(rng, 5, 4)
    return np.clip(color * uneven[..., None], 0, 255).astype(np.float32)


def grip(
    canvas: Canvas, rng: np.random.Generator, radius: float, middle: float, lift: float | int = 0
) -> None:
    """Fingers around what is there, from a side, and the arm that they belong to."""
    side = rng.choice([-1, 1])
    spread, thick = rng.uniform(0.13, 0.17), rng.uniform(0.07, 0.09)
    reach = rng.uniform(-0.75, 0.1) * radius
    over = max(radius, lift) + 0.07
    for finger in range(4):
        y = middle + (finger - 1.5) * spread
        knuckle = np.array([side * (radius + 0.06), y + 0.03])
        tip = np.array([-side * reach * (1 - 0.1 * finger), y - 0.02 + rng.normal(0, 0.01)])
        half = 0.5 * (knuckle + tip)
        canvas.tube((*knuckle, 0.25), (*half, over), (thick, thick), SKIN, 1)
        canvas.tube((*half, over), (*tip, over - 0.02), (thick, thick * 0.8), SKIN, 1)
        wrist = (side * (radius + 0.2), middle + 0.55, 0.1)
        canvas.tube((side * (radius + 0.13), y, 0.15), wrist, (0.12, 0.15), SKIN, 1)
    elbow = (side * rng.uniform(0.4, 0.9), 1.6, 0)
    canvas.tube((side * (radius + 0.2), middle + 0.5, 0.1), elbow, (0.2, 0.27), SKIN, 1)


def draw_cup(rng: np.random.Generator) -> Sprite:
    """A cup, mug or glass from the side, tipped by its placing."""
    canvas, color = Canvas(), any_color(rng)
    wide, narrow = rng.uniform(0.3, 0.42), rng.uniform(0.22, 0.36)
    top, bottom = rng.uniform(-0.65, -0.35), rng.uniform(0.25, 0.6)
    x, y = places()
    along = np.clip((y - top) / (bottom - top), 0, 1)
    side = np.sqrt(np.maximum((wide + (narrow - wide) * along) ** 2 - x**2, 0.0))
    if rng.random() < 0.5:
        painted = printed(rng)
    else:
        band = (np.abs(along - rng.uniform(0.3, 0.7)) < rng.uniform(0.0, 0.25))[..., None]
        painted = np.broadcast_to(np.where(band, any_color(rng), color), (EDGE, EDGE, 3))
    if rng.random() < 0.5:
        ring = np.linspace(-1.9, 1.9, 14)
        centre = np.array([wide - 0.03, top + 0.45 * (bottom - top)])
        points = centre + rng.uniform(0.16, 0.24) * np.stack([np.cos(ring), np.sin(ring)], 1)
        for a, b in itertools.pairwise(points):
            canvas.tube((*a, 0), (*b, 0), (0.045, 0.045), color)
    angles = np.linspace(0, 2 * np.pi, 40)
    dip = rng.uniform(0.02, 0.1)
    front = angles[:20]
    base = np.stack([narrow * np.cos(front), bottom + dip * np.sin(front)], 1)
    canvas.plate(np.concatenate([[[-wide, top], [wide, top]], base]), side, painted)
    rim = np.stack([wide * np.cos(angles), top + dip * np.sin(angles)], 1)
    canvas.plate(rim, 0.6, color * rng.uniform(0.35, 1.1))
    if rng.random() < 0.7:
        grip(canvas, rng, narrow, (top + bottom) / 2)
    return canvas.sprite(gloss=float(rng.uniform(0, 0.5)))


def draw_bottle(rng: np.random.Generator) -> Sprite:
    """A bottle or can, its neck up, with a label."""
    canvas, color = Canvas(), any_color(rng)
    body, neck = rng.uniform(0.17, 0.28), rng.uniform(0.06, 0.12)
    shoulder = rng.uniform(-0.35, 0.0)
    painted = printed(rng) if rng.random() < 0.5 else color
    canvas.tube((0, -0.8, 0), (0, shoulder - 0.15, 0), (neck, neck), color)
    canvas.tube((0, -0.82, 0.01), (0, -0.7, 0.01), (neck * 1.1,) * 2, any_color(rng))
    canvas.tube((0, shoulder - 0.2, 0), (0, shoulder, 0), (neck, body), color)
    canvas.tube((0, shoulder, 0), (0, 0.9, 0), (body, body), painted)
    if rng.random() < 0.7:
        grip(canvas, rng, body, rng.uniform(0.1, 0.5))
    return canvas.sprite(gloss=float(rng.uniform(0.1, 0.6)))


def draw_phone(rng: np.random.Generator) -> Sprite:
    """A phone from behind or from its screen, in a hand."""
    canvas = Canvas()
    half, top, bottom = rng.uniform(0.24, 0.34), rng.uniform(-0.75, -0.5), rng.uniform(0.2, 0.6)
    body = _rounded(-half, top, half, bottom, rng.uniform(0.03, 0.09))
    color = any_color(rng) * (0.25 if rng.random() < 0.6 else 1)
    canvas.plate(body, 0.1, color)
    inner = _rounded(-half + 0.03, top + 0.03, half - 0.03, bottom - 0.03, 0.04)
    if rng.random() < 0.35:
        canvas.plate(inner, 0.105, printed(rng))
    else:
        canvas.plate(inner, 0.105, color * rng.uniform(0.9, 1.4))
        lenses = int(rng.integers(1, 4))
        corner = np.array([-half + 0.12, top + 0.12])
        for lens in range(lenses):
            at = corner + np.array([0.0, 0.11 * lens])
            canvas.tube((*at, 0.1), (*(at + 0.001), 0.1), (0.05, 0.05), (25, 25, 30))
    if rng.random() < 0.85:
        grip(canvas, rng, half, (top + bottom) / 2 + rng.uniform(0, 0.25), 0.1)
    return canvas.sprite(smooth=0.01, gloss=float(rng.uniform(0.1, 0.5)))


def draw_microphone(rng: np.random.Generator) -> Sprite:
    """A microphone: hand-held, a studio's, or foam on a boom."""
    canvas, kind = Canvas(), rng.random()
    dark = rng.uniform(15, 90) * np.exp(rng.normal(0, 0.05, 3))
    head = dark * rng.uniform(0.6, 2.5) if rng.random() < 0.7 else any_color(rng)
    mesh = np.indices((EDGE, EDGE)).sum(0) % 4 < 2
    rough = np.clip(head * (1 + 0.18 * (mesh - 0.5))[..., None], 0, 255).astype(np.float32)
    size = rng.uniform(0.18, 0.3)
    if kind < 0.5:
        canvas.tube((0, -0.35, 0), (0, -0.3, 0), (size, size * 0.95), rough)
        canvas.tube((0, -0.1, 0), (0, 1.2, 0), (size * 0.7, size * 0.5), dark)
        canvas.tube((0, -0.14, 0.02), (0, -0.08, 0.02), (size * 0.85,) * 2, dark * 1.6)
        if rng.random() < 0.75:
            grip(canvas, rng, size * 0.6, rng.uniform(0.25, 0.6))
    elif kind < 0.75:
        canvas.tube((0, -0.6, 0), (0, 0.1, 0), (size * 1.1, size * 1.1), rough)
        canvas.tube((0, 0.1, 0), (0, 0.4, 0), (size * 1.1, size), dark)
        canvas.tube((0, 0.4, -0.1), (0, 1.2, -0.1), (0.05, 0.05), dark)
    else:
        foam = np.clip(head * (1 + 0.1 * noise(rng, 60, 2))[..., None], 0, 255)
        canvas.tube((-0.1, -0.4, 0), (0.05, -0.35, 0), (size * 0.7, size * 0.6), foam)
        points = np.array([[0.05, -0.3], [0.3, 0.1], [0.35, 0.6], [0.3, 1.2]])
        for a, b in itertools.pairwise(points):
            canvas.tube((*a, 0), (*b, 0), (0.03, 0.03), dark)
    return canvas.sprite(gloss=float(rng.uniform(0, 0.4)))


def draw_cutlery(rng: np.random.Generator) -> Sprite:
    """A fork, spoon, knife, straw, pen or chopsticks, often with something at its end."""
    canvas, kind = Canvas(), int(rng.integers(6))
    metal = rng.uniform(110, 235) * np.exp(rng.normal(0, 0.03, 3))
    if kind >= 3:
        metal = any_color(rng)
    thick = rng.uniform(0.022, 0.045)
    end = -0.35
    for rod in range(2 if kind == 5 else 1):
        lean = 0.12 * rod
        canvas.tube((lean * 0.3, end, 0), (lean, 1.2, 0), (thick, thick * 1.3), metal)
    if kind == 0:
        canvas.tube((0, end, 0), (0, end - 0.04, 0), (thick, 0.1), metal)
        for tine in np.linspace(-0.09, 0.09, 4):
            canvas.tube((tine, end - 0.02, 0), (tine, end - 0.28, 0), (0.02, 0.014), metal)
    elif kind == 1:
        angles = np.linspace(0, 2 * np.pi, 40)
        bowl = np.stack([0.13 * np.cos(angles), end - 0.12 + 0.19 * np.sin(angles)], 1)
        x, y = places()
        hollow = 0.3 * ((x / 0.13) ** 2 + ((y - end + 0.12) / 0.19) ** 2) * 0.13
        canvas.plate(bowl, rng.choice([-1, 1]) * hollow, metal)
    elif kind == 2:
        blade = np.array([[-0.05, 0.15], [-0.06, end - 0.3], [0.0, end - 0.34], [0.05, 0.15]])
        canvas.plate(blade, 0.05, metal)
    if rng.random() < 0.4 and kind in (0, 1, 5):
        _morsel(canvas, rng, np.array([0.0, end - 0.15]))
    if rng.random() < 0.8:
        grip(canvas, rng, thick, rng.uniform(0.2, 0.7))
    return canvas.sprite(smooth=0.01, gloss=0.7 if kind < 3 else 0.15)


def draw_food(rng: np.random.Generator) -> Sprite:
    """Something to eat: lumps, layers, a fruit; in a hand."""
    canvas = Canvas()
    for _ in range(int(rng.integers(1, 5))):
        _morsel(canvas, rng, rng.normal(0, 0.12, 2) - np.array([0, 0.2]), rng.uniform(0.18, 0.34))
    if rng.random() < 0.8:
        grip(canvas, rng, 0.25, rng.uniform(-0.05, 0.25), 0.3)
    return canvas.sprite(smooth=0.03, gloss=float(rng.uniform(0, 0.3)))


def draw_book(rng: np.random.Generator) -> Sprite:
    """A sheet, a card, a book: straight edges, lines or a picture on it."""
    canvas, (x, y) = Canvas(), places()
    half, top = rng.uniform(0.3, 0.8), rng.uniform(-0.7, -0.2)
    bottom = rng.uniform(0.3, 1.2)
    paper = rng.uniform(170, 250) * np.exp(rng.normal(0, 0.04, 3))
    color = np.broadcast_to(paper, (EDGE, EDGE, 3))
    if rng.random() < 0.4:
        color = printed(rng)
    elif rng.random() < 0.7:
        pitch = rng.uniform(0.07, 0.14)
        ink = (np.mod(y, pitch) < 0.4 * pitch) & (noise(rng, 30, 1) > -0.3)
        ink = ink & (np.abs(x) < half - 0.08) & (y > top + 0.1)
        color = np.where(ink[..., None], rng.uniform(10, 90), color)
    corners = np.array([[-half, top], [half, top], [half, bottom], [-half, bottom]])
    bent = rng.normal(0, 0.15) * x**2 + 0.0 * y
    canvas.plate(corners + rng.normal(0, 0.03, (4, 2)), bent, color.astype(np.float32))
    if rng.random() < 0.5:
        grip(canvas, rng, half, rng.uniform(0.0, 0.5), 0.15)
    return canvas.sprite(smooth=0.01, gloss=float(rng.choice([0, 0.3])))


def draw_shape(rng: np.random.Generator) -> Sprite:
    """Anything: a blot or a polygon, flat or swollen, of any surface."""
    canvas, (x, y) = Canvas(), places()
    if rng.random() < 0.6:
        angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        radius = np.full(72, rng.uniform(0.3, 0.6))
        for wave in range(2, 6):
            radius *= np.exp(rng.normal(0, 0.22 / wave) * np.cos(wave * angles + rng.uniform(0, 6)))
        corners = radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        radii = rng.uniform(0.35, 0.75, len(angles))
        corners = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    swell = rng.choice([0, 0.4]) * np.sqrt(np.maximum(0.5 - x**2 - y**2, 0))
    color = printed(rng)
    skin = 1 if rng.random() < 0.25 else 0
    if skin:
        color = np.clip(205 * (1 + 0.04 * noise(rng, 6, 4))[..., None] * np.ones(3), 0, 255)
    canvas.plate(corners, swell + 0.02 * noise(rng, 6), color.astype(np.float32), skin)
    return canvas.sprite(gloss=float(rng.choice([0, 0.4])))


def _morsel(
    canvas: Canvas, rng: np.random.Generator, at: Float[np.ndarray, "2"], size: float = 0.12
) -> None:
    warm = np.array([220, 150, 80]) * np.exp(rng.normal(0, 0.35, 3))
    color = np.clip(warm * (1 + 0.15 * noise(rng, 14, 3))[..., None], 5, 250).astype(np.float32)
    reach = size * rng.uniform(0, 0.8) * np.array([1.0, 0.3])
    radii = float(size * rng.uniform(0.6, 1)), float(size * rng.uniform(0.6, 1))
    canvas.tube((*(at - reach), 0.1), (*(at + reach), 0.1), radii, color)


def _rounded(
    left: float, top: float, right: float, bottom: float, radius: float
) -> Float[np.ndarray, "k 2"]:
    """The corners of a rectangle with round ones."""
    angles = np.linspace(0, np.pi / 2, 8)
    arc = radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    corners = [(right, bottom, 0), (left, bottom, 1), (left, top, 2), (right, top, 3)]
    parts = []
    for x, y, quarter in corners:
        cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter]
        turned = arc @ np.array([[cos, sin], [-sin, cos]])
        centre = np.array([x, y]) - radius * np.array(
            [1 if x == right else -1, 1 if y == bottom else -1]
        )
        parts.append(centre + turned)
    return cv2.convexHull(np.concatenate(parts).astype(np.float32))[:, 0]
