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
from .extract import ExtractSummary, extract_faces, one_opencv_thread, wanted_person
from .face_set import FaceSet, StoredFace, describe_face_set, open_face_set
from .geometry import (
    compose,
    fit_similarity,
    invert_similarity,
    similarity_scale,
    transform_points,
)
from .given_masks import (
    GivenMasks,
    given_masks_for,
    given_views,
    masks_fingerprint,
    masks_line,
    multiply_masks,
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
    "GivenMasks",
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
    "given_masks_for",
    "given_views",
    "invert_similarity",
    "likeness",
    "masks_fingerprint",
    "masks_line",
    "mouth_opening",
    "multiply_masks",
    "one_opencv_thread",
    "open_face_set",
    "read_record",
    "sharpness",
    "similarity_scale",
    "transform_points",
    "wanted_person",
    "write_crop",
]
