"""From a found face to what a set may take in: its crop and its record."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ..config import ExtractConfig
from ..media.clips import Frame
from ..media.reader import Clip
from ..metrics.landmarks import LandmarksPack, estimate_pose, eye_opening, mouth_opening
from .align import align, cut_crop, inner_view
from .pack import FacePack, FoundFace
from .records import FaceRecord

_SHARPNESS_VIEW_PX = 128


@dataclass(frozen=True)
class Footage(Clip):
    """A clip to look through, and what is known of it beforehand."""

    true_landmarks: Float[np.ndarray, "n 68 2"] | None = None
    """Of a rendered actor."""
    prefix: str = ""
    """What its crops' names begin with."""

    def truth_of(self, frame: int, face: FoundFace) -> Float[np.ndarray, "68 2"] | None:
        """The renderer's landmarks of this face; None when it is no actor's."""
        if self.true_landmarks is None or frame >= len(self.true_landmarks):
            return None
        points = self.true_landmarks[frame]
        low, high = face.detection.box_xyxy.reshape(2, 2)
        centre = points.mean(0)
        return points if ((low < centre) & (centre < high)).all() else None


class Candidate(NamedTuple):
    """A face that may go in: its crop and its record, whose track is not known yet."""

    record: FaceRecord
    crop: UInt8[np.ndarray, "s s 3"]
    sure: bool


def record_and_crop(
    frame: Frame,
    face: FoundFace,
    place: int,
    footage: Footage,
    pack: FacePack,
    job: str,
    config: ExtractConfig,
) -> tuple[FaceRecord, UInt8[np.ndarray, "s s 3"]]:
    """A face's record, without its track, and its crop; `place` counts from the left.

    `frame` has 8 bits a channel.
    """
    frame_to_crop = align(
        face.landmarks, pack.landmarks_name, config.crop_coverage, config.size, config.margin
    )
    crop = cut_crop(frame.image, frame_to_crop, config.size)
    to_inner, inner_size = inner_view(
        config.size, config.margin, round(config.size / (1 + 2 * config.margin)), 0.0
    )
    truth = footage.truth_of(frame.index, face)
    outline: tuple[Float[np.ndarray, "n 2"], LandmarksPack]
    outline = (face.landmarks, pack.landmarks_name) if truth is None else (truth, "ibug68")
    missing = {}
    if outline[1] == "five":
        missing["mouth_opening"] = "five points do not show the lips"
        missing["eye_opening"] = "five points do not show the lids"
    if face.presence is None:
        missing["presence"] = "the detector's points come without one"
    if pack.embedder is None:
        missing["embedding"] = "no embedder"
    record = FaceRecord(
        job=job,
        clip_name=footage.path.name,
        clip_fingerprint=footage.fingerprint,
        frame_index=frame.index,
        frame_number=frame.own_number,
        pts=frame.pts,
        time=str(frame.time),
        frame_width=frame.image.shape[1],
        frame_height=frame.image.shape[0],
        face=place,
        track=-1,
        box_xyxy=np.round(face.detection.box_xyxy, 2),
        confidence=round(face.detection.confidence, 4),
        presence=None if face.presence is None else round(face.presence, 4),
        detector=pack.detector_name,
        landmarks_pack="mesh" if pack.landmarks_name == "mesh" else "five",
        landmarks=face.landmarks,
        five=face.detection.five,
        true_landmarks=truth,
        embedder=pack.embedder_name,
        embedding=face.embedding,
        coverage=config.crop_coverage,
        margin=config.margin,
        size=config.size,
        frame_to_crop=frame_to_crop,
        sharpness=round(sharpness(cut_crop(crop, to_inner, inner_size)), 4),
        pose=estimate_pose(face.landmarks, pack.landmarks_name).rounded(),
        mouth_opening=_rounded(mouth_opening(*outline)),
        eye_opening=_rounded(eye_opening(*outline)),
        missing=missing,
    )
    return record, crop


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def sharpness(crop: UInt8[np.ndarray, "s s 3"]) -> float:
    """Fine detail against contrast: the spread of the Laplacian over the spread of the grey values.

    Of a view of fixed size, so that crops of any size compare; about 0.05 (blurred or enlarged) to
    0.5 (crisp). 0 for a flat crop.
    """
    shrinks = crop.shape[0] > _SHARPNESS_VIEW_PX
    view = cv2.resize(
        cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY),
        (_SHARPNESS_VIEW_PX, _SHARPNESS_VIEW_PX),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    grey = view.astype(np.float32)
    contrast = float(grey.std())
    if contrast < 1:
        return 0.0
    return float(cv2.Laplacian(grey, cv2.CV_32F).std()) / contrast
