"""What the target shows and the source was never seen like: known before training, not after.

source: whose identity is painted; target: whose pose and expression stay. A model learns a source
face only where there are source faces; beyond, it makes one up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.lib.stride_tricks import sliding_window_view

from ..faces.records import FaceRecord, recorded
from ..metrics.landmarks import estimate_pose

# Beyond the source's outermost hundredth there is nearly nothing to learn from.
EDGE_SHARE = 0.01
# A glitch of the detector spoils a frame or two: so few prove nothing when they stand alone.
FEW_GLITCHES = 2

# A gap that concerns no more of the target (and a few) is not worth a line.
GAP_SHARE = 0.01

# What the detector's own five points weigh in the yaw beside the landmarks. Light from a side pulls
# the mesh by some degrees from clip to clip, the five points by others: the mean errs less (2.4
# degrees instead of 2.9 on rendered actors). Their pitch is no help.
FIVE_WEIGHT = 0.3

# The map of yaw and pitch together.
POSE_CELL_DEG = 10.0
# A source face this near, in yaw and in pitch, shows the same view of the head for a model.
POSE_REACH_DEG = 7.5
_FINE_DEG = 2.5
# "Nearly none" near: a window of the map holds far less of a set than the tail of an attribute.
NEAR_SHARE = 0.002

_Values = Float[np.ndarray, " n"]
_Flags = Bool[np.ndarray, " n"]
_Counts = Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Attributes:
    """What the faces of a set show; NaN where unknown. Angles as in metrics/landmarks.py."""

    yaw_deg: _Values
    pitch_deg: _Values
    mouth: _Values  # gap between the inner lips, in eye distances
    eyes: _Values  # gap between the lids, in widths of the eye
    light: _Values  # mean brightness inside the face mask, 0..1

    def __len__(self) -> int:
        return len(self.yaw_deg)

    def only(self, wanted: _Flags) -> "Attributes":
        """Those that are wanted, in their order."""
        return Attributes(*(getattr(self, field.name)[wanted] for field in fields(self)))


def attributes_of(records: Sequence[FaceRecord], light: _Values | None = None) -> Attributes:
    """The attributes that the records know, with `light` where it is given."""
    yaw_deg, pitch_deg, mouth, eyes = (
        recorded(records, name) for name in ("yaw_deg", "pitch_deg", "mouth", "eyes")
    )
    for place, record in enumerate(records):
        if record.pose is not None and record.landmarks_pack != "five":
            yaw_deg[place] = steady_yaw_deg(yaw_deg[place], record.five)
    light = np.full(len(records), np.nan) if light is None else light
    return Attributes(yaw_deg, pitch_deg, mouth, eyes, light)


def steady_yaw_deg(yaw_deg: float, five: Float[np.ndarray, "5 2"]) -> float:
    """The yaw of a face's landmarks, steadied by that of the detector's own five points."""
    of_five = estimate_pose(five.astype(np.float64), "five").yaw_deg
    return (1 - FIVE_WEIGHT) * yaw_deg + FIVE_WEIGHT * of_five


class _Telling(NamedTuple):
    """How a gap on one side of an attribute is told: no source `one` LIMIT; ... the target's `do`.

    `limit` puts the source's limit into words.
    """

    one: str
    many: str
    limit: Callable[[float], str]
    do: str


class AttributeKind(NamedTuple):
    """How an attribute is counted and told.

    `tolerance`: how far beyond the source's range a face may lie before it counts as outside: the
    size of the estimator's own error. `span`: histograms put what lies beyond into their last bins.
    """

    title: str
    unit: str
    bin: float
    tolerance: float
    span: tuple[float, float]
    below: _Telling
    above: _Telling


def _angle(toward: str, other: str, sign: int, limit: float) -> str:
    """`beyond 31° left`; where the limit lies on the other side of 0: `less than 8° right`."""
    how, where = ("beyond", toward) if sign * limit >= 0 else ("less than", other)
    return f"{how} {abs(round(limit))}° {where}"


_BY_ANGLE = ("face", "faces")
_EYE_DISTANCES, _EYE_WIDTHS = "{:.2f} eye distances".format, "{:.2f} of its width".format
# A dark face in bright light and a bright face in the dark are one to this measure.
_BRIGHTNESS = "{:.2f} in light or skin".format

# Tolerances: with the landmark mesh, faces of rendered actors scatter around the truth by 2.4
# degrees of yaw, 1 to 2 of pitch, 0.01 to 0.04 of the mouth, 0.04 to 0.08 of the eyes (standard
# deviations). Yaw: with 1 degree too much is flagged that the source does show, with 2 too little
# of what it does not (benchmarks/coverage_gaps.py). Hair in a mask moves the light by hundredths.
KINDS: dict[str, AttributeKind] = {
    "yaw_deg": AttributeKind(
        "yaw", "° (right +)", 5.0, 1.5, (-90.0, 90.0),
        _Telling(*_BY_ANGLE, partial(_angle, "left", "right", -1), "frames are"),
        _Telling(*_BY_ANGLE, partial(_angle, "right", "left", 1), "frames are"),
    ),
    "pitch_deg": AttributeKind(
        "pitch", "° (up +)", 2.5, 1.5, (-90.0, 90.0),
        _Telling(*_BY_ANGLE, partial(_angle, "down", "up", -1), "frames are"),
        _Telling(*_BY_ANGLE, partial(_angle, "up", "down", 1), "frames are"),
    ),
    "mouth": AttributeKind(
        "mouth", "eye distances", 0.025, 0.02, (0.0, 1.0),
        _Telling("mouth closes below", "mouths close below", _EYE_DISTANCES, "do"),
        _Telling("mouth opens beyond", "mouths open beyond", _EYE_DISTANCES, "do"),
    ),
    "eyes": AttributeKind(
        "eyes", "eye widths", 0.025, 0.03, (0.0, 1.0),
        _Telling("eye closes below", "eyes close below", _EYE_WIDTHS, "do"),
        _Telling("eye opens beyond", "eyes open beyond", _EYE_WIDTHS, "do"),
    ),
    "light": AttributeKind(
        "light", "mean brightness", 0.025, 0.03, (0.0, 1.0),
        _Telling("face is darker than", "faces are darker than", _BRIGHTNESS, "are"),
        _Telling("face is brighter than", "faces are brighter than", _BRIGHTNESS, "are"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class AttributeCoverage:
    """One attribute of both sets. `below`, `above`: of each target face; unknown is neither."""

    edges: Float[np.ndarray, " edges"]
    source: Int[np.ndarray, " bins"]
    target: Int[np.ndarray, " bins"]
    source_range: tuple[float, float]
    limits: tuple[float, float]  # the range, widened by the tolerance
    below: _Flags
    above: _Flags
    known: int
    """How many target faces the attribute is known of: shares are shares of these."""

    @property
    def below_share(self) -> float:
        """The share of the target's faces below the limits."""
        return int(self.below.sum()) / self.known

    @property
    def above_share(self) -> float:
        """The share of the target's faces above the limits."""
        return int(self.above.sum()) / self.known


@dataclass(frozen=True)
class PoseCoverage:
    """Yaw and pitch together, in cells of POSE_CELL_DEG.

    `lone`: of each target face, whether (nearly) no source face is within POSE_REACH_DEG of it.
    `gaps`: the cells with (nearly) no source face in which at least half of the target's faces are
    lone, or outside by one angle.
    """

    yaw_edges: Float[np.ndarray, " yaw_edges"]
    pitch_edges: Float[np.ndarray, " pitch_edges"]
    source: Int[np.ndarray, "yaw pitch"]
    target: Int[np.ndarray, "yaw pitch"]
    gaps: Bool[np.ndarray, "yaw pitch"]
    lone: _Flags


GapDirection = Literal["below", "above", "near"]


@dataclass(frozen=True)
class Gap:
    """What the source lacks, in words, and the share of the target's faces that it concerns."""

    missing: str
    concerned: str
    attribute: str  # a key of KINDS, or "pose": yaw and pitch together
    direction: GapDirection
    share: float

    @property
    def words(self) -> str:
        """For a person: `no source face beyond 31° left; 14 % of the target's frames are`."""
        return f"{self.missing}; {100 * self.share:.0f} % {self.concerned}"


@dataclass(frozen=True)
class Coverage:
    """How much of what the target shows the source was seen like. Gaps: the largest first."""

    source_faces: int
    target_faces: int
    attributes: dict[str, AttributeCoverage]  # those known on both sides, by keys of KINDS
    pose: PoseCoverage | None
    gaps: list[Gap]

    @property
    def outside(self) -> _Flags:
        """Of each target face: its pose or expression is outside the source's limits.

        Light is told apart: two people's skins differ in brightness, too.
        """
        seen = [a.below | a.above for name, a in self.attributes.items() if name != "light"]
        return _any(seen, self.target_faces)

    @property
    def unknown(self) -> list[str]:
        """The attributes that cannot be compared."""
        return [name for name in KINDS if name not in self.attributes]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain numbers, lists and texts, without NaN."""
        outside = self.outside
        return {
            "source_faces": self.source_faces,
            "target_faces": self.target_faces,
            "outside_share": float(outside.mean()),
            "outside": np.flatnonzero(outside).tolist(),
            "unknown": self.unknown,
            "gaps": [
                {name: getattr(g, name) for name in ("words", "attribute", "direction", "share")}
                for g in self.gaps
            ],
            "attributes": {name: _attribute_json(a) for name, a in self.attributes.items()},
            "pose": self.pose
            and {name: values.tolist() for name, values in vars(self.pose).items()}
            | {"lone": np.flatnonzero(self.pose.lone).tolist()},
        }


def coverage(source: Attributes, target: Attributes) -> Coverage:
    """What of the target's faces the source's faces cover. An unknown value is never outside.

    Raises: ValueError when either set is empty.
    """
    if not len(source) or not len(target):
        raise ValueError("coverage needs faces on both sides")
    attributes = {}
    for field in fields(Attributes):
        values, wanted = getattr(source, field.name), getattr(target, field.name)
        if np.isfinite(values).any() and np.isfinite(wanted).any():
            attributes[field.name] = _attribute(KINDS[field.name], values, wanted)
    pose, gaps = None, []
    if all(np.isfinite(_pose_points(some)).all(1).any() for some in (source, target)):
        angles = [attributes["yaw_deg"], attributes["pitch_deg"]]
        by_one = _any([angle.below | angle.above for angle in angles], len(target))
        pose, near = _pose(source, target, by_one)
        gaps += _pose_gaps(near, target, pose.lone & ~by_one)
    for name, attribute in attributes.items():
        gaps += _attribute_gaps(name, attribute, getattr(source, name))
    return Coverage(
        source_faces=len(source),
        target_faces=len(target),
        attributes=attributes,
        pose=pose,
        gaps=sorted(gaps, key=lambda gap: -gap.share),
    )


def _any(flags: Sequence[_Flags], length: int) -> _Flags:
    return np.logical_or.reduce([np.zeros(length, bool), *flags])


def _nearly_none(faces: int, share: float) -> int:
    """How many of a set's faces count as none: that share and a few, but never half of them."""
    return min(int(share * faces) + FEW_GLITCHES, (faces - 1) // 2)


def _attribute(
    kind: AttributeKind, source: Float[np.ndarray, " m"], target: _Values
) -> AttributeCoverage:
    seen = np.sort(source[np.isfinite(source)])
    wanted = target[np.isfinite(target)]
    edges = _edges(kind, seen, wanted)
    high = _high_end(seen, 2 * kind.tolerance)
    low = -_high_end(-seen[::-1], 2 * kind.tolerance)
    limits = (low - kind.tolerance, high + kind.tolerance)
    return AttributeCoverage(
        edges=edges,
        source=np.histogram(np.clip(seen, *kind.span), edges)[0],
        target=np.histogram(np.clip(wanted, *kind.span), edges)[0],
        source_range=(low, high),
        limits=limits,
        # Comparisons with NaN are false.
        below=target < limits[0],
        above=target > limits[1],
        known=len(wanted),
    )


def _high_end(ordered: Float[np.ndarray, " m"], hole: float) -> float:
    """The greatest value of rising ones, without the outermost hundredth.

    Nor do the FEW_GLITCHES greatest of the rest count that lie beyond a hole: wrong faces stand
    alone, the ends of real movements do not.
    """
    last = len(ordered) - 1 - int(EDGE_SHARE * len(ordered))
    for few in range(min(FEW_GLITCHES, (len(ordered) - 1) // 2), 0, -1):
        if ordered[last - few + 1] - ordered[last - few] > hole:
            last -= few
            break
    return float(ordered[last])


def _edges(kind: AttributeKind, *values: Float[np.ndarray, " _"]) -> Float[np.ndarray, " edges"]:
    """Whole bins around all values."""
    both = np.clip(np.concatenate(values), *kind.span)
    first, last = np.floor(both.min() / kind.bin), np.floor(both.max() / kind.bin)
    return kind.bin * np.arange(first, last + 2)


def _pose(source: Attributes, target: Attributes, by_one: _Flags) -> tuple[PoseCoverage, _Counts]:
    """The map, and of each target face the count of source faces near it (0 where unknown).

    `by_one`: the target's faces that yaw or pitch alone puts outside.
    """
    seen, wanted = _pose_points(source), _pose_points(target)
    known = np.isfinite(wanted).all(1)
    seen = seen[np.isfinite(seen).all(1)]
    near = np.zeros(len(wanted), np.int64)
    near[known] = _count_near(seen, wanted[known])
    lone = known & (near <= _nearly_none(len(seen), NEAR_SHARE))
    both = np.concatenate([seen, wanted[known]])
    cells = [
        POSE_CELL_DEG * np.arange(np.floor(low), np.floor(high) + 2)
        for low, high in zip(both.min(0) / POSE_CELL_DEG, both.max(0) / POSE_CELL_DEG, strict=True)
    ]

    def count(points: Float[np.ndarray, "k 2"]) -> Int[np.ndarray, "yaw pitch"]:
        return np.histogram2d(points[:, 0], points[:, 1], cells)[0].astype(np.int64)

    have, counts = count(seen), count(wanted[known])
    missing = count(wanted[known & (lone | by_one)])
    pose = PoseCoverage(
        yaw_edges=cells[0],
        pitch_edges=cells[1],
        source=have,
        target=counts,
        gaps=(have <= _nearly_none(len(seen), EDGE_SHARE)) & (counts > 0) & (2 * missing >= counts),
        lone=lone,
    )
    return pose, near


def _pose_points(attributes: Attributes) -> Float[np.ndarray, "n 2"]:
    """Yaw and pitch side by side; NaN stays. No head turns further than 90 degrees and is seen."""
    return np.clip(np.stack([attributes.yaw_deg, attributes.pitch_deg], 1), -90.0, 90.0)


def _count_near(seen: Float[np.ndarray, "m 2"], wanted: Float[np.ndarray, "n 2"]) -> _Counts:
    """How many of `seen` lie within POSE_REACH_DEG of each of `wanted`, to the fine grid's step.

    By a grid: of two large sets, all pairs would be too many.
    """
    reach = round(POSE_REACH_DEG / _FINE_DEG)
    cells = round(180 / _FINE_DEG)

    def place(points: Float[np.ndarray, "k 2"]) -> Int[np.ndarray, "k 2"]:
        return np.minimum(((points + 90) / _FINE_DEG).astype(np.int64), cells - 1)

    counts = np.zeros((cells, cells), np.int64)
    np.add.at(counts, tuple(place(seen).T), 1)
    windows = sliding_window_view(np.pad(counts, reach), (2 * reach + 1, 2 * reach + 1))
    near = windows.sum((2, 3))  # (cells, cells)
    yaw, pitch = place(wanted).T
    return near[yaw, pitch]


def _attribute_gaps(
    name: str, attribute: AttributeCoverage, source: Float[np.ndarray, " m"]
) -> list[Gap]:
    low, high = attribute.limits
    kind = KINDS[name]
    known = int(np.isfinite(source).sum())
    directions: list[tuple[GapDirection, _Telling, float, np.ndarray, np.ndarray]] = [
        ("below", kind.below, low, source < low, attribute.below),
        ("above", kind.above, high, source > high, attribute.above),
    ]
    gaps = []
    for direction, said, limit, beyond, outside in directions:
        if outside.sum() > _nearly_none(attribute.known, GAP_SHARE):
            few = f"only {beyond.sum()} of {known} source {said.many}"
            who = few if beyond.any() else f"no source {said.one}"
            missing = f"{who} {said.limit(limit)}"
            share = int(outside.sum()) / attribute.known
            gaps.append(Gap(missing, f"of the target's {said.do}", name, direction, share))
    return gaps


def _pose_gaps(near: _Counts, target: Attributes, lone: _Flags) -> list[Gap]:
    """The cells whose `lone` faces are many: angles seen one by one, but never together."""
    points = _pose_points(target)
    known = int(np.isfinite(points).all(1).sum())
    gaps = []
    cells = np.floor(points[lone] / POSE_CELL_DEG)
    for cell in np.unique(cells, axis=0):
        here = (cells == cell).all(1)
        if here.sum() <= _nearly_none(known, GAP_SHARE):
            continue
        yaw, pitch = (cell + 0.5) * POSE_CELL_DEG
        who = "no source face" if near[lone][here].max() == 0 else "hardly any source face"
        where = f"{_toward(yaw, 'left', 'right')} and {_toward(pitch, 'down', 'up')}"
        missing = f"{who} near {where} together"
        share = int(here.sum()) / known
        gaps.append(Gap(missing, "of the target's frames are", "pose", "near", share))
    return gaps


def _toward(angle: float, negative: str, positive: str) -> str:
    return f"{abs(angle):.0f}° {positive if angle > 0 else negative}"


def _attribute_json(attribute: AttributeCoverage) -> dict[str, Any]:
    return {
        "edges": np.round(attribute.edges, 6).tolist(),
        "source": attribute.source.tolist(),
        "target": attribute.target.tolist(),
        "source_range": list(attribute.source_range),
        "limits": list(attribute.limits),
        "target_known": attribute.known,
        "below_share": attribute.below_share,
        "above_share": attribute.above_share,
        "below": np.flatnonzero(attribute.below).tolist(),
        "above": np.flatnonzero(attribute.above).tolist(),
    }


def coverage_lines(found: Coverage) -> list[str]:
    """The gaps, for a person to read."""
    lines = [f"coverage: {gap.words}" for gap in found.gaps]
    if not found.attributes:
        return ["coverage: nothing known of both sets can be compared"]
    if not lines:
        lines = ["coverage: the source's faces cover everything that the target shows"]
    # Light is known of measured sets only, and nobody misses it in a training's log.
    if unknown := [name for name in found.unknown if name != "light"]:
        lines.append(f"coverage: not known for both sets: {', '.join(unknown)}")
    return lines
