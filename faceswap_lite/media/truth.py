"""What is exactly known about a rendered clip: landmarks, masks, twins, in a file beside it.

The renderer writes it; whoever judges a clip reads it here, without the renderer.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from ..errors import FaceswapError
from ..outputs import BROKEN_ARRAYS, short_name

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Twin:
    """The same performance with another identity's face."""

    name: str
    raw: Path
    """A clip, the face in its own skin tone."""
    matched: Path
    """A clip, the face in the actor's skin tone."""


@dataclass(frozen=True)
class ClipTruth:
    """What is exactly known about a rendered clip."""

    landmarks: Float[np.ndarray, "n 68 2"]
    """iBUG-68, pixels, of the actor itself."""
    face_masks: UInt8[np.ndarray, "n h w"]
    """255: what the twins' faces replace; 0: equal in all."""
    twin: Twin | None


def truth_path(clip: Path) -> Path:
    """Where the truth of `clip` lies."""
    return clip.parent / f"{short_name(clip.stem, 230)}.truth.npz"


def twin_paths(clip: Path) -> tuple[Path, Path]:
    """Where the twins of `clip` lie: raw, matched."""
    stem = clip.parent / f"{short_name(clip.stem, 230)}.twin"
    return Path(f"{stem}_raw{clip.suffix}"), Path(f"{stem}_matched{clip.suffix}")


def load_truth(clip: Path) -> ClipTruth | None:
    """The truth of a rendered clip, from the file beside it; None for any other clip.

    Raises: FaceswapError when the file is there but cannot be read.
    """

    def read(stored: Any) -> ClipTruth:
        twin = json.loads(str(stored["twin"]))
        return ClipTruth(
            landmarks=_landmarks(stored),
            face_masks=stored["face_masks"],
            twin=None if twin is None else Twin(twin["name"], *twin_paths(clip)),
        )

    return read_truth(clip, read)


def load_true_landmarks(clip: Path) -> Float[np.ndarray, "n 68 2"] | None:
    """The landmarks alone of `load_truth`, without the masks' weight."""
    return read_truth(clip, _landmarks)


def _landmarks(stored: Any) -> Float[np.ndarray, "n 68 2"]:
    found = np.asarray(stored["landmarks"])
    if found.ndim != 3 or found.shape[1:] != (68, 2) or not np.isfinite(found).all():
        raise ValueError("its landmarks are not 68 points a frame")
    return found


def read_truth(clip: Path, read: Callable[[Any], _Read]) -> _Read | None:
    """What `read` makes of the arrays of a clip's truth file; None where there is no such file.

    Raises: FaceswapError when the file is there but cannot be read.
    """
    path = truth_path(clip)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return read(stored)
    except BROKEN_ARRAYS as error:
        reason = " ".join(str(error).split())
        raise FaceswapError(
            f"{path}: is not a readable truth file ({reason}); render again"
        ) from error
