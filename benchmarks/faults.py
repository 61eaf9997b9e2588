"""Whatever stops a command, the same command again ends with the same results, and nothing is lost.

    python benchmarks/faults.py kills --times 200 --out FILE
    python benchmarks/faults.py disk --times 120 --out FILE

`kills` sends SIGKILL to the commands of a small road: half of the times at any moment, half as a
file is made, moved or removed, or up to 20 ms later; and gives the command again until it ends.
`disk` leaves each command so little room that the disk is full at one of its writes, then gives it
again with room: on a small file system of its own where one may be mounted (Linux, as root), else
Python is refused to open files. After each fault and in the end all files, hidden ones too, are
compared with those of an undisturbed road. Any that differ end in exit code 1. The figures are put
into --out under the subcommand's name.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from _disturbed import Commands, Ended, Fault, contents
from _door import enter, keep, parser_of
from faceswap_lite.outputs import read_json
from faceswap_lite.runs.checkpoints import find_damage

AMID_S = 0.02
"""After a file is made, moved or removed: when a kill comes at the latest."""
DISK_MB = 256
PAGE = 4096
AUTO = " ".join(f"--set extract.{what}=auto" for what in ("detector", "landmarks", "embedder"))
NET = (
    "model.size=32", "model.encoder_dims=8", "model.inter_dims=16", "model.decoder_dims=6",
    "model.mask_dims=4", "training.batch=4", "training.log_every=1", "training.heldout.every=4",
    "training.preview_every=5", "training.save_every=3", "training.schedule.warmup_steps=5",
    "training.threads=1", "training.steps=12",
)  # fmt: skip

ROAD = {
    "render": "render unseen.mp4 --actor ada --twin bruno --frames 12 --seed 3",
    "extract": f"extract source.mp4 target.mp4 --out source --config demo {AUTO}",
    "curate": "curate source --against target --keep 30 --apply",
    "train": "train --source source --target target --run run --config demo "
    + " ".join(f"--set {change}" for change in NET),
    "convert": "convert --run run --clip unseen.mp4 --out swap.mp4 --mask-out mask.mkv "
    "--layer-out layer --compare compare.mp4",
    "check": "check --run run --clip unseen.mp4",
    "evaluate": "evaluate --run run --clip unseen.mp4",
}
"""The commands, each on what those before it left."""
KILLED = ("extract", "curate", "train", "convert", "evaluate")
GROWS = ("run/log.jsonl", "run/tensorboard", "run/preview.png", "run/previews")
"""Of a run that is not at its end."""


@dataclass
class Stage:
    """A command, what lay there before it, and what an undisturbed call left."""

    words: list[str]
    before: Path
    was: dict[str, str]
    left: dict[str, str]
    ended: Ended


@dataclass
class Found:
    """What was tried of a command, and what was wrong."""

    faults: int = 0
    ended: int = 0
    """Times that the command was given until it ended, and then compared."""
    at: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


# --- the undisturbed road -------------------------------------------------------------------------


def walk(commands: Commands, work: Path, wanted: list[str]) -> dict[str, Stage]:
    """The road, undisturbed, as far as it is wanted; what each command of `wanted` found and left.

    Among it lie files of a user.
    """
    place = commands.place
    small = "--config demo --set render.size=128"
    for number, (name, actor, twin) in enumerate(
        (("source", "bruno", "ada"), ("target", "ada", "bruno")), 1
    ):
        clip = f"render {name}.mp4 --actor {actor} --twin {twin} --frames 20 --seed {number}"
        _whole(commands, f"{clip} {small}")
    _whole(commands, f"extract target.mp4 --out target --config demo {AUTO}")
    (place / "mine.txt").write_text("a user's")
    stages = {}
    last = max(list(ROAD).index(name) for name in wanted)
    for name, line in list(ROAD.items())[: last + 1]:
        words = f"{line} {small}" if name == "render" else line
        before, was = work / "before" / name, contents(place)
        if name in wanted:
            shutil.copytree(place, before)
        ended = _whole(commands, words)
        stages[name] = Stage(words.split(), before, was, contents(place), ended)
        for folder in ("source", "run"):
            if (place / folder).is_dir():
                (place / folder / "mine.txt").write_text("a user's")
    return {name: stages[name] for name in wanted}


def _whole(commands: Commands, line: str) -> Ended:
    ended = commands.run(line.split())
    if ended.code:
        sys.exit(f"{line}: undisturbed, and yet exit {ended.code}: {ended.errors[-500:]}")
    return ended


def put_back(commands: Commands, stage: Stage) -> None:
    """All as it was before the command."""
    for path in commands.place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(stage.before, commands.place, dirs_exist_ok=True)


# --- what may lie there ---------------------------------------------------------------------------


def wrong_amid(stage: Stage, place: Path) -> list[str]:
    """After a fault: what is lost of what was there, and what is half done under its final name."""
    now = contents(place)
    # A crop may lie in another folder now.
    kept = Counter(stage.was.values()) & Counter(stage.left.values())
    lost = kept - Counter(now.values())
    wrong = [f"lost: {name}" for name, digest in stage.was.items() if digest in lost]
    for name, digest in now.items():
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if not hidden and digest not in (stage.was.get(name), stage.left.get(name)):
            wrong += [f"half: {name}"] if _is_half(place / name, name) else []
    return wrong


def _is_half(path: Path, name: str) -> bool:
    """Whether a file that an undisturbed call does not leave is none that it has on its way."""
    if name.startswith("run/checkpoints/"):
        folder = path if path.is_dir() else path.parent
        return bool(find_damage(folder.parents[1], int(folder.name.removeprefix("step_"))))
    if path.suffix == ".png" and name.startswith(GROWS):
        return cv2.imread(str(path)) is None
    return not (path.is_dir() or name.startswith(GROWS))


def differences(stage: Stage, place: Path, unlike: Callable[[str], bool]) -> list[str]:
    """In the end: what is not as an undisturbed call leaves it; but for what may be `unlike`."""
    now = contents(place)
    unequal = [n for n in sorted({*now, *stage.left}) if now.get(n) != stage.left.get(n)]
    return [
        f"{'missing' if n not in now else 'too much' if n not in stage.left else 'differs'}: {n}"
        for n in unequal
        if not unlike(n)
    ]


def traceback_in(ended: Ended) -> list[str]:
    """A line on a traceback, if there is one."""
    marks = ("Traceback", "most recent call first")
    if not any(mark in ended.said + ended.errors for mark in marks):
        return []
    return [f"traceback: {ended.errors.strip().splitlines()[-1]}"]


# --- kills ----------------------------------------------------------------------------------------


def kills(options: argparse.Namespace) -> dict[str, Any]:
    """Each command killed its share of the times."""
    moments = random.Random(options.seed)
    names = [options.only] if options.only else list(KILLED)
    with tempfile.TemporaryDirectory() as folder:
        work = options.work.absolute() if options.work else Path(folder)
        place = work / "place"
        place.mkdir(parents=True)
        commands = Commands(place, work / "notes")
        stages = walk(commands, work, names)
        found = {}
        for number, (name, stage) in enumerate(stages.items()):
            share = options.times // len(stages) + (number < options.times % len(stages))
            found[name] = killed(commands, stage, share, moments)
            print_found(name, found[name])
    return figures_of(found)


def killed(commands: Commands, stage: Stage, times: int, moments: random.Random) -> Found:
    """So many kills, one to four between two that end undisturbed."""
    found = Found()
    while found.faults < times:
        put_back(commands, stage)
        for _ in range(min(moments.randint(1, 4), times - found.faults)):
            fault, after = None, None
            if moments.random() < 0.5:
                after = moments.uniform(0, stage.ended.seconds)
            else:
                pause = moments.choice((0.0, moments.uniform(0, AMID_S)))
                fault = Fault("kill", moments.randrange(len(stage.ended.trail)), pause)
            ended = commands.run(stage.words, fault, after)
            where = f"at {after:.2f} s" if fault is None else told(stage, fault)
            if not ended.killed:
                found.wrong += [f"{where}: exit {ended.code}: {ended.errors[-300:]}"] * bool(
                    ended.code
                )
                break
            found.faults += 1
            found.at["any moment" if fault is None else stage.ended.trail[fault.at][0]] += 1
            found.wrong += [f"{where}: {line}" for line in wrong_amid(stage, commands.place)]
        last = commands.run(stage.words)
        found.ended += 1
        wrong = [] if last.code == 0 else [f"exit {last.code}: {last.errors[-300:]}"]
        wrong += traceback_in(last) + differences(stage, commands.place, lambda name: False)
        found.wrong += [f"last {where}, then to its end: {line}" for line in wrong]
    return found


def told(stage: Stage, fault: Fault) -> str:
    """When a fault came, in words."""
    event, name, _ = stage.ended.trail[fault.at]
    return f"{fault.what} {1000 * fault.pause:.0f} ms after {fault.at}: {event} {name}"


# --- disk -----------------------------------------------------------------------------------------


def disk(options: argparse.Namespace) -> dict[str, Any]:
    """Each command on a disk that is full at one of its writes."""
    points = random.Random(options.seed)
    names = [options.only] if options.only else list(ROAD)
    with tempfile.TemporaryDirectory() as folder:
        work = options.work.absolute() if options.work else Path(folder)
        with small_disk(work / "disk") as filler:
            place, temporary = work / "disk" / "place", work / "disk" / "tmp"
            place.mkdir()
            temporary.mkdir()
            commands = Commands(place, work / "notes", temporary)
            stages = walk(commands, work, names)
            found = {}
            for number, (name, stage) in enumerate(stages.items()):
                share = options.times // len(stages) + (number < options.times % len(stages))
                found[name] = filled(commands, stage, share, points, filler)
                print_found(name, found[name])
    return {"way": "open" if filler is None else "file system", **figures_of(found)}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own at `folder`, and a file to fill it with; None: it may not be."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield folder / "filler"
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def filled(
    commands: Commands, stage: Stage, times: int, points: random.Random, filler: Path | None
) -> Found:
    """So many times a full disk, half of them at a change of a file, half at any byte."""
    found = Found()
    trail = stage.ended.trail
    first, maximum = trail[0][2], max(used for _, _, used in trail)
    while found.faults < times:
        put_back(commands, stage)
        fault, room = None, 0
        at = points.randrange(len(trail))
        if filler is None:
            fault = Fault("no room", at)
        elif points.random() < 0.5:
            room = max(0, trail[at][2] - first) + PAGE * points.randint(0, 1)
        else:
            room = points.randrange(maximum - first + 1)
        where = told(stage, fault) if fault else f"{room} bytes"
        with filled_up(filler, room):
            ended = commands.run(stage.words, fault)
        found.faults += 1
        wrong = wrong_amid(stage, commands.place) + traceback_in(ended)
        if ended.code:
            usual = stage.ended.errors.splitlines()
            lines = [line for line in ended.errors.splitlines() if line not in usual]
            found.at[", ".join(lines) if len(lines) == 1 else "?"] += 1
            if ended.code != 1 or len(lines) != 1 or not lines[0].startswith("error: "):
                wrong.append(f"exit {ended.code}, {lines}")
        else:
            found.at["ended well all the same"] += 1
        last = commands.run(stage.words)
        found.ended += 1
        wrong += [] if last.code == 0 else [f"again: exit {last.code}: {last.errors[-300:]}"]
        wrong += traceback_in(last) + differences(stage, commands.place, is_cache)
        found.wrong += [f"{where}: {line}" for line in wrong]
    return found


@contextmanager
def filled_up(filler: Path | None, room: int) -> Iterator[None]:
    """The disk, with so much room."""
    if filler is None:
        yield
        return
    free = shutil.disk_usage(filler.parent).free
    with filler.open("wb") as file:
        if free > room:
            os.posix_fallocate(file.fileno(), 0, free - room)
    try:
        yield
    finally:
        filler.unlink()


def is_cache(name: str) -> bool:
    """Whether a file only saves time: where it has no room, the work goes on without."""
    return name.endswith("/.faceswap_lite/index.npz") or name.startswith("run/faces")


# --- all ------------------------------------------------------------------------------------------


def print_found(name: str, found: Found) -> None:
    print(
        f"{name}: {found.faults} faults, {found.ended} times to its end, {len(found.wrong)} wrong"
    )
    for what, count in found.at.most_common():
        print(f"    {count:4} {what}")
    for line in found.wrong:
        print(f"  WRONG {line}", flush=True)


def figures_of(found: dict[str, Found]) -> dict[str, Any]:
    rows = {
        name: {"faults": f.faults, "to the end": f.ended, "at": dict(f.at), "wrong": f.wrong}
        for name, f in found.items()
    }
    return {
        "faults": sum(f.faults for f in found.values()),
        "to the end": sum(f.ended for f in found.values()),
        "wrong": sum(len(f.wrong) for f in found.values()),
        "commands": rows,
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=BENCHES)
    parser.add_argument("--times", type=int, default=200, help="faults in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(ROAD), help="this command alone")
    parser.add_argument("--work", type=Path, help="work here and leave what is made")
    options = parser.parse_args()
    figures = BENCHES[options.what](options)
    known = read_json(options.out) if options.out and options.out.exists() else {}
    keep(options.out, {**known, options.what: figures})
    if figures["wrong"]:
        sys.exit(f"{figures['wrong']} wrong of {figures['faults']} faults")


BENCHES = {"kills": kills, "disk": disk}


if __name__ == "__main__":
    enter(main)
