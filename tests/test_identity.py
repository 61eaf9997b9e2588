"""Whose faces: centres that strangers do not move, and people told apart, on planted vectors."""

import numpy as np
import pytest

from faceswap_lite.curation.identity import split_people, trimmed_centre
from faceswap_lite.faces.embed import DistanceMetric, distances_to, embedding_distance


def people(counts: list[int], spread: float = 0.04, dims: int = 128) -> np.ndarray:
    """Unit vectors of so many faces each of people that have nothing in common."""
    rng = np.random.default_rng(5)
    centres = np.linalg.qr(rng.normal(size=(dims, len(counts))))[0].T
    rows = [c + spread * rng.normal(size=(n, dims)) for c, n in zip(centres, counts, strict=True)]
    vectors = np.concatenate(rows)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_are_those_of_single_pairs(metric: DistanceMetric) -> None:
    vectors = people([3, 3])
    found = distances_to(vectors[0], vectors, metric)
    single = [embedding_distance(vectors[0], vector, metric) for vector in vectors]
    np.testing.assert_allclose(found, single, atol=1e-6)


def test_strangers_do_not_move_the_centre() -> None:
    vectors = people([80, 20])
    alone = vectors[:80].mean(0)
    assert embedding_distance(trimmed_centre(vectors, "cosine"), alone, "cosine") < 0.02
    assert embedding_distance(vectors.mean(0), alone, "cosine") > 0.02


def test_people_are_told_apart_most_faces_first() -> None:
    found = split_people(people([40, 60, 30]), "cosine", 0.55)
    assert found.tolist() == [1] * 40 + [0] * 60 + [2] * 30


def test_single_strangers_are_nobody() -> None:
    vectors = np.concatenate([people([97]), np.eye(128, dtype=np.float32)[[5, 9, 11]]])
    assert split_people(vectors, "cosine", 0.55).tolist() == [0] * 97 + [-1] * 3


def test_nobody_alike_is_no_person() -> None:
    assert set(split_people(np.eye(40, dtype=np.float32), "cosine", 0.55)) == {-1}
