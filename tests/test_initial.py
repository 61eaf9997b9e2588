"""Weights of another run to begin with."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cast
from test_train import checkpoint_tensors, run_steps, with_training

from faceswap_lite.config import Config, InitConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.models.architectures import build_model
from faceswap_lite.models.autoencoder import SwapAutoencoder
from faceswap_lite.runs.checkpoints import checkpoint_folder
from faceswap_lite.runs.load import load_run
from faceswap_lite.training.initial import Imported, import_weights
from faceswap_lite.training.train import train


@pytest.fixture(scope="module")
def base(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("base") / "run"
    run_steps(cast, run, steps=12)
    return run


def with_model(config: Config, **changes: Any) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def begin(config: Config, seed: int = 5, **init: Any) -> tuple[SwapAutoencoder, Imported]:
    network = build_model(config.model, seed)
    named = config.model_copy(update={"init": InitConfig.model_validate(init)})
    return network, import_weights(network, named, "full")


def test_all_parts_that_fit_are_imported_and_reported(cast: Cast, base: Path) -> None:
    network, imported = begin(cast.config, run=str(base))
    reports = imported.reports
    assert [r.name for r in reports] == ["encoder", "inter", "decoder_source", "decoder_target"]
    assert all(r.loaded == r.tensors > 0 and not r.why for r in reports)
    assert "encoder: imported, 8 of 8 tensors" in reports[0].line()
    there = load_run(base).model.state_dict()
    assert all(torch.equal(value, there[name]) for name, value in network.state_dict().items())


def test_only_the_parts_asked_for(cast: Cast, base: Path) -> None:
    network = build_model(cast.config.model, seed=5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network, _ = begin(cast.config, run=str(base), parts=["encoder", "decoder_source"])
    changed = {
        name.split(".")[0]
        for name, value in network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"encoder", "decoder_source"}


def test_another_architecture_gives_the_parts_that_fit(cast: Cast, base: Path) -> None:
    liae = with_model(cast.config, architecture="liae")
    reports = begin(liae, run=str(base))[1].reports
    assert {r.name: bool(r.loaded) for r in reports} == {
        "encoder": True,
        "inter_AB": False,
        "inter_B": False,
        "decoder": False,
    }
    assert "no such part" in reports[1].why
    wider = with_model(cast.config, decoder_dims=8)
    by_name = {r.name: r for r in begin(wider, run=str(base))[1].reports}
    assert by_name["encoder"].loaded and not by_name["decoder_source"].loaded
    assert " there and " in by_name["decoder_source"].why
    unmasked = with_model(cast.config, mask_head=False)
    reports = begin(unmasked, run=str(base))[1].reports
    assert all(r.loaded == r.tensors for r in reports)


def test_nothing_that_fits_is_an_error(cast: Cast, base: Path) -> None:
    other = with_model(cast.config, encoder_dims=12, inter_dims=24, decoder_dims=8)
    with pytest.raises(FaceswapError, match="nothing of"):
        begin(other, run=str(base))
    with pytest.raises(FaceswapError, match="cannot come from"):
        begin(other, run=str(base), parts=["inter"])
    with pytest.raises(FaceswapError, match="known: encoder, inter"):
        begin(cast.config, run=str(base), parts=["decoder_src"])
    with pytest.raises(FaceswapError, match="is not a run folder"):
        begin(other, run=str(base / "nowhere"))


def test_a_run_begins_with_them_freezes_thaws_and_knows_its_lineage(
    cast: Cast, base: Path, tmp_path: Path
) -> None:
    init = InitConfig(run=str(base), freeze=["encoder"], freeze_steps=3)
    config = with_training(cast.config, steps=3).model_copy(update={"init": init})
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    said: list[str] = []
    train(source, target, tmp_path / "run", config, say=said.append)
    assert any("decoder_target: imported" in line for line in said)
    there = load_run(base).model.state_dict()

    def changed(step: int) -> set[str]:
        ours = checkpoint_tensors(tmp_path / "run", step)
        pairs = {name: (ours[f"model.{name}"], value) for name, value in there.items()}
        return {n.split(".")[0] for n, (one, other) in pairs.items() if not torch.equal(one, other)}

    assert changed(3) == {"inter", "decoder_source", "decoder_target"}
    # Resumed: nothing is imported anew, and the encoder thaws.
    train(source, target, tmp_path / "run", with_training(config, steps=5), say=said.append)
    assert sum("decoder_target: imported" in line for line in said) == 1
    assert "encoder" in changed(5)
    state = json.loads((checkpoint_folder(tmp_path / "run", 5) / "state.json").read_text())
    (origin,) = state["lineage"]
    assert origin["run"] == str(base.resolve())
    assert origin["fingerprint"] == load_run(base).fingerprint
    assert origin["parts"] == ["encoder", "inter", "decoder_source", "decoder_target"]
    grandchild = with_training(cast.config, steps=2).model_copy(
        update={"init": InitConfig(run=str(tmp_path / "run"), parts=["encoder"])}
    )
    train(source, target, tmp_path / "third", grandchild, say=said.append)
    lineage = load_run(tmp_path / "third").manifest.lineage
    assert [entry["run"] for entry in lineage] == [str(base.resolve()), str(tmp_path / "run")]
