"""What the options of `convert` come to, for one run and one clip."""

from contextlib import suppress
from pathlib import Path

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces.face_set import open_face_set
from ..faces.given_masks import GivenMasks, given_masks_for
from ..media.clips import is_sequence, list_images
from ..media.reading import TIMES_NAME
from ..runs.trained import TrainedRun

UNSEEN_SETTINGS = {"batch", "device", "c2pa_certificate", "c2pa_key"}
"""What makes no other job. The first two change the pictures by a rounding at most, the last two
are nobody else's business."""


def config_for(clip: Path, config: ConvertConfig) -> ConvertConfig:
    """The settings for a clip: photos in a folder are no neighbours, and nothing is steadied."""
    if not clip.is_dir() or (clip / TIMES_NAME).is_file() or is_sequence(list_images(clip)):
        return config
    alone = {"smooth": 0.0, "bridge": 0, "color_steady": 0.0, "mask_steady": 0.0}
    return config.model_copy(update=alone)


def given_masks(config: ConvertConfig, run: TrainedRun, fingerprint: str) -> GivenMasks | None:
    """The masks that `config.masks` holds for a clip, of its frames or of its face set's crops."""
    if config.masks is None:
        return None
    faces = None
    with suppress(FaceswapError):
        faces = open_face_set(Path(run.manifest.of(config.shown_side).path))
    return given_masks_for(Path(config.masks), faces, fingerprint)
