"""Equal pictures, and nearly equal ones that are not."""

import cv2
import numpy as np

from faceswap_lite.curation.duplicates import hash_distances, near_duplicates, perceptual_hash


def view(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)


def recoded(picture: np.ndarray, quality: int) -> np.ndarray:
    file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))


def brighter(picture: np.ndarray) -> np.ndarray:
    """By as much as coding a frame anew may change it."""
    noise = np.random.default_rng(9).integers(0, 2, picture.shape[:2])[..., None]
    return np.clip(picture.astype(int) + noise, 0, 255).astype(np.uint8)


def found(views: list[np.ndarray], sharpness: list[float], **rest: object) -> dict[int, int]:
    hashes = np.array([perceptual_hash(v) for v in views])
    vectors = rest.get("vectors")
    assert vectors is None or isinstance(vectors, np.ndarray)
    return near_duplicates(hashes, np.stack(views), vectors, np.array(sharpness), 0.1)


def test_hashes_tell_pictures_apart_and_bear_recoding() -> None:
    one = perceptual_hash(view(0))
    others = np.array([perceptual_hash(recoded(view(0), 90)), perceptual_hash(view(1))])
    near, far = hash_distances(one, others)
    assert near <= 4 and far > 15
    assert hash_distances(one, np.array([one], np.uint64)).tolist() == [0]


def test_the_sharpest_of_equal_pictures_stays() -> None:
    views = [view(0), brighter(view(0)), view(1), view(0)]
    assert found(views, [0.2, 0.3, 0.2, 0.1]) == {0: 1, 3: 1}


def test_a_moved_face_is_no_duplicate() -> None:
    moved = np.roll(view(0), 2, axis=1)
    assert found([view(0), moved], [0.2, 0.1]) == {}


def test_other_embeddings_are_other_faces() -> None:
    vectors = np.array([[1.0, 0.0], [0.9, 0.436]], np.float32)
    assert found([view(0), view(0)], [0.2, 0.1], vectors=vectors) == {}
    assert found([view(0), view(0)], [0.2, 0.1], vectors=vectors[[0, 0]]) == {1: 0}
