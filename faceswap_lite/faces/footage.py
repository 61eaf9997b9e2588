"""Clips as extraction takes them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..errors import FaceswapError
from ..media.clips import clip_fingerprint
from ..media.reading import open_clip
from ..media.truth import load_true_landmarks
from .candidates import Footage


def find_footage(clips: Sequence[Path]) -> list[Footage]:
    """The clips, ready to be looked through. Raises: FaceswapError when one is not there."""
    for clip in clips:
        if not clip.exists():
            raise FaceswapError(f"{clip}: no such clip")
    return [
        Footage(clip, clip_fingerprint(clip), partial(open_clip, clip), load_true_landmarks(clip))
        for clip in clips
    ]
