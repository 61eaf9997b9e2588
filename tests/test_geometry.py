"""Similarities, alignment, crops, masks, pose."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lite.actors.cast import ACTORS
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.actors.render import render_actor
from faceswap_lite.faces.align import (
    CROP_COVERAGES,
    align,
    cut_crop,
    frame_to_canonical,
    inner_view,
    within_frame,
)
from faceswap_lite.faces.candidates import sharpness
from faceswap_lite.faces.hull import face_mask, features_mask
from faceswap_lite.geometry import (
    compose,
    fit_similarity,
    invert_similarity,
    similarity_scale,
    transform_points,
)
from faceswap_lite.metrics.landmarks import (
    CANONICAL_FIVE,
    MESH_RIGID,
    estimate_pose,
    eye_opening,
    five_points,
    mouth_opening,
)

EXACT = 1e-9  # float64 round-off of a few operations on numbers of a few hundred
FIVE = CANONICAL_FIVE * 50 + [100.0, 90.0]


def similarity(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


@given(
    scale=st.floats(0.05, 20),
    angle=st.floats(-3.1, 3.1),
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
)
@settings(max_examples=50, deadline=None)
def test_fit_finds_the_similarity_that_moved_the_points(
    scale: float, angle: float, x: float, y: float
) -> None:
    moved = similarity(scale, angle, x, y)
    fitted = fit_similarity(FIVE, transform_points(FIVE, moved))
    np.testing.assert_allclose(fitted, moved, atol=1e-7)
    assert similarity_scale(fitted) == pytest.approx(scale)


def test_fit_agrees_with_scikit_image_on_noisy_points() -> None:
    transform = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(0)
    points, template = rng.normal(size=(2, 30, 2)) * 40
    template = template + 0.5 * points
    expected = transform.SimilarityTransform.from_estimate(points, template)
    # scikit-image allows no reflection either.
    np.testing.assert_allclose(
        fit_similarity(points, template), expected.params[:2], atol=1e-6, rtol=1e-6
    )


def test_fit_refuses_coinciding_points() -> None:
    with pytest.raises(ValueError, match="coincide"):
        fit_similarity(np.ones((5, 2)), FIVE)


def test_compose_and_invert() -> None:
    first, then = similarity(2, 0.3, 5, -7), similarity(0.4, -1, 3, 9)
    both = transform_points(transform_points(FIVE, first), then)
    np.testing.assert_allclose(transform_points(FIVE, compose(first, then)), both, atol=EXACT)
    back = compose(first, invert_similarity(first))
    np.testing.assert_allclose(back, similarity(1, 0, 0, 0), atol=EXACT)


def test_an_upright_face_lands_at_its_place() -> None:
    frame_to_crop = align(FIVE, "five", "full", 330)
    eyes = transform_points(FIVE, frame_to_crop)[:2]
    # 330 px show 3.3 eye distances; the crop's middle (164.5) is 0.54 below the eyes.
    np.testing.assert_allclose(eyes, [[114.5, 110.5], [214.5, 110.5]], atol=0.1)


def test_a_margin_is_a_larger_coverage() -> None:
    stored = align(FIVE, "five", CROP_COVERAGES["full"] * 1.3, 256)
    to_view, side = inner_view(256, 0.15, 64, 0.0)
    assert side == 64
    direct = align(FIVE, "five", "full", 64)
    np.testing.assert_allclose(compose(stored, to_view), direct, atol=1e-6)
    with pytest.raises(ValueError, match="margin"):
        inner_view(256, 0.15, 64, 0.2)


def test_align_follows_the_face() -> None:
    moved = similarity(1.7, 0.6, 30, -20)
    expected = compose(invert_similarity(moved), align(FIVE, "five", "whole", 128))
    got = align(transform_points(FIVE, moved), "five", "whole", 128)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_mesh_template_is_symmetrical_and_sits_like_the_five_points() -> None:
    points = np.array(list(MESH_RIGID.values()))
    mirrored = points * [-1, 1, 1]
    for point in mirrored:
        assert np.abs(points - point).sum(1).min() < EXACT
    mesh = np.zeros((468, 2))
    mesh[list(MESH_RIGID)] = points[:, :2] * 80 + [200, 150]
    expected = [[1 / 80, 0, -2.5], [0, 1 / 80, -1.875]]
    np.testing.assert_allclose(frame_to_canonical(mesh, "mesh"), expected, atol=1e-9)


@pytest.mark.parametrize("size", [64, 200])
def test_identity_crop_is_the_picture(size: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (size, size, 3), np.uint8)
    np.testing.assert_array_equal(cut_crop(image, similarity(1, 0, 0, 0), size), image)


def test_shrinking_does_not_alias_and_keeps_the_mean() -> None:
    # One-pixel stripes: sampling without averaging gives stripes, averaging gives grey.
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, ::2] = 200
    crop = cut_crop(image, similarity(0.125, 0.2, 0, 0), 32)[8:24, 12:28]
    assert crop.std() < 4
    assert abs(crop.mean() - 100) < 3


def test_crop_geometry_survives_shrinking() -> None:
    # A smooth ramp has the same value at the same place whatever the scale.
    y, x = np.mgrid[:400, :600]
    image = np.stack([x * 255 / 600, y * 255 / 400, x * 0], -1).astype(np.uint8)
    frame_to_crop = similarity(0.2, 0.3, -10, -5)
    crop = cut_crop(image, frame_to_crop, 64)
    at = transform_points(np.array([[30.0, 35.0]]), invert_similarity(frame_to_crop))[0]
    expected = [at[0] * 255 / 600, at[1] * 255 / 400]
    np.testing.assert_allclose(crop[35, 30, :2], expected, atol=1.5)  # rounding, twice


@pytest.mark.parametrize("at", [(-900.0, 0.0), (0.0, 5000.0), (180.0, 120.0)])
def test_a_crop_beyond_the_border_repeats_it(at: tuple[float, float]) -> None:
    image = np.full((120, 160, 3), 77, np.uint8)
    crop = cut_crop(image, similarity(0.5, 0.1, -at[0] / 2, -at[1] / 2), 48)
    assert crop.shape == (48, 48, 3)
    assert (crop == 77).all()


@pytest.mark.parametrize("yaw", [-40, -20, 0, 20, 40])
def test_pose_of_actors(yaw: float) -> None:
    state = ActorState(yaw_deg=yaw, pitch_deg=8, roll_deg=-12)
    landmarks = render_actor(ACTORS["ada"], state, 192).landmarks.astype(np.float64)
    flat = render_actor(ACTORS["ada"], ActorState(), 192).landmarks.astype(np.float64)
    pose = estimate_pose(landmarks, "ibug68")
    level = estimate_pose(flat, "ibug68")
    # Heads differ in shape from the mean head: a few degrees.
    assert abs(pose.yaw_deg - yaw) < 6
    assert abs(pose.pitch_deg - level.pitch_deg - 8) < 5
    assert abs(pose.roll_deg + 12) < 4


def test_pose_finds_the_rotation_that_made_the_points() -> None:
    yaw, pitch, roll = np.radians([35.0, -10.0, 20.0])
    turn_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    turn_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    turn_z = np.array(
        [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    )
    model = np.array(list(MESH_RIGID.values()))
    mesh = np.zeros((468, 2))
    mesh[list(MESH_RIGID)] = (model @ (turn_z @ turn_y @ turn_x).T)[:, :2] * 63 + [300, 200]
    pose = estimate_pose(mesh, "mesh")
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((35, -10, 20), abs=1e-4)


def test_expression_of_actors() -> None:
    def face(mouth: float, blink: float) -> np.ndarray:
        state = ActorState(mouth=mouth, blink=blink)
        return render_actor(ACTORS["bruno"], state, 192).landmarks.astype(np.float64)

    mouths = [mouth_opening(face(m, 0), "ibug68") for m in (0, 0.3, 0.6, 1)]
    assert all(b > a + 0.05 for a, b in pairwise(m for m in mouths if m is not None))
    wide, shut = eye_opening(face(0, 0), "ibug68"), eye_opening(face(0, 1), "ibug68")
    assert wide is not None and shut is not None and wide > 2 * shut
    assert mouth_opening(FIVE, "five") is None
    assert eye_opening(FIVE, "five") is None


@pytest.mark.parametrize("yaw", [-35, 0, 35])
@pytest.mark.parametrize("pack", ["five", "ibug68"])
def test_face_mask_lies_on_the_actors_face(yaw: float, pack: str) -> None:
    actor = render_actor(ACTORS["dara"], ActorState(yaw_deg=yaw), 192)
    points = actor.landmarks.astype(np.float64)
    points = five_points(points, "ibug68") if pack == "five" else points
    frame_to_crop = align(points, pack, "whole", 128)  # type: ignore[arg-type]
    mask = face_mask(points, pack, frame_to_crop, 128)  # type: ignore[arg-type]
    truth = cv2.warpAffine(actor.face_mask.astype(np.float32), frame_to_crop, (128, 128))
    assert mask.min() == 0 and mask.max() == 1
    both, either = ((mask > 0.5) & (truth > 0.5)).sum(), ((mask > 0.5) | (truth > 0.5)).sum()
    assert both / either > 0.7
    inside = features_mask(points, pack, frame_to_crop, 128)  # type: ignore[arg-type]
    assert 0.03 < inside.mean() < 0.25
    assert (inside * (1 - mask)).sum() < 0.1 * inside.sum()
    for x, y in transform_points(five_points(points, pack), frame_to_crop)[[0, 1, 3, 4]]:  # type: ignore[arg-type]
        assert inside[round(y), round(x)] > 0.5


def test_mask_edges_are_smooth_and_subpixel() -> None:
    """The same face half a pixel further on gives another mask, not a copy of the first."""
    frame_to_crop = align(FIVE, "five", "whole", 64)
    shifted = compose(frame_to_crop, similarity(1, 0, 0.5, 0))
    first, second = (face_mask(FIVE, "five", m, 64) for m in (frame_to_crop, shifted))
    assert ((first > 0) & (first < 1)).any()
    centre = [(m * np.arange(64)).sum() / m.sum() for m in (first, second)]
    assert centre[1] - centre[0] == pytest.approx(0.5, abs=0.05)


def test_sharpness_falls_with_blur_and_not_with_size() -> None:
    image = render_actor(ACTORS["chen"], ActorState(), 256).image
    blurred = cv2.GaussianBlur(image, (0, 0), 3)
    assert sharpness(blurred) < 0.7 * sharpness(image)
    half = cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)
    assert sharpness(half) == pytest.approx(sharpness(image), rel=0.05)
    assert sharpness(np.full((64, 64, 3), 9, np.uint8)) == 0


def test_what_repeats_the_frame_s_border_is_not_within_it() -> None:
    # Twice as large; the frame's corner lies at the crop's middle.
    shown = within_frame(100, 50, similarity(2.0, 0.0, 16.5, 16.5), 32)
    np.testing.assert_array_equal(shown, np.outer(np.arange(32) >= 16, np.arange(32) >= 16))
    whole = within_frame(100, 50, similarity(1.0, 0.0, 0.0, 0.0), 32)
    assert whole.all() and not within_frame(10, 10, similarity(1.0, 0.0, 60.0, 0.0), 32).any()
