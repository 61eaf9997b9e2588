"""Clips in: frames upright, as RGB, with exact times."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from ..errors import FaceswapError
from ..outputs import read_json
from .clips import (
    IMAGE_SUFFIXES,
    STILLS_RATE,
    TIMES_NAME,
    ClipInfo,
    ColorTags,
    Frame,
    clip_fingerprint,
    frame_numbers,
    is_sequence,
    list_images,
    one_number,
    passed_over,
    some_of,
)
from .decoding import VideoDecoder
from .probing import light_notes
from .reader import Clip, ClipReader
from .stills import Still, StillHead, read_still, read_stills, same_aspect, still_head


def as_clip(path: Path) -> Clip:
    """What lies at a path, as a clip. Raises: FaceswapError when it cannot be read."""
    return Clip(path, clip_fingerprint(path), partial(open_clip, path))


def open_clip(path: str | Path, start_number: int | None = None) -> ClipReader:
    """A reader of a video, a folder of pictures or a single picture.

    Frames are numbered as the pictures of a sequence are, else from 1; `start_number`: the first is
    called so, and the others as far from it as they are.
    Raises: FaceswapError, one line that says which and why, when nothing can be decoded from it.
    """
    problems: list[str] = []
    return ClipReader(_open_source(Path(path), problems), problems, start_number)


class _Stills:
    """A folder of pictures, or one picture that may move. Each keeps its own size and depth."""

    def __init__(self, path: Path, problems: list[str]):
        folder = path.is_dir()
        self._paths = list_images(path) if folder else [path]
        self._problems = problems
        if not self._paths:
            others = passed_over(path, ()) if folder else ""
            why = f": {others}; .png and .tif are read, of 16 bits, too" if others else ""
            raise FaceswapError(f"{path}: holds no pictures{why}")
        numbered = folder and (is_sequence(self._paths) or (path / TIMES_NAME).is_file())
        self._numbers = frame_numbers(self._paths) if numbered else None
        first, picture = _first_readable(path, self._paths)
        height, width = picture.shape[:2]
        heads = _heads(self._paths)
        problems += _head_notes(heads, folder)
        if folder and (line := one_number(self._paths)):
            problems.append(line)
        moving = [] if folder else next(iter(heads.values())).durations
        self._rate, self._time_base, self._pts, self._end = (
            _moving_times(moving) if moving else _times(path, self._paths)
        )
        plain = list(range(len(self._pts)))
        bits = max(head.bits for head in heads.values())
        profiles = {head.icc for head in heads.values()}
        if len(profiles) > 1:
            problems.append("its pictures have different ICC profiles, which are not kept")
        colors = {head.color for head in heads.values()}
        if len(colors) > 1:
            problems.append("its pictures say differently of their light (cICP): not kept")
        color = colors.pop() if len(colors) == 1 else ColorTags()
        lights = {head.light for head in heads.values()}
        if len(lights) > 1:
            problems.append("its pictures' HDR mastering metadata differ: not kept")
        problems += light_notes(color)
        aspects = [head.pixel_aspect for head in heads.values()]
        one_aspect = same_aspect(aspects)
        if not one_aspect:
            problems.append("its pictures' pixels differ in shape: written as square")
        calibrations = {head.calibration for head in heads.values()}
        if len(calibrations) > 1:
            problems.append("its pictures' gamma and primaries (gAMA, cHRM) differ: not kept")
        self.info = ClipInfo(
            path=path,
            kind="images" if folder or moving else "image",
            width=width,
            height=height,
            frame_count=len(self._pts),
            rate=self._rate,
            time_base=self._time_base,
            codec=self._paths[0].suffix.lower().lstrip("."),
            pixel_format="rgb24" if bits == 8 else "rgb48",
            bit_depth=bits,
            start_time=self._pts[0] * self._time_base,
            first_number=1 if self._numbers is None else self._numbers[first],
            numbers=tuple(self._numbers) if self._numbers and self._pts == plain else None,
            last_number=len(self._pts) if self._numbers is None else self._numbers[-1],
            alpha=any(head.alpha for head in heads.values()),
            icc=profiles.pop() if len(profiles) == 1 else None,
            pixel_aspect=aspects[0] if one_aspect else Fraction(1),
            calibration=calibrations.pop() if len(calibrations) == 1 else (),
            exif=any(head.exif for head in heads.values()),
            color=color,
            light=lights.pop() if len(lights) == 1 else None,
        )

    def frames(self) -> Iterator[Frame]:
        broken: list[str] = []
        others: list[str] = []
        for index, (pts, ticks, number, still, name) in enumerate(self._timed(broken)):
            if still.image.shape[:2] != (self.info.height, self.info.width):
                others.append(name)
            time = pts * self._time_base
            yield Frame(index, pts, time, still.image, still.alpha, number, ticks)
        taken = {TIMES_NAME, *(path.name for path in self._paths)}
        size = f"not {self.info.width}x{self.info.height} as the first is"
        lines = (
            some_of(broken, "cannot be read and is left out", "cannot be read and are left out"),
            some_of(others, f"is {size}", f"are {size}"),
            passed_over(self.info.path, taken) if self.info.path.is_dir() else "",
        )
        self._problems.extend(line for line in lines if line)

    def _timed(self, broken: list[str]) -> Iterator[tuple[int, int, int | None, Still, str]]:
        """Times, lengths, own numbers and names of the readable pictures; `broken`: the others."""
        numbers: Sequence[int | None] = self._numbers or [None] * len(self._pts)
        lengths = [end - pts for pts, end in itertools.pairwise([*self._pts, self._end])]
        if len(self._paths) == 1:
            name = self._paths[0].name
            try:
                stills = read_stills(self._paths[0])
                rows = zip(self._pts, lengths, numbers, stills, strict=False)
                for pts, length, number, still in rows:
                    yield pts, length, number, still, name
            except FaceswapError as error:
                self._problems.append(str(error))
            return
        times = zip(self._pts, lengths, numbers, strict=True)
        for file, (pts, length, number) in zip(self._paths, times, strict=True):
            try:
                yield pts, length, number, read_still(file), file.name
            except FaceswapError:
                broken.append(file.name)

    def close(self) -> None:
        pass


def _open_source(path: Path, problems: list[str]) -> _Stills | VideoDecoder:
    if not path.exists():
        raise FaceswapError(f"{path}: no such file or folder")
    if not path.is_dir() and not path.is_file():
        raise FaceswapError(f"{path}: is neither a file nor a folder")
    # FFmpeg knows no length of a moving PNG's frame that says none.
    if path.is_dir() or path.suffix.lower() in (*IMAGE_SUFFIXES, ".apng"):
        return _Stills(path, problems)
    if path.stat().st_size == 0:
        raise FaceswapError(f"{path}: is empty (0 bytes)")
    return VideoDecoder(path, problems)


def _first_readable(path: Path, files: list[Path]) -> tuple[int, Shaped[np.ndarray, "h w 3"]]:
    """Its place and the picture."""
    errors = []
    for place, file in enumerate(files):
        try:
            return place, read_still(file).image
        except FaceswapError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    first = f"the first: {errors[0]}"
    raise FaceswapError(f"{path}: none of its {len(errors)} pictures can be read; {first}")


def _heads(files: list[Path]) -> dict[str, StillHead]:
    """What the files that can be read say of themselves, by their names."""
    heads = {}
    for file in files:
        with suppress(FaceswapError):
            heads[file.name] = still_head(file)
    return heads


def _head_notes(heads: dict[str, StillHead], folder: bool) -> list[str]:
    """One line on each kind of thing, however many pictures of a folder it is said of."""
    said: dict[str, list[str]] = {}
    for name, head in heads.items():
        notes = head.notes
        if head.durations and folder:
            notes = [*notes, "is animated: only its first picture is read"]
        for note in notes:
            said.setdefault(note, []).append(name)
    if not folder:
        return list(said)
    more = {1: "", 2: " and 1 other"}
    return [
        f"{names[0]}{more.get(len(names), f' and {len(names) - 1} others')}: {note}"
        for note, names in said.items()
    ]


def _moving_times(durations: list[Fraction]) -> tuple[Fraction, Fraction, list[int], int]:
    """Rate, time base, each picture's pts and the end, of pictures that last so many seconds."""
    time_base = Fraction(1, 1000)
    times = [round(t / time_base) for t in itertools.accumulate(durations, initial=Fraction(0))]
    return len(durations) / sum(durations, Fraction(0)), time_base, times[:-1], times[-1]


def _times(path: Path, files: list[Path]) -> tuple[Fraction, Fraction, list[int], int]:
    """Rate, time base, each picture's pts and the end: as their writer says, else 25 a second."""
    plain = STILLS_RATE, 1 / STILLS_RATE, list(range(len(files))), len(files)
    if not path.is_dir() or not (path / TIMES_NAME).is_file():
        return plain
    try:
        said = read_json(path / TIMES_NAME)
        pts = [int(said["pts"][file.name]) for file in files]
        rate, time_base = Fraction(said["rate"]), Fraction(said["time_base"])
        end = int(said.get("end", pts[-1] + max(1, round(1 / (rate * time_base)))))
    except (FaceswapError, ArithmeticError, KeyError, TypeError, ValueError):
        return plain  # pictures were added or renamed by hand
    rising = all(b > a for a, b in itertools.pairwise([*pts, end]))
    parts = (*rate.as_integer_ratio(), *time_base.as_integer_ratio())
    # What FFmpeg counts with.
    fits = max(map(abs, [*pts, end])) < 2**62 and max(map(abs, parts)) < 2**31
    return (rate, time_base, pts, end) if rising and fits and rate > 0 and time_base > 0 else plain
