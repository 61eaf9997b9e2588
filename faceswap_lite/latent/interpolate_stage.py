"""The job of interpolation: from one face to another, by codes and by pixels."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..config import Side, SpaceName
from ..errors import UsageError
from ..faces.align import coverage_eyes
from ..faces.attributes import ATTRIBUTES, Reader
from ..metrics.pictures import sharpness_ratio
from ..models.crops import decode
from ..outputs import one_writer, refuse_inputs
from ..runs.trained import TrainedRun
from .sheet_job import Say, SheetRow, file_hash, json_number, read_face, sheet_files, sheet_job


def lerp(
    a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."], steps: int
) -> Float[np.ndarray, "steps ..."]:
    """`steps` points on the straight line from a to b, both ends among them; codes or pictures."""
    parts = np.linspace(0, 1, steps).reshape(-1, *[1] * a.ndim)
    return (1 - parts) * a + parts * b


def slerp(
    a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"], steps: int
) -> Float[np.ndarray, "steps d"]:
    """The same on the arc around the origin, the length going evenly from one to the other.

    Source: Shoemake 1985, "Animating rotation with quaternion curves", of the unit vectors. Those
    that point the same way, or just against each other, have no arc: a straight line.
    """
    length_a, length_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(length_a, length_b) < 1e-12:
        return lerp(a, b, steps)
    unit_a, unit_b = a / length_a, b / length_b
    angle = float(np.arccos(np.clip(unit_a @ unit_b, -1, 1)))
    if np.sin(angle) < 1e-6:
        return lerp(a, b, steps)
    parts = np.linspace(0, 1, steps)[:, None]
    units = (np.sin((1 - parts) * angle) * unit_a + np.sin(parts * angle) * unit_b) / np.sin(angle)
    return units * ((1 - parts) * length_a + parts * length_b)


def path_errors(
    points: Float[np.ndarray, "steps n 2"], eye_distance: float
) -> Float[np.ndarray, " steps"]:
    """How far each step's landmarks lie from the straight way between the ends' landmarks.

    Mean over the points, in eye distances; 0 at the ends. NaN where a step has no landmarks.
    """
    wanted = lerp(points[0], points[-1], len(points))
    return np.linalg.norm(points - wanted, axis=2).mean(1) / eye_distance


@one_writer(sheet_files)
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
        raise UsageError(f"steps {steps}: must be at least 3: both ends and one between")
    refuse_inputs(out, a, b)
    facts = {"a": file_hash(a), "b": file_hash(b), "side": side, "steps": steps}
    job = sheet_job(run, out, say, what="interpolate", space=space, arc=arc, **facts)
    if done := job.found(overwrite):
        return done
    ends = [read_face(run, path) for path in (a, b)]
    codes = [end.code for end in ends]
    walks: dict[str, np.ndarray] = {}
    if space in ("code", "both"):
        walks["code"] = decode(run.model, lerp(codes[0], codes[1], steps), side)
        if arc:
            walks["arc"] = decode(run.model, slerp(codes[0], codes[1], steps), side)
    if space in ("pixel", "both"):
        pictures = decode(run.model, np.stack(codes), side)
        walks["pixel"] = lerp(pictures[0], pictures[1], steps).astype(np.float32)
    masks = lerp(ends[0].mask / 255, ends[1].mask / 255, steps)
    reader = Reader(run.manifest.coverage)
    rows = {name: _walk(reader, walk, masks, run.manifest.coverage) for name, walk in walks.items()}
    middle = steps // 2
    report = {
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
        SheetRow(names[name], walk, [_walk_line(rows[name], step) for step in range(steps)])
        for name, walk in walks.items()
    ]
    return job.write(report, f"{a.name} to {b.name} by the {side}'s decoder", sheet)


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
        errors = path_errors(points, 1 / coverage_eyes(coverage))
    pairs = zip(pictures, masks, strict=True)
    sharp = [_sharpness(picture, pictures[0], pictures[-1], mask) for picture, mask in pairs]
    columns = {"sharpness": sharp, "path_error": errors.tolist()}
    columns |= {name: getattr(readings, name).tolist() for name in ATTRIBUTES}
    return {name: [json_number(value) for value in column] for name, column in columns.items()}


def _sharpness(picture: np.ndarray, a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Fine detail over the mean of that of both ends, inside the mask."""
    return 2 / (1 / sharpness_ratio(picture, a, mask) + 1 / sharpness_ratio(picture, b, mask))


def _walk_line(row: dict[str, list[float | None]], step: int) -> str:
    sharp, error = row["sharpness"][step], row["path_error"][step]
    shown = [f"sharp {sharp:.2f}" if sharp is not None else "flat"]
    return "  ".join([*shown, f"off {error:.2f}" if error is not None else "no face"])
