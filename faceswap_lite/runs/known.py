"""The faces that a run knows, as its model is shown them, and the codes that it makes of them."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ..config import Side
from ..errors import FaceswapError
from ..faces.face_set import FaceSet, StoredFace, open_face_set
from ..faces.recut import recut
from ..models.crops import encode
from .manifest import describe_identity, is_same_set, set_fingerprint
from .split import assign_split, read_roles
from .trained import TrainedRun

_LEVELS = 3
"""How far up a moved workspace is searched for a run's face sets."""

MAX_KNOWN_FACES = 1000
"""Faces of a side that stand for all of them, spread evenly; more would only cost time."""


@dataclass(frozen=True)
class KnownFaces:
    """Faces of one side of a run; what was trained on is `seen`, the others are held out."""

    side: Side
    faces: list[StoredFace]
    seen: Bool[np.ndarray, " n"]
    crops: UInt8[np.ndarray, "n s s 3"]
    masks: UInt8[np.ndarray, "n s s"]
    """0 to 255: what of the crop is face."""
    codes: Float[np.ndarray, "n d"]

    def __len__(self) -> int:
        return len(self.faces)

    def only(self, wanted: Bool[np.ndarray, " n"]) -> "KnownFaces":
        """Those that are wanted, in their order."""
        faces = [face for face, chosen in zip(self.faces, wanted, strict=True) if chosen]
        rows = {name: getattr(self, name)[wanted] for name in ("seen", "crops", "masks", "codes")}
        return replace(self, faces=faces, **rows)


def open_known_set(run: TrainedRun, side: Side, minimum: int = 1) -> FaceSet:
    """The face set of one side, where it lay when the run was trained, or moved with the run; its
    faces cut as the run's.

    A set is known by its fingerprint; else by its clips and its person, for it may have changed.
    Raises: FaceswapError when it is gone, or somebody else's faces lie at its place.
    """
    facts = run.manifest.of(side)
    if facts.is_nobody:
        raise FaceswapError(f"{run.path}: was imported, and knows no faces of the {side}")
    known, other = Path(facts.path), run.manifest.of("target" if side == "source" else "source")
    changed: FaceSet | None = None
    for place in _places(run.path, known):
        with suppress(FaceswapError):
            faces = recut(open_face_set(place, minimum=minimum), run.manifest.coverage)
            if set_fingerprint(faces) == facts.fingerprint:
                return faces
            if changed is None and is_same_set(facts, describe_identity(faces), other):
                changed = faces
    if changed is None:
        open_face_set(known, minimum=minimum)  # tells what is wrong there
        raise FaceswapError(f"{known}: holds other faces than the {side}'s of {run.path}")
    return changed


def _places(run: Path, known: Path) -> list[Path]:
    """Where a set may lie: at its old place, else under the folders that hold the run."""
    above = run.resolve().parents[:_LEVELS]
    tails = [Path(*known.parts[-count:]) for count in range(1, _LEVELS + 1)]
    moved = [folder / tail for folder in above for tail in tails]
    return [known, *(place for place in moved if place.is_dir())]


def known_faces(run: TrainedRun, side: Side, maximum: int = MAX_KNOWN_FACES) -> KnownFaces:
    """The faces of one side that training saw, and those that it held out, unwarped.

    At most `maximum` of them, spread evenly over time; those between the two are left out, as they
    were in training.
    Raises: FaceswapError when the face set is gone, or no longer the one that was trained on.
    """
    facts = run.manifest.of(side)
    faces = open_known_set(run, side)
    if set_fingerprint(faces) != facts.fingerprint:
        raise FaceswapError(f"{faces.path}: has changed since the run was trained on it")
    groups = assign_split(facts.groups, faces.places(), run.config.training.heldout, run.step)
    roles = read_roles(groups)
    role = np.array([roles[place][0] for place in faces.places()])
    used = np.flatnonzero(role != "left_out")
    if not len(used):
        raise FaceswapError(
            f"{faces.path}: training saw none of its faces; train longer, or start over"
        )
    chosen = used[spread_evenly(len(used), maximum)]
    subset = replace(faces, faces=[faces.faces[i] for i in chosen])
    return _known(run, subset, side, role[chosen] == "seen")


def _known(
    run: TrainedRun, subset: FaceSet, side: Side, seen: Bool[np.ndarray, " n"]
) -> KnownFaces:
    size = run.config.model.size
    crops = subset.crops(size, 0.0)
    return KnownFaces(
        side=side,
        faces=subset.faces,
        seen=seen,
        crops=crops,
        masks=subset.masks(size, 0.0),
        codes=encode(run.model, crops),
    )


def spread_evenly(count: int, maximum: int) -> Int[np.ndarray, " n"]:
    """At most `maximum` of `count` places, rising and evenly spread, both ends among them."""
    return np.linspace(0, count - 1, min(count, maximum)).round().astype(int)
