"""A visible line on a frame: what viewers see, where marks are for machines."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image, ImageDraw, ImageFont

from ..errors import FaceswapError

TEXT_SHARE = 1 / 28
"""Height of the text, in shorter sides of the frame."""
TEXT_PX = 10
"""Least height of the text, px, as long as it fits."""
MIN_PX = 6
"""Long texts shrink down to this; below it nobody reads them."""
BOX_OPACITY = 0.6
"""Of the black box. White on it has a contrast of 5.7 : 1 at worst, on a white picture."""


def draw_label(frame: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"], text: str) -> None:
    """Burn one line into the lower left of an RGB frame, in place: white on a half-clear box.

    Nothing outside the box changes; an empty text changes nothing. The text is 1/28 of the shorter
    side high, at least 10 px, and shrinks to fit the width.
    Raises: FaceswapError when it fits in no legible size, or the font lacks one of its characters.
    """
    words = " ".join(text.split())
    if not words:
        return
    height, width = frame.shape[:2]
    top, left, keep, ink = _label_of(words, height, width, np.iinfo(frame.dtype).max)
    part = frame[top : top + len(keep), left : left + keep.shape[1]]
    # In 256ths, in whole numbers twice as wide as the frame's: five times as quick as floats.
    mixed = part * keep
    mixed += ink
    mixed >>= 8
    part[:] = mixed


@lru_cache(maxsize=16)
def _label_of(
    words: str, height: int, width: int, peak: int
) -> tuple[int, int, np.ndarray, np.ndarray]:
    """Top and left of the box, the share of the frame that it keeps, and the ink that it adds.

    Share and ink are (a, b, 3), in 256ths, of the unsigned type twice as wide as the frame's.
    """
    margin = max(2, round(min(height, width) * TEXT_SHARE / 2))
    size = max(TEXT_PX, round(min(height, width) * TEXT_SHARE))
    while True:
        white = _text_in_box(words, size)
        if white.shape[0] + 2 * margin <= height and white.shape[1] + 2 * margin <= width:
            break
        if size == MIN_PX:
            raise FaceswapError(
                f"the label {words!r} does not fit into {width}x{height} px; take a shorter one"
            )
        size -= 1
    kind = np.uint16 if peak == 255 else np.uint32
    white = np.repeat(white.astype(np.float64), 3, axis=2)
    keep = ((1 - white) * (1 - BOX_OPACITY) * 256).astype(kind)
    ink = (white * (peak * 256) + 128).astype(kind)
    return height - margin - len(white), margin, keep, ink


def _text_in_box(words: str, size: int) -> Float[np.ndarray, "a b 1"]:
    """How white each pixel of the box is, 0 to 1."""
    font = _font_for(words, size)
    ascent, descent = font.getmetrics()
    pad = max(2, size // 3)
    box = Image.new("L", (math.ceil(font.getlength(words)) + 2 * pad, ascent + descent + pad))
    ImageDraw.Draw(box).text((pad, pad // 2), words, fill=255, font=font)
    return np.asarray(box, np.float32)[..., None] / 255


def _font_for(words: str, size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, or matplotlib's for letters that the former lacks."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise FaceswapError("labels need a Pillow with FreeType: pip install --upgrade pillow")
    if not _lacking(font, words):
        return font
    # Pillow's is ASCII and little more. DejaVu has the accents, Greek, Cyrillic; imported late,
    # because few need it.
    import matplotlib

    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
    if lacking := _lacking(font, words):
        raise FaceswapError(f"the label {words!r}: no font here has {lacking!r}; use Latin letters")
    return font


def _lacking(font: ImageFont.FreeTypeFont, words: str) -> str:
    """The first character that the font draws as it draws what no font has."""
    nothing = _drawn(font, "\uffff")
    return next((c for c in words if not c.isspace() and _drawn(font, c) == nothing), "")


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)
