"""What a config is said to cost is what it has, and what it takes."""

import pytest
import torch
from conftest import TINY
from torch import nn

from faceswap_lite.about import cost_lines
from faceswap_lite.config import ModelConfig
from faceswap_lite.config_files import load_config
from faceswap_lite.models.architectures import build_model, count_parameters
from faceswap_lite.training.cost import TrainingCost, _count_saved, count_by_part, training_cost

PARTS = {
    "original": ["encoder", "decoder_source", "decoder_target"],
    "df": ["encoder", "inter", "decoder_source", "decoder_target"],
    "liae": ["encoder", "inter_AB", "inter_B", "decoder"],
}


@pytest.mark.parametrize("architecture", PARTS)
def test_parts_add_up(architecture: str) -> None:
    flags = "" if architecture == "original" else "ud"
    settings = {"architecture": architecture, "flags": flags, "size": 64}
    model = build_model(ModelConfig.model_validate(settings))
    parts = count_by_part(model)
    assert list(parts) == PARTS[architecture]
    assert sum(parts.values()) == count_parameters(model)


def test_what_the_backward_pass_keeps_is_counted_once_and_without_weights() -> None:
    net = nn.Linear(10, 7, bias=False)
    faces = torch.rand(4, 10)
    with _count_saved(net) as saved:
        # The product keeps its input, 160 bytes; exp keeps what it gives, 112, and square keeps
        # the same block.
        net(faces).exp().square().sum().backward()
        # A second, smaller part finds the first one's memory free.
        net(faces[:1]).exp().sum().backward()
    assert saved == [160 + 112, 160 + 28]


def test_the_cost_of_a_config_is_measured() -> None:
    fp32 = [*TINY, "training.precision=32-true", "training.device=cpu", "training.lr=auto"]
    cost = training_cost(load_config("demo", fp32), seconds=0.2)
    count = sum(cost.parameters.values())
    assert cost.weights == cost.gradients == cost.average == 4 * count
    # Adam: two moments, and its count of steps.
    assert 8 * count <= cost.optimizer <= 8 * count + 1000
    assert cost.steps >= 1 and 0 < cost.steps_per_second < 1e4
    assert (cost.device, cost.precision, cost.peak) == ("cpu", "32-true", None)
    double = training_cost(load_config("demo", [*fp32, "training.batch=8"]), seconds=0.0)
    assert double.steps == 1
    assert double.weights == cost.weights
    assert double.activations == pytest.approx(2 * cost.activations, rel=0.05)
    halves = training_cost(
        load_config("demo", [*fp32, "training.batch=8", "training.accumulate=2"]), seconds=0.0
    )
    assert halves.activations == pytest.approx(cost.activations, rel=0.2)


def test_the_lines_of_a_cost() -> None:
    cost = TrainingCost(
        parameters={"encoder": 1_000_000, "inter": 2_000_000},
        weights=12 << 20,
        gradients=12 << 20,
        optimizer=24 << 20,
        average=12 << 20,
        activations=3 << 30,
        peak=4 << 30,
        device="cuda",
        precision="bf16-mixed",
        steps=20,
        steps_per_second=12.5,
    )
    text = cost_lines(load_config("quick64"), cost)
    for part in (
        "df-d, 64 px, 3,000,000 parameters",
        "inter                2,000,000",
        "3.06 GiB at batch 8 per side: 60 MiB throughout and 3.00 GiB more in each step",
        "peak 4.00 GiB (measured",
        "12.5 steps/s, 200 faces/s (measured: 20 steps",
    ):
        assert part in text
