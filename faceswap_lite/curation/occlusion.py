"""What covers a face: where it disagrees with what the set's other faces say it should look like.

A set's faces, aligned and brought to equal brightness and contrast, lie near a plane of some twenty
dimensions: pose, expression, light. A hand or a microphone does not. So the plane is fitted, each
face is rebuilt from its place on it, and what is left over, locally, is the score. Pixels that are
left over do not take part in the next fit, neither in finding the plane nor in placing their face
on it: robust principal components in the manner of De la Torre and Black 2003, "A framework for
robust subspace learning", with hard weights. The first fit leaves out what is unlike the median
face at its place: else a microphone that is in one of ten frames would be a direction of the plane.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

DIMENSIONS = 20
"""Of the plane; fewer for small sets: a plane through every face would explain every hand."""

FACES_A_DIMENSION = 6

ROUNDS = 4

FIRST_LEFT_OUT = 3.5
"""Pixels this many spreads farther from the median face than is usual at their place are left out
of the first fit."""

LEFT_OUT = 4.0
"""Pixels whose smoothed error is this many spreads above the median are left out of later fits."""

NEIGHBOURHOOD = 0.27
"""Side of the square that errors are averaged over, in sides of the picture: half a mouth."""

FAR = 0.3
"""Local errors above this, in spreads of the face's own pixels, count toward its extent."""


class Disagreement(NamedTuple):
    """How each face differs from the set's plane."""

    peak: Float[np.ndarray, " n"]
    """The largest local error: mean absolute difference, in spreads of the face's own pixels. Of
    small sets less: their plane has fewer dimensions, and more of a face is left over."""
    extent: Float[np.ndarray, " n"]
    """The share of the face whose local error is above FAR, 0 to 1."""
    place: Float[np.ndarray, "n 2"]
    """Where the peak is, x and y in sides of the picture."""


def disagreement(
    pictures: Float[np.ndarray, "n s s 3"], masks: Float[np.ndarray, "n s s"]
) -> Disagreement:
    """How each face differs from the others' plane, inside its own mask and the set's median one.

    Pictures and masks in [0, 1]. Fewer than FACES_A_DIMENSION faces say nothing: zeros.
    """
    count, size = pictures.shape[:2]
    weights = np.minimum(masks, np.median(masks, axis=0)).astype(np.float32)
    inside = weights.max(0) > 0.5  # (s, s): the pixels that ever count
    rank = min(DIMENSIONS, count // FACES_A_DIMENSION)
    if rank < 1 or not inside.any():
        nothing = np.zeros(count)
        return Disagreement(nothing, nothing, np.zeros((count, 2)))
    weight = weights[:, inside]  # (n, p)
    values = _evened(pictures[:, inside].astype(np.float32), weight)  # (n, p, 3)
    values = (values - np.median(values, axis=0)) * weight[:, :, None]
    flat = values.reshape(count, -1)
    smooth = _smoothed(np.abs(flat), inside, weight)
    usual = np.median(smooth, axis=0)
    spread = 1.4826 * np.median(np.abs(smooth - usual), axis=0) + 1e-6
    trusted = _without(
        flat, np.zeros_like(flat), (smooth - usual)[:, inside] / spread[inside], FIRST_LEFT_OUT
    )
    for _ in range(ROUNDS):
        rebuilt = _on_plane(trusted, rank)
        smooth = _smoothed(np.abs(flat - rebuilt), inside, weight)
        errors = smooth[:, inside]  # (n, p)
        known = errors[weight > 0.5]
        middle = float(np.median(known))
        spread_of_all = 1.4826 * float(np.median(np.abs(known - middle))) + 1e-6
        trusted = _without(flat, rebuilt, (errors - middle) / spread_of_all, LEFT_OUT)
    whole = smooth.reshape(count, -1)
    top = whole.argmax(1)
    far = (smooth[:, inside] > FAR) & (weight > 0.5)
    return Disagreement(
        peak=whole.max(1).astype(np.float64) * np.sqrt(rank / DIMENSIONS),
        extent=far.sum(1) / np.maximum((weight > 0.5).sum(1), 1),
        place=np.stack([top % size, top // size], 1) / size,
    )


def _without(
    values: Float[np.ndarray, "n d"],
    instead: Float[np.ndarray, "n d"],
    spreads: Float[np.ndarray, "n p"],
    limit: float,
) -> Float[np.ndarray, "n d"]:
    """The values, and other ones at pixels that are more than `limit` spreads off."""
    out = np.repeat(spreads[:, :, None] > limit, 3, axis=2).reshape(len(values), -1)
    return np.where(out, instead, values)


def _evened(
    values: Float[np.ndarray, "n p 3"], weight: Float[np.ndarray, "n p"]
) -> Float[np.ndarray, "n p 3"]:
    """Each face with mean 0 in every channel and spread 1 over all: light explains nothing."""
    share = weight / np.maximum(weight.sum(1, keepdims=True), 1e-6)
    centred = values - (values * share[:, :, None]).sum(1, keepdims=True)
    spread = np.sqrt((centred**2 * share[:, :, None]).sum((1, 2)) / 3)
    return centred / np.maximum(spread, 1e-3)[:, None, None]


def _on_plane(values: Float[np.ndarray, "n d"], rank: int) -> Float[np.ndarray, "n d"]:
    """The values' projection on their first principal directions.

    Through the smaller of the two products with itself: the same directions, sooner.
    """
    count, size = values.shape
    if count <= size:
        _, vectors = np.linalg.eigh(values @ values.T)
        first = vectors[:, -rank:]  # (n, k)
        return first @ (first.T @ values)
    _, vectors = np.linalg.eigh(values.T @ values)
    first = vectors[:, -rank:]  # (d, k)
    return (values @ first) @ first.T


def _smoothed(
    errors: Float[np.ndarray, "n d"], inside: np.ndarray, weight: Float[np.ndarray, "n p"]
) -> Float[np.ndarray, "n s s"]:
    """Errors averaged over channels and, within the mask, over each pixel's neighbourhood."""
    count, size = len(errors), len(inside)
    window = max(3, round(NEIGHBOURHOOD * size) | 1)
    whole = np.zeros((count, size, size), np.float32)
    whole[:, inside] = errors.reshape(count, -1, 3).mean(2)
    return np.stack([cv2.boxFilter(face, -1, (window, window)) for face in whole])
