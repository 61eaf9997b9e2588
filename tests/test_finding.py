"""Frames side by side and in order, cuts told a few frames late, and what a full disk says."""

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.finding import find_in_frames
from faceswap_lite.faces.journal import append_lines, read_lines
from faceswap_lite.faces.landmarkers import Five
from faceswap_lite.faces.pack import FacePack
from faceswap_lite.faces.tracking import CUT_NEIGHBOURS, find_cuts, mark_cuts
from faceswap_lite.media.clips import Frame

PACKS = [FacePack(name, "five", None, lambda *_: [], Five(), None) for name in "ab"]


def frames(count: int, taken: list[int]) -> Iterator[Frame]:
    """Ever lighter ones of 16 bits a channel; `taken` is told which have been asked for."""
    for index in range(count):
        taken.append(index)
        image = np.full((32, 32, 3), 257 * index, np.uint16)
        yield Frame(index, 10 * index, Fraction(index, 25), image)


def test_frames_are_searched_side_by_side_and_told_in_order() -> None:
    busy: list[str] = []
    both = threading.Event()

    def look(pack: FacePack, frame: Frame) -> int:
        assert pack.detector_name not in busy
        busy.append(pack.detector_name)
        if len(busy) == 2:
            both.set()
        # The even ones take longer.
        time.sleep(0.01 if frame.index % 2 else 0.02)
        assert both.wait(5)
        busy.remove(pack.detector_name)
        return int(frame.image[0, 0, 0])

    taken: list[int] = []
    found = find_in_frames(frames(12, taken), PACKS, look)
    assert next(found).finds == 0
    assert len(taken) == 5  # never more than the packs keep busy
    rest = list(found)
    assert [(one.frame, one.pts, one.finds) for one in rest] == [
        (i, 10 * i, i) for i in range(1, 12)
    ]
    assert {one.change for one in rest} == {1.0}


def test_only_what_is_wanted_is_searched_and_every_change_is_told() -> None:
    looked: list[int] = []
    found = list(find_in_frames(frames(10, []), PACKS, lambda _, f: looked.append(f.index), 4, 3))
    assert sorted(looked) == [6, 9]
    assert [one.change for one in found] == [0.0] + [1.0] * 9


def test_cuts_are_told_as_soon_as_they_can_be() -> None:
    changes = np.random.default_rng(0).gamma(0.5, 4, 400).tolist()
    read: list[int] = []

    def reading() -> Iterator[tuple[float, int]]:
        for place, value in enumerate(changes):
            read.append(place)
            yield value, place

    marked = []
    for place, cut in mark_cuts(reading()):
        marked.append((place, cut))
        assert len(read) - 1 <= place + CUT_NEIGHBOURS
    assert [place for place, _ in marked] == list(range(400))
    cuts = {place for place, cut in marked if cut}
    assert cuts == find_cuts(changes) and 5 < len(cuts) < 200
    # Each by its neighbours alone.
    for place in range(9, 391):
        part = find_cuts(changes[place - 5 : place + 5])
        assert (5 in part) == (place in cuts)


def test_a_journal_is_its_head_s_and_loses_what_was_cut_short(tmp_path: Path) -> None:
    path, head = tmp_path / "new" / "journal", {"job": "a"}
    with append_lines(path, head) as append:
        append({"n": 1})
        append({"n": 2})
    with path.open("a") as file:
        file.write('{"n": 3')
    assert read_lines(path, {"job": "b"}) is None
    assert read_lines(path, head, repair=True) == [{"n": 1}, {"n": 2}]
    with append_lines(path) as append:
        append({"n": 4})
    assert read_lines(path, head) == [{"n": 1}, {"n": 2}, {"n": 4}]
    with append_lines(path, head):
        pass
    assert read_lines(path, head) == []


def test_a_full_disk_is_told_in_a_line() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    refusal = r"/dev: cannot be written \(No space left on device\)"
    with pytest.raises(FaceswapError, match=refusal), append_lines(full, {"job": "a"}) as append:
        append({"n": 1})
