import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.clips import ClipInfo, ColorTags, Frame, clip_fingerprint, find_clips
from faceswap_lite.media.decoding import broken_start, lost_frames
from faceswap_lite.media.images import read_image, write_image
from faceswap_lite.media.marks import SyntheticMark
from faceswap_lite.media.provenance import read_synthetic_mark
from faceswap_lite.media.reader import ClipReader
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.writing import ClipWriter

WIDTH, HEIGHT = 64, 48
MARK = SyntheticMark(version="1.2.3", run="0123abcd")
TONE_RATE = 48000


# Clips made here: a frame's number stands in its pixels, a click in the sound gives its time.


def counted(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture that says its number: ten blocks, black or white, are its bits."""
    image = np.full((height, width, 3), 96, np.uint8)
    side = width // 5
    for bit in range(10):
        top, left = bit // 5 * side, bit % 5 * side
        image[top : top + side, left : left + side] = 235 if number >> bit & 1 else 20
    return image


def number_in(image: np.ndarray) -> int:
    side = image.shape[1] // 5
    middles = [(bit // 5 * side + side // 2, bit % 5 * side + side // 2) for bit in range(10)]
    peak = np.iinfo(image.dtype).max
    return sum(int(image[y, x].mean() > peak / 2) << bit for bit, (y, x) in enumerate(middles))


def encode(
    path: Path,
    pts: list[int],
    *,
    time_base: Fraction = Fraction(1, 12800),
    image: Callable[[int], np.ndarray] = counted,
    options: dict[str, str] | None = None,
    tags: ColorTags | None = None,
    aspect: Fraction | None = None,
    title: str | None = None,
    sound: tuple[str, Fraction, Fraction] | None = None,
) -> Path:
    """An h264 clip straight from FFmpeg, B-frames and all; `sound` is codec, start and seconds."""
    with av.open(str(path), "w") as container:
        if title is not None:
            container.metadata["title"] = title
        stream = container.add_stream("libx264", rate=25)
        height, width = image(0).shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        stream.options = {"bf": "3", "g": "20", "crf": "10", **(options or {})}
        if tags is not None:
            context = stream.codec_context
            context.color_primaries, context.color_trc = tags.primaries, tags.transfer
            context.colorspace, context.color_range = tags.matrix, tags.range
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        tone: Any = container.add_stream(sound[0], rate=TONE_RATE) if sound else None
        for number, time in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(image(number))
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None and tone is not None:
            _, start, seconds = sound
            for heard in clicks(start, seconds, tone.codec_context.format.name):
                container.mux(tone.encode(heard))
            container.mux(tone.encode(None))
    return path


CLICK = Fraction(3, 4)
"""When the sound clicks, in seconds on the clip's own clock."""


def clicks(start: Fraction, seconds: Fraction, sample_format: str) -> Iterator[av.AudioFrame]:
    count = int(seconds * TONE_RATE) // 1024 * 1024
    time = np.arange(count) / TONE_RATE + float(start)
    wave = np.where(abs(time - float(CLICK)) < 0.004, 0.9 * np.sin(2 * np.pi * 1000 * time), 0)
    for at in range(0, count, 1024):
        piece = wave[at : at + 1024].astype(np.float32)
        whole = sample_format.startswith("s16")
        data: np.ndarray = (piece * 32767).astype(np.int16) if whole else piece
        planar = sample_format.endswith("p")
        stereo = np.stack([data, data]) if planar else np.repeat(data, 2)[None]
        frame = av.AudioFrame.from_ndarray(stereo, format=sample_format, layout="stereo")
        frame.sample_rate, frame.time_base = TONE_RATE, Fraction(1, TONE_RATE)
        frame.pts = int(start * TONE_RATE) + at
        yield frame


def sound_of(path: Path) -> tuple[float, float, float]:
    """Seconds: when the click is (the middle of its energy), when sound begins, how long it is."""
    with av.open(str(path)) as container:
        frames = [(f.time or 0.0, f.to_ndarray(), f.samples) for f in container.decode(audio=0)]
        channels = 2
    samples, times = [], []
    for time, data, count in frames:
        flat = data.astype(np.float64) / (32768 if data.dtype == np.int16 else 1)
        mono = flat[0] if flat.shape[0] == channels else flat.reshape(-1, channels)[:, 0]
        samples.append(mono)
        times.append(time + np.arange(count) / TONE_RATE)
    energy, clock = np.concatenate(samples) ** 2, np.concatenate(times)
    middle = float((energy * clock).sum() / energy.sum())
    return middle, float(clock[0]), float(clock[-1] - clock[0])


def read(path: Path) -> tuple[ClipInfo, list[Frame], list[str]]:
    with open_clip(path) as reader:
        frames = list(reader)
    return reader.info, frames, reader.problems


def copy(path: Path, out: Path, **options: object) -> ClipWriter:
    """Write a clip again, frame by frame, as the convert stage does."""
    with open_clip(path) as reader:
        sound = path if reader.info.has_audio else None
        given = {"like": reader.info, "copy_from": sound, **options}
        with ClipWriter(out, **given) as writer:  # type: ignore[arg-type]
            for frame in reader:
                writer.write(frame.image, frame.pts)
    return writer


def numbers(frames: list[Frame]) -> list[int]:
    return [number_in(frame.image) for frame in frames]


def steady(count: int, step: int = 512, first: int = 0) -> list[int]:
    return [first + step * number for number in range(count)]


# Reading: order, time, damage.


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
def test_frames_come_in_order_none_lost_or_doubled(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"a{suffix}", steady(60))
    info, frames, problems = read(path)
    assert numbers(frames) == list(range(60))
    assert [frame.index for frame in frames] == list(range(60))
    assert problems == []
    assert (info.kind, info.width, info.height, info.rate) == ("video", WIDTH, HEIGHT, 25)
    start = frames[0].time
    for frame in frames:
        assert frame.time == frame.pts * info.time_base
        assert abs(frame.time - start - Fraction(frame.index, 25)) <= info.time_base


def test_irregular_times_are_exact(tmp_path: Path) -> None:
    pts = np.cumsum(np.random.default_rng(0).integers(100, 2000, 40)).tolist()
    pts = [time - pts[0] for time in pts]
    _, frames, problems = read(encode(tmp_path / "a.mp4", pts))
    assert [frame.pts for frame in frames] == pts
    assert problems == []


def test_frames_that_are_missing_are_counted_where_the_rate_is_one(tmp_path: Path) -> None:
    times = steady(60)
    del times[30:36]
    _, frames, problems = read(encode(tmp_path / "a.mp4", times))
    assert len(frames) == 54
    assert problems == ["6 frames are missing by the times: the one before stands on"]
    # A phone's rate varies, and so does a screen's.
    assert lost_frames([1.0] * 50 + [2.0] * 3, 25.0) == 0
    assert lost_frames([1.0] * 50 + [1.5], 25.0) == 0
    assert lost_frames([1.0] * 50 + [2.1, 5.9, 99.0], 25.0) == 6


def test_frames_that_an_edit_list_cuts_off_are_not_missed(tmp_path: Path) -> None:
    # Five frames lie before zero, the key frame among them.
    info, frames, problems = read(encode(tmp_path / "a.mp4", steady(40, first=-5 * 512)))
    assert numbers(frames) == list(range(5, 40))
    assert frames[0].pts == 0 and problems == [], info


def test_a_cut_file_is_read_as_far_as_it_goes_and_counted(tmp_path: Path) -> None:
    options = {"g": "10"}
    for suffix in (".mp4", ".mkv"):
        noise = np.random.default_rng(1).integers(0, 60, (80, HEIGHT, WIDTH, 3)).astype(np.uint8)
        whole = tmp_path / f"whole{suffix}"
        encode(whole, steady(80), options=options, image=lambda n: counted(n) // 2 + noise[n])  # noqa: B023
        if suffix == ".mp4":  # its index first, so that the cut does not take it away
            faststart(whole)
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        _, frames, problems = read(cut)
        assert 20 < len(frames) < 70
        assert any("ends early" in line for line in problems), (suffix, problems)
        assert read(whole)[2] == []


def faststart(path: Path) -> None:
    moved = path.with_name("moved.mp4")
    options = {"movflags": "+faststart"}
    with av.open(str(path)) as old, av.open(str(moved), "w", options=options) as new:
        source = old.streams.video[0]
        stream = new.add_stream_from_template(source)
        for packet in old.demux(source):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    moved.replace(path)


def test_a_start_that_lacks_its_key_frame_is_told() -> None:
    smear = [0.0, 0.0, 6.4, 9.0, 10.3, 12.0, 13.5]
    keys = [True, False, True, False, False, False, False, True, False]
    levels = [130.0, 130.0, 127.0, 127.0, 128.0, 128.0, 129.0, 138.0, 138.0]
    assert broken_start(keys, [*smear, 39.4, 39.4], levels) == 7


@pytest.mark.parametrize("level", [0, 60, 130, 255])
def test_fades_and_cards_are_no_broken_start(tmp_path: Path, level: int) -> None:
    rng = np.random.default_rng(2)
    scene = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    flat = np.full_like(scene, level)

    def fade(number: int) -> np.ndarray:
        part = min(1.0, number / 30)
        return (flat * (1 - part) + scene * part).astype(np.uint8)

    def card(number: int) -> np.ndarray:
        return flat if number < 15 else scene

    for name, image in (("fade", fade), ("card", card)):
        clip = encode(tmp_path / f"{name}.mp4", steady(60), image=image, options={"g": "12"})
        assert read(clip)[2] == [], name


def test_odd_metadata_and_names_are_no_trouble(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    latin = encode(Path("latin.mkv"), steady(3), title="XXXXXXXX")
    latin.write_bytes(latin.read_bytes().replace(b"XXXXXXXX", b"caf\xe9\xff\xfe\xfa\xfb"))
    assert len(read(latin)[1]) == 3
    for name in ("a:b.mp4", "50%d.mp4", "näme [1] ü.mp4"):
        encode(Path("plain.mp4"), steady(3)).rename(name)
        assert len(read(Path(name))[1]) == 3
        copy(Path(name), Path("out:" + name), mark=MARK)
        assert read_synthetic_mark(Path("out:" + name)) == MARK


# Reading: the thread that runs ahead.


def decoding_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t is not threading.main_thread()]


def test_a_reader_closed_early_leaves_no_thread(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", steady(100))
    before = decoding_threads()
    with open_clip(path) as reader:
        for frame in reader:
            if frame.index == 3:
                break
    assert decoding_threads() == before
    with pytest.raises(ZeroDivisionError), open_clip(path) as reader:
        for frame in reader:
            _ = frame.index // 0
    assert decoding_threads() == before


def test_reading_after_closing_or_twice_is_an_error(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", steady(60))
    with open_clip(path) as reader:
        frames = iter(reader)
        next(frames)
        with pytest.raises(RuntimeError, match="once"):
            next(iter(reader))
    with pytest.raises(RuntimeError, match="closed"):
        list(frames)


def test_an_error_of_the_decoding_thread_reaches_the_reader(tmp_path: Path) -> None:
    reader = open_clip(encode(tmp_path / "a.mp4", steady(10)))

    class Broken:
        info = reader.info

        def frames(self) -> Iterator[Frame]:
            yield Frame(0, 0, Fraction(0), np.zeros((2, 2, 3), np.uint8))
            raise MemoryError("too much")

        def close(self) -> None:
            pass

    reader.close()
    broken = ClipReader.__new__(ClipReader)
    broken.__dict__.update(reader.__dict__, _source=Broken(), _frames=None)
    seen = []
    with pytest.raises(MemoryError, match="too much"), broken:
        for frame in broken:
            seen.append(frame.index)
    assert seen == [0]


# Writing: times, sound, colour, sizes, depth.


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".mkv"])
def test_written_times_are_the_inputs_within_a_tick(tmp_path: Path, suffix: str) -> None:
    pts = np.cumsum(np.random.default_rng(3).integers(100, 2000, 50)).tolist()
    source = encode(tmp_path / "in.mp4", pts)
    copy(source, tmp_path / f"out{suffix}")
    info, frames, problems = read(tmp_path / f"out{suffix}")
    assert numbers(frames) == list(range(50)) and problems == []
    first = frames[0].time
    for frame, time in zip(frames, pts, strict=True):
        error = (frame.time - first) - Fraction(time - pts[0], 12800)
        assert abs(error) <= info.time_base
    if suffix != ".mkv":  # an mp4 counts in the input's ticks, or in parts of them
        assert all((f.time - first) * 12800 == t - pts[0] for f, t in zip(frames, pts, strict=True))


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(25), Fraction(12)])
def test_a_clip_from_nothing_has_the_rate_asked_for(tmp_path: Path, rate: Fraction) -> None:
    with ClipWriter(tmp_path / "a.mp4", width=WIDTH, height=HEIGHT, rate=rate) as writer:
        for number in range(30):
            writer.write(counted(number), number)
    info, frames, _ = read(tmp_path / "a.mp4")
    assert info.rate == rate and info.frame_count == 30
    assert [frame.time for frame in frames] == [number / rate for number in range(30)]
    assert numbers(frames) == list(range(30))


SOUNDS = {
    "both at zero": (0, Fraction(0)),
    "picture later": (3 * 512 + 77, Fraction(0)),
    "sound later": (0, Fraction(1, 3)),
    "both later": (5 * 512, Fraction(1, 7)),
}


@pytest.mark.parametrize(("first", "start"), SOUNDS.values(), ids=SOUNDS.keys())
@pytest.mark.parametrize("suffixes", [(".mp4", ".mp4"), (".mkv", ".mp4"), (".mp4", ".mkv")])
def test_sound_keeps_its_place_beside_the_picture(
    tmp_path: Path, suffixes: tuple[str, str], first: int, start: Fraction
) -> None:
    codec = "aac"
    source = tmp_path / f"in{suffixes[0]}"
    encode(source, steady(50, first=first), sound=(codec, start, Fraction(2)))
    out = tmp_path / f"out{suffixes[1]}"
    writer = copy(source, out)
    assert writer.notes == []
    before, after = sound_of(source), sound_of(out)
    pictures, written = read(source)[1], read(out)[1]
    shift = (after[0] - written[0].time) - (before[0] - pictures[0].time)
    assert abs(float(shift)) < 0.001
    assert after[2] == pytest.approx(before[2], abs=1 / 25)
    assert numbers(written) == list(range(50))


def test_sound_is_copied_bit_by_bit(tmp_path: Path) -> None:
    source = encode(tmp_path / "in.mkv", steady(50), sound=("aac", Fraction(0), Fraction(2)))
    copy(source, tmp_path / "out.mp4")
    payloads = []
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            payloads.append([bytes(p) for p in container.demux(audio=0) if p.size])
    assert payloads[0] == payloads[1] and len(payloads[0]) > 80


def test_sound_that_does_not_fit_is_encoded_again_and_said(tmp_path: Path) -> None:
    sound = ("pcm_s16le", Fraction(1, 5), Fraction(2))
    source = encode(tmp_path / "in.mkv", steady(50), sound=sound)
    writer = copy(source, tmp_path / "out.m4v")
    assert len(writer.notes) == 1 and "AAC" in writer.notes[0]
    before, after = sound_of(source), sound_of(tmp_path / "out.m4v")
    assert abs(after[0] - before[0]) < 0.001
    assert after[2] == pytest.approx(before[2], abs=1 / 25)


def smooth(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Soft colours all over the cube, which halved chroma can hold."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(x / 2 + y / 4 + phase) for phase in (0, 2, 4)]
    return np.round(128 + 90 * np.stack(waves, -1)).astype(np.uint8)


@pytest.mark.parametrize(
    "tags",
    [ColorTags(5, 6, 5, 1), ColorTags(1, 1, 1, 1), ColorTags(1, 1, 1, 2), ColorTags()],
    ids=["bt601", "bt709", "bt709 full", "untagged"],
)
def test_colours_and_their_tags_survive(tmp_path: Path, tags: ColorTags) -> None:
    # What this project writes, it reads: RGB in, RGB out.
    like = read(encode(tmp_path / "in.mp4", steady(2), tags=tags))[0]
    assert like.color == tags
    with ClipWriter(tmp_path / "out.mp4", like=like, quality=0) as writer:
        writer.write(smooth(0), 0)
    info, (frame,), _ = read(tmp_path / "out.mp4")
    assert info.color == tags
    # One level of chroma is 1.8 of blue: two levels, and here and there a third, where it changes.
    error = frame.image.astype(int) - smooth(0)
    assert np.percentile(np.abs(error), 98) <= 2 and np.abs(error).max() <= 4
    # It is smooth, so that rounding twice does not quite average out.
    assert np.abs(error.mean((0, 1))).max() < 0.2


@pytest.mark.parametrize(("matrix", "kr", "kb"), [(5, 0.299, 0.114), (1, 0.2126, 0.0722)])
def test_rgb_is_what_the_standard_makes_of_yuv(
    tmp_path: Path, matrix: int, kr: float, kb: float
) -> None:
    # A red field: luma 16 + 219 * Kr R + ..., by BT.601 or BT.709, laid into the planes by hand.
    red, green, blue = 200 / 255, 60 / 255, 90 / 255
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    planes = [
        16 + 219 * luma,
        128 + 224 * (blue - luma) / (2 * (1 - kb)),
        128 + 224 * (red - luma) / (2 * (1 - kr)),
    ]
    yuv = np.concatenate([np.full(WIDTH * HEIGHT // n, v) for n, v in zip((1, 4, 4), planes)])  # noqa: B905
    frame = av.VideoFrame.from_ndarray(
        np.round(yuv).astype(np.uint8).reshape(-1, WIDTH), format="yuv420p"
    )
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"qp": "0"}
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    image = read(tmp_path / "a.mkv")[1][0].image
    assert np.abs(image.reshape(-1, 3).mean(0) - [200, 60, 90]).max() <= 2


@pytest.mark.parametrize("codec", ["h264", "hevc", "prores", "ffv1"])
@pytest.mark.parametrize("size", [(64, 48), (65, 47)])
def test_every_codec_keeps_size_order_and_picture(
    tmp_path: Path, codec: str, size: tuple[int, int]
) -> None:
    width, height = size
    out = tmp_path / "out.mkv"
    with ClipWriter(out, width=width, height=height, rate=25, codec=codec) as writer:  # type: ignore[arg-type]
        for number in range(12):
            writer.write(counted(number, width, height), number)
    info, frames, problems = read(out)
    assert (info.width, info.height) == size and problems == []
    assert numbers(frames) == list(range(12))
    error = np.abs(frames[7].image.astype(int) - counted(7, width, height)[..., :])
    if codec == "ffv1":
        assert error.max() == 0
    else:
        deep = 257 if frames[7].image.dtype == np.uint16 else 1
        lossy = np.abs(frames[7].image.astype(float) / deep - counted(7, width, height))
        assert lossy.mean() < 3


@pytest.mark.parametrize("count", [1, 2])
def test_the_shortest_clips_are_written_every_time(tmp_path: Path, count: int) -> None:
    # x265 gave packets of such clips times by chance: one clip in ten could not be written.
    for _ in range(25):
        with ClipWriter(
            tmp_path / "a.mp4", width=WIDTH, height=HEIGHT, rate=25, codec="hevc"
        ) as writer:
            for number in range(count):
                writer.write(counted(number), number)
    assert numbers(read(tmp_path / "a.mp4")[1]) == list(range(count))


def ramp() -> np.ndarray:
    """A grey ramp in steps that 8 bits do not have."""
    line = np.linspace(20000, 24000, WIDTH).astype(np.uint16)
    return np.repeat(np.repeat(line[None], HEIGHT, 0)[..., None], 3, 2)


@pytest.mark.parametrize(("codec", "levels"), [("hevc", 40), ("prores", 40), ("ffv1", 60)])
def test_deep_colour_stays_deep(tmp_path: Path, codec: str, levels: int) -> None:
    with ClipWriter(tmp_path / "deep.mkv", width=WIDTH, height=HEIGHT, rate=25, codec="ffv1") as w:
        w.write(counted(0), 0)
    like = read(tmp_path / "deep.mkv")[0].__class__(
        **{
            **read(tmp_path / "deep.mkv")[0].__dict__,
            "bit_depth": 10,
            "color": ColorTags(1, 1, 1, 1),
        }
    )
    out = tmp_path / "out.mov" if codec != "ffv1" else tmp_path / "out.mkv"
    with ClipWriter(out, like=like, codec=codec, quality=4) as writer:  # type: ignore[arg-type]
        writer.write(ramp(), 0)
    info, (frame,), _ = read(out)
    assert info.bit_depth >= 10 and frame.image.dtype == np.uint16
    assert len(np.unique(frame.image[HEIGHT // 2, :, 1])) >= levels
    assert np.abs(frame.image.astype(int) - ramp()).max() < 2 * 257


def test_pixels_that_are_not_square_stay_so(tmp_path: Path) -> None:
    source = encode(tmp_path / "in.mp4", steady(3), aspect=Fraction(16, 15))
    copy(source, tmp_path / "out.mp4")
    assert read(tmp_path / "out.mp4")[0].pixel_aspect == Fraction(16, 15)


def turned(path: Path, matrix: tuple[int, ...]) -> Path:
    """The mp4 with another display matrix: nine numbers in the track header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    assert data[at : at + 4] == struct.pack(">i", one), "the identity stands there"
    data[at : at + 36] = struct.pack(
        ">9i", *(v * (1 << 30 if i % 3 == 2 else one) for i, v in enumerate(matrix))
    )
    path.write_bytes(data)
    return path


MATRICES = {
    "none": ((1, 0, 0, 0, 1, 0, 0, 0, 1), lambda a: a),
    "clockwise": ((0, 1, 0, -1, 0, 0, 0, 0, 1), lambda a: np.rot90(a, -1)),
    "half": ((-1, 0, 0, 0, -1, 0, 0, 0, 1), lambda a: np.rot90(a, 2)),
    "counter-clockwise": ((0, -1, 0, 1, 0, 0, 0, 0, 1), lambda a: np.rot90(a, 1)),
    "mirror": ((-1, 0, 0, 0, 1, 0, 0, 0, 1), lambda a: a[:, ::-1]),
}


@pytest.mark.parametrize(("matrix", "turn"), MATRICES.values(), ids=MATRICES.keys())
def test_rotation_in_the_container_is_undone(
    tmp_path: Path, matrix: tuple[int, ...], turn: Callable[[np.ndarray], np.ndarray]
) -> None:
    plain = encode(tmp_path / "plain.mp4", steady(3))
    stored = read(plain)[1][2].image
    info, frames, _ = read(turned(plain, matrix))
    upright = turn(stored)
    assert (info.height, info.width) == upright.shape[:2]
    assert np.array_equal(frames[2].image, upright)
    copy(plain, tmp_path / "out.mp4")
    written = read(tmp_path / "out.mp4")[1][2].image
    assert np.abs(written.astype(int) - upright).mean() < 3, "written upright"


# Pictures.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    # EXIF 2.3, 4.6.4: what the first row and column of the stored picture are, when seen upright.
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = counted(357)
    Image.fromarray(np.ascontiguousarray(store(upright))).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), upright)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = counted(5)
    path = tmp_path / {"CMYK": "a.jpg", "YCbCr": "a.jpg"}.get(mode, "a.png")
    if mode == "I;16":
        Image.fromarray(grey[..., 0].astype(np.uint16) * 257).save(path)
    elif mode == "RGBA":
        alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)  # dropped, not blended in
        Image.fromarray(np.concatenate([grey, alpha], 2)).save(path)
    else:
        Image.fromarray(grey).convert(mode).save(path, quality=95)
    image = read_image(path)
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert image.flags.writeable
    assert number_in(image) == 5
    if mode in ("L", "LA", "RGBA", "I;16"):
        assert np.array_equal(image, grey)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".jpg"])
def test_pictures_go_out_and_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, smooth(0))
    error = np.abs(read_image(path).astype(int) - smooth(0))
    assert error.max() <= {".jpg": 6, ".webp": 12}.get(suffix, 0)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_pictures_is_a_clip(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in (1, 2, 9, 10, 11):
        size = (WIDTH, HEIGHT) if number != 9 else (2 * WIDTH, 2 * HEIGHT)
        Image.fromarray(counted(number, *size)).save(folder / f"f_{number}.png")
    (folder / "f_3.png").write_bytes((folder / "f_2.png").read_bytes()[:60])
    (folder / ".hidden.png").write_bytes(b"")
    info, frames, problems = read(folder)
    assert (info.kind, info.frame_count, info.rate) == ("images", 6, 25)
    assert numbers(frames) == [1, 2, 9, 10, 11]
    assert frames[2].image.shape[:2] == (2 * HEIGHT, 2 * WIDTH)
    # The damaged one leaves its place in time empty.
    assert [frame.pts for frame in frames] == [0, 1, 3, 4, 5]
    assert sum("f_3.png" in line for line in problems) == 1
    assert sum("not 64x48" in line for line in problems) == 1


def test_a_clip_goes_out_as_a_folder_and_keeps_its_times(tmp_path: Path) -> None:
    pts = [0, 500, 1400, 1900]
    source = encode(tmp_path / "in.mp4", pts)
    copy(source, tmp_path / "frames", mark=MARK)
    _, frames, problems = read(tmp_path / "frames")
    assert numbers(frames) == [0, 1, 2, 3] and problems == []
    assert [frame.time for frame in frames] == [Fraction(time, 12800) for time in pts]
    assert np.array_equal(frames[3].image, read(source)[1][3].image)
    assert read_synthetic_mark(tmp_path / "frames") == MARK
    copy(tmp_path / "frames", tmp_path / "back.mp4")
    back = read(tmp_path / "back.mp4")[1]
    assert [frame.time for frame in back] == [Fraction(time, 12800) for time in pts]


def test_one_picture_in_one_picture_out(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", counted(9))
    copy(tmp_path / "in.png", tmp_path / "out.png", mark=MARK)
    assert np.array_equal(read_image(tmp_path / "out.png"), counted(9))
    assert read_synthetic_mark(tmp_path / "out.png") == MARK
    assert read(tmp_path / "out.png")[0].kind == "image"
    clip = encode(tmp_path / "two.mp4", steady(2))
    with pytest.raises(FaceswapError, match="holds one picture"):
        copy(clip, tmp_path / "new.png")
    assert not (tmp_path / "new.png").exists()


# The synthetic mark.


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".mkv"])
def test_clips_say_that_they_are_synthetic(tmp_path: Path, suffix: str) -> None:
    source = encode(tmp_path / "in.mp4", steady(3), title="a talk")
    assert read_synthetic_mark(source) is None
    out = tmp_path / f"out{suffix}"
    copy(source, out, mark=MARK)
    assert read_synthetic_mark(out) == MARK
    info = read(out)[0]
    assert "a talk" in info.metadata.values(), "the clip's own title stays"
    # A swap of a swap names the later run, once.
    later = SyntheticMark(version="2.0", run="ffff")
    copy(out, tmp_path / f"again{suffix}", mark=later)
    assert read_synthetic_mark(tmp_path / f"again{suffix}") == later


@pytest.mark.parametrize("run", ["0123abcd", None])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_pictures_say_that_they_are_synthetic(tmp_path: Path, suffix: str, run: str | None) -> None:
    mark = SyntheticMark(version="0.1.0.dev1", run=run)
    write_image(tmp_path / f"a{suffix}", counted(1), mark=mark)
    write_image(tmp_path / f"b{suffix}", counted(1))
    assert read_synthetic_mark(tmp_path / f"a{suffix}") == mark
    assert read_synthetic_mark(tmp_path / f"b{suffix}") is None


def test_a_picture_that_cannot_say_so_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FaceswapError, match="synthetic"):
        write_image(tmp_path / "a.bmp", counted(1), mark=MARK)
    assert list(tmp_path.iterdir()) == []


# Whole or not at all.


OUTPUTS = ["out.mp4", "out.mkv", "out.png", "out"]


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_in_the_middle_leaves_nothing(
    tmp_path: Path, name: str, error: type[BaseException]
) -> None:
    if Path(name).suffix:
        (tmp_path / name).write_text("old")
    before = sorted(tmp_path.iterdir())
    threads = decoding_threads()
    with pytest.raises(error), ClipWriter(tmp_path / name, width=WIDTH, height=HEIGHT) as writer:
        writer.write(counted(0), 0)
        raise error
    assert sorted(tmp_path.iterdir()) == before
    assert all(path.read_text() == "old" for path in before)
    assert decoding_threads() == threads


@pytest.mark.parametrize("name", OUTPUTS)
def test_nothing_written_is_an_error(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(FaceswapError, match="not one frame") as caught,
        ClipWriter(tmp_path / name, width=WIDTH, height=HEIGHT),
    ):
        pass
    assert name in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(FaceswapError, match="cannot be written") as caught,
        ClipWriter(tmp_path / "file" / name, width=WIDTH, height=HEIGHT) as writer,
    ):
        writer.write(counted(0), 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("a.xyz", {}, "clips are written as"),
        ("a.avi", {}, "clips are written as"),
        ("a.mp4", {"codec": "prores"}, "cannot hold prores"),
        ("a.mov", {"codec": "ffv1"}, "cannot hold ffv1"),
    ],
)
def test_what_no_container_holds_is_refused(
    tmp_path: Path, name: str, options: dict[str, Any], says: str
) -> None:
    with (
        pytest.raises(FaceswapError, match=says) as caught,
        ClipWriter(tmp_path / name, width=WIDTH, height=HEIGHT, **options) as writer,
    ):
        writer.write(counted(0), 0)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_or_out_of_order_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(FaceswapError, match="32x32"),
        ClipWriter(tmp_path / "a.mp4", width=WIDTH, height=HEIGHT) as writer,
    ):
        writer.write(np.zeros((32, 32, 3), np.uint8), 0)
    with (
        pytest.raises(ValueError, match="after"),
        ClipWriter(tmp_path / "a.mp4", width=WIDTH, height=HEIGHT) as writer,
    ):
        writer.write(counted(0), 5)
        writer.write(counted(1), 5)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_clip_has_nothing_to_copy_and_a_missing_one_is_one_line(tmp_path: Path) -> None:
    silent = encode(tmp_path / "in.mp4", steady(3))
    assert copy(silent, tmp_path / "out.mp4", copy_from=silent).notes == []
    (tmp_path / "out.mp4").unlink()
    with pytest.raises(FaceswapError, match=r"missing.mp4: its sound") as caught:
        copy(silent, tmp_path / "out.mp4", copy_from=tmp_path / "missing.mp4")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [silent]


def test_ctrl_c_removes_the_partial_file(tmp_path: Path) -> None:
    code = f"""
import signal
import numpy as np
from faceswap_lite.media.writing import ClipWriter
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
with ClipWriter({str(tmp_path / "out.mp4")!r}, width=64, height=48, rate=25) as writer:
    for number in range(10**9):
        writer.write(np.zeros((48, 64, 3), np.uint8), number)
        if number == 400:
            print("ready", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == b"ready\n"
            assert len(list(tmp_path.iterdir())) == 1, "hidden, while it is written"
            # One that lands inside a callback from C is swallowed by Python: press again.
            for _press in range(3):
                child.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    child.communicate(timeout=10)
                    break
        finally:
            child.kill()
    assert child.returncode in (-signal.SIGINT, 130)
    assert list(tmp_path.iterdir()) == []


# Refusals.


def test_what_is_no_clip_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("hello there")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    whole = encode(tmp_path / "whole.mp4", steady(40))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:-2000])
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        tone = container.add_stream("aac", rate=TONE_RATE)
        for frame in clicks(Fraction(0), Fraction(1), "fltp"):
            container.mux(tone.encode(frame))
        container.mux(tone.encode(None))
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    for name in ("1.png", "2.png"):
        (tmp_path / "bad" / name).write_text("no picture")
    says = {
        "missing.mp4": "no such file",
        "empty.mp4": "is empty",
        "text.mp4": "is text",
        "noise.mp4": "not a video",
        "cut.mp4": "moov",
        "sound.mp4": "no video",
        "none": "holds no pictures",
        "bad": "none of its 2 pictures",
    }
    for name, why in says.items():
        with pytest.raises(FaceswapError, match=why) as caught:
            open_clip(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path) -> None:
    write_image(tmp_path / "whole.jpg", counted(1))
    whole = (tmp_path / "whole.jpg").read_bytes()
    says = {
        "missing.jpg": (None, "no such file"),
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"hello", "not a picture"),
        "half.jpg": (whole[: len(whole) // 2], "cut short"),
    }
    for name, (data, why) in says.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(FaceswapError, match=why) as caught:
            open_clip(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.png"):
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(0)
        with pytest.raises(FaceswapError, match="permission"):
            open_clip(tmp_path / name)


# Finding.


def test_clips_are_found_by_name_folder_and_pattern(tmp_path: Path) -> None:
    for name in (
        "a_2.mp4",
        "a_10.mp4",
        "a_1.MOV",
        "b[1].mp4",
        "b1.mp4",
        ".h.mp4",
        "a.json",
        "x²3.mp4",
    ):
        (tmp_path / name).write_bytes(b"")
    sequence = tmp_path / "seq"
    sequence.mkdir()
    for number in range(3):
        (sequence / f"f{number}.png").write_bytes(b"")

    def found(*patterns: str) -> list[str]:
        return [path.name for path in find_clips([str(tmp_path / name) for name in patterns])]

    assert found("b[1].mp4") == ["b[1].mp4"], "a file of that very name comes first"
    assert found("b[0-9].mp4") == ["b1.mp4"]
    assert found("a_*") == ["a_1.MOV", "a_2.mp4", "a_10.mp4"]
    assert found("a*") == found("a_*"), "a sidecar is no clip"
    assert found("seq") == ["seq"]
    assert found("a_10.mp4", "a_*") == ["a_10.mp4", "a_1.MOV", "a_2.mp4"], "once each"
    assert found(".") == ["a_1.MOV", "a_2.mp4", "a_10.mp4", "b1.mp4", "b[1].mp4", "seq", "x²3.mp4"]
    assert found("**/f1.png") == ["f1.png"]
    (tmp_path / "nothing").mkdir()
    for name in ("missing.mp4", "*.webm", "nothing"):
        with pytest.raises(FaceswapError, match="no such clip"):
            found("a_2.mp4", name)


def test_fingerprints_tell_contents_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one.mp4", tmp_path / "two.mp4"
    one.write_bytes(b"abc")
    two.write_bytes(b"abc")
    assert clip_fingerprint(one) == clip_fingerprint(two)
    assert clip_fingerprint(one).startswith("ba7816bf"), "sha256 of 'abc', FIPS 180-2"
    two.write_bytes(b"abd")
    assert clip_fingerprint(one) != clip_fingerprint(two)
    folder = tmp_path / "f"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(name.encode())
    before = clip_fingerprint(folder)
    (folder / "notes.txt").write_text("no picture")
    assert clip_fingerprint(folder) == before
    (folder / "2.png").rename(folder / "3.png")
    assert clip_fingerprint(folder) != before
    with pytest.raises(FaceswapError, match="cannot be read"):
        clip_fingerprint(tmp_path / "missing.mp4")


# Real files.


REFUSED = {"audio_only.mp4", "empty.mp4", "text.mp4", "truncated_no_moov.mp4"}
TROUBLED = {"grid_s1_sran9s_broken_first_frames.mpg": 75, "truncated_faststart.mp4": 86}


def test_every_real_clip_is_read_or_refused_in_one_line(media_dir: Path) -> None:
    counts = {"one_frame.mp4": 1, "vfr.mp4": 100, "rotation_metadata.mp4": 75, "mjpeg.avi": 72}
    refused, troubled = set(), {}
    for path in [*(media_dir / "video/robust").iterdir(), *(media_dir / "video/corrupt").iterdir()]:
        try:
            with open_clip(path) as reader:
                # The long one is not read to its end: it takes half of this file's time.
                limit = 20 if "1080x1920" in path.name else 10**9
                frames = 0
                for frame in reader:
                    assert frame.image.shape == (reader.info.height, reader.info.width, 3)
                    frames += 1
                    if frames == limit:
                        break
        except FaceswapError as error:
            assert path.name in str(error) and "\n" not in str(error)
            refused.add(path.name)
            continue
        assert frames == counts.get(path.name, frames)
        if reader.problems:
            assert len(reader.problems) == 1, reader.problems
            troubled[path.name] = frames
    assert refused == REFUSED
    assert troubled == TROUBLED


def test_every_real_picture_is_read_or_refused_in_one_line(media_dir: Path) -> None:
    refused = set()
    for path in (media_dir / "stills").rglob("*.*"):
        try:
            image = read_image(path)
        except FaceswapError as error:
            assert path.name in str(error) and "\n" not in str(error)
            refused.add(path.name)
        else:
            assert image.ndim == 3 and image.shape[2] == 3
    assert refused == {"truncated_half.jpg", "empty.jpg", "text.jpg", "bad_crc.png"}


def test_a_real_clip_keeps_times_and_sound(media_dir: Path, tmp_path: Path) -> None:
    source = media_dir / "video/robust/vfr.mp4"
    copy(source, tmp_path / "out.mp4", mark=MARK)
    before, after = read(source)[1], read(tmp_path / "out.mp4")[1]
    assert [f.time - before[0].time for f in before] == [f.time - after[0].time for f in after]
    lengths = []
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            sound: Any = container.streams.audio[0]
            lengths.append(sound.duration * sound.time_base)
    assert abs(lengths[0] - lengths[1]) < Fraction(1, 1000)
