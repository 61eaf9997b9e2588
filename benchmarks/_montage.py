"""Outputs beside their nearest training faces, as one picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from faceswap_lite.evaluation.memorisation import MontageRow
from faceswap_lite.media.sheets import CELL_PX, QUIET, Sheet

COLUMNS = ("output", "by pixels", "by embedding", "by code", "true face")
_BAR_PX, _WORDS_PX, _GAP_PX = 28, 24, 8


def montage_sheet(rows: Sequence[MontageRow]) -> UInt8[np.ndarray, "h w 3"]:
    """The rows in one picture, under their columns' titles and over their words."""
    step_y = CELL_PX + _WORDS_PX + _GAP_PX
    width = _GAP_PX + len(COLUMNS) * (CELL_PX + _GAP_PX)
    sheet = Sheet(width, _BAR_PX + len(rows) * step_y)
    lefts = [_GAP_PX + i * (CELL_PX + _GAP_PX) for i in range(len(COLUMNS))]
    for left, name in zip(lefts, COLUMNS, strict=True):
        sheet.write(name, left, _BAR_PX / 2, 15)
    for number, row in enumerate(rows):
        top = _BAR_PX + number * step_y
        for left, name in zip(lefts, COLUMNS, strict=True):
            if name in row.pictures:
                sheet.put(row.pictures[name], left, top)
        sheet.write(row.words, _GAP_PX, top + CELL_PX + _WORDS_PX / 2, 13, QUIET)
    return sheet.pixels
