"""Timecode: frames counted as hours, minutes, seconds and frames."""

import re
from fractions import Fraction

_TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)")


def later_timecode(timecode: str, frames: int, rate: Fraction) -> str | None:
    """The timecode so many frames later (or earlier), a day on end; None: it fits no such rate.

    Drop-frame timecode leaves out the numbers of two frames in each thirty of a second, in each
    minute but every tenth. Source: SMPTE ST 12-1.
    """
    parts = _TIMECODE.fullmatch(timecode)
    base = round(rate)
    if parts is None or base < 1:
        return None
    hours, minutes, seconds, last = (int(parts[index]) for index in (1, 2, 3, 5))
    dropped = 0 if parts[4] == ":" else base // 15
    if last >= base or (dropped and (base % 30 or rate.denominator == 1)):
        return None
    all_minutes = hours * 60 + minutes
    numbered = (all_minutes * 60 + seconds) * base + last
    count = numbered - dropped * (all_minutes - all_minutes // 10) + frames

    ten_minutes = 600 * base - 9 * dropped
    tens, rest = divmod(count % (144 * ten_minutes), ten_minutes)
    # The first minute of the ten is whole.
    skipped = max(0, rest - dropped) // (60 * base - dropped) if dropped else 0
    number = tens * 600 * base + rest + dropped * skipped
    seconds, last = divmod(number, base)
    mark = parts[4]
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{last:02}"
