"""Sprites: things drawn once, with their heights, to be placed and lit later.

A sprite's canvas reaches from -1 to 1, y down, or as far as it is told. What is held before a face
comes from below: its far end lies in the middle, and its lowest row goes on for ever (an arm has no
end in the picture).
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

EDGE = 160
"""Side of a sprite, px."""

_HALF = EDGE / 2
SUBPIXEL_BITS = 4

Color = np.ndarray | tuple[float | int, ...]
Point = tuple[float | int, float | int, float | int]
"""x, y and height."""


class Sprite(NamedTuple):
    """A thing: its own colours, how much it hides, which way it faces."""

    paint: UInt8[np.ndarray, "e e 4"]
    """Red, green, blue, times alpha; alpha."""
    relief: UInt8[np.ndarray, "e e 3"]
    """The normal's x and y (0 to 255: -1 to 1), and how far the colour is a share of skin's."""
    gloss: float | int = 0


class Canvas:
    """Where a sprite is drawn: colours, alpha, heights and skin, in pixels of EDGE."""

    def __init__(self, reach: float | int = 1) -> None:
        self.reach = reach
        self.color = np.zeros((EDGE, EDGE, 3), np.float32)
        self.alpha = np.zeros((EDGE, EDGE), np.float32)
        self.height = np.full((EDGE, EDGE), -1e3, np.float32)
        self.skin = np.zeros((EDGE, EDGE), np.float32)

    def tube(
        self,
        start: Point,
        end: Point,
        radii: tuple[float | int, float | int],
        color: Color,
        skin: float | int = 0,
    ) -> None:
        """A round rod between two points, where it lies above what is there."""
        unit = _HALF / self.reach
        a, b = (unit * np.array(point, np.float32) for point in (start, end))
        a[:2] += _HALF
        b[:2] += _HALF
        r0, r1 = unit * radii[0], unit * radii[1]
        reach = max(r0, r1) + 2
        low = np.maximum(np.floor(np.minimum(a, b)[:2] - reach), 0).astype(int)
        high = np.minimum(np.ceil(np.maximum(a, b)[:2] + reach), EDGE).astype(int)
        if (high <= low).any():
            return
        y, x = np.ogrid[low[1] : high[1], low[0] : high[0]]
        step = b - a
        length = max(float(step[:2] @ step[:2]), 1e-6)
        x, y = x + np.float32(0.5) - a[0], y + np.float32(0.5) - a[1]
        along = np.clip((x * step[0] + y * step[1]) / length, 0, 1)
        radius = r0 + (r1 - r0) * along
        distance = np.hypot(x - along * step[0], y - along * step[1])
        height = np.sqrt(np.maximum(radius**2 - distance**2, 0)) + a[2] + step[2] * along
        self._put(low, high, np.clip(radius - distance + 0.5, 0, 1), height, color, skin)

    def plate(
        self,
        corners: np.ndarray,
        height: np.ndarray | float | int,
        color: Color,
        skin: float | int = 0,
        opacity: float | int = 1,
    ) -> None:
        """A polygon at a height (one, or one a pixel), where it lies above what is there."""
        cover = outline_of(corners, self.reach) * np.float32(opacity)
        heights = _HALF / self.reach * height + 0 * cover
        self._put((0, 0), (EDGE, EDGE), cover, heights, color, skin)

    def stain(self, cover: Float[np.ndarray, "e e"], color: Color) -> None:
        """Colour on what is there: no height, no alpha."""
        self.color += cover[..., None] * (np.asarray(color, np.float32) - self.color)

    def _put(
        self,
        low: np.ndarray | tuple[int, int],
        high: np.ndarray | tuple[int, int],
        cover: np.ndarray,
        height: np.ndarray,
        color: Color,
        skin: float | int,
    ) -> None:
        here = slice(low[1], high[1]), slice(low[0], high[0])
        above = cover * ((height > self.height[here]) | (self.alpha[here] < 0.5))
        self.height[here] = np.where((cover > 0.5) & (above > 0), height, self.height[here])
        share = above[..., None]
        given = np.asarray(color, np.float32)
        given = given[here] if given.ndim == 3 else given
        # Where nothing was, the colour is all the new one's: alpha alone makes the edge.
        mixed = np.where(self.alpha[here][..., None] < 0.02, 1, share)
        self.color[here] += np.where(share > 0, mixed, 0) * (given - self.color[here])
        self.skin[here] += np.where(above > 0, mixed[..., 0], 0) * (skin - self.skin[here])
        self.alpha[here] = np.maximum(self.alpha[here], cover)

    def sprite(
        self, smooth: float = 0.02, gloss: float | int = 0, depth: float | int = 1
    ) -> Sprite:
        """What was drawn. `smooth`: how far heights run into each other; `depth`: how much."""
        height = np.where(self.alpha > 0.5, self.height, np.float32(0))
        height = _inside_mean(height, self.alpha > 0.5, smooth * _HALF)
        normal_x = -cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=depth / 8)
        normal_y = -cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=depth / 8)
        length = np.sqrt(normal_x**2 + normal_y**2 + 1)
        # What lies lower than what is around it is darker: gaps between fingers, folds.
        around = _inside_mean(height, self.alpha > 0.5, 0.08 * _HALF)
        color = self.color * (1 - np.clip((around - height) * 0.06, 0, 0.45))[..., None]
        paint = np.dstack([color * self.alpha[..., None], 255 * self.alpha])
        relief = np.dstack(
            [127.5 + 127.5 * normal_x / length, 127.5 + 127.5 * normal_y / length, 255 * self.skin]
        )
        return Sprite(_bytes(paint), _bytes(relief), gloss)


def flat_sprite(color: np.ndarray, alpha: np.ndarray, gloss: float | int = 0) -> Sprite:
    """A sprite without heights."""
    paint = np.dstack([np.clip(color, 0, 255) * alpha[..., None], 255 * alpha])
    relief = np.broadcast_to(np.array([127.5, 127.5, 0]), (EDGE, EDGE, 3))
    return Sprite(_bytes(paint), _bytes(relief), gloss)


def outline_of(corners: np.ndarray, reach: float | int = 1) -> Float[np.ndarray, "e e"]:
    """A polygon's cover of each pixel of the canvas."""
    canvas = np.zeros((EDGE, EDGE), np.uint8)
    points = np.round(pixels_of(corners, reach) * (1 << SUBPIXEL_BITS))
    cv2.fillPoly(canvas, [points.astype(np.int32)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas.astype(np.float32) / 255


def pixels_of(points: np.ndarray, reach: float | int = 1) -> Float[np.ndarray, "n 2"]:
    """Points of the canvas in its pixels."""
    return _HALF * (np.asarray(points) / reach + 1) - 0.5


def places(reach: float | int = 1) -> tuple[Float[np.ndarray, "1 e"], Float[np.ndarray, "e 1"]]:
    """x and y of the canvas's pixels."""
    line = reach * ((np.arange(EDGE, dtype=np.float32) + 0.5) / _HALF - 1)
    return line[None], line[:, None]


def noise(rng: np.random.Generator, cells: int, octaves: int = 3) -> Float[np.ndarray, "e e"]:
    """Smooth noise of mean 0 and spread about 1; `cells` is the number of its coarsest spots."""
    total = np.zeros((EDGE, EDGE), np.float32)
    for octave in range(octaves):
        side = min(cells * 2**octave, EDGE)
        spots = rng.standard_normal((side + 1, side + 1), np.float32)
        total += cv2.resize(spots, (EDGE, EDGE), interpolation=cv2.INTER_CUBIC) / 2**octave
    return total


def _inside_mean(
    values: Float[np.ndarray, "e e"], inside: np.ndarray, sigma_px: float
) -> Float[np.ndarray, "e e"]:
    """Values blurred, by what lies inside alone."""
    weight = inside.astype(np.float32)
    total = cv2.GaussianBlur(values * weight, (0, 0), sigma_px)
    return total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma_px), 1e-3)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(np.clip(values, 0, 255)), np.uint8)
