"""A video's frames: in order, upright, as RGB, with rising times; what damage costs is counted."""

import itertools
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from ..errors import FaceswapError
from .clips import STILLS_RATE, Alpha, Frame, counted, ffmpeg_url
from .clock import MAX_STILL, picture_stream
from .color import alpha_of, frame_to_rgb, has_alpha
from .probing import (
    OpenVideo,
    describe_stream,
    display_matrix,
    is_cut_matroska,
    open_video,
    said_at_once,
    upright,
)

SHORT_BY = Fraction(1, 2)
"""Seconds by which a clip may end before the end that it claims, and pass for whole."""
FLAT = 1.0
"""A frame whose green spreads less than this (standard deviation, of 255) shows nothing."""
START_FRAMES = 250
"""How far into a clip a broken start is followed."""
NO_PICTURE = 130
"""The RGB level of luma 128, which is what a decoder starts from when its key frame is lost."""
SLIP = 0.25
"""Part of a frame by which its time may be rounded."""
HOLES = 0.05
"""Share of frames that may stand too long in a clip of one rate; with more, it is of several."""
GREY_STAYS = 20
"""How far, in levels, the mean of a broken start drifts while movement smears into it."""


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


def lost_frames(steps: Sequence[float], second: float) -> int:
    """How many frames a clip of one rate lacks, by the usual frames that each of its own stands.

    Where many stand long, or not for whole frames, the rate varies, and nothing is lost. What
    stands for over a `second`, in usual frames, is meant.
    """
    long = [step for step in steps if abs(step - 1) > SLIP and step <= second + 1]
    whole = all(step > 1 and abs(step - round(step)) <= SLIP for step in long)
    if not whole or len(long) > HOLES * len(steps):
        return 0
    return sum(round(step) - 1 for step in long)


class VideoDecoder:
    """Decodes a video file once; `info` says what it is, `problems` gets a line on each damage.

    Raises: FaceswapError, one line, when it cannot be opened, or not one frame can be decoded.
    """

    def __init__(self, path: Path, problems: list[str]):
        self._video, self._problems = open_video(path), problems
        try:
            problems += self._video.clock.problems()
            self._video.stream.thread_type = "AUTO"
            _keep_damaged(self._video.stream)
            self._packets = self._discarded = self._undecoded = self._retimed = 0
            self._seen_key = self._fed_key = self._broke_off = self._begun = False
            self._keys = [0, 0]
            self._early: list[int] = []
            self._in_order = _InOrder(self._video, self._video.stream)
            # Without the first frames that have no key frame to build on.
            self._decoded = itertools.dropwhile(
                lambda frame: frame.is_corrupt and not frame.key_frame, self._decode()
            )
            first = next(self._decoded, None)
            if first is None:
                raise FaceswapError(f"{path}: not one frame can be decoded ({self._video.codec})")
            self._begun = True
            self._left_out = sum(pts < (first.pts or 0) for pts in self._early)
            if self._left_out:
                self._seen_key = True
                left_out = counted(self._left_out, "first frame is", "first frames are")
                problems.append(f"{left_out} left out: nothing is there that they build on")
        except BaseException:
            self.close()
            raise
        self._first: av.VideoFrame = first
        self._matrix = display_matrix(first)
        self.info = describe_stream(self._video, first)
        problems += said_at_once(self._video, self.info, first)

    def close(self) -> None:
        """Let go of the file."""
        self._video.container.close()

    def frames(self) -> Iterator[Frame]:
        """All frames; what they are not as one would think goes to `problems` at the end."""
        scaler = VideoReformatter()
        width, height = self._first.width, self._first.height
        count = damaged = leading = resized = interlaced = 0
        end = Fraction(0)
        keys, spreads, levels = list[bool](), list[float](), list[float]()
        usual, steps = self._usual_ticks(), array("f")
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
            alpha, time = self._alpha(frame, width, height), pts * self.info.time_base
            yield Frame(count, pts, time, upright(image, self._matrix), alpha, ticks=ticks)
            count += 1
            steps.append(float(ticks / usual))

        self._report_missing(count, end)
        if self._fed_key and not self._seen_key:
            leading = 0  # a decoder that flags no frame
        broken = broken_start(keys, spreads, levels)
        whole = not self._first.interlaced_frame
        retimed, back = self._retimed, ", or one that goes back"
        flat = " broken: flat grey, or built on it"
        second = float(1 / (usual * self.info.time_base))
        # How long the last one stands is not told by a next one.
        lost = lost_frames(steps[:-1], second)
        stands = " missing by the times: the one before stands on"
        lines = (
            (broken, "first frame looks", "first frames look", flat),
            (leading, "first frame lacks", "first frames lack", " a key frame to build on"),
            (damaged, "frame is", "frames are", " flagged as damaged"),
            (lost, "frame is", "frames are", stands),
            (retimed, "frame had no time of its own", "frames had no time of their own", back),
            (resized, "frame was", "frames were", f" not {width}x{height} and scaled to it"),
            (interlaced * whole, "frame is", "frames are", " interlaced; not deinterlaced"),
        )
        self._problems.extend(counted(n, one, many) + what for n, one, many, what in lines if n)

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
        packets = self._video.clock.steady(self._video.container.demux(self._video.stream))
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._problems.append(f"reading stops early ({error.strerror})")
                self._broke_off = True
                # What the decoder still holds back for reordering.
                yield from self._in_order.decode(None)
                return
            if not _is_fed(packet):
                continue
            if packet.is_keyframe and packet.size:
                self._keys = [self._keys[-1], self._packets]
            self._packets += packet.size > 0
            self._discarded += packet.is_discard
            # A frame that an edit list cuts off may be built on; libvpx does not say
            # which frames are key frames.
            self._fed_key |= packet.is_keyframe and packet.size > 0
            cut = packet.is_discard or self._in_order.is_silent
            self._seen_key |= cut and packet.is_keyframe
            try:
                frames = self._in_order.decode(packet)
            except av.FFmpegError:
                self._undecoded += 1
                continue
            if packet.pts is not None and not packet.is_discard and not self._begun:
                self._early.append(packet.pts)
            yield from frames

    def _decode_end(self, shown: int) -> Iterator[av.VideoFrame]:
        """The frames after time `shown`, decoded again from the last key frames by one thread."""
        with av.open(ffmpeg_url(self._video.path), metadata_errors="replace") as container:
            stream = picture_stream(container)
            assert stream is not None
            stream.thread_type = "NONE"
            _keep_damaged(stream)
            in_order = _InOrder(self._video, stream)
            packets = (p for p in self._video.clock.steady(container.demux(stream)) if _is_fed(p))
            # What stops the reading was told the first time.
            with suppress(av.FFmpegError):
                for packet in itertools.islice(packets, self._keys[0], None):
                    with suppress(av.FFmpegError):
                        yield from (f for f in in_order.decode(packet) if (f.pts or 0) > shown)

    def _alpha(self, frame: av.VideoFrame, width: int, height: int) -> Alpha | None:
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
        usual = self._video.clock.usual or 1 / (self.info.rate or STILLS_RATE)
        return max(Fraction(1), usual / self.info.time_base)

    def _last_ticks(self, frame: av.VideoFrame, pts: int) -> int:
        """How long the last frame is shown, as itself says, or the whole file."""
        said = frame.duration or 0
        claimed = self._video.claimed_end()
        cut = self._broke_off or self._packets < len(self._video.stream.index_entries)
        if claimed is not None and not cut and not is_cut_matroska(self._video.path):
            left = round(claimed / self.info.time_base) - pts
            # What an mp4 says of a single frame is the time between two decodings.
            said = left if self._video.is_mp4 and left > 0 else max(said, left)
        sane = 0 < said * self.info.time_base <= MAX_STILL
        return said if sane else round(self._usual_ticks())

    def _report_missing(self, count: int, end: Fraction) -> None:
        # Frames before an edit list's start are claimed, decoded, and not to be shown.
        claimed = max(0, (self.info.frame_count or 0) - self._discarded - self._left_out)
        if self._undecoded:
            packets = counted(self._undecoded, "packet", "packets")
            self._problems.append(f"{packets} could not be decoded")
        if count < claimed and self._packets - self._discarded - self._left_out < claimed:
            self._problems.append(
                f"decoded {count} of {claimed} claimed frames: the file ends early"
            )
        elif count < claimed:
            self._problems.append(f"decoded {count} of {claimed} claimed frames")
        # Matroska counts no frames, but says how long its streams are.
        claimed_end = self._video.claimed_end()
        counts = self.info.frame_count is not None
        if claimed_end is not None and not counts and claimed_end > end + SHORT_BY:
            self._problems.append(
                f"decoded {count} frames, to {float(end):.2f} s of {float(claimed_end):.2f} s: "
                "the file ends early"
            )


class _InOrder:
    """Gives an AVI's frames their times: it says when a picture is decoded, not when it is shown.

    FFmpeg works that out for codecs whose pictures are shown as soon as they may be, not for these.
    """

    def __init__(self, video: OpenVideo, stream: Any):
        self._decoder = video.decoder(stream)
        self.is_silent = self._decoder is not stream.codec_context
        unknown = video.container.format.name == "avi" and video.codec in ("h264", "hevc")
        self._waiting: list[int] | None = [] if unknown else None

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        """The frames that a packet completes; None: those held back. Raises: FFmpegError."""
        if self._waiting is not None and packet is not None:
            packet.pts = packet.dts
        frames: list[av.VideoFrame] = self._decoder.decode(packet)
        if self._waiting is not None and packet is not None and packet.pts is not None:
            heappush(self._waiting, packet.pts)
        return self._timed(frames)

    def _timed(self, frames: list[av.VideoFrame]) -> list[av.VideoFrame]:
        """Frames in the order shown, each with the earliest time that is left."""
        for frame in frames if self._waiting else ():
            # Times before a key frame's own are of frames that were lost.
            while frame.key_frame and self._waiting and self._waiting[0] < (frame.pts or 0):
                heappop(self._waiting)
            if self._waiting:
                frame.pts = heappop(self._waiting)
        return frames


def _keep_damaged(stream: Any) -> None:
    """Have the decoder give frames whose references are lost, too; it flags them."""
    stream.codec_context.flags |= av.codec.context.Flags.output_corrupt


def _is_fed(packet: av.Packet) -> bool:
    """Whether a decoder is to get it: an empty packet means "as before", and would end decoding."""
    return packet.size > 0 or packet.dts is None
