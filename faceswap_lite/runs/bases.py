"""A base: weights for both sides of any run of the same network, in one file.

Of parts that a base's two sides share, the file holds one. Those of the package lie in `bases/`.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import ModelConfig
from ..errors import FaceswapError
from ..models.autoencoder import SwapAutoencoder
from ..outputs import file_sha256, whole_file

SUFFIX = ".safetensors"
_FACTS = "faceswap_lite_base"


@dataclass(frozen=True)
class Base:
    """What a base's file says of itself."""

    file: Path
    model: ModelConfig
    coverages: tuple[str, ...]
    """Of the crops that it was trained on."""
    step: int
    tied_parts: tuple[str, str]
    """The part that is stored, and the one that is its copy."""
    recipe: dict[str, Any]
    """How it was made: people, crops, seeds, steps, augmentation."""

    @property
    def name(self) -> str:
        """For a person to read."""
        return self.file.stem

    def fingerprint(self) -> str:
        """16 hex digits of the file's sha256."""
        return file_sha256(self.file)[:16]

    def why_not(self, model: ModelConfig, coverage: str) -> str:
        """Why a run cannot begin with it; empty: it can."""
        for name, wanted in model:
            if (had := getattr(self.model, name)) != wanted:
                return f"its model.{name} is {had}, not {wanted}"
        if coverage not in self.coverages:
            return f"its faces are cut as {', '.join(self.coverages)}, not {coverage}"
        return ""

    def weights(self) -> dict[str, Tensor]:
        """All weights of its network. Raises: FaceswapError when they cannot be read."""
        try:
            stored = load_file(self.file)
        except (OSError, SafetensorError) as error:
            raise FaceswapError(f"{self.file}: cannot be read ({error})") from error
        kept, copied = self.tied_parts
        whole = {name: tensor.float() for name, tensor in stored.items()}
        for name, tensor in list(whole.items()):
            if name.startswith(f"{kept}."):
                whole[copied + name.removeprefix(kept)] = tensor
        return whole


def write_base(
    file: Path, network: SwapAutoencoder, model: ModelConfig, recipe: dict[str, Any], step: int,
    coverages: tuple[str, ...],
) -> None:  # fmt: skip
    """Store a network whose sides are one: each weight once, in half precision."""
    _, copied = network.tied_parts
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
        if not name.startswith(f"{copied}.")
    }
    facts = {"schema": 1, "model": model.model_dump(), "coverages": coverages, "step": step}
    facts |= {"tied_parts": network.tied_parts}
    told = json.dumps({**facts, "recipe": recipe}, sort_keys=True)
    with whole_file(file) as partial:
        try:
            save_file(tensors, partial, {_FACTS: told})
        except SafetensorError as error:
            raise FaceswapError(f"{file}: cannot be written ({error})") from error


def read_base(file: Path) -> Base:
    """What a base's file says. Raises: FaceswapError when it is none."""
    try:
        with safe_open(file, "pt") as stored:
            facts = json.loads((stored.metadata() or {})[_FACTS])
            model = ModelConfig.model_validate(facts["model"])
            kept, copied = facts["tied_parts"]
            coverages, recipe = tuple(facts["coverages"]), facts["recipe"]
            return Base(file, model, coverages, facts["step"], (kept, copied), recipe)
    except OSError as error:
        raise FaceswapError(f"{file}: cannot be read ({error})") from error
    except (SafetensorError, KeyError, TypeError, ValueError, ValidationError) as error:
        raise FaceswapError(f"{file}: is not a base (faceswap-lite base makes one)") from error


@lru_cache(maxsize=1)
def shipped_bases() -> tuple[Base, ...]:
    """The package's own."""
    folder = Path(__file__).parents[1] / "bases"
    return tuple(read_base(file) for file in sorted(folder.glob(f"*{SUFFIX}")))
