"""The job of what-ifs: which directions of codes change an answer most."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..errors import FaceswapError, UsageError
from ..faces.align import five_points
from ..faces.embed import build_embedder, embedding_distance, likeness
from ..metrics.pictures import as_bytes
from ..models.autoencoder import SIDES, Side
from ..models.crops import decode
from ..outputs import found_job, job_id, refuse_inputs, write_json
from ..runs.known import KnownFaces, known_faces, spread_evenly
from ..runs.trained import TrainedRun
from .counterfactual import (
    explained_shares,
    identity_accuracy,
    identity_logit,
    one_deviation,
    principal_axes,
)
from .directions import chosen_penalty, ridge
from .job import (
    GivenFace,
    Say,
    file_hash,
    is_done,
    json_number,
    read_face,
    sheet_files,
    shown_value,
    write_sheet,
)
from .readings import ATTRIBUTES, Reader
from .sheets import Row
from .study import MOST_READ, SWEEP_STEPS, SWEPT_FACES, Studied, straight_direction, study

IDENTITY = "identity"
QUESTIONS = (*ATTRIBUTES, IDENTITY)
RANKED = 5
AXES = 10
"""Principal axes that are tried beside the attributes' directions."""


@dataclass(frozen=True)
class _Tried:
    """A direction as long as one standard deviation of codes along it, and what it does."""

    name: str
    move: Float[np.ndarray, " d"]
    effect: float
    """Change of the answer per standard deviation, with its sign."""


def counterfactual(
    run: TrainedRun,
    face: Path,
    question: str,
    out: Path,
    *,
    side: Side,
    say: Say = print,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Which directions of codes change an answer most: one of `QUESTIONS`, ranked.

    Tried are the directions of all attributes and the leading principal axes of the side's codes,
    each a standard deviation of codes along it either way. The answer of an attribute is read of
    decoded held-out faces; that of `identity` is the logit of the other side in a linear
    classifier of codes, and axes and deviations are those of both sides' codes.
    Source: Lang et al. 2021, "Explaining in style", whose AttFind ranks style channels.
    The sheet shows the face under the strongest directions.
    """
    if question not in QUESTIONS:
        raise UsageError(f"question {question}: unknown; choose one of {', '.join(QUESTIONS)}")
    refuse_inputs(out, face)
    job = job_id(
        what="counterfactual",
        run=run.fingerprint,
        face=file_hash(face),
        question=question,
        side=side,
    )
    files = sheet_files(out, ".json")
    if is_done(files, job, overwrite):
        say(f"{out}: already done")
        return found_job(files[1])
    given = read_face(run, face)
    reader = Reader(run.manifest.coverage)
    known = known_faces(run, side, MOST_READ)
    studies = _studies(run, known, reader, say)
    if question != IDENTITY and (question not in studies or not studies[question].readable):
        raise FaceswapError(f"{run.path}: {question} cannot be read of decoded {side} faces")
    others = [known_faces(run, s, MOST_READ) for s in SIDES if s != side and question == IDENTITY]
    seen = {faces.side: faces.only(faces.seen) for faces in (known, *others)}
    codes = np.concatenate([faces.codes for faces in seen.values()]).astype(np.float64)
    axes, _ = principal_axes(codes)
    moves = {name: one_deviation(straight_direction(s).line, codes) for name, s in studies.items()}
    moves |= {
        f"axis {place + 1}": one_deviation(axes[:, place], codes)
        for place in range(min(AXES, axes.shape[1]))
    }
    more: dict[str, Any]
    if question == IDENTITY:
        weights, change, more = _identity(seen, side)
        effects = {name: float(weights @ move) for name, move in moves.items()}
    else:
        studied = studies[question]
        penalty = chosen_penalty(studied.codes, studied.values, studied.clips)
        weights = ridge(studied.codes, studied.values, penalty)[0]
        change, more = straight_direction(studied).line, {}
        effects = _effects(run, known, moves, question, reader)
    tried = [_Tried(name, move, effects[name]) for name, move in moves.items()]
    # What cannot be read (NaN) comes last, and is not shown.
    ranked = sorted(tried, key=lambda t: -abs(t.effect) if np.isfinite(t.effect) else 0.0)
    shares = np.sort(explained_shares(weights, change, axes))[::-1]
    best = [t for t in ranked if np.isfinite(t.effect)][:RANKED]
    if not best:
        raise FaceswapError(f"{run.path}: {question} cannot be read of decoded {side} faces")
    shown = {t.name: _before_after(run, given, t, side) for t in best}
    report = {
        "job": job,
        "run": run.fingerprint,
        "side": side,
        "face": face.name,
        "question": question,
        **more,
        "top5_axes_share": float(shares[:RANKED].sum()),
        "ranked": [{"direction": t.name, "effect": json_number(t.effect)} for t in ranked],
        "kept": {t.name: _kept(run, given, shown[t.name], reader) for t in best},
    }
    unit = "logit" if question == IDENTITY else question
    rows = [
        Row(
            f"{t.name}: {unit} {shown_value(t.effect, question, sign=True)} a deviation",
            shown[t.name],
            [_answer(run, given, t, step, picture, question, weights, reader, more)
             for step, picture in zip(SWEEP_STEPS.tolist(), shown[t.name], strict=True)],
        )
        for t in best
    ]  # fmt: skip
    write_json(files[1], report)
    write_sheet(out, f"What would change {question}: {face.name}", rows, run, job)
    say(f"written to {out} and {files[1]}")
    return report


def _studies(run: TrainedRun, known: KnownFaces, reader: Reader, say: Say) -> dict[str, Studied]:
    readings = reader(known.crops, known.masks)
    studies = {}
    for attribute in ATTRIBUTES:
        try:
            studies[attribute] = study(run, known, readings, attribute, reader)
        except FaceswapError as error:
            say(f"note: no direction of {attribute} ({error})")
    return studies


def _identity(
    seen: dict[Side, KnownFaces], side: Side
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"], dict[str, Any]]:
    """Weights of the logit of the other identity, the move to it, and figures."""
    own, other = (seen[name].codes.astype(np.float64) for name in _own_first(side))
    weights, offset = identity_logit(other, own)
    clips = [f.record.clip_fingerprint for name in _own_first(side) for f in seen[name].faces]
    is_other = np.arange(len(own) + len(other)) >= len(own)
    accuracy = identity_accuracy(np.concatenate([own, other]), is_other, clips)
    return weights, other.mean(0) - own.mean(0), {"blocked_accuracy": accuracy, "offset": offset}


def _own_first(side: Side) -> tuple[Side, Side]:
    return ("source", "target") if side == "source" else ("target", "source")


def _effects(
    run: TrainedRun,
    known: KnownFaces,
    moves: dict[str, Float[np.ndarray, " d"]],
    question: str,
    reader: Reader,
) -> dict[str, float]:
    """Mean change of what is read of decoded held-out faces for each deviation moved."""
    heldout = known.only(~known.seen)
    places = spread_evenly(len(heldout), SWEPT_FACES)
    codes = heldout.codes[places].astype(np.float64)
    effects = {}
    for name, move in moves.items():
        both = np.concatenate([codes - move, codes + move])
        masks = np.tile(heldout.masks[places], (2, 1, 1))
        read = getattr(reader(decode(run.model, both, known.side), masks), question)
        change = (read[len(codes) :] - read[: len(codes)]) / 2
        effects[name] = float(np.nanmean(change)) if np.isfinite(change).any() else float("nan")
    return effects


def _before_after(
    run: TrainedRun, given: GivenFace, tried: _Tried, side: Side
) -> Float[np.ndarray, "k s s 3"]:
    """The face at each of `SWEEP_STEPS` towards a higher answer; the middle one is unchanged."""
    towards = np.sign(tried.effect) if tried.effect else 1.0
    codes = given.code + SWEEP_STEPS[:, None] * towards * tried.move
    return decode(run.model, codes, side)


def _kept(
    run: TrainedRun, given: GivenFace, pictures: Float[np.ndarray, "k s s 3"], reader: Reader
) -> dict[str, float | None]:
    """How much else changes from the unchanged face to the last."""
    before, after = pictures[len(pictures) // 2], pictures[-1]
    outside, inside = given.mask <= 127, given.mask > 127
    off = np.abs(after - before).mean(2)
    return {
        "identity_distance": _identity_distance(run, before, after, reader),
        "change_inside": float(off[inside].mean()) if inside.any() else None,
        "change_outside": float(off[outside].mean()) if outside.any() else None,
    }


def _identity_distance(
    run: TrainedRun, a: np.ndarray, b: np.ndarray, reader: Reader
) -> float | None:
    """Between the faces' embeddings, 1 where two faces stop being one person; None without."""
    name = run.manifest.source.embedder
    points = [reader.landmarks(picture) for picture in (a, b)]
    if name is None or points[0] is None or points[1] is None:
        return None
    try:
        embed = build_embedder(name)
    except FaceswapError:
        # Its weights are not needed for anything else here.
        return None
    metric, same_person = likeness(name)
    vectors = [
        embed(as_bytes(picture), five)
        for picture, five in (
            (picture, five_points(point, reader.pack) * len(picture) - 0.5)
            for picture, point in zip((a, b), points, strict=True)
            if point is not None
        )
    ]
    return embedding_distance(vectors[0], vectors[1], metric) / same_person


def _answer(
    run: TrainedRun, given: GivenFace, tried: _Tried, step: float, picture: np.ndarray,
    question: str, weights: np.ndarray, reader: Reader, more: dict[str, Any],
) -> str:  # fmt: skip
    if question == IDENTITY:
        towards = np.sign(tried.effect) if tried.effect else 1.0
        code = given.code + step * towards * tried.move
        return f"{step:+g}: {float(weights @ code) + more['offset']:+.1f}"
    read = getattr(reader(picture[None], given.mask[None]), question)[0]
    return f"{step:+g}: {shown_value(float(read), question)}"
