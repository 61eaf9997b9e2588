"""Pickles of other tools are read as data; those that ask for more are refused, nothing is run."""

import io
import os
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceswap_lite.errors import FaceswapError
from faceswap_lite.interchange.pickles import MAX_STEPS, read_pickle, read_pickled, strings_after

# Shares of 2,000 that fit a test.
MUTATIONS = 200


def read(data: bytes) -> Any:
    return read_pickled(io.BytesIO(data), "a file")


def refusal(data: bytes) -> str:
    with pytest.raises(FaceswapError) as refused:
        read(data)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    return str(refused.value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("array", [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.zeros((0, 3)), np.array([7], ">i4"),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(["a", "bc"]),
])  # fmt: skip
def test_arrays_and_plain_values(array: np.ndarray, protocol: int) -> None:
    if protocol == 2:
        with pytest.raises(FaceswapError, match=r"_codecs\.encode"):
            read(pickle.dumps(array, protocol))
        return
    value = {
        "a": array,
        "b": [1, 2.5, None, True, "x" * 300, (b"raw", 1 << 70)],
        "c": np.float32(2),
    }
    back = read(pickle.dumps(value, protocol))
    assert np.array_equal(back["a"], array) and back["a"].dtype == array.dtype
    assert back["b"] == value["b"] and back["c"] == 2


def test_older_numpys_names() -> None:
    data = pickle.dumps(np.arange(3), 3)
    assert b"numpy._core" in data
    back = read(data.replace(b"numpy._core", b"numpy.core"))
    assert back.tolist() == [0, 1, 2]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_texts_of_one_key_without_building(protocol: int) -> None:
    rows = [{"filename": f"{i:05d}.jpg", "kind": Runs(os.system, "true")} for i in range(5)]
    data = pickle.dumps(rows, protocol)
    assert strings_after(io.BytesIO(data), "filename") == [f"{i:05d}.jpg" for i in range(5)]
    with pytest.raises(ValueError, match="exhausted"):
        strings_after(io.BytesIO(data[:-1]), "filename")


class Runs:
    """Pickled, it is a call."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.args


@pytest.mark.parametrize("protocol", [0, 3, 4])
def test_nothing_is_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "was_run"
    calls = [
        Runs(os.system, f"touch {mark}"),
        Runs(eval, f"open({str(mark)!r}, 'w')"),
        Runs(exec, f"open({str(mark)!r}, 'w')"),
        Runs(np.load, str(mark)),
        Runs(np.fromfile, str(mark)),
        Runs(getattr, "np", "load"),
        Runs(subprocess.call, ["touch", str(mark)]),
        Runs(np.dtype, "O"),
    ]
    for call in calls:
        told = refusal(pickle.dumps({"deep": [call]}, protocol))
        assert "nothing of it was run" in told
    # And through what may be named: no builder can be changed or looked into.
    reach = b"\x80\x03cnumpy\ndtype\n}X\x05\x00\x00\x00buildK\x01sb."
    assert "nothing of it was run" in refusal(reach)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x80\x04\x8e" + struct.pack("<Q", 10 << 30) + b"short", "expected"),
        (b"\x80\x04\x95" + struct.pack("<Q", 10 << 30) + b"N.", "truncated"),
        (b"\x80\x03Nr\xff\xff\xff\x3f.", "remembers more than it holds"),
        (b"\x80\x03P1\n.", "a step PERSID"),
        (b"\x80\x02\x82\x01.", "a step EXT1"),
        (b"\x80\x03ccollections\nOrderedDict\n)\x81.", "a step NEWOBJ"),
        (b"", "pickle exhausted"),
        (b"\x80\x03", "pickle exhausted"),
        (b"PK\x03\x04", ""),
    ],
)
def test_claims_and_odd_steps(data: bytes, told: str) -> None:
    assert told in refusal(data)


def test_array_claims() -> None:
    honest = pickle.dumps(np.zeros(300, np.float32), 4)
    # 300 as a claim of 2 GB.
    assert "nothing of it was run" in refusal(honest.replace(b"M,\x01", b"J\x00\x00\x00\x70"[:3]))

    class Liar:
        def __reduce__(self) -> Any:
            reduced: Any = np.zeros(3).__reduce__()
            build, args, state = reduced
            return build, args, (1, (1 << 40,), np.dtype("f8"), False, state[4])

    assert "cannot reshape" in refusal(pickle.dumps(Liar(), 4))


def test_depth_is_no_trouble() -> None:
    deep = b"\x80\x03" + b"]" * 200_000 + b"a" * 199_999 + b"."
    assert isinstance(read(deep), list)


def test_a_file_is_told_by_name(tmp_path: Path) -> None:
    for name, content in (("empty.npy", b""), ("odd.npy", b"cos\nsystem\n.")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FaceswapError, match=name):
            read_pickle(tmp_path / name)
    with pytest.raises(FaceswapError, match=r"gone.npy: cannot be read"):
        read_pickle(tmp_path / "gone.npy")


def test_mutations_end_in_a_line() -> None:
    whole = pickle.dumps({"w:0": np.arange(40, dtype=np.float32), "iter": 7, "s": "text"}, 4)
    rng = random.Random(0)
    for _ in range(MUTATIONS):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read(bytes(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data))
        except FaceswapError as error:
            assert "\n" not in str(error)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_greedy_file_stays_small(tmp_path: Path) -> None:
    greedy = tmp_path / "greedy.npy"
    greedy.write_bytes(b"\x80\x03" + b"}" * (MAX_STEPS + 10) + b".")
    script = (
        "import re, sys; from pathlib import Path\n"
        "from faceswap_lite.interchange.pickles import read_pickle\n"
        "try: read_pickle(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        # Not getrusage's: that of a process begins with its parent's.
        "print(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(greedy)], capture_output=True, text=True, check=True
    )
    told, peak_kb = done.stdout.splitlines()
    assert told.startswith("FaceswapError") and f"more than {MAX_STEPS} steps" in told
    assert int(peak_kb) < 1 << 20
