"""How long an import of many of DeepFaceLab's faces takes, embeddings included, and what memory.

    python benchmarks/interchange.py --faces FOLDER --count 20000

Copies of a folder's aligned JPEGs, under other names, become a face set by the command line itself,
on two cores; its process is looked at from outside. Ends with exit code 1 where memory grows.
"""

import os
import resource
import shutil
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from _door import enter, keep, need, need_weights, parser_of
from faceswap_lite.errors import FaceswapError
from long_runs import MAY_GROW, growth, watch

CORES = 2


def copy_faces(folder: Path, out: Path, count: int) -> None:
    """So many crops in `out`, those of `folder` again and again.

    Raises: FaceswapError when there are none.
    """
    originals = sorted(folder.glob("*.jpg"))
    if not originals:
        raise FaceswapError(f"{folder}: holds no aligned JPEGs")
    out.mkdir()
    for number, original in enumerate(islice(cycle(originals), count)):
        shutil.copyfile(original, out / f"{number:06d}_0.jpg")


def import_of(folder: Path, count: int, work: Path) -> dict[str, Any]:
    """What an import of so many copies takes."""
    aligned, out = work / "aligned", work / "set"
    copy_faces(folder, aligned, count)
    command = [
        sys.executable, "-m", "faceswap_lite", "import", str(aligned), "--out", str(out),
        "--set", "extract.embedder=mobilefacenet",
    ]  # fmt: skip
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    began = time.monotonic()
    samples = watch(command, work, lambda: ("import", crops_in(out)), every_s=0.5)
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "faces": crops_in(out),
        "seconds": round(seconds, 1),
        "processor seconds": round(used.ru_utime + used.ru_stime, 1),
        **growth(samples, "import"),
    }


def crops_in(folder: Path) -> int:
    """How many crops are whole by now."""
    if not folder.is_dir():
        return 0
    return sum(entry.name.endswith(".jpg") for entry in os.scandir(folder))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--faces", type=Path, required=True, help="a folder of aligned JPEGs")
    parser.add_argument("--count", type=int, default=20_000)
    options = parser.parse_args()
    need(options.faces)
    need_weights("mobilefacenet")
    with tempfile.TemporaryDirectory() as work:
        figures = import_of(options.faces, options.count, Path(work))
    keep(options.out, figures)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    if figures["grows"] > MAY_GROW:
        raise FaceswapError("memory grows with the faces")


if __name__ == "__main__":
    enter(main)
