"""How the mask network's base is made: its faces, its batches, and going on after a kill."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from faceswap_lite.errors import FaceswapError
from faceswap_lite.models.mask_network import MASK_SIZE
from faceswap_lite.occluders.planting import KINDS
from faceswap_lite.pretraining import mask_base
from faceswap_lite.pretraining.crowd import MARGIN
from faceswap_lite.pretraining.mask_base import (
    MaskBatch,
    make_mask_base,
    masked_face,
    sample_masked,
)
from faceswap_lite.pretraining.mask_faces import MOMENTS, PEOPLE, render_masked_faces
from faceswap_lite.runs.mask_weights import read_mask
from faceswap_lite.training.mask_refinement import mask_loss

EDGE = round(MASK_SIZE * (1 + 2 * MARGIN))
HELD = [name for name, kind in KINDS.items() if not kind.decoy]


def faces(count: int = 3) -> np.ndarray:
    """Ovals on noise; no hair."""
    rng = np.random.default_rng(0)
    rows = rng.integers(80, 200, (count, 5, EDGE, EDGE), np.uint8)
    outline = np.zeros((EDGE, EDGE), np.uint8)
    cv2.ellipse(outline, (EDGE // 2, EDGE // 2), (40, 50), 0, 0, 360, 255, -1, cv2.LINE_AA)
    rows[:, 3], rows[:, 4] = outline, 255
    return rows


def test_rendered_faces_are_the_same_for_a_number_and_know_their_hair() -> None:
    rows = render_masked_faces(0, 32, None)
    assert rows.shape == (PEOPLE * MOMENTS, 5, 38, 38)
    assert np.array_equal(rows, render_masked_faces(0, 32, None))
    outline, hair = rows[:, 3] / 255.0, 1 - rows[:, 4] / 255.0
    assert (outline.mean((1, 2)) > 0.1).all()
    # Hair is somewhere, in the outline there is little of it.
    assert hair.mean() > 0.03
    assert (outline * hair).sum() < 0.35 * outline.sum()
    assert not np.array_equal(rows, render_masked_faces(1, 32, None))


def test_batches_depend_on_seed_and_step_alone() -> None:
    one, two = (sample_masked(faces(), [*KINDS], 0.5, 0.5, 0, 7) for _ in range(2))
    other = sample_masked(faces(), [*KINDS], 0.5, 0.5, 0, 8)
    for a, b, c in zip(one, two, other, strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert (one.visible <= one.outline + 1e-6).all() and one.visible.min() >= 0


@pytest.mark.parametrize("planted", [0.0, 1.0])
def test_a_face_is_covered_when_it_is_asked_for(planted: float) -> None:
    rng = np.random.default_rng(1)
    for row in faces():
        shown = masked_face(rng, row, HELD, planted, moved=0.0)
        hidden = (shown.outline - shown.visible).sum() / shown.outline.sum()
        assert (hidden > 0.01) if planted else (hidden < 1e-6)


def test_wrinkles_and_other_features_hide_nothing() -> None:
    for seed in range(4):
        plain, creased = (
            masked_face(
                np.random.default_rng(seed), faces()[0], HELD, 0.0, moved=0.0,
                disturbed=1.0, creased=share,
            )
            for share in (0.0, 1.0)
        )  # fmt: skip
        assert not np.array_equal(plain.pixels, creased.pixels)
        # What is bent takes its outline along.
        assert np.abs(plain.outline - creased.outline).max() > 0
        assert np.abs(plain.outline - creased.outline).mean() < 0.05
        assert (creased.visible > 0.5).sum() >= 0.98 * (creased.outline > 0.5).sum()


def test_the_loss_is_least_for_the_truth() -> None:
    batch = sample_masked(faces(), HELD, 0.0, 0.0, 0, 1)
    visible = batch.visible.clamp(1e-4, 1 - 1e-4)
    right = mask_loss(torch.logit(visible), batch.visible, batch.outline)
    for wrong in (1 - visible, batch.outline.clamp(1e-4, 1 - 1e-4)):
        assert mask_loss(torch.logit(wrong), batch.visible, batch.outline) > right


class Killed(Exception):
    """In place of a kill."""


def test_going_on_gives_the_weights_of_a_training_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batch(steps: int) -> MaskBatch:
        drawn = sample_masked(faces(), ["shape"], 0.0, 0.0, 0, steps)
        return MaskBatch(*(part[:2] for part in drawn))

    def kill(line: str) -> None:
        raise Killed(line)

    monkeypatch.setattr(mask_base, "SAVE_EVERY", 2)
    monkeypatch.setattr(mask_base, "_draw", lambda step: tuple(p.numpy() for p in batch(step)))

    def train(work: str, say: Any = lambda line: None) -> dict[str, torch.Tensor]:
        with ThreadPoolExecutor(1) as samplers:
            made, _ = mask_base._trained(tmp_path / work, samplers, 4, 2.0, 0, None, say)
        return made.state_dict()

    whole = train("whole")
    with pytest.raises(Killed, match="step 2"):
        train("parts", kill)
    again = train("parts")
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name


def test_another_jobs_file_and_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = mask_base.MaskNetwork()
    monkeypatch.setattr(mask_base, "rendered_faces", lambda folder, groups: faces())
    monkeypatch.setattr(mask_base, "_trained", lambda *_: (network, 60.0))
    out, work = tmp_path / "mask.safetensors", tmp_path / "work"
    make_mask_base(out, work, steps=2, groups=1, kinds=["hand"], say=lambda line: None)
    assert read_mask(out).recipe["kinds"] == ["hand"]
    before = out.read_bytes()
    make_mask_base(out, work, steps=2, groups=1, kinds=["hand"], say=lambda line: None)
    with pytest.raises(FaceswapError, match="choose another file"):
        make_mask_base(out, work, steps=3, groups=1, kinds=["hand"])
    assert out.read_bytes() == before
    with pytest.raises(FaceswapError, match="choose another --work"):
        make_mask_base(tmp_path / "b.safetensors", work, steps=3, groups=1, kinds=["hand"])
