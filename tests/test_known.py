"""Which faces stand for all of a side's."""

import numpy as np
import pytest

from faceswap_lite.runs.known import spread_evenly


@pytest.mark.parametrize("count", [0, 1, 2, 7, 60, 61, 1000])
@pytest.mark.parametrize("maximum", [1, 2, 6, 60])
def test_spread_places_are_all_or_an_even_part(count: int, maximum: int) -> None:
    places = spread_evenly(count, maximum)
    assert len(places) == min(count, maximum)
    if count <= maximum:
        np.testing.assert_array_equal(places, np.arange(count))
    elif maximum > 1:
        assert places[0] == 0 and places[-1] == count - 1
        steps = np.diff(places)
        assert steps.min() >= 1 and np.ptp(steps) <= 1
