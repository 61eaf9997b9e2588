"""Rendered people by the thousand: several of them in one moment, cut to what training takes.

A row is one moment (pose, expression, light, camera) acted by several people. They differ in
nothing else, so each of them is the true swap of every other.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ..actors.cast import FIRST_OF_CROWD, ActorIdentity, HairStyle, random_actor
from ..actors.performance import ActorState, Number
from ..actors.render import RenderedActor, render_actor
from ..faces.align import CROP_COVERAGES, align, cut_crop
from ..faces.detect import Detection
from ..faces.hull import face_mask, features_mask
from ..faces.landmarkers import Landmarker
from ..metrics.landmarks import LandmarksPack, eye_distance, five_points

PEOPLE, MOMENTS = 4, 8
"""Of a group: people who act the same moments. A person costs four pictures to paint."""

MARGIN = 0.1
"""Around the model's view, in its sides: what turns and shifts of training use."""

COVERAGE_SHARES = {"face": 0.25, "full": 0.5, "whole": 0.25}
FIVE_SHARE = 0.3
"""Of the moments, those cut by five points; the others by the mesh."""

# The frame that a face of the model's size is cut from, in sizes of the model: from 1 (`face`, the
# head far away) to 1.9 pixels of the frame go into one of the view.
_FRAME = 2.25

# What detectors make of five points: always a little beside them, and trembling, in eye distances.
_FIVE_BIAS, _FIVE_TREMBLE = 0.02, 0.012

_HAIR_STYLES: tuple[HairStyle, ...] = ("short", "crop", "fringe", "long", "bob", "bald")
_NO_TRAITS = ("name", "texture_seed", "shirt", "collar", "neck_width", "ear_size")
"""Of an actor, what his face does not show."""


class Rows(NamedTuple):
    """Moments acted by several people."""

    pixels: UInt8[np.ndarray, "n k 5 m m"]
    """Red, green, blue, mask, features; margin included."""
    traits: Float[np.ndarray, "n k t"]
    """Who each of them is: `traits_of`."""


def traits_of(actor: ActorIdentity) -> Float[np.ndarray, " t"]:
    """All that an actor's face shows of who he is, each number about -1 to 1."""
    values: list[float] = []
    for field in fields(actor):
        value = getattr(actor, field.name)
        if field.name in _NO_TRAITS:
            continue
        if field.name == "hair_style":
            values += [float(value == style) for style in _HAIR_STYLES]
        else:
            values += value if isinstance(value, tuple) else [value]
    return np.array(values, np.float32)


@lru_cache(maxsize=1)
def traits_scale() -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """Mean and spread of the traits of random people."""
    traits = np.stack([traits_of(random_actor(FIRST_OF_CROWD + k)) for k in range(2000)])
    # Rare hair would otherwise shout.
    return traits.mean(0), traits.std(0) + np.float32(0.1)


def random_moment(rng: np.random.Generator) -> ActorState:
    """Any pose, expression and light that a face may show; no neighbour of another."""

    def bell(mean: Number, spread: Number, low: Number, high: Number) -> float:
        return float(np.clip(rng.normal(mean, spread), low, high))

    speaks, blinks = rng.random() < 0.6, rng.random() < 0.25
    return ActorState(
        yaw_deg=bell(0, 24, -68, 68),
        pitch_deg=bell(0, 9, -28, 28),
        roll_deg=bell(0, 5, -20, 20),
        mouth=float(rng.random() ** 1.3 if speaks else rng.uniform(0, 0.12)),
        smile=bell(0.1, 0.45, -0.9, 1),
        blink=float(rng.uniform(0.25, 1) if blinks else rng.uniform(0, 0.25)),
        brow=bell(0, 0.45, -1, 1),
        gaze_x=bell(0, 0.45, -1, 1),
        gaze_y=bell(0, 0.3, -1, 1),
        light_yaw_deg=float(rng.uniform(-85, 85)),
        light_pitch_deg=float(rng.uniform(-5, 65)),
        light=float(rng.uniform(0.5, 1.35)),
        ambient=float(rng.uniform(0.55, 1.7)),
        warmth=bell(0, 0.5, -1, 1),
        shift_x=bell(0, 0.012, -0.04, 0.04),
        shift_y=bell(0, 0.012, -0.04, 0.04),
        scale=float(rng.uniform(1.0, 1.3)),
        noise=float(rng.uniform(0, 2.5)),
        noise_seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class Camera:
    """What lies between a face and its crop: exposure, white balance, blur, compression."""

    curves: UInt8[np.ndarray, "1 256 3"]
    blur_sigma_px: float
    """0: none."""
    jpeg_quality: int
    """0: none."""

    def __call__(self, crop: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """The crop as this camera would have stored it."""
        crop = np.asarray(cv2.LUT(crop, self.curves), np.uint8)
        if self.blur_sigma_px:
            crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), self.blur_sigma_px), np.uint8)
        if self.jpeg_quality:
            # Red and blue stand where OpenCV has them the other way round; there and back again.
            quality = [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality]
            stored = cv2.imencode(".jpg", crop, quality)[1]
            crop = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)
        return crop


def random_camera(rng: np.random.Generator, size: int) -> Camera:
    """A camera; `size` is the side of the model's faces, px."""
    gains = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3))
    black, gamma = rng.uniform(0, 14), np.exp(rng.normal(0, 0.12))
    levels = np.clip((np.arange(256)[:, None] / 255) ** gamma * gains, 0, 1)
    blurred, compressed = rng.random() < 0.3, rng.random() < 0.5
    return Camera(
        curves=np.round(black + (255 - black) * levels).astype(np.uint8)[None],
        blur_sigma_px=float(rng.uniform(0.4, 1.3) * size / 128) if blurred else 0.0,
        jpeg_quality=int(rng.integers(35, 96)) if compressed else 0,
    )


def render_group(
    group: int,
    size: int,
    mesh: Landmarker | None,
    actor: Callable[[int], ActorIdentity] = random_actor,
) -> Rows:
    """The moments of one group of people, at `size` px with MARGIN around; the same for a number.

    Without `mesh`, all are cut by five points.
    """
    rng = np.random.default_rng([group, 0xBA5E])
    seeds = range(FIRST_OF_CROWD + group * PEOPLE, FIRST_OF_CROWD + (group + 1) * PEOPLE)
    people = [actor(seed) for seed in seeds]
    edge = round(size * (1 + 2 * MARGIN))
    pixels = np.empty((MOMENTS, PEOPLE, 5, edge, edge), np.uint8)
    habits = rng.normal(0, _FIVE_BIAS, (PEOPLE, 5, 2))
    for row in pixels:
        moment, camera = random_moment(rng), random_camera(rng, size)
        coverage = rng.choice([*COVERAGE_SHARES], p=[*COVERAGE_SHARES.values()])
        shown = CROP_COVERAGES[coverage] * (1 + 2 * MARGIN)
        by_five, background = rng.random() < FIVE_SHARE, int(rng.integers(2**31))
        for person, habit, out in zip(people, habits, row, strict=True):
            frame = render_actor(person, moment, round(_FRAME * size), background=background)
            tremble = habit + rng.normal(0, _FIVE_TREMBLE, (5, 2))
            pack: LandmarksPack = "five" if by_five or mesh is None else "mesh"
            if mesh is None or pack == "five":
                points = _five_of(frame, tremble)
            else:
                points = mesh(frame.image, _found(frame)).points
            to_crop = align(points, pack, shown, edge)
            out[:3] = camera(cut_crop(frame.image, to_crop, edge)).transpose(2, 0, 1)
            for plane, draw in ((3, face_mask), (4, features_mask)):
                out[plane] = np.round(255 * draw(points, pack, to_crop, edge))
    traits = np.stack([traits_of(person) for person in people])
    return Rows(pixels, np.broadcast_to(traits, (MOMENTS, *traits.shape)))


def _five_of(frame: RenderedActor, tremble: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, "5 2"]:
    five = five_points(frame.landmarks.astype(np.float64), "ibug68")
    return five + eye_distance(five) * tremble


def _found(frame: RenderedActor) -> Detection:
    """What a detector would have found: the truth is at hand."""
    points = frame.landmarks.astype(np.float64)
    low, high = points.min(0), points.max(0)
    # The points end at the brows.
    low[1] -= 0.35 * (high[1] - low[1])
    return Detection(np.concatenate([low, high]), 1.0, five_points(points, "ibug68"))
