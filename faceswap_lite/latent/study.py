"""An attribute of known faces: what its direction is found from, and how a sweep does."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from skimage.color import lab2rgb, rgb2lab

from ..config import Side
from ..errors import FaceswapError
from ..faces.attributes import Reader, Readings
from ..faces.records import recorded
from ..models.crops import decode, encode
from ..runs.known import KnownFaces, spread_evenly
from ..runs.trained import TrainedRun
from .directions import Direction, bent_pattern, pattern, sweep_codes, sweep_figures
from .sheet_job import json_number

SWEEP_STEPS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
"""In standard deviations of the attribute."""
MAX_READ = 400
"""Faces of a side that are read; more would cost time and hardly move a direction."""
SWEPT_FACES = 6
MIN_FACES = 30
# Recorded clips hardly change in colour, so each face gets a known change: up to so much either
# way. In grey values of [0, 1], and in degrees of hue.
COLOR_CHANGES: dict[str, float] = {"brightness": 0.2, "hue_deg": 20.0}


@dataclass(frozen=True)
class Studied:
    """Known faces of a side and an attribute of them: what a direction is found from."""

    known: KnownFaces
    codes: Float[np.ndarray, "n d"]
    """Of the faces, or of the faces under a known change of colour."""
    values: Float[np.ndarray, " n"]
    plain: Float[np.ndarray, " n"]
    """The attribute of the unchanged faces."""
    changed: bool
    readable: bool
    """Whether decoded faces can be read for it."""

    @property
    def clips(self) -> list[str]:
        """Each face's clip."""
        return [face.record.clip_fingerprint for face in self.known.faces]

    def moves(self) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        """Codes and values, or what the known changes made of both."""
        codes = self.codes.astype(np.float64)
        if not self.changed:
            return codes, self.values
        return codes - self.known.codes, self.values - self.plain


def study(
    run: TrainedRun, known: KnownFaces, readings: Readings, attribute: str, reader: Reader
) -> Studied:
    """One side's faces with one attribute, given what the reader reads of them.

    Colours are read of faces under a known change: pairs of before and after. Mouth and eyes that
    the reader's points do not show come from the records: rendered actors know theirs.
    Raises: FaceswapError when too few faces tell the attribute, or it never varies.
    """
    plain = getattr(readings, attribute)
    codes, values, readable = known.codes, plain, True
    if attribute in COLOR_CHANGES:
        reach = COLOR_CHANGES[attribute]
        # Evenly over their range, in an order that has nothing to do with time.
        changes = np.random.default_rng(0).permutation(np.linspace(-reach, reach, len(known)))
        faces = change_color(known.crops, attribute, changes)
        codes = encode(run.model, faces)
        values = getattr(reader(faces, known.masks), attribute)
    elif np.isnan(plain).all() and attribute in ("mouth", "eyes"):
        values = plain = recorded([face.record for face in known.faces], attribute)
        readable = False
    there = ~np.isnan(values) & ~np.isnan(plain)
    if there.sum() < MIN_FACES:
        raise FaceswapError(
            f"{run.path}: {attribute} can be measured on only {there.sum()} faces of its "
            f"{known.side}, {MIN_FACES} are needed; mouth and eyes need the mesh's weights"
        )
    if float(np.ptp(values[there])) == 0:
        raise FaceswapError(
            f"{run.path}: {attribute} does not vary among the faces of its {known.side}"
        )
    changed = attribute in COLOR_CHANGES
    return Studied(known.only(there), codes[there], values[there], plain[there], changed, readable)


def change_color(
    crops: UInt8[np.ndarray, "n s s 3"], attribute: str, changes: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n s s 3"]:
    """Crops in [0, 1] made brighter by so much, or their hues turned by so many degrees."""
    faces = crops.astype(np.float32) / 255
    each = changes.astype(np.float32)[:, None, None]
    if attribute == "brightness":
        return np.clip(faces + each[..., None], 0, 1)
    lightness, a, b = np.moveaxis(rgb2lab(faces), -1, 0)
    turn = np.radians(each)
    turned = [a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn)]
    return np.clip(lab2rgb(np.stack([lightness, *turned], -1)), 0, 1).astype(np.float32)


def straight_direction(studied: Studied) -> Direction:
    """The activation pattern; under known changes, of the differences that they make."""
    line = pattern(*studied.moves())
    return _direction(studied, line, np.zeros_like(line))


def bent_direction(studied: Studied) -> Direction:
    """The pattern with its bend."""
    return _direction(studied, *bent_pattern(*studied.moves()))


def _direction(studied: Studied, line: np.ndarray, bend: np.ndarray) -> Direction:
    offsets = studied.moves()[1]
    # Changes are counted from the face as it is.
    middle = 0.0 if studied.changed else float(studied.values.mean())
    return Direction(line, bend, middle, float(offsets.std()))


def swept_faces(studied: Studied, seen: bool) -> np.ndarray:
    """Places of up to `SWEPT_FACES` faces, spread over time."""
    places = np.flatnonzero(studied.known.seen == seen)
    return places[spread_evenly(len(places), SWEPT_FACES)]


@dataclass(frozen=True)
class AttributeSweep:
    """Faces decoded along a direction, and the attribute read of them again."""

    pictures: Float[np.ndarray, "n k s s 3"]
    read: Float[np.ndarray, "n k"]
    requested: Float[np.ndarray, " k"]
    slope: float
    """Achieved over requested change."""
    rising: float
    """Share of the steps that go up."""

    def figures(self) -> dict[str, Any]:
        """For a report."""
        return {"slope": json_number(self.slope), "rising_share": json_number(self.rising)}


def sweep_attribute(
    run: TrainedRun, studied: Studied, direction: Direction, places: np.ndarray, attribute: str,
    reader: Reader,
) -> AttributeSweep:  # fmt: skip
    """The faces at `places` along the direction, as their own side's decoder paints them."""
    known = studied.known
    values = np.zeros(len(places)) if studied.changed else studied.plain[places]
    codes = sweep_codes(direction, known.codes[places].astype(np.float64), values, SWEEP_STEPS)
    requested = SWEEP_STEPS * direction.deviation
    return read_sweep(run, codes, known.masks[places], known.side, requested, attribute, reader)


def read_sweep(
    run: TrainedRun, codes: Float[np.ndarray, "n k d"], masks: UInt8[np.ndarray, "n s s"],
    side: Side, requested: Float[np.ndarray, " k"], attribute: str, reader: Reader,
) -> AttributeSweep:  # fmt: skip
    """Moved codes as the side's decoder paints them, and what is read of the pictures."""
    count, wide = codes.shape[:2]
    flat = decode(run.model, codes.reshape(count * wide, -1), side)
    read = getattr(reader(flat, np.repeat(masks, wide, 0)), attribute).reshape(count, wide)
    pictures = flat.reshape(count, wide, *flat.shape[1:])
    return AttributeSweep(pictures, read, requested, *sweep_figures(requested, read))
