"""Weights to begin with, of a base or a run: which parts, what fitted, where they came from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..config import Config, InitConfig
from ..errors import FaceswapError
from ..models.autoencoder import SwapAutoencoder
from ..runs.bases import SUFFIX, Base, read_base, shipped_bases
from ..runs.load import load_run, weights_fingerprint

OURS, FRESH = "base", "none"
"""Of `init.run`, what is no path: the package's own base, and no weights at all."""


_BASE = "base "
"""What the name of a base begins with in a lineage. A run's is a whole path."""


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


@dataclass(frozen=True)
class Start:
    """Weights to begin with, and where they came from."""

    name: str
    weights: dict[str, Tensor]
    """By the names that a network of their own kind has for them."""
    lineage: list[dict[str, Any]]
    """What they themselves came from, oldest first."""
    origin: dict[str, Any]
    """What to write into a lineage of them: run, step, fingerprint."""
    coverage: str = ""
    """How the faces were cut that they are made of, where one run made them."""
    is_base: bool = False


def start_fingerprint(config: Config, coverage: str) -> str | None:
    """16 hex digits of the weights that `init.run` names, read no further; None: fresh ones."""
    name = config.init.run
    if name not in (OURS, FRESH) and Path(name).suffix != SUFFIX:
        return weights_fingerprint(Path(name))
    base = _find_base(config, coverage)
    return base.fingerprint() if base else None


def find_start(config: Config, coverage: str) -> Start | None:
    """What `init.run` names; None: fresh weights.

    `base` is the package's own that fits network and crops, or else none.
    Raises: FaceswapError for a run that cannot be loaded, or a base's file that does not fit.
    """
    name = config.init.run
    if name not in (OURS, FRESH) and Path(name).suffix != SUFFIX:
        run = load_run(Path(name))
        origin = {"run": str(run.path.resolve()), "step": run.step, "fingerprint": run.fingerprint}
        manifest = run.manifest
        return Start(name, run.model.state_dict(), manifest.lineage, origin, manifest.coverage)
    base = _find_base(config, coverage)
    if base is None:
        return None
    origin = {"run": f"{_BASE}{base.name}", "step": base.step, "fingerprint": base.fingerprint()}
    return Start(base.name, base.weights(), [], origin, is_base=True)


def _find_base(config: Config, coverage: str) -> Base | None:
    """The base that `init.run` names; None: none is wanted, or the package has none that fits."""
    if config.init.run == FRESH:
        return None
    if config.init.run == OURS:
        fitting = (b for b in shipped_bases() if not b.why_not(config.model, coverage))
        return next(fitting, None)
    base = read_base(Path(config.init.run))
    if why := base.why_not(config.model, coverage):
        raise FaceswapError(f"init.run: {base.file} does not fit: {why}")
    return base


@dataclass(frozen=True)
class Imported:
    """What a run begins with."""

    reports: list[PartReport]
    lineage: list[dict[str, Any]]
    """The runs that the weights came from, oldest first: run, step, fingerprint, parts."""
    lines: list[str]
    """For a person to read."""


def import_weights(network: SwapAutoencoder, config: Config, coverage: str) -> Imported:
    """Give parts of a fresh network the weights that `init.run` names: of a run, the averaged
    ones of its best checkpoint.

    A part is imported when all its tensors that the other network has are of the same shape. What
    it has beyond them (a mask head, say) stays fresh. A base comes whole or not at all.
    Raises: FaceswapError when nothing matched, or a part that `init.parts` names did not.
    """
    init, start = config.init, find_start(config, coverage)
    if start is None:
        none = "" if init.run == FRESH else " (the package has no base of this network and crop)"
        return Imported([], [], [f"begins with fresh weights{none}"])
    reports = []
    for name in init.parts or [name for name, _ in _parts(network)]:
        report, weights = _match(name, network, start.weights)
        if not weights and init.parts:
            raise FaceswapError(f"init.parts: {name} cannot come from {init.run}: {report.why}")
        if weights:
            network.get_submodule(name).load_state_dict(weights, strict=False)
        reports.append(report)
    if not any(report.loaded for report in reports):
        reasons = "; ".join(f"{report.name}: {report.why}" for report in reports)
        raise FaceswapError(f"init: nothing of {init.run} fits this model ({reasons})")
    parts = [report.name for report in reports if report.loaded]
    lines = [f"begins with {'the base ' if start.is_base else ''}{start.name}"]
    if not start.is_base or init.parts:
        lines += [report.line() for report in reports]
    if start.coverage not in ("", coverage):
        lines.append(
            f"note: it was trained on faces cut as {start.coverage}, these are cut as {coverage}"
        )
    return Imported(reports, [*start.lineage, {**start.origin, "parts": parts}], lines)


def rate_shares(
    network: SwapAutoencoder, config: InitConfig, lineage: list[dict[str, Any]]
) -> dict[str, float]:
    """The parts of a run with this lineage that learn at a share of the rate.

    What makes a base's codes moves slowly: the swap then follows the target better, above all
    where faces are few (docs/training.md).
    Source: Howard and Ruder 2018, "Universal language model fine-tuning", section 3.2
    (discriminative rates).
    """
    if not _begins_with_a_base(lineage) or config.code_rate == 1:
        return {}
    came = [part for part in network.code_parts if part in lineage[-1]["parts"]]
    return dict.fromkeys(came, config.code_rate)


def settle_steps(config: InitConfig, lineage: list[dict[str, Any]]) -> int:
    """The first steps of a run with this lineage in which it settles; `settled` says what that is.

    At first real people are so far from rendered ones that all has to move (docs/training.md).
    """
    return config.settle_steps if _begins_with_a_base(lineage) else 0


def _begins_with_a_base(lineage: list[dict[str, Any]]) -> bool:
    return bool(lineage) and lineage[-1]["run"].startswith(_BASE)


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
    why = (
        f"{missing} are new, such as {next(k for k in here if k not in shared)}" if missing else ""
    )
    if not shared:
        return PartReport(name, 0, len(here), "no tensor has the same name"), {}
    return PartReport(name, len(shared), len(here), why), shared
