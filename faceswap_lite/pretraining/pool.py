"""The pool: crops of rendered people in memory; step by step, the oldest make room for new ones.

Which groups are in it is a function of the step alone, whoever renders them and how fast.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from ..errors import FaceswapError
from ..faces.landmarks import Landmarker, build_mesh
from ..outputs import found_job, job_id, write_json
from .crowd import MOMENTS, PEOPLE, Rows, render_group

GROUP = MOMENTS * PEOPLE
"""Crops of a group."""

_AHEAD = 4
"""Groups that are rendered before they are wanted."""

_CROWD = 1
"""A change of what `render_group` makes is a change of every pool."""

_mesh: Landmarker | None = None


class Pool:
    """`groups` groups of rows at `size` px, in a file that lies in memory as far as there is room.

    A fresh pool renders on all cores; one whose file is there goes on where it was left.
    """

    def __init__(self, folder: Path, groups: int, size: int, with_mesh: bool) -> None:
        self.groups, self._size, self._with_mesh = groups, size, with_mesh
        self._facts_file = folder / "pool.json"
        self._job = job_id(crowd=_CROWD, groups=groups, size=size, mesh=with_mesh)
        found = found_job(self._facts_file)
        if found.get("job") == self._job and (folder / "pool.npy").is_file():
            self._filled = int(found["filled"])
            self.pixels = np.load(folder / "pool.npy", mmap_mode="r+")
            self.traits = np.load(folder / "traits.npy", mmap_mode="r+")
            return
        first = render_group(0, size, None)
        self._filled = 0
        rows = groups * MOMENTS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.pixels, self.traits = (
                np.lib.format.open_memmap(folder / name, "w+", like.dtype, (rows, *like.shape[1:]))
                for name, like in (("pool.npy", first.pixels), ("traits.npy", first.traits))
            )
        except OSError as error:
            raise FaceswapError(f"{folder}: no room for the pool ({error.strerror})") from error
        self._remember()

    def fill(self, workers: int) -> None:
        """Render what is not there yet."""
        numbers = iter(range(self._filled, self.groups))
        done, total = GROUP * self._filled, GROUP * self.groups
        bar = tqdm(desc="render", total=total, initial=done, unit="crop", disable=None)
        with self._rendering(workers) as render, bar:
            for rows in _in_order(render, numbers, 2 * workers):
                self._put(self._filled, rows)
                self._filled += 1
                bar.update(GROUP)
                if self._filled % 32 == 0 or self._filled == self.groups:
                    self._remember()

    @contextmanager
    def renewal(self, first: int, workers: int = 1) -> Iterator[Callable[[], None]]:
        """Call what this gives to exchange the oldest group for a new one; `first` is its number.

        A number is that of a group ever made; those of a fresh pool come before.
        """
        with self._rendering(workers) as render:
            numbers = iter(range(first, 2**31))
            stream = _in_order(render, numbers, _AHEAD)
            at = first

            def renew() -> None:
                nonlocal at
                self._put(at % self.groups, next(stream))
                at += 1

            yield renew

    def _put(self, place: int, rows: Rows) -> None:
        here = slice(place * MOMENTS, (place + 1) * MOMENTS)
        self.pixels[here], self.traits[here] = rows

    def _remember(self) -> None:
        self.pixels.flush()
        self.traits.flush()
        write_json(self._facts_file, {"job": self._job, "filled": self._filled})

    @contextmanager
    def _rendering(self, workers: int) -> Iterator[Callable[[int], "Future[Rows]"]]:
        # Spawned: a fork of a process with threads may hang.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, _begin, (self._with_mesh,))
        try:
            yield lambda group: pool.submit(_render, group, self._size)
        finally:
            pool.shutdown(cancel_futures=True)


def _in_order(
    render: Callable[[int], "Future[Rows]"], numbers: Iterator[int], ahead: int
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
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # One core each: there are as many of these as cores.
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    _mesh = build_mesh() if with_mesh else None


def _end_with_parent() -> None:
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
