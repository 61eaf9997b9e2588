"""Pickles of DeepFaceLab, read as data: nothing that one of them names is imported or called.

A pickle is a program. This reads those that build plain values and NumPy arrays; each of NumPy's
names stands for a builder here. All else is refused before it is run.
"""

import mmap
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FaceswapError

MAX_FILE = 8 << 30
"""Bytes. The largest part of the largest model that DeepFaceLab makes has some 4 GB."""

MAX_STEPS = 6_000_000
"""Of a pickle's program. A step makes 90 bytes at most, a loss that a model recalls is six."""

# What builds values and nothing else; REDUCE and BUILD reach the builders below alone.
_STEPS = {
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE",
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "EMPTY_LIST",
    "APPEND", "APPENDS", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT",
    "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
}  # fmt: skip
_REMEMBERS = ("PUT", "BINPUT", "LONG_BINPUT")
_KINDS = "biufSU"
_MAX_DIMENSIONS = 8


class _Array:
    """An array under way: made empty, then told its content."""

    __slots__ = ("value",)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_columns, content = state
        self.value = _filled(content, dtype, shape, "F" if by_columns else "C")


class _DType:
    """A kind of number under way: made by name, then told its byte order."""

    __slots__ = ("value",)

    def __init__(self, name: str) -> None:
        self.value = np.dtype(str(name))
        if self.value.kind not in _KINDS:
            raise ValueError(f"an array of {self.value}")

    def __setstate__(self, state: Any) -> None:
        self.value = self.value.newbyteorder(state[1])


class _Builder:
    """Stands for a name; called, it builds a value. Nothing of it can be changed by a pickle."""

    __slots__ = ("build",)

    build: Callable[..., Any]

    def __init__(self, build: Callable[..., Any]) -> None:
        object.__setattr__(self, "build", build)

    def __call__(self, *args: Any) -> Any:
        return self.build(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


def _filled(content: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    """An array of bytes as they are; copied, so that it holds nothing else of the file."""
    if not (isinstance(content, bytes | bytearray) and isinstance(dtype, _DType)):
        raise ValueError("an array of objects")
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"an array of {len(shape)} dimensions")
    flat = np.frombuffer(content, dtype.value)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, content: Any) -> Any:
    return _filled(content, dtype, ())[()]


_NUMPY: dict[str, Callable[..., Any]] = {
    "multiarray._reconstruct": lambda *_: _Array(),
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _filled,
}
_NAMES: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": lambda *_: _Array(),
    "numpy.dtype": lambda name, *_: _DType(name),
    **{f"numpy.core.{name}": build for name, build in _NUMPY.items()},
    **{f"numpy._core.{name}": build for name, build in _NUMPY.items()},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._builders = {name: _Builder(build) for name, build in _NAMES.items()}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._builders[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def read_pickle(path: Path) -> Any:
    """The value in a pickle's file.

    Raises: FaceswapError when it cannot be read, names anything else, or asks for more memory than
    such a file needs.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise FaceswapError(f"{path}: is empty")
        if size > MAX_FILE:
            raise FaceswapError(f"{path}: is larger than any such file ({size / 1e9:.1f} GB)")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return read_pickled(data, str(path))
    except OSError as error:
        raise FaceswapError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_pickled(data: Any, where: str) -> Any:
    """The value that an open file of a pickle holds from here on, likewise. `where`: to tell."""
    begin = data.tell()
    try:
        _check_steps(data)
        data.seek(begin)
        return _finished(_Unpickler(data).load())
    # A broken program may fail in any way that Python knows.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FaceswapError(
            f"{where}: is damaged, or not what its name says ({reason}); nothing of it was run"
        ) from None


def strings_after(data: Any, key: str) -> list[str]:
    """The texts that follow `key` in the dicts of an open file's pickle, which is not built.

    Raises: ValueError when it is damaged.
    """
    texts: list[str] = []
    remembered: dict[int, str] = {}
    count, now, before = 0, "", ""
    argument: Any
    for step, argument, _ in pickletools.genops(data):
        if step.name in (*_REMEMBERS, "MEMOIZE"):
            place = count if step.name == "MEMOIZE" else int(argument)
            count += 1
            # Keys come again by their number; of all else, nothing needs to be kept.
            if now == key:
                remembered[place] = now
            continue
        before, now = now, ""
        if "UNICODE" in step.name:
            now = argument
        elif step.name in ("GET", "BINGET", "LONG_BINGET"):
            now = remembered.get(int(argument), "")
        if now and before == key:
            texts.append(now)
    return texts


def _check_steps(data: Any) -> None:
    """Walk through the program without running it.

    The unpickler makes room for what a step claims before it looks whether it is there.
    """
    for count, (step, argument, _) in enumerate(pickletools.genops(data)):
        if step.name not in _STEPS:
            raise ValueError(f"it holds a step {step.name}")
        if step.name in _REMEMBERS and (not isinstance(argument, int) or argument > count):
            raise ValueError("it remembers more than it holds")
        if count > MAX_STEPS:
            raise ValueError(f"it holds more than {MAX_STEPS} steps")


def _finished(value: Any) -> Any:
    """Arrays for those under way; of plain dicts and lists, whose own values are done alike.

    Deeper than such files are, nothing is looked at: what is under way there fits no use.
    """
    return _finish(value, 6)


def _finish(value: Any, depth: int) -> Any:
    if isinstance(value, _Array):
        return value.value
    if depth and isinstance(value, dict):
        return {key: _finish(inner, depth - 1) for key, inner in value.items()}
    if depth and isinstance(value, list | tuple):
        return type(value)(_finish(inner, depth - 1) for inner in value)
    return value
