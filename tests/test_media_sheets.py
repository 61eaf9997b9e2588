"""Cells and words on sheets."""

import numpy as np
import pytest

from faceswap_lite.media.images import resized
from faceswap_lite.media.sheets import BACKGROUND, CELL_PX, INK, Sheet


@pytest.mark.parametrize("side", [4, CELL_PX, 512])
def test_cells_lie_where_they_were_put_whatever_their_size(side: int) -> None:
    sheet = Sheet(CELL_PX + 20, CELL_PX + 40)
    sheet.put(np.full((side, side, 3), 200, np.uint8), 10, 30)
    pixels = sheet.pixels
    assert pixels.shape == (CELL_PX + 40, CELL_PX + 20, 3)
    is_cell = (pixels == 200).all(2)
    assert is_cell[30 : 30 + CELL_PX, 10 : 10 + CELL_PX].all()
    assert is_cell.sum() == CELL_PX**2
    assert (pixels[~is_cell] == BACKGROUND).all()


def test_words_are_level_with_their_line_and_right_of_its_start() -> None:
    sheet = Sheet(100, 60)
    sheet.write("HHH", 20, 30, 20)
    rows, columns = np.nonzero((sheet.pixels == INK).all(2))
    assert columns.min() >= 20 and abs((rows.min() + rows.max()) / 2 - 30) <= 2


def test_shrinking_averages_and_enlarging_is_smooth() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert set(np.unique(resized(stripes, 8))) <= {127, 128}
    assert len(np.unique(resized(stripes[:8, :8], 64))) > 8
