"""Sheets of decoded faces: rows with a name, cells with a line below each."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from ..metrics.pictures import as_bytes

CELL_PX = 128
GAP_PX = 8
NAME_PX = 26
LINE_PX = 22
TITLE_PX = 44
BACKGROUND, INK, QUIET = (28, 28, 30), (245, 245, 245), (185, 185, 190)


@dataclass(frozen=True)
class Row:
    """Faces side by side: floats in [0, 1] or bytes. `lines`: a few words below each."""

    name: str
    faces: Float[np.ndarray, "n s s 3"] | UInt8[np.ndarray, "n s s 3"]
    lines: Sequence[str]


def face_sheet(title: str, rows: Sequence[Row]) -> UInt8[np.ndarray, "h w 3"]:
    """The rows below each other, as wide as the longest of them."""
    title_font, name_font, line_font = (ImageFont.load_default(size=px) for px in (20, 15, 13))
    texts = [(title, title_font), *((row.name, name_font) for row in rows)]
    wide = max(len(row.faces) for row in rows) * (CELL_PX + GAP_PX)
    # No words are cut: a sheet of few faces grows with them.
    width = GAP_PX + max(wide, *(int(font.getlength(text)) + GAP_PX for text, font in texts))
    step = NAME_PX + CELL_PX + LINE_PX + GAP_PX
    sheet = Image.new("RGB", (width, TITLE_PX + len(rows) * step), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP_PX, TITLE_PX / 2), title, INK, title_font, anchor="lm")
    for place, row in enumerate(rows):
        top = TITLE_PX + place * step
        draw.text((GAP_PX, top + NAME_PX / 2), row.name, INK, name_font, anchor="lm")
        for column, (face, line) in enumerate(zip(row.faces, row.lines, strict=True)):
            left = GAP_PX + column * (CELL_PX + GAP_PX)
            sheet.paste(Image.fromarray(cell(face)), (left, top + NAME_PX))
            below = top + NAME_PX + CELL_PX + LINE_PX / 2
            draw.text((left, below), line, QUIET, line_font, anchor="lm")
    return np.array(sheet)


def cell(
    face: Float[np.ndarray, "s s 3"] | UInt8[np.ndarray, "s s 3"],
) -> UInt8[np.ndarray, "c c 3"]:
    """A face at the size of a sheet's cell; floats are in [0, 1]."""
    how = cv2.INTER_AREA if len(face) > CELL_PX else cv2.INTER_CUBIC
    shown = cv2.resize(as_bytes(face), (CELL_PX, CELL_PX), interpolation=how)
    return shown.astype(np.uint8)
