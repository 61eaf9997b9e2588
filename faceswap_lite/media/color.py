"""Between YUV and RGB: which matrix, which range, and no more rounding than the bits must have.

FFmpeg's scaler is exact for RGB of 8 bits and limited range. Of more bits it takes white for
65280 of 65535, it loses the colour of 4:2:0 under the flags that 8 bits need, and the chroma that
it makes of full range lies half a level too low. There it only resamples chroma; the matrix and
the range are applied here. Source of both: ITU-T H.273, 8.3.
"""

import re
from fractions import Fraction

import av
import cv2
import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter
from jaxtyping import Float64, UInt8, UInt16

from .clips import Alpha, ColorTags, Pixels

SD_WIDTH, SD_HEIGHT = 1280, 576
"""Untagged pictures at least this wide, or higher than this, are taken for BT.709."""

RGB_MATRIX = 0
BT709, BT601, BT2020 = 1, 6, 9
BT2020_CONSTANT = 10
"""BT.2020 of constant luminance, which is taken for the other."""
UNSPECIFIED = 2
LIMITED, FULL = 1, 2

Levels = UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]
"""RGB or, with straight alpha, RGBA."""

# Bilinear, accurate rounding, full chroma in and out: libswscale's numbers, as PyAV 17 has no
# names for them. Without these the scaler loses a level and a half of luma (43 dB instead of 81
# there and back).
_EXACT = 0x2 | 0x40000 | 0x2000 | 0x4000


_EIGHT_BIT_PLANAR = re.compile("yuvj?(420|422|444)p")


def yuv_matrix(color: ColorTags, width: int, height: int) -> int:
    """FFmpeg's number of a clip's YUV matrix; an untagged clip goes by its size."""
    if color.matrix in _WEIGHTS:
        return color.matrix
    if color.matrix == BT2020_CONSTANT or color.primaries == BT2020:
        return BT2020
    return BT709 if width >= SD_WIDTH or height > SD_HEIGHT else BT601


def is_yuv_matrix(color: ColorTags) -> bool:
    """Whether YUV can be made by the matrix that the tags name, or leave open."""
    return color.matrix in {*_WEIGHTS, BT2020_CONSTANT, UNSPECIFIED}


def is_full_range(color: ColorTags, pixel_format: str) -> bool:
    """Whether luma runs over all levels (0 to 255), or from 16 to 235.

    Untagged means 16 to 235; FFmpeg's yuvj formats and untagged grey ones run over all.
    """
    if pixel_format.startswith("yuvj"):
        return True
    return color.range == FULL or (color.range != LIMITED and is_gray(pixel_format))


def is_rgb(pixel_format: str) -> bool:
    """Whether a pixel format holds red, green and blue (or indices to them), and no luma."""
    described = VideoFormat(pixel_format)
    return described.is_rgb or described.has_palette or pixel_format.startswith("xyz")


def is_gray(pixel_format: str) -> bool:
    """Whether a pixel format holds luma, and at most alpha beside it."""
    colors = [part for part in VideoFormat(pixel_format).components if not part.is_alpha]
    return len(colors) == 1 and not is_rgb(pixel_format)


def has_alpha(pixel_format: str) -> bool:
    """Whether a pixel format holds alpha, in a channel or in its palette."""
    described = VideoFormat(pixel_format)
    return described.has_palette or any(part.is_alpha for part in described.components)


def alpha_of(frame: av.VideoFrame) -> Alpha:
    """The alpha of a frame that has one; uint16, over its whole range, when of more than 8 bits."""
    described = frame.format
    bits = bits_of(described.name)
    if described.is_planar:
        plane = frame.planes[len(described.components) - 1]
        alpha = _lines(plane, bits)[:, : frame.width]
        alpha = alpha.byteswap() if described.is_big_endian and bits > 8 else alpha
    else:
        # Colours play no part: the scaler only brings the alpha to where it is known to lie.
        packed = frame.reformat(format="rgba64le" if bits > 8 else "rgba")
        bits = 16 if bits > 8 else 8
        alpha = _lines(packed.planes[0], bits)[:, 3 : 4 * frame.width : 4]
    if bits in (8, 16):
        return alpha.copy()
    return np.round(alpha * (65535 / (2**bits - 1))).astype(np.uint16)


def frame_to_rgb(
    frame: av.VideoFrame, color: ColorTags, scaler: VideoReformatter, width: int, height: int
) -> Pixels:
    """The frame as full-range RGB; uint16, over its whole range, when it has more than 8 bits.

    The frame's own colour tags are written over.
    """
    source = frame.format.name
    bits, from_rgb, gray = bits_of(source), is_rgb(source), is_gray(source)
    matrix = RGB_MATRIX if from_rgb else yuv_matrix(color, width, height)
    full = from_rgb or is_full_range(color, source)
    _tag(frame, matrix, FULL if full else LIMITED)
    if from_rgb or (bits <= 8 and (full or not gray)):
        name = "rgb48le" if bits > 8 else "rgb24"
        return np.asarray(_convert(frame, name, FULL, scaler, (width, height)).to_ndarray())

    if gray:
        # The scaler takes all grey for full range, and lays its bare levels into RGB.
        frame.color_range = FULL
        rgb = _convert(frame, "rgb48le", FULL, scaler, (width, height))
        levels = _lines(rgb.planes[0], 16)[:, : 3 * width].reshape(height, width, 3)
        # From grey in three channels to luma in each.
        luma = _yuv_levels(BT709, bits, full, 16)[0]
        to_levels = np.column_stack([np.eye(3) * luma[:3].sum(), np.full(3, luma[3])])
    else:
        # Limited on both sides, whatever it is, so that no level is stretched.
        frame.color_range = LIMITED
        yuv = _convert(frame, "yuv444p16le", LIMITED, scaler, (width, height))
        levels = cv2.merge([_lines(plane, 16)[:, :width] for plane in yuv.planes])
        to_levels = _yuv_levels(matrix, bits, full, 16)
    back = np.linalg.inv(to_levels[:, :3])
    image = cv2.transform(levels, np.column_stack([back, -back @ to_levels[:, 3]]))
    return np.asarray(image if bits > 8 else _narrow(image))


def frame_from_rgb(
    image: Levels, color: ColorTags, pixel_format: str, scaler: VideoReformatter
) -> av.VideoFrame:
    """The RGB or RGBA picture in an encoder's pixel format, tagged with its colours.

    Chroma of 4:2:0 lies at the left, where decoders of H.264 and HEVC take it to be.
    """
    height, width, _ = image.shape
    to_rgb = is_rgb(pixel_format)
    matrix = RGB_MATRIX if to_rgb else yuv_matrix(color, width, height)
    if to_rgb:
        # The scaler would cut bits off, and leave new ones empty.
        fitting = _widen(image) if bits_of(pixel_format) > 8 else _narrow(image)
        made = _convert(_rgb_frame(fitting, matrix), pixel_format, FULL, scaler)
    else:
        full = is_full_range(color, pixel_format)
        made = _yuv_from_rgb(image, matrix, full, pixel_format, scaler)
    # The clip says what its source said, "unspecified" included.
    made.colorspace = RGB_MATRIX if to_rgb else color.matrix
    made.color_range = FULL if to_rgb else color.range
    made.color_primaries, made.color_trc = color.primaries, color.transfer
    return made


def _yuv_from_rgb(
    image: Levels, matrix: int, full: bool, pixel_format: str, scaler: VideoReformatter
) -> av.VideoFrame:
    shallow, gray = image.dtype == np.uint8, is_gray(pixel_format)
    if shallow and not full and not gray:
        return _convert(_rgb_frame(image, matrix), pixel_format, LIMITED, scaler)
    if shallow and full and _EIGHT_BIT_PLANAR.fullmatch(pixel_format):
        # Of 16 bits, so that nothing is rounded twice.
        deeper = f"{pixel_format.replace('j', '')}16le"
        limited = _convert(_rgb_frame(image, matrix), deeper, LIMITED, scaler)
        return _stretched(limited, pixel_format)

    # Where chroma stays as it is, the scaler would only dither, and not evenly.
    bits = bits_of(pixel_format)
    stage = bits if chroma_grid(pixel_format) == (1, 1) else 16
    frame = _yuv_frame(_widen(image), _yuv_levels(matrix, bits, full, stage), stage, gray)
    # One range on both sides, so that no level is stretched; on these the scaler insists.
    span = FULL if gray or pixel_format.startswith("yuvj") else LIMITED
    _tag(frame, matrix, span)
    return _convert(frame, pixel_format, span, scaler)


def _convert(
    frame: av.VideoFrame,
    name: str,
    span: int,
    scaler: VideoReformatter,
    size: tuple[int | None, int | None] = (None, None),
) -> av.VideoFrame:
    """The frame in another pixel format and range; its matrix is the one that it is tagged with."""
    if chroma_grid(name) == (2, 2):
        frame = with_parameters(frame, "chroma_location=left")
    spans = {"src_color_range": int(frame.color_range), "dst_color_range": span}
    return scaler.reformat(frame, *size, name, interpolation=_EXACT, **spans)


def _tag(frame: av.VideoFrame, matrix: int, span: int) -> None:
    frame.colorspace, frame.color_range = matrix, span
    # What its light is plays no part here, and PyAV 17 refuses some of the numbers.
    frame.color_primaries = frame.color_trc = UNSPECIFIED


def with_parameters(frame: av.VideoFrame, said: str) -> av.VideoFrame:
    """The frame, saying of itself what FFmpeg's setparams sets and PyAV has no name for."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
    )
    place, sink = graph.add("setparams", said), graph.add("buffersink")
    source.link_to(place)
    place.link_to(sink)
    graph.configure()
    graph.vpush(frame)
    return graph.vpull()


def _rgb_frame(image: Levels, matrix: int) -> av.VideoFrame:
    """The picture as a frame, tagged with the matrix of the YUV that is to be made of it."""
    height, width, channels = image.shape
    shallow_name, deep_name = ("rgb24", "rgb48le") if channels == 3 else ("rgba", "rgba64le")
    deep = image.dtype == np.uint16
    frame = av.VideoFrame(width, height, deep_name if deep else shallow_name)
    _lines(frame.planes[0], 16 if deep else 8)[:, : width * channels] = image.reshape(height, -1)
    _tag(frame, matrix, FULL)
    return frame


def _yuv_frame(
    image: UInt16[np.ndarray, "h w c"], to_levels: Float64[np.ndarray, "3 4"], bits: int, gray: bool
) -> av.VideoFrame:
    """The picture's luma, or its 4:4:4 with the alpha that it has, at so many bits."""
    height, width, channels = image.shape
    top = 2**bits - 1
    name = "gray" if gray else "yuva444p" if channels == 4 else "yuv444p"
    frame = av.VideoFrame(width, height, name if bits == 8 else f"{name}{bits}le")
    levels = cv2.transform(image[..., :3], to_levels)
    if bits < 16:
        # Full chroma may reach half a level above the highest.
        levels = np.minimum(levels, np.uint16(top), out=levels)
    levels = levels.astype(np.uint8) if bits == 8 else levels
    for channel, plane in enumerate(frame.planes[:3]):
        cv2.extractChannel(levels, channel, _lines(plane, bits)[:, :width])
    if name == "yuva444p":
        alpha = cv2.transform(image[..., 3], np.array([[top / 65535]]))
        _lines(frame.planes[3], bits)[:, :width] = alpha
    return frame


def _stretched(limited: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
    """A planar frame of 16 bits and limited range as one of 8 bits and full range."""
    full = av.VideoFrame(limited.width, limited.height, pixel_format)
    scales = [(255 / 219, 16, 0), (255 / 224, 128, 128), (255 / 224, 128, 128)]
    for source, target, (scale, zero, lands) in zip(
        limited.planes, full.planes, scales, strict=True
    ):
        levels = _lines(source, 16)[:, : source.width]
        narrow = cv2.convertScaleAbs(levels, alpha=scale / 256, beta=lands - scale * zero)
        _lines(target, 8)[:, : target.width] = narrow
    return full


def _lines(plane: VideoPlane, bits: int) -> UInt8[np.ndarray, "h n"] | UInt16[np.ndarray, "h n"]:
    """A view of a plane's rows of samples, and of the padding behind them."""
    samples = np.frombuffer(memoryview(plane), np.uint16 if bits > 8 else np.uint8)
    return samples.reshape(plane.height, -1)


def _yuv_levels(matrix: int, bits: int, full: bool, stage: int) -> Float64[np.ndarray, "3 4"]:
    """From RGB (0 to 65535) to YUV of so many bits, shifted up to fill `stage` bits."""
    red, blue = _WEIGHTS[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    unit = 2.0 ** (stage - 8)
    top = (2**bits - 1) * 2.0 ** (stage - bits)
    to_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    to_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    rows = np.stack([luma, to_blue, to_red])
    spans = np.array([top, top, top]) if full else np.array([219, 224, 224]) * unit
    zeros = np.array([0 if full else 16, 128, 128]) * unit
    return np.column_stack([rows * spans[:, None] / 65535, zeros])


def _widen(image: Levels) -> UInt16[np.ndarray, "h w c"]:
    if image.dtype == np.uint16:
        return np.ascontiguousarray(image)
    return np.multiply(image, np.uint16(257), dtype=np.uint16)


def _narrow(image: Levels) -> UInt8[np.ndarray, "h w c"]:
    return image if image.dtype == np.uint8 else cv2.convertScaleAbs(image, alpha=1 / 257)


def bits_of(pixel_format: str) -> int:
    """Bits a sample; of the deepest channel."""
    return max(part.bits for part in VideoFormat(pixel_format).components)


def chroma_grid(pixel_format: str) -> tuple[int, int]:
    """Pixels across and down that share a sample of chroma; (1, 1) without chroma."""
    parts = VideoFormat(pixel_format, 64, 64).components
    return 64 // min(part.width for part in parts), 64 // min(part.height for part in parts)


# Of red and blue in luma, by FFmpeg's AVColorSpace numbers. Source: H.273, table 4.
_WEIGHTS: dict[int, tuple[float, float]] = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
