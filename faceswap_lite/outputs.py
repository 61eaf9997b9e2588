"""Outputs appear whole or not at all, and remember which job made them."""

import errno
import functools
import hashlib
import inspect
import json
import math
import os
import shutil
import struct
import tempfile
import time
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, ParamSpec, SupportsFloat, TypeVar

from filelock import FileLock, Timeout

from .errors import FaceswapError, UsageError

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

try:
    VERSION = version("faceswap_lite")
except PackageNotFoundError:
    VERSION = "0+not.installed"
TOOL = f"faceswap_lite {VERSION}"
"""What outputs say that they were made by."""

REFUSALS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EROFS, errno.EPERM,
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
)  # fmt: skip
"""What the disk may refuse deep inside a library, and a person can mend."""

BROKEN_ARRAYS = (
    OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, NotImplementedError,
    SyntaxError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
"""What NumPy raises at an .npz that is damaged, or whose arrays are none of ours."""

LOCK_SUFFIXES = (".lock", ".writer")
"""Of the hidden files beside an output that is being written: who holds it, and their words."""


def short_name(name: str, longest: int = 100) -> str:
    """The name, or, if it has more than `longest` bytes, its beginning and a hash of it.

    For names made from others: a file system takes 255 bytes, and a clip may need them all.
    """
    told = os.fsencode(name)
    if len(told) <= longest:
        return name
    return f"{name[:20]}_{hashlib.sha256(told).hexdigest()[:16]}"


def beside(out: Path, *suffixes: str) -> list[Path]:
    """An output and what lies beside it under the same name with other suffixes."""
    others = (short_name(out.stem, 255 - len(suffix)) + suffix for suffix in suffixes)
    return [out, *(out.with_name(name) for name in others if out.name)]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, beside `path`; it becomes `path` only when the block ends well.

    The partial file keeps the suffix (encoders choose their format by it), is flushed to the disk
    before the rename, and is removed when the block fails.
    """
    hidden = path.with_name(f".{short_name(path.stem)}.partial{path.suffix[:20]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opener = functools.partial(os.open, flags=os.O_RDWR | os.O_CREAT, mode=0o666)
        with _hidden_place(hidden, opener) as partial:
            mode = partial.stat().st_mode
            yield partial
            # Some writers put a file of their own in its place, for nobody else to read.
            partial.chmod(mode)
            _sync(partial)
            os.replace(partial, path)
            _sync(path.parent)
    except OSError as error:
        raise FaceswapError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder of files: `path` appears complete, or does not appear.

    Raises: FaceswapError when `path` exists already or the disk refuses.
    """
    if path.exists():
        raise FaceswapError(f"{path}: exists already")
    try:
        with hidden_folder(path, "partial") as partial:
            yield partial
            for file in partial.iterdir():
                _sync(file)
            _sync(partial)
            os.replace(partial, path)
            _sync(path.parent)
    except OSError as error:
        raise FaceswapError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def hidden_folder(path: Path, suffix: str) -> Iterator[Path]:
    """An empty folder `.NAME.SUFFIX` beside `path`, as `_hidden_place` says.

    Raises: OSError when the disk refuses.
    """
    hidden = path.with_name(f".{short_name(path.name)}.{suffix}")
    with _hidden_place(hidden, _open_folder) as folder:
        yield folder


@contextmanager
def _hidden_place(place: Path, open_it: Callable[[Path], int]) -> Iterator[Path]:
    """`place`, empty, held while the block runs, and gone at its end.

    What a killed process left there is taken over, so that nothing gathers. Beside a process that
    is at it, and where none can tell, the name gets a number.
    """
    handle = open_it(place)
    try:
        if not _is_free(handle, place):
            os.close(handle)
            place = place.with_name(f"{place.stem}.{uuid.uuid4().hex[:8]}{place.suffix}")
            handle = open_it(place)
        _remove_inside(handle, place)
        yield place
    finally:
        # With its name, it is another's to hold.
        if _is_at(handle, place):
            with suppress(OSError):
                _remove_inside(handle, place)
                place.rmdir() if place.is_dir() else place.unlink()
        os.close(handle)


def _open_folder(place: Path) -> int:
    place.mkdir(parents=True, exist_ok=True)
    return os.open(place, os.O_RDONLY)


def _is_free(handle: int, place: Path) -> bool:
    """Take hold of it; False when another process has it, or none can."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows; a network's disk
        place.rmdir() if place.is_dir() else place.unlink()
        return False
    return _is_at(handle, place)


def _is_at(handle: int, place: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), os.stat(place))
    return False


def _remove_inside(handle: int, place: Path) -> None:
    if not place.is_dir():
        return os.ftruncate(handle, 0)
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def one_writer(
    of: Callable[..., Iterable[Path]],
) -> Callable[[Callable[_Given, _Result]], Callable[_Given, _Result]]:
    """Decorates a stage: `written_by_one` of its outputs. `of`: from its arguments, by name."""

    def decorate(stage: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
        signature = inspect.signature(stage)

        @functools.wraps(stage)
        def locked(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            say = given.arguments.get("say", print)
            with written_by_one(of(**given.arguments), say):
                return stage(*args, **kwargs)

        return locked

    return decorate


@contextmanager
def written_by_one(outputs: Iterable[Path], say: Callable[[str], None] = print) -> Iterator[None]:
    """While the block runs, no other process may enter one with any of these outputs.

    A dead process holds nothing. The same process may enter again; those of one `torchrun` count as
    one. The hidden files beside the outputs (`LOCK_SUFFIXES`) are gone at the end.
    Raises: FaceswapError when another process is inside, which it names.
    """
    # In one order: of two calls with the same outputs, one gets the first and then all.
    named = {Path(os.path.realpath(output)): output for output in outputs}
    if Path("-") in named.values():
        raise UsageError("-: nothing is written to a pipe; name a file or folder")
    with ExitStack() as stack:
        # The first process of several is the one that writes.
        for place in sorted(named) if os.environ.get("RANK", "0") == "0" else ():
            stack.enter_context(_held(place, named[place], say))
        yield


@contextmanager
def _held(place: Path, output: Path, say: Callable[[str], None]) -> Iterator[None]:
    hidden = f".{short_name(place.name)}"
    file, note = (place.parent / f"{hidden}{suffix}" for suffix in LOCK_SUFFIXES)
    missing = [folder for folder in place.parents if not os.path.exists(folder)]
    above = next((folder for folder in place.parents if folder not in missing), place)
    if not above.is_dir():
        raise FaceswapError(f"{output}: cannot be written ({above} is a file, not a folder)")
    was_there = os.path.lexists(file)
    # One for the whole process, so that a stage may call another on its own output.
    lock = FileLock(file, is_singleton=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Not at once: whoever is just leaving takes the file along.
        lock.acquire(timeout=0.2)
        if lock.lock_counter == 1:
            with suppress(OSError):
                note.write_text(f"pid {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    except Timeout:
        _check_writable(output)
        who = ""
        with suppress(OSError):
            who = f" ({note.read_text()})"
        raise FaceswapError(
            f"{output}: is being written by another process{who}; wait for its end, or choose "
            "another name"
        ) from None
    except (OSError, NotImplementedError) as error:
        if not was_there:
            with suppress(OSError):
                file.unlink()
        # Where nothing can be written at all, the stage says so itself.
        if os.access(place if os.path.exists(place) else place.parent, os.W_OK):
            reason = getattr(error, "strerror", None) or error
            say(
                f"note: {output}: cannot be locked ({reason}); make sure that no other command "
                "writes it meanwhile"
            )
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            # While it is held: nobody else can hold what goes.
            for path in (note, file):
                with suppress(OSError):
                    path.unlink()
        lock.release()
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def refuse_inputs(out: Path, *inputs: Path | None) -> None:
    """Raises: FaceswapError when an output is one of the inputs, or has no name."""
    if not out.name:
        raise FaceswapError(f"{out}: is not a name for an output; name a file or a folder")
    for given in inputs:
        if given is not None and out.resolve() == given.resolve():
            raise FaceswapError(f"{out}: is what this command reads; choose another name")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN and infinity are refused."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A file's name that is no UTF-8; escaped, it is read back as it was.
        text = json.dumps(value, indent=1, allow_nan=False)
    write_text(path, text + "\n")


def sealed(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts for a JSON file, with a sum that tells whether they are as they were written."""
    return {**facts, _SEAL: _sum_of(facts)}


def is_broken(facts: dict[str, Any]) -> bool:
    """Whether the facts are others than `sealed` gave; those of older versions have no sum."""
    return _SEAL in facts and facts[_SEAL] != _sum_of(facts)


_SEAL = "own_sha256"


def _sum_of(facts: dict[str, Any]) -> str:
    told = {name: fact for name, fact in facts.items() if name != _SEAL}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def plain(value: float | None, digits: int = 5) -> float | None:
    """A number as JSON can hold it, with the digits that mean something; None for NaN."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")


def listed(values: Iterable[SupportsFloat]) -> list[float | None]:
    """Numbers of many frames or faces as JSON can hold them, to the sixth place; None for NaN."""
    return [None if math.isnan(value) else round(float(value), 6) for value in values]


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises: FaceswapError when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FaceswapError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise FaceswapError(f"{path}: is not valid JSON ({error})") from error


def found_job(path: Path) -> dict[str, Any]:
    """What a finished job wrote of itself into a JSON file; empty when it is none of ours."""
    try:
        value = read_json(path)
    except FaceswapError:
        return {}
    return value if isinstance(value, dict) and "job" in value else {}


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def job_id(**facts: Any) -> str:
    """A short name of a job: the same inputs and settings give the same 16 hex digits."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def claim(
    output: Path, job: str, found: str | None, *, finished: bool, overwrite: bool
) -> Literal["start", "resume", "done"]:
    """What to do about `output`, given the job that made what is `found` there (None: not ours).

    Raises: FaceswapError when something else stands there and `overwrite` is off, or when nothing
    can be written there.
    """
    if output.exists() and found == job and not overwrite and finished:
        return "done"
    _check_writable(output)
    if not output.exists():
        return "start"
    if found == job and not overwrite:
        return "resume"
    if overwrite:
        return "start"
    whose = "belongs to another job or other settings" if found else "was not made by this command"
    raise FaceswapError(f"{output}: exists and {whose}; choose another name or pass --overwrite")


def check_space(folder: Path, expected: int, minimum: int) -> list[str]:
    """A line where the disk that `folder` is on, or will be, may not hold so many bytes more.

    What lies in the folder already is part of them. Raises: FaceswapError when it will not hold
    `minimum` of them either.
    """
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(_existing(folder)).free + there
    if free >= expected:
        return []
    says = f"about {_size(expected)} may be needed, {_size(free)} is free"
    if free < minimum:
        raise FaceswapError(f"{folder.parent}: {says}; make room, or choose another folder")
    return [f"{says} in {folder.parent}: the disk may be full before the end"]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _existing(path: Path) -> Path:
    return next(above for above in path.absolute().parents if above.exists())


def _check_writable(path: Path) -> None:
    folder = _existing(path)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FaceswapError(f"{path}: cannot be written ({error.strerror or error})") from error
