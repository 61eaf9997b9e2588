"""Contact sheets show each reason's faces, and keep off what is not theirs."""

from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from faceswap_lite.curation.contact_sheets import (
    CAPTION_PX,
    GAP_PX,
    REASON_WORDS,
    SHEET_COLUMNS,
    TITLE_PX,
    group_faces,
    short_number,
    write_sheets,
)
from faceswap_lite.curation.decisions import Decision
from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.images import read_image
from faceswap_lite.media.sheets import CELL_PX


def decision(file: str, reason: str = "", kept: bool = False, **more: Any) -> Decision:
    facts = {"key": file, "words": f"{reason}: 0.91, limit 0.45", "weight": 1.0, **more}
    return Decision(file=file, reason=reason, kept=kept, **facts)


def flat_faces(count: int, size: int = 32) -> np.ndarray:
    """Faces of one grey each, darker from face to face."""
    greys = np.linspace(255, 60, count).astype(np.uint8)
    return np.broadcast_to(greys[:, None, None, None], (count, size, size, 3)).copy()


def cell(sheet: np.ndarray, place: int) -> np.ndarray:
    """The face at a place, without its caption."""
    row, column = divmod(place, SHEET_COLUMNS)
    top = TITLE_PX + row * (CELL_PX + CAPTION_PX + GAP_PX)
    left = GAP_PX + column * (CELL_PX + GAP_PX)
    return sheet[top : top + CELL_PX, left : left + CELL_PX]


MIXED = [
    decision("a.png", "blurred"),
    decision("b.png", kept=True),
    decision("c.png", "other_person"),
    decision("d.png", "rare", kept=True),
    decision("e.png", "blurred"),
    decision("f.png", "fills_gap", kept=True),
]


def test_every_reason_has_words() -> None:
    assert tuple(REASON_WORDS) == get_args(Decision.model_fields["reason"].annotation)


def test_groups_put_the_rejected_first_and_keep_the_order_given() -> None:
    assert [(group.name, group.places) for group in group_faces(MIXED)] == [
        ("rejected_other_person", [2]),
        ("rejected_blurred", [0, 4]),
        ("kept_rare", [3]),
        ("kept_fills_gap", [5]),
        ("kept", [1]),
    ]


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("not the same person: 0.91 from the others, limit 0.45", "0.91"),
        ("nearly the same as clip_000123_0.png: 0.02 apart", "0.02"),
        ("like grid-3_000123.png and 7.jpg", ""),
        ("turned -48.5° to the left", "-48.5°"),
        ("only 31 px wide.", "31 px"),
        ("12% clipped", "12%"),
        ("rejected by hand", ""),
    ],
)
def test_the_number_is_not_a_part_of_a_file_name(words: str, number: str) -> None:
    assert short_number(decision("a.png", "blurred", words=words)) == number


def test_one_sheet_for_each_reason_with_its_faces_in_order(tmp_path: Path) -> None:
    faces = flat_faces(len(MIXED))
    sheets = write_sheets(tmp_path / "new", MIXED, faces)
    assert [sheet.name for sheet in sheets] == [
        "sheet_rejected_other_person.png",
        "sheet_rejected_blurred.png",
        "sheet_kept_rare.png",
        "sheet_kept_fills_gap.png",
    ]
    assert sorted(sheets) == sorted((tmp_path / "new").iterdir())
    blurred = read_image(sheets[1])
    for place, face in enumerate((0, 4)):
        assert (cell(blurred, place) == faces[face, 0, 0]).all()
    # The third place is empty.
    assert (cell(blurred, 2) == blurred[-1, -1]).all()


def test_the_caption_shows_the_name_and_the_number(tmp_path: Path) -> None:
    pictures = []
    for name, words in (("a.png", "1.25"), ("b.png", "1.25"), ("a.png", "1.26")):
        one = [decision(name, "blurred", words=words)]
        pictures.append(read_image(write_sheets(tmp_path, one, flat_faces(1))[0]))
    rows_of_change = [
        np.flatnonzero((pictures[0] != picture).any((1, 2))) - TITLE_PX - CELL_PX
        for picture in pictures[1:]
    ]
    name_rows, number_rows = rows_of_change
    assert 0 < name_rows.min() < name_rows.max() < number_rows.min() < CAPTION_PX


def test_a_long_reason_is_cut_and_says_so(tmp_path: Path) -> None:
    pictures = []
    for count in (120, 121, 122):
        many = [decision(f"{i}.png", "surplus") for i in range(count)]
        faces = flat_faces(count)
        faces[:] = 200
        pictures.append(read_image(write_sheets(tmp_path, many, faces)[0]))
    assert len({picture.shape for picture in pictures}) == 1
    for one, other in pairwise(pictures):
        # Only the title differs.
        assert np.flatnonzero((one != other).any((1, 2))).max() < TITLE_PX


def test_the_same_faces_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (
        [path.read_bytes() for path in write_sheets(tmp_path / name, MIXED, flat_faces(6))]
        for name in ("first", "second")
    )
    assert first == second


def test_old_sheets_go_and_other_files_stay(tmp_path: Path) -> None:
    write_sheets(tmp_path, MIXED, flat_faces(len(MIXED)))
    ours = tmp_path / "sheet_rejected_blurred.png"
    # A person's files: another name, a picture under one of our names, a copy of our sheet.
    names = ("sheet_holiday.png", "sheet_rejected_exposure.png", "notes.txt")
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / name, "png")
    (tmp_path / "sheet_copy.png").write_bytes(ours.read_bytes())
    left = write_sheets(tmp_path, MIXED[2:3], flat_faces(1))
    assert [path.name for path in left] == ["sheet_rejected_other_person.png"]
    kept = {"sheet_rejected_other_person.png", "sheet_copy.png", *names}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert write_sheets(tmp_path, [], flat_faces(0)) == []
    assert {path.name for path in tmp_path.iterdir()} == kept - {left[0].name}


def test_a_file_in_the_way_is_not_written_over(tmp_path: Path) -> None:
    foreign = tmp_path / "sheet_rejected_blurred.png"
    foreign.write_text("mine")
    with pytest.raises(FaceswapError, match="not made by this command"):
        write_sheets(tmp_path, MIXED, flat_faces(len(MIXED)))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_any_name_can_be_drawn(tmp_path: Path) -> None:
    names = ["", "a\nb.png", "\udcff.png", "顔.png", "x" * 300, "\x00.png"]
    sheets = write_sheets(tmp_path, [decision(n, "blurred") for n in names], flat_faces(len(names)))
    assert len(sheets) == 1


def test_each_decision_needs_its_thumbnail(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="6 decisions"):
        write_sheets(tmp_path, MIXED, flat_faces(5))
