from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from faceswap_lite.config import AugmentConfig, Side, TrainingConfig
from faceswap_lite.training.augmentation import Views
from faceswap_lite.training.batches import SideData, sample_faces, sample_views, weight_ramp
from faceswap_lite.training.loading import MAX_POSE_WEIGHT, pose_weights


def test_every_face_is_seen_once_an_epoch() -> None:
    drawn = torch.cat(
        [sample_faces(torch.ones(10), 4, seed=1, step=step, side="source") for step in range(5)]
    )
    assert sorted(drawn[:10].tolist()) == list(range(10))
    assert sorted(drawn[10:].tolist()) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:].tolist()


def test_what_a_step_sees_depends_on_seed_step_and_side_alone() -> None:
    one = sample_faces(torch.ones(50), 8, seed=1, step=7, side="source")
    assert torch.equal(one, sample_faces(torch.ones(50), 8, seed=1, step=7, side="source"))
    assert not torch.equal(one, sample_faces(torch.ones(50), 8, seed=2, step=7, side="source"))
    assert not torch.equal(one, sample_faces(torch.ones(50), 8, seed=1, step=7, side="target"))


def test_a_batch_may_be_larger_than_the_set() -> None:
    drawn = sample_faces(torch.ones(3), 8, seed=0, step=0, side="target")
    assert np.bincount(drawn.numpy()).tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_weights_are_kept_to_within_one_draw_an_epoch() -> None:
    weights = torch.tensor([0.25, 2.5, 0.0, 1.0, 1.25])
    count = 4  # faces that weigh anything, so an epoch's length
    drawn = torch.cat(
        [sample_faces(weights, 2, seed=3, step=step, side="source") for step in range(80)]
    )
    epochs = drawn.reshape(-1, count)
    expected = weights / weights.sum() * count
    for epoch in epochs:
        assert ((torch.bincount(epoch, minlength=5) - expected).abs() < 1).all()
    # 160 draws: the mean of 40 epochs, each off by less than one.
    shares = torch.bincount(drawn, minlength=5) / len(epochs)
    assert torch.allclose(shares, expected, atol=0.15)
    assert shares[2] == 0


def test_a_face_without_weight_leaves_the_others_draws_alone() -> None:
    few = torch.cat([sample_faces(torch.ones(10), 4, 1, step, "source") for step in range(10)])
    many = [
        sample_faces(torch.tensor([1.0] * 10 + [0.0] * 7), 4, 1, step, "source")
        for step in range(10)
    ]
    assert torch.equal(few, torch.cat(many))


def test_balance_gives_every_yaw_its_turn() -> None:
    yaw = np.repeat([0.0, 12.0, -30.0], [60, 30, 10])
    weights = pose_weights(yaw, 1.0)
    assert weights.mean() == pytest.approx(1)
    sums = [weights[yaw == degrees].sum() for degrees in (0.0, 12.0, -30.0)]
    assert sums == pytest.approx([100 / 3] * 3)
    # Half the strength: the root of the ratio of the counts.
    half = pose_weights(yaw, 0.5)
    assert half[-1] / half[0] == pytest.approx(np.sqrt(60 / 10))
    assert (pose_weights(yaw, 0.0) == 1).all()


def test_a_lone_pose_is_not_drawn_over_and_over() -> None:
    yaw = np.array([0.0] * 999 + [80.0])
    assert pose_weights(yaw, 1.0)[-1] == pytest.approx(MAX_POSE_WEIGHT, rel=0.01)


def test_a_face_without_a_pose_weighs_one() -> None:
    yaw = np.array([0.0] * 9 + [40.0] + [np.nan] * 2)
    weights = pose_weights(yaw, 1.0)
    assert weights[-2:].tolist() == [1, 1]
    assert weights[:-2].mean() == pytest.approx(1)
    assert (pose_weights(np.full(3, np.nan), 1.0) == 1).all()


def test_a_late_face_rises_to_its_weight() -> None:
    since = torch.tensor([0, 100, 110])
    assert weight_ramp(since, 99, 10).tolist() == [1, 0, 0]
    assert weight_ramp(since, 100, 10).tolist() == [1, 0.1, 0]
    assert weight_ramp(since, 104, 10).tolist() == [1, 0.5, 0]
    assert weight_ramp(since, 109, 10).tolist() == [1, 1, 0]
    assert weight_ramp(since, 500, 10).tolist() == [1, 1, 1]
    assert weight_ramp(since, 100, 0).tolist() == [1, 1, 0]


def side_of(seed: int, low: int, high: int, count: int = 12) -> SideData:
    generator = torch.Generator().manual_seed(seed)
    faces = torch.randint(low, high, (count, 5, 42, 42), dtype=torch.uint8, generator=generator)
    faces[:, 3] = 255
    return SideData(faces, faces[:1], 1.3, torch.ones(count), torch.zeros(count, dtype=torch.long))


SIDES_OF_TEST: dict[Side, SideData] = {"source": side_of(1, 0, 120), "target": side_of(2, 100, 256)}


def views_of(side: Any, step: int = 3, seed: int = 0, **options: Any) -> Views:
    config = TrainingConfig(batch=8, seed=seed, augment=AugmentConfig(**options))
    return sample_views(SIDES_OF_TEST, 32, config, step, side, torch.device("cpu"))


def test_the_source_takes_the_target_s_colours_in_input_and_truth_alike() -> None:
    still: dict[str, Any] = {"warp": 0.0, "brightness": 0.0, "contrast": 0.0}
    plain, moved = (views_of("source", color_transfer=p, **still) for p in (0.0, 1.0))
    assert torch.equal(moved.warped, moved.face)
    assert torch.equal(moved.mask, plain.mask)
    assert plain.face.mean() < 0.3
    target = views_of("target", color_transfer=1.0, **still)
    assert abs(moved.face.mean() - target.face.mean()) < 0.05
    assert torch.equal(target.face, views_of("target", **still).face)
    # At one half, some faces of many steps are left alone, and some are not.
    pairs = [
        (views_of("source", step, color_transfer=0.5, **still), views_of("source", step, **still))
        for step in range(8)
    ]
    kept = [
        torch.equal(a, b) for one, other in pairs for a, b in zip(one.face, other.face, strict=True)
    ]
    assert 16 < sum(kept) < 48


def test_hsv_jitter_changes_input_and_truth_alike() -> None:
    still: dict[str, Any] = {"warp": 0.0, "brightness": 0.0, "contrast": 0.0}
    for option in ("hue", "saturation", "value"):
        jittered = views_of("target", **{**still, option: 0.2})
        assert torch.equal(jittered.warped, jittered.face)
        assert not torch.allclose(jittered.face, views_of("target", **still).face, atol=0.01)


def test_what_is_put_before_a_face_is_in_the_input_alone() -> None:
    still: dict[str, Any] = {"warp": 0.0, "brightness": 0.0, "contrast": 0.0}
    plain = views_of("source", **still)
    always, again = (views_of("source", occlude=1.0, **still) for _ in range(2))
    assert torch.equal(always.warped, again.warped)
    for name in ("face", "mask", "features"):
        assert torch.equal(getattr(always, name), getattr(plain, name))
    changed = (always.warped - plain.warped).abs().amax(1) > 0.02
    assert (changed.flatten(1).float().mean(1) > 0.002).all()
    assert 0.02 < changed.float().mean() < 0.9
    # Of a half, some; chance draws nothing away from what else it decides.
    pairs = [(views_of("source", n, occlude=0.5), views_of("source", n)) for n in range(4)]
    kept = [
        torch.equal(a, b)
        for one, other in pairs
        for a, b in zip(one.warped, other.warped, strict=True)
    ]
    assert 6 < sum(kept) < 26
    assert all(torch.equal(one.face, other.face) for one, other in pairs)


def test_the_warp_ends() -> None:
    before, after = (views_of("source", step, warp_until=5) for step in (4, 5))
    assert torch.equal(before.warped, views_of("source", 4).warped)
    assert not torch.equal(before.warped, before.face)
    assert torch.equal(after.warped, after.face)
    assert torch.equal(after.face, views_of("source", 5).face)


def test_views_depend_on_seed_step_and_side_alone() -> None:
    options: dict[str, Any] = {"hue": 0.05, "saturation": 0.2, "value": 0.2, "color_transfer": 0.5}
    one, again = (views_of("source", 7, **options) for _ in range(2))
    assert torch.equal(one.warped, again.warped)
    assert not torch.equal(one.warped, views_of("source", 8, **options).warped)
    assert not torch.equal(one.warped, views_of("source", 7, seed=1, **options).warped)


def test_late_faces_come_in_by_their_ramp() -> None:
    side = SIDES_OF_TEST["source"]
    faces = torch.arange(12)
    marked = replace(
        side,
        seen=faces.byte()[:, None, None, None].expand(12, 5, 42, 42),
        since=torch.where(faces < 6, 0, 1000),
    )
    config = TrainingConfig(batch=8, late_ramp=100, augment=AugmentConfig(brightness=0, contrast=0))

    def late(step: int) -> float:
        views = sample_views({"source": marked}, 32, config, step, "source", torch.device("cpu"))
        return float(((views.face.mean((1, 2, 3)) * 255).round() >= 6).float().mean())

    shares = [
        np.mean([late(step) for step in steps])
        for steps in (range(900, 1000), range(1000, 1050), range(1050, 1100), range(1100, 1200))
    ]
    assert shares[0] == 0
    # Of equal numbers of old and new faces at a mean weight w: w / (1 + w).
    assert shares[1:] == pytest.approx([0.2, 0.43, 0.5], abs=0.04)
