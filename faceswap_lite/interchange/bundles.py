"""A run in one file: its weights, and config and manifest in the file's own notes."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import Config
from ..errors import FaceswapError
from ..renames import under_new_names
from ..runs.manifest import RunManifest
from ..runs.trained import TrainedRun
from .foreign import check_weights

SUFFIX = ".safetensors"
_FACTS = "faceswap_lite_run"


def write_bundle(file: Path, run: TrainedRun, told: dict[str, object]) -> None:
    """Write a run's averaged weights with its config and manifest, and what is `told` of it.

    Raises: FaceswapError when the disk refuses.
    """
    facts = {
        "schema": 1,
        "step": run.step,
        "config": run.config.model_dump(mode="json"),
        # A refined mask network stays behind, and without it nothing is to be looked for.
        "manifest": run.manifest.model_dump() | {"mask": ""},
    }
    tensors = {name: tensor.contiguous() for name, tensor in run.model.state_dict().items()}
    notes = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()
    }
    try:
        save_file(tensors, file, {**notes, _FACTS: json.dumps(facts, sort_keys=True)})
    except SafetensorError as error:
        raise FaceswapError(f"{file}: cannot be written ({error})") from error


def is_bundle(file: Path) -> bool:
    """Whether a file holds a run."""
    try:
        with safe_open(file, "pt") as stored:
            return _FACTS in (stored.metadata() or {})
    except (OSError, SafetensorError):
        return False


@dataclass(frozen=True)
class Bundle:
    """A run as a file holds it."""

    config: Config
    manifest: RunManifest
    step: int
    weights: dict[str, Tensor]


def read_bundle(file: Path) -> Bundle:
    """The run in a file. Raises: FaceswapError when it is none, is damaged, or does not fit."""
    try:
        with safe_open(file, "pt") as stored:
            facts = json.loads((stored.metadata() or {})[_FACTS])
        config = Config.model_validate(under_new_names(facts["config"]))
        manifest = RunManifest.model_validate(facts["manifest"])
        bundle = Bundle(config, manifest, int(facts["step"]), load_file(file))
    except OSError as error:
        raise FaceswapError(f"{file}: cannot be read ({error})") from error
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        raise FaceswapError(
            f"{file}: is no run in one file (export --format safetensors)"
        ) from None
    check_weights(config.model, bundle.weights, str(file))
    return bundle
