"""What is measured of one frame."""

import cv2
import numpy as np
import pytest
from jaxtyping import Float, UInt8

from faceswap_lite.conversion.painted import PaintedFace, Placement
from faceswap_lite.evaluation.frame import expression_boxes, frame_psnr_db
from faceswap_lite.faces.align import align, cut_crop
from faceswap_lite.metrics.landmarks import CANONICAL_FIVE
from faceswap_lite.metrics.pictures import psnr_db


def textured(side: int) -> UInt8[np.ndarray, "s s 3"]:
    noise = np.random.default_rng(0).random((side, side, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.round(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def rebuilt(
    frame: UInt8[np.ndarray, "s s 3"], five: Float[np.ndarray, "5 2"], size: int
) -> PaintedFace:
    """A face that was rebuilt as well as a model of this size can."""
    to_crop = align(five, "five", "full", size)
    crop = cut_crop(frame, to_crop, size)
    hull = np.zeros((size, size), np.float32)
    hull[size // 5 : -size // 5, size // 5 : -size // 5] = 1
    face = crop.astype(np.float32) / 255
    return PaintedFace(Placement(0, 0, five, None), "five", to_crop, crop, face, face, hull, None)


def test_a_larger_model_is_nearer_to_the_frame() -> None:
    frame = textured(300)
    five = CANONICAL_FIVE @ np.array([[60.0, 8.0], [-8.0, 60.0]]) + 130.0
    figures = [frame_psnr_db(rebuilt(frame, five, size), frame) for size in (64, 128, 256)]
    assert figures[0] + 1 < figures[1] < figures[2] - 1
    # 256 px show every pixel of the frame: what is lost is interpolation's.
    assert figures[2] > 40


def test_only_the_hull_counts_and_a_face_at_the_border_can_be_measured() -> None:
    frame = textured(300)
    five = CANONICAL_FIVE * 60.0 + np.array([20.0, 130.0])
    face = rebuilt(frame, five, 128)
    known = frame_psnr_db(face, frame)
    # Interpolation reaches a few pixels beyond the hull.
    near = cv2.dilate(face.hull, np.ones((9, 9), np.uint8)) > 0
    face.rebuilt[~near] = 0
    assert frame_psnr_db(face, frame) == pytest.approx(known, abs=0.01)
    face.rebuilt[near] = 0
    assert frame_psnr_db(face, frame) < 12
    away = rebuilt(frame, five + 2000.0, 64)
    assert np.isnan(frame_psnr_db(away, frame))


def points68(middle: tuple[float, float], unit: float) -> Float[np.ndarray, "68 2"]:
    """Eyes and lips as small rings where they belong; all else in the middle."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1)
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = ring[:6] * 0.2 - [0.5, 0], ring[:6] * 0.2 + [0.5, 0]
    points[48:68] = ring * [0.4, 0.1] + [0, 1.1]
    return points * unit + np.array(middle)


def test_what_changes_at_the_mouth_counts_for_the_mouth_alone() -> None:
    frame = textured(300)
    boxes = expression_boxes(points68((150, 100), 60), frame.shape)
    assert set(boxes) == {"mouth", "eyes"}
    # Eyes 60 px apart, so a room of 9 px around the points.
    rows, columns = np.nonzero(boxes["mouth"])
    assert (columns.min(), columns.max()) == (150 - 24 - 9, 150 + 24 + 9)
    assert rows.min() < 166 - 9 and rows.max() > 166 + 9
    other = frame.copy()
    other[160:170, 140:160] = 255 - other[160:170, 140:160]
    assert psnr_db(other, frame, boxes["eyes"]) == 100
    assert psnr_db(other, frame, boxes["mouth"]) < 30
    # Between the eyes lies nothing of them.
    other = frame.copy()
    other[90:110, 148:152] = 0
    assert psnr_db(other, frame, boxes["eyes"]) == 100


@pytest.mark.parametrize(
    ("middle", "shown"),
    [
        ((10, 8), {"eyes", "mouth"}),
        ((295, 290), {"eyes"}),
        ((-400, 50), set()),
        ((150, 900), set()),
    ],
)
def test_boxes_of_a_face_at_the_border_or_beyond(
    middle: tuple[float, float], shown: set[str]
) -> None:
    frame = textured(300)
    boxes = expression_boxes(points68(middle, 60), frame.shape)
    assert {name for name, box in boxes.items() if box.any()} == shown
    # Of what is not in the picture there is no figure.
    assert {n for n, box in boxes.items() if not np.isnan(psnr_db(frame, frame, box))} == shown
