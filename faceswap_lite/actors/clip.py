"""The `render` stage: a clip of an actor, the clips of its twins, and their exact truth."""

import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from .. import __version__
from ..config import RenderConfig
from ..errors import FaceswapError, UsageError
from ..media import ClipWriter, SyntheticMark
from ..outputs import claim, job_id, whole_file
from .identity import ActorIdentity, find_actor
from .performance import ActorState, random_performance
from .render import RenderedActor, render_actor

# Visually lossless: the twins are the truth that swaps are measured against.
_QUALITY = 10
_SUFFIXES = (".mp4", ".mov", ".mkv")
# A change of the renderer's pictures is a change of the job.
_RENDERER = 1


@dataclass(frozen=True)
class ActorTruth:
    """What is exactly known about a rendered clip."""

    states: list[ActorState]
    landmarks: Float[np.ndarray, "n 68 2"]  # iBUG-68, pixels, of the actor itself
    face_masks: UInt8[np.ndarray, "n h w"]  # 255: what the twins' faces replace; 0: equal in all
    identity: ActorIdentity
    twin: ActorIdentity
    twin_raw: Path  # the twin's face in its own skin tone
    twin_matched: Path  # the twin's face in the actor's skin tone


@dataclass(frozen=True)
class RenderSummary:
    """What the stage left."""

    clip: Path
    truth: Path
    twin_raw: Path
    twin_matched: Path
    frames: int
    already_done: bool


def truth_path(clip: Path) -> Path:
    """Where the truth of `clip` lies."""
    return clip.with_name(f"{clip.stem}.truth.npz")


def twin_paths(clip: Path) -> tuple[Path, Path]:
    """Where the twins of `clip` lie: raw, matched."""
    raw, matched = (
        clip.with_name(f"{clip.stem}.twin_{kind}{clip.suffix}") for kind in ("raw", "matched")
    )
    return raw, matched


def render_clip(config: RenderConfig, out: Path, overwrite: bool = False) -> RenderSummary:
    """Render `out` and, beside it, its truth and its two twins; done already: say so.

    The four files appear whole, `out` last, so that `out` never stands without its truth.
    Raises: FaceswapError when files of another job are there and `overwrite` is off; UsageError
    for an unknown actor or a file name that is no video's.
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{out}: the clip's name must end in {', '.join(_SUFFIXES)}")
    actor, twin = find_actor(config.actor), find_actor(config.twin)
    job = job_id(
        renderer=_RENDERER, people=(asdict(actor), asdict(twin)), config=config.model_dump()
    )
    raw_path, matched_path = twin_paths(out)
    outputs = (out, truth_path(out), raw_path, matched_path)
    found = _job_of(truth_path(out))
    whole = all(path.exists() for path in outputs)
    claims = {claim(path, job, found, finished=whole, overwrite=overwrite) for path in outputs}
    summary = RenderSummary(out, truth_path(out), raw_path, matched_path, config.frames, False)
    if claims == {"done"}:
        print(f"{out}: already done")
        return RenderSummary(**{**vars(summary), "already_done": True})
    states = random_performance(config.frames, float(config.rate), config.seed, config.max_yaw_deg)
    landmarks, masks = [], []
    # Left in the opposite order: `out` appears last.
    with (
        _writer(out, config) as clip,
        _writer(raw_path, config) as raw,
        _writer(matched_path, config) as matched,
    ):
        views = _views(actor, twin, states, config)
        bar = tqdm(
            views, total=config.frames, unit="frame", desc=f"render {out.name}", disable=None
        )
        for pts, (own, worn, toned) in enumerate(bar):
            clip.write(own.image, pts)
            raw.write(worn.image, pts)
            matched.write(toned.image, pts)
            landmarks.append(own.landmarks)
            masks.append(_mask_of(own, worn, toned))
        # First of the four, so that a stop from here on leaves files that know their job.
        _save_truth(truth_path(out), job, actor, twin, states, np.stack(landmarks), np.stack(masks))
    return summary


def _views(
    actor: ActorIdentity, twin: ActorIdentity, states: list[ActorState], config: RenderConfig
) -> Iterator[tuple[RenderedActor, RenderedActor, RenderedActor]]:
    """Of each state: the actor, the twin in its own skin, the twin in the actor's skin."""
    wear: list[dict[str, ActorIdentity]] = [
        {},
        {"face_of": twin},
        {"face_of": twin, "skin_of": actor},
    ]
    # Most of a view is spent in numpy and OpenCV, which leave the interpreter to others.
    with ThreadPoolExecutor(len(wear)) as pool:
        for state in states:
            draw = partial(render_actor, actor, state, config.size, background=config.seed)
            own, worn, toned = (job.result() for job in [pool.submit(draw, **w) for w in wear])
            yield own, worn, toned


def _mask_of(*views: RenderedActor) -> UInt8[np.ndarray, "h w"]:
    """Where any of the views shows its face: above 0 wherever they can differ."""
    widest = np.maximum.reduce([view.face_mask for view in views])
    return np.ceil(widest * 255).astype(np.uint8)


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
        mark=SyntheticMark(__version__, None, digital_source_type="algorithmicMedia"),
    )


def load_truth(clip_path: Path) -> ActorTruth | None:
    """The truth of a rendered clip, from the file beside it; None for any other clip.

    Raises: FaceswapError when the file is there but cannot be read.
    """
    path = truth_path(clip_path)
    if not path.is_file():
        return None
    raw, matched = twin_paths(clip_path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return ActorTruth(
                states=_unpack_states(stored["state_names"], stored["states"]),
                landmarks=stored["landmarks"],
                face_masks=stored["face_masks"],
                identity=_unpack_identity(str(stored["identity"])),
                twin=_unpack_identity(str(stored["twin"])),
                twin_raw=raw,
                twin_matched=matched,
            )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise FaceswapError(
            f"{path}: is not a readable truth file ({reason}); render again"
        ) from error


def _save_truth(
    path: Path,
    job: str,
    actor: ActorIdentity,
    twin: ActorIdentity,
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
            twin=np.array(json.dumps(asdict(twin))),
        )


def _job_of(path: Path) -> str | None:
    """The job that a truth file names; None when there is none, or it is not one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["job"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _unpack_states(names: np.ndarray, values: np.ndarray) -> list[ActorState]:
    states = []
    for row in values:
        state: dict[str, Any] = {
            str(name): float(value) for name, value in zip(names, row, strict=True)
        }
        states.append(ActorState(**{**state, "noise_seed": int(state["noise_seed"])}))
    return states


def _unpack_identity(text: str) -> ActorIdentity:
    stored: dict[str, Any] = json.loads(text)
    # JSON keeps tuples as lists.
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    return ActorIdentity(**values)
