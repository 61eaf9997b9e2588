"""The best few faces of many: good ones that cover pose, expression and light."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..faces.face_set import FaceSet
from .decisions import Decision
from .measures import Measures
from .verdicts import attribute_steps

LIGHT_STEP = 0.1
"""Brightness so far apart counts as one step, like 10 degrees of yaw."""

QUALITY_STEPS = 0.5
"""How many steps of distance a face as sharp as none would have to make up for."""


def choose_best(
    faces: FaceSet, measures: Measures, decisions: Sequence[Decision], count: int
) -> list[int]:
    """Places of at most `count` kept faces, in the order of the set."""
    kept = np.array([place for place, decision in enumerate(decisions) if decision.kept], int)
    if len(kept) <= count:
        return kept.tolist()
    points = np.column_stack([attribute_steps(faces), measures.light / LIGHT_STEP])[kept]
    sharpness = measures.sharpness[kept]
    quality = sharpness / max(float(np.quantile(sharpness, 0.9)), 1e-9)
    return sorted(kept[farthest_points(points, np.clip(quality, 0, 1), count)].tolist())


def farthest_points(
    points: Float[np.ndarray, "n k"], quality: Float[np.ndarray, " n"], count: int
) -> list[int]:
    """Half of `count` places that lie far from each other, half that stand for the crowd.

    The first half: Gonzalez 1985, "Clustering to minimize the maximum intercluster distance": each
    time the point farthest from all chosen ones, beginning with the one nearest to the mean; a
    quality (0 to 1) below 1 takes up to QUALITY_STEPS off its distance. Alone it would choose the
    rim of the set and starve its middle: the second half are the best of as many equal parts of the
    rest, in the order of their first principal direction.
    """
    penalty = QUALITY_STEPS * (1 - quality)
    first = int(np.argmin(np.linalg.norm(points - points.mean(0), axis=1) + penalty))
    chosen = [first]
    nearest = np.linalg.norm(points - points[first], axis=1)
    while len(chosen) < (count + 1) // 2:
        gain = nearest - penalty
        gain[chosen] = -np.inf
        far = int(np.argmax(gain))
        chosen.append(far)
        nearest = np.minimum(nearest, np.linalg.norm(points - points[far], axis=1))
    if len(chosen) >= count:
        return chosen
    rest = np.setdiff1d(np.arange(len(points)), chosen)
    centred = points[rest] - points[rest].mean(0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    ordered = rest[np.argsort(centred @ direction, kind="stable")]
    parts = np.array_split(ordered, count - len(chosen))
    return chosen + [int(part[np.argmax(quality[part])]) for part in parts if len(part)]
