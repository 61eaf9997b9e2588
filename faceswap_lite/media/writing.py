"""Clips out: the input's timing, size, colour tags and audio; whole or not at all."""

from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from ..config import CodecName
from ..errors import FaceswapError
from ..outputs import whole_file, whole_folder
from .clips import IMAGE_SUFFIXES, ClipInfo, ColorTags, Frame
from .images import write_image
from .marks import SyntheticMark
from .reading import _EXACT, matrix_of, range_of

# Encoder, options, and pixel formats for 8-bit pictures, deeper ones and odd sizes.
_CODECS: dict[str, tuple[str, dict[str, str], str, str, str]] = {
    "h264": ("libx264", {"preset": "fast"}, "yuv420p", "yuv420p", "yuv444p"),
    "hevc": ("libx265", {"preset": "fast", "x265-params": "log-level=error"},
             "yuv420p", "yuv420p10le", "yuv444p"),
    "prores": ("prores_ks", {"profile": "hq"}, "yuv422p10le", "yuv422p10le", "yuv444p10le"),
    "ffv1": ("ffv1", {"level": "3"}, "bgr0", "gbrp16le", "bgr0"),
}  # fmt: skip
_RGB_FORMATS = ("bgr0", "gbrp16le")


class ClipWriter:
    """Writes frames to a video, a picture, or a folder of pictures, by the path's suffix.

    Use it in a `with` block: the path appears when the block ends well, and not before. Frames keep
    their `pts`, in `time_base`; with `like`, size, rate, time base and colour tags are that clip's.
    `quality` is the crf of h264 and hevc. Odd sizes are written as 4:4:4, which keeps them.
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
        audio_from: Path | None = None,
        metadata: dict[str, str] | None = None,
        mark: SyntheticMark | None = None,
    ):
        self.path = Path(path)
        self.notes: list[str] = []
        self._stack = ExitStack()
        self._mark = mark
        self._options = {
            "width": width or (like.width if like else None),
            "height": height or (like.height if like else None),
            "rate": Fraction(rate or (like and like.rate) or 25),
            "time_base": time_base or (like.time_base if like else None),
            "codec": codec,
            "quality": quality,
            "audio_from": audio_from,
            "metadata": metadata or {},
            "color": like.color if like and like.kind == "video" else None,
        }
        self._sink: Any = None

    def __enter__(self) -> "ClipWriter":
        suffix = self.path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            self._sink = _PictureSink(self.path, self._mark)
        elif suffix == "":
            folder = self._stack.enter_context(whole_folder(self.path))
            self._sink = _FolderSink(folder, self._mark)
        else:
            partial = self._stack.enter_context(whole_file(self.path))
            try:
                self._sink = _VideoSink(partial, self._mark, self.notes, **self._options)
            except BaseException as error:
                self._stack.__exit__(type(error), error, error.__traceback__)
                raise _readable(self.path, error) from error
        return self

    def write(self, image: np.ndarray, pts: int) -> None:
        """Write one RGB picture, uint8 or uint16, (h, w, 3); times must rise."""
        try:
            self._sink.write(image, pts)
        except (av.FFmpegError, OSError) as error:
            raise _readable(self.path, error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self._sink.finish()
            except BaseException as late:
                self._sink.abandon()
                self._stack.__exit__(type(late), late, late.__traceback__)
                raise _readable(self.path, late) from late
        else:
            self._sink.abandon()
        self._stack.__exit__(kind, error, trace)


class _PictureSink:
    """A single picture; a second frame is refused."""

    def __init__(self, path: Path, mark: SyntheticMark | None):
        self._path, self._mark, self._written = path, mark, False

    def write(self, image: np.ndarray, pts: int) -> None:
        if self._written:
            raise FaceswapError(f"{self._path}: holds one picture, and the clip has more frames")
        write_image(self._path, _eight_bit(image), mark=self._mark)
        self._written = True

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _FolderSink:
    """Numbered PNG pictures."""

    def __init__(self, folder: Path, mark: SyntheticMark | None):
        self._folder, self._mark, self._count = folder, mark, 0

    def write(self, image: np.ndarray, pts: int) -> None:
        self._count += 1
        name = f"frame_{self._count:06d}.png"
        write_image(self._folder / name, _eight_bit(image), mark=self._mark)

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _VideoSink:
    """A video through FFmpeg. The encoder works in threads of its own, beside the caller."""

    def __init__(
        self,
        partial: Path,
        mark: SyntheticMark | None,
        notes: list[str],
        *,
        width: int | None,
        height: int | None,
        rate: Fraction,
        time_base: Fraction | None,
        codec: CodecName,
        quality: int,
        audio_from: Path | None,
        metadata: dict[str, str],
        color: ColorTags | None,
    ):
        if width is None or height is None:
            raise FaceswapError(f"{partial}: a video needs a width and a height")
        self._shape = (height, width)
        encoder, options, *self._formats = _CODECS[codec]
        self._color = color or ColorTags(1, 1, 1, 1)
        self._time_base = time_base or 1 / rate
        self._quality = {"crf": str(quality)} if codec in ("h264", "hevc") else {}
        self._container = av.open(str(partial), "w", options=_muxer_options(partial, self._time_base))
        try:
            self._container.metadata.update(metadata)
            if mark is not None:
                self._container.metadata["comment"] = mark.comment()
            self._stream: Any = self._container.add_stream(encoder, rate=rate)
            self._stream.options = {**options, **self._quality}
        except BaseException:
            self.abandon()
            raise
        self._audio = _AudioCopy(audio_from, self._container, notes) if audio_from else None
        self._offset: Fraction | None = None
        self._ready = False

    def _prepare(self, image: np.ndarray, pts: int) -> None:
        """What only the first frame tells: its depth, and where time begins."""
        stream, (height, width) = self._stream, self._shape
        eight, deep, odd = self._formats
        pixel_format = deep if image.dtype == np.uint16 else eight
        if (height % 2 or width % 2) and pixel_format not in _RGB_FORMATS:
            pixel_format = odd
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.time_base = stream.codec_context.time_base = self._time_base
        context, color = stream.codec_context, self._color
        context.color_primaries, context.color_trc = color.primaries, color.transfer
        if pixel_format not in _RGB_FORMATS:
            context.colorspace, context.color_range = color.matrix, color.range or 1
        # Time starts at zero with whichever comes first, picture or sound; their distance stays.
        # Sound before the input's own zero is an encoder's priming, which players skip: it stays
        # before zero.
        first = pts * self._time_base
        sound = self._audio.start if self._audio else None
        self._offset = first if sound is None else min(first, max(sound, Fraction(0)))
        self._ready = True

    def write(self, image: np.ndarray, pts: int) -> None:
        if image.shape[:2] != self._shape:
            raise FaceswapError(
                f"frame at {pts}: is {image.shape[1]}x{image.shape[0]}, the video is "
                f"{self._shape[1]}x{self._shape[0]}; write a folder of pictures instead"
            )
        if not self._ready:
            self._prepare(image, pts)
        deep = image.dtype == np.uint16
        frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(image), format="rgb48le" if deep else "rgb24"
        )
        pixel_format = self._stream.pix_fmt
        to_rgb = pixel_format in _RGB_FORMATS
        frame = frame.reformat(
            format=pixel_format,
            src_color_range=ColorRange.JPEG,
            dst_colorspace=None if to_rgb else matrix_of(self._color, self._shape[0]),
            dst_color_range=ColorRange.JPEG if to_rgb else range_of(self._color, None),
            interpolation=_EXACT,
        )
        assert self._offset is not None, "_prepare sets it"
        frame.pts = pts - round(self._offset / self._time_base)
        frame.time_base = self._time_base
        self._container.mux(self._stream.encode(frame))
        if self._audio:
            self._audio.copy_until(frame.pts * self._time_base, self._offset)

    def finish(self) -> None:
        if not self._ready:
            raise FaceswapError("not one frame was written")
        assert self._offset is not None, "_prepare sets it"
        self._container.mux(self._stream.encode(None))
        if self._audio:
            self._audio.copy_until(None, self._offset)
            self._audio.close()
        self._container.close()

    def abandon(self) -> None:
        # Closing writes what it can; the partial file is thrown away whatever becomes of that.
        with suppress(av.FFmpegError, OSError, ValueError):
            self._container.close()


class _AudioCopy:
    """Copies a clip's first audio stream, packet by packet; re-encodes only if it must."""

    def __init__(self, path: Path, output: Any, notes: list[str]):
        self._input = av.open(str(path))
        self._output = output
        source = self._input.streams.audio[0]
        self._packets = self._input.demux(source)
        self._waiting = self._next()
        self._encoder: Any = None
        if source.codec_context.name in output.supported_codecs:
            self._stream = output.add_stream_from_template(source)
        else:
            notes.append(f"audio {source.codec_context.name} does not fit here: re-encoded as AAC")
            self._stream = self._encoder = output.add_stream("aac", rate=source.rate)
            self._encoder.layout = source.layout

    @property
    def start(self) -> Fraction | None:
        """When the sound starts, in seconds."""
        packet = self._waiting
        return None if packet is None else packet.pts * packet.time_base

    def copy_until(self, time: Fraction | None, offset: Fraction) -> None:
        """Copy packets up to a time of the output (None: all), moved back by `offset`."""
        while (packet := self._waiting) is not None:
            start = packet.pts * packet.time_base - offset
            if time is not None and start > time:
                return
            moved = round(offset / packet.time_base)
            if self._encoder is None:
                packet.pts -= moved
                packet.dts = packet.dts - moved if packet.dts is not None else packet.pts
                packet.stream = self._stream
                self._output.mux(packet)
            else:
                for frame in packet.decode():
                    frame.pts -= moved
                    self._output.mux(self._encoder.encode(frame))
            self._waiting = self._next()
        if time is None and self._encoder is not None:
            self._output.mux(self._encoder.encode(None))

    def close(self) -> None:
        self._input.close()

    def _next(self) -> Any:
        with suppress(av.FFmpegError):
            for packet in self._packets:
                if packet.pts is not None and packet.size:
                    return packet
        return None


def _muxer_options(path: Path, time_base: Fraction) -> dict[str, str]:
    if path.suffix.lower() not in (".mp4", ".mov", ".m4v"):
        return {}
    # The track counts time in the input's own ticks, so that times are kept exactly.
    ticks = {"video_track_timescale": str(time_base.denominator)} if time_base.numerator == 1 else {}
    return {"movflags": "+faststart", **ticks}


def _eight_bit(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)


def _readable(path: Path, error: BaseException) -> BaseException:
    """FFmpeg's and the disk's refusals as one line; anything else as it is."""
    if isinstance(error, FaceswapError) or not isinstance(error, (av.FFmpegError, OSError)):
        return error
    return FaceswapError(f"{path}: cannot be written ({error.strerror or error})")
