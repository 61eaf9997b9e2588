"""A run for other tools: what it says of itself, and how the players of the field call it."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import silent
from deepfacelab_format import random_model, run_graph, write_model

from _mutate import BYTES, Mutator, tensors_head, tensors_value
from faceswap_lite.about import describe
from faceswap_lite.config import Config, ExtractConfig, ModelConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.align import frontal_to_crop
from faceswap_lite.interchange.bundles import read_bundle
from faceswap_lite.interchange.exporting import export_run
from faceswap_lite.interchange.importing import import_model
from faceswap_lite.interchange.onnx_files import TOLERANCE
from faceswap_lite.models.architectures import build_model
from faceswap_lite.runs.checkpoints import RunState, save_checkpoint
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.manifest import NOBODY, RunManifest, write_run
from faceswap_lite.runs.trained import TrainedRun

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

SIZE = 64
MUTATIONS = 12
DIMS = {"encoder_dims": 8, "inter_dims": 24, "decoder_dims": 6, "mask_dims": 4}


def make_run(folder: Path, coverage: str = "dfl_whole", **model: object) -> TrainedRun:
    """A run of random weights."""
    options = ModelConfig.model_validate({"size": SIZE, "flags": "ud", **DIMS, **model})
    lineage = [{"run": "base x", "step": 3, "fingerprint": "f", "parts": ["encoder"]}]
    manifest = RunManifest(
        job="j", landmarks_pack="mesh", detector="yunet", coverage=coverage, source=NOBODY,
        target=NOBODY, lineage=lineage, consent="Anna B., 2 May",
    )  # fmt: skip
    extract = ExtractConfig.model_validate({"crop_coverage": coverage})
    write_run(folder, manifest, Config(model=options, extract=extract))
    weights = build_model(options, seed=4).state_dict()
    both = {"model": weights, "ema": weights}
    save_checkpoint(folder, RunState(step=7), both, None, lineage, keep=1)
    return load_run(folder)


@pytest.fixture(scope="module", params=["df", "liae"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    run = make_run(folder / "run", architecture=request.param)
    export_run(run, folder / "model.dfm")
    return folder / "model.dfm"


def session(path: Path) -> Any:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def painted(run: TrainedRun, bgr: np.ndarray) -> list[np.ndarray]:
    """What a run's own network makes of it, as the players want it."""
    faces = torch.from_numpy(bgr[..., ::-1].copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        face, mask = run.model.paint(faces, "source")
        _, there = run.model.paint(faces, "target")
    assert mask is not None and there is not None
    arrays = [part.permute(0, 2, 3, 1).numpy() for part in (there, face, mask)]
    return [arrays[0], arrays[1][..., ::-1], arrays[2]]


def test_the_file_is_what_players_expect(exported: Path) -> None:
    proto = onnx.load(exported)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 12)]
    told = [
        (v.name, v.type.tensor_type.elem_type,
         [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in [*proto.graph.input, *proto.graph.output]
    ]  # fmt: skip
    assert told == [
        ("in_face:0", onnx.TensorProto.FLOAT, ["batch", 64, 64, 3]),
        ("out_face_mask:0", onnx.TensorProto.FLOAT, ["batch", 64, 64, 1]),
        ("out_celeb_face:0", onnx.TensorProto.FLOAT, ["batch", 64, 64, 3]),
        ("out_celeb_face_mask:0", onnx.TensorProto.FLOAT, ["batch", 64, 64, 1]),
    ]


@pytest.mark.parametrize("batch", [1, 3])
def test_it_paints_what_the_run_paints(exported: Path, batch: int) -> None:
    faces = np.random.default_rng(5).random((batch, SIZE, SIZE, 3), np.float32)
    answers = session(exported).run(None, {"in_face:0": faces})
    wanted = painted(load_run(exported.with_name("run")), faces)
    for answer, own in zip(answers, wanted, strict=True):
        assert np.abs(answer - own).max() <= TOLERANCE


def test_as_deepfacelive_calls_it(exported: Path) -> None:
    player = session(exported)
    (given,) = player.get_inputs()
    height, width = given.shape[1:3]
    assert "in_face" in given.name and isinstance(height, int) and isinstance(width, int)
    picture = np.zeros((height, width, 3), np.float32)
    mask, face, face_mask = player.run(None, {"in_face:0": picture[None, ...]})
    assert mask[0].shape == face_mask[0].shape == (64, 64, 1) and face[0].shape == (64, 64, 3)


def test_as_facefusion_calls_it(exported: Path) -> None:
    player = session(exported)
    size = player.get_inputs()[0].shape[1]
    picture = np.random.default_rng(0).random((size, size, 3), np.float32)
    # Sharpened first: beyond the range that a crop has.
    sharp = 1.75 * picture - 0.75 * picture.mean((0, 1))
    feeds = {i.name: sharp[None].astype(np.float32) for i in player.get_inputs()}
    there, face, mask = player.run(None, feeds)
    assert np.minimum(there, mask).shape == (1, size, size, 1)
    assert face.min() >= 0 and face.max() <= 1


def test_as_visomaster_calls_it(exported: Path) -> None:
    player = session(exported)
    inputs, outputs = player.get_inputs(), player.get_outputs()
    assert len(inputs) <= 2 and sum("in_face" in i.name for i in inputs) == 1
    # Its outputs are bound to memory of the declared shapes, with a batch of one.
    binding = player.io_binding()
    shape = (1, *inputs[0].shape[1:])
    binding.bind_cpu_input(inputs[0].name, np.zeros(shape, np.float32))
    held = {o.name: np.full((1, *o.shape[1:]), -1, np.float32) for o in outputs}
    for name, array in held.items():
        binding.bind_output(
            name, "cpu", element_type=np.float32, shape=array.shape, buffer_ptr=array.ctypes.data
        )
    player.run_with_iobinding(binding)
    assert all((array >= 0).all() for array in held.values())


def notes(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_it_says_what_it_is(exported: Path, tmp_path: Path) -> None:
    told, run = notes(exported), load_run(exported.with_name("run"))
    assert told["digital_source_type"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert told["run"] == run.fingerprint and told["step"] == "7"
    assert json.loads(told["lineage"])[0]["run"] == "base x"
    assert "consent" not in told
    export_run(run, tmp_path / "agreed.dfm", with_consent=True)
    assert notes(tmp_path / "agreed.dfm")["consent"] == "Anna B., 2 May"


def test_info_tells_what_an_export_is(exported: Path, tmp_path: Path) -> None:
    told = describe(exported)
    assert "compositeWithTrainedAlgorithmicMedia" in told and "coverage: dfl_whole" in told
    run = load_run(exported.with_name("run"))
    export_run(run, tmp_path / "run.safetensors")
    assert "step      7" in (told := describe(tmp_path / "run.safetensors"))
    assert "nobody it knows" in told and "began as  base x, step 3" in told
    (tmp_path / "odd.dfm").write_bytes(b"odd")
    with pytest.raises(FaceswapError, match="is no network that can be read"):
        describe(tmp_path / "odd.dfm")


def test_held_out_figures_travel(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    line = {"step": 7, "heldout": 0.5, "heldout_source": 0.25, "heldout_target": 0.25,
            "heldout_source_psnr_db": 30.125}  # fmt: skip
    (run.path / "log.jsonl").write_text(json.dumps(line | {"seconds": 1.0}) + "\n")
    export_run(run, tmp_path / "model.dfm")
    figures = json.loads(notes(tmp_path / "model.dfm")["heldout"])
    assert figures == {"heldout": 0.5, "heldout_source_psnr_db": 30.125}


@pytest.mark.parametrize("flags", ["", "t", "udtc"])
def test_an_imported_model_comes_out_as_it_was(tmp_path: Path, flags: str) -> None:
    archi = f"df-{flags}" if flags else "df"
    options = {"resolution": 64, "archi": archi, "ae_dims": 24, "e_dims": 8, "d_dims": 6,
               "d_mask_dims": 4, "face_type": "wf"}  # fmt: skip
    parts = random_model(options)
    write_model(tmp_path / "dfl", options, parts)
    import_model(tmp_path / "dfl", tmp_path / "run")
    export_run(load_run(tmp_path / "run"), tmp_path / "model.dfm")
    faces = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
    answers = session(tmp_path / "model.dfm").run(None, {"in_face:0": faces})
    for answer, theirs in zip(answers, run_graph(options, parts, faces), strict=True):
        assert np.abs(answer - theirs).max() <= TOLERANCE


def test_crops_that_no_player_cuts(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run", coverage="full"), tmp_path / "model.dfm"
    with pytest.raises(FaceswapError, match=r"extract.crop_coverage=dfl_whole"):
        export_run(run, out)
    assert not out.exists()
    lines: list[str] = []
    export_run(run, out, anyway=True, say=lines.append)
    assert lines[0].startswith("warning: its faces are cut as full") and out.is_file()
    assert notes(out)["coverage"] == "full"


def test_without_mask_heads(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run", mask_head=False), tmp_path / "model.dfm"
    lines: list[str] = []
    export_run(run, out, say=lines.append)
    assert "knows no faces" in lines[0]
    there, _, mask = session(out).run(None, {"in_face:0": np.zeros((2, 64, 64, 3), np.float32)})
    assert np.array_equal(there, mask) and np.array_equal(mask[0], mask[1])
    eyes = frontal_to_crop("dfl_whole", 64)[:, 2].round().astype(int)
    assert mask[0, eyes[1], eyes[0], 0] == 1 and mask[0, 0, 0, 0] == 0


def test_the_mean_mask_of_its_sets(run: TrainedRun, tmp_path: Path) -> None:
    without = ModelConfig.model_validate({**run.config.model.model_dump(), "mask_head": False})
    weights = {n: t for n, t in run.model.state_dict().items() if ".mask." not in n}
    both = {"model": weights, "ema": weights}
    write_run(tmp_path / "run", run.manifest, run.config.model_copy(update={"model": without}))
    save_checkpoint(tmp_path / "run", RunState(step=1), both, None, [], keep=1)
    lines: list[str] = []
    out = tmp_path / "model.dfm"
    export_run(load_run(tmp_path / "run"), out, anyway=True, say=lines.append)
    assert "the mean masks of its face sets" in lines[1]
    size = without.size
    there, _, mask = session(out).run(None, {"in_face:0": np.zeros((1, size, size, 3), np.float32)})
    assert not np.array_equal(there, mask) and 0.2 < there.mean() < 0.9


def test_plain_onnx(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run", coverage="full"), tmp_path / "model.onnx"
    export_run(run, out)
    proto = onnx.load(out)
    assert proto.opset_import[0].version >= 20
    faces = np.random.default_rng(1).random((2, SIZE, SIZE, 3), np.float32)
    feed = {"face": np.ascontiguousarray(faces[..., ::-1].transpose(0, 3, 1, 2))}
    names = ["target_mask", "painted", "mask"]
    there, face, mask = session(out).run(names, feed)
    wanted = painted(run, faces)
    back = [there, face[:, ::-1], mask]
    for answer, own in zip(back, wanted, strict=True):
        assert np.abs(answer.transpose(0, 2, 3, 1) - own).max() <= TOLERANCE


def test_a_run_in_one_file_comes_back(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", architecture="liae")
    export_run(run, tmp_path / "run.safetensors", with_consent=True)
    import_model(tmp_path / "run.safetensors", tmp_path / "back")
    back = load_run(tmp_path / "back")
    assert (back.config, back.manifest, back.step) == (run.config, run.manifest, run.step)
    assert back.fingerprint == run.fingerprint
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(back.model.state_dict()[name], tensor)
    lines: list[str] = []
    import_model(tmp_path / "run.safetensors", tmp_path / "back", say=lines.append)
    assert lines == [f"{tmp_path / 'back'}: already done"]

    export_run(run, tmp_path / "shared.safetensors")
    import_model(tmp_path / "shared.safetensors", tmp_path / "shared")
    assert load_run(tmp_path / "shared").manifest.consent == ""


@pytest.mark.parametrize("way", [*BYTES, tensors_head, tensors_value, tensors_value])
def test_a_damaged_run_in_one_file_is_refused_or_read(tmp_path: Path, way: Mutator) -> None:
    file, rng = tmp_path / "run.safetensors", random.Random(way.__name__)
    export_run(make_run(tmp_path / "run"), file, say=silent)
    whole = file.read_bytes()
    for _ in range(MUTATIONS):
        file.write_bytes(way(whole, rng))
        try:
            read_bundle(file)
        except FaceswapError as error:
            assert str(error).startswith(f"{file}: ") and "\n" not in str(error)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(FaceswapError, match=r"must end in \.dfm, \.onnx, \.safetensors"):
        export_run(run, tmp_path / "model.pth")
    with pytest.raises(FaceswapError, match=r"must end in \.onnx"):
        export_run(run, tmp_path / "model.dfm", "onnx")
    (tmp_path / "model.dfm").write_bytes(b"mine")
    with pytest.raises(FaceswapError, match="exists"):
        export_run(run, tmp_path / "model.dfm")
    assert (tmp_path / "model.dfm").read_bytes() == b"mine"


def test_no_file_stays_that_paints_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setattr("faceswap_lite.interchange.onnx_files.TOLERANCE", -1.0)
    with pytest.raises(FaceswapError, match=r"is not written: .* differ by"):
        export_run(run, tmp_path / "model.dfm")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_the_extra_one_line_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(FaceswapError, match=r"faceswap_lite\[interchange\]"):
        export_run(run, tmp_path / "model.dfm")
