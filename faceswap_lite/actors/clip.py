"""The `render` stage: a clip of an actor, the clips of its twins, and their exact truth."""

import json
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, fields
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from ..config import RenderConfig
from ..errors import UsageError
from ..media.marks import SyntheticMark
from ..media.truth import truth_path, twin_paths
from ..media.writing import ClipWriter
from ..outputs import VERSION, beside, claim, job_id, one_writer, whole_file
from .cast import ActorIdentity, find_actor
from .performance import ActorState, random_performance
from .render import RenderedActor, render_actor

# Visually lossless: the twins are the truth that swaps are measured against.
_QUALITY = 10
_SUFFIXES = (".mp4", ".mov", ".mkv")
# Moments of a performance that are drawn at once.
_VIEWS_AHEAD = 3
# A change of the renderer's pictures is a change of the job.
_RENDERER = 1


@one_writer(lambda out, **_: beside(out, ".truth.npz"))
def render_clip(config: RenderConfig, out: Path, overwrite: bool = False) -> bool:
    """Render `out` and, beside it, its truth and its two twins, if any; False: it was done already.

    The files appear whole, `out` last, so that `out` never stands without its truth.
    Raises: FaceswapError when files of another job are there and `overwrite` is off; UsageError
    for an unknown actor or a file name that is no video's.
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{out}: the clip's name must end in {', '.join(_SUFFIXES)}")
    actor = find_actor(config.actor)
    twin = None if config.twin is None else find_actor(config.twin)
    job = job_id(
        renderer=_RENDERER,
        people=(asdict(actor), twin and asdict(twin)),
        config=config.model_dump(),
    )
    twins = () if twin is None else twin_paths(out)
    outputs = (out, truth_path(out), *twins)
    found = _job_of(truth_path(out))
    whole = all(path.exists() for path in outputs)
    claims = {claim(path, job, found, finished=whole, overwrite=overwrite) for path in outputs}
    if claims == {"done"}:
        print(f"{out}: already done")
        return False
    states = random_performance(config.frames, float(config.rate), config.seed, config.max_yaw_deg)
    landmarks, masks = [], []
    with ExitStack() as stack:
        # Left in the opposite order: `out` appears last.
        writers = [stack.enter_context(_writer(path, config)) for path in (out, *twins)]
        moments = _views(actor, twin, states, config)
        bar = tqdm(
            moments, total=config.frames, unit="frame", desc=f"render {out.name}", disable=None
        )
        for pts, views in enumerate(bar):
            for writer, view in zip(writers, views, strict=True):
                writer.write(view.image, pts)
            landmarks.append(views[0].landmarks)
            # Where any of them shows its face: above 0 wherever they can differ.
            widest = np.maximum.reduce([view.face_mask for view in views])
            masks.append(np.ceil(widest * 255).astype(np.uint8))
        # First of all, so that a stop from here on leaves files that know their job.
        _save_truth(truth_path(out), job, actor, twin, states, np.stack(landmarks), np.stack(masks))
    return True


def _views(
    actor: ActorIdentity, twin: ActorIdentity | None, states: list[ActorState], config: RenderConfig
) -> Iterator[list[RenderedActor]]:
    """Of each state: the actor; with a twin, also its face in its own and in the actor's skin."""
    wear: list[dict[str, ActorIdentity]] = [{}]
    if twin is not None:
        wear += [{"face_of": twin}, {"face_of": twin, "skin_of": actor}]
    view = partial(render_actor, actor, size=config.size, background=config.seed)
    # Most of a view is spent in numpy and OpenCV, which leave the interpreter to others.
    with ThreadPoolExecutor(_VIEWS_AHEAD) as pool:
        waiting: deque[list[Future[RenderedActor]]] = deque()
        for state in states:
            waiting.append([pool.submit(view, state=state, **worn) for worn in wear])
            if len(waiting) == _VIEWS_AHEAD:
                yield [job.result() for job in waiting.popleft()]
        for jobs in waiting:
            yield [job.result() for job in jobs]


def _writer(path: Path, config: RenderConfig) -> ClipWriter:
    return ClipWriter(
        path,
        width=config.size,
        height=config.size,
        rate=Fraction(config.rate),
        time_base=Fraction(1, config.rate),
        codec="h264",
        quality=_QUALITY,
        metadata={"title": f"rendered actor {config.actor}"},
        # IPTC's word for pictures that come from an algorithm alone.
        mark=SyntheticMark(VERSION, None, digital_source_type="algorithmicMedia"),
    )


def _save_truth(
    path: Path,
    job: str,
    actor: ActorIdentity,
    twin: ActorIdentity | None,
    states: list[ActorState],
    landmarks: Float[np.ndarray, "n 68 2"],
    masks: UInt8[np.ndarray, "n h w"],
) -> None:
    names = [field.name for field in fields(ActorState)]
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            job=np.array(job),
            state_names=np.array(names),
            states=np.array([[getattr(state, name) for name in names] for state in states]),
            landmarks=landmarks,
            face_masks=masks,
            identity=np.array(json.dumps(asdict(actor))),
            twin=np.array(json.dumps(twin and asdict(twin))),
        )


def _job_of(path: Path) -> str | None:
    """The job that a truth file names; None when there is none, or it is not one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["job"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
