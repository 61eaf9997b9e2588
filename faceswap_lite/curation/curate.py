"""The stage: judge a face set, show why, and on demand set aside what does not belong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..config import CurateConfig
from ..errors import FaceswapError
from ..faces.face_set import FaceSet, StoredFace, face_key, open_face_set, set_order, stored_faces
from ..faces.records import read_record
from ..outputs import one_writer, write_json
from .applying import apply_decisions, rejected_faces, returned_faces, undo_moves, write_decisions
from .choose import choose_best
from .contact_sheets import REASON_WORDS, write_sheets
from .decisions import Decision, asked_to_keep, read_decisions, report_folder
from .gallery_page import write_page
from .measures import Measures, measure_faces
from .overrides import carry_overrides, override
from .pose_coverage import Coverage, attributes_of, coverage, coverage_lines
from .pose_coverage_figure import draw_coverage
from .verdicts import judge_faces

PAGE_FILE = "index.html"
COVERAGE_FILE, COVERAGE_FIGURE = "coverage.json", "coverage.png"


@dataclass(frozen=True)
class CurateSummary:
    """What a call of `curate` decided. `moved`: crops moved there or back; None: a preview."""

    path: Path
    decisions: list[Decision]
    notes: list[str]
    moved: int | None
    aside: int
    """Crops that lie in `_rejected` now."""
    coverage: Coverage | None

    def lines(self) -> list[str]:
        """For a person to read."""
        kept = [d for d in self.decisions if d.kept]
        rejected = Counter(d.reason for d in self.decisions if not d.kept)
        folder = report_folder(self.path)
        lines = [f"{self.path}: {len(kept)} of {len(self.decisions)} faces are kept"]
        lines += [f"  rejected {n:5}  {REASON_WORDS[why]}" for why, n in rejected.most_common()]
        for reason, what in (("rare", "rare, drawn more often"), ("fills_gap", "fill a gap")):
            if count := sum(d.reason == reason for d in kept):
                lines.append(f"  kept     {count:5}  {what}")
        lines += [f"note: {note}" for note in self.notes]
        if self.coverage is not None:
            lines += coverage_lines(self.coverage)
        lines.append(f"why, face by face: {folder / PAGE_FILE}, {folder / 'decisions.csv'}")
        if self.coverage is not None:
            lines.append(f"what is covered: {folder / COVERAGE_FIGURE}")
        if self.moved is not None:
            aside = f"{self.aside} lie in _rejected, --undo brings them back"
            lines.append(f"moved {self.moved} crops; {aside}")
        elif self.aside:
            lines.append(f"nothing was moved; {self.aside} crops lie in _rejected from before")
        elif rejected:
            lines.append("nothing was moved: --apply sets the rejected ones aside")
        return lines


@one_writer(lambda path, apply, **_: [report_folder(path), *([path] if apply else [])])
def curate_faces(
    path: Path,
    config: CurateConfig,
    *,
    apply: bool = False,
    against: Path | None = None,
    best: int | None = None,
    accept: Sequence[str] = (),
    reject: Sequence[str] = (),
) -> CurateSummary:
    """Judge the set's faces, those set aside before too, and write decisions, sheets and a page.

    `apply` moves the rejected ones to `_rejected`, and back whose decision has changed; `best`
    keeps only so many, which cover pose, expression and light (None: as many as at the last call,
    0: all); `accept` and `reject` are the user's word on single files, and hold from then on.
    `against`: the target whose frames the set has to cover; it is measured too, and what was
    measured is kept beside it.
    Raises: FaceswapError when there is no such set, or a name is none of its faces'.
    """
    faces, names = _with_rejected(path)
    target = None if against is None else open_face_set(against)
    measures = measure_faces(faces)
    judgement = judge_faces(faces, measures, config)
    decisions = [
        d.model_copy(update={"file": names.get(face.path, d.file)})
        for d, face in zip(judgement.decisions, faces.faces, strict=True)
    ]
    decisions = carry_overrides(decisions, read_decisions(path), returned_faces(path))
    decisions = override(decisions, accept, reject)
    notes = [*faces.problems, *judgement.notes]
    if best is None and (best := asked_to_keep(path)):
        notes.append(f"only the best {best} are kept, as asked before; --keep 0 keeps all again")
    if best:
        decisions = _only_best(faces, measures, decisions, best)
    folder = report_folder(path)
    write_decisions(path, decisions, best or None)
    order = _worst_first(decisions)
    shown, thumbnails = [decisions[place] for place in order], measures.views[order]
    write_sheets(folder, shown, thumbnails)
    title = f"{path.resolve().name}: {len(decisions)} faces"
    write_page(folder / PAGE_FILE, title, shown, thumbnails)
    covered = None
    if target is not None:
        covered = _cover(faces, measures, decisions, target)
        write_json(folder / COVERAGE_FILE, covered.to_json())
        draw_coverage(folder / COVERAGE_FIGURE, covered)
    moved = apply_decisions(path, decisions) if apply else None
    return CurateSummary(path, decisions, notes, moved, len(rejected_faces(path)), covered)


@one_writer(lambda path, **_: [report_folder(path), path])
def undo_curation(path: Path) -> str:
    """Bring back what `curate_faces` moved; what happened, for a person to read."""
    undone = undo_moves(path)
    stay = ""
    if undone.kept_back:
        taken = f"their names are taken ({', '.join(undone.kept_back[:3])})"
        stay = f"; {len(undone.kept_back)} stay in _rejected, {taken}"
    return f"{path}: {undone.restored} crops are back{stay}"


def _with_rejected(path: Path) -> tuple[FaceSet, dict[Path, str]]:
    """The set with what was set aside before, and the names that those had in it."""
    names = rejected_faces(path) if path.is_dir() else {}
    if names and not stored_faces(path):
        raise FaceswapError(
            f"{path}: all of its faces are set aside; faceswap-lite curate {path} --undo "
            "brings them back"
        )
    faces = open_face_set(path)
    known = {face_key(face.record) for face in faces.faces}
    aside, broken = [], []
    for place in names:
        try:
            record = read_record(place)
        except FaceswapError:
            record = None
        if record is None:
            broken.append(place.name)
        elif face_key(record) not in known:
            # Who is in the set again, by a copy, is judged there.
            aside.append(StoredFace(place, record))
    for file in [face.path for face in [*faces.faces, *aside]]:
        if not file.name.isprintable():
            raise FaceswapError(
                f"{path}: {file.name!a} cannot be written into a text file; rename it"
            )
    problems = list(faces.problems)
    if broken:
        problems.append(f"{len(broken)} crops in _rejected cannot be read ({broken[0]})")
    # Where a face lies is no part of what it is judged by: a second call decides the same.
    together = sorted([*faces.faces, *aside], key=set_order)
    return replace(faces, faces=together, problems=problems), names


def _only_best(
    faces: FaceSet, measures: Measures, decisions: Sequence[Decision], count: int
) -> list[Decision]:
    """The decisions with all but the chosen faces rejected as surplus; the user's word stands."""
    chosen = set(choose_best(faces, measures, decisions, count))
    surplus = {
        "kept": False,
        "reason": "surplus",
        "words": f"not among the {count} that cover the set best",
        "weight": 1.0,
    }
    return [
        d if place in chosen or not d.kept or d.by_user else d.model_copy(update=surplus)
        for place, d in enumerate(decisions)
    ]


def _cover(
    faces: FaceSet, measures: Measures, decisions: Sequence[Decision], target: FaceSet
) -> Coverage:
    """How the kept faces cover those of a target set; the target is measured as the set is."""
    kept = [place for place, decision in enumerate(decisions) if decision.kept]
    if not kept:
        raise FaceswapError(f"{faces.path}: no face is kept that could cover {target.path}")
    # The mesh and the 68 points lie in one canonical face, and say the same of pose and mouth.
    if faces.pack != target.pack and "five" in (faces.pack, target.pack):
        raise FaceswapError(
            f"{faces.path} was made with landmarks {faces.pack}, {target.path} with {target.pack}: "
            "their poses cannot be compared; extract one of them again"
        )
    source = attributes_of([faces.faces[place].record for place in kept], measures.light[kept])
    wanted = attributes_of([f.record for f in target.faces], measure_faces(target).light)
    return coverage(source, wanted)


def _worst_first(decisions: Sequence[Decision]) -> list[int]:
    """Places in the order in which faces are shown: of each reason, what is farthest off first."""

    def key(place: int) -> tuple[float, int]:
        score, sign = WORST_BY.get(decisions[place].reason, ("", 1))
        return -sign * decisions[place].scores.get(score, -np.inf * sign), place

    return sorted(range(len(decisions)), key=key)


# Which score says how bad, and whether more or less of it is worse.
WORST_BY: dict[str, tuple[str, int]] = {
    "other_person": ("identity", 1),
    "no_face": ("presence", -1),
    "misaligned": ("alignment_error", 1),
    "occluded": ("occlusion", 1),
    "blurred": ("sharpness", -1),
    "exposure": ("clipped", 1),
    "too_small": ("eyes_px", -1),
    "fills_gap": ("sharpness", -1),
}
