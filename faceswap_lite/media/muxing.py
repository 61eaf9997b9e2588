"""Pieces of video to one clip: exact times, sound, subtitles, chapters, the mark's comment."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from ..errors import FaceswapError
from .clips import Span, ffmpeg_url
from .copying import TrackCopy
from .encoding import CODECS, PIECE_RATE, Encoding, describe_stream
from .pieces import Piece
from .timecode import later_timecode

MP4_SUFFIXES = (".mp4", ".m4v", ".mov")
MUX_AHEAD = Fraction(1, 2)
"""Seconds that sound is written ahead of the picture, so that players find both together."""


@dataclass(frozen=True)
class Beside:
    """What a clip says and holds beside its pictures."""

    time_base: Fraction
    metadata: dict[str, str]
    copy_from: Path | None = None
    span: Span | None = None
    timecode: tuple[str, Fraction] | None = None
    """And when it holds, in seconds of the input."""


def join_pieces(
    out: Path,
    files: list[Path],
    pieces: list[Piece],
    encoding: Encoding,
    beside: Beside,
    notes: list[str],
) -> None:
    """Write the clip `out` of its pieces' packets. The same pieces give the same bytes.

    Time starts at zero, with the first picture or sound. `notes` gets a line on each thing that
    could not be kept. Raises: FaceswapError, FFmpegError or OSError; `out` may be half written.
    """
    time_base = beside.time_base
    shown = [pts for piece in pieces for pts in piece.pts]
    ticks = max(1, round(1 / (encoding.rate * time_base)))
    ends = [*shown[1:], shown[-1] + (pieces[-1].last_ticks or ticks)]
    with ExitStack() as stack:
        output = av.open(ffmpeg_url(out), "w", container_options=_muxer_options(out, time_base))
        stack.callback(_let_go, output)
        stream = _add_picture(output, files[0], encoding, time_base)
        output.metadata.update(beside.metadata)
        tracks: TrackCopy | None = None
        if beside.copy_from is not None:
            tracks = TrackCopy(beside.copy_from, output, beside.span, notes)
            stack.callback(tracks.close)
            tracks.describe_picture(stream)

        # Whole ticks of the picture's clock: its times stay exact, sound has the finer clock.
        start = shown[0] * time_base
        if tracks is not None and tracks.start is not None:
            start = min(start, tracks.start)
        origin = start // time_base
        if beside.timecode is not None:
            said, moment = beside.timecode
            frames = round((origin * time_base - moment) * encoding.rate)
            if (timecode := later_timecode(said, frames, encoding.rate)) is not None:
                stream.metadata["timecode"] = timecode
        if tracks is not None:
            tracks.begin(origin * time_base, (ends[-1] - origin) * time_base)

        # Decoding times are the times shown, in order, early enough for the frame most delayed.
        delay = max(piece.delay for piece in pieces)
        for count, (packet, number) in enumerate(_numbered_packets(files, pieces)):
            early = count - delay
            decoded = shown[early] if early >= 0 else shown[0] + early * ticks
            if tracks is not None:
                tracks.copy_until((decoded - origin) * time_base + MUX_AHEAD)
            packet.stream = stream
            packet.time_base = time_base
            packet.pts, packet.dts = shown[number] - origin, decoded - origin
            packet.duration = ends[number] - shown[number]
            if count == len(shown) - 1 and out.suffix.lower() in MP4_SUFFIXES:
                # Its length is also the sum over decoding times, which begin `delay` frames early.
                packet.duration = max(packet.duration, ends[-1] - decoded - delay * ticks)
            output.mux(packet)
        if tracks is not None:
            tracks.copy_until(None)
        output.close()


def _add_picture(
    output: av.container.OutputContainer, first: Path, encoding: Encoding, time_base: Fraction
) -> av.VideoStream:
    codec = CODECS[encoding.codec]
    with av.open(ffmpeg_url(first)) as piece:
        template = piece.streams.video[0]
        # Opaque: no encoder is looked for by the name of the decoder.
        stream = output.add_stream_from_template(template, opaque=True)
        tag = template.codec_context.codec_tag
    context = stream.codec_context
    if codec.keeps_tag:
        context.codec_tag = tag
    elif codec.mp4_tag is not None and Path(output.name).suffix.lower() in MP4_SUFFIXES:
        context.codec_tag = codec.mp4_tag
    context.framerate = encoding.rate
    stream.time_base = time_base
    describe_stream(stream, encoding)
    return stream


def _numbered_packets(files: list[Path], pieces: list[Piece]) -> Iterator[tuple[av.Packet, int]]:
    """Packets in the order of decoding, each with its frame's number in the clip."""
    before = 0
    for file, piece in zip(files, pieces, strict=True):
        count = 0
        with av.open(ffmpeg_url(file)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.pts is not None and packet.size:
                    yield packet, before + round(packet.pts * packet.time_base * PIECE_RATE)
                    count += 1
        if count != len(piece.pts):
            raise FaceswapError(f"{file}: holds {count} frames of {len(piece.pts)}; remove it")
        before += count


def _muxer_options(path: Path, time_base: Fraction) -> dict[str, str]:
    # Without random numbers and dates, the same pieces give the same bytes.
    options = {"fflags": "+bitexact"}
    if path.suffix.lower() not in MP4_SUFFIXES:
        # Matroska stores no decoding times: that the first are negative is no reason to shift all.
        return {**options, "avoid_negative_ts": "disabled"}
    # The track counts time in the input's own ticks, or in a whole part of them, so that times are
    # kept exactly; the movie's clock, which holds the shift of sound against picture, is as fine.
    ticks = time_base.denominator
    while ticks < 10_000:
        ticks *= 2
    clocks = dict.fromkeys(("video_track_timescale", "movie_timescale"), str(ticks))
    return {**options, "movflags": "+faststart", **clocks}


def _let_go(output: av.container.OutputContainer) -> None:
    # After an error, closing writes what it can; the file is thrown away whatever becomes of that.
    with suppress(av.FFmpegError, OSError, ValueError):
        output.close()
