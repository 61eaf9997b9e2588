"""What is measured of each face of a set: one array a kind. Kept beside the set between calls."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt64
from PIL import Image
from tqdm import tqdm

from ..errors import FaceswapError
from ..faces.align import cut_crop, frame_to_canonical, inner_view, within_frame
from ..faces.face_set import FaceSet, StoredFace, face_key
from ..faces.finding import one_opencv_thread
from ..faces.hull import face_mask
from ..faces.landmarkers import Landmarker, build_mesh, find_in_crop
from ..faces.records import FaceRecord
from ..geometry import compose, invert_similarity, similarity_scale, transform_points
from ..metrics.landmarks import CANONICAL_FIVE
from ..metrics.pictures import mean_grey
from ..models.mask_network import MASK_SIZE, MaskNetwork, clear_shares
from ..outputs import BROKEN_ARRAYS, whole_file
from ..runs.mask_weights import shipped_mask
from .decisions import report_folder
from .duplicates import perceptual_hash

VIEW_PX = 64
"""Side of the small view of each face: what is compared, and shown."""

MEASURES_FILE = "measures.npz"
_VERSION = 3
_THREADS = 2

_SHARP_EYES_PX = 40.0
"""Sharpness is that of a view with eyes so far apart, or as far as in the frame if that is less: an
enlarged face is not blurred, it is small."""


@dataclass(frozen=True)
class Measures:
    """One row a face, in the order of the set's faces; NaN where it cannot be known."""

    light: Float[np.ndarray, " n"]
    """Mean brightness inside the face's mask, 0 to 1."""
    clipped: Float[np.ndarray, " n"]
    """Share of the mask that is black or white beyond recovery, 0 to 1."""
    sharpness: Float[np.ndarray, " n"]
    """Spread of the Laplacian over that of the grey values, within the mask, at the face's scale
    in its frame."""
    eyes_px: Float[np.ndarray, " n"]
    """The distance between the eyes in the original frame."""
    presence: Float[np.ndarray, " n"]
    """How surely the mesh, laid over the crop anew, lies on a face, 0 to 1."""
    alignment_error: Float[np.ndarray, " n"]
    """Root mean square distance between where the crop's five points should be and where the mesh
    finds them, in eye distances."""
    hidden: Float[np.ndarray, " n"]
    """The share of the face that something is before, by the mask network."""
    hidden_place: Float[np.ndarray, "n 2"]
    """The middle of that, x and y in sides of the view."""
    hashes: UInt64[np.ndarray, " n"]
    views: UInt8[np.ndarray, "n s s 3"]
    masks: UInt8[np.ndarray, "n s s"]


class _Stamp(NamedTuple):
    """Which face a stored row is of, and of which state of its file."""

    key: str
    size: int
    changed: int


def measure_faces(faces: FaceSet) -> Measures:
    """The measures of all faces; those that an earlier call stored are not taken again.

    Without the mesh's weights, presence and alignment error are NaN; without the mask network's,
    what is hidden.
    Raises: FaceswapError when a crop cannot be read.
    """
    stamps = [_stamp(face) for face in faces.faces]
    stored = _read(faces.path)
    rows: list[dict[str, Any]] = [stored.get(stamp, {}) for stamp in stamps]
    new = [place for place, row in enumerate(rows) if not row or np.isnan(row["presence"])]
    finders = threading.local()
    mask = _mask_or_none() if new else None
    has_mesh = bool(new) and _mesh_or_none() is not None
    if not has_mesh:
        # What was measured without the mesh is as good as it gets.
        new = [place for place in new if not rows[place]]

    def measure(place: int) -> None:
        if has_mesh and not hasattr(finders, "mesh"):
            # Networks hold state: one a thread.
            finders.mesh = build_mesh()
        rows[place] = measure_face(faces.faces[place], getattr(finders, "mesh", None), mask)

    bar = tqdm(total=len(new), desc="measure", unit="face", disable=None if len(new) else True)
    with bar, one_opencv_thread(), ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(measure, new):
            bar.update()
    names = [field.name for field in fields(Measures)]
    columns = {name: np.stack([row[name] for row in rows]) for name in names}
    if new or len(stored) != len(stamps):
        _write(faces.path, stamps, columns)
    return Measures(**columns)


def measure_face(
    face: StoredFace, mesh: Landmarker | None, mask_network: MaskNetwork | None = None
) -> dict[str, Any]:
    """The row of one face, by the names of Measures."""
    record = face.record
    crop = _read_crop(face)
    to_view, _ = inner_view(record.size, record.margin, VIEW_PX, 0.0)
    view = cut_crop(crop, to_view, VIEW_PX)
    mask = face_mask(*record.outline, compose(record.frame_to_crop, to_view), VIEW_PX)
    on_face = mask > 0.5
    grey = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    inside = grey[on_face] if on_face.any() else grey
    presence, alignment_error = (
        (np.nan, np.nan) if mesh is None else alignment_of(crop, record, mesh)
    )
    hidden, place = np.nan, np.full(2, np.nan)
    if mask_network is not None:
        hidden, place = hidden_of(crop, record, mask_network)
    return {
        "light": np.float64(mean_grey(view, on_face)),
        "clipped": np.float64(((inside <= 4) | (inside >= 251)).mean()),
        "sharpness": np.float64(face_sharpness(crop, record)),
        "eyes_px": np.float64(_eyes_px(record)),
        "presence": np.float64(presence),
        "alignment_error": np.float64(alignment_error),
        "hidden": np.float64(hidden),
        "hidden_place": place,
        "hashes": perceptual_hash(view),
        "views": view,
        "masks": np.round(mask * 255).astype(np.uint8),
    }


def alignment_of(
    crop: UInt8[np.ndarray, "s s 3"], record: FaceRecord, mesh: Landmarker
) -> tuple[float, float]:
    """Presence and alignment error of a crop: see Measures."""
    to_canonical = frame_to_canonical(record.landmarks.astype(np.float64), record.landmarks_pack)
    to_crop = compose(invert_similarity(to_canonical), record.frame_to_crop)
    found = find_in_crop(mesh, crop, to_crop)
    five = transform_points(CANONICAL_FIVE, to_crop)
    back = transform_points(five, frame_to_canonical(found.points, "mesh"))
    off = float(np.sqrt(((back - CANONICAL_FIVE) ** 2).sum(1).mean()))
    return float("nan") if found.presence is None else found.presence, off


def hidden_of(
    crop: UInt8[np.ndarray, "s s 3"], record: FaceRecord, network: MaskNetwork
) -> tuple[float, Float[np.ndarray, " 2"]]:
    """What is before the face of a crop, and where: see Measures."""
    to_view, _ = inner_view(record.size, record.margin, MASK_SIZE, 0.0)
    view = cut_crop(crop, to_view, MASK_SIZE)
    frame_to_view = compose(record.frame_to_crop, to_view)
    outline = face_mask(*record.outline, frame_to_view, MASK_SIZE)
    if record.frame_width and record.frame_height:
        # A repeated border is no hand.
        outline = outline * within_frame(
            record.frame_width, record.frame_height, frame_to_view, MASK_SIZE
        )
    (clear,) = clear_shares(network, view[None], outline[None])
    hidden = outline * (1 - clear)
    total = max(float(hidden.sum()), 1e-6)
    across, down = hidden.sum(0), hidden.sum(1)
    middle = np.array([line @ np.arange(MASK_SIZE) for line in (across, down)]) / total
    return total / max(float(outline.sum()), 1e-6), middle / MASK_SIZE


def face_sharpness(crop: UInt8[np.ndarray, "s s 3"], record: FaceRecord) -> float:
    """Fine detail against contrast inside the face's mask: see Measures.sharpness."""
    size = max(16, round(record.edge_eyes * min(_SHARP_EYES_PX, _eyes_px(record))))
    to_small, _ = inner_view(record.size, 0.0, size, 0.0)
    grey = cv2.cvtColor(cut_crop(crop, to_small, size), cv2.COLOR_RGB2GRAY).astype(np.float32)
    mask = face_mask(*record.outline, compose(record.frame_to_crop, to_small), size) > 0.9
    if mask.sum() < 16:
        mask = np.ones_like(mask)
    contrast = float(grey[mask].std())
    return float(cv2.Laplacian(grey, cv2.CV_32F)[mask].std()) / contrast if contrast >= 1 else 0.0


def embeddings_of(records: Sequence[FaceRecord]) -> Float[np.ndarray, "n d"] | None:
    """The faces' vectors; rows of NaN where a face has none, None when no two are comparable."""
    known = [r for r in records if r.embedding is not None]
    if not known or len({record.embedder for record in known}) > 1:
        return None
    size = len(np.asarray(known[0].embedding))
    nothing = np.full(size, np.nan, np.float32)
    return np.stack([nothing if r.embedding is None else r.embedding for r in records])


def _eyes_px(record: FaceRecord) -> float:
    """The canonical eye distance, 1, in pixels of the frame."""
    return 1 / similarity_scale(frame_to_canonical(record.landmarks, record.landmarks_pack))


def _read_crop(face: StoredFace) -> UInt8[np.ndarray, "s s 3"]:
    try:
        with Image.open(face.path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FaceswapError(f"{face.path}: cannot be read ({reason}); delete it") from error


def _mask_or_none() -> MaskNetwork | None:
    try:
        return shipped_mask().network()
    except FaceswapError:
        return None


def _mesh_or_none() -> Landmarker | None:
    try:
        return build_mesh()
    except FaceswapError:
        return None


def _stamp(face: StoredFace) -> _Stamp:
    stat = face.path.stat()
    return _Stamp(face_key(face.record), stat.st_size, stat.st_mtime_ns)


def _write(path: Path, stamps: Sequence[_Stamp], columns: dict[str, np.ndarray]) -> None:
    arrays: dict[str, Any] = {
        "version": np.array(_VERSION),
        "keys": np.array([stamp.key for stamp in stamps]),
        "stamps": np.array([stamp[1:] for stamp in stamps], np.int64).reshape(-1, 2),
        **columns,
    }
    try:
        with whole_file(report_folder(path) / MEASURES_FILE) as partial:
            np.savez(partial, **arrays)
    except FaceswapError:
        # A folder that cannot be written to is measured anew each time, not refused.
        return


def _read(path: Path) -> dict[_Stamp, dict[str, Any]]:
    """The stored rows by stamp; empty when there are none, or none that can be used."""
    file = report_folder(path) / MEASURES_FILE
    if not file.is_file():
        return {}
    names = [field.name for field in fields(Measures)]
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if int(arrays["version"]) != _VERSION:
                return {}
            keys, numbers = arrays["keys"], arrays["stamps"]
            columns = {name: arrays[name] for name in names}
        stamps = [_Stamp(str(k), int(s), int(c)) for k, (s, c) in zip(keys, numbers, strict=True)]
        return {
            stamp: {name: column[place] for name, column in columns.items()}
            for place, stamp in enumerate(stamps)
        }
    except (*BROKEN_ARRAYS, IndexError):
        # Taken again: it is only a saving of time.
        return {}
