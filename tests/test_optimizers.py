"""Optimisers against their papers, and the averages that they keep."""

import numpy as np
import pytest
import schedulefree
import torch
from torch import nn

from faceswap_lite.config import OptimizerConfig
from faceswap_lite.training.optimizers import (
    ADABELIEF_EPS,
    OPTIMIZERS,
    average_of,
    build_optimizer,
    keeps_average,
    set_rate,
)


def gradients(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(1.0, 0.3, (count, 5)))


def test_adabelief_follows_algorithm_2() -> None:
    start = np.linspace(-1, 1, 5)
    weights = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    config = OptimizerConfig(kind="adabelief", beta1=0.9, beta2=0.99)
    optimizer = build_optimizer(nn.ParameterList([weights]), config, 0.01)
    mean = spread = np.zeros(5)
    theta = start.copy()
    for t, g in enumerate(gradients(20), 1):
        weights.grad = torch.tensor(g)
        optimizer.step()
        mean = 0.9 * mean + 0.1 * g
        spread = 0.99 * spread + 0.01 * (g - mean) ** 2 + ADABELIEF_EPS
        root = np.sqrt(spread / (1 - 0.99**t)) + ADABELIEF_EPS
        theta = theta - 0.01 * mean / (1 - 0.9**t) / root
    np.testing.assert_allclose(weights.detach().numpy(), theta, rtol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_lowers_a_loss_and_leaves_what_has_no_gradient(name: str) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 8), nn.Linear(8, 1)
    net = nn.Sequential(first, second)
    still = first.weight.detach().clone()
    config = OptimizerConfig.model_validate({"kind": name})
    optimizer = build_optimizer(net, config, 0.02)
    x = torch.randn(64, 4)
    losses = []
    for _step in range(60):
        optimizer.zero_grad()
        loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        first.weight.grad = None
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert torch.equal(first.weight, still)


def test_the_average_of_schedule_free_training_is_its_own_eval() -> None:
    torch.manual_seed(0)
    net = nn.Linear(6, 3)
    config = OptimizerConfig(kind="schedulefree")
    optimizer = build_optimizer(net, config, 0.05)
    assert keeps_average(optimizer)
    for _step in range(7):
        optimizer.zero_grad()
        net(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()
    before = [p.detach().clone() for p in net.parameters()]
    ours = average_of(optimizer, net)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert isinstance(optimizer, schedulefree.AdamWScheduleFree)
    optimizer.eval()
    for mine, theirs, trained in zip(ours, net.parameters(), before, strict=True):
        torch.testing.assert_close(mine, theirs.detach())
        assert not torch.equal(mine, trained)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_part_learns_at_its_share_of_the_rate(name: str) -> None:
    def moved(shares: dict[str, float], rate: float) -> list[torch.Tensor]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
        before = [p.detach().clone() for p in net.parameters()]
        config = OptimizerConfig.model_validate({"kind": name})
        optimizer = build_optimizer(net, config, 0.02, shares)
        set_rate(optimizer, rate)
        net(torch.randn(64, 4)).square().mean().backward()
        optimizer.step()
        return [p.detach() - b for p, b in zip(net.parameters(), before, strict=True)]

    shared, whole, slow = moved({"0": 0.25}, 0.02), moved({}, 0.02), moved({}, 0.005)
    for got, wanted in zip(shared, [*slow[:2], *whole[2:]], strict=True):
        torch.testing.assert_close(got, wanted)
    assert all(step.abs().max() > 0 for step in shared)


def test_parts_that_learn_slowly_do_so_once_they_have_settled() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    optimizer = build_optimizer(net, OptimizerConfig(), 0.02, {"0": 0.25})

    def rates(share: float) -> list[float]:
        set_rate(optimizer, 0.02, share)
        return [group["lr"] for group in optimizer.param_groups]

    assert rates(0.0) == pytest.approx([0.02, 0.02])
    assert rates(0.5) == pytest.approx([0.0125, 0.02])
    assert rates(1.0) == [0.02 * 0.25, 0.02], "to the bit, as runs had it before"
