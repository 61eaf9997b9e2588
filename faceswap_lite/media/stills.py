"""Picture files in: upright RGB and straight alpha, in a scale that follows from their type alone.

White is the highest value that the type holds, of unsigned integers, and 1.0 of floats. Pillow
reads what has 8 bits, OpenCV PNG of 16, tifffile deeper TIFF (OpenCV, where that is compressed).
"""

import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from jaxtyping import Num
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..errors import FaceswapError
from .clips import Alpha, ColorTags, Light, Pixels, counted

ORIENTATION = 274
"""The number of EXIF's and TIFF's tag."""
ICC_PROFILE, EXIF, DENSITY = 34675, 34665, (282, 283)
"""TIFF's tags."""
TIMED = {"PNG", "WEBP", "AVIF", "GIF"}
"""Pillow's names of formats whose several pictures are shown one after another."""
AVIF_HEAD = 1 << 16
"""Bytes at an AVIF's beginning in which its boxes lie."""
UNTIMED_MS = 100
"""How long one of these is shown that says no time, as browsers have it."""
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_START = b"\x89PNG\r\n\x1a\n"
LIGHT_CHUNKS = {b"cICP": 4, b"mDCV": 24, b"cLLI": 8, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1}
"""A PNG's chunks on colours and light, and their bytes."""
SRGB_PRIMARIES = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
"""A cHRM's numbers, of 100,000, in a picture that is sRGB. Source: PNG (Third Edition), 11.3.2.5.
"""
NEAR_PRIMARIES = 10
"""How far off they may be: some programs round each."""
USUAL_GAMMAS = {45_455: 1000, 50_994: 10}
"""A gAMA's number in a picture that is shown as any other, and how far off it may be: sRGB's, also
rounded to 0.45, and FFmpeg's for BT.709, whose light displays show as they do sRGB's."""
SAME_ASPECT = Fraction(101, 100)
"""How many times one pixel's shape may be another's that rounding alone makes different."""
MAX_ASPECT = 4
"""How long a pixel may be by its width, or wide by its length, and be meant so."""
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
"""TIFF's sample formats."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, SEPARATED = 0, 1, 2, 5
"""TIFF's photometric interpretations that are read here."""
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, SEPARATED: 4}
PREMULTIPLIED, STRAIGHT = 1, 2
"""TIFF's extra samples that are alpha."""


@dataclass(frozen=True)
class Still:
    """One upright picture; `alpha` is straight, in the scale of `image`. None: all is opaque."""

    image: Pixels
    alpha: Alpha | None = None


@dataclass(frozen=True)
class StillHead:
    """What a picture file says of itself."""

    bits: int = 8
    """That are kept when it is read: 8 or 16."""
    alpha: bool = False
    durations: list[Fraction] = field(default_factory=list)
    """Of each of several pictures that are shown one after another, in seconds."""
    notes: list[str] = field(default_factory=list)
    """A line on each thing that is not read as it is."""
    icc: bytes | None = None
    """The profile of its colours, of RGB."""
    exif: bool = False
    """Whether it says more of itself in EXIF than how it is turned."""
    color: ColorTags = field(default_factory=ColorTags)
    """As a PNG says it in numbers."""
    light: Light | None = None
    """As a PNG says it."""
    pixel_aspect: Fraction = Fraction(1)
    """Width of the upright picture's pixels by their height."""
    calibration: tuple[tuple[bytes, bytes], ...] = ()
    """A PNG's gAMA and cHRM, names and data, where they count and are not sRGB's."""


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright picture, by its header alone where Pillow knows its kind.

    Raises: FaceswapError, one line, when it has none that can be read.
    """
    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) > 4
            return picture.size[::-1] if turned else picture.size
    except (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError):
        height, width = read_still(path).image.shape[:2]
        return width, height


def still_head(path: Path) -> StillHead:
    """What a picture file says of itself; only moving ones are decoded.

    Raises: FaceswapError, one line, when it is missing, damaged, no picture, or of a type whose
    white nobody knows.
    """
    with _readable(path):
        if _start(path).startswith(TIFF_STARTS):
            return _tiff_head(path)
        with Image.open(path) as picture:
            notes = ["is CMYK, and is read as RGB without its profile"] * (picture.mode == "CMYK")
            count, timed = getattr(picture, "n_frames", 1), picture.format in TIMED
            if count > 1 and not timed:
                notes.append(_choice(count, 0, picture.size))
            durations, untimed = _durations(picture) if count > 1 and timed else ([], 0)
            notes += untimed_note(untimed)
            deep = _is_deep_png(path) and not durations
            if _is_deep_png(path) and durations:
                notes.append("is animated, and of its 16 bits 8 are read")
            if picture.format == "AVIF" and (bits := _av1_bits(path)) > 8:
                notes.append(f"is AVIF of {bits} bits, of which 8 are read")
            alpha, icc = picture.has_transparency_data, _of_rgb(picture.info.get("icc_profile"))
            exif = bool({*picture.getexif()} - {ORIENTATION})
            said = _png_chunks(path) if picture.format == "PNG" else {}
            color, light = _png_color(said), _png_light(said)
            if picture.format == "AVIF":
                color = _avif_color(path)
            return StillHead(
                16 if deep else 8, alpha, durations, notes, icc, exif, color, light,
                _pixel_aspect(picture.info, picture.getexif().get(ORIENTATION, 1)),
                () if icc else _png_calibration(said),
            )  # fmt: skip


def read_still(path: Path) -> Still:
    """The picture in a file; of several the largest, the first of these.

    Raises: FaceswapError as `still_head`.
    """
    return next(read_stills(path))


def read_stills(path: Path) -> Iterator[Still]:
    """The pictures of a file that shows several one after another; else the one that is taken.

    Raises: FaceswapError as `still_head`.
    """
    with _readable(path):
        if _start(path).startswith(TIFF_STARTS):
            yield _read_tiff(path)
            return
        with Image.open(path) as picture:
            moving = getattr(picture, "n_frames", 1) > 1 and picture.format in TIMED
            if _is_deep_png(path) and not moving:
                yield _read_deep_png(path, picture.getexif().get(ORIENTATION, 1))
                return
            for number in _shown(picture) if moving else (0,):
                picture.seek(number)
                yield _from_pillow(picture)


def cut_off(path: Path) -> bool:
    """Whether a picture of floats holds values beyond 0 to 1, which are cut to it."""
    if not _start(path).startswith(TIFF_STARTS):
        return False
    with _readable(path), tifffile.TiffFile(path) as tiff:
        _, page = _taken(tiff)
        levels = _decoded(path, tiff, page) if page.sampleformat == FLOAT else np.zeros(1)
        return not bool(np.all((levels >= 0) & (levels <= 1)))


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(25)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What a file's refusal means, in one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise FaceswapError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        size = path.stat().st_size
        what = "is empty" if size == 0 else "is not a picture that can be read"
        raise FaceswapError(f"{path}: {what}") from error
    except Image.DecompressionBombError as error:
        raise FaceswapError(f"{path}: is too large ({error})") from error
    except PermissionError as error:
        raise FaceswapError(f"{path}: cannot be read (permission denied)") from error
    # Pillow raises RuntimeError for an AVIF whose data do not decode.
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:
        raise FaceswapError(f"{path}: is damaged or cut short ({error})") from error


def _choice(count: int, taken: int, size: tuple[int, int]) -> str:
    width, height = size
    return f"holds {count} pictures: only number {taken + 1} ({width}x{height}) is read"


def _of_rgb(profile: bytes | None) -> bytes | None:
    """The profile, unless it is of grey or CMYK. Source: ICC.1, 7.2, data colour space."""
    return profile if profile is not None and profile[16:20] == b"RGB " else None


# 8 bits.


def _from_pillow(picture: Image.Image) -> Still:
    upright = ImageOps.exif_transpose(picture)
    if not upright.has_transparency_data:
        return Still(np.array(upright.convert("RGB")))
    levels = np.array(upright.convert("RGBA"))
    return Still(np.ascontiguousarray(levels[..., :3]), np.ascontiguousarray(levels[..., 3]))


def _shown(picture: Image.Image) -> range:
    # An animated PNG's picture for those who show no movement may be none of the others.
    return range(int(bool(picture.info.get("default_image"))), getattr(picture, "n_frames", 1))


def untimed_note(count: int) -> list[str]:
    """A line on frames of moving pictures that say no time."""
    frames = counted(count, "frame has a length of 0 and is", "frames have a length of 0 and are")
    return [f"{frames} shown for {UNTIMED_MS} ms, as browsers do"] * (count > 0)


def _durations(picture: Image.Image) -> tuple[list[Fraction], int]:
    """How long each picture is shown, and how many of them say no time."""
    durations, untimed = [], 0
    for number in _shown(picture):
        picture.seek(number)
        picture.load()
        said = picture.info.get("duration") or 0
        untimed += not said
        durations.append(Fraction(max(1, round(said or UNTIMED_MS)), 1000))
    picture.seek(0)
    return durations, untimed


# Deeper.


def _is_deep_png(path: Path) -> bool:
    start = _start(path)
    return start.startswith(PNG_START) and start[24] == 16


def _png_chunks(path: Path) -> dict[bytes, bytes]:
    """By name, what a PNG says of its light; a chunk is its length, name, data and CRC."""
    said = {}
    with path.open("rb") as file:
        file.seek(len(PNG_START))
        while (head := file.read(8))[4:] not in (b"", b"IDAT"):
            length, name = int.from_bytes(head[:4], "big"), head[4:]
            if LIGHT_CHUNKS.get(name) == length:
                said[name] = file.read(length)
                file.seek(4, 1)
            else:
                file.seek(length + 4, 1)
    return said


def _png_color(said: dict[bytes, bytes]) -> ColorTags:
    """Source: PNG (Third Edition), 11.3.2.6, cICP."""
    if b"cICP" not in said:
        return ColorTags()
    primaries, transfer, _, _ = said[b"cICP"]
    # As YUV: the picture itself is RGB of full range.
    color = ColorTags(primaries, transfer, 9 if primaries == 9 else 1, 1)
    return _known(color)


def _known(color: ColorTags) -> ColorTags:
    """These, where they are beyond sRGB by numbers that are. Source: ITU-T H.273, tables 2, 3."""
    known = 0 < color.primaries <= 22 and 0 < color.transfer <= 18
    return color if color.is_beyond_srgb and known else ColorTags()


def _png_calibration(said: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Source: PNG (Third Edition), 4.3, of which chunks count where others are there."""
    own = {name: said[name] for name in (b"gAMA", b"cHRM") if name in said}
    if {b"cICP", b"sRGB"} & said.keys() or all(_is_srgb(data) for data in own.values()):
        return ()
    return tuple(own.items())


def _is_srgb(data: bytes) -> bool:
    """Whether a gAMA or cHRM says nothing that an untagged picture does not mean."""
    numbers = struct.unpack(f">{len(data) // 4}I", data)
    if len(numbers) == 1:
        return any(abs(numbers[0] - usual) <= near for usual, near in USUAL_GAMMAS.items())
    pairs = zip(numbers, SRGB_PRIMARIES, strict=True)
    return all(abs(own - usual) <= NEAR_PRIMARIES for own, usual in pairs)


def _png_light(said: dict[bytes, bytes]) -> Light | None:
    """Source: PNG (Third Edition), 11.3.2.7 and 11.3.2.8: light is in 1/10000 cd/m2."""
    mastering = content = None
    if b"mDCV" in said:
        *colors, maximum, minimum = struct.unpack(">8H2I", said[b"mDCV"])
        mastering = (*colors, minimum, maximum)
    if b"cLLI" in said:
        maximum, average = struct.unpack(">2I", said[b"cLLI"])
        content = (round(maximum / 10_000), round(average / 10_000))
    return Light(mastering, content) if mastering or content else None


def light_chunks(light: Light) -> list[tuple[bytes, bytes]]:
    """The chunks by which a PNG says it. Source: as `_png_light`."""
    chunks = []
    if light.mastering is not None:
        *colors, minimum, maximum = light.mastering
        chunks.append((b"mDCV", struct.pack(">8H2I", *colors, maximum, minimum)))
    if light.content is not None:
        chunks.append((b"cLLI", struct.pack(">2I", *(level * 10_000 for level in light.content))))
    return chunks


def _avif_color(path: Path) -> ColorTags:
    """Source: ISO/IEC 14496-12, 12.1.5, colr of the kind nclx."""
    with path.open("rb") as file:
        _, box, after = file.read(AVIF_HEAD).partition(b"colrnclx")
    if not box or len(after) < 6:
        return ColorTags()
    primaries, transfer, matrix = struct.unpack(">3H", after[:6])
    return _known(ColorTags(primaries, transfer, matrix, 1))


def _pixel_aspect(said: dict[Any, Any], orientation: Any) -> Fraction:
    """Of the upright picture, by its dots an inch across and down, or by their ratio alone."""
    density = said.get("aspect") or said.get("dpi") or said.get("jfif_density") or (1, 1)
    try:
        across, down = (
            Fraction(*dots) if isinstance(dots, tuple) else Fraction(float(dots))
            for dots in density
        )
        aspect = (down / across).limit_denominator(1000)
        aspect = 1 / aspect if orientation > 4 else aspect
    except (TypeError, ValueError, ArithmeticError):
        return Fraction(1)
    meant = 1 <= aspect * MAX_ASPECT <= MAX_ASPECT**2
    return aspect if meant and not same_aspect([aspect, Fraction(1)]) else Fraction(1)


def same_aspect(aspects: Collection[Fraction]) -> bool:
    """Whether these shapes of pixels differ by rounding alone."""
    return max(aspects) <= min(aspects) * SAME_ASPECT


def _av1_bits(path: Path) -> int:
    """Bits of an AVIF's samples. Source: AV1 Codec ISO Media File Format Binding, 2.3.3, av1C."""
    with path.open("rb") as file:
        _, box, after = file.read(AVIF_HEAD).partition(b"av1C")
    if not box or len(after) < 3:
        return 8
    return 12 if after[2] & 0x20 else 10 if after[2] & 0x40 else 8


def _read_deep_png(path: Path, orientation: int) -> Still:
    levels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None:
        raise ValueError("its data do not decode")
    return _still(_from_opencv(levels), None, orientation)


def _from_opencv(levels: Num[np.ndarray, "h w *c"]) -> Num[np.ndarray, "h w c"]:
    if levels.ndim == 2:
        return levels[..., None]
    order = [2, 1, 0, 3][: levels.shape[2]]
    return levels[..., order]


def _tiff_head(path: Path) -> StillHead:
    with tifffile.TiffFile(path) as tiff:
        number, page = _taken(tiff)
        notes = []
        if len(tiff.pages) > 1:
            size = page.imagewidth, page.imagelength
            notes.append(_choice(len(tiff.pages), number, size))
        if page.photometric == SEPARATED:
            notes.append("is CMYK, and is read as RGB without its profile")
        extras = tuple(page.extrasamples)
        if PREMULTIPLIED in extras[:1]:
            notes.append("has premultiplied alpha, which is read, and written, as straight")
        if [extra for extra in extras[:1] if extra not in (PREMULTIPLIED, STRAIGHT)] or extras[1:]:
            notes.append("has extra channels, which are not read")
        if page.sampleformat == FLOAT and cut_off(path):
            notes.append(
                "holds floats outside 0 (black) to 1 (white), which are clipped to that range"
            )
        alpha = extras[:1] in ((PREMULTIPLIED,), (STRAIGHT,))
        profile = page.tags.get(ICC_PROFILE)
        icc = _of_rgb(None if profile is None else bytes(profile.value))
        bits = 16 if _is_deep(page) else 8
        turn = page.tags.get(ORIENTATION)
        density = [tag.value for tag in map(page.tags.get, DENSITY) if tag is not None]
        aspect = _pixel_aspect({"dpi": density}, 1 if turn is None else turn.value)
        return StillHead(bits, alpha, [], notes, icc, EXIF in page.tags, pixel_aspect=aspect)


def _taken(tiff: tifffile.TiffFile) -> tuple[int, tifffile.TiffPage]:
    """The largest of a file's pages, and its number; checked to be of a kind that has a white."""
    # Whole pages, not the frames that tifffile makes of those alike the first.
    pages = [tiff.pages.get(n, validate=False).aspage() for n in range(len(tiff.pages))]
    number = max(range(len(pages)), key=lambda n: pages[n].imagewidth * pages[n].imagelength)
    page, path = pages[number], tiff.filehandle.path
    if not isinstance(page.bitspersample, int):
        raise FaceswapError(f"{path}: is a TIFF whose channels have different bits; save it as RGB")
    if page.sampleformat == SIGNED:
        raise FaceswapError(
            f"{path}: holds signed integers, whose white is not known; save it as unsigned "
            "integers or as floats"
        )
    if page.sampleformat not in (UNSIGNED, FLOAT) or (
        _is_deep(page) and page.photometric not in CHANNELS
    ):
        kind = getattr(page.photometric, "name", page.photometric)
        raise FaceswapError(
            f"{path}: is a TIFF of an unsupported kind ({kind}, {page.bitspersample} bits); "
            "save it as RGB or grey"
        )
    return number, page


def _is_deep(page: tifffile.TiffPage) -> bool:
    return page.sampleformat == FLOAT or page.bitspersample > 8


def _read_tiff(path: Path) -> Still:
    with tifffile.TiffFile(path) as tiff:
        number, page = _taken(tiff)
        if not _is_deep(page):
            with Image.open(path) as picture:
                picture.seek(number)
                return _from_pillow(picture)
        levels = _decoded(path, tiff, page)
        tag = page.tags.get(ORIENTATION)
        colors, white = CHANNELS[page.photometric], 1 if page.sampleformat == FLOAT else 65535
        extra = page.extrasamples[0] if page.extrasamples else None
        if extra not in (PREMULTIPLIED, STRAIGHT):
            levels, extra = levels[..., :colors], None
        if page.photometric == WHITE_IS_ZERO:
            levels[..., 0] = white - levels[..., 0]
        elif page.photometric == SEPARATED:
            paper = 1 - levels[..., :4] / white
            colored = paper[..., :3] * paper[..., 3:] * white
            colored = colored if white == 1 else np.round(colored)
            levels = np.dstack([colored.astype(levels.dtype), levels[..., 4:5]])
        return _still(levels, extra, 1 if tag is None else int(tag.value))


def _decoded(
    path: Path, tiff: tifffile.TiffFile, page: tifffile.TiffPage
) -> Num[np.ndarray, "h w c"]:
    """A page's samples, of floats as they are, of integers over 16 bits."""
    bits, number = page.bitspersample, page.index
    try:
        levels = page.asarray()
        if page.axes == "SYX":
            levels = np.moveaxis(levels, 0, -1)
        levels = levels.reshape(page.imagelength, page.imagewidth, -1)
    except (ValueError, NotImplementedError):
        # tifffile alone has few decompressors.
        data, span = np.frombuffer(path.read_bytes(), np.uint8), (number, number + 1)
        found, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=span)
        colors = CHANNELS[page.photometric]
        if not found or page.photometric == SEPARATED or page.samplesperpixel not in (1, colors, 4):
            raise FaceswapError(
                f"{path}: is a TIFF with unsupported compression; save it uncompressed"
            ) from None
        levels = _from_opencv(pages[0])
        # OpenCV shifts what has no whole bytes to the top.
        levels = levels >> (16 - bits) if bits < 16 else levels
    if levels.dtype.kind == "f":
        # Of 16 bits they reach no 65535.
        return levels.astype(np.float64)
    return np.round(levels * (65535 / (2**bits - 1))).astype(np.uint16)


def _still(levels: Num[np.ndarray, "h w c"], extra: int | None, orientation: int) -> Still:
    """A picture of 16 bits, from grey or RGB (floats: 1 is white), with alpha behind or not."""
    if levels.dtype.kind == "f":
        cut = np.clip(np.nan_to_num(levels, posinf=1), 0, 1)
        levels = np.round(cut * 65535).astype(np.uint16)
    levels = _upright(levels, orientation)
    channels = levels.shape[2]
    alpha = levels[..., -1] if channels in (2, 4) else None
    colors = levels[..., : 1 if channels < 3 else 3].astype(np.float64)
    if extra == PREMULTIPLIED and alpha is not None:
        colors *= 65535 / np.maximum(alpha, 1)[..., None]
    image = np.broadcast_to(np.minimum(np.round(colors), 65535), (*levels.shape[:2], 3))
    straight = None if alpha is None else np.ascontiguousarray(alpha.astype(np.uint16))
    return Still(np.ascontiguousarray(image.astype(np.uint16)), straight)


def _upright(levels: Num[np.ndarray, "h w c"], orientation: int) -> Num[np.ndarray, "h2 w2 c"]:
    """Source: EXIF 2.3, 4.6.4 A, Orientation."""
    levels = levels.swapaxes(0, 1) if orientation >= 5 else levels
    levels = levels[:, ::-1] if orientation in (2, 3, 6, 7) else levels
    return levels[::-1] if orientation in (3, 4, 7, 8) else levels
