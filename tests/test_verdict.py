"""The verdict on planted curves, planted sets, and what must not be taken for either."""

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from faceswap_lite.config_files import load_config
from faceswap_lite.curation.pose_coverage import Attributes, Coverage, coverage
from faceswap_lite.evaluation.verdict import (
    MIN_LOOKS,
    ORDER,
    Evidence,
    beyond_both,
    is_augmented,
    lacking_in_source,
    trend,
    verdict,
)
from faceswap_lite.metrics.intervals import Interval
from faceswap_lite.runs.log import History

STEPS = np.arange(0, 3100, 100)
FALLING = np.r_[6.0, 2 * (STEPS[1:] / 100.0) ** -0.4]
SETTLED = 1 + 5 * np.exp(-STEPS / 200)
# From 1 at step 800 by 12 % to the end.
TURNING = SETTLED + 0.13 * np.maximum(0, STEPS - 800) / 2200


def wander(rng: np.random.Generator, looks: int, size: float, keep: float = 0.6) -> np.ndarray:
    """What held-out losses do from look to look: relative, each remembering the last."""
    noise = rng.normal(0, size * np.sqrt(1 - keep**2), looks)
    walk = np.zeros(looks)
    for place in range(looks):
        walk[place] = keep * walk[place - 1] + noise[place]
    return np.exp(walk)


def history(
    source: np.ndarray,
    target: np.ndarray | None = None,
    *,
    seen_db: np.ndarray | None = None,
    heldout_db: np.ndarray | None = None,
    loss: tuple[float, ...] = (4.0, 1.0),
) -> History:
    looks = len(source)
    target = source if target is None else target
    nothing = np.full(looks, np.nan)
    steps = STEPS[:looks]
    known: dict[str, Any] = {
        "step": steps,
        "seconds": steps / 10.0,
        "heldout": source + target,
        "heldout_source": source,
        "heldout_target": target,
        "loss_step": np.arange(10, 3001, 10),
        "loss": np.interp(np.arange(300), np.linspace(0, 299, len(loss)), loss),
    }
    for side in ("source", "target"):
        known[f"seen_{side}_psnr_db"] = nothing if seen_db is None else seen_db
        known[f"heldout_{side}_psnr_db"] = nothing if heldout_db is None else heldout_db
    return History(**{field.name: known.get(field.name, nothing) for field in fields(History)})


def evidence(of: History, **more: Any) -> Evidence:
    return Evidence(of, {"source": 40, "target": 50}, augmented=True, **more)


LEARNS = np.linspace(20, 34, len(STEPS))


def test_a_falling_curve_is_still_improving() -> None:
    found = verdict(evidence(history(FALLING)))
    assert found.kind == "still_improving" and found.further == []
    # (30 / 20) ** -0.4 is 15 % less; the median of three at the ends moves it a little.
    moves = trend(STEPS, FALLING)
    assert moves is not None and moves.steps == (2000, 3000)
    assert moves.change == pytest.approx(1.5**-0.4 - 1, abs=0.02)
    assert f"fell by {-100 * moves.change:.0f} % over the last third" in found.sentence
    assert "(steps 2,000 to 3,000)" in found.sentence


def test_a_curve_that_stands_still_is_a_plateau() -> None:
    found = verdict(evidence(history(SETTLED)))
    assert found.kind == "plateau" and "stop" in found.advice
    assert "steps 2,000 to 3,000" in found.sentence


def test_a_rise_while_seen_faces_get_better_is_over_fitting() -> None:
    of = history(TURNING, seen_db=LEARNS, heldout_db=np.full(len(STEPS), 28.0))
    found = verdict(evidence(of))
    assert found.kind == "over_fitting" and found.further == []
    moves = trend(STEPS, TURNING)
    assert moves is not None
    # The exact curve has its least where 5/200 exp(-s/200) = .13/2200 a step.
    minimum = -200 * np.log(0.13 / 2200 * 200 / 5)
    assert abs(moves.best_step - minimum) <= 200
    assert f"since step {moves.best_step:,}" in found.sentence
    # The smoothed curve lags at its end by a look or two.
    rise = 100 * (TURNING[-1] / TURNING.min() - 1)
    assert abs(float(found.sentence.split("up ")[1].split(" %")[0]) - rise) <= 2
    assert "6.0 dB better than unseen ones" in found.sentence


def test_figures_of_whole_sets_go_before_those_of_the_log() -> None:
    of = history(TURNING, seen_db=LEARNS, heldout_db=np.full(len(STEPS), 28.0))
    both = {"seen_db": {"source": Interval(33.0), "target": Interval(30.0, 29.5, 30.5)}}
    below = {"heldout_db": {"source": Interval(24.0), "target": Interval(27.0, 26.0, 28.0)}}
    found = verdict(evidence(of, **both, **below))
    assert "9.0 dB better" in found.sentence
    assert any("target: seen faces 30.0 dB (29.5 to 30.5)" in line for line in found.evidence)


def test_one_side_may_over_fit_while_the_sum_falls() -> None:
    of = history(0.3 * TURNING, FALLING, seen_db=LEARNS, heldout_db=np.full(len(STEPS), 29.0))
    found = verdict(evidence(of))
    assert found.kind == "over_fitting" and "the source's held-out loss up" in found.sentence
    assert [finding.kind for finding in found.further] == ["still_improving"]


def test_a_rise_in_which_seen_faces_get_worse_is_not_over_fitting() -> None:
    worse = np.r_[LEARNS[:10], np.linspace(LEARNS[10], 18, len(STEPS) - 10)]
    found = verdict(evidence(history(TURNING, seen_db=worse)))
    assert found.kind == "plateau" and "lower training.lr" in found.advice
    # A log without PSNR: the training loss tells.
    assert verdict(evidence(history(TURNING, loss=(4, 1, 2, 3)))).kind == "plateau"
    assert verdict(evidence(history(TURNING))).kind == "over_fitting"


def test_a_rise_without_a_gap_only_wanders() -> None:
    near, apart = (history(TURNING, seen_db=LEARNS, heldout_db=LEARNS - gap) for gap in (0.3, 3))
    assert verdict(evidence(near)).kind == "plateau"
    assert verdict(evidence(apart)).kind == "over_fitting"


def test_a_wide_gap_without_a_rise_is_over_fitting_unless_footage_explains_it() -> None:
    seen, heldout = LEARNS, LEARNS - 7
    of = history(SETTLED, seen_db=seen, heldout_db=heldout)
    found = verdict(evidence(of))
    assert found.kind == "over_fitting" and "no longer falls" in found.sentence
    # 1 + 5 exp(-s / 200) is within 3 % of 1 from step 1023 on.
    assert "since step 1,000" in found.sentence or "since step 1,100" in found.sentence
    narrow = history(SETTLED, seen_db=seen, heldout_db=LEARNS - 4)
    assert verdict(evidence(narrow)).kind == "plateau"
    explained = evidence(of, heldout_outside={"source": 0.6, "target": 0.4})
    found = verdict(explained)
    assert found.kind == "plateau" and any("missing footage" in line for line in found.evidence)


def test_few_looks_are_called_so() -> None:
    looks = MIN_LOOKS  # the one before the first step is none of them
    found = verdict(evidence(history(FALLING[:looks])))
    assert found.kind == "too_early" and f"{looks - 1} held-out losses" in found.sentence
    assert verdict(evidence(history(FALLING[: looks + 1]))).kind == "still_improving"
    assert verdict(evidence(history(FALLING[:0]))).kind == "too_early"


@pytest.mark.parametrize(
    ("curve", "right", "minimum"),
    [
        (FALLING, {"still_improving"}, 0.97),
        (SETTLED, {"plateau"}, 0.9),
        (TURNING, {"over_fitting"}, 0.9),
    ],
    ids=["falling", "settled", "turning"],
)
def test_noise_changes_few_verdicts(curve: np.ndarray, right: set[str], minimum: float) -> None:
    # 2 % of wander: what run logs of 64 px trainings show from look to look.
    rng = np.random.default_rng(0)
    found = [verdict(evidence(history(curve * wander(rng, len(curve), 0.02)))) for _ in range(200)]
    assert np.mean([one.kind in right for one in found]) >= minimum


def test_a_fall_within_the_scatter_is_not_called_one() -> None:
    jumpy = SETTLED * np.where(np.arange(len(SETTLED)) % 2, 1.06, 0.94)
    lower = np.where(STEPS >= 2000, 0.93, 1.0)
    found = verdict(evidence(history(jumpy * lower)))
    assert found.kind == "too_early" and "scatter" in found.sentence
    assert verdict(evidence(history(SETTLED * lower))).kind == "still_improving"


def test_no_bump_in_the_middle_and_no_freak_at_the_end_is_a_trend() -> None:
    # A bump of three looks, as real runs have them, within a curve that goes on falling.
    bump = FALLING.copy()
    bump[15:18] *= 1.06
    assert verdict(evidence(history(bump[:19]))).kind == "still_improving"
    freak = SETTLED.copy()
    freak[-1] *= 1.5
    assert verdict(evidence(history(freak))).kind == "plateau"
    freak[-1] = SETTLED[-1] * 0.6
    assert verdict(evidence(history(freak))).kind == "plateau"


def test_the_noise_is_that_of_single_looks() -> None:
    rng = np.random.default_rng(1)
    steps = 10 * np.arange(1, 3001)
    moves = trend(steps, np.exp(rng.normal(0, 0.05, 3000) - steps / 20000))
    assert moves is not None and moves.noise == pytest.approx(0.05, rel=0.1)


def attributes(
    rng: np.random.Generator, count: int = 300, **ranges: tuple[float, float]
) -> Attributes:
    usual = {
        "yaw_deg": (-25.0, 25.0), "pitch_deg": (-10.0, 10.0), "mouth": (0.0, 0.4),
        "eyes": (0.1, 0.3), "light": (0.4, 0.6),
    } | ranges  # fmt: skip
    return Attributes(**{name: rng.uniform(*span, count) for name, span in usual.items()})


def covered(
    source: dict[str, Any], target: dict[str, Any], clip: dict[str, Any]
) -> dict[str, Coverage]:
    rng = np.random.default_rng(2)
    shown = attributes(rng, 100, **clip)
    return {
        "source_clip": coverage(attributes(rng, **source), shown),
        "target_clip": coverage(attributes(rng, **target), shown),
    }


CLOSED = {"mouth": (0.0, 0.05)}
DARK = {"light": (0.05, 0.1)}
TURNED = {"yaw_deg": (-70.0, 70.0)}
NARROW = {"yaw_deg": (-8.0, 8.0)}


@pytest.mark.parametrize(
    ("source", "target", "clip", "kind", "words"),
    [
        ({}, {}, {}, "plateau", ""),
        (CLOSED, {}, {}, "data_limited", "no source mouth opens beyond 0.07 eye distances"),
        (NARROW, {}, {}, "data_limited", "no source face beyond 9° left"),
        ({}, CLOSED, {}, "plateau", ""),
        (CLOSED, CLOSED, {}, "out_of_range", "mouth opens beyond 0.07 eye distances"),
        ({}, {}, DARK, "out_of_range", "face is darker than 0.37 in light or skin"),
        ({}, {}, TURNED, "out_of_range", "face beyond 25° left"),
        # A dark source: another skin, no lack.
        ({"light": (0.1, 0.3)}, {}, {}, "plateau", ""),
    ],
)
def test_data_limited_and_out_of_range_are_told_apart(
    source: dict[str, Any], target: dict[str, Any], clip: dict[str, Any], kind: str, words: str
) -> None:
    found = verdict(evidence(history(SETTLED), **covered(source, target, clip)))
    assert found.kind == kind and words in found.sentence
    if kind != "plateau":
        assert [finding.kind for finding in found.further] == ["plateau"]


def test_shares_are_those_of_the_planted_frames() -> None:
    rng = np.random.default_rng(3)
    known = attributes(rng)
    shown = attributes(rng, 200)
    yaw, mouth = shown.yaw_deg.copy(), shown.mouth.copy()
    yaw[:30], yaw[30:50], mouth[40:70] = -50, 50, 0.9
    shown = replace(shown, yaw_deg=yaw, mouth=mouth)
    narrow = replace(known, mouth=known.mouth / 8)
    wide = replace(known, mouth=known.mouth * 3)
    beyond = beyond_both(coverage(narrow, shown), coverage(wide, shown))
    assert beyond is not None
    np.testing.assert_array_equal(np.flatnonzero(beyond.flags), np.arange(50))
    assert [share for _, share in beyond.what] == [0.15, 0.1]
    lacking = lacking_in_source(coverage(narrow, shown), coverage(wide, shown))
    np.testing.assert_array_equal(lacking.flags, shown.mouth > narrow.mouth.max() + 0.02)
    assert beyond_both(None, coverage(wide, shown)) is None


def test_distrust_and_a_bad_rebuild_are_out_of_range() -> None:
    base = evidence(history(SETTLED), trust_bound="error below 0.05")
    assert verdict(replace(base, trusted=0.9)).kind == "plateau"
    found = verdict(replace(base, trusted=0.2))
    assert found.kind == "out_of_range" and "20 % of it (error below 0.05)" in found.sentence
    rebuilt = replace(
        base, heldout_db={"target": Interval(30.0)}, clip_db=Interval(23.0, 22.0, 24.0)
    )
    assert "7.0 dB worse" in verdict(rebuilt).sentence
    assert verdict(replace(rebuilt, clip_db=Interval(25.0))).kind == "plateau"


def test_swapped_the_other_way_round_the_sides_are_named_and_compared_the_other_way() -> None:
    base = evidence(history(SETTLED), clip_db=Interval(23.0), shown="source")
    found = verdict(replace(base, heldout_db={"source": Interval(30.0), "target": Interval(24.0)}))
    assert "7.0 dB worse than held-out faces of the source" in found.sentence
    covers = covered(CLOSED, {}, {})
    lacking = verdict(evidence(history(SETTLED), shown="source", **covers))
    assert lacking.kind == "data_limited" and "no target mouth" in lacking.sentence
    assert lacking.advice.startswith("footage of the target")


def test_a_log_that_begins_late_has_a_trend_all_the_same() -> None:
    steps = np.arange(9000, 10000, 100)
    falling = trend(steps, np.linspace(2, 1, len(steps)))
    assert falling is not None and falling.falls and falling.steps[0] > steps[0]


def test_what_is_to_be_mended_first_comes_first() -> None:
    of = history(0.3 * TURNING, FALLING, seen_db=LEARNS, heldout_db=np.full(len(STEPS), 29.0))
    found = verdict(evidence(of, trusted=0.1, **covered(CLOSED, {}, TURNED)))
    kinds = [found.kind, *(finding.kind for finding in found.further)]
    assert kinds == ["out_of_range", "data_limited", "over_fitting", "still_improving"]
    assert kinds == sorted(kinds, key=ORDER.index)
    told = json.loads(json.dumps(found.to_json()))
    assert told["kind"] == "out_of_range" and told["further"][1]["kind"] == "over_fitting"


def test_any_move_or_warp_is_augmentation() -> None:
    still = [
        f"training.augment.{name}=0" for name in ("rotation_deg", "zoom", "shift", "warp", "flip")
    ]

    def augmented(*changes: str) -> bool:
        return is_augmented(load_config("demo", [*still, *changes]).training.augment)

    assert is_augmented(load_config("demo").training.augment)
    assert not augmented() and not augmented("training.augment.brightness=0.1")
    assert augmented("training.augment.warp=0.01") and augmented("training.augment.flip=0.5")
