"""What was decided about each face of a set, and why, as it is kept beside the set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ..errors import FaceswapError
from ..faces.face_set import FaceSet, face_key
from ..outputs import read_json, short_name

DECISIONS_FILE = "decisions.json"
RARE = 2.0
"""Faces drawn at least so often are called rare."""

DECISIONS_SCHEMA = 1

_Item = TypeVar("_Item")

Reason = Literal[
    "other_person",
    "no_face",
    "misaligned",
    "occluded",
    "blurred",
    "exposure",
    "too_small",
    "duplicate",
    "surplus",
    "by_hand",
    "rare",
    "fills_gap",
    "",
]
"""Why a face is rejected or, for the last three, why it is kept: as rare, to fill a gap, as any."""


class Decision(BaseModel):
    """One face's fate. `words` say why, for a person to read, with the number behind it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    key: str
    """Which face, whatever its file is called: clip's fingerprint, frame, box."""
    file: str
    kept: bool
    reason: Reason
    words: str
    weight: float
    """How often training draws the face beside an ordinary one; of rejected ones 1."""
    by_user: bool = False
    """A person decided otherwise than the scores did; that stays."""
    scores: dict[str, float] = {}


def report_folder(faces: Path) -> Path:
    """Where what is found out about a face set is kept: the folder beside it."""
    # "." and ".." have no name of their own.
    named = faces.resolve() if faces.name in ("", "..") else faces
    return named.with_name(f"{short_name(named.name, 240)}_curation")


def read_decisions(faces: Path) -> list[Decision]:
    """The decisions beside the set; none when nothing was decided yet.

    Raises: FaceswapError when they cannot be read.
    """
    file = report_folder(faces) / DECISIONS_FILE
    return read_list(file, "decisions", _DECISIONS.validate_python, "delete it and curate again")


def asked_to_keep(faces: Path) -> int | None:
    """How many faces the last call was asked to keep at most; None when it was not."""
    file = report_folder(faces) / DECISIONS_FILE
    if not file.is_file():
        return None
    content = read_json(file)
    best = content.get("best") if isinstance(content, dict) else None
    return best if isinstance(best, int) and best > 0 else None


def sampling_weights(faces: FaceSet) -> Float[np.ndarray, " n"] | None:
    """How often to draw each of `faces.faces`, as decided; None when all are alike."""
    weight_of = {d.key: d.weight for d in read_decisions(faces.path) if d.kept}
    weights = np.array([weight_of.get(face_key(face.record), 1.0) for face in faces.faces])
    return None if (weights == 1).all() else weights


def read_list(
    file: Path, name: str, validate: Callable[[Any], list[_Item]], advice: str
) -> list[_Item]:
    """The list called `name` in one of our JSON files; empty when there is no file."""
    if not file.exists():
        return []
    try:
        content: Any = read_json(file)
        if not isinstance(content, dict) or content.get("schema") != DECISIONS_SCHEMA:
            raise ValueError(f"is not of schema {DECISIONS_SCHEMA}")
        return validate(content.get(name))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (name, *first["loc"]))
        why = f"{where}: {first['msg']}"
    except (FaceswapError, ValueError) as error:
        why = str(error).removeprefix(f"{file}: ")
    raise FaceswapError(f"{file}: {why}; {advice}")


_DECISIONS = TypeAdapter(list[Decision])
