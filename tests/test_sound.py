"""Sound beside the picture: copied where it plays, else encoded again and said, else refused."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import ROOT

import sound as benchmark
from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion.job import ConvertJob
from faceswap_lite.conversion.writers import FileOutputs
from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.copying import check_copy
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.sinks import WRITTEN_SUFFIXES
from faceswap_lite.media.writing import ClipWriter

PAGE = ROOT / "docs" / "sound.md"


@dataclass(frozen=True)
class Row:
    """What the page says of some codecs."""

    codecs: list[str]
    containers: list[str]
    ways: dict[str, str]


def rows() -> list[Row]:
    text = PAGE.read_text(encoding="utf-8").split(benchmark.START)[1].split(benchmark.STOP)[0]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [
        Row(codecs.split(", "), containers.split(), dict(zip(WRITTEN_SUFFIXES, ways, strict=True)))
        for codecs, containers, *ways in lines[2:]
    ]


@pytest.fixture
def quiet() -> Iterator[None]:
    """FFmpeg's own words on what it does not take, unsaid."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.PANIC)
    yield
    av.logging.set_level(before)


def clip_of(folder: Path, container: str, codec: str, layout: str) -> Path:
    """A clip of this sound, as the benchmark makes it."""
    for made, path in benchmark.clips_in(container, codec, folder):
        if made == layout:
            return path
    raise AssertionError(f"FFmpeg makes no {codec} in {container}")


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.codecs[0])
def test_the_page_says_what_becomes_of_a_codec(tmp_path: Path, row: Row, quiet: None) -> None:
    encoders = {av.Codec(name, "w").canonical_name: name for name in benchmark.CODECS}
    for codec in row.codecs:
        # RealAudio's has a name for what reads it, and one for what writes it.
        encoder = encoders.get(codec) or av.Codec(codec, "w").canonical_name
        source = next(
            path
            for container in row.containers
            for _, path in benchmark.clips_in(container, encoder, tmp_path)
        )
        for suffix, how in row.ways.items():
            said = " ".join(check_copy(source, suffix))
            assert ("encoded again as AAC" in said) == (how == "AAC"), (codec, suffix, said)
            assert said == "" or how == "AAC"


# Kinds that went wrong, or may: what is heard of them is measured.
@pytest.mark.parametrize(
    ("container", "codec", "layout", "out", "how"),
    [
        # Its channels are counted, and not named.
        (".avi", "pcm_s16le", "stereo", ".mp4", "AAC"),
        (".mkv", "pcm_s24le", "5.1", ".mp4", "AAC"),
        (".mov", "pcm_s24le", "5.1", ".mp4", "AAC"),
        (".mkv", "flac", "stereo", ".mov", "AAC"),
        (".mkv", "libopus", "stereo", ".mov", "AAC"),
        (".mov", "nellymoser", "mono", ".m4v", "AAC"),
        # Its times are counted in packets.
        (".avi", "libmp3lame", "stereo", ".m4v", "AAC"),
        # Its tag is no text.
        (".avi", "aac", "stereo", ".mp4", "copied"),
        # It comes with gaps.
        (".mpg", "pcm_dvd", "stereo", ".mp4", "AAC"),
        # Decoders must not be late by what an encoder put before the first sample.
        (".mp4", "aac", "stereo", ".mkv", "copied"),
        (".ts", "aac", "5.1", ".mkv", "copied"),
        (".mp4", "libopus", "stereo", ".mp4", "copied"),
        (".mkv", "libmp3lame", "stereo", ".mp4", "copied"),
    ],
)
def test_sound_is_heard_as_before(
    tmp_path: Path, container: str, codec: str, layout: str, out: str, how: str, quiet: None
) -> None:
    source = clip_of(tmp_path, container, codec, layout)
    before = benchmark.hear(source)
    assert before is not None
    result = benchmark.converted(source, before, layout, tmp_path / f"out{out}")
    assert (result.how, result.wrong) == (how, [])


def test_the_measure_tells_what_is_wrong(tmp_path: Path) -> None:
    heard = benchmark.hear(clip_of(tmp_path, ".mkv", "pcm_s16le", "stereo"))
    assert heard is not None and benchmark.compare(heard, heard, "stereo") == []
    for wrong, says in (
        (replace(heard, start=heard.start + 0.002), "moved by +2.0 ms"),
        (replace(heard, samples=heard.samples[::-1]), "channel 0 garbled"),
        (replace(heard, samples=heard.samples[:1]), "1 channels, not 2"),
        (replace(heard, samples=heard.samples[:, : -heard.rate // 5]), "0.20 s shorter"),
    ):
        assert says in benchmark.compare(heard, wrong, "stereo")


def test_sound_that_only_another_container_holds_is_refused_before_the_work(tmp_path: Path) -> None:
    # More channels than AAC has.
    source = tmp_path / "in.mov"
    benchmark.make_clip(source, "pcm_s16le", "hexadecagonal", 48_000)
    with pytest.raises(FaceswapError, match=r"fits no \.mp4; a \.mkv keeps it"):
        ClipWriter(tmp_path / "a.mp4", width=64, height=64, copy_from=source).check()
    ClipWriter(tmp_path / "a.mkv", width=64, height=64, copy_from=source).check()


def test_sound_of_an_unknown_codec_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    source = clip_of(tmp_path, ".mkv", "libopus", "stereo")
    source.write_bytes(source.read_bytes().replace(b"A_OPUS", b"A_XPUS"))
    assert "left out" in " ".join(check_copy(source, ".mp4"))
    benchmark.write_again(source, tmp_path / "a.mp4")
    assert benchmark.hear(tmp_path / "a.mp4") is None


def test_what_is_not_kept_is_said_before_the_work(tmp_path: Path) -> None:
    source = clip_of(tmp_path, ".mkv", "pcm_s24le", "5.1")
    writer = ClipWriter(tmp_path / "a.mp4", width=64, height=64, copy_from=source)
    writer.check()
    assert len(writer.notes) == 1
    assert "pcm_s24le" in writer.notes[0] and "a .mkv keeps it as it is" in writer.notes[0]
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_sound_that_an_edit_list_cuts_off_is_not_heard(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    rate, before = 48_000, Fraction(1, 4)
    with av.open(str(source), "w") as output:
        picture = output.add_stream("libx264", rate=25)
        assert isinstance(picture, av.VideoStream)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        picture.options = {"bf": "0", "g": "1"}
        sound = output.add_stream("aac", rate=rate)
        assert isinstance(sound, av.AudioStream)
        sound.codec_context.layout = "stereo"
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(picture.encode(frame))
        for heard in benchmark.tone_frames("stereo", rate, sound.codec_context):
            assert heard.pts is not None
            heard.pts -= int(before * rate)
            output.mux(sound.encode(heard))
        output.mux(picture.encode(None))
        output.mux(sound.encode(None))
    first = benchmark.hear(source)
    assert first is not None and first.start == 0
    for suffix in (".mkv", ".mp4"):
        benchmark.write_again(source, tmp_path / f"out{suffix}")
        after = benchmark.hear(tmp_path / f"out{suffix}")
        # Three packets of 1024 samples: the first that is heard in part, and two before it.
        assert after is not None and -0.065 < after.start <= 0
        assert abs(benchmark.middle(after) - benchmark.middle(first)) < 0.001


@pytest.mark.parametrize("codec", ["libmp3lame", "pcm_s16le"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".m4v"])
def test_a_part_of_a_clip_has_its_sound_in_step(tmp_path: Path, codec: str, suffix: str) -> None:
    # This frame is shown within a packet, by which an AVI counts time.
    source, first = clip_of(tmp_path, ".avi", codec, "stereo"), 3
    out = tmp_path / f"out{suffix}"
    with open_clip(source) as reader:
        span = first * reader.info.time_base, None
        with ClipWriter(out, like=reader.info, copy_from=source, span=span) as writer:
            for frame in reader:
                if frame.pts >= first:
                    writer.write(frame.image, frame.pts)
    before, after = benchmark.hear(source), benchmark.hear(out)
    assert before is not None and after is not None
    moved = benchmark.middle(after) - (benchmark.middle(before) - first / 25)
    assert abs(moved) < 0.001


def test_sound_of_a_private_stream_type_is_read(tmp_path: Path) -> None:
    """Blu-ray's PCM is of type 0x80, which FFmpeg hands on as a tag that is no text."""
    source = tmp_path / "in.m2ts"
    options = {"mpegts_m2ts_mode": "1"}
    with av.open(str(source), "w", format="mpegts", options=options) as container:
        video = container.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound: Any = container.add_stream("pcm_bluray", rate=48_000, layout="stereo")
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        frame = av.AudioFrame.from_ndarray(np.ones((1, 19_200), np.int16), "s16", "stereo")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux([*video.encode(None), *sound.encode(None)])
    with av.open(str(source)) as container, pytest.raises(UnicodeDecodeError):
        str(container.streams.audio[0].codec_context.codec_tag)
    with open_clip(source) as reader:
        assert len(list(reader)) == 5
    assert "encoded again as AAC" in " ".join(check_copy(source, ".mp4"))


CLICKS = Fraction(1, 10)
"""Seconds from one click to the next; each is louder than the one before it."""


def clicking(path: Path, codec: str, form: str, rate: int, samples: int) -> Path:
    """1.2 s of picture, and of clicks in packets of as many samples as the codec takes at once."""
    clicks = np.zeros((1, rate * 12 // 10), np.int16)
    for number in range(12):
        at = round(number * CLICKS * rate)
        clicks[0, at : at + 60] = 2000 * (number + 1)
    with av.open(str(path), "w") as output:
        picture: Any = output.add_stream("libx264", rate=25, options={"bf": "0"})
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        long = {"adpcm_ima_wav": {"block_size": "8192"}, "libopus": {"frame_duration": "120"}}
        sound: Any = output.add_stream(codec, rate=rate, options=long.get(codec, {}))
        sound.layout, sound.format = "mono", form
        packets = []
        for first in range(0, clicks.shape[1], samples):
            part = np.ascontiguousarray(clicks[:, first : first + samples])
            if form.startswith("flt"):
                part = (part / 32768).astype(np.float32)
            heard = av.AudioFrame.from_ndarray(part, form, "mono")
            heard.sample_rate, heard.pts = rate, first
            heard.time_base = Fraction(1, rate)
            packets += sound.encode(heard)
        packets += sound.encode(None)
        for _ in range(30):
            packets += picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8)))
        for packet in [*packets, *picture.encode(None)]:
            output.mux(packet)
    return path


def clicks_in(path: Path) -> tuple[list[tuple[float, int]], float]:
    """When each click is heard, its number by its loudness, and when the sound ends, in seconds."""
    heard: list[tuple[float, int]] = []
    end = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.audio[0]):
            levels = frame.to_ndarray().reshape(-1).astype(float)
            levels *= 32768 if frame.format.name.startswith("flt") else 1
            assert frame.time is not None
            for at in np.flatnonzero(abs(levels) > 1200):
                time = frame.time + at / frame.sample_rate
                if not heard or time > heard[-1][0] + CLICKS / 2:
                    heard.append((time, round(levels[at : at + 40].max() / 2000)))
            end = frame.time + frame.samples / frame.sample_rate
    return heard, end


@pytest.mark.parametrize(
    ("codec", "form", "samples", "source", "suffixes"),
    [
        ("pcm_s16le", "s16", 19200, ".mkv", (".mkv", ".mov", ".mp4")),
        ("pcm_s16le", "s16", 19200, ".avi", (".mkv", ".mov")),
        ("tta", "s16", 40000, ".mkv", (".mkv", ".mp4")),
        ("wavpack", "s16p", 40000, ".mkv", (".mkv", ".mp4")),
        ("flac", "s16", 40000, ".mkv", (".mkv", ".mp4")),
        ("adpcm_ima_wav", "s16p", 16000, ".avi", (".mkv",)),
    ],
)
def test_a_part_has_all_of_its_sound_however_long_packets_are(
    tmp_path: Path, codec: str, form: str, samples: int, source: str, suffixes: tuple[str, ...]
) -> None:
    made = clicking(tmp_path / f"in{source}", codec, form, 32_000, samples)
    for suffix in suffixes:
        out = tmp_path / f"out{suffix}"
        with open_clip(made) as reader:
            frames = list(reader)[10:25]
            end = frames[-1].time + Fraction(1, 25)
            span = frames[0].time, end
            with ClipWriter(out, like=reader.info, copy_from=made, span=span) as writer:
                for frame in frames:
                    writer.write(frame.image, frame.pts, ticks=frame.ticks)
        heard, stop = clicks_in(out)
        # The range is from 0.4 to 1.0 s: clicks 5 to 10 of 12, the first of them at once.
        lossy = suffix == ".mp4" or codec == "adpcm_ima_wav"
        assert len(heard) == 6
        for number, (time, said) in enumerate(heard):
            assert abs(time - number / 10) < (0.004 if lossy else 0.0011)
            assert lossy or said == number + 5
        assert abs(stop - 0.6) < (0.033 if lossy else 0.0011)


def test_a_part_s_sound_in_short_packets_loses_too_little_to_say(tmp_path: Path) -> None:
    made = clicking(tmp_path / "in.mkv", "libmp3lame", "fltp", 32_000, 1152)
    span = Fraction(1, 2), Fraction(1)
    assert not check_copy(made, ".mkv", span) and not check_copy(made, ".mp4", span)


def test_what_becomes_of_a_part_s_sound_is_said_before_the_work(tmp_path: Path) -> None:
    made = clicking(tmp_path / "in.mkv", "libopus", "flt", 48_000, 5760)
    outputs = FileOutputs(tmp_path / "out.mp4")
    job = ConvertJob("job", outputs.paths, made, [])
    said = {}
    for start in (0, 10):
        with open_clip(made) as reader:
            said[start] = " ".join(outputs.check(job, reader, ConvertConfig(start=start)))
    assert "packets of 0.1 s: encoded again as AAC" in said[10]
    assert "AAC" not in said[0]
