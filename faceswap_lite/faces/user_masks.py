"""Masks that a person drew: PNG pictures, white where the face may be swapped, black where never.

A picture is of a whole frame, its name's last number counting the frames of a clip; or of a crop,
and named as that is.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ..errors import FaceswapError
from ..geometry import compose, similarity_scale
from ..media.clips import ClipInfo
from ..media.images import read_image
from ..outputs import file_sha256, job_id
from .align import cut_crop
from .face_set import MASKS_FOLDER, REJECTED_FOLDER, FaceSet
from .records import CROP_SUFFIXES, FaceRecord, read_record

_CACHED_PICTURES = 8
_THREADS = 4

# A crop's name ends with the frame and the face in it: see `crop_name`.
_LIKE_A_CROP = re.compile(r"_\d{6,}_(0|[1-9]\d*)$")


class UserMasks:
    """The masks that a folder holds for the frames of one clip, read when they are asked for.

    May be asked by several threads at once.
    """

    def __init__(
        self,
        folder: Path,
        crops: Mapping[str, FaceRecord] = MappingProxyType({}),
        *,
        others: Collection[str] = frozenset(),
        frames: Path | None = None,
        first: int = 1,
    ) -> None:
        """The pictures of `folder`: of frames, or named as the clip's `crops` are (without suffix).

        `others`: names of crops of other clips, which are passed over. `frames`: a second folder,
        of pictures of frames; with it, `folder` may hold none that fits. `first`: the number of the
        clip's first frame.
        Raises: FaceswapError when there is no such folder, it holds no PNG, or what its pictures
        are of cannot be told.
        """
        self.folder = Path(folder)
        self._read = lru_cache(_CACHED_PICTURES)(_read_grey)
        pictures = _pictures(self.folder)
        is_of_frames = _is_of_frames(self.folder, pictures, crops.keys() | others)
        if frames is not None and is_of_frames:
            raise FaceswapError(
                f"{self.folder}: holds masks of frames beside {frames}; keep one of the two"
            )
        of_frames = _pictures(frames) if frames is not None else pictures if is_of_frames else []
        self._first = first
        self._of_frames = _by_frame(of_frames, first)
        self._of_crops: dict[int, list[tuple[Path, FaceRecord]]] = {}
        for path in pictures:
            if path.stem in crops:
                record = crops[path.stem]
                self._of_crops.setdefault(record.frame_index, []).append((path, record))
        if not self.frames:
            what = "holds no PNG" if self.folder.is_dir() else "no such folder of masks"
            if pictures:
                what = (
                    f"its pictures are named as crops are ({pictures[0].name}), and none of those "
                    "crops is of this clip"
                )
            raise FaceswapError(f"{self.folder}: {what}")

    @property
    def frames(self) -> list[int]:
        """The frames that have a mask, counted from 0, in order (if no number is left out)."""
        return sorted({*(number - self._first for number in self._of_frames), *self._of_crops})

    def check_numbers(self, clip: Path, info: ClipInfo) -> None:
        """Raises: FaceswapError when no picture has a frame's number, and none is of a crop."""
        first, last, numbers = info.first_number, info.last_number, sorted(self._of_frames)
        if self._of_crops or any(first <= n and (last is None or n <= last) for n in numbers):
            return
        to = "" if last is None else f" to {last}"
        raise FaceswapError(
            f"{self.folder}: its masks are numbered {numbers[0]} to {numbers[-1]}, the frames of "
            f"{clip} from {first}{to}; number them alike, or say what the first frame's number is "
            "(--start-number)"
        )

    def fingerprint(self) -> str:
        """What changes with any picture that is of this clip, a few hex digits; reads them all."""
        of_crops = [path for paths in self._of_crops.values() for path, _ in paths]
        return _fingerprint([*self._of_frames.values(), *of_crops])

    def frame_mask(
        self, index: int, shape: tuple[int, int], number: int | None = None
    ) -> Float[np.ndarray, "h w"] | None:
        """Where the frame of `shape` (height, width) may be swapped, 0 to 1; None: no mask given.

        `index` counts from 0; `number` is what the clip calls it (None: counted from 1). Outside
        of a crop that has a mask: 1; several crops multiply.
        Raises: FaceswapError when a picture cannot be read, or has another aspect than its frame.
        """
        number = index + 1 if number is None else number
        if number not in self._of_frames and index not in self._of_crops:
            return None
        mask: Float[np.ndarray, "h w"] = np.ones(shape, np.float32)
        if (of_frame := self._of_frames.get(number)) is not None:
            mask = _fit(self._read(of_frame), of_frame, shape).astype(np.float32) / 255
        for path, record in self._of_crops.get(index, []):
            if (record.frame_height or shape[0], record.frame_width or shape[1]) != tuple(shape):
                raise FaceswapError(
                    f"{path}: its crop is of a frame of {record.frame_width}x"
                    f"{record.frame_height}, this one has {shape[1]}x{shape[0]}"
                )
            _gate_crop(mask, self._read(path), path, record)
        return mask


def user_masks_for(
    folder: Path, faces: FaceSet | None, clip_fingerprint: str, first: int = 1
) -> UserMasks:
    """The masks of a folder for a clip; such as are named as crops are those of `faces`.

    `first`: the number of the clip's first frame.
    Crops that lie in the set's `_rejected` count too: the covered faces are the ones it rejects.
    A folder within that has the clip's name (as in a set's `_masks`) holds pictures of its frames;
    they multiply with those of crops. Raises: as UserMasks.
    """
    folder = Path(folder)
    if faces is None:
        return UserMasks(folder, first=first)
    records = {face.path.stem: face.record for face in faces.faces}
    strange = {path.stem for path in _pictures(folder)} - records.keys()
    for name, path in _rejected(faces.path, strange).items():
        record = read_record(path)
        if record is not None:
            records[name] = record
    crops = {
        name: record
        for name, record in records.items()
        if record.clip_fingerprint == clip_fingerprint
    }
    frames = _frames_folders(folder, faces).get(clip_fingerprint)
    others = records.keys() - crops.keys()
    return UserMasks(folder, crops, others=others, frames=frames, first=first)


def user_mask_views(
    faces: FaceSet, size: int, margin: float | int
) -> dict[int, UInt8[np.ndarray, "s s"]]:
    """What the set's `_masks` give for the views of `faces.crops`, 0 to 255, by place in the set.

    Only faces that have a picture are there. One of the crop and one of its frame multiply.
    Raises: FaceswapError when a picture cannot be read, or has another aspect than what it is of.
    """
    of_faces = _of_faces(faces)

    def view(place: int) -> UInt8[np.ndarray, "s s"]:
        record = faces.faces[place].of_file
        to_view, frame_to_view, edge = faces.faces[place].to_view(size, margin)
        given = np.full((edge, edge), 255, np.uint8)
        for path in of_faces[place]:
            picture = read_image(path)
            height, width = picture.shape[:2]
            if path.parent == faces.path / MASKS_FOLDER:
                matrix, shape = to_view, (record.size, record.size)
            else:
                matrix = frame_to_view
                shape = (record.frame_height or height, record.frame_width or width)
            _refuse_aspect(path, picture.shape[:2], shape)
            matrix = compose(_scaling(picture.shape[:2], shape), matrix)
            cut = cv2.cvtColor(cut_crop(picture, matrix, edge), cv2.COLOR_RGB2GRAY)
            given = multiply_masks(given, cut)
        return given

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(of_faces, pool.map(view, of_faces), strict=True))


def multiply_masks(
    one: UInt8[np.ndarray, "h w *c"], other: UInt8[np.ndarray, "h w *d"]
) -> UInt8[np.ndarray, "h w *c"]:
    """The product of two masks of 0 to 255, where 255 changes nothing; `other` is broadcast."""
    return np.round(one.astype(np.float32) * other / 255).astype(np.uint8)


def masks_fingerprint(faces: FaceSet) -> str:
    """What changes with any mask that the set's faces have, a few hex digits; "" without any."""
    paths = sorted({path for some in _of_faces(faces).values() for path in some})
    return _fingerprint(paths) if paths else ""


def masks_line(faces: FaceSet) -> str:
    """How many faces of the set have a mask of their own, to be said; "" without `_masks`."""
    folder = faces.path / MASKS_FOLDER
    if not folder.is_dir():
        return ""
    count = len(_of_faces(faces))
    line = f"{count} of {len(faces.faces)} faces have a mask of their own"
    names = {path.stem for path in _pictures(folder)} - {f.path.stem for f in faces.faces}
    strange = {f"{name}.png" for name in names - _rejected(faces.path, names).keys()}
    clips = {Path(face.record.clip_name).stem for face in faces.faces}
    strange |= {p.name for p in folder.iterdir() if p.is_dir() and p.name not in clips}
    if strange:
        line += f" ({len(strange)} in {MASKS_FOLDER} fit none: {min(strange)})"
    return line


def _of_faces(faces: FaceSet) -> dict[int, list[Path]]:
    """The pictures in the set's `_masks` that are of each face, by place in the set."""
    folder = faces.path / MASKS_FOLDER
    if not folder.is_dir():
        return {}
    of_crops = {path.stem: path for path in _pictures(folder)}
    of_frames = {
        clip: _by_frame(_pictures(frames), _first_number(faces, clip))
        for clip, frames in _frames_folders(folder, faces).items()
    }
    found: dict[int, list[Path]] = {}
    for place, face in enumerate(faces.faces):
        record = face.record
        both = (
            of_crops.get(face.path.stem),
            of_frames.get(record.clip_fingerprint, {}).get(record.number),
        )
        if paths := [path for path in both if path is not None]:
            found[place] = paths
    return found


def _frames_folders(folder: Path, faces: FaceSet) -> dict[str, Path]:
    """The folders within that are called as clips of the set, by the clips' fingerprints."""
    clips = {face.record.clip_fingerprint: face.record.clip_name for face in faces.faces}
    found: dict[str, Path] = {}
    for clip, name in clips.items():
        frames = folder / Path(name).stem
        if not frames.is_dir():
            continue
        if frames in found.values():
            raise FaceswapError(
                f"{frames}: two clips of the set are called {Path(name).stem}; give their masks by "
                f"crop, in {folder}"
            )
        found[clip] = frames
    return found


def _rejected(path: Path, names: Collection[str]) -> dict[str, Path]:
    """Those crops in the set's `_rejected` that are called so, without suffix."""
    files = (path / REJECTED_FOLDER).rglob("*") if names else []
    return {
        file.stem: file
        for file in sorted(files)
        if file.stem in names and file.suffix.lower() in CROP_SUFFIXES
    }


def _is_of_frames(folder: Path, pictures: Sequence[Path], crops: Collection[str]) -> bool:
    """Whether the pictures are of frames; else they are of crops, be they known or not.

    Raises: FaceswapError when they are of both.
    """
    of_crops = [path for path in pictures if path.stem in crops]
    # A crop may be gone, and its mask still there.
    others = [
        path for path in pictures if path.stem not in crops and not _LIKE_A_CROP.search(path.stem)
    ]
    if of_crops and others:
        raise FaceswapError(
            f"{folder}: mixes masks of crops ({of_crops[0].name}) and others ({others[0].name}); "
            "keep one kind in a folder"
        )
    return bool(others)


def _pictures(folder: Path) -> list[Path]:
    """The PNG files of a folder, by name; none when there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == ".png" and not path.name.startswith(".") and path.is_file()
    )


def _first_number(faces: FaceSet, clip: str) -> int:
    """The number of the clip's first frame, as far as its faces tell."""
    records = [face.record for face in faces.faces]
    return min(r.number - r.frame_index for r in records if r.clip_fingerprint == clip)


def _by_frame(pictures: Iterable[Path], first: int) -> dict[int, Path]:
    """The pictures by the number of the frame that they are of; they may also count from 0.

    Raises: FaceswapError for a name without a number, and for two of one number.
    """
    numbered: dict[int, Path] = {}
    for path in pictures:
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise FaceswapError(
                f"{path}: no number in its name says which frame it is of (frame_000001.png is "
                "the first)"
            )
        other = numbered.setdefault(int(digits[-1]), path)
        if other is not path:
            raise FaceswapError(
                f"{path}: has the same frame number as {other.name}, {int(digits[-1])}; masks of "
                "crops are to be named as crops of the target's face set are"
            )
    shift = first if 0 in numbered else 0
    return {number + shift: path for number, path in numbered.items()}


def _read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    return cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)


def _refuse_aspect(path: Path, shape: tuple[int, ...], wanted: tuple[int, int]) -> None:
    (height, width), (high, wide) = shape, wanted
    # A scaled picture's sides are whole pixels.
    if abs(height - width * high / wide) > 1 and abs(width - height * wide / high) > 1:
        raise FaceswapError(
            f"{path}: is {width}x{height}, which does not have the aspect ratio of the "
            f"{wide}x{high} picture that it masks"
        )


def _fit(
    picture: UInt8[np.ndarray, "a b"], path: Path, shape: tuple[int, int]
) -> UInt8[np.ndarray, "h w"]:
    """The picture at the size of `shape`. Raises: FaceswapError for another aspect."""
    if picture.shape == tuple(shape):
        return picture
    _refuse_aspect(path, picture.shape, shape)
    how = cv2.INTER_AREA if picture.shape[0] > shape[0] else cv2.INTER_LINEAR
    return cv2.resize(picture, (shape[1], shape[0]), interpolation=how)


def _scaling(shape: tuple[int, ...], wanted: tuple[int, int]) -> Float[np.ndarray, "2 3"]:
    """The map from a picture of one (height, width) to itself scaled to another."""
    # Pixel centres are integers: x_new = (x_old + 1/2) * scale - 1/2.
    x, y = wanted[1] / shape[1], wanted[0] / shape[0]
    return np.array([[x, 0.0, x / 2 - 0.5], [0.0, y, y / 2 - 0.5]])


def _gate_crop(
    mask: Float[np.ndarray, "h w"],
    picture: UInt8[np.ndarray, "a b"],
    path: Path,
    record: FaceRecord,
) -> None:
    """Multiply the frame's mask by the crop's, where the crop lies."""
    _refuse_aspect(path, picture.shape, (record.size, record.size))
    # At the scale of the frame, or below: what shrinks must average areas.
    shown = max(1, round(record.size / similarity_scale(record.frame_to_crop)))
    if shown < len(picture):
        picture = cv2.resize(picture, (shown, shown), interpolation=cv2.INTER_AREA)
    scaling = _scaling((record.size, record.size), (picture.shape[0], picture.shape[1]))
    frame_to_picture = compose(record.frame_to_crop, scaling)
    edge = np.array([-1.0, record.size])
    corners = np.stack(np.meshgrid(edge, edge), -1).reshape(-1, 2)
    back = np.linalg.inv(np.vstack([record.frame_to_crop, [0, 0, 1]]))[:2]
    corners = corners @ back[:, :2].T + back[:, 2]
    height, width = mask.shape
    left, top = np.clip(np.floor(corners.min(0)).astype(int), 0, [width, height])
    right, bottom = np.clip(np.ceil(corners.max(0)).astype(int) + 1, 0, [width, height])
    if right <= left or bottom <= top:
        return
    to_frame = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
    mask[top:bottom, left:right] *= cv2.warpAffine(
        picture.astype(np.float32) / 255,
        compose(to_frame, frame_to_picture),
        (int(right - left), int(bottom - top)),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=1.0,
    )


def _fingerprint(paths: Iterable[Path]) -> str:
    pictures = [(path.parent.name, path.name, file_sha256(path)) for path in sorted(paths)]
    return job_id(masks=pictures)
