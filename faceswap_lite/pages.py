"""Parts of HTML pages that are one file: text, data and pictures that travel inside the page."""

import base64
import html
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

PICTURES_BYTES = 12_000_000
"""Of all pictures of a page, as text: it still opens at once."""


def fitting_px(sizes: Sequence[int], text_bytes: Callable[[int], int]) -> int:
    """The first of sizes, which fall, in which pictures take no more than PICTURES_BYTES."""
    return next((px for px in sizes if text_bytes(px) < PICTURES_BYTES), sizes[-1])


def fill_template(template: Path, parts: dict[str, str]) -> str:
    """The template's text with `{{name}}` filled from `parts`, which must be safe already.

    In one pass: what a part brings in is never taken for a place to fill.
    """
    text = template.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], text)


def page_text(text: str) -> str:
    """Any text, safe between tags and in ASCII: not every file name can be UTF-8."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


def page_json(value: Any) -> str:
    """JSON that is safe inside <script>: nothing in it can end the element or open a comment.

    Raises: ValueError for NaN and infinity, which JSON does not know.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def page_base64(data: bytes) -> str:
    """Bytes as a data address holds them."""
    return base64.b64encode(data).decode("ascii")


def jpeg_bytes(pixels: UInt8[np.ndarray, "h w *channels"], longest: int, quality: int) -> bytes:
    """A JPEG, colour or grey, whose longer side is at most `longest` px; never enlarged."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=quality)
    return file.getvalue()
