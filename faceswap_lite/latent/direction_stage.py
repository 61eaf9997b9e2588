"""The jobs of directions: find one of an attribute and measure it; move a face along it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..config import Side
from ..errors import FaceswapError, UsageError
from ..faces.attributes import ATTRIBUTES, Reader
from ..models.autoencoder import SIDES
from ..outputs import file_sha256, one_writer, refuse_inputs, whole_file
from ..runs.known import known_faces
from ..runs.trained import TrainedRun
from .directions import Direction, cross_validated_r2, pattern, sweep_codes
from .sheet_job import (
    Say,
    SheetJob,
    SheetRow,
    file_hash,
    json_number,
    read_face,
    sheet_files,
    sheet_job,
    shown_value,
)
from .study import (
    MAX_READ,
    SWEEP_STEPS,
    AttributeSweep,
    Studied,
    bent_direction,
    read_sweep,
    straight_direction,
    study,
    sweep_attribute,
    swept_faces,
)

DIRECTION_KEY = "faceswap_lite_direction"


@one_writer(sheet_files)
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
    job = sheet_job(run, out, say, ".safetensors", what="direction", attribute=attribute, side=side)
    if done := job.found(overwrite):
        return done
    reader = Reader(run.manifest.coverage)
    known = known_faces(run, side, MAX_READ)
    studied = study(run, known, reader(known.crops, known.masks), attribute, reader)
    say(f"{attribute} of {len(studied.known)} {side} faces read with {reader.pack}")
    shapes = {"straight": straight_direction(studied), "bent": bent_direction(studied)}

    def swept(places: np.ndarray) -> dict[str, AttributeSweep]:
        return {
            name: sweep_attribute(run, studied, shape, places, attribute, reader)
            for name, shape in shapes.items()
        }

    trials = swept(swept_faces(studied, True))
    # How much of the request comes, if it comes steadily; straight (the first) wins a draw.
    merits = {name: trial.slope * trial.rising for name, trial in trials.items()}
    chosen = max(shapes, key=lambda name: merits[name] if np.isfinite(merits[name]) else 0.0)
    heldout = swept_faces(studied, False)
    sweeps = swept(heldout)
    best = sweeps[chosen]
    report = {
        "step": run.step,
        "side": side,
        "attribute": attribute,
        "faces": len(studied.known),
        "pack": reader.pack,
        "deviation": shapes[chosen].deviation,
        "known_change": studied.changed,
        "r2_blocked": cross_validated_r2(studied.codes, studied.values, studied.clips),
        **(_of_changes(studied) if studied.changed else {}),
        "chosen": chosen,
        "seen": {name: trial.figures() for name, trial in trials.items()},
        "heldout": {name: trial.figures() for name, trial in sweeps.items()},
        "requested": best.requested.tolist(),
        "read": [[json_number(value) for value in row] for row in best.read.tolist()],
    }
    names = [studied.known.faces[i].path.name for i in heldout]
    rows = [
        SheetRow(name, pictures, [shown_value(value, attribute) for value in row.tolist()])
        for name, pictures, row in zip(names, best.pictures, best.read, strict=True)
    ]
    title = (
        f"{attribute} of held-out {side} faces, {SWEEP_STEPS[0]:+.0f} to {SWEEP_STEPS[-1]:+.0f} "
        f"deviations of {shown_value(shapes[chosen].deviation, attribute)}"
    )
    written = job.write(report, title, rows)
    _store(job, shapes[chosen], attribute, side, studied.changed)
    return written


def _of_changes(studied: Studied) -> dict[str, float]:
    """How well changes of codes tell the changes, and how alike the earlier and later half are."""
    codes, values = studied.moves()
    half = len(values) // 2
    one, other = pattern(codes[:half], values[:half]), pattern(codes[half:], values[half:])
    return {
        "r2_of_change_blocked": cross_validated_r2(codes, values, studied.clips),
        "split_half_cosine": float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))),
    }


def _store(job: SheetJob, direction: Direction, attribute: str, side: Side, changed: bool) -> None:
    """Write a direction. Its vectors are per unit of the attribute."""
    facts = {
        "version": 1,
        "run": job.run.fingerprint,
        "attribute": attribute,
        "side": side,
        "job": job.name,
        "middle": direction.middle,
        "deviation": direction.deviation,
        "known_change": changed,
    }
    # One entry: safetensors writes several in any order, and the same job makes the same bytes.
    text = {DIRECTION_KEY: json.dumps(facts)}
    with whole_file(job.files[2]) as partial:
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


@one_writer(sheet_files)
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
    hashes = {"direction": file_sha256(direction), "face": file_hash(face)}
    job = sheet_job(run, out, say, what="sweep", **hashes, side=painter, steps=moves.tolist())
    if done := job.found(overwrite):
        return done
    given = read_face(run, face)
    if found.line.shape != given.code.shape:
        raise FaceswapError(
            f"{direction}: moves codes of {found.line.size} numbers, those of {run.path} have "
            f"{given.code.size}; find it again"
        )
    reader = Reader(run.manifest.coverage)
    own = float(getattr(reader(given.crop[None], given.mask[None]), attribute)[0])
    # Of a face that cannot be read, the mean of the others is the best guess.
    value = 0.0 if facts["known_change"] else own if np.isfinite(own) else found.middle
    codes = sweep_codes(found, given.code[None], np.array([value]), moves)
    requested = moves * found.deviation
    made = read_sweep(run, codes, given.mask[None], painter, requested, attribute, reader)
    read = made.read[0].tolist()
    report = {
        "attribute": attribute,
        "side": painter,
        "face": face.name,
        "face_reads": json_number(own),
        "steps": moves.tolist(),
        "requested": made.requested.tolist(),
        "read": [json_number(number) for number in read],
        **made.figures(),
    }
    lines = [
        f"{m:+g}: {shown_value(r, attribute)}" for m, r in zip(moves.tolist(), read, strict=True)
    ]
    row = SheetRow(f"{face.name} by the {painter}'s decoder", made.pictures[0], lines)
    return job.write(report, f"{attribute}, in deviations", [row])
