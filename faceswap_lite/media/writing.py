"""Clips out: the input's timing, size, colour tags and audio; whole or not at all."""

import queue
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8, UInt16

from ..config import CodecName
from ..errors import FaceswapError
from ..outputs import whole_file, whole_folder, write_json
from .clips import IMAGE_SUFFIXES, ClipInfo, ColorTags, ffmpeg_url
from .color import frame_from_rgb, is_rgb, is_yuv_matrix
from .images import write_image
from .marks import SyntheticMark, append_xmp
from .reading import STILLS_RATE, TIMES_NAME

WRITTEN_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
"""Containers that keep frame times, sound and the synthetic mark."""
MP4_SUFFIXES = (".mp4", ".m4v", ".mov")
WAITING = 4
"""Pictures that may wait for the encoder."""
MUX_AHEAD = Fraction(1, 2)
"""Seconds that sound is written ahead of the picture, so that players find both together."""
BT709 = ColorTags(primaries=1, transfer=1, matrix=1, range=1)
"""How a clip made from nothing is coloured."""

Picture = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]

# What a container says of itself, not of its contents; the new container says its own.
_TECHNICAL = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


@dataclass(frozen=True)
class VideoCodec:
    """An encoder, its options, and the pixel formats that it is given."""

    encoder: str
    options: dict[str, str]
    pixels: str
    deep_pixels: str
    """For clips of more than 8 bits."""
    odd_pixels: str
    """For odd widths or heights, which 4:2:0 cannot hold."""
    has_crf: bool = False
    mp4_tag: str | None = None
    limited_only: bool = False

    def pixel_format(self, width: int, height: int, bit_depth: int) -> str:
        """The format for frames of this size and depth."""
        if bit_depth > 8 and self.deep_pixels != self.pixels:
            return self.deep_pixels if not (width | height) & 1 else self.odd_pixels + "10le"
        return self.odd_pixels if (width | height) & 1 else self.pixels


class ClipWriter:
    """Writes frames to a video, a picture, or a folder of pictures, by the path's suffix.

    Use it in a `with` block: the path appears when the block ends well, and not before. Frames keep
    their `pts`, in `time_base`; time starts at zero, with the first picture or sound. With `like`,
    size, rate, time base, depth, colour tags, pixel aspect and metadata are that clip's. `quality`
    is the crf of h264 and hevc; prores is of its high-quality profile, ffv1 keeps every bit of the
    RGB. h264 is 8 bit, which every player takes; the others keep 10. Odd sizes are kept by writing
    4:4:4. Encoding runs in a thread: an error of one frame may be raised by a later `write`, or at
    the end. `notes` says what could not be kept.
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
        self._mark = mark
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
            audio_from=audio_from,
            metadata=_kept_metadata(like.metadata if like and metadata is None else metadata or {}),
        )
        self._stack = ExitStack()
        self._queue: queue.Queue[tuple[Picture, int] | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._given_up = False
        self._last_pts: int | None = None
        self._sink: _Sink
        self._thread: threading.Thread

    def __enter__(self) -> "ClipWriter":
        try:
            self._sink = self._open_sink()
        except BaseException as error:
            self._fail(error)
        self._thread = threading.Thread(target=self._encode, name="encode", daemon=True)
        self._thread.start()
        return self

    def write(self, image: np.ndarray, pts: int) -> None:
        """Hand over one RGB picture, uint8 or uint16, (h, w, 3). Times must rise.

        Raises: FaceswapError when this or an earlier frame cannot be written.
        """
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"pts {pts} does not come after {self._last_pts}")
        self._last_pts = pts
        # A copy: the caller may paint the next frame into the same array.
        self._put((np.array(image, order="C"), pts))
        self._raise_late()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._given_up = error is not None
        try:
            self._put(None)
            self._thread.join()
            if error is None:
                self._raise_late()
                self._sink.finish()
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

    def _open_sink(self) -> "_Sink":
        suffix = self.path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            return _PictureSink(self.path, self._mark)
        if suffix == "":
            folder = self._stack.enter_context(whole_folder(self.path))
            return _FolderSink(folder, self._plan, self._mark)
        if suffix not in WRITTEN_SUFFIXES:
            kinds = ", ".join(WRITTEN_SUFFIXES)
            raise FaceswapError(
                f"{self.path}: clips are written as {kinds}, a picture, or a folder (no suffix)"
            )
        partial = self._stack.enter_context(whole_file(self.path))
        return _VideoSink(partial, self._plan, self._mark, self.notes)

    def _encode(self) -> None:
        """The thread: write what comes until None comes; after an error, only empty the queue."""
        while (item := self._queue.get()) is not None:
            if self._error is None and not self._given_up:
                try:
                    self._sink.write(*item)
                except BaseException as error:  # raised again by write() or at the end
                    self._error = error

    def _put(self, item: tuple[Picture, int] | None) -> None:
        while True:
            try:
                return self._queue.put(item, timeout=0.5)
            except queue.Full:
                continue

    def _raise_late(self) -> None:
        if self._error is not None:
            raise _readable(self.path, self._error)

    def _fail(self, error: BaseException) -> None:
        """Remove what there is, and raise the error as one line."""
        told = _readable(self.path, error)
        self._stack.__exit__(type(told), told, told.__traceback__)
        raise told from error


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
    audio_from: Path | None
    metadata: dict[str, str]


@runtime_checkable
class _Sink(Protocol):
    def write(self, image: Picture, pts: int) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class _PictureSink:
    """A single picture; a second frame is refused. It is kept until the end, then written."""

    def __init__(self, path: Path, mark: SyntheticMark | None):
        self._path, self._mark = path, mark
        self._image: Picture | None = None

    def write(self, image: Picture, pts: int) -> None:
        if self._image is not None:
            raise FaceswapError(
                f"{self._path}: holds one picture, and the clip has more frames; "
                "name a video, or a folder"
            )
        self._image = image

    def finish(self) -> None:
        if self._image is None:
            raise FaceswapError(f"{self._path}: not one frame was written")
        write_image(self._path, _eight_bit(self._image), mark=self._mark)

    def abandon(self) -> None:
        self._image = None


class _FolderSink:
    """Numbered 8-bit PNG pictures, and their times beside them."""

    def __init__(self, folder: Path, plan: _Plan, mark: SyntheticMark | None):
        self._folder, self._plan, self._mark = folder, plan, mark
        self._pts: dict[str, int] = {}

    def write(self, image: Picture, pts: int) -> None:
        name = f"frame_{len(self._pts) + 1:06d}.png"
        write_image(self._folder / name, _eight_bit(image), mark=self._mark)
        self._pts[name] = pts

    def finish(self) -> None:
        if not self._pts:
            raise FaceswapError("not one frame was written")
        rate, time_base = str(self._plan.rate), str(self._plan.time_base)
        times = {"schema": 1, "rate": rate, "time_base": time_base, "pts": self._pts}
        write_json(self._folder / TIMES_NAME, times)

    def abandon(self) -> None:
        pass


class _VideoSink:
    """A video through FFmpeg."""

    def __init__(self, path: Path, plan: _Plan, mark: SyntheticMark | None, notes: list[str]):
        if plan.width is None or plan.height is None:
            raise ValueError("a video needs a width and a height, or a clip to be like")
        self._path, self._plan, self._mark = path, plan, mark
        self._codec = CODECS[plan.codec]
        self._shape = (plan.height, plan.width)
        self._pixels = self._codec.pixel_format(plan.width, plan.height, plan.bit_depth)
        self._color = _color_for(plan.color, self._codec, self._pixels)
        self._scaler = VideoReformatter()
        self._ticks = max(1, round(1 / (plan.rate * plan.time_base)))
        self._origin: int | None = None
        self._count = 0
        self._container = av.open(
            ffmpeg_url(path), "w", container_options=_muxer_options(path, plan.time_base)
        )
        self._audio: _AudioCopy | None = None
        try:
            self._container.metadata.update(_with_mark(plan.metadata, mark))
            self._stream = self._add_stream()
            if plan.audio_from is not None:
                self._audio = _AudioCopy(plan.audio_from, self._container, notes)
        except BaseException:
            self.abandon()
            raise

    def _add_stream(self) -> av.VideoStream:
        plan, codec = self._plan, self._codec
        try:
            stream = self._container.add_stream(codec.encoder, rate=plan.rate)
        except ValueError as error:
            raise FaceswapError(
                f"a {self._path.suffix} file cannot hold {plan.codec}; a .mkv can"
            ) from error
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.width, context.height = self._shape[1], self._shape[0]
        context.pix_fmt = self._pixels
        stream.time_base = context.time_base = plan.time_base
        context.sample_aspect_ratio = plan.pixel_aspect
        color = self._color
        context.color_primaries, context.color_trc = color.primaries, color.transfer
        context.colorspace, context.color_range = color.matrix, color.range
        if codec.mp4_tag is not None and self._path.suffix.lower() in MP4_SUFFIXES:
            context.codec_tag = codec.mp4_tag
        crf = {"crf": str(plan.quality)} if codec.has_crf else {}
        stream.options = {**codec.options, **crf}
        return stream

    def write(self, image: Picture, pts: int) -> None:
        if image.shape[:2] != self._shape:
            raise FaceswapError(
                f"frame at {pts}: is {image.shape[1]}x{image.shape[0]}, the video is "
                f"{self._shape[1]}x{self._shape[0]}; a folder of pictures may mix sizes"
            )
        if self._origin is None:
            self._begin(pts)
        assert self._origin is not None
        frame = frame_from_rgb(image, self._color, self._pixels, self._scaler)
        frame.pts, frame.time_base = pts - self._origin, self._plan.time_base
        self._count += 1
        self._mux(self._stream.encode(frame))

    def _begin(self, first_pts: int) -> None:
        """Time starts at zero with the first picture or sound; their distance stays."""
        time_base = self._plan.time_base
        first = first_pts * time_base
        start = first if self._audio is None else min(first, self._audio.start)
        # Whole ticks of the picture's clock: its times stay exact, sound has the finer clock.
        self._origin = start // time_base
        if self._audio is not None:
            self._audio.shift = self._origin * time_base

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            if self._audio is not None and packet.dts is not None:
                self._audio.copy_until(packet.dts * packet.time_base + MUX_AHEAD)
            # A muxer learns a frame's length from the next one; the last one has none.
            packet.duration = packet.duration or self._ticks
            self._container.mux(packet)

    def finish(self) -> None:
        if self._origin is None:
            raise FaceswapError("not one frame was written")
        packets = list(self._stream.encode(None))
        if self._count < 3:
            # x265 leaves the decoding times of so short a clip to chance. It reorders nothing.
            for packet in packets:
                packet.dts = packet.pts
        self._mux(packets)
        if self._audio is not None:
            self._audio.copy_until(None)
            self._audio.close()
        self._container.close()
        if self._mark is not None and self._path.suffix.lower() in MP4_SUFFIXES:
            append_xmp(self._path, self._mark)

    def abandon(self) -> None:
        # Closing writes what it can; the partial file is thrown away whatever becomes of that.
        with suppress(av.FFmpegError, OSError, ValueError):
            self._container.close()
        if self._audio is not None:
            self._audio.close()


class _AudioCopy:
    """Copies a clip's sound, packet by packet; encodes again only what the container refuses."""

    def __init__(self, path: Path, output: Any, notes: list[str]):
        try:
            self._input = av.open(ffmpeg_url(path), metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise FaceswapError(f"{path}: its sound cannot be read ({error.strerror})") from error
        if not self._input.streams.audio:
            self._input.close()
            raise FaceswapError(f"{path}: has no sound to copy")
        self._output, self._notes, self._damaged = output, notes, 0
        self.shift = Fraction(0)
        self._copies: dict[int, Any] = {}
        self._encoders: dict[int, Any] = {}
        for source in self._input.streams.audio:
            self._add(source)
        sources = list(self._input.streams.audio)
        self._packets = self._input.demux(sources)
        self._waiting = self._next()
        # A stream that does not say when it starts (None) starts at zero.
        self.start = Fraction(min((s.start_time or 0) * (s.time_base or 0) for s in sources))

    def _add(self, source: Any) -> None:
        name = source.codec_context.name
        if name in self._output.supported_codecs:
            self._copies[source.index] = self._output.add_stream_from_template(source)
            self._copies[source.index].metadata.update(source.metadata)
            return
        try:
            encoder = self._output.add_stream("aac", rate=source.rate)
        except ValueError:
            self._notes.append(f"sound ({name}) is left out: this container holds none of it")
            return
        # Some containers count channels and do not say which they are; the encoder must know.
        channels = source.layout.nb_channels
        encoder.layout = {1: "mono", 2: "stereo"}.get(channels, source.layout)
        self._encoders[source.index] = encoder
        self._notes.append(f"sound ({name}) does not fit this container: encoded again as AAC")

    def copy_until(self, time: Fraction | None) -> None:
        """Copy up to a time of the output, in seconds (None: all)."""
        while (packet := self._waiting) is not None:
            start = (packet.pts or 0) * packet.time_base - self.shift
            if time is not None and start > time:
                return
            moved = round(self.shift / packet.time_base)
            if packet.stream.index in self._copies:
                self._copy(packet, moved)
            elif packet.stream.index in self._encoders:
                self._encode(packet, moved)
            self._waiting = self._next()
        if time is None:
            for encoder in self._encoders.values():
                self._output.mux(encoder.encode(None))
            if self._damaged:
                self._notes.append(f"{self._damaged} packets of the sound are damaged: left out")

    def _copy(self, packet: Any, moved: int) -> None:
        packet.pts -= moved
        packet.dts = packet.pts if packet.dts is None else packet.dts - moved
        packet.stream = self._copies[packet.stream.index]
        self._output.mux(packet)

    def _encode(self, packet: Any, moved: int) -> None:
        encoder = self._encoders[packet.stream.index]
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._damaged += 1
            return
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= moved
            self._output.mux(encoder.encode(frame))

    def close(self) -> None:
        """Let go of the input."""
        self._input.close()

    def _next(self) -> Any:
        try:
            for packet in self._packets:
                if packet.is_corrupt:
                    self._damaged += 1
                elif packet.pts is not None and packet.size:
                    return packet
        except av.FFmpegError as error:
            self._notes.append(f"sound ends early ({error.strerror})")
        return None


def _muxer_options(path: Path, time_base: Fraction) -> dict[str, str]:
    if path.suffix.lower() not in MP4_SUFFIXES:
        return {}
    # The track counts time in the input's own ticks, or in a whole part of them, so that times are
    # kept exactly; the movie's clock, which holds the shift of sound against picture, is as fine.
    ticks = time_base.denominator
    while ticks < 10_000:
        ticks *= 2
    return {
        "movflags": "+faststart",
        "video_track_timescale": str(ticks),
        "movie_timescale": str(ticks),
    }


def _color_for(color: ColorTags, codec: VideoCodec, pixels: str) -> ColorTags:
    if is_rgb(pixels):
        return ColorTags(color.primaries, color.transfer, matrix=0, range=2)
    if not is_yuv_matrix(color):
        # Such as an RGB clip's own: YUV cannot be made with it here.
        return ColorTags(color.primaries, color.transfer, matrix=1, range=1)
    if codec.limited_only:
        return ColorTags(color.primaries, color.transfer, color.matrix, range=1)
    return color


def _kept_metadata(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() not in _TECHNICAL}


def _with_mark(metadata: dict[str, str], mark: SyntheticMark | None) -> dict[str, str]:
    """The metadata with the mark as the comment's first line; an older mark gives way to it."""
    if mark is None:
        return metadata
    old = metadata.get("comment", "").splitlines()
    kept = [line for line in old if "DigitalSourceType=" not in line]
    return {**metadata, "comment": "\n".join([mark.comment(), *kept])}


def _eight_bit(image: Picture) -> UInt8[np.ndarray, "h w 3"]:
    if image.dtype == np.uint8:
        return image
    # 65535 / 257 = 255: rounded, not cut off.
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _readable(path: Path, error: BaseException) -> BaseException:
    """FFmpeg's and the disk's refusals, and ours, as one line with the path; bugs as they are."""
    if isinstance(error, FaceswapError):
        return error if str(path) in str(error) else type(error)(f"{path}: {error}")
    if isinstance(error, av.FFmpegError | OSError):
        return FaceswapError(f"{path}: cannot be written ({error.strerror or error})")
    return error


CODECS: dict[str, VideoCodec] = {
    # h264 of 10 bits plays in few players: 8 always.
    "h264": VideoCodec(
        "libx264", {"preset": "fast"}, "yuv420p", "yuv420p", "yuv444p", has_crf=True
    ),
    # Apple's players want hvc1.
    "hevc": VideoCodec(
        "libx265",
        {"preset": "fast", "x265-params": "log-level=error"},
        "yuv420p",
        "yuv420p10le",
        "yuv444p",
        has_crf=True,
        mp4_tag="hvc1",
    ),
    "prores": VideoCodec(
        "prores_ks",
        {"profile": "hq", "vendor": "apl0"},
        "yuv422p10le",
        "yuv422p10le",
        "yuv444p10le",
        limited_only=True,
    ),
    "ffv1": VideoCodec("ffv1", {"level": "3"}, "bgr0", "gbrp16le", "bgr0"),
}
