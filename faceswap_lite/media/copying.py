"""What a clip has beside its pictures, copied into another: sound, subtitles, chapters, a cover."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.subtitles.subtitle import SubtitleSet

from ..errors import FaceswapError
from .clips import ffmpeg_url
from .clock import picture_stream, read_clock

Span = tuple[Fraction, Fraction | None]
"""From and to, in seconds of the input; None: to its end."""

MISPLACED = 10
"""Seconds by which packets may lie out of order in a file."""
MILLISECONDS = Fraction(1, 1000)
KEPT_TAGS = ("language", "title")
"""What a stream says of itself that holds for its copy."""
TEXTS = {
    "matroska": ("subrip", ".mkv"),
    "mp4": ("mov_text", ".mp4"),
    "mov": ("mov_text", ".mov"),
    "ipod": ("mov_text", ".m4v"),
}
"""By FFmpeg's name of a container: the encoder of its text subtitles."""
COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
"""By codec: what a cover picture is called as a file."""
TEXT_CODECS = {"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"}


def copy_notes(path: Path, out: Path, span: Span | None) -> list[str]:
    """What of a clip a file like `out`, which is not made, cannot hold: a line on each thing.

    Raises: FaceswapError, one line, when the clip cannot be opened to copy its sound.
    """
    notes: list[str] = []
    with av.open(ffmpeg_url(out), "w") as output:
        TrackCopy(path, output, span, notes).close()
    return notes


def held_beside(path: Path) -> list[str]:
    """The kinds of things that a clip holds beside its pictures, which pictures cannot hold."""
    with _open(path) as source:
        streams = source.streams
        held = {
            "sound": streams.audio,
            "subtitles": streams.subtitles,
            "chapters": source.chapters(),
            "a cover picture": _covers(source),
            "attached files": streams.attachments,
            "data": _data(source),
        }
    return [name for name, some in held.items() if some]


class TrackCopy:
    """Copies a clip's sound and subtitles, packet by packet, chapters and cover, into an output.

    Only what the container refuses is made anew: sound as AAC, text subtitles as the text that it
    holds. `start` is when the sound begins, in seconds of the input (None: no sound, or a `span`,
    in which nothing begins before the picture). `notes` gets a line on each thing left out.
    """

    def __init__(self, path: Path, output: Any, span: Span | None, notes: list[str]):
        self._input, self._input_path = _open(path), path
        self._output, self._span, self._notes = output, span, notes
        self._shift = Fraction(0)
        self._damaged = self._late = 0
        self._copies: dict[int, Any] = {}
        self._sound_encoders: dict[int, Any] = {}
        self._text_encoders: dict[int, Any] = {}
        self._last: dict[int, int] = {}
        self._covers: list[Any] = []
        self._held = output.supported_codecs
        try:
            clock = read_clock(path)
            streams = self._input.streams
            for sound in streams.audio:
                if how := clock.encrypted.get(sound.index):
                    notes.append(f"sound is encrypted ({how}): left out")
                else:
                    self._add_sound(sound)
            for subtitle in streams.subtitles:
                self._add_subtitle(subtitle)
            for cover in _covers(self._input):
                self._add_cover(cover)
            for file in streams.attachments:
                self._add_file(file)
            for data in _data(self._input):
                name = data.name or data.metadata.get("handler_name") or f"stream {data.index}"
                notes.append(f"data ({name}) is left out: no container here keeps it")
        except BaseException:
            self._input.close()
            raise
        wanted = {*self._copies, *self._sound_encoders, *self._text_encoders}
        # Sound goes with the pictures where their clock jumps.
        packets = self._input.demux([s for s in streams if s.index in wanted])
        self._packets = clock.steady(packets)
        self._waiting = self._next() if wanted else None
        # A stream that does not say when it starts (None) starts at zero.
        starts = [(s.start_time or 0) * (s.time_base or 0) for s in streams.audio]
        self.start = Fraction(min(starts)) if starts and span is None else None

    def describe_picture(self, stream: Any) -> None:
        """Hand the picture's language and title on to a stream of the output."""
        source = picture_stream(self._input)
        if source is not None:
            _describe(source, stream)

    def begin(self, shift: Fraction, end: Fraction) -> None:
        """Say how many seconds are taken off all times, and when the picture ends after that.

        To be called before the first packet is muxed: chapters stand in a file's header.
        """
        self._shift = shift
        chapters = []
        for chapter in self._input.chapters():
            tick = chapter["time_base"] or MILLISECONDS
            start = max(chapter["start"] * tick - shift, Fraction(0))
            stop = min(chapter["end"] * tick - shift, end)
            if start < stop:
                times = {"start": round(start / tick), "end": round(stop / tick)}
                chapters.append({**chapter, **times, "time_base": tick})
        self._output.set_chapters(chapters)
        for cover in self._covers:
            self._output.mux(cover)

    def copy_until(self, time: Fraction | None) -> None:
        """Copy up to a time of the output, in seconds (None: all)."""
        while (packet := self._waiting) is not None:
            if time is not None and packet.pts * packet.time_base - self._shift > time:
                return
            index = packet.stream.index
            if index in self._sound_encoders:
                self._encode_sound(packet)
            elif packet.stream.type == "subtitle":
                self._copy_subtitle(packet)
            else:
                self._copy(packet)
            self._waiting = self._next()
        if time is None:
            self._finish()

    def close(self) -> None:
        """Let go of the input."""
        self._input.close()

    def _add_sound(self, source: Any) -> None:
        name = _codec_name(source)
        if name in self._held:
            self._copies[source.index] = self._add_copy(source)
            return
        try:
            encoder = self._output.add_stream("aac", rate=source.rate)
        except (ValueError, AttributeError):
            self._notes.append(f"sound ({name}) is left out: this container holds none of it")
            return
        # Some containers count channels and do not say which they are; the encoder must know.
        channels = source.layout.nb_channels
        encoder.layout = {1: "mono", 2: "stereo"}.get(channels, source.layout)
        _describe(source, encoder)
        self._sound_encoders[source.index] = encoder
        self._notes.append(f"sound ({name}) does not fit this container: encoded again as AAC")

    def _add_subtitle(self, source: Any) -> None:
        name, container = _codec_name(source), self._output.format.name
        if name in self._held:
            self._copies[source.index] = self._add_copy(source)
            return
        encoder_name, suffix = TEXTS[container]
        if name not in TEXT_CODECS:
            other = "a .mkv keeps them" if suffix != ".mkv" else "no container here keeps them"
            self._notes.append(f"subtitles ({name}) are left out: a {suffix} holds none; {other}")
            return
        encoder = self._output.add_stream(encoder_name)
        encoder.time_base = MILLISECONDS
        # The decoder knows the styles that its texts name once it is open.
        source.codec_context.open(strict=False)
        encoder.codec_context.subtitle_header = source.codec_context.subtitle_header
        _describe(source, encoder)
        self._text_encoders[source.index] = encoder
        if name in ("ass", "ssa"):
            self._notes.append(
                f"subtitles ({name}) lose their layout in a {suffix}; a .mkv keeps it"
            )

    def _add_cover(self, source: Any) -> None:
        name, container = _codec_name(source), self._output.format.name
        if name not in COVERS or container not in ("matroska", "mp4"):
            self._notes.append(
                f"the cover picture ({name}) is left out: .mkv and .mp4 keep those of mjpeg and png"
            )
            return
        # Of an input of its own, so that no other packet is passed over.
        with _open(self._input_path) as again:
            packets = again.demux(again.streams[source.index])
            packet = next((p for p in packets if p.size), None)
        if packet is None:
            return
        if container == "matroska":
            told = source.metadata
            file, kind = COVERS[name]
            self._output.add_attachment(
                told.get("filename", file), told.get("mimetype", kind), bytes(packet)
            )
            return
        packet.stream = self._output.add_stream_from_template(source, opaque=True)
        packet.stream.disposition = source.disposition
        packet.pts = packet.dts = 0
        self._covers.append(packet)

    def _add_file(self, source: Any) -> None:
        if self._output.format.name == "matroska":
            self._output.add_stream_from_template(source)
            return
        name = source.metadata.get("filename", f"stream {source.index}")
        self._notes.append(f"the attached file {name} is left out: a .mkv keeps it")

    def _add_copy(self, source: Any) -> Any:
        stream = self._output.add_stream_from_template(source)
        _describe(source, stream)
        return stream

    def _copy(self, packet: Any) -> None:
        index = packet.stream.index
        moved = round(self._shift / packet.time_base)
        packet.pts -= moved
        packet.dts = packet.pts if packet.dts is None else packet.dts - moved
        ahead = packet.dts - self._last.get(index, packet.dts - 1)
        # Matroska's milliseconds may be one for two packets; an mp4 refuses that.
        if ahead < 0 or (ahead == 0 and self._output.format.name != "matroska"):
            self._late += 1
            return
        self._last[index] = packet.dts
        packet.stream = self._copies[index]
        self._output.mux(packet)

    def _encode_sound(self, packet: Any) -> None:
        encoder = self._sound_encoders[packet.stream.index]
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._damaged += 1
            return
        moved = round(self._shift / packet.time_base)
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= moved
            self._output.mux(encoder.encode(frame))

    def _copy_subtitle(self, packet: Any) -> None:
        """Copy one subtitle or write its text anew, cut to the span, in milliseconds."""
        index, tick = packet.stream.index, packet.time_base
        start = packet.pts * tick - self._shift
        stop = start + (packet.duration or 0) * tick
        if self._span is not None and self._span[1] is not None:
            stop = min(stop, self._span[1] - self._shift)
        start = max(start, Fraction(0))
        # Subtitles may share their start, but must not go back.
        pts = max(round(start / MILLISECONDS), self._last.get(index, 0))
        duration = max(round(stop / MILLISECONDS) - pts, 0)
        self._last[index] = pts
        if index in self._copies:
            made = [packet]
        else:
            try:
                texts = [text.ass for text in packet.decode() if text.type == b"ass"]
            except av.FFmpegError:
                self._damaged += 1
                return
            encoder = self._text_encoders[index].codec_context
            made = [
                encoder.encode_subtitle(SubtitleSet.create(text, 0, duration, pts))
                for text in texts
            ]
        for one in made:
            one.stream = self._copies.get(index) or self._text_encoders[index]
            one.pts = one.dts = pts
            one.duration, one.time_base = duration, MILLISECONDS
            self._output.mux(one)

    def _finish(self) -> None:
        for encoder in self._sound_encoders.values():
            self._output.mux(encoder.encode(None))
        if self._damaged:
            self._notes.append(f"{self._damaged} packets of the sound are damaged: left out")
        if self._late:
            self._notes.append(f"{self._late} packets of the sound go back in time: left out")

    def _next(self) -> Any:
        """The next packet that is to be copied; None at the end."""
        try:
            for packet in self._wanted():
                if packet.is_corrupt:
                    self._damaged += 1
                else:
                    return packet
        except av.FFmpegError as error:
            self._notes.append(f"sound ends early ({error.strerror})")
        return None

    def _wanted(self) -> Iterator[Any]:
        start, end = self._span or (None, None)
        for packet in self._packets:
            if packet.pts is None or not packet.size:
                continue
            time = packet.pts * packet.time_base
            shown = time
            if packet.stream.type == "subtitle":
                # The container fills the gaps between subtitles itself.
                if _codec_name(packet.stream) == "mov_text" and bytes(packet)[:2] == b"\0\0":
                    continue
                # One that begins before the span is still to be read in it.
                shown += max((packet.duration or 0) - 1, 0) * packet.time_base
            if end is not None and time >= end + MISPLACED:
                return
            if (start is None or shown >= start) and (end is None or time < end):
                yield packet


def _open(path: Path) -> Any:
    try:
        return av.open(ffmpeg_url(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise FaceswapError(f"{path}: its sound cannot be read ({error.strerror})") from error


def _covers(source: Any) -> list[Any]:
    attached = av.stream.Disposition.attached_pic
    return [stream for stream in source.streams.video if stream.disposition & attached]


def _data(source: Any) -> list[Any]:
    # Not the tracks that hold chapters, which FFmpeg has read and discards, or the timecode.
    return [
        stream
        for stream in source.streams.data
        if stream.discard != av.stream.Discard.all and "timecode" not in stream.metadata
    ]


def _codec_name(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "unknown codec"


def _describe(source: Any, stream: Any) -> None:
    said = dict(source.metadata)
    # What an mp4 is told as a title it calls a name.
    said.setdefault("title", said.get("name", ""))
    stream.metadata.update({key: said[key] for key in KEPT_TAGS if said.get(key)})
    stream.disposition = source.disposition
