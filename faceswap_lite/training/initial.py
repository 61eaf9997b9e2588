"""Weights of another run to begin with: which parts, what fitted, where they came from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..config import InitConfig
from ..errors import FaceswapError
from ..models.autoencoder import SwapAutoencoder
from ..runs.trained import TrainedRun, load_run


@dataclass(frozen=True)
class PartReport:
    """What became of one part of the network. `why` is empty when all of it was imported."""

    name: str
    loaded: int
    tensors: int
    why: str

    def line(self) -> str:
        """For a person to read."""
        what = "imported" if self.loaded else "not imported"
        rest = f" ({self.why})" if self.why else ""
        return f"  {self.name}: {what}, {self.loaded} of {self.tensors} tensors{rest}"


def import_weights(network: SwapAutoencoder, config: InitConfig) -> list[PartReport]:
    """Give parts of a fresh network the averaged weights of `config.run`'s best checkpoint.

    A part is imported when all its tensors that the other run has are of the same shape. What it
    has beyond them (a mask head, say) stays fresh.
    Raises: FaceswapError when nothing matched, or a part that `config.parts` names did not.
    """
    if config.run is None:
        return []
    base = load_run(Path(config.run))
    there = base.model.state_dict()
    reports = []
    for name in config.parts or [name for name, _ in _parts(network)]:
        report, weights = _match(name, network, there)
        if not weights and config.parts:
            raise FaceswapError(f"init.parts: {name} cannot come from {config.run}: {report.why}")
        if weights:
            network.get_submodule(name).load_state_dict(weights, strict=False)
        reports.append(report)
    if not any(report.loaded for report in reports):
        reasons = "; ".join(f"{report.name}: {report.why}" for report in reports)
        raise FaceswapError(f"init: nothing of {config.run} fits this model ({reasons})")
    return reports


def lineage_of(config: InitConfig, reports: list[PartReport]) -> list[dict[str, Any]]:
    """The runs that the weights came from, oldest first: run, step, fingerprint, parts."""
    if config.run is None:
        return []
    base = load_run(Path(config.run))
    parts = [report.name for report in reports if report.loaded]
    return [*base.manifest.lineage, {**_name(base), "parts": parts}]


def frozen_parts(network: SwapAutoencoder, config: InitConfig) -> list[nn.Module]:
    """The parts that `config.freeze` names. Raises: FaceswapError for one that is not there."""
    known = dict(_parts(network))
    for name in config.freeze:
        if name not in known:
            raise FaceswapError(f"init.freeze: no part {name}; known: {', '.join(known)}")
    return [known[name] for name in config.freeze]


def _parts(network: SwapAutoencoder) -> list[tuple[str, nn.Module]]:
    return [(name, part) for name, part in network.named_children() if list(part.parameters())]


def _match(
    name: str, network: SwapAutoencoder, there: dict[str, Tensor]
) -> tuple[PartReport, dict[str, Tensor]]:
    known = dict(_parts(network))
    if name not in known:
        raise FaceswapError(f"init.parts: no part {name}; known: {', '.join(known)}")
    here = known[name].state_dict()
    theirs = {
        key.removeprefix(f"{name}."): value
        for key, value in there.items()
        if key.startswith(f"{name}.")
    }
    shared = {key: value for key, value in theirs.items() if key in here}
    odd = [key for key, value in shared.items() if value.shape != here[key].shape]
    if not theirs:
        return PartReport(name, 0, len(here), "the other run has no such part"), {}
    if odd:
        shapes = [" x ".join(map(str, of[odd[0]].shape)) for of in (shared, here)]
        why = f"{odd[0]} is {shapes[0]} there and {shapes[1]} here"
        return PartReport(name, 0, len(here), why), {}
    missing = len(here) - len(shared)
    why = f"{missing} are new, as {next(k for k in here if k not in shared)}" if missing else ""
    if not shared:
        return PartReport(name, 0, len(here), "no tensor has the same name"), {}
    return PartReport(name, len(shared), len(here), why), shared


def _name(base: TrainedRun) -> dict[str, Any]:
    return {"run": str(base.path.resolve()), "step": base.step, "fingerprint": base.fingerprint}
