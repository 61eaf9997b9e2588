"""Things put before a face: drawn, placed, lit as the face is, and taken off its visible part."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from .hands import draw_hand
from .objects import (
    draw_book,
    draw_bottle,
    draw_cup,
    draw_cutlery,
    draw_food,
    draw_microphone,
    draw_phone,
    draw_shape,
)
from .sprites import EDGE, Sprite
from .worn import (
    REACH,
    draw_beard,
    draw_cap,
    draw_fringe,
    draw_hair,
    draw_lettering,
    draw_light,
    draw_medical_mask,
    draw_scarf,
    draw_smoke,
    draw_spectacles,
    draw_strap,
    draw_sunglasses,
)

DRAWN = 48
"""Sprites of a kind: each is drawn once, and placed, mirrored, bent and coloured anew."""

MIN_HIDDEN, MAX_HIDDEN = 0.02, 0.5
"""Share of the face that is hidden."""

_TRIES = 6
_SURROUNDINGS = 0.12
"""Of the occluders, those whose surface is the crop's own surroundings."""
_SHARPEST_PX = 0.4

SKIN_TONES = np.array([
    (246, 215, 196), (236, 195, 168), (222, 175, 144), (198, 145, 112),
    (165, 112, 80), (128, 84, 60), (92, 60, 44), (62, 42, 34),
], np.float32)  # fmt: skip


class Planted(NamedTuple):
    """A crop with something before its face, and what of the face is still seen."""

    pixels: UInt8[np.ndarray, "s s 3"]
    visible: Float[np.ndarray, "s s"]


class Kind(NamedTuple):
    """A kind of occluder."""

    draw: Callable[[np.random.Generator], Sprite]
    worn: bool = False
    """It lies where it belongs on a face; else it is held before it, from any side, and what
    leaves its canvas goes on."""
    scale: tuple[float, float] = (0.7, 1.3)
    """Half the canvas, in half widths of the face (worn: in its half width and height)."""
    shadow: float | int = 0.4
    """How dark its contact shadow may be."""
    decoy: bool = False
    """It is drawn, and what it covers is visible face all the same."""


KINDS: dict[str, Kind] = {
    "hand": Kind(draw_hand, scale=(0.8, 1.5)),
    "microphone": Kind(draw_microphone, scale=(0.7, 1.3)),
    "phone": Kind(draw_phone, scale=(0.7, 1.3)),
    "cup": Kind(draw_cup, scale=(0.7, 1.3)),
    "bottle": Kind(draw_bottle, scale=(0.7, 1.4)),
    "cutlery": Kind(draw_cutlery, scale=(0.7, 1.5)),
    "food": Kind(draw_food, scale=(0.6, 1.2)),
    "book": Kind(draw_book, scale=(0.6, 1.4)),
    "shape": Kind(draw_shape, scale=(0.4, 1.2)),
    "strap": Kind(draw_strap, scale=(0.7, 2.2)),
    "sunglasses": Kind(draw_sunglasses, worn=True, scale=(0.9, 1.1), shadow=0.2),
    "hair": Kind(draw_hair, worn=True, scale=(0.9, 1.3), shadow=0.25),
    "fringe": Kind(draw_fringe, worn=True, scale=(0.95, 1.15), shadow=0.25),
    "scarf": Kind(draw_scarf, worn=True, scale=(0.9, 1.2)),
    "medical_mask": Kind(draw_medical_mask, worn=True, scale=(0.9, 1.1)),
    "cap": Kind(draw_cap, worn=True, scale=(0.95, 1.2)),
    "lettering": Kind(draw_lettering, worn=True, scale=(0.5, 1.3), shadow=0),
    "smoke": Kind(draw_smoke, worn=True, scale=(0.7, 1.5), shadow=0),
    "spectacles": Kind(draw_spectacles, worn=True, scale=(0.9, 1.1), shadow=0.15, decoy=True),
    "beard": Kind(draw_beard, worn=True, scale=(0.95, 1.1), shadow=0, decoy=True),
    "light": Kind(draw_light, worn=True, scale=(0.8, 1.5), shadow=0, decoy=True),
}
"""By name; `decoy` ones are drawn and hide nothing."""


class _Face(NamedTuple):
    """What is known of a crop: where its face is, its skin, its light."""

    pixels: Float[np.ndarray, "s s 3"]
    outline: Float[np.ndarray, "s s"]
    centre: Float[np.ndarray, "2"]
    half: Float[np.ndarray, "2"]
    skin: Float[np.ndarray, "3"]
    light: Float[np.ndarray, "3"]
    exposure: float


def plant(
    rng: np.random.Generator,
    pixels: UInt8[np.ndarray, "s s 3"],
    outline: Float[np.ndarray, "s s"],
    kinds: Sequence[str] = tuple(KINDS),
) -> Planted:
    """One thing of `kinds`, sometimes two, before the face that `outline` encloses.

    `visible` is the outline less what hides it. A crop without a face stays as it is.
    """
    shown, seen = cover(rng, pixels, outline, kinds)
    return Planted(shown, outline.astype(np.float32) * seen)


def cover(
    rng: np.random.Generator,
    pixels: UInt8[np.ndarray, "s s 3"],
    outline: Float[np.ndarray, "s s"],
    kinds: Sequence[str] = tuple(KINDS),
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """The same, with what is not hidden of the whole crop, be it face or not."""
    outline = outline.astype(np.float32)
    seen = np.ones_like(outline)
    if outline.sum() < 16:
        return pixels, seen
    face = _known_of(pixels, outline)
    picture = face.pixels
    for _ in range(1 if rng.random() < 0.8 else 2):
        kind = KINDS[kinds[int(rng.integers(len(kinds)))]]
        paint, alpha = _before(rng, kind, face, seen)
        picture = picture * (1 - _shadow(rng, kind, alpha, face))[..., None]
        picture = picture * (1 - alpha)[..., None] + paint
        if not kind.decoy:
            seen = seen * (1 - alpha)
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8), seen


def _known_of(pixels: UInt8[np.ndarray, "s s 3"], outline: Float[np.ndarray, "s s"]) -> _Face:
    x, y, width, height = cv2.boundingRect((outline > 0.5).astype(np.uint8))
    centre = np.array([x + (width - 1) / 2, y + (height - 1) / 2])
    half = np.maximum([width / 2, height / 2], 4.0)
    given = pixels.astype(np.float32)
    # Of every other pixel: these are means of many.
    some = given[::2, ::2]
    rows, columns = np.nonzero(outline[::2, ::2] > 0.5)
    colors = some[rows, columns] if len(rows) else some.reshape(-1, 3)
    skin = np.median(colors, 0)
    grey = np.array([0.299, 0.587, 0.114], np.float32)
    bright = float(np.percentile(some @ grey, 95))
    light = np.array([0.0, 0.0, 1.0])
    if len(rows):
        # The side that is lighter is the light's.
        values = colors @ grey
        across = (2 * columns - centre[0]) / half[0]
        down = (2 * rows - centre[1]) / half[1]
        slope = np.array([(across * values).mean(), 0.5 * (down * values).mean()])
        toward = np.clip(6 * slope / max(float(values.mean()), 1.0), -0.8, 0.8)
        light = np.array([*toward, np.sqrt(max(float(1 - toward @ toward), 0.15))])
        light /= np.linalg.norm(light)
    exposure = float(np.clip(bright / 215, 0.25, 1.1))
    return _Face(given, outline, centre, half, skin, light, exposure)


def _before(
    rng: np.random.Generator, kind: Kind, face: _Face, seen: Float[np.ndarray, "s s"]
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """A sprite of this kind where it hides neither too little nor too much: paint, alpha."""
    total, left = float(face.outline.sum()), face.outline * seen
    best = None
    for _ in range(_TRIES):
        number, mirrored = int(rng.integers(DRAWN)), bool(rng.random() < 0.5)
        sprite = _drawn(kind.draw, number)
        to_crop = (_worn if kind.worn else _held)(rng, kind, face, mirrored)
        size = len(face.outline)
        paint = cv2.warpAffine(
            sprite.paint, to_crop, (size, size), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT if kind.worn else cv2.BORDER_REPLICATE,
        )  # fmt: skip
        own = float((left * paint[..., 3]).sum()) / 255 / total
        all_of_it = own + 1 - float(left.sum()) / total
        off = 0 if kind.decoy else max(MIN_HIDDEN - own, all_of_it - MAX_HIDDEN, 0)
        if best is None or off < best[0]:
            best = off, sprite, to_crop, paint
        if off == 0:
            break
    assert best is not None
    _, sprite, to_crop, paint = best
    if not kind.decoy and rng.random() < _SURROUNDINGS:
        paint = _of_surroundings(rng, paint, face)
    lit, alpha = _lit(rng, sprite, to_crop, paint, face)
    return _edged(rng, lit, alpha)


def _of_surroundings(
    rng: np.random.Generator, paint: UInt8[np.ndarray, "s s 4"], face: _Face
) -> UInt8[np.ndarray, "s s 4"]:
    """The same shape, with what lies beside the face as its colours."""
    rows, columns = np.nonzero(face.outline < 0.1)
    if not len(rows):
        return paint
    beside = int(rng.integers(len(rows)))
    x, y, width, height = cv2.boundingRect((paint[..., 3] > 127).astype(np.uint8))
    zoom, angle = rng.uniform(1, 2.5), rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = np.array([x + width / 2, y + height / 2])
    back = np.column_stack([turn, np.array([columns[beside], rows[beside]]) - turn @ middle])
    taken = cv2.warpAffine(
        face.pixels, back, paint.shape[:2], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    # Lit already, as the picture is: exposure must not darken it again.
    taken = np.minimum(taken / face.exposure, 255) * (paint[..., 3:] / np.float32(255))
    return np.dstack([np.asarray(np.rint(taken), np.uint8), paint[..., 3]])


@lru_cache(maxsize=1024)
def _drawn(draw: Callable[[np.random.Generator], Sprite], number: int) -> Sprite:
    name = sum(ord(letter) * 31**place for place, letter in enumerate(draw.__name__))
    return draw(np.random.default_rng([number, name % 2**32]))


def _held(
    rng: np.random.Generator, kind: Kind, face: _Face, mirrored: bool
) -> Float[np.ndarray, "2 3"]:
    """From any side, more often from below; its far end within the face."""
    angle = rng.normal(0, 0.7) if rng.random() < 0.75 else rng.uniform(-np.pi, np.pi)
    scale = face.half[0] * rng.uniform(*kind.scale)
    at = face.centre + face.half * rng.uniform(-0.9, 0.9, 2)
    # The canvas's middle lies off that point by up to half of its reach.
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    at = at + turn @ np.array([0.0, rng.uniform(-0.1, 0.7) * scale])
    return _map(turn * scale, rng, at, mirrored)


def _worn(
    rng: np.random.Generator, kind: Kind, face: _Face, mirrored: bool
) -> Float[np.ndarray, "2 3"]:
    angle = rng.normal(0, 0.05)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    at = face.centre + face.half * rng.normal(0, 0.05, 2)
    return _map(REACH * turn @ np.diag(face.half * rng.uniform(*kind.scale)), rng, at, mirrored)


def _map(
    matrix: np.ndarray, rng: np.random.Generator, at: np.ndarray, mirrored: bool
) -> Float[np.ndarray, "2 3"]:
    """From pixels of the sprite to those of the crop, a little sheared."""
    bent = np.array([[1 + rng.normal(0, 0.06), rng.normal(0, 0.06)], [0, 1 + rng.normal(0, 0.06)]])
    linear = matrix @ bent @ np.diag([-1 if mirrored else 1, 1]) * (2 / EDGE)
    return np.column_stack([linear, at - linear @ np.full(2, (EDGE - 1) / 2)])


def _lit(
    rng: np.random.Generator,
    sprite: Sprite,
    to_crop: Float[np.ndarray, "2 3"],
    paint: UInt8[np.ndarray, "s s 4"],
    face: _Face,
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """Its paint (times alpha) in the face's light, and its alpha."""
    size = len(paint)
    relief = cv2.warpAffine(
        sprite.relief, to_crop, (size, size), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    alpha = paint[..., 3].astype(np.float32) / 255
    normals = relief[..., :2].astype(np.float32) / 127.5 - 1
    turned = to_crop[:, :2] / np.linalg.norm(to_crop[:, :2], axis=0)
    light = face.light + rng.normal(0, 0.2, 3)
    light = (light / np.linalg.norm(light)).astype(np.float32)
    in_sprite = (turned.T @ light[:2]).astype(np.float32)
    facing = np.sqrt(np.maximum(1 - (normals**2).sum(2), 0))
    cosine = normals @ in_sprite + facing * light[2]
    ambient = rng.uniform(0.35, 0.75)
    shade = ambient + (1 - ambient) * np.maximum(cosine, 0) / max(float(light[2]), 0.4)
    tone = face.skin if rng.random() < 0.55 else _tone(rng, face)
    # The skin of a hand, and of what is no skin, the picture's exposure.
    tone = tone * np.exp(rng.normal(0, 0.1) + rng.normal(0, 0.03, 3))
    skin = relief[..., 2:].astype(np.float32) / 255
    tint = face.exposure * (1 - skin) + skin * (tone / 200).astype(np.float32)
    lit = paint[..., :3] * tint * shade[..., None]
    if sprite.gloss:
        shine = np.maximum(cosine, 0) ** 24 * 255 * sprite.gloss * face.exposure
        lit += (shine * alpha)[..., None]
    return np.minimum(lit, 255 * alpha[..., None]), alpha


def _tone(rng: np.random.Generator, face: _Face) -> Float[np.ndarray, "3"]:
    place = rng.uniform(0, len(SKIN_TONES) - 1)
    low = int(place)
    near = SKIN_TONES[min(low + 1, len(SKIN_TONES) - 1)]
    return face.exposure * (SKIN_TONES[low] + (place - low) * (near - SKIN_TONES[low]))


def _edged(
    rng: np.random.Generator, paint: Float[np.ndarray, "s s 3"], alpha: Float[np.ndarray, "s s"]
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """Hard, soft or moving, as a lens shows it."""
    layer = np.dstack([paint, alpha])
    size, how = len(alpha), rng.random()
    if how < 0.2:
        length = max(3, round(rng.uniform(0.02, 0.09) * size))
        kernel = np.zeros((length, length), np.float32)
        middle, angle = (length - 1) / 2, rng.uniform(0, np.pi)
        reach = middle * np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple(np.round(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1)
        layer = cv2.filter2D(layer, -1, kernel / kernel.sum())
    elif how < 0.65:
        sigma = max(_SHARPEST_PX, rng.uniform(0.2, 1.6) * size / 128)
        layer = cv2.GaussianBlur(layer, (0, 0), sigma)
    return layer[..., :3], np.clip(layer[..., 3], 0, 1)


def _shadow(
    rng: np.random.Generator, kind: Kind, alpha: Float[np.ndarray, "s s"], face: _Face
) -> Float[np.ndarray, "s s"]:
    """How much darker the face is beside what touches it."""
    strength = rng.uniform(0, kind.shadow)
    # Away from the light, and lower still: most light comes from above.
    reach = face.half[0] * rng.uniform(0.0, 0.12)
    shift = -reach * face.light[:2] + (0, 0.5 * reach)
    moved = cv2.warpAffine(
        alpha, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), alpha.shape[::-1],
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    sigma = max(0.6, face.half[0] * rng.uniform(0.03, 0.16))
    small = cv2.resize(moved, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), sigma / 2)
    return strength * cv2.resize(soft, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
