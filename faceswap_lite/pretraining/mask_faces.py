"""Rendered faces for the mask network: each with its outline, and where its own hair lies.

Hair is told from a second rendering, whose hair alone has another colour.
"""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ..actors.cast import FIRST_OF_CROWD, ActorIdentity, random_actor
from ..actors.performance import ActorState
from ..actors.render import RenderedActor, render_actor
from ..faces.align import CROP_COVERAGES, align, cut_crop
from ..faces.detect import Detection
from ..faces.hull import face_mask
from ..faces.landmarkers import Landmarker
from ..metrics.landmarks import LandmarksPack, eye_distance, five_points
from .crowd import COVERAGE_SHARES, FIVE_SHARE, MARGIN, random_moment

PEOPLE, MOMENTS = 4, 8
"""Of a group: each of its people acts moments of his own."""

_FRAME = 2.25
_FIVE_OFF = 0.025
"""What detectors make of five points lies off by that much, in eye distances."""


def render_masked_faces(
    group: int, size: int, mesh: Landmarker | None, first: int = FIRST_OF_CROWD
) -> UInt8[np.ndarray, "n 5 m m"]:
    """Red, green, blue, outline, and what of the crop is no hair; the same for a number.

    `size` px with crowd.MARGIN around. `first`: the seed of the first group's first actor.
    """
    rng = np.random.default_rng([group, first, 0x3A5C])
    edge = round(size * (1 + 2 * MARGIN))
    rows = np.empty((PEOPLE * MOMENTS, 5, edge, edge), np.uint8)
    for place, row in enumerate(rows):
        person = random_actor(first + group * PEOPLE + place // MOMENTS)
        moment, backdrop = random_moment(rng), int(rng.integers(2**31))
        frame = render_actor(person, moment, round(_FRAME * size), background=backdrop)
        hair = _hair_of(person, moment, frame, backdrop)
        five = _five_of(frame, rng)
        pack: LandmarksPack = "five" if mesh is None or rng.random() < FIVE_SHARE else "mesh"
        points = five if mesh is None or pack == "five" else mesh(frame.image, _found(frame)).points
        coverage = rng.choice([*COVERAGE_SHARES], p=[*COVERAGE_SHARES.values()])
        to_crop = align(points, pack, CROP_COVERAGES[coverage] * (1 + 2 * MARGIN), edge)
        row[:3] = cut_crop(frame.image, to_crop, edge).transpose(2, 0, 1)
        row[3] = np.round(255 * face_mask(points, pack, to_crop, edge))
        row[4] = 255 - cv2.warpAffine(
            np.asarray(np.round(255 * hair), np.uint8), to_crop, (edge, edge)
        )
    return rows


def _hair_of(
    person: ActorIdentity, moment: ActorState, frame: RenderedActor, backdrop: int
) -> Float[np.ndarray, "s s"]:
    """How much of each pixel is hair."""
    other = (0.0, 0.0, 0.0) if sum(person.hair) > 1.5 else (1.0, 1.0, 1.0)
    dyed = render_actor(
        replace(person, hair=other), moment, len(frame.image), background=backdrop
    ).image
    change = np.abs(dyed.astype(np.float32) - frame.image).mean(2)
    # Strands and light make it lighter and darker; a bald head has none.
    return np.clip(change / max(0.4 * float(np.percentile(change, 99)), 16.0), 0, 1)


def _five_of(frame: RenderedActor, rng: np.random.Generator) -> Float[np.ndarray, "5 2"]:
    five = five_points(frame.landmarks.astype(np.float64), "ibug68")
    return five + eye_distance(five) * rng.normal(0, _FIVE_OFF, (5, 2))


def _found(frame: RenderedActor) -> Detection:
    points = frame.landmarks.astype(np.float64)
    low, high = points.min(0), points.max(0)
    # The points end at the brows.
    low[1] -= 0.35 * (high[1] - low[1])
    return Detection(np.concatenate([low, high]), 1.0, five_points(points, "ibug68"))
