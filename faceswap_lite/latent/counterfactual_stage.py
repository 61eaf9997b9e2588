"""The job of what-ifs: which directions of codes change an answer most."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..config import Side
from ..errors import FaceswapError, UsageError
from ..faces.attributes import ATTRIBUTES, Reader
from ..faces.embed import build_embedder, distance_rule, embedding_distance
from ..media.clips import as_uint8
from ..metrics.distributions import principal_axes
from ..metrics.landmarks import five_points
from ..models.crops import decode
from ..outputs import one_writer, refuse_inputs
from ..runs.known import KnownFaces, known_faces, spread_evenly
from ..runs.trained import TrainedRun
from .counterfactual import explained_shares, identity_accuracy, identity_logit, one_deviation
from .directions import chosen_penalty, ridge
from .sheet_job import (
    GivenFace,
    Say,
    SheetRow,
    file_hash,
    json_number,
    read_face,
    sheet_files,
    sheet_job,
    shown_value,
)
from .study import MAX_READ, SWEEP_STEPS, SWEPT_FACES, Studied, straight_direction, study

IDENTITY = "identity"
QUESTIONS = (*ATTRIBUTES, IDENTITY)
RANKED = 5
AXES = 10
"""Principal axes that are tried beside the attributes' directions."""


@dataclass(frozen=True)
class _Asked:
    """What answers a question: a linear reading of codes, and the move that changes it."""

    codes: Float[np.ndarray, "n d"]
    """Of seen faces; axes and deviations are theirs."""
    weights: Float[np.ndarray, " d"]
    change: Float[np.ndarray, " d"]
    figures: dict[str, float]


@one_writer(sheet_files)
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
    facts = {"face": file_hash(face), "question": question, "side": side}
    job = sheet_job(run, out, say, what="counterfactual", **facts)
    if done := job.found(overwrite):
        return done
    given = read_face(run, face)
    reader = Reader(run.manifest.coverage)
    known = known_faces(run, side, MAX_READ)
    readings, studies = reader(known.crops, known.masks), dict[str, Studied]()
    for attribute in ATTRIBUTES:
        try:
            studies[attribute] = study(run, known, readings, attribute, reader)
        except FaceswapError as error:
            say(f"note: no direction of {attribute} ({error})")
    unreadable = FaceswapError(f"{run.path}: {question} cannot be measured on decoded {side} faces")
    if question == IDENTITY:
        asked = _ask_identity(run, known)
    elif question in studies and studies[question].readable:
        asked = _ask_attribute(known, studies[question])
    else:
        raise unreadable
    axes, _ = principal_axes(asked.codes)
    lines = {name: straight_direction(studied).line for name, studied in studies.items()}
    lines |= {f"axis {i + 1}": axes[:, i] for i in range(min(AXES, axes.shape[1]))}
    moves = {name: one_deviation(line, asked.codes) for name, line in lines.items()}
    # Changes of the answer per standard deviation, with their signs.
    if question == IDENTITY:
        effects = {name: float(asked.weights @ move) for name, move in moves.items()}
    else:
        effects = _effects(run, known, moves, question, reader)
    # What cannot be read (NaN) comes last, and is not shown.
    ranked = sorted(effects.items(), key=lambda of: -abs(of[1]) if np.isfinite(of[1]) else 0.0)
    best = [(name, effect) for name, effect in ranked if np.isfinite(effect)][:RANKED]
    if not best:
        raise unreadable
    shares = np.sort(explained_shares(asked.weights, asked.change, axes))[::-1]
    unit = "logit" if question == IDENTITY else question
    kept, rows = {}, []
    for name, effect in best:
        # Towards a higher answer; the middle one is the face's own.
        towards = np.sign(effect) if effect else 1.0
        codes = given.code + SWEEP_STEPS[:, None] * towards * moves[name]
        pictures = decode(run.model, codes, side)
        kept[name] = _kept(run, given, pictures, reader)
        answers = _answers(asked, question, codes, pictures, given, reader)
        title = f"{name}: {unit} {shown_value(effect, question, sign=True)} per deviation"
        told = zip(SWEEP_STEPS.tolist(), answers, strict=True)
        rows.append(SheetRow(title, pictures, [f"{step:+g}: {answer}" for step, answer in told]))
    report = {
        "side": side,
        "face": face.name,
        "question": question,
        **asked.figures,
        "top5_axes_share": float(shares[:RANKED].sum()),
        "ranked": [{"direction": name, "effect": json_number(of)} for name, of in ranked],
        "kept": kept,
    }
    return job.write(report, f"What would change {question}: {face.name}", rows)


def _ask_identity(run: TrainedRun, known: KnownFaces) -> _Asked:
    """The logit of the other identity, and the move from mean to mean."""
    there: Side = "target" if known.side == "source" else "source"
    other = known_faces(run, there, MAX_READ)
    both = [faces.only(faces.seen) for faces in (known, other)]
    codes = [faces.codes.astype(np.float64) for faces in both]
    weights, offset = identity_logit(codes[1], codes[0])
    clips = [face.record.clip_fingerprint for faces in both for face in faces.faces]
    together = np.concatenate(codes)
    is_other = np.arange(len(together)) >= len(codes[0])
    accuracy = identity_accuracy(together, is_other, clips)
    figures = {"blocked_accuracy": accuracy, "offset": offset}
    return _Asked(together, weights, codes[1].mean(0) - codes[0].mean(0), figures)


def _ask_attribute(known: KnownFaces, studied: Studied) -> _Asked:
    penalty = chosen_penalty(studied.codes, studied.values, studied.clips)
    weights = ridge(studied.codes, studied.values, penalty)[0]
    codes = known.codes[known.seen].astype(np.float64)
    return _Asked(codes, weights, straight_direction(studied).line, {})


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
    metric, same_person = distance_rule(name)
    vectors = [
        embed(as_uint8(picture), five_points(found, reader.pack) * len(picture) - 0.5)
        for picture, found in ((a, points[0]), (b, points[1]))
    ]
    return embedding_distance(vectors[0], vectors[1], metric) / same_person


def _answers(
    asked: _Asked, question: str, codes: Float[np.ndarray, "k d"],
    pictures: Float[np.ndarray, "k s s 3"], given: GivenFace, reader: Reader,
) -> list[str]:  # fmt: skip
    """The answer at each step, in words."""
    if question == IDENTITY:
        return [f"{float(asked.weights @ code) + asked.figures['offset']:+.1f}" for code in codes]
    readings = reader(pictures, np.repeat(given.mask[None], len(pictures), 0))
    return [shown_value(value, question) for value in getattr(readings, question).tolist()]
