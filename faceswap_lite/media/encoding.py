"""Frames to packets: the codecs, and one piece of a video at a time."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import av
import cv2
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter

from ..config import CodecName
from ..errors import FaceswapError
from .clips import ColorTags, FieldOrder, Light, ffmpeg_url
from .color import (
    Levels,
    bits_of,
    chroma_grid,
    frame_from_rgb,
    is_gray,
    is_rgb,
    is_yuv_matrix,
    with_parameters,
)

PIECE_RATE = 25
"""Frames a second inside a piece: Matroska counts milliseconds, and 40 of them are exact."""
EARLY = 10_000
"""Frames by which decoding times inside a piece lie ahead. Nobody reads them, but FFmpeg insists
that none is later than its picture's, and x265 leaves those of one or two frames to chance."""

CV_CPU_AVX_512F = 13
"""OpenCV's number, which has no name in Python."""

FIELD_ORDERS: dict[FieldOrder, int] = {"tff": 2, "bff": 3}
"""FFmpeg's AVFieldOrder."""
FIELD_SUFFIXES = (".mkv", ".mov", ".mp4")
"""Containers that say the order of fields for any codec."""

CHROMA = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
"""By the pixels across and down that share a sample."""

PixelNames = tuple[str, str]
"""FFmpeg's names of two pixel formats: for clips of 8 bits, and of more."""


@dataclass(frozen=True)
class VideoCodec:
    """An encoder, what it is given and told, and where its packets may lie."""

    encoder: str
    options: dict[str, str]
    containers: tuple[str, ...]
    """Suffixes of files that hold it; the first is named where another cannot."""
    pixels: PixelNames
    odd_pixels: PixelNames
    """For odd widths or heights, which 4:2:0 cannot hold."""
    bytes_a_pixel: float
    """What filmed clips take at most, about; at `convert.output.quality` 16, where that counts."""
    alpha_pixels: PixelNames | None = None
    """With straight alpha; None: it holds none."""
    alpha_options: dict[str, str] = field(default_factory=dict)
    by_quality: Callable[[int], dict[str, str]] = lambda quality: {}
    """Options for `convert.output.quality`, 0 best to 51 worst, where there is a choice."""
    mp4_tag: str | None = None
    """What an mp4 or mov calls it, where FFmpeg's own choice does not play everywhere."""
    keeps_tag: bool = False
    """The encoder's tag names its profile, and is to be copied with the packets."""
    limited_only: bool = False
    params: str | None = None
    """The option that holds the encoder's own options, parted by colons."""
    light: Callable[[Light], list[str]] | None = None
    """Options of `params` for the light that a clip was mastered for."""
    fields: Literal["params", "flag"] | None = None
    """How it is told to code fields of interlaced frames, if it can."""

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
    fields: FieldOrder | None = None
    light: Light | None = None

    @property
    def bits(self) -> int:
        """Bits a colour that are kept."""
        return bits_of(self.pixels)

    def options(self) -> dict[str, str]:
        """The encoder's options."""
        codec = CODECS[self.codec]
        alpha = codec.alpha_options if self.alpha else {}
        options = {**codec.options, **alpha, **codec.by_quality(self.quality)}
        if codec.params is not None:
            params = [options[codec.params]] if codec.params in options else []
            if self.light is not None and codec.light is not None:
                params += codec.light(self.light)
            if self.codes_fields and codec.fields == "params":
                params.append(f"{self.fields}=1")
            if params:
                options[codec.params] = ":".join(params)
        return options

    @property
    def codes_fields(self) -> bool:
        """Whether frames are coded as interlaced: x264 wants whole blocks of each field."""
        told = CODECS[self.codec].fields
        return self.fields is not None and told is not None and self.height % 4 == 0

    def lost(self, suffix: str, bit_depth: int) -> list[str]:
        """Lines on what a file of this suffix does not keep of a clip's pictures."""
        lines = self.lost_depth(bit_depth)
        if self.fields is not None and not self.codes_fields and suffix not in FIELD_SUFFIXES:
            lines.append(
                f"its interlacing is not kept: {self.codec} in a {suffix} cannot signal it"
            )
        if self.light is not None and CODECS[self.codec].light is None:
            keepers = " and ".join(name for name, codec in CODECS.items() if codec.light)
            lines.append(
                f"the HDR mastering metadata is not kept in {self.codec}; {keepers} keep it"
            )
        return lines

    def lost_chroma(self, pixel_format: str | None) -> list[str]:
        """A line where a clip's YUV format has more chroma than is kept; else none."""
        if pixel_format is None or is_rgb(pixel_format) or is_gray(pixel_format):
            return []
        before, after = chroma_grid(pixel_format), chroma_grid(self.pixels)
        if before not in CHROMA or after <= before:
            return []
        keepers = [name for name, codec in CODECS.items() if chroma_grid(codec.pixels[1]) <= before]
        line = f"its chroma of {CHROMA[before]} is written as {CHROMA[after]} in {self.codec}"
        return [f"{line}; {' and '.join(keepers)} keep{'s' * (len(keepers) == 1)} it"]

    def lost_depth(self, bit_depth: int) -> list[str]:
        """A line where fewer bits are kept than a clip has; else none."""
        if bit_depth <= self.bits:
            return []
        line = f"{self.codec} is written with {self.bits} bits, the clip has {bit_depth}"
        *some, last = [name for name, codec in CODECS.items() if bits_of(codec.pixels[1]) > 8]
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
    fields: FieldOrder | None = None,
    light: Light | None = None,
) -> Encoding:
    """The encoding of a clip of this (width, height), depth and colours.

    Raises: FaceswapError, one line, when the codec holds no alpha and should.
    """
    encoder = CODECS[codec]
    pixels = encoder.pixel_format(*size, bit_depth, alpha)
    if pixels is None:
        raise FaceswapError(f"{codec} holds no alpha; {alpha_holders()} do")
    tags = _color_for(color, encoder, pixels)
    return Encoding(codec, quality, *size, rate, pixels, tags, pixel_aspect, alpha, fields, light)


def alpha_holders() -> str:
    """What holds alpha, in words."""
    holders = [f"{n} ({', '.join(c.containers)})" for n, c in CODECS.items() if c.alpha_pixels]
    return f"{', '.join(holders)} and a folder of pictures"


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
        self._codes_fields = encoding.codes_fields and CODECS[encoding.codec].fields == "flag"
        if self._codes_fields:
            context.flags |= Flags.interlaced_dct

    def write(self, image: Levels) -> None:
        """Encode the next frame."""
        encoding = self._encoding
        frame = frame_from_rgb(image, encoding.color, encoding.pixels, self._scaler)
        if self._codes_fields:
            frame = with_parameters(frame, f"field_mode={encoding.fields}")
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
    if encoding.fields is not None:
        context.field_order = FIELD_ORDERS[encoding.fields]


def _crf(quality: int) -> dict[str, str]:
    return {"crf": str(quality)}


def _x264(quality: int) -> dict[str, str]:
    """With AVX-512 the same frames would give other bytes each time.

    Its macroblock tree then reads memory that nobody wrote, unless the width is a multiple of 128.
    """
    has_avx512 = cv2.checkHardwareSupport(CV_CPU_AVX_512F)
    return {**_crf(quality), **({"x264-params": "asm=avx2"} if has_avx512 else {})}


def _light(mastering: str, content: str, light: Light) -> list[str]:
    """The two options of an encoder, by its names, from a clip's light."""
    said = []
    if light.mastering is not None:
        red, green, blue, white = (light.mastering[at : at + 2] for at in (0, 2, 4, 6))
        minimum, maximum = light.mastering[8:]
        places = {"G": green, "B": blue, "R": red, "WP": white, "L": (maximum, minimum)}
        said.append(f"{mastering}=" + "".join(f"{n}({a},{b})" for n, (a, b) in places.items()))
    if light.content is not None:
        said.append(f"{content}={light.content[0]},{light.content[1]}")
    return said


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
        params="x264-params",
        light=partial(_light, "mastering-display", "cll"),
        fields="params",
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
        params="x265-params",
        light=partial(_light, "master-display", "max-cll"),
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
        fields="flag",
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
