"""The package's bases, made again: `faceswap_lite/bases/quick64.safetensors` and `quick128`.

    python benchmarks/bases.py --work FOLDER --to FOLDER
    python benchmarks/bases.py --work FOLDER --to FOLDER quick128

Each is made by `faceswap-lite base` with its preset; given again after a kill, it goes on where it
stopped. Renders 40,960 crops first and a group of 32 every few steps from then on.
"""

import subprocess
import sys
from pathlib import Path

from _door import enter, keep, need_weights, parser_of
from faceswap_lite.errors import FaceswapError
from faceswap_lite.runs.bases import read_base

PRESETS = ("quick64", "quick128")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("presets", nargs="*", help=f"({' '.join(PRESETS)})")
    parser.add_argument("--work", type=Path, default=Path("workspace/bases"))
    parser.add_argument("--to", type=Path, default=Path("workspace/bases"), help="for the files")
    options = parser.parse_args()
    need_weights("mesh")
    figures = {}
    for preset in options.presets or PRESETS:
        out = options.to / f"{preset}.safetensors"
        words = ["--config", preset, "--out", out, "--work", options.work / preset]
        called = [sys.executable, "-m", "faceswap_lite", "base", *map(str, words)]
        if subprocess.run(called).returncode:
            raise FaceswapError(f"{preset}: could not be made")
        base = read_base(out)
        figures[preset] = {"fingerprint": base.fingerprint(), "step": base.step, **base.recipe}
        size = out.stat().st_size / 2**20
        print(f"{preset}: {size:.1f} MB, {base.recipe['minutes']} minutes of training")
    keep(options.out, figures)


if __name__ == "__main__":
    enter(main)
