"""A pack: the detector, the landmarker and the embedder that find faces together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from ..errors import FaceswapError, UsageError
from ..media.clips import Pixels, as_uint8
from ..metrics.landmarks import LandmarksPack, five_points
from .detect import Detection, Detector, build_mtcnn, build_yunet
from .embed import EMBEDDERS, Embedder, facenet_file
from .landmarkers import LANDMARKERS, MIN_PRESENCE, Landmarker
from .weights import weights_folders

DEFAULT_MIN_CONFIDENCE = 0.8

_Part = TypeVar("_Part")


@dataclass(frozen=True)
class FoundFace:
    """A detection with its landmarks (pixels of the picture) and its embedding.

    `presence`: how surely the landmarks lie on a face, 0 to 1; None when the landmarker cannot say.
    `embedding`: None without an embedder, and where presence is below MIN_PRESENCE.
    """

    detection: Detection
    landmarks: Float[np.ndarray, "n 2"]
    embedding: Float[np.ndarray, " d"] | None
    presence: float | None = None


@dataclass
class FacePack:
    """Finds faces. `notes` says what `auto` took and why. One thread at a time."""

    detector_name: str
    landmarks_name: LandmarksPack
    embedder_name: str | None
    detector: Detector
    landmarker: Landmarker
    embedder: Embedder | None
    notes: list[str] = field(default_factory=list)

    def find(
        self,
        image: Pixels,
        *,
        min_confidence: float | int | None = None,
        min_presence: float | int = MIN_PRESENCE,
    ) -> list[FoundFace]:
        """The faces of a picture from left to right."""
        image = as_uint8(image)
        confidence = DEFAULT_MIN_CONFIDENCE if min_confidence is None else min_confidence
        faces = []
        for detection in self.detector(image, confidence):
            landmarks = self.landmarker(image, detection)
            if landmarks.presence is not None and landmarks.presence < min_presence:
                continue
            embedding = None
            lies = landmarks.presence is None or landmarks.presence >= MIN_PRESENCE
            if self.embedder is not None and lies:
                # The mesh's points are surer than the detector's where a head leans or turns.
                five = five_points(landmarks.points, self.landmarks_name)
                embedding = self.embedder(image, five)
            faces.append(FoundFace(detection, landmarks.points, embedding, landmarks.presence))
        return faces


def build_pack(
    detector: str = "auto",
    landmarks: str = "auto",
    embedder: str = "auto",
    *,
    min_face_px: int = 20,
    max_edge_px: int = 1280,
) -> FacePack:
    """The pack of these names. `auto` takes what is best and there (or can be fetched).

    Raises: UsageError for an unknown name; FaceswapError for a named part that cannot be had.
    """
    missing: list[str] = []
    detectors = {
        name: partial(builder, min_face_px, max_edge_px) for name, builder in DETECTORS.items()
    }
    finder_name, finder = _choose("detector", detector, detectors, _AUTO_DETECTORS, missing)
    points_name, landmarker = _choose("landmarks", landmarks, LANDMARKERS, _AUTO_LANDMARKS, missing)
    vectors_name, built_embedder = _choose_embedder(embedder, missing)
    asked = {"detector": detector, "landmarks": landmarks, "embedder": embedder}
    chosen = zip(asked.items(), (finder_name, points_name, vectors_name), strict=True)
    taken = [f"{kind} {name}" for (kind, wish), name in chosen if wish == "auto"]
    notes = [f"auto chose {', '.join(taken)}"] if taken else []
    if missing:
        notes.append(
            f"better would be {', '.join(missing)}, but its weights are not in "
            f"{weights_folders()[0]} and could not be fetched"
        )
    return FacePack(
        detector_name=finder_name,
        landmarks_name="mesh" if points_name == "mesh" else "five",
        embedder_name=None if built_embedder is None else vectors_name,
        detector=finder,
        landmarker=landmarker,
        embedder=built_embedder,
        notes=notes,
    )


def _choose(
    kind: str,
    name: str,
    builders: Mapping[str, Callable[[], _Part]],
    order: tuple[str, ...],
    missing: list[str],
) -> tuple[str, _Part]:
    """The part of that name; for `auto` the first of `order` that can be had.

    What could not be had is added to `missing`.
    """
    if name != "auto":
        if name not in builders:
            raise UsageError(f"{kind} {name}: unknown; choose one of auto, {', '.join(builders)}")
        return name, builders[name]()
    for candidate in order[:-1]:
        try:
            return candidate, builders[candidate]()
        except FaceswapError:
            missing.append(candidate)
    return order[-1], builders[order[-1]]()


def _choose_embedder(name: str, missing: list[str]) -> tuple[str, Embedder | None]:
    if name == "none":
        return name, None
    if name != "auto":
        return _choose("embedder", name, EMBEDDERS, (), missing)
    try:
        return "mobilefacenet", EMBEDDERS["mobilefacenet"]()
    except FaceswapError:
        missing.append("mobilefacenet")
    # A download of 110 MB: taken only when it is there already.
    if facenet_file().is_file():
        return "facenet", EMBEDDERS["facenet"]()
    return "none", None


# Best first; the last needs no weights.
_AUTO_DETECTORS = ("yunet", "mtcnn")
_AUTO_LANDMARKS = ("mesh", "five")

DETECTORS: dict[str, Callable[[int, int], Detector]] = {"yunet": build_yunet, "mtcnn": build_mtcnn}
"""Builders, given the smallest face and the longest side that are looked at, in pixels."""
