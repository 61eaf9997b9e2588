import numpy as np
import pytest

from faceswap_lite.latent.counterfactual import (
    explained_shares,
    identity_accuracy,
    identity_logit,
    one_deviation,
)
from faceswap_lite.metrics.distributions import principal_axes


def two_people(seed: int = 0, apart: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of two people of one shape, and the vector between them."""
    rng = np.random.default_rng(seed)
    between = rng.normal(size=12)
    between *= apart / np.linalg.norm(between)
    mix = rng.normal(size=(12, 12)) * 0.3 + np.eye(12)
    source = rng.normal(size=(300, 12)) @ mix + between / 2
    target = rng.normal(size=(200, 12)) @ mix - between / 2
    return source, target, between


def test_principal_axes_are_those_of_the_covariance() -> None:
    codes, _, _ = two_people()
    axes, deviations = principal_axes(codes)
    values, vectors = np.linalg.eigh(np.cov(codes.T, bias=True))
    np.testing.assert_allclose(deviations**2, values[::-1], rtol=1e-9)
    np.testing.assert_allclose(np.abs((axes * vectors[:, ::-1]).sum(0)), 1, rtol=1e-9)
    largest = axes[np.abs(axes).argmax(0), np.arange(12)]
    assert (largest > 0).all()


def test_one_deviation_is_the_spread_along_the_direction() -> None:
    codes, _, _ = two_people()
    axes, deviations = principal_axes(codes)
    np.testing.assert_allclose(one_deviation(-7 * axes[:, 2], codes), -deviations[2] * axes[:, 2])


def test_identity_logit_is_that_of_two_gaussians() -> None:
    rng = np.random.default_rng(1)
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    means = np.array([2.0, 0.0]), np.array([-0.5, 1.0])
    source, target = (rng.multivariate_normal(m, covariance, 20000) for m in means)
    weights, offset = identity_logit(source, target)
    point = np.array([0.3, -0.4])
    inverse = np.linalg.inv(covariance)
    wanted = [-(point - m) @ inverse @ (point - m) / 2 for m in means]
    # Some for sampling, some for the shrinkage.
    assert weights @ point + offset == pytest.approx(wanted[0] - wanted[1], abs=0.15)


def test_identity_accuracy_over_unseen_stretches() -> None:
    for apart, low, high in ((6.0, 0.97, 1.0), (0.0, 0.35, 0.65)):
        source, target, _ = two_people(apart=apart)
        is_source = np.arange(500) < 300
        clips = ["a"] * 100 + ["b"] * 100 + ["c"] * 100 + ["d"] * 200
        accuracy = identity_accuracy(np.concatenate([source, target]), is_source, clips)
        assert low <= accuracy <= high


def test_identity_accuracy_does_not_learn_clips_by_heart() -> None:
    """Every clip in a corner of its own: only clips that were seen could be told apart."""
    rng = np.random.default_rng(4)
    corners = rng.normal(size=(6, 40)) * 5
    codes = np.repeat(corners, 50, 0) + rng.normal(size=(300, 40)) * 0.1
    clips = [name for name in "abcdef" for _ in range(50)]
    accuracy = identity_accuracy(codes, np.arange(300) < 150, clips)
    assert accuracy < 0.9


def test_explained_shares_add_up() -> None:
    source, target, between = two_people()
    weights, _ = identity_logit(source, target)
    axes, _ = principal_axes(np.concatenate([source, target]))
    shares = explained_shares(weights, between, axes)
    assert shares.sum() == pytest.approx(1)
    # A move along one axis is that axis's alone.
    alone = explained_shares(weights, axes[:, 3] * 2, axes)
    np.testing.assert_allclose(alone, np.arange(12) == 3, atol=1e-9)
