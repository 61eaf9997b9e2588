"""One writer at a time: what is being written by one process is refused to every other."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import TINY, Cast, convert_file, silent

from faceswap_lite.config import ColorConfig, ConvertConfig, CurateConfig
from faceswap_lite.curation.curate import curate_faces
from faceswap_lite.errors import FaceswapError, UsageError
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.outputs import one_writer, written_by_one
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun
from faceswap_lite.training.train import train

HOLDER = """
import sys, time
from pathlib import Path
from faceswap_lite.outputs import written_by_one
with written_by_one([Path(sys.argv[1])]):
    time.sleep(100)
"""


@contextmanager
def start(out: Path, *command: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has begun to write `out`, stopped there until it gets SIGCONT."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        note = out.parent / f".{out.name}.writer"
        while not (note.exists() and note.read_text()):
            assert process.poll() is None, "it ended before it began"
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait()


def refusal(out: Path, process: subprocess.Popen[bytes]) -> str:
    """What the second of two is told: one line that names output and process."""
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    return rf"^{re.escape(str(out))}: is being written .*\(pid {process.pid}, {since}\)[^\n]*$"


def locks_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix in (".lock", ".writer"))


def test_a_killed_holder_gives_way_and_nothing_stays(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with start(out, "-c", HOLDER, out) as process:
        with pytest.raises(FaceswapError, match=refusal(out, process)), written_by_one([out]):
            pass
        # Another name for the same folder.
        other = tmp_path / "new" / "x" / ".." / "out"
        with pytest.raises(FaceswapError, match="being written"), written_by_one([other]):
            pass
        with written_by_one([tmp_path / "new" / "another"]):
            pass
        process.kill()
    assert locks_in(out.parent) == [".out.lock", ".out.writer"]
    with written_by_one([out]):
        assert str(os.getpid()) in (out.parent / ".out.writer").read_text()
    assert locks_in(out.parent) == []


def test_a_stage_may_call_another_on_its_own_output(tmp_path: Path) -> None:
    @one_writer(lambda out, **_: [out])
    def inner(out: Path) -> list[str]:
        return locks_in(tmp_path)

    @one_writer(lambda out, **_: [out])
    def outer(out: Path) -> tuple[list[str], list[str]]:
        return inner(out), locks_in(tmp_path)

    held = [".out.lock", ".out.writer"]
    assert outer(tmp_path / "out") == (held, held)
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_any_length_is_locked(tmp_path: Path) -> None:
    out = tmp_path / ("ä" * 127)
    with written_by_one([out]):
        assert len(locks_in(tmp_path)) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_processes_of_one_launch_count_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with start(out, "-c", HOLDER, out) as process:
        monkeypatch.setenv("RANK", "1")
        with written_by_one([out]):
            pass
        process.kill()


def test_where_nothing_can_be_locked_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".out.lock").mkdir()
    said: list[str] = []
    with written_by_one([tmp_path / "out"], said.append):
        pass
    # A network's disk.
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*given: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with written_by_one([tmp_path / "other"], said.append):
        pass
    assert len(said) == 2 and all("cannot be locked" in line for line in said)
    assert locks_in(tmp_path) == [".out.lock"]


def test_extract_and_curate_wait_for_an_extraction(cast: Cast, tmp_path: Path) -> None:
    out, clip = tmp_path / "faces", cast.source_clip
    pack = [
        f"extract.{name}={getattr(cast.config.extract, name)}"
        for name in ("detector", "landmarks", "embedder")
    ]
    changes = [word for change in pack for word in ("--set", change)]
    command = ("-m", "faceswap_lite", "extract", clip, "--out", out, "--config", "demo", *changes)
    with start(out, *command) as process:
        with pytest.raises(FaceswapError, match=refusal(out, process)):
            extract_faces(find_footage([clip]), out, cast.config.extract, overwrite=True)
        with pytest.raises(FaceswapError, match=refusal(out, process)):
            curate_faces(out, CurateConfig(), apply=True)
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=200) == 0
    assert len(open_face_set(out).faces) == len(open_face_set(cast.source).faces)
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


def test_a_run_that_is_trained_can_be_read_but_not_written(cast: Cast, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = [word for change in TINY for word in ("--set", change)]
    command = (
        "-m", "faceswap_lite", "train", "--source", cast.source, "--target", cast.target,
        "--run", run, "--config", "demo", *changes, "--set", "training.save_every=1",
        "--set", "training.minutes=10", "--set", "training.steps=null",
    )  # fmt: skip
    with start(run, *command) as process:
        source, target = open_face_set(cast.source), open_face_set(cast.target)
        for overwrite in (False, True):
            with pytest.raises(FaceswapError, match=refusal(run, process)):
                train(source, target, run, cast.config, overwrite=overwrite, say=silent)
        process.send_signal(signal.SIGCONT)
        while not list(run.glob("checkpoints/step_*")):
            time.sleep(0.01)
        out = tmp_path / "swap.mp4"
        convert_file(load_run(run), cast.unseen_clip, out, ConvertConfig(), say=silent)
        assert process.poll() is None and out.is_file()
        process.send_signal(signal.SIGKILL)
    assert locks_in(tmp_path) == [".run.lock", ".run.writer"]
    training = cast.config.training.model_copy(update={"steps": 1, "save_every": 1})
    config = cast.config.model_copy(update={"training": training})
    assert train(source, target, run, config, say=silent).step >= 1
    assert locks_in(tmp_path) == []


def test_two_conversions_to_one_name(cast: Cast, run: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "swap.mp4"
    command = (
        "-m", "faceswap_lite", "convert", "--run", run.path, "--clip", cast.unseen_clip,
        "--out", out, "--compare", tmp_path / "beside.mp4",
    )  # fmt: skip
    with start(out, *command) as process:
        for name in ("swap.mp4", "beside.mp4"):
            other = ConvertConfig(color=ColorConfig(kind="none"))
            with pytest.raises(FaceswapError, match=refusal(tmp_path / name, process)):
                convert_file(run, cast.unseen_clip, tmp_path / name, other, overwrite=True)
        sidecar = tmp_path / "swap.mp4.json"
        refused = pytest.raises(FaceswapError, match=refusal(sidecar, process))
        with refused, written_by_one([sidecar]):
            pass
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=200) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "beside.mp4", "swap.mp4", "swap.mp4.json"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("out", "line"),
    [("file/a.mp4", "file is a file, not a folder"), ("/proc/a.mp4", "cannot be written")],
)
def test_where_nothing_can_be_written_no_other_process_is_blamed(
    tmp_path: Path, out: str, line: str
) -> None:
    (tmp_path / "file").touch()
    if out.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("a folder where nobody can write is known of Linux alone")
    with pytest.raises(FaceswapError, match=line), written_by_one([tmp_path / out]):
        pass


def test_nothing_is_written_to_a_pipe() -> None:
    with (
        pytest.raises(UsageError, match=r"^-: nothing is written to a pipe"),
        written_by_one([Path("-")]),
    ):
        pytest.fail("wrote")
