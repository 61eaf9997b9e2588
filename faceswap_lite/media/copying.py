"""What a clip has beside its pictures, copied into another: sound, subtitles, chapters, a cover."""

import io
import math
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.subtitles.subtitle import SubtitleSet

from ..errors import FaceswapError
from .clips import Span, counted, ffmpeg_url
from .clock import picture_stream, read_clock
from .probing import encryption

MISPLACED = 10
"""Seconds by which packets may lie out of order in a file."""
FINE = Fraction(1, 10_000)
"""Seconds by which shifted sound may lie beside its time."""
GAP = Fraction(2, 1000)
"""Seconds of silence between two packets of sound that no container makes by rounding times, but
those that count in longer ticks."""
MILLISECONDS = Fraction(1, 1000)
LEAD_IN = Fraction(1, 10)
"""Seconds that a decoder of sound hears before a span, so that it knows what came before."""
LONG_PACKET = Fraction(1, 10)
"""Seconds of sound that are too long to be in or out of a span as a whole."""
LOSSLESS = ("flac", "alac", "tta", "wavpack")
"""Codecs of sound that lose nothing by being decoded and encoded again."""
KEPT_TAGS = ("title", "handler_name")
"""What a stream says of itself that holds for its copy, beside its language."""
TWO_FORMS = re.findall(
    r"(\w+)/(\w+)",
    "alb/sqi arm/hye baq/eus bur/mya chi/zho cze/ces dut/nld fre/fra geo/kat ger/deu gre/ell "
    "ice/isl mac/mkd mao/mri may/msa per/fas rum/ron slo/slk tib/bod wel/cym",
)
"""The languages that ISO 639-2 calls by two codes."""
TEXTS = {
    "matroska": ("subrip", ".mkv"),
    "mp4": ("mov_text", ".mp4"),
    "mov": ("mov_text", ".mov"),
    "ipod": ("mov_text", ".m4v"),
}
"""By FFmpeg's name of a container: the encoder of its text subtitles."""
USES = {
    av.stream.Disposition.dub: "a dub",
    av.stream.Disposition.original: "the original language",
    av.stream.Disposition.comment: "a commentary",
    av.stream.Disposition.lyrics: "lyrics",
    av.stream.Disposition.karaoke: "for karaoke",
    av.stream.Disposition.forced: "forced",
    av.stream.Disposition.hearing_impaired: "for the hearing impaired",
    av.stream.Disposition.visual_impaired: "for the visually impaired",
}
"""What a stream may say that it is for, in words."""
COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
"""By codec: what a cover picture is called as a file."""
PCM = re.compile("pcm_(?:[suf](8|16|24|32|64)(?:le|be)?|alaw|mulaw)")
"""Sound as bare samples, by the bits of one (none: 8)."""
AC3_SYNC = b"\x0b\x77"
"""The first bytes of a packet of AC-3 or E-AC-3."""
TEXT_CODECS = {"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"}
UNPLAYED = {"mp4": ("pcm_", "vorbis")}
"""By FFmpeg's name of a container: codecs that it puts there, and common players garble or miss."""
AAC_BITS = 96_000
"""A second and channel: transparent to most ears."""
AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")
"""By their number of channels, in FFmpeg's order: what every player takes."""


def check_copy(path: Path, suffix: str, span: Span | None = None) -> list[str]:
    """What a file of this suffix will not keep of a clip's sound and subtitles, a line on each.

    Raises: FaceswapError, one line, when the clip cannot be opened, or has sound that can be kept
    elsewhere and not there.
    """
    notes: list[str] = []
    container = next(name for name, (_, known) in TEXTS.items() if known == suffix)
    try:
        with av.open(io.BytesIO(), "w", format=container) as output:
            TrackCopy(path, output, span, notes).close()
            if output.streams:
                output.start_encoding()
    except av.FFmpegError as error:
        raise FaceswapError(f"its sound does not fit a {suffix} ({error.strerror})") from error
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
    holds; with a `span`, sound whose packets cannot be cut, too. `start` is when the sound begins,
    in seconds of the input (None: no sound, or a `span`, in which nothing begins before the
    picture). `notes` gets a line on each thing left out.
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
        self._sent: dict[int, Fraction] = {}
        self._covers: list[Any] = []
        self._heard: dict[int, int] = {}
        self._held = output.supported_codecs
        try:
            self._clock = clock = read_clock(path)
            streams = self._input.streams
            for sound in streams.audio:
                if how := encryption(path, sound, clock):
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
        self._packets = self._wanted(_shown(clock.steady(packets)))
        self._waiting = self._next() if wanted else None
        # A stream that does not say when it starts (None) starts at zero.
        starts = [(s.start_time or 0) * (s.time_base or 0) for s in streams.audio]
        self.start = Fraction(min(starts)) if starts and span is None else None

    def describe_picture(self, stream: Any) -> None:
        """Hand the picture's language and title on to a stream of the output."""
        source = picture_stream(self._input)
        if source is not None:
            self._describe(source, stream)

    def begin(self, shift: Fraction, end: Fraction) -> None:
        """Say how many seconds are taken off all times, and when the picture ends after that.

        To be called before the first packet is muxed: chapters stand in a file's header.
        """
        self._shift = shift
        chapters = []
        for chapter in self._input.chapters():
            tick = chapter["time_base"] or MILLISECONDS
            start, stop = (self._clock.steadied(chapter[edge] * tick) for edge in ("start", "end"))
            start, stop = max(start - shift, Fraction(0)), min(stop - shift, end)
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
        name, container = _sound_name(source), self._output.format.name
        if _keeps(container, source):
            if self._span is None or _sample_bytes(source) or not self._add_cut(source):
                self._copies[source.index] = self._add_copy(source)
            return
        suffix = TEXTS[container][1]
        kept = [s for c, (_, s) in TEXTS.items() if s != suffix and _keeps(c, source)]
        elsewhere = f"; a {kept[0]} keeps it as it is" if kept else ""
        if _decodes(source):
            self._add_aac(source)
            why = "seldom plays from" if _holds(container, source) else "does not fit"
            rate = _aac_rate(source.rate)
            slower = f" of {rate} Hz, not {source.rate}" * (rate < source.rate)
            self._notes.append(
                f"sound ({name}) {why} a {suffix}: encoded again as AAC{slower}{elsewhere}"
            )
        elif kept:
            raise FaceswapError(f"its sound ({name}) fits no {suffix}{elsewhere}")
        else:
            self._notes.append(f"sound ({name}) is left out: nothing here reads it")

    def _describe(self, source: Any, stream: Any) -> None:
        said = dict(source.metadata)
        # What an mp4 is told as a title it calls a name.
        said.setdefault("title", said.get("name", ""))
        if language := said.pop("language", ""):
            container = self._output.format.name
            if (form := _language(container, language)) is not None:
                stream.metadata["language"] = form
            elif language != "und":
                self._notes.append(
                    f"the language {language} of a stream is not kept in a {TEXTS[container][1]}"
                )
        stream.metadata.update({key: said[key] for key in KEPT_TAGS if said.get(key)})
        stream.disposition = source.disposition
        if lost := _lost_uses(self._output.format.name, int(source.disposition)):
            suffix = TEXTS[self._output.format.name][1]
            line = f"that a stream is {lost} is not kept in a {suffix}"
            self._notes += [line] * (line not in self._notes)

    def _add_cut(self, source: Any) -> bool:
        """Have sound decoded, so that it is cut at the span's edges; False: as well copied."""
        name, longest = _sound_name(source), self._clock.longest.get(source.index, Fraction(0))
        if name in LOSSLESS:
            encoder = self._output.add_stream(name, rate=source.rate)
            encoder.codec_context.layout = source.layout
            encoder.codec_context.format = source.codec_context.format
            self._describe(source, encoder)
            self._sound_encoders[source.index] = encoder
            return True
        if longest > LONG_PACKET and _decodes(source):
            self._add_aac(source)
            self._notes.append(
                f"sound ({name}) comes in packets of {float(longest):.1f} s: encoded again as AAC, "
                "so that it begins and ends with the frames"
            )
            return True
        if self._output.format.name == "matroska" and longest > LONG_PACKET:
            self._notes.append(
                f"sound ({name}) is copied in whole packets, so it begins up to "
                f"{float(longest):.3f} s after the first frame; .mp4 and .mov keep all of it"
            )
        return False

    def _add_aac(self, source: Any) -> None:
        encoder = self._output.add_stream("aac", rate=_aac_rate(source.rate))
        encoder.codec_context.layout = _aac_layout(source.layout)
        encoder.codec_context.bit_rate = AAC_BITS * source.layout.nb_channels
        self._describe(source, encoder)
        self._sound_encoders[source.index] = encoder

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
        self._describe(source, encoder)
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
        self._describe(source, stream)
        return stream

    def _copy(self, packet: Any) -> None:
        index = packet.stream.index
        # An AVI counts in packets: its ticks are too long to shift by.
        parts = math.ceil(packet.time_base / FINE)
        moved = round(self._shift * parts / packet.time_base)
        dts = packet.pts if packet.dts is None else packet.dts
        packet.pts, packet.dts = packet.pts * parts - moved, dts * parts - moved
        packet.duration, packet.time_base = packet.duration * parts, packet.time_base / parts
        ahead = packet.dts * packet.time_base - self._sent.get(index, -math.inf)
        # Matroska's milliseconds may be one for two packets that are as short; an mp4 refuses that.
        short = packet.duration <= parts and self._output.format.name == "matroska"
        if ahead < 0 or (ahead == 0 and not short):
            self._late += 1
            return
        self._sent[index] = packet.dts * packet.time_base
        # An mp4 reads each one's header, and says what is wrong only with some later packet.
        if self._output.format.name != "matroska" and _is_damaged_ac3(packet):
            self._damaged += 1
            return
        packet.stream = self._copies[index]
        try:
            self._output.mux(packet)
        except (av.InvalidDataError, av.PatchWelcomeError):
            # A header inside it that the container needs does not read.
            self._damaged += 1

    def _encode_sound(self, packet: Any) -> None:
        index = packet.stream.index
        encoder = self._sound_encoders[index]
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._damaged += 1
            return
        for frame in frames:
            heard = _relabelled(frame, encoder.layout)
            tick = Fraction(1, heard.sample_rate)
            # Containers round times, some say none; sound that follows on has that of its samples.
            follows = self._heard.get(index)
            if frame.pts is not None and frame.time_base is not None:
                time = round((frame.pts * frame.time_base - self._shift) / tick)
                if follows is None or time - follows > max(GAP, frame.time_base) / tick:
                    follows = time
            heard.pts, heard.time_base = follows or 0, tick
            self._heard[index] = (follows or 0) + heard.samples
            kept = heard if self._span is None else self._cut(heard, self._span[1])
            if kept is not None:
                self._output.mux(encoder.encode(kept))

    def _cut(self, heard: av.AudioFrame, end: Fraction | None) -> av.AudioFrame | None:
        """What of decoded sound is heard from the span's start to its end; None: nothing."""
        assert heard.pts is not None
        first, last = max(0, -heard.pts), heard.samples
        if end is not None:
            last = min(last, round((end - self._shift) * heard.sample_rate) - heard.pts)
        if first == 0 and last == heard.samples:
            return heard
        return _samples(heard, first, last) if first < last else None

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
            packets = counted(self._damaged, "packet of the sound is", "packets of the sound are")
            self._notes.append(f"{packets} damaged: left out")
        if self._late:
            packets = counted(self._late, "packet of the sound goes", "packets of the sound go")
            self._notes.append(f"{packets} back in time: left out")

    def _next(self) -> Any:
        """The next packet that is to be copied; None at the end."""
        try:
            for packet in self._packets:
                if packet.is_corrupt:
                    self._damaged += 1
                else:
                    return packet
        except av.FFmpegError as error:
            self._notes.append(f"sound ends early ({error.strerror})")
        return None

    def _wanted(self, packets: Iterable[Any]) -> Iterator[Any]:
        start, end = self._span or (None, None)
        for packet in packets:
            time = packet.pts * packet.time_base
            shown = time
            if self._span is not None and packet.stream.type == "audio":
                if (heard := self._heard_in(packet, self._span)) is not None:
                    yield heard
                if end is not None and time >= end + MISPLACED:
                    return
                continue
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

    def _heard_in(self, packet: Any, span: Span) -> Any:
        """What of a packet of sound belongs to a span; None: nothing."""
        start, end = span
        index, time = packet.stream.index, packet.pts * packet.time_base
        lasts = (packet.duration or 0) * packet.time_base
        if end is not None and time >= end:
            return None
        if index in self._sound_encoders:
            # What does not say how long it lasts may reach into the span from anywhere.
            return packet if not lasts or time + lasts >= start - LEAD_IN else None
        if width := _sample_bytes(packet.stream):
            return _cut_samples(packet, width, start, end)
        # In Matroska nothing begins before zero; elsewhere an edit list hides what is too early,
        # and the packet before, which the first one heard may build on.
        early = 2 * lasts if self._output.format.name != "matroska" else 0
        return packet if time >= start or time + early > start else None


def _shown(packets: Iterable[Any]) -> Iterator[Any]:
    """Without what an edit list cuts off, but for the two packets that the rest may build on."""
    before: dict[int, deque[Any]] = defaultdict(lambda: deque(maxlen=3))
    for packet in packets:
        if packet.pts is None or not packet.size:
            continue
        held = before[packet.stream.index]
        held.append(packet)
        if not packet.is_discard:
            yield from held
            held.clear()


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


def _holds(container: str, source: Any) -> bool:
    """Whether FFmpeg puts a stream there as it is; some containers tell with their header alone."""
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(source)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _keeps(container: str, source: Any) -> bool:
    unplayed = _sound_name(source).startswith(UNPLAYED.get(container, ()))
    return not unplayed and _holds(container, source)


def _decodes(source: Any) -> bool:
    """Whether sound can be read here, and has channels that AAC holds."""
    if source.codec_context is None or not source.rate:
        return False
    return 0 < source.layout.nb_channels <= len(AAC_LAYOUTS)


def _aac_rate(rate: int) -> int:
    """The rate itself where AAC has it, else the next one above, else the highest."""
    known = sorted(av.Codec("aac", "w").audio_rates or [])
    return next((r for r in known if r >= rate), known[-1])


def _aac_layout(layout: av.AudioLayout) -> str:
    """Which channels the copy has: as said, or as usual where only their number is."""
    usual = AAC_LAYOUTS[layout.nb_channels - 1]
    return usual if "channels" in layout.name or layout.name == f"{usual}(side)" else layout.name


def _relabelled(frame: av.AudioFrame, layout: av.AudioLayout) -> av.AudioFrame:
    """The same samples, their channels called otherwise: a resampler would mix, or refuse them."""
    if frame.layout.name == layout.name or frame.layout.nb_channels != layout.nb_channels:
        return frame
    named = av.AudioFrame.from_ndarray(
        frame.to_ndarray(), format=frame.format.name, layout=layout.name
    )
    named.sample_rate, named.time_base, named.pts = frame.sample_rate, frame.time_base, frame.pts
    return named


def _samples(sound: av.AudioFrame, first: int, last: int) -> av.AudioFrame:
    """Some of the samples of decoded sound."""
    levels, wide = sound.to_ndarray(), 1 if sound.format.is_planar else sound.layout.nb_channels
    part: Any = np.ascontiguousarray(levels[:, first * wide : last * wide])
    made = av.AudioFrame.from_ndarray(part, format=sound.format.name, layout=sound.layout.name)
    assert sound.pts is not None
    made.sample_rate, made.time_base, made.pts = sound.sample_rate, sound.time_base, sound.pts
    made.pts += first
    return made


def _sample_bytes(source: Any) -> int:
    """Bytes of a moment of PCM, whose packets may be cut between any two; 0: of no such sound."""
    plain = PCM.fullmatch(_sound_name(source))
    if plain is None or not source.rate:
        return 0
    return int(plain[1] or 8) // 8 * source.layout.nb_channels


def _is_damaged_ac3(packet: Any) -> bool:
    """Whether a packet of AC-3 or E-AC-3 has a header that does not read.

    Source: ETSI TS 102 366, 4.3 and E.1.2: the sync word, bsid, and what is reserved.
    """
    if _sound_name(packet.stream) not in ("ac3", "eac3"):
        return False
    head = bytes(packet)[:6]
    if len(head) < 6 or head[:2] != AC3_SYNC:
        return True
    version = head[5] >> 3
    if version <= 10:
        return head[4] >> 6 == 3 or head[4] & 0x3F > 37
    return version > 16 or head[2] >> 6 == 3 or head[4] >> 4 == 15


def _cut_samples(packet: Any, width: int, start: Fraction, end: Fraction | None) -> Any:
    """What of a packet of PCM lies between two moments; None: nothing."""
    rate, time, count = packet.stream.rate, packet.pts * packet.time_base, packet.size // width
    first = max(0, round((start - time) * rate))
    last = count if end is None else min(count, round((end - time) * rate))
    if first == 0 and last == count:
        return packet
    if first >= last:
        return None
    part = av.Packet(bytes(packet)[first * width : last * width])
    part.stream, part.time_base = packet.stream, Fraction(1, rate)
    part.pts = part.dts = round(time * rate) + first
    part.duration, part.is_keyframe = last - first, True
    return part


def _sound_name(stream: Any) -> str:
    context = stream.codec_context
    return context.codec.canonical_name if context is not None else "unknown codec"


def _codec_name(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "unknown codec"


@lru_cache(maxsize=64)
def _told_back(container: str, tags: tuple[tuple[str, str], ...], language: str) -> dict[str, str]:
    """What a file of this container says after it was told these tags, and a stream a language."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as trial:
        stream = trial.add_stream("aac", rate=48_000)
        stream.metadata["language"] = language
        trial.metadata.update(dict(tags))
        _mux_silence(trial, stream)
    file.seek(0)
    with av.open(file, metadata_errors="replace") as trial:
        said = {key.lower(): value for key, value in trial.metadata.items()}
        return {**said, "language": trial.streams[0].metadata.get("language", "")}


def lost_tags(suffix: str, tags: dict[str, str]) -> list[str]:
    """A line on the tags of a clip that a file of this suffix does not keep."""
    container = next(name for name, (_, known) in TEXTS.items() if known == suffix)
    kept = _told_back(container, tuple(tags.items()), "und")
    lost = [key for key, value in tags.items() if value and key.lower() not in kept]
    if not lost:
        return []
    names = ", ".join(lost[:5]) + ", ..." * (len(lost) > 5)
    return [f"{counted(len(lost), 'tag', 'tags')} ({names}) not kept in a {suffix}; a .mkv does"]


@lru_cache(maxsize=64)
def _lost_uses(container: str, disposition: int) -> str:
    """In words, what a stream says that it is for and a file of this container does not."""
    said = [use for use in USES if disposition & use]
    if not said:
        return ""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as trial:
        stream = trial.add_stream("aac", rate=48_000)
        stream.disposition = av.stream.Disposition(disposition)
        _mux_silence(trial, stream)
    file.seek(0)
    with av.open(file) as trial:
        kept = trial.streams[0].disposition
    return " and ".join(USES[use] for use in said if not kept & use)


def _mux_silence(output: Any, stream: Any) -> None:
    silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
    silence.sample_rate = 48_000
    output.mux(stream.encode(silence))
    output.mux(stream.encode(None))


def _language(container: str, language: str) -> str | None:
    """As the container takes it: ISO 639-2 has two forms of some; None: it takes none."""
    forms = (language, *(form for pair in TWO_FORMS if language in pair for form in pair))
    return next((f for f in forms if _told_back(container, (), f)["language"] == f), None)
