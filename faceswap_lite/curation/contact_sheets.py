"""Contact sheets: the faces that were decided about for one reason, in one picture."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from ..errors import FaceswapError
from ..media.images import write_image
from ..media.sheets import CELL_PX, QUIET, Sheet, font_of_px
from .decisions import Decision

REASON_WORDS = {
    "other_person": "not the same person",
    "no_face": "no face",
    "misaligned": "badly aligned",
    "occluded": "partly covered",
    "blurred": "blurred",
    "exposure": "too dark or too bright",
    "too_small": "too small",
    "duplicate": "nearly the same as another",
    "surplus": "more of a kind than needed",
    "by_hand": "by hand",
    "rare": "rare",
    "fills_gap": "fills a gap",
    "": "ordinary",
}
"""Each reason as a person says it, in the order in which groups are shown."""

FACES_A_SHEET = 120
SHEET_COLUMNS = 10
GAP_PX = 12
CAPTION_PX = 40
TITLE_PX = 56

# By this text inside, and not by their names alone, old sheets are known as ours.
SHEET_MARK = {"Software": "faceswap_lite contact sheet"}

# A number that stands alone: not the digits of a file name such as clip_000123_0.png.
LONE_NUMBER = re.compile(r"(?<![\w./\\-])[+-]?\d+(?:\.\d+)?\s?(?:%|°|px\b)?(?!\w|[.-]\w)")


@dataclass(frozen=True)
class Group:
    """The faces, by their places among the decisions, that share a fate and its reason."""

    kept: bool
    reason: str
    places: list[int]

    @property
    def name(self) -> str:
        """Short and safe in a file name: rejected_blurred, kept_rare, kept."""
        return "_".join(filter(None, ("kept" if self.kept else "rejected", self.reason)))

    @property
    def title(self) -> str:
        """For a person: "Rejected: blurred", "Kept: rare"."""
        return f"{'Kept' if self.kept else 'Rejected'}: {REASON_WORDS[self.reason]}"


def group_faces(decisions: Sequence[Decision]) -> list[Group]:
    """The decisions by fate and reason: the rejected first, each group in the order given."""
    places: dict[tuple[bool, str], list[int]] = {}
    for place, decision in enumerate(decisions):
        places.setdefault((decision.kept, decision.reason), []).append(place)
    order = list(REASON_WORDS)
    fates = sorted(places, key=lambda fate: (fate[0], order.index(fate[1])))
    return [Group(kept, reason, places[kept, reason]) for kept, reason in fates]


def short_number(decision: Decision) -> str:
    """The number that decided: the first in the words; empty when they name none."""
    found = LONE_NUMBER.search(decision.words)
    return found[0].strip() if found else ""


def write_sheets(
    folder: Path, decisions: Sequence[Decision], thumbnails: UInt8[np.ndarray, "n s s 3"]
) -> list[Path]:
    """Write a PNG for each reason that rejects faces, keeps them as rare or fills a gap.

    Each shows up to `FACES_A_SHEET` faces in the order given (the worst come first) and says how
    many more there are. Sheets of a former call whose reason is gone are removed.
    Raises: FaceswapError, before any is written, when a file that is not ours stands in the way.
    """
    if len(decisions) != len(thumbnails):
        raise ValueError(f"{len(decisions)} decisions, but {len(thumbnails)} thumbnails")
    sheets = {
        folder / f"sheet_{group.name}.png": group
        for group in group_faces(decisions)
        if not group.kept or group.reason in ("rare", "fills_gap")
    }
    for path in sheets:
        if path.exists() and not _is_ours(path):
            raise FaceswapError(f"{path}: is not made by this command; rename or remove it")
    for path, group in sheets.items():
        shown = group.places[:FACES_A_SHEET]
        picture = _sheet(_title(group), [decisions[i] for i in shown], thumbnails[shown])
        write_image(path, picture, SHEET_MARK)
    fates = ((kept, reason) for kept in (False, True) for reason in REASON_WORDS)
    for kept, reason in fates:
        old = folder / f"sheet_{Group(kept, reason, []).name}.png"
        if old not in sheets and _is_ours(old):
            old.unlink()
    return list(sheets)


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return SHEET_MARK.items() <= picture.info.items()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
        return False


def _title(group: Group) -> str:
    count = len(group.places)
    title = f"{group.title} ({count} face{'s' * (count != 1)})"
    more = count - FACES_A_SHEET
    return f"{title}: the first {FACES_A_SHEET}; {more} more not shown" if more > 0 else title


def _sheet(
    title: str, decisions: Sequence[Decision], thumbnails: UInt8[np.ndarray, "n s s 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The faces in rows, each over its file's name and its number."""
    rows = -(-len(decisions) // SHEET_COLUMNS)
    step_x, step_y = CELL_PX + GAP_PX, CELL_PX + CAPTION_PX + GAP_PX
    # All sheets are equally wide: a short row would cut the title.
    sheet = Sheet(GAP_PX + SHEET_COLUMNS * step_x, TITLE_PX + rows * step_y)
    sheet.write(title, GAP_PX, TITLE_PX / 2, 24)
    for place, (decision, pixels) in enumerate(zip(decisions, thumbnails, strict=True)):
        row, column = divmod(place, SHEET_COLUMNS)
        left, top = GAP_PX + column * step_x, TITLE_PX + row * step_y
        sheet.put(pixels, left, top)
        below = top + CELL_PX
        sheet.write(_fitted(decision.file, 13), left, below + 12, 13, QUIET)
        sheet.write(_fitted(short_number(decision), 17), left, below + 30, 17)
    return sheet.pixels


def _fitted(text: str, size: int) -> str:
    """The text cut in its middle till it fits: the ends of clips' names tell them apart."""
    font = font_of_px(size=size)
    # Pillow refuses to measure line breaks, and lone surrogates cannot be drawn.
    text = "".join(c if c.isprintable() else "?" for c in text)
    short, keep = text, len(text)
    while font.getlength(short) > CELL_PX and keep > 2:
        keep -= 1
        short = f"{text[: keep // 3]}…{text[len(text) - (keep - keep // 3) :]}"
    return short
