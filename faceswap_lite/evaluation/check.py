"""The check stage: before a long conversion, how much of the clip can the model be trusted on?

Two questions about each face of the clip: is it like the faces that the model rebuilds well
(trust), and does it show what the other person was never seen doing (coverage)?
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from ..config import ConvertConfig, Side
from ..conversion.casting import CastPlan, cast_clip
from ..conversion.detection_pass import build_run_packs
from ..conversion.paint import paint_frames
from ..conversion.painted import Placement
from ..conversion.settings import as_job, config_for, mask_facts, seen_settings
from ..errors import FaceswapError
from ..faces.face_set import refuse_crops
from ..media.clips import Frame, as_uint8
from ..media.images import write_image
from ..media.marks import SyntheticMark
from ..media.reader import Clip
from ..media.sheets import CELL_PX, INK, QUIET, Sheet
from ..media.truth import load_true_landmarks
from ..outputs import (
    TOOL,
    VERSION,
    beside,
    claim,
    found_job,
    job_id,
    listed,
    one_writer,
    refuse_inputs,
    write_json,
)
from ..runs.hardware import pick_device
from ..runs.known import known_faces, spread_evenly
from ..runs.trained import TrainedRun
from .out_of_distribution import (
    OutOfDistribution,
    brightness_of,
    clip_attributes,
    find_out_of_distribution,
    known_attributes,
)
from .trust import Trust, TrustScores, fit_trust, pick_worst

MAX_LOOKED_AT = 2000
"""Frames with a face that are looked at, spread evenly: a share needs no more."""
SHEET_FACES = 18
"""The worst, not too near to one another in time."""

MOSTLY, PARTLY = 0.9, 0.5
"""Shares of trusted frames from which the verdict is good, and from which it is mixed."""

UNSHOWN_SHARE = 0.1
"""Share of frames outside the painted person's range from which the verdict names it."""

GAP_PX, TITLE_PX, CAPTION_PX, SHEET_COLUMNS = 14, 84, 46, 3
WARNING = (255, 170, 120)

SIGN_WORDS = {
    "distance": "unlike any face it learned",
    "look_distance": "light, colour or occlusion it never saw",
    "view_spread": "its output is unsteady",
}
"""What each sign of trust says against a face."""


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


@one_writer(lambda out, **_: beside(out, ".png"))
def check_clip(
    run: TrainedRun,
    clip: Clip,
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
    inputs = (clip.path, run.path / "run.json", run.path / "config.yaml")
    refuse_inputs(out, *inputs)
    _, sheet = beside(out, ".png")
    refuse_inputs(sheet, *inputs)
    if out == sheet:
        raise FaceswapError(f"{out}: is the name of the sheet; name a .json for the report")
    convert = config_for(clip.path, convert)
    settings = seen_settings(convert) | mask_facts(run, convert)
    job = job_id(
        check=1, clip=clip.fingerprint, run=run.fingerprint, settings={"convert": as_job(settings)}
    )
    before = found_job(out)
    # Who made the sheet is told by the report beside it.
    made = ((out, before.get("job")), (sheet, before.get("job") and job))
    acts = [claim(path, job, by, finished=True, overwrite=overwrite) for path, by in made]
    if acts == ["done", "done"]:
        say(f"{out}: already done")
        return before

    # Before what takes long: a clip may be unreadable, a face set gone.
    refuse_crops(clip.path)
    with clip.open() as reader:
        early = list(reader.problems)
    for problem in early:
        say(f"warning: {clip.path.name}: {problem}")
    people = {side: known_faces(run, side) for side in (convert.shown_side, convert.painted_side)}
    run.model.to(pick_device(convert.device))
    packs = build_run_packs(run, convert)
    for note in packs[0].notes:
        say(note)
    plan = cast_clip(run, clip, packs, convert, say=say)
    if not plan.placements:
        raise FaceswapError(f"{clip.path}: no frame shows the face to swap; is it the right clip?")
    trust = fit_trust(run, people[convert.shown_side])
    looked = _look(run, clip, plan, convert)
    for problem in looked.problems:
        if problem not in early:
            say(f"warning: {clip.path.name}: {problem}")
    scores = trust.judge(run, looked.crops, looked.masks)
    shown = clip_attributes(
        looked.placements, run.manifest.landmarks_pack, brightness_of(looked.crops, looked.masks),
        load_true_landmarks(clip.path) if clip.path.is_file() else None,
    )  # fmt: skip
    outside = []
    for side in (convert.painted_side, convert.shown_side):
        outside += find_out_of_distribution(known_attributes(people[side]), shown, side)
    report = {
        "schema": 1,
        "tool": TOOL,
        "job": job,
        **_summarise(looked, len(plan.placements), scores, trust, outside, convert.painted_side),
        "clip": {"path": str(clip.path), "sha256": clip.fingerprint},
        "run": {"path": str(run.path), "step": run.step, "weights": run.fingerprint},
        "settings": {"convert": settings},
    }
    worst = pick_worst(scores.expected_error, looked.frame, SHEET_FACES)
    picture = _draw(looked, scores, worst, report)
    # The report first: it names the job, so that after a kill the same call goes on.
    write_json(out, report)
    write_image(sheet, picture, mark=SyntheticMark(version=VERSION, run=run.fingerprint))
    for line in report["lines"]:
        say(line)
    say(report["verdict"])
    return report


def _look(run: TrainedRun, clip: Clip, plan: CastPlan, convert: ConvertConfig) -> _Looked:
    """Paint frames that are spread evenly over those with a face."""
    there = sorted(plan.placements)
    wanted = {there[place] for place in spread_evenly(len(there), MAX_LOOKED_AT)}
    placements: list[Placement] = []
    # As bytes at once: as floats, a long clip's faces would be many gigabytes.
    pictures: dict[str, list[np.ndarray]] = {
        "crops": [], "masks": [], "rebuilt": [], "swapped": [],
    }  # fmt: skip
    frames = 0
    with clip.open() as reader:

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
                shown = (face.crop, face.seen, face.rebuilt, face.face)
                for kept, picture in zip(pictures.values(), shown, strict=True):
                    kept.append(as_uint8(picture))
        problems = list(reader.problems)
    if not placements:
        raise FaceswapError(f"{clip.path}: none of its faces can be cut out; is it the right clip?")
    return _Looked(
        frames=frames,
        frame=np.array([placement.frame for placement in placements]),
        **{name: np.stack(kept) for name, kept in pictures.items()},
        placements=placements,
        problems=problems,
    )


def _summarise(
    looked: _Looked,
    with_face: int,
    scores: TrustScores,
    trust: Trust,
    outside: Sequence[OutOfDistribution],
    painted: Side,
) -> dict[str, Any]:
    """The figures, and the same in words."""
    judged = np.unique(looked.frame)
    doubtful = np.unique(looked.frame[~scores.trusted])
    count, share = len(judged) - len(doubtful), 1 - len(doubtful) / len(judged)
    rows: list[dict[str, Any]] = [
        {
            **{name: getattr(one, name) for name in ("attribute", "direction", "person")},
            "frames": len(np.unique(looked.frame[one.faces])),
            "words": one.words,
        }
        for one in outside
    ]
    lines = _lines(looked.frames, with_face, len(judged), count, trust)
    why = reasons(scores, outside, painted)
    doubts = [words for words, good in zip(why, scores.trusted, strict=True) if not good]
    beyond = [row for row in rows if row["person"] == painted and row["attribute"] != "light"]
    # Rows come with the most frequent first.
    wide = [row["words"] for row in beyond if row["frames"] > UNSHOWN_SHARE * len(judged)]
    return {
        "verdict": clip_sentence(share, doubts, wide[0] if wide else ""),
        "lines": [*lines, *(f"{row['frames']} frames {row['words']}" for row in rows)],
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
            "expected_error": listed(scores.expected_error),
            "distance": listed(scores.distance),
            "look_distance": listed(scores.look_distance),
            "view_spread": listed(scores.view_spread),
            "why": why,
        },
    }


def _lines(frames: int, with_face: int, judged: int, trusted: int, trust: Trust) -> list[str]:
    """How many of the clip's frames are what, in words."""
    lines = []
    if judged < with_face:
        lines.append(f"{judged} of the {with_face} frames with a face were looked at")
    share = 1 - (judged - trusted) / judged
    lines.append(
        f"{trusted} of {judged} frames ({100 * share:.0f} %) can be trusted: the rebuilt face "
        f"is expected at {trust.bound_db:.1f} dB or better, as {100 * trust.heldout_within:.0f} % "
        "of the held-out faces are"
    )
    if frames > with_face:
        lines.append(f"in {frames - with_face} of {frames} frames the face to swap was not found")
    return lines


def clip_sentence(share: float, doubts: Sequence[str], beyond: str = "") -> str:
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


def reasons(scores: TrustScores, outside: Sequence[OutOfDistribution], painted: Side) -> list[str]:
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
    sheet = Sheet(GAP_PX + SHEET_COLUMNS * step_x, TITLE_PX + rows * step_y)
    share = f"{100 * report['trusted_share']:.0f} % of the frames can be trusted"
    sheet.write(f"The worst faces: {share}", GAP_PX, 24, 22)
    sheet.write("true face | rebuilt | swapped", GAP_PX, 54, 14, QUIET)
    for number, place in enumerate(worst):
        row, column = divmod(number, SHEET_COLUMNS)
        left, top = GAP_PX + column * step_x, TITLE_PX + row * step_y
        for i, faces in enumerate((looked.crops, looked.rebuilt, looked.swapped)):
            sheet.put(faces[place], left + i * CELL_PX, top)
        error = f"frame {looked.frame[place]}: {scores.expected_db[place]:.1f} dB expected"
        good = bool(scores.trusted[place])
        said = f"{error}, trusted" if good else error
        sheet.write(said, left, top + CELL_PX + 12, 14, INK if good else WARNING)
        why = "" if good else report["faces"]["why"][place]
        sheet.write(why, left, top + CELL_PX + 31, 14, QUIET)
    return sheet.pixels
