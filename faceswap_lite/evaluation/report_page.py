"""The report as one HTML page, complete in itself: verdicts, frames, curves, histograms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ..figures import COLORS
from ..outputs import plain, write_text
from ..pages import fill_template, fitting_px, jpeg_bytes, page_base64, page_json
from .memorisation import MontageRow

REPORT_TEMPLATE = Path(__file__).with_name("report.html")

# Few results are shown large; many in smaller pictures, so that the page still opens at once.
MAX_PX = (256, 224, 192, 160, 128, 96, 64)
SHOT_QUALITY = 82
SHOWN = ("target", "swap", "mask", "rebuilt")

# The numbers above all others: of each row the first metric that is known, and what is read beside
# it.
CARDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("identity_margin_positive", "identity_to_source"), "identity_top1"),
    (("heldout_psnr_db",), "generalization_gap_db"),
    (("pose_error_deg", "yaw_error_deg"), "yaw_noise_deg"),
    (("mouth_correlation",), "mouth_spread_ratio"),
    (("flicker_ratio", "warp_error_ratio"), "sharpness_ratio"),
)


@dataclass(frozen=True)
class Shot:
    """One frame's pictures around the face. Target, swap and mask have one size.

    `numbers`: what the frames are sorted by, such as `psnr_db`; NaN where unknown.
    """

    frame: int
    time_s: float
    target: UInt8[np.ndarray, "h w 3"]
    swap: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]
    rebuilt: UInt8[np.ndarray, "s s 3"]
    numbers: dict[str, float]


@dataclass(frozen=True)
class ResultPictures:
    """The pictures of one of the report's results. `best`, `median`, `worst`: places in `shots`."""

    shots: list[Shot]
    best: int
    median: int
    worst: int
    montage: list[MontageRow]


def write_report_page(path: Path, report: dict[str, Any], pictures: list[ResultPictures]) -> None:
    """Write the page of a report of schema 2, with the pictures of each of its results.

    It needs no network and no server. A comparison's difference is b less a. Pictures are made
    smaller, down to 64 px, till all of them take no more than PICTURES_BYTES.

    Raises: ValueError when `pictures` are not as many as the results, or for NaN in the report.
    """
    if len(pictures) != len(report["results"]):
        raise ValueError(f"{len(report['results'])} results, but pictures of {len(pictures)}")
    found: list[np.ndarray] = []

    def keep(pixels: np.ndarray) -> int:
        found.append(pixels)
        return len(found) - 1

    data = {
        "report": _six_digits(report),
        "albums": [_album(result, keep) for result in pictures],
        "cards": CARDS,
        "pictures": _encoded(found),
    }
    colors = dict(zip(("blue", "red", "green", "purple", "orange", "sky"), COLORS, strict=False))
    write_text(path, fill_template(REPORT_TEMPLATE, {"data": page_json(data), **colors}))


def _album(result: ResultPictures, keep: Callable[[np.ndarray], int]) -> dict[str, Any]:
    """A result's pictures as plain data: `keep` takes one and tells its place in the page."""
    return {
        "shots": [
            {
                "frame": shot.frame,
                "time_s": plain(shot.time_s, 6),
                **{name: keep(getattr(shot, name)) for name in SHOWN},
                "size": shot.target.shape[:2],
                "numbers": {name: plain(value, 6) for name, value in shot.numbers.items()},
            }
            for shot in result.shots
        ],
        **{name: getattr(result, name) for name in ("best", "median", "worst")},
        "montage": [
            {
                "frame": row.frame,
                "words": row.words,
                "pictures": [[title, keep(pixels)] for title, pixels in row.pictures.items()],
            }
            for row in result.montage
        ],
    }


def _encoded(pictures: Sequence[np.ndarray]) -> list[str]:
    """The pictures as JPEGs in base64, in the largest of the sizes that keeps the page small."""
    # Some tell how large all will be; a step of 7 meets all four kinds of a shot's pictures.
    step = 7 if len(pictures) > 350 else 1

    def encoded(some: Sequence[np.ndarray], px: int) -> list[str]:
        return [page_base64(jpeg_bytes(pixels, px, SHOT_QUALITY)) for pixels in some]

    px = fitting_px(MAX_PX, lambda px: step * sum(map(len, encoded(pictures[::step], px))))
    return encoded(pictures, px)


def _six_digits(value: Any) -> Any:
    """Plain data with its floats rounded: six digits are plenty to look at."""
    if isinstance(value, dict):
        return {name: _six_digits(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_six_digits(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
