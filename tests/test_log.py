"""A run's log, read back."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Cast
from test_train import run_steps

from faceswap_lite.errors import FaceswapError
from faceswap_lite.runs.log import RunLog, read_history


def write_log(run: Path, *lines: str) -> Path:
    run.mkdir(exist_ok=True)
    (run / "log.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return run


def look(step: int, heldout: float, **more: float | None) -> str:
    sides = {"heldout_source": heldout / 4, "heldout_target": 3 * heldout / 4}
    return json.dumps({"step": step, "heldout": heldout, **sides, **more, "seconds": step / 10})


def test_looks_and_losses_are_told_apart(tmp_path: Path) -> None:
    run = write_log(
        tmp_path / "run",
        look(0, 8.0),
        '{"step": 5, "loss": 6.0, "source_dssim": 1.0, "lr": 0.1, "seconds": 0.5}',
        '{"step": 10, "loss": 5.0, "lr": 0.1, "seconds": 1.0}',
        look(10, 4.0, heldout_source_psnr_db=21.5, seen_target_psnr_db=None),
    )
    history = read_history(run)
    assert len(history) == 2
    np.testing.assert_array_equal(history.step, [0, 10])
    np.testing.assert_array_equal(history.seconds, [0.0, 1.0])
    np.testing.assert_array_equal(history.heldout, [8.0, 4.0])
    np.testing.assert_array_equal(history.heldout_source, [2.0, 1.0])
    np.testing.assert_array_equal(history.heldout_target, [6.0, 3.0])
    # Not known of an older log, nor where it is null.
    np.testing.assert_array_equal(history.heldout_source_psnr_db, [np.nan, 21.5])
    assert np.isnan(history.seen_target_psnr_db).all()
    np.testing.assert_array_equal(history.loss_step, [5, 10])
    np.testing.assert_array_equal(history.loss, [6.0, 5.0])


def test_a_last_line_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    run = write_log(tmp_path / "run", look(0, 8.0), look(10, 4.0))
    path = run / "log.jsonl"
    for cut in (1, 2, 20, 60):
        path.write_bytes(path.read_bytes()[:-1] if cut == 1 else path.read_bytes()[:-cut])
        assert len(read_history(run)) == (2 if cut == 1 else 1)
        write_log(run, look(0, 8.0), look(10, 4.0))


def test_a_run_that_was_killed_before_its_first_save_is_logged_anew(tmp_path: Path) -> None:
    run = write_log(tmp_path / "run", look(0, 8.0), look(10, 4.0))
    for step, left in ((10, 2), (5, 1), (0, 0)):
        RunLog(run, step).close()
        assert len((run / "log.jsonl").read_text().splitlines()) == left


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    deep = "[" * 100_000
    odd = ('{"step": 1, "heldout": "x"}', '{"step": 1, "loss": [1]}', '{"step": 1, "seconds": {}}')
    far = ('{"step": Infinity, "loss": 1}', '{"step": 1e40, "loss": 1}')
    for broken in ("{", "7", '{"heldout": 1.0}', "[]", deep, *odd, *far):
        run = write_log(tmp_path / "run", look(0, 8.0), broken, look(10, 4.0))
        with pytest.raises(FaceswapError, match=r"log\.jsonl: line 2 is not a record"):
            read_history(run)


def test_a_run_without_a_log_has_an_empty_history(tmp_path: Path) -> None:
    history = read_history(tmp_path)
    assert len(history) == 0 and len(history.loss) == 0


def test_the_history_of_a_run_is_that_of_its_log(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=20)
    history = read_history(tmp_path / "run")
    np.testing.assert_array_equal(history.step, [0, 10, 20])
    np.testing.assert_array_equal(history.loss_step, np.arange(1, 21))
    np.testing.assert_allclose(history.heldout, history.heldout_source + history.heldout_target)
    assert np.isfinite(history.seen_target_psnr_db).all()
    assert np.isfinite(history.heldout_target_ssim).all()


def test_the_look_at_a_runs_end_is_told_until_the_run_goes_on(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=15)
    assert read_history(tmp_path / "run").step.tolist() == [0, 10, 15]
    run_steps(cast, tmp_path / "run", steps=20)
    assert read_history(tmp_path / "run").step.tolist() == [0, 10, 20]
