"""Find, landmark, align, mask, embed, store: from frames to a face set."""

from .align import (
    CANONICAL_FIVE,
    COVERAGES,
    LandmarksPack,
    align,
    cut_crop,
    five_points,
    frame_to_canonical,
)
from .detect import DETECTORS, Detection, Detector
from .embed import EMBEDDERS, Embedder, build_embedder, embedding_distance
from .geometry import (
    compose,
    fit_similarity,
    invert_similarity,
    similarity_scale,
    transform_points,
)
from .landmarks import LANDMARKERS, Landmarker, Landmarks
from .mask import face_mask, features_mask
from .pack import FacePack, FoundFace, build_pack
from .pose import Pose, estimate_pose, eye_opening, mouth_opening
from .quality import sharpness

__all__ = [
    "CANONICAL_FIVE",
    "COVERAGES",
    "DETECTORS",
    "EMBEDDERS",
    "LANDMARKERS",
    "Detection",
    "Detector",
    "Embedder",
    "FacePack",
    "FoundFace",
    "Landmarker",
    "Landmarks",
    "LandmarksPack",
    "Pose",
    "align",
    "build_embedder",
    "build_pack",
    "compose",
    "cut_crop",
    "embedding_distance",
    "estimate_pose",
    "eye_opening",
    "face_mask",
    "features_mask",
    "fit_similarity",
    "five_points",
    "frame_to_canonical",
    "invert_similarity",
    "mouth_opening",
    "sharpness",
    "similarity_scale",
    "transform_points",
]
