"""What the disk and the caller may do to a clip while it is written."""

import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.writing import ClipWriter

WIDTH, HEIGHT = 160, 120

# A file-size limit refuses writes as a full disk does. It needs a process of its own: the limit
# cannot be taken back.
FULL_DISK = """
import resource, signal, sys
import numpy as np
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.writing import ClipWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
rng = np.random.default_rng(0)
try:
    with ClipWriter(sys.argv[1], width=160, height=120, rate=25) as writer:
        for number in range(60):
            writer.write(rng.integers(0, 255, (120, 160, 3)).astype(np.uint8), number)
except FaceswapError as error:
    print(error)
    sys.exit(1)
"""


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("\n") == 1
    assert name in done.stdout and "cannot be written" in done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_caller_may_paint_over_what_it_handed_in(tmp_path: Path) -> None:
    # The encoder runs behind the caller; it must have kept the frame as it was.
    shared = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with ClipWriter(tmp_path / "a.mp4", width=WIDTH, height=HEIGHT, rate=25) as writer:
        for number in range(50):
            shared[:] = number * 5
            writer.write(shared, number)
    with open_clip(tmp_path / "a.mp4") as reader:
        levels = [int(frame.image.mean()) for frame in reader]
    # Two levels: quality 16 on flat grey, and YUV's rounding.
    assert np.abs(np.array(levels) - np.arange(50) * 5).max() <= 2


def test_every_sound_stream_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sounds = [container.add_stream("aac", rate=48000) for _ in range(2)]
        for language, sound in zip(["eng", "deu"], sounds, strict=True):
            sound.metadata["language"] = language
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
            for sound in sounds:
                silence = av.AudioFrame.from_ndarray(
                    np.zeros((2, 1920), np.float32), format="fltp", layout="stereo"
                )
                silence.sample_rate, silence.pts = 48000, number * 1920
                silence.time_base = Fraction(1, 48000)
                container.mux(sound.encode(silence))
        container.mux(video.encode(None))
        for sound in sounds:
            container.mux(sound.encode(None))

    with open_clip(source) as reader:
        out = tmp_path / "out.mp4"
        with ClipWriter(out, like=reader.info, copy_from=source) as writer:
            for item in reader:
                writer.write(item.image, item.pts)
    assert writer.notes == []
    with av.open(str(out)) as container:
        assert [stream.language for stream in container.streams.audio] == ["eng", "deu"]


def test_untouched_frames_lose_little_at_the_default_quality(
    media_dir: Path, tmp_path: Path
) -> None:
    # Converting most frames unchanged must not show: 40 dB is where eyes stop seeing it.
    before = []
    with (
        open_clip(media_dir / "video/lsman2_eval_1.mp4") as reader,
        ClipWriter(tmp_path / "out.mp4", like=reader.info) as writer,
    ):
        for frame in itertools.islice(reader, 25):
            before.append(frame.image)
            writer.write(frame.image, frame.pts)
    with open_clip(tmp_path / "out.mp4") as reader:
        after = [frame.image for frame in reader]
    assert len(after) == len(before)
    errors = [((a.astype(float) - b) ** 2).mean() for a, b in zip(before, after, strict=True)]
    assert 10 * np.log10(255**2 / np.mean(errors)) > 40


def test_a_size_that_a_codec_does_not_take_is_told_at_once(tmp_path: Path) -> None:
    # x264 ends at 16384.
    writer = ClipWriter(tmp_path / "a.mp4", width=20_000, height=16, rate=25)
    with pytest.raises(FaceswapError, match="no video of 20000x16 can be made with h264"):
        writer.check()
    ClipWriter(tmp_path / "a", width=20_000, height=16, rate=25).check()
    assert list(tmp_path.iterdir()) == []


def test_a_suffix_that_is_not_written_is_told_at_once_and_is_no_error_s_own_cause(
    tmp_path: Path,
) -> None:
    writer = ClipWriter(tmp_path / "a.gif", width=16, height=16, rate=25)
    with pytest.raises(FaceswapError, match="clips are written as") as caught:
        writer.check()
    assert caught.value.__cause__ is not caught.value
    assert list(tmp_path.iterdir()) == []
