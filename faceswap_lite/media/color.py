"""Between YUV and RGB: which matrix, which range, and no more rounding than 8 bits must have."""

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from jaxtyping import UInt8, UInt16

from .clips import ColorTags

SD_WIDTH, SD_HEIGHT = 1280, 576
"""Untagged pictures at least this wide, or higher than this, are taken for BT.709."""

RGB_MATRIX = 0
UNSPECIFIED = 2

# Without these the scaler loses a level and a half of luma (43 dB instead of 81 there and back).
_EXACT = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)


def scaler_matrix(color: ColorTags, width: int, height: int) -> Colorspace:
    """The scaler's name for a clip's YUV matrix; an untagged clip goes by its size."""
    if color.matrix in _MATRICES:
        return _MATRICES[color.matrix]
    if color.primaries == 9:
        return Colorspace.BT2020
    large = width >= SD_WIDTH or height > SD_HEIGHT
    return Colorspace.ITU709 if large else Colorspace.ITU601


def is_yuv_matrix(color: ColorTags) -> bool:
    """Whether YUV can be made by the matrix that the tags name, or leave open."""
    return color.matrix in _MATRICES or color.matrix == UNSPECIFIED


def is_full_range(color: ColorTags, pixel_format: str = "") -> bool:
    """Whether luma runs from 0 to 255; untagged means 16 to 235, FFmpeg's yuvj formats do not."""
    return color.range == 2 or pixel_format.startswith("yuvj")


def is_rgb(pixel_format: str) -> bool:
    """Whether a pixel format holds red, green and blue (or indices to them), and no luma."""
    return pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8"))


def frame_to_rgb(
    frame: av.VideoFrame, color: ColorTags, scaler: VideoReformatter, width: int, height: int
) -> UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]:
    """The frame as full-range RGB; uint16, over its whole range, when it has more than 8 bits."""
    source = frame.format.name
    deep = max(component.bits for component in frame.format.components) > 8
    full = is_rgb(source) or is_full_range(color, source)
    rgb = scaler.reformat(
        frame,
        width=width,
        height=height,
        format="rgb48le" if deep else "rgb24",
        src_colorspace=None if is_rgb(source) else scaler_matrix(color, width, height),
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=int(_EXACT),
    )
    return np.asarray(rgb.to_ndarray())


def frame_from_rgb(
    image: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"],
    color: ColorTags,
    pixel_format: str,
    scaler: VideoReformatter,
) -> av.VideoFrame:
    """The RGB or RGBA picture in an encoder's pixel format, tagged with its colours."""
    deep = image.dtype == np.uint16
    height, width, channels = image.shape
    shallow_name, deep_name = ("rgb24", "rgb48le") if channels == 3 else ("rgba", "rgba64le")
    frame = av.VideoFrame.from_ndarray(image, format=deep_name if deep else shallow_name)
    to_rgb = is_rgb(pixel_format)
    full = to_rgb or is_full_range(color)
    made = scaler.reformat(
        frame,
        format=pixel_format,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=None if to_rgb else scaler_matrix(color, width, height),
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        interpolation=int(_EXACT),
    )
    # The scaler tags what it was told; the clip says what its source said, "unspecified" included.
    made.colorspace = RGB_MATRIX if to_rgb else color.matrix
    made.color_range = 2 if to_rgb else color.range
    made.color_primaries, made.color_trc = color.primaries, color.transfer
    return made


# FFmpeg's AVColorSpace numbers to the scaler's.
_MATRICES: dict[int, Colorspace] = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
