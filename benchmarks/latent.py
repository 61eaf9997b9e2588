"""How well attributes are told by codes and moved in them, on trained runs: the latent tools' bars.

    python benchmarks/latent.py RUN... [--side target] [--faces 400] [--out FILE]

For each run and side: blocked-CV R², and which share of a requested change (-2 to +2 deviations of
held-out faces) comes out along the straight pattern, the bent one, and the ridge weights, which
read best and move least; the middle between two faces; and what ranks first for the mouth.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _door import enter, keep, need, parser_of
from faceswap_lite.faces.attributes import Reader, Readings
from faceswap_lite.latent.counterfactual_stage import counterfactual
from faceswap_lite.latent.directions import chosen_penalty, cross_validated_r2, ridge
from faceswap_lite.latent.interpolate_stage import interpolate_faces
from faceswap_lite.latent.study import (
    bent_direction,
    straight_direction,
    study,
    sweep_attribute,
    swept_faces,
)
from faceswap_lite.models.autoencoder import SIDES
from faceswap_lite.runs.known import KnownFaces, known_faces
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun

MOVED = ("yaw_deg", "pitch_deg", "mouth", "eyes", "brightness")
QUESTIONS = ("mouth", "identity")
# The last is next to no penalty: what a plain regression gives.
PENALTIES: dict[str, float | None] = {"ridge": None, "least squares": 1e-4}
PAIRS = 6


def directions(
    run: TrainedRun, known: KnownFaces, readings: Readings, reader: Reader
) -> Iterator[dict[str, Any]]:
    """One row an attribute."""
    for attribute in MOVED:
        studied = study(run, known, readings, attribute, reader)
        straight, bent = straight_direction(studied), bent_direction(studied)
        shapes = {"straight": straight, "bent": bent}
        for name, given in PENALTIES.items():
            chosen = given or chosen_penalty(studied.codes, studied.values, studied.clips)
            weights = ridge(studied.codes, studied.values, chosen)[0]
            # For comparison: the shortest change of a code that these weights read as a rise by 1.
            line = weights / float(weights @ weights)
            shapes[name] = replace(straight, line=line)
        row: dict[str, Any] = {
            "attribute": attribute,
            "deviation": straight.deviation,
            "r2": cross_validated_r2(studied.codes, studied.values, studied.clips),
        }
        for name, shape in shapes.items():
            made = sweep_attribute(
                run, studied, shape, swept_faces(studied, False), attribute, reader
            )
            row[name] = made.figures()
        # Which of both shapes is stored is decided on faces that training saw.
        seen = swept_faces(studied, True)
        tried = {
            name: sweep_attribute(run, studied, shapes[name], seen, attribute, reader)
            for name in ("straight", "bent")
        }
        row["chosen"] = max(tried, key=lambda name: tried[name].slope * tried[name].rising)
        yield row


def middles(
    run: TrainedRun, known: KnownFaces, readings: Readings, folder: Path
) -> list[dict[str, Any]]:
    """Midpoints between held-out faces that look left and right the most."""
    places = np.flatnonzero(~known.seen & np.isfinite(readings.yaw_deg))
    order = places[np.argsort(readings.yaw_deg[places])]
    rows = []
    for pair in range(min(PAIRS, len(order) // 2)):
        a, b = (known.faces[i].path for i in (order[pair], order[-1 - pair]))
        told = interpolate_faces(
            run, a, b, folder / f"{known.side}_{pair}.png", side=known.side, say=lambda _: None
        )
        rows.append(told["middle"])
    return rows


def mean_of(rows: list[dict[str, Any]], walk: str, figure: str) -> float:
    values = [row[walk][figure] for row in rows if row[walk][figure] is not None]
    return float(np.mean(values)) if values else float("nan")


def bench(run: TrainedRun, side: str, faces: int, folder: Path) -> dict[str, Any]:
    reader = Reader(run.manifest.coverage)
    known = known_faces(run, "source" if side == "source" else "target", faces)
    readings = reader(known.crops, known.masks)
    print(f"\n{run.path.name} (step {run.step}), {side}: {len(known)} faces, {reader.pack}")
    print(f"{'':12}{'deviation':>10}{'R2':>7}{'straight':>10}{'bent':>7}{'ridge':>7}{'plain':>7}")
    rows = []
    for row in directions(run, known, readings, reader):
        rows.append(row)
        # What could not be read becomes NaN.
        shares = np.array([row[n]["slope"] for n in ("straight", "bent", *PENALTIES)], float)
        widths = zip(shares, (10, 7, 7, 7), strict=True)
        shown = "".join(f"{share:{width}.2f}" for share, width in widths)
        print(
            f"{row['attribute']:12}{row['deviation']:10.3f}{row['r2']:7.2f}{shown}"
            f"  {row['chosen']}, rising {row[row['chosen']]['rising_share']}"
        )
    between = middles(run, known, readings, folder)
    figures = {
        f"{walk}_{figure}": mean_of(between, walk, figure)
        for walk in ("code", "pixel")
        for figure in ("sharpness", "path_error")
    }
    print(
        f"middles of {len(between)} pairs: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items())
    )
    answers: dict[str, Any] = {}
    for question in QUESTIONS:
        face = known.faces[int(np.flatnonzero(~known.seen)[0])].path
        told = counterfactual(
            run, face, question, folder / f"{side}_{question}.png", side=known.side,
            say=lambda _: None,
        )  # fmt: skip
        keys = ("ranked", "top5_axes_share", "blocked_accuracy")
        answers[question] = {key: told[key] for key in keys if key in told}
        names = [row["direction"] for row in told["ranked"][:5]]
        accuracy = f", accuracy {told['blocked_accuracy']:.2f}" if question == "identity" else ""
        print(f"{question}: {', '.join(names)}; 5 axes {told['top5_axes_share']:.2f}{accuracy}")
    return {
        "run": run.path.name, "step": run.step, "side": side, "faces": len(known),
        "pack": reader.pack, "directions": rows, "middles": figures, "answers": answers,
    }  # fmt: skip


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--side", choices=SIDES, action="append")
    parser.add_argument("--faces", type=int, default=400)
    arguments = parser.parse_args()
    need(*arguments.runs)
    torch.set_num_threads(1)
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for path in arguments.runs:
            run = load_run(path)
            for side in arguments.side or SIDES:
                below = Path(folder) / path.name
                told.append(bench(run, side, arguments.faces, below))
    keep(arguments.out, told)


if __name__ == "__main__":
    enter(main)
