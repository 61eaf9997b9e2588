"""Every entry of every registry keeps what its kind promises, and the config names them all."""

from typing import get_args

import numpy as np
import pytest

from faceswap_lite import config
from faceswap_lite.actors import ACTORS, ActorState, render_actor
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces import (
    COVERAGES,
    DETECTORS,
    EMBEDDERS,
    LANDMARKERS,
    Detection,
    Detector,
    Embedder,
    Landmarker,
    LandmarksPack,
    embedding_distance,
    five_points,
)
from faceswap_lite.faces.embed import facenet_file

SIDE = 256
ACTOR = render_actor(ACTORS["ada"], ActorState(yaw_deg=10), SIDE)
FIVE = five_points(ACTOR.landmarks.astype(np.float64), "ibug68")


def test_config_names_the_registries() -> None:
    assert set(get_args(config.DetectorName)) == {"auto", *DETECTORS}
    assert set(get_args(config.LandmarksName)) == {"auto", *LANDMARKERS}
    assert set(get_args(config.EmbedderName)) == {"auto", "none", *EMBEDDERS}
    assert set(get_args(config.CoverageName)) == set(COVERAGES)


def needs(name: str, request: pytest.FixtureRequest) -> None:
    """Skip where the weights that this entry needs are not there."""
    if name in ("yunet", "mesh", "mobilefacenet"):
        request.getfixturevalue("with_weights")
    if name == "facenet" and not facenet_file().is_file():
        pytest.skip("facenet's weights are not in its cache")
    if name == "dlib":
        pytest.importorskip("dlib", reason="the extra dlib is not installed")


@pytest.mark.parametrize("name", DETECTORS)
def test_detector(name: str, request: pytest.FixtureRequest) -> None:
    needs(name, request)
    detector = DETECTORS[name](20, 640)
    assert isinstance(detector, Detector)
    image = np.concatenate([ACTOR.image, np.zeros_like(ACTOR.image), ACTOR.image[:, ::-1]], axis=1)
    before = image.copy()
    faces = detector(image, 0.6)
    np.testing.assert_array_equal(image, before)
    assert len(faces) == 2
    assert faces[0].box_xyxy[0] < faces[1].box_xyxy[0]
    for face in faces:
        assert 0.6 <= face.score <= 1
        left, top, right, bottom = face.box_xyxy
        assert right > left and bottom > top
        assert face.five.shape == (5, 2)
        # Eyes above nose above mouth; left before right.
        assert face.five[:2, 1].max() < face.five[2, 1] < face.five[3:, 1].min()
        assert face.five[0, 0] < face.five[1, 0] and face.five[3, 0] < face.five[4, 0]
    eyes = np.linalg.norm(FIVE[1] - FIVE[0])
    assert np.linalg.norm(faces[0].five - FIVE, axis=1).max() < 0.4 * eyes
    assert detector(image, 1.01) == []
    for small in ((1, 1), (8, 300), (15, 15)):
        assert detector(np.zeros((*small, 3), np.uint8), 0.6) == []
    assert DETECTORS[name](250, 640)(image, 0.6) == []
    # Shrunk for the search, found at the place where it is.
    found = DETECTORS[name](20, 384)(image, 0.6)
    assert np.abs(found[0].box_xyxy - faces[0].box_xyxy).max() < 0.35 * eyes


@pytest.mark.parametrize("name", LANDMARKERS)
def test_landmarker(name: str, request: pytest.FixtureRequest) -> None:
    needs(name, request)
    landmarker = LANDMARKERS[name]()
    assert isinstance(landmarker, Landmarker)
    low, high = ACTOR.landmarks.min(0), ACTOR.landmarks.max(0)
    face = Detection(np.concatenate([low, high]).astype(np.float64), 0.9, FIVE)
    points, presence = landmarker(ACTOR.image, face)
    again, _ = landmarker(ACTOR.image, face)
    np.testing.assert_array_equal(points, again)
    assert presence is None or 0.5 < presence <= 1
    eyes = np.linalg.norm(FIVE[1] - FIVE[0])
    pack: LandmarksPack = "mesh" if name == "mesh" else "five"
    assert np.linalg.norm(five_points(points, pack) - FIVE, axis=1).max() < 0.35 * eyes


@pytest.mark.parametrize("name", EMBEDDERS)
def test_embedder(name: str, request: pytest.FixtureRequest) -> None:
    needs(name, request)
    embedder = EMBEDDERS[name]()
    assert isinstance(embedder, Embedder)
    assert embedder.name == name
    assert embedder.metric in ("cosine", "euclidean")
    vector = embedder(ACTOR.image, FIVE)
    assert vector.ndim == 1 and len(vector) >= 64 and np.isfinite(vector).all()
    np.testing.assert_array_equal(vector, embedder(ACTOR.image, FIVE))
    # The place of the face in the picture says nothing about who it is.
    moved = np.zeros((400, 420, 3), np.uint8)
    moved[90 : 90 + SIDE, 120 : 120 + SIDE] = ACTOR.image
    near = embedding_distance(vector, embedder(moved, FIVE + np.array([120, 90])), embedder.metric)
    assert near < 0.3 * embedder.same_person


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceswap_lite.faces.embed.importlib.util.find_spec", lambda name: None)
    with pytest.raises(FaceswapError, match=r"faceswap_lite\[dlib\]"):
        EMBEDDERS["dlib"]()
