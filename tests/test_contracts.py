"""Every entry of every registry keeps what its kind promises, and the config names them all."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
import torch
from av.video.format import VideoFormat

from faceswap_lite import config
from faceswap_lite.actors.cast import ACTORS
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.actors.render import render_actor
from faceswap_lite.conversion.blend import BLENDERS
from faceswap_lite.conversion.color_matchers import COLOR_MATCHERS
from faceswap_lite.conversion.mask import MASKS, blend_alpha
from faceswap_lite.conversion.painted import PaintedFace, Placement
from faceswap_lite.errors import FaceswapError
from faceswap_lite.evaluation.judge import JUDGES
from faceswap_lite.evaluation.metric import FAULTS, Need, Series, figures
from faceswap_lite.evaluation.metric_table import METRICS
from faceswap_lite.faces.align import CROP_COVERAGES, align, cut_crop
from faceswap_lite.faces.detect import Detection, Detector
from faceswap_lite.faces.embed import EMBEDDERS, Embedder, embedding_distance, facenet_file
from faceswap_lite.faces.hull import face_mask
from faceswap_lite.faces.landmarkers import LANDMARKERS, Landmarker
from faceswap_lite.faces.pack import DETECTORS
from faceswap_lite.media.clips import ClipInfo, Frame
from faceswap_lite.media.encoding import CODECS
from faceswap_lite.media.writing import BT709_TAGS, ClipWriter
from faceswap_lite.metrics.landmarks import LandmarksPack, five_points
from faceswap_lite.models.architectures import ARCHITECTURES, build_model
from faceswap_lite.training.optimizers import OPTIMIZERS
from faceswap_lite.training.schedules import SCHEDULES

EDGE = 256
ACTOR = render_actor(ACTORS["ada"], ActorState(yaw_deg=10), EDGE)
FIVE = five_points(ACTOR.landmarks.astype(np.float64), "ibug68")


def test_config_names_the_registries() -> None:
    assert set(get_args(config.DetectorName)) == {"auto", *DETECTORS}
    assert set(get_args(config.LandmarksName)) == {"auto", *LANDMARKERS}
    assert set(get_args(config.EmbedderName)) == {"auto", "none", *EMBEDDERS}
    assert set(get_args(config.CropCoverage)) == set(CROP_COVERAGES)
    assert set(get_args(config.ArchitectureName)) == set(ARCHITECTURES)
    assert set(get_args(config.ScheduleName)) == set(SCHEDULES)
    assert set(get_args(config.OptimizerName)) == set(OPTIMIZERS)
    assert set(get_args(config.ColorName)) == set(COLOR_MATCHERS)
    assert set(get_args(config.MaskName)) == set(MASKS)
    assert set(get_args(config.BlendName)) == set(BLENDERS)
    assert set(get_args(config.CodecName)) == set(CODECS)
    assert set(JUDGES) == set(EMBEDDERS)


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
        assert 0.6 <= face.confidence <= 1
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
    moved[90 : 90 + EDGE, 120 : 120 + EDGE] = ACTOR.image
    near = embedding_distance(vector, embedder(moved, FIVE + np.array([120, 90])), embedder.metric)
    assert near < 0.3 * embedder.same_person


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceswap_lite.faces.embed.importlib.util.find_spec", lambda name: None)
    with pytest.raises(FaceswapError, match=r"faceswap_lite\[dlib\]"):
        EMBEDDERS["dlib"]()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture(name: str) -> None:
    flags = "" if name == "original" else "ud"
    given = {"architecture": name, "flags": flags, "size": 64}
    settings = config.ModelConfig.model_validate(given)
    model = build_model(settings).eval()
    faces = torch.rand(2, 3, settings.size, settings.size)
    with torch.no_grad():
        for side in ("source", "target"):
            face, mask = model.paint(faces, side)
            assert face.shape == faces.shape
            assert mask is not None and mask.shape == (2, 1, settings.size, settings.size)
            for picture in (face, mask):
                assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str) -> None:
    settings = config.ScheduleConfig.model_validate({"kind": name, "warmup_steps": 10})
    factors = [SCHEDULES[name](step, settings, 50) for step in range(51)]
    assert all(0 <= factor <= 1 for factor in factors)
    # A one-cycle rate has its own rise, of 0.3 of the steps.
    top = 14 if name == "one_cycle" else 9
    assert factors[0] < factors[top] == max(factors) == 1
    assert factors == [SCHEDULES[name](step, settings, 50) for step in range(51)]


@pytest.mark.parametrize("name", COLOR_MATCHERS)
def test_color_matcher(name: str) -> None:
    image = ACTOR.image.astype(np.float32) / 255
    reference = np.clip(image * 0.8 + 0.1, 0, 1).astype(np.float32)
    mask = ACTOR.face_mask.astype(np.float32)
    before = image.copy()
    matched = COLOR_MATCHERS[name](image, reference, mask).apply(image)
    np.testing.assert_array_equal(image, before)
    assert matched.shape == image.shape and matched.dtype == np.float32
    assert matched.min() >= 0 and matched.max() <= 1
    inside = mask > 0.5
    error = np.abs(matched - reference)[inside].mean()
    # A shift of the mean does not undo a change of contrast.
    assert error < {"none": 0.2, "mean": 0.03}.get(name, 0.02)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
@pytest.mark.parametrize("name", CODECS)
def test_codec(name: config.CodecName, size: tuple[int, int], bits: int, tmp_path: Path) -> None:
    codec, (width, height) = CODECS[name], size
    maximum = 255 if bits == 8 else 65535
    ramp = np.linspace(0.2, 0.8, width) * maximum
    image: np.ndarray = np.broadcast_to(ramp[:, None], (height, width, 4)).astype(
        np.uint8 if bits == 8 else np.uint16
    )
    like = ClipInfo(
        tmp_path,
        "video",
        *size,
        None,
        Fraction(25),
        Fraction(1, 25),
        None,
        None,
        bits,
        color=BT709_TAGS,
    )
    for suffix, alpha in itertools.product(codec.containers, [False, True]):
        path = tmp_path / f"{alpha}{suffix}"
        pixels = codec.pixel_format(*size, bits, alpha)
        try:
            with ClipWriter(path, like=like, codec=name, quality=4, alpha=alpha) as writer:
                for number in range(3):
                    writer.write(image if alpha else image[..., :3], number)
        except FaceswapError as error:
            assert pixels is None and "alpha" in str(error) and not path.exists()
            continue
        assert pixels is not None
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        assert len(frames) == 3 and (frames[1].width, frames[1].height) == size
        told, found = (VideoFormat(name).components for name in (pixels, frames[1].format.name))
        assert len(found) == len(told) and found[0].bits >= told[0].bits
        shown = frames[1].to_ndarray(format="rgba64le")
        wanted = image / maximum * 65535
        assert np.abs(shown - wanted)[..., : 4 if alpha else 3].max() < 0.03 * 65535
        assert bool(writer.notes) == (found[0].bits < bits)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("with_learned", [True, False])
def test_mask(name: str, with_learned: bool) -> None:
    size = 64
    matrix = align(FIVE, "five", CROP_COVERAGES["full"], size)
    crop = cut_crop(ACTOR.image, matrix, size)
    hull = face_mask(FIVE, "five", matrix, size)
    learned = np.zeros((size, size), np.float32)
    learned[5:50, 15:60] = 1
    face = PaintedFace(
        placement=Placement(0, 0, FIVE, None),
        pack="five",
        frame_to_crop=matrix,
        crop=crop,
        face=crop.astype(np.float32) / 255,
        rebuilt=crop.astype(np.float32) / 255,
        hull=hull,
        learned=learned if with_learned else None,
    )
    frame = Frame(0, 0, Fraction(0), ACTOR.image)
    before = [hull.copy(), learned.copy(), crop.copy(), ACTOR.image.copy()]
    maker = MASKS[name]()
    mask = maker(face, frame, None)
    for old, new in zip(before, (hull, learned, crop, ACTOR.image), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(mask, MASKS[name]()(face, frame, None))
    assert mask.shape == (size, size) and mask.dtype == np.float32
    assert mask.min() >= 0 and mask.max() <= 1
    alpha = blend_alpha(mask, erode=0.0, feather=0.06)
    assert alpha.shape == (size, size)
    # Between the eyes and the mouth it is face, whatever else is hidden.
    assert alpha.min() >= 0 and alpha[30, 30] == pytest.approx(1)
    # A mask that reached the border would show as a square.
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert border.max() == 0


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_null_with_a_reason_where_nothing_was_measured(name: str) -> None:
    metric = METRICS[name]
    assert metric.title and metric.note and metric.better in (*FAULTS, None)
    assert set(metric.needs) <= set(get_args(Need))
    nothing = Series(np.arange(5), np.arange(5) / 25, {})
    assert figures(METRICS, nothing, 0)[name] is None
