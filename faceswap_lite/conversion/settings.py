"""What the options of `convert` come to, for one run and one clip."""

from contextlib import suppress
from pathlib import Path

from ..config import ConvertConfig, SideName
from ..errors import FaceswapError
from ..faces.face_set import open_face_set
from ..faces.given_masks import GivenMasks, given_masks_for
from ..media.clips import is_sequence, list_images
from ..media.reading import TIMES_NAME
from ..runs.manifest import IdentityFacts
from ..runs.trained import TrainedRun

UNSEEN_SETTINGS = {"batch", "device", "c2pa_certificate", "c2pa_key"}
"""What makes no other job. The first two change the pictures by a rounding at most, the last two
are nobody else's business."""


def painted_side(config: ConvertConfig) -> SideName:
    """Whose face is painted."""
    return "source" if config.swap == "source-to-target" else "target"


def shown_side(config: ConvertConfig) -> SideName:
    """Who is in the clip."""
    return "target" if config.swap == "source-to-target" else "source"


def shown_facts(run: TrainedRun, config: ConvertConfig) -> IdentityFacts:
    """The face set of the person in the clip."""
    return run.manifest.target if shown_side(config) == "target" else run.manifest.source


def painted_facts(run: TrainedRun, config: ConvertConfig) -> IdentityFacts:
    """The face set of the person whose face is painted."""
    return run.manifest.source if painted_side(config) == "source" else run.manifest.target


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
        faces = open_face_set(Path(shown_facts(run, config).path))
    return given_masks_for(Path(config.masks), faces, fingerprint)
