"""What faces show, and where a clip's leave the range of a person's: the words for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ..config import Side
from ..conversion.painted import Placement
from ..curation.pose_coverage import KINDS, Attributes, attributes_of, coverage, steady_yaw_deg
from ..metrics.landmarks import LandmarksPack, estimate_pose, eye_opening, mouth_opening
from ..metrics.pictures import mean_grey
from ..runs.known import KnownFaces

VERBS = {
    "yaw_deg": (("turn", "turned"), ("turn", "turned")),
    "pitch_deg": (("tilt", "tilted"), ("tilt", "tilted")),
    "mouth": (("close the mouth below", "mouth below"), ("open the mouth beyond", "mouth beyond")),
    "eyes": (("close the eyes below", "eyes below"), ("open the eyes beyond", "eyes beyond")),
    "light": (("are darker than", "darker than"), ("are brighter than", "brighter than")),
}
"""By the names of curation's attributes: what frames below and above a limit do; and one face."""


@dataclass(frozen=True)
class OutOfDistribution:
    """Frames on one side of an attribute's range among one person's faces."""

    attribute: str
    direction: str
    """below or above."""
    person: Side
    words: str
    short: str
    faces: Bool[np.ndarray, " n"]


def clip_attributes(
    placements: Sequence[Placement],
    pack: LandmarksPack,
    light: Float[np.ndarray, " n"],
    truth: Float[np.ndarray, "frames 68 2"] | None = None,
) -> Attributes:
    """What faces of a clip show, by the rules of `attributes_of` in `curation/pose_coverage.py`.

    `truth`: a rendered actor's landmarks by frame; openings come from them. Faces in gaps that were
    filled are nowhere outside: nobody saw them.
    """
    rows: list[list[float | None]] = []
    for placement in placements:
        if placement.found is None:
            rows.append([np.nan] * 4)
            continue
        pose = estimate_pose(placement.found.landmarks, pack)
        yaw = pose.yaw_deg
        if pack != "five":
            yaw = steady_yaw_deg(yaw, placement.found.detection.five)
        points, of = placement.found.landmarks, pack
        if truth is not None:
            points, of = truth[placement.frame], "ibug68"
        rows.append([yaw, pose.pitch_deg, mouth_opening(points, of), eye_opening(points, of)])
    # What is not known, None, becomes NaN.
    yaw_deg, pitch_deg, mouth, eyes = np.array(rows, np.float64).reshape(-1, 4).T
    return Attributes(yaw_deg, pitch_deg, mouth, eyes, light)


def brightness_of(
    crops: UInt8[np.ndarray, "n s s 3"], masks: UInt8[np.ndarray, "n s s"]
) -> Float[np.ndarray, " n"]:
    """Mean brightness inside each mask, 0 to 1, as in a face set's measures."""
    pairs = zip(crops, masks, strict=True)
    return np.array([mean_grey(crop, mask > 127) for crop, mask in pairs])


def known_attributes(known: KnownFaces, *, everybody: bool = False) -> Attributes:
    """What the faces show that training saw; with `everybody`, all of them, in their order."""
    some = known if everybody else known.only(known.seen)
    return attributes_of(
        [face.record for face in some.faces], brightness_of(some.crops, some.masks)
    )


def find_out_of_distribution(
    known: Attributes, shown: Attributes, person: Side
) -> list[OutOfDistribution]:
    """Where the clip's faces leave the range of one person's, the most frequent first.

    Only what concerns more than a few faces: see `coverage` in `curation/pose_coverage.py`.
    """
    found = coverage(known, shown)
    every = []
    for name, direction in {
        (g.attribute, g.direction) for g in found.gaps if g.direction != "near"
    }:
        of, values, above = found.attributes[name], getattr(known, name), direction == "above"
        limit, faces = of.limits[above], getattr(of, direction)
        verb, one = VERBS[name][above]
        beyond = int((values > limit if above else values < limit).sum())
        where = getattr(KINDS[name], direction).limit(limit)
        as_known = f"as no {person} face does"
        if beyond:
            few = f"as only {beyond} of {np.isfinite(values).sum()} {person} faces"
            as_known = f"{few} do{'es' * (beyond == 1)}"
        words = f"{verb} {where}, {as_known}"
        every.append(OutOfDistribution(name, direction, person, words, f"{one} {where}", faces))
    if found.pose is not None and any(gap.attribute == "pose" for gap in found.gaps):
        words = f"turn and tilt at once as (nearly) no {person} face does"
        lone = found.pose.lone & ~found.outside
        every.append(
            OutOfDistribution("pose", "near", person, words, "turned and tilted at once", lone)
        )
    return sorted(every, key=lambda one: (-int(one.faces.sum()), one.attribute, one.direction))
