"""Clips in: frames upright, as RGB, with exact times, decoded ahead of whoever uses them."""

import ctypes
import itertools
import queue
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast, runtime_checkable

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Int32, Shaped, UInt8, UInt16

from ..errors import FaceswapError
from ..outputs import read_json
from .clips import (
    IMAGE_SUFFIXES,
    ClipInfo,
    ColorTags,
    FieldOrder,
    Frame,
    counted,
    ffmpeg_url,
    frame_numbers,
    is_sequence,
    list_images,
    passed_over,
    some_of,
)
from .clock import LONGEST_STILL, picture_stream, picture_streams, read_clock
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
_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
# glibc's number of the option, and the size from which a block is the system's own, in bytes.
_M_MMAP_THRESHOLD = -3
_FRAME_BYTES = 1 << 20


class ClipReader:
    """Iterates once over a clip's frames; use it in a `with` block.

    `info` is what the container says. `problems` holds one line on each thing that is not as one
    would think: at once, what was chosen of several pictures, what is not read, what its light or
    its fields mean for a face; once read to the end, damage, missing frames, unreadable pictures.
    """

    def __init__(self, path: Path, start_number: int | None = None):
        self.problems: list[str] = []
        self._source = _open_source(path, self.problems)
        self._frames: Iterator[Frame] | None = None
        info = self._source.info
        self._shift = 0 if start_number is None else start_number - info.first_number
        last = info.last_number
        self.info: ClipInfo = replace(
            info,
            first_number=info.first_number + self._shift,
            last_number=None if last is None else last + self._shift,
        )

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


def open_clip(path: str | Path, start_number: int | None = None) -> ClipReader:
    """A reader of a video, a folder of pictures or a single picture.

    Frames are numbered as the pictures of a sequence are, else from 1; `start_number`: the first is
    called so, and the others as far from it as they are.
    Raises: FaceswapError, one line that says which and why, when nothing can be decoded from it.
    """
    return ClipReader(Path(path), start_number)


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
        numbered = folder and (is_sequence(self._paths) or (path / TIMES_NAME).is_file())
        self._numbers = frame_numbers(self._paths) if numbered else None
        first, picture = _first_readable(path, self._paths)
        height, width = picture.shape[:2]
        heads = _heads(self._paths)
        problems += _head_notes(heads, folder)
        moving = [] if folder else next(iter(heads.values())).durations
        self._rate, self._time_base, self._pts, self._end = (
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
            first_number=1 if self._numbers is None else self._numbers[first],
            last_number=len(self._pts) if self._numbers is None else self._numbers[-1],
            alpha=any(head.alpha for head in heads.values()),
            icc=profiles.pop() if len(profiles) == 1 else None,
            exif=any(head.exif for head in heads.values()),
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


class _Video:
    """A video file through FFmpeg."""

    def __init__(self, path: Path, problems: list[str]):
        self._path, self._problems = path, problems
        try:
            self._container = av.open(ffmpeg_url(path), metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise FaceswapError(f"{path}: {_why_unreadable(path, error)}") from error
        try:
            self._stream = self._pictures()
            self._clock = read_clock(path)
            self._refuse_encrypted()
            problems += self._clock.problems()
            self._stream.thread_type = "AUTO"
            self._packets = self._discarded = self._undecoded = 0
            self._seen_key = self._broke_off = False
            self._keys = [0, 0]
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

    def _pictures(self) -> av.VideoStream:
        stream = picture_stream(self._container)
        if stream is not None:
            return cast(av.VideoStream, stream)
        sound = self._container.streams.audio
        raise FaceswapError(
            f"{self._path}: has {'sound but no video' if sound else 'no video stream'}"
        )

    def _refuse_encrypted(self) -> None:
        how = self._clock.encrypted.get(self._stream.index)
        if how is not None:
            raise FaceswapError(
                f"{self._path}: its picture is encrypted ({how}); only a decrypted copy can be read"
            )

    def _codec_name(self) -> str:
        context = self._stream.codec_context
        return context.name if context is not None else "unknown codec"

    def _describe(self, first: av.VideoFrame) -> ClipInfo:
        stream = self._stream
        turned = _is_turned(self._matrix)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        time_base = stream.time_base or Fraction(1, 1000)
        rate = stream.average_rate or stream.guessed_rate
        if self._clock.jumps and self._clock.usual:
            rate = 1 / self._clock.usual  # the mean counts the jumps in
        return ClipInfo(
            path=self._path,
            kind="video",
            width=first.height if turned else first.width,
            height=first.width if turned else first.height,
            frame_count=_claimed_frames(stream),
            last_number=_claimed_frames(stream),
            rate=rate,
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
        pictures = picture_streams(self._container)
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
        count = 0
        shown: int | None = None
        for frame in self._decode_ahead():
            count, shown = count + 1, frame.pts
            yield frame
        # Where a packet near the end is damaged, FFmpeg's threads let go of frames before it.
        if shown is not None and count < self._packets - self._discarded - self._undecoded:
            yield from self._decode_end(shown)

    def _decode_ahead(self) -> Iterator[av.VideoFrame]:
        packets = self._clock.steady(self._container.demux(self._stream))
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._problems.append(f"reading stops early ({error.strerror})")
                self._broke_off = True
                # What the decoder still holds back for reordering.
                yield from self._stream.decode(None)
                return
            if not _is_fed(packet):
                continue
            if packet.is_keyframe and packet.size:
                self._keys = [self._keys[-1], self._packets]
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

    def _decode_end(self, shown: int) -> Iterator[av.VideoFrame]:
        """The frames after time `shown`, decoded again from the last key frames by one thread."""
        with av.open(ffmpeg_url(self._path), metadata_errors="replace") as container:
            stream = picture_stream(container)
            assert stream is not None
            stream.thread_type = "NONE"
            packets = (p for p in self._clock.steady(container.demux(stream)) if _is_fed(p))
            # What stops the reading was told the first time.
            with suppress(av.FFmpegError):
                for packet in itertools.islice(packets, self._keys[0], None):
                    with suppress(av.FFmpegError):
                        yield from (f for f in packet.decode() if (f.pts or 0) > shown)

    def frames(self) -> Iterator[Frame]:
        scaler = VideoReformatter()
        width, height = self._first.width, self._first.height
        count = damaged = leading = resized = interlaced = 0
        end = Fraction(0)
        keys: list[bool] = []
        spreads: list[float] = []
        levels: list[float] = []
        for frame, pts, ticks in self._timed():
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
            end = (pts + ticks) * self.info.time_base
            yield Frame(
                count,
                pts,
                pts * self.info.time_base,
                upright(image, self._matrix),
                self._alpha(frame, width, height),
                ticks=ticks,
            )
            count += 1

        self._report_missing(count, end)
        broken = broken_start(keys, spreads, levels)
        found = (
            (broken, "first frame looks", "first frames look", "broken: flat grey, or built on it"),
            (leading, "first frame lacks", "first frames lack", "a key frame to build on"),
            (damaged, "frame is", "frames are", "flagged as damaged"),
            (self._retimed, "frame had", "frames had", "no time of its own, or one that goes back"),
            (resized, "frame was", "frames were", f"not {width}x{height} and scaled to it"),
            (
                0 if self._first.interlaced_frame else interlaced,
                "frame is",
                "frames are",
                "interlaced; not deinterlaced",
            ),
        )
        self._problems.extend(f"{counted(n, *words)} {what}" for n, *words, what in found if n)

    def _alpha(self, frame: av.VideoFrame, width: int, height: int) -> Plane | None:
        if not self.info.alpha or not has_alpha(frame.format.name):
            return None
        alpha = alpha_of(frame)
        if alpha.shape != (height, width):
            alpha = cv2.resize(alpha, (width, height))
        return upright(alpha[..., None], self._matrix)[..., 0]

    def _timed(self) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Each frame, when it is shown and for how long, in ticks; times rise.

        A frame that has no time, or one that goes back, follows the one before it.
        """
        usual = self._usual_ticks()
        self._retimed = 0
        before: av.VideoFrame | None = None
        shown, due = 0, Fraction(0)
        for frame in itertools.chain([self._first], self._decoded):
            pts = frame.dts if frame.pts is None else frame.pts
            if pts is None or (before is not None and pts <= shown):
                self._retimed += 1
                pts = max(round(due), shown + (before is not None))
                due += usual
            else:
                due = pts + usual
            if before is not None:
                yield before, shown, pts - shown
            before, shown = frame, pts
        if before is not None:
            yield before, shown, self._last_ticks(before, shown)

    def _usual_ticks(self) -> Fraction:
        usual = self._clock.usual or 1 / (self.info.rate or STILLS_RATE)
        return max(Fraction(1), usual / self.info.time_base)

    def _last_ticks(self, frame: av.VideoFrame, pts: int) -> int:
        """How long the last frame is shown, as itself says, or the whole file."""
        said = frame.duration or 0
        claimed = self._claimed_end()
        if claimed is not None and not self._is_cut():
            left = round(claimed / self.info.time_base) - pts
            # What an mp4 says of a single frame is the time between two decodings.
            said = left if self._is_mp4() and left > 0 else max(said, left)
        sane = 0 < said * self.info.time_base <= LONGEST_STILL
        return said if sane else round(self._usual_ticks())

    def _claimed_end(self) -> Fraction | None:
        """When the pictures end, in seconds, as Matroska and an mp4's index say."""
        stream, time_base = self._stream, self.info.time_base
        end = _seconds(stream.metadata.get("DURATION", ""))
        if self._is_mp4() and stream.duration:
            end = ((stream.start_time or 0) + stream.duration) * time_base
        return end + self._clock.last_move(stream.index) * time_base if end else None

    def _is_mp4(self) -> bool:
        return "mp4" in self._container.format.name

    def _is_cut(self) -> bool:
        missing = self._packets < len(self._stream.index_entries)
        return self._broke_off or missing or is_cut_matroska(self._path)

    def _report_missing(self, count: int, end: Fraction) -> None:
        # Frames before an edit list's start are claimed, decoded, and not to be shown.
        claimed = max(0, (self.info.frame_count or 0) - self._discarded)
        if self._undecoded:
            packets = counted(self._undecoded, "packet", "packets")
            self._problems.append(f"{packets} could not be decoded")
        if count < claimed and self._packets - self._discarded < claimed:
            self._problems.append(
                f"decoded {count} of {claimed} claimed frames: the file ends early"
            )
        elif count < claimed:
            self._problems.append(f"decoded {count} of {claimed} claimed frames")
        # Matroska counts no frames, but says how long its streams are.
        claimed_end = self._claimed_end()
        if (
            claimed_end is not None
            and self.info.frame_count is None
            and claimed_end > end + SHORT_BY
        ):
            self._problems.append(
                f"decoded {count} frames, to {float(end):.2f} s of {float(claimed_end):.2f} s: "
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


def _is_fed(packet: av.Packet) -> bool:
    """Whether a decoder is to get it: an empty packet means "as before", and would end decoding."""
    return packet.size > 0 or packet.dts is None


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


def is_cut_matroska(path: Path) -> bool:
    """Whether a Matroska file is shorter than its segment says. Source: RFC 8794, 4 to 6."""
    with path.open("rb") as file:
        start = file.read(4096)
    at = start.find(_SEGMENT, 0, 1024)
    if not start.startswith(_EBML) or at < 0:
        return False
    first = at + len(_SEGMENT)
    width = 9 - start[first].bit_length()
    size = int.from_bytes(start[first : first + width], "big") & ((1 << 7 * width) - 1)
    unknown = size == (1 << 7 * width) - 1
    return not unknown and path.stat().st_size < first + width + size


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
