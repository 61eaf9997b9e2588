"""A command of the command line in a process of its own, and what befalls it there.

A fork server has imported what the commands import and done nothing else, so a process begins in
milliseconds. No benchmark itself.
"""

import faulthandler
import hashlib
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from errno import ENOSPC
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile

from faceswap_lite.__main__ import main as command_line
from faceswap_lite.conversion import writers

PIECE_FRAMES = 5
"""A short clip has several pieces."""
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link"}
NEEDS_ROOM = {"open", "os.mkdir", "os.link"}
MAX_S = 120
"""A command that takes longer is told as a traceback of all its threads."""
PRELOADED = (
    "_disturbed", "faceswap_lite.cli", "faceswap_lite.actors.clip", "faceswap_lite.faces.extract",
    "faceswap_lite.curation.curate", "faceswap_lite.training.train",
    "faceswap_lite.training.advice",
    "faceswap_lite.training.find_lr", "faceswap_lite.conversion.settings_sheet",
    "faceswap_lite.evaluation.evaluate", "faceswap_lite.evaluation.check",
    "torch.utils.tensorboard",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """From the n-th time on that a command makes, moves or removes a file: killed, or refused room.

    `pause`: a kill comes so many seconds later, amid the writing.
    """

    what: Literal["kill", "no room"]
    at: int
    pause: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How a process ended; `trail`: its changes of files, each with the bytes in use before it."""

    code: int
    said: str
    errors: str
    seconds: float
    trail: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def killed(self) -> bool:
        """Whether it was."""
        return self.code == -signal.SIGKILL


class Commands:
    """Runs commands in `place`; `beside` is for notes, `temporary` for the commands' scratch."""

    def __init__(self, place: Path, beside: Path, temporary: Path | None = None) -> None:
        self.place, self._beside, self._temporary = place, beside, temporary
        beside.mkdir(parents=True, exist_ok=True)
        # Read when the server starts: one core each, and no thread of a library before the fork.
        os.environ["OMP_NUM_THREADS"] = "1"
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))

    def run(
        self, words: Sequence[str], fault: Fault | None = None, kill_after: float | None = None
    ) -> Ended:
        """One command, to its end or its kill."""
        given = (list(words), self.place, self._beside, self._temporary, fault)
        process = self._context.Process(target=_child, args=given)
        start = time.perf_counter()
        process.start()
        process.join(kill_after)
        if kill_after is not None:
            process.kill()
        process.join()
        seconds = time.perf_counter() - start
        said, errors = ((self._beside / name).read_text() for name in ("said", "errors"))
        trail = self._beside / "trail.json"
        events = json.loads(trail.read_text()) if trail.exists() else []
        assert process.exitcode is not None
        return Ended(process.exitcode, said, errors, seconds, [tuple(one) for one in events])


def _child(
    words: list[str], place: Path, beside: Path, temporary: Path | None, fault: Fault | None
) -> None:
    (beside / "trail.json").unlink(missing_ok=True)
    for number, name in ((1, "said"), (2, "errors")):
        handle = os.open(beside / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    # The server's own, of whose buffers nothing is to come twice.
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w")) for number in (1, 2))
    tempfile.tempdir = None if temporary is None else str(temporary)
    os.chdir(place)
    writers.PIECE_FRAMES = PIECE_FRAMES
    faulthandler.dump_traceback_later(MAX_S, exit=True)
    watch = _Watch(place, fault)
    sys.addaudithook(watch)
    sys.argv = ["faceswap-lite", *words]
    code: Any = 0
    try:
        command_line()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 70
    watch.over = True
    (beside / "trail.json").write_text(json.dumps(watch.trail))
    sys.exit(code)


class _Watch:
    """An audit hook: takes down what changes files below `place`, and does what `fault` says."""

    def __init__(self, place: Path, fault: Fault | None) -> None:
        self._place, self._fault = f"{place}/", fault
        self.trail: list[tuple[str, str, int]] = []
        self.over = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """As sys.addaudithook wants it."""
        if self.over or not (event in CHANGES or (event == "open" and _makes(arguments))):
            return
        path = arguments[0]
        if isinstance(path, int):
            return
        # Of a tree that is removed, Python tells the names alone.
        whole = os.path.abspath(os.fsdecode(path))
        if not whole.startswith(self._place):
            return
        number = len(self.trail)
        room = os.statvfs(self._place)
        used = (room.f_blocks - room.f_bfree) * room.f_frsize
        self.trail.append((event, whole.removeprefix(self._place), used))
        fault = self._fault
        if fault is None or number < fault.at:
            return
        if fault.what == "no room":
            if event in NEEDS_ROOM:
                raise OSError(ENOSPC, os.strerror(ENOSPC), os.fsdecode(path))
        elif fault.pause:
            if number == fault.at:
                timer = threading.Timer(fault.pause, os.kill, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)


def _makes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


# --- what lies in a folder ------------------------------------------------------------------------

UNTOLD = ("seconds", "own_sha256")
"""Of JSON and its lines: what a clock says is not compared."""


def contents(place: Path) -> dict[str, str]:
    """By name, hidden or not, a digest of each file of a folder, and "folder" of each folder."""
    found = {}
    for path in sorted(place.rglob("*")):
        # TensorBoard names its files by the time and the process.
        if path.parent.name != "tensorboard":
            found[str(path.relative_to(place))] = digest(path) if path.is_file() else "folder"
    return found


def digest(path: Path) -> str:
    """Of a file's bytes; of JSON and arrays without times, of a set's index only that it is."""
    if path.name == "index.npz":
        return "index"
    data = path.read_bytes()
    with suppress(ValueError, BadZipFile):
        if path.suffix in (".json", ".jsonl"):
            lines = data.splitlines() if path.suffix == ".jsonl" else [data]
            data = json.dumps([_timeless(json.loads(line)) for line in lines]).encode()
        elif path.suffix == ".npz":
            # A ZIP says when it was made.
            with ZipFile(path) as archive:
                data = b"".join(archive.read(name) for name in sorted(archive.namelist()))
    return hashlib.sha256(data).hexdigest()[:16]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in UNTOLD}
    return [_timeless(one) for one in value] if isinstance(value, list) else value
