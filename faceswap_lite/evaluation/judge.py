"""Who does the face look like? Asked of an embedder that had no part in building the sets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..config import EvaluateConfig
from ..errors import FaceswapError
from ..faces import (
    Embedder,
    FaceSet,
    build_embedder,
    embedding_distance,
    five_points,
    open_face_set,
    transform_points,
)
from ..media import read_image
from ..training import TrainedRun

# Best judges first; the one that built the sets is passed over.
JUDGES = ("dlib", "facenet", "mobilefacenet")


@dataclass(frozen=True)
class Judge:
    """An embedder and the mean of each identity's gallery."""

    embedder: Embedder
    source: Float[np.ndarray, " d"]
    target: Float[np.ndarray, " d"]

    def distances(self, embedding: Float[np.ndarray, " d"]) -> tuple[float, float]:
        """Distance to the source's and to the target's mean."""
        metric = self.embedder.metric
        return (
            embedding_distance(embedding, self.source, metric),
            embedding_distance(embedding, self.target, metric),
        )


def build_judge(run: TrainedRun, config: EvaluateConfig) -> tuple[Judge | None, str]:
    """The judge, or None and the reason why there is none."""
    try:
        sets = [open_face_set(Path(facts.path)) for facts in (run.facts.source, run.facts.target)]
    except FaceswapError as error:
        return None, f"a face set of the run cannot be opened ({error})"
    took_part = {face.record.embedder for faces in sets for face in faces.faces}
    wanted = JUDGES if config.judge == "auto" else (config.judge,)
    reasons = []
    for name in wanted:
        if name == "none":
            return None, "evaluate.judge is none"
        if name in took_part:
            reasons.append(f"{name} built the face sets")
            continue
        try:
            embedder = build_embedder(name)
            source, target = (_gallery_mean(faces, embedder, config.gallery) for faces in sets)
        except FaceswapError as error:
            reasons.append(str(error))
            continue
        return Judge(embedder, source, target), ""
    return None, "no embedder that had no part in building the sets: " + "; ".join(reasons)


def _gallery_mean(faces: FaceSet, embedder: Embedder, count: int) -> Float[np.ndarray, " d"]:
    chosen = np.unique(np.linspace(0, len(faces.faces) - 1, count).round().astype(int))
    embeddings = []
    for face in (faces.faces[i] for i in chosen):
        record = face.record
        points = transform_points(record.landmarks.astype(np.float64), record.frame_to_crop)
        five = five_points(points, record.landmarks_pack)
        embeddings.append(embedder(read_image(face.path), five))
    return np.mean(embeddings, axis=0)
