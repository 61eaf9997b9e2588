"""Trust: its maths against independent ones, and a run that knows how far it can be trusted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from faceswap_lite.errors import FaceswapError
from faceswap_lite.evaluation import trust as module
from faceswap_lite.evaluation.trust import (
    DISTURBANCES,
    SIGNS,
    Trust,
    as_db,
    calibrate,
    fit_rising,
    fit_trust,
    neighbour_distance,
    read_rising,
    rms_inside,
    small_looks,
    whitening,
)
from faceswap_lite.media.clips import as_uint8
from faceswap_lite.metrics.pictures import psnr_db
from faceswap_lite.models.crops import rebuild
from faceswap_lite.runs.known import KnownFaces, known_faces
from faceswap_lite.runs.trained import TrainedRun

# Differences of squares, in float64, of numbers around 10.
ROUNDING = 1e-6


def test_neighbour_distance_is_that_of_a_tree():
    rng = np.random.default_rng(0)
    points, seen = rng.normal(size=(20, 6)) * 3, rng.normal(size=(50, 6))
    expected = cKDTree(seen).query(points, k=3)[0].mean(1)
    np.testing.assert_allclose(neighbour_distance(points, seen, 3), expected, atol=ROUNDING)
    few = cdist(points, seen[:2]).mean(1)
    np.testing.assert_allclose(neighbour_distance(points, seen[:2], 3), few, atol=ROUNDING)


def test_a_seen_point_is_at_no_distance():
    seen = np.random.default_rng(0).normal(size=(9, 4)) + 100
    np.testing.assert_allclose(neighbour_distance(seen, seen, 1), 0, atol=1e-4)


def test_whitened_codes_spread_equally_where_they_spread_at_all():
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    codes = (rng.normal(size=(500, 5)) * (10, 5, 2, 1, 0)) @ turn + 7
    mean, whiten = whitening(codes)
    spreads = ((codes - mean) @ whiten).std(0)
    np.testing.assert_allclose(mean, codes.mean(0))
    np.testing.assert_allclose(spreads[:4], 1, rtol=0.02)
    assert spreads[4] < 1e-6
    # One way off their plane is far, in units of the widest direction's hundredth.
    away = (turn[4] * 1.0) @ whiten
    assert 5 < np.linalg.norm(away) < 15


def test_rising_curve_goes_through_rising_points_and_on_beyond_them():
    x, y = np.array([3.0, 1.0, 2.0]), np.array([5.0, 1.0, 2.0])
    curve = fit_rising(x, y, np.ones(3))
    np.testing.assert_allclose(curve, [[1, 2, 3], [1, 2, 5]])
    read = read_rising(np.array([0.0, 1.5, 2.5, 5.0]), *curve)
    np.testing.assert_allclose(read, [0.0, 1.5, 3.5, 7.0])


def test_rising_curve_pools_what_falls_by_weight():
    x, y, weights = np.array([0.0, 1.0, 2.0]), np.array([0.0, 4.0, 1.0]), np.array([1.0, 1.0, 2.0])
    curve_x, curve_y = fit_rising(x, y, weights)
    np.testing.assert_allclose(curve_x, [0, (1 + 2 * 2) / 3])
    np.testing.assert_allclose(curve_y, [0, (4 + 2 * 1) / 3])


def test_rising_curve_takes_equal_places_as_one():
    curve_x, curve_y = fit_rising(np.zeros(4), np.array([1.0, 2.0, 3.0, 6.0]), np.ones(4))
    np.testing.assert_allclose(curve_x, [0])
    np.testing.assert_allclose(curve_y, [3])


def test_calibration_finds_a_planted_law():
    """Errors that are a power of two of three signs: those are found, the third is not used."""
    rng = np.random.default_rng(2)
    signs = np.exp(rng.normal(size=(400, 3)))
    usual = np.median(signs, axis=0) * 1e-6  # no floor to speak of
    errors = 0.02 * signs[:, 0] ** 0.7 * signs[:, 1] ** 0.2
    found = calibrate(signs, errors, np.ones(400), usual)
    np.testing.assert_allclose(found.weights, [0.7, 0.2, 0], atol=1e-3)
    np.testing.assert_allclose(found.errors(signs), errors, rtol=0.01)
    assert (np.diff(found.curve_y) > 0).all()


def test_no_sign_of_strangeness_makes_a_face_better():
    rng = np.random.default_rng(3)
    signs = np.exp(rng.normal(size=(200, 2)))
    errors = signs[:, 0] / signs[:, 1]  # the second sign lies
    found = calibrate(signs, errors, np.ones(200), np.median(signs, axis=0))
    assert found.weights[1] == 0
    stranger = signs * (1.5, 1.5)
    assert (found.errors(stranger) >= found.errors(signs)).all()


def test_errors_are_those_of_psnr_in_the_mask():
    rng = np.random.default_rng(4)
    a, b = rng.uniform(size=(2, 3, 16, 16, 3))
    masks = rng.uniform(size=(3, 16, 16))
    masks[2] = 0
    found = as_db(rms_inside(a, b, masks))
    np.testing.assert_allclose(found[:2], [psnr_db(a[i], b[i], masks[i]) for i in (0, 1)])
    # Where nothing is face, all of it counts.
    np.testing.assert_allclose(found[2], psnr_db(a[2], b[2]))
    whole = np.full((3, 16, 16), 255, np.uint8)
    np.testing.assert_allclose(as_db(rms_inside(a, b, whole))[0], psnr_db(a[0], b[0]))
    # Bytes count as what they stand for.
    low, high = (np.round(picture * 255).astype(np.uint8) for picture in (a, b))
    by_floats = rms_inside(low / 255, high / 255, masks)
    np.testing.assert_allclose(rms_inside(low, high, masks), by_floats)


def test_looks_tell_light_and_not_the_border():
    crops = np.full((2, 64, 64, 3), 100, np.uint8)
    crops[1, :8] = 255
    looks = small_looks(crops)
    assert looks.shape == (2, 6 * 6 * 3)
    np.testing.assert_allclose(looks, 100 / 255)
    np.testing.assert_allclose(small_looks(crops // 2)[0], 50 / 255)


@pytest.mark.parametrize("number", range(len(DISTURBANCES)))
def test_disturbances_change_faces_and_not_their_argument(number: int):
    rng = np.random.default_rng(5)
    crops = np.kron(rng.integers(60, 180, (2, 8, 8, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[:, 6:26, 6:26] = 255
    before = crops.copy()
    changed = DISTURBANCES[number](crops, masks, np.random.default_rng(0))
    again = DISTURBANCES[number](crops, masks, np.random.default_rng(0))
    assert changed.shape == crops.shape and changed.dtype == np.uint8
    assert (crops == before).all() and (changed == again).all()
    assert (changed != crops).any((1, 2, 3)).all()


@pytest.mark.parametrize("share", [0.07, 0.25])
def test_blots_cover_their_share_of_the_face(share: float):
    crops = np.full((5, 48, 48, 3), 7, np.uint8)
    masks = np.zeros((5, 48, 48), np.uint8)
    masks[:, 8:40, 12:36] = 255
    covered = module._covered(share, crops, masks, np.random.default_rng(1))
    changed = (covered != crops).any(3) & (masks > 0)
    # Ties of pixels equally far from the middle.
    np.testing.assert_allclose(changed.sum((1, 2)) / (32 * 24), share, atol=0.02)


@pytest.fixture(scope="module")
def known(run: TrainedRun) -> KnownFaces:
    return known_faces(run, "target")


@pytest.fixture(scope="module")
def trust(run: TrainedRun, known: KnownFaces) -> Trust:
    return fit_trust(run, known)


def test_seen_faces_are_near_and_trusted(run: TrainedRun, known: KnownFaces, trust: Trust):
    seen = known.only(known.seen)
    scores = trust.judge(run, seen.crops, seen.masks)
    heldout = known.only(~known.seen)
    others = trust.judge(run, heldout.crops, heldout.masks)
    assert scores.distance.mean() < others.distance.mean()
    assert scores.look_distance.mean() < others.look_distance.mean()
    assert scores.trusted.mean() > 0.9


def test_bound_is_twice_the_usual_error(run: TrainedRun, known: KnownFaces, trust: Trust):
    heldout = known.only(~known.seen)
    true = rms_inside(
        rebuild(run.model, heldout.crops, "target"), heldout.crops / 255, heldout.masks
    )
    assert trust.bound == pytest.approx(2 * np.median(true), rel=1e-4)
    assert trust.bound_db == pytest.approx(-20 * np.log10(trust.bound))
    assert trust.heldout_within == (true <= trust.bound).mean()


@pytest.mark.parametrize("gain", [0.15, 0.4])
def test_darkness_is_expected_to_be_rebuilt_badly(
    run: TrainedRun, known: KnownFaces, trust: Trust, gain: float
):
    dark = np.round(known.crops * gain).astype(np.uint8)
    plain = trust.judge(run, known.crops, known.masks)
    scores = trust.judge(run, dark, known.masks)
    assert scores.expected_error.min() > plain.expected_error.max()
    assert not scores.trusted.any()
    assert set(scores.leading) <= set(SIGNS)


def test_fit_is_the_same_again(run: TrainedRun, known: KnownFaces, trust: Trust):
    again = fit_trust(run, known)
    assert again.bound == trust.bound
    one, other = (t.judge(run, known.crops, known.masks) for t in (trust, again))
    np.testing.assert_array_equal(one.expected_error, other.expected_error)


def test_score_does_not_see_the_error(
    run: TrainedRun, known: KnownFaces, trust: Trust, monkeypatch: pytest.MonkeyPatch
):
    """A face's score is the same whatever its own decoder's error would be: it is never asked."""

    def no_error(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> np.ndarray:
        assert not any(as_uint8(one).tobytes() in true for one in b)
        return rms_inside(a, b, masks)

    true = {crop.tobytes() for crop in known.crops}
    monkeypatch.setattr(module, "rms_inside", no_error)
    assert len(trust.judge(run, known.crops, known.masks)) == len(known)


@pytest.mark.parametrize("seen", [True, False])
def test_nothing_to_compare_with_is_refused(run: TrainedRun, known: KnownFaces, seen: bool):
    one_kind = replace(known, seen=np.full(len(known), seen))
    with pytest.raises(FaceswapError, match=r"no (held-out|seen) target face"):
        fit_trust(replace(run, path=Path("run")), one_kind)
