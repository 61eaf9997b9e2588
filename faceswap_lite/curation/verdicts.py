"""From measures to decisions: which faces do not belong, which are rare, and the words for it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial import cKDTree

from ..config import CurateConfig
from ..errors import FaceswapError
from ..faces.embed import distance_rule, distances_to
from ..faces.face_set import FaceSet, face_key
from ..faces.landmarkers import MIN_PRESENCE
from ..faces.records import recorded
from .decisions import RARE, Decision, Reason
from .duplicates import near_duplicates
from .identity import split_people, trimmed_centre
from .measures import Measures, embeddings_of
from .occlusion import Disagreement, disagreement

MAX_EXTENT = 0.8
"""A face of which more than this disagrees with the set's others is not covered: it lies askew."""

TOO_DARK, TOO_BRIGHT, MAX_CLIPPED = 0.06, 0.94, 0.4
"""Mean brightness, and the share of pixels without a value of their own, that nothing mends."""

ENLARGED = 0.5
"""Only faces that their crop shows at twice their size or more can be too small."""

UNUSUAL = 2.5
"""In a set whose faces are all hard to explain, those this many spreads above the median are hard
even for it."""

AMBIGUOUS = 0.5
"""A second person with more than this share of the first one's faces may be the wanted one."""

POSE_DEG, MOUTH, EYES = 10.0, 0.1, 0.1
"""Faces one such step apart count as different in pose, mouth, eyes."""


GAP_STEPS = 1.0
"""A blurred face fills a gap when no better one is so near, in the steps above."""

GAP_WEIGHT = 0.5
GAP_BLUR = 0.5
"""Faces down to this share of the limit of sharpness may fill a gap."""

DUPLICATE_EMBEDDING = 0.1
"""Of vectors of length 1: between two pictures of one moment."""


@dataclass(frozen=True)
class Judgement:
    """Decisions in the order of the set's faces, and what concerns the set as a whole."""

    decisions: list[Decision]
    people: list[int]
    """Faces of each person, most first; one entry for a set of one person, none when unknown."""
    person: Int[np.ndarray, " n"]
    """Which person each face is, 0 for the first; -1: nobody's."""
    notes: list[str]


class _People(NamedTuple):
    """Who is who. `distance`: of each face to the person that the set is of; NaN when unknown."""

    person: Int[np.ndarray, " n"]
    counts: list[int]
    distance: Float[np.ndarray, " n"]
    limit: float
    notes: list[str]


@dataclass
class _Fates:
    """What becomes of each face, while it is being decided."""

    reasons: list[Reason]
    words: list[str]
    weights: Float[np.ndarray, " n"]
    rejected: Bool[np.ndarray, " n"]


class _Fault(NamedTuple):
    """One kind of fault: who has it, and how to say it of each."""

    reason: Reason
    has: Bool[np.ndarray, " n"]
    words: str
    """What is said of a face, with places for its measures."""


def judge_faces(faces: FaceSet, measures: Measures, config: CurateConfig) -> Judgement:
    """What becomes of each face, and why. Nothing is moved or written.

    Raises: FaceswapError when `config.person` is none of the set's.
    """
    records = [face.record for face in faces.faces]
    people = _identify(faces, config)
    covered = disagreement(_halved(measures.views), _halved(measures.masks))
    sharpness = measures.sharpness / _middle(measures.sharpness)
    # Some of everybody's face is hidden, by hair: what counts is what is more.
    hidden = np.nan_to_num(measures.hidden - _middle(measures.hidden))
    attributes = attribute_steps(faces)
    count = len(records)
    fates = _Fates([""] * count, [""] * count, np.ones(count), np.zeros(count, bool))
    # The first fault of the list that a face has is what is said of it.
    faults = _faults(faces, measures, people, covered, sharpness, hidden, config)
    said = {
        **{name: getattr(measures, name) for name in ("presence", "light", "clipped", "eyes_px")},
        "tone": np.where(measures.light < 0.5, "dark", "bright"),
        "off": measures.alignment_error,
        "sharp": sharpness,
        "apart": people.distance,
        "extent": covered.extent,
        "peak": covered.peak,
        "part": [_where(place) for place in covered.place],
        "hidden": hidden,
        "hidden_part": [_where(place) for place in measures.hidden_place],
    }
    for fault in reversed(faults):
        for place in np.flatnonzero(fault.has):
            words = fault.words.format(**{name: values[place] for name, values in said.items()})
            fates.reasons[place], fates.words[place] = fault.reason, words
    only_blurred = np.sum([fault.has for fault in faults], axis=0) == 1
    fates.rejected = np.array([reason != "" for reason in fates.reasons])
    _fill_gaps(fates, only_blurred, sharpness, attributes, config)
    if config.duplicates:
        _reject_duplicates(fates, faces, measures)
    _favour_rare(fates, attributes, config.rare_weight)
    scores = {
        "identity": people.distance,
        "alignment_error": measures.alignment_error,
        "presence": measures.presence,
        "hidden": measures.hidden,
        "occlusion": covered.peak,
        "unlike": covered.extent,
        "sharpness": sharpness,
        "light": measures.light,
        "clipped": measures.clipped,
        "eyes_px": measures.eyes_px,
        "detector": np.array([record.confidence for record in records]),
        **{name: recorded(records, name) for name in ("yaw_deg", "pitch_deg", "mouth", "eyes")},
    }
    if len(people.counts) > 1:
        scores["person"] = people.person + 1.0
    decisions = [
        Decision(
            key=face_key(record),
            file=face.path.name,
            kept=not fates.rejected[place],
            reason=fates.reasons[place],
            words=fates.words[place],
            weight=round(float(fates.weights[place]), 3),
            scores={
                name: round(float(values[place]), 4)
                for name, values in scores.items()
                if np.isfinite(values[place])
            },
        )
        for place, (face, record) in enumerate(zip(faces.faces, records, strict=True))
    ]
    notes = list(people.notes)
    if np.isnan(measures.presence).all():
        notes.append(
            "misaligned faces are judged by their picture alone: the mesh's weights are missing"
        )
    return Judgement(decisions, people.counts, people.person, notes)


def _faults(
    faces: FaceSet,
    measures: Measures,
    people: _People,
    covered: Disagreement,
    sharpness: Float[np.ndarray, " n"],
    hidden: Float[np.ndarray, " n"],
    config: CurateConfig,
) -> list[_Fault]:
    """All that can be wrong with a face, the surest first: a blurred face is hard to recognise, so
    that it is blurred comes before that it looks like somebody else.
    """
    off, extent, apart = measures.alignment_error, covered.extent, people.distance
    max_off = max(config.alignment_error_limit, _upper(off))
    is_unusual = robust_z(np.log(np.maximum(covered.peak, 1e-6))) > UNUSUAL
    is_covered = is_unusual & (covered.peak > config.occlusion_limit)
    light, clipped = measures.light, measures.clipped
    eyes_px, middle = measures.eyes_px, _middle(measures.eyes_px)
    crop_eyes_px = np.array([f.record.size / f.record.edge_eyes for f in faces.faces])
    return [
        _Fault(
            "no_face",
            measures.presence < MIN_PRESENCE,
            f"no face: the mesh's confidence is {{presence:.2f}}, limit {MIN_PRESENCE}",
        ),
        _Fault(
            "misaligned",
            off > max_off,
            f"misaligned: {{off:.2f}} eye distances off, limit {max_off:.2f}",
        ),
        _Fault(
            "exposure",
            (light < TOO_DARK) | (light > TOO_BRIGHT) | (clipped > MAX_CLIPPED),
            "too {tone}: {light:.2f} of full brightness, {clipped:.0%} of its pixels clipped",
        ),
        _Fault(
            "blurred",
            sharpness < config.blur_limit,
            f"blurred: {{sharp:.2f}} as sharp as the median face, limit {config.blur_limit:.2f}",
        ),
        _Fault(
            "other_person",
            apart > people.limit,
            f"not the same person: {{apart:.2f}} from the others, limit {people.limit:.2f}",
        ),
        _Fault(
            "misaligned",
            is_covered & (extent > MAX_EXTENT),
            "misaligned or no face: {extent:.0%} of it unlike the others, "
            f"limit {MAX_EXTENT:.0%}",
        ),
        _Fault(
            "occluded",
            hidden > config.hidden_limit,
            "something covers the {hidden_part}: {hidden:.0%} more of the face is hidden than is "
            f"usual in the set, limit {config.hidden_limit:.0%}",
        ),
        _Fault(
            "occluded",
            is_covered,
            "something covers the {part}: {peak:.2f} of the face's contrast away from the set's "
            f"other faces, limit {config.occlusion_limit:.2f}",
        ),
        _Fault(
            "too_small",
            (eyes_px < config.small_limit * middle) & (eyes_px < ENLARGED * crop_eyes_px),
            f"too small: eyes {{eyes_px:.0f}} px apart in the frame, {middle:.0f} px in the "
            "median face",
        ),
    ]


def robust_z(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Spreads above the median, the spread taken from the median absolute deviation."""
    middle = np.nanmedian(values)
    spread = 1.4826 * np.nanmedian(np.abs(values - middle))
    return (values - middle) / max(float(spread), 1e-9)


def attribute_steps(faces: FaceSet) -> Float[np.ndarray, "n 4"]:
    """Yaw, pitch, mouth, eyes in steps of POSE_DEG, POSE_DEG, MOUTH, EYES; 0 where unknown."""
    steps = {"yaw_deg": POSE_DEG, "pitch_deg": POSE_DEG, "mouth": MOUTH, "eyes": EYES}
    records = [face.record for face in faces.faces]
    columns = [recorded(records, name) / step for name, step in steps.items()]
    return np.nan_to_num(np.stack(columns, 1))


def rarity(points: Float[np.ndarray, "n k"], maximum: float | int) -> Float[np.ndarray, " n"]:
    """How often to draw each face so that lonely ones count: 1 for ordinary ones, up to `maximum`.

    The distance to a near neighbour (the n/50th, the third at least) over the median one.
    """
    count = len(points)
    neighbour = min(max(3, count // 50), count - 1)
    if neighbour < 1:
        return np.ones(count)
    distances = cKDTree(points).query(points, k=[neighbour + 1])[0][:, 0]
    return np.clip(distances / max(float(np.median(distances)), 1e-6), 1, maximum)


def _identify(faces: FaceSet, config: CurateConfig) -> _People:
    count = len(faces.faces)
    vectors = embeddings_of([face.record for face in faces.faces])
    person: Int[np.ndarray, " n"] = np.full(count, -1)
    unknown = np.full(count, np.nan)
    if vectors is None:
        kinds = sorted({r.embedder for f in faces.faces if (r := f.record).embedder})
        several = f"embeddings of several kinds ({', '.join(kinds)})"
        why = several if len(kinds) > 1 else "no embeddings"
        if config.person is not None:
            raise FaceswapError(f"curate.person={config.person}: {faces.path} has {why}")
        notes = [f"identity is not judged: the faces have {why}"]
        return _People(person, [], unknown, np.inf, notes)
    name = next(face.record.embedder for face in faces.faces if face.record.embedding is not None)
    assert name is not None, "who has a vector knows whose"
    metric, same_person = distance_rule(name)
    limit = config.identity_limit or same_person
    known = np.isfinite(vectors).all(1)
    person[known] = split_people(vectors[known], metric, same_person)
    counts = [int(faces_of) for faces_of in np.bincount(person[person >= 0])]
    if config.person is not None and config.person > max(1, len(counts)):
        shows = f"{faces.path} shows {len(counts)} people"
        raise FaceswapError(f"curate.person={config.person}: {shows}")
    said = " + ".join(map(str, counts))
    rivals = [n for n, faces_of in enumerate(counts) if faces_of > AMBIGUOUS * counts[0]]
    notes = [f"{len(counts)} people ({said} faces)"] if len(counts) > 1 else []
    if not counts:
        notes = ["identity is not judged: no two faces are surely of one person"]
    wanted = [(config.person or 1) - 1]
    if config.person is None and len(rivals) > 1:
        wanted = rivals
        notes = [
            f"{len(counts)} people ({said} faces), and the largest {len(rivals)} are all "
            "kept: --set curate.person=N keeps only the N-th"
        ]
    distance = unknown
    for number in wanted:
        if (own := person == number).any():
            centre = trimmed_centre(vectors[own], metric)
            to_this = unknown.copy()
            to_this[known] = distances_to(centre, vectors[known], metric)
            distance = np.fmin(distance, to_this)
    # Whose face is another's is not ours, however near.
    is_other = (person >= 0) & ~np.isin(person, wanted)
    distance = np.where(is_other, np.maximum(distance, 1.001 * limit), distance)
    return _People(person, counts, distance, limit, notes)


def _fill_gaps(
    fates: _Fates,
    only_blurred: Bool[np.ndarray, " n"],
    sharpness: Float[np.ndarray, " n"],
    attributes: Float[np.ndarray, "n k"],
    config: CurateConfig,
) -> None:
    """Let in blurred faces where there are no better ones, seldom drawn."""
    good = attributes[~fates.rejected]
    if not len(good):
        return
    # Of a blurred face it is hard to say what else is wrong: any other fault counts.
    blurred = [n for n, why in enumerate(fates.reasons) if why == "blurred" and only_blurred[n]]
    for place in blurred:
        alone = np.linalg.norm(good - attributes[place], axis=1).min() > GAP_STEPS
        if alone and sharpness[place] > GAP_BLUR * config.blur_limit:
            fates.reasons[place], fates.rejected[place] = "fills_gap", False
            fates.weights[place] = GAP_WEIGHT
            fates.words[place] = (
                f"blurred ({sharpness[place]:.2f} as sharp as the median face), but no sharper one "
                f"is near its pose and expression: kept, drawn {GAP_WEIGHT:g} times as often"
            )


def _reject_duplicates(fates: _Fates, faces: FaceSet, measures: Measures) -> None:
    left = np.flatnonzero(~fates.rejected)
    if len(left) < 2:
        return
    vectors = embeddings_of([faces.faces[place].record for place in left])
    seen = measures.hashes[left], measures.views[left], vectors, measures.sharpness[left]
    for place, other in near_duplicates(*seen, DUPLICATE_EMBEDDING).items():
        fates.reasons[left[place]], fates.rejected[left[place]] = "duplicate", True
        kept = faces.faces[left[other]].path.name
        fates.words[left[place]] = f"the same picture as {kept}, less sharp"


def _favour_rare(fates: _Fates, attributes: Float[np.ndarray, "n k"], maximum: float) -> None:
    """Give kept faces of unusual pose or expression a higher weight."""
    kept = np.flatnonzero(~fates.rejected)
    often = rarity(attributes[kept], maximum) if len(kept) > 1 else np.ones(len(kept))
    for place, weight in zip(kept, often, strict=True):
        if fates.reasons[place] == "fills_gap":
            continue
        fates.weights[place] = weight
        if weight >= RARE:
            yaw, pitch = (attributes[place, :2] * POSE_DEG).round()
            fates.reasons[place] = "rare"
            fates.words[place] = (
                f"rare pose or expression (yaw {yaw:+.0f}, pitch {pitch:+.0f} degrees, mouth "
                f"{attributes[place, 2] * MOUTH:.2f}): kept, drawn {weight:.1f} times as often"
            )


def _halved(pixels: UInt8[np.ndarray, "n s s ..."]) -> Float[np.ndarray, "n t t ..."]:
    """In [0, 1] at half the size: what covers a face is large, and the work falls by the sixteenth.

    By adding up quarters: a wider type of all views at once would take gigabytes.
    """
    halves = np.zeros((len(pixels), pixels.shape[1] // 2, *pixels.shape[2:]), np.float32)
    halves = halves[:, :, : pixels.shape[2] // 2]
    for row in (0, 1):
        for column in (0, 1):
            halves = halves + pixels[:, row::2, column::2].astype(np.float32)
    return halves / np.float32(4 * 255)


def _where(place: Float[np.ndarray, " 2"]) -> str:
    """A part of an aligned face, by where it lies in the crop."""
    x, y = place
    half = "picture-left" if x < 0.5 else "picture-right"
    if y < 0.34:
        return "forehead"
    if y < 0.5:
        return "eyes" if 0.42 <= x <= 0.58 else f"{half} eye"
    if y < 0.6:
        return "nose" if 0.38 <= x <= 0.62 else f"{half} cheek"
    return "mouth" if 0.34 <= x <= 0.66 else f"{half} cheek"


def _middle(values: Float[np.ndarray, " n"]) -> float:
    return max(float(np.nanmedian(values)), 1e-9) if np.isfinite(values).any() else 1.0


def _upper(values: Float[np.ndarray, " n"]) -> float:
    """Where ordinary values end: six spreads above the median; 0 when there are none."""
    if not np.isfinite(values).any():
        return 0.0
    middle = float(np.nanmedian(values))
    return middle + 6 * 1.4826 * float(np.nanmedian(np.abs(values - middle)))
