"""Clips out: the input's timing, size, colour tags, sound and more; whole or not at all."""

import queue
import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ..config import CodecName
from ..errors import FaceswapError
from ..outputs import REFUSALS, hidden_folder
from .clips import STILLS_RATE, ClipInfo, ColorTags, Span
from .color import Levels
from .encoding import CODECS
from .marks import SyntheticMark
from .sinks import ALPHA_SUFFIXES, WRITTEN_SUFFIXES, Plan, Sink, open_sink, place_file, place_folder

WAITING = 4
"""Pictures that may wait for the encoder."""
PNG_BYTES_A_PIXEL = 1.5
PIECE_FRAMES = 120
"""Frames that a killed writer loses at most, and a little: each piece begins with a key frame."""
BT709_TAGS = ColorTags(primaries=1, transfer=1, matrix=1, range=1)
"""How a clip made from nothing is coloured."""

_Handed = tuple[Levels, int, int | None, int | None]

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
        tagged = like is not None and like.color != ColorTags()
        said = like.metadata if like and metadata is None else metadata or {}
        rate = Fraction(rate or (like and like.rate) or STILLS_RATE)
        self._plan = Plan(
            width=width or (like.width if like else None),
            height=height or (like.height if like else None),
            rate=rate,
            time_base=time_base or (like.time_base if like else 1 / rate),
            bit_depth=like.bit_depth if like else 8,
            pixel_format=like.pixel_format if like and like.kind == "video" else None,
            color=like.color if like and (like.kind == "video" or tagged) else BT709_TAGS,
            pixel_aspect=like.pixel_aspect if like else Fraction(1),
            codec=codec,
            quality=quality,
            alpha=alpha,
            fields=like.fields if like else None,
            light=like.light if like else None,
            timecode=(like.timecode, like.start_time) if like and like.timecode else None,
            icc=like.icc if like else None,
            calibration=like.calibration if like else (),
            copy_from=copy_from,
            span=span,
            metadata={k: v for k, v in said.items() if k.lower() not in _TECHNICAL},
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
        self._sink: Sink
        self._thread: threading.Thread

    def __enter__(self) -> "ClipWriter":
        try:
            self._folder = self._open_folder()
            self._sink = open_sink(self.path, self._folder, self._plan, self.notes)
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

    def __exit__(self, *raised: Any) -> None:
        _, error, _ = raised
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
        self._stack.__exit__(*raised)

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
            sink = open_sink(self.path, folder, plan, [])
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

    def _complete(self) -> None:
        """Put the clip together, hand it to `finish`, and give it its name."""
        made = self._sink.finish()
        if self._finish is not None:
            self._finish(made)
        (place_folder if made.is_dir() else place_file)(made, self.path)
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


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
