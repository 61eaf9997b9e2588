"""What a container's own boxes say of its picture, and FFmpeg does not tell: edits, and crops.

Sources: ISO/IEC 14496-12, 8.6.6 (elst) and 12.1.4 (clap); RFC 9559, 5.1.4.1.28 (PixelCrop).
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from struct import error as StructError
from struct import unpack_from

MAX_INDEX_BYTES = 64 << 20
"""Bytes of an mp4's index that are looked through."""
TRACKS_WITHIN = 4 << 20
"""Bytes of a Matroska file's beginning in which its tracks are described."""
SEGMENT, TRACKS, TRACK, VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
CROPS = {0x54AA: "bottom", 0x54BB: "top", 0x54CC: "left", 0x54DD: "right"}
NEAR_SPEED = Fraction(1, 1000)
"""How far from 1 a speed may be that only rounding made."""
_EMPTY = -1
_VISUAL_ENTRY = 78
"""Bytes before the boxes inside a picture's sample entry."""

Size = tuple[int, int]


def edit_notes(path: Path, track: int, rate: Fraction, has_sound: bool) -> list[str]:
    """A line on each thing that an mp4's edit list asks for, and a reader of frames does not do."""
    moov = _moov(path)
    try:
        scale = next(_inside(moov, b"mvhd"))
        seconds = Fraction(1, unpack_from(">I", scale, 20 if scale[0] else 12)[0])
        edits = [edit for trak in _traks(moov, track) for edit in _edits(trak)]
    except (StopIteration, StructError, IndexError, ZeroDivisionError):
        return []
    lines = []
    frame = 1 / rate
    held = [ticks * seconds for ticks, start, speed in edits if start != _EMPTY and speed == 0]
    # What ends where the next frame begins holds none.
    held = [time for time in held if time >= frame / 2]
    if held:
        frames = round(sum(held) * rate)
        lines.append(
            f"its edit list holds {len(held)} picture{'s' * (len(held) > 1)} still, for "
            f"{float(sum(held)):.2f} s in all: played on instead, about {frames} frames"
        )
    if any(start != _EMPTY and speed not in (0, 1) for _, start, speed in edits):
        lines.append("its edit list changes the speed: played as it was recorded")
    empty = Fraction(0)
    for ticks, start, _ in edits:
        if start != _EMPTY:
            break
        empty += ticks * seconds
    # With sound the picture comes as late as it did.
    if empty * rate > Fraction(1, 2) and not has_sound:
        frames = round(empty * rate)
        lines.append(
            f"its edit list shows nothing for the first {float(empty):.2f} s (about {frames} "
            "frames): left out, the clip begins with its first picture"
        )
    return lines


def shown_size(path: Path, container: str, track: int, index: int, size: Size) -> Size:
    """What of a picture of this size its container wants to be shown; the same where it is all.

    `container` is FFmpeg's name of the format, `track` and `index` are the stream's.
    """
    try:
        if "mp4" in container:
            return next(_apertures(_moov(path), track), size)
        if "matroska" in container:
            crop = _matroska_crop(path, index)
            return (
                size[0] - crop.get("left", 0) - crop.get("right", 0),
                size[1] - crop.get("top", 0) - crop.get("bottom", 0),
            )
    except (StructError, IndexError, ZeroDivisionError):
        pass
    return size


def _moov(path: Path) -> bytes:
    """The contents of an mp4's index; nothing where it has none, or one too large."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            length, name, said = int.from_bytes(head[:4], "big"), head[4:], 8
            if length == 1:
                length, said = int.from_bytes(file.read(8), "big"), 16
            if name == b"moov":
                return file.read(length - said) if said < length <= MAX_INDEX_BYTES else b""
            if length < said:
                break
            file.seek(length - said, 1)
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents."""
    at = 0
    while at + 8 <= len(data):
        length, name = unpack_from(">I4s", data, at)
        if length < 8:
            return
        yield name, data[at + 8 : at + length]
        at += length


def _inside(data: bytes, *names: bytes) -> Iterator[bytes]:
    """The contents of all boxes that lie on this way down."""
    for name, content in _boxes(data):
        if name == names[0]:
            if names[1:]:
                yield from _inside(content, *names[1:])
            else:
                yield content


def _traks(moov: bytes, track: int) -> Iterator[bytes]:
    for trak in _inside(moov, b"trak"):
        for head in _inside(trak, b"tkhd"):
            if unpack_from(">I", head, 20 if head[0] else 12)[0] == track:
                yield trak


def _edits(trak: bytes) -> Iterator[tuple[int, int, Fraction]]:
    """Ticks of the movie, where in the media they begin, and the speed, of each edit."""
    for table in _inside(trak, b"edts", b"elst"):
        form = ">Qqi" if table[0] else ">Iii"
        (count,), width = unpack_from(">I", table, 4), 20 if table[0] else 12
        for number in range(min(count, len(table) // width)):
            ticks, start, speed = unpack_from(form, table, 8 + number * width)
            yield ticks, start, _plain_speed(speed)


def _plain_speed(said: int) -> Fraction:
    """A speed, which counts in 1/65536; some writers give a whole 1 as the number 1."""
    speed = Fraction(said, 1 << 16)
    return Fraction(1) if said == 1 or abs(speed - 1) < NEAR_SPEED else speed


def _apertures(moov: bytes, track: int) -> Iterator[Size]:
    for trak in _traks(moov, track):
        for table in _inside(trak, b"mdia", b"minf", b"stbl", b"stsd"):
            for _, entry in _boxes(table[8:]):
                for clap in _inside(entry[_VISUAL_ENTRY:], b"clap"):
                    wide, wide_parts, high, high_parts = unpack_from(">4I", clap)
                    yield round(Fraction(wide, wide_parts)), round(Fraction(high, high_parts))


def _matroska_crop(path: Path, index: int) -> dict[str, int]:
    """Pixels that are cut from each side of the track of this number, from 0."""
    with path.open("rb") as file:
        start = file.read(TRACKS_WITHIN)
    segment = next((body for key, body in _elements(start) if key == SEGMENT), b"")
    tracks = next((body for key, body in _elements(segment) if key == TRACKS), b"")
    track = [body for key, body in _elements(tracks) if key == TRACK][index]
    video = next((body for key, body in _elements(track) if key == VIDEO), b"")
    return {CROPS[k]: int.from_bytes(body, "big") for k, body in _elements(video) if k in CROPS}


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents; the last may be cut off, or of unknown length. Source: RFC 8794."""
    at = 0
    while at < len(data):
        wide = 9 - data[at].bit_length()
        key, at = int.from_bytes(data[at : at + wide], "big"), at + wide
        wide = 9 - data[at].bit_length()
        length, at = int.from_bytes(data[at : at + wide], "big") & ((1 << 7 * wide) - 1), at + wide
        unknown = length == (1 << 7 * wide) - 1
        yield key, data[at:] if unknown else data[at : at + length]
        at = len(data) if unknown else at + length
