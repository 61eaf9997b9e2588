"""Clips in: frames upright, as RGB, with exact times, decoded ahead of whoever uses them."""

import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from ..errors import FaceswapError
from .clips import IMAGE_SUFFIXES, ClipInfo, ColorTags, Frame, list_images
from .images import read_image

AHEAD = 8
"""Frames decoded before they are asked for."""
STILLS_RATE = Fraction(25)
"""Frames a second of a folder of pictures, which has no rate of its own."""

# FFmpeg's AVColorSpace numbers to the scaler's.
_MATRICES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
             7: Colorspace.SMPTE240M, 9: 9, 10: 9}  # fmt: skip
_EXACT = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND


def matrix_of(color: ColorTags, height: int) -> int:
    """The scaler's number for a clip's YUV matrix; untagged clips go by their height."""
    return int(_MATRICES.get(color.matrix, Colorspace.ITU709 if height >= 720 else Colorspace.ITU601))


def range_of(color: ColorTags, pixel_format: str | None) -> ColorRange:
    """Full or limited range; the old yuvj formats mean full."""
    full = color.range == 2 or (pixel_format or "").startswith("yuvj")
    return ColorRange.JPEG if full else ColorRange.MPEG


class ClipReader:
    """Iterates once over a clip's frames; use it in a `with` block.

    `info` is what the container says. `problems` holds, once read to the end, one line on each
    thing that was wrong: damage, missing frames, unreadable pictures.
    """

    def __init__(self, path: Path):
        self.problems: list[str] = []
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._source = _open_source(path, self.problems)
        self.info = self._source.info

    def __enter__(self) -> "ClipReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        self._source.close()

    def __iter__(self) -> Iterator[Frame]:
        self._thread = threading.Thread(target=self._decode, daemon=True)
        self._thread.start()
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _decode(self) -> None:
        last: BaseException | None = None
        try:
            for frame in self._source.frames():
                if not self._put(frame):
                    return
        except BaseException as error:
            last = error
        self._put(last) and last is not None and self._put(None)

    def _put(self, item: Frame | BaseException | None) -> bool:
        """Hand over an item; False when the reader was closed meanwhile."""
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def open_clip(path: str | Path) -> ClipReader:
    """A reader of a video, a folder of pictures or a single picture.

    Raises: FaceswapError, one line, when nothing can be decoded from it.
    """
    return ClipReader(Path(path))


class _Stills:
    """A folder of pictures, or one picture. Each keeps its own size; 8 bit."""

    def __init__(self, path: Path, problems: list[str]):
        self._paths = list_images(path) if path.is_dir() else [path]
        self._problems = problems
        if not self._paths:
            raise FaceswapError(f"{path}: holds no pictures")
        self._first = self._first_readable(path)
        height, width = self._first.shape[:2]
        self.info = ClipInfo(
            path=path,
            kind="images" if path.is_dir() else "image",
            width=width,
            height=height,
            frame_count=len(self._paths),
            rate=STILLS_RATE,
            time_base=1 / STILLS_RATE,
            codec=self._paths[0].suffix.lower().lstrip("."),
            pixel_format="rgb24",
            bit_depth=8,
        )

    def _first_readable(self, path: Path) -> Any:
        errors = []
        for file in self._paths:
            try:
                return read_image(file)
            except FaceswapError as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        raise FaceswapError(f"{path}: none of its {len(errors)} pictures can be read")

    def frames(self) -> Iterator[Frame]:
        for index, file in enumerate(self._paths):
            try:
                image = read_image(file)
            except FaceswapError as error:
                self._problems.append(str(error))
                continue
            yield Frame(index, index, index / STILLS_RATE, image)

    def close(self) -> None:
        pass


class _Video:
    """A video file through FFmpeg."""

    def __init__(self, path: Path, problems: list[str]):
        self._problems = problems
        self._path = path
        try:
            self._container = av.open(str(path))
        except av.FFmpegError as error:
            raise FaceswapError(f"{path}: {_why_unreadable(path, error)}") from error
        streams = [s for s in self._container.streams.video if not _is_cover(s)]
        if not streams:
            only = "audio only" if self._container.streams.audio else "no video stream"
            self._container.close()
            raise FaceswapError(f"{path}: has {only}")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self._errors = 0
        self._decoded = self._decode()
        # The first frame tells what the container does not: rotation, and whether it decodes.
        self._first = next(self._decoded, None)
        if self._first is None:
            self._container.close()
            raise FaceswapError(f"{path}: not one frame can be decoded")
        self.info = self._describe(self._first)

    def _describe(self, first: av.VideoFrame) -> ClipInfo:
        stream, context = self._stream, self._stream.codec_context
        turned = first.rotation % 180 != 0
        width, height = first.width, first.height
        return ClipInfo(
            path=self._path,
            kind="video",
            width=height if turned else width,
            height=width if turned else height,
            frame_count=stream.frames or None,
            rate=stream.average_rate or stream.guessed_rate,
            time_base=stream.time_base or Fraction(1, 1000),
            codec=context.name,
            pixel_format=first.format.name,
            bit_depth=max(component.bits for component in first.format.components),
            rotation_deg=first.rotation,
            color=ColorTags(
                first.color_primaries, first.color_trc, first.colorspace, first.color_range
            ),
            has_audio=bool(self._container.streams.audio),
            metadata=dict(self._container.metadata),
        )

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._problems.append(f"reading stops early ({error.strerror})")
                return
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self._errors += 1

    def frames(self) -> Iterator[Frame]:
        decoded, damaged, leading = 0, 0, 0
        seen_key, last_pts = False, None
        frame = self._first
        while frame is not None:
            seen_key = seen_key or frame.key_frame
            leading += not seen_key
            damaged += frame.is_corrupt
            pts = frame.pts if frame.pts is not None else frame.dts
            if pts is None or (last_pts is not None and pts <= last_pts):
                # A frame without a time, or out of order, follows the last one by its duration.
                pts = 0 if last_pts is None else last_pts + self._step(frame)
            last_pts = pts
            yield Frame(decoded, pts, pts * self.info.time_base, self._upright(frame))
            decoded += 1
            frame = next(self._decoded, None)
        self._report(decoded, damaged, leading)

    def _step(self, frame: av.VideoFrame) -> int:
        if frame.duration:
            return int(frame.duration)
        return max(1, round(1 / ((self.info.rate or STILLS_RATE) * self.info.time_base)))

    def _upright(self, frame: av.VideoFrame) -> Any:
        deep = self.info.bit_depth > 8
        rgb = frame.reformat(
            format="rgb48le" if deep else "rgb24",
            src_colorspace=matrix_of(self.info.color, frame.height),
            src_color_range=range_of(self.info.color, frame.format.name),
            dst_color_range=ColorRange.JPEG,
            interpolation=_EXACT,
        )
        image = rgb.to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def _report(self, decoded: int, damaged: int, leading: int) -> None:
        claimed = self.info.frame_count
        if claimed is not None and decoded < claimed:
            self._problems.append(
                f"decoded {decoded} of {claimed} claimed frames; the file may be cut short"
            )
        if self._errors:
            self._problems.append(f"{self._errors} packets could not be decoded")
        if damaged:
            self._problems.append(f"{damaged} frames are flagged as damaged")
        if leading:
            self._problems.append(
                f"the first {leading} frames come before any key frame and may be grey"
            )

    def close(self) -> None:
        self._container.close()


def _open_source(path: Path, problems: list[str]) -> _Stills | _Video:
    if not path.exists():
        raise FaceswapError(f"{path}: no such file or folder")
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return _Stills(path, problems)
    if path.stat().st_size == 0:
        raise FaceswapError(f"{path}: is empty")
    return _Video(path, problems)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _why_unreadable(path: Path, error: av.FFmpegError) -> str:
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    start = path.read_bytes()[:4096]
    if b"\0" not in start:
        return "is text, not a video"
    if b"ftyp" in start[:64]:
        return "is an mp4 whose index (moov) is missing; it was cut short or never finished"
    return f"is not a video that FFmpeg can read ({error.strerror})"
