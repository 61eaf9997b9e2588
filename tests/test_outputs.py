import errno
import os
from pathlib import Path

import pytest

from faceswap_lite.errors import FaceswapError
from faceswap_lite.outputs import claim, job_id, read_json, whole_file, whole_folder, write_json


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_whoever_writes_it_a_file_can_be_read_by_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with whole_file(tmp_path / name) as partial:
            if name == "b":
                partial.unlink()
                partial.touch(mode=0o600)
    modes = [(tmp_path / name).stat().st_mode for name in ("a", "b")]
    assert modes[0] == modes[1]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as partial:
        partial.write_text("new")
        raise RuntimeError("power cut")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "a") as partial:
        (partial / "x").write_text("1")
        raise RuntimeError("power cut")
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "a") as partial:
        (partial / "x").write_text("1")
    assert (tmp_path / "a" / "x").read_text() == "1"
    with pytest.raises(FaceswapError, match="exists"), whole_folder(tmp_path / "a"):
        pass


def test_what_a_kill_left_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / ".a.partial.txt").write_text("half, and longer than the whole")
    with whole_file(tmp_path / "a.txt") as partial:
        assert partial.read_text() == ""
        partial.write_text("whole")
    (tmp_path / ".b.partial" / "x").mkdir(parents=True)
    (tmp_path / ".b.partial" / "half").touch()
    with whole_folder(tmp_path / "b") as partial:
        (partial / "c").write_text("1")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "a.txt",
        "b",
        "b/c",
    ]


def test_two_that_write_one_name_do_not_meet(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.txt") as first:
        first.write_text("first")
        with whole_file(tmp_path / "a.txt") as second:
            second.write_text("second")
        assert (tmp_path / "a.txt").read_text() == "second"
        assert first.read_text() == "first"
    assert (tmp_path / "a.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_where_nothing_can_be_held_writing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*given: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with whole_file(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
    with whole_folder(tmp_path / "b"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b"]


def test_a_disk_that_refuses_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file" / "a"
    blocked.parent.write_text("not a folder")
    with pytest.raises(FaceswapError, match="cannot be written"), whole_file(blocked):
        pass


def test_json_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"psnr": float("nan")})
    assert not (tmp_path / "a.json").exists()
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(FaceswapError, match="not valid JSON"):
        read_json(tmp_path / "b.json")


def test_claim(tmp_path: Path) -> None:
    out, job = tmp_path / "out", job_id(clip="a", lr=1)
    assert claim(out, job, None, finished=True, overwrite=False) == "start"
    out.mkdir()
    assert claim(out, job, job, finished=True, overwrite=False) == "done"
    assert claim(out, job, job, finished=False, overwrite=False) == "resume"
    assert claim(out, job, job, finished=True, overwrite=True) == "start"
    for found in (None, job_id(clip="b", lr=1)):
        with pytest.raises(FaceswapError, match="--overwrite"):
            claim(out, job, found, finished=False, overwrite=False)


def test_job_ids_tell_settings_apart() -> None:
    assert job_id(a=1, b=2) == job_id(b=2, a=1) != job_id(a=1, b=3)


def test_a_place_that_cannot_be_written_is_told_when_it_is_claimed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FaceswapError, match="cannot be written"):
        claim(tmp_path / "file" / "new" / "a.json", "1", None, finished=True, overwrite=False)
    claim(tmp_path / "new" / "a.json", "1", None, finished=True, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
