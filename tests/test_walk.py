"""Frames' numbers as columns, and which faces and pictures are kept of a long clip."""

from fractions import Fraction

import numpy as np
import pytest

from faceswap_lite.conversion.composite import Composite
from faceswap_lite.conversion.painted import PaintedFace, PaintedFrame, Placement
from faceswap_lite.evaluation import keeper
from faceswap_lite.evaluation.keeper import Keeper
from faceswap_lite.evaluation.metric import Moment
from faceswap_lite.evaluation.walk import series_of
from faceswap_lite.media.clips import Frame


def rows(indices: list[int]) -> list[tuple[int, float, dict[str, float]]]:
    """The mean colour rises by 3 in L and 4 in a from row to row: a step of 5."""
    return [
        (
            i,
            i / 25,
            {"lab_l": 3.0 * k, "lab_a": 4.0 * k, "lab_b": 0.0, "warp": 0.1, "psnr_db": 30.0},
        )
        for k, i in enumerate(indices)
    ]


def test_steps_are_those_between_neighbours() -> None:
    found = series_of(rows([0, 1, 2, 5, 6]), [], every=1)
    np.testing.assert_allclose(found.get("lab_step"), [np.nan, 5, 5, np.nan, 5])
    np.testing.assert_allclose(found.get("warp"), [np.nan, 0.1, 0.1, np.nan, 0.1])
    assert "lab_l" not in found.columns
    np.testing.assert_allclose(found.get("psnr_db"), 30)


def test_nothing_moves_across_a_cut() -> None:
    # A cut at frame 2: frames 2 and 3 are of another shot than 0 and 1.
    found = series_of(rows([0, 1, 2, 3]), [2], every=1)
    np.testing.assert_allclose(found.get("lab_step"), [np.nan, 5, np.nan, 5])


@pytest.mark.parametrize(("cut", "apart"), [(4, 1), (5, 2), (8, 2), (9, 3)])
def test_a_cut_between_frames_that_are_looked_at_counts(cut: int, apart: int) -> None:
    # Of every fourth frame, the pair whose later one is the first at or behind the cut.
    steps = series_of(rows([0, 4, 8, 12]), [cut], every=4).get("lab_step")
    assert np.flatnonzero(np.isnan(steps)).tolist() == [0, apart]


def test_a_frame_without_a_number_has_nan_and_an_unknown_column_is_nan() -> None:
    some = rows([0, 1, 2])
    del some[1][2]["psnr_db"]
    found = series_of(some, [], every=1)
    np.testing.assert_allclose(found.get("psnr_db"), [30, np.nan, 30])
    assert np.isnan(found.get("to_source")).all() and len(found.get("to_source")) == 3


def moment(number: int) -> Moment:
    """A grey frame and a face as bright as its number."""
    level = number % 256
    frame = Frame(number, number, Fraction(number, 25), np.full((40, 40, 3), level, np.uint8))
    points = np.array([[10.0, 10.0], [30.0, 30.0]])
    face = PaintedFace(
        placement=Placement(number, 0, points, None),
        pack="five",
        frame_to_crop=np.eye(2, 3),
        crop=np.full((8, 8, 3), level, np.uint8),
        face=np.full((8, 8, 3), level / 255),
        rebuilt=np.full((8, 8, 3), level / 255),
        hull=np.ones((8, 8)),
        learned=None,
    )
    made = Composite(PaintedFrame(frame, [face]), frame.image, [])
    return Moment(made, None, None, None, number, judged=True)


def test_a_short_clip_is_kept_whole() -> None:
    kept = Keeper(8, 10)
    for i in range(10):
        kept.keep(moment(i), 30.0, i)
    faces = kept.faces()
    assert faces is not None
    assert faces.rows.tolist() == list(range(10))
    assert faces.crops[:, 0, 0, 0].tolist() == list(range(10)) == faces.rebuilt[:, 0, 0, 0].tolist()
    assert len(kept.glimpses()) == 10


def test_of_a_long_clip_some_are_kept_and_the_extremes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "MAX_KEPT_FACES", 20)
    monkeypatch.setattr(keeper, "SPREAD_GLIMPSES", 5)
    quality = np.random.default_rng(0).permutation(100) / 10 + 20
    kept = Keeper(8, 100)
    for i in range(100):
        kept.keep(moment(i), float(quality[i]), i)
    faces = kept.faces()
    assert faces is not None and faces.rows.tolist() == list(range(0, 100, 5))
    rows_kept = {glimpse.row for glimpse in kept.glimpses()}
    order = np.argsort(quality).tolist()
    count = keeper.EXTREME_GLIMPSES
    assert rows_kept == {*range(0, 100, 20), *order[:count], *order[-count:]}


def test_nothing_came_by() -> None:
    assert Keeper(8, 0).faces() is None and Keeper(8, 0).glimpses() == []
