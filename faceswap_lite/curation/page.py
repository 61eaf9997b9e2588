"""One HTML page, complete in itself, on which a person looks through what was decided."""

import base64
import html
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ..outputs import write_text
from .decisions import Decision
from .sheets import REASON_WORDS, group_faces, short_number

TEMPLATE = Path(__file__).with_name("page.html")

# A small set is shown sharp; a large one in smaller pictures, so that the page still opens at once.
SIDES_PX = (128, 96, 80, 64, 48)
PICTURES_BYTES = 12_000_000
JPEG_QUALITY = 75


def write_page(
    path: Path,
    title: str,
    decisions: Sequence[Decision],
    thumbnails: UInt8[np.ndarray, "n s s 3"],
) -> None:
    """Write a page that shows every face by its fate and reason, to sort, filter and pick from.

    It needs no network and no server. The order given counts as "worst first". Thumbnails are
    never enlarged; they are made smaller till the page is small enough to open quickly.
    """
    head, pictures = _pictures(thumbnails)
    groups = group_faces(decisions)
    group_of = {place: number for number, group in enumerate(groups) for place in group.places}
    names = list(dict.fromkeys(name for decision in decisions for name in decision.scores))
    data = {
        "groups": [
            {"title": group.title, "short": REASON_WORDS[group.reason], "kept": group.kept}
            for group in groups
        ],
        "scores": names,
        "pictureHead": head,
        "faces": [
            {
                "file": decision.file,
                "group": group_of[place],
                "words": decision.words,
                "number": short_number(decision),
                "weight": _number(decision.weight),
                "byUser": decision.by_user,
                "scores": [_number(decision.scores.get(name, math.nan)) for name in names],
                "picture": picture,
            }
            for place, (decision, picture) in enumerate(zip(decisions, pictures, strict=True))
        ],
    }
    parts = {"title": _text(title), "data": _json(data)}
    template = TEMPLATE.read_text(encoding="utf-8")
    # In one pass: what a part brings in is never taken for a place to fill.
    write_text(path, re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template))


def _pictures(thumbnails: UInt8[np.ndarray, "n s s 3"]) -> tuple[str, list[str]]:
    """The faces as JPEGs in base64: the head that all share, and the rest of each.

    JPEGs of one size and quality begin with the same tables, two fifths of such a small file. The
    head is cut to whole groups of 3 bytes, so that the two texts joined are again base64.
    """
    # Every 50th or so tells how large all will be.
    step = len(thumbnails) // 50 + 1
    for side in [px for px in SIDES_PX if px <= thumbnails.shape[1]] or [thumbnails.shape[1]]:
        _, trial = _split(thumbnails[::step], side)
        if sum(map(len, trial)) * step < PICTURES_BYTES:
            break
    return _split(thumbnails, side)


def _split(thumbnails: UInt8[np.ndarray, "n s s 3"], side: int) -> tuple[str, list[str]]:
    files = [_jpeg(pixels, side) for pixels in thumbnails]
    # What the first and the last in order share, all share.
    first, last = min(files, default=b""), max(files, default=b"")
    pairs = enumerate(zip(first, last, strict=False))
    shared = next((place for place, (a, b) in pairs if a != b), len(first)) // 3 * 3
    head = first[:shared]
    return _base64(head), [_base64(file[shared:]) for file in files]


def _jpeg(pixels: UInt8[np.ndarray, "s s 3"], side: int) -> bytes:
    if side != len(pixels):
        pixels = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=JPEG_QUALITY)
    return file.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _number(value: float) -> float | None:
    """Six digits are plenty to look at; JSON knows no NaN and no infinity."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _text(text: str) -> str:
    """Any text, safe between tags and in ASCII: not every file name can be UTF-8."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _json(value: Any) -> str:
    """JSON that is safe inside <script>: nothing in it can end the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
