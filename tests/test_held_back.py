"""What holds a movement back, from planted spreads and ranges."""

import numpy as np
import pytest

from faceswap_lite.curation.pose_coverage import Attributes, coverage
from faceswap_lite.evaluation.bias import AttributeBias, attribute_bias
from faceswap_lite.evaluation.held_back import held_back, seldom_share
from faceswap_lite.faces.attributes import Readings

FACES = 200


def readings(mouth: np.ndarray) -> Readings:
    still = np.linspace(-10, 10, FACES)
    return Readings(still, still, mouth, still / 100 + 0.3, still / 100 + 0.5, still + 50)


def showing(mouth: np.ndarray) -> Attributes:
    still = np.linspace(-10, 10, FACES)
    return Attributes(still, still, mouth, still / 100 + 0.3, still / 100 + 0.5)


MOUTH = np.linspace(0, 0.3, FACES)


def bias(ratio: float) -> dict[str, AttributeBias]:
    middle = MOUTH.mean()
    return attribute_bias(readings(MOUTH), readings(middle + ratio * (MOUTH - middle)))


def sentences(source: np.ndarray, rebuilt: float, swapped: float) -> list[str]:
    of_source, of_clip = showing(source), showing(MOUTH)
    found = held_back(
        bias(rebuilt), bias(swapped), of_source, of_clip, coverage(of_source, of_clip)
    )
    return [one.sentence for one in found]


def test_a_swap_that_follows_has_nothing_held_back() -> None:
    assert sentences(MOUTH, 0.9, 0.85) == []


def test_beyond_the_source_s_range() -> None:
    (said,) = sentences(MOUTH / 3, 0.9, 0.3)
    assert said.startswith("The mouth opens 30 % as much") and "beyond the source's range" in said


def test_shown_but_seldom() -> None:
    seldom = np.where(np.arange(FACES) < FACES - 12, 0.02, np.linspace(0, 0.3, FACES))
    (said,) = sentences(seldom, 0.9, 0.3)
    assert "only 6 % of the source's faces open the mouth as wide" in said


def test_not_learned_by_either_decoder() -> None:
    (said,) = sentences(MOUTH, 0.5, 0.3)
    assert "not even the target's own decoder follows (50 %)" in said


def test_learned_but_not_carried_across() -> None:
    (said,) = sentences(MOUTH, 0.95, 0.3)
    assert "the code does not carry it" in said


def test_more_than_the_target_s() -> None:
    (said,) = sentences(MOUTH, 0.95, 1.5)
    assert "1.50 times as much" in said


def test_without_the_source_s_faces_the_decoders_are_compared() -> None:
    found = held_back(bias(0.5), bias(0.3), None, showing(MOUTH), None)
    assert "not even the target's own decoder" in found[0].sentence


def test_what_can_be_moved_as_the_clip_s_is_named_unless_it_was() -> None:
    given = bias(0.95), bias(0.3), None, showing(MOUTH), None
    (said,) = held_back(*given)
    assert "--set convert.mouth=target" in said.sentence
    (said,) = held_back(*given, moved=("mouth",))
    assert "--set" not in said.sentence


def test_seldom_looks_to_the_side_of_the_longer_tail() -> None:
    clip = np.array([0.0] * 70 + [0.3] * 30)
    assert seldom_share(np.array([0.0, 0.1, 0.3, 0.5]), clip) == pytest.approx(0.5)
    assert seldom_share(-np.array([0.0, 0.1, 0.3, 0.5]), -clip) == pytest.approx(0.5)
    assert seldom_share(np.array([np.nan]), clip) is None
