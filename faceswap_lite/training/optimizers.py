"""Optimisers: Adam and its kin, and the averaged weights of the one that keeps its own.

Schedule-free training has two sets of weights: those that gradients are taken at, in the network,
and their running average, which is what it has learned. `average_of` gives the latter.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import schedulefree
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..config import OptimizerConfig

ADABELIEF_EPS = 1e-12
"""The authors' for pictures; it is added inside and outside of the root."""


Params = Iterable[Tensor] | Iterable[dict[str, Any]]
"""Parameters, or groups of them."""


class AdaBelief(Optimizer):
    """Adam that divides by the spread of the gradient around its own prediction.

    Source: Zhuang et al. 2020, "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed
    Gradients", algorithm 2, with bias correction and without weight decay.
    """

    def __init__(self, params: Params, lr: float, betas: tuple[float, float]):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": ADABELIEF_EPS})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            (beta1, beta2), eps = group["betas"], group["eps"]
            moved = [p for p in group["params"] if p.grad is not None]
            if not moved:
                continue
            for p in moved:
                if not self.state[p]:
                    self.state[p] = {
                        "step": torch.zeros(()),
                        "exp_avg": torch.zeros_like(p),
                        "exp_avg_var": torch.zeros_like(p),
                    }
            grads = [p.grad for p in moved]
            means = [self.state[p]["exp_avg"] for p in moved]
            spreads = [self.state[p]["exp_avg_var"] for p in moved]
            # foreach: one call for all tensors instead of one for each.
            torch._foreach_lerp_(means, grads, 1 - beta1)
            surprise = torch._foreach_sub(grads, means)
            torch._foreach_mul_(spreads, beta2)
            torch._foreach_addcmul_(spreads, surprise, surprise, 1 - beta2)
            torch._foreach_add_(spreads, eps)
            for p, mean, spread in zip(moved, means, spreads, strict=True):
                steps = self.state[p]["step"]
                steps += 1
                count = float(steps)
                scale = (spread / (1 - beta2**count)).sqrt_().add_(eps)
                p.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**count))


def build_optimizer(
    network: nn.Module,
    config: OptimizerConfig,
    rate: float,
    shares: Mapping[str, float] | None = None,
) -> Optimizer:
    """The config's optimiser over all parameters of the network.

    `shares`: parts that learn at a share of the rate; `set_rate` knows them.
    """
    slow = {name: list(network.get_submodule(name).parameters()) for name in shares or {}}
    params: Params = network.parameters()
    if slow and shares:
        theirs = {id(p) for some in slow.values() for p in some}
        rest = [p for p in network.parameters() if id(p) not in theirs]
        groups = [{"params": some, "share": shares[name]} for name, some in slow.items()]
        params = [*groups, {"params": rest, "share": 1.0}]
    options: dict[str, Any] = {"lr": rate, "betas": (config.beta1, config.beta2)}
    if config.kind in ("adamw", "schedulefree"):
        options["weight_decay"] = config.weight_decay
    optimizer = OPTIMIZERS[config.kind](params, **options)
    if isinstance(optimizer, schedulefree.AdamWScheduleFree):
        optimizer.train()
    return optimizer


def set_rate(optimizer: Optimizer, rate: float, settled: float = 1.0) -> None:
    """The rate of the next step. Some parts take a share of it when `settled` is 1, all at 0."""
    for group in optimizer.param_groups:
        share = group.get("share", 1.0)
        group["lr"] = rate * (share + (1 - settled) * (1 - share))


def keeps_average(optimizer: Optimizer) -> bool:
    """Whether the optimiser averages the weights itself."""
    return isinstance(optimizer, schedulefree.AdamWScheduleFree)


@torch.no_grad()
def average_of(optimizer: Optimizer, network: nn.Module) -> list[Tensor]:
    """The averaged weights that such an optimiser keeps, in the order of the parameters.

    x of Defazio et al. 2024, "The Road Less Scheduled". The package's own `eval()` makes it in
    place and back again, which would round the weights in training at every save.
    """
    beta1 = optimizer.param_groups[0]["betas"][0]
    return [
        p.lerp(state["z"], 1 - 1 / beta1) if (state := optimizer.state[p]) else p.clone()
        for p in network.parameters()
    ]


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adabelief": AdaBelief,
    "schedulefree": schedulefree.AdamWScheduleFree,
}


def ema_decay(step: int, decay: float) -> float:
    """The decay at a step, with a short ramp: min(decay, (1 + step) / (10 + step))."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average's weights toward the model's: a <- decay a + (1 - decay) m."""
    # foreach: one call for all tensors instead of one for each.
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
