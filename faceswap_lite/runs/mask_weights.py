"""Weights of the mask network in a file: the package's own, and those that a run has refined."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ..errors import FaceswapError
from ..models.mask_network import MaskNetwork
from ..outputs import file_sha256, whole_file
from .manifest import MANIFEST_FILE, read_manifest

MASK_FILE = "mask.safetensors"
"""In a run's folder: the network that its own faces have refined."""

_FACTS = "faceswap_lite_mask"


@dataclass(frozen=True)
class MaskWeights:
    """What a mask network's file says of itself."""

    file: Path
    recipe: dict[str, Any]
    """How it was made: occluders, people, seeds, steps."""

    def fingerprint(self) -> str:
        """16 hex digits of the file's sha256."""
        return file_sha256(self.file)[:16]

    def network(self) -> MaskNetwork:
        """The network, ready to be asked. Raises: FaceswapError when it cannot be read."""
        network = MaskNetwork()
        try:
            stored = load_file(self.file)
            network.load_state_dict({name: one.float() for name, one in stored.items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise FaceswapError(f"{self.file}: cannot be read ({error})") from error
        # A third sooner on CPUs.
        return network.to(memory_format=torch.channels_last).eval()


def write_mask(file: Path, network: MaskNetwork, recipe: dict[str, Any]) -> None:
    """Store a mask network in half precision."""
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
        # How many batches it has seen plays no part in its answers.
        if tensor.is_floating_point()
    }
    told = json.dumps({"schema": 1, "recipe": recipe}, sort_keys=True)
    with whole_file(file) as partial:
        try:
            save_file(tensors, partial, {_FACTS: told})
        except SafetensorError as error:
            raise FaceswapError(f"{file}: cannot be written ({error})") from error


def read_mask(file: Path) -> MaskWeights:
    """What a mask network's file says. Raises: FaceswapError when it is none."""
    try:
        with safe_open(file, "pt") as stored:
            return MaskWeights(file, json.loads((stored.metadata() or {})[_FACTS])["recipe"])
    except OSError as error:
        raise FaceswapError(f"{file}: cannot be read ({error})") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FaceswapError(f"{file}: holds no weights of a mask network") from error


@lru_cache(maxsize=1)
def shipped_mask() -> MaskWeights:
    """The package's own."""
    return read_mask(Path(__file__).parents[1] / "bases" / "masks" / "visible.safetensors")


def mask_of(run: Path) -> MaskWeights:
    """A run's own, or the package's where it has none.

    Raises: FaceswapError when its own is not as its training left it.
    """
    known = read_manifest(run).mask if (run / MANIFEST_FILE).is_file() else ""
    if not known:
        return shipped_mask()
    own = run / MASK_FILE
    if not own.is_file() or file_sha256(own)[:16] != known:
        raise FaceswapError(
            f"{own}: is gone or damaged; training the run for more steps makes it again, "
            "--set convert.mask.kind=product goes without it"
        )
    return read_mask(own)
