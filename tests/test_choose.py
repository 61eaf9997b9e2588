"""The best few of many: all corners covered, the crowd not forgotten, quality counts."""

import numpy as np

from faceswap_lite.curation.choose import farthest_points


def crowd() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 0.3, (400, 3)), [[4, 0, 0], [-4, 0, 0], [0, 4, 0]]])


def test_the_rim_is_covered_and_the_middle_not_starved() -> None:
    points = crowd()
    chosen = farthest_points(points, np.ones(len(points)), 40)
    assert len(set(chosen)) == 40
    assert {400, 401, 402} <= set(chosen)
    near = np.linalg.norm(points[chosen], axis=1) < 0.5
    assert near.sum() >= 10


def test_of_two_alike_the_better_is_chosen() -> None:
    points = np.repeat([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]], 2, axis=0)
    quality = np.array([0.2, 1.0, 1.0, 0.2, 0.2, 1.0])
    assert sorted(farthest_points(points, quality, 5)[:3]) == [1, 2, 5]
