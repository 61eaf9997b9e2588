"""The mask network made at home with a run's own faces, before the run's training.

Things are put before faces where it sees nothing: there the truth is known. Of all others its own
answer is the truth, or a set full of hands would teach it that hands are face.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from ..config import Side
from ..faces.face_set import FaceSet
from ..faces.user_masks import user_mask_views
from ..models.mask_network import MASK_SIZE, MaskNetwork, clear_shares
from ..occluders.planting import plant

FACES_A_SIDE = 500
"""Of more, so many are taken, spread evenly."""
MIN_CLEAN = 50
NOTHING_HIDDEN = 0.03
"""A face is clean that has less of its outline hidden, beyond what is in a set's clearest quarter:
hair is before most faces."""
JUDGED = 48
"""Clean faces that the network is judged by, and does not learn from; a fifth of few."""
BATCH = 12
PLANTED_SHARE = 0.6
"""Of a batch: clean faces with something put before them."""
RATE = 5e-4

HIDDEN_WEIGHT = 2.0
"""There are far fewer hidden pixels than seen ones."""
_OUTSIDE = 0.05
_SMOOTH_PX = 40.0


@dataclass(frozen=True)
class _Known:
    """Faces of both sides, and what of each is seen as far as is known."""

    crops: UInt8[np.ndarray, "n s s 3"]
    outlines: Float32[np.ndarray, "n s s"]
    visible: Float32[np.ndarray, "n s s"]
    clean: Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class Refined:
    """A network that has learned a run's faces, and how it was made; or why none was."""

    network: MaskNetwork | None
    recipe: dict[str, Any]
    line: str
    """For a person to read."""


def refine_mask(
    base: MaskNetwork, sets: Mapping[Side, FaceSet], steps: int, seed: int, device: torch.device
) -> Refined:
    """`base` after `steps` on the faces of both sets; a function of these alone.

    None where fewer than MIN_CLEAN faces have nothing before them, and where the base was the
    better on planted faces that were kept from it.
    """
    base = base.to(device)
    known = _join([_look_at(faces, base) for faces in sets.values()])
    clean = np.random.default_rng([seed, 0]).permutation(np.flatnonzero(known.clean))
    facts: dict[str, Any] = {
        "faces": len(known.crops),
        "clean": len(clean),
        "steps": steps,
        "seed": seed,
    }
    if len(clean) < MIN_CLEAN:
        line = f"the mask is not refined: {len(clean)} faces are clean, {MIN_CLEAN} are needed"
        return Refined(None, facts, line)
    judged, learned = np.split(clean, [min(JUDGED, len(clean) // 5)])
    judge = [_planted(known, n, np.random.default_rng([seed, 1, n])) for n in judged.tolist()]
    others = np.setdiff1d(np.arange(len(known.crops)), judged)
    network = _learn(base, _batches(known, learned, others, steps, seed), steps)
    before, after = (_overlap(one, judge) for one in (base, network))
    facts |= {"overlap_before": round(before, 4), "overlap": round(after, 4)}
    told = f"overlap with what is seen {after:.3f}, {before:.3f} before, on planted faces"
    if after <= before:
        return Refined(None, facts, f"the mask is not refined: {told}")
    return Refined(network.cpu(), facts, f"the mask is refined on {len(others)} faces: {told}")


def mask_loss(
    logits: Float[Tensor, "b 1 s s"],
    visible: Float[Tensor, "b 1 s s"],
    outline: Float[Tensor, "b 1 s s"],
    hidden_weight: float = HIDDEN_WEIGHT,
) -> Float[Tensor, ""]:
    """Cross-entropy inside the outline, and the Dice losses of what is seen and of what is not.

    `hidden_weight`: how much more a hidden pixel counts than a seen one.
    """
    within = outline + _OUTSIDE * (1 - outline) + (hidden_weight - 1) * (outline - visible)
    entropy = F.binary_cross_entropy_with_logits(logits, visible, reduction="none")
    seen = torch.sigmoid(logits) * outline
    dice = _dice(seen, visible) + _dice(outline - seen, outline - visible)
    return (within * entropy).sum() / within.sum() + 0.3 * dice


def _dice(answer: Float[Tensor, "b 1 s s"], truth: Float[Tensor, "b 1 s s"]) -> Float[Tensor, ""]:
    """Milletari et al. 2016, "V-Net", eq. 3, less 1; smoothed where there is little."""
    common, both = (answer * truth).sum((1, 2, 3)), (answer**2 + truth**2).sum((1, 2, 3))
    return (1 - (2 * common + _SMOOTH_PX) / (both + _SMOOTH_PX)).mean()


def _look_at(faces: FaceSet, base: MaskNetwork) -> _Known:
    places = np.linspace(0, len(faces.faces) - 1, min(len(faces.faces), FACES_A_SIDE))
    some = [faces.faces[place] for place in places.round().astype(int)]
    faces = FaceSet(faces.path, some, [], faces.pack, faces.coverage, faces.embedder)
    crops = faces.crops(MASK_SIZE, 0.0)
    outlines = faces.masks(MASK_SIZE, 0.0) / np.float32(255)
    clear = clear_shares(base, crops, outlines)
    for place, given in user_mask_views(faces, MASK_SIZE, 0.0).items():
        clear[place] = given / np.float32(255)
    visible = outlines * clear
    hidden = 1 - visible.sum((1, 2)) / np.maximum(outlines.sum((1, 2)), 1)
    clean = hidden < np.quantile(hidden, 0.25) + NOTHING_HIDDEN
    return _Known(crops, outlines, visible, clean)


def _join(parts: list[_Known]) -> _Known:
    names = vars(parts[0])
    return _Known(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in names})


class _Example(NamedTuple):
    pixels: UInt8[np.ndarray, "s s 3"]
    outline: Float32[np.ndarray, "s s"]
    visible: Float[np.ndarray, "s s"]

    def mirrored(self) -> "_Example":
        return _Example(*(np.ascontiguousarray(part[:, ::-1]) for part in self))


def _planted(known: _Known, place: int, rng: np.random.Generator) -> _Example:
    planted = plant(rng, known.crops[place], known.visible[place])
    return _Example(planted.pixels, known.outlines[place], planted.visible)


def _batches(
    known: _Known, clean: np.ndarray, others: np.ndarray, steps: int, seed: int
) -> Iterator[list[_Example]]:
    for step in range(steps):
        rng = np.random.default_rng([seed, 2, step])
        count = round(PLANTED_SHARE * BATCH)
        batch = [_planted(known, n, rng) for n in rng.choice(clean, count).tolist()]
        for n in rng.choice(others, BATCH - count).tolist():
            batch.append(_Example(known.crops[n], known.outlines[n], known.visible[n]))
        flips = rng.random(BATCH) < 0.5
        yield [x.mirrored() if flip else x for x, flip in zip(batch, flips, strict=True)]


def _learn(base: MaskNetwork, batches: Iterator[list[_Example]], steps: int) -> MaskNetwork:
    # Its statistics of batches stay the base's, in evaluation as it is: a run's faces are few.
    network = copy.deepcopy(base).eval().requires_grad_(True)
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        pixels, outline, visible = _tensors(batch, device)
        loss = mask_loss(network(pixels, outline), visible, outline)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    # As it is stored: a resumed run sees what this one sees.
    return network.half().float()


@torch.no_grad()
def _overlap(network: MaskNetwork, examples: list[_Example]) -> float:
    """The mean intersection over union of what is seen, in the outline."""
    pixels, outline, visible = _tensors(examples, next(network.parameters()).device)
    said = (torch.sigmoid(network(pixels, outline)) * outline) > 0.5
    true = visible > 0.5
    both, any_ = (said & true).sum((1, 2, 3)), (said | true).sum((1, 2, 3))
    return float((both / any_.clamp(min=1)).mean())


def _tensors(examples: list[_Example], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    pixels, outline, visible = (np.stack(parts) for parts in zip(*examples, strict=True))
    return (
        torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255,
        torch.from_numpy(outline).to(device).float()[:, None],
        torch.from_numpy(visible).to(device).float()[:, None],
    )
