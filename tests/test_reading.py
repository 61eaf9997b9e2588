"""What is read of faces: of points, of pictures, and where the points are looked for."""

import numpy as np
import pytest
from jaxtyping import UInt8
from skimage.color import rgb2lab

from faceswap_lite.actors.cast import ACTORS
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.actors.render import render_actor
from faceswap_lite.faces.align import CROP_COVERAGES, canonical_to_crop
from faceswap_lite.faces.detect import Detection
from faceswap_lite.faces.landmarkers import Landmarks, find_in_crop
from faceswap_lite.geometry import transform_points
from faceswap_lite.metrics.landmarks import (
    CANONICAL_FIVE,
    estimate_pose,
    eye_distance,
    eye_opening,
    mouth_opening,
    read_points,
)
from faceswap_lite.metrics.pictures import brightness_and_hue, mean_grey


def test_points_tell_all_that_their_pack_shows() -> None:
    actor = render_actor(ACTORS["ada"], ActorState(yaw_deg=20.0, mouth=0.5), 128)
    points = actor.landmarks.astype(np.float64)
    pose = estimate_pose(points, "ibug68")
    assert read_points(points, "ibug68") == {
        "yaw_deg": pose.yaw_deg,
        "pitch_deg": pose.pitch_deg,
        "roll_deg": pose.roll_deg,
        "mouth": mouth_opening(points, "ibug68"),
        "eyes": eye_opening(points, "ibug68"),
    }
    assert list(read_points(CANONICAL_FIVE, "five")) == ["yaw_deg", "pitch_deg", "roll_deg"]


def test_a_crop_s_face_is_looked_for_where_alignment_put_it() -> None:
    to_crop = canonical_to_crop(CROP_COVERAGES["full"], 96)
    given = []

    def landmarker(image: UInt8[np.ndarray, "h w 3"], face: Detection) -> Landmarks:
        given.append(face)
        return Landmarks(face.five, 0.5)

    found = find_in_crop(landmarker, np.zeros((96, 96, 3), np.uint8), to_crop)
    assert found.presence == 0.5
    np.testing.assert_allclose(found.points, transform_points(CANONICAL_FIVE, to_crop))
    left, top, right, bottom = given[0].box_xyxy / (96 / CROP_COVERAGES["full"])
    assert (right - left, bottom - top) == pytest.approx((2.0, 2.4))
    assert eye_distance(found.points) == pytest.approx(96 / CROP_COVERAGES["full"])


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_brightness_and_hue_are_those_inside_the_mask(kind: type) -> None:
    picture = np.full((8, 8, 3), [200, 120, 60], np.uint8)
    picture[:, 4:] = 0
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 255
    shown = picture if kind is np.uint8 else (picture / 255).astype(kind)
    brightness, hue_deg = brightness_and_hue(shown, mask)
    assert brightness == pytest.approx((0.299 * 200 + 0.587 * 120 + 0.114 * 60) / 255)
    _, a, b = rgb2lab(picture[0, 0] / 255.0)
    assert hue_deg == pytest.approx(np.degrees(np.arctan2(b, a)))
    assert np.isnan(brightness_and_hue(shown, 0 * mask)).all()


def test_mean_grey_is_of_the_inside_or_of_all() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2] = 100
    inside = np.zeros((4, 4), bool)
    assert mean_grey(picture, inside) == pytest.approx(50 / 255)
    inside[0] = True
    assert mean_grey(picture, inside) == pytest.approx(100 / 255)
