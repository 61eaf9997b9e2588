"""What a clip is: its frames, what its container says of it, where clips are found."""

import glob
import hashlib
import mimetypes
import os
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from PIL import Image

from ..errors import FaceswapError
from ..outputs import file_sha256

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif"}
UNREAD_SUFFIXES = {".exr", ".dpx", ".cin", ".hdr", ".heic", ".heif", ".jxl"}
"""Of pictures that nothing here reads, and that not every system knows as pictures."""
VIDEO_SUFFIXES = {
    ".mp4", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".webm", ".m4v", ".mts", ".m2ts", ".ts",
    ".wmv", ".flv", ".mxf", ".gif", ".ogv", ".3gp",
}  # fmt: skip

LIGHTS = {16: "PQ", 18: "HLG"}
"""By FFmpeg's number of a transfer function: those of HDR."""
WIDE_PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
"""By FFmpeg's number."""

STILLS_RATE = Fraction(25)
"""Frames a second of a folder of pictures that does not say its times."""
TIMES_NAME = "times.json"
"""Beside an image sequence: when each picture is shown."""


Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
"""RGB, over the whole range of its type."""
Alpha = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]


def as_uint8(picture: np.ndarray) -> np.ndarray:
    """A picture, a mask or a stack of them with 8 bits a channel.

    16-bit values span 0 to 65535; floats are in [0, 1], what is beyond is cut.
    """
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.uint16:
        return ((picture.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


@dataclass(frozen=True)
class Frame:
    """One upright RGB picture of a clip; `time` is `pts` times the clip's time base, in seconds.

    `ticks` is how long it is shown, in the clip's time base (None: as long as is usual).
    """

    index: int
    pts: int
    time: Fraction
    image: Pixels
    alpha: Alpha | None = None
    """Straight, in the scale of `image`; None: all is opaque."""
    own_number: int | None = None
    """What the clip itself calls it; None: nothing."""
    ticks: int | None = None

    @property
    def number(self) -> int:
        """What pictures and masks of it are called by: its own number, else counted from 1."""
        return self.index + 1 if self.own_number is None else self.own_number

    def with_alpha(self, picture: Shaped[np.ndarray, "h w 3"]) -> Shaped[np.ndarray, "h w 4"]:
        """A picture of this frame's size and depth with this frame's alpha."""
        alpha = self.alpha
        if alpha is None:
            alpha = np.full(picture.shape[:2], np.iinfo(picture.dtype).max, picture.dtype)
        return np.dstack([picture, alpha])


@dataclass(frozen=True)
class Photo:
    """A picture of somebody, and its file."""

    path: Path
    image: UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class ColorTags:
    """How YUV was made from RGB, in FFmpeg's numbers; 2 is "unspecified" (range: 0)."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0

    @property
    def is_beyond_srgb(self) -> bool:
        """Whether light or primaries are such that nobody takes an untagged picture for."""
        return self.transfer in LIGHTS or self.primaries in WIDE_PRIMARIES

    @property
    def named(self) -> str:
        """What is beyond sRGB, in words."""
        return LIGHTS.get(self.transfer) or WIDE_PRIMARIES.get(self.primaries, "sRGB")


Span = tuple[Fraction, Fraction | None]
"""From and to, in seconds of a clip; None: to its end."""

FieldOrder = Literal["tff", "bff"]
"""Of interlaced frames: top or bottom field first."""


@dataclass(frozen=True)
class Light:
    """How bright a clip was mastered to be. Source: SMPTE ST 2086, CTA-861.3."""

    mastering: tuple[int, ...] | None = None
    """x and y of red, green, blue and white in 1/50000; least and most light in 1/10000 cd/m2."""
    content: tuple[int, int] | None = None
    """MaxCLL and MaxFALL, in cd/m2."""


@dataclass(frozen=True)
class ClipInfo:
    """What the container says. `width` and `height` are the upright picture's."""

    path: Path
    kind: Literal["video", "images", "image"]
    width: int
    height: int
    frame_count: int | None
    rate: Fraction | None
    time_base: Fraction
    codec: str | None
    pixel_format: str | None
    bit_depth: int
    rotation_deg: int = 0
    color: ColorTags = ColorTags()
    has_audio: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel by its height."""
    start_time: Fraction = Fraction(0)
    """When the first frame is shown, in seconds."""
    first_number: int = 1
    """The `number` of the first frame."""
    last_number: int | None = None
    """That of the last, where the container tells it."""
    numbers: tuple[int, ...] | None = None
    """Of a sequence that says no times: the number of each picture."""
    alpha: bool = False
    """Whether frames have alpha."""
    fields: FieldOrder | None = None
    """How frames are interlaced; None: they are not."""
    light: Light | None = None
    icc: bytes | None = None
    """Of pictures: the profile that says what their colours are."""
    calibration: tuple[tuple[bytes, bytes], ...] = ()
    """Of PNG pictures: the chunks that say what their values mean, where no profile does."""
    exif: bool = False
    """Whether pictures say of camera, date or place."""
    timecode: str | None = None
    """Of the first frame, as hh:mm:ss:ff; drop-frame with a semicolon before ff."""


def list_images(folder: Path) -> list[Path]:
    """The visible pictures of a folder, numbers in their names in order of size."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return sorted((p for p in files if not p.name.startswith(".")), key=_natural)


def passed_over(folder: Path, taken: Collection[str]) -> str:
    """One line on the files of a folder but those that are `taken`; "" when there are no others.

    It names first what are pictures by their suffix, of a kind that is not read.
    """
    others, no_files = [], []
    # One look at the folder, of which the system tells what is a file.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in taken:
                continue
            if _is_file(entry):
                others.append(entry.name)
            elif not entry.name.startswith(".") and _is_image_name(entry.name):
                no_files.append(entry.name)
    others, no_files = sorted(others), sorted(no_files)
    known = {*Image.registered_extensions()}
    pictures = [
        name
        for name in others
        if not name.startswith(".")
        and (
            Path(name).suffix.lower() in known | UNREAD_SUFFIXES
            or (mimetypes.guess_type(name)[0] or "").startswith("image/")
        )
    ]
    others = [name for name in others if name not in pictures]
    one, many = "is skipped, for its suffix", "are skipped, for their suffixes"
    lines = (
        some_of(pictures, "is a picture of a kind not read", "are pictures of kinds not read"),
        some_of(others, f"{one} or as hidden", f"{many} or as hidden"),
        some_of(
            no_files,
            "is no readable file (a link, a pipe, a folder)",
            "are no readable files (links, pipes, folders)",
        ),
    )
    return "; ".join(line for line in lines if line)


def some_of(names: Sequence[str], one: str, many: str) -> str:
    """How many files, what of them, and the names of the first three; "" without any."""
    if not names:
        return ""
    what = counted(len(names), f"file {one}", f"files {many}")
    more = ", ..." if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more}"


def counted(count: int, one: str, many: str) -> str:
    """A number and what there is of it: `one` of 1, else `many`."""
    return f"{count} {one if count == 1 else many}"


def find_clips(patterns: Sequence[str | Path]) -> list[Path]:
    """Clips named by paths or patterns: videos, pictures, image sequences, folders of these.

    A folder of numbered pictures is one clip; of other pictures, each is one. In a folder, files
    that are neither video nor picture by their suffix, and hidden ones, are passed over; `**` in a
    pattern looks into folders of folders. Raises: FaceswapError when a pattern names nothing.
    """
    found: list[Path] = []
    for pattern in map(str, patterns):
        # A path that exists is meant literally, brackets and all.
        if Path(pattern).exists():
            clips = _clips_of(Path(pattern)) if Path(pattern).is_dir() else [Path(pattern)]
        else:
            paths = sorted(map(Path, glob.glob(pattern, recursive=True)), key=_natural)
            clips = [clip for path in paths for clip in _clips_of(path)]
        if not clips:
            raise FaceswapError(f"{pattern}: no such clip, picture, or folder with any of these")
        found += clips
    return list(dict.fromkeys(found))


def one_number(images: Sequence[Path]) -> str:
    """One line on pictures that share a number, as those of several sequences do; "" without."""
    ends = [[int(n) for n in re.findall(r"\d+", path.stem)][::-1] for path in images]
    places = range(max(map(len, ends), default=0))
    # What changes last counts the pictures; behind it there may be a size or a version.
    last = next((k for k in places if len({e[k] for e in ends if len(e) > k}) > 1), None)
    if last is None:
        return ""
    sequences: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in images:
        numbers = list(re.finditer(r"\d+", path.stem))
        if len(numbers) > last:
            start, end = numbers[-1 - last].span()
            name = f"{path.name[:start]}#{path.name[end:]}"
            sequences[name].setdefault(int(numbers[-1 - last][0]), path)
    # A picture alone makes no sequence.
    several = [sequence for sequence in sequences.values() if len(sequence) > 1]
    seen: dict[int, Path] = {}
    for number, path in (item for sequence in several for item in sequence.items()):
        other = seen.setdefault(number, path)
        if other is not path:
            return (
                f"holds several pictures of one number ({other.name}, {path.name}), as of several "
                "sequences: all are taken, one after another; a folder for each keeps them apart"
            )
    return ""


def gaps_closed(numbers: Sequence[int]) -> str:
    """One line on the numbers that a sequence lacks; "" when it has them all."""
    gaps = [(a + 1, b - a - 1) for a, b in pairwise(numbers) if b > a + 1]
    if not gaps:
        return ""
    lacks = counted(sum(count for _, count in gaps), "number is", "numbers are")
    which = ", ".join(f"from {first} on" if count > 1 else str(first) for first, count in gaps[:3])
    return (
        f"{lacks} missing ({which}{', ...' * (len(gaps) > 3)}): in a video, the pictures after a "
        "gap come earlier by as many frames"
    )


def clip_fingerprint(path: Path) -> str:
    """Hex sha256 of a clip's bytes; of a folder's pictures, of their names and bytes.

    Raises: FaceswapError when it cannot be read.
    """
    try:
        if path.exists() and not path.is_dir() and not path.is_file():
            # Reading a pipe may never end.
            raise FaceswapError(f"{path}: is neither a file nor a folder")
        if path.is_dir():
            digest = hashlib.sha256()
            for file in list_images(path):
                digest.update(f"{file.name}\0{file_sha256(file)}\0".encode())
            return digest.hexdigest()
        return file_sha256(path)
    except OSError as error:
        raise FaceswapError(f"{path}: cannot be read ({error.strerror})") from error


def ffmpeg_url(path: Path) -> str:
    """A path as FFmpeg takes it: a colon in the name is no protocol."""
    return f"file:{path}"


def is_sequence(images: Sequence[Path]) -> bool:
    """Whether pictures are the frames of one clip: one name, with a number that changes."""
    names = {re.sub(r"\d+$", "#", path.stem) for path in images}
    if len({path.suffix.lower() for path in images}) > 1 and frame_numbers(images) is None:
        return False  # each frame in several formats
    return len(images) > 1 and len(names) == 1


def frame_numbers(images: Sequence[Path]) -> list[int] | None:
    """The numbers that end the names of pictures; None where one has none, or they do not rise."""
    ends = [re.search(r"\d+$", path.stem) for path in images]
    numbers = [int(end[0]) for end in ends if end is not None]
    rising = all(b > a for a, b in pairwise(numbers))
    return numbers if rising and len(numbers) == len(images) else None


def _clips_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES else []
    images = list_images(path)
    if is_sequence(images):
        return [path]
    visible = [p for p in path.iterdir() if not p.name.startswith(".")]
    videos = [p for p in visible if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES]
    sequences = [p for p in visible if p.is_dir() and is_sequence(list_images(p))]
    return sorted([*images, *videos, *sequences], key=_natural)


def _is_image_name(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False  # links in a circle


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
