"""A face set: a folder of crops that people may delete from, rename in, copy into.

The truth is in the crops. Beside them, in a hidden folder, lie the extraction's own file and an
index that makes opening quick; both may be lost. What curation set aside lies in a folder of its
own and is no part of the set; so do masks that a person drew (user_masks.py).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from ..errors import FaceswapError
from ..geometry import compose, invert_similarity
from ..media.clips import counted, list_images
from ..metrics.landmarks import LandmarksPack
from ..outputs import BROKEN_ARRAYS, is_broken, read_json, whole_file
from .align import cut_crop, inner_view
from .hull import face_mask, features_mask
from .records import CROP_SUFFIXES, FaceRecord, read_record

HIDDEN_FOLDER = ".faceswap_lite"
REJECTED_FOLDER = "_rejected"
MASKS_FOLDER = "_masks"
EXTRACTION_JOB_FILE = "extraction.json"
_INDEX_FILE = "index.npz"
_INDEX_VERSION = 1
_NAMED_IN_A_LINE = 3
_THREADS = 4

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class StoredFace:
    """A crop's file and what it knows about itself."""

    path: Path
    record: FaceRecord
    stored: FaceRecord | None = None
    """Where `record` is of another crop inside the file's own (recut.py): the file's."""

    @property
    def of_file(self) -> FaceRecord:
        """The record of the picture in the file."""
        return self.stored or self.record

    def to_view(
        self, size: int, margin: float | int
    ) -> tuple[Float[np.ndarray, "2 3"], Float[np.ndarray, "2 3"], int]:
        """The maps from the file's picture and from the frame to a view (`inner_view`); its side.

        Raises: ValueError when more margin is wanted than there is.
        """
        record = self.record
        view, edge = inner_view(record.size, record.margin, size, margin)
        frame_to_view = compose(record.frame_to_crop, view)
        if self.stored is None:
            return view, frame_to_view, edge
        to_frame = invert_similarity(self.stored.frame_to_crop)
        return compose(to_frame, frame_to_view), frame_to_view, edge


@dataclass(frozen=True)
class FaceSet:
    """The faces of a folder in the order of clip, frame, left to right.

    `problems`: one line on each kind of thing that is not as the extraction left it.
    `embedder`: whose vectors the records hold; None when there are none or not all are of one kind.
    """

    path: Path
    faces: list[StoredFace]
    problems: list[str]
    pack: LandmarksPack
    coverage: str
    embedder: str | None

    def crops(self, size: int, margin: float | int) -> UInt8[np.ndarray, "n s s 3"]:
        """The inner crops at `size` px with `margin` (in sides) around, in the order of `faces`.

        Raises: FaceswapError when a crop was stored with less margin, or cannot be read.
        """
        edge = self._edge(size, margin)
        return self._stack((edge, edge, 3), lambda face: _view(face, size, margin))

    def masks(self, size: int, margin: float | int) -> UInt8[np.ndarray, "n s s"]:
        """The face masks of `crops`, 0 to 255."""
        return self._drawn(face_mask, size, margin)

    def features(self, size: int, margin: float | int) -> UInt8[np.ndarray, "n s s"]:
        """The masks of eyes and mouth of `crops`, 0 to 255."""
        return self._drawn(features_mask, size, margin)

    def places(self) -> list[tuple[str, int]]:
        """The clip's fingerprint and the frame of each of `faces`."""
        return [(face.record.clip_fingerprint, face.record.frame_index) for face in self.faces]

    def embeddings(self) -> Float[np.ndarray, "n d"] | None:
        """The vectors of all faces; None when `embedder` is."""
        if self.embedder is None:
            return None
        vectors = [face.record.embedding for face in self.faces]
        return np.stack([vector for vector in vectors if vector is not None])

    def _edge(self, size: int, margin: float | int) -> int:
        minimum = min(self.faces, key=lambda face: face.record.margin)
        if margin > minimum.record.margin + 1e-9:
            raise FaceswapError(
                f"{self.path}: a margin of {margin} is wanted, {minimum.path.name} was stored with "
                f"{minimum.record.margin}; extract again with --set extract.margin={margin}"
            )
        return round(size * (1 + 2 * margin))

    def _drawn(
        self, draw: Callable[..., np.ndarray], size: int, margin: float | int
    ) -> UInt8[np.ndarray, "n s s"]:
        edge = self._edge(size, margin)

        def mask(face: StoredFace) -> np.ndarray:
            _, frame_to_view, _ = face.to_view(size, margin)
            drawn = draw(*face.record.outline, frame_to_view, edge)
            return np.round(drawn * 255).astype(np.uint8)

        return self._stack((edge, edge), mask)

    def _stack(
        self, shape: tuple[int, ...], make: Callable[[StoredFace], np.ndarray]
    ) -> UInt8[np.ndarray, "..."]:
        stack = np.empty((len(self.faces), *shape), np.uint8)

        def fill(index: int) -> None:
            stack[index] = make(self.faces[index])

        _in_threads(fill, range(len(self.faces)))
        return stack


def open_face_set(path: Path, minimum: int = 1) -> FaceSet:
    """The face set in a folder.

    Raises: FaceswapError when there is none, when it holds fewer than `minimum` faces, or when it
    mixes faces that cannot be used together (other landmarks, other coverage).
    """
    path = Path(path)
    if not path.is_dir():
        what = "is a file, not a folder of crops" if path.exists() else "no such face set"
        raise FaceswapError(f"{path}: {what}; faceswap-lite extract CLIP --out {path} makes one")
    entries, others = _entries(path)
    faces, problems = _without_duplicates([e for e in entries if e.record is not None])
    problems = [*_unusable(entries, others), *problems, *_changes(path, faces)]
    if len(faces) < max(minimum, 1):
        held = "only " + counted(len(faces), "face", "faces") if faces else "no faces"
        wanted = f", at least {minimum} are needed" if minimum > 1 else ""
        mend = "; extract more photos or clips of this person along with them" if faces else ""
        seen = f" ({problems[0]})" if problems and not faces else ""
        raise FaceswapError(f"{path}: holds {held}{wanted}{seen}{mend}")
    _refuse_mixture(path, "landmarks", (face.record.landmarks_pack for face in faces))
    _refuse_mixture(path, "coverage", (face.record.coverage for face in faces))
    embedders = Counter(face.record.embedder for face in faces)
    if len(embedders) > 1:
        kinds = ", ".join(f"{count} {name or 'without'}" for name, count in embedders.items())
        problems.append(f"embeddings of several kinds are not used ({kinds})")
    first = faces[0].record
    return FaceSet(
        path=path,
        faces=sorted(faces, key=set_order),
        problems=problems,
        pack=first.landmarks_pack,
        coverage=first.coverage,
        embedder=first.embedder if len(embedders) == 1 else None,
    )


def read_job(path: Path) -> dict[str, Any] | None:
    """What the extraction that filled this folder left about itself; None when nothing did."""
    file = path / HIDDEN_FOLDER / EXTRACTION_JOB_FILE
    if not file.is_file():
        return None
    try:
        job = read_json(file)
    except FaceswapError:
        # The crops are the truth: a broken note beside them only loses what it would have told.
        return None
    return job if _is_job(job) else None


def _is_job(found: Any) -> bool:
    """Whether this can be what an extraction left, and not another's, or damaged."""
    if not isinstance(found, dict) or is_broken(found) or not isinstance(found.get("job"), str):
        return False
    files, clips, pack = (found.get(name, []) for name in ("files", "clips", "pack"))
    if not all(isinstance(some, list) for some in (files, clips, pack)) or len(pack) not in (0, 3):
        return False
    named = all(isinstance(c, dict) and {"fingerprint", "prefix"} <= c.keys() for c in clips)
    return named and all(isinstance(name, str) for name in [*files, *pack])


def refuse_crops(clip: Path) -> None:
    """Raises: FaceswapError when what is given as a clip is a face set, or a crop of one."""
    pictures = list_images(clip) if clip.is_dir() else [clip]
    first = next((p for p in pictures if p.suffix.lower() in CROP_SUFFIXES and p.is_file()), None)
    record = None
    if first is not None:
        with suppress(FaceswapError):  # whoever reads the clip tells
            record = read_record(first)
    if record is not None:
        what = "is a face set" if clip.is_dir() else "is a crop of a face set"
        raise FaceswapError(
            f"{clip}: {what}, no clip: extract cut it from {record.clip_name}; name that"
        )


def stored_faces(path: Path) -> list[StoredFace]:
    """Every crop of the folder that carries a record, copies of one face too, by name."""
    return [StoredFace(e.path, e.record) for e in _entries(path)[0] if e.record is not None]


def face_key(record: FaceRecord) -> str:
    """What two copies of one face share, whatever their files are called: clip, frame, box."""
    # Adding 0 turns a -0.0 into 0.0.
    box = ",".join(f"{value:.1f}" for value in record.box_xyxy.round(1) + 0.0)
    return f"{record.clip_fingerprint}:{record.frame_index}:{box}"


class _Entry(NamedTuple):
    """One picture of the folder: its record, or why it has none that can be used."""

    path: Path
    stamp: tuple[int, int]  # size in bytes, time of the last change in ns
    record: FaceRecord | None
    trouble: str | None  # None beside no record: a picture of other origin


def _entries(path: Path) -> tuple[list[_Entry], int]:
    """The folder's pictures by name, read through the index where it holds; the count of others."""
    known = _read_index(path)
    kept: list[_Entry] = []
    new: list[tuple[Path, tuple[int, int]]] = []
    others = 0
    for file in sorted(path.iterdir(), key=lambda file: file.name):
        if file.name.startswith(".") or file.name in (REJECTED_FOLDER, MASKS_FOLDER):
            continue
        if file.suffix.lower() not in CROP_SUFFIXES or not file.is_file():
            others += 1
            continue
        stat = file.stat()
        stamp = (stat.st_size, stat.st_mtime_ns)
        entry = known.get(file.name)
        if entry is not None and entry.stamp == stamp:
            kept.append(entry)
        else:
            new.append((file, stamp))
    read = _in_threads(lambda item: _read_entry(*item), new)
    # In one order, so that the same crops make the same bytes of an index.
    entries = sorted([*kept, *read], key=lambda entry: entry.path.name)
    if new or len(kept) != len(known):
        _write_index(path, entries)
    return entries, others


def _read_entry(path: Path, stamp: tuple[int, int]) -> _Entry:
    try:
        return _Entry(path, stamp, read_record(path), None)
    except FaceswapError as error:
        return _Entry(path, stamp, None, str(error).removeprefix(f"{path}: "))


def _in_threads(work: Callable[[Any], _Result], items: Iterable[Any]) -> list[_Result]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))


# The index: every record but its arrays as one JSON text, the arrays one after the other.


def _write_index(path: Path, entries: Sequence[_Entry]) -> None:
    sound = [e for e in entries if e.trouble is None]
    rows, landmarks, vectors = [], [], []
    for entry in sound:
        row: dict[str, Any] = {"name": entry.path.name, "stamp": entry.stamp, "record": None}
        if entry.record is not None:
            unsaid = {"landmarks", "embedding"}
            row["record"] = entry.record.model_dump(mode="json", exclude=unsaid, by_alias=True)
            row["points"] = len(entry.record.landmarks)
            landmarks.append(entry.record.landmarks)
            if entry.record.embedding is not None:
                row["dims"] = len(entry.record.embedding)
                vectors.append(entry.record.embedding)
        rows.append(row)
    text = json.dumps({"version": _INDEX_VERSION, "rows": rows})
    file = path / HIDDEN_FOLDER / _INDEX_FILE
    try:
        with whole_file(file) as partial:
            np.savez(
                partial,
                rows=np.frombuffer(text.encode(), np.uint8),
                landmarks=np.concatenate([np.zeros((0, 2), np.float32), *landmarks]),
                vectors=np.concatenate([np.zeros(0, np.float32), *vectors]),
            )
    except (FaceswapError, OSError):
        # A folder that cannot be written to is opened more slowly, not refused.
        return


def _read_index(path: Path) -> dict[str, _Entry]:
    file = path / HIDDEN_FOLDER / _INDEX_FILE
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            content = json.loads(arrays["rows"].tobytes())
            landmarks, vectors = arrays["landmarks"], arrays["vectors"]
        if content["version"] != _INDEX_VERSION:
            return {}
        return _index_entries(path, content["rows"], landmarks, vectors)
    except BROKEN_ARRAYS:
        # Never the truth: rebuilt from the crops.
        return {}


def _index_entries(
    path: Path,
    rows: list[dict[str, Any]],
    landmarks: Float[np.ndarray, "n 2"],
    vectors: Float[np.ndarray, " m"],
) -> dict[str, _Entry]:
    entries = {}
    point = value = 0
    for row in rows:
        record = None
        if row["record"] is not None:
            points, dims = row["points"], row.get("dims")
            vector = None if dims is None else vectors[value : value + dims]
            record = FaceRecord.model_validate(
                {
                    **row["record"],
                    "landmarks": landmarks[point : point + points],
                    "embedding": vector,
                }
            )
            point += points
            value += dims or 0
        size, changed = row["stamp"]
        entries[row["name"]] = _Entry(path / row["name"], (size, changed), record, None)
    return entries


def set_order(face: StoredFace) -> tuple[Any, ...]:
    """A key to sort faces by: clip, frame, left to right."""
    record = face.record
    return (
        record.clip_name,
        record.clip_fingerprint,
        record.frame_index,
        record.face,
        float(record.box_xyxy[0]),
        face.path.name,
    )


def _without_duplicates(entries: Sequence[_Entry]) -> tuple[list[StoredFace], list[str]]:
    faces: dict[str, StoredFace] = {}
    copies = []
    # Of two copies, the one with the shorter name is the likelier original.
    for entry in sorted(entries, key=lambda e: (len(e.path.name), e.path.name)):
        if entry.record is None:
            continue
        face = StoredFace(entry.path, entry.record)
        if faces.setdefault(face_key(entry.record), face) is not face:
            copies.append(entry.path.name)
    problems = []
    if copies:
        problems.append(_line(copies, "is a copy", "are copies", "of another here and left out"))
    return list(faces.values()), problems


def _unusable(entries: Sequence[_Entry], others: int) -> list[str]:
    problems = []
    foreign = [e.path.name for e in entries if e.record is None and e.trouble is None]
    if foreign:
        problems.append(
            _line(foreign, "is not an extracted face", "are not extracted faces", "and left out")
        )
    broken = [f"{e.path.name}: {e.trouble}" for e in entries if e.trouble is not None]
    if broken:
        problems.append(_line(broken, "cannot be read", "cannot be read", "and left out"))
    if others:
        problems.append(
            f"{others} {_plural(others, 'thing that is', 'things that are')} no PNG or "
            "JPEG file, left alone"
        )
    return problems


def _changes(path: Path, faces: Sequence[StoredFace]) -> list[str]:
    """How the folder differs from what its extraction wrote, and whether that has ended."""
    job = read_job(path)
    if job is None:
        return []
    problems = []
    own = [face for face in faces if face.record.job == job["job"]]
    if not job.get("finished"):
        problems.append("the extraction has not finished: run the same extract command again")
    strangers = [face.path.name for face in faces if face.record.job != job["job"]]
    if strangers:
        problems.append(_line(strangers, "comes from another set", "come from another set", ""))
    prefixes = {clip["fingerprint"]: clip["prefix"] for clip in job.get("clips", [])}
    names = [crop_name(prefixes.get(f.record.clip_fingerprint, ""), f.record) for f in own]
    renamed = [f.path.name for f, name in zip(own, names, strict=True) if f.path.stem != name]
    if renamed:
        problems.append(_line(renamed, "has been renamed", "have been renamed", ""))
    gone = set(job.get("files", [])) - {f"{name}.png" for name in names}
    # Counted, not read: thousands may lie there.
    aside = min(_set_aside(path), len(gone))
    if aside:
        problems.append(
            f"{aside} of {len(job['files'])} extracted faces {_plural(aside, 'is', 'are')} "
            f"set aside in {REJECTED_FOLDER}"
        )
    if removed := len(gone) - aside:
        problems.append(f"{removed} of {len(job['files'])} extracted faces have been removed")
    return problems


def _set_aside(path: Path) -> int:
    """How many pictures lie in the folder of rejected ones, at any depth."""
    files = (path / REJECTED_FOLDER).rglob("*")
    return sum(f.suffix.lower() in CROP_SUFFIXES and not f.name.startswith(".") for f in files)


def crop_name(prefix: str, record: FaceRecord) -> str:
    """The name, without suffix, that the extraction gave to a crop."""
    return f"{prefix}_{record.frame_index:06d}_{record.face}"


def _refuse_mixture(path: Path, what: str, values: Iterable[str]) -> None:
    counts = Counter(values)
    if len(counts) > 1:
        kinds = ", ".join(f"{count} with {name}" for name, count in counts.most_common())
        raise FaceswapError(
            f"{path}: mixes faces of different {what} ({kinds}); keep one kind, or extract the "
            "others again with the same setting"
        )


def _line(names: Sequence[str], one: str, many: str, rest: str) -> str:
    shown = ", ".join(sorted(names)[:_NAMED_IN_A_LINE])
    more = ", ..." if len(names) > _NAMED_IN_A_LINE else ""
    said = f"{_plural(len(names), one, many)} {rest}".strip()
    return f"{len(names)} {_plural(len(names), 'picture', 'pictures')} {said} ({shown}{more})"


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _view(face: StoredFace, size: int, margin: float | int) -> UInt8[np.ndarray, "s s 3"]:
    to_view, _, edge = face.to_view(size, margin)
    try:
        with Image.open(face.path) as picture:
            crop = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FaceswapError(f"{face.path}: cannot be read ({reason}); delete it") from error
    return cut_crop(crop, to_view, edge)
