"""The check stage: planted gaps are named, and a clip is told from a dark one."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Cast, silent

from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion.painted import Placement
from faceswap_lite.curation.pose_coverage import Attributes, attributes_of
from faceswap_lite.errors import FaceswapError
from faceswap_lite.evaluation import check
from faceswap_lite.evaluation.check import check_clip, clip_sentence
from faceswap_lite.evaluation.out_of_distribution import (
    brightness_of,
    clip_attributes,
    find_out_of_distribution,
)
from faceswap_lite.evaluation.trust import pick_worst
from faceswap_lite.faces.detect import Detection
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.pack import FoundFace
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.outputs import read_json
from faceswap_lite.runs.trained import TrainedRun


def attributes(**values: np.ndarray) -> Attributes:
    count = len(next(iter(values.values())))
    nothing = {name: np.full(count, np.nan) for name in Attributes.__dataclass_fields__}
    return Attributes(**(nothing | values))


def test_planted_turns_are_counted_and_named():
    known = attributes(yaw_deg=np.linspace(-20, 20, 200), pitch_deg=np.zeros(200))
    yaw = np.r_[np.zeros(60), np.full(41, -40.0)]
    (found,) = find_out_of_distribution(
        known, attributes(yaw_deg=yaw, pitch_deg=np.zeros(101)), "source"
    )
    assert (found.attribute, found.direction, found.faces.sum()) == ("yaw_deg", "below", 41)
    np.testing.assert_array_equal(found.faces, yaw < -30)
    assert found.words == "turn beyond 21° left, as no source face does"
    assert found.short == "turned beyond 21° left"


def test_few_known_faces_beyond_a_limit_are_told():
    mouth = np.r_[np.linspace(0, 0.1, 400), 0.4]
    known = attributes(mouth=mouth)
    shown = attributes(mouth=np.r_[np.zeros(50), np.full(50, 0.35)])
    (found,) = find_out_of_distribution(known, shown, "target")
    assert found.words == (
        "open the mouth beyond 0.12 eye distances, as only 1 of 401 target faces does"
    )
    assert found.short == "mouth beyond 0.12 eye distances"


def test_what_is_covered_is_not_outside():
    same = attributes(yaw_deg=np.linspace(-20, 20, 100), light=np.linspace(0.4, 0.6, 100))
    assert find_out_of_distribution(same, same, "source") == []


def test_clip_attributes_are_those_of_a_face_set(cast: Cast):
    """One rule for both sides of a comparison: a set's own faces, as placements of a clip."""
    records = [face.record for face in open_face_set(cast.target).faces]
    placements = [
        Placement(
            record.frame_index, 0, record.landmarks,
            FoundFace(
                Detection(record.box_xyxy, record.confidence, record.five.astype(np.float64)),
                record.landmarks, None, record.presence,
            ),
        )
        for record in records
    ]  # fmt: skip
    light = np.linspace(0, 1, len(records))
    truth = np.zeros((max(r.frame_index for r in records) + 1, 68, 2), np.float32)
    for record in records:
        truth[record.frame_index] = record.true_landmarks
    found = clip_attributes(placements, records[0].landmarks_pack, light, truth)
    expected = attributes_of(records, light)
    for name in Attributes.__dataclass_fields__:
        # Records keep their numbers rounded.
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=0.05)
    filled = [Placement(0, 0, records[0].landmarks, None)]
    assert np.isnan(clip_attributes(filled, "five", light[:1]).yaw_deg).all()


def test_light_is_read_inside_the_mask():
    crops = np.zeros((2, 8, 8, 3), np.uint8)
    crops[:, 2:6, 2:6] = 200
    masks = np.zeros((2, 8, 8), np.uint8)
    masks[0, 2:6, 2:6] = 255
    np.testing.assert_allclose(brightness_of(crops, masks), [200 / 255, 200 / 255 / 4])


def test_worst_are_apart_in_time():
    errors = np.concatenate([np.linspace(0, 1, 100), np.linspace(0.5, 0, 100)])
    frames = np.arange(200)
    worst = pick_worst(errors, frames, 5)
    assert worst[0] == 99 and len(worst) == 5
    assert min(np.diff(np.sort(frames[worst]))) >= 199 // 10
    assert (np.diff(errors[worst]) <= 0).all()
    assert pick_worst(np.array([0.5]), np.array([3]), 5) == [0]


def test_verdict_says_how_much_and_why():
    assert clip_sentence(0.95, ["dark"]).startswith("good") and "dark" not in clip_sentence(
        0.95, ["dark"]
    )
    assert clip_sentence(0.6, ["dark", "turned", "turned"]) == (
        "mixed: part of the clip is beyond what the model has learned (mostly: turned)"
    )
    assert clip_sentence(0.2, []).startswith("poor")
    assert clip_sentence(1.0, [], "turn beyond 3° left").endswith(
        "; but many frames turn beyond 3° left"
    )


def darken(clip: Path, out: Path, gain: float) -> None:
    """A clip as a folder of PNG frames, darkened."""
    out.mkdir()
    with open_clip(clip) as frames:
        for frame in frames:
            dark = np.round(frame.image * gain).astype(np.uint8)
            cv2.imwrite(str(out / f"{frame.index:04d}.png"), dark[:, :, ::-1])


def test_a_clip_and_a_dark_one(run: TrainedRun, cast: Cast, tmp_path: Path):
    said: list[str] = []
    out = tmp_path / "check.json"
    report = check_clip(run, as_clip(cast.unseen_clip), out, ConvertConfig(), say=said.append)
    assert read_json(out) == report
    assert report["frames"] == 12
    assert report["frames_with_face"] == report["frames_judged"] == len(report["faces"]["frame"])
    assert report["frames_trusted"] == sum(report["faces"]["trusted"])
    assert any("can be trusted" in line for line in said) and report["verdict"] in said
    picture = cv2.imread(str(out.with_suffix(".png")))
    assert picture is not None and picture.std() > 10
    # Dark faces, where they are still found, are not trusted.
    darken(cast.unseen_clip, tmp_path / "dark", 0.4)
    dark = check_clip(
        run, as_clip(tmp_path / "dark"), tmp_path / "dark.json", ConvertConfig(), say=silent
    )
    assert dark["frames_trusted"] < 0.2 * dark["frames_judged"]
    assert dark["verdict"].startswith("poor")
    assert any(row["attribute"] == "light" for row in dark["outside"])


def test_second_check_does_nothing_and_other_files_stay(
    run: TrainedRun, cast: Cast, tmp_path: Path
):
    out = tmp_path / "check.json"
    first = check_clip(run, as_clip(cast.unseen_clip), out, ConvertConfig(), say=silent)
    stamp = out.stat().st_mtime_ns
    said: list[str] = []
    assert (
        check_clip(run, as_clip(cast.unseen_clip), out, ConvertConfig(), say=said.append) == first
    )
    assert said == [f"{out}: already done"] and out.stat().st_mtime_ns == stamp
    with pytest.raises(FaceswapError, match="overwrite"):
        check_clip(
            run, as_clip(cast.unseen_clip), out, ConvertConfig(test_time_augmentation=2), say=silent
        )
    other = tmp_path / "other.json"
    other.with_suffix(".png").write_bytes(b"mine")
    with pytest.raises(FaceswapError, match=r"other\.png"):
        check_clip(run, as_clip(cast.unseen_clip), other, ConvertConfig(), say=silent)
    with pytest.raises(FaceswapError, match=r"\.json"):
        check_clip(run, as_clip(cast.unseen_clip), tmp_path / "a.png", ConvertConfig(), say=silent)
    for nameless in (Path(), Path("/")):
        with pytest.raises(FaceswapError, match="not a name for an output"):
            check_clip(run, as_clip(cast.unseen_clip), nameless, ConvertConfig(), say=silent)


def test_a_check_cut_short_is_done_by_the_same_call(
    run: TrainedRun, cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "check.json"

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(check, "write_image", stop)
        check_clip(run, as_clip(cast.unseen_clip), out, ConvertConfig(), say=silent)
    said: list[str] = []
    for _ in range(2):
        check_clip(run, as_clip(cast.unseen_clip), out, ConvertConfig(), say=said.append)
    assert out.exists() and out.with_suffix(".png").exists()
    assert said.count(f"{out}: already done") == 1


def test_a_face_set_that_is_gone_is_told_before_the_clip_is_searched(
    run: TrainedRun, cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gone = run.manifest.source.model_copy(update={"path": str(tmp_path / "gone")})
    other = replace(run, manifest=run.manifest.model_copy(update={"source": gone}))
    monkeypatch.setattr(check, "cast_clip", lambda *_, **__: pytest.fail("searched"))
    with pytest.raises(FaceswapError, match="gone: no such face set"):
        check_clip(
            other, as_clip(cast.unseen_clip), tmp_path / "c.json", ConvertConfig(), say=silent
        )


def test_a_clip_that_cannot_be_read_is_told_before_the_face_sets_are(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "c.mp4").write_text("no clip")
    monkeypatch.setattr(check, "known_faces", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(FaceswapError, match=r"c\.mp4: is text, not a video"):
        check_clip(
            run, as_clip(tmp_path / "c.mp4"), tmp_path / "c.json", ConvertConfig(), say=silent
        )
