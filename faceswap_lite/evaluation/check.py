"""The check stage: before a long conversion, how much of the clip can the model be trusted on?

Two questions about each face of the clip: is it like the faces that the model rebuilds well
(trust), and does it show what the other person was never seen doing (coverage)?
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from .. import __version__
from ..config import ConvertConfig
from ..conversion.casting import CastPlan, cast_clip
from ..conversion.paint import paint_frames
from ..conversion.painted import Placement
from ..conversion.scout import build_run_packs
from ..conversion.settings import UNSEEN_SETTINGS, config_for, painted_side, shown_side
from ..curation.coverage import FIVE_WEIGHT, KINDS, Attributes, attributes_of, coverage
from ..errors import FaceswapError
from ..faces.align import LandmarksPack
from ..faces.pose import estimate_pose, eye_opening, mouth_opening
from ..latent.sheets import BACKGROUND, CELL_PX, INK, QUIET, cell
from ..media.clips import Frame, clip_fingerprint
from ..media.images import write_image
from ..media.marks import SyntheticMark
from ..media.reading import open_clip
from ..media.truth import load_true_landmarks
from ..metrics.pictures import as_bytes
from ..models.autoencoder import Side
from ..outputs import claim, found_job, job_id, refuse_inputs, write_json
from ..runs.hardware import pick_device
from ..runs.known import KnownFaces, known_faces, spread_evenly
from ..runs.trained import TrainedRun
from .trust import Trust, TrustScores, fit_trust

MOST_FRAMES = 2000
"""Frames with a face that are looked at, spread evenly: a share needs no more."""
SHEET_FACES = 18
"""The worst, not too near to one another in time."""

MOSTLY, PARTLY = 0.9, 0.5
"""Shares of trusted frames from which the verdict is good, and from which it is mixed."""

UNSHOWN = 0.1
"""Share of frames outside the painted person's range from which the verdict names it."""

GAP_PX, TITLE_PX, CAPTION_PX, SHEET_COLUMNS = 14, 84, 46, 3
WARNING = (255, 170, 120)

SIGN_WORDS = {
    "distance": "unlike any face it learned",
    "look_distance": "light, colour or cover it never saw",
    "view_spread": "its answer is unsteady",
}
"""What each sign of trust says against a face."""


class _Verbs(NamedTuple):
    """What frames beyond a limit do; and the same of one face."""

    below: str
    above: str
    one_below: str
    one_above: str


VERBS = {
    "yaw_deg": _Verbs("turn", "turn", "turned", "turned"),
    "pitch_deg": _Verbs("tilt", "tilt", "tilted", "tilted"),
    "mouth": _Verbs(
        "close the mouth below", "open the mouth beyond", "mouth below", "mouth beyond"
    ),
    "eyes": _Verbs("close the eyes below", "open the eyes beyond", "eyes below", "eyes beyond"),
    "light": _Verbs("are darker than", "are brighter than", "darker than", "brighter than"),
}
"""By the names of curation's attributes."""


@dataclass(frozen=True)
class Outside:
    """Frames on one side of an attribute's range among one person's faces."""

    attribute: str
    side: str
    """below or above."""
    person: Side
    words: str
    short: str
    faces: Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class _Looked:
    """The faces that were looked at, in order, and the frames of the clip."""

    frames: int
    frame: Int[np.ndarray, " n"]
    crops: UInt8[np.ndarray, "n s s 3"]
    masks: UInt8[np.ndarray, "n s s"]
    rebuilt: UInt8[np.ndarray, "n s s 3"]
    swapped: UInt8[np.ndarray, "n s s 3"]
    placements: list[Placement]
    problems: list[str]


def check_clip(
    run: TrainedRun,
    clip: Path,
    out: Path,
    convert: ConvertConfig,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Say how much of the clip the run can be trusted on; write it to `out` and return it.

    A sheet of the worst faces is written beside it, as PNG.
    Raises: FaceswapError when the clip cannot be read, shows nobody to swap, or the run's face sets
    are gone.
    """
    inputs = (clip, run.path / "run.json", run.path / "config.yaml")
    refuse_inputs(out, *inputs)
    sheet = out.with_suffix(".png")
    refuse_inputs(sheet, *inputs)
    if out == sheet:
        raise FaceswapError(f"{out}: is where the sheet goes; name a .json")
    convert = config_for(clip, convert)
    settings = {"convert": convert.model_dump(exclude=UNSEEN_SETTINGS)}
    fingerprint = clip_fingerprint(clip)
    job = job_id(check=1, clip=fingerprint, run=run.fingerprint, settings=settings)
    before = found_job(out)
    # Who made the sheet is told by the report beside it.
    made = ((out, before.get("job")), (sheet, before.get("job") and job))
    acts = [claim(path, job, by, finished=True, overwrite=overwrite) for path, by in made]
    if acts == ["done", "done"]:
        say(f"{out}: already done")
        return before

    # Before the clip is searched, which takes longest: a face set may be gone.
    people = {side: known_faces(run, side) for side in (shown_side(convert), painted_side(convert))}
    run.model.to(pick_device(convert.device))
    packs = build_run_packs(run, convert)
    for note in packs[0].notes:
        say(note)
    plan = cast_clip(run, clip, packs, convert, say=say)
    if not plan.placements:
        raise FaceswapError(f"{clip}: no frame shows the face to swap; is it the right clip?")
    trust = fit_trust(run, people[shown_side(convert)])
    looked = _look(run, clip, plan, convert)
    for problem in looked.problems:
        say(f"warning: {clip.name}: {problem}")
    scores = trust.judge(run, looked.crops, looked.masks)
    shown = clip_attributes(
        looked.placements, run.manifest.landmarks_pack, light_of(looked.crops, looked.masks),
        load_true_landmarks(clip) if clip.is_file() else None,
    )  # fmt: skip
    outside = []
    for side in (painted_side(convert), shown_side(convert)):
        outside += find_outside(known_attributes(people[side]), shown, side)
    report = {
        "schema": 1,
        "tool": f"faceswap_lite {__version__}",
        "job": job,
        **_summarise(looked, len(plan.placements), scores, trust, outside, painted_side(convert)),
        "clip": {"path": str(clip), "sha256": fingerprint},
        "run": {"path": str(run.path), "step": run.step, "weights": run.fingerprint},
        "settings": settings,
    }
    worst = pick_worst(scores.expected_error, looked.frame, SHEET_FACES)
    picture = _draw(looked, scores, worst, report)
    # The report first: it names the job, so that after a kill the same call goes on.
    write_json(out, report)
    write_image(sheet, picture, mark=SyntheticMark(version=__version__, run=run.fingerprint))
    for line in report["lines"]:
        say(line)
    say(report["verdict"])
    return report


def _look(run: TrainedRun, clip: Path, plan: CastPlan, convert: ConvertConfig) -> _Looked:
    """Paint frames that are spread evenly over those with a face."""
    there = sorted(plan.placements)
    wanted = {there[place] for place in spread_evenly(len(there), MOST_FRAMES)}
    placements: list[Placement] = []
    # As bytes at once: as floats, a long clip's faces would be many gigabytes.
    pictures: dict[str, list[np.ndarray]] = {
        "crops": [], "masks": [], "rebuilt": [], "swapped": [],
    }  # fmt: skip
    frames = 0
    with open_clip(clip) as reader:

        def chosen() -> Iterator[Frame]:
            nonlocal frames
            for frame in reader:
                if convert.end is not None and frame.index >= convert.end:
                    return
                frames += frame.index >= convert.start
                if frame.index in wanted:
                    yield frame

        for painted in paint_frames(chosen(), plan, run, convert, rebuild=True):
            for face in painted.faces:
                placements.append(face.placement)
                shown = (face.crop, face.hull, face.rebuilt, face.face)
                for kept, picture in zip(pictures.values(), shown, strict=True):
                    kept.append(as_bytes(picture))
        problems = list(reader.problems)
    if not placements:
        raise FaceswapError(f"{clip}: none of its faces can be cut out; is it the right clip?")
    return _Looked(
        frames=frames,
        frame=np.array([placement.frame for placement in placements]),
        **{name: np.stack(kept) for name, kept in pictures.items()},
        placements=placements,
        problems=problems,
    )


def clip_attributes(
    placements: Sequence[Placement],
    pack: LandmarksPack,
    light: Float[np.ndarray, " n"],
    truth: Float[np.ndarray, "frames 68 2"] | None = None,
) -> Attributes:
    """What faces of a clip show, by the same rules as `curation.attributes_of` of a face set.

    `truth`: a rendered actor's landmarks by frame; openings come from them. Faces in gaps that were
    filled are nowhere outside: nobody saw them.
    """
    rows: list[list[float | None]] = []
    for placement in placements:
        if placement.found is None:
            rows.append([None] * 4)
            continue
        pose = estimate_pose(placement.found.landmarks, pack)
        yaw = pose.yaw_deg
        if pack != "five":
            five = estimate_pose(placement.found.detection.five.astype(np.float64), "five")
            yaw = (1 - FIVE_WEIGHT) * yaw + FIVE_WEIGHT * five.yaw_deg
        points, of = placement.found.landmarks, pack
        if truth is not None:
            points, of = truth[placement.frame], "ibug68"
        rows.append([yaw, pose.pitch_deg, mouth_opening(points, of), eye_opening(points, of)])
    known = np.array([[np.nan if v is None else v for v in row] for row in rows], np.float64)
    yaw_deg, pitch_deg, mouth, eyes = known.reshape(-1, 4).T
    return Attributes(yaw_deg, pitch_deg, mouth, eyes, light)


def light_of(
    crops: UInt8[np.ndarray, "n s s 3"], masks: UInt8[np.ndarray, "n s s"]
) -> Float[np.ndarray, " n"]:
    """Mean brightness inside each mask, 0 to 1, as in a face set's measures."""
    light = []
    for crop, mask in zip(crops, masks, strict=True):
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        inside = mask > 127
        light.append(float((grey[inside] if inside.any() else grey).mean()) / 255)
    return np.array(light)


def known_attributes(known: KnownFaces, *, everybody: bool = False) -> Attributes:
    """What the faces show that training saw; with `everybody`, all of them, in their order."""
    some = known if everybody else known.only(known.seen)
    return attributes_of([face.record for face in some.faces], light_of(some.crops, some.masks))


def find_outside(known: Attributes, shown: Attributes, person: Side) -> list[Outside]:
    """Where the clip's faces leave the range of one person's, the most frequent first.

    Only what concerns more than a few faces: see `curation.coverage`.
    """
    found = coverage(known, shown)
    every = []
    for name, side in {(gap.attribute, gap.side) for gap in found.gaps if gap.side != "near"}:
        of, kind, verbs = found.attributes[name], KINDS[name], VERBS[name]
        values = getattr(known, name)
        if side == "below":
            limit, faces, told = of.limits[0], of.below, kind.below
            verb, one, beyond = verbs.below, verbs.one_below, int((values < limit).sum())
        else:
            limit, faces, told = of.limits[1], of.above, kind.above
            verb, one, beyond = verbs.above, verbs.one_above, int((values > limit).sum())
        where = told.limit(limit)
        as_known = f"as no {person} face does"
        if beyond:
            few = f"as only {beyond} of {np.isfinite(values).sum()} {person} faces"
            as_known = f"{few} do{'es' * (beyond == 1)}"
        words = f"{verb} {where}, {as_known}"
        every.append(Outside(name, side, person, words, f"{one} {where}", faces))
    if found.pose is not None and any(gap.attribute == "pose" for gap in found.gaps):
        words = f"turn and tilt at once as (nearly) no {person} face does"
        lone = found.pose.lone & ~found.outside
        every.append(Outside("pose", "near", person, words, "turned and tilted at once", lone))
    return sorted(every, key=lambda one: (-int(one.faces.sum()), one.attribute, one.side))


def pick_worst(
    errors: Float[np.ndarray, " n"], frames: Int[np.ndarray, " n"], count: int
) -> list[int]:
    """Places of the largest errors, largest first, none of them near another in time.

    How near is near: so that `count` of them could fill half of the time.
    """
    apart = max(1, int(np.ptp(frames)) // (2 * count)) if len(frames) else 1
    worst: list[int] = []
    for place in np.argsort(-errors, kind="stable").tolist():
        if all(abs(int(frames[place] - frames[other])) >= apart for other in worst):
            worst.append(place)
        if len(worst) == count:
            break
    return worst


def _summarise(
    looked: _Looked,
    with_face: int,
    scores: TrustScores,
    trust: Trust,
    outside: Sequence[Outside],
    painted: Side,
) -> dict[str, Any]:
    """The figures, and the same in words."""
    judged = np.unique(looked.frame)
    doubtful = np.unique(looked.frame[~scores.trusted])
    count, share = len(judged) - len(doubtful), 1 - len(doubtful) / len(judged)
    lines = []
    if len(judged) < with_face:
        lines.append(f"{len(judged)} of the {with_face} frames with a face were looked at")
    lines.append(
        f"{count} of {len(judged)} frames ({100 * share:.0f} %) can be trusted: the rebuilt face "
        f"is expected at {trust.bound_db:.1f} dB or better, as {100 * trust.heldout_within:.0f} % "
        "of the held-out faces are"
    )
    if looked.frames > with_face:
        missing = looked.frames - with_face
        lines.append(f"in {missing} of {looked.frames} frames the face to swap was not found")
    rows: list[dict[str, Any]] = []
    for one in outside:
        frames = len(np.unique(looked.frame[one.faces]))
        lines.append(f"{frames} frames {one.words}")
        rows.append(
            {
                "attribute": one.attribute,
                "side": one.side,
                "person": one.person,
                "frames": frames,
                "words": one.words,
            }
        )
    why = reasons(scores, outside, painted)
    doubts = [words for words, good in zip(why, scores.trusted, strict=True) if not good]
    beyond = [row for row in rows if row["person"] == painted and row["attribute"] != "light"]
    # Rows come with the most frequent first.
    wide = [row["words"] for row in beyond if row["frames"] > UNSHOWN * len(judged)]
    return {
        "verdict": verdict(share, doubts, wide[0] if wide else ""),
        "lines": lines,
        "frames": looked.frames,
        "frames_with_face": with_face,
        "frames_judged": len(judged),
        "frames_trusted": count,
        "trusted_share": round(share, 4),
        "bound": round(trust.bound, 6),
        "bound_db": round(trust.bound_db, 2),
        "heldout_within": round(trust.heldout_within, 4),
        "outside": rows,
        "faces": {
            "frame": looked.frame.tolist(),
            "trusted": scores.trusted.tolist(),
            "expected_error": _rounded(scores.expected_error),
            "distance": _rounded(scores.distance),
            "look_distance": _rounded(scores.look_distance),
            "view_spread": _rounded(scores.view_spread),
            "why": why,
        },
    }


def verdict(share: float, doubts: Sequence[str], beyond: str = "") -> str:
    """One sentence: how much can be trusted, what most doubts are, what the source does not show.

    `doubts`: one a doubtful face; `beyond`: what many frames do and the painted person does not.
    """
    if share >= MOSTLY:
        words = "good: nearly all of the clip is like what the model rebuilds well"
    elif share >= PARTLY:
        words = "mixed: part of the clip is beyond what the model has learned"
    else:
        words = "poor: most of the clip is beyond what the model has learned"
    if share < MOSTLY and doubts:
        words += f" (mostly: {min(set(doubts), key=lambda doubt: (-doubts.count(doubt), doubt))})"
    return f"{words}; but many frames {beyond}" if beyond else words


def reasons(scores: TrustScores, outside: Sequence[Outside], painted: Side) -> list[str]:
    """Why each face is doubtful: limits of the painted person that it leaves, else a sign."""
    own = [one for one in outside if one.person == painted and one.attribute != "light"]
    why = []
    for place, leading in enumerate(scores.leading):
        beyond = [one.short for one in own if one.faces[place]]
        why.append(", ".join(beyond) if beyond else SIGN_WORDS[leading])
    return why


def _draw(
    looked: _Looked, scores: TrustScores, worst: Sequence[int], report: dict[str, Any]
) -> UInt8[np.ndarray, "h w 3"]:
    """The worst faces: true, rebuilt, swapped, with their frame, expected error and reason."""
    step_x, step_y = 3 * CELL_PX + GAP_PX, CELL_PX + CAPTION_PX + GAP_PX
    rows = -(-len(worst) // SHEET_COLUMNS)
    size = (GAP_PX + SHEET_COLUMNS * step_x, TITLE_PX + rows * step_y)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(size=22), ImageFont.load_default(size=14)
    share = f"{100 * report['trusted_share']:.0f} % of the frames can be trusted"
    draw.text((GAP_PX, 24), f"The worst faces: {share}", INK, title, anchor="lm")
    draw.text((GAP_PX, 54), "true face | rebuilt | swapped", QUIET, small, anchor="lm")
    for number, place in enumerate(worst):
        row, column = divmod(number, SHEET_COLUMNS)
        left, top = GAP_PX + column * step_x, TITLE_PX + row * step_y
        for i, faces in enumerate((looked.crops, looked.rebuilt, looked.swapped)):
            sheet.paste(Image.fromarray(cell(faces[place])), (left + i * CELL_PX, top))
        error = f"frame {looked.frame[place]}: {scores.expected_db[place]:.1f} dB expected"
        good = bool(scores.trusted[place])
        said = f"{error}, trusted" if good else error
        draw.text((left, top + CELL_PX + 12), said, INK if good else WARNING, small, anchor="lm")
        why = "" if good else report["faces"]["why"][place]
        draw.text((left, top + CELL_PX + 31), why, QUIET, small, anchor="lm")
    return np.asarray(sheet)


def _rounded(values: Float[np.ndarray, " n"]) -> list[float]:
    return np.round(values, 6).tolist()
