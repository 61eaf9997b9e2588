"""The extract stage, mostly on a detector that reads its faces from the pixels of a drawn clip."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from faceswap_lite.config import ExtractConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces import extraction as extraction_module
from faceswap_lite.faces import finding as finding_module
from faceswap_lite.faces.detect import Detection
from faceswap_lite.faces.embed import embedding_distance
from faceswap_lite.faces.extract import ExtractSummary, extract_faces
from faceswap_lite.faces.extraction import Extraction
from faceswap_lite.faces.face_set import HIDDEN_FOLDER, open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.faces.journal import Append
from faceswap_lite.faces.landmarkers import Five
from faceswap_lite.faces.pack import DETECTORS, FacePack
from faceswap_lite.media.images import read_photo, write_image
from faceswap_lite.metrics.landmarks import CANONICAL_FIVE
from faceswap_lite.outputs import sealed

# So large that a face that comes or goes is no cut.
HEIGHT, WIDTH = 200, 320


def settings(**options: object) -> ExtractConfig:
    return ExtractConfig.model_validate({"size": 64, **options})


CONFIG = settings()
RED, BLUE = (220, 30, 30), (30, 40, 220)


@dataclass
class Painted:
    """A face painted into a frame: where it is, how sure the detector is, who it is."""

    x: int
    score: float
    color: tuple[int, int, int] = RED


def paint(faces: list[Painted], background: int = 90) -> np.ndarray:
    """A frame whose first pixels tell the detector below what is on it."""
    image = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
    for place, face in enumerate(faces):
        image[40:90, face.x : face.x + 40] = face.color
        image[0, place] = (face.x, round(face.score * 250), 1)
    return image


def paint_clip(folder: Path, frames: list[list[Painted]]) -> Path:
    return write_frames(folder, [paint(faces) for faces in frames])


def write_frames(folder: Path, images: list[np.ndarray]) -> Path:
    for index, image in enumerate(images):
        write_image(folder / f"{index:04d}.png", image, None)
    return folder


class ToyDetector:
    def __call__(self, image: np.ndarray, min_confidence: float) -> list[Detection]:
        faces = []
        for x, score, there in image[0, :8].astype(float):
            if there == 1 and score / 250 >= min_confidence:
                box = np.array([x, 40, x + 40, 90])
                five = CANONICAL_FIVE * 16 + [x + 20, 58]
                faces.append(Detection(box, float(score) / 250, five))
        return faces


class ToyEmbedder:
    name = "toy"
    metric = "cosine"
    same_person = 0.2

    def __call__(self, image: np.ndarray, five: np.ndarray) -> np.ndarray:
        x, y = five[2].round().astype(int)
        return image[y, x].astype(np.float32) / 255


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The toy networks in place of real ones; the names of the packs that were asked for."""
    asked: list[str] = []

    def build(detector: str, landmarks: str, embedder: str, **_: int) -> FacePack:
        asked.append(f"{detector} {landmarks} {embedder}")
        vectors = None if embedder == "none" else ToyEmbedder()
        name = None if vectors is None else "toy"
        return FacePack("toy", "five", name, ToyDetector(), Five(), vectors, ["a toy pack"])  # type: ignore[arg-type]

    monkeypatch.setattr(finding_module, "build_pack", build)
    monkeypatch.setitem(DETECTORS, "toy", lambda *_: ToyDetector())
    return asked


def contents(folder: Path) -> dict[str, str]:
    """The visible files and their hashes."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
        if not file.name.startswith(".")
    }


def story() -> list[list[Painted]]:
    """A face that starts weak and becomes sure, a second one that never does, an empty frame."""
    frames = [[Painted(20 + i, 0.95 if i == 4 else 0.7)] for i in range(8)]
    for i in (2, 3, 4):
        frames[i].append(Painted(120, 0.65, BLUE))
    return [*frames, [], [], [Painted(150, 0.97, BLUE)]]


def test_weak_faces_need_a_sure_track(tmp_path: Path, toy: list[str]) -> None:
    clip = paint_clip(tmp_path / "clip", story())
    summary = extract_faces(find_footage([clip]), tmp_path / "set", CONFIG)
    names = [f"clip_{i:06d}_0.png" for i in (*range(8), 10)]
    assert sorted(contents(tmp_path / "set")) == names
    assert (summary.frames, summary.kept) == (11, 9)
    counts = (summary.frames_with_none, summary.frames_with_one, summary.frames_with_many)
    assert counts == (2, 9, 0)
    assert summary.dropped == {"never confident enough in their track": 3}
    faces = open_face_set(tmp_path / "set")
    assert faces.problems == []
    record = faces.faces[3].record
    assert (record.clip_name, record.frame_index, record.track) == ("clip", 3, 0)
    assert record.box_xyxy.tolist() == [23, 40, 63, 90]
    assert set(record.missing) == {"mouth_opening", "eye_opening", "presence"}
    assert faces.faces[-1].record.track == 2
    # Eyes where the canonical face has them: 64 px show 3.3 * 1.3 eye distances.
    crop = np.array([[*record.five.mean(0), 1.0]]) @ record.frame_to_crop.T
    assert abs(crop[0, 0] - 31.5) < 1


def test_a_clip_s_name_may_be_of_any_length(tmp_path: Path, toy: list[str]) -> None:
    clips = [
        paint_clip(tmp_path / ("a" * 255), story()),
        paint_clip(tmp_path / ("ä" * 127), story()[1:]),
    ]
    out = tmp_path / ("set" * 85)
    summary = extract_faces(find_footage(clips), out, CONFIG)
    assert summary.clips == 2 and len(open_face_set(out).faces) == summary.kept > 0
    assert open_face_set(out).problems == []
    assert extract_faces(find_footage(clips), out, CONFIG).already_done
    # Short ones stay as they were.
    extract_faces(
        find_footage([clips[0].rename(tmp_path / ("b" * 200))]), tmp_path / "short", CONFIG
    )
    assert all(p.name.startswith("b" * 200) for p in (tmp_path / "short").glob("*.png"))


def test_a_cut_parts_tracks(tmp_path: Path, toy: list[str]) -> None:
    clip = tmp_path / "clip"
    paint_clip(clip, [[Painted(50, 0.95)]] * 3)
    write_image(clip / "0003.png", paint([Painted(50, 0.7)], background=250), None)
    summary = extract_faces(find_footage([clip]), tmp_path / "set", CONFIG)
    assert (summary.kept, summary.frames) == (3, 4)


def sentences() -> list[np.ndarray]:
    """One place, the light a little changed twice: a sure face, and a weak one after each cut."""
    scores = [0.95] * 5 + [0.7] * 6 + [0.7, 0.7, 0.95, 0.7, 0.95, 0.95]
    lights = [90] * 5 + [100] * 6 + [94] * 6
    return [paint([Painted(50, s)], light) for s, light in zip(scores, lights, strict=True)]


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_cut_that_only_stands_out_parts_tracks(
    tmp_path: Path, toy: list[str], every: int
) -> None:
    clip = write_frames(tmp_path / "clip", sentences())
    extract_faces(find_footage([clip]), tmp_path / "set", settings(every=every))
    faces = open_face_set(tmp_path / "set").faces
    frames = [i for i in (*range(5), *range(11, 17)) if i % every == 0]
    assert [face.record.frame_index for face in faces] == frames
    assert [face.record.track for face in faces] == [0 if i < 5 else 2 for i in frames]


def test_cuts_are_the_same_however_often_an_extraction_is_stopped(
    tmp_path: Path, toy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_frames(tmp_path / "clip", sentences())
    config = settings(every=2)
    extract_faces(find_footage([clip]), tmp_path / "whole", config)
    append, out = extraction_module.append_lines, tmp_path / "set"

    @contextmanager
    def one_line(*given: Any) -> Iterator[Append]:
        with append(*given) as add:

            def add_and_stop(line: dict[str, Any]) -> None:
                add(line)
                raise Stop

            yield add_and_stop

    with monkeypatch.context() as patch:
        patch.setattr(extraction_module, "append_lines", one_line)
        for _ in range(10):  # nine frames and the end
            with pytest.raises(Stop):
                extract_faces(find_footage([clip]), out, config)
    extract_faces(find_footage([clip]), out, config)
    assert contents(out) == contents(tmp_path / "whole")


def test_what_an_earlier_version_began_begins_anew(
    tmp_path: Path, toy: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Its journal had no head, and its cuts were others."""
    clip = paint_clip(tmp_path / "clip", story())
    extract_faces(find_footage([clip]), tmp_path / "whole", CONFIG)
    out = tmp_path / "set"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Extraction, "_commit", stop_after(Extraction._commit, 6))
        extract_faces(find_footage([clip]), out, CONFIG)
    journal = out / HIDDEN_FOLDER / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) > 3 and contents(out)
    journal.write_text("".join(lines[1:]))
    (crop, *_) = sorted(out.glob("*.png"))
    crop.rename(out / "renamed.png")
    extract_faces(find_footage([clip]), out, CONFIG)
    assert "starting over" in capsys.readouterr().out
    assert contents(out) == contents(tmp_path / "whole")


class Stop(Exception):
    """In place of a kill."""


def stop_after(work: Any, maximum: int) -> Callable[..., Any]:
    """`work`, until it has been called so many times."""
    calls = 0

    def stopping(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls > maximum:
            raise Stop
        return work(*args, **options)

    return stopping


@pytest.mark.parametrize("where", ["write_crop", "replace", "journal"])
def test_an_interrupted_extraction_ends_like_an_undisturbed_one(
    tmp_path: Path, toy: list[str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    clips = [
        paint_clip(tmp_path / "a" / "clip", story()),
        paint_clip(tmp_path / "b" / "clip", story()[::-1]),
    ]
    expected = extract_faces(find_footage(clips), tmp_path / "whole", CONFIG)
    whole = contents(tmp_path / "whole")
    real = {
        "write_crop": extraction_module.write_crop,
        "replace": os.replace,
        "journal": json.dumps,
    }[where]
    owner = {"write_crop": extraction_module, "replace": os, "journal": json}[where]
    attribute = {"journal": "dumps"}.get(where, where)
    for stop_at in (1, 2, 5, 9, 14):
        out = tmp_path / f"set{stop_at}"
        with monkeypatch.context() as patch:
            patch.setattr(owner, attribute, stop_after(real, stop_at))
            with pytest.raises(Stop):
                extract_faces(find_footage(clips), out, CONFIG)
        summary = extract_faces(find_footage(clips), out, CONFIG)
        assert contents(out) == whole_with_prefix(whole)
        assert summary.kept == expected.kept and summary.dropped == expected.dropped
        assert sorted(f.name for f in (out / HIDDEN_FOLDER).iterdir()) == [
            "extraction.json",
            "index.npz",
        ]


def test_a_kill_before_the_first_frame(
    tmp_path: Path, toy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once its own, a new folder; one that was there may hold our empty one."""
    clip, out = paint_clip(tmp_path / "clip", story()), tmp_path / "set"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(os, "replace", stop_after(os.replace, 0))
        extract_faces(find_footage([clip]), out, CONFIG)
    assert not out.exists()
    (out / HIDDEN_FOLDER).mkdir(parents=True)
    assert extract_faces(find_footage([clip]), out, CONFIG).kept == 9


def test_what_the_first_call_noted_is_kept(
    tmp_path: Path, toy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, out = paint_clip(tmp_path / "clip", story()), tmp_path / "set"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Extraction, "_commit", stop_after(Extraction._commit, 6))
        extract_faces(find_footage([clip]), out, CONFIG)
    file = out / HIDDEN_FOLDER / "extraction.json"
    told = {**json.loads(file.read_text()), "notes": ["auto chose these"]}
    file.write_text(json.dumps(sealed(told)))
    assert extract_faces(find_footage([clip]), out, CONFIG).notes == ["auto chose these"]


def whole_with_prefix(whole: dict[str, str]) -> dict[str, str]:
    """Two clips of one name: their crops are told apart, and none is lost."""
    assert len(whole) == 18 and len({name[:13] for name in whole}) == 2
    return whole


def test_a_killed_process_goes_on(tmp_path: Path, with_weights: Path, media_dir: Path) -> None:
    clip = media_dir / "video" / "robust" / "vfr.mp4"
    program = (
        "import sys; from pathlib import Path; from faceswap_lite.config import ExtractConfig; "
        "from faceswap_lite.faces.extract import extract_faces; "
        "from faceswap_lite.faces.footage import find_footage; clips = [Path(sys.argv[1])]; "
        "extract_faces(find_footage(clips), Path(sys.argv[2]), ExtractConfig(embedder='none'))"
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-c", program, str(clip)]
    process = subprocess.Popen([*command, str(killed)])
    journal = killed / HIDDEN_FOLDER / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.read_bytes().count(b"\n") > 25):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(contents(killed)) < 100
    assert any("not finished" in line for line in open_face_set(killed).problems)
    subprocess.run([*command, str(killed)], check=True, timeout=120)
    subprocess.run([*command, str(whole)], check=True, timeout=120)
    assert contents(killed) == contents(whole)
    assert len(contents(whole)) == 100


def test_the_same_command_again_does_nothing(
    tmp_path: Path, toy: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    clip = paint_clip(tmp_path / "clip", story())
    out = tmp_path / "set"
    first = extract_faces(find_footage([clip]), out, CONFIG)
    (out / "clip_000000_0.png").unlink()
    asked = len(toy)
    again = extract_faces(find_footage([clip]), out, CONFIG)
    assert again.already_done and len(toy) == asked
    assert again.kept == first.kept
    assert "already done" in capsys.readouterr().out
    assert not (out / "clip_000000_0.png").exists()


def test_another_job_needs_overwrite_which_spares_other_files(
    tmp_path: Path, toy: list[str]
) -> None:
    clip = paint_clip(tmp_path / "clip", story())
    out = tmp_path / "set"
    extract_faces(find_footage([clip]), out, CONFIG)
    other = settings(size=48, every=2)
    with pytest.raises(FaceswapError, match="--overwrite"):
        extract_faces(find_footage([clip]), out, other)
    assert len(contents(out)) == 9
    (out / "clip_000007_0.png").rename(out / "renamed.png")
    (out / "mine.txt").write_text("keep")
    write_image(out / "mine.png", paint([]), None)
    summary = extract_faces(find_footage([clip]), out, other, overwrite=True)
    assert {"mine.txt", "mine.png"} <= set(contents(out))
    assert "renamed.png" not in contents(out)
    assert len(contents(out)) == summary.kept + 2
    assert {face.record.size for face in open_face_set(out).faces} == {48}
    assert {face.record.frame_index % 2 for face in open_face_set(out).faces} == {0}


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path, toy: list[str]) -> None:
    clip = paint_clip(tmp_path / "clip", story())
    out = tmp_path / "holiday"
    out.mkdir()
    assert extract_faces(find_footage([clip]), out, CONFIG).kept == 9  # an empty folder will do
    other = tmp_path / "other"
    other.mkdir()
    (other / "photo.jpg").write_bytes(b"...")
    with pytest.raises(FaceswapError, match="not made by this command"):
        extract_faces(find_footage([clip]), other, CONFIG)
    assert list(contents(other)) == ["photo.jpg"]


def test_no_face_leaves_no_set(tmp_path: Path, toy: list[str]) -> None:
    clip = paint_clip(tmp_path / "clip", [[Painted(9, 0.7)], [], []])
    out = tmp_path / "set"
    with pytest.raises(FaceswapError, match=r"no face found in 3 frames; 1 never confident"):
        extract_faces(find_footage([clip]), out, CONFIG)
    assert not out.exists()
    out.mkdir()
    with pytest.raises(FaceswapError, match="no face found"):
        extract_faces(find_footage([clip]), out, CONFIG)
    assert list(out.iterdir()) == []


def test_few_faces_are_explained(tmp_path: Path, toy: list[str]) -> None:
    weak = [[Painted(9, 0.7)], [Painted(9, 0.8)], []]
    clip, out = paint_clip(tmp_path / "clip", [*weak, []]), tmp_path / "set"
    again = r"4 frames without a face, looked at again: nothing like a face in 2; only faces that "
    with pytest.raises(
        FaceswapError, match=rf"{again}have too low a confidence \(.*=0.9, .*0\.80\) in 2"
    ):
        extract_faces(find_footage([clip]), out, CONFIG)
    with pytest.raises(FaceswapError, match=rf"{again}are too small \(.*=60, .* 50 px\) in 2"):
        extract_faces(find_footage([clip]), out, settings(min_face_px=60))
    # One frame of five gave a face; and where most do, nobody asks.
    some = paint_clip(tmp_path / "some", [*weak, [], [Painted(9, 0.95)]])
    summary = extract_faces(find_footage([some]), tmp_path / "few", settings(low_confidence=0.85))
    assert summary.kept == 1
    assert [line for line in summary.lines() if line.startswith("4 frames without a face, looked")]
    many = paint_clip(tmp_path / "many", [[Painted(9, 0.95)]] * 3 + [[]])
    summary = extract_faces(find_footage([many]), tmp_path / "most", CONFIG)
    assert summary.kept == 3 and summary.problems == []


def test_unreadable_clips(tmp_path: Path, toy: list[str]) -> None:
    good = paint_clip(tmp_path / "clip", story())
    bad = tmp_path / "bad.mp4"
    bad.write_text("this is no video")
    summary = extract_faces(find_footage([bad, good]), tmp_path / "set", CONFIG)
    assert summary.kept == 9 and summary.clips == 1
    assert [p for p in summary.problems if "bad.mp4" in p and p.startswith("refused")]
    with pytest.raises(FaceswapError, match=r"bad\.mp4"):
        extract_faces(find_footage([bad]), tmp_path / "none", CONFIG)
    assert not (tmp_path / "none").exists()
    with pytest.raises(FaceswapError, match="no such clip"):
        extract_faces(find_footage([tmp_path / "gone.mp4"]), tmp_path / "none", CONFIG)


def test_a_disk_that_may_be_too_small_is_told_before_the_work(
    tmp_path: Path, toy: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    clip = paint_clip(tmp_path / "clip", [[Painted(50, 1.0)]] * 10)
    # 64x64 at 1.5 bytes a pixel, ten times: 61 kB.
    free = {"several faces fit": 20_000, "not one does": 5_000, "all fit": 70_000}
    for place, (name, count) in enumerate(free.items()):
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _, count=count: SimpleNamespace(free=count))
            if count < 64 * 64 * 1.5:
                with pytest.raises(FaceswapError, match=r"make room"):
                    extract_faces(find_footage([clip]), tmp_path / name, CONFIG)
                assert toy == [] and not (tmp_path / name).exists()
            else:
                assert extract_faces(find_footage([clip]), tmp_path / name, CONFIG).kept == 10
        assert ("may be full" in capsys.readouterr().out) == (place == 0)
        toy.clear()


def test_one_clip_given_twice_is_taken_once(tmp_path: Path, toy: list[str]) -> None:
    clip = paint_clip(tmp_path / "clip", story())
    summary = extract_faces(find_footage([clip, clip]), tmp_path / "set", CONFIG)
    assert summary.kept == 9
    copy = paint_clip(tmp_path / "copy", story())
    summary = extract_faces(find_footage([clip, copy]), tmp_path / "set2", CONFIG)
    assert summary.kept == 9 and any("used once" in line for line in summary.problems)


def two_people() -> list[list[Painted]]:
    return [[Painted(20, 0.95), Painted(120, 0.95, BLUE)] for _ in range(6)]


def test_everybody_goes_in_and_is_counted(tmp_path: Path, toy: list[str]) -> None:
    clip = paint_clip(tmp_path / "clip", [*two_people(), [Painted(20, 0.95)]])
    summary = extract_faces(find_footage([clip]), tmp_path / "set", CONFIG)
    assert summary.kept == 13 and summary.people == [7, 6]
    assert (summary.frames_with_one, summary.frames_with_many) == (1, 6)
    assert any("--like" in line for line in summary.lines())


def test_like_keeps_one_person(tmp_path: Path, toy: list[str]) -> None:
    clip = paint_clip(tmp_path / "clip", two_people())
    photo = tmp_path / "photo.png"
    write_image(photo, paint([Painted(60, 0.99, BLUE)]), None)
    summary = extract_faces(find_footage([clip]), tmp_path / "set", CONFIG, like=read_photo(photo))
    assert summary.kept == 6
    assert summary.dropped == {"not the person in the photo": 6}
    blue = np.array(BLUE, np.float32) / 255
    for face in open_face_set(tmp_path / "set").faces:
        assert face.record.embedding is not None
        assert embedding_distance(face.record.embedding, blue, "cosine") < 1e-3


def test_like_needs_a_face_and_an_embedder(tmp_path: Path, toy: list[str]) -> None:
    clip = paint_clip(tmp_path / "clip", two_people())
    photo = tmp_path / "photo.png"
    write_image(photo, paint([]), None)
    with pytest.raises(FaceswapError, match="no face found in it"):
        extract_faces(find_footage([clip]), tmp_path / "set", CONFIG, like=read_photo(photo))
    with pytest.raises(FaceswapError, match="needs an embedder"):
        blind = settings(embedder="none")
        extract_faces(find_footage([clip]), tmp_path / "set", blind, like=read_photo(photo))
    with pytest.raises(FaceswapError, match="no such photo"):
        extract_faces(
            find_footage([clip]), tmp_path / "set", CONFIG, like=read_photo(tmp_path / "gone.png")
        )
    assert not (tmp_path / "set").exists()


def test_every_nth_frame(tmp_path: Path, toy: list[str]) -> None:
    clip = paint_clip(tmp_path / "clip", [[Painted(20, 0.95)]] * 7)
    summary = extract_faces(find_footage([clip]), tmp_path / "set", settings(every=3))
    assert summary.frames == 3
    indices = [face.record.frame_index for face in open_face_set(tmp_path / "set").faces]
    assert indices == [0, 3, 6]


def extract_media(clip: Path, out: Path, **options: object) -> ExtractSummary:
    return extract_faces(find_footage([clip]), out, ExtractConfig.model_validate(options))


def test_real_clip_has_a_face_in_every_frame(
    tmp_path: Path, with_weights: Path, media_dir: Path
) -> None:
    clip = media_dir / "video" / "grid_s1_train_1.mp4"
    summary = extract_media(clip, tmp_path / "set", every=5)
    assert (summary.frames, summary.frames_with_one, summary.people) == (75, 75, [75])
    faces = open_face_set(tmp_path / "set")
    assert faces.pack == "mesh" and faces.embedder == "mobilefacenet"
    assert all(face.record.pose is not None for face in faces.faces)
    # He speaks: the mouth opens and closes.
    mouths = [face.record.mouth_opening for face in faces.faces]
    assert np.ptp([mouth for mouth in mouths if mouth is not None]) > 0.1
    inside = faces.masks(64, 0.0).mean((1, 2)) / 255
    assert ((inside > 0.3) & (inside < 0.75)).all()


def test_real_clips_of_groups_and_of_nobody(
    tmp_path: Path, with_weights: Path, media_dir: Path
) -> None:
    robust = media_dir / "video" / "robust"
    pair = extract_media(robust / "twofaces_headpose.mp4", tmp_path / "two", every=4)
    assert pair.frames_with_many == pair.frames and pair.people == [14, 14]
    with pytest.raises(FaceswapError, match="no face found"):
        extract_media(robust / "noface_bottles.mp4", tmp_path / "none", every=10)


def test_a_sideways_stored_clip_is_upright(
    tmp_path: Path, with_weights: Path, media_dir: Path
) -> None:
    clip = media_dir / "video" / "robust" / "rotation_metadata.mp4"
    summary = extract_media(clip, tmp_path / "set", every=25, max_edge_px=360)
    assert summary.kept == 3
    for face in open_face_set(tmp_path / "set").faces:
        assert face.record.pose is not None and abs(face.record.pose.roll_deg) < 20
