"""Clocks that jump, stand still or say nothing: each clip is made here, copied, and read back."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from test_media import copy, counted, encode, number_in, numbers, read, steady

from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.clock import _mend, _Track, read_clock
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.writing import ClipWriter

RATE = 48000
FRAMES = 40
LENGTH = Fraction(FRAMES, 25)
CLICK = Fraction(3, 4)
"""When each piece clicks, in seconds after it begins."""
TICK = Fraction(1, 90000)
HOUR = Fraction(3600)


def film(
    path: Path, starts: Iterable[Fraction], *, silent: bool = False, empty: bool = False,
    **options: str,
) -> Path:  # fmt: skip
    """Pieces of 40 frames and a click, each at its time of the clock, through one muxer.

    `empty`: there is a stream of sound, and nothing in it.
    """
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg2video" if path.suffix == ".mpg" else "libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 90000)
        video.options = {"g": "20", "crf": "10", "b": "4000000", **options}
        if path.suffix == ".mpg":
            video.codec_context.time_base = Fraction(1, 25)
        sound: Any = None if silent else container.add_stream("mp2", rate=RATE, layout="stereo")
        for number, start in enumerate(starts):
            for index in range(FRAMES):
                frame = av.VideoFrame.from_ndarray(counted(number * FRAMES + index))
                time = start + Fraction(index, 25)
                frame.time_base = video.codec_context.time_base
                frame.pts = round(time / frame.time_base)
                container.mux(video.encode(frame))
                if sound is not None and not empty and index % 20 == 0:
                    wave(container, sound, start, index // 20)
        container.mux(video.encode(None))
        if sound is not None and not empty:
            container.mux(sound.encode(None))
    return path


def wave(container: Any, sound: Any, start: Fraction, part: int) -> None:
    """0.8 s of sound, with a click where it belongs."""
    first = part * RATE * 4 // 5
    time = (first + np.arange(RATE * 4 // 5)) / RATE
    loud = np.where(abs(time - float(CLICK)) < 0.004, 0.9 * np.sin(6283 * time), 0)
    data = np.repeat((loud * 32767).astype(np.int16), 2)[None]
    frame = av.AudioFrame.from_ndarray(data, format="s16", layout="stereo")
    frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
    frame.pts = round(start * RATE) + first
    container.mux(sound.encode(frame))


def joined(path: Path, starts: list[Fraction], **options: Any) -> Path:
    """Pieces in files of their own, joined byte by byte; numbers begin anew in each."""
    pieces = [
        film(path.with_name(f"{n}{path.suffix}"), [start], **options)
        for n, start in enumerate(starts)
    ]
    path.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    return path


def clicks_in(path: Path) -> list[float]:
    """When the sound clicks, in seconds after the first picture."""
    first = float(read(path)[1][0].time)
    with av.open(str(path)) as container:
        heard = [(f.time or 0.0, f.to_ndarray(), f.samples) for f in container.decode(audio=0)]
    loud = []
    for time, data, count in heard:
        mono = data[0] if data.shape[0] == 2 else data.reshape(-1, 2)[:, 0]
        scale = 32768 if data.dtype == np.int16 else 1
        loud += (time + np.flatnonzero(abs(mono / scale) > 0.3) / RATE - first).tolist()
        assert count == len(mono)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > 0.1) + 1)
    return [float(group.mean()) for group in groups]


def total(path: Path) -> Fraction:
    """Seconds that the pictures of a file take, as its index says."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None and stream.time_base is not None
        return stream.duration * stream.time_base


JUMPS = {
    "back to the start": [0, 0],
    "back by a tick": [0, LENGTH - Fraction(1, 25) - TICK],
    "back by an hour": [HOUR, 0],
    "forward by an hour": [0, HOUR],
    "forward by two seconds": [0, LENGTH + 2],
    "forward and back": [0, 30, LENGTH],
    "thrice the same": [5, 5, 5],
    "up, and halfway down": [HOUR / 2, HOUR * 3 / 2, HOUR],
    "down, and up beyond": [HOUR * 10, HOUR / 2, HOUR * 20],
    "up, and back by a frame": [100, 130, 130 + LENGTH - Fraction(1, 25)],
}


@pytest.mark.parametrize("starts", JUMPS.values(), ids=JUMPS.keys())
@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
@pytest.mark.parametrize("silent", [False, True])
def test_joined_pieces_follow_on_each_other(
    tmp_path: Path, starts: list[Fraction], suffix: str, silent: bool
) -> None:
    source = joined(tmp_path / f"in{suffix}", [Fraction(start) for start in starts], silent=silent)
    info, frames, problems = read(source)
    assert numbers(frames) == [*range(FRAMES)] * len(starts)
    for frame in frames:
        off = frame.time - frames[0].time - Fraction(frame.index, 25)
        # FFmpeg guesses the time of a program stream's last picture from the next piece.
        assert abs(off) <= (Fraction(1, 40) if suffix == ".mpg" else Fraction(1, 1000)), frame.index
    assert frames[-1].ticks == 3600 and info.rate == 25
    (line,) = [line for line in problems if "jumped" in line]
    assert f"jumped {len(starts) - 1} time" in line and "bridged" in line
    assert problems == [line]

    out = tmp_path / "out.mp4"
    copy(source, out)
    assert abs(total(out) - len(starts) * LENGTH) < Fraction(1, 25)
    assert numbers(read(out)[1]) == [*range(FRAMES)] * len(starts)
    if not silent:
        wanted = [float(CLICK + number * LENGTH) for number in range(len(starts))]
        assert clicks_in(out) == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("bf", ["0", "3"])
def test_a_gap_of_an_hour_is_bridged(tmp_path: Path, suffix: str, silent: bool, bf: str) -> None:
    source = film(tmp_path / f"in{suffix}", [Fraction(0), HOUR], silent=silent, bf=bf)
    info, frames, problems = read(source)
    assert numbers(frames) == list(range(2 * FRAMES)) and info.rate == 25
    for frame in frames:
        assert abs(frame.time - frames[0].time - Fraction(frame.index, 25)) <= Fraction(1, 1000)
    assert [line for line in problems if "jumped 1 time;" in line] == problems
    copy(source, tmp_path / "out.mp4")
    assert abs(total(tmp_path / "out.mp4") - 2 * LENGTH) < Fraction(1, 25)
    if not silent:
        wanted = [float(CLICK), float(CLICK + LENGTH)]
        assert clicks_in(tmp_path / "out.mp4") == pytest.approx(wanted, abs=0.03)


def test_a_stream_of_sound_without_sound_hinders_no_clock(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mkv", [Fraction(0), HOUR], empty=True)
    frames = read(clip)[1]
    assert numbers(frames) == [*range(2 * FRAMES)]
    assert float(frames[-1].time - frames[0].time) == pytest.approx(79 / 25, abs=0.01)


def test_chapters_go_with_the_pictures(tmp_path: Path) -> None:
    pieces = [film(tmp_path / f"{n}.ts", [start]) for n, start in enumerate((Fraction(0), HOUR))]
    source = with_chapters(
        pieces, tmp_path / "in.mkv", [(start + 1, start + LENGTH) for start in (Fraction(0), HOUR)]
    )
    first = float(read(source)[1][0].time)
    assert read_clock(source).jumps == 1
    copy(source, tmp_path / "out.mkv", copy_from=source)
    wanted = [1 - first, 1 - first + float(LENGTH)]
    assert chapters_of(tmp_path / "out.mkv") == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize(
    ("moment", "steadied"),
    [(Fraction(1, 2), Fraction(1, 2)), (100, LENGTH), (HOUR, LENGTH), (HOUR + 9, 2 * LENGTH)],
)
def test_a_moment_of_a_gap_is_where_the_gap_was(moment: Fraction, steadied: Fraction) -> None:
    track = track_of([Fraction(n, 25) + start for start in (0, HOUR) for n in range(FRAMES)])
    clock = _mend(0, {0: track}, broadcast=True)
    assert clock.steadied(Fraction(moment)) == steadied


def track_of(times: list[Fraction]) -> _Track:
    track = _Track("video", TICK)
    for number, time in enumerate(times):
        packet = av.Packet(b"picture")
        packet.pts = packet.dts = round(time / TICK)
        track.add(packet, number)
    track.close()
    return track


def with_chapters(pieces: list[Path], path: Path, times: list[tuple[Fraction, Fraction]]) -> Path:
    """The pictures of transport streams behind one another, with times that jump as theirs do."""
    with av.open(str(path), "w") as container:
        stream: Any = None
        for piece in pieces:
            with av.open(str(piece)) as source:
                if stream is None:
                    stream = container.add_stream_from_template(source.streams.video[0])
                    chapters: Any = [
                        {
                            "id": number,
                            "start": round(start * 1000),
                            "end": round(end * 1000),
                            "time_base": Fraction(1, 1000),
                            "metadata": {"title": str(number)},
                        }
                        for number, (start, end) in enumerate(times)
                    ]
                    container.set_chapters(chapters)
                for packet in source.demux(source.streams.video[0]):
                    if packet.pts is not None and packet.size:
                        packet.stream = stream
                        container.mux(packet)
    return path


def chapters_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(c["start"] * (c["time_base"] or 0)) for c in container.chapters()]


def test_a_counter_that_wraps_is_no_jump(tmp_path: Path) -> None:
    wrap = (1 << 33) * TICK
    source = film(tmp_path / "in.ts", [wrap - Fraction(9, 5)])
    _, frames, problems = read(source)
    assert problems == [] and numbers(frames) == list(range(FRAMES))
    assert all((b.pts - a.pts) == 3600 for a, b in pairwise(frames))
    copy(source, tmp_path / "out.mp4")
    assert total(tmp_path / "out.mp4") == LENGTH
    assert clicks_in(tmp_path / "out.mp4") == pytest.approx([float(CLICK)], abs=0.005)


@pytest.mark.parametrize("still", [5, 8])
@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_a_still_of_seconds_is_meant(tmp_path: Path, still: int, suffix: str) -> None:
    pts = [*steady(20), *steady(5, first=20 * 512 + still * 12800)]
    source = encode(tmp_path / f"in{suffix}", pts, options={"g": "250"})
    info, frames, problems = read(source)
    assert problems == []
    assert frames[20].time - frames[19].time == still + Fraction(1, 25)
    assert (frames[-1].ticks or 0) * info.time_base == Fraction(1, 25)


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_a_still_that_is_heard_through_is_meant(tmp_path: Path, suffix: str) -> None:
    pts = [*steady(20), *steady(20, first=20 * 512 + 60 * 12800)]
    sound = ("mp2", Fraction(0), Fraction(62))
    source = encode(tmp_path / f"in{suffix}", pts, sound=sound)
    _, frames, problems = read(source)
    assert problems == [] and frames[20].time - frames[19].time == 60 + Fraction(1, 25)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("work", [False, True])
def test_every_frame_keeps_its_length_the_last_one_too(
    tmp_path: Path, suffix: str, work: bool
) -> None:
    source = moving_gif(tmp_path / "in.gif", [2, 7, 20, 3, 50, 2, 100])
    info, frames, problems = read(source)
    assert problems == [] and info.time_base == Fraction(1, 100)
    assert [frame.ticks for frame in frames] == [2, 7, 20, 3, 50, 2, 100]
    options = {"work": tmp_path / "w", "piece_frames": 3} if work else {}
    out = tmp_path / f"out{suffix}"
    copy_with_lengths(source, out, **options)
    back, again, problems = read(out)
    assert problems == []
    assert [(f.ticks or 0) * back.time_base * 100 for f in again] == [2, 7, 20, 3, 50, 2, 100]
    if suffix != ".mkv":
        assert total(out) == Fraction(184, 100)

    copy_with_lengths(source, tmp_path / "pictures")
    assert [f.ticks for f in read(tmp_path / "pictures")[1]] == [2, 7, 20, 3, 50, 2, 100]


def copy_with_lengths(source: Path, out: Path, **options: Any) -> None:
    with open_clip(source) as reader, ClipWriter(out, like=reader.info, **options) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts, ticks=frame.ticks)


def moving_gif(path: Path, lengths: list[int]) -> Path:
    images = [Image.fromarray(counted(n)) for n in range(len(lengths))]
    durations = [10 * length for length in lengths]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations)
    return path


def test_a_gap_among_first_packets_without_a_time_of_decoding_is_no_jump(tmp_path: Path) -> None:
    # With B-frames, Matroska does not say when its first packets are decoded.
    pts = [*steady(3), *steady(20, first=40 * 512)]
    source = encode(tmp_path / "in.mkv", pts, options={"bf": "3", "b_strategy": "0"})
    _, frames, problems = read(source)
    assert [round(frame.time * 25) for frame in frames] == [0, 1, 2, *range(40, 60)]
    assert problems == []


def test_a_clip_without_times_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "in.h264"
    film_raw(path)
    _, frames, problems = read(path)
    assert numbers(frames) == list(range(FRAMES))
    assert [frame.time - frames[0].time for frame in frames] == [
        Fraction(n, 25) for n in range(FRAMES)
    ], problems
    copy(path, tmp_path / "out.mp4")
    assert total(tmp_path / "out.mp4") == LENGTH


@pytest.mark.parametrize("options", ["bf=0", "bf=3:b-pyramid=normal", "bf=2:open-gop=1"])
@pytest.mark.parametrize("lost", [None, 4])
def test_an_avi_s_frames_are_shown_in_order_from_its_start(
    tmp_path: Path, options: str, lost: int | None
) -> None:
    """An AVI counts its pictures as they are decoded, whatever the order that they are shown in."""
    path = tmp_path / "in.avi"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"g": "15", "crf": "10", "x264-params": options}
        sound: Any = container.add_stream("libmp3lame", rate=RATE, layout="stereo")
        packets = []
        for index in range(FRAMES):
            packets += video.encode(av.VideoFrame.from_ndarray(counted(index)))
        packets += video.encode(None)
        container.mux([packet for n, packet in enumerate(packets) if n != lost])
        for part in (0, 1):
            wave(container, sound, Fraction(0), part)
        container.mux(sound.encode(None))
    _, frames, problems = read(path)
    shown = [(number_in(frame.image), frame.time * 25) for frame in frames]
    if lost is None:
        assert shown == [(n, n) for n in range(FRAMES)] and problems == []
        copy(path, tmp_path / "out.mp4")
        with av.open(str(tmp_path / "out.mp4")) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert times == pytest.approx([n / 25 for n in range(FRAMES)], abs=1e-6)
    else:
        # It is empty now, and counts; from the next key frame on all is as it was.
        assert [(n, time) for n, time in shown if n >= 16] == [(n, n) for n in range(16, FRAMES)]


def film_raw(path: Path) -> None:
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"bf": "3", "crf": "10"}
        for number in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(counted(number))))
        container.mux(stream.encode(None))


def test_a_gap_of_the_sound_alone_stays(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream("mp2", rate=RATE, layout="stereo")
        for number in range(250):
            frame = av.VideoFrame.from_ndarray(counted(number))
            container.mux(video.encode(frame))
            if number in (0, 150):
                wave(container, sound, Fraction(number, 25), 0)
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    assert read(source)[2] == [] and read_clock(source).sound_jumps == 0
    copy(source, tmp_path / "out.mp4")
    wanted = [0.75, 6.75]
    assert clicks_in(source) == pytest.approx(wanted, abs=0.02)
    assert clicks_in(tmp_path / "out.mp4") == pytest.approx(wanted, abs=0.02)


# Damage and locks.


def hurt(path: Path, number: int) -> Path:
    """The clip with one packet of the picture overwritten in its place."""
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][number]
        data = bytes(packet)
    whole = path.read_bytes()
    assert whole.count(data) == 1
    noise = np.random.default_rng(number).bytes(len(data))
    path.write_bytes(whole.replace(data, noise))
    return path


def noisy(number: int) -> np.ndarray:
    noise = np.random.default_rng(number).integers(0, 60, (48, 64, 3))
    return (counted(number) // 2 + noise).astype(np.uint8)


@pytest.mark.parametrize("number", [0, 25])
def test_a_damaged_packet_costs_what_builds_on_it_alone(tmp_path: Path, number: int) -> None:
    path = encode(tmp_path / "in.mp4", steady(60), image=noisy, options={"g": "10", "bf": "0"})
    clean = read(path)[1]
    _, frames, problems = read(hurt(path, number))
    # With a key frame lost, the decoder waits for the next one.
    lost = {0: set(range(10)), 25: {25}}[number]
    assert {f.pts for f in clean} - {f.pts for f in frames} <= {clean[n].pts for n in lost}
    assert any("could not be decoded" in line for line in problems)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_damaged_end_takes_no_whole_frames_along(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"in{suffix}", steady(60), image=noisy, options={"g": "10"})
    _, frames, _ = read(hurt(path, 59))
    assert len(frames) == 59
    assert all(a.pts < b.pts for a, b in pairwise(frames))


def cut(source: Path, path: Path, gone: set[int]) -> Path:
    """A clip's pictures without some packets."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(p for p in whole.demux(video=0) if p.size):
            if number not in gone:
                packet.stream = stream
                container.mux(packet)
    return path


def clip_without(folder: Path, codec: str, options: dict[str, str], gone: set[int]) -> Path:
    """50 frames, a key frame every 15; some packets cut out."""
    suffix = ".ts" if codec == "mpeg2video" else ".mp4"
    with av.open(str(folder / f"whole{suffix}"), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size, stream.bit_rate = 15, 4_000_000
        for number in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(counted(number))))
        container.mux(stream.encode(None))
    return cut(folder / f"whole{suffix}", folder / f"in{suffix}", gone)


REFRESHED = {"x264-params": "intra-refresh=1:keyint=15:scenecut=0", "bf": "0"}


@pytest.mark.parametrize(
    ("codec", "options", "first"),
    [
        ("libx264", {"bf": "0", "sc_threshold": "0"}, 15),
        ("mpeg2video", {"bf": "0"}, 15),
        ("libx265", {"x265-params": "keyint=15:bframes=0:log-level=0"}, 15),
        # Refreshed by columns, whole two frames after its 15th, and without another key frame.
        ("libx264", REFRESHED, 17),
    ],
)
def test_frames_before_the_first_key_frame_are_left_out_and_counted(
    tmp_path: Path, codec: str, options: dict[str, str], first: int
) -> None:
    path = clip_without(tmp_path, codec, options, set(range(7)))
    with open_clip(path) as reader:
        said = list(reader.problems)
        frames = list(reader)
    assert [number_in(frame.image) for frame in frames] == list(range(first, 50))
    assert said == reader.problems
    lost = f"{first - 7} first frames are left out: nothing is there that they build on"
    # FFmpeg has written down in the .mp4 that the first seven are not there.
    edit = "its edit list shows nothing for the first 0.28 s (about 7 frames): left out, the clip "
    edits = [f"{edit}begins with its first picture"] if path.suffix == ".mp4" else []
    assert said == [lost, *edits]


def test_frames_whose_reference_is_lost_are_kept_and_counted(tmp_path: Path) -> None:
    options = {"x265-params": "keyint=15:log-level=0:scenecut=0:open-gop=0"}
    with av.open(str(clip_without(tmp_path, "libx265", options, {16}))) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    _, frames, problems = read(tmp_path / "in.mp4")
    assert len(packets) == 49 and len(frames) == 49
    assert any("flagged as damaged" in line for line in problems)


def test_a_scrambled_transport_stream_is_refused_by_name(tmp_path: Path) -> None:
    path = film(tmp_path / "in.ts", [Fraction(0)])
    with av.open(str(path)) as container:
        pid = container.streams.video[0].id
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 188):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == pid:
            data[at + 3] |= 0x80
    path.write_bytes(data)
    with pytest.raises(FaceswapError, match="its picture is encrypted"):
        open_clip(path)


def test_an_encrypted_matroska_is_refused_by_name(tmp_path: Path) -> None:
    path = encode(tmp_path / "in.mkv", steady(5))
    encryption = element("6d80", element("6240", b"".join([
            element("5032", b"\1"),
            element("5033", b"\1"),
            element("5035", element("47e1", b"\5") + element("47e2", b"a key's name")),
    ])))  # fmt: skip
    (head, segment) = elements(path.read_bytes())[:2]
    inside = []
    for name, body in elements(segment[1]):
        if name == "1654ae6b":  # Tracks
            parts = elements(body)
            body = b"".join(element(n, b + encryption if n == "ae" else b) for n, b in parts)
        if name in ("1549a966", "1654ae6b", "1f43b675"):
            inside.append(element(name, body))
    path.write_bytes(element(*head) + element(segment[0], b"".join(inside)))
    with pytest.raises(FaceswapError, match="Matroska's content encryption"):
        open_clip(path)


def element(name: str, body: bytes) -> bytes:
    """An EBML element. Source: RFC 8794."""
    return bytes.fromhex(name) + (1 << 56 | len(body)).to_bytes(8, "big") + body


def elements(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    while data:
        name = data[: 9 - data[0].bit_length()]
        data = data[len(name) :]
        width = 9 - data[0].bit_length()
        size = int.from_bytes(data[:width], "big") - (1 << 7 * width)
        found.append((name.hex(), data[width : width + size]))
        data = data[width + size :]
    return found


@pytest.mark.parametrize("stray", [-60, 0, -25 * 3600, 25 * 3600])
def test_one_frame_off_the_line_moves_alone(stray: int) -> None:
    """`stray`: frames by which the 20th lies away from the 19th's time."""
    times = [Fraction(n, 25) for n in range(FRAMES)]
    times[20] = times[19] + Fraction(stray, 25)
    track = track_of(times)
    clock = _mend(0, {0: track}, broadcast=True)
    moved = track.shown + clock._moves[0]
    assert moved.tolist() == [3600 * n for n in range(FRAMES)]
