"""Embedders: a face as a vector, near those of the same person and far from those of others."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ..errors import FaceswapError, UsageError
from ..geometry import fit_similarity, invert_similarity, similarity_scale, transform_points
from ..metrics.landmarks import CANONICAL_FIVE
from .align import align, cut_crop
from .weights import connect, find_weights

DistanceMetric = Literal["cosine", "euclidean"]
_Picture = UInt8[np.ndarray, "h w 3"]
_Five = Float[np.ndarray, "5 2"]
_Vector = Float[np.ndarray, " d"]


@runtime_checkable
class Embedder(Protocol):
    """The vector of the face whose five points are given.

    `same_person`: two faces nearer than this, by `metric`, are taken for one person.
    """

    name: str
    metric: DistanceMetric
    same_person: float

    def __call__(self, image: _Picture, five: _Five) -> _Vector:
        """The face's vector."""


def embedding_distance(a: _Vector, b: _Vector, metric: DistanceMetric) -> float:
    """0 for equal vectors. cosine: 1 - cosine, up to 2; euclidean: the length of the difference."""
    if metric == "euclidean":
        return float(np.linalg.norm(a.astype(np.float64) - b))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 1.0 - float(np.dot(a.astype(np.float64), b)) / (lengths + 1e-12)


def distances_to(
    centre: _Vector, vectors: Float[np.ndarray, "n d"], metric: DistanceMetric
) -> Float[np.ndarray, " n"]:
    """How far each vector is from one: the metric of `embedding_distance`, for many."""
    if metric == "euclidean":
        return np.linalg.norm(vectors - centre, axis=1)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(centre)
    return 1 - vectors @ centre / (lengths + 1e-12)


class Person(NamedTuple):
    """Somebody, as an embedder sees him: faces nearer to `center` than `same_person` are his."""

    center: _Vector
    metric: DistanceMetric
    same_person: float

    def distances(self, vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """To the person, in units of `same_person`."""
        rows = vectors.astype(np.float64)
        return distances_to(self.center, rows, self.metric) / self.same_person


# ArcFace's 112 px template: the canonical face at this scale and place.
_ARCFACE_EYES_PX = 35.237
_ARCFACE_ORIGIN = np.array([55.913, 51.599])


class MobileFaceNet:
    """Chen et al. 2018, "MobileFaceNets"; 128-d, ArcFace-aligned; through OpenCV."""

    name = "mobilefacenet"
    metric: DistanceMetric = "cosine"
    # Pairs of ten people's clips and photos of six, aligned by the mesh: same <= .42, a head turned
    # or leaning by 45 degrees <= .58; others >= .57, 99 % of them >= .70.
    same_person = 0.55

    def __init__(self, weights: str) -> None:
        self._net = cv2.dnn.readNetFromONNX(weights)

    def __call__(self, image: _Picture, five: _Five) -> _Vector:
        """A vector of length 1."""
        template = CANONICAL_FIVE * _ARCFACE_EYES_PX + _ARCFACE_ORIGIN
        crop = cut_crop(image, fit_similarity(five, template), 112)
        self._net.setInput(cv2.dnn.blobFromImage(crop, 1 / 128, mean=(127.5, 127.5, 127.5)))
        return _unit(self._net.forward()[0])


class FaceNet:
    """Schroff et al. 2015, "FaceNet"; facenet-pytorch's InceptionResnetV1 on VGGFace2; 512-d."""

    name = "facenet"
    metric: DistanceMetric = "cosine"
    same_person = 0.4
    # The net was trained on MTCNN boxes with a margin, 160 px: about this much of the head.
    _COVERAGE = 3.0

    def __init__(self, net: Any) -> None:
        self._net = net

    def __call__(self, image: _Picture, five: _Five) -> _Vector:
        """A vector of length 1."""
        import torch

        crop = cut_crop(image, align(five, "five", self._COVERAGE, 160), 160)
        batch = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            return _unit(self._net((batch - 127.5) / 128)[0].numpy())


class Dlib:
    """King 2017, dlib's ResNet metric network; 128-d; the independent judge of evaluation."""

    name = "dlib"
    metric: DistanceMetric = "euclidean"
    # The same pairs: same person <= .47, others >= .60.
    same_person = 0.54

    def __init__(self, dlib: Any, models: Path) -> None:
        self._dlib = dlib
        self._points = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        weights = models / "dlib_face_recognition_resnet_model_v1.dat"
        self._net = dlib.face_recognition_model_v1(str(weights))

    def __call__(self, image: _Picture, five: _Five) -> _Vector:
        """A vector; its chip is cut by dlib's own points in the rectangle dlib would have found."""
        to_frame = invert_similarity(fit_similarity(five, CANONICAL_FIVE))
        centre = transform_points(self._BOX_CENTRE, to_frame)[0]
        half = self._BOX_EDGE * similarity_scale(to_frame) / 2
        corners = np.concatenate([centre - half, centre + half])
        box = self._dlib.rectangle(*(round(float(corner)) for corner in corners))
        image = np.ascontiguousarray(image)
        chip_points = self._points(image, box)
        return np.array(self._net.compute_face_descriptor(image, chip_points), np.float32)

    _BOX_CENTRE = np.array([[0.0, 0.55]])
    _BOX_EDGE = 2.5


def _unit(vector: _Vector) -> _Vector:
    return (vector / (np.linalg.norm(vector) + 1e-12)).astype(np.float32)


def build_dlib() -> Embedder:
    """dlib's network. Raises: FaceswapError when the extra is not installed."""
    # The models' package is located, not imported: some versions import pkg_resources, which newer
    # setuptools no longer have.
    found = importlib.util.find_spec("face_recognition_models")
    try:
        import dlib
    except ImportError:
        found = None
    if found is None or not found.submodule_search_locations:
        raise FaceswapError("embedder dlib: not installed; pip install 'faceswap_lite[dlib]'")
    return Dlib(dlib, Path(next(iter(found.submodule_search_locations))) / "models")


FACENET_FILE = "20180402-114759-vggface2.pt"
FACENET_ADDRESS = (
    f"https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/{FACENET_FILE}"
)


def facenet_file() -> Path:
    """Where facenet-pytorch keeps FaceNet's weights, whether or not they are there."""
    from facenet_pytorch.models.inception_resnet_v1 import get_torch_home

    return Path(get_torch_home()) / "checkpoints" / FACENET_FILE


def build_facenet() -> Embedder:
    """FaceNet; facenet-pytorch fetches it into its own cache. Raises: FaceswapError offline."""
    from facenet_pytorch import InceptionResnetV1

    try:
        if not facenet_file().is_file():
            # Their download has no time-out of its own.
            connect(FACENET_ADDRESS).close()
        return FaceNet(InceptionResnetV1(pretrained="vggface2").eval())
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise FaceswapError(
            f"weights of facenet: {FACENET_FILE} could not be fetched ({reason}); put it into "
            f"{facenet_file().parent} by hand, or choose embedder none"
        ) from error


def build_embedder(name: str) -> Embedder:
    """The embedder of that name.

    Raises: UsageError for an unknown name; FaceswapError when weights or packages are missing.
    """
    if name not in EMBEDDERS:
        raise UsageError(f"embedder {name}: unknown; choose one of {', '.join(EMBEDDERS)}")
    return EMBEDDERS[name]()


def distance_rule(name: str) -> tuple[DistanceMetric, float]:
    """The metric of an embedder's vectors, and its `same_person`; needs no weights."""
    kind = _KINDS[name]
    return kind.metric, kind.same_person


_KINDS: dict[str, type[MobileFaceNet] | type[FaceNet] | type[Dlib]] = {
    kind.name: kind for kind in (MobileFaceNet, FaceNet, Dlib)
}

EMBEDDERS: dict[str, Callable[[], Embedder]] = {
    "mobilefacenet": lambda: MobileFaceNet(str(find_weights("mobilefacenet"))),
    "facenet": build_facenet,
    "dlib": build_dlib,
}
