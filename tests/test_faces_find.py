"""Detectors, landmarkers, embedders, packs, weights, tracks."""

import hashlib
import threading
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from faceswap_lite.actors.cast import ACTORS
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.actors.render import render_actor
from faceswap_lite.errors import FaceswapError, UsageError
from faceswap_lite.faces import embed as embed_module
from faceswap_lite.faces import weights as weights_module
from faceswap_lite.faces.align import align
from faceswap_lite.faces.embed import build_embedder, embedding_distance
from faceswap_lite.faces.pack import build_pack
from faceswap_lite.faces.tracking import Tracker, change, find_cuts, is_sure, overlap, thumbnail
from faceswap_lite.geometry import similarity_scale
from faceswap_lite.media.clips import as_uint8
from faceswap_lite.media.images import read_image
from faceswap_lite.media.reading import open_clip
from faceswap_lite.metrics.landmarks import estimate_pose, five_points, mouth_opening


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Neither weights nor a network; the addresses asked for."""
    asked: list[str] = []

    def refuse(address: str, timeout: float) -> None:
        asked.append(address)
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("FACESWAP_LITE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights_module, "weights_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(weights_module.urllib.request, "urlopen", refuse)
    monkeypatch.setattr(weights_module, "_failures", {})
    return asked


def test_offline_auto_takes_what_pip_gives_and_asks_once(offline: list[str]) -> None:
    pack = build_pack()
    assert (pack.detector_name, pack.landmarks_name, pack.embedder_name) == ("mtcnn", "five", None)
    assert "yunet" in " ".join(pack.notes) and "mtcnn" in " ".join(pack.notes)
    build_pack()
    assert len(offline) == 1


@pytest.mark.parametrize("name", ["yunet", "mesh", "mobilefacenet", "facenet"])
def test_a_choice_by_name_offline_is_one_line_that_helps(offline: list[str], name: str) -> None:
    parts = {"yunet": (name, "five", "none"), "mesh": ("mtcnn", name, "none")}
    with pytest.raises(FaceswapError) as caught:
        build_pack(*parts.get(name, ("mtcnn", "five", name)))
    line = str(caught.value)
    file = embed_module.FACENET_FILE if name == "facenet" else weights_module.WEIGHTS[name].file
    assert file in line and "put it into" in line and "or choose" in line
    assert "\n" not in line


def test_unknown_names_are_misuse() -> None:
    with pytest.raises(UsageError, match="yunet"):
        build_pack("youlooknet", "five", "none")
    with pytest.raises(UsageError, match="dlib"):
        build_embedder("nobody")


class _Reply:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self) -> "_Reply":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def read(self, size: int) -> bytes:
        return self.content[:size]


def test_fetched_weights_are_checked_and_kept(
    offline: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = b"weights" * 10
    entry = weights_module.WeightsFile(
        "toy", "toy.bin", "https://x/toy", hashlib.sha256(good).hexdigest(), len(good), "none"
    )
    monkeypatch.setitem(weights_module.WEIGHTS, "toy", entry)
    monkeypatch.setattr(weights_module.urllib.request, "urlopen", lambda *a, **k: _Reply(b"bad"))
    with pytest.raises(FaceswapError, match="sha256"):
        weights_module.find_weights("toy")
    assert not (tmp_path / "cache").exists()
    weights_module._failures.clear()
    monkeypatch.setattr(weights_module.urllib.request, "urlopen", lambda *a, **k: _Reply(good))
    path = weights_module.find_weights("toy")
    assert path.read_bytes() == good
    assert [file.name for file in path.parent.iterdir()] == ["toy.bin"]
    # A file of that name that is another one is not used.
    named = tmp_path / "weights" / "toy.bin"
    named.parent.mkdir()
    named.write_bytes(good[::-1])
    assert weights_module.find_weights("toy") == path


def test_a_silent_network_costs_the_time_out_once(
    offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(weights_module, "CONNECT_TIMEOUT_S", 0.05)
    monkeypatch.setattr(
        weights_module.urllib.request, "urlopen", lambda *a, **k: never.wait(timeout=2)
    )
    for name in ("yunet", "mesh"):
        with pytest.raises(FaceswapError, match="no answer"):
            weights_module.find_weights(name)
    never.set()


def test_distances() -> None:
    a, b = np.array([1.0, 0.0]), np.array([0.0, 2.0])
    assert embedding_distance(a, b, "cosine") == pytest.approx(1)
    assert embedding_distance(a, -3 * a, "cosine") == pytest.approx(2)
    assert embedding_distance(a, b, "euclidean") == pytest.approx(np.sqrt(5))


def test_deep_pictures_become_8_bit() -> None:
    deep = np.array([[[0, 257, 65535]]], np.uint16)
    np.testing.assert_array_equal(as_uint8(deep), [[[0, 1, 255]]])


def test_mtcnns_points_stay_put_when_the_picture_moves() -> None:
    pack = build_pack("mtcnn", "five", "none")
    state = ActorState(yaw_deg=15, mouth=0.3)
    image = render_actor(ACTORS["bruno"], state, 256).image
    still = pack.find(image)[0].landmarks
    shifts = [(3, 0), (0, 3), (5, 2), (7, 7)]
    moved = [pack.find(np.roll(image, (dy, dx), (0, 1)))[0].landmarks for dx, dy in shifts]
    gaps = [points - shift - still for points, shift in zip(moved, shifts, strict=True)]
    # The eyes are 46 px apart; the first look alone is off by up to 4 px.
    assert np.abs(gaps).max() < 1.5


def test_mtcnn_finds_actors_and_nothing_in_noise() -> None:
    pack = build_pack("mtcnn", "five", "none")
    actor = render_actor(ACTORS["ada"], ActorState(yaw_deg=20), 192)
    (face,) = pack.find(actor.image)
    truth = five_points(actor.landmarks.astype(np.float64), "ibug68")
    eyes = np.linalg.norm(truth[1] - truth[0])
    assert np.linalg.norm(face.landmarks - truth, axis=1).mean() / eyes < 0.15
    assert face.embedding is None and face.presence is None
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    assert pack.find(noise) == []
    assert pack.find(np.zeros((1, 1, 3), np.uint8)) == []


def test_auto_on_actors(with_weights: Path) -> None:
    pack = build_pack()
    assert pack.embedder_name == "mobilefacenet"
    for name, yaw in (("ada", -40), ("bruno", 0), ("chen", 25), ("dara", 40)):
        actor = render_actor(ACTORS[name], ActorState(yaw_deg=yaw, mouth=0.7), 256)
        (face,) = pack.find(actor.image)
        truth = actor.landmarks.astype(np.float64)
        # Drawn faces, another definition of the points: near, not equal.
        assert abs(estimate_pose(face.landmarks, "mesh").yaw_deg - yaw) < 13
        opening = mouth_opening(face.landmarks, "mesh")
        assert opening is not None and opening > 0.12
        mesh = align(face.landmarks, "mesh", "full", 128)
        five = align(truth, "ibug68", "full", 128)
        assert similarity_scale(mesh) == pytest.approx(similarity_scale(five), rel=0.15)


def test_mesh_and_five_crops_agree_on_real_faces(with_weights: Path, media_dir: Path) -> None:
    pack = build_pack("yunet", "mesh", "none")
    for name in ("grid_s1_train_1", "franck_train_1"):
        with open_clip(media_dir / "video" / f"{name}.mp4") as reader:
            (face,) = pack.find(next(iter(reader)).image)
        mesh, five = (
            align(face.landmarks, "mesh", "full", 100),
            align(face.detection.five, "five", "full", 100),
        )
        middle = np.array([50.0, 50.0, 1.0])
        there = five @ [*np.linalg.solve(mesh[:, :2], middle[:2] - mesh[:, 2]), 1.0]
        assert np.abs(there - middle[:2]).max() < 5
        assert similarity_scale(five) == pytest.approx(similarity_scale(mesh), rel=0.12)


def test_no_false_faces(with_weights: Path, media_dir: Path) -> None:
    pack = build_pack("yunet", "mesh", "none")
    for path in sorted((media_dir / "stills" / "noface").iterdir()):
        found = pack.find(read_image(path), min_confidence=0.6, min_presence=0)
        sure = [f for f in found if is_sure(f.detection.confidence, f.presence, 0.9)]
        assert sure == [], path.name


@pytest.mark.parametrize("name", ["mobilefacenet", "dlib"])
def test_embedders_tell_people_apart(name: str, with_weights: Path, media_dir: Path) -> None:
    if name == "dlib":
        pytest.importorskip("dlib")
    pack = build_pack("yunet", "five", name)
    assert pack.embedder is not None
    vectors: dict[str, list[np.ndarray]] = {}
    for person, clip in (
        ("s1", "grid_s1_train_1"),
        ("s1", "grid_s1_eval_1"),
        ("franck", "franck_train_1"),
        ("franck", "franck_eval_1"),
        ("lpd9", "lpd9_train_1"),
    ):
        with open_clip(media_dir / "video" / f"{clip}.mp4") as reader:
            (face,) = pack.find(next(iter(reader)).image)
        assert face.embedding is not None
        vectors.setdefault(person, []).append(face.embedding)
    for person, own in vectors.items():
        for other, theirs in vectors.items():
            for a in own:
                for b in theirs:
                    near = embedding_distance(a, b, pack.embedder.metric)
                    assert (near < pack.embedder.same_person) == (person == other)


def boxes(*lefts: float) -> np.ndarray:
    return np.array([[x, 0.0, x + 10, 10.0] for x in lefts])


def test_overlap() -> None:
    assert overlap(boxes(0)[0], boxes(0)[0]) == 1
    assert overlap(boxes(0)[0], boxes(5)[0]) == pytest.approx(1 / 3)
    assert overlap(boxes(0)[0], boxes(20)[0]) == 0


def test_tracks_follow_boxes_and_become_sure_for_good() -> None:
    tracker = Tracker()
    first, _ = tracker.update(0, boxes(0, 30), [False, False], cut=False)
    second, _ = tracker.update(1, boxes(1, 31), [True, False], cut=False)
    third, ended = tracker.update(2, boxes(32, 2), [False, False], cut=False)
    assert [t.number for t in first] == [t.number for t in second] == [0, 1]
    assert [t.number for t in third] == [1, 0]
    assert [t.sure for t in third] == [False, True]
    assert ended == []


def test_tracks_end_at_cuts_and_gaps() -> None:
    tracker = Tracker(max_gap_frames=3)
    tracker.update(0, boxes(0), [True], cut=False)
    same, ended = tracker.update(3, boxes(0), [False], cut=False)
    assert same[0].sure and ended == []
    after_gap, ended = tracker.update(7, boxes(0), [False], cut=False)
    assert not after_gap[0].sure and len(ended) == 1
    after_cut, ended = tracker.update(8, boxes(0), [False], cut=True)
    assert after_cut[0].number == 2 and len(ended) == 1
    assert [track.number for track in tracker.live] == [2]


def test_what_is_sure() -> None:
    assert is_sure(0.91, None, 0.9) and not is_sure(0.89, None, 0.9)
    assert is_sure(0.86, 1.0, 0.9)  # a small tilted face
    assert not is_sure(0.87, 0.25, 0.9)  # a dog
    assert not is_sure(0.83, 1.0, 0.9)  # upside down
    assert not is_sure(0.95, 0.1, 0.9)  # a full profile


def test_a_cut_is_seen_and_a_turn_is_not() -> None:
    states = [ActorState(yaw_deg=yaw) for yaw in (0, 4)]
    first, turned = (thumbnail(render_actor(ACTORS["ada"], s, 128).image) for s in states)
    other = thumbnail(render_actor(ACTORS["bruno"], states[0], 128, background=3).image)
    dark = thumbnail(np.zeros((128, 128, 3), np.uint8))

    def is_cut(before: np.ndarray, now: np.ndarray) -> bool:
        """Among frames that hardly differ."""
        return find_cuts([0, 0.9, 0.9, change(before, now), 0.9, 0.9]) == {3}

    assert not is_cut(first, turned)
    assert is_cut(first, dark)
    assert is_cut(first, 255 - other)
