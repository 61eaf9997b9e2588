"""Clips written in pieces: exact times, what is kept of the input, what a kill leaves."""

import itertools
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.subtitles.subtitle import SubtitleSet
from PIL import Image

from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.clips import TIMES_NAME
from faceswap_lite.media.marks import SyntheticMark
from faceswap_lite.media.provenance import read_synthetic_mark
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.writing import ClipWriter

WIDTH, HEIGHT = 64, 48
MARK = SyntheticMark(version="1.2.3", run="0123abcd")
HELD = [
    ("h264", ".mp4"),
    ("h264", ".m4v"),
    ("h264", ".mov"),
    ("h264", ".mkv"),
    ("hevc", ".mp4"),
    ("hevc", ".mov"),
    ("hevc", ".mkv"),
    ("prores", ".mov"),
    ("prores", ".mkv"),
    ("ffv1", ".mkv"),
]
VARIABLE = np.cumsum(np.random.default_rng(3).integers(600, 2400, 37)).tolist()
TIMES = {
    "constant": (Fraction(1, 12800), [512 * n for n in range(37)], Fraction(25)),
    "ntsc": (Fraction(1001, 30000), list(range(37)), Fraction(30000, 1001)),
    "late": (Fraction(1, 90000), [45000 + 3003 * n for n in range(37)], Fraction(30000, 1001)),
    "variable": (Fraction(1, 25000), VARIABLE, Fraction(17)),
}


def picture(number: int, channels: int = 3) -> np.ndarray:
    """Soft colours that move, with the number as brightness."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [np.sin((x + number * 3) / (9 + c) + y / 11 + c) for c in range(channels)]
    return np.round(40 + 4 * number % 150 + 30 * np.stack(waves, -1)).astype(np.uint8)


def write(out: Path, pts: list[int], stop: int | None = None, **options: Any) -> ClipWriter:
    """Write pictures from number `done` on; `stop` breaks off before that one."""
    given = {"width": WIDTH, "height": HEIGHT, **options}
    with ClipWriter(out, **given) as writer:
        for number in range(writer.done, len(pts)):
            if number == stop:
                raise InterruptedError
            writer.write(picture(number, 4 if options.get("alpha") else 3), pts[number])
    return writer


def packets(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Decoding and showing time of the picture's packets, in seconds."""
    with av.open(str(path)) as container:
        found = [p for p in container.demux(video=0) if p.size]
        return [((p.dts or 0) * p.time_base, (p.pts or 0) * p.time_base) for p in found]


# Times.


@pytest.mark.parametrize(("codec", "suffix"), HELD)
@pytest.mark.parametrize(
    ("times", "piece_frames"),
    [*((name, 10) for name in TIMES), ("variable", 1), ("ntsc", 2), ("variable", 100)],
)
def test_times_are_exact_whatever_the_pieces(
    tmp_path: Path, codec: str, suffix: str, times: str, piece_frames: int
) -> None:
    time_base, pts, rate = TIMES[times]
    out = tmp_path / f"out{suffix}"
    work = tmp_path / "work"
    given: dict[str, Any] = {"codec": codec, "rate": rate, "time_base": time_base}
    writer = write(out, pts, work=work, piece_frames=piece_frames, **given)
    assert writer.notes == [] and list(tmp_path.iterdir()) == [out]

    with open_clip(out) as reader:
        frames = list(reader)
    assert reader.problems == []
    wanted = [(time - pts[0]) * time_base for time in pts]
    if suffix == ".mkv":  # which counts milliseconds
        wanted = [Fraction(int(time * 1000 + Fraction(1, 2)), 1000) for time in wanted]
    assert [frame.time for frame in frames] == wanted
    levels = [
        frame.image.mean() / (257 if frame.image.dtype == np.uint16 else 1) for frame in frames
    ]
    assert np.abs(np.array(levels) - [picture(n).mean() for n in range(37)]).max() < 2

    decoded = [dts for dts, _ in packets(out)]
    assert all(a <= b for a, b in itertools.pairwise(decoded))
    assert all(dts <= shown for dts, shown in packets(out))
    assert [shown for _, shown in sorted(packets(out), key=lambda item: item[1])] == wanted
    if suffix != ".mkv":
        assert len(set(decoded)) == 37
        assert reader.info.rate is not None
        with av.open(str(out)) as container:
            stream = container.streams.video[0]
            assert stream.duration is not None and stream.time_base is not None
            last = stream.duration * stream.time_base - wanted[-1]
        # The last frame is shown for as long as one usually is. An mp4 that reorders frames says
        # how long all take to decode, which is the same only at a constant rate.
        assert times == "variable" or last == round(1 / (rate * time_base)) * time_base


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_pieces_show_every_frame_in_order(tmp_path: Path, codec: str) -> None:
    # By the pictures themselves, not by their times: each differs from its neighbours.
    out = tmp_path / "out.mp4"
    write(out, list(range(50)), codec=codec, work=tmp_path / "w", piece_frames=7, quality=4)
    with open_clip(out) as reader:
        for frame in reader:
            errors = [np.abs(frame.image.astype(int) - picture(n)).mean() for n in range(50)]
            assert int(np.argmin(errors)) == frame.index


def test_apples_players_find_their_tag(tmp_path: Path) -> None:
    tags = {}
    for codec, alpha in (("hevc", False), ("prores", False), ("prores", True)):
        out = tmp_path / f"{codec}{alpha}.mov"
        write(out, list(range(3)), codec=codec, alpha=alpha)
        with av.open(str(out)) as container:
            tags[codec, alpha] = container.streams.video[0].codec_context.codec_tag
    assert tags == {("hevc", False): "hvc1", ("prores", False): "apch", ("prores", True): "ap4h"}


# Broken off and begun again.


UNWRITTEN = """
import hashlib, sys
import numpy as np
from faceswap_lite.media.writing import ClipWriter
y, x = np.mgrid[0:120, 0:160]
with ClipWriter(sys.argv[1], width=160, height=120, rate=25, codec=sys.argv[2]) as writer:
    for number in range(12):
        grey = np.round(60 + 30 * np.sin((x + number * 3) / 9 + y / 11))
        writer.write(np.repeat(grey[..., None], 3, 2).astype(np.uint8), number)
"""


@pytest.mark.parametrize("codec", ["h264", "hevc", "prores", "ffv1"])
def test_bytes_do_not_hang_on_memory_that_nobody_wrote(tmp_path: Path, codec: str) -> None:
    # x264's AVX-512 did. glibc fills fresh memory with what this variable says.
    made = []
    for filling in ("1", "170"):
        out = tmp_path / f"{filling}.mkv"
        command = [sys.executable, "-c", UNWRITTEN, str(out), codec]
        subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": filling}, check=True)
        made.append(out.read_bytes())
    assert made[0] == made[1]


OUTPUTS = [("h264", "out.mp4"), ("hevc", "out.mkv"), ("prores", "out.mov"), ("h264", "out")]


def contents(path: Path) -> dict[str, bytes]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.parametrize(("codec", "name"), OUTPUTS)
@pytest.mark.parametrize("stops", [[1], [10], [25], [13, 14, 30]])
def test_a_writer_begun_again_ends_with_the_same_bytes(
    tmp_path: Path, codec: str, name: str, stops: list[int]
) -> None:
    source = talk(tmp_path / "in.mkv", "subrip")
    given: dict[str, Any] = {"codec": codec, "rate": 25, "piece_frames": 10, "mark": MARK}
    given["copy_from"] = source if Path(name).suffix else None
    pts = list(range(37))
    write(tmp_path / "straight" / name, pts, work=tmp_path / "w0", **given)

    out, work = tmp_path / "stopped" / name, tmp_path / "w1"
    for stop in stops:
        with pytest.raises(InterruptedError):
            write(out, pts, stop=stop, work=work, **given)
        assert not out.exists()
        assert work.exists() == (stop >= 10), "nothing done, nothing left"
    writer = write(out, pts, work=work, **given)
    assert writer.done == stops[-1] // 10 * 10
    assert contents(out) == contents(tmp_path / "straight" / name)
    assert not work.exists() and list(out.parent.iterdir()) == [out]


KILLED = """
import sys, time
from fractions import Fraction
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from faceswap_lite.media.writing import ClipWriter
from test_pieces import MARK, WIDTH, HEIGHT, picture
given = dict(codec="h264", rate=25, piece_frames=10, mark=MARK)
with ClipWriter(sys.argv[1], width=WIDTH, height=HEIGHT, work=Path(sys.argv[2]), **given) as writer:
    print(writer.done, flush=True)
    for number in range(writer.done, 60):
        time.sleep(0.01)
        writer.write(picture(number), number)
"""


@pytest.mark.parametrize("name", ["out.mp4", "out"])
def test_a_killed_writer_ends_with_the_same_bytes(tmp_path: Path, name: str) -> None:
    given: dict[str, Any] = {"codec": "h264", "rate": 25, "piece_frames": 10, "mark": MARK}
    pts = list(range(60))
    write(tmp_path / "straight" / name, pts, work=tmp_path / "w0", **given)

    out, work = tmp_path / "killed" / name, tmp_path / "w1"
    seen = []
    for records in (1, 3, 4):
        command = [sys.executable, "-c", KILLED, str(out), str(work), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            seen.append(int(child.stdout.readline()))
            while len(list(work.glob(".[0-9]*.json"))) < records and child.poll() is None:
                time.sleep(0.001)
            child.send_signal(signal.SIGKILL)
        assert not out.exists()
    assert seen[0] == 0 and seen == sorted(seen) and seen[1] >= 10
    writer = write(out, pts, work=work, **given)
    assert writer.done >= 40
    assert contents(out) == contents(tmp_path / "straight" / name)
    assert not work.exists()


KILLED_NAMING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_pieces import MARK, write

def hook(event, arguments):
    if event == "os.rename" and str(arguments[1]) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
given = dict(codec="h264", rate=25, piece_frames=10, mark=MARK)
write(Path(sys.argv[1]), list(range(25)), work=Path(sys.argv[2]), **given)
"""


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out"])
def test_a_kill_before_the_name_is_given_leaves_nothing_beside_it(
    tmp_path: Path, name: str
) -> None:
    given: dict[str, Any] = {"codec": "h264", "rate": 25, "piece_frames": 10, "mark": MARK}
    out, work = tmp_path / "killed" / name, tmp_path / "w"
    out.parent.mkdir()
    command = [sys.executable, "-c", KILLED_NAMING, str(out), str(work), str(Path(__file__).parent)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert list(out.parent.iterdir()) == []
    writer = write(out, list(range(25)), work=work, **given)
    assert writer.done == 25 and list(out.parent.iterdir()) == [out]
    write(tmp_path / "straight" / name, list(range(25)), work=tmp_path / "w0", **given)
    assert contents(out) == contents(tmp_path / "straight" / name)


def test_a_writer_that_fails_while_joining_has_all_frames_done(tmp_path: Path) -> None:
    out, work = tmp_path / "out.mp4", tmp_path / "w"

    def refuse(path: Path) -> None:
        raise FaceswapError(f"{path.suffix} for {out}: the key is locked")

    with pytest.raises(FaceswapError, match="locked") as caught:
        write(out, list(range(25)), work=work, piece_frames=10, finish=refuse)
    assert "out.mp4" in str(caught.value) and not out.exists()
    assert caught.value.__cause__ is not caught.value
    writer = write(out, list(range(25)), work=work, piece_frames=10)
    assert writer.done == 25 and len(packets(out)) == 25


def test_pieces_of_another_encoding_do_not_count(tmp_path: Path) -> None:
    out, work = tmp_path / "out.mp4", tmp_path / "w"
    with pytest.raises(InterruptedError):
        write(out, list(range(40)), stop=35, work=work, piece_frames=10, quality=20)
    assert write(out, list(range(40)), work=work, piece_frames=10, quality=30).done == 0


@pytest.mark.parametrize("name", ["out.mp4", "out"])
def test_outputs_in_lockstep_keep_what_all_have(tmp_path: Path, name: str) -> None:
    out, work = tmp_path / name, tmp_path / "w"
    pts = list(range(37))
    write(tmp_path / "straight" / name, pts, work=tmp_path / "w0", piece_frames=10)
    with pytest.raises(InterruptedError):
        write(out, pts, stop=36, work=work, piece_frames=10)
    with ClipWriter(out, width=WIDTH, height=HEIGHT, work=work, piece_frames=10) as writer:
        assert writer.done == 30
        writer.keep(19)
        assert writer.done == 10
        with pytest.raises(ValueError, match="after"):
            writer.write(picture(9), 9)
        for number in range(10, 37):
            writer.write(picture(number), number)
        with pytest.raises(RuntimeError, match="already"):
            writer.keep(0)
    assert contents(out) == contents(tmp_path / "straight" / name)


def test_a_single_picture_is_never_half_done(tmp_path: Path) -> None:
    with ClipWriter(tmp_path / "a.png", work=tmp_path / "w", mark=MARK) as writer:
        assert writer.done == 0
        writer.keep(0)
        writer.write(picture(1), 0)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]
    assert read_synthetic_mark(tmp_path / "a.png") == MARK


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.png", "out"])
def test_the_finished_clip_is_handed_over_before_it_has_its_name(tmp_path: Path, name: str) -> None:
    seen = []

    def look(path: Path) -> None:
        assert not (tmp_path / name).exists()
        assert read_synthetic_mark(path) == MARK
        assert (path / TIMES_NAME).exists() if path.is_dir() else path.suffix == Path(name).suffix
        seen.append(path)
        if path.is_file():
            path.write_bytes(path.read_bytes() + b"signed")

    write(tmp_path / name, [0], mark=MARK, finish=look)
    assert len(seen) == 1 and list(tmp_path.iterdir()) == [tmp_path / name]
    if Path(name).suffix:
        assert (tmp_path / name).read_bytes().endswith(b"signed")


# What else the input has.


HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, \
Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
LINES = [(300, 500, b"Hello {\\i1}World{\\i0}"), (1500, 700, b"two\\Nlines"), (2600, 300, b"end")]
"""Start and length of subtitles, in milliseconds."""


def talk(path: Path, subtitles: str, late: int = 0, click: float = 1.0) -> Path:
    """Three seconds of picture, sound with a click, subtitles and chapters; `late`: ms."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        sound: Any = container.add_stream("aac", rate=48000)
        sound.metadata.update({"language": "fra", "title": "speech"})
        text: Any = container.add_stream(subtitles)
        text.time_base = Fraction(1, 1000)
        text.codec_context.subtitle_header = HEADER
        text.metadata.update({"language": "deu", "title": "captions"})
        text.disposition = av.stream.Disposition.forced
        chapters: Any = [
            {"id": n + 1, "start": a + late, "end": b + late, "time_base": Fraction(1, 1000)}
            | {"metadata": {"title": title}}
            for n, (a, b, title) in enumerate([(0, 1000, "one"), (1000, 3000, "two")])
        ]
        container.set_chapters(chapters)
        for start, length, line in LINES:
            told = SubtitleSet.create(b"0,0,Default,,0,0,0,," + line, 0, length, start + late)
            packet: Any = text.codec_context.encode_subtitle(told)
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            container.mux(packet)
        for number in range(75):
            frame = av.VideoFrame.from_ndarray(picture(number))
            frame.pts, frame.time_base = number * 40 + late, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        clock = np.arange(48000 * 3) / 48000
        loud = np.sin(clock * 6283) * (np.abs(clock - click) < 0.004)
        heard = av.AudioFrame.from_ndarray(
            np.stack([loud, loud]).astype(np.float32), format="fltp", layout="stereo"
        )
        heard.sample_rate, heard.pts = 48000, late * 48
        heard.time_base = Fraction(1, 48000)
        container.mux(sound.encode(heard))
        container.mux(sound.encode(None))
    return path


def lines_in(path: Path) -> list[tuple[float, float, bytes]]:
    """Subtitles: when each begins, after the first picture, how long it stays, and its text."""
    first = min(shown for _, shown in packets(path))
    found = []
    with av.open(str(path)) as container:
        for packet in container.demux(subtitles=0):
            said = packet.decode() if packet.size else []
            begin = float((packet.pts or 0) * packet.time_base - first)
            length = float((packet.duration or 0) * packet.time_base)
            found += [(begin, length, line.dialogue) for line in said]  # type: ignore[union-attr]
    return found


def click_in(path: Path) -> float:
    """Seconds between the first picture and the click."""
    first = min(shown for _, shown in packets(path))
    with av.open(str(path)) as container:
        heard = [
            (f.time or 0.0, f.to_ndarray()[0].astype(float)) for f in container.decode(audio=0)
        ]
    energy = np.concatenate([wave for _, wave in heard]) ** 2
    clock = np.concatenate([time + np.arange(len(wave)) / 48000 for time, wave in heard])
    return float((energy * clock).sum() / energy.sum() - first)


def copied(source: Path, out: Path, first: int = 0, end: int | None = None, **options: Any) -> Any:
    with open_clip(source) as reader:
        frames = list(reader)[first:end]
        given = {"like": reader.info, "copy_from": source, **options}
        with ClipWriter(out, **given) as writer:
            for frame in frames:
                writer.write(frame.image, frame.pts)
    return writer


def notes_but_forced(writer: Any, before: str, after: str) -> list[str]:
    """What is said of a copy of `talk`, whose subtitles are forced: two containers have no word
    for that."""
    line = f"that a stream is forced is not kept in a {after}"
    assert (line in writer.notes) == (after in (".mov", ".m4v") and before != ".mov")
    return [note for note in writer.notes if note != line]


@pytest.mark.parametrize(("codec", "suffix"), HELD)
@pytest.mark.parametrize("late", [0, 520])
def test_sound_stays_in_step(tmp_path: Path, codec: str, suffix: str, late: int) -> None:
    source = talk(tmp_path / "in.mkv", "subrip", late)
    out = tmp_path / f"out{suffix}"
    writer = copied(source, out, codec=codec, work=tmp_path / "w", piece_frames=20)
    assert notes_but_forced(writer, ".mkv", suffix) == [] and len(packets(out)) == 75
    assert click_in(out) == pytest.approx(click_in(source), abs=0.001)


KINDS = [("subrip", ".mkv"), ("ass", ".mkv"), ("webvtt", ".mkv"), ("mov_text", ".mp4")]


@pytest.mark.parametrize(("kind", "before"), [*KINDS, ("mov_text", ".mov")])
@pytest.mark.parametrize("after", [".mp4", ".m4v", ".mov", ".mkv"])
@pytest.mark.parametrize("late", [0, 520])
def test_subtitles_chapters_and_languages_survive(
    tmp_path: Path, kind: str, before: str, after: str, late: int
) -> None:
    source = talk(tmp_path / f"in{before}", kind, late)
    out = tmp_path / f"out{after}"
    writer = copied(source, out)
    lost, notes = kind == "ass" and after != ".mkv", notes_but_forced(writer, before, after)
    assert len(notes) == lost and all("layout" in note for note in notes)

    lines = lines_in(out)
    assert [text.replace(b"{\\i1}", b"").replace(b"{\\i0}", b"") for *_, text in lines] == [
        b"Hello World",
        b"two\nlines",
        b"end",
    ]
    assert b"{\\i1}" in lines[0][2], "italics stay"
    for (begin, length, _), (start, told, _) in zip(lines, LINES, strict=True):
        assert begin == pytest.approx(start / 1000, abs=0.0011)
        assert length == pytest.approx(told / 1000, abs=0.0011)
    assert click_in(out) == pytest.approx(click_in(source), abs=0.001)
    with av.open(str(out)) as container:
        first = float(min(shown for _, shown in packets(out)))
        chapters = [
            (float(c["start"] * (c["time_base"] or 0)) - first, c["metadata"]["title"])
            for c in container.chapters()
        ]
        # FFmpeg has the first chapter of an mp4 begin at zero, which is here the sound's start.
        near = 0.03 if late and before != ".mkv" else 0.002
        assert chapters == [
            (pytest.approx(0, abs=near), "one"),
            (pytest.approx(1, abs=0.002), "two"),
        ]
        sound, text = container.streams.audio[0], container.streams.subtitles[0]
        assert sound.language == "fra"
        named = "title" if after == ".mkv" else "name"
        if after != ".m4v":  # which FFmpeg gives no titles, and forces no subtitles in
            assert sound.metadata[named] == "speech" and text.metadata[named] == "captions"
        if ".mov" not in (before, after):  # nor a .mov, which lacks some languages as well
            assert text.language == "deu"
            assert after == ".m4v" or text.disposition & av.stream.Disposition.forced


@pytest.mark.parametrize(("kind", "before"), [("subrip", ".mkv"), ("mov_text", ".mp4")])
@pytest.mark.parametrize("after", [".mp4", ".mkv"])
@pytest.mark.parametrize("late", [0, 520])
def test_a_span_takes_sound_subtitles_and_chapters_along(
    tmp_path: Path, kind: str, before: str, after: str, late: int
) -> None:
    source = talk(tmp_path / f"in{before}", kind, late, click=1.2)
    with open_clip(source) as reader:
        times = [frame.time for frame in reader]
    out = tmp_path / f"out{after}"
    writer = copied(source, out, 15, 60, span=(times[15], times[60]))
    assert writer.notes == []
    shown = sorted(shown for _, shown in packets(out))
    assert len(shown) == 45 and shown[0] == 0
    assert click_in(out) == pytest.approx(1.2 - 0.6, abs=0.002)
    lines = lines_in(out)
    assert [text for *_, text in lines][1:] == [b"two\nlines"]
    # 300 to 800 ms: it is still shown when the span begins, at 600.
    assert lines[0][:2] == (0, pytest.approx(0.2, abs=0.0011))
    assert lines[1][:2] == (pytest.approx(0.9), pytest.approx(0.7))
    with av.open(str(out)) as container:
        ends = [p.pts * p.time_base for p in container.demux(audio=0) if p.size and p.pts]
        assert 1.7 < max(ends) < 1.8
        chapters = [
            (float(c["start"] * (c["time_base"] or 0)), float(c["end"] * (c["time_base"] or 0)))
            for c in container.chapters()
        ]
    assert chapters == [pytest.approx((0, 0.4), abs=0.002), pytest.approx((0.4, 1.8), abs=0.002)]


def test_subtitles_that_are_pictures_need_matroska(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        text: Any = container.add_mux_stream("hdmv_pgs_subtitle")
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(picture(number))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        packet: Any = av.Packet(b"\x80\0\0")  # the end of a display set
        packet.stream, packet.pts, packet.dts = text, 200, 200
        packet.time_base = Fraction(1, 1000)
        container.mux(packet)
    (note,) = copied(source, tmp_path / "out.mp4").notes
    assert "subtitles" in note and ".mkv keeps them" in note
    assert copied(source, tmp_path / "out.mkv").notes == []
    with av.open(str(tmp_path / "out.mkv")) as container:
        found = [p for p in container.demux(subtitles=0) if p.size]
    assert [(bytes(p), (p.pts or 0) * p.time_base) for p in found] == [
        (b"\x80\0\0", Fraction(1, 5))
    ]


def test_fonts_of_subtitles_stay_in_matroska(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.add_attachment("some.ttf", "font/ttf", b"letters")
        frame = av.VideoFrame.from_ndarray(picture(0))
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux([*video.encode(frame), *video.encode(None)])
    copied(source, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        (font,) = container.streams.attachments
        assert (font.name, font.data) == ("some.ttf", b"letters")


# Depth and alpha.


def deep_like(tmp_path: Path) -> Any:
    write(tmp_path / "deep.mkv", [0], codec="prores")
    with open_clip(tmp_path / "deep.mkv") as reader:
        return reader.info


@pytest.mark.parametrize(
    ("codec", "name", "says"),
    [
        ("h264", "out.mp4", "hevc, prores and ffv1 keep 10"),
        ("h264", "out", None),
        ("h264", "out.png", None),
        ("h264", "out.jpg", "8 bits"),
        ("hevc", "out.mp4", None),
        ("ffv1", "out.mkv", None),
    ],
)
def test_lost_depth_is_told(tmp_path: Path, codec: str, name: str, says: str | None) -> None:
    writer = write(tmp_path / name, [0], like=deep_like(tmp_path), codec=codec)
    notes = [note for note in writer.notes if "chroma" not in note]
    assert [says in note for note in notes if says] == ([True] if says else [])
    assert bool(notes) == bool(says)


@pytest.mark.parametrize(
    ("codec", "name", "deep", "tolerance"),
    [
        ("prores", "out.mov", False, (12, 1)),
        ("prores", "out.mkv", True, (12, 1)),
        ("ffv1", "out.mkv", False, (0, 0)),
        ("ffv1", "out.mkv", True, (0, 0)),
        ("h264", "out", False, (0, 0)),
        ("h264", "out.png", False, (0, 0)),
        ("h264", "out.tif", False, (0, 0)),
    ],
)
def test_alpha_goes_out_and_comes_back(
    tmp_path: Path, codec: str, name: str, deep: bool, tolerance: tuple[int, int]
) -> None:
    image: np.ndarray = picture(3, 4)
    image[:10, :, 3], image[10:20, :, 3] = 0, 255
    if deep:
        image = image.astype(np.uint16) * 257
    like = deep_like(tmp_path) if deep else None
    out = tmp_path / name
    given: dict[str, Any] = {"like": like, "width": WIDTH, "height": HEIGHT, "codec": codec}
    with ClipWriter(out, alpha=True, **given) as writer:
        writer.write(image, 0)
    if out.suffix in (".mov", ".mkv"):
        with av.open(str(out)) as container:
            frame = next(container.decode(video=0))
            assert frame.format.name[:4] in ("yuva", "bgra", "gbra")
            back = frame.to_ndarray(format="rgba64le" if deep else "rgba")
    else:
        file = out / "frame_000001.png" if out.is_dir() else out
        back = np.asarray(Image.open(file))
    scale = 257 if deep else 1
    error = np.abs(back.astype(int) - image) / scale
    assert error[..., :3].max() <= tolerance[0] and error[..., 3].max() <= tolerance[1]


@pytest.mark.parametrize(
    ("codec", "name"), [("h264", "out.mp4"), ("hevc", "out.mkv"), ("h264", "out.jpg")]
)
def test_what_holds_no_alpha_is_refused_in_one_line(tmp_path: Path, codec: str, name: str) -> None:
    with pytest.raises(FaceswapError, match=r"holds no alpha; .*do$") as caught:
        write(tmp_path / name, [0], codec=codec, alpha=True)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_without_the_channels_told_is_a_bug(tmp_path: Path) -> None:
    for alpha, channels in ((True, 3), (False, 4)):
        with (
            pytest.raises(ValueError, match="channels"),
            ClipWriter(
                tmp_path / "a.mkv", width=WIDTH, height=HEIGHT, codec="ffv1", alpha=alpha
            ) as writer,
        ):
            writer.write(picture(0, channels), 0)


# Memory.


def test_memory_stays_flat(tmp_path: Path) -> None:
    # Noise that does not compress: 400 frames are 30 MB of packets.
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from faceswap_lite.media.writing import ClipWriter
rng = np.random.default_rng(0)
noise = [rng.integers(0, 255, (160, 160, 3)).astype(np.uint8) for _ in range(8)]
def write(count):
    given = dict(width=160, height=160, rate=25, codec="ffv1", piece_frames=50)
    with ClipWriter(sys.argv[1], work=Path(sys.argv[2]), **given) as writer:
        for number in range(count):
            writer.write(noise[number % 8], number)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(write(50), write(800))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.mkv"), str(tmp_path / "w")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    few, many = map(int, done.stdout.split())
    assert os.path.getsize(tmp_path / "a.mkv") > 50e6
    assert many - few < 20_000, "kilobytes"
