"""What a clip is written to: a picture, a folder of pictures, or a video, put together in a folder.

Each says what it does not keep, and refuses what it cannot hold, before its first frame.
"""

import errno
import os
import shutil
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import av

from ..config import CodecName
from ..errors import FaceswapError
from ..outputs import _sync, job_id, whole_file, whole_folder, write_json
from .clips import IMAGE_SUFFIXES, TIMES_NAME, ColorTags, FieldOrder, Light, Span
from .color import Levels
from .copying import check_copy, held_beside, lost_tags
from .encoding import CODECS, PieceEncoder, check_container, choose_encoding
from .images import DEEP_SUFFIXES, write_image
from .marks import SyntheticMark, append_xmp
from .muxing import MP4_SUFFIXES, Beside, join_pieces
from .pieces import PICTURES, Piece, PieceShelf, check_fillable
from .timecode import later_timecode

WRITTEN_SUFFIXES = tuple(dict.fromkeys(s for c in CODECS.values() for s in c.containers))
"""Containers that keep frame times, sound and the synthetic mark."""
MARKED_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Pictures that hold the synthetic mark."""
ALPHA_SUFFIXES = (".png", ".webp", ".tif", ".tiff")
"""Pictures that hold alpha."""
PNG_THREADS = 2


@dataclass(frozen=True)
class Plan:
    """What is to be written, and how."""

    width: int | None
    height: int | None
    rate: Fraction
    time_base: Fraction
    bit_depth: int
    pixel_format: str | None
    color: ColorTags
    pixel_aspect: Fraction
    codec: CodecName
    quality: int
    alpha: bool
    fields: FieldOrder | None
    light: Light | None
    timecode: tuple[str, Fraction] | None
    icc: bytes | None
    calibration: tuple[tuple[bytes, bytes], ...]
    copy_from: Path | None
    span: Span | None
    metadata: dict[str, str]
    mark: SyntheticMark | None
    piece_frames: int | None
    """None: one piece holds all."""

    def said_in_pictures(self) -> dict[str, Any]:
        """What each picture says of itself, as `write_image` takes it."""
        own = {"calibration": self.calibration, "pixel_aspect": self.pixel_aspect}
        return {"icc": self.icc, "color": self.color, "light": self.light, **own}


@runtime_checkable
class Sink(Protocol):
    """Takes a clip's frames; `shelf` says which of them are safe."""

    shelf: PieceShelf

    def keep(self, frames: int) -> None:
        """Drop the whole pieces that reach beyond this number of frames."""

    def write(self, image: Levels, pts: int, ticks: int | None, number: int | None) -> None:
        """Take the next frame."""

    def finish(self) -> Path:
        """The complete clip, not yet in its place."""

    def abandon(self) -> None:
        """Let go of what is not whole."""


def open_sink(path: Path, folder: Path, plan: Plan, notes: list[str]) -> Sink:
    """What an output of this name is put together by, in `folder`; `notes` says what is not kept.

    Raises: FaceswapError, one line, when no such output can be written.
    """
    check_suffix(path)
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return _PictureSink(folder, suffix, plan, notes)
    if suffix == "":
        sink = _FolderSink(folder, plan, notes)
        if path.exists():
            check_fillable(path, sink.pictures)
        return sink
    return _VideoSink(folder, suffix, plan, notes)


def check_suffix(path: Path) -> None:
    """Raises: FaceswapError when no output of this name is ever written."""
    if path.suffix.lower() not in (*WRITTEN_SUFFIXES, *IMAGE_SUFFIXES, ""):
        kinds = ", ".join(WRITTEN_SUFFIXES)
        raise FaceswapError(
            f"{path}: clips are written as {kinds}, a picture, or a folder (no suffix)"
        )


class _PictureSink:
    """A single picture; a second frame is refused. It is kept until the end, then written."""

    def __init__(self, folder: Path, suffix: str, plan: Plan, notes: list[str]):
        if plan.alpha and suffix not in ALPHA_SUFFIXES:
            raise FaceswapError(f"a {suffix} holds no alpha; {', '.join(ALPHA_SUFFIXES)} do")
        if plan.mark is not None and suffix not in MARKED_SUFFIXES:
            raise FaceswapError(f"a {suffix} cannot hold the synthetic mark; write a .png")
        notes += _picture_notes(plan, suffix)
        self.shelf = PieceShelf(folder, "one picture is never half done")
        self._path, self._mark = folder / f".whole{suffix}", plan.mark
        self._said = plan.said_in_pictures()
        self._image: Levels | None = None

    def keep(self, frames: int) -> None:
        pass

    def write(self, image: Levels, pts: int, ticks: int | None, number: int | None) -> None:
        if self._image is not None:
            raise FaceswapError(
                "holds one picture, and the clip has more frames; name a video, or a folder"
            )
        self._image = image

    def finish(self) -> Path:
        if self._image is None:
            raise FaceswapError("not one frame was written")
        write_image(self._path, self._image, mark=self._mark, **self._said)
        return self._path

    def abandon(self) -> None:
        self._image = None
        self._path.unlink(missing_ok=True)


class _FolderSink:
    """Numbered PNG pictures, and their times beside them."""

    def __init__(self, folder: Path, plan: Plan, notes: list[str]):
        self._plan = plan
        notes += _picture_notes(plan)
        # The mark stands in every picture.
        facts: dict[str, Any] = {"piece_frames": plan.piece_frames, "mark": plan.mark}
        facts |= {"depth": plan.bit_depth, "alpha": plan.alpha, "icc": plan.icc}
        if plan.color.is_beyond_srgb:
            facts["color"] = asdict(plan.color)
        if plan.calibration or plan.pixel_aspect != 1:
            facts["pixels"] = [str(plan.pixel_aspect), str(plan.calibration)]
        if plan.light is not None:
            facts["light"] = asdict(plan.light)
        recipe = job_id(kind="png", named="by number", **facts)
        self.shelf = PieceShelf(folder, recipe)
        self.pictures = folder / PICTURES
        if not self.pictures.is_dir():
            self.shelf.keep(0)
        self.pictures.mkdir(exist_ok=True)
        self._pool = ThreadPoolExecutor(PNG_THREADS, thread_name_prefix="png")
        self._waiting: deque[Future[None]] = deque()
        self._pts: list[int] = []
        self._numbers: list[int] = []
        self._ticks: int | None = None
        self._drop_unknown()

    def keep(self, frames: int) -> None:
        self.shelf.keep(frames)
        self._drop_unknown()

    def write(self, image: Levels, pts: int, ticks: int | None, number: int | None) -> None:
        self._pts.append(pts)
        self._ticks = ticks
        self._numbers.append(self.shelf.frames + len(self._pts) if number is None else number)
        path = self.pictures / _picture_name(self._numbers[-1])
        plan = self._plan
        said = plan.said_in_pictures()
        self._waiting.append(self._pool.submit(write_image, path, image, mark=plan.mark, **said))
        while len(self._waiting) > PNG_THREADS:
            self._waiting.popleft().result()
        if len(self._pts) == self._plan.piece_frames:
            self._end_piece()

    def finish(self) -> Path:
        if self._pts:
            self._end_piece()
        self._pool.shutdown()
        if not self.shelf.frames:
            raise FaceswapError("not one frame was written")
        names = map(_picture_name, self.shelf.numbers)
        times = {
            "schema": 1,
            "rate": str(self._plan.rate),
            "time_base": str(self._plan.time_base),
            "pts": dict(zip(names, self.shelf.pts, strict=True)),
            "end": self.shelf.end(max(1, round(1 / (self._plan.rate * self._plan.time_base)))),
        }
        write_json(self.pictures / TIMES_NAME, times)
        return self.pictures

    def abandon(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        with suppress(OSError):
            self._drop_unknown()
            if not self.shelf.pieces:
                self.pictures.rmdir()

    def _end_piece(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()
        self.shelf.add(Piece(self._pts, last_ticks=self._ticks, numbers=self._numbers))
        self._pts, self._numbers = [], []

    def _drop_unknown(self) -> None:
        """Remove pictures of no piece, and what a killed writer left half written."""
        known = {TIMES_NAME, *map(_picture_name, self.shelf.numbers)}
        for path in self.pictures.iterdir():
            if path.name not in known:
                path.unlink()


class _VideoSink:
    """A video, encoded in pieces and joined at the end."""

    def __init__(self, folder: Path, suffix: str, plan: Plan, notes: list[str]):
        if plan.width is None or plan.height is None:
            raise ValueError("a video needs a width and a height, or a clip to be like")
        self._plan, self._notes = plan, notes
        self._encoding = choose_encoding(
            plan.codec,
            plan.quality,
            size=(plan.width, plan.height),
            rate=plan.rate,
            bit_depth=plan.bit_depth,
            color=plan.color,
            pixel_aspect=plan.pixel_aspect,
            alpha=plan.alpha,
            fields=plan.fields,
            light=plan.light,
        )
        self._whole = folder / f".whole{suffix}"
        self._partial = folder / ".encoding.mkv"
        # What would fail in the end is to fail now.
        check_container(suffix, plan.codec)
        if plan.copy_from is not None:
            notes += check_copy(plan.copy_from, suffix, plan.span)
        notes += lost_tags(suffix, plan.metadata)
        notes += self._encoding.lost(suffix, plan.bit_depth)
        notes += self._encoding.lost_chroma(plan.pixel_format)
        notes += _timecode_notes(plan, suffix)
        if plan.icc is not None:
            notes.append("the pictures' ICC profile is left out: a video holds none")
        if plan.calibration:
            notes.append("the pictures' gamma and primaries (gAMA, cHRM) are left out")
        made_of = asdict(self._encoding), plan.piece_frames, av.library_versions
        self.shelf = PieceShelf(folder, job_id(kind="video", made_of=made_of))
        self._encoder: PieceEncoder | None = None
        self._pts: list[int] = []
        self._ticks: int | None = None

    def keep(self, frames: int) -> None:
        self.shelf.keep(frames)

    def write(self, image: Levels, pts: int, ticks: int | None, number: int | None) -> None:
        width, height = self._encoding.width, self._encoding.height
        if image.shape[:2] != (height, width):
            raise FaceswapError(
                f"frame at {pts}: is {image.shape[1]}x{image.shape[0]}, the video is "
                f"{width}x{height}; a folder of pictures may mix sizes"
            )
        if self._encoder is None:
            self._encoder = PieceEncoder(self._partial, self._encoding)
        self._encoder.write(image)
        self._pts.append(pts)
        self._ticks = ticks
        if len(self._pts) == self._plan.piece_frames:
            self._end_piece()

    def finish(self) -> Path:
        if self._pts:
            self._end_piece()
        if not self.shelf.pieces:
            raise FaceswapError("not one frame was written")
        plan = self._plan
        metadata, timecode = _with_mark(plan.metadata, plan.mark), plan.timecode
        beside = Beside(plan.time_base, metadata, plan.copy_from, plan.span, timecode)
        late: list[str] = []
        join_pieces(
            self._whole, self.shelf.files(), self.shelf.pieces, self._encoding, beside, late
        )
        self._notes += [note for note in late if note not in self._notes]
        if plan.mark is not None and self._whole.suffix in MP4_SUFFIXES:
            append_xmp(self._whole, plan.mark)
        return self._whole

    def abandon(self) -> None:
        if self._encoder is not None:
            self._encoder.abandon()
        for path in (self._partial, self._whole):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _end_piece(self) -> None:
        assert self._encoder is not None
        self._encoder.finish()
        place_file(self._partial, self.shelf.file(len(self.shelf.pieces)))
        self.shelf.add(Piece(self._pts, self._encoder.delay, self._ticks))
        self._encoder, self._pts = None, []


def place_file(made: Path, path: Path) -> None:
    """Give a complete file its name, from whichever disk it lies on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sync(made)
    try:
        # At once: a kill leaves the file here or there, and nothing else beside `path`.
        os.replace(made, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with whole_file(path) as partial:
            shutil.copyfile(made, partial)
    else:
        _sync(path.parent)


def _fill_folder(made: Path, path: Path) -> None:
    """Put complete files into a folder that is there; `made` keeps them, in case of a kill."""
    check_fillable(path, made)
    # The last picture makes it whole, so the times come first.
    for file in sorted(made.iterdir(), key=lambda file: file.name != TIMES_NAME):
        try:
            (path / file.name).unlink(missing_ok=True)
            os.link(file, path / file.name)
        except OSError:  # another disk, or one without links
            with whole_file(path / file.name) as partial:
                shutil.copyfile(file, partial)


def place_folder(made: Path, path: Path) -> None:
    """Give a folder of complete files its name, from whichever disk it lies on."""
    if path.exists():
        return _fill_folder(made, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(made, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with whole_folder(path) as partial:
            shutil.copytree(made, partial, dirs_exist_ok=True)


def _picture_name(number: int) -> str:
    return f"frame_{number:06d}.png"


def _picture_notes(plan: Plan, suffix: str = ".png") -> list[str]:
    notes = []
    if plan.bit_depth > 8 and suffix not in DEEP_SUFFIXES:
        notes.append(f"a {suffix} is written with 8 bits, the clip has {plan.bit_depth}")
    if plan.color.is_beyond_srgb and suffix != ".png":
        notes.append(f"a {suffix} cannot say that its colours are {plan.color.named}; a .png can")
    if plan.light is not None and suffix != ".png":
        notes.append(f"the HDR mastering metadata is not kept in a {suffix}; a .png keeps it")
    if plan.calibration and suffix != ".png":
        notes.append("the pictures' gamma and primaries (gAMA, cHRM) are left out")
    if plan.pixel_aspect != 1 and suffix != ".png":
        notes.append(
            f"pixels {float(plan.pixel_aspect):.3g} times as wide as high are written as square: "
            f"a {suffix} is told no shape; a .png is"
        )
    if plan.icc is not None and suffix == ".bmp":
        notes.append("the pictures' ICC profile is left out: a .bmp holds none")
    if plan.copy_from is not None:
        held = held_beside(plan.copy_from) + (["timecode"] if plan.timecode else [])
        if held:
            *some, last = held
            names = f"{', '.join(some)} and {last}" if some else last
            notes.append(f"pictures hold no {names}: left out")
    return notes


def _timecode_notes(plan: Plan, suffix: str) -> list[str]:
    if plan.timecode is None or plan.copy_from is None:
        return []
    timecode, _ = plan.timecode
    if suffix == ".m4v":
        return [f"the timecode {timecode} is left out: a .m4v holds none; .mov, .mp4 and .mkv do"]
    if later_timecode(timecode, 0, plan.rate) is None:
        rate = f"{float(plan.rate):g} frames per second"
        return [f"the timecode {timecode} is left out: it is not valid at {rate}"]
    return []


def _with_mark(metadata: dict[str, str], mark: SyntheticMark | None) -> dict[str, str]:
    """The metadata with the mark as the comment's first line; an older mark gives way to it."""
    if mark is None:
        return metadata
    old = metadata.get("comment", "").splitlines()
    kept = [line for line in old if "DigitalSourceType=" not in line]
    return {**metadata, "comment": "\n".join([mark.comment(), *kept])}
