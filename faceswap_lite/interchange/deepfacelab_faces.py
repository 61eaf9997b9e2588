"""Faces of DeepFaceLab: aligned JPEGs, each with a pickled dict in a chunk of its own (APP15), and
faceset.pak, which holds such files one after the other.
"""

import io
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from ..errors import FaceswapError
from ..geometry import similarity_scale
from ..media.marks import as_words
from ..metrics.landmarks import eye_distance, five_points
from .pickles import read_pickled, strings_after

PAK_NAME = "faceset.pak"
_PAK_VERSION = 1
_SUFFIXES = (".jpg", ".jpeg")
# Bytes: the largest crops that the tool makes have a hundredth of it.
_MAX_JPEG = 100 << 20
# Pixels: no frame is larger.
_FARTHEST = 1e6
MAX_PX = 4096
"""The edge of a crop, and of a mask, at most."""

_SOI, _APP15, _COMMENT, _SCAN = b"\xff\xd8", 0xEF, 0xFE, 0xDA
# Markers that stand alone.
_BARE = {0x01, *range(0xD0, 0xD8)}

FACE_TYPES = {
    "half_face": "dfl_half",
    "midfull_face": "dfl_mid",
    "full_face": "dfl_full",
    "whole_face": "dfl_whole",
    "head": "dfl_head",
}
_INCLUDE = 1


@dataclass(frozen=True)
class AlignedFace:
    """What a crop's own chunk says. Points and matrix are of the frame, polygons of the crop."""

    coverage: str
    source_name: str
    landmarks: Float[np.ndarray, "68 2"]
    box_xyxy: Float[np.ndarray, " 4"]
    frame_to_crop: Float[np.ndarray, "2 3"]
    mask: UInt8[np.ndarray, "_ _"] | None
    """Of any size, over the whole crop."""
    polygons: list[tuple[bool, Float[np.ndarray, "_ 2"]]]
    """Each with whether it includes or excludes, in the order in which they are drawn."""

    def drawn_mask(self, size: int) -> UInt8[np.ndarray, "s s"] | None:
        """What of the crop is face: by the polygons, else as the mask has it; None: not said."""
        if self.polygons:
            mask = np.zeros((size, size), np.uint8)
            for includes, points in self.polygons:
                outline = np.clip(points, -(1 << 14), 1 << 14).round().astype(np.int32)
                cv2.fillPoly(mask, [outline], 255 if includes else 0)
            return mask
        return self.mask


def is_deepfacelab(path: Path) -> bool:
    """Whether a path is a faceset.pak, or a folder with one or with JPEGs."""
    if path.is_dir():
        return (path / PAK_NAME).is_file() or next(_jpegs(path), None) is not None
    return path.suffix == ".pak"


def list_faces(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every crop at a path, in one order.

    Raises: FaceswapError when a pak is damaged, or a file cannot be read.
    """
    if path.is_dir() and (path / PAK_NAME).is_file():
        path = path / PAK_NAME
    if path.is_file():
        yield from _unpacked(path)
        return
    for file in _jpegs(path):
        if file.stat().st_size <= _MAX_JPEG:
            yield file.name, file.read_bytes()


def _jpegs(folder: Path) -> Iterator[Path]:
    files = (file for file in sorted(folder.iterdir()) if file.suffix.lower() in _SUFFIXES)
    return (file for file in files if file.is_file() and not file.name.startswith("."))


def _unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a pak. Their names are read off its pickle, of which nothing else is needed."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            version, length = struct.unpack("<QQ", data.read(16))
            if version != _PAK_VERSION or 16 + length > len(data):
                raise ValueError(f"version {version}")
            names = strings_after(data, "filename")
            begin = 16 + length + 8 * (len(names) + 1)
            data.seek(16 + length)
            offsets = struct.unpack(f"<{len(names) + 1}Q", data.read(begin - 16 - length))
            # The last one is written from the file's beginning.
            ends = [*(begin + offset for offset in offsets[1:-1]), len(data)]
            start = begin
            for name, end in zip(names, ends, strict=True):
                if not start <= end <= len(data) or end - start > _MAX_JPEG:
                    raise ValueError(f"{name} lies beyond its end")
                yield Path(name.replace("\\", "/")).name, data[start:end]
                start = end
    except (OSError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise FaceswapError(f"{path}: is damaged, or no faceset.pak ({reason})") from None


def read_face(data: bytes, name: str) -> AlignedFace:
    """What a crop's chunk says. Raises: FaceswapError when there is none that can be used."""
    parts = {marker: data[start:end] for marker, start, end in reversed([*_segments(data)])}
    chunk = parts.get(_APP15)
    if chunk is None:
        raise FaceswapError(f"{name}: holds no data of DeepFaceLab")
    if _SCAN not in parts:
        raise FaceswapError(f"{name}: its segments do not lead to a picture")
    stored = read_pickled(io.BytesIO(chunk), name)
    try:
        return _as_face(stored)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:100]
        raise FaceswapError(f"{name}: its data of DeepFaceLab cannot be used ({reason})") from None


def _as_face(stored: Any) -> AlignedFace:
    face_type = str(stored["face_type"])
    if face_type not in FACE_TYPES:
        raise ValueError(f"face type {face_type[:40]}")
    points = _finite(stored["source_landmarks"], (68, 2))
    matrix = _finite(stored["image_to_face_mat"], (2, 3))
    if eye_distance(five_points(points, "ibug68")) < 1 or similarity_scale(matrix) < 1e-3:
        raise ValueError("its points lie in one place")
    polygons = (stored.get("seg_ie_polys") or {}).get("polys", [])
    mask = stored.get("xseg_mask")
    return AlignedFace(
        coverage=FACE_TYPES[face_type],
        source_name=str(stored["source_filename"]),
        landmarks=points,
        box_xyxy=_finite(stored["source_rect"], (4,)),
        frame_to_crop=matrix,
        mask=None if mask is None else _mask(np.asarray(mask)),
        polygons=[
            (polygon["type"] == _INCLUDE, _finite(polygon["pts"], (len(polygon["pts"]), 2)))
            for polygon in polygons
            if len(polygon["pts"]) > 2
        ],
    )


def _mask(stored: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    """A mask as the tool keeps it: the bytes of a PNG, or, of old, values from 0 to 1."""
    if stored.ndim > 1 and stored.size and stored.dtype.kind == "f":
        plain = stored.reshape(*stored.shape[:2], -1)[..., 0].astype(np.float64)
        return (np.clip(np.nan_to_num(plain), 0, 1) * 255).round().astype(np.uint8)
    if stored.dtype != np.uint8:
        raise ValueError(f"its mask is of {stored.dtype}")
    try:
        with Image.open(io.BytesIO(stored.tobytes())) as picture:
            if max(picture.size) > MAX_PX:
                raise ValueError(f"a mask of {picture.width}x{picture.height}")
            return np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"its mask: {error}") from None


def _finite(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value, np.float64)
    if array.shape != shape or not (np.abs(array) < _FARTHEST).all():
        raise ValueError(f"must hold {' x '.join(map(str, shape))} numbers of pixels")
    return array


def with_comment(data: bytes, text: str) -> bytes:
    """A JPEG with a comment before its first scan, and no other byte changed."""
    comment = text.encode()
    place = next(start - 4 for marker, start, _ in _segments(data) if marker == _SCAN)
    segment = struct.pack(">BBH", 0xFF, _COMMENT, len(comment) + 2) + comment
    return data[:place] + segment + data[place:]


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of what follows it, of a JPEG's segments up to its first scan."""
    place = 2 if data[:2] == _SOI else len(data)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or marker in _BARE:
            place += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack_from(">H", data, place + 2)[0]
        yield marker, place + 4, place + 2 + length
        if marker == _SCAN:
            return
        place += 2 + length


def clip_and_frame(source_name: str) -> tuple[str, int | None]:
    """The clip that a frame's name speaks of, and the frame's number: scene_00012.png."""
    stem = as_words(Path(source_name.replace("\\", "/")).stem)
    match = re.fullmatch(r"(.*?)(\d{1,15})", stem)
    if match is None:
        return stem or "frames", None
    return match[1].rstrip("_- .") or "frames", int(match[2])
