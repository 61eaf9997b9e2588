"""Finishing a run: what it changes, what it leaves, who ends it, and how it is taken back."""

import copy
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Cast, silent
from typer.testing import CliRunner

from faceswap_lite.cli import app
from faceswap_lite.config import Config, FinishConfig, ModelConfig, Side
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.models.architectures import build_model
from faceswap_lite.models.autoencoder import Painted
from faceswap_lite.runs.finished import UNDONE, finish_folder, finished_file
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun
from faceswap_lite.training import finish as finish_module
from faceswap_lite.training.adversarial import (
    ADVERSARIES,
    accuracy,
    augmented_alike,
    detail_in_excess,
    detail_wanted,
    fine_detail,
    laplacian,
    low_pass,
    patches_inside,
)
from faceswap_lite.training.finish import _sides, finish_run, finishing_step
from faceswap_lite.training.finish_guard import (
    MAX_STAIN,
    Guard,
    GuardLook,
    _stain,
    as_record,
    best_look,
    from_record,
    outside,
    why_end,
)
from faceswap_lite.training.train import train


@pytest.fixture
def trained(run: TrainedRun, tmp_path: Path) -> Path:
    """A copy of the trained run, to be finished."""
    return Path(shutil.copytree(run.path, tmp_path / "run"))


def finishing(run: TrainedRun, **changes: object) -> Config:
    """The run's config with these options of finish; four steps make faces sharper."""
    quick = {"every": 4, "detail": 100.0, "excess": 0.0, "lr": 1e-3}
    finish = run.config.training.finish.model_copy(update={**quick, **changes})
    training = run.config.training.model_copy(update={"finish": finish})
    return run.config.model_copy(update={"training": training})


def test_the_painted_decoder_goes_on_and_nothing_else(run: TrainedRun, trained: Path) -> None:
    summary = finish_run(trained, finishing(run, steps=8), say=silent)

    assert summary.step == 8
    before, after = load_run(trained, finished=False), load_run(trained)
    assert before.fingerprint == run.fingerprint
    assert after.fingerprint != run.fingerprint
    old, new = before.model.state_dict(), after.model.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed
    assert all(name.startswith("decoder_source.") for name in changed)
    assert not any(".mask." in name for name in changed)
    assert (finish_folder(trained) / "preview.png").is_file()


def test_undo_brings_the_run_back(run: TrainedRun, trained: Path) -> None:
    finish_run(trained, finishing(run, steps=4), say=silent)

    told = CliRunner().invoke(app, ["finish", "--run", str(trained), "--undo"])

    assert told.exit_code == 0, told.output
    assert load_run(trained).fingerprint == run.fingerprint
    assert (trained / UNDONE).is_dir()
    again = CliRunner().invoke(app, ["finish", "--run", str(trained), "--undo"])
    assert "has no finish" in again.output


def test_a_finish_that_was_interrupted_ends_the_same(run: TrainedRun, tmp_path: Path) -> None:
    whole, parts = (Path(shutil.copytree(run.path, tmp_path / name)) for name in ("a", "b"))

    finish_run(whole, finishing(run, steps=8), say=silent)
    finish_run(parts, finishing(run, steps=4), say=silent)
    finish_run(parts, finishing(run, steps=8), say=silent)

    assert finished_file(whole).read_bytes() == finished_file(parts).read_bytes()


def test_a_finish_stopped_between_two_looks_ends_the_same(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = (Path(shutil.copytree(run.path, tmp_path / name)) for name in ("a", "b"))
    finish_run(whole, finishing(run, steps=8), say=silent)
    stopped: list[int] = []

    @contextmanager
    def by_hand() -> Iterator[list[int]]:
        yield stopped

    def step_and_stop(*given: object) -> dict[str, float]:
        if given[3] == 5:
            stopped.append(2)
        return finishing_step(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finish_module, "stop_on_signal", by_hand)
        patch.setattr(finish_module, "finishing_step", step_and_stop)
        finish_run(parts, finishing(run, steps=8), say=silent)
    finish_run(parts, finishing(run, steps=8), say=silent)

    assert finished_file(whole).read_bytes() == finished_file(parts).read_bytes()


def test_a_finish_with_other_settings_is_refused(run: TrainedRun, trained: Path) -> None:
    finish_run(trained, finishing(run, steps=4), say=silent)

    assert finish_run(trained, finishing(run, steps=4), say=silent).reason == "already done"
    with pytest.raises(FaceswapError, match="other settings; --undo"):
        finish_run(trained, finishing(run, steps=4, adversary=2.0), say=silent)
    finish_run(trained, finishing(run, steps=4, adversary=2.0), overwrite=True, say=silent)


def test_a_run_of_before_takes_the_new_weight_unless_told_otherwise() -> None:
    stored = FinishConfig().model_dump() | {"adversary": 6.0}
    del stored["excess"]

    assert FinishConfig.model_validate(stored).adversary == FinishConfig().adversary
    assert FinishConfig.model_validate(stored | {"adversary": 3.0}).adversary == 3
    assert FinishConfig.model_validate({"adversary": 6.0}).adversary == 6


def test_training_goes_on_from_before_the_finish(
    run: TrainedRun, cast: Cast, trained: Path
) -> None:
    finish_run(trained, finishing(run, steps=4), say=silent)
    longer = run.config.training.model_copy(update={"steps": 152})
    lines: list[str] = []

    train(
        open_face_set(cast.source),
        open_face_set(cast.target),
        trained,
        run.config.model_copy(update={"training": longer}),
        say=lines.append,
    )

    assert any("its finish is set aside" in line for line in lines)
    assert not finish_folder(trained).exists()


def test_damaged_finished_weights_give_way_with_a_line(run: TrainedRun, trained: Path) -> None:
    finish_run(trained, finishing(run, steps=4), say=silent)
    whole = load_run(trained).fingerprint
    with finished_file(trained).open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"\0" * 8 if file.read(8) != b"\0" * 8 else b"\1" * 8)
    lines: list[str] = []

    found = load_run(trained, say=lines.append)

    assert found.fingerprint == run.fingerprint
    assert "finished.safetensors: is damaged" in lines[0]
    finish_run(trained, finishing(run, steps=4), say=silent)
    assert load_run(trained).fingerprint == whole


def test_a_face_set_that_changed_is_refused(run: TrainedRun, cast: Cast, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    trained = Path(shutil.copytree(run.path, moved / "run"))
    text = (trained / "run.json").read_text()
    fewer = Path(shutil.copytree(cast.source, moved / "source"))
    next(iter(sorted(fewer.glob("*.png")))).unlink()
    (trained / "run.json").write_text(text.replace(str(cast.source), str(fewer)))

    with pytest.raises(FaceswapError, match="has changed since the run was trained on it"):
        finish_run(trained, finishing(run, steps=4), say=silent)


def test_liae_is_finished_on_both_sides() -> None:
    small = {"size": 32, "encoder_dims": 4, "inter_dims": 16, "decoder_dims": 4, "mask_dims": 2}
    options = Config().training.finish
    for architecture, sides in (("df", ["source"]), ("liae", ["source", "target"])):
        model = ModelConfig.model_validate({**small, "architecture": architecture})
        assert _sides(build_model(model), options) == sides


START = GuardLook(0, 0.5, 0.6, 0.5, 0.2, 1.0, 0.02)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"error": 0.52}, "held-out error"),
        ({"swap_sharpness": 1.2}, "as sharp as true faces"),
        ({"unsteadiness": 0.25}, "unsteadiness"),
        ({"margin": 0.9}, "margin"),
        ({"landmarks_error": 0.03}, "landmarks"),
        ({"stain": 9.0}, "9.0 levels of another hue"),
        ({"specks": 1.5}, "specks, 1.50 times"),
    ],
)
def test_the_guard_sees_every_harm(change: dict[str, float], word: str) -> None:
    (told,) = outside(replace(START, step=1, **change), [START])
    assert word in told


def test_the_guard_keeps_the_sharpest_look_inside_the_corridor() -> None:
    better = replace(START, step=100, swap_sharpness=0.8)
    harmed = replace(START, step=200, swap_sharpness=0.95, error=0.6)

    assert best_look([START, better, harmed]) == 1
    assert why_end([START, better, harmed]) == ""
    assert "held-out error 0.6000, lowest 0.5000" in why_end([START, better, harmed, harmed])


def test_what_is_not_known_is_not_guarded() -> None:
    unknown = replace(START, margin=math.nan, landmarks_error=math.nan)

    assert not outside(replace(unknown, step=1), [unknown])
    # Looks of before stains and specks were looked for.
    older = {k: v for k, v in as_record(START).items() if k not in ("stain", "specks")}
    assert from_record(older) == START
    assert from_record(as_record(unknown)).step == 0
    assert math.isnan(from_record(as_record(unknown)).margin)


@pytest.mark.parametrize("kind", list(ADVERSARIES))
def test_right_answers_cost_a_discriminator_less(kind: str) -> None:
    high, low, inside = (
        torch.full((2, 1, 4, 4), 1.0),
        torch.full((2, 1, 4, 4), -1.0),
        torch.ones(2, 1, 4, 4),
    )
    adversary = ADVERSARIES[kind]

    right = adversary.discriminator(high, inside, low, inside)
    wrong = adversary.discriminator(low, inside, high, inside)
    assert right < wrong
    assert adversary.generator(high, inside, 0.9) < adversary.generator(low, inside, 0.9)
    assert accuracy(kind, high, inside, low, inside) == 1
    assert accuracy(kind, low, inside, high, inside) == 0


def test_answers_count_inside_the_mask_only() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1

    inside = patches_inside(mask, 8)

    assert inside[0, 0, 3:5, 3:5].all()
    assert not inside[0, 0, :2].any()


def test_variation_moves_pictures_and_masks_together() -> None:
    pictures = torch.rand(4, 1, 32, 32).expand(4, 3, 32, 32)
    moved, masks = augmented_alike(pictures, pictures[:, :1], torch.Generator().manual_seed(1))

    # Up to the light that was added to the pictures, and to what came in from outside.
    difference = (moved[:, :1] - masks)[:, :, 8:24, 8:24].flatten(1)
    assert difference.std(1).max() < 1e-5
    assert not torch.equal(masks, pictures[:, :1])


def test_laplacian_is_the_one_of_opencv() -> None:
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for ours, picture in zip(laplacian(pictures), pictures, strict=True):
        for channel, true in zip(ours.numpy(), picture.numpy(), strict=True):
            theirs = cv2.Laplacian(true, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE)
            np.testing.assert_allclose(channel, -theirs, atol=1e-5)


def test_low_pass_keeps_the_mean_and_no_detail() -> None:
    flat = torch.full((1, 3, 16, 16), 0.4)
    checks = (torch.arange(16)[:, None] + torch.arange(16)) % 2

    assert torch.allclose(low_pass(flat), flat)
    assert low_pass(checks.expand(1, 3, 16, 16).float()).std() < 0.1


def test_light_and_hue_are_no_detail() -> None:
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    detail = fine_detail(picture)
    ramp = torch.linspace(0, 0.5, 32).expand(1, 3, 32, 32)
    redder = picture.clone()
    redder[:, 0, 10:14, 10:14] += 0.2
    redder[:, 2, 10:14, 10:14] -= 0.2

    assert detail.std() > 0.1
    inside = (..., slice(6, 26), slice(6, 26))
    assert torch.allclose(fine_detail(picture + ramp)[inside], detail[inside], atol=1e-5)
    assert torch.allclose(fine_detail(redder), detail, atol=1e-5)


def test_the_adversary_counts_until_swaps_are_as_sharp_as_rebuilt_faces() -> None:
    faces = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    inside = torch.ones(2, 1, 32, 32)

    def wanted(sharper: float) -> float:
        return detail_wanted(sharper * faces, inside, faces, inside)

    assert wanted(0.5) == 1
    assert wanted(1.0) == pytest.approx(0.5)
    assert wanted(1.2) == 0


def test_detail_is_in_excess_where_true_faces_have_none() -> None:
    noise = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0)).expand(
        4, 3, 64, 64
    )
    rough, inside = torch.zeros(1, 1, 64, 64), torch.ones(4, 1, 64, 64)
    rough[..., :32] = 1
    true = 0.5 + 0.1 * noise * rough

    assert detail_in_excess(true, inside, true) < 0.02
    assert detail_in_excess(0.5 + 0.1 * noise * (1 - rough), inside, true) > 0.1
    assert detail_in_excess(0.5 + 0.05 * noise * rough, inside, true) < 1e-3


def test_an_adversary_that_is_not_wanted_changes_nothing(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither weight nor discriminator reaches the decoder while swaps are sharp enough."""
    without, unwanted = (Path(shutil.copytree(run.path, tmp_path / name)) for name in ("a", "b"))
    finish_run(without, finishing(run, steps=4, adversary=0.0), say=silent)
    monkeypatch.setattr(finish_module, "detail_wanted", lambda *_: 0.0)
    finish_run(unwanted, finishing(run, steps=4, adversary=6.0), say=silent)

    same = [load_run(path).model.state_dict() for path in (without, unwanted)]
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])
    assert load_run(without).fingerprint != run.fingerprint


def test_the_guard_looks_for_stains_and_specks(run: TrainedRun) -> None:
    guard = Guard(run, ["source"])
    stained = copy.deepcopy(run.model)
    decode = stained.decode

    def harming(code: torch.Tensor, side: Side) -> Painted:
        face, mask = decode(code, side)
        harm = torch.zeros_like(face)
        harm[..., 12:20, 12:20] = 0.5 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2)
        harm[:, 0, 12:20, 12:20] += 0.3
        return face + harm, mask

    stained.decode = harming  # type: ignore[method-assign]
    clean, harmed = guard.look(run.model, 0), guard.look(stained, 1)

    assert clean.stain == 0 and clean.specks > 0
    assert harmed.stain > MAX_STAIN and harmed.specks > clean.specks


def test_a_stain_is_seen_where_the_hue_moved_and_not_where_detail_came() -> None:
    rng = np.random.default_rng(0)
    before = np.full((2, 64, 64, 3), 0.5, np.float32)
    masks = np.full((2, 64, 64), 255, np.uint8)
    sharper = before + 0.1 * rng.standard_normal((2, 64, 64, 1)).astype(np.float32)
    stained = before.copy()
    stained[:, 20:30, 20:30, 0] += 0.1

    assert _stain(sharper, before, masks) < 0.1
    assert _stain(stained, before, masks) > MAX_STAIN


def test_a_phase_that_another_method_began_is_refused(
    run: TrainedRun, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(finish_module, "METHOD", 1)
        finish_run(trained, finishing(run, steps=4), say=silent)

    with pytest.raises(FaceswapError, match="other weights or with other settings; --undo"):
        finish_run(trained, finishing(run, steps=8), say=silent)


@pytest.mark.parametrize(("few", "varied"), [(10**6, 3 * 2), (0, 0)])
def test_few_faces_are_varied_alike_before_the_discriminator(
    run: TrainedRun, trained: Path, monkeypatch: pytest.MonkeyPatch, few: int, varied: int
) -> None:
    """True and painted ones as it learns, painted ones as it judges: three times a step."""
    shapes: list[torch.Size] = []

    def spied(
        pictures: torch.Tensor, masks: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shapes.append(pictures.shape)
        return augmented_alike(pictures, masks, generator)

    monkeypatch.setattr(finish_module, "FEW_FACES", few)
    monkeypatch.setattr(finish_module, "augmented_alike", spied)

    finish_run(trained, finishing(run, steps=2), say=silent)

    assert len(shapes) == varied


def test_nothing_of_augmentation_is_left_in_a_finish(cast: Cast) -> None:
    augment = cast.config.training.augment.model_copy(update={"occlude": 0.3, "hue": 0.1})
    still = finish_module._without_augmentation(
        cast.config.training.model_copy(update={"augment": augment})
    ).augment
    numbers = still.model_dump(exclude={"kind", "warp_until"})
    assert still.kind == "hand" and not any(numbers.values()), numbers
