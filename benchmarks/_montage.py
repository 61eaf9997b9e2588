"""Outputs beside their nearest training faces, as one picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from faceswap_lite.evaluation.memorisation import MontageRow
from faceswap_lite.latent.sheets import BACKGROUND, CELL_PX, INK, QUIET, cell

COLUMNS = ("output", "by pixels", "by embedding", "by code", "true face")


_BAR_PX, _WORDS_PX, _GAP_PX = 28, 24, 8


def montage_sheet(rows: Sequence[MontageRow]) -> UInt8[np.ndarray, "h w 3"]:
    """The rows in one picture, under their columns' titles and over their words."""
    step_y = CELL_PX + _WORDS_PX + _GAP_PX
    width = _GAP_PX + len(COLUMNS) * (CELL_PX + _GAP_PX)
    sheet = Image.new("RGB", (width, _BAR_PX + len(rows) * step_y), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(size=15), ImageFont.load_default(size=13)
    lefts = [_GAP_PX + i * (CELL_PX + _GAP_PX) for i in range(len(COLUMNS))]
    for left, name in zip(lefts, COLUMNS, strict=True):
        draw.text((left, _BAR_PX / 2), name, INK, title, anchor="lm")
    for number, row in enumerate(rows):
        top = _BAR_PX + number * step_y
        for left, name in zip(lefts, COLUMNS, strict=True):
            if name in row.pictures:
                sheet.paste(Image.fromarray(cell(row.pictures[name])), (left, top))
        draw.text((_GAP_PX, top + CELL_PX + _WORDS_PX / 2), row.words, QUIET, small, anchor="lm")
    return np.asarray(sheet)
