"""What fifty thousand frames, or steps, do to a process: its memory and its open files.

    python benchmarks/long_runs.py convert --out docs/reliability/long_convert.json
    python benchmarks/long_runs.py train --out docs/reliability/long_train.json

Runs the command line itself, and looks at its process from outside; what it sees is kept in
samples.jsonl. `convert`: two rendered seconds of 96 px, shown again and again, with sound, through
a run of a tiny net; the faces of each picture are found once and remembered by its pixels, since
the clip is lossless. `train`: a tiny net, on small face sets. Ends with exit code 1 where memory or
open files grow.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from _door import enter, keep, parser_of
from _small import TINY, small_run, small_sets
from faceswap_lite import cli
from faceswap_lite.actors.clip import render_clip
from faceswap_lite.config import RenderConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces import finding
from faceswap_lite.faces.pack import FacePack, FoundFace
from faceswap_lite.media.reading import open_clip

MAY_GROW = 0.02
"""Of the memory that the walk that paints, and training, have after a tenth."""
BYTES_A_FRAME = 1000
"""What the walk that looks may keep."""
SOUND_RATE = 16000


@dataclass(frozen=True)
class Sample:
    """A process at a moment. `walk`: what it is at; `done`: frames or steps of that."""

    walk: str
    done: int
    resident: int
    """Bytes."""
    files: int
    """Open."""


class Lines:
    """Counts the lines of a file that grows, each byte read once."""

    def __init__(self) -> None:
        self.count = 0
        self._read = 0

    def update(self, path: Path) -> int:
        """How many there are by now; as many as before where the file is gone."""
        try:
            with path.open("rb") as file:
                file.seek(self._read)
                while piece := file.read(1 << 20):
                    self._read += len(piece)
                    self.count += piece.count(b"\n")
        except OSError:
            pass
        return self.count


def long_clip(path: Path, frames: int) -> None:
    """An actor's two seconds of 96 px, shown to and fro until there are so many frames; a tone."""
    short = path.with_name("short.mp4")
    render_clip(RenderConfig(actor="ada", twin=None, frames=50, size=96, seed=3), short)
    with open_clip(short) as reader:
        pictures = [frame.image for frame in reader]
    tone = np.sin(np.arange(SOUND_RATE // 25) * 2 * np.pi * 440 / SOUND_RATE)
    tone = (tone * 3000).astype(np.int16)[None]
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "0"})
        video.width = video.height = 96
        video.pix_fmt = "yuv420p"
        sound = output.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for number, picture in enumerate(islice(cycle(pictures + pictures[::-1]), frames)):
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            heard = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            heard.sample_rate, heard.pts = SOUND_RATE, number * tone.shape[1]
            heard.time_base = Fraction(1, SOUND_RATE)
            output.mux(sound.encode(heard))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))


def watch(
    command: list[str], work: Path, progress: Callable[[], tuple[str, int]], every_s: float
) -> list[Sample]:
    """The process at its moments, as the kernel tells of it. Raises: FaceswapError if it fails."""
    samples: list[Sample] = []
    with (work / "said.txt").open("w+") as said, (work / "samples.jsonl").open("w") as kept:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        place = Path(f"/proc/{process.pid}")
        while process.poll() is None:
            try:
                pages = int((place / "statm").read_text().split()[1])
                files = len(os.listdir(place / "fd"))
                resident = pages * os.sysconf("SC_PAGE_SIZE")
                samples.append(Sample(*progress(), resident, files))
                kept.write(json.dumps(asdict(samples[-1])) + "\n")
            except OSError:
                continue  # it ended in this moment
            time.sleep(every_s)
        said.seek(0)
        if process.returncode != 0:
            raise FaceswapError(f"{' '.join(command[2:4])} failed: {said.read()[-500:]}")
    return samples


def growth(samples: list[Sample], walk: str) -> dict[str, Any]:
    """What a walk's memory and files do after its first tenth, and what a frame or step keeps."""
    own = [sample for sample in samples if sample.walk == walk]
    last = own[-1].done
    late = [sample for sample in own if sample.done >= last / 10]
    # A sample more or less is chance: the middle of some.
    beside = [s.resident for s in late if s.done <= last * 0.15]
    end = [s.resident for s in late if s.done >= last * 0.95]
    before, after = float(np.median(beside)), float(np.median(end))
    files = sorted(s.files for s in late)
    return {
        "done": last,
        "MB after a tenth": round(before / 1e6, 1),
        "MB at the end": round(after / 1e6, 1),
        "MB at most": round(max(s.resident for s in late) / 1e6, 1),
        "grows": round(after / before - 1, 4),
        "bytes each": round((after - before) / (last * 0.85), 1),
        "open files": [files[0], int(np.median(files)), files[-1]],
        "curve MB": [
            round(float(np.median(part)) / 1e6, 1)
            for tenth in range(10)
            if (part := [s.resident for s in own if tenth <= 10 * s.done / last <= tenth + 1])
        ],
    }


def module(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "faceswap_lite", *map(str, arguments)]


def remembering(arguments: Sequence[str]) -> None:
    """The command line, with finders that remember what they found in a picture."""
    build = finding.build_pack

    def build_remembering(*names: Any, **sizes: Any) -> FacePack:
        pack, known = build(*names, **sizes), dict[bytes, list[FoundFace]]()
        find = pack.find

        def find_once(image: np.ndarray, **limits: Any) -> list[FoundFace]:
            key = hashlib.sha256(image.tobytes()).digest()
            if key not in known:
                known[key] = find(image, **limits)
            return known[key]

        vars(pack)["find"] = find_once
        return pack

    vars(finding)["build_pack"] = build_remembering
    sys.argv = ["faceswap-lite", *arguments]
    cli.main()


def convert(options: argparse.Namespace, work: Path) -> tuple[dict[str, Any], bool]:
    """A long clip through the command: the walk that looks, the one that paints."""
    small_sets(work)
    run, clip, out = small_run(work), work / "long.mp4", work / "out" / "swap.mp4"
    long_clip(clip, options.count)
    out.parent.mkdir()
    looked, painted = Lines(), Lines()

    def progress() -> tuple[str, int]:
        for folder in out.parent.glob(".swap*.work"):
            looked.update(folder / "faces.jsonl")
            painted.update(folder / "frames.jsonl")
        if painted.count >= options.count:
            return "join", painted.count
        if painted.count:
            return "paint", painted.count
        # Its head is a line, and its end.
        return ("look", looked.count) if looked.count <= options.count + 1 else ("plan", 0)

    given = ("convert", "--run", run, "--clip", clip, "--out", out)
    call = [sys.executable, __file__, REMEMBERING, *map(str, given)]
    samples = watch(call, work, progress, options.every)
    figures: dict[str, Any] = {walk: growth(samples, walk) for walk in ("look", "paint")}
    for walk in ("plan", "join"):
        peak = max((s.resident for s in samples if s.walk == walk), default=0)
        figures[f"{walk}: MB at most"] = round(peak / 1e6, 1)
    held = figures["paint"]["grows"] <= MAY_GROW and figures["look"]["bytes each"] <= BYTES_A_FRAME
    return figures, held


def train(options: argparse.Namespace, work: Path) -> tuple[dict[str, Any], bool]:
    """A long training through the command."""
    source, target = small_sets(work)
    run, steps = work / "run", options.count
    changes = (
        *TINY, f"training.steps={steps}", f"training.save_every={steps // 50}",
        f"training.preview_every={steps // 20}", f"training.heldout.every={steps // 100}",
        "training.log_every=10", "training.batch=1",
    )  # fmt: skip
    call = module(
        "train", "--config", "quick64", "--source", source, "--target", target, "--run", run
    )

    def progress() -> tuple[str, int]:
        log = run / "log.jsonl"
        steps = re.findall(rb'"step": (\d+)', log.read_bytes()[-2000:]) if log.exists() else []
        return "train", int(steps[-1]) if steps else 0

    call += [part for change in changes for part in ("--set", change)]
    figures = {"train": growth(watch(call, work, progress, options.every), "train")}
    return figures, figures["train"]["grows"] <= MAY_GROW


REMEMBERING = "remembering"
"""What this script is called with when it is the process that is looked at."""

KINDS = {"convert": convert, "train": train}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("--count", type=int, default=50_000, help="frames, or steps (50000)")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between looks (0.5)")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in, and to leave")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        figures, held = KINDS[options.what](options, work)
    figures["minutes"] = round((time.monotonic() - began) / 60, 1)
    for name, value in figures.items():
        print(name, value)
    keep(options.out, figures)
    if not held:
        raise FaceswapError(f"{options.what}: memory grows")


if __name__ == "__main__":
    if sys.argv[1:2] == [REMEMBERING]:
        remembering(sys.argv[2:])
    else:
        enter(main)
