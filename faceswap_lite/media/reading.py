"""Clips in: frames upright, as RGB, with exact times, decoded ahead of whoever uses them."""

import ctypes
import itertools
import queue
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Int32, Shaped, UInt8, UInt16

from ..errors import FaceswapError
from ..outputs import read_json
from .clips import IMAGE_SUFFIXES, ClipInfo, ColorTags, FieldOrder, Frame, ffmpeg_url, list_images
from .color import alpha_of, frame_to_rgb, has_alpha
from .side_data import display_matrix, light_of, unread
from .stills import Still, StillHead, read_still, read_stills, still_head

AHEAD_BYTES = 128 << 20
"""Decoded frames that may wait to be asked for."""
SHORT_BY = Fraction(1, 2)
"""Seconds by which a clip may end before the end that it claims, and pass for whole."""
STILLS_RATE = Fraction(25)
"""Frames a second of a folder of pictures that does not say its times."""
TIMES_NAME = "times.json"
"""Beside an image sequence: when each picture is shown."""
PQ = 16
"""FFmpeg's number of SMPTE ST 2084."""

Plane = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]

FLAT = 1.0
"""A frame whose green spreads less than this (standard deviation, of 255) shows nothing."""
START_FRAMES = 250
"""How far into a clip a broken start is followed."""
NO_PICTURE = 130
"""The RGB level of luma 128, which is what a decoder starts from when its key frame is lost."""
GREY_STAYS = 20
"""How far, in levels, the mean of a broken start drifts while movement smears into it."""
# FFmpeg's AVFieldOrder: first the two whose fields are coded and shown in one order.
_FIELD_ORDERS: dict[int, FieldOrder] = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}
# glibc's number of the option, and the size from which a block is the system's own, in bytes.
_M_MMAP_THRESHOLD = -3
_FRAME_BYTES = 1 << 20


class ClipReader:
    """Iterates once over a clip's frames; use it in a `with` block.

    `info` is what the container says. `problems` holds one line on each thing that is not as one
    would think: at once, what was chosen of several pictures, what is not read, what its light or
    its fields mean for a face; once read to the end, damage, missing frames, unreadable pictures.
    """

    def __init__(self, path: Path):
        self.problems: list[str] = []
        self._source = _open_source(path, self.problems)
        self._frames: Iterator[Frame] | None = None
        self.info: ClipInfo = self._source.info

    def __enter__(self) -> "ClipReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        if self._frames is not None:
            raise RuntimeError(f"{self.info.path}: a reader goes over its clip once; open it again")
        image_bytes = self.info.width * self.info.height * 3 * (2 if self.info.bit_depth > 8 else 1)
        depth = min(16, max(2, AHEAD_BYTES // max(1, image_bytes)))
        self._ahead = _Ahead(self._source.frames(), depth)
        self._frames = iter(self._ahead)
        return self._frames

    def close(self) -> None:
        """Stop decoding and let go of the file."""
        if self._frames is not None:
            self._ahead.stop()
        self._source.close()


def open_clip(path: str | Path) -> ClipReader:
    """A reader of a video, a folder of pictures or a single picture.

    Raises: FaceswapError, one line that says which and why, when nothing can be decoded from it.
    """
    return ClipReader(Path(path))


def upright(
    image: Shaped[np.ndarray, "h w c"], matrix: Int32[np.ndarray, " 9"] | None
) -> Shaped[np.ndarray, "h2 w2 c"]:
    """The picture as a display matrix shows it, by quarter turns and mirrorings.

    Source: ISO/IEC 14496-12, 6.2.2: (x', y') = (a x + c y, b x + d y), rows a b u, c d v, x y w.
    """
    if matrix is None:
        return image
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.transpose(1, 0, 2)
        a, d = c, b
    image = image[:, ::-1] if a < 0 else image
    return np.ascontiguousarray(image[::-1] if d < 0 else image)


def broken_start(keys: list[bool], spreads: list[float], levels: list[float]) -> int:
    """How many first frames a decoder made of nothing: mid-grey ones, and those built on them.

    `spreads` and `levels` are each frame's standard deviation and mean, of 255. Such a start is
    flat, shows movement on a grey that stays, and ends at the key frame that brings the whole
    picture at once. A fade has no such jump, a grey card before a cut no movement.
    """
    if not spreads or spreads[0] >= FLAT or abs(levels[0] - NO_PICTURE) > 4:
        return 0
    for index in range(1, len(keys)):
        moved = spreads[index - 1] >= FLAT
        if moved and keys[index] and spreads[index] > 1.5 * spreads[index - 1]:
            return index
        if abs(levels[index] - levels[0]) > GREY_STAYS:
            return 0
    return 0


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


@runtime_checkable
class _Source(Protocol):
    info: ClipInfo

    def frames(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class _Stills:
    """A folder of pictures, or one picture that may move. Each keeps its own size and depth."""

    def __init__(self, path: Path, problems: list[str]):
        folder = path.is_dir()
        self._paths = list_images(path) if folder else [path]
        self._problems = problems
        if not self._paths:
            raise FaceswapError(f"{path}: holds no pictures")
        height, width = _first_readable(path, self._paths).shape[:2]
        heads = _heads(self._paths)
        problems += _head_notes(heads, folder)
        moving = [] if folder else next(iter(heads.values())).durations
        self._rate, self._time_base, self._pts = (
            _moving_times(moving) if moving else _times(path, self._paths)
        )
        bits = max(head.bits for head in heads.values())
        profiles = {head.icc for head in heads.values()}
        if len(profiles) > 1:
            problems.append("its pictures have different ICC profiles, which are not kept")
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
            alpha=any(head.alpha for head in heads.values()),
            icc=profiles.pop() if len(profiles) == 1 else None,
            exif=any(head.exif for head in heads.values()),
        )

    def frames(self) -> Iterator[Frame]:
        index = others = 0
        for pts, still in self._timed():
            others += still.image.shape[:2] != (self.info.height, self.info.width)
            yield Frame(index, pts, pts * self._time_base, still.image, still.alpha)
            index += 1
        if others:
            size = f"{self.info.width}x{self.info.height}"
            self._problems.append(f"{others} of {index} pictures are not {size} as the first is")

    def _timed(self) -> Iterator[tuple[int, Still]]:
        """The pictures that can be read, with their times."""
        if len(self._paths) == 1:
            try:
                yield from zip(self._pts, read_stills(self._paths[0]), strict=False)
            except FaceswapError as error:
                self._problems.append(str(error))
            return
        for file, pts in zip(self._paths, self._pts, strict=True):
            try:
                yield pts, read_still(file)
            except FaceswapError as error:
                self._problems.append(str(error))

    def close(self) -> None:
        pass


class _Video:
    """A video file through FFmpeg."""

    def __init__(self, path: Path, problems: list[str]):
        self._path, self._problems = path, problems
        try:
            self._container = av.open(ffmpeg_url(path), metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise FaceswapError(f"{path}: {_why_unreadable(path, error)}") from error
        try:
            self._stream = _picture_stream(self._container, path)
            self._stream.thread_type = "AUTO"
            self._packets = self._discarded = self._undecoded = 0
            self._seen_key = False
            self._decoded = self._decode()
            # The first frame tells what the container does not: rotation, and if it decodes.
            first = next(self._decoded, None)
            if first is None:
                raise FaceswapError(f"{path}: not one frame can be decoded ({self._codec_name()})")
        except BaseException:
            self._container.close()
            raise
        self._first: av.VideoFrame = first
        self._matrix = display_matrix(first)
        self.info = self._describe(first)
        problems += self._at_once(first)

    def _codec_name(self) -> str:
        context = self._stream.codec_context
        return context.name if context is not None else "unknown codec"

    def _describe(self, first: av.VideoFrame) -> ClipInfo:
        stream = self._stream
        turned = _is_turned(self._matrix)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        time_base = stream.time_base or Fraction(1, 1000)
        return ClipInfo(
            path=self._path,
            kind="video",
            width=first.height if turned else first.width,
            height=first.width if turned else first.height,
            frame_count=_claimed_frames(stream),
            rate=stream.average_rate or stream.guessed_rate,
            time_base=time_base,
            codec=self._codec_name(),
            pixel_format=first.format.name,
            bit_depth=max(component.bits for component in first.format.components),
            rotation_deg=first.rotation,
            color=ColorTags(
                int(first.color_primaries),
                int(first.color_trc),
                int(first.colorspace),
                int(first.color_range),
            ),
            has_audio=bool(self._container.streams.audio),
            metadata=dict(self._container.metadata),
            pixel_aspect=1 / aspect if turned else aspect,
            start_time=(first.pts or 0) * time_base,
            alpha=self._has_alpha(first),
            fields=_FIELD_ORDERS.get(stream.codec_context.field_order)
            if first.interlaced_frame and self._matrix is None
            else None,
            light=light_of(first),
            timecode=self._timecode(),
        )

    def _has_alpha(self, first: av.VideoFrame) -> bool:
        if not has_alpha(first.format.name):
            return False
        # FFmpeg gives all GIF and every palette alpha, most of them are opaque.
        by_kind = self._codec_name() != "gif" and not first.format.has_palette
        return by_kind or not (alpha_of(first) == 255).all()

    def _timecode(self) -> str | None:
        streams = (self._stream, *self._container.streams.data)
        for said in (*(stream.metadata for stream in streams), self._container.metadata):
            # Matroska writes its tags in capitals.
            for key in ("timecode", "TIMECODE"):
                if key in said:
                    return said[key]
        return None

    def _at_once(self, first: av.VideoFrame) -> list[str]:
        """What is to be known of the clip before any work."""
        lines = []
        pictures = _picture_streams(self._container)
        if len(pictures) > 1:
            size = f"{first.width}x{first.height}"
            number = pictures.index(self._stream) + 1
            lines.append(f"video stream {number} of {len(pictures)} ({size}) is taken, no other")
        if self._stream.metadata.get("alpha_mode") == "1" and not self.info.alpha:
            lines.append(f"its alpha is not read: the decoder of {self._codec_name()} gives none")
        if first.interlaced_frame:
            order = {
                "tff": "top field first",
                "bff": "bottom field first",
                None: "field order lost",
            }
            lines.append(f"is interlaced ({order[self.info.fields]}); it is not deinterlaced")
        if self.info.color.transfer == PQ:
            lines.append(
                "is HDR of the PQ kind, and its values are taken as they are: colours of the swap "
                "match better when it is graded to SDR (BT.709) or HLG first"
            )
        lines += [f"{words}: not kept" for words in unread(first)]
        return lines

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._problems.append(f"reading stops early ({error.strerror})")
                # What the decoder still holds back for reordering.
                yield from self._stream.decode(None)
                return
            self._packets += packet.size > 0
            self._discarded += packet.is_discard
            # A frame that an edit list cuts off may be what the others build on.
            self._seen_key |= packet.is_discard and packet.is_keyframe
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._undecoded += 1
                continue
            yield from frames

    def frames(self) -> Iterator[Frame]:
        scaler = VideoReformatter()
        width, height = self._first.width, self._first.height
        count = damaged = leading = retimed = resized = interlaced = 0
        end = Fraction(0)
        keys: list[bool] = []
        spreads: list[float] = []
        levels: list[float] = []
        last: int | None = None
        frame: av.VideoFrame | None = self._first
        while frame is not None:
            # Exact time; a frame with none, or one that goes back, follows the last one.
            pts = frame.pts
            if pts is None or (last is not None and pts <= last):
                retimed += 1
                pts = 0 if last is None else last + (self._ticks() if pts is None else 1)
            last = pts

            # What the decoder says of it.
            damaged += frame.is_corrupt
            self._seen_key = self._seen_key or frame.key_frame
            leading += not self._seen_key
            interlaced += frame.interlaced_frame
            resized += (frame.width, frame.height) != (width, height)

            image = frame_to_rgb(frame, self.info.color, scaler, width, height)
            if len(keys) < START_FRAMES and (not spreads or spreads[0] < FLAT):
                sample = image[::8, ::8, 1] / (257 if image.dtype == np.uint16 else 1)
                keys.append(bool(frame.key_frame))
                spreads.append(float(sample.std()))
                levels.append(float(sample.mean()))
            end = (pts + self._ticks()) * self.info.time_base
            yield Frame(
                count,
                pts,
                pts * self.info.time_base,
                upright(image, self._matrix),
                self._alpha(frame, width, height),
            )
            count += 1
            frame = next(self._decoded, None)

        self._report_missing(count, end)
        broken = broken_start(keys, spreads, levels)
        size = f"{width}x{height}"
        found = {
            f"the first {broken} frames look broken (flat grey, or built on it)": broken,
            f"the first {leading} frames lack the key frame that they build on": leading,
            f"{damaged} frames are flagged as damaged": damaged,
            f"{retimed} frames had no time of their own, or one that goes back": retimed,
            f"{resized} frames were not {size} and were scaled to it": resized,
            f"{interlaced} frames are interlaced; they are not deinterlaced": (
                0 if self._first.interlaced_frame else interlaced
            ),
        }
        self._problems.extend(line for line, times in found.items() if times)

    def _alpha(self, frame: av.VideoFrame, width: int, height: int) -> Plane | None:
        if not self.info.alpha or not has_alpha(frame.format.name):
            return None
        alpha = alpha_of(frame)
        if alpha.shape != (height, width):
            alpha = cv2.resize(alpha, (width, height))
        return upright(alpha[..., None], self._matrix)[..., 0]

    def _ticks(self) -> int:
        """The usual length of a frame, in the clip's time base."""
        return max(1, round(1 / ((self.info.rate or STILLS_RATE) * self.info.time_base)))

    def _report_missing(self, count: int, end: Fraction) -> None:
        # Frames before an edit list's start are claimed, decoded, and not to be shown.
        claimed = max(0, (self.info.frame_count or 0) - self._discarded)
        if self._undecoded:
            self._problems.append(f"{self._undecoded} packets could not be decoded")
        if count < claimed and self._packets - self._discarded < claimed:
            self._problems.append(
                f"decoded {count} of {claimed} claimed frames: the file ends early"
            )
        elif count < claimed:
            self._problems.append(f"decoded {count} of {claimed} claimed frames")
        # Matroska counts no frames, but says how long its streams are.
        seconds = _seconds(self._stream.metadata.get("DURATION", ""))
        if self.info.frame_count is None and seconds > end + SHORT_BY:
            self._problems.append(
                f"decoded {count} frames, to {float(end):.2f} s of {float(seconds):.2f} s: "
                "the file ends early"
            )

    def close(self) -> None:
        self._container.close()


def _open_source(path: Path, problems: list[str]) -> _Source:
    if not path.exists():
        raise FaceswapError(f"{path}: no such file or folder")
    if not path.is_dir() and not path.is_file():
        raise FaceswapError(f"{path}: is neither a file nor a folder")
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return _Stills(path, problems)
    if path.stat().st_size == 0:
        raise FaceswapError(f"{path}: is empty (0 bytes)")
    return _Video(path, problems)


def _first_readable(path: Path, files: list[Path]) -> Shaped[np.ndarray, "h w 3"]:
    errors = []
    for file in files:
        try:
            return read_still(file).image
        except FaceswapError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    raise FaceswapError(f"{path}: none of its {len(errors)} pictures can be read")


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
            notes = [*notes, "moves: its first picture is taken, no other"]
        for note in notes:
            said.setdefault(note, []).append(name)
    return [
        note if not folder else f"{names[0]}{_and_others(names)}: {note}"
        for note, names in said.items()
    ]


def _and_others(names: list[str]) -> str:
    more = len(names) - 1
    return f" and {more} other{'s' * (more > 1)}" if more else ""


def _moving_times(durations: list[Fraction]) -> tuple[Fraction, Fraction, list[int]]:
    """Rate, time base and each picture's pts, of pictures that last so many seconds."""
    time_base = Fraction(1, 1000)
    ends = list(itertools.accumulate(durations))
    return (
        Fraction(len(ends)) / ends[-1],
        time_base,
        [round(t / time_base) for t in (Fraction(0), *ends[:-1])],
    )


def _times(path: Path, files: list[Path]) -> tuple[Fraction, Fraction, list[int]]:
    """Rate, time base and each picture's pts: as their writer left them, else 25 a second."""
    plain = STILLS_RATE, 1 / STILLS_RATE, list(range(len(files)))
    if not path.is_dir() or not (path / TIMES_NAME).is_file():
        return plain
    try:
        said = read_json(path / TIMES_NAME)
        pts = [int(said["pts"][file.name]) for file in files]
        rate, time_base = Fraction(said["rate"]), Fraction(said["time_base"])
    except (FaceswapError, ArithmeticError, KeyError, TypeError, ValueError):
        return plain  # pictures were added or renamed by hand
    rising = all(b > a for a, b in itertools.pairwise(pts))
    parts = (*rate.as_integer_ratio(), *time_base.as_integer_ratio())
    # What FFmpeg counts with.
    fits = max(map(abs, pts)) < 2**62 and max(map(abs, parts)) < 2**31
    return (rate, time_base, pts) if rising and fits and rate > 0 and time_base > 0 else plain


def _picture_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    attached = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & attached]


def _picture_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """Of several the default one, else the largest."""
    pictures = _picture_streams(container)
    if pictures:
        default = av.stream.Disposition.default
        sure = [stream for stream in pictures if stream.disposition & default] or pictures
        return max(sure, key=lambda stream: stream.width * stream.height)
    if container.streams.audio:
        raise FaceswapError(f"{path}: has sound but no video")
    raise FaceswapError(f"{path}: has no video stream")


def _claimed_frames(stream: av.VideoStream) -> int | None:
    # An mp4's index, once its edit list is applied, knows better than the track's total.
    indexed = len(stream.index_entries)
    return min(stream.frames, indexed or stream.frames) or None


def _is_turned(matrix: Int32[np.ndarray, " 9"] | None) -> bool:
    if matrix is None:
        return False
    a, b, _, c, d = (abs(int(value)) for value in matrix[:5])
    return b + c > a + d


def _seconds(text: str) -> Fraction:
    """Seconds in Matroska's "hh:mm:ss.fraction"; 0 when it is none."""
    parts = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    if parts is None:
        return Fraction(0)
    return int(parts[1]) * 3600 + int(parts[2]) * 60 + Fraction(parts[3])


def _why_unreadable(path: Path, error: av.FFmpegError | OSError) -> str:
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    with path.open("rb") as file:
        start = file.read(4096)
    if b"\0" not in start:
        return "is text, not a video"
    if b"ftyp" in start[:64]:
        return "is an mp4 without its index (moov): it was cut short or never finished"
    return f"is not a video that FFmpeg can read ({error.strerror})"


def give_frames_back() -> None:
    """Have glibc return every block of a frame's size to the system as soon as it is freed.

    Left alone it learns from the first frames to keep such blocks, in a heap for each thread, where
    they fragment: a 4K conversion then holds 0.7 GB more, and is no faster. Elsewhere: nothing.
    Source: mallopt(3), M_MMAP_THRESHOLD, "dynamic mmap threshold".
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _FRAME_BYTES)
