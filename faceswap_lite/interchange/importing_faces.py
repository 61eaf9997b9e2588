"""Faces of DeepFaceLab become a face set: the `import` stage for faces."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from ..config import ExtractConfig
from ..errors import FaceswapError
from ..faces.candidates import sharpness
from ..faces.face_set import HIDDEN_FOLDER, MASKS_FOLDER
from ..faces.finding import build_packs, one_opencv_thread
from ..faces.pack import FacePack
from ..faces.records import FaceRecord, read_record, record_text
from ..geometry import transform_points
from ..media.images import write_image
from ..metrics.landmarks import estimate_pose, eye_opening, five_points, mouth_opening
from ..outputs import claim, found_job, job_id, one_writer, refuse_inputs, write_json
from .deepfacelab_faces import (
    MAX_PX,
    AlignedFace,
    clip_and_frame,
    is_deepfacelab,
    list_faces,
    read_face,
    with_comment,
)

_NOTE = "import.json"
_AT_ONCE = 64
# Of a JPEG: what a power cut has taken is written again.
_END = b"\xff\xd9"
_MAX_NAMED = 3


class _Named(NamedTuple):
    """A crop as it was found: what it will be called, its bytes, its place in the order of all."""

    name: str
    data: bytes
    place: int


@one_writer(lambda out, **_: [out])
def import_faces(
    path: Path,
    out: Path,
    config: ExtractConfig,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Make a face set of aligned JPEGs or a faceset.pak.

    The pictures stay byte for byte, with their own data; a record is added. Masks and polygons go
    into the set's folder of masks. Given again after a kill, it goes on.
    Raises: FaceswapError when there are no such faces, or `out` is another job's.
    """
    refuse_inputs(out, path)
    if not is_deepfacelab(path):
        raise FaceswapError(f"{path}: holds no faces of DeepFaceLab (aligned JPEGs, faceset.pak)")
    packs = build_packs(
        (config.detector, "five", config.embedder),
        min_face_px=config.min_face_px,
        max_edge_px=config.max_edge_px,
    )
    origin, count = _origin(path)
    job = job_id(faces=origin, embedder=packs[0].embedder_name)
    note = out / HIDDEN_FOLDER / _NOTE
    found = found_job(note)
    action = claim(
        out, job, found.get("job"), finished=bool(found.get("finished")), overwrite=overwrite
    )
    if action == "done":
        say(f"{out}: already done")
        return
    if action == "start" and out.exists():
        raise FaceswapError(f"{out}: holds something else; choose another name")
    write_json(note, {"job": job, "finished": False})
    done = {file.name for file in out.glob("*.jpg") if _is_whole(file, job)}
    left_out: list[str] = []
    written = len(done)
    waiting = (named for named in _named(path) if named.name not in done)
    with tqdm(total=count, initial=written, desc="import", unit="face", disable=None) as bar:
        for trouble in _in_threads(packs, waiting, out, origin, job):
            bar.update()
            written += trouble is None
            left_out += [] if trouble is None else [trouble]
    if not written:
        reason = f" ({left_out[0]})" if left_out else ""
        raise FaceswapError(f"{path}: holds no face that can be used{reason}")
    if hasattr(os, "sync"):
        os.sync()
    write_json(note, {"job": job, "finished": True})
    say(f"{out}: {written} faces, embedded with {packs[0].embedder_name or 'nothing'}")
    if left_out:
        more = "; ..." if len(left_out) > _MAX_NAMED else ""
        say(f"{len(left_out)} are left out: {'; '.join(left_out[:_MAX_NAMED])}{more}")


def _is_whole(file: Path, job: str) -> bool:
    """Whether an earlier call of this job has written a crop, down to its end."""
    with suppress(FaceswapError, OSError):
        record = read_record(file)
        with file.open("rb") as stream:
            stream.seek(-len(_END), os.SEEK_END)
            return record is not None and record.job == job and stream.read() == _END
    return False


def _named(path: Path) -> Iterator[_Named]:
    taken: set[str] = set()
    for place, (name, data) in enumerate(list_faces(path)):
        stem = Path(name).stem
        # What a pak calls its files is somebody else's text; and several people's may be alike.
        if not stem or stem.startswith(".") or not stem.isprintable() or len(stem.encode()) > 200:
            stem = f"face{place}_0"
        if stem in taken:
            stem = f"{place}_{stem}"
        taken.add(stem)
        yield _Named(f"{stem}.jpg", data, place)


def _origin(path: Path) -> tuple[str, int]:
    """What tells these faces from others, in whatever files they lie; and how many there are."""
    total = count = 0
    for name, data in list_faces(path):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass") + data).digest()
        total = (total + int.from_bytes(digest[:16], "big")) % (1 << 128)
        count += 1
    return f"{total:032x}"[:16], count


def _in_threads(
    packs: list[FacePack], waiting: Iterable[_Named], out: Path, origin: str, job: str
) -> Iterator[str | None]:
    """Import each; why one is left out, or None."""
    idle: SimpleQueue[FacePack] = SimpleQueue()
    for pack in packs:
        idle.put(pack)

    def work(named: _Named) -> str | None:
        pack = idle.get()
        try:
            face = read_face(named.data, named.name)
            record = _record(named, face, _decoded(named), pack, origin, job)
        except FaceswapError as error:
            return str(error)
        except (ValueError, np.linalg.LinAlgError, cv2.error) as error:
            # Points that are no face's.
            return f"{named.name}: its points cannot be used ({' '.join(str(error).split())[:100]})"
        finally:
            idle.put(pack)
        _write(named, face, record, out)
        return None

    source = iter(waiting)
    with ThreadPoolExecutor(len(packs)) as pool, one_opencv_thread():
        while some := list(islice(source, _AT_ONCE)):
            yield from pool.map(work, some)


def _write(named: _Named, face: AlignedFace, record: FaceRecord, out: Path) -> None:
    target = out / named.name
    mask = face.drawn_mask(record.size)
    if mask is not None:
        write_image(out / MASKS_FOLDER / f"{target.stem}.png", np.repeat(mask[..., None], 3, 2))
    # Last: a crop that is there has its mask. Not flushed one by one, which takes ten times as
    # long: whatever is lost with the power lies where it came from.
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(with_comment(named.data, record_text(record)))
    partial.replace(target)


def _decoded(named: _Named) -> UInt8[np.ndarray, "s s 3"]:
    try:
        with Image.open(io.BytesIO(named.data), formats=["JPEG"]) as picture:
            if picture.width != picture.height or picture.width > MAX_PX:
                raise ValueError(f"{picture.width}x{picture.height}")
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:100]
        raise FaceswapError(f"{named.name}: cannot be read as a crop ({reason})") from None


def _record(
    named: _Named, face: AlignedFace, crop: UInt8[np.ndarray, "s s 3"], pack: FacePack,
    origin: str, job: str,
) -> FaceRecord:  # fmt: skip
    points = face.landmarks
    five = five_points(points, "ibug68")
    clip, frame = clip_and_frame(face.source_name)
    number = _face_number(named.name)
    embedding = None
    if pack.embedder is not None:
        embedding = pack.embedder(crop, transform_points(five, face.frame_to_crop))
    missing = {"frame size": "not in the data", "time": "not in the data"}
    missing |= {"presence": "the landmarks come without one"}
    if pack.embedder is None:
        missing["embedding"] = "no embedder"
    return FaceRecord(
        job=job,
        clip_name=clip,
        clip_fingerprint=job_id(faces=origin, clip=clip),
        frame_index=named.place if frame is None else frame,
        frame_number=frame,
        pts=None,
        time=None,
        frame_width=None,
        frame_height=None,
        face=number,
        track=number,
        box_xyxy=face.box_xyxy,
        confidence=1.0,
        presence=None,
        detector="auto",
        landmarks_pack="ibug68",
        landmarks=points,
        five=five,
        embedder=pack.embedder_name,
        embedding=embedding,
        coverage=face.coverage,
        margin=0.0,
        size=len(crop),
        frame_to_crop=face.frame_to_crop,
        sharpness=round(sharpness(crop), 4),
        pose=estimate_pose(points, "ibug68").rounded(),
        mouth_opening=_rounded(mouth_opening(points, "ibug68")),
        eye_opening=_rounded(eye_opening(points, "ibug68")),
        missing=missing,
    )


def _face_number(name: str) -> int:
    """Which face of its frame a crop is: 00012_1.jpg."""
    tail = Path(name).stem.rpartition("_")[2]
    return int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 4 else 0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
