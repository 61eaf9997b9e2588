"""Records inside crops, and folders that people have been at."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Cast
from PIL import Image

from faceswap_lite.about import describe_face_set
from faceswap_lite.actors.cast import ACTORS
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.actors.render import render_actor
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces import face_set as face_set_module
from faceswap_lite.faces.align import CROP_COVERAGES, align, cut_crop
from faceswap_lite.faces.extract import delete_crops_of
from faceswap_lite.faces.face_set import HIDDEN_FOLDER, REJECTED_FOLDER, open_face_set
from faceswap_lite.faces.hull import face_mask
from faceswap_lite.faces.records import FaceRecord, read_record, write_crop
from faceswap_lite.geometry import transform_points
from faceswap_lite.media.truth import load_truth
from faceswap_lite.metrics.landmarks import estimate_pose, five_points

FRAME = 160
SIZE = 96
MARGIN = 0.15


def make_face(
    frame_index: int = 0, *, clip: str = "a.mp4", job: str = "one", **changes: object
) -> tuple[np.ndarray, np.ndarray, FaceRecord]:
    """An actor's frame, its crop and its record."""
    actor = render_actor(ACTORS["ada"], ActorState(yaw_deg=3.0 * frame_index), FRAME)
    five = five_points(actor.landmarks.astype(np.float64), "ibug68")
    coverage = str(changes.get("coverage", "full"))
    frame_to_crop = align(five, "five", CROP_COVERAGES[coverage] * (1 + 2 * MARGIN), SIZE)
    values = {
        "job": job,
        "clip_name": clip,
        "clip_fingerprint": f"print of {clip}",
        "frame_index": frame_index,
        "pts": 512 * frame_index,
        "time": f"{frame_index}/25",
        "frame_width": FRAME,
        "frame_height": FRAME,
        "face": 0,
        "track": 0,
        "box_xyxy": [10.0 + frame_index, 10, 120, 150],
        "confidence": 0.97,
        "presence": None,
        "detector": "mtcnn",
        "landmarks_pack": "five",
        "landmarks": five,
        "five": five,
        "embedder": "toy",
        "embedding": np.arange(4.0) + frame_index,
        "coverage": coverage,
        "margin": MARGIN,
        "size": SIZE,
        "frame_to_crop": frame_to_crop,
        "sharpness": 0.3,
        "pose": estimate_pose(five, "five").rounded(),
        "mouth_opening": None,
        "eye_opening": None,
        "missing": {"mouth_opening": "five points do not show the lips"},
        **changes,
    }
    record = FaceRecord.model_validate(values)
    return actor.image, cut_crop(actor.image, frame_to_crop, SIZE), record


def make_set(folder: Path, frames: int = 4, *, job: str = "one", clip: str = "a.mp4") -> list[str]:
    """A set as an extraction leaves it; the names of its crops."""
    names = []
    for index in range(frames):
        _, crop, record = make_face(index, job=job, clip=clip)
        name = f"a_{index:06d}_0.png"
        write_crop(folder / name, crop, record)
        names.append(name)
    note = {
        "job": job,
        "finished": True,
        "files": names,
        "clips": [{"fingerprint": "print of a.mp4", "prefix": "a"}],
    }
    (folder / HIDDEN_FOLDER).mkdir()
    (folder / HIDDEN_FOLDER / "extraction.json").write_text(json.dumps(note))
    return names


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_crop_carries_its_record(tmp_path: Path, suffix: str) -> None:
    _, crop, record = make_face(3)
    path = tmp_path / f"face{suffix}"
    write_crop(path, crop, record)
    read = read_record(path)
    assert read is not None
    assert read.model_dump(mode="json") == record.model_dump(mode="json")
    np.testing.assert_array_equal(read.frame_to_crop, record.frame_to_crop)
    np.testing.assert_allclose(read.landmarks, record.landmarks, atol=0.006)  # two decimals
    pixels = np.asarray(Image.open(path)).astype(int)
    # JPEG at quality 95 stays near; PNG is exact.
    assert np.abs(pixels - crop).mean() <= (0 if suffix == ".png" else 3)


def test_the_record_is_readable_text_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    _, crop, record = make_face()
    for name in ("one.png", "two.png"):
        write_crop(tmp_path / name, crop, record)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    text = Image.open(tmp_path / "one.png").text["faceswap_lite"]  # type: ignore[attr-defined]
    assert json.loads(text)["clip_name"] == "a.mp4"


def test_a_record_behind_the_pixels_is_found(tmp_path: Path) -> None:
    _, crop, record = make_face()
    path = tmp_path / "face.png"
    write_crop(path, crop, record)
    data = path.read_bytes()
    start = data.index(b"iTXt") - 4
    length = int.from_bytes(data[start : start + 4], "big") + 12
    chunk, rest = data[start : start + length], data[:start] + data[start + length :]
    path.write_bytes(rest[:-12] + chunk + rest[-12:])
    assert read_record(path) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [({"version": 2}, "version"), ({"size": 50}, "says 50x50"), ({"extra": 1}, "extra")],
)
def test_records_that_cannot_be_used(tmp_path: Path, change: dict, message: str) -> None:
    _, crop, record = make_face()
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("faceswap_lite", json.dumps({**record.model_dump(mode="json"), **change}))
    Image.fromarray(crop).save(tmp_path / "face.png", pnginfo=info)
    with pytest.raises(FaceswapError, match=message):
        read_record(tmp_path / "face.png")


def test_records_refuse_nonsense() -> None:
    for change in ({"landmarks": [[1.0, float("nan")]]}, {"five": [[1, 2]]}, {"time": "soon"}):
        with pytest.raises(ValueError):
            make_face(0, **change)


def test_a_set_is_in_order_and_has_no_problems(tmp_path: Path) -> None:
    names = make_set(tmp_path)
    faces = open_face_set(tmp_path)
    assert [face.path.name for face in faces.faces] == names
    assert (faces.pack, faces.coverage, faces.embedder) == ("five", "full", "toy")
    assert faces.problems == []
    vectors = faces.embeddings()
    assert vectors is not None and vectors.shape == (4, 4)


def test_what_people_do_to_a_set(tmp_path: Path) -> None:
    """Deleted, renamed, copied in, copied twice, foreign, broken: it opens, one line on each."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    names = make_set(ours, 6)
    make_set(other, 2, job="another", clip="b.mp4")
    (ours / names[0]).unlink()
    (ours / names[1]).rename(ours / "zzz my favourite.png")
    shutil.copy(other / "a_000000_0.png", ours / "from_other.png")
    shutil.copy(ours / names[2], ours / "copy of it.png")
    Image.new("RGB", (30, 20)).save(ours / "holiday.jpg")
    (ours / names[3]).write_bytes((ours / names[3]).read_bytes()[:60])
    (ours / "notes.txt").write_text("mine")
    faces = open_face_set(ours)
    assert len(faces.faces) == 5
    assert faces.faces[0].path.name == "zzz my favourite.png"
    expected = (
        "holiday.jpg",
        names[3],
        "1 thing that is no PNG",
        "copy of it.png",
        "from_other.png",
        "zzz my favourite.png",
        "2 of 6 extracted faces have been removed",
    )
    for words in expected:
        assert sum(words in line for line in faces.problems) == 1, words
    assert len(faces.problems) == len(expected)
    assert all("\n" not in line for line in faces.problems)
    assert faces.crops(32, 0).shape == (5, 32, 32, 3)


def test_what_is_set_aside_is_no_part_of_the_set(tmp_path: Path) -> None:
    names = make_set(tmp_path, 6)
    aside = tmp_path / REJECTED_FOLDER / "blurred"
    aside.mkdir(parents=True)
    (tmp_path / names[1]).rename(aside / names[1])
    faces = open_face_set(tmp_path)
    assert len(faces.faces) == 5
    assert faces.problems == ["1 of 6 extracted faces is set aside in _rejected"]
    (tmp_path / names[2]).rename(aside / "renamed.png")
    (tmp_path / names[4]).unlink()
    (aside / "notes.txt").write_text("mine")
    (aside / "._a_000001_0.png").write_text("a system's own")
    assert open_face_set(tmp_path).problems == [
        "2 of 6 extracted faces are set aside in _rejected",
        "1 of 6 extracted faces have been removed",
    ]
    assert "note       2 of 6" in describe_face_set(tmp_path)
    delete_crops_of(tmp_path, "one")
    assert len(list(aside.glob("a_*.png"))) == 1 and not list(tmp_path.glob("*.png"))


def test_the_same_crops_make_the_same_index(tmp_path: Path) -> None:
    names = make_set(tmp_path)
    open_face_set(tmp_path)
    index = tmp_path / HIDDEN_FOLDER / "index.npz"
    before = index.read_bytes()
    (tmp_path / names[0]).rename(tmp_path.parent / "away.png")
    open_face_set(tmp_path)
    assert index.read_bytes() != before
    (tmp_path.parent / "away.png").rename(tmp_path / names[0])
    open_face_set(tmp_path)
    assert index.read_bytes() == before


def test_the_hidden_folder_may_be_lost(tmp_path: Path) -> None:
    make_set(tmp_path)
    shutil.rmtree(tmp_path / HIDDEN_FOLDER)
    faces = open_face_set(tmp_path)
    assert len(faces.faces) == 4 and faces.problems == []


def test_the_index_saves_reading_and_follows_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_set(tmp_path)
    first = open_face_set(tmp_path)
    read: list[str] = []

    def counted(path: Path) -> FaceRecord | None:
        read.append(path.name)
        return read_record(path)

    monkeypatch.setattr(face_set_module, "read_record", counted)
    again = open_face_set(tmp_path)
    assert read == []
    for a, b in zip(first.faces, again.faces, strict=True):
        assert a.record.model_dump_json() == b.record.model_dump_json()
        np.testing.assert_array_equal(a.record.landmarks, b.record.landmarks)
        np.testing.assert_array_equal(a.record.frame_to_crop, b.record.frame_to_crop)
    _, crop, record = make_face(50)
    write_crop(tmp_path / names[2], crop, record)
    (tmp_path / names[0]).unlink()
    changed = open_face_set(tmp_path)
    assert read == [names[2]]
    assert [face.record.frame_index for face in changed.faces] == [1, 3, 50]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no index", b"\x80\x04N."])
def test_a_broken_index_is_rebuilt(tmp_path: Path, content: bytes) -> None:
    make_set(tmp_path)
    open_face_set(tmp_path)
    (tmp_path / HIDDEN_FOLDER / "index.npz").write_bytes(content)
    assert len(open_face_set(tmp_path).faces) == 4


def test_an_index_that_would_run_code_runs_none(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "it ran",)

    make_set(tmp_path)
    bomb = np.empty(1, object)
    bomb[0] = Bomb()
    np.savez(tmp_path / HIDDEN_FOLDER / "index.npz", rows=bomb, landmarks=bomb, vectors=bomb)
    assert len(open_face_set(tmp_path).faces) == 4
    assert not (tmp_path / "it ran").exists()


def test_what_cannot_be_used_together_is_refused(tmp_path: Path) -> None:
    make_set(tmp_path)
    _, crop, record = make_face(9, coverage="head")
    write_crop(tmp_path / "head.png", crop, record)
    with pytest.raises(FaceswapError, match="different coverage"):
        open_face_set(tmp_path)
    (tmp_path / "head.png").unlink()
    _, crop, record = make_face(9, landmarks_pack="mesh", landmarks=np.zeros((468, 2)))
    write_crop(tmp_path / "mesh.png", crop, record)
    with pytest.raises(FaceswapError, match="different landmarks"):
        open_face_set(tmp_path)


def test_too_few_faces_and_no_set(tmp_path: Path) -> None:
    make_set(tmp_path / "few", 3)
    with pytest.raises(FaceswapError, match=r"only 3 faces, at least 10 are needed; extract more"):
        open_face_set(tmp_path / "few", minimum=10)
    with pytest.raises(FaceswapError, match="no such face set"):
        open_face_set(tmp_path / "nowhere")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "pictures" / "mine.png")
    with pytest.raises(FaceswapError, match=r"holds no faces.*mine\.png"):
        open_face_set(tmp_path / "pictures")
    (tmp_path / "file").write_text("")
    with pytest.raises(FaceswapError, match="is a file"):
        open_face_set(tmp_path / "file")


def test_crops_and_masks_at_a_models_size(tmp_path: Path) -> None:
    make_set(tmp_path, 3)
    faces = open_face_set(tmp_path)
    image, _, record = make_face(1)
    five = record.five.astype(np.float64)
    # Inner crop of 48 px, margin 0.1: 58 px, which show 3.3 * 58 / 48 eye distances.
    direct = align(five, "five", CROP_COVERAGES["full"] * 58 / 48, 58)
    crops = faces.crops(48, 0.1)
    assert crops.shape == (3, 58, 58, 3) and crops.dtype == np.uint8
    # Resampled twice instead of once.
    difference = np.abs(crops[1].astype(int) - cut_crop(image, direct, 58).astype(int))
    assert difference.mean() < 4
    masks = faces.masks(48, 0.1)
    expected = np.round(face_mask(five, "five", direct, 58) * 255)
    assert masks.shape == (3, 58, 58)
    assert np.abs(masks[1].astype(float) - expected).mean() < 1
    features = faces.features(48, 0.1)
    assert ((features[1] > 200) & (masks[1] < 50)).sum() == 0
    with pytest.raises(FaceswapError, match=r"margin of 0\.3"):
        faces.crops(48, 0.3)


def test_a_crop_that_went_bad_since_is_named(tmp_path: Path) -> None:
    names = make_set(tmp_path)
    faces = open_face_set(tmp_path)
    (tmp_path / names[2]).write_bytes(b"oops")
    with pytest.raises(FaceswapError, match=names[2]):
        faces.crops(32, 0)


def test_description(tmp_path: Path) -> None:
    make_set(tmp_path)
    text = describe_face_set(tmp_path)
    for words in ("4 faces from 1 clip", "yaw", "five points do not show the lips", "a.mp4: 4"):
        assert words in text


def test_an_actors_masks_and_openings_are_the_renderers(cast: Cast) -> None:
    truth = load_truth(cast.target_clip)
    assert truth is not None
    faces = open_face_set(cast.target)
    spilled: dict[str, list[float]] = {"ibug68": [], "five": []}
    for face in faces.faces[::8]:
        record = face.record
        assert record.landmarks_pack == "five" and record.mouth_opening is not None
        mask = truth.face_masks[record.frame_index][..., None].repeat(3, 2)
        truly = cut_crop(mask, record.frame_to_crop, record.size)[..., 0] > 127
        eyes = transform_points(record.five.astype(np.float64), record.frame_to_crop)[:2, 1]
        below = slice(int(eyes.max()), None)  # forehead and hair are the ellipse's in both
        for points, pack in (record.outline, (record.five, "five")):
            drawn = face_mask(points, pack, record.frame_to_crop, record.size) > 0.5
            spilled[pack].append((drawn & ~truly)[below].mean())
    assert np.mean(spilled["ibug68"]) < 0.5 * np.mean(spilled["five"])
