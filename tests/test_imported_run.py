"""An imported run goes the whole road: train, convert, fit, export."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cast, convert_file, silent
from deepfacelab_format import random_model, run_graph, write_model

from faceswap_lite.config import ColorConfig, Config, ConvertConfig, ExtractConfig
from faceswap_lite.config_files import load_config
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.align import align
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.interchange.exporting import export_run
from faceswap_lite.interchange.importing import import_model
from faceswap_lite.models.crops import as_pictures
from faceswap_lite.runs.known import open_known_set
from faceswap_lite.runs.load import load_run
from faceswap_lite.training import find_lr
from faceswap_lite.training.fit import fit_run
from faceswap_lite.training.train import train

OPTIONS: dict[str, Any] = {"resolution": 32, "archi": "df-ud", "ae_dims": 16, "e_dims": 8,
                           "d_dims": 6, "d_mask_dims": 4, "face_type": "mf"}  # fmt: skip


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    write_model(tmp_path / "dfl", OPTIONS, random_model(OPTIONS))
    import_model(tmp_path / "dfl", tmp_path / "run", say=silent)
    return tmp_path / "run"


def its_config(run: Path, cast: Cast, steps: int) -> Config:
    """What `train --run` makes of a run's own config."""
    own = load_config(run / "config.yaml")
    heldout = cast.config.training.heldout.model_copy(update={"every": 2})
    update = {**cast.config.training.model_dump(), "steps": steps, "heldout": heldout}
    return own.model_copy(update={"training": own.training.model_validate(update)})


def test_it_learns_on(imported: Path, cast: Cast) -> None:
    before = load_run(imported).model.state_dict()
    sets = open_face_set(cast.source), open_face_set(cast.target)
    lines: list[str] = []
    config = its_config(imported, cast, 4)
    summary = train(*sets, imported, config, say=lines.append)
    assert summary.step == 4
    told = "\n".join(lines)
    assert "cut as face, are cut anew as dfl_mid" in told
    assert "begins with imported DeepFaceLab SAEHD df-ud new" in told

    run = load_run(imported)
    assert run.manifest.coverage == "dfl_mid" and run.manifest.source.faces == len(sets[0].faces)
    assert run.manifest.lineage[0]["step"] == 1234
    assert open_known_set(run, "source").coverage == "dfl_mid"
    # From the imported weights, not from fresh ones.
    far = [float((run.model.state_dict()[n] - t).abs().max()) for n, t in before.items()]
    assert 0 < max(far) < 0.05
    assert train(*sets, imported, config, say=silent).reason == "already done"
    assert train(*sets, imported, its_config(imported, cast, 6), say=silent).step == 6


def test_a_range_test_is_of_its_weights(
    imported: Path, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[dict[str, torch.Tensor]] = []

    def look(network: torch.nn.Module, *_: Any) -> find_lr.RangeTest:
        tested.append(network.state_dict())
        return find_lr.RangeTest([1.0], [1.0], [1.0], 1.0)

    monkeypatch.setattr(find_lr, "range_test", look)
    sets = open_face_set(cast.source), open_face_set(cast.target)
    find_lr.find_lr(*sets, imported, its_config(imported, cast, 4), say=silent)
    for name, tensor in load_run(imported).model.state_dict().items():
        assert torch.equal(tested[0][name], tensor)


def test_a_kill_before_the_first_checkpoint(imported: Path, cast: Cast) -> None:
    sets = open_face_set(cast.source), open_face_set(cast.target)

    def killed(line: str) -> None:
        if "begins with" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*sets, imported, its_config(imported, cast, 2), say=killed)
    assert train(*sets, imported, its_config(imported, cast, 2), say=silent).step == 2


def test_crops_that_show_too_little(tmp_path: Path, cast: Cast) -> None:
    options = {**OPTIONS, "face_type": "head"}
    write_model(tmp_path / "dfl", options, random_model(options))
    import_model(tmp_path / "dfl", tmp_path / "run", say=silent)
    sets = open_face_set(cast.source), open_face_set(cast.target)
    with pytest.raises(FaceswapError, match="do not show all of dfl_head"):
        train(*sets, tmp_path / "run", its_config(tmp_path / "run", cast, 2), say=silent)


def test_fit_needs_to_be_told_who(imported: Path, cast: Cast, tmp_path: Path) -> None:
    config = Config(training=its_config(imported, cast, 4).training)
    with pytest.raises(FaceswapError, match="pass --source FACES"):
        fit_run(imported, cast.target, tmp_path / "fitted", config, say=silent)
    report = fit_run(
        imported, cast.target, tmp_path / "fitted", config, source=cast.source, say=silent
    )
    assert report.fit.steps[-1] == 4
    assert load_run(tmp_path / "fitted").manifest.lineage[0]["step"] == 1234


def test_another_run_begins_with_it(imported: Path, cast: Cast, tmp_path: Path) -> None:
    own = its_config(imported, cast, 1)
    init = own.init.model_copy(update={"run": str(imported)})
    lines: list[str] = []
    sets = open_face_set(cast.source), open_face_set(cast.target)
    train(*sets, tmp_path / "new", own.model_copy(update={"init": init}), say=lines.append)
    told = "\n".join(lines)
    assert "decoder_source: imported, " in told
    assert "note: it was trained on faces cut as dfl_mid, these are cut as face" in told
    lineage = load_run(tmp_path / "new").manifest.lineage
    assert [entry["step"] for entry in lineage] == [1234, 0]


def test_it_paints_in_a_clip_what_its_graph_paints(
    imported: Path, cast: Cast, tmp_path: Path, with_weights: Path
) -> None:
    run = load_run(imported)
    plain = ConvertConfig(
        color=ColorConfig(kind="none"), mouth="source", eyes="source", temporal_smoothing=0, end=2
    )
    summary = convert_file(run, cast.target_clip, tmp_path / "swap.mp4", plain, say=silent)
    assert (tmp_path / "swap.mp4").is_file() and summary is not None

    # The crop that conversion cuts, by the graph.
    extract_faces(
        find_footage([cast.target_clip]),
        tmp_path / "faces",
        ExtractConfig(crop_coverage="dfl_mid", margin=0, size=32),
    )
    faces = open_face_set(tmp_path / "faces")
    record = faces.faces[0].record
    assert record.frame_to_crop == pytest.approx(
        align(record.landmarks.astype(np.float64), "mesh", "dfl_mid", 32), abs=1e-2
    )
    crop = faces.crops(32, 0.0)[:1].astype(np.float32) / 255
    with torch.no_grad():
        rgb = torch.from_numpy(crop).permute(0, 3, 1, 2)
        ours = as_pictures(run.model.paint(rgb, "source")[0])
    theirs = run_graph(OPTIONS, random_model(OPTIONS), np.ascontiguousarray(crop[..., ::-1]))[1]
    assert np.abs(ours - theirs[..., ::-1]).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("archi", ["df-udt", "liae-udt", "df-ud", "liae-ud"])
def test_the_whole_road_on_real_clips(
    archi: str, media_dir: Path, with_weights: Path, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = {**OPTIONS, "archi": archi, "resolution": 64, "face_type": "wf"}
    write_model(tmp_path / "dfl", options, random_model(options))
    run = tmp_path / "run"
    import_model(tmp_path / "dfl", run, say=silent)

    # Extracted with more around the face: cut anew as the model's.
    extract = ExtractConfig(crop_coverage="head", every=3, size=192)
    clips = {"source": "lsman2_train_1.mp4", "target": "grid_s1_train_1.mp4"}
    for side, name in clips.items():
        extract_faces(find_footage([media_dir / "video" / name]), tmp_path / side, extract)
    sets = open_face_set(tmp_path / "source"), open_face_set(tmp_path / "target")
    changes = ["training.steps=20", "training.threads=1", "training.batch=4"]
    train(*sets, run, load_config(run / "config.yaml", changes), say=silent)

    trained, clip = load_run(run), media_dir / "video/grid_s1_eval_1.mp4"
    summary = convert_file(trained, clip, tmp_path / "swap.mp4", ConvertConfig(), say=silent)
    assert summary.swapped > 300
    export_run(trained, tmp_path / "model.dfm", say=silent)
    player = onnxruntime.InferenceSession(str(tmp_path / "model.dfm"))
    assert [o.name for o in player.get_outputs()][1] == "out_celeb_face:0"
