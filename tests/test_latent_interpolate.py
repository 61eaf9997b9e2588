import numpy as np
import pytest
from scipy.spatial import geometric_slerp

from faceswap_lite.latent.interpolate_stage import lerp, path_errors, slerp


def test_lerp_of_codes_and_of_pictures() -> None:
    a, b = np.zeros(3), np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(lerp(a, b, 5)[:, 2], [0, 1, 2, 3, 4])
    pictures = lerp(np.zeros((2, 2, 3)), np.ones((2, 2, 3)), 3)
    assert pictures.shape == (3, 2, 2, 3)
    np.testing.assert_allclose(pictures[1], 0.5)


def test_slerp_is_scipys_for_unit_vectors() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    np.testing.assert_allclose(slerp(a, b, 7), geometric_slerp(a, b, np.linspace(0, 1, 7)))


def test_slerp_keeps_length_where_the_straight_line_loses_it() -> None:
    a, b = np.array([3.0, 0.0]), np.array([0.0, 5.0])
    np.testing.assert_allclose(np.linalg.norm(slerp(a, b, 5), axis=1), [3, 3.5, 4, 4.5, 5])
    np.testing.assert_allclose(slerp(a, b, 5)[[0, -1]], [a, b], atol=1e-12)
    assert np.linalg.norm(lerp(a, b, 5)[2]) < 3


@pytest.mark.parametrize("b", [[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
def test_slerp_without_an_arc_is_a_straight_line(b: list[float]) -> None:
    a = np.array([1.0, 0.0])
    np.testing.assert_allclose(slerp(a, np.array(b), 5), lerp(a, np.array(b), 5))


def test_path_errors_are_in_eye_distances() -> None:
    ends = np.array([[[0.0, 0.0], [0.2, 0.0]], [[0.1, 0.0], [0.3, 0.0]]])
    straight = lerp(ends[0], ends[1], 5)
    np.testing.assert_allclose(path_errors(straight, 0.3), 0, atol=1e-12)
    off = straight.copy()
    off[2, 0] += [0.03, 0.04]
    np.testing.assert_allclose(path_errors(off, 0.3), [0, 0, 0.05 / 0.3 / 2, 0, 0], atol=1e-12)
    off[1] = np.nan
    assert np.isnan(path_errors(off, 0.3)).tolist() == [False, True, False, False, False]
