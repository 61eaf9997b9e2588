"""A clip's clock: where it jumps, and by how much each packet moves so that it does not.

Pieces joined byte by byte, a recorder whose clock was set, a transport stream's counter: times may
go back, or leap by hours. Pictures go on after such a jump by a usual frame's length, and sound and
subtitles move by the same amount.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Float64, Int64

from .clips import counted, ffmpeg_url

MAX_STILL = 900
"""Seconds that a frame may stand while the clip is silent; beyond, nobody meant it."""
DOUBTED_STILL = 10
"""Seconds from which a frame must be heard through, where the clip has sound or is a broadcast."""
KEY_GAP = 1
"""Seconds from which a key frame after a gap begins another piece of a silent broadcast."""
REORDERED = 16
"""Frames that a codec may decode out of order."""
STRAYS = 4
"""Frames on end that may leave the clock's line and come back to it."""
SLACK = 500
"""Packets by which sound may lie away from its picture in a file."""
SOUND_BACK = 1
"""Seconds by which sound of one piece may go back and be only an overlap."""
AHEAD = 0.1
"""Seconds by which sound must follow better on pictures that come after it in the file."""
ROUNDED = 0.002
"""Seconds by which a container's rounded times may part packets of sound that go on."""

# FFmpeg's flag of a format whose times are a running stream's, and may be set anew at any moment.
_TS_DISCONT = 0x0200


@dataclass(frozen=True)
class Clock:
    """What a clip's packets say of time, and what mends it.

    `usual` is the commonest length of a frame, in seconds (None: no two frames have times).
    `jumps` counts the places where pictures jump, `sound_jumps` those where only sound does.
    `encrypted` are streams with packets that say so. `longest` is, by stream of sound, the length
    of its longest packet, in seconds.
    """

    usual: Fraction | None = None
    jumps: int = 0
    sound_jumps: int = 0
    encrypted: frozenset[int] = frozenset()
    longest: dict[int, Fraction] = field(default_factory=dict, repr=False)
    _moves: dict[int, Int64[np.ndarray, " n"]] = field(default_factory=dict, repr=False)
    """By stream: the ticks that each packet moves by."""
    _parts: tuple["_Part", ...] = field(default=(), repr=False)

    def steady(self, packets: Iterable[Any]) -> Iterator[Any]:
        """A file's packets, from its start, with times that do not jump."""
        counts: Counter[int] = Counter()
        for packet in packets:
            index = packet.stream.index
            moves = self._moves.get(index)
            if moves is not None and packet.size and counts[index] < len(moves):
                move = int(moves[counts[index]])
                packet.pts = None if packet.pts is None else packet.pts + move
                packet.dts = None if packet.dts is None else packet.dts + move
            counts[index] += packet.size > 0
            yield packet

    def last_move(self, stream: int) -> int:
        """The ticks that a stream's last packet moves by."""
        moves = self._moves.get(stream)
        return 0 if moves is None else int(moves[-1])

    def steadied(self, seconds: Fraction) -> Fraction:
        """When a moment of the file is, on the clock that does not jump.

        Of moments that the file has twice it is the first; one in a gap is where the gap was.
        """
        if not self._parts:
            return seconds
        parts = [part for part in self._parts if part.start <= seconds] or self._parts[:1]
        part = next((part for part in parts if seconds < part.end), None)
        part = part or max(parts, key=lambda part: part.start)
        return min(seconds, part.end) + part.move

    def problems(self) -> list[str]:
        """A line on what was mended."""
        lines = []
        if self.jumps and self.usual is not None:
            times = counted(self.jumps, "time", "times")
            lines.append(
                f"the clock jumped {times}; bridged by a frame's usual length "
                f"({float(self.usual):.3f} s), for sound as well"
            )
        if self.sound_jumps:
            times = counted(self.sound_jumps, "time", "times")
            lines.append(f"the sound's clock alone jumped {times}; bridged")
        return lines


def picture_streams(container: Any) -> list[Any]:
    """The streams of a clip's pictures that a decoder is there for, not of its cover."""
    attached = av.stream.Disposition.attached_pic
    return [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & attached
    ]


def picture_stream(container: Any) -> Any | None:
    """The one that is read: of several the default one, else the largest; None: there is none."""
    pictures = picture_streams(container)
    default = av.stream.Disposition.default
    sure = [stream for stream in pictures if stream.disposition & default] or pictures
    return max(sure, key=lambda stream: stream.width * stream.height, default=None)


def read_clock(path: Path) -> Clock:
    """The clock of a clip, by the times of all its packets; nothing is decoded.

    Raises: FFmpegError or OSError when it cannot be opened.
    """
    stat = path.stat()
    return _read_clock(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _read_clock(path: Path, size: int, changed_ns: int) -> Clock:
    tracks: dict[int, _Track] = {}
    encrypted = set()
    with av.open(ffmpeg_url(path), metadata_errors="replace") as container:
        pictures = picture_stream(container)
        if pictures is None:
            return Clock()
        picture = pictures.index
        broadcast = bool(container.format.flags & _TS_DISCONT)
        for stream in container.streams:
            if stream.type in ("video", "audio", "subtitle") and stream.time_base:
                tracks[stream.index] = _Track(stream.type, stream.time_base)
        # What the end of a broken file says is for whoever decodes it.
        with suppress(av.FFmpegError):
            for position, packet in enumerate(container.demux()):
                track = tracks.get(packet.stream.index)
                if packet.size and track is not None:
                    track.add(packet, position)
                    if packet.has_sidedata("encryption_info"):
                        encrypted.add(packet.stream.index)
    for track in tracks.values():
        track.close()
    longest = {
        # Matroska leaves some packets' lengths out.
        index: int(track.length.max() or np.median(np.diff(track.shown, prepend=0)))
        * track.time_base
        for index, track in tracks.items()
        if track.kind == "audio" and len(track.length)
    }
    mended = _mend(picture, tracks, broadcast)
    return replace(mended, encrypted=frozenset(encrypted), longest=longest)


class _Track:
    """One stream's packets that have times, in the order of the file; in ticks."""

    def __init__(self, kind: str, time_base: Fraction):
        self.kind, self.time_base = kind, time_base
        self._rows = array("q")
        self._begins: int | None = None

    def add(self, packet: Any, position: int) -> None:
        shown, decoded = packet.pts, packet.dts
        if self._begins is None and decoded is not None:
            self._begins = len(self._rows) // 6
        shown = decoded if shown is None else shown
        decoded = shown if decoded is None else decoded
        # What an edit list cuts off is of no time.
        timed = shown is not None and not packet.is_discard
        self._rows.extend((timed, shown or 0, decoded or 0, packet.duration or 0, position))
        self._rows.append(packet.is_keyframe)

    def close(self) -> None:
        """Say that all packets were added."""
        rows = np.array(self._rows, np.int64).reshape(-1, 6)
        self.count = len(rows)
        # Matroska's first packets say only when they are shown, which is in another order.
        for row in reversed(range(self._begins or 0)):
            rows[row, 2] = min(rows[row, 2], rows[row + 1, 2] - 1)
        self.numbers = np.flatnonzero(rows[:, 0])
        self.shown, self.decoded, self.length, self.at, self.key = rows[self.numbers, 1:].T

    @property
    def seconds(self) -> Float64[np.ndarray, " n"]:
        return self.shown * float(self.time_base)

    def for_all(self, ticks: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " all"]:
        """What is told of the packets that have times, for all of them."""
        moves = np.zeros(self.count, np.int64)
        moves[self.numbers] = ticks
        return moves


@dataclass(frozen=True)
class _Part:
    """Where in the file pictures on end begin, when they are shown, and by how much they move.

    Times are in seconds, and the file's.
    """

    at: int
    start: Fraction
    end: Fraction
    move: Fraction


def _mend(picture: int, tracks: dict[int, _Track], broadcast: bool) -> Clock:
    pictures = tracks[picture]
    steps = np.diff(pictures.decoded)
    if not (steps > 0).any():
        return Clock()
    usual = int(np.median(steps[steps > 0]))
    sound = _Sound([track for track in tracks.values() if track.kind == "audio"])
    lent = _mend_lent(pictures, usual)
    ticks, parts, jumps = _bridge(pictures, usual, sound, broadcast)
    moves = {picture: ticks + lent} if jumps else {}
    sound_jumps = 0
    for index, track in tracks.items():
        if not len(track.shown):
            continue
        if track.kind == "audio":
            ticks, alone = _follow(track, parts)
            sound_jumps += alone
        elif track.kind == "subtitle":
            # As the pictures before them in the file.
            latest = np.searchsorted([part.at for part in parts], track.at, side="right")
            shifts = np.array([round(part.move / track.time_base) for part in parts], np.int64)
            ticks = shifts[np.maximum(latest - 1, 0)]
        else:
            continue
        if ticks.any():
            moves[index] = ticks
    told = {index: tracks[index].for_all(ticks) for index, ticks in moves.items()}
    mended = tuple(parts) if jumps else ()
    return Clock(usual * pictures.time_base, jumps, sound_jumps, _moves=told, _parts=mended)


def _mend_lent(pictures: _Track, usual: int) -> Int64[np.ndarray, " n"]:
    """Give pictures with times of another piece, which FFmpeg lent them, their own; by how much."""
    lent = np.zeros(len(pictures.shown), np.int64)
    delay = pictures.shown - pictures.decoded
    far = max(REORDERED * usual, round(DOUBTED_STILL / pictures.time_base))
    for i in map(int, np.flatnonzero(delay[1:-1] > far) + 1):
        # A codec's order has others decoded soon when this one is shown.
        soon = pictures.decoded[i + 1 : i + 1 + REORDERED]
        if (abs(soon - pictures.shown[i]) > far).all():
            lent[i] = delay[i - 1] - delay[i]
    pictures.shown = pictures.shown + lent
    return lent


def _bridge(
    pictures: _Track, usual: int, sound: "_Sound", broadcast: bool
) -> tuple[Int64[np.ndarray, " n"], list[_Part], int]:
    """The ticks that each picture moves by, the parts that they make, and the count of jumps."""
    moves = np.zeros(len(pictures.shown), np.int64)
    parts: list[_Part] = []
    jumps = move = line = end = 0
    after_stray = False
    for start, stop, stray in _runs(pictures, usual):
        order = start + np.argsort(pictures.shown[start:stop], kind="stable")
        shown = pictures.shown[order]
        if after_stray:
            move = line
        elif start:
            jumps += 1
            line, move = move, end + usual - int(shown[0])
        leaps = _leaps(pictures, order, usual, sound, broadcast)
        jumps += len(leaps)
        steps = np.zeros(len(order), np.int64)
        steps[leaps] = usual - (shown[leaps] - shown[np.array(leaps, int) - 1])
        moves[order] = moved = move + np.cumsum(steps)
        move, end, after_stray = int(moved[-1]), int(shown[-1] + moved[-1]), stray
        if not stray:
            for first, stop in pairwise((0, *leaps, len(order))):
                at = int(pictures.at[order[first:]].min())
                ticks = int(shown[first]), int(shown[stop - 1]) + usual, int(moved[first])
                parts.append(_Part(at, *(count * pictures.time_base for count in ticks)))
    return moves, parts, jumps


def _runs(pictures: _Track, usual: int) -> list[tuple[int, int, bool]]:
    """Pictures on end whose times do not go back: from, to, and whether they are strays.

    Strays are few, and those after them go on as if there had been none.
    """
    shown, decoded = pictures.shown, pictures.decoded
    starts = [(0, False)]
    for i in map(int, np.flatnonzero(np.diff(decoded) <= 0) + 1):
        first = starts[-1][0]
        if i <= first or not _goes_back(pictures, first, i, usual):
            continue
        near = decoded[i : i + STRAYS + 1]
        off_line = near - decoded[i - 1] - usual * np.arange(1, len(near) + 1)
        back = np.flatnonzero(np.abs(off_line[1:]) <= usual // 2) + 1
        starts.append((i, len(back) > 0))
        if len(back):
            starts.append((i + int(back[0]), False))
    stops = [start for start, _ in starts[1:]] + [len(shown)]
    return [(start, stop, stray) for (start, stray), stop in zip(starts, stops, strict=True)]


def _goes_back(pictures: _Track, first: int, i: int, usual: int) -> bool:
    """Whether picture `i` is shown before others decoded before it, and no codec's order is why."""
    if pictures.decoded[i] - pictures.decoded[i - 1] <= -REORDERED * usual:
        return True
    before = slice(max(first, i - REORDERED), i)
    after = slice(i, i + REORDERED)
    delay = pictures.shown - pictures.decoded
    in_order = np.ptp(delay[before]) == 0 and np.ptp(delay[after]) == 0
    back = pictures.shown[after].min() <= pictures.shown[before].max()
    return bool(back and (in_order or pictures.key[i]))


def _leaps(
    pictures: _Track, order: Int64[np.ndarray, " n"], usual: int, sound: "_Sound", broadcast: bool
) -> list[int]:
    """Which pictures, of those in the order shown, come after a gap that nobody meant."""
    tick = float(pictures.time_base)
    shown, at = pictures.shown[order], pictures.at[order]
    minimum = 2 * usual if broadcast else DOUBTED_STILL / tick
    found = []
    for n in map(int, np.flatnonzero(np.diff(shown) > minimum) + 1):
        gap = (int(shown[n] - shown[n - 1]) - usual) * tick
        places = sorted((int(at[n - 1]), int(at[n])))
        heard, around = sound.in_gap(places, float(shown[n - 1] * tick), float(shown[n] * tick))
        doubted = gap > DOUBTED_STILL and (around or broadcast)
        if broadcast and _begins_piece(pictures, int(order[n]), usual):
            doubted |= gap > (2 * usual * tick if around else KEY_GAP)
        if not heard and (doubted or gap > MAX_STILL):
            found.append(n)
    return found


def _begins_piece(pictures: _Track, i: int, usual: int) -> bool:
    """Whether picture `i` is a key frame, or the one before it to which FFmpeg lent its time."""
    lent = pictures.shown[i] - pictures.decoded[i] > REORDERED * usual
    return bool(pictures.key[i] or (lent and pictures.key[i + 1 : i + 2].any()))


class _Sound:
    """All that is heard, by where it lies in the file."""

    def __init__(self, tracks: list[_Track]):
        self._tracks = tracks
        self._at = np.sort(np.concatenate([np.zeros(0, np.int64), *(track.at for track in tracks)]))

    def in_gap(self, places: list[int], start: float, end: float) -> tuple[bool, bool]:
        """Whether sound runs through the pictures' gap, and whether there is some on both sides.

        `places`: of the pictures before and after, in the file.
        """
        heard = any(_runs_through(track, places, start, end) for track in self._tracks)
        first, before, after, last = np.searchsorted(
            self._at, [places[0] - SLACK, *places, places[1] + SLACK]
        )
        return heard, bool(first < before and after < last)


def _runs_through(track: _Track, places: list[int], start: float, end: float) -> bool:
    """Whether packets of sound near `places` in the file are heard amid a gap."""
    first, last = np.searchsorted(track.at, [places[0] - SLACK, places[1] + SLACK])
    seconds, at, quarter = track.seconds[first:last], track.at[first:last], (end - start) / 4
    steps = np.diff(seconds)
    jumps = np.flatnonzero((steps < -quarter) | (steps > 2 * quarter)) + 1
    # Sound that its own clock parts from the gap's is another piece's, which may be of any time.
    over, later = jumps[at[jumps - 1] < places[0]], jumps[at[jumps] > places[1]]
    seconds = seconds[max(over, default=0) : min(later, default=None)]
    return bool(((seconds > start + quarter) & (seconds < end - quarter)).any())


def _follow(track: _Track, parts: list[_Part]) -> tuple[Int64[np.ndarray, " n"], int]:
    """The ticks that each packet of sound moves by, and how often its own clock jumps.

    A packet belongs to the part in which it best follows on the sound before it: sound of one part
    may lie a little before the part's pictures in the file, or end after they do.
    """
    moves = np.zeros(len(track.shown), np.int64)
    steps = np.diff(track.seconds)
    if len(parts) == 1 and not ((steps < -SOUND_BACK) | (steps > MAX_STILL)).any():
        return moves, 0
    shifts = np.array([float(part.move) for part in parts])
    ticks = [round(part.move / track.time_base) for part in parts]
    latest = np.searchsorted([part.at for part in parts], track.at, side="right")
    tick = float(track.time_base)
    # Where an mp4's sound jumps, the packet before is as long as the jump.
    usual = np.median(track.length)
    ends = track.shown + np.where(track.length > 4 * usual, usual, track.length)
    goes_on = abs(track.shown[1:] - ends[:-1]) <= max(2, ROUNDED / tick)
    own = jumps = 0
    at = max(0, int(latest[0]) - 1)
    due: float | None = None
    for n, seconds in enumerate(track.seconds):
        if due is not None and not goes_on[n - 1]:
            late = seconds + shifts[at : max(at, int(latest[n])) + 1] - due
            late[0] += own * tick
            # What goes back is worse than what leaves a gap.
            cost = np.where(late < 0, -2 * late, late)
            cost[int(latest[n]) - at :] += AHEAD
            best = int(np.argmin(cost))
            at, own = at + best, 0 if best else own
            if late[best] < -SOUND_BACK or late[best] > MAX_STILL:
                own -= round(late[best] / tick)
                jumps += 1
        moves[n] = ticks[at] + own
        end = float((ends[n] + moves[n]) * tick)
        due = end if due is None else max(due, end)
    return moves, jumps
