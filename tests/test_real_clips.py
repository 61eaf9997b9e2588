"""The whole road on real clips, with the weights that `auto` prefers."""

from pathlib import Path

import av
import pytest
from conftest import convert_file, figures_of

from faceswap_lite.config_files import load_config
from faceswap_lite.evaluation.evaluate import evaluate_clips
from faceswap_lite.evaluation.workbench import Contender
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.runs.load import load_run
from faceswap_lite.training.train import train


def sound_seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        ends = [
            ((p.pts or 0) + (p.duration or 0)) * p.time_base
            for p in container.demux(stream)
            if p.size
        ]
        return float(max(ends))


@pytest.mark.slow
def test_a_short_training_makes_a_swap_that_is_nearer_the_source(
    media_dir: Path, with_weights: Path, tmp_path: Path
) -> None:
    pytest.importorskip("dlib", reason="the extra dlib is not installed: no independent judge")
    video = media_dir / "video"
    config = load_config("quick64", ["training.steps=400", "evaluate.every=5"])
    clips = {"source": video / "franck_train_1.mp4", "target": video / "grid_s1_train_1.mp4"}
    for name, clip in clips.items():
        extract_faces(find_footage([clip]), tmp_path / name, config.extract)
    sets = [open_face_set(tmp_path / name) for name in clips]
    train(sets[0], sets[1], tmp_path / "run", config)
    run, unseen = load_run(tmp_path / "run"), video / "grid_s1_eval_1.mp4"
    swap = tmp_path / "swap.mp4"

    summary = convert_file(run, unseen, swap, config.convert)
    assert (summary.frames, summary.swapped) == (375, 375)
    with open_clip(swap) as reader:
        assert sum(1 for _ in reader) == 375
    # To within a frame of 1/25 s.
    assert sound_seconds(swap) == pytest.approx(sound_seconds(unseen), abs=0.04)

    report = evaluate_clips(
        [Contender(run, config.convert)],
        [as_clip(unseen)],
        tmp_path / "report.json",
        config.evaluate,
        converted=[swap],
    )
    metrics = figures_of(report)
    assert report["results"][0]["judge"] == "dlib"
    assert metrics["detected"] >= 0.98
    assert metrics["identity_margin_positive"] >= 0.9
    assert metrics["heldout_psnr_db"] >= 22
    assert metrics["yaw_correlation"] is not None
