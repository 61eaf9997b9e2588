"""What a video says of itself: opened or refused, described, and lines on what is to be known."""

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from jaxtyping import Int32, Shaped

from ..errors import FaceswapError
from .boxes import edit_notes, shown_size
from .clips import STILLS_RATE, ClipInfo, ColorTags, FieldOrder, Light, ffmpeg_url
from .clock import Clock, picture_stream, picture_streams, read_clock
from .color import alpha_of, has_alpha
from .stills import untimed_note

TAGS = {"encv": "CENC", "enca": "CENC", "drmi": "FairPlay", "drms": "FairPlay"}
"""An mp4's tags of encrypted streams."""
PACKET = 188
"""Bytes of a transport stream's packet; an .m2ts puts a time of 4 before each."""
RIFF_OFF = 16
"""Bytes by which writers get the length of a whole RIFF file wrong: they count its head in, or
what fills up an odd number."""
SEARCHED = 4 << 20
"""Bytes of a transport stream that are looked at."""
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""By FFmpeg's name of a codec: what decodes it with alpha."""
ODD_LIGHT = {
    8: "linear light",
    9: "log (100:1)",
    10: "log (316:1)",
    16: "PQ HDR",
    17: "digital cinema (SMPTE ST 428-1)",
}
"""By FFmpeg's number of a transfer function: those whose values lie far from SDR's."""
UNREAD = {
    SideDataType.A53_CC: "closed captions inside the picture (CEA-608/708)",
    SideDataType.DYNAMIC_HDR_PLUS: "dynamic HDR metadata (HDR10+)",
    SideDataType.DYNAMIC_HDR_VIVID: "dynamic HDR metadata (HDR Vivid)",
    SideDataType.DOVI_METADATA: "dynamic HDR metadata (Dolby Vision)",
    SideDataType.AMBIENT_VIEWING_ENVIRONMENT: "the ambient viewing environment",
    SideDataType.SPHERICAL: "the projection of a spherical (360°) picture",
    SideDataType.STEREO3D: "the stereoscopic (3D) layout",
    SideDataType.ICC_PROFILE: "an ICC profile",
    SideDataType.AFD: "the active format description (AFD)",
    SideDataType.S12M_TIMECODE: "the timecode inside the picture (SMPTE ST 12-1)",
}
"""What no output carries, in words."""
# FFmpeg's AVFieldOrder: first the two whose fields are coded and shown in one order.
_FIELD_ORDERS: dict[int, FieldOrder] = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}
_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


@dataclass(frozen=True)
class OpenVideo:
    """A video file whose pictures can be decoded, and the clock of its packets."""

    path: Path
    container: Any
    stream: av.VideoStream
    clock: Clock

    @property
    def codec(self) -> str:
        """FFmpeg's name of what decodes it."""
        context = self.stream.codec_context
        return context.name if context is not None else "unknown codec"

    def decoder(self, stream: Any) -> Any:
        """What decodes the packets of this stream, which is the video's own or one like it."""
        context = stream.codec_context
        # FFmpeg's own decoders of these do not read alpha.
        if stream.metadata.get("alpha_mode") == "1" and context.name in ALPHA_DECODERS:
            with suppress(ValueError):
                context = av.CodecContext.create(ALPHA_DECODERS[context.name], "r")
        return context

    @property
    def claimed_frames(self) -> int | None:
        """How many frames the container says that it holds; None: it does not say."""
        # An mp4's index, once its edit list is applied, knows better than the track's total; that
        # of an AVI lies at its end.
        indexed = 0 if _is_cut_riff(self.path) else len(self.stream.index_entries)
        return min(self.stream.frames, indexed or self.stream.frames) or None

    @property
    def is_mp4(self) -> bool:
        """Whether an index says when frames end."""
        return "mp4" in self.container.format.name

    def claimed_end(self) -> Fraction | None:
        """When the pictures end, in seconds, as Matroska and an mp4's index say."""
        stream, time_base = self.stream, self.time_base
        end = _seconds(stream.metadata.get("DURATION", ""))
        if self.is_mp4 and stream.duration:
            end = ((stream.start_time or 0) + stream.duration) * time_base
        return end + self.clock.last_move(stream.index) * time_base if end else None

    @property
    def time_base(self) -> Fraction:
        """Seconds of a tick."""
        return self.stream.time_base or Fraction(1, 1000)


def _untimed(path: Path) -> int:
    """How many frames of a GIF have a length of 0: FFmpeg has lengthened them already.

    Source: GIF89a, 23, Graphic Control Extension: hundredths of a second.
    """
    said = re.findall(rb"\x21\xf9\x04.(..).\x00", path.read_bytes(), re.DOTALL)
    return said.count(b"\0\0")


def open_video(path: Path) -> OpenVideo:
    """A video file, open for decoding from its start.

    Raises: FaceswapError, one line, when it is no video, has no pictures, or is encrypted.
    """
    try:
        container = av.open(ffmpeg_url(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise FaceswapError(f"{path}: {_why_unreadable(path, error)}") from error
    try:
        stream = picture_stream(container)
        if stream is None:
            what = "sound but no video" if container.streams.audio else "no video stream"
            raise FaceswapError(f"{path}: has {what}")
        clock = read_clock(path)
        if how := encryption(path, stream, clock):
            raise FaceswapError(
                f"{path}: its picture is encrypted ({how}); only a decrypted copy can be read"
            )
    except BaseException:
        container.close()
        raise
    return OpenVideo(path, container, cast(av.VideoStream, stream), clock)


def describe_stream(video: OpenVideo, first: av.VideoFrame) -> ClipInfo:
    """The clip, by its container and its first frame, which tells what the container does not."""
    stream, matrix = video.stream, display_matrix(first)
    turned = _is_turned(matrix)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    rate = stream.average_rate or stream.guessed_rate
    if video.clock.jumps and video.clock.usual:
        rate = 1 / video.clock.usual  # the mean counts the jumps in
    tags = first.color_primaries, first.color_trc, first.colorspace, first.color_range
    return ClipInfo(
        path=video.path,
        kind="video",
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        frame_count=video.claimed_frames,
        last_number=video.claimed_frames,
        rate=rate,
        time_base=video.time_base,
        codec=video.codec,
        pixel_format=first.format.name,
        bit_depth=max(component.bits for component in first.format.components),
        rotation_deg=first.rotation,
        color=ColorTags(*map(int, tags)),
        has_audio=bool(video.container.streams.audio),
        metadata=dict(video.container.metadata),
        pixel_aspect=1 / aspect if turned else aspect,
        start_time=(first.pts or 0) * video.time_base,
        alpha=_shows_alpha(video, first),
        fields=_fields(video, first) if matrix is None else None,
        light=light_of(first),
        timecode=_timecode(video),
    )


def said_at_once(video: OpenVideo, info: ClipInfo, first: av.VideoFrame) -> list[str]:
    """A line on each thing that is to be known of the clip before any work."""
    lines = []
    pictures = picture_streams(video.container)
    if (count := len(pictures)) > 1:
        which = f"video stream {pictures.index(video.stream) + 1} of {count}"
        lines.append(f"{which} ({first.width}x{first.height}) is read, the others are not")
    if video.stream.metadata.get("alpha_mode") == "1" and not info.alpha:
        lines.append("its alpha is not read")
    if first.interlaced_frame:
        order = {"tff": "top field first", "bff": "bottom field first", None: "field order lost"}
        lines.append(f"is interlaced ({order[info.fields]}); it is not deinterlaced")
    if video.codec == "gif" and (video.stream.frames or 0) > 1:
        lines += untimed_note(_untimed(video.path))
    lines += light_notes(info.color)
    lines += [f"{words}: not kept" for words in unread(first, info.timecode is not None)]
    lines += _frame_notes(video, info, first)
    return lines


def _frame_notes(video: OpenVideo, info: ClipInfo, first: av.VideoFrame) -> list[str]:
    """A line on each edit, crop and turn that players may show, and that is not made here."""
    lines = []
    size, stream = (first.width, first.height), video.stream
    if video.is_mp4:
        rate = info.rate or STILLS_RATE
        lines += edit_notes(video.path, stream.id, rate, info.has_audio)
    shown = shown_size(video.path, video.container.format.name, stream.id, stream.index, size)
    if shown != size and 0 < shown[0] <= size[0] and 0 < shown[1] <= size[1]:
        lines.append(
            f"its container shows {shown[0]}x{shown[1]} of its {size[0]}x{size[1]} pixels: all "
            "are used, the crop is not kept"
        )
    if (matrix := display_matrix(first)) is not None:
        turn = round(math.degrees(math.atan2(int(matrix[1]), int(matrix[0]))))
        if turn % 90:
            lines.append(f"is turned by {turn} degrees, of which only quarter turns are made")
    return lines


def light_notes(color: ColorTags) -> list[str]:
    """A line on light of which the swap makes less than it could."""
    if color.transfer not in ODD_LIGHT:
        return []
    light = ODD_LIGHT[color.transfer]
    better = "better when the clip is graded to SDR (BT.709) or HLG first"
    return [f"is {light}, and its values are used as they are: the swap's colours match {better}"]


def encryption(path: Path, stream: Any, clock: Clock) -> str | None:
    """How a stream is encrypted, as its container or one of its packets says; None: it is not.

    Nothing here has the key.
    """
    context = stream.codec_context
    # PyAV does not take tags that are no text.
    with suppress(UnicodeDecodeError):
        if context is not None and context.codec_tag in TAGS:
            return TAGS[context.codec_tag]
    if "enc_key_id" in stream.metadata:
        return "Matroska's content encryption"
    if stream.container.format.name == "mpegts" and _is_scrambled(path, stream.id):
        return "a scrambled transport stream"
    # The first seconds may be in the clear.
    return "CENC" if stream.index in clock.encrypted else None


def _is_scrambled(path: Path, pid: int) -> bool:
    """Source: ISO/IEC 13818-1, 2.4.3.2: transport_scrambling_control, two bits."""
    with path.open("rb") as file:
        start = file.read(SEARCHED)
    before = next((n for n in (0, 4) if start[n : n + 1] == start[n + PACKET + n :][:1] == b"G"), 0)
    for at in range(before, len(start) - PACKET, PACKET + before):
        _, high, low, flags = start[at : at + 4]
        if (high & 0x1F) << 8 | low == pid and flags & 0xC0:
            return True
    return False


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


def display_matrix(frame: av.VideoFrame) -> Int32[np.ndarray, " 9"] | None:
    """How the frame is to be turned to be shown; None: as it is."""
    found = _side_data(frame, SideDataType.DISPLAYMATRIX)
    return None if found is None else np.frombuffer(found, np.int32)


def light_of(frame: av.VideoFrame) -> Light | None:
    """The light that a frame says it was mastered for.

    Source: FFmpeg's mastering_display_metadata.h: rationals of x, y of red, green, blue and white,
    of the least and the most light, then whether colours and light are known.
    """
    mastering = content = None
    found = _side_data(frame, SideDataType.MASTERING_DISPLAY_METADATA)
    if found is not None:
        *numbers, has_colors, has_light = np.frombuffer(found, np.int32)[:22].tolist()
        above, below = np.array(numbers).reshape(10, 2).T
        if has_colors and has_light and below.all():
            units = np.array([50_000] * 8 + [10_000] * 2)
            mastering = tuple(np.round(above / below * units).astype(int).tolist())
    found = _side_data(frame, SideDataType.CONTENT_LIGHT_LEVEL)
    if found is not None:
        maximum, average = np.frombuffer(found, np.uint32)[:2].tolist()
        content = (maximum, average)
    return Light(mastering, content) if mastering or content else None


def unread(frame: av.VideoFrame, has_timecode: bool) -> list[str]:
    """What the frame says that no output carries; `has_timecode`: the container has one."""
    said = {kind for kind in UNREAD if _side_data(frame, kind) is not None}
    if has_timecode:
        # That is the one that is kept.
        said.discard(SideDataType.S12M_TIMECODE)
    return [words for kind, words in UNREAD.items() if kind in said]


def _side_data(frame: av.VideoFrame, kind: SideDataType) -> bytes | None:
    # PyAV types this mapping by the one key that it adds itself.
    side_data = cast(SideDataContainer, frame.side_data)
    try:
        return bytes(side_data[kind])
    except KeyError:
        return None


def _shows_alpha(video: OpenVideo, first: av.VideoFrame) -> bool:
    if not has_alpha(first.format.name):
        return False
    # FFmpeg gives all GIF and every palette alpha, most of them are opaque.
    by_kind = video.codec != "gif" and not first.format.has_palette
    return by_kind or not (alpha_of(first) == 255).all()


def _fields(video: OpenVideo, first: av.VideoFrame) -> FieldOrder | None:
    if not first.interlaced_frame:
        return None
    # DV of standard definition has one order, and no place to say so.
    usual: FieldOrder | None = "bff" if video.codec == "dvvideo" and first.height <= 576 else None
    return _FIELD_ORDERS.get(video.stream.codec_context.field_order, usual)


def _timecode(video: OpenVideo) -> str | None:
    tellers = (video.stream, *video.container.streams.data, video.container)
    # Matroska writes its tags in capitals.
    keys = ("timecode", "TIMECODE")
    return next((t.metadata[key] for t in tellers for key in keys if key in t.metadata), None)


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


def _is_cut_riff(path: Path) -> bool:
    """Whether a file, as AVI are, is shorter than its head says."""
    with path.open("rb") as file:
        head = file.read(8)
    lacks = 8 + int.from_bytes(head[4:], "little") - path.stat().st_size
    return head[:4] == b"RIFF" and lacks > RIFF_OFF


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
        return "cannot be read (permission denied)"
    with path.open("rb") as file:
        start = file.read(4096)
    if b"\0" not in start:
        return "is text, not a video"
    if b"ftyp" in start[:64]:
        return "is an mp4 without its index (moov): it was cut short or never finished"
    return f"is not a video that FFmpeg can read ({error.strerror})"
