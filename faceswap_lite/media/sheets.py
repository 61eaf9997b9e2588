"""Sheets: small pictures in cells, and words beside them."""

from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from .images import resized

CELL_PX = 128
BACKGROUND, INK, QUIET = (28, 28, 30), (245, 245, 245), (185, 185, 190)

Color = tuple[int, int, int]

# Each is read from within Pillow, which takes longer than to draw with it.
font_of_px = lru_cache(ImageFont.load_default)


class Sheet:
    """A dark picture of that size in pixels, to put cells and words on."""

    def __init__(self, width: int, height: int) -> None:
        self._sheet = Image.new("RGB", (width, height), BACKGROUND)
        self._draw = ImageDraw.Draw(self._sheet)

    def put(self, picture: UInt8[np.ndarray, "s s 3"], left: int, top: int) -> None:
        """A picture in a cell whose corner is there."""
        self._sheet.paste(Image.fromarray(resized(picture, CELL_PX)), (left, top))

    def write(
        self, words: str, left: int, middle: float | int, size: int, color: Color = INK
    ) -> None:
        """One line of words, `size` px high, to the right of `left` and level with `middle`."""
        self._draw.text((left, middle), words, color, font_of_px(size=size), anchor="lm")

    @property
    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """What is on it."""
        return np.array(self._sheet)
