"""What a file's boxes, frames and streams ask for, and no output has, is said before the work."""

import math
import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideDataType

from faceswap_lite.errors import FaceswapError
from faceswap_lite.media import probing
from faceswap_lite.media.clips import clip_fingerprint
from faceswap_lite.media.copying import check_copy
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.writing import ClipWriter

SIZE = (64, 48)


def pictures(count: int) -> list[av.VideoFrame]:
    levels = np.random.default_rng(0).integers(0, 255, (count, SIZE[1], SIZE[0], 3), np.uint8)
    frames = []
    for number, picture in enumerate(levels):
        frame = av.VideoFrame.from_ndarray(picture).reformat(format="yuvj420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        frames.append(frame)
    return frames


def noise(stream: Any, seconds: Fraction, sample_rate: int = 48_000) -> list[Any]:
    count = int(seconds * sample_rate)
    levels = np.random.default_rng(0).uniform(-0.5, 0.5, (2, count)).astype(np.float32)
    heard = av.AudioFrame.from_ndarray(levels, "fltp", "stereo")
    heard.sample_rate, heard.pts = sample_rate, 0
    return [*stream.encode(heard), *stream.encode(None)]


def clip(path: Path, count: int = 10, sound: bool = False, uses: int = 1) -> Path:
    """A clip of moving noise, in the simplest of codecs."""
    with av.open(str(path), "w") as output:
        in_ts = path.suffix == ".ts"
        stream = output.add_stream("mpeg2video" if in_ts else "mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p" if in_ts else "yuvj420p"
        heard = output.add_stream("aac", rate=48_000) if sound else None
        shown = (f.reformat(format=stream.pix_fmt) for f in pictures(count))
        packets = [p for frame in shown for p in stream.encode(frame)]
        packets += stream.encode(None)
        if heard is not None:
            heard.disposition = av.stream.Disposition(uses)
            packets += noise(heard, Fraction(count, 25))
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            output.mux(packet)
    return path


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def with_box(path: Path, way: tuple[bytes, ...], at: int, made: bytes, gone: bytes = b"") -> Path:
    """The mp4, whose index lies at its end, with a box more in the one at this way's end."""
    data = bytearray(path.read_bytes())
    starts, start = [], 0
    for name in way:
        start = data.index(name, start)
        starts.append(start - 4)
    where = starts[-1] + at
    if gone:
        old = data.index(gone, start) - 4
        length = int.from_bytes(data[old : old + 4], "big")
        del data[old : old + length]
        where = old
    else:
        length = 0
    data[where:where] = made
    for start in starts:
        size = int.from_bytes(data[start : start + 4], "big") + len(made) - length
        data[start : start + 4] = size.to_bytes(4, "big")
    path.write_bytes(data)
    return path


def edited(path: Path, *edits: tuple[float, float, float]) -> Path:
    """With these edits: seconds, where they begin in the media (below 0: empty), and speed."""
    data = path.read_bytes()
    movie = data.index(b"mvhd")
    scale = int.from_bytes(data[movie + 16 : movie + 20], "big")
    media = int.from_bytes(data[data.index(b"mdhd") + 16 :][:4], "big")
    rows = b"".join(
        struct.pack(
            ">Iii", round(long * scale), round(at * media) if at >= 0 else -1, round(speed * 65536)
        )
        for long, at, speed in edits
    )
    made = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + rows))
    return with_box(path, (b"moov", b"trak"), 0, made, gone=b"edts")


def said(path: Path) -> list[str]:
    with open_clip(path) as reader:
        return list(reader.problems)


def test_an_edit_that_holds_a_picture_is_said_with_its_frames(tmp_path: Path) -> None:
    path = edited(clip(tmp_path / "a.mov"), (0.2, 0, 1), (0.4, 0.16, 0), (0.12, 0.24, 1))
    (line,) = said(path)
    assert "holds 1 picture still, for 0.40 s" in line and "about 10 frames" in line


def test_an_edit_of_another_speed_is_said(tmp_path: Path) -> None:
    (line,) = said(edited(clip(tmp_path / "a.mov"), (0.4, 0, 0.5)))
    assert "changes the speed" in line


@pytest.mark.parametrize(("sound", "lines"), [(False, 1), (True, 0)])
def test_nothing_at_the_start_is_said_where_it_is_lost(
    tmp_path: Path, sound: bool, lines: int
) -> None:
    path = edited(clip(tmp_path / "a.mov", sound=sound), (0.5, -1, 1), (0.4, 0, 1))
    found = said(path)
    assert len(found) == lines
    assert all("0.50 s (about 12 frames)" in line for line in found)


def test_usual_edits_are_no_news(tmp_path: Path) -> None:
    assert said(edited(clip(tmp_path / "a.mov"), (0.2, 0.08, 1))) == []
    assert said(edited(clip(tmp_path / "a.mov"), (0.4, 0, 1), (0.01, 0.4, 0))) == []
    for speed in (1 / 65536, 65537 / 65536):
        assert said(edited(clip(tmp_path / "a.mov"), (0.4, 0, speed))) == []
    assert said(clip(tmp_path / "b.mp4")) == []
    assert said(clip(tmp_path / "c.mkv")) == []


def test_a_clean_aperture_is_said(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    data = path.read_bytes()
    table = data.index(b"stsd")
    entry = int.from_bytes(data[table + 12 : table + 16], "big")
    name = data[table + 16 : table + 20]
    clap = box(b"clap", struct.pack(">4I4i", 48, 1, 40, 1, 0, 1, 0, 1))
    way = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", name)
    (line,) = said(with_box(path, way, entry, clap))
    assert "48x40 of its 64x48" in line


def test_a_crop_of_matroska_is_said(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mkv")
    segment, tracks, track, video = (
        bytes.fromhex(key) for key in ("18538067", "1654ae6b", "ae", "e0")
    )

    def element(key: bytes, content: bytes) -> bytes:
        return key + (len(content) | 1 << 28).to_bytes(4, "big") + content

    def inner(data: bytes, key: bytes) -> tuple[int, int, int]:
        """Where an element begins, where its contents do, and where it ends."""
        # The list of what lies where names tracks, too; a track's number may be any bytes.
        before = data.index(b"V_MJPEG") if key == video else 0
        at = data.rindex(key) if len(key) == 4 else data.index(key, before)
        wide = 9 - data[at + len(key)].bit_length()
        first = at + len(key) + wide
        size = int.from_bytes(data[at + len(key) : first], "big") & ((1 << 7 * wide) - 1)
        return at, first, first + size

    def with_crop(data: bytes, key: bytes, *further: bytes) -> bytes:
        at, first, end = inner(data, key)
        # A sum of what is no longer so.
        content = data[first + 6 :] if data[first : first + 2] == b"\xbf\x84" else data[first:]
        content = content[: len(content) - (len(data) - end)]
        if further:
            content = with_crop(content, *further)
        else:
            content += b"\x54\xaa\x81\x04\x54\xdd\x81\x08"
        return data[:at] + element(key, content) + data[end:]

    path.write_bytes(with_crop(path.read_bytes(), segment, tracks, track, video))
    (line,) = said(path)
    assert "56x44 of its 64x48" in line


def test_a_turn_that_is_no_quarter_is_said(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    c, s = (round(f(math.radians(7)) * 65536) for f in (math.cos, math.sin))
    data[at : at + 36] = struct.pack(">9i", c, s, 0, -s, c, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    assert said(path) == ["is turned by 7 degrees, of which only quarter turns are made"]


def test_the_active_format_is_said(tmp_path: Path) -> None:
    raw = tmp_path / "a.h264"
    with av.open(str(raw), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in pictures(1):
            output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    # Source: ATSC A/53 part 4, 6.2.4: an SEI message of ITU-T T.35.
    message = b"\xb5\0\x31DTG1\x41\xf9"
    unit = b"\0\0\0\1\x06\x04" + bytes([len(message)]) + message + b"\x80"
    data = raw.read_bytes()
    raw.write_bytes(data.replace(b"\0\0\1\x65", unit + b"\0\0\1\x65", 1))
    path = tmp_path / "a.ts"
    with av.open(str(raw)) as source, av.open(str(path), "w") as output:
        copy = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts = packet.dts = 0
                packet.stream, packet.time_base = copy, Fraction(1, 90_000)
                output.mux(packet)
    assert "the active format description (AFD): not kept" in said(path)


@pytest.mark.parametrize("kept", [False, True])
def test_a_timecode_that_the_container_has_too_is_no_loss(
    monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    held = {SideDataType.S12M_TIMECODE: b""}
    monkeypatch.setattr(probing, "_side_data", lambda _, kind: held.get(kind))
    lines = probing.unread(av.VideoFrame(*SIZE, "yuv420p"), kept)
    assert ["timecode" in line for line in lines] == [True] * (not kept)


@pytest.mark.parametrize(
    ("transfer", "word"), [(8, "linear light"), (9, "log"), (10, "log"), (16, "PQ")]
)
def test_light_far_from_sdr_is_said(tmp_path: Path, transfer: int, word: str) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.color_trc = transfer
        for frame in pictures(2):
            output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    assert [word in line and "graded to SDR" in line for line in said(path)] == [True]


def test_an_avi_that_ends_early_is_said(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.avi", count=20)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with open_clip(path) as reader:
        count = len(list(reader))
    assert 5 < count < 20
    assert reader.problems[-1] == f"decoded {count} of 20 claimed frames: the file ends early"


@pytest.mark.parametrize("off", [0, 8])
def test_an_avi_whose_pictures_stand_is_whole(tmp_path: Path, off: int) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        for number, frame in enumerate(pictures(12)):
            # Chunks without contents stand for what is left out.
            if number not in (5, 6, 7):
                output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    data = path.read_bytes()
    # Some writers count the head in.
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8 + off) + data[8:])
    with open_clip(path) as reader:
        assert len(list(reader)) == 9
    assert reader.problems == []


def test_a_codec_that_flags_no_frame_lacks_no_key_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "gray"
        for frame in pictures(3):
            output.mux(stream.encode(frame.reformat(format="gray")))
        output.mux(stream.encode(None))
    with open_clip(path) as reader:
        assert len(list(reader)) == 3
    assert reader.problems == []


# Sound.


@pytest.mark.parametrize(("suffix", "kept"), [(".mkv", True), (".mp4", True), (".mov", False)])
def test_what_sound_is_for_is_kept_or_said(tmp_path: Path, suffix: str, kept: bool) -> None:
    comment = int(av.stream.Disposition.comment)
    path = clip(tmp_path / "in.mkv", sound=True, uses=comment)
    lines = check_copy(path, suffix)
    assert lines == ([] if kept else ["that a stream is a commentary is not kept in a .mov"])
    out = tmp_path / f"out{suffix}"
    with open_clip(path) as reader, ClipWriter(out, like=reader.info, copy_from=path) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts)
    with av.open(str(out)) as made:
        assert bool(made.streams.audio[0].disposition & comment) == kept


def test_a_packet_of_sound_that_a_container_refuses_is_left_out_and_counted(tmp_path: Path) -> None:
    path = clip(tmp_path / "in.ts", sound=True)
    with av.open(str(path)) as source:
        sound = source.streams.audio[0].id
    data = path.read_bytes()
    parts = [data[at : at + 188] for at in range(0, len(data), 188)]
    of_sound = [n for n, p in enumerate(parts) if int.from_bytes(p[1:3], "big") & 0x1FFF == sound]
    # What follows the first beginning of a packet.
    del parts[of_sound[1]]
    path.write_bytes(b"".join(parts))
    out = tmp_path / "out.mp4"
    with open_clip(path) as reader, ClipWriter(out, like=reader.info, copy_from=path) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts)
    assert any("of the sound" in note and "damaged: left out" in note for note in writer.notes)
    with av.open(str(out)) as made:
        assert len(list(made.decode(video=0))) == 10


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("codec", ["ac3", "eac3"])
def test_a_damaged_packet_of_ac3_is_left_out_and_counted(
    tmp_path: Path, codec: str, suffix: str
) -> None:
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        heard: Any = output.add_stream(codec, rate=48_000)
        heard.codec_context.layout = "stereo"
        packets = [p for frame in pictures(10) for p in stream.encode(frame)]
        packets += stream.encode(None)
        sound = noise(heard, Fraction(2, 5))
        bad = av.Packet(bytes(8) + bytes(sound[4])[8:])
        bad.stream, bad.time_base = heard, sound[4].time_base
        bad.pts, bad.dts, bad.duration = sound[4].pts, sound[4].dts, sound[4].duration
        packets += [*sound[:4], bad, *sound[5:]]
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            output.mux(packet)
    out = tmp_path / f"out{suffix}"
    with open_clip(path) as reader, ClipWriter(out, like=reader.info, copy_from=path) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts)
    left_out = [note for note in writer.notes if "damaged: left out" in note]
    # A .mkv takes it as it is.
    assert len(left_out) == (suffix != ".mkv")
    assert all("1 packet of the sound" in note for note in left_out)


def test_a_rate_that_aac_lacks_is_said(tmp_path: Path) -> None:
    path = tmp_path / "in.mov"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        heard = output.add_stream("pcm_f32le", rate=192_000)
        for frame in pictures(2):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for packet in noise(heard, Fraction(1, 25), 192_000):
            output.mux(packet)
    (line,) = check_copy(path, ".mp4")
    assert "as AAC of 96000 Hz, not 192000" in line


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(FaceswapError, match="neither a file nor a folder"):
        clip_fingerprint(tmp_path / "a.mp4")
