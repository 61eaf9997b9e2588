"""Which sound goes out how: every codec in every container that FFmpeg makes here, in and out.

    python benchmarks/sound.py
    python benchmarks/sound.py --from .mov --codec pcm_s24le
    python benchmarks/sound.py --write docs/sound.md

A short clip is made of each pair, with a tone of its own in each channel, and written again as a
conversion writes it, into each of our containers. What comes out is decoded and compared with what
went in: channels, rate, each channel's tone, its time beside the picture, its length. Exit code 1:
something is lost, moved or garbled without a line that says so. --write puts the table into a page,
between its two marks.
"""

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from _door import enter, keep, parser_of
from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.sinks import WRITTEN_SUFFIXES
from faceswap_lite.media.writing import ClipWriter
from faceswap_lite.outputs import write_text

PICTURES = {
    ".mp4": "libx264", ".m4v": "libx264", ".mov": "libx264", ".mkv": "libx264",
    ".webm": "libvpx", ".avi": "mjpeg", ".ts": "libx264", ".mpg": "mpeg2video",
    ".mxf": "mpeg2video", ".flv": "libx264", ".ogv": "libvpx", ".wmv": "wmv2", ".3gp": "h263",
}  # fmt: skip
"""By the container that a clip comes in: a codec of pictures that it holds."""
WIDTH, HEIGHT, RATE, FRAMES = 176, 144, 25, 50
SECONDS = Fraction(FRAMES, RATE)

LAYOUTS = ("5.1", "stereo", "mono")
"""Mono only of what has no more."""
RATES = (48_000, 44_100, 16_000, 8_000)
"""What is tried in turn, until a codec takes it."""
CODECS = (
    "aac", "ac3", "eac3", "mp2", "libmp3lame", "libopus", "vorbis", "flac", "alac", "tta",
    "wavpack", "wmav1", "wmav2", "libopencore_amrnb", "g722", "g726", "nellymoser", "ra_144",
    "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_swf", "adpcm_yamaha", "pcm_alaw",
    "pcm_mulaw", "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be",
    "pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_bluray",
    "pcm_dvd", "dfpwm",
)  # fmt: skip

IN_STEP = 0.001
"""Seconds by which sound may move beside the picture."""
LOUD = 10 ** (-1 / 20)
"""How much of a tone must be left; of others, less than `LEAK` may be heard in its channel."""
LEAK = 0.1
EDGE = 0.1
"""Seconds at a tone's ends that are not looked at; also what may be missing of the length."""
START, STOP = "<!-- measured: sound -->", "<!-- end -->"


@dataclass(frozen=True)
class Sound:
    """What is heard of a clip: samples (channel, time) from `start` on, in seconds."""

    codec: str
    rate: int
    layout: str
    start: float
    samples: np.ndarray

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.samples)


@dataclass(frozen=True)
class Result:
    """What became of one sound: how it went out, and what is wrong with it."""

    container: str
    codec: str
    layout: str
    out: str
    how: str
    wrong: list[str]


# --- Clips in -------------------------------------------------------------------------------------


def tone_hz(channel: int, layout: str) -> float:
    """Each channel has its own; that of low frequencies holds only those."""
    return 60.0 if layout == "5.1" and channel == 3 else 330.0 * (1 + channel)


def make_clip(path: Path, codec: str, layout: str, rate: int) -> None:
    """A grey clip whose sound is a burst in its middle, another tone in each channel."""
    with av.open(str(path), "w") as output:
        picture = output.add_stream(PICTURES[path.suffix], rate=RATE)
        assert isinstance(picture, av.VideoStream)
        picture.width, picture.height = WIDTH, HEIGHT
        picture.pix_fmt = "yuvj420p" if picture.codec.name == "mjpeg" else "yuv420p"
        # FFmpeg calls its own Vorbis experimental.
        options = {"strict": "-2"} if codec == "vorbis" else {}
        sound: Any = output.add_stream(codec, rate=rate, options=options)
        sound.codec_context.layout = layout
        if codec.startswith("wma"):
            sound.codec_context.bit_rate = 128_000  # it has no rate of its own
        sound.codec_context.open(strict=False)
        source = tone_frames(layout, rate, sound.codec_context)
        heard = 0.0
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(picture.encode(frame))
            while heard <= number / RATE and (piece := next(source, None)) is not None:
                output.mux(sound.encode(piece))
                heard += piece.samples / rate
        for piece in source:
            output.mux(sound.encode(piece))
        output.mux(picture.encode(None))
        output.mux(sound.encode(None))


def tone_frames(layout: str, rate: int, context: Any) -> Iterator[av.AudioFrame]:
    time = np.arange(int(SECONDS * rate)) / rate
    burst = np.clip((0.5 - abs(time - float(SECONDS) / 2)) / 0.02, 0, 1)
    channels = av.AudioLayout(layout).nb_channels
    waves = [np.sin(2 * np.pi * tone_hz(c, layout) * time) for c in range(channels)]
    samples = (0.4 * burst * np.stack(waves)).astype(np.float32)
    resampler = av.AudioResampler(
        context.format, layout, rate, frame_size=context.frame_size or 960
    )
    # Not planar: PyAV takes eight planes at most.
    frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    yield from resampler.resample(frame)
    yield from resampler.resample(None)


# --- Clips out ------------------------------------------------------------------------------------


def write_again(source: Path, out: Path) -> list[str]:
    """As a conversion writes it; the writer's notes."""
    with open_clip(source) as reader:
        given: dict[str, Any] = {"like": reader.info, "copy_from": source}
        with ClipWriter(out, **given) as writer:
            for frame in reader:
                writer.write(frame.image, frame.pts)
    return writer.notes


def hear(path: Path) -> Sound | None:
    """The first sound, on the clock of the picture's first frame; None: there is none."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        first = next(container.decode(video=0))
        assert first.time is not None
        begin = first.time
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp")
        pieces: list[tuple[float, np.ndarray]] = []
        due = 0.0
        for frame in container.decode(stream):
            # Those that say no time follow on.
            time = due if frame.time is None else frame.time
            due = time + frame.samples / frame.sample_rate
            frame.pts = None
            pieces += [(time, piece.to_ndarray()) for piece in resampler.resample(frame)]
        context = stream.codec_context
        start, samples = in_time(pieces, context.sample_rate)
        return Sound(
            context.codec.canonical_name,
            context.sample_rate,
            context.layout.name,
            start - begin,
            samples,
        )


def in_time(pieces: list[tuple[float, np.ndarray]], rate: int) -> tuple[float, np.ndarray]:
    """Start and samples of pieces, silence where one comes later than the last ends."""
    row: list[np.ndarray] = []
    count = 0
    for time, piece in pieces:
        late = round((time - pieces[0][0]) * rate) - count
        if late > IN_STEP * 2 * rate:
            row.append(np.zeros((len(piece), late), np.float32))
            count += late
        row.append(piece)
        count += piece.shape[1]
    return pieces[0][0], np.concatenate(row, axis=1)


def compare(before: Sound, after: Sound, layout: str) -> list[str]:
    """What is not as it was."""
    if after.channels != before.channels:
        return [f"{after.channels} channels, not {before.channels}"]
    wrong = []
    if after.rate != before.rate:
        wrong.append(f"{after.rate} Hz, not {before.rate}")
    moved = middle(after) - middle(before)
    if abs(moved) > IN_STEP:
        wrong.append(f"moved by {1000 * moved:+.1f} ms")
    for channel in range(before.channels):
        heard = [strength(after, channel, tone_hz(c, layout)) for c in range(before.channels)]
        had = [strength(before, channel, tone_hz(c, layout)) for c in range(before.channels)]
        leaks = [h - b for h, b in zip(heard, had, strict=True)]
        others = max([*leaks[:channel], *leaks[channel + 1 :]], default=0.0)
        if not LOUD < heard[channel] / had[channel] < 1 / LOUD or others > LEAK * had[channel]:
            wrong.append(f"channel {channel} garbled")
    short = end(before) - end(after)
    if short > EDGE:
        wrong.append(f"{short:.2f} s shorter")
    return wrong


def is_heard(sound: Sound, layout: str) -> bool:
    """Whether each channel's tone is there; some encoders' sound is not read as it was written."""
    return all(strength(sound, c, tone_hz(c, layout)) > 0.2 for c in range(sound.channels))


def middle(sound: Sound) -> float:
    """When the burst is half over, beside the picture."""
    time = sound.start + np.arange(sound.samples.shape[1]) / sound.rate
    energy = (sound.samples**2).sum(0) * (abs(time - float(SECONDS) / 2) < 0.7)
    return float((energy * time).sum() / energy.sum())


def strength(sound: Sound, channel: int, hertz: float) -> float:
    """Amplitude of a tone in the middle of the burst."""
    time = sound.start + np.arange(sound.samples.shape[1]) / sound.rate
    inside = abs(time - float(SECONDS) / 2) < 0.5 - EDGE
    wave = np.exp(-2j * np.pi * hertz * time[inside])
    return float(2 * abs((sound.samples[channel, inside] * wave).mean()))


def end(sound: Sound) -> float:
    return sound.start + sound.samples.shape[1] / sound.rate


# --- All pairs ------------------------------------------------------------------------------------


def results(containers: list[str], codecs: list[str], work: Path) -> Iterator[Result]:
    for container in containers:
        for codec in codecs:
            for layout, source in clips_in(container, codec, work):
                before = hear(source)
                assert before is not None
                for suffix in WRITTEN_SUFFIXES:
                    yield converted(source, before, layout, work / f"out{suffix}")


def clips_in(container: str, codec: str, work: Path) -> Iterator[tuple[str, Path]]:
    """Clips of this sound that FFmpeg makes and decodes again, of each layout that it takes."""
    if container == ".flv" and codec.startswith("pcm_"):
        return  # FFmpeg's muxer aborts the process
    path = work / f"{codec}{container}"
    made = False
    for layout in LAYOUTS:
        if made and layout == "mono":
            return
        for rate in RATES:
            with suppress(av.FFmpegError, ValueError, OSError):
                make_clip(path, codec, layout, rate)
                sound = hear(path)
                if sound is not None and is_heard(sound, layout):
                    made = True
                    yield layout, path
                    break
    path.unlink(missing_ok=True)


def converted(source: Path, before: Sound, layout: str, out: Path) -> Result:
    out.unlink(missing_ok=True)
    told = source.suffix, before.codec, layout, out.suffix
    try:
        notes = write_again(source, out)
    except FaceswapError as error:
        return Result(*told, "FAILS", [str(error)])
    after = hear(out)
    said = " ".join(notes)
    if after is None:
        return Result(*told, "left out", [] if "left out" in said else ["nothing is said"])
    how = "AAC" if "encoded again" in said else "copied"
    wrong = compare(before, after, layout)
    return Result(*told, how, [w for w in wrong if w.split()[0] not in said])


def table(found: list[Result]) -> str:
    """Rows of codecs that go out alike, and the containers that they were tried in."""
    ways: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    sources: dict[str, set[str]] = defaultdict(set)
    for result in found:
        ways[result.codec][result.out].add(result.how)
        sources[result.codec].add(result.container)
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for codec, cells in ways.items():
        alike[tuple(" or ".join(sorted(cells[out])) for out in WRITTEN_SUFFIXES)].append(codec)
    lines = [f"| sound | in | {' | '.join(WRITTEN_SUFFIXES)} |", "|---" * 6 + "|"]
    for told, codecs in alike.items():
        tried = {container for codec in codecs for container in sources[codec]}
        where = " ".join(container for container in PICTURES if container in tried)
        lines.append(f"| {', '.join(sorted(codecs))} | {where} | {' | '.join(told)} |")
    clips = {(r.container, r.codec, r.layout) for r in found}
    return "\n".join([*lines, "", f"{len(clips)} clips in, {len(found)} out."])


def write_table(page: Path, text: str) -> None:
    """Put the table between the page's marks."""
    before, start, rest = page.read_text(encoding="utf-8").partition(START)
    _, stop, after = rest.partition(STOP)
    if not stop:
        raise FaceswapError(f"{page}: has no {START} with {STOP} after it")
    write_text(page, f"{before}{start}\n{text}\n{stop}{after}")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--from", dest="containers", nargs="+", default=[*PICTURES])
    parser.add_argument("--codec", dest="codecs", nargs="+", default=[*CODECS])
    parser.add_argument("--write", type=Path, help="a page that holds the table")
    args = parser.parse_args()
    av.logging.set_level(av.logging.PANIC)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for result in results(args.containers, args.codecs, Path(folder)):
            found.append(result)
            what = f"{result.codec} {result.layout} in {result.container} to {result.out}"
            for wrong in result.wrong:
                print(f"WRONG: {what} ({result.how}): {wrong}", flush=True)
    print(table(found))
    if args.write:
        write_table(args.write, table(found))
    if args.out:
        keep(args.out, [asdict(result) for result in found])
    sys.exit(any(result.wrong for result in found))


if __name__ == "__main__":
    enter(main)
