"""Convert and evaluate on rendered actors, after a short training."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Cast, convert_file, silent

from faceswap_lite.about import describe
from faceswap_lite.config import ColorConfig, ConvertConfig, OutputConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.images import read_image, write_image
from faceswap_lite.media.provenance import read_synthetic_mark
from faceswap_lite.media.reading import open_clip
from faceswap_lite.runs.trained import TrainedRun


def frames_of(path: Path) -> list[np.ndarray]:
    with open_clip(path) as reader:
        return [frame.image for frame in reader]


def test_convert_keeps_the_frames_and_changes_the_face_alone(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    out = tmp_path / "swap.mp4"
    summary = convert_file(
        run, cast.unseen_clip, out, ConvertConfig(output=OutputConfig(quality=4)), say=silent
    )
    before, after = frames_of(cast.unseen_clip), frames_of(out)
    assert (summary.frames, summary.swapped) == (12, 12) == (len(before), len(after))
    changed = np.abs(before[5].astype(int) - after[5]).max(2)
    # The background's corner is the codec's noise; the face is another one.
    assert changed[:40, :40].max() <= 12
    # Ada's face is about the frame's middle.
    assert changed[100:180, 90:170].mean() > 4


def test_the_swap_is_marked_and_says_what_it_was_made_from(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    out = tmp_path / "swap.mp4"
    convert_file(run, cast.unseen_clip, out, ConvertConfig(), say=silent)
    mark = read_synthetic_mark(out)
    assert mark is not None
    assert mark.digital_source_type == "compositeWithTrainedAlgorithmicMedia"
    assert mark.run == run.fingerprint
    facts = json.loads((tmp_path / "swap.mp4.json").read_text())
    assert facts["run_fingerprint"] == run.fingerprint
    assert "compositeWithTrainedAlgorithmicMedia" in describe(out)
    rendered = read_synthetic_mark(cast.unseen_clip)
    assert rendered is not None and rendered.digital_source_type == "algorithmicMedia"


def test_converting_again_does_nothing_and_other_settings_need_overwrite(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    out = tmp_path / "swap.mp4"
    convert_file(run, cast.unseen_clip, out, ConvertConfig(), say=silent)
    written = out.stat().st_mtime_ns
    assert convert_file(run, cast.unseen_clip, out, ConvertConfig(), say=silent).done_before
    other = ConvertConfig(color=ColorConfig(kind="mkl"))
    with pytest.raises(FaceswapError, match="--overwrite"):
        convert_file(run, cast.unseen_clip, out, other, say=silent)
    assert out.stat().st_mtime_ns == written
    assert not convert_file(
        run, cast.unseen_clip, out, other, overwrite=True, say=silent
    ).done_before


def test_pictures_out(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    convert_file(run, cast.unseen_clip, tmp_path / "frames", ConvertConfig(), say=silent)
    pictures = sorted((tmp_path / "frames").glob("*.png"))
    assert len(pictures) == 12
    assert read_synthetic_mark(pictures[0]) is not None
    pictures[0].unlink()
    other = ConvertConfig(color=ColorConfig(kind="none"))
    convert_file(run, cast.unseen_clip, tmp_path / "frames", other, overwrite=True, say=silent)
    assert len(list((tmp_path / "frames").glob("*.png"))) == 12


def test_what_is_not_ours_is_not_overwritten(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    clip = tmp_path / "mine.mp4"
    clip.write_bytes(cast.unseen_clip.read_bytes())
    with pytest.raises(FaceswapError, match="is what this command reads"):
        convert_file(run, clip, clip, ConvertConfig(), overwrite=True, say=silent)
    (tmp_path / "swap.mp4.json").write_text('{"diary": 1}')
    with pytest.raises(FaceswapError, match="not made by this command"):
        convert_file(run, clip, tmp_path / "swap.mp4", ConvertConfig(), say=silent)


def test_a_clip_without_the_target_passes_through_unmarked(run: TrainedRun, tmp_path: Path) -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    write_image(tmp_path / "grey.png", grey)
    said: list[str] = []
    out = tmp_path / "swap.png"
    summary = convert_file(run, tmp_path / "grey.png", out, ConvertConfig(), say=said.append)
    assert (summary.frames, summary.swapped) == (1, 0)
    assert "1 passed through" in summary.line()
    assert any("found in none of 1 frames" in line for line in said)
    np.testing.assert_array_equal(read_image(out), grey)
    # Nothing is synthetic here, and nothing says so.
    assert read_synthetic_mark(out) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "grey.png", "swap.png", "swap.png.json",
    ]  # fmt: skip


def test_the_true_swap_scores_far_better_than_the_untouched_clip(
    cast: Cast, run: TrainedRun
) -> None:
    """The planted case: what the truth metrics say of the truth itself."""
    from faceswap_lite.media.truth import load_truth
    from faceswap_lite.metrics.pictures import psnr_db

    truth = load_truth(cast.unseen_clip)
    assert truth is not None and truth.twin is not None
    target, twin = frames_of(cast.unseen_clip)[3], frames_of(truth.twin.raw)[3]
    inside = truth.face_masks[3] / 255.0
    assert psnr_db(twin, twin, inside) > 60
    assert psnr_db(target, twin, inside) < 25


def test_info_tells_what_things_are(cast: Cast, run: TrainedRun) -> None:
    assert "bit" in describe(cast.unseen_clip)
    assert "40" in describe(cast.source)
    assert "step      150" in describe(run.path)
    assert "held-out loss" in describe(run.path)
    with pytest.raises(FaceswapError, match="holds 2 face sets and runs; name one"):
        describe(cast.source.parent)
