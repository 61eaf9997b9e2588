"""An open clip: what it says of itself, and its frames, decoded ahead of whoever uses them."""

import ctypes
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from .clips import ClipInfo, Frame

AHEAD_BYTES = 128 << 20
"""Decoded frames that may wait to be asked for."""
# glibc's number of the option, and the size from which a block is the system's own, in bytes.
_M_MMAP_THRESHOLD = -3
_FRAME_BYTES = 1 << 20


@runtime_checkable
class FrameSource(Protocol):
    """What frames come from: a video, or pictures."""

    info: ClipInfo

    def frames(self) -> Iterator[Frame]:
        """All, once, in order."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class ClipReader:
    """Iterates once over a clip's frames; use it in a `with` block.

    `info` is what the container says. `problems` holds one line on each thing that is not as one
    would think: at once, what was chosen of several pictures, what is not read, what its light or
    its fields mean for a face; once read to the end, damage, missing frames, unreadable pictures.
    """

    def __init__(self, source: FrameSource, problems: list[str], start_number: int | None = None):
        self.problems = problems
        self._source = source
        self._frames: Iterator[Frame] | None = None
        info = source.info
        self._shift = 0 if start_number is None else start_number - info.first_number
        last = info.last_number
        self.info: ClipInfo = replace(
            info,
            first_number=info.first_number + self._shift,
            last_number=None if last is None else last + self._shift,
        )

    def __enter__(self) -> "ClipReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        if self._frames is not None:
            raise RuntimeError(f"{self.info.path}: a reader goes over its clip once; open it again")
        image_bytes = self.info.width * self.info.height * 3 * (2 if self.info.bit_depth > 8 else 1)
        depth = min(16, max(2, AHEAD_BYTES // max(1, image_bytes)))
        frames = self._source.frames()
        if self._shift:
            frames = (replace(f, own_number=f.number + self._shift) for f in frames)
        self._ahead = _Ahead(frames, depth)
        self._frames = iter(self._ahead)
        return self._frames

    def close(self) -> None:
        """Stop decoding and let go of the file."""
        if self._frames is not None:
            self._ahead.stop()
        self._source.close()


@dataclass(frozen=True)
class Clip:
    """A clip that can be gone over as often as wanted; `as_clip` in `reading.py` makes one."""

    path: Path
    fingerprint: str
    """Its `clip_fingerprint`."""
    open: Callable[..., ClipReader]
    """Given the number of its first frame, or None: its own."""


class _Ahead:
    """Runs an iterator in a thread of its own, at most `depth` items ahead."""

    def __init__(self, items: Iterator[Frame], depth: int):
        self._items = items
        self._queue: queue.Queue[tuple[Frame | None, BaseException | None]] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            item, error = self._queue.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        # Whoever still iterates is told, and does not wait for ever.
        with self._queue.mutex:
            self._queue.queue.clear()
        self._queue.put((None, RuntimeError("the clip is closed")))

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item, None):
                    return
            self._put(None, None)
        except BaseException as error:  # handed to whoever iterates
            self._put(None, error)

    def _put(self, item: Frame | None, error: BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put((item, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def give_frames_back() -> None:
    """Have glibc return every block of a frame's size to the system as soon as it is freed.

    Left alone it learns from the first frames to keep such blocks, in a heap for each thread, where
    they fragment: a 4K conversion then holds 0.7 GB more, and is no faster. Elsewhere: nothing.
    Source: mallopt(3), M_MMAP_THRESHOLD, "dynamic mmap threshold".
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _FRAME_BYTES)
