"""Who was rendered in a clip, and how, read back from the truth beside it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceswap_lite.actors.cast import ActorIdentity
from faceswap_lite.actors.performance import ActorState
from faceswap_lite.media.truth import read_truth


@dataclass(frozen=True)
class Performance:
    """Who was rendered in a clip, and how: enough to render any moment of it again."""

    states: list[ActorState]
    identity: ActorIdentity
    twin: ActorIdentity | None


def load_performance(clip: Path) -> Performance | None:
    """What a rendered clip shows, from the truth beside it; None for any other clip.

    Raises: FaceswapError when the file is there but cannot be read.
    """

    def read(stored: Any) -> Performance:
        twin = str(stored["twin"])
        return Performance(
            states=_unpack_states(stored["state_names"], stored["states"]),
            identity=_unpack_identity(str(stored["identity"])),
            twin=None if twin == "null" else _unpack_identity(twin),
        )

    return read_truth(clip, read)


def _unpack_states(names: np.ndarray, values: np.ndarray) -> list[ActorState]:
    states = []
    for row in values:
        state: dict[str, Any] = {
            str(name): float(value) for name, value in zip(names, row, strict=True)
        }
        states.append(ActorState(**{**state, "noise_seed": int(state["noise_seed"])}))
    return states


def _unpack_identity(text: str) -> ActorIdentity:
    stored: dict[str, Any] = json.loads(text)
    # JSON keeps tuples as lists.
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    return ActorIdentity(**values)
