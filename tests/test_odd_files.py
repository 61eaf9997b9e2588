"""Each file of the folder of odd inputs comes out right: what is written is read by others alone.

A test is called by the file that it is of, and by what is right of it; `MANIFEST.md` beside the
folder says how each was made.
"""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideDataType
from conftest import convert_file, silent
from PIL import Image
from test_cli import call
from test_kept import copied, cover_of, first_frame, timecode_of
from test_media_color import assert_close, planes_of

from faceswap_lite.config import ConvertConfig, OutputConfig
from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.clips import TIMES_NAME
from faceswap_lite.media.reading import open_clip
from faceswap_lite.outputs import read_json
from faceswap_lite.runs.trained import TrainedRun

FRAME = Fraction(1, 25)
LIGHT = [SideDataType.MASTERING_DISPLAY_METADATA, SideDataType.CONTENT_LIGHT_LEVEL]


@pytest.fixture
def odd(media_dir: Path) -> Path:
    return media_dir / "odd"


def test_every_file_has_a_test(odd: Path) -> None:
    tests = [name for name in globals() if name.startswith("test_")]
    for path in odd.iterdir():
        kind = path.name.replace(".", "_")
        assert any(name.startswith(f"test_{kind}_") for name in tests), path.name


# What others read.


def frames_in(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def times_of(path: Path) -> list[Fraction]:
    """When each picture is shown, in seconds after the first."""
    frames = frames_in(path)
    return [(frame.pts - frames[0].pts) * frame.time_base for frame in frames]


def total(path: Path) -> Fraction:
    """Seconds that the pictures of a file take, as its index says."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None and stream.time_base is not None
        return stream.duration * stream.time_base


def sound_in(path: Path) -> tuple[Any, float, np.ndarray]:
    """Its codec's context, when it starts after the first picture, samples (channel, time)."""
    first = frames_in(path)[0].time
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp")
        pieces, start = [], None
        for frame in container.decode(stream):
            start = frame.time if start is None else start
            frame.pts = None
            pieces += [piece.to_ndarray() for piece in resampler.resample(frame)]
        assert start is not None
        return stream.codec_context, start - first, np.concatenate(pieces, axis=1)


def moved(before: Path, after: Path, channel: int = 0) -> float:
    """Seconds by which sound is later beside the picture than it was, where both sound alike."""
    (context, start, one), (_, other_start, other) = sound_in(before), sound_in(after)
    count = one.shape[1] + other.shape[1]
    spectra = [np.fft.rfft(sound[channel], count) for sound in (one, other)]
    likeness = np.fft.irfft(spectra[1] * spectra[0].conj(), count)
    lag = (int(likeness.argmax()) + count // 2) % count - count // 2
    loud = np.sqrt((one[channel] ** 2).sum() * (other[channel] ** 2).sum())
    assert likeness.max() > 0.9 * loud
    return lag / context.sample_rate + other_start - start


# The files.


@pytest.mark.parametrize("out", ["out.mp4", "out.mov", "out.mkv", "out.m4v"])
def test_base40_mp4_keeps_times_tags_and_pixels(odd: Path, tmp_path: Path, out: str) -> None:
    source = odd / "base40.mp4"
    assert copied(source, tmp_path / out, quality=4).notes == []
    assert times_of(tmp_path / out) == [FRAME * n for n in range(40)]
    for given, made in zip(frames_in(source), frames_in(tmp_path / out), strict=True):
        tags = (made.color_primaries, made.color_trc, made.colorspace, made.color_range)
        assert tags == (1, 1, 1, 1)
        levels = [frame.to_ndarray(format="gray").astype(float) for frame in (given, made)]
        assert np.abs(np.subtract(*levels)).mean() < 1


@pytest.mark.parametrize(("codec", "pixels"), [("hevc", "yuv420p10le"), ("h264", "yuv420p")])
def test_b709_10_mp4_has_its_colours(odd: Path, tmp_path: Path, codec: Any, pixels: str) -> None:
    writer = copied(odd / "b709_10.mp4", tmp_path / "out.mp4", codec=codec)
    assert any("8 bits" in note for note in writer.notes) == (codec == "h264")
    assert {frame.format.name for frame in frames_in(tmp_path / "out.mp4")} == {pixels}
    clip = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    images = [clip.read()[1] for _ in range(6)]
    # ffmpeg reads 106, 109, 114, and rounds down; it was 48, 5, 135.
    assert np.abs(np.mean(images, (0, 1, 2))[::-1] - [106, 109, 114]).max() < 2


def keeps_pixels_tags_and_light(source: Path, out: Path, transfer: int) -> None:
    writer = copied(source, out, codec="hevc", quality=4)
    assert writer.notes == []
    given, made = (first_frame(path)[0] for path in (source, out))
    assert made.format.name == "yuv420p10le"
    tags = (made.color_primaries, made.color_trc, made.colorspace, made.color_range)
    assert tags == (9, transfer, 9, given.color_range)
    for kind in LIGHT:
        found = [np.frombuffer(bytes(f.side_data[kind]), np.int32) for f in (given, made)]
        # Rationals of other denominators are the same numbers.
        told = [a[:20:2] / a[1:20:2] if kind is LIGHT[0] else a for a in found]
        assert np.allclose(told[0], told[1])
    for before, after in zip(planes_of(given), planes_of(made), strict=True):
        # Of 1023: the quality of 4 and the resampled chroma.
        assert np.abs(before.astype(float) - after).mean() < 2


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
def test_pq_mp4_keeps_its_pixels_tags_and_light(odd: Path, tmp_path: Path, out: str) -> None:
    keeps_pixels_tags_and_light(odd / "pq.mp4", tmp_path / out, 16)


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
def test_hlg_mp4_keeps_its_pixels_tags_and_light(odd: Path, tmp_path: Path, out: str) -> None:
    keeps_pixels_tags_and_light(odd / "hlg.mp4", tmp_path / out, 18)


@pytest.mark.parametrize(("codec", "kept"), [("h264", True), ("prores", False), ("ffv1", False)])
def test_pq_mp4_light_in_other_codecs_is_kept_or_said(
    odd: Path, tmp_path: Path, codec: Any, kept: bool
) -> None:
    writer = copied(odd / "pq.mp4", tmp_path / "out.mkv", codec=codec)
    frame, _ = first_frame(tmp_path / "out.mkv")
    held = {data.type for data in frame.side_data}
    assert (set(LIGHT) <= held) == kept
    assert any("mastering" in note for note in writer.notes) == (not kept)


def test_pq_mp4_says_what_to_do(odd: Path) -> None:
    with open_clip(odd / "pq.mp4") as reader:
        (line,) = reader.problems
    assert "PQ" in line and "SDR" in line


def test_hlg_mp4_says_nothing(odd: Path) -> None:
    with open_clip(odd / "hlg.mp4") as reader:
        assert reader.problems == []


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv", "out.mov"])
def test_joined_ts_is_bridged_and_its_sound_in_step(odd: Path, tmp_path: Path, out: str) -> None:
    source = odd / "joined.ts"
    with open_clip(source) as reader:
        assert "jumped 1 time;" in reader.problems[0]
    writer = copied(source, tmp_path / out)
    assert len(times_of(tmp_path / out)) == 80, writer.notes
    # Matroska's times are whole milliseconds.
    steps = [float(b - a) for a, b in pairwise(times_of(tmp_path / out))]
    assert steps == pytest.approx([0.04] * 79, abs=0.0011)
    if out != "out.mkv":
        assert total(tmp_path / out) == Fraction(16, 5)
    # The same packets, so both pieces sound as before, at their pictures.
    (context, start, given), (_, out_start, made) = sound_in(source), sound_in(tmp_path / out)
    rate, length = context.sample_rate, given.shape[1] // 2
    for piece in range(2):
        first = round((0.1 - start) * rate)
        had = given[0, piece * length + first :][:rate]
        has = made[0, round((0.1 + 1.6 * piece - out_start) * rate) :][:rate]
        late = max(range(-60, 61), key=lambda n: float((np.roll(had, n) * has)[60:-60].sum()))
        assert abs(late) <= rate * 0.0011 and np.abs(np.roll(had, late) - has)[60:-60].max() < 0.02


def test_tmcd_mov_keeps_its_timecode_and_what_its_edit_list_shows(
    odd: Path, tmp_path: Path
) -> None:
    source = odd / "tmcd.mov"
    copied(source, tmp_path / "out.mov")
    assert timecode_of(tmp_path / "out.mov") == "01:02:03:19"
    assert times_of(tmp_path / "out.mov") == [FRAME * n for n in range(25)]
    assert abs(moved(source, tmp_path / "out.mov")) < 0.001
    # The sound may have two packets more, which the first one heard builds on.
    assert total(tmp_path / "out.mov") == 1
    (note,) = copied(source, tmp_path / "out").notes
    assert "sound and timecode" in note


def test_pr4444_mov_keeps_its_alpha_or_says_so_first(
    odd: Path, run: TrainedRun, tmp_path: Path
) -> None:
    source = odd / "pr4444.mov"
    given = np.stack([alpha_levels(frame) for frame in frames_in(source)])
    assert np.ptp(given) > 0.5
    for name, codec, kept in [("a.mov", "prores", 1), ("b.mkv", "ffv1", 1), ("c.mp4", "h264", 0)]:
        said: list[str] = []
        config = ConvertConfig(output=OutputConfig(codec=codec))
        convert_file(run, source, tmp_path / name, config, say=said.append)
        assert sum("alpha" in line for line in said) == (not kept), said
        if kept:
            made = np.stack([alpha_levels(frame) for frame in frames_in(tmp_path / name)])
            assert np.abs(made - given).max() <= 1 / 1023
        assert times_of(tmp_path / name) == [FRAME * n for n in range(4)]


def alpha_levels(frame: Any) -> np.ndarray:
    """From 0 to 1, of planar formats with more than 8 bits."""
    plane, bits = frame.planes[3], frame.format.components[3].bits
    lines = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
    return lines[:, : plane.width] / (2**bits - 1)


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
def test_inter_mpg_keeps_its_fields_times_and_pixels(odd: Path, tmp_path: Path, out: str) -> None:
    source = odd / "inter.mpg"
    copied(source, tmp_path / out, quality=4)
    steps = [float(b - a) for a, b in pairwise(times_of(tmp_path / out))]
    assert steps == pytest.approx([1 / 12] * 19, abs=0.0011)
    _, order = first_frame(tmp_path / out)
    assert order == 2
    for given, made in zip(frames_in(source), frames_in(tmp_path / out), strict=True):
        assert made.interlaced_frame
        levels = (f.to_ndarray(format="gray").astype(float) for f in (given, made))
        assert np.abs(np.subtract(*levels)).mean() < 1


def test_opengop_mp4_gives_the_same_pictures_by_frames(
    odd: Path, run: TrainedRun, tmp_path: Path
) -> None:
    source = odd / "opengop.mp4"
    config = ConvertConfig(output=OutputConfig(codec="ffv1"))
    part = config.model_copy(update={"start": 70, "end": 85})
    convert_file(run, source, tmp_path / "part.mkv", part, say=silent)
    summary = convert_file(run, source, tmp_path / "all.mkv", config, say=silent)
    assert summary.swapped == summary.frames == 120
    wanted, made = frames_in(tmp_path / "all.mkv")[70:85], frames_in(tmp_path / "part.mkv")
    assert times_of(tmp_path / "part.mkv") == [FRAME * n for n in range(15)]
    for one, other in zip(wanted, made, strict=True):
        assert np.array_equal(one.to_ndarray(format="rgb24"), other.to_ndarray(format="rgb24"))


def test_aud_pcm_avi_has_its_sound_in_step_in_an_mp4(odd: Path, tmp_path: Path) -> None:
    source = odd / "aud_pcm.avi"
    writer = copied(source, tmp_path / "out.mp4")
    assert any("encoded again as AAC" in note for note in writer.notes)
    context, _, samples = sound_in(tmp_path / "out.mp4")
    assert (context.name, context.layout.name, context.sample_rate) == ("aac", "stereo", 48_000)
    assert len(samples) == 2
    for channel in range(2):
        assert abs(moved(source, tmp_path / "out.mp4", channel)) < 0.001
    assert times_of(tmp_path / "out.mp4") == [FRAME * n for n in range(8)]


def test_aud_pcm_avi_has_every_sample_in_an_mkv(odd: Path, tmp_path: Path) -> None:
    source = odd / "aud_pcm.avi"
    assert copied(source, tmp_path / "out.mkv").notes == []
    (_, start, given), (_, other_start, made) = sound_in(source), sound_in(tmp_path / "out.mkv")
    assert start == other_start and np.array_equal(given, made)


def test_s51_mov_plays_in_an_mp4(odd: Path, tmp_path: Path) -> None:
    source = odd / "s51.mov"
    writer = copied(source, tmp_path / "out.mp4")
    assert any("encoded again as AAC" in note for note in writer.notes)
    context, _, _ = sound_in(tmp_path / "out.mp4")
    assert (context.name, context.layout.name, context.sample_rate) == ("aac", "5.1", 48_000)
    heard = [channel for channel, wave in enumerate(sound_in(source)[2]) if np.ptp(wave) > 0.01]
    assert heard
    for channel in heard:
        assert abs(moved(source, tmp_path / "out.mp4", channel)) < 0.001


@pytest.mark.parametrize("out", ["out.mov", "out.mkv"])
def test_s51_mov_keeps_every_sample_and_time(odd: Path, tmp_path: Path, out: str) -> None:
    source = odd / "s51.mov"
    assert copied(source, tmp_path / out).notes == []
    (_, _, given), (context, start, made) = sound_in(source), sound_in(tmp_path / out)
    assert context.name == "pcm_s24le" and start == 0 and np.array_equal(given, made)
    # Its last picture comes late.
    assert times_of(tmp_path / out) == times_of(source) == [FRAME * n for n in (0, 1, 2, 3, 4, 8)]


def test_cenc_mp4_is_refused_in_one_line(
    odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FaceswapError, match=r"cenc\.mp4: its picture is encrypted \(CENC\)"):
        open_clip(odd / "cenc.mp4")
    out = tmp_path / "faces"
    code, _, errors = call(capsys, monkeypatch, "extract", odd / "cenc.mp4", "--out", out)
    assert code == 1 and errors.count("\n") == 1 and "encrypted" in errors


@pytest.mark.parametrize(
    ("out", "kept"), [("out.mp4", True), ("out.mkv", True), ("out.mov", False)]
)
def test_cover_mp4_keeps_its_cover_or_says_so(
    odd: Path, tmp_path: Path, out: str, kept: bool
) -> None:
    source = odd / "cover.mp4"
    writer = copied(source, tmp_path / out)
    assert cover_of(tmp_path / out) == (cover_of(source) if kept else None)
    assert sum("cover" in note for note in writer.notes) == len(writer.notes) == (not kept)
    assert len(frames_in(tmp_path / out)) == 22 and abs(moved(source, tmp_path / out)) < 0.001


def test_yuvj640_mp4_keeps_its_chroma(odd: Path, tmp_path: Path) -> None:
    source, out = odd / "yuvj640.mp4", tmp_path / "out.mp4"
    copied(source, out, quality=0)
    before, after = ([planes_of(frame) for frame in frames_in(path)] for path in (source, out))
    for number, name in enumerate(("luma", "blue", "red")):
        found, right = (np.stack([planes[number] for planes in clip]) for clip in (after, before))
        assert_close(found.ravel(), right.ravel().astype(float), name)
    assert {frame.color_range for frame in frames_in(out)} == {2}


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv", "out.mov", "out"])
def test_odd_small_gif_has_all_its_times_and_its_size(odd: Path, tmp_path: Path, out: str) -> None:
    source, path = odd / "odd_small.gif", tmp_path / out
    wanted = [Fraction(n, 100) for n in (0, 2, 9, 29, 31, 38)]
    assert times_of(source) == wanted
    copied(source, path)
    if path.is_dir():
        told = read_json(path / TIMES_NAME)
        tick = Fraction(told["time_base"])
        assert [pts * tick for pts in told["pts"].values()] == wanted
        assert told["end"] * tick == Fraction(58, 100)
        sizes = {Image.open(file).size for file in path.glob("*.png")}
        assert sizes == {(377, 251)} and len(told["pts"]) == 6
        return
    assert times_of(path) == wanted
    frames = frames_in(path)
    assert {(frame.width, frame.height) for frame in frames} == {(377, 251)}
    if out == "out.mkv":
        last = frames[-1]
        assert last.duration * last.time_base == Fraction(1, 5)
    else:
        assert total(path) == Fraction(58, 100)
