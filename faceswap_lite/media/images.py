"""Single pictures, read upright as RGB and written whole."""

import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from jaxtyping import UInt8, UInt16
from PIL import Image, PngImagePlugin

from ..errors import FaceswapError
from ..outputs import whole_file
from .clips import ColorTags, Light, Photo, as_uint8
from .marks import SyntheticMark
from .stills import light_chunks, read_still

JPEG_QUALITY, PNG_LEVEL = 95, 3
DEEP_SUFFIXES = (".png", ".tif", ".tiff")
"""Pictures that hold 16 bits."""
_PNG_HEAD = 33
"""Bytes of a PNG's signature and first chunk."""


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture as 8-bit RGB, turned upright by its EXIF orientation, its alpha dropped.

    Raises: FaceswapError, one line, when it is missing, cut short, damaged or no picture.
    """
    return as_uint8(read_still(path).image)


def read_photo(path: Path) -> Photo:
    """Somebody's photo. Raises: FaceswapError when there is none there, or it cannot be read."""
    if not path.is_file():
        raise FaceswapError(f"--like {path}: no such photo")
    return Photo(path, read_image(path))


def write_image(
    path: Path,
    image: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"],
    text: dict[str, str] | None = None,
    mark: SyntheticMark | None = None,
    icc: bytes | None = None,
    color: ColorTags | None = None,
    light: Light | None = None,
    calibration: Sequence[tuple[bytes, bytes]] = (),
    pixel_aspect: Fraction = Fraction(1),
) -> None:
    """Write a picture, whole or not at all; the suffix chooses the format.

    `text` goes into a PNG as compressed international text; into a JPEG, whose one comment it is,
    only its first value. `icc` is a profile that says what the colours are; `color`, where they are
    beyond sRGB, `light`, `calibration` (its chunks) and `pixel_aspect` are said in a PNG. PNG and
    TIFF keep 16 bits, others get 8.
    Raises: FaceswapError, one line, for a suffix that is no picture's, a mark that the format
    cannot hold, a disk that refuses.
    """
    options: dict[str, Any] = {}
    suffix = path.suffix.lower()
    if suffix == ".png":
        chunks = PngImagePlugin.PngInfo()
        for key, value in (text or {}).items():
            chunks.add_itxt(key, value, zip=True)
        if mark is not None:
            chunks.add_itxt("XML:com.adobe.xmp", mark.xmp())
        if color is not None and color.is_beyond_srgb:
            chunks.add(b"cICP", bytes([color.primaries, color.transfer, 0, 1]))
        if light is not None:
            for name, data in light_chunks(light):
                chunks.add(name, data)
        for name, data in calibration:
            chunks.add(name, data)
        if pixel_aspect != 1:
            dots = pixel_aspect.denominator, pixel_aspect.numerator
            chunks.add(b"pHYs", struct.pack(">2IB", *dots, 0))
        options = {"pnginfo": chunks, "compress_level": PNG_LEVEL}
    elif suffix in (".jpg", ".jpeg"):
        options = {"quality": JPEG_QUALITY, "subsampling": 0}
        if text:
            options["comment"] = next(iter(text.values())).encode()
    elif suffix == ".webp":
        # Colours that alpha hides are kept.
        options = {"quality": JPEG_QUALITY, "exact": True}
    elif mark is not None:
        raise FaceswapError(f"{path}: a {suffix} cannot hold the synthetic mark; write a .png")
    if mark is not None and suffix != ".png":
        options["xmp"] = mark.xmp().encode()
    if icc is not None:
        options["icc_profile"] = icc
    deep = image.dtype == np.uint16 and suffix in DEEP_SUFFIXES
    with whole_file(path) as partial:
        # Pillow leaves out the chunks on light and the shape of pixels.
        if suffix == ".png" and (deep or light is not None or pixel_aspect != 1):
            fitting = image if deep else as_uint8(image)
            _write_opencv_png(partial, fitting, options["pnginfo"], icc)
            return
        if deep:
            extra = ["unassalpha"] if image.shape[2] == 4 else None
            tifffile.imwrite(
                partial, image, photometric="rgb", extrasamples=extra, metadata=None, iccprofile=icc
            )
            return
        try:
            Image.fromarray(as_uint8(image)).save(partial, **options)
        except ValueError as error:
            raise FaceswapError(f"{path}: no picture format has the suffix {suffix}") from error


def _write_opencv_png(
    path: Path,
    image: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"],
    text: PngImagePlugin.PngInfo,
    icc: bytes | None,
) -> None:
    """A PNG of any depth or chunks, of which Pillow writes some, and OpenCV no text."""
    order = [2, 1, 0, 3][: image.shape[2]]
    options = [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL]
    _, made = cv2.imencode(".png", np.ascontiguousarray(image[..., order]), options)
    data = made.tobytes()
    with path.open("wb") as file:
        file.write(data[:_PNG_HEAD])
        if icc is not None:
            PngImagePlugin.putchunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
        for name, words, *_ in text.chunks:
            PngImagePlugin.putchunk(file, name, words)
        file.write(data[_PNG_HEAD:])


def resized(
    picture: UInt8[np.ndarray, "h w *c"], edge: int
) -> UInt8[np.ndarray, "{edge} {edge} *c"]:
    """A square picture at `edge` px: areas averaged on the way down, cubic on the way up."""
    how = cv2.INTER_AREA if len(picture) > edge else cv2.INTER_CUBIC
    return cv2.resize(picture, (edge, edge), interpolation=how).astype(np.uint8)
