"""What is measured of one frame."""

import cv2
import numpy as np
import pytest
from jaxtyping import Float, UInt8

from faceswap_lite.conversion.painted import PaintedFace, Placement
from faceswap_lite.evaluation.frame import frame_psnr_db
from faceswap_lite.faces.align import align, cut_crop
from faceswap_lite.metrics.landmarks import CANONICAL_FIVE


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
