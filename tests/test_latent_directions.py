import numpy as np
import pytest
from scipy.optimize import curve_fit

from faceswap_lite.latent.directions import (
    Direction,
    bent_pattern,
    blocked_folds,
    chosen_penalty,
    cross_validated_r2,
    pattern,
    ridge,
    sweep_codes,
    sweep_figures,
)

ONE_CLIP = ["a"]


def planted(seed: int = 0, faces: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes that carry an attribute along a known vector under strong noise that they share.

    Values wander slowly, as a head's do. The noise lies along a few directions, one of them near
    the attribute's, so that reading it off means cancelling.
    """
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.normal(size=faces)) / 10
    values = (values - values.mean()) / values.std() * 5
    true = rng.normal(size=32)
    distractors = rng.normal(size=(6, 32))
    distractors[0] = true + 0.2 * rng.normal(size=32)
    noise = rng.normal(size=(faces, 6)) * [6, 3, 3, 3, 3, 3]
    codes = values[:, None] * true + noise @ distractors + 0.05 * rng.normal(size=(faces, 32))
    return codes, values, true


def painted(codes: np.ndarray, true: np.ndarray) -> np.ndarray:
    """What a decoder shows that only knows codes of faces: it projects along the true vector."""
    return codes @ true / float(true @ true)


def test_pattern_finds_the_planted_vector_where_ridge_weights_do_not() -> None:
    codes, values, true = planted(faces=4000)
    found = pattern(codes, values)
    penalty = chosen_penalty(codes, values, ONE_CLIP * len(values))
    weights, _ = ridge(codes, values, penalty)
    assert cross_validated_r2(codes, values, ONE_CLIP * len(values)) > 0.9
    steps = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    slopes = {}
    # The shortest change of a code that makes these weights read a rise by 1.
    as_direction = weights / float(weights @ weights)
    for name, line in {"pattern": found, "weights": as_direction}.items():
        direction = Direction(line, np.zeros(32), float(values.mean()), float(values.std()))
        moved = sweep_codes(direction, codes[:8], values[:8], steps)
        slopes[name], rising = sweep_figures(steps * direction.deviation, painted(moved, true))
        assert rising == 1.0 or name == "weights"
    assert slopes["pattern"] == pytest.approx(1, abs=0.2)
    assert weights @ as_direction == pytest.approx(1)
    # They read the attribute all but perfectly, and a face moved along them hardly changes.
    assert slopes["weights"] < 0.5 * slopes["pattern"]
    assert float(found @ true) / np.linalg.norm(found) / np.linalg.norm(true) > 0.95


def test_pattern_is_the_regression_of_each_number_on_the_attribute() -> None:
    codes, values, _ = planted()
    slopes = [np.polyfit(values, column, 1)[0] for column in codes.T]
    np.testing.assert_allclose(pattern(codes, values), slopes, rtol=1e-9)


def test_bent_pattern_is_a_quadratic_fit_of_each_number() -> None:
    codes, values, _ = planted()
    line, bend = bent_pattern(codes, values)
    for place in (0, 7):
        fit, _ = curve_fit(
            lambda u, zero, one, two: zero + one * u + two * u * u,
            values - values.mean(),
            codes[:, place],
        )
        np.testing.assert_allclose([line[place], bend[place]], fit[1:], rtol=1e-5, atol=1e-6)


def test_a_code_on_a_curve_stays_on_it() -> None:
    values = np.linspace(-3, 7, 40)
    curve = np.stack([values, values**2, 2 - values], 1)
    line, bend = bent_pattern(curve, values)
    direction = Direction(line, bend, float(values.mean()), 1.0)
    np.testing.assert_allclose(direction.moved(curve[5], values[5], 2.5), [
        values[5] + 2.5, (values[5] + 2.5) ** 2, 2 - values[5] - 2.5
    ])  # fmt: skip
    moved = sweep_codes(direction, curve[:2], values[:2], np.array([-1.0, 0.0, 3.0]))
    assert moved.shape == (2, 3, 3)
    np.testing.assert_allclose(moved[:, 1], curve[:2])
    np.testing.assert_allclose(moved[1, 2, 0], values[1] + 3)


def test_what_never_varies_has_no_direction() -> None:
    codes, _, _ = planted()
    for still in (np.full(600, 0.1), np.zeros(600)):
        with pytest.raises(ValueError, match="never varies"):
            pattern(codes, still)
        with pytest.raises(ValueError, match="never varies"):
            bent_pattern(codes, still)
        with pytest.raises(ValueError, match="never varies"):
            cross_validated_r2(codes, still, ONE_CLIP * 600)


def test_ridge_is_least_squares_with_a_penalty() -> None:
    codes, values, _ = planted(faces=100)
    penalty = 0.3
    weights, offset = ridge(codes, values, penalty)
    # The same as plain least squares with the penalty as more rows, the offset left free.
    centered = codes - codes.mean(0)
    held = np.sqrt(penalty * np.square(centered).sum() / 32) * np.eye(32)
    rows = np.concatenate([np.c_[codes, np.ones(100)], np.c_[held, np.zeros(32)]])
    wanted = np.linalg.lstsq(rows, np.r_[values, np.zeros(32)], rcond=None)[0]
    np.testing.assert_allclose(np.r_[weights, offset], wanted, rtol=1e-6, atol=1e-9)


def test_folds_of_one_clip_are_stretches_with_gaps() -> None:
    folds = blocked_folds(["a"] * 100, 5, gap=3)
    assert [judged.tolist() for _, judged in folds] == [
        list(range(start, start + 20)) for start in range(0, 100, 20)
    ]
    learned = folds[1][0].tolist()
    assert learned == [*range(17), *range(43, 100)]
    assert folds[0][0].tolist() == list(range(23, 100))


def test_clips_stay_together_when_there_are_enough() -> None:
    clips = ["a"] * 30 + ["b"] * 25 + ["c"] * 30 + ["d"] * 15
    folds = blocked_folds(clips, 5)
    names = np.array(clips)
    for learned, judged in folds:
        assert not {*names[learned]} & {*names[judged]}
    assert len(folds) == 4
    assert sorted(np.concatenate([judged for _, judged in folds]).tolist()) == list(range(100))


def test_one_huge_clip_is_cut_all_the_same() -> None:
    clips = ["a"] * 5 + ["b"] * 200 + ["c"] * 5
    folds = blocked_folds(clips, gap=4)
    assert sorted(np.concatenate([judged for _, judged in folds]).tolist()) == list(range(210))
    for learned, judged in folds:
        assert len(judged) <= 105
        near = {i for i in learned if clips[i] == "b" and judged.min() - 4 <= i <= judged.max() + 4}
        assert not near


@pytest.mark.parametrize(("faces", "count"), [(3, 5), (10, 1)])
def test_too_few_faces_make_no_folds(faces: int, count: int) -> None:
    with pytest.raises(ValueError, match="folds"):
        blocked_folds(["a"] * faces, count)


def test_neighbours_in_time_do_not_leak_into_r2() -> None:
    """Codes that only know the time: random frames would read a slow attribute off them."""
    rng = np.random.default_rng(3)
    times = np.arange(400) / 400
    bumps = np.exp(-np.square((times[:, None] - rng.uniform(size=60)) / 0.01) / 2)
    values = np.cumsum(rng.normal(size=400))
    # By frames at random the same codes tell it all but perfectly.
    order = rng.permutation(400)
    learned, judged = order[:320], order[320:]
    weights, offset = ridge(bumps[learned], values[learned], 1e-3)
    told = bumps[judged] @ weights + offset
    random_r2 = (
        1
        - np.square(values[judged] - told).sum()
        / np.square(values[judged] - values[judged].mean()).sum()
    )
    assert random_r2 > 0.6
    assert cross_validated_r2(bumps, values, ONE_CLIP * 400) < 0.2


def test_r2_of_codes_that_know_nothing_is_no_better_than_the_mean() -> None:
    _, values, _ = planted()
    noise = np.random.default_rng(9).normal(size=(600, 32))
    assert cross_validated_r2(noise, values, ONE_CLIP * 600) < 0.05


def test_sweep_figures() -> None:
    requested = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    slope, rising = sweep_figures(requested, 7 + np.outer([0.5, 0.7], requested))
    assert slope == pytest.approx(0.6)
    assert rising == 1.0
    assert sweep_figures(requested, np.array([[0.0, 0, 0, 1, 2]]))[1] == 0.5
    back = np.array([[0.0, 1.0, 2.0, 1.0, 3.0]])
    # Changes -2 -1 0 -1 1 against -2 -1 0 1 2.
    assert sweep_figures(requested, back) == (pytest.approx(6 / 10), 0.75)
    slope, rising = sweep_figures(requested, np.array([[np.nan, -1.0, 0.0, 1.0, 2.0]]))
    assert (slope, rising) == (pytest.approx(1.0), 1.0)
    assert np.isnan(sweep_figures(requested, np.full((2, 5), np.nan))).all()


def test_nothing_is_written_into_arguments() -> None:
    codes, values, _ = planted(faces=60)
    before = codes.copy(), values.copy()
    cross_validated_r2(codes, values, ONE_CLIP * 60)
    pattern(codes, values)
    np.testing.assert_array_equal(codes, before[0])
    np.testing.assert_array_equal(values, before[1])
