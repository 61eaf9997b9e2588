"""The guard of a finish: looks at held-out faces, and says when the phase must end.

A look is of the averaged weights. The verdict is a function of all looks so far, which the phase's
log holds, so that a resumed phase ends where an uninterrupted one does.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from ..config import Side
from ..errors import FaceswapError
from ..faces.align import inner_view
from ..faces.embed import Embedder, Person, build_embedder
from ..faces.face_set import StoredFace
from ..faces.landmarkers import Mesh, build_mesh
from ..geometry import compose, transform_points
from ..metrics.landmarks import eye_distance, five_points
from ..models.autoencoder import SIDES, SwapAutoencoder
from ..models.crops import rebuild
from ..runs.known import KnownFaces, known_faces, spread_evenly
from ..runs.trained import TrainedRun
from .adversarial import local_detail

FACES = 64
"""Held-out faces of each side that a look takes, spread evenly."""

# The corridor. Against the lowest held-out error so far; against the figures of before; and how
# much sharper than true faces a painted one may be.
MAX_ERROR, MAX_LANDMARKS, MAX_UNSTEADINESS, MAX_SHARPNESS = 1.03, 1.05, 1.15, 1.05
MAX_MARGIN_LOST = 0.02
MAX_SPECKS, MAX_MORE_SPECKS = 1.2, 1.1
MAX_STAIN = 4.0
"""Of 255. A good phase stays below 2; red stains about a nose made it 9."""
# Landmarks tremble by so much by themselves, in eye distances.
LANDMARKS_TREMBLE = 0.002
PATIENCE = 2
"""Looks in a row outside of the corridor that end the phase."""


@dataclass(frozen=True)
class GuardLook:
    """Figures of held-out faces, means over the sides that are finished. NaN: not known.

    `error`: mean absolute difference of a rebuilt face inside its mask, in [0, 1]. Sharpness: RMS
    of the luma's Laplacian inside the mask over that of the side's true held-out faces, at the
    model's size. `margin`: the share of swaps that are nearer to who is painted than to who was
    there, by the embedder that built the sets. `landmarks_error`: between a rebuilt face's points
    and the true one's, in eye distances. `unsteadiness`: how much a swap changes beyond the move
    when its input moves by a pixel, over the swap's own Laplacian. `stain`: how far a swap's hue
    has moved from before the phase at its worst place, in levels of 255. `specks`: a swap's fine
    detail at its worst place, over the most that any true face has there.
    """

    step: int
    error: float
    rebuilt_sharpness: float
    swap_sharpness: float
    unsteadiness: float
    margin: float
    landmarks_error: float
    stain: float = 0.0
    specks: float = 0.0

    def line(self) -> str:
        """For a person to read."""
        margin = "" if math.isnan(self.margin) else f"  margin {self.margin:.0%}"
        return (
            f"error {self.error:.4f}  sharpness: rebuilt {self.rebuilt_sharpness:.2f}, "
            f"swap {self.swap_sharpness:.2f}{margin}"
        )


def outside(look: GuardLook, before: Sequence[GuardLook]) -> list[str]:
    """Where a look is outside of the corridor, given those before it; empty: it is inside."""
    if not before:
        return []
    start, lowest = before[0], min(other.error for other in before)
    found = []
    if look.error > MAX_ERROR * lowest:
        found.append(f"held-out error {look.error:.4f}, lowest {lowest:.4f}")
    sharpest = max(look.rebuilt_sharpness, look.swap_sharpness)
    if sharpest > max(MAX_SHARPNESS, start.rebuilt_sharpness, start.swap_sharpness):
        found.append(f"{sharpest:.2f} times as sharp as true faces")
    if look.unsteadiness > MAX_UNSTEADINESS * start.unsteadiness:
        found.append(f"unsteadiness {look.unsteadiness:.2f}, was {start.unsteadiness:.2f}")
    if look.stain > MAX_STAIN:
        found.append(f"stains, {look.stain:.1f} levels of another hue")
    if look.specks > max(MAX_SPECKS, MAX_MORE_SPECKS * start.specks):
        found.append(f"specks, {look.specks:.2f} times the detail of a true face there")
    # What is not known is neither above nor below.
    if look.margin < start.margin - MAX_MARGIN_LOST:
        found.append(f"margin {look.margin:.2f}, was {start.margin:.2f}")
    trembling = start.landmarks_error + LANDMARKS_TREMBLE
    if look.landmarks_error > max(MAX_LANDMARKS * start.landmarks_error, trembling):
        found.append(
            f"landmarks off by {look.landmarks_error:.3f} eye distances, "
            f"was {start.landmarks_error:.3f}"
        )
    return found


def best_look(looks: Sequence[GuardLook]) -> int:
    """The place of the look inside the corridor whose swap is as sharp as true faces, most nearly.

    The first look, of before the phase, is always inside.
    """
    inside = [place for place in range(len(looks)) if not outside(looks[place], looks[:place])]
    return min(inside, key=lambda place: abs(math.log(max(looks[place].swap_sharpness, 1e-6))))


def why_end(looks: Sequence[GuardLook]) -> str:
    """Why the guard ends the phase; empty: it goes on."""
    last = [outside(looks[place], looks[:place]) for place in range(len(looks))][-PATIENCE:]
    return "; ".join(last[-1]) if len(last) == PATIENCE and all(last) else ""


@dataclass(frozen=True)
class _Side:
    """One finished side: its true faces, and those of the other that it is painted over."""

    side: Side
    true: KnownFaces
    shown: KnownFaces
    sharpness: float
    """RMS Laplacian of the true faces."""
    detail: Float[np.ndarray, "s s"]
    """The most local detail that a true face has, place by place."""
    before: Float[np.ndarray, "n s s 3"]
    """The other's faces, painted as this side before the phase."""


class Guard:
    """Looks at a network under a finish.

    What needs weights of other networks, or faces with embeddings, is left out where they are not
    there; `notes` says so.
    """

    def __init__(self, run: TrainedRun, sides: Sequence[Side]) -> None:
        faces = {side: _held_out(run, side) for side in SIDES}
        self.notes: list[str] = []
        self._size = run.config.model.size
        self._sides = [
            _Side(
                side,
                faces[side],
                faces[_other(side)],
                _rms(faces[side].crops, faces[side].masks),
                _local_detail(faces[side].crops / np.float32(255)).max(0),
                rebuild(run.model, faces[_other(side)].crops, side),
            )
            for side in sides
        ]
        self._embedder, self._people = self._identity(run)
        self._mesh: Mesh | None = None
        if run.manifest.landmarks_pack == "mesh":
            try:
                self._mesh = build_mesh()
            except FaceswapError as error:
                self.notes.append(f"landmarks are not guarded ({error})")
        self._true_points = {side.side: self._points(side.true.crops, side) for side in self._sides}

    def look(self, network: SwapAutoencoder, step: int) -> GuardLook:
        """The figures of a network."""
        parts = [self._look(network, side) for side in self._sides]
        means = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
        return GuardLook(step=step, **means)

    def _look(self, network: SwapAutoencoder, side: _Side) -> dict[str, float]:
        true, shown = side.true, side.shown
        rebuilt = rebuild(network, true.crops, side.side)
        swaps = rebuild(network, shown.crops, side.side)
        moved = rebuild(network, np.roll(shown.crops, 1, 2), side.side)
        sharpness = _rms(swaps, shown.masks)
        change = _masked_rms(255 * (np.roll(moved, -1, 2) - swaps), shown.masks)
        return {
            "error": _mean_error(rebuilt, true),
            "rebuilt_sharpness": _rms(rebuilt, true.masks) / side.sharpness,
            "swap_sharpness": sharpness / side.sharpness,
            "unsteadiness": change / max(sharpness, 1e-9),
            "margin": self._margin(side, swaps),
            "landmarks_error": self._landmarks_error(side, rebuilt),
            "stain": _stain(swaps, side.before, shown.masks),
            "specks": _worst(_local_detail(swaps) / side.detail, shown.masks),
        }

    def _identity(self, run: TrainedRun) -> tuple[Embedder | None, dict[Side, Person]]:
        facts = {side: run.manifest.of(side) for side in SIDES}
        name = facts["source"].embedder
        if name is None or any(of.center is None or of.embedder != name for of in facts.values()):
            self.notes.append("identity is not guarded (the sets have no embeddings)")
            return None, {}
        try:
            embedder = build_embedder(name)
        except FaceswapError as error:
            self.notes.append(f"identity is not guarded ({error})")
            return None, {}
        people = {
            side: Person(center, embedder.metric, embedder.same_person)
            for side, of in facts.items()
            if (center := of.center) is not None
        }
        return embedder, people

    def _margin(self, side: _Side, swaps: Float[np.ndarray, "n s s 3"]) -> float:
        if self._embedder is None:
            return math.nan
        rows = []
        for crop, face in zip(_bytes(swaps), side.shown.faces, strict=True):
            points = _points_in_crop(face, self._size)
            rows.append(self._embedder(crop, five_points(points, face.record.landmarks_pack)))
        vectors = np.stack(rows)
        own, other = (self._people[s].distances(vectors) for s in (side.side, _other(side.side)))
        return float(np.mean(own < other))

    def _points(self, crops: UInt8[np.ndarray, "n s s 3"], side: _Side) -> list[np.ndarray]:
        """The mesh's points of a side's true faces, or of those rebuilt; none without a mesh."""
        if self._mesh is None:
            return []
        return [
            self._mesh.near(crop, _points_in_crop(face, self._size)).points
            for crop, face in zip(crops, side.true.faces, strict=True)
        ]

    def _landmarks_error(self, side: _Side, rebuilt: Float[np.ndarray, "n s s 3"]) -> float:
        errors = [
            np.linalg.norm(found - true, axis=1).mean() / eye_distance(five_points(true, "mesh"))
            for found, true in zip(
                self._points(_bytes(rebuilt), side), self._true_points[side.side], strict=True
            )
        ]
        return float(np.mean(errors)) if errors else math.nan


def as_record(look: GuardLook) -> dict[str, Any]:
    """A look as JSON holds it."""
    return {name: None if math.isnan(v) else v for name, v in asdict(look).items()}


def from_record(record: dict[str, Any]) -> GuardLook:
    """A look from JSON. Raises: KeyError for a record that is none."""
    names = [field.name for field in fields(GuardLook)]
    # What was not measured when the look was written is no harm.
    later = {"stain": 0.0, "specks": 0.0}
    values = {
        name: record.get(name, later[name]) if name in later else record[name] for name in names
    }
    known: dict[str, Any] = {name: math.nan if v is None else v for name, v in values.items()}
    return GuardLook(**known)


def _other(side: Side) -> Side:
    return "target" if side == "source" else "source"


def _held_out(run: TrainedRun, side: Side) -> KnownFaces:
    known = known_faces(run, side)
    places = np.flatnonzero(~known.seen)
    chosen = np.zeros(len(known), bool)
    chosen[places[spread_evenly(len(places), FACES)]] = True
    return known.only(chosen)


def _points_in_crop(face: StoredFace, size: int) -> Float[np.ndarray, "n 2"]:
    record = face.record
    to_view, _ = inner_view(record.size, record.margin, size, 0.0)
    return transform_points(record.landmarks, compose(record.frame_to_crop, to_view))


def _mean_error(rebuilt: Float[np.ndarray, "n s s 3"], true: KnownFaces) -> float:
    errors = np.abs(rebuilt - true.crops / np.float32(255)).mean(-1)
    return float(np.average(errors, weights=true.masks))


def _bytes(pictures: Float[np.ndarray, "n s s 3"]) -> UInt8[np.ndarray, "n s s 3"]:
    return np.round(np.clip(pictures, 0, 1) * 255).astype(np.uint8)


def _rms(pictures: np.ndarray, masks: UInt8[np.ndarray, "n s s"]) -> float:
    """RMS of the luma's Laplacian inside the masks, of pictures in bytes or in [0, 1]."""
    scale = 1.0 if pictures.dtype == np.uint8 else 255.0
    lumas = [cv2.cvtColor(p.astype(np.float32) * scale, cv2.COLOR_RGB2GRAY) for p in pictures]
    return _masked_rms(
        np.stack([cv2.Laplacian(luma, cv2.CV_32F) for luma in lumas])[..., None], masks
    )


def _stain(
    swaps: Float[np.ndarray, "n s s 3"], before: Float[np.ndarray, "n s s 3"],
    masks: UInt8[np.ndarray, "n s s"],
) -> float:  # fmt: skip
    """How far the hue moved, averaged over 5 px."""
    hues = [cv2.blur(change - change.mean(-1, keepdims=True), (5, 5)) for change in swaps - before]
    return 255 * _worst(np.sqrt(np.square(np.stack(hues)).mean(-1)), masks)


def _local_detail(faces: Float[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n s s"]:
    pictures = torch.from_numpy(faces.astype(np.float32)).permute(0, 3, 1, 2)
    return local_detail(pictures)[:, 0].numpy()


def _worst(values: Float[np.ndarray, "n s s"], masks: UInt8[np.ndarray, "n s s"]) -> float:
    """Mean over faces of the 99.5th percentile inside the mask."""
    inside = [of[where] for of, where in zip(values, _inner(masks), strict=True)]
    worst = [np.percentile(chosen, 99.5) for chosen in inside if len(chosen)]
    return float(np.mean(worst)) if worst else math.nan


def _inner(masks: UInt8[np.ndarray, "n s s"]) -> Bool[np.ndarray, "n s s"]:
    return np.stack([cv2.blur(mask.astype(np.float32) / 255, (9, 9)) > 0.95 for mask in masks])


def _masked_rms(values: Float[np.ndarray, "n s s c"], masks: UInt8[np.ndarray, "n s s"]) -> float:
    chosen = np.square(values).mean(-1)[_inner(masks)]
    return float(np.sqrt(chosen.mean())) if len(chosen) else float("nan")
