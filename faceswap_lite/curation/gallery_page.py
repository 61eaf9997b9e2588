"""One HTML page, complete in itself, on which a person looks through what was decided."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..outputs import plain, write_text
from ..pages import fill_template, fitting_px, jpeg_bytes, page_base64, page_json, page_text
from .contact_sheets import REASON_WORDS, group_faces, short_number
from .decisions import Decision

GALLERY_TEMPLATE = Path(__file__).with_name("page.html")

# A small set is shown sharp; a large one in smaller pictures, so that the page still opens at once.
EDGES_PX = (128, 96, 80, 64, 48)
THUMBNAIL_QUALITY = 75


def write_page(
    path: Path, title: str, decisions: Sequence[Decision], thumbnails: UInt8[np.ndarray, "n s s 3"]
) -> None:
    """Write a page that shows every face by its fate and reason, to sort, filter and pick from.

    It needs no network and no server. The order given counts as "worst first". Thumbnails are
    never enlarged; they are made smaller till the page is small enough to open quickly.
    """
    head, pictures = _fitting_thumbnails(thumbnails)
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
                "weight": plain(decision.weight, 6),
                "byUser": decision.by_user,
                "scores": [plain(decision.scores.get(name), 6) for name in names],
                "picture": picture,
            }
            for place, (decision, picture) in enumerate(zip(decisions, pictures, strict=True))
        ],
    }
    parts = {"title": page_text(title), "data": page_json(data)}
    write_text(path, fill_template(GALLERY_TEMPLATE, parts))


def _fitting_thumbnails(thumbnails: UInt8[np.ndarray, "n s s 3"]) -> tuple[str, list[str]]:
    """The faces as JPEGs in base64: the head that all share, and the rest of each.

    JPEGs of one size and quality begin with the same tables, two fifths of such a small file. The
    head is cut to whole groups of 3 bytes, so that the two texts joined are again base64.
    """
    # Every 50th or so tells how large all will be.
    step = len(thumbnails) // 50 + 1
    sizes = [px for px in EDGES_PX if px <= thumbnails.shape[1]] or [thumbnails.shape[1]]

    some = thumbnails[::step]
    px = fitting_px(sizes, lambda px: step * sum(map(len, _thumbnail_files(some, px)[1])))
    return _thumbnail_files(thumbnails, px)


def _thumbnail_files(thumbnails: UInt8[np.ndarray, "n s s 3"], edge: int) -> tuple[str, list[str]]:
    files = [jpeg_bytes(pixels, edge, THUMBNAIL_QUALITY) for pixels in thumbnails]
    # What the first and the last in order share, all share.
    first, last = min(files, default=b""), max(files, default=b"")
    pairs = enumerate(zip(first, last, strict=False))
    shared = next((place for place, (a, b) in pairs if a != b), len(first)) // 3 * 3
    head = first[:shared]
    return page_base64(head), [page_base64(file[shared:]) for file in files]
