"""Weights of the face networks: where they come from, where they are kept, how they are checked."""

import hashlib
import http.client
import os
import queue
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from ..errors import FaceswapError
from ..outputs import file_sha256, whole_file

WEIGHTS_VARIABLE = "FACESWAP_LITE_WEIGHTS"

CONNECT_TIMEOUT_S = 5.0

# What went wrong in this process, by address; None: the network as a whole. Nothing is asked twice.
_failures: dict[str | None, str] = {}
_checked: set[tuple[str, int, int]] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights. `without` is the option that needs none, for the offline message."""

    name: str
    file: str
    address: str
    sha256: str
    size: int
    without: str


def weights_folders() -> list[Path]:
    """Where weights are looked for, in order: the named folder (if any), then the user's cache."""
    named = os.environ.get(WEIGHTS_VARIABLE)
    return ([Path(named).expanduser()] if named else []) + [weights_cache()]


def weights_cache() -> Path:
    """The folder of fetched weights, in the user's cache."""
    return Path(platformdirs.user_cache_dir("faceswap_lite")) / "weights"


def find_weights(wanted: str | WeightsFile) -> Path:
    """The checked file of weights, by their name in `WEIGHTS` or as described; fetched if need be.

    Raises: FaceswapError, one line, when it can neither be found nor fetched, naming the file, the
    folder to put it in and the choice that needs none.
    """
    entry = WEIGHTS[wanted] if isinstance(wanted, str) else wanted
    with _lock:
        wrong = []
        for folder in weights_folders():
            path = folder / entry.file
            if path.is_file():
                if _is_right(path, entry):
                    return path
                wrong.append(path)
        path = weights_cache() / entry.file
        if None not in _failures and entry.address not in _failures:
            try:
                _fetch(entry, path)
                return path
            except (urllib.error.HTTPError, ValueError) as error:
                _failures[entry.address] = str(error)
            except OSError as error:
                # URLError hides the cause one level down.
                _failures[None] = str(getattr(error, "reason", error))
    reason = _failures.get(entry.address) or _failures[None]
    found = f"{wrong[0]} is not the right file (sha256); " if wrong else ""
    raise FaceswapError(
        f"weights of {entry.name}: {found}{entry.file} could not be fetched from {entry.address} "
        f"({reason}); put it into {weights_folders()[0]} by hand, or choose "
        f"{entry.without}, which needs none"
    )


def connect(address: str) -> Any:
    """The open reply. Raises: OSError, after CONNECT_TIMEOUT_S at the latest.

    In a thread of its own: a look-up of the name, or a host of several addresses, can take longer
    than the time-out given to urllib.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(address, timeout=CONNECT_TIMEOUT_S))
        except (OSError, http.client.HTTPException) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_TIMEOUT_S)
    except queue.Empty:
        raise TimeoutError(f"no answer in {CONNECT_TIMEOUT_S:g} s") from None
    if isinstance(answer, OSError):
        raise answer
    if isinstance(answer, Exception):
        raise ValueError(str(answer))
    return answer


def _is_right(path: Path, entry: WeightsFile) -> bool:
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns)
    if key not in _checked:
        if stat.st_size != entry.size or file_sha256(path) != entry.sha256:
            return False
        _checked.add(key)
    return True


def _fetch(entry: WeightsFile, path: Path) -> None:
    with connect(entry.address) as reply:
        content = reply.read(entry.size + 1)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ValueError("the downloaded file has the wrong sha256")
    try:
        with whole_file(path) as partial:
            partial.write_bytes(content)
    except FaceswapError as error:
        raise ValueError(str(error)) from error


# All of them are under Apache-2.0.
WEIGHTS: dict[str, WeightsFile] = {
    "yunet": WeightsFile(
        name="yunet",
        file="yunet_n_640_640.onnx",
        address="https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/"
        "0047ac24afb1a50a0c6105001c89d1b5b805dbf1/onnx/yunet_n_640_640.onnx",
        sha256="25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
        size=317_466,
        without="detector mtcnn",
    ),
    "mesh": WeightsFile(
        name="mesh",
        file="face_landmark.tflite",
        address="https://storage.googleapis.com/mediapipe-assets/"
        "face_landmark.tflite?generation=1676316347980492",
        sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        size=1_242_398,
        without="landmarks five",
    ),
    "mobilefacenet": WeightsFile(
        name="mobilefacenet",
        file="mobilefacenet.onnx",
        address="https://raw.githubusercontent.com/foamliu/MobileFaceNet/"
        "a6cc9032a659b615f477833e1a70b5e7931bcccc/weights/MobileFaceNet.onnx",
        sha256="b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507",
        size=3_998_070,
        without="embedder none (or dlib: pip install 'faceswap_lite[dlib]')",
    ),
}
