"""A conversion's settings: as they hold for a clip, and as its job's id knows them."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config import ConvertConfig, options_of
from ..errors import FaceswapError
from ..faces.user_masks import UserMasks, user_masks_for
from ..media.clips import TIMES_NAME, is_sequence, list_images
from ..media.reader import Clip
from ..renames import under_old_names
from ..runs.known import open_known_set
from ..runs.mask_weights import mask_of
from ..runs.trained import TrainedRun

_UNSEEN = {"batch", "device", "output.c2pa_certificate", "output.c2pa_key"}
"""What makes no other job. The first two change the pictures by a rounding at most, the last two
are nobody else's business."""


def config_for(clip: Path, config: ConvertConfig) -> ConvertConfig:
    """The settings for a clip: photos in a folder are no neighbours, and nothing is steadied."""
    if not clip.is_dir() or (clip / TIMES_NAME).is_file() or is_sequence(list_images(clip)):
        return config
    return without_neighbours(config).model_copy(update={"temporal_smoothing": 0.0, "bridge": 0})


def without_neighbours(config: ConvertConfig) -> ConvertConfig:
    """The settings with colours and masks of each frame by itself."""
    color, mask = (part.model_copy(update={"steady": 0.0}) for part in (config.color, config.mask))
    return config.model_copy(update={"color": color, "mask": mask})


def seen_settings(config: ConvertConfig) -> dict[str, Any]:
    """The options that make a job, by their dotted names."""
    return {name: value for name, value in options_of(config).items() if name not in _UNSEEN}


def mask_facts(run: TrainedRun, config: ConvertConfig) -> dict[str, Any]:
    """What belongs to the settings beside them: which weights tell what is before a face, if any.

    Raises: FaceswapError when they are wanted and cannot be had.
    """
    if config.mask.kind != "visible":
        return {}
    return {"mask.weights": mask_of(run.path).fingerprint()}


def as_job(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as a job's id knows them: under their first names, so that a job stays the same."""
    return under_old_names("convert", settings)


def find_user_masks(config: ConvertConfig, run: TrainedRun, clip: Clip) -> UserMasks | None:
    """The masks that `config.mask.folder` holds for a clip: of its frames, or of its set's crops.

    Raises: FaceswapError when there are none, or none is of a frame of the clip.
    """
    if config.mask.folder is None:
        return None
    faces = None
    with suppress(FaceswapError):
        faces = open_known_set(run, config.shown_side)
    with clip.open(config.start_number) as reader:
        info = reader.info
    masks = user_masks_for(Path(config.mask.folder), faces, clip.fingerprint, info.first_number)
    masks.check_numbers(clip.path, info)
    return masks
