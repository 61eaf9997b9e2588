"""The range test: exact on made-up curves; on actors, it leaves the run as it would have been."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cast
from test_train import checkpoint_tensors, log_lines, run_steps, with_training

from faceswap_lite.config import Config, Side
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.models.architectures import build_model
from faceswap_lite.runs.manifest import read_manifest
from faceswap_lite.training import find_lr as module
from faceswap_lite.training.batches import SideData
from faceswap_lite.training.find_lr import (
    RangeTest,
    find_lr,
    range_test,
    smooth,
    suggest_learning_rate,
    sweep_rates,
)
from faceswap_lite.training.loading import load_side
from faceswap_lite.training.resume import describe_run

# Fewer steps than the default, up to rates that break any network.
SHORT: dict[str, Any] = {"find_lr_steps": 60, "find_lr_low": 1e-3, "find_lr_high": 10.0}


def load_sides(cast: Cast, config: Config) -> dict[Side, SideData]:
    size = config.model.size
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    facts = describe_run(source, target, config)
    return {
        "source": load_side(source, size, config.training.pose_balance, facts.source.groups),
        "target": load_side(target, size, config.training.pose_balance, facts.target.groups),
    }


def find(cast: Cast, run: Path, *, overwrite: bool = False, **options: Any) -> float:
    config = with_training(cast.config, **{**SHORT, **options})
    faces = open_face_set(cast.source), open_face_set(cast.target)
    return find_lr(*faces, run, config, overwrite=overwrite, say=lambda line: None)


def test_rates_rise_by_one_factor() -> None:
    assert sweep_rates(1e-6, 1e-2, 5) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2], rel=1e-12)


def test_smoothing_is_corrected_for_its_start() -> None:
    assert smooth([3.0, 3.0, 3.0], 0.9) == pytest.approx([3, 3, 3], rel=1e-12)
    # 0.5 * 1 / 0.5; (0.25 * 1 + 0.5 * 4) / 0.75; (0.125 + 0.25 * 4 + 0.5 * 2) / 0.875
    assert smooth([1.0, 4.0, 2.0], 0.5) == pytest.approx([1, 3, 17 / 7], rel=1e-12)
    assert smooth([5.0, 1.0], 0.0) == [5, 1]


def test_the_named_rate_is_a_third_of_the_edge() -> None:
    rates = sweep_rates(1e-6, 1e-1, 51)
    valley = [abs(math.log10(rate) - math.log10(3e-3)) for rate in rates]
    nearest = min(rates, key=lambda rate: abs(math.log(rate / 3e-3)))
    assert nearest == pytest.approx(10**-2.5, rel=1e-9)
    assert suggest_learning_rate(rates, valley) == 1.1e-3
    assert suggest_learning_rate([1e-4, 3e-4, 6e-4, 9e-4], [2.0, 1.0, 1.0, 3.0]) == 1e-4
    assert suggest_learning_rate([1e-4, 3e-4, 9e-4], [3.0, 2.0, 1.0]) == 3e-4
    # Scaling the loss, or adding to it, names no other rate.
    assert suggest_learning_rate(rates, [7 * v + 2 for v in valley]) == 1.1e-3


@pytest.mark.parametrize("losses", [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0], []])
def test_a_loss_that_never_fell_names_nothing(losses: list[float]) -> None:
    with pytest.raises(ValueError, match="never fell"):
        suggest_learning_rate([1e-3, 1e-2, 1e-1], losses)


def test_a_sweep_repeats_itself_stops_at_the_break_and_leaves_the_network(cast: Cast) -> None:
    config = with_training(cast.config, **SHORT)
    network = build_model(config.model, 0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    sides = load_sides(cast, config)
    sweep = range_test(network, sides, config)
    assert sweep == range_test(network, sides, config)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert 10 < len(sweep.losses) < SHORT["find_lr_steps"]
    assert sweep.rates == sweep_rates(1e-3, 10.0, 60)[: len(sweep.losses)]
    assert sweep.smoothed[-1] > 2 * min(sweep.smoothed) or not math.isfinite(sweep.smoothed[-1])
    assert all(loss < 2 * min(sweep.smoothed[:k]) for k, loss in enumerate(sweep.smoothed[1:-1], 1))
    assert sweep.rates[0] / 3 <= sweep.rate < sweep.rates[-1]
    other = with_training(cast.config, **SHORT, seed=5)
    assert range_test(build_model(config.model, 5), sides, other).losses != sweep.losses


def test_a_sweep_that_starts_too_high_is_one_readable_line(cast: Cast) -> None:
    config = with_training(
        cast.config,
        find_lr_steps=10,
        find_lr_low=1e3,
        find_lr_high=1e9,
        optimizer={"clip_norm": 0.0},
    )
    with pytest.raises(FaceswapError, match=r"lower training\.find_lr_low") as caught:
        range_test(build_model(config.model), load_sides(cast, config), config)
    assert "\n" not in str(caught.value)


def test_a_sweep_takes_the_steps_that_training_takes(cast: Cast, tmp_path: Path) -> None:
    """At a rate that all but stands still, its losses are those of a run at that rate."""
    rate = 1e-3
    config = with_training(
        cast.config, find_lr_steps=10, find_lr_low=rate, find_lr_high=rate * (1 + 1e-12)
    )
    network = build_model(config.model, config.training.seed)
    sweep = range_test(network, load_sides(cast, config), config)
    run_steps(cast, tmp_path / "run", steps=10, lr=rate, schedule={"warmup_steps": 0})
    logged = [line["loss"] for line in log_lines(tmp_path / "run") if "loss" in line]
    # The rates differ in the last digits, and so may the losses.
    assert sweep.losses == pytest.approx(logged, rel=1e-4)


def test_find_lr_writes_its_curve_and_trains_nothing(cast: Cast, tmp_path: Path) -> None:
    run = tmp_path / "run"
    rate = find(cast, run)
    assert sorted(path.name for path in run.iterdir()) == ["find_lr.json", "find_lr.png"]
    facts = json.loads((run / "find_lr.json").read_text())
    assert facts["rate"] == rate
    assert len(facts["rates"]) == len(facts["losses"]) == len(facts["smoothed"])
    # Whatever rate stands in the config, and without doing it twice.
    stamp = (run / "find_lr.json").stat().st_mtime_ns
    assert find(cast, run, lr=7e-5) == rate
    assert (run / "find_lr.json").stat().st_mtime_ns == stamp
    with pytest.raises(FaceswapError, match="--overwrite"):
        find(cast, run, seed=1)
    find(cast, run, seed=1, overwrite=True)
    # Training begins beside it, and leaves it there.
    run_steps(cast, run, steps=2)
    assert (run / "find_lr.png").is_file() and (run / "run.json").is_file()


def never(*_: Any) -> RangeTest:
    raise AssertionError("a second range test")


def test_auto_trains_at_the_named_rate_and_resumes_with_it(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto: dict[str, Any] = {"lr": "auto", **SHORT}
    run_steps(cast, tmp_path / "once", steps=16, **auto)
    named = read_manifest(tmp_path / "once").lr
    assert named is not None and (tmp_path / "once" / "find_lr.png").is_file()
    rates = [line["lr"] for line in log_lines(tmp_path / "once") if "lr" in line]
    assert rates[-1] == named

    run_steps(cast, tmp_path / "twice", steps=9, **auto)
    (tmp_path / "twice" / "find_lr.json").unlink()
    monkeypatch.setattr(module, "range_test", never)
    assert run_steps(cast, tmp_path / "twice", steps=16, **auto).step == 16
    # Nothing of the test is left in the weights: by hand, the same rate gives the same run.
    run_steps(cast, tmp_path / "by_hand", steps=16, **{**auto, "lr": named})
    once = checkpoint_tensors(tmp_path / "once", 16)
    for name in ("twice", "by_hand"):
        other = checkpoint_tensors(tmp_path / name, 16)
        assert [key for key in once if not torch.equal(once[key], other[key])] == []
    assert read_manifest(tmp_path / "by_hand").lr is None


def test_auto_takes_the_test_that_stands_in_its_folder(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = find(cast, tmp_path / "run")
    monkeypatch.setattr(module, "range_test", never)
    run_steps(cast, tmp_path / "run", steps=2, lr="auto", **SHORT)
    assert read_manifest(tmp_path / "run").lr == rate
    # A test of other settings is no help.
    find_elsewhere = tmp_path / "other"
    find_elsewhere.mkdir()
    (find_elsewhere / "find_lr.json").write_bytes((tmp_path / "run/find_lr.json").read_bytes())
    with pytest.raises(AssertionError, match="a second range test"):
        run_steps(cast, find_elsewhere, steps=2, lr="auto", seed=1, **SHORT)
