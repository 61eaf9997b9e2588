"""Who does the face look like? Asked of an embedder that had no part in building the sets."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from ..config import EvaluateConfig, Side
from ..errors import FaceswapError
from ..faces.embed import Embedder, build_embedder, embedding_distance
from ..faces.face_set import FaceSet, StoredFace, open_face_set
from ..geometry import transform_points
from ..media.images import read_image
from ..metrics.landmarks import five_points
from ..runs.known import open_known_set, spread_evenly
from ..runs.trained import TrainedRun

# Best judges first; the one that built the sets is passed over.
JUDGES = ("dlib", "facenet", "mobilefacenet")

# What a set's own faces are within, but for the strangest.
OWN_SHARE = 95

_Vectors = Float[np.ndarray, "k d"]


class Likeness(NamedTuple):
    """What the judge says of one face."""

    to_source: float
    """Distance to the mean of the source's gallery."""
    to_target: float
    source_is_nearest: bool
    """Whether the nearest face of all known sets is one of the source."""


@dataclass(frozen=True)
class Judge:
    """An embedder, and galleries of everybody known: the source, the target, and others by name."""

    embedder: Embedder
    source: _Vectors
    target: _Vectors
    others: dict[str, _Vectors]

    @property
    def own_spread(self) -> float:
        """The distance to the source's mean that all but 5 % of its own faces keep within.

        NaN for a single face.
        """
        metric = self.embedder.metric
        total, count = self.source.sum(0), len(self.source)
        if count < 2:
            return float("nan")
        # Each from the mean of the others: a face in its own mean is too near to it.
        own = [
            embedding_distance(vector, (total - vector) / (count - 1), metric)
            for vector in self.source
        ]
        return float(np.percentile(own, OWN_SHARE))

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], five: Float[np.ndarray, "5 2"]
    ) -> Likeness:
        """Whom the face at these points looks like."""
        vector = self.embedder(image, five)
        sets = (self.source, self.target, *self.others.values())
        metric = self.embedder.metric
        nearest = [min(embedding_distance(vector, own, metric) for own in some) for some in sets]
        return Likeness(
            to_source=embedding_distance(vector, self.source.mean(0), metric),
            to_target=embedding_distance(vector, self.target.mean(0), metric),
            source_is_nearest=int(np.argmin(nearest)) == 0,
        )


def build_judges(
    run: TrainedRun, people: tuple[Side, Side], config: EvaluateConfig, count: int
) -> tuple[list[Judge], str]:
    """Judges, one a worker, or none and the reason why there is none.

    `people`: whose face is painted, and who is in the clip.
    Raises: FaceswapError when one of `config.known` is no face set.
    """
    others = {path: open_face_set(Path(path)) for path in config.known}
    try:
        sets = [open_known_set(run, side) for side in people]
    except FaceswapError as error:
        return [], f"a face set of the run cannot be opened ({error})"
    took_part = {face.record.embedder for faces in sets for face in faces.faces}
    wanted = JUDGES if config.judge == "auto" else (config.judge,)
    reasons = []
    for name in wanted:
        if name == "none":
            return [], "evaluate.judge is none"
        if name in took_part:
            reasons.append(f"{name} built the face sets")
            continue
        try:
            embedders = [build_embedder(name) for _ in range(count)]
        except FaceswapError as error:
            reasons.append(str(error))
            continue
        of_source, of_target, *rest = (
            _gallery(faces, embedders, config.gallery) for faces in (*sets, *others.values())
        )
        galleries = dict(zip(others, rest, strict=True))
        return [Judge(embedder, of_source, of_target, galleries) for embedder in embedders], ""
    return [], "no embedder that had no part in building the sets: " + "; ".join(reasons)


def _gallery(faces: FaceSet, embedders: Sequence[Embedder], count: int) -> _Vectors:
    """The vectors of some faces, spread evenly over the set."""
    chosen = spread_evenly(len(faces.faces), count)

    def embed(embedder: Embedder, places: Int[np.ndarray, " k"]) -> list[np.ndarray]:
        return [_embedding(faces.faces[place], embedder) for place in places]

    with ThreadPoolExecutor(len(embedders)) as pool:
        parts = pool.map(embed, embedders, np.array_split(chosen, len(embedders)))
        return np.stack([vector for part in parts for vector in part])


def _embedding(face: StoredFace, embedder: Embedder) -> Float[np.ndarray, " d"]:
    record = face.record
    points = transform_points(record.landmarks.astype(np.float64), record.frame_to_crop)
    return embedder(read_image(face.path), five_points(points, record.landmarks_pack))
