"""Ways to damage a file: of its bytes, of a container's boxes, of a text that says something.

No benchmark itself. Each takes bytes and a `random.Random`, and gives bytes.
"""

import io
import json
import pickle
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from faceswap_lite.interchange.pickles import read_pickled

# What may stand behind a key of YAML.
ODD_LINES = (
    "", "null", "-1", "0", "1e400", ".nan", ".inf", "9" * 20, "yes", "[1, 2]", "{", "*x", "&x [*x]",
    "!!python/object:os.system x", "'", "\t", "1: 2", "2026-13-45", "0o9", "~", "x" * 3000,
    "[" * 400, "!!binary x", "2026-01-01", "\x07",
)  # fmt: skip

Mutator = Callable[[bytes, random.Random], bytes]

# What a value of JSON or YAML may have become.
ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), "", "x", "\x00",
    "../../out", "/", "a" * 5000, [], {}, [[]], [None], {"x": 1}, "-1", "NaN", "1/0", "\u2028\n",
)  # fmt: skip


def flip(data: bytes, rng: random.Random) -> bytes:
    """One bit, or up to a hundred."""
    return _flipped(data, rng, range(len(data)))


def flip_head(data: bytes, rng: random.Random) -> bytes:
    """The same, among the first bytes, where a file says what it is."""
    return _flipped(data, rng, range(min(len(data), 200)))


def _flipped(data: bytes, rng: random.Random, places: range) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 10, 100))):
        out[rng.choice(places)] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end is gone, from anywhere; or nothing is left."""
    return data[: rng.choice((0, rng.randrange(len(data)), rng.randrange(len(data))))]


def cut_out(data: bytes, rng: random.Random) -> bytes:
    start, end = _block(data, rng)
    return data[:start] + data[end:]


def zero(data: bytes, rng: random.Random) -> bytes:
    """A block is zeros, as after a crash of the machine."""
    start, end = _block(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def swap(data: bytes, rng: random.Random) -> bytes:
    """Two blocks have changed places."""
    size = rng.randint(1, max(1, len(data) // 4))
    a, b = sorted(
        (rng.randrange(max(1, len(data) - size)), rng.randrange(max(1, len(data) - size)))
    )
    b = max(b, min(a + size, len(data) - size))
    between = data[a + size : b]
    return data[:a] + data[b : b + size] + between + data[a : a + size] + data[b + size :]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Strange bytes, or a block a second time."""
    place = rng.randrange(len(data) + 1)
    start, end = _block(data, rng)
    strange = rng.randbytes(rng.randint(1, 2000))
    return data[:place] + rng.choice((strange, data[start:end])) + data[place:]


def _block(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 4, 64, 512, 4096, len(data) // 3 + 1)))


BYTES: tuple[Mutator, ...] = (flip, flip_head, cut, cut_out, zero, swap, insert)

# --- Containers -----------------------------------------------------------------------------------

_HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"dinf", b"mvex"}
_SIZES = (0, 1, 7, 8, 9, 2**31 - 1, 2**31, 2**32 - 1)


def box_size(data: bytes, rng: random.Random) -> bytes:
    """A box of an MP4 or MOV has another size."""
    at, size = rng.choice([*_boxes(data, 0, len(data))])
    near = max(0, min(2**32 - 1, size + rng.choice((-1, 1, -8, 8, 1000))))
    return _put(data, at, struct.pack(">I", rng.choice((*_SIZES, near))))


def box_words(data: bytes, rng: random.Random) -> bytes:
    """Some 32-bit words of the tables in a movie's head are others: counts, offsets, lengths."""
    tables = [(at, size) for at, size in _boxes(data, 0, len(data)) if data[at + 4 : at + 8] in (
        b"stts", b"ctts", b"stsz", b"stsc", b"stco", b"stss", b"elst", b"tkhd", b"mvhd", b"mdhd",
        b"stsd", b"hdlr",
    )]  # fmt: skip
    at, size = rng.choice(tables)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = at + 8 + 4 * rng.randrange(max(1, (size - 8) // 4))
        data = _put(data, place, struct.pack(">I", rng.choice((*_SIZES, rng.getrandbits(32)))))
    return data


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start + 8 <= end:
        size = struct.unpack_from(">I", data, start)[0]
        yield start, size
        if data[start + 4 : start + 8] in _HOLDERS:
            yield from _boxes(data, start + 8, min(end, start + size))
        if size < 8:
            return
        start += size


_ELEMENTS = (
    b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b", b"\xae",
    b"\x1f\x43\xb6\x75", b"\xa3", b"\xe7", b"\x1c\x53\xbb\x6b", b"\x11\x4d\x9b\x74", b"\xe0",
)  # fmt: skip


def element_size(data: bytes, rng: random.Random) -> bytes:
    """An element of a Matroska or WebM has another size."""
    places = [m.end() for name in _ELEMENTS for m in re.finditer(re.escape(name), data)]
    sizes = (b"\x80", b"\x81", b"\xff", b"\x00", b"\x01\xff\xff\xff\xff\xff\xff\xff")
    place = rng.choice([place for place in places if place < len(data)])
    return _put(data, place, rng.choice((*sizes, rng.randbytes(2))))


def _put(data: bytes, at: int, what: bytes) -> bytes:
    return (data[:at] + what + data[at + len(what) :])[: len(data)]


# --- Texts ----------------------------------------------------------------------------------------


def json_value(data: bytes, rng: random.Random) -> bytes:
    """Something in a JSON text is another thing; what is said elsewhere stays."""
    return json.dumps(_odd(json.loads(data), rng)).encode()


def json_line(data: bytes, rng: random.Random) -> bytes:
    """The same in one of the lines of a journal; or a line is gone, is there twice, or moved."""
    lines = data.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            lines.insert(rng.randrange(len(lines) + 1), lines[place])
        case 1:
            lines.insert(rng.randrange(len(lines)), lines.pop(place))
        case 2:
            lines.pop(place)
        case _:
            lines[place] = json_value(lines[place], rng) + b"\n"
    return b"".join(lines)


def _odd(value: Any, rng: random.Random) -> Any:
    """The value with one of its parts, however deep, exchanged, taken out or added."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key = rng.choice([*value])
        if rng.random() < 0.15:
            return {name: part for name, part in value.items() if name != key}
        if rng.random() < 0.05:
            return {**value, "strange": 1}
        return {**value, key: _odd(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        if rng.random() < 0.2:
            return value[:place] + value[place + 1 :]
        return [*value[:place], _odd(value[place], rng), *value[place + 1 :]]
    if isinstance(value, np.ndarray) and rng.random() < 0.8:
        odd = (value[..., :-1], value.ravel(), value * np.nan, value.astype("U"), value[:0],
               np.full(value.shape, 1e38), value[None], value.tolist(), value > 0)  # fmt: skip
        return odd[rng.randrange(len(odd))]
    if isinstance(value, bool | int | float) and rng.random() < 0.4:
        return rng.choice((value + 1, -value, value * 1000, str(value), value + 0.5))
    if isinstance(value, str) and value and rng.random() < 0.4:
        place = rng.randrange(len(value))
        return value[:place] + rng.choice(("", "9", "-", "/", ",,", "A")) + value[place + 1 :]
    return rng.choice(ODD_VALUES)


def yaml_line(data: bytes, rng: random.Random) -> bytes:
    """A line of a config says something else, stands elsewhere, or is there twice."""
    lines = data.decode().splitlines()
    place = rng.randrange(len(lines))
    odd = rng.choice(ODD_LINES)
    match rng.randrange(4):
        case 0:
            lines.insert(place, lines[rng.randrange(len(lines))])
        case 1:
            lines[place] = rng.choice((odd, f"{odd}: {odd}", "  " + lines[place]))
        case _:
            lines[place] = lines[place].partition(":")[0] + ": " + odd
    return "\n".join(lines).encode()


def png_record(data: bytes, rng: random.Random) -> bytes:
    """The record in a crop says something else, with the right sums."""
    out = bytearray(data[:8])
    at = 8
    while at < len(data):
        (size,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        if kind == b"iTXt":
            head, packed = body.split(b"\x00\x01\x00\x00\x00", 1)
            text = json_value(zlib.decompress(packed), rng)
            body = head + b"\x00\x01\x00\x00\x00" + zlib.compress(text)
        out += struct.pack(">I", len(body)) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body))
        at += 12 + size
    return bytes(out)


def tensors_head(data: bytes, rng: random.Random) -> bytes:
    """The head of a safetensors file says something else."""
    (size,) = struct.unpack_from("<Q", data)
    head = json_value(data[8 : 8 + size], rng)
    return struct.pack("<Q", len(head)) + head + data[8 + size :]


def tensors_value(data: bytes, rng: random.Random) -> bytes:
    """What the notes of a safetensors file hold as JSON says something else."""
    (size,) = struct.unpack_from("<Q", data)
    head = json.loads(data[8 : 8 + size])
    notes = head["__metadata__"]
    key = rng.choice(sorted(name for name, text in notes.items() if text[:1] in "{["))
    notes[key] = json_value(notes[key].encode(), rng).decode()
    packed = json.dumps(head).encode()
    return struct.pack("<Q", len(packed)) + packed + data[8 + size :]


def pickled_value(data: bytes, rng: random.Random) -> bytes:
    """Something in a pickle of plain values and arrays is another thing."""
    return pickle.dumps(_odd(read_pickled(io.BytesIO(data), "pickle"), rng), 4)


def jpeg_value(data: bytes, rng: random.Random) -> bytes:
    """The same in the pickle that a JPEG of DeepFaceLab carries."""
    start = data.index(b"\xff\xef")
    (size,) = struct.unpack_from(">H", data, start + 2)
    chunk = pickled_value(data[start + 4 : start + 2 + size], rng)[: 2**16 - 3]
    head = data[: start + 2] + struct.pack(">H", len(chunk) + 2)
    return head + chunk + data[start + 2 + size :]


def zip_member(data: bytes, rng: random.Random) -> bytes:
    """A member of an .npz is damaged, with the right sums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        hit = rng.choice(names)
        for name in names:
            body = old.read(name)
            new.writestr(name, rng.choice(BYTES)(body, rng) if name == hit else body)
    return out.getvalue()
