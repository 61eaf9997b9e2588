"""Frames to packets: the codecs, and one piece of a video at a time."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.format import VideoFormat
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8, UInt16

from ..config import CodecName
from ..errors import FaceswapError
from .clips import ColorTags, ffmpeg_url
from .color import frame_from_rgb, is_rgb, is_yuv_matrix

PIECE_RATE = 25
"""Frames a second inside a piece: Matroska counts milliseconds, and 40 of them are exact."""
EARLY = 10_000
"""Frames by which decoding times inside a piece lie ahead. Nobody reads them, but FFmpeg insists
that none is later than its picture's, and x265 leaves those of one or two frames to chance."""

CV_CPU_AVX_512F = 13
"""OpenCV's number, which has no name in Python."""

Picture = UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]
"""RGB or, with straight alpha, RGBA."""

Pixels = tuple[str, str]
"""FFmpeg's names of two pixel formats: for clips of 8 bits, and of more."""


@dataclass(frozen=True)
class VideoCodec:
    """An encoder, what it is given and told, and where its packets may lie."""

    encoder: str
    options: dict[str, str]
    containers: tuple[str, ...]
    """Suffixes of files that hold it; the first is named where another cannot."""
    pixels: Pixels
    odd_pixels: Pixels
    """For odd widths or heights, which 4:2:0 cannot hold."""
    bytes_a_pixel: float
    """What filmed clips take at most, about; at `convert.quality` 16, where there is a choice."""
    alpha_pixels: Pixels | None = None
    """With straight alpha; None: it holds none."""
    alpha_options: dict[str, str] = field(default_factory=dict)
    by_quality: Callable[[int], dict[str, str]] = lambda quality: {}
    """Options for `convert.quality`, 0 best to 51 worst, where there is a choice."""
    mp4_tag: str | None = None
    """What an mp4 or mov calls it, where FFmpeg's own choice does not play everywhere."""
    keeps_tag: bool = False
    """The encoder's tag names its profile, and is to be copied with the packets."""
    limited_only: bool = False

    def pixel_format(self, width: int, height: int, bit_depth: int, alpha: bool) -> str | None:
        """The format for frames of this size and depth; None: it holds no alpha, and should."""
        pixels = self.odd_pixels if (width | height) & 1 else self.pixels
        chosen = self.alpha_pixels if alpha else pixels
        return None if chosen is None else chosen[bit_depth > 8]


@dataclass(frozen=True)
class Encoding:
    """How frames become packets: the same frames give the same bytes."""

    codec: CodecName
    quality: int
    width: int
    height: int
    rate: Fraction
    pixels: str
    color: ColorTags
    pixel_aspect: Fraction
    alpha: bool = False

    @property
    def bits(self) -> int:
        """Bits a colour that are kept."""
        return _bits(self.pixels)

    def options(self) -> dict[str, str]:
        """The encoder's options."""
        codec = CODECS[self.codec]
        alpha = codec.alpha_options if self.alpha else {}
        return {**codec.options, **alpha, **codec.by_quality(self.quality)}

    def lost_depth(self, bit_depth: int) -> list[str]:
        """A line where fewer bits are kept than a clip has; else none."""
        if bit_depth <= self.bits:
            return []
        line = f"{self.codec} is written with {self.bits} bits, the clip has {bit_depth}"
        *some, last = [name for name, codec in CODECS.items() if _bits(codec.pixels[1]) > 8]
        return [f"{line}; {', '.join(some)} and {last} keep 10" if self.bits == 8 else line]


def choose_encoding(
    codec: CodecName,
    quality: int,
    *,
    size: tuple[int, int],
    rate: Fraction,
    bit_depth: int,
    color: ColorTags,
    pixel_aspect: Fraction,
    alpha: bool,
) -> Encoding:
    """The encoding of a clip of this (width, height), depth and colours.

    Raises: FaceswapError, one line, when the codec holds no alpha and should.
    """
    encoder = CODECS[codec]
    pixels = encoder.pixel_format(*size, bit_depth, alpha)
    if pixels is None:
        holders = [f"{n} ({', '.join(c.containers)})" for n, c in CODECS.items() if c.alpha_pixels]
        raise FaceswapError(
            f"{codec} holds no alpha; {', '.join(holders)} and a folder of pictures do"
        )
    tags = _color_for(color, encoder, pixels)
    return Encoding(codec, quality, *size, rate, pixels, tags, pixel_aspect, alpha)


def check_container(suffix: str, codec: CodecName) -> None:
    """Raises: FaceswapError when a file of this suffix cannot hold the codec."""
    held_by = CODECS[codec].containers
    if suffix not in held_by:
        raise FaceswapError(f"a {suffix} file cannot hold {codec}; a {held_by[0]} can")


def with_alpha(codec: CodecName, suffix: str) -> CodecName:
    """The codec if it holds alpha, else the one for files of this suffix that does, if any."""
    if CODECS[codec].alpha_pixels is not None:
        return codec
    fitting = (n for n, c in CODECS.items() if c.alpha_pixels and c.containers[0] == suffix)
    return next(fitting, codec)


class PieceEncoder:
    """Encodes frames into one Matroska file; packets say a frame's number, and no time."""

    def __init__(self, path: Path, encoding: Encoding):
        self._encoding = encoding
        self._scaler = VideoReformatter()
        self._frames = self._packets = self.delay = 0
        # Shifting all times to be positive would change the numbers.
        options = {"avoid_negative_ts": "disabled"}
        self._container = av.open(ffmpeg_url(path), "w", container_options=options)
        stream = self._container.add_stream(CODECS[encoding.codec].encoder, rate=encoding.rate)
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        context = stream.codec_context
        context.width, context.height = encoding.width, encoding.height
        context.pix_fmt = encoding.pixels
        # The encoder spends its bits by the true rate.
        context.time_base = 1 / encoding.rate
        describe_stream(stream, encoding)
        stream.options = {**encoding.options()}

    def write(self, image: Picture) -> None:
        """Encode the next frame."""
        encoding = self._encoding
        frame = frame_from_rgb(image, encoding.color, encoding.pixels, self._scaler)
        frame.pts, frame.time_base = self._frames, 1 / encoding.rate
        self._frames += 1
        self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Encode what waits and close the file; after that, `delay` holds for the whole piece."""
        self._mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Let go of the file, whatever it holds."""
        with suppress(av.FFmpegError, OSError, ValueError):
            self._container.close()

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            assert packet.pts is not None
            self.delay = max(self.delay, self._packets - packet.pts)
            packet.dts, packet.duration = self._packets - EARLY, 1
            packet.time_base = Fraction(1, PIECE_RATE)
            self._packets += 1
            self._container.mux(packet)


def describe_stream(stream: av.VideoStream, encoding: Encoding) -> None:
    """Tag a stream with the colours and the shape of pixels that its frames have."""
    context, color = stream.codec_context, encoding.color
    context.sample_aspect_ratio = encoding.pixel_aspect
    context.color_primaries, context.color_trc = color.primaries, color.transfer
    context.colorspace, context.color_range = color.matrix, color.range


def _bits(pixels: str) -> int:
    return max(component.bits for component in VideoFormat(pixels).components)


def _crf(quality: int) -> dict[str, str]:
    return {"crf": str(quality)}


def _x264(quality: int) -> dict[str, str]:
    return {**_crf(quality), **({"x264-params": "asm=avx2"} if _has_avx512() else {})}


def _has_avx512() -> bool:
    """Whether x264 would use AVX-512, with which the same frames give other bytes each time.

    Its macroblock tree then reads memory that nobody wrote, unless the width is a multiple of 128.
    """
    return bool(cv2.checkHardwareSupport(CV_CPU_AVX_512F))


def _color_for(color: ColorTags, codec: VideoCodec, pixels: str) -> ColorTags:
    if is_rgb(pixels):
        return ColorTags(color.primaries, color.transfer, matrix=0, range=2)
    if not is_yuv_matrix(color):
        # Such as an RGB clip's own: YUV cannot be made with it here.
        return ColorTags(color.primaries, color.transfer, matrix=1, range=1)
    if codec.limited_only:
        return ColorTags(color.primaries, color.transfer, color.matrix, range=1)
    return color


CODECS: dict[CodecName, VideoCodec] = {
    # h264 of 10 bits plays in few players: 8 always.
    "h264": VideoCodec(
        "libx264",
        {"preset": "fast"},
        (".mkv", ".mp4", ".m4v", ".mov"),
        pixels=("yuv420p", "yuv420p"),
        odd_pixels=("yuv444p", "yuv444p"),
        bytes_a_pixel=0.05,
        by_quality=_x264,
    ),
    # Apple's players want hvc1.
    "hevc": VideoCodec(
        "libx265",
        {"preset": "fast", "x265-params": "log-level=error"},
        (".mkv", ".mp4", ".mov"),
        pixels=("yuv420p", "yuv420p10le"),
        odd_pixels=("yuv444p", "yuv444p10le"),
        bytes_a_pixel=0.04,
        by_quality=_crf,
        mp4_tag="hvc1",
    ),
    "prores": VideoCodec(
        "prores_ks",
        {"profile": "hq", "vendor": "apl0"},
        (".mov", ".mkv"),
        pixels=("yuv422p10le", "yuv422p10le"),
        odd_pixels=("yuv444p10le", "yuv444p10le"),
        bytes_a_pixel=0.6,
        alpha_pixels=("yuva444p10le", "yuva444p10le"),
        alpha_options={"profile": "4444"},
        keeps_tag=True,
        limited_only=True,
    ),
    "ffv1": VideoCodec(
        "ffv1",
        {"level": "3"},
        (".mkv", ".mp4"),
        pixels=("bgr0", "gbrp16le"),
        odd_pixels=("bgr0", "gbrp16le"),
        bytes_a_pixel=1.0,
        alpha_pixels=("bgra", "gbrap16le"),
    ),
}
"""All that is known of each codec; `config.CodecName` names them."""
