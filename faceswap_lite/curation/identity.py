"""Whose faces are these: distances to the set's own centre, and whether it holds several people."""

import numpy as np
from jaxtyping import Float, Int

from ..faces.embed import DistanceMetric, distances_to

TRIM_ROUNDS = 3
TRIM_KEPT = 0.7
"""Share of the faces nearest to the centre that the next centre is the mean of."""

MAX_PEOPLE = 8

MIN_SHARE = 0.02
"""Fewer faces than this share of a set are strangers, not a person of their own."""


def trimmed_centre(
    vectors: Float[np.ndarray, "n d"], metric: DistanceMetric
) -> Float[np.ndarray, " d"]:
    """The mean of the vectors without those farthest from it: strangers do not move it far.

    Begins at the median of every coordinate, and trims in three rounds.
    """
    centre = np.median(vectors, axis=0)
    for _ in range(TRIM_ROUNDS):
        distances = distances_to(centre, vectors, metric)
        kept = distances <= np.quantile(distances, TRIM_KEPT)
        centre = vectors[kept].mean(0)
    return centre


def split_people(
    vectors: Float[np.ndarray, "n d"], metric: DistanceMetric, same_person: float
) -> Int[np.ndarray, " n"]:
    """Which person each face is: 0 for the one with most faces, then 1, ...; -1: of no group.

    People are found one after the other: the next one's first guess is the face with most others
    within `same_person` among those that belong to nobody yet (looked for among 300 at most); a
    person's faces are those nearer to its trimmed centre than `same_person` and than to any other.
    """
    free = np.ones(len(vectors), bool)
    centres: list[np.ndarray] = []
    minimum = max(2, round(MIN_SHARE * len(vectors)))
    while len(centres) < MAX_PEOPLE and free.sum() >= minimum:
        places = np.flatnonzero(free)
        guesses = places[np.linspace(0, len(places) - 1, min(300, len(places))).astype(int)]
        near = [
            int((distances_to(vectors[guess], vectors[places], metric) <= same_person).sum())
            for guess in guesses
        ]
        first = vectors[guesses[int(np.argmax(near))]]
        own = places[distances_to(first, vectors[places], metric) <= same_person]
        if len(own) < minimum:
            break
        centre = trimmed_centre(vectors[own], metric)
        own = places[distances_to(centre, vectors[places], metric) <= same_person]
        if len(own) < minimum:
            break
        centres.append(trimmed_centre(vectors[own], metric))
        free[own] = False
    if not centres:
        return np.full(len(vectors), -1)
    distances = np.stack([distances_to(centre, vectors, metric) for centre in centres], 1)
    people = np.where(distances.min(1) <= same_person, distances.argmin(1), -1)
    counts = np.bincount(people[people >= 0], minlength=len(centres))
    rank = np.empty(len(centres), int)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(centres))
    return np.where(people >= 0, rank[people], -1)
