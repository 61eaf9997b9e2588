"""What a clip holds beside plain pictures is kept, or said by name: read back by PyAV alone."""

import itertools
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import Cast, convert_file, silent

from faceswap_lite.config import ConvertConfig, OutputConfig
from faceswap_lite.media.clips import ColorTags, Frame
from faceswap_lite.media.color import alpha_of
from faceswap_lite.media.encoding import choose_encoding
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.timecode import later_timecode
from faceswap_lite.media.writing import ClipWriter
from faceswap_lite.runs.trained import TrainedRun

SIZE = 64
NTSC = Fraction(30000, 1001)
FIELDS = {"tff": 2, "bff": 3}


def noise(number: int, channels: int = 3) -> np.ndarray:
    """A picture that is smooth enough for any codec."""
    ramp = np.linspace(40, 200, SIZE).astype(np.uint8)
    picture = np.broadcast_to(ramp[:, None, None], (SIZE, SIZE, channels)).copy()
    picture[: SIZE // 2, :, -1] = 10 + 5 * number
    return picture


def make(path: Path, codec: str, pixels: str, count: int = 3, **given: Any) -> Path:
    """A clip by PyAV; `pictures` gives other ones, `says` what its stream says of itself."""
    options, says = given.get("options", {}), given.get("says", {})
    pictures = given.get("pictures") or [noise(n) for n in range(count)]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=given.get("rate", 25), options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.field_order = given.get("fields", 0)
        stream.metadata.update(says)
        for number, picture in enumerate(pictures):
            name = "rgba" if picture.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(picture, name).reformat(format=pixels)
            frame.pts, frame.time_base = number, 1 / Fraction(given.get("rate", 25))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def copied(source: Path, out: Path, first: int = 0, **given: Any) -> ClipWriter:
    """A clip written again as a conversion writes it, without a change."""
    with open_clip(source) as reader:
        frames = list(reader)[first:]
        wanted = {"like": reader.info, "copy_from": source, **given}
        with ClipWriter(out, **wanted) as writer:
            for frame in frames:
                picture = frame.with_alpha(frame.image) if writer.alpha else frame.image
                writer.write(picture, frame.pts, ticks=frame.ticks, number=frame.number)
    return writer


def first_frame(path: Path) -> tuple[Any, Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return next(container.decode(stream)), stream.codec_context.field_order


def timecode_of(path: Path) -> str | None:
    with av.open(str(path)) as container:
        said = {k.lower(): v for k, v in container.streams.video[0].metadata.items()}
    return said.get("timecode")


# Alpha.


@pytest.mark.parametrize(
    ("codec", "pixels", "kind", "out"),
    [
        ("prores_ks", "yuva444p10le", "prores", "out.mov"),
        ("ffv1", "bgra", "ffv1", "out.mkv"),
        ("ffv1", "gbrap16le", "ffv1", "out.mkv"),
        ("qtrle", "argb", "prores", "out.mov"),
    ],
)
def test_alpha_of_a_clip_is_kept(
    tmp_path: Path, codec: str, pixels: str, kind: Any, out: str
) -> None:
    pictures = [noise(n, 4) for n in range(3)]
    source = make(tmp_path / f"in{Path(out).suffix}", codec, pixels, pictures=pictures)
    copied(source, tmp_path / out, codec=kind, alpha=True)
    given, made = (first_frame(path)[0] for path in (source, tmp_path / out))
    if kind == "ffv1":
        assert np.array_equal(alpha_of(made), alpha_of(given))
    wanted = pictures[0][..., 3].astype(int)
    shown = made.to_ndarray(format="rgba")[..., 3]
    assert np.abs(shown - wanted).max() <= 1
    with open_clip(source) as reader:
        assert reader.info.alpha and reader.problems == []


@pytest.mark.parametrize("name", ["yuva444p", "yuva444p10le", "bgra", "argb", "rgba64be", "gbrap"])
def test_alpha_is_found_wherever_it_lies(name: str) -> None:
    picture = noise(3, 4)
    alpha = alpha_of(av.VideoFrame.from_ndarray(picture, "rgba").reformat(format=name))
    scale = 257 if alpha.dtype == np.uint16 else 1
    assert np.abs(alpha / scale - picture[..., 3]).max() <= 1


def test_an_opaque_gif_has_no_alpha(tmp_path: Path) -> None:
    with open_clip(make(tmp_path / "in.gif", "gif", "rgb8")) as reader:
        assert not reader.info.alpha


def test_a_frame_without_alpha_is_opaque() -> None:
    frame = Frame(0, 0, Fraction(0), noise(0))
    assert (frame.with_alpha(frame.image)[..., 3] == 255).all()
    deep = frame.image.astype(np.uint16) * 257
    assert (replace(frame, image=deep).with_alpha(deep)[..., 3] == 65535).all()


def test_a_swap_keeps_the_clip_s_alpha_or_says_so_first(
    cast: Cast, run: TrainedRun, tmp_path: Path
) -> None:
    with open_clip(cast.unseen_clip) as reader:
        images = [frame.image for frame in itertools.islice(reader, 3)]
    alpha = np.broadcast_to(np.arange(images[0].shape[1], dtype=np.uint8), images[0].shape[:2])
    pictures = [np.dstack([image, alpha]) for image in images]
    clip = make(tmp_path / "in.mkv", "ffv1", "bgra", pictures=pictures)
    for name, codec, kept in [("a.mkv", "ffv1", True), ("b.mp4", "h264", False)]:
        said: list[str] = []
        config = ConvertConfig(output=OutputConfig(codec=codec))
        convert_file(run, clip, tmp_path / name, config, say=said.append)
        lines = [line for line in said if "alpha" in line]
        assert lines == [] if kept else len(lines) == 1 and "prores" in lines[0], said
        frame, _ = first_frame(tmp_path / name)
        if kept:
            made = frame.to_ndarray(format="rgba")
            assert (made[..., 3] == alpha).all() and (made[..., :3] != images[0]).any()


# Timecode.


@pytest.mark.parametrize(
    ("timecode", "frames", "rate", "later"),
    [
        ("01:02:03:19", 6, Fraction(25), "01:02:04:00"),
        ("00:00:59;29", 1, NTSC, "00:01:00;02"),
        ("00:09:59;29", 1, NTSC, "00:10:00;00"),
        ("00:00:00;00", 17982, NTSC, "00:10:00;00"),
        ("23:59:59:23", 1, Fraction(24), "00:00:00:00"),
        ("00:00:00:00", -1, Fraction(24), "23:59:59:23"),
        ("01:02:03:25", 0, Fraction(25), None),
        ("01:02:03;19", 0, Fraction(25), None),
        ("noon", 0, Fraction(25), None),
    ],
)
def test_timecode_counts_frames(
    timecode: str, frames: int, rate: Fraction, later: str | None
) -> None:
    assert later_timecode(timecode, frames, rate) == later


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv", ".m4v"])
@pytest.mark.parametrize(("rate", "said"), [(25, "01:02:03:24"), (NTSC, "01:02:59;29")])
def test_timecode_is_kept_and_moved_with_a_span(
    tmp_path: Path, suffix: str, rate: Any, said: str
) -> None:
    source = make(tmp_path / "in.mov", "libx264", "yuv420p", rate=rate, says={"timecode": said})
    writer = copied(source, tmp_path / f"all{suffix}")
    if suffix == ".m4v":
        (note,) = writer.notes
        assert said in note and timecode_of(tmp_path / "all.m4v") is None
        return
    assert timecode_of(tmp_path / f"all{suffix}") == said and writer.notes == []
    span = 1 / Fraction(rate), None
    copied(source, tmp_path / f"part{suffix}", first=1, span=span)
    assert timecode_of(tmp_path / f"part{suffix}") == later_timecode(said, 1, Fraction(rate))


# Covers, further streams, data.


def cover_of(path: Path) -> bytes | None:
    attached = av.stream.Disposition.attached_pic
    with av.open(str(path)) as container:
        for stream in container.streams.video:
            if stream.disposition & attached:
                return next(bytes(p) for p in container.demux(stream) if p.size)
    return None


@pytest.mark.parametrize("before", [".mp4", ".mkv"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".m4v"])
def test_a_cover_is_kept_or_said(media_dir: Path, tmp_path: Path, before: str, suffix: str) -> None:
    source = media_dir / "odd" / "cover.mp4"
    wanted = cover_of(source)
    if before == ".mkv":
        copied(source, tmp_path / "in.mkv")
        source = tmp_path / "in.mkv"
    writer = copied(source, tmp_path / f"out{suffix}")
    kept = suffix in (".mp4", ".mkv")
    assert cover_of(tmp_path / f"out{suffix}") == (wanted if kept else None)
    assert len(writer.notes) == (not kept) and all("cover" in note for note in writer.notes)
    with open_clip(tmp_path / f"out{suffix}") as reader:
        assert len(list(reader)) == 22
        # Three are not in the file: its last frame comes four frames after the one before.
        assert [problem[:8] for problem in reader.problems] == ["3 frames"]


def test_of_several_video_streams_the_default_one_then_the_largest(tmp_path: Path) -> None:
    default = av.stream.Disposition.default
    cases: list[tuple[str, list[Any], int]] = [("a", [None, None], 64), ("b", [default, None], 32)]
    for name, marks, taken in cases:
        path = tmp_path / f"{name}.mkv"
        with av.open(str(path), "w") as container:
            streams = []
            for side, mark in zip((32, 64), marks, strict=True):
                stream = container.add_stream("libx264", rate=25)
                stream.width = stream.height = side
                stream.pix_fmt = "yuv420p"
                stream.disposition = mark or av.stream.Disposition.dub
                streams.append(stream)
            for stream in streams:
                side = stream.width
                frame = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), "rgb24")
                container.mux(stream.encode(frame))
            for stream in streams:
                container.mux(stream.encode(None))
        with open_clip(path) as reader:
            assert reader.info.width == taken
            (line,) = reader.problems
            assert "of 2" in line and f"{taken}x{taken}" in line


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_names_of_sound_tracks_are_kept(tmp_path: Path, suffix: str) -> None:
    source, out = tmp_path / "in.mov", tmp_path / f"out{suffix}"
    with av.open(str(source), "w") as container:
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = SIZE, SIZE, "yuv420p"
        for name in ("dialogue", "music"):
            sound: Any = container.add_stream("aac", rate=48_000, layout="mono")
            sound.metadata["handler_name"] = name
        container.mux(video.encode(av.VideoFrame(SIZE, SIZE, "yuv420p")))
        for sound in container.streams.audio:
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            heard.sample_rate = 48_000
            container.mux([*sound.encode(heard), *sound.encode(None)])
        container.mux(video.encode(None))
    copied(source, out, copy_from=source)
    with av.open(str(out)) as container:
        said = [{k.lower(): v for k, v in s.metadata.items()} for s in container.streams.audio]
    assert [one["handler_name"] for one in said] == ["dialogue", "music"]


def test_a_font_is_said_where_only_matroska_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = SIZE
        container.add_attachment("face.ttf", "application/x-truetype-font", b"font")
        frame = av.VideoFrame.from_ndarray(noise(0), "rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert copied(path, tmp_path / "out.mkv").notes == []
    (note,) = copied(path, tmp_path / "out.mp4").notes
    assert "face.ttf" in note


def test_what_a_clip_does_not_hold_is_not_spoken_of(tmp_path: Path) -> None:
    source = make(tmp_path / "in.mp4", "libx264", "yuv420p")
    for name in ("out.mp4", "out.mov", "out.m4v", "out.mkv", "out"):
        assert copied(source, tmp_path / name).notes == []


def test_what_is_lost_is_known_before_the_first_frame(media_dir: Path, tmp_path: Path) -> None:
    source = media_dir / "odd" / "cover.mp4"
    with open_clip(source) as reader:
        writer = ClipWriter(tmp_path / "out.mov", like=reader.info, copy_from=source)
    writer.check()
    assert len(writer.notes) == 1 and list(tmp_path.iterdir()) == []


# Fields.


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize(
    ("codec", "out", "coded"),
    [
        ("h264", "out.mp4", True),
        ("h264", "out.mkv", True),
        ("prores", "out.mov", True),
        ("hevc", "out.mov", False),
        ("ffv1", "out.mkv", False),
        ("hevc", "out.mp4", False),
        ("h264", "out.m4v", True),
    ],
)
def test_interlaced_stays_interlaced_or_is_said(
    tmp_path: Path, order: str, codec: Any, out: str, coded: bool
) -> None:
    options = {"x264-params": f"{order}=1"}
    source = make(tmp_path / "in.mp4", "libx264", "yuv420p", options=options)
    with open_clip(source) as reader:
        assert reader.info.fields == order
        (line,) = reader.problems
        assert "interlaced" in line and ("top" if order == "tff" else "bottom") in line
        list(reader)
        assert reader.problems == [line]
    writer = copied(source, tmp_path / out, codec=codec)
    frame, found = first_frame(tmp_path / out)
    assert bool(frame.interlaced_frame) == coded and found == FIELDS[order]
    assert writer.notes == []


@pytest.mark.parametrize(("height", "suffix", "said"), [(50, ".m4v", 1), (50, ".mp4", 0)])
def test_fields_that_nothing_says_are_said(height: int, suffix: str, said: int) -> None:
    shape: dict[str, Any] = {
        "size": (64, height),
        "rate": Fraction(25),
        "bit_depth": 8,
        "pixel_aspect": Fraction(1),
    }
    encoding = choose_encoding("h264", 16, **shape, color=ColorTags(), alpha=False, fields="tff")
    assert sum("interlacing" in line for line in encoding.lost(suffix, 8)) == said


def test_dv_is_bottom_field_first_though_its_avi_does_not_say(tmp_path: Path) -> None:
    pictures = [np.full((576, 720, 3), 90, np.uint8)] * 2
    source = make(tmp_path / "in.avi", "dvvideo", "yuv420p", pictures=pictures)
    with open_clip(source) as reader:
        assert reader.info.fields == "bff"
        assert "bottom field first" in reader.problems[0]
    copied(source, tmp_path / "out.mp4")
    assert first_frame(tmp_path / "out.mp4")[1] == FIELDS["bff"]


CHROMA = {
    ("yuv422p", "h264"): "its chroma of 4:2:2 is written as 4:2:0 in h264; prores and ffv1 keep it",
    ("yuv444p", "hevc"): "its chroma of 4:4:4 is written as 4:2:0 in hevc; ffv1 keeps it",
    ("yuv444p", "prores"): "its chroma of 4:4:4 is written as 4:2:2 in prores; ffv1 keeps it",
    ("yuv422p", "prores"): None,
    ("yuv444p", "ffv1"): None,
    ("yuv420p", "h264"): None,
}


@pytest.mark.parametrize(("pixels", "codec"), CHROMA)
def test_chroma_that_is_not_kept_is_said(tmp_path: Path, pixels: str, codec: Any) -> None:
    source = make(tmp_path / "in.mkv", "libx264", pixels)
    line = CHROMA[pixels, codec]
    assert copied(source, tmp_path / "out.mkv", codec=codec).notes == ([line] if line else [])


# Light.


def test_light_by_scenes_is_named(tmp_path: Path) -> None:
    clip = make(tmp_path / "in.hevc", "libx265", "yuv420p10le")
    data, start = clip.read_bytes(), 0
    # Before the first slice.
    while (data[start + 3] >> 1) & 0x3F > 31:
        start = data.index(b"\0\0\1", start + 3)
    clip.write_bytes(data[:start] + b"\0\0\1" + scene_light() + data[start:])
    with open_clip(clip) as reader:
        assert any("HDR10+" in line for line in reader.problems)


def scene_light() -> bytes:
    """An SEI of HEVC that says one scene's light. Source: SMPTE ST 2094-40, CTA-861-H, S.2."""
    window = [(1000, 17)] * 3 + [(500, 17), (0, 4), (0, 10)]
    fields = [(1, 2), (400, 27), (0, 1), *window, (0, 3)]
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    said = bytes([0xB5, 0, 0x3C, 0, 1, 4, 1]) + int(bits, 2).to_bytes(len(bits) // 8, "big")
    # Two bytes of zeros and a small one would begin another unit.
    return bytes([39 << 1, 1]) + re.sub(
        rb"\0\0([\0-\3])", b"\0\0\3\\1", bytes([4, len(said)]) + said + b"\x80"
    )


def test_what_is_said_first_is_said_once(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    options = {"x264-params": "tff=1"}
    with open_clip(cast.unseen_clip) as reader:
        images = [frame.image for frame in itertools.islice(reader, 2)]
    height = len(images[0]) // 4 * 4
    images = [np.ascontiguousarray(image[:height]) for image in images]
    clip = make(tmp_path / "in.mp4", "libx264", "yuv420p", pictures=images, options=options)
    said: list[str] = []
    convert_file(run, clip, tmp_path / "out.mkv", ConvertConfig(), say=said.append)
    assert sum("interlaced" in line for line in said) == 1
    convert_file(run, clip, tmp_path / "out", ConvertConfig(), say=silent)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_alpha_beside_vpx_is_read(tmp_path: Path, codec: str) -> None:
    ramp = np.dstack([noise(0), np.tile(np.linspace(0, 255, SIZE).astype(np.uint8), (SIZE, 1))])
    options = {"crf": "4", "b": "2M", "auto-alt-ref": "0"}
    path = make(tmp_path / "a.webm", codec, "yuva420p", pictures=[ramp] * 3, options=options)
    with open_clip(path) as reader:
        frames = list(reader)
    assert reader.info.alpha and len(frames) == 3 and reader.problems == []
    for frame in frames:
        assert frame.alpha is not None
        assert np.abs(frame.alpha.astype(int) - ramp[..., 3]).max() < 12
        assert np.abs(frame.image.astype(int) - ramp[..., :3]).mean() < 12


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".mp4"])
@pytest.mark.parametrize(("said", "other"), [("deu", "ger"), ("fre", "fra"), ("eng", "eng")])
def test_a_language_is_kept_in_the_form_that_the_container_takes(
    tmp_path: Path, suffix: str, said: str, other: str
) -> None:
    source = make(tmp_path / "in.mkv", "libx264", "yuv420p", says={"language": said})
    writer = copied(source, tmp_path / f"out{suffix}")
    with av.open(str(writer.path)) as container:
        assert container.streams.video[0].metadata["language"] in (said, other)
    assert writer.notes == []


def test_tags_that_a_container_does_not_keep_are_named_first(tmp_path: Path) -> None:
    source = make(tmp_path / "in.mkv", "libx264", "yuv420p")
    with open_clip(source) as reader:
        told = {"title": "Take 7", "DIRECTOR": "Nobody", "DATE_RELEASED": "1999", "artist": "x"}
        info = replace(reader.info, metadata=told)
    for suffix, lost in ((".mkv", False), (".mp4", True), (".mov", True)):
        writer = ClipWriter(tmp_path / f"a{suffix}", like=info)
        writer.check()
        line = f"2 tags (DIRECTOR, DATE_RELEASED) not kept in a {suffix}; a .mkv does"
        assert writer.notes == [line] * lost
