"""What is told to be skin, and sRGB's curve."""

import numpy as np
import pytest

from faceswap_lite.conversion.color_map import take_samples
from faceswap_lite.conversion.skin import linear_ramp, skin_parts, to_coded, to_linear, upper_median


def test_what_is_skin_is_told_by_colour() -> None:
    """A face of one colour with a brow, a white eye, teeth, a highlight, red lips and a shadow."""
    skin = np.array([0.62, 0.33, 0.22])
    things = {
        "brow": (0.12 * skin, 0, 0),
        "eye": (np.array([0.55, 0.54, 0.53]), 0, 1),
        "teeth": (np.array([0.6, 0.52, 0.42]), 0, 1),
        "highlight": (skin + 0.2, 1, 0),
        "lips": (np.array([0.42, 0.09, 0.08]), 1, 0),
        "shadow": (0.5 * skin, 1, 0),
    }
    linear = np.tile(skin, (64, 64, 1))
    places = {name: (slice(8 * k + 9, 8 * k + 13), slice(30, 34)) for k, name in enumerate(things)}
    for name, (color, _, _) in things.items():
        linear[places[name]] = color
    picture = to_coded(np.asarray(linear, np.float32)).astype(np.float64)
    samples = take_samples(picture, picture, np.ones((64, 64)), 64)
    assert samples is not None
    look = skin_parts(to_linear(samples.image)[None], samples)
    planes = [plane.reshape(64, 64) for plane in (look.skin[0], look.pale[0], look.highlight[0])]
    for name, (_, is_skin, is_pale) in things.items():
        found = [plane[places[name]].mean() for plane in planes]
        assert abs(found[0] - is_skin) < 0.25, name
        assert abs(found[1] - is_pale) < 0.35, name
    assert planes[2][places["highlight"]].mean() == pytest.approx(0.15, abs=0.06)
    assert planes[2][places["shadow"]].max() < 0.02


def test_on_grey_pictures_nothing_is_pale() -> None:
    grey = np.repeat(np.random.default_rng(0).uniform(0.3, 0.6, (64, 64, 1)), 3, axis=2)
    samples = take_samples(grey, grey, np.ones((64, 64)), 64)
    assert samples is not None
    parts = skin_parts(to_linear(samples.image)[None], samples)
    assert parts.pale.max() < 1e-6 and parts.skin.min() > 0.5


def test_srgb_is_the_standards_curve() -> None:
    """IEC 61966-2-1: some values, and there and back."""
    coded = np.array([[0.0, 0.04045, 0.5], [0.2, 0.8, 1.0]])
    known = np.array([[0.0, 0.0031308, 0.2140411], [0.0331048, 0.6038273, 1.0]])
    np.testing.assert_allclose(to_linear(coded), known, atol=1e-6)
    np.testing.assert_allclose(to_coded(to_linear(coded)), coded, atol=1e-6)


def test_a_ramp_may_fall() -> None:
    np.testing.assert_allclose(linear_ramp(np.array([0.0, 1.5, 9.0]), 1, 2), [0, 0.5, 1])
    np.testing.assert_allclose(linear_ramp(np.array([0.0, 1.5, 9.0]), 2, 1), [1, 0.5, 0])
    assert upper_median(np.array([3, 1, 2])) == 2
