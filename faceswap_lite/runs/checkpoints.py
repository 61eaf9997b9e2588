"""Checkpoints: one folder a step, safetensors and JSON, hashed, whole or absent. Never pickle."""

import json
import re
import shutil
import uuid
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..config import WeightsName
from ..errors import FaceswapError
from ..outputs import file_sha256, is_broken, read_json, sealed, whole_folder


@dataclass(frozen=True)
class PlateauState:
    """What `plateau` knows between two held-out losses. Plain numbers: it is saved as JSON."""

    scale: float = 1.0
    """Factor of the base rate."""
    smoothed: float | None = None
    best: float | None = None
    """The lowest smoothed loss so far, None before the first."""
    bad: int = 0
    """Losses since the best one."""
    cooldown: int = 0
    """Losses that will not be judged yet."""


@dataclass(frozen=True)
class Best:
    """The lowest held-out loss so far."""

    step: int
    heldout: float


@dataclass(frozen=True)
class RunState:
    """Where a run stands, besides its tensors. Plain numbers: it is saved as JSON."""

    step: int = 0
    seconds: float = 0.0
    plateau: PlateauState = field(default_factory=PlateauState)
    best: Best | None = None
    """Of the regular looks, so that a resumed run repeats an uninterrupted one."""
    heldout: float | None = None
    """The held-out loss of this step's own averaged weights, None where nobody looked."""

    @property
    def lowest(self) -> Best | None:
        """The best of all looks, with that at a run's end."""
        best, ended = self.best, self.heldout
        # NaN is below nothing.
        if best is None or ended is None or not ended < best.heldout:
            return best
        return Best(self.step, ended)


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lives."""
    return run / "checkpoints" / f"step_{step:08d}"


def save_checkpoint(
    run: Path,
    state: RunState,
    weights: Mapping[str, dict[str, Tensor]],
    optimizer: torch.optim.Optimizer | None,
    lineage: list[dict[str, Any]],
    keep: int,
) -> Path:
    """Write a checkpoint of this step, then remove all but the newest `keep`.

    `optimizer`: None when there is none yet, as in a run that was imported.

    `weights`: "model", "ema" (its running average) and, if there is one, "best" (that of
    `state.best`). `lineage`: which runs they came from.
    """
    fresh: dict[str, Any] = {"state": {}, "param_groups": []}
    optimizer_tensors, optimizer_facts = flatten_optimizer(
        fresh if optimizer is None else optimizer.state_dict()
    )
    tensors = {**weights, "optimizer": optimizer_tensors}
    folder = checkpoint_folder(run, state.step)
    with whole_folder(folder) as partial:
        hashes = {}
        for name, group in tensors.items():
            file = partial / f"{name}.safetensors"
            try:
                save_file({key: value.contiguous() for key, value in group.items()}, file)
            except SafetensorError as error:
                raise FaceswapError(f"{folder}: cannot be written ({error})") from error
            # It comes for nobody else to read, whatever the folder says.
            file.chmod(partial.stat().st_mode & 0o666)
            hashes[file.name] = file_sha256(file)
        facts = {
            **asdict(state),
            "optimizer": optimizer_facts,
            "lineage": lineage,
            "sha256": hashes,
        }
        text = json.dumps(sealed(facts), indent=1)
        (partial / "state.json").write_text(text, encoding="utf-8")
    drop_old(run, keep)
    return folder


def drop_old(run: Path, keep: int) -> None:
    """Remove all checkpoints but the newest `keep`, and what a kill left of others."""
    for old in list_checkpoints(run)[:-keep]:
        folder = checkpoint_folder(run, old)
        # At once: half a checkpoint would count as a damaged one.
        folder.rename(folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial"))
    for partial in (run / "checkpoints").glob(".step_*.partial"):
        shutil.rmtree(partial)


def set_aside_newer(run: Path, step: int | None) -> list[str]:
    """Rename checkpoints newer than `step`, which were found damaged: `step_00000100.damaged`.

    A line on each.
    """
    lines = []
    for newer in [found for found in list_checkpoints(run) if step is None or found > step]:
        folder = checkpoint_folder(run, newer)
        names = (f"{folder.name}.damaged{number}" for number in ("", *range(2, 1000)))
        aside = next(place for name in names if not (place := folder.with_name(name)).exists())
        folder.rename(aside)
        lines.append(f"{folder} is set aside as {aside.name}")
    return lines


def list_checkpoints(run: Path) -> list[int]:
    """Steps of the checkpoints in a run folder, oldest first; unfinished ones are not counted."""
    found = (re.fullmatch(r"step_(\d{8})", p.name) for p in (run / "checkpoints").glob("step_*"))
    return sorted(int(match[1]) for match in found if match)


def find_damage(run: Path, step: int) -> dict[str, str]:
    """What is wrong with the files of a checkpoint, by their names; empty: it is whole."""
    folder = checkpoint_folder(run, step)
    try:
        facts = read_json(folder / "state.json")
        hashes = dict[str, str](facts["sha256"])
        if as_state(facts).step != step or is_broken(facts):
            raise ValueError("is not what was written")
    except (FaceswapError, AttributeError, KeyError, TypeError, ValueError):
        return {"state.json": "is damaged" if (folder / "state.json").exists() else "is missing"}
    damage = {}
    for name, digest in hashes.items():
        try:
            if file_sha256(folder / name) != digest:
                damage[name] = "is damaged"
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            damage[name] = "is missing" if missing else f"cannot be read ({error.strerror})"
    return damage


def checkpoint_facts(run: Path, step: int) -> dict[str, Any]:
    """The facts of a checkpoint that `latest_valid_checkpoint` has found good."""
    facts: dict[str, Any] = read_json(checkpoint_folder(run, step) / "state.json")
    return facts


def as_state(facts: dict[str, Any]) -> RunState:
    """Where the run stood at a checkpoint, from its facts."""
    best = facts["best"]
    return RunState(
        step=facts["step"],
        seconds=facts["seconds"],
        plateau=PlateauState(**facts["plateau"]),
        best=None if best is None else Best(**best),
        heldout=facts.get("heldout"),
    )


def latest_valid_checkpoint(
    run: Path, weights: WeightsName | None = None
) -> tuple[int | None, list[str]]:
    """The newest checkpoint's step that is whole, and a line on each damaged file met before.

    With `weights`, those files count that hold them, and the others need not be whole.
    """
    problems = []
    for step in reversed(list_checkpoints(run)):
        damage, folder = find_damage(run, step), checkpoint_folder(run, step)
        problems += [f"{folder / name}: {what}" for name, what in damage.items()]
        if not damage or (
            weights is not None
            and "state.json" not in damage
            and averaged_weights(run, step, weights, damage)[1].name not in damage
        ):
            return step, problems
    return None, problems


def averaged_weights(
    run: Path, step: int, weights: WeightsName, damage: Container[str] = ()
) -> tuple[int, Path]:
    """The step that a checkpoint's best averaged weights are of, or its last ones; their file.

    Where the end's are the best and among what is damaged, the best before them stand in.
    """
    folder, state = checkpoint_folder(run, step), as_state(checkpoint_facts(run, step))
    last = folder / "ema.safetensors"
    if weights == "last" or state.best is None:
        return step, last
    if state.lowest != state.best and last.name not in damage:
        return step, last
    return state.best.step, folder / "best.safetensors"


def load_weights(run: Path, step: int, name: str) -> dict[str, Tensor]:
    """The tensors of one file of a checkpoint: "model", "ema", "optimizer" or "best"."""
    return load_file(checkpoint_folder(run, step) / f"{name}.safetensors")


def load_into(module: nn.Module, weights: dict[str, Tensor], where: Path) -> None:
    """Set a module's weights. Raises: FaceswapError when they are of another architecture."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise FaceswapError(
            f"{where}: its weights do not fit the architecture in its config "
            f"({' '.join(str(error).split())[:200]}); start a new run"
        ) from error


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], facts: dict[str, Any]
) -> None:
    """Give an optimiser the state that `save_checkpoint` took from it, if it had one."""
    if not facts["param_groups"]:
        return
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": facts["param_groups"]})
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for name, value in optimizer.state[parameter].items():
                if value.shape == parameter.shape:
                    # Fused kernels pair elements by memory order, which the file does not keep.
                    ordered = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
                    optimizer.state[parameter][name] = ordered


def flatten_optimizer(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as tensors by name, and the rest of it."""
    tensors = {
        f"{index}.{name}": value
        for index, values in state["state"].items()
        for name, value in values.items()
    }
    return tensors, {"param_groups": state["param_groups"]}
