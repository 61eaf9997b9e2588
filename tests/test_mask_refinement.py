"""The mask network in training: what it hides is not learned, and it learns the run's own faces."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cast, silent
from PIL import Image
from test_conversion_occlusion import GREEN, NoGreen
from test_face_set import SIZE, make_set

from faceswap_lite.config import Config
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import MASKS_FOLDER, open_face_set
from faceswap_lite.faces.records import read_record, write_crop
from faceswap_lite.media.images import read_image
from faceswap_lite.models.mask_network import MaskNetwork
from faceswap_lite.runs import mask_weights
from faceswap_lite.runs.checkpoints import load_weights
from faceswap_lite.runs.manifest import read_manifest
from faceswap_lite.runs.mask_weights import MASK_FILE, mask_of, read_mask
from faceswap_lite.training import mask_refinement, setup
from faceswap_lite.training.loading import load_pixels
from faceswap_lite.training.mask_refinement import refine_mask
from faceswap_lite.training.train import train

CPU = torch.device("cpu")


def draw_green(path: Path) -> None:
    """Something green before the mouth of a stored crop."""
    record = read_record(path)
    assert record is not None
    crop = read_image(path).copy()
    crop[round(0.6 * SIZE) : round(0.75 * SIZE)] = GREEN
    write_crop(path, crop, record)


def test_what_is_before_a_stored_face_is_not_learned_as_one(tmp_path: Path) -> None:
    names = make_set(tmp_path)
    for name in names[:2]:
        draw_green(tmp_path / name)
    (tmp_path / MASKS_FOLDER).mkdir()
    white = Image.fromarray(np.full((SIZE, SIZE), 255, np.uint8))
    white.save(tmp_path / MASKS_FOLDER / names[1])
    faces = open_face_set(tmp_path)
    before, _ = load_pixels(faces, 64)
    after, _ = load_pixels(faces, 64, NoGreen())
    edge = before.shape[-1]
    bar = slice(round(0.62 * edge), round(0.73 * edge))
    assert (before[0, 3, bar] > 128).any() and (before[0, 4, bar] > 128).any()
    assert after[0, 3:, bar].max() <= 16
    above = slice(0, round(0.5 * edge))
    assert (after[0, 3, above].int() - before[0, 3, above].int()).abs().max() <= 2
    assert torch.equal(after[:, :3], before[:, :3])
    # What a person drew is what holds; nothing before a face changes nothing.
    assert torch.equal(after[1], before[1])
    assert (after[2:].int() - before[2:].int()).abs().max() <= 2


class AlmostSure(MaskNetwork):
    """All of the outline is face, to a network that can still learn otherwise."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            super().__init__()
        with torch.no_grad():
            for weight in self.last.parameters():
                weight.mul_(0.05)
            assert self.last.bias is not None
            self.last.bias.fill_(2.0)


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> MaskNetwork:
    network = AlmostSure().eval()
    weights = SimpleNamespace(network=lambda: network, fingerprint=lambda: "0" * 16)
    for module in (setup, mask_weights):
        monkeypatch.setattr(module, "shipped_mask", lambda: weights)
    return network


def sets_of(cast: Cast) -> dict[Any, Any]:
    return {"source": open_face_set(cast.source), "target": open_face_set(cast.target)}


def test_refined_by_planted_occluders_it_sees_more_of_them(
    cast: Cast, base: MaskNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_refinement, "RATE", 5e-3)
    before = [weight.clone() for weight in base.state_dict().values()]
    refined = refine_mask(base, sets_of(cast), 25, 0, CPU)
    assert refined.network is not None, refined.line
    assert refined.recipe["clean"] == refined.recipe["faces"] == 80
    assert refined.recipe["overlap"] > refined.recipe["overlap_before"]
    assert all(torch.equal(a, b) for a, b in zip(before, base.state_dict().values(), strict=True))


class Hidden(MaskNetwork):
    """Of each face so much is hidden as the first pixel of its crop says."""

    def forward(self, pixels: torch.Tensor, outline: torch.Tensor) -> torch.Tensor:
        height = (torch.arange(outline.shape[-1]) / outline.shape[-1])[None, None, :, None]
        return torch.where(height < pixels[:, :1, :1, :1], -9.0, 9.0).expand(outline.shape)


def test_hair_before_every_face_leaves_the_clearest_ones_clean(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = open_face_set(cast.source)
    count = len(faces.faces)
    crops = np.zeros((count, 128, 128, 3), np.uint8)
    # Half of the faces under hair alone, half under hands as well.
    crops[: count // 2, 0, 0] = round(0.15 * 255)
    crops[count // 2 :, 0, 0] = round(0.35 * 255)
    monkeypatch.setattr(type(faces), "crops", lambda *_: crops)
    known = mask_refinement._look_at(faces, Hidden())
    assert known.clean[: count // 2].mean() > 0.3 and not known.clean[count // 2 :].any()


def test_few_clean_faces_or_no_gain_leave_the_base(
    cast: Cast, base: MaskNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_face_set(cast.source)
    few: dict[Any, Any] = {"source": replace(source, faces=source.faces[:20])}
    refined = refine_mask(base, few, 2, 0, CPU)
    assert refined.network is None and "20 faces are clean, 50 are needed" in refined.line
    monkeypatch.setattr(mask_refinement, "_overlap", lambda network, judge: 0.9)
    refined = refine_mask(base, sets_of(cast), 1, 0, CPU)
    assert refined.network is None and "not refined" in refined.line


def with_masks(config: Config, steps: int) -> Config:
    training = config.training.model_copy(
        update={
            "steps": steps,
            "mask_steps": 2,
            "visible_only": True,
            "augment": config.training.augment.model_copy(update={"occlude": 0.5}),
        }
    )
    return config.model_copy(update={"training": training})


def test_a_run_keeps_its_mask_and_a_resumed_one_sees_the_same(
    cast: Cast, base: MaskNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlaps = iter([0.5, 0.9] * 4)
    monkeypatch.setattr(mask_refinement, "_overlap", lambda network, judge: next(overlaps))
    said: list[str] = []
    sets = sets_of(cast)

    def go_on(run: Path, steps: int) -> None:
        said.clear()
        train(sets["source"], sets["target"], run, with_masks(cast.config, steps), say=said.append)

    straight, parted = tmp_path / "straight", tmp_path / "parted"
    go_on(straight, 4)
    go_on(parted, 2)
    assert any("the mask is refined on" in line for line in said)
    file = parted / MASK_FILE
    assert (
        read_manifest(parted).mask == read_mask(file).fingerprint() == mask_of(parted).fingerprint()
    )
    written = file.stat().st_mtime_ns
    go_on(parted, 4)
    assert file.stat().st_mtime_ns == written and not any("mask" in line for line in said)
    assert file.read_bytes() == (straight / MASK_FILE).read_bytes()
    for name, weight in load_weights(straight, 4, "model").items():
        assert torch.equal(weight, load_weights(parted, 4, "model")[name]), name

    # One that was damaged is used by nobody, and made again, the same.
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + bytes(4))
    with pytest.raises(FaceswapError, match="is gone or damaged; training the run"):
        mask_of(parted)
    go_on(parted, 5)
    assert file.read_bytes() == whole
    train(
        sets["source"], sets["target"], parted, cast.config.model_copy(
            update={"training": cast.config.training.model_copy(update={"steps": 1})}
        ),
        overwrite=True, say=silent,
    )  # fmt: skip
    assert not file.exists() and read_manifest(parted).mask == ""
