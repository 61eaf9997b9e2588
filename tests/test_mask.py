from fractions import Fraction
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lite.config import MaskName
from faceswap_lite.conversion.mask import (
    MASKS,
    blend_alpha,
    carry_outwards,
    move_edges,
    soft_alpha,
    steady_mask,
    without_wall,
)
from faceswap_lite.conversion.painted import PaintedFace, Placement
from faceswap_lite.media.clips import Frame


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (np.hypot(x, y) < radius * size).astype(np.float32)


def hull(size: int) -> np.ndarray:
    """A face's lopsided outline."""
    shape = np.array([[0.3, 0.2], [0.68, 0.24], [0.75, 0.5], [0.6, 0.78], [0.45, 0.8], [0.24, 0.5]])
    canvas = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(canvas, np.round(size * shape).astype(np.int32), 255, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def sides(mask: np.ndarray) -> dict[str, float]:
    """Where the mask's half lies, in crop sides, to a fraction of a pixel; outwards is more."""
    rows, columns = mask.max(1), mask.max(0)

    def first(line: np.ndarray) -> float:
        place = int(np.argmax(line > 0.5))
        return place - (line[place] - 0.5) / max(line[place] - line[place - 1], 1e-6)

    found = {
        "top": -first(rows),
        "bottom": len(rows) - 1 - first(rows[::-1]),
        "left": -first(columns),
        "right": len(columns) - 1 - first(columns[::-1]),
    }
    return {name: value / len(rows) for name, value in found.items()}


# Names


def made(name: str, hull: np.ndarray, learned: np.ndarray | None) -> np.ndarray:
    """The mask of this name of a grey face in the middle of a frame."""
    size = len(hull)
    frame = Frame(0, 0, Fraction(0), np.full((size, size, 3), 128, np.uint8))
    face = PaintedFace(
        placement=Placement(0, 0, np.full((5, 2), size / 2), None),
        pack="five",
        frame_to_crop=np.eye(2, 3),
        crop=frame.image,
        face=frame.image / 255,
        rebuilt=frame.image / 255,
        hull=hull,
        learned=learned,
    )
    return MASKS[name]()(face, frame, None)


def test_masks_combine_as_their_names_say() -> None:
    hull = disc(64, 0.4)
    learned = np.full((64, 64), 0.5, np.float32)
    learned[:32] = 0
    np.testing.assert_array_equal(made("hull", hull, learned), hull)
    np.testing.assert_array_equal(made("learned", hull, learned), learned)
    np.testing.assert_array_equal(made("product", hull, learned), hull * learned)
    assert set(MASKS) == set(get_args(MaskName))


@pytest.mark.parametrize("name", ["hull", "learned", "product"])
def test_the_hull_stands_in_where_a_model_has_no_mask(name: str) -> None:
    outline = disc(64, 0.4)
    np.testing.assert_array_equal(made(name, outline, None), outline)


# The edge


@pytest.mark.parametrize("erode", [-0.1, 0.0, 0.1])
@pytest.mark.parametrize("feather", [0.0, 0.06, 0.3])
@pytest.mark.parametrize("size", [64, 100, 256])
def test_no_square_shows_even_of_a_full_mask(erode: float, feather: float, size: int) -> None:
    alpha = soft_alpha(np.ones((size, size), np.float32), erode, feather)
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert (border == 0).all()
    assert alpha.dtype == np.float32
    assert alpha.max() == pytest.approx(1, abs=1e-5)
    if feather:
        # No step is steeper than the edge is wide.
        assert np.abs(np.diff(alpha, axis=1)).max() <= 2.5 / (feather * size)


@pytest.mark.parametrize("size", [64, 256])
def test_the_soft_edge_lies_inside_and_has_the_asked_width(size: int) -> None:
    mask = disc(size, 0.35)
    alpha = soft_alpha(mask, 0.0, 0.1)
    assert (alpha[mask == 0] == 0).all()
    row = alpha[size // 2, : size // 2]
    width = ((row > 0.01) & (row < 0.99)).sum()
    assert 0.06 * size <= width <= 0.1 * size + 1
    assert (np.diff(row) >= -1e-6).all()


def test_erode_and_dilate_move_the_edge_by_fractions_of_the_side() -> None:
    for size in (100, 200):
        mask = disc(size, 0.3)
        widths = [
            int((soft_alpha(mask, erode, 0.0)[size // 2] > 0.5).sum())
            for erode in (0.05, 0.0, -0.05)
        ]
        assert widths == [0.5 * size, 0.6 * size, 0.7 * size]


def test_without_feather_the_masks_own_softness_stays() -> None:
    mask = cv2.GaussianBlur(disc(100, 0.3), (0, 0), 3)
    mask[mask < 1e-4] = 0
    np.testing.assert_allclose(soft_alpha(mask, 0.0, 0.0), mask)


def test_a_mask_smaller_than_its_edge_vanishes_quietly() -> None:
    assert (soft_alpha(disc(100, 0.05), 0.0, 0.3) == 0).all()
    assert (soft_alpha(np.zeros((64, 64), np.float32), -0.1, 0.06) == 0).all()


# The sides


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
@pytest.mark.parametrize("move", [-0.15, -0.05, 0.05, 0.1, 0.15])
@pytest.mark.parametrize("shape", [disc, hull])
def test_an_offset_moves_just_that_side(shape, move: float, side: str, size: int) -> None:
    mask = disc(size, 0.3) if shape is disc else hull(size)
    before = sides(mask)
    moved = sides(blend_alpha(mask, erode=0.0, feather=0.0, **{side: move}))
    for name in before:
        wanted = move if name == side else 0.0
        # A pixel: masks are drawn and read on whole ones.
        assert moved[name] - before[name] == pytest.approx(wanted, abs=1.0 / size)


@settings(max_examples=40, deadline=None)
@given(
    moves=st.lists(st.floats(-0.5, 0.5), min_size=4, max_size=4),
    erode=st.floats(-0.1, 0.1),
    feather=st.floats(0, 0.3),
)
def test_any_offsets_leave_one_piece_without_holes(
    moves: list[float], erode: float, feather: float
) -> None:
    names = ("top", "bottom", "left", "right")
    offsets = dict(zip(names, moves, strict=True))
    for mask in (disc(96, 0.3), hull(96)):
        alpha = blend_alpha(mask, erode=erode, feather=feather, **offsets)
        assert np.isfinite(alpha).all()
        assert alpha.min() >= 0
        assert alpha.max() <= 1 + 1e-6
        border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert (border == 0).all()
        shown = (alpha > 0.5).astype(np.uint8)
        outlines, tree = cv2.findContours(shown, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        assert len(outlines) <= 1
        assert tree is None or (tree[0, :, 3] == -1).all()


def test_the_outline_has_no_corner_where_the_shift_begins() -> None:
    """A wide disc's moved outline turns as evenly as an ellipse."""
    moved = move_edges(disc(256, 0.3), 0.1, 0.0, 0.0, 0.1)
    outlines, _ = cv2.findContours(
        (moved > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    steps = np.roll(outlines[0][:, 0], -20, 0) - outlines[0][:, 0]
    turns = np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    # 20 px of a circle of radius 77 turn by 0.26 rad, in steps of a pixel's 0.05 and less.
    assert np.abs(turns).max() < 0.15


def test_no_offset_keeps_the_mask() -> None:
    mask = hull(96)
    np.testing.assert_array_equal(move_edges(mask, 0, 0, 0, 0), mask)
    empty = np.zeros((64, 64), np.float32)
    np.testing.assert_array_equal(move_edges(empty, 0.1, 0.1, 0.1, 0.1), empty)


def test_an_offset_keeps_what_lies_across() -> None:
    mask = hull(128)
    moved = move_edges(mask, 0.1, 0, 0, 0)
    # The box is 0.2 to 0.8 high.
    np.testing.assert_allclose(moved[65:], mask[65:], atol=1e-6)


# Steadiness


def test_steady_mask_is_the_weighted_average_of_those_there() -> None:
    first, second = disc(32, 0.3), disc(32, 0.4)
    out = steady_mask([first, None, second], [1.0, 5.0, 3.0])
    np.testing.assert_allclose(out, 0.25 * first + 0.75 * second, atol=1e-6)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(steady_mask([first], np.array([0.2])), first)
    with pytest.raises(ValueError, match="no mask"):
        steady_mask([None, None], [1.0, 1.0])
    with pytest.raises(ValueError, match="no mask"):
        steady_mask([first, None], [0.0, 1.0])


def test_steady_mask_takes_a_flicker_away() -> None:
    rng = np.random.default_rng(0)
    masks = [disc(64, 0.3 + 0.02 * float(rng.standard_normal())) for _ in range(12)]
    weights = np.array([0.25, 0.5, 1.0, 0.5, 0.25])
    steady = [steady_mask(masks[i - 2 : i + 3], weights) for i in range(2, 10)]

    def flicker(series: list[np.ndarray]) -> float:
        return float(np.abs(np.diff(np.stack(series), axis=0)).mean())

    assert flicker(steady) < 0.6 * flicker(masks[2:10])


def test_colours_are_carried_beyond_the_face_and_its_background_is_not() -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    own = (np.hypot(x, y) < 20).astype(np.float32)
    skin, wall = np.array([[0.8, 0.6, 0.5], [0.1, 0.2, 0.9]], np.float32)
    face = np.where(own[..., None] > 0, skin, wall).astype(np.float32)
    carried = carry_outwards(face, own)
    assert np.abs(carried[np.hypot(x, y) < 24] - skin).max() < 1e-5
    np.testing.assert_array_equal(carried[own > 0], face[own > 0])
    # Where nothing is near, and with no mask at all, the picture stays.
    np.testing.assert_allclose(carried[0, 0], wall, atol=1e-6)
    np.testing.assert_array_equal(carry_outwards(face, np.zeros_like(own)), face)


@pytest.mark.parametrize("side", [64, 192])
def test_a_wall_inside_the_masks_edge_is_no_face(side: int) -> None:
    """The mask reaches past the cheek; eyes as blue, hair and grey shadows stay."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    own = np.clip((0.36 - np.hypot(x, y)) * side, 0, 1)
    wall, skin = np.array([0.1, 0.6, 0.75]), np.array([0.75, 0.55, 0.45])
    face = np.where((x > 0.3)[..., None], wall, skin)
    eye, hair = np.hypot(x - 0.1, y + 0.05) < 0.04, y < -0.25
    face[eye], face[hair & (x < 0.3)] = wall, (0.12, 0.1, 0.1)
    kept = without_wall(face, own)
    inside = own > 0.99
    assert kept[inside & (x > 0.3)].max() < 0.05
    assert kept[inside & ((x < 0.25) | eye)].min() > 0.99
    carried = carry_outwards(face, kept)
    cheek = (x > 0.3) & (np.abs(y) < 0.1) & (own > 0)
    assert np.abs(carried[cheek] - skin).max() < 0.1
    np.testing.assert_array_equal(without_wall(face, np.zeros_like(own)), np.zeros_like(own))
    # Under blue light skin is as blue as the wall.
    np.testing.assert_allclose(without_wall(0 * face + wall, own), own, atol=1e-6)
