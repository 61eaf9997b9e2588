"""Detectors: where the faces of a picture are, with five points each."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ..geometry import invert_similarity, transform_points
from .align import align, cut_crop
from .weights import find_weights


@dataclass(frozen=True)
class Detection:
    """A found face, in pixels of the picture.

    `five`: picture-left eye, picture-right eye, nose tip, picture-left and picture-right mouth
    corner. `confidence` is 0 to 1, on the detector's own scale.
    """

    box_xyxy: Float[np.ndarray, " 4"]
    confidence: float
    five: Float[np.ndarray, "5 2"]


@runtime_checkable
class Detector(Protocol):
    """Finds the faces of a picture, of at least `min_confidence`, from left to right."""

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], min_confidence: float) -> list[Detection]:
        """The faces, in pixels of the picture."""


# A face that fills the picture is too large for YuNet; it is looked for once more at this size.
_CLOSE_UP_EDGE_PX = 320
_MIN_PICTURE_PX = 16


class YuNet:
    """Wu, Peng, Yu 2023, "YuNet: a tiny millisecond-level face detector"; through OpenCV."""

    def __init__(self, weights: str, min_face_px: int, max_edge_px: int) -> None:
        self._net = cv2.FaceDetectorYN.create(weights, "", (320, 320), 0.5, 0.3, 500)
        self._min_face_px = min_face_px
        self._max_edge_px = max_edge_px

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], min_confidence: float) -> list[Detection]:
        """The faces found in the picture, shrunk to the longest side allowed."""
        if min(image.shape[:2]) < _MIN_PICTURE_PX:
            return []
        found = self._look(image, min_confidence, self._max_edge_px)
        if not found and max(image.shape[:2]) > _CLOSE_UP_EDGE_PX:
            found = self._look(image, min_confidence, _CLOSE_UP_EDGE_PX)
        return keep_large(found, self._min_face_px)

    def _look(
        self, image: UInt8[np.ndarray, "h w 3"], min_confidence: float, max_edge_px: int
    ) -> list[Detection]:
        small, scale = shrink(image, max_edge_px)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        self._net.setScoreThreshold(min_confidence)
        _, rows = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        faces = []
        for row in [] if rows is None else rows.astype(np.float64):
            # x, y, width, height, five points, score
            box = np.concatenate([row[:2], row[:2] + row[2:4]]) / scale
            faces.append(Detection(box, float(row[14]), row[4:14].reshape(5, 2) / scale))
        return faces


# The second look of MTCNN's last network: its side, and what it sees, in eye distances.
_SECOND_LOOK_PX = 48
_SECOND_LOOK_COVERAGE = 3.0
_MIRRORED_FIVE = [1, 0, 2, 4, 3]


class Mtcnn:
    """Zhang et al. 2016, "Joint face detection and alignment using multitask cascaded networks".

    The points come from a second look of its last network, at the face upright and centred and at
    its mirror image: on actors, crops cut by them scatter half as much as by the first look's.
    """

    def __init__(self, min_face_px: int, max_edge_px: int) -> None:
        from facenet_pytorch import MTCNN

        self._net = MTCNN(keep_all=True, min_face_size=min_face_px, device="cpu").eval()
        self._min_face_px = min_face_px
        self._max_edge_px = max_edge_px

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], min_confidence: float) -> list[Detection]:
        """The faces found in the picture, shrunk to the longest side allowed."""
        if min(image.shape[:2]) < max(_MIN_PICTURE_PX, self._min_face_px):
            return []
        small, scale = shrink(image, self._max_edge_px)
        self._net.min_face_size = max(12, round(self._min_face_px * scale))
        boxes, scores, points = self._net.detect(small, landmarks=True)
        if boxes is None:
            return []
        boxes, points = (np.asarray(rows, np.float64) / scale for rows in (boxes, points))
        faces = [
            Detection(box, float(confidence), self._second_look(image, five))
            for box, confidence, five in zip(boxes, scores, points, strict=True)
            if confidence >= min_confidence
        ]
        return keep_large(faces, self._min_face_px)

    def _second_look(
        self, image: UInt8[np.ndarray, "h w 3"], five: Float[np.ndarray, "5 2"]
    ) -> Float[np.ndarray, "5 2"]:
        import torch

        edge = _SECOND_LOOK_PX
        to_view = align(five, "five", _SECOND_LOOK_COVERAGE, edge)
        view = torch.from_numpy(cut_crop(image, to_view, edge)).permute(2, 0, 1)
        views = (torch.stack([view, view.flip(2)]).float() - 127.5) / 128
        with torch.no_grad():
            _, points, _ = self._net.onet(views)  # (2, 10): x of five, then y, in sides of the view
        both = np.asarray(points, np.float64).reshape(2, 2, 5).transpose(0, 2, 1)
        seen, mirrored = both * edge - 0.5
        mirrored = mirrored[_MIRRORED_FIVE]
        mirrored[:, 0] = edge - 1 - mirrored[:, 0]
        return transform_points((seen + mirrored) / 2, invert_similarity(to_view))


def shrink(
    image: UInt8[np.ndarray, "h w 3"], max_edge_px: int
) -> tuple[UInt8[np.ndarray, "a b 3"], float]:
    """The picture with its longest side at most `max_edge_px`, and new size / old size."""
    height, width = image.shape[:2]
    if max(height, width) <= max_edge_px:
        return image, 1.0
    scale = max_edge_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def keep_large(faces: list[Detection], min_face_px: int) -> list[Detection]:
    """The faces whose box is large enough, from left to right."""
    large = [f for f in faces if max(f.box_xyxy[2:] - f.box_xyxy[:2]) >= min_face_px]
    return sorted(large, key=lambda face: float(face.box_xyxy[0]))


def build_yunet(min_face_px: int, max_edge_px: int) -> Detector:
    """YuNet. Raises: FaceswapError when its weights cannot be had."""
    return YuNet(str(find_weights("yunet")), min_face_px, max_edge_px)


def build_mtcnn(min_face_px: int, max_edge_px: int) -> Detector:
    """MTCNN, whose weights travel inside the facenet-pytorch package."""
    return Mtcnn(min_face_px, max_edge_px)
