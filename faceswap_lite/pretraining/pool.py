"""The pool: crops of rendered people in memory; step by step, the oldest make room for new ones.

Which groups are in it is a function of the step alone, whoever renders them and how fast.
"""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from ..errors import FaceswapError
from ..faces.landmarkers import Landmarker, build_mesh
from ..outputs import found_job, job_id, write_json
from .crowd import MARGIN, MOMENTS, PEOPLE, Rows, render_group, traits_scale

GROUP = MOMENTS * PEOPLE
"""Crops of a group."""

_AHEAD = 4
"""Groups that are rendered before they are wanted."""

_CROWD = 1
"""A change of what `render_group` makes is a change of every pool."""

_mesh: Landmarker | None = None


class Pool:
    """`groups` groups of rows at `size` px, in a file that lies in memory as far as there is room.

    `wind` fills it; one whose file is there goes on where it was left.
    Raises: FaceswapError when there is no room for it.
    """

    def __init__(self, folder: Path, groups: int, size: int, with_mesh: bool) -> None:
        self.groups, self._size, self._with_mesh = groups, size, with_mesh
        self._facts_file = folder / "pool.json"
        self._job = job_id(crowd=_CROWD, groups=groups, size=size, mesh=with_mesh)
        edge, rows = round(size * (1 + 2 * MARGIN)), groups * MOMENTS
        shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            "pool.npy": (np.dtype(np.uint8), (rows, PEOPLE, 5, edge, edge)),
            "traits.npy": (np.dtype(np.float32), (rows, PEOPLE, len(traits_scale()[0]))),
        }
        found = found_job(self._facts_file)
        whole = all(_holds(folder / name, *shape) for name, shape in shapes.items())
        goes_on = whole and found.get("job") == self._job and isinstance(found.get("made"), int)
        self._made: int = found["made"] if goes_on else 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not goes_on:
                # First of all: what it says is no longer true.
                self._facts_file.unlink(missing_ok=True)
                for name, (dtype, shape) in shapes.items():
                    _make_room(folder / name, dtype, shape)
            self.pixels, self.traits = (np.load(folder / name, mmap_mode="r+") for name in shapes)
        except OSError as error:
            raise FaceswapError(f"{folder}: no room for the pool ({error.strerror})") from error
        self._remember()

    def wind(self, made: int, workers: int) -> None:
        """Make the pool what it is when that many groups have been made: render what is missing.

        Groups are numbered as they are made; the first `groups` of them are a fresh pool.
        """
        there = range(self._made - self.groups, self._made)
        wanted = [number for number in range(made - self.groups, made) if number not in there]
        bar = tqdm(desc="render", total=GROUP * len(wanted), unit="crop", disable=None)
        with self._rendering(workers) as render, bar:
            for number, rows in zip(wanted, _in_order(render, wanted, 2 * workers), strict=True):
                self._put(number % self.groups, rows)
                bar.update(GROUP)
                # Going back, what was there is known until all of it is exchanged.
                if number == self._made:
                    self._made += 1
                    if self._made % 32 == 0:
                        self._remember()
        self._made = made
        self._remember()

    @contextmanager
    def renewal(self) -> Iterator[Callable[[], None]]:
        """Call what this gives to exchange the oldest group for a new one; a core renders them."""
        with self._rendering(1) as render:
            stream = _in_order(render, itertools.count(self._made), _AHEAD)

            def renew() -> None:
                # Known before it is written: a kill between the two costs a rendering.
                self._made += 1
                self._write_facts()
                self._put((self._made - 1) % self.groups, next(stream))

            yield renew

    def _put(self, place: int, rows: Rows) -> None:
        here = slice(place * MOMENTS, (place + 1) * MOMENTS)
        self.pixels[here], self.traits[here] = rows

    def _remember(self) -> None:
        self.pixels.flush()
        self.traits.flush()
        self._write_facts()

    def _write_facts(self) -> None:
        write_json(self._facts_file, {"job": self._job, "made": self._made})

    @contextmanager
    def _rendering(self, workers: int) -> Iterator[Callable[[int], "Future[Rows]"]]:
        # Spawned: a fork of a process with threads may hang.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, _begin, (self._with_mesh,))
        try:
            yield lambda group: pool.submit(_render, group, self._size)
        except BrokenProcessPool as error:
            raise FaceswapError(
                "a rendering process was killed, most likely for lack of memory: choose a "
                "smaller base.crops"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _holds(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether a file is a whole array of this kind."""
    try:
        array = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    # A file that was cut short is opened all the same.
    whole = file.stat().st_size == array.nbytes + array.offset
    return whole and array.dtype == dtype and array.shape == shape


def _make_room(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """An empty array in a file. Raises: OSError when it does not fit on the disk."""
    np.lib.format.open_memmap(file, "w+", dtype, shape)
    # As it is, it takes no room before it is written to, and then a full disk kills the process.
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def _in_order(
    render: Callable[[int], "Future[Rows]"], numbers: Iterable[int], ahead: int
) -> Iterator[Rows]:
    waiting: deque[Future[Rows]] = deque()
    for number in numbers:
        waiting.append(render(number))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin(with_mesh: bool) -> None:
    global _mesh
    threading.Thread(target=end_with_parent, daemon=True).start()
    # Ctrl-C is the parent's to tell of.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # There are as many of these as cores.
    cv2.setNumThreads(1)
    _mesh = build_mesh() if with_mesh else None


def end_with_parent() -> None:
    """Of a worker's thread: end the worker when its parent has ended."""
    # A killed parent tells nobody; its workers would wait for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _render(group: int, size: int) -> Rows:
    return render_group(group, size, _mesh)


def sample(
    pool: Pool, rng: np.random.Generator, pairs: int
) -> tuple[UInt8[np.ndarray, "b 5 m m"], Float[np.ndarray, "b t"]]:
    """Two people of each of `pairs` moments, side by side."""
    rows = np.repeat(rng.integers(0, len(pool.pixels), pairs), 2)
    who = np.argsort(rng.random((pairs, PEOPLE)), 1)[:, :2].ravel()
    return pool.pixels[rows, who], pool.traits[rows, who]
