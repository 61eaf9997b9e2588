"""Frames to packets: the codecs, and one piece of a video at a time."""

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
    alpha_pixels: str | None = None
    """With alpha, 8 bit; None: it holds none."""
    deep_alpha_pixels: str | None = None
    alpha_options: dict[str, str] = field(default_factory=dict)
    has_crf: bool = False
    mp4_tag: str | None = None
    limited_only: bool = False

    def pixel_format(self, width: int, height: int, bit_depth: int) -> str:
        """The format for frames of this size and depth, without alpha."""
        if bit_depth > 8 and self.deep_pixels != self.pixels:
            return self.deep_pixels if not (width | height) & 1 else self.odd_pixels + "10le"
        return self.odd_pixels if (width | height) & 1 else self.pixels


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
        return max(component.bits for component in VideoFormat(self.pixels).components)

    def options(self) -> dict[str, str]:
        """The encoder's options."""
        codec = CODECS[self.codec]
        crf = {"crf": str(self.quality)} if codec.has_crf else {}
        alpha = codec.alpha_options if self.alpha else {}
        asm = {"x264-params": "asm=avx2"} if self.codec == "h264" and _has_avx512() else {}
        return {**codec.options, **alpha, **crf, **asm}


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
    pixels: str | None = encoder.pixel_format(*size, bit_depth)
    if alpha:
        pixels = encoder.deep_alpha_pixels if bit_depth > 8 else encoder.alpha_pixels
    if pixels is None:
        raise FaceswapError(
            f"{codec} holds no alpha; prores (.mov, .mkv), ffv1 (.mkv) and a folder of pictures do"
        )
    tags = _color_for(color, encoder, pixels)
    return Encoding(codec, quality, *size, rate, pixels, tags, pixel_aspect, alpha)


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
        alpha_pixels="yuva444p10le",
        deep_alpha_pixels="yuva444p10le",
        alpha_options={"profile": "4444"},
        limited_only=True,
    ),
    "ffv1": VideoCodec(
        "ffv1",
        {"level": "3"},
        "bgr0",
        "gbrp16le",
        "bgr0",
        alpha_pixels="bgra",
        deep_alpha_pixels="gbrap16le",
    ),
}
