"""The render stage: files, truth, resuming."""

from pathlib import Path

import numpy as np
import pytest

from _performance import load_performance
from faceswap_lite.actors import clip as clip_module
from faceswap_lite.actors.cast import ACTORS
from faceswap_lite.actors.clip import render_clip
from faceswap_lite.actors.performance import random_performance
from faceswap_lite.actors.render import render_actor
from faceswap_lite.config import RenderConfig
from faceswap_lite.errors import FaceswapError, UsageError
from faceswap_lite.media.provenance import read_synthetic_mark
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.truth import load_truth, twin_paths

CONFIG = RenderConfig(
    actor="ada", twin="bruno", frames=6, size=96, rate=25, seed=3, max_yaw_deg=40.0
)


def frames_of(path: Path) -> np.ndarray:
    with open_clip(path) as clip:
        return np.stack([frame.image for frame in clip])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("render") / "clip.mp4"
    assert render_clip(CONFIG, out)
    return out


def test_four_files_and_nothing_else(rendered):
    assert sorted(path.name for path in rendered.parent.iterdir()) == [
        "clip.mp4",
        "clip.truth.npz",
        "clip.twin_matched.mp4",
        "clip.twin_raw.mp4",
    ]
    for path in rendered.parent.glob("*.mp4"):
        mark = read_synthetic_mark(path)
        assert mark is not None and mark.digital_source_type == "algorithmicMedia"


def test_without_a_twin_there_are_two_files(tmp_path):
    render_clip(CONFIG.model_copy(update={"twin": None}), tmp_path / "alone.mp4")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["alone.mp4", "alone.truth.npz"]
    truth = load_truth(tmp_path / "alone.mp4")
    assert truth is not None and truth.twin is None


def test_the_clips_hold_what_was_rendered(rendered):
    truth = load_truth(rendered)
    assert truth is not None and truth.twin is not None
    shown = load_performance(rendered)
    assert shown is not None
    assert shown.states == random_performance(6, CONFIG.rate, CONFIG.seed, CONFIG.max_yaw_deg)
    assert (shown.identity, shown.twin) == (ACTORS["ada"], ACTORS["bruno"])
    assert truth.twin.name == "bruno"
    assert truth.landmarks.shape == (6, 68, 2) and truth.face_masks.shape == (6, 96, 96)
    wear = {rendered: {}, truth.twin.raw: {"face_of": shown.twin}}
    wear[truth.twin.matched] = {"face_of": shown.twin, "skin_of": shown.identity}
    for path, worn in wear.items():
        frames = frames_of(path)
        assert len(frames) == 6
        view = render_actor(shown.identity, shown.states[4], 96, background=CONFIG.seed, **worn)
        # Compression and its halved colour resolution; a wrong frame or face is off by far more.
        assert np.abs(frames[4].astype(float) - view.image).mean() < 3


def test_the_stored_mask_covers_every_difference(rendered):
    truth, shown = load_truth(rendered), load_performance(rendered)
    assert truth is not None and shown is not None and shown.twin is not None
    for state, mask, points in zip(shown.states, truth.face_masks, truth.landmarks, strict=True):
        own, raw = (
            render_actor(shown.identity, state, 96, background=CONFIG.seed, face_of=face)
            for face in (None, shown.twin)
        )
        assert (own.image == raw.image)[mask == 0].all()
        assert (own.landmarks == points).all()
        assert (mask > 200).any()


def test_a_second_run_does_nothing_and_another_job_is_refused(rendered, capsys):
    before = {path: path.stat().st_mtime_ns for path in rendered.parent.iterdir()}
    assert not render_clip(CONFIG, rendered)
    assert "already done" in capsys.readouterr().out
    with pytest.raises(FaceswapError, match="--overwrite"):
        render_clip(CONFIG.model_copy(update={"seed": 4}), rendered)
    assert before == {path: path.stat().st_mtime_ns for path in rendered.parent.iterdir()}


def test_same_job_same_bytes_and_overwrite_replaces(rendered, tmp_path):
    out = tmp_path / "clip.mp4"
    render_clip(CONFIG.model_copy(update={"seed": 9, "frames": 2}), out)
    render_clip(CONFIG, out, overwrite=True)
    for path in rendered.parent.glob("*.mp4"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    a, b = load_truth(rendered), load_truth(out)
    assert a is not None and b is not None and (a.face_masks == b.face_masks).all()


def test_a_stopped_render_leaves_no_clip_and_can_be_started_again(tmp_path, monkeypatch):
    out = tmp_path / "clip.mp4"

    def saves_and_stops(*args):
        save(*args)
        raise KeyboardInterrupt

    save = clip_module._save_truth
    monkeypatch.setattr(clip_module, "_save_truth", saves_and_stops)
    with pytest.raises(KeyboardInterrupt):
        render_clip(CONFIG, out)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.truth.npz"]
    monkeypatch.undo()
    assert render_clip(CONFIG, out)
    assert not render_clip(CONFIG, out)


def test_a_lost_part_is_made_again(tmp_path):
    out = tmp_path / "clip.mp4"
    render_clip(CONFIG, out)
    twin, _ = twin_paths(out)
    twin.unlink()
    assert render_clip(CONFIG, out)
    assert twin.exists()


def test_other_clips_have_no_truth_and_a_broken_truth_is_one_line(tmp_path):
    assert load_truth(tmp_path / "none.mp4") is None
    (tmp_path / "clip.truth.npz").write_bytes(b"no zip")
    with pytest.raises(FaceswapError, match=r"clip\.truth\.npz"):
        load_truth(tmp_path / "clip.mp4")


def test_bad_names_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="must end in"):
        render_clip(CONFIG, tmp_path / "clip.txt")
    with pytest.raises(UsageError, match="no such actor"):
        render_clip(CONFIG.model_copy(update={"twin": "nobody"}), tmp_path / "clip.mp4")
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_is_not_overwritten(tmp_path):
    out = tmp_path / "clip.mp4"
    out.write_bytes(b"a holiday")
    with pytest.raises(FaceswapError, match="not made by this command"):
        render_clip(CONFIG, out)
    assert out.read_bytes() == b"a holiday"
