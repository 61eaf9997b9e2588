"""Single pictures, read upright as RGB and written whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from ..errors import FaceswapError
from ..outputs import whole_file
from .marks import SyntheticMark

JPEG_QUALITY = 95


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture as 8-bit RGB, turned upright by its EXIF orientation, its alpha dropped.

    Raises: FaceswapError, one line, when it is missing, cut short, damaged or no picture.
    """
    with _opened(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I"):
            # 16-bit grey: Pillow's own conversion would clip it.
            deep = np.asarray(upright, np.float32)
            peak = 65535 if deep.max(initial=0) > 255 else 255
            grey = np.round(deep / peak * 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if "transparency" in upright.info:
            # A palette's alpha must become a channel before it can be dropped.
            upright = upright.convert("RGBA")
        return np.array(upright.convert("RGB"))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright picture, by its header alone.

    Raises: FaceswapError, one line, when it has none that can be read.
    """
    with _opened(path) as picture:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) > 4
        return picture.size[::-1] if turned else picture.size


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            yield picture
    except FileNotFoundError as error:
        raise FaceswapError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        size = path.stat().st_size
        what = "is empty" if size == 0 else "is not a picture that can be read"
        raise FaceswapError(f"{path}: {what}") from error
    except Image.DecompressionBombError as error:
        raise FaceswapError(f"{path}: is too large ({error})") from error
    except PermissionError as error:
        raise FaceswapError(f"{path}: may not be read (permission denied)") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise FaceswapError(f"{path}: is damaged or cut short ({error})") from error


def write_image(
    path: Path,
    image: UInt8[np.ndarray, "h w c"],
    text: dict[str, str] | None = None,
    mark: SyntheticMark | None = None,
    compression: int = 3,
) -> None:
    """Write a picture, whole or not at all; the suffix chooses the format.

    `text` goes into a PNG as compressed international text; into a JPEG, whose one comment it is,
    only its first value. `compression` is zlib's level for PNG. Raises: FaceswapError, one line,
    for a suffix that is no picture's, a mark that the format cannot hold, a disk that refuses.
    """
    options: dict[str, Any] = {}
    suffix = path.suffix.lower()
    if suffix == ".png":
        chunks = PngImagePlugin.PngInfo()
        for key, value in (text or {}).items():
            chunks.add_itxt(key, value, zip=True)
        if mark is not None:
            chunks.add_itxt("XML:com.adobe.xmp", mark.xmp())
        options = {"pnginfo": chunks, "compress_level": compression}
    elif suffix in (".jpg", ".jpeg"):
        options = {"quality": JPEG_QUALITY, "subsampling": 0}
        if text:
            options["comment"] = next(iter(text.values())).encode()
        if mark is not None:
            options["xmp"] = mark.xmp().encode()
    elif suffix == ".webp":
        options = {"quality": JPEG_QUALITY}
        if mark is not None:
            options["xmp"] = mark.xmp().encode()
    elif mark is not None:
        raise FaceswapError(f"{path}: a {suffix} cannot say that it is synthetic; write a .png")
    with whole_file(path) as partial:
        try:
            Image.fromarray(image).save(partial, **options)
        except ValueError as error:
            raise FaceswapError(f"{path}: no picture format has the suffix {suffix}") from error


def resized(
    picture: UInt8[np.ndarray, "h w *c"], side: int
) -> UInt8[np.ndarray, "{side} {side} *c"]:
    """A square picture at `side` px: areas averaged on the way down, cubic on the way up."""
    how = cv2.INTER_AREA if len(picture) > side else cv2.INTER_CUBIC
    return cv2.resize(picture, (side, side), interpolation=how).astype(np.uint8)
