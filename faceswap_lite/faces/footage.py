"""Clips as extraction takes them."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import FaceswapError
from ..media.reading import as_clip
from ..media.truth import load_true_landmarks
from .candidates import Footage


def find_footage(clips: Sequence[Path]) -> list[Footage]:
    """The clips, ready to be looked through. Raises: FaceswapError when one is not there."""
    for path in clips:
        if not path.exists():
            raise FaceswapError(f"{path}: no such clip")
    found = map(as_clip, clips)
    return [Footage(**vars(clip), true_landmarks=load_true_landmarks(clip.path)) for clip in found]
