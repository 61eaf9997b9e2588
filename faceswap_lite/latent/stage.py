"""The latent tools as jobs: two faces mixed, an attribute's direction found and swept, what-ifs.

Each writes a sheet (PNG) and its numbers (JSON) beside it, and asked again does nothing twice.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from skimage.color import lab2rgb, rgb2lab

from .. import __version__
from ..config import SpaceName
from ..errors import FaceswapError, UsageError
from ..faces import (
    COVERAGES,
    FaceSet,
    StoredFace,
    build_embedder,
    embedding_distance,
    five_points,
    likeness,
    read_record,
)
from ..media import SyntheticMark, write_image
from ..metrics import sharpness_ratio
from ..metrics.pictures import as_bytes
from ..models import SIDES, Side
from ..outputs import (
    claim,
    file_sha256,
    found_job,
    job_id,
    refuse_inputs,
    whole_file,
    write_json,
)
from ..training import TrainedRun
from .counterfactual import (
    explained_shares,
    identity_accuracy,
    identity_logit,
    one_deviation,
    principal_axes,
)
from .directions import (
    Direction,
    bent_pattern,
    chosen_penalty,
    cross_validated_r2,
    pattern,
    ridge,
    sweep_codes,
    sweep_figures,
)
from .interpolate import lerp, path_errors, slerp
from .known import KnownFaces, decode, encode, known_faces, spread_evenly
from .readings import ATTRIBUTES, Reader, Readings
from .sheets import Row, face_sheet

Say = Callable[[str], None]

SWEEP_STEPS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
"""In standard deviations of the attribute."""

MOST_READ = 400
"""Faces of a side that are read; more would cost time and hardly move a direction."""

SWEPT_FACES = 6
DIRECTION_KEY = "faceswap_lite_direction"
FEWEST_FACES = 30

# Recorded clips hardly change in colour, so each face gets a known change: up to so much either
# way. In grey values of [0, 1], and in degrees of hue.
COLOR_CHANGES: dict[str, float] = {"brightness": 0.2, "hue_deg": 20.0}

IDENTITY = "identity"
QUESTIONS = (*ATTRIBUTES, IDENTITY)
RANKED = 5
AXES = 10
"""Principal axes that are tried beside the attributes' directions."""

_UNITS = {"yaw_deg": ("°", 1), "pitch_deg": ("°", 1), "hue_deg": ("°", 1)}


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
        faces = change_color(known.crops, attribute, _spread_changes(len(known), attribute))
        codes = encode(run, faces)
        values = getattr(reader(faces, known.masks), attribute)
    elif np.isnan(plain).all():
        of_record = {"mouth": "mouth_opening", "eyes": "eye_opening"}.get(attribute)
        told = [getattr(f.record, of_record) if of_record else None for f in known.faces]
        plain = np.array([np.nan if value is None else value for value in told], np.float64)
        values, readable = plain, False
    there = ~np.isnan(values) & ~np.isnan(plain)
    if there.sum() < FEWEST_FACES:
        raise FaceswapError(
            f"{run.path}: {attribute} can be read of {there.sum()} faces of its {known.side}, "
            f"{FEWEST_FACES} are needed; mouth and eyes need the mesh's weights"
        )
    if float(np.ptp(values[there])) == 0:
        raise FaceswapError(
            f"{run.path}: {attribute} never varies among the faces of its {known.side}"
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


def _spread_changes(count: int, attribute: str) -> Float[np.ndarray, " n"]:
    """Changes evenly over their range, in an order that has nothing to do with time."""
    reach = COLOR_CHANGES[attribute]
    return np.random.default_rng(0).permutation(np.linspace(-reach, reach, count))


def straight_direction(studied: Studied) -> Direction:
    """The activation pattern; under known changes, of the differences that they make."""
    line = pattern(*_moves(studied))
    return _direction(studied, line, np.zeros_like(line))


def bent_direction(studied: Studied) -> Direction:
    """The pattern with its bend."""
    return _direction(studied, *bent_pattern(*_moves(studied)))


def _direction(studied: Studied, line: np.ndarray, bend: np.ndarray) -> Direction:
    offsets = _moves(studied)[1]
    # Changes are counted from the face as it is.
    middle = 0.0 if studied.changed else float(studied.values.mean())
    return Direction(line, bend, middle, float(offsets.std()))


def _moves(studied: Studied) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    if not studied.changed:
        return studied.codes.astype(np.float64), studied.values
    return (
        studied.codes.astype(np.float64) - studied.known.codes,
        studied.values - studied.plain,
    )


def swept_faces(studied: Studied, seen: bool) -> np.ndarray:
    """Places of up to `SWEPT_FACES` faces, spread over time."""
    places = np.flatnonzero(studied.known.seen == seen)
    return places[spread_evenly(len(places), SWEPT_FACES)]


@dataclass(frozen=True)
class Sweep:
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
        return {"slope": _known(self.slope), "rising_share": _known(self.rising)}


def sweep(
    run: TrainedRun, studied: Studied, direction: Direction, places: np.ndarray,
    attribute: str, reader: Reader, steps: Float[np.ndarray, " k"] = SWEEP_STEPS,
) -> Sweep:  # fmt: skip
    """The faces at `places` along the direction, as their own side's decoder paints them."""
    known = studied.known
    values = np.zeros(len(places)) if studied.changed else studied.plain[places]
    codes = sweep_codes(direction, known.codes[places].astype(np.float64), values, steps)
    return _sweep(run, codes, known.masks[places], known.side, direction, attribute, reader, steps)


def _sweep(
    run: TrainedRun, codes: Float[np.ndarray, "n k d"], masks: UInt8[np.ndarray, "n s s"],
    side: Side, direction: Direction, attribute: str, reader: Reader,
    steps: Float[np.ndarray, " k"],
) -> Sweep:  # fmt: skip
    count, wide = codes.shape[:2]
    flat = decode(run, codes.reshape(count * wide, -1), side)
    read = getattr(reader(flat, np.repeat(masks, wide, 0)), attribute).reshape(count, wide)
    requested = steps * direction.deviation
    pictures = flat.reshape(count, wide, *flat.shape[1:])
    return Sweep(pictures, read, requested, *sweep_figures(requested, read))


def find_direction(
    run: TrainedRun,
    attribute: str,
    out: Path,
    *,
    side: Side,
    say: Say = print,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Find the direction of an attribute, measure it on held-out faces, and store it.

    Writes the sheet `out` (.png), its numbers (.json) and the direction (.safetensors) for
    `sweep_direction`. Straight or bent is chosen on faces that training saw.
    """
    if attribute not in ATTRIBUTES:
        raise UsageError(f"attribute {attribute}: unknown; choose one of {', '.join(ATTRIBUTES)}")
    job = job_id(what="direction", run=run.fingerprint, attribute=attribute, side=side)
    files = _files(out, ".json", ".safetensors")
    if _is_done(files, job, overwrite):
        say(f"{out}: already done")
        return found_job(files[1])
    reader = Reader(run.facts.coverage)
    known = known_faces(run, side, MOST_READ)
    studied = study(run, known, reader(known.crops, known.masks), attribute, reader)
    say(f"{attribute} of {len(studied.known)} {side} faces read with {reader.pack}")
    shapes = {"straight": straight_direction(studied), "bent": bent_direction(studied)}
    trials = {
        name: sweep(run, studied, shape, swept_faces(studied, True), attribute, reader)
        for name, shape in shapes.items()
    }
    chosen = max(shapes, key=lambda name: _merit(trials[name]))
    heldout = swept_faces(studied, False)
    sweeps = {
        name: sweep(run, studied, shape, heldout, attribute, reader)
        for name, shape in shapes.items()
    }
    best = sweeps[chosen]
    r2 = cross_validated_r2(studied.codes, studied.values, studied.clips)
    report = {
        "job": job,
        "run": run.fingerprint,
        "step": run.step,
        "side": side,
        "attribute": attribute,
        "faces": len(studied.known),
        "pack": reader.pack,
        "deviation": shapes[chosen].deviation,
        "known_change": studied.changed,
        "r2_blocked": r2,
        **(_of_changes(studied) if studied.changed else {}),
        "chosen": chosen,
        "seen": {name: trial.figures() for name, trial in trials.items()},
        "heldout": {name: trial.figures() for name, trial in sweeps.items()},
        "requested": best.requested.tolist(),
        "read": [[_known(value) for value in row] for row in best.read.tolist()],
    }
    names = [studied.known.faces[i].path.name for i in heldout]
    rows = [
        Row(name, pictures, [_shown(value, attribute) for value in row.tolist()])
        for name, pictures, row in zip(names, best.pictures, best.read, strict=True)
    ]
    title = (
        f"{attribute} of held-out {side} faces, {SWEEP_STEPS[0]:+.0f} to {SWEEP_STEPS[-1]:+.0f} "
        f"deviations of {_shown(shapes[chosen].deviation, attribute)}"
    )
    # The numbers first: they name the job, so that after a kill the same call goes on.
    write_json(files[1], report)
    _store(files[2], shapes[chosen], run, attribute, side, job, studied.changed)
    _write_sheet(out, title, rows, run, job)
    say(f"written to {out} and {files[1]}")
    return report


def _merit(trial: Sweep) -> float:
    """How much of the request comes, if it comes steadily; straight (the first) wins a draw."""
    return trial.slope * trial.rising if np.isfinite(trial.slope * trial.rising) else 0.0


def _of_changes(studied: Studied) -> dict[str, float]:
    """How well changes of codes tell the changes, and how alike the earlier and later half are."""
    codes, values = _moves(studied)
    half = len(values) // 2
    one, other = pattern(codes[:half], values[:half]), pattern(codes[half:], values[half:])
    return {
        "r2_of_change_blocked": cross_validated_r2(codes, values, studied.clips),
        "split_half_cosine": float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))),
    }


def _store(
    path: Path, direction: Direction, run: TrainedRun, attribute: str, side: Side, job: str,
    changed: bool,
) -> None:  # fmt: skip
    """Write a direction. Its vectors are per unit of the attribute."""
    facts = {
        "version": 1,
        "run": run.fingerprint,
        "attribute": attribute,
        "side": side,
        "job": job,
        "middle": direction.middle,
        "deviation": direction.deviation,
        "known_change": changed,
    }
    # One entry: safetensors writes several in any order, and the same job makes the same bytes.
    text = {DIRECTION_KEY: json.dumps(facts)}
    with whole_file(path) as partial:
        save_file({"line": direction.line, "bend": direction.bend}, partial, text)


def read_direction(path: Path, run: TrainedRun) -> tuple[Direction, dict[str, Any]]:
    """A stored direction and its facts.

    Raises: FaceswapError when the file is none, or was found for another run or other weights.
    """
    try:
        with safe_open(path, "np") as file:
            text = (file.metadata() or {}).get(DIRECTION_KEY)
            if text is None:
                raise FaceswapError(f"{path}: is not a direction; latent direction finds one")
            facts: dict[str, Any] = json.loads(text)
            line, bend = file.get_tensor("line"), file.get_tensor("bend")
            found = Direction(line, bend, float(facts["middle"]), float(facts["deviation"]))
            _check_direction(found, facts)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FaceswapError(f"{path}: cannot be read as a direction ({error})") from error
    if facts["run"] != run.fingerprint:
        raise FaceswapError(
            f"{path}: was found for other weights ({facts['run']}) than those of {run.path} "
            f"({run.fingerprint}); find it again"
        )
    return found, facts


def _check_direction(direction: Direction, facts: dict[str, Any]) -> None:
    """Raises: ValueError or KeyError for what `_store` never wrote."""
    numbers = (direction.line, direction.bend, direction.middle, direction.deviation)
    if not all(np.isfinite(number).all() for number in numbers) or direction.deviation <= 0:
        raise ValueError("its numbers are not finite, or its deviation is not positive")
    if direction.line.ndim != 1 or direction.line.shape != direction.bend.shape:
        raise ValueError("line and bend are not two vectors of one length")
    known = {"attribute": ATTRIBUTES, "side": SIDES, "known_change": (False, True)}
    for name, values in known.items():
        if facts[name] not in values:
            raise ValueError(f"{name} {facts[name]} is unknown")
    if not isinstance(facts["run"], str):
        raise ValueError(f"run {facts['run']} is no fingerprint")


@dataclass(frozen=True)
class GivenFace:
    """One crop as the model is shown it."""

    crop: UInt8[np.ndarray, "s s 3"]
    mask: UInt8[np.ndarray, "s s"]
    code: Float[np.ndarray, " d"]


def read_face(run: TrainedRun, path: Path) -> GivenFace:
    """A crop of a face set, cut as the run's faces are.

    Raises: FaceswapError when the file is no crop with a record, or one of another coverage.
    """
    if not path.is_file():
        raise FaceswapError(f"{path}: no such file; name a crop of a face set")
    record = read_record(path)
    if record is None:
        raise FaceswapError(f"{path}: holds no face record; name a crop of a face set")
    if record.coverage != run.facts.coverage:
        raise FaceswapError(
            f"{path}: shows coverage {record.coverage}, {run.path} was trained on "
            f"{run.facts.coverage}; extract it again"
        )
    face = StoredFace(path, record)
    one = FaceSet(path.parent, [face], [], record.landmarks_pack, record.coverage, None)
    crops = one.crops(run.config.model.size, 0.0)
    masks = one.masks(run.config.model.size, 0.0)
    return GivenFace(crops[0], masks[0], encode(run, crops)[0].astype(np.float64))


def sweep_direction(
    run: TrainedRun,
    direction: Path,
    face: Path,
    out: Path,
    *,
    side: Side | None = None,
    steps: Sequence[float | int] = tuple(SWEEP_STEPS.tolist()),
    say: Say = print,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Move one face along a stored direction; `steps` are in standard deviations, rising.

    `side`: whose decoder paints; the direction's own when not given.
    """
    refuse_inputs(out, direction, face)
    moves = np.array(sorted({*map(float, steps), 0.0}))
    found, facts = read_direction(direction, run)
    attribute = facts["attribute"]
    painter: Side = side or ("source" if facts["side"] == "source" else "target")
    job = job_id(
        what="sweep",
        run=run.fingerprint,
        direction=file_sha256(direction),
        face=_hash(face),
        side=painter,
        steps=moves.tolist(),
    )
    files = _files(out, ".json")
    if _is_done(files, job, overwrite):
        say(f"{out}: already done")
        return found_job(files[1])
    given = read_face(run, face)
    if found.line.shape != given.code.shape:
        raise FaceswapError(
            f"{direction}: moves codes of {found.line.size} numbers, those of {run.path} have "
            f"{given.code.size}; find it again"
        )
    reader = Reader(run.facts.coverage)
    own = float(getattr(reader(given.crop[None], given.mask[None]), attribute)[0])
    # Of a face that cannot be read, the mean of the others is the best guess.
    value = 0.0 if facts["known_change"] else own if np.isfinite(own) else found.middle
    codes = sweep_codes(found, given.code[None], np.array([value]), moves)
    made = _sweep(run, codes, given.mask[None], painter, found, attribute, reader, moves)
    read = made.read[0].tolist()
    report = {
        "job": job,
        "run": run.fingerprint,
        "attribute": attribute,
        "side": painter,
        "face": face.name,
        "face_reads": _known(own),
        "steps": moves.tolist(),
        "requested": made.requested.tolist(),
        "read": [_known(number) for number in read],
        **made.figures(),
    }
    lines = [f"{m:+g}: {_shown(r, attribute)}" for m, r in zip(moves.tolist(), read, strict=True)]
    write_json(files[1], report)
    row = Row(f"{face.name} by the {painter}'s decoder", made.pictures[0], lines)
    _write_sheet(out, f"{attribute}, in deviations", [row], run, job)
    say(f"written to {out} and {files[1]}")
    return report


def interpolate_faces(
    run: TrainedRun,
    a: Path,
    b: Path,
    out: Path,
    *,
    side: Side,
    steps: int = 9,
    space: SpaceName = "both",
    arc: bool = False,
    say: Say = print,
    overwrite: bool = False,
) -> dict[str, Any]:
    """From one face to another, through codes (`arc`: along the arc, too) and by blending pixels.

    Both ends are painted by the side's decoder, so that the two ways are told apart by the way
    alone. Numbers of each step: sharpness over that of the ends; how far its landmarks are from
    the straight way between the ends', in eye distances; its readings.
    """
    if steps < 3:
        raise UsageError(f"steps {steps}: at least 3, the ends and one between")
    refuse_inputs(out, a, b)
    given = {"run": run.fingerprint, "a": _hash(a), "b": _hash(b), "side": side, "steps": steps}
    job = job_id(what="interpolate", space=space, arc=arc, **given)
    files = _files(out, ".json")
    if _is_done(files, job, overwrite):
        say(f"{out}: already done")
        return found_job(files[1])
    ends = [read_face(run, path) for path in (a, b)]
    codes = [end.code for end in ends]
    walks: dict[str, np.ndarray] = {}
    if space in ("code", "both"):
        walks["code"] = decode(run, lerp(codes[0], codes[1], steps), side)
        if arc:
            walks["arc"] = decode(run, slerp(codes[0], codes[1], steps), side)
    if space in ("pixel", "both"):
        pictures = decode(run, np.stack(codes), side)
        walks["pixel"] = lerp(pictures[0], pictures[1], steps).astype(np.float32)
    masks = lerp(ends[0].mask / 255, ends[1].mask / 255, steps)
    reader = Reader(run.facts.coverage)
    rows = {name: _walk(reader, walk, masks, run.facts.coverage) for name, walk in walks.items()}
    middle = steps // 2
    report = {
        "job": job,
        "run": run.fingerprint,
        "side": side,
        "a": a.name,
        "b": b.name,
        "steps": steps,
        "code_distance": float(np.linalg.norm(codes[0] - codes[1])),
        "middle": {
            name: {key: row[key][middle] for key in ("sharpness", "path_error")}
            for name, row in rows.items()
        },
        "walks": rows,
    }
    names = {"code": "through codes", "arc": "through codes, on the arc", "pixel": "pixels blended"}
    sheet = [
        Row(names[name], walk, [_walk_line(rows[name], step) for step in range(steps)])
        for name, walk in walks.items()
    ]
    write_json(files[1], report)
    title = f"{a.name} to {b.name} by the {side}'s decoder"
    _write_sheet(out, title, sheet, run, job)
    say(f"written to {out} and {files[1]}")
    return report


def _walk(
    reader: Reader,
    pictures: Float[np.ndarray, "n s s 3"],
    masks: Float[np.ndarray, "n s s"],
    coverage: str,
) -> dict[str, list[float | None]]:
    """Columns of numbers by name, one a step."""
    readings = reader(pictures, masks)
    found = [reader.landmarks(picture) for picture in pictures]
    errors = np.full(len(pictures), np.nan)
    if found[0] is not None and found[-1] is not None:
        lost = np.full_like(found[0], np.nan)
        points = np.stack([lost if p is None else p for p in found])
        errors = path_errors(points, 1 / COVERAGES[coverage])
    pairs = zip(pictures, masks, strict=True)
    sharp = [_sharpness(picture, pictures[0], pictures[-1], mask) for picture, mask in pairs]
    columns = {"sharpness": sharp, "path_error": errors.tolist()}
    columns |= {name: getattr(readings, name).tolist() for name in ATTRIBUTES}
    return {name: [_known(value) for value in column] for name, column in columns.items()}


def _sharpness(picture: np.ndarray, a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Fine detail over the mean of that of both ends, inside the mask."""
    return 2 / (1 / sharpness_ratio(picture, a, mask) + 1 / sharpness_ratio(picture, b, mask))


def _walk_line(row: dict[str, list[float | None]], step: int) -> str:
    sharp, error = row["sharpness"][step], row["path_error"][step]
    shown = [f"sharp {sharp:.2f}" if sharp is not None else "flat"]
    return "  ".join([*shown, f"off {error:.2f}" if error is not None else "no face"])


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
        what="counterfactual", run=run.fingerprint, face=_hash(face), question=question, side=side
    )
    files = _files(out, ".json")
    if _is_done(files, job, overwrite):
        say(f"{out}: already done")
        return found_job(files[1])
    given = read_face(run, face)
    reader = Reader(run.facts.coverage)
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
        "ranked": [{"direction": t.name, "effect": _known(t.effect)} for t in ranked],
        "kept": {t.name: _kept(run, given, shown[t.name], reader) for t in best},
    }
    unit = "logit" if question == IDENTITY else question
    rows = [
        Row(
            f"{t.name}: {unit} {_shown(t.effect, question, sign=True)} a deviation",
            shown[t.name],
            [_answer(run, given, t, step, picture, question, weights, reader, more)
             for step, picture in zip(SWEEP_STEPS.tolist(), shown[t.name], strict=True)],
        )
        for t in best
    ]  # fmt: skip
    write_json(files[1], report)
    _write_sheet(out, f"What would change {question}: {face.name}", rows, run, job)
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
        read = getattr(reader(decode(run, both, known.side), masks), question)
        change = (read[len(codes) :] - read[: len(codes)]) / 2
        effects[name] = float(np.nanmean(change)) if np.isfinite(change).any() else float("nan")
    return effects


def _before_after(
    run: TrainedRun, given: GivenFace, tried: _Tried, side: Side
) -> Float[np.ndarray, "k s s 3"]:
    """The face at each of `SWEEP_STEPS` towards a higher answer; the middle one is unchanged."""
    towards = np.sign(tried.effect) if tried.effect else 1.0
    codes = given.code + SWEEP_STEPS[:, None] * towards * tried.move
    return decode(run, codes, side)


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
    name = run.facts.source.embedder
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
    return f"{step:+g}: {_shown(float(read), question)}"


def _files(out: Path, *others: str) -> list[Path]:
    if out.suffix.lower() != ".png":
        raise UsageError(f"{out}: the sheet is a .png")
    return [out, *(out.with_suffix(suffix) for suffix in others)]


def _is_done(files: Sequence[Path], job: str, overwrite: bool) -> bool:
    """Whether all is there already; refuses files of others."""
    found = found_job(files[1]).get("job")
    acts = [claim(file, job, found, finished=True, overwrite=overwrite) for file in files]
    return all(act == "done" for act in acts)


def _write_sheet(out: Path, title: str, rows: Sequence[Row], run: TrainedRun, job: str) -> None:
    mark = SyntheticMark(version=__version__, run=run.fingerprint, job=job)
    write_image(out, face_sheet(title, rows), mark=mark)


def _hash(path: Path) -> str:
    if not path.is_file():
        raise FaceswapError(f"{path}: no such file; name a crop of a face set")
    return file_sha256(path)


def _known(value: float) -> float | None:
    """A number for JSON, which holds no NaN."""
    return float(value) if np.isfinite(value) else None


def _shown(value: float, attribute: str, sign: bool = False) -> str:
    if not np.isfinite(value):
        return "unread"
    unit, decimals = _UNITS.get(attribute, ("", 3))
    return f"{value:{'+' if sign else ''}.{decimals}f}{unit}"
