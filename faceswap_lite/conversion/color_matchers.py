"""Colour matching: give a painted face the colours of the face that it replaces.

A matcher fits a `ColorMap` to one frame, from what lies inside the mask and nowhere else (an
average that counts zeroed pixels, or the background, paints them into the face). It keeps nothing
from frame to frame: what neighbours in time have to say is the map's part (`ColorMap.steady`).

Images are RGB, sRGB-coded floats in [0, 1]; masks weigh the pixels.
"""

from collections.abc import Callable

import numpy as np

from .color_map import (
    KEEP,
    AffineMap,
    ColorMap,
    Image,
    Mask,
    enlarged,
    gaussian_transport,
    moments,
    spread_out,
    take_samples,
)
from .skin_gain import fit_skin_gain

# Statistics of a larger picture are taken from a shrunken one: they say the same, sooner. (Measured
# at 128 px: errors within 0.04 of those from all pixels.)
MAX_EDGE_PX = 96
# Of `relight`: its grid, and its blur as a share of the picture's side.
RELIT_EDGE_PX = 64
RELIGHT_SIGMA = 1 / 8


def fit_none(image: Image, reference: Image, mask: Mask) -> AffineMap:
    """The map that changes nothing."""
    return KEEP


def fit_mkl(image: Image, reference: Image, mask: Mask) -> AffineMap:
    """The least change of colours that gives `image` the mean and covariance of `reference`.

    Source: Pitié and Kokaram 2007. In coded sRGB, where a grade's gain, lift and contrast are
    themselves affine: it takes these off where both show the same face.
    """
    samples = take_samples(image, reference, mask, MAX_EDGE_PX)
    if samples is None:
        return KEEP
    pivot, before = moments(samples.image, samples.weights)
    goal, after = moments(samples.reference, samples.weights)
    return AffineMap(gaussian_transport(before, after), pivot, goal)


def relight(face: Image, reference: Image, mask: Mask, strength: float) -> Image:
    """The face with its broad light moved to the reference's; `strength` 0 (none) to 1 (all).

    face - blur(face) + blur(reference), where the blur is a normalised convolution over the mask,
    of sigma `RELIGHT_SIGMA` sides. Returns float32 in [0, 1].
    """
    samples = take_samples(face, reference, mask, RELIT_EDGE_PX)
    face = face.astype(np.float32)
    if samples is None or strength == 0:
        return np.clip(face, 0, 1)
    field = spread_out(samples.reference - samples.image, samples, RELIGHT_SIGMA)
    return np.clip(face + strength * enlarged(field, face.shape[:2]), 0, 1)


ColorMatcher = Callable[[Image, Image, Mask], ColorMap]
"""From the painted crop, the true crop and where both are face. Runs in several threads at once."""

COLOR_MATCHERS: dict[str, ColorMatcher] = {
    "none": fit_none,
    "skin_gain": fit_skin_gain,
    "mkl": fit_mkl,
}
