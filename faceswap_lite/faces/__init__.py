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
from .embed import EMBEDDERS, Embedder, build_embedder, embedding_distance, likeness
from .extract import ExtractSummary, extract_faces
from .face_set import FaceSet, StoredFace, describe_face_set, open_face_set
from .geometry import (
    compose,
    fit_similarity,
    invert_similarity,
    similarity_scale,
    transform_points,
)
from .landmarks import LANDMARKERS, Landmarker, Landmarks
from .mask import face_mask, features_mask
from .pack import FacePack, FoundFace, as_uint8, build_pack
from .pose import Pose, estimate_pose, eye_opening, mouth_opening
from .quality import sharpness
from .records import FaceRecord, read_record, write_crop

__all__ = [
    "CANONICAL_FIVE",
    "COVERAGES",
    "DETECTORS",
    "EMBEDDERS",
    "LANDMARKERS",
    "Detection",
    "Detector",
    "Embedder",
    "ExtractSummary",
    "FacePack",
    "FaceRecord",
    "FaceSet",
    "FoundFace",
    "Landmarker",
    "Landmarks",
    "LandmarksPack",
    "Pose",
    "StoredFace",
    "align",
    "as_uint8",
    "build_embedder",
    "build_pack",
    "compose",
    "cut_crop",
    "describe_face_set",
    "embedding_distance",
    "estimate_pose",
    "extract_faces",
    "eye_opening",
    "face_mask",
    "features_mask",
    "fit_similarity",
    "five_points",
    "frame_to_canonical",
    "invert_similarity",
    "likeness",
    "mouth_opening",
    "open_face_set",
    "read_record",
    "sharpness",
    "similarity_scale",
    "transform_points",
    "write_crop",
]
