"""Finding faces in a clip's frames, for whoever wants them: side by side, in order, some ahead."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Generic, TypeVar

import cv2
import numpy as np
from jaxtyping import Float

from ..errors import FaceswapError
from ..media.clips import Frame, Photo, as_uint8
from .embed import Person
from .pack import FacePack, build_pack
from .tracking import change, thumbnail

_MAX_FINDERS = 4

_Finds = TypeVar("_Finds")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Found(Generic[_Finds]):
    """What was found in a frame, and its `change` from the frame before; None: not looked at."""

    frame: int
    pts: int
    change: float
    finds: _Finds | None


def build_packs(
    names: tuple[str, str, str], *, min_face_px: int, max_edge_px: int, count: int | None = None
) -> list[FacePack]:
    """Packs of these detector, landmarks and embedder, one for each thread: networks hold state.

    Where a name is `auto`, all take the same.
    """
    build = partial(build_pack, min_face_px=min_face_px, max_edge_px=max_edge_px)
    first = build(*names)
    taken = (first.detector_name, first.landmarks_name, first.embedder_name or "none")
    count = min(_MAX_FINDERS, os.cpu_count() or 1) if count is None else count
    return [first, *(build(*taken) for _ in range(count - 1))]


def find_in_frames(
    frames: Iterable[Frame],
    packs: Sequence[FacePack],
    look: Callable[[FacePack, Frame], _Finds],
    after: int = -1,
    every: int = 1,
) -> Iterator[Found[_Finds]]:
    """What `look` finds in each frame, given with 8 bits a channel; in order, some frames ahead.

    Only every n-th frame is looked at, and none up to number `after`; the picture's change is told
    of all, for cuts are seen between neighbours.
    """
    idle: SimpleQueue[FacePack] = SimpleQueue()
    for pack in packs:
        idle.put(pack)

    def work(frame: Frame) -> tuple[Found[_Finds], Float[np.ndarray, "a a 3"]]:
        frame = replace(frame, image=as_uint8(frame.image))
        finds = None
        if frame.index > after and frame.index % every == 0:
            pack = idle.get()
            try:
                finds = look(pack, frame)
            finally:
                idle.put(pack)
        return Found(frame.index, frame.pts, 0.0, finds), thumbnail(frame.image)

    before: Float[np.ndarray, "a a 3"] | None = None
    with ThreadPoolExecutor(len(packs)) as finders:
        for found, now in in_order(work, frames, finders, 2 * len(packs)):
            yield replace(found, change=change(before, now))
            before = now


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], pool: Executor, max_ahead: int
) -> Iterator[_Result]:
    """What becomes of each item, side by side in the pool, at most so many ahead of who asks."""
    ahead: deque[Future[_Result]] = deque()
    for item in items:
        ahead.append(pool.submit(work, item))
        if len(ahead) > max_ahead:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Frames are worked on side by side: threads inside OpenCV would only get in their way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def photo_identity(photo: Photo, pack: FacePack) -> Person:
    """The person on a photo: its largest face.

    Raises: FaceswapError when there is no embedder, or no face on it.
    """
    if pack.embedder is None:
        raise FaceswapError(
            f"--like {photo.path}: needs an embedder to compare faces, and there is none; name one "
            "with --set extract.embedder=dlib (pip install 'faceswap_lite[dlib]')"
        )
    faces = pack.find(photo.image)
    if not faces:
        raise FaceswapError(f"--like {photo.path}: no face found in it")
    boxes = [face.detection.box_xyxy for face in faces]
    largest = faces[int(np.argmax([np.prod(box[2:] - box[:2]) for box in boxes]))]
    if largest.embedding is None:
        raise FaceswapError(f"--like {photo.path}: no embedding of its face could be computed")
    return Person(largest.embedding, pack.embedder.metric, pack.embedder.same_person)
