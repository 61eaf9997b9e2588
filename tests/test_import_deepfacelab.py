"""Models of DeepFaceLab: imported, they paint what the tool's own graph paints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deepfacelab_format import random_model, run_graph, write_model

from faceswap_lite.errors import FaceswapError
from faceswap_lite.interchange.importing import import_model, read_model
from faceswap_lite.models.autoencoder import SwapAutoencoder
from faceswap_lite.models.crops import as_pictures
from faceswap_lite.runs.load import load_run

# What the same network may differ by in another order of sums.
PARITY = 1e-5

SMALL = {"resolution": 64, "ae_dims": 24, "e_dims": 8, "d_dims": 6, "d_mask_dims": 4}


def options_of(archi: str, **other: Any) -> dict[str, Any]:
    return {**SMALL, "archi": archi, "face_type": "wf", **other}


def paint_bgr(model: SwapAutoencoder, bgr: np.ndarray) -> list[np.ndarray]:
    """As `run_graph`, by a model of ours."""
    rgb = torch.from_numpy(bgr[..., ::-1].copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        face, mask = model.paint(rgb, "source")
        _, target_mask = model.paint(rgb, "target")
    assert mask is not None and target_mask is not None
    return [as_pictures(target_mask), as_pictures(face)[..., ::-1], as_pictures(mask)]


@pytest.mark.parametrize("name", ["df-ud", "liae-ud"])
def test_it_paints_what_the_tool_paints(fixtures_dir: Path, tmp_path: Path, name: str) -> None:
    import_model(fixtures_dir / "deepfacelab" / name, tmp_path / "run")
    run = load_run(tmp_path / "run")
    with np.load(fixtures_dir / "deepfacelab" / name / "ref.npz") as ref:
        names = ("out_face_mask", "out_celeb_face", "out_celeb_face_mask")
        for ours, theirs in zip(paint_bgr(run.model, ref["x"]), names, strict=True):
            assert np.abs(ours - ref[theirs]).max() <= PARITY


@pytest.mark.parametrize(
    "archi",
    ["df", "df-u", "df-d", "df-t", "df-c", "df-udt", "df-udtc", "liae", "liae-d", "liae-udt",
     "liae-udtc"],
)  # fmt: skip
def test_every_flag(tmp_path: Path, archi: str) -> None:
    options = options_of(archi)
    parts = random_model(options)
    write_model(tmp_path / "dfl", options, parts)
    lines: list[str] = []
    import_model(tmp_path / "dfl", tmp_path / "run", say=lines.append)
    run = load_run(tmp_path / "run")
    faces = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
    pairs = zip(paint_bgr(run.model, faces), run_graph(options, parts, faces), strict=True)
    assert max(np.abs(ours - theirs).max() for ours, theirs in pairs) <= PARITY

    # What came from where is said, and kept.
    assert f"DeepFaceLab SAEHD {archi}, 64 px, 1,234 iterations" in lines[0]
    for part, arrays in parts.items():
        count = sum(array.size for array in arrays.values())
        assert any(f"  {part} -> " in line and f"{count:,} numbers" in line for line in lines)
    assert run.manifest.coverage == "dfl_whole"
    assert run.manifest.lineage[-1]["step"] == 1234
    assert "DeepFaceLab" in run.manifest.lineage[-1]["run"]


def test_dims_of_any_kind(tmp_path: Path) -> None:
    options = options_of(
        "liae-ud", resolution=96, ae_dims=20, e_dims=4, d_dims=10, d_mask_dims=6, face_type="head"
    )
    parts = random_model(options)
    write_model(tmp_path, options, parts)
    model = read_model(tmp_path)
    assert (model.model.size, model.model.inter_dims, model.coverage) == (96, 20, "dfl_head")


def test_quick96(tmp_path: Path) -> None:
    fixed = {"resolution": 96, "ae_dims": 128, "e_dims": 64, "d_dims": 64, "d_mask_dims": 16}
    options = {**fixed, "archi": "df-ud"}
    write_model(tmp_path, options, random_model(options), kind="Quick96")
    model = read_model(tmp_path / "new_Quick96_data.dat")
    assert (model.model.size, model.coverage) == (96, "dfl_full")


def test_given_again_it_is_done_already(tmp_path: Path) -> None:
    options = options_of("df")
    write_model(tmp_path / "dfl", options, random_model(options))
    lines: list[str] = []
    for _ in range(2):
        import_model(tmp_path / "dfl", tmp_path / "run", say=lines.append)
    assert lines[-1] == f"{tmp_path / 'run'}: already done"
    write_model(tmp_path / "other", options, random_model(options, seed=1))
    with pytest.raises(FaceswapError, match="belongs to another job"):
        import_model(tmp_path / "other", tmp_path / "run")


def refusal(folder: Path) -> str:
    """Why a model cannot be imported, in one line."""
    with pytest.raises(FaceswapError) as refused:
        import_model(folder, folder.parent / "run")
    assert not (folder.parent / "run").exists()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"archi": "dfhd-ud"}, "its network is 'dfhd-ud'"),
        ({"archi": "df-uq"}, "its network is 'df-uq'"),
        ({"face_type": "mouth"}, "its face type is 'mouth'"),
        ({"resolution": 72}, "of no size that can be had here"),
        ({"resolution": 100_000}, "resolution"),
        ({"resolution": "64"}, "resolution"),
        ({"ae_dims": 28}, "dense1.weight is 24 x 1024, not 28 x 1024"),
        ({"ae_dims": 4096, "e_dims": 1024, "resolution": 1024}, "not 1024 x 3 x 5 x 5"),
        ({"archi": None}, "archi"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    options = options_of("df")
    parts = random_model(options)
    write_model(tmp_path / "dfl", {**options, **change}, parts)
    assert told in refusal(tmp_path / "dfl")


def test_files_that_do_not_belong(tmp_path: Path) -> None:
    folder, options = tmp_path / "dfl", options_of("df-u")
    parts = random_model(options)
    inter = parts["inter"]

    write_model(
        folder, options, {**parts, "inter": {**inter, "dense3/weight:0": inter["dense1/bias:0"]}}
    )
    assert "holds dense3/weight:0, which is not known" in refusal(folder)

    less = {name: array for name, array in inter.items() if name != "dense1/bias:0"}
    write_model(folder, options, {**parts, "inter": less})
    assert "new_SAEHD_inter.npy: dense1/bias:0 is missing" in refusal(folder)

    write_model(
        folder,
        options,
        {**parts, "inter": {**inter, "dense1/bias:0": np.full(24, np.nan, np.float32)}},
    )
    assert "inter.dense1.bias holds numbers that are not finite" in refusal(folder)

    write_model(folder, options, parts)
    (folder / "new_SAEHD_inter.npy").unlink()
    assert "new_SAEHD_inter.npy: is missing" in refusal(folder)

    write_model(folder, options, parts, name="second")
    assert "holds several models (new_SAEHD_data.dat, second_SAEHD_data.dat)" in refusal(folder)


def test_kinds_that_are_not_known(tmp_path: Path) -> None:
    for kind in ("AMP", "XSeg"):
        write_model(tmp_path / kind, options_of("df"), {}, kind=kind)
        assert f"is a model of the kind {kind}" in refusal(tmp_path / kind)
    (tmp_path / "empty").mkdir()
    assert "is no model that can be imported" in refusal(tmp_path / "empty")
