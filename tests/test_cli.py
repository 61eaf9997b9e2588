"""The door: exit codes, and one readable line."""

import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import TINY, Cast

from faceswap_lite import __main__ as door
from faceswap_lite import cli
from faceswap_lite.config_files import change_section, load_config
from faceswap_lite.conversion import convert, settings_sheet, writers
from faceswap_lite.errors import FaceswapError
from faceswap_lite.media import reading
from faceswap_lite.media.images import write_image
from faceswap_lite.runs import load

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    "demo", "extract", "train", "finish", "base", "fit", "convert", "check", "evaluate", "latent",
    "render", "info", "import", "export",
)  # fmt: skip


def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str | Path
) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    monkeypatch.setattr(sys, "argv", ["faceswap-lite", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    code = left.value.code
    captured = capsys.readouterr()
    return int(code or 0), captured.out, captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, command, "--help")
    assert code == 0
    assert f"faceswap-lite {command}" in " ".join(out.split())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from faceswap_lite import cli; "
        "heavy = {'torch', 'cv2', 'av', 'numpy', 'skimage', 'matplotlib'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_is_quick() -> None:
    """Under a second by far on an idle machine; a generous limit, since tests share theirs."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "faceswap_lite", "--help"], check=True, capture_output=True
    )
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--source", "x"],
        ["nonsense"],
        ["extract"],
        ["render", "a.mp4", "--actor", "nobody"],
        ["render", "a.mp4", "--set", "render.framez=3"],
        ["extract", "a.mp4", "--out", "b", "--config", "no-such-preset"],
        ["info"],
        ["info", "a.mp4", "--config", "quick64"],
        ["info", "a.mp4", "--set", "training.batch=4"],
        ["import", "model"],
        ["import", "model", "--run", "a", "--out", "b"],
        ["export", "run", "--out", "a.dfm", "--format", "pth"],
    ],
)
def test_misuse_is_exit_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = call(capsys, monkeypatch, *words)
    assert code == 2
    assert "Traceback" not in err
    assert err.strip()


def write_bad_clips(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    paths = {name: folder / f"{name}.mp4" for name in ("missing", "empty", "text")}
    paths["empty"].touch()
    paths["text"].write_text("not a video")
    paths["grey"] = folder / "grey.png"
    write_image(paths["grey"], np.full((200, 200, 3), 128, np.uint8))
    return paths


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "grey"])
def test_a_clip_that_cannot_be_used_is_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_bad_clips(tmp_path / "bad")[kind]
    words = ("extract", clip, "--out", tmp_path / "faces", "--config", "demo")
    code, _, err = call(capsys, monkeypatch, *words)
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert code == 1
    assert (len(lines) == 1 and clip.name in lines[0]) or "no face" in lines[0]
    assert not list((tmp_path / "faces").glob("*.png"))


def test_convert_refuses_what_is_no_run_and_what_stands_there(
    cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["convert", "--clip", str(cast.unseen_clip), "--out", str(tmp_path / "swap.mp4")]
    code, _, err = call(capsys, monkeypatch, *words, "--run", tmp_path)
    assert code == 1 and "is not a run folder" in err
    code, _, err = call(capsys, monkeypatch, "info", tmp_path / "nothing")
    assert code == 1 and "no such file" in err


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `convert` asks of the stage, which itself does nothing; the run is tmp_path/run."""
    asked: dict[str, Any] = {}

    def stage(name: str) -> Any:
        def called(run: Any, clip: Any, out: Any, config: Any, *more: Any, **given: Any) -> Any:
            asked.update(given, name=name, clip=clip, out=out, config=config, more=more)
            return SimpleNamespace(line=lambda: "done")

        return called

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(OWN)
    monkeypatch.setattr(load, "load_run", lambda *given: given)
    monkeypatch.setattr(reading, "as_clip", lambda path: path)
    monkeypatch.setattr(convert, "convert_clip", stage("convert"))
    monkeypatch.setattr(settings_sheet, "settings_sheet", stage("preview"))
    monkeypatch.chdir(tmp_path)
    return asked


OWN = "convert: {color: {kind: none}, output: {quality: 9}}\n"
CONVERT = ["convert", "--run", "run", "--clip", "a.mp4"]


def test_convert_hands_its_options_on(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "--out b.mov --like who.jpg --swap target-to-source --frames 3:9 --tta 4 "
        "--label --masks m --mask-out mask.mov --layer-out layer.mov --compare c.mov --overwrite "
        "--set convert.color.kind=mkl"
    )
    assert call(capsys, monkeypatch, *CONVERT, *words.split()) == (0, "done\n", "")
    assert (asked["name"], asked["clip"]) == ("convert", Path("a.mp4"))
    assert asked["like"] == Path("who.jpg") and asked["overwrite"] is True
    wanted = writers.Tracks(Path("mask.mov"), Path("layer.mov"), Path("c.mov"))
    assert asked["out"] == writers.FileOutputs(Path("b.mov"), wanted)
    # The run's own options, changed by these; --set is stronger.
    changes = (
        "color.kind=mkl", "output.quality=9", "swap=target-to-source", "start=3", "end=9",
        "test_time_augmentation=4", f"output.label={cli.DEFAULT_LABEL}", "mask.folder=m",
    )  # fmt: skip
    assert asked["config"] == change_section(load_config().convert, changes)
    assert call(capsys, monkeypatch, *CONVERT, "--out", "b.mov", "--all-faces")[0] == 0
    assert asked["config"].all_faces and asked["like"] is None and not asked["overwrite"]


@pytest.mark.parametrize(
    ("frames", "span"), [("3:", (3, None)), (":9", (0, 9)), (":", (0, None)), ("0:1", (0, 1))]
)
def test_frames_may_leave_out_either_end(
    asked: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    frames: str,
    span: tuple[int, int | None],
) -> None:
    words = [*CONVERT, "--out", "b.mp4", "--frames", frames]
    assert call(capsys, monkeypatch, *words)[0] == 0
    assert (asked["config"].start, asked["config"].end) == span


def test_a_label_of_one_s_own_is_kept(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*CONVERT, "--out", "b.mp4", "--set", "convert.output.label=made by Ada"]
    for more in ([], ["--label"]):
        assert call(capsys, monkeypatch, *words, *more)[0] == 0
        assert asked["config"].output.label == "made by Ada"


def test_a_sheet_gets_its_tries(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = ["--try", "color.kind=none mask.kind=hull", "--try", "blend=multiband"]
    code, out, _ = call(capsys, monkeypatch, *CONVERT, "--preview-settings", "s.png", *tries)
    assert (code, out) == (0, "look at s.png\n")
    assert (asked["name"], asked["out"]) == ("preview", Path("s.png"))
    assert asked["more"] == (["color.kind=none mask.kind=hull", "blend=multiband"],)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--out or --preview-settings"),
        (["--out", "b.mp4", "--preview-settings", "s.png"], "--out or --preview-settings"),
        (["--out", "b.mp4", "--try", "color.kind=none"], "--try needs --preview-settings"),
        (["--out", "b.mp4", "--frames", "3"], "START:END"),
        (["--out", "b.mp4", "--frames", "-3:9"], "START:END"),
        (["--out", "b.mp4", "--frames", "1:2:3"], "START:END"),
        (["--out", "b.mp4", "--frames", "9:3"], "end must lie after start"),
        (["--out", "b.mp4", "--frames", "0:0"], "convert.end"),
        (["--out", "b.mp4", "--face", "1", "--all-faces"], "choose"),
        (["--out", "b.mp4", "--face", "1", "--like", "a.png"], "choose one"),
        (["--out", "b.mp4", "--face", "-1"], "convert.face"),
        (["--out", "b.mp4", "--tta", "0"], "convert.test_time_augmentation"),
        (["--out", "b.mp4", "--swap", "both"], "convert.swap"),
        (["--out", "b.mp4", "--set", "convert.colour=mkl"], "did you mean color"),
        (["--out", "b.mp4", "--set", "convert.output.codec=no_such"], "convert.output.codec"),
    ],
)
def test_misuse_of_convert_is_told(
    asked: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    says: str,
) -> None:
    code, _, err = call(capsys, monkeypatch, *CONVERT, *words)
    assert (code, asked) == (2, {}) and says in err
    assert "Traceback" not in err


def test_too_few_faces_and_the_same_set_twice(
    cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for crop in sorted(cast.source.glob("*.png"))[:4]:
        (few / crop.name).write_bytes(crop.read_bytes())
    words = ["train", "--target", str(cast.target), "--run", str(tmp_path / "run"), "--steps", "2"]
    code, _, err = call(capsys, monkeypatch, *words, "--source", few)
    assert code == 1 and str(few) in err and "10" in err
    code, _, err = call(capsys, monkeypatch, *words, "--source", cast.target)
    assert code == 1 and "two people" in err
    assert not (tmp_path / "run").exists()


def test_a_run_given_again_has_its_own_options(
    cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ["--config", "demo", *(word for change in TINY for word in ("--set", change))]
    run = tmp_path / "run"
    words = ["train", "--source", str(cast.source), "--target", str(cast.target)]
    words += ["--run", str(run)]
    assert call(capsys, monkeypatch, *words, *tiny, "--steps", "2")[0] == 0
    before = load_config(run / "config.yaml")
    code, out, _ = call(capsys, monkeypatch, *words, "--steps", "4")
    assert code == 0 and "step 4" in out and "resuming at step 2" in out
    after = load_config(run / "config.yaml")
    # What ends it is this call's alone.
    assert after.training == before.training.model_copy(update={"steps": 4, "minutes": None})
    assert after.model == before.model
    assert "already done" in call(capsys, monkeypatch, *words)[1]
    code, _, err = call(capsys, monkeypatch, *words, "--set", "training.lr=0.5")
    assert code == 1 and "training.lr" in err
    # Anew, it is whatever is asked for.
    code, _, err = call(
        capsys, monkeypatch, *words, "--overwrite", "--steps", "1",
        *(word for change in TINY[1:] for word in ("--set", change)), "--set", "model.size=64",
    )  # fmt: skip
    assert code == 0, err
    assert load_config(run / "config.yaml").model.size == 64


def test_find_lr_names_a_rate_and_info_tells_the_cost(
    cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ["--config", "demo", *(word for change in TINY for word in ("--set", change))]
    sets = ["--source", str(cast.source), "--target", str(cast.target)]
    sweep = ["--set", "training.find_lr_steps=20", "--set", "training.find_lr_low=1e-4"]
    run = tmp_path / "run"
    words = ["train", "--find-lr", *sets, "--run", str(run), *tiny, *sweep]
    code, out, _ = call(capsys, monkeypatch, *words)
    assert code == 0
    assert re.search(
        r"^suggested learning rate: (\S+); use it with --set training.lr=\1 \(curve: .*.png\)$",
        out,
        re.M,
    )
    assert not (run / "checkpoints").exists()
    code, out, _ = call(capsys, monkeypatch, "info", *tiny)
    assert code == 0
    assert "decoder_source" in out and "steps/s" in out and "activations" in out


def test_no_space_left_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device", "workspace/a.mp4")

    monkeypatch.setattr(cli, "app", full)
    code, _, err = call(capsys, monkeypatch)
    assert (code, err) == (1, "error: workspace/a.mp4: No space left on device\n")


# Sent by the process to itself, so many seconds after our first line ran.
STOPPED = """
import os, signal, sys, threading, time
# A shell's background jobs ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
from faceswap_lite.__main__ import main
seconds, begun = float(sys.argv.pop(1)), threading.Event()
def stop():
    # The clock runs from the call, not while this thread is being started.
    begun.wait()
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=stop, daemon=True).start()
sys.argv[0] = "faceswap-lite"
begun.set()
main()
"""


CIRCLE = """
from faceswap_lite.__main__ import main
from faceswap_lite import cli
def fail():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first
cli.main = fail
main()
"""


def test_an_error_whose_causes_go_in_a_circle_ends() -> None:
    command = [sys.executable, "-c", CIRCLE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "ValueError: first" in done.stderr


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.15, 0.4, 1.0])
def test_ctrl_c_is_one_line_from_the_first_moment(tmp_path: Path, seconds: float) -> None:
    given = ["demo", "--out", str(tmp_path / "demo"), "--minutes", "5"]
    command = [sys.executable, "-c", STOPPED, str(seconds), *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "stopped; run the same command again to continue"
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr


def test_ctrl_c_that_a_library_turned_into_something_else_is_heeded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(**_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("multiarray failed to import") from error

    monkeypatch.setattr(cli, "app", stop)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(SystemExit) as caught:
        door.main()
    assert caught.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_an_error_behind_itself_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        error = FaceswapError("a.mp4: cannot be written")
        raise error from error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(SystemExit) as caught:
        door.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: a.mp4: cannot be written\n"


def test_a_value_is_told_with_the_option_that_gave_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("convert: {scale: 2}\n")
    to = ["convert", "--run", str(run), "--clip", "a.mp4", "--out", "b.mp4"]
    for given in (["--tta", "0"], ["--frames", "9:3"], ["--set", "convert.batch=0"]):
        code, _, err = call(capsys, monkeypatch, *to, *given)
        assert code == 2 and err.startswith(f"usage: {' '.join(given)}: convert"), err
        assert err.count("\n") == 1
