"""Does the model paint what it is shown, or the training face that comes nearest to it?

Three distances tell which training face an output is nearest to: pixels, a face network's vectors,
the model's own codes. Two figures judge.

`generalising_share` is the plain one: how often an output is nearer to its own true face than to
any training face. It asks more than a perfect memory of detail can give: where training faces lie
closer together than the error with which the model paints even those, no output can win.

`novelty_rebuilt` takes that error out: 1 - (error on unseen faces - error on seen faces) / (error
of a look-up that answers with the nearest training face). 1: unseen faces are painted as well as
seen ones; 0: no better than by the look-up, which is what a memory does. Pictures are compared at
`NOVELTY_PX`, since the noise and the pores of two pictures differ even where the faces do not, and
would make every look-up seem bad.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from ..faces.align import frontal_to_crop
from ..faces.embed import DistanceMetric, Embedder
from ..geometry import transform_points
from ..media.clips import as_uint8
from ..metrics.landmarks import CANONICAL_FIVE
from ..models.crops import decode, encode
from ..outputs import listed
from ..runs.known import KnownFaces, spread_evenly
from ..runs.trained import TrainedRun

PLAIN_PX = 64
"""Larger crops are compared at this size, area-averaged."""

NOVELTY_PX = 16
"""`novelty_rebuilt` compares crops at this size."""

MEMORISED, HEALTHY = 0.3, 0.7
"""A `score` up to the one is a memory's, from the other on a healthy run's."""

MIN_FRAMES = 20
"""So many frames inside the training range make a score of their own."""

# Evenly spread: what networks have to look at is limited, what is only subtracted is not.
_REBUILT_FACES = 200
_EMBEDDED_FACES = 60
_GALLERY_FACES = 20
_PAIRS = 64
_EMBED_PX = 192

Embed = Callable[[UInt8[np.ndarray, "s s 3"]], Float[np.ndarray, " d"]]


@dataclass(frozen=True)
class Interpolation:
    """What the decoder paints midway between the codes of two seen faces."""

    diversity: float
    """Mean distance of two midpoints over that of two rebuilt ends: in a flat space about 0.7."""
    near_seen_share: float
    """Midpoints that are nearer to a seen face than half of the held-out outputs are."""
    same_person_share: float | None
    """Midpoints as near to the person as 95 % of the person's own unseen faces."""


@dataclass(frozen=True)
class Memorisation:
    """One number a held-out output, distances as shares of the full range, and what they say.

    Places of nearest faces are among `seen`; -1 where nothing was embedded.
    """

    seen: UInt8[np.ndarray, "k s s 3"]
    to_own: Float[np.ndarray, " n"]
    """Output to its own true face, mean absolute difference inside the mask."""
    to_seen: Float[np.ndarray, " n"]
    """Output to the nearest training face."""
    truth_to_seen: Float[np.ndarray, " n"]
    """True face to the training face that is nearest to it."""
    by_pixels: Int[np.ndarray, " n"]
    by_embedding: Int[np.ndarray, " n"]
    by_code: Int[np.ndarray, " n"]
    code_distance: Float[np.ndarray, " n"]
    embedding_distance: Float[np.ndarray, " n"]
    novelty_error: Float[np.ndarray, " n"]
    """Output to its own true face at NOVELTY_PX."""
    novelty_lookup: Float[np.ndarray, " n"]
    """True face to the nearest training face at NOVELTY_PX: the error of the look-up."""
    novelty_seen_error: float
    """The mean error on seen faces at NOVELTY_PX."""
    covered: Bool[np.ndarray, " n"] | None
    interpolation: Interpolation
    retrieval: float | None
    """True unseen faces whose nearest face of all known people, by embedding, is the person's."""
    retrieval_by_pixels: float | None
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def generalises(self) -> Bool[np.ndarray, " n"]:
        """Of each output: is it nearer to its own true face than to any training face?"""
        return self.to_own < self.to_seen

    @property
    def novelty_rebuilt(self) -> float | None:
        """1: unseen faces are painted as well as seen ones; 0: as by the nearest training face."""
        return self._novelty(np.ones(len(self.to_own), bool))

    @property
    def score(self) -> float | None:
        """`novelty_rebuilt` of the frames inside the training range, of all where those are few.

        Outside, a bad face may be no memory's fault: nothing there was ever shown.
        """
        inside = self.covered
        if inside is None or inside.sum() < MIN_FRAMES:
            return self.novelty_rebuilt
        return self._novelty(inside)

    @property
    def verdict(self) -> str:
        """memorises, generalises, between, or unknown."""
        if self.score is None:
            return "unknown"
        if self.score <= MEMORISED:
            return "memorises"
        return "generalises" if self.score >= HEALTHY else "between"

    def suspicion(self) -> Float[np.ndarray, " n"]:
        """Distance to its own true face over that to the nearest training face; above 1: a pull."""
        return self.to_own / np.maximum(self.to_seen, 1e-9)

    def _novelty(self, frames: Bool[np.ndarray, " n"]) -> float | None:
        if not frames.any():
            return None
        lookup = float(self.novelty_lookup[frames].mean())
        if lookup < 1e-6:
            return None
        excess = float(self.novelty_error[frames].mean()) - self.novelty_seen_error
        return 1 - excess / lookup

    def _figures(self, frames: Bool[np.ndarray, " n"]) -> dict[str, Any]:
        if not frames.any():
            return {"frames": 0, "generalising_share": None, "distance_ratio": None,
                    "novelty_rebuilt": None}  # fmt: skip
        return {
            "frames": int(frames.sum()),
            "generalising_share": float(self.generalises[frames].mean()),
            "distance_ratio": _ratio(self.to_seen[frames], self.truth_to_seen[frames]),
            "novelty_rebuilt": self._novelty(frames),
        }

    def to_json(self) -> dict[str, Any]:
        """All of it but the pictures as plain numbers, lists and texts, without NaN."""
        reasons = dict(self.reasons)
        everything = np.ones(len(self.to_own), bool)
        if self.novelty_rebuilt is None:
            reasons["novelty_rebuilt"] = "the true faces are training faces"
        covered = self.covered
        return {
            "score": self.score,
            "verdict": self.verdict,
            **self._figures(everything),
            "inside_training_range": None if covered is None else self._figures(covered),
            "outside_training_range": None if covered is None else self._figures(~covered),
            "seen_faces": len(self.seen),
            "errors": {
                "own": float(self.to_own.mean()),
                "nearest_seen": float(self.to_seen.mean()),
                "truth_to_nearest_seen": float(self.truth_to_seen.mean()),
                "novelty_own": float(self.novelty_error.mean()),
                "novelty_seen": self.novelty_seen_error,
                "novelty_lookup": float(self.novelty_lookup.mean()),
            },
            "retrieval": self.retrieval,
            "retrieval_by_pixels": self.retrieval_by_pixels,
            "interpolation": {
                "diversity": _known(self.interpolation.diversity),
                "near_seen_share": _known(self.interpolation.near_seen_share),
                "same_person_share": self.interpolation.same_person_share,
            },
            "per_frame": {
                "to_own": listed(self.to_own),
                "to_seen": listed(self.to_seen),
                "truth_to_seen": listed(self.truth_to_seen),
                "by_pixels": self.by_pixels.tolist(),
                "by_embedding": self.by_embedding.tolist(),
                "by_code": self.by_code.tolist(),
                "code_distance": listed(self.code_distance),
                "embedding_distance": listed(self.embedding_distance),
            },
            "reasons": reasons,
        }


def memorisation(
    run: TrainedRun,
    known: KnownFaces,
    outputs: UInt8[np.ndarray, "n s s 3"] | Float[np.ndarray, "n s s 3"],
    crops: UInt8[np.ndarray, "n s s 3"],
    masks: UInt8[np.ndarray, "n s s"],
    covered: Bool[np.ndarray, " n"] | None,
    embed: Embed | None,
    metric: DistanceMetric,
    *,
    others: Sequence[UInt8[np.ndarray, "_ s s 3"]] = (),
    rng: np.random.Generator,
) -> Memorisation:
    """How far `outputs`, unseen `crops` of the person of `known` rebuilt, are training faces.

    `covered`: crops that show what training faces show. `others`: crops of other known people, for
    retrieval. Raises: ValueError when there is no output, no seen face, or no face in the masks.
    """
    if not len(outputs) or not known.seen.any():
        raise ValueError("memorisation needs outputs and seen faces")
    inside = masks.mean(0) > 127
    if not inside.any():
        raise ValueError("no place of the crop is face in most of the frames")
    seen = known.only(known.seen)
    reasons: dict[str, str] = {}
    if covered is None:
        reasons["inside_training_range"] = "what the frames show is not known"

    out, true, have = (_pixels(p, inside, PLAIN_PX) for p in (outputs, crops, seen.crops))
    to_seen = l1_distances(out, have)
    truth_to_seen = l1_distances(true, have).min(1)

    some = spread_evenly(len(seen), _REBUILT_FACES)
    rebuilt = decode(run.model, seen.codes[some], known.side)
    coarse_out, coarse_true, coarse_have, coarse_rebuilt = (
        _pixels(p, inside, NOVELTY_PX) for p in (outputs, crops, seen.crops, rebuilt)
    )

    code_gaps = vector_distances(encode(run.model, outputs), seen.codes, "euclidean")

    by_embedding, embedding_gaps = np.full(len(outputs), -1), np.full(len(outputs), np.nan)
    retrieval = by_pixels = vectors = None
    if embed is None:
        for name in ("by_embedding", "retrieval", "same_person_share"):
            reasons[name] = (
                "no face network is available, or these are rendered actors, which it cannot "
                "tell apart"
            )
    else:
        vectors = _Vectors.of(embed, metric, seen.crops, crops)
        gaps = vectors.to_seen(outputs[vectors.frames])
        by_embedding[vectors.frames] = vectors.seen_places[gaps.argmin(1)]
        embedding_gaps[vectors.frames] = gaps.min(1)
        if others:
            retrieval, by_pixels = _retrieval(vectors, others, inside, true, have)
        else:
            reasons["retrieval"] = "no other person is known"

    return Memorisation(
        seen=seen.crops,
        to_own=np.abs(out - true).mean(1),
        to_seen=to_seen.min(1),
        truth_to_seen=truth_to_seen,
        by_pixels=to_seen.argmin(1),
        by_embedding=by_embedding,
        by_code=code_gaps.argmin(1),
        code_distance=code_gaps.min(1),
        embedding_distance=embedding_gaps,
        novelty_error=np.abs(coarse_out - coarse_true).mean(1),
        novelty_lookup=l1_distances(coarse_true, coarse_have).min(1),
        novelty_seen_error=float(np.abs(coarse_rebuilt - coarse_have[some]).mean()),
        covered=covered,
        interpolation=_interpolate(run, seen, inside, have, to_seen.min(1), vectors, rng),
        retrieval=retrieval,
        retrieval_by_pixels=by_pixels,
        reasons=reasons,
    )


@dataclass(frozen=True)
class _Vectors:
    """A face network, and its vectors of seen faces and of true unseen ones, evenly spread."""

    embed: Embed
    metric: DistanceMetric
    seen_places: Int[np.ndarray, " k"]
    seen: Float[np.ndarray, "k d"]
    frames: Int[np.ndarray, " n"]
    true: Float[np.ndarray, "n d"]

    @classmethod
    def of(
        cls, embed: Embed, metric: DistanceMetric, seen: np.ndarray, true: np.ndarray
    ) -> "_Vectors":
        places, frames = (spread_evenly(len(of), _EMBEDDED_FACES) for of in (seen, true))
        return cls(
            embed=embed,
            metric=metric,
            seen_places=places,
            seen=np.stack([embed(seen[i]) for i in places]),
            frames=frames,
            true=np.stack([embed(true[i]) for i in frames]),
        )

    def of_painted(self, pictures: np.ndarray) -> Float[np.ndarray, "m d"]:
        """Of a decoder's pictures."""
        return np.stack([self.embed(as_uint8(picture)) for picture in pictures])

    def to_seen(self, pictures: np.ndarray) -> Float[np.ndarray, "m k"]:
        """How far a decoder's pictures are from each seen face."""
        return vector_distances(self.of_painted(pictures), self.seen, self.metric)


def _retrieval(
    vectors: _Vectors,
    others: Sequence[UInt8[np.ndarray, "_ s s 3"]],
    inside: Bool[np.ndarray, "s s"],
    true: Float[np.ndarray, "n p"],
    have: Float[np.ndarray, "k p"],
) -> tuple[float, float]:
    """True faces whose nearest face of all people is the person's: by embedding, by pixels."""
    own = spread_evenly(len(vectors.seen_places), _GALLERY_FACES)
    some = [crops[spread_evenly(len(crops), _GALLERY_FACES)] for crops in others]
    galleries = [np.stack([vectors.embed(crop) for crop in crops]) for crops in some]
    people = [vectors.seen[own], *galleries]
    pictures = [have[vectors.seen_places[own]], *(_pixels(c, inside, PLAIN_PX) for c in some)]
    nearest = [l1_distances(true[vectors.frames], of).min(1) for of in pictures]
    return (
        retrieval_top1(vectors.true, people, vectors.metric),
        float((np.argmin(nearest, axis=0) == 0).mean()),
    )


def _interpolate(
    run: TrainedRun,
    seen: KnownFaces,
    inside: Bool[np.ndarray, "s s"],
    have: Float[np.ndarray, "k p"],
    outputs_to_seen: Float[np.ndarray, " n"],
    vectors: _Vectors | None,
    rng: np.random.Generator,
) -> Interpolation:
    first, second = (rng.integers(len(seen), size=_PAIRS) for _ in range(2))
    midpoints = decode(run.model, (seen.codes[first] + seen.codes[second]) / 2, seen.side)
    ends = decode(run.model, seen.codes[np.concatenate([first, second])], seen.side)
    middle = _pixels(midpoints, inside, PLAIN_PX)
    same = None
    if vectors is not None:
        person = vectors.seen.mean(0, keepdims=True)
        genuine = vector_distances(vectors.true, person, vectors.metric)
        gaps = vector_distances(vectors.of_painted(midpoints), person, vectors.metric)
        same = float((gaps <= np.percentile(genuine, 95)).mean())
    nearest = l1_distances(middle, have).min(1)
    return Interpolation(
        diversity=diversity(middle, _pixels(ends, inside, PLAIN_PX)),
        near_seen_share=float((nearest < np.median(outputs_to_seen)).mean()),
        same_person_share=same,
    )


def diversity(midpoints: Float[np.ndarray, "n p"], ends: Float[np.ndarray, "m p"]) -> float:
    """Mean distance between two of `midpoints` over that between two of `ends`; NaN: ends agree."""

    def spread(pictures: np.ndarray) -> float:
        count = len(pictures)
        return float(l1_distances(pictures, pictures).sum() / max(1, count * (count - 1)))

    wide = spread(ends)
    return spread(midpoints) / wide if wide > 1e-9 else float("nan")


def l1_distances(
    a: Float[np.ndarray, "n p"], b: Float[np.ndarray, "k p"]
) -> Float[np.ndarray, "n k"]:
    """Mean absolute difference of every row of `a` and every row of `b`."""
    sums = torch.cdist(torch.from_numpy(a), torch.from_numpy(b), p=1.0)
    return sums.numpy() / a.shape[1]


def vector_distances(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "k d"], metric: DistanceMetric
) -> Float[np.ndarray, "n k"]:
    """`embedding_distance` of every row of `a` and every row of `b`."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    products = a @ b.T
    if metric == "cosine":
        lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
        return 1 - products / (lengths + 1e-12)
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * products
    return np.sqrt(np.maximum(squares, 0))


def retrieval_top1(
    queries: Float[np.ndarray, "n d"],
    people: Sequence[Float[np.ndarray, "_ d"]],
    metric: DistanceMetric,
) -> float:
    """The share of queries whose nearest vector of all people is one of the first's."""
    nearest = [vector_distances(queries, vectors, metric).min(1) for vectors in people]
    return float((np.argmin(nearest, axis=0) == 0).mean())


def crop_embedder(embedder: Embedder, coverage: str) -> Embed:
    """`embedder` for aligned crops of that coverage, whose five points are where all faces' are."""
    five = transform_points(CANONICAL_FIVE, frontal_to_crop(coverage, _EMBED_PX))

    def embed(crop: UInt8[np.ndarray, "s s 3"]) -> Float[np.ndarray, " d"]:
        how = cv2.INTER_AREA if len(crop) > _EMBED_PX else cv2.INTER_CUBIC
        shown = cv2.resize(crop, (_EMBED_PX, _EMBED_PX), interpolation=how)
        return embedder(shown.astype(np.uint8), five)

    return embed


@dataclass(frozen=True)
class MontageRow:
    """One output beside its nearest training faces, by the titles in COLUMNS, and its true face."""

    frame: int
    pictures: dict[str, UInt8[np.ndarray, "s s 3"]]
    words: str


def montage(
    found: Memorisation,
    outputs: UInt8[np.ndarray, "n s s 3"] | Float[np.ndarray, "n s s 3"],
    crops: UInt8[np.ndarray, "n s s 3"],
    frames: Sequence[int] | None = None,
    *,
    worst: int = 4,
    middle: int = 2,
) -> list[MontageRow]:
    """The most suspicious outputs, and the middling ones. `frames`: their numbers in the clip.

    Neighbours in time, which look alike, are passed over; so is what was not embedded, where some
    was: without any there are no pictures "by embedding".
    """
    suspicion = found.suspicion()
    order = np.argsort(-suspicion, kind="stable")
    embedded = found.by_embedding[order] >= 0
    order = order[embedded] if embedded.any() else order
    apart = len(suspicion) // (4 * (worst + middle))
    first = _apart(order, worst, apart)
    rest = order[~np.isin(order, first)]
    second = rest[max(0, (len(rest) - middle) // 2) :][:middle].tolist()
    rows = []
    for place in [*first, *second]:
        nearest: Mapping[str, Int[np.ndarray, " n"]] = {
            "by pixels": found.by_pixels,
            "by embedding": found.by_embedding,
            "by code": found.by_code,
        }
        pictures = {"output": as_uint8(outputs[place])}
        pictures |= {
            name: found.seen[places[place]]
            for name, places in nearest.items()
            if places[place] >= 0
        }
        pictures["true face"] = crops[place]
        number = place if frames is None else frames[place]
        words = (
            f"frame {number}: {255 * found.to_own[place]:.1f} from its true face, "
            f"{255 * found.to_seen[place]:.1f} from the nearest training face (of 255)"
        )
        rows.append(MontageRow(number, pictures, words))
    return rows


def _apart(order: Int[np.ndarray, " n"], count: int, apart: int) -> list[int]:
    """The first `count` places of the order with more than `apart` between each two."""
    chosen: list[int] = []
    for place in order.tolist():
        if len(chosen) < count and all(abs(place - other) > apart for other in chosen):
            chosen.append(place)
    return chosen


def _pixels(
    pictures: np.ndarray, inside: Bool[np.ndarray, "s s"], max_px: int
) -> Float[np.ndarray, "n p"]:
    """What lies inside of each picture, in [0, 1], shrunk to at most `max_px` a side."""
    edge = min(max_px, len(inside))
    room = cv2.resize(inside.astype(np.float32), (edge, edge), interpolation=cv2.INTER_AREA)
    chosen = room >= min(0.5, float(room.max()))
    scale = 255.0 if pictures.dtype == np.uint8 else 1.0
    rows = np.empty((len(pictures), int(chosen.sum()) * 3), np.float32)
    for row, picture in zip(rows, pictures, strict=True):
        small = cv2.resize(picture.astype(np.float32), (edge, edge), interpolation=cv2.INTER_AREA)
        row[:] = small[chosen].ravel() / scale
    return rows


def _ratio(above: np.ndarray, below: np.ndarray) -> float | None:
    mean = float(below.mean())
    return float(above.mean()) / mean if mean > 1e-6 else None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
