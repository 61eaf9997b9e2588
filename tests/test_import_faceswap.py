"""Models of FaceSwap: imported, they paint what the tool's own graph paints."""

import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from faceswap_lite.config import ModelConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.interchange.importing import import_model, read_model
from faceswap_lite.models.architectures import build_model, count_parameters
from faceswap_lite.models.autoencoder import SIDES
from faceswap_lite.models.crops import as_pictures
from faceswap_lite.runs.load import load_run

PARITY = 1e-5
MUTATIONS = 30
FILES = ["original.keras", "original.h5"]

h5py = pytest.importorskip("h5py")
from keras_format import random_parts, run_parts, write_h5, write_keras  # noqa: E402


@pytest.fixture(scope="module")
def folder(fixtures_dir: Path) -> Path:
    return fixtures_dir / "faceswap"


@pytest.mark.parametrize("name", FILES)
def test_it_paints_what_the_tool_paints(folder: Path, tmp_path: Path, name: str) -> None:
    import_model(folder / name, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.config.model.encoder_widths == (16, 32, 64, 128)
    assert run.config.model.code_widths == (64, 128)
    assert not run.config.model.mask_head
    with np.load(folder / "fs_ref.npz") as ref, torch.no_grad():
        rgb = torch.from_numpy(ref["x"][..., ::-1].copy()).permute(0, 3, 1, 2)
        # Its B is who is painted.
        for side, letter in zip(SIDES, "ba", strict=True):
            ours = as_pictures(run.model.paint(rgb, side)[0])[..., ::-1]
            assert np.abs(ours - ref[letter]).max() <= PARITY


@pytest.mark.parametrize("suffix", [".keras", ".h5", "2.h5"])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("encoder", [[8, 12, 16, 20], [8, 12, 16]])
def test_every_width_mask_and_way_of_saving(
    tmp_path: Path, encoder: list[int], mask: bool, suffix: str
) -> None:
    path = tmp_path / f"lightweight{suffix}"
    alpha = "alpha" if suffix == "2.h5" else "negative_slope"
    parts = random_parts(encoder, (24, 10), [14, 12, 8, 6], mask, alpha)
    if suffix == ".keras":
        write_keras(path, parts)
    else:
        write_h5(path, parts, keras=2 if suffix == "2.h5" else 3)
    import_model(path, tmp_path / "run")
    run = load_run(tmp_path / "run")
    faces = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
    rgb = torch.from_numpy(faces[..., ::-1].copy()).permute(0, 3, 1, 2)
    for side, letter in zip(SIDES, "ba", strict=True):
        theirs = run_parts(parts, faces, letter)
        with torch.no_grad():
            face, own_mask = run.model.paint(rgb, side)
        assert np.abs(as_pictures(face)[..., ::-1] - theirs[0]).max() <= PARITY
        assert (own_mask is not None) == mask
        if own_mask is not None:
            assert np.abs(as_pictures(own_mask) - theirs[1]).max() <= PARITY


def test_the_original_is_as_it_was() -> None:
    model = build_model(ModelConfig(architecture="original", size=64, mask_head=False))
    assert count_parameters(model) == 82_062_470


def test_lightweight_has_its_own_widths() -> None:
    config = ModelConfig(
        architecture="original", size=64, mask_head=False, encoder_widths=(128, 256, 512),
        code_widths=(512, 512), decoder_widths=(256, 512, 256, 128),
    )  # fmt: skip
    with torch.device("meta"):
        model = build_model(config)
    assert count_parameters(model) == pytest.approx(51e6, rel=0.02)


def refusal(path: Path) -> str:
    with pytest.raises(FaceswapError) as refused:
        read_model(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_files_that_are_no_such_model(folder: Path, tmp_path: Path) -> None:
    for name in ("empty.h5", "empty.keras"):
        (tmp_path / name).write_bytes(b"")
        assert "no model that Keras saved" in refusal(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "no model that Keras saved" in refusal(tmp_path / "other.keras")
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(200 << 20))
    assert "would take 209715200 bytes" in refusal(tmp_path / "bomb.keras")
    with zipfile.ZipFile(tmp_path / "deep.keras", "w") as archive:
        archive.writestr("config.json", "[" * 100_000)
    assert "nothing of it was run" in refusal(tmp_path / "deep.keras")


def test_arrays_that_claim_more_than_they_hold(folder: Path, tmp_path: Path) -> None:
    greedy = tmp_path / "greedy.h5"
    shutil.copyfile(folder / "original.h5", greedy)
    with h5py.File(greedy, "a") as file:
        dense = file["model_weights/encoder/dense"]
        del dense["kernel"]
        dense.create_dataset("kernel", (1 << 20, 1 << 12), "f4", chunks=(64, 64))
    assert "kernel claims 17179869184 bytes" in refusal(greedy)
    with h5py.File(greedy, "a") as file:
        dense = file["model_weights/encoder/dense"]
        del dense["kernel"]
        dense["kernel"] = h5py.ExternalLink("/etc/passwd", "/x")
    assert "kernel lies in another file or place" in refusal(greedy)


def test_networks_of_another_kind(folder: Path, tmp_path: Path) -> None:
    for old, new, told in (
        ('"negative_slope": 0.1', '"negative_slope": 0.2', "is a LeakyReLU of another kind"),
        ('"class_name": "Flatten"', '"class_name": "Dropout"', "is a Dropout of another kind"),
        ('"padding": "same"', '"padding": "valid"', "is a Conv2D of another kind"),
    ):
        changed = tmp_path / "changed.h5"
        shutil.copyfile(folder / "original.h5", changed)
        with h5py.File(changed, "a") as file:
            graph = file.attrs["model_config"]
            assert old in graph
            file.attrs["model_config"] = graph.replace(old, new)
        assert told in refusal(changed)


@pytest.mark.parametrize("name", FILES)
def test_mutations_end_in_a_line(folder: Path, tmp_path: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    rng = random.Random(0)
    for _ in range(MUTATIONS):
        data = bytearray(whole)
        # Where the structure lies: at both ends, mostly.
        for _ in range(rng.randint(1, 8)):
            place = rng.choice([rng.randrange(len(data)), rng.randrange(60_000)])
            data[place if rng.random() < 0.5 else -1 - place] = rng.randrange(256)
        mutated = tmp_path / name
        mutated.write_bytes(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data)
        try:
            read_model(mutated)
        except FaceswapError as error:
            assert "\n" not in str(error)


def test_its_note_says_how_faces_are_cut(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "original.h5"
    shutil.copyfile(folder / "original.h5", model)
    assert (read_model(model).coverage, read_model(model).iterations) == ("fs_face@100", 0)
    note = tmp_path / "original_state.json"
    note.write_text(
        '{"iterations": 7000, "config": {"centering": "legacy", "coverage": 87.5}, "sessions": {}}'
    )
    assert (read_model(model).coverage, read_model(model).iterations) == ("fs_legacy@87.5", 7000)
    for odd in ("[]", "{", '{"iterations": "x", "config": []}', '{"config": {"coverage": 1e9}}'):
        note.write_text(odd)
        assert (read_model(model).coverage, read_model(model).iterations) == ("fs_face@100", 0)
