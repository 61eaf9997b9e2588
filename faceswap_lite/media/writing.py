"""Clips out: the input's timing, size, colour tags, sound and more; whole or not at all."""

import errno
import filecmp
import os
import queue
import shutil
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import av
import numpy as np

from ..config import CodecName
from ..errors import FaceswapError
from ..outputs import REFUSALS, _sync, hidden_folder, job_id, whole_file, whole_folder, write_json
from .clips import IMAGE_SUFFIXES, ClipInfo, ColorTags, FieldOrder, Light
from .copying import Span, check_copy, held_beside
from .encoding import CODECS, Picture, PieceEncoder, check_container, choose_encoding
from .images import DEEP_SUFFIXES, write_image
from .marks import SyntheticMark, append_xmp
from .muxing import MP4_SUFFIXES, Beside, join_pieces
from .pieces import Piece, PieceShelf
from .reading import STILLS_RATE, TIMES_NAME
from .timecode import later_timecode

WRITTEN_SUFFIXES = tuple(dict.fromkeys(s for c in CODECS.values() for s in c.containers))
"""Containers that keep frame times, sound and the synthetic mark."""
MARKED_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Pictures that hold the synthetic mark."""
ALPHA_SUFFIXES = (".png", ".webp", ".tif", ".tiff")
"""Pictures that hold alpha."""
WAITING = 4
"""Pictures that may wait for the encoder."""
PNG_THREADS = 2
PICTURES = "pictures"
"""In the folder where a clip is put together: where those of a folder of pictures wait."""
PNG_BYTES_A_PIXEL = 1.5
PIECE_FRAMES = 120
"""Frames that a killed writer loses at most, and a little: each piece begins with a key frame."""
BT709 = ColorTags(primaries=1, transfer=1, matrix=1, range=1)
"""How a clip made from nothing is coloured."""

_Handed = tuple[Picture, int, int | None, int | None]

# What a container says of itself, not of its contents; the new container says its own.
_TECHNICAL = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "timecode",
}


def holds_alpha(suffix: str, codec: CodecName) -> bool:
    """Whether an output of this suffix (none: a folder) and codec holds alpha."""
    if suffix in WRITTEN_SUFFIXES:
        return CODECS[codec].alpha_pixels is not None
    return suffix in ("", *ALPHA_SUFFIXES)


class ClipWriter:
    """Writes frames to a video, a picture, or a folder of pictures, by the path's suffix.

    Use it in a `with` block: the path appears when the block ends well, and not before. Frames keep
    their `pts`, in `time_base`; time starts at zero, with the first picture or sound. With `like`,
    size, rate, time base, depth, colours, fields, light and the like are that clip's. `quality`
    is the crf of h264 and hevc; prores is of its high-quality profile, ffv1 keeps every bit of the
    RGB. h264 is 8 bit, which every player takes; the others keep 10. Odd sizes are kept by writing
    4:4:4. With `alpha`, pictures are RGBA of straight alpha. Encoding runs in a thread: an error of
    one frame may be raised by a later `write`, or at the end. `notes` says what could not be kept.

    `copy_from` is a clip whose sound, subtitles and chapters are copied; `span` says from when to
    when, in its seconds, if not all of it is written: the first frame is then the span's start.
    `finish` is called on the complete file (or folder) before it gets its name.

    With `work`, a folder, a writer that is killed or fails leaves its whole pieces of
    `piece_frames` frames there. A later one of the same arguments has `done` > 0 in its block, is
    to be given the frames from number `done` on, and ends with the same bytes as an undisturbed
    one. `work` is removed at the end.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        like: ClipInfo | None = None,
        width: int | None = None,
        height: int | None = None,
        rate: Fraction | int | None = None,
        time_base: Fraction | None = None,
        codec: CodecName = "h264",
        quality: int = 16,
        alpha: bool = False,
        copy_from: Path | None = None,
        span: Span | None = None,
        metadata: dict[str, str] | None = None,
        mark: SyntheticMark | None = None,
        work: Path | None = None,
        piece_frames: int = PIECE_FRAMES,
        finish: Callable[[Path], None] | None = None,
    ):
        self.path = Path(path)
        self.notes: list[str] = []
        self.done = 0
        self.alpha = alpha
        rate = Fraction(rate or (like and like.rate) or STILLS_RATE)
        self._plan = _Plan(
            width=width or (like.width if like else None),
            height=height or (like.height if like else None),
            rate=rate,
            time_base=time_base or (like.time_base if like else 1 / rate),
            bit_depth=like.bit_depth if like else 8,
            color=like.color if like and like.kind == "video" else BT709,
            pixel_aspect=like.pixel_aspect if like else Fraction(1),
            codec=codec,
            quality=quality,
            alpha=alpha,
            fields=like.fields if like else None,
            light=like.light if like else None,
            timecode=(like.timecode, like.start_time) if like and like.timecode else None,
            icc=like.icc if like else None,
            copy_from=copy_from,
            span=span,
            metadata=_kept_metadata(like.metadata if like and metadata is None else metadata or {}),
            mark=mark,
            # Without a place to keep them, one piece is as good as many.
            piece_frames=piece_frames if work is not None else None,
        )
        self._work, self._finish = work, finish
        self._stack = ExitStack()
        self._queue: queue.Queue[_Handed | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._given_up = self._begun = False
        self._last_pts: int | None = None
        self._folder: Path
        self._sink: _Sink
        self._thread: threading.Thread

    def __enter__(self) -> "ClipWriter":
        try:
            self._folder = self._open_folder()
            self._sink = self._open_sink(self._folder, self._plan, self.notes)
            self.done, self._last_pts = self._sink.shelf.frames, self._sink.shelf.last_pts
        except BaseException as error:
            self._fail(error)
        self._thread = threading.Thread(target=self._encode, name="encode", daemon=True)
        self._thread.start()
        return self

    def check(self) -> None:
        """Write one black frame and drop it; `notes` says what will not be kept.

        Raises: FaceswapError now, when what is asked for cannot be written at all.
        """
        with suppress(_OnlyAsked), self:
            try:
                self._try_one_frame()
            except (av.FFmpegError, OSError) as error:
                raise self._readable(error) from error
            raise _OnlyAsked

    def keep(self, frames: int) -> None:
        """Drop what is `done` beyond this number of frames, by whole pieces; before any `write`.

        Raises: FaceswapError when the disk refuses.
        """
        if self._begun:
            raise RuntimeError("frames were written already")
        try:
            self._sink.keep(frames)
        except OSError as error:
            raise self._readable(error) from error
        self.done, self._last_pts = self._sink.shelf.frames, self._sink.shelf.last_pts

    def write(
        self, image: np.ndarray, pts: int, *, ticks: int | None = None, number: int | None = None
    ) -> None:
        """Hand over one picture, uint8 or uint16, (h, w, 3), or (h, w, 4) with `alpha`.

        Times must rise. `ticks` is how long it is shown if none follows (None: as is usual). In a
        folder, the picture is called by its `number` (None: from 1).
        Raises: FaceswapError when this or an earlier frame cannot be written.
        """
        channels = 4 if self._plan.alpha else 3
        if image.ndim != 3 or image.shape[2] != channels:
            raise ValueError(f"a picture of shape {image.shape} has not {channels} channels")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"pts {pts} does not come after {self._last_pts}")
        self._last_pts, self._begun = pts, True
        # A copy: the caller may paint the next frame into the same array.
        self._put((np.array(image, order="C"), pts, ticks, number))
        self._raise_late()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Frames that wait may complete a piece; without `work` nobody will ask for it.
        self._given_up = error is not None and self._work is None
        try:
            self._put(None)
            self._thread.join()
            if error is None:
                self._raise_late()
                self._complete()
        except BaseException as late:
            self._given_up = True
            # Once more, in case that this was what broke off: the thread waits for it.
            self._put(None)
            self._thread.join()
            self._sink.abandon()
            self._fail(late)
        if error is not None:
            self._sink.abandon()
        self._stack.__exit__(kind, error, trace)

    def _open_folder(self) -> Path:
        """Where the clip is put together: `work`, or a hidden folder beside it, for the time."""
        if self._work is not None:
            self._work.mkdir(parents=True, exist_ok=True)
            # Removed unless it holds what a later writer can use.
            self._stack.callback(_remove_if_empty, self._work)
            return self._work
        return self._stack.enter_context(hidden_folder(self.path, "pieces"))

    def expected_bytes(self, frames: int) -> int:
        """About how much the disk holds for a time: a video's pieces, and the whole beside them."""
        plan = self._plan
        is_video = self.path.suffix.lower() in WRITTEN_SUFFIXES
        a_pixel = 2 * CODECS[plan.codec].bytes_a_pixel if is_video else PNG_BYTES_A_PIXEL
        if is_video and CODECS[plan.codec].by_quality(plan.quality):
            # Six steps of the crf halve what is written.
            a_pixel *= 2 ** ((16 - plan.quality) / 6)
        return round(a_pixel * frames * (plan.width or 0) * (plan.height or 0))

    def _try_one_frame(self) -> None:
        plan = replace(self._plan, copy_from=None, span=None)
        height, width = plan.height or 1, plan.width or 1
        folder = self._folder / "trial"
        folder.mkdir(exist_ok=True)
        try:
            sink = self._open_sink(folder, plan, [])
            try:
                black = np.zeros((height, width, 4 if plan.alpha else 3), np.uint8)
                sink.write(black, 0, None, None)
                sink.finish()
            except av.FFmpegError as error:
                if error.errno in REFUSALS:
                    raise
                raise FaceswapError(
                    f"no video of {width}x{height} can be made with {plan.codec} "
                    f"({error.strerror}); another codec or a folder of pictures may take it"
                ) from error
            finally:
                sink.abandon()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _open_sink(self, folder: Path, plan: "_Plan", notes: list[str]) -> "_Sink":
        suffix = self.path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            return _PictureSink(folder, suffix, plan, notes)
        if suffix == "":
            sink = _FolderSink(folder, plan, notes)
            if self.path.exists():
                check_fillable(self.path, sink.pictures)
            return sink
        if suffix not in WRITTEN_SUFFIXES:
            kinds = ", ".join(WRITTEN_SUFFIXES)
            raise FaceswapError(
                f"{self.path}: clips are written as {kinds}, a picture, or a folder (no suffix)"
            )
        return _VideoSink(folder, suffix, plan, notes)

    def _complete(self) -> None:
        """Put the clip together, hand it to `finish`, and give it its name."""
        made = self._sink.finish()
        if self._finish is not None:
            self._finish(made)
        (_place_folder if made.is_dir() else _place_file)(made, self.path)
        if self._work is not None:
            shutil.rmtree(self._work, ignore_errors=True)

    def _encode(self) -> None:
        """The thread: write what comes until None comes; after an error, only empty the queue."""
        while (item := self._queue.get()) is not None:
            if self._error is None and not self._given_up:
                try:
                    self._sink.write(*item)
                except BaseException as error:  # raised again by write() or at the end
                    self._error = error

    def _put(self, item: _Handed | None) -> None:
        while True:
            try:
                return self._queue.put(item, timeout=0.5)
            except queue.Full:
                continue

    def _raise_late(self) -> None:
        if self._error is not None:
            raise self._readable(self._error)

    def _fail(self, error: BaseException) -> None:
        """Remove what is of no later use, and raise the error as one line."""
        told = self._readable(error)
        self._stack.__exit__(type(told), told, told.__traceback__)
        if told is error:
            raise told
        raise told from error

    def _readable(self, error: BaseException) -> BaseException:
        """FFmpeg's and the disk's refusals, and ours, as one line with the path; bugs as they are.

        A refusal is told of the path, wherever its pieces lie.
        """
        cause = error.__cause__
        inside = isinstance(cause, OSError) and str(getattr(self, "_folder", None)) in str(error)
        if isinstance(error, FaceswapError) and not inside:
            known = str(self.path) in str(error)
            return error if known else type(error)(f"{self.path}: {error}")
        refusal = cause if inside else error
        if isinstance(refusal, av.FFmpegError | OSError):
            return FaceswapError(f"{self.path}: cannot be written ({refusal.strerror or refusal})")
        return error


class _OnlyAsked(Exception):
    """Nothing is to be written."""


@dataclass(frozen=True)
class _Plan:
    width: int | None
    height: int | None
    rate: Fraction
    time_base: Fraction
    bit_depth: int
    color: ColorTags
    pixel_aspect: Fraction
    codec: CodecName
    quality: int
    alpha: bool
    fields: FieldOrder | None
    light: Light | None
    timecode: tuple[str, Fraction] | None
    icc: bytes | None
    copy_from: Path | None
    span: Span | None
    metadata: dict[str, str]
    mark: SyntheticMark | None
    piece_frames: int | None
    """None: one piece holds all."""


@runtime_checkable
class _Sink(Protocol):
    shelf: PieceShelf

    def keep(self, frames: int) -> None: ...

    def write(self, image: Picture, pts: int, ticks: int | None, number: int | None) -> None: ...

    def finish(self) -> Path:
        """The complete clip, not yet in its place."""
        ...

    def abandon(self) -> None: ...


class _PictureSink:
    """A single picture; a second frame is refused. It is kept until the end, then written."""

    def __init__(self, folder: Path, suffix: str, plan: _Plan, notes: list[str]):
        if plan.alpha and suffix not in ALPHA_SUFFIXES:
            raise FaceswapError(f"a {suffix} holds no alpha; {', '.join(ALPHA_SUFFIXES)} do")
        if plan.mark is not None and suffix not in MARKED_SUFFIXES:
            raise FaceswapError(f"a {suffix} cannot say that it is synthetic; write a .png")
        notes += _picture_notes(plan, suffix)
        self.shelf = PieceShelf(folder, "one picture is never half done")
        self._path, self._mark = folder / f".whole{suffix}", plan.mark
        self._icc = plan.icc
        self._image: Picture | None = None

    def keep(self, frames: int) -> None:
        pass

    def write(self, image: Picture, pts: int, ticks: int | None, number: int | None) -> None:
        if self._image is not None:
            raise FaceswapError(
                "holds one picture, and the clip has more frames; name a video, or a folder"
            )
        self._image = image

    def finish(self) -> Path:
        if self._image is None:
            raise FaceswapError("not one frame was written")
        write_image(self._path, self._image, mark=self._mark, icc=self._icc)
        return self._path

    def abandon(self) -> None:
        self._image = None
        self._path.unlink(missing_ok=True)


class _FolderSink:
    """Numbered PNG pictures, and their times beside them."""

    def __init__(self, folder: Path, plan: _Plan, notes: list[str]):
        self._plan = plan
        notes += _picture_notes(plan)
        # The mark stands in every picture.
        facts: dict[str, Any] = {"piece_frames": plan.piece_frames, "mark": plan.mark}
        facts |= {"depth": plan.bit_depth, "alpha": plan.alpha, "icc": plan.icc}
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

    def write(self, image: Picture, pts: int, ticks: int | None, number: int | None) -> None:
        self._pts.append(pts)
        self._ticks = ticks
        self._numbers.append(self.shelf.frames + len(self._pts) if number is None else number)
        path = self.pictures / _picture_name(self._numbers[-1])
        mark, icc = self._plan.mark, self._plan.icc
        self._waiting.append(self._pool.submit(write_image, path, image, mark=mark, icc=icc))
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

    def __init__(self, folder: Path, suffix: str, plan: _Plan, notes: list[str]):
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
            notes += check_copy(plan.copy_from, suffix)
        notes += self._encoding.lost(suffix, plan.bit_depth)
        notes += _timecode_notes(plan, suffix)
        if plan.icc is not None:
            notes.append("the pictures' ICC profile is left out: a video holds none")
        made_of = asdict(self._encoding), plan.piece_frames, av.library_versions
        self.shelf = PieceShelf(folder, job_id(kind="video", made_of=made_of))
        self._encoder: PieceEncoder | None = None
        self._pts: list[int] = []
        self._ticks: int | None = None

    def keep(self, frames: int) -> None:
        self.shelf.keep(frames)

    def write(self, image: Picture, pts: int, ticks: int | None, number: int | None) -> None:
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
        _place_file(self._partial, self.shelf.file(len(self.shelf.pieces)))
        self.shelf.add(Piece(self._pts, self._encoder.delay, self._ticks))
        self._encoder, self._pts = None, []


def _place_file(made: Path, path: Path) -> None:
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


def check_fillable(path: Path, made: Path) -> None:
    """Raises: FaceswapError unless `path` is a folder of nothing but files of `made`.

    Such a folder is empty, or a killed call was filling it.
    """
    if not path.is_dir():
        raise FaceswapError(f"{path}: exists already")
    for file in path.iterdir():
        twin = made / file.name
        if not (file.is_file() and twin.is_file() and filecmp.cmp(file, twin, shallow=False)):
            raise FaceswapError(
                f"{path}: exists already and holds {file.name}, which this command did not write; "
                "empty it, or choose another name"
            )


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


def _place_folder(made: Path, path: Path) -> None:
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


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _picture_name(number: int) -> str:
    return f"frame_{number:06d}.png"


def _picture_notes(plan: _Plan, suffix: str = ".png") -> list[str]:
    notes = []
    if plan.bit_depth > 8 and suffix not in DEEP_SUFFIXES:
        notes.append(f"a {suffix} is written with 8 bits, the clip has {plan.bit_depth}")
    if plan.icc is not None and suffix == ".bmp":
        notes.append("the pictures' ICC profile is left out: a .bmp holds none")
    if plan.copy_from is not None:
        held = held_beside(plan.copy_from) + (["timecode"] if plan.timecode else [])
        if held:
            *some, last = held
            names = f"{', '.join(some)} and {last}" if some else last
            notes.append(f"pictures hold no {names}: left out")
    return notes


def _timecode_notes(plan: _Plan, suffix: str) -> list[str]:
    if plan.timecode is None or plan.copy_from is None:
        return []
    timecode, _ = plan.timecode
    if suffix == ".m4v":
        return [f"the timecode {timecode} is left out: a .m4v holds none; .mov, .mp4 and .mkv do"]
    if later_timecode(timecode, 0, plan.rate) is None:
        rate = f"{float(plan.rate):g} frames a second"
        return [f"the timecode {timecode} is left out: it is none of {rate}"]
    return []


def _kept_metadata(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() not in _TECHNICAL}


def _with_mark(metadata: dict[str, str], mark: SyntheticMark | None) -> dict[str, str]:
    """The metadata with the mark as the comment's first line; an older mark gives way to it."""
    if mark is None:
        return metadata
    old = metadata.get("comment", "").splitlines()
    kept = [line for line in old if "DigitalSourceType=" not in line]
    return {**metadata, "comment": "\n".join([mark.comment(), *kept])}
