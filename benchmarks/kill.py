"""Kill a training run at random moments; each time a loadable checkpoint must be there.

    python benchmarks/kill.py --source FACES --target FACES --kills 20

Runs the command line itself with a save every 2 steps, sends SIGKILL at a random moment after the
first save, loads the newest checkpoint, and resumes. Ends with exit code 1 at the first failure.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _door import enter, keep, parser_of
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.runs.checkpoints import list_checkpoints, newest_good
from faceswap_lite.runs.trained import load_run


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for faces in (options.source, options.target):
        open_face_set(faces)
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        step = 0
        for kill in range(1, options.kills + 1):
            step = kill_once(options, run, step, moments.uniform(0, 2))
            print(f"kill {kill}: step {step} loads", flush=True)
    print(f"{options.kills} kills, each left a checkpoint that loads and resumes")
    keep(options.out, {"kills": options.kills, "step": step})


def kill_once(options: argparse.Namespace, run: Path, step: int, pause: float) -> int:
    """Train past `step`, kill after `pause` seconds, return the step of the checkpoint left."""
    command = [
        *(sys.executable, "-m", "faceswap_lite", "train", "--config", "demo", "--steps", "1000000"),
        *("--source", str(options.source), "--target", str(options.target), "--run", str(run)),
        *("--set", "training.save_every=2", "--set", "training.preview_every=1000000"),
        *("--set", "training.heldout.every=1000000", "--set", "training.batch=2"),
    ]
    with (run.parent / "errors.txt").open("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while not any(found > step for found in list_checkpoints(run)):
            if process.poll() is not None:
                errors.seek(0)
                sys.exit(f"training ended by itself after step {step}: {errors.read()}")
            time.sleep(0.05)
    time.sleep(pause)
    process.kill()
    process.wait()
    newest, problems = newest_good(run)
    if newest is None or newest <= step or problems:
        sys.exit(f"after a kill: newest good checkpoint {newest}, {problems}")
    load_run(run)
    return newest


if __name__ == "__main__":
    enter(main)
