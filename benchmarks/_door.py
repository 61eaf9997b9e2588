"""The door of every benchmark: its options, and one line for what is not there.

No benchmark itself: README.md's table and the tests take the files here without a leading bar.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.weights import find_weights
from faceswap_lite.outputs import write_json

FROM_SCRATCH = ("init.run=none", "training.augment.kind=hand", "training.schedule.warmup_steps=100")
"""Of runs from fresh weights, augmented by hand: what many figures in docs/ are of."""


def parser_of(
    doc: str | None, *, media: bool = False, folder: str | None = None
) -> argparse.ArgumentParser:
    """A parser whose help is the whole docstring, with --out and, if wanted, --media.

    --out is a file that need not be given, or `folder`, if that is named.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=raw)
    if folder:
        parser.add_argument("--out", type=Path, default=Path(folder), help=f"({folder})")
    else:
        parser.add_argument("--out", type=Path, help="a file for the figures, as JSON")
    if media:
        place = Path(os.environ.get("FACESWAP_LITE_MEDIA") or "../shared/media")
        about = f"the clips that benchmarks/README.md lists ({place})"
        parser.add_argument("--media", type=Path, default=place, help=about)
    return parser


def enter(main: Callable[[], None]) -> None:
    """Run a benchmark; what a person can fix becomes one line and exit code 1."""
    try:
        main()
    except FaceswapError as error:
        sys.exit(f"error: {error}")


def clips_of(media: Path, *patterns: str) -> list[Path]:
    """The clips of each pattern, in order.

    Raises: FaceswapError when a pattern has none: which, and where they come from.
    """
    found = []
    for pattern in patterns:
        clips = sorted(media.glob(pattern))
        if not clips:
            raise FaceswapError(
                f"{media / pattern}: no such clip; --media FOLDER is the folder of the clips that "
                "benchmarks/README.md lists"
            )
        found += clips
    return found


def need(*paths: Path) -> None:
    """Raises: FaceswapError for the first run folder, face set or clip that is not there."""
    for path in paths:
        if not path.exists():
            raise FaceswapError(
                f"{path}: no such file or folder; benchmarks/README.md says what makes it"
            )


def need_weights(*names: str) -> None:
    """Raises: FaceswapError for the first weights that can neither be found nor fetched."""
    for name in names:
        find_weights(name)


def line_of(row: dict[str, Any]) -> str:
    """A row's names and values on one line."""
    return "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())


def keep(out: Path | None, figures: Any) -> None:
    """Write the figures, where that was asked for."""
    if out:
        write_json(out, figures)
