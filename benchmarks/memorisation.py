"""Can a memory be told from a run that generalises? On real faces, at 64 px, on a CPU.

    python benchmarks/memorisation.py --sets SOURCE TARGET --clips SOURCE_CLIP TARGET_CLIP \\
        --run RUN --out memorisation.json

Plants a memoriser of both sides: 20 faces of each set, spread evenly, with no augmentation at all.
Then asks it, and each --run (healthy ones, of any people), about clips that no training saw; a
clip is asked about where the run's own set of that side is the one beside it in --sets. More pairs
of --sets and --clips may follow. Then: does a face network find each person among all of --sets by
one face of each, where pixels do not? About 15 minutes a memoriser.
"""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from _door import FROM_SCRATCH, enter, keep, need, parser_of
from _montage import montage_sheet
from faceswap_lite.config import Side
from faceswap_lite.config_files import load_config
from faceswap_lite.curation.pose_coverage import attributes_of, coverage
from faceswap_lite.evaluation.memorisation import (
    PLAIN_PX,
    Memorisation,
    crop_embedder,
    l1_distances,
    memorisation,
    montage,
    retrieval_top1,
)
from faceswap_lite.faces.embed import Embedder, build_embedder
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import FaceSet, open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.media.images import write_image
from faceswap_lite.models.autoencoder import SIDES
from faceswap_lite.models.crops import rebuild
from faceswap_lite.runs.known import known_faces
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun
from faceswap_lite.training.train import train

# 20 are seen: of so few, two are held out and two lie between.
PLANTED_FACES = 24
PLANTED = (
    "training.augment={rotation_deg: 0, zoom: 0, shift: 0, warp: 0, brightness: 0, contrast: 0}",
    "training.threads=1", "training.preview_every=1000000",
)  # fmt: skip
RETRIEVAL_PX = 64
SEED = 0


@dataclass(frozen=True)
class Person:
    """A face set that runs are trained on, and the faces of a clip that none was."""

    faces: FaceSet
    unseen: FaceSet

    @property
    def name(self) -> str:
        """The unseen clip's."""
        return self.unseen.faces[0].record.clip_name


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--sets", type=Path, nargs="+", required=True)
    parser.add_argument("--clips", type=Path, nargs="+", required=True)
    parser.add_argument("--run", type=Path, action="append", default=[])
    parser.add_argument("--planted", type=Path, action="append", default=[], help="made before")
    parser.add_argument("--minutes", type=float, default=15, help="a memoriser's training time")
    parser.add_argument("--every", type=int, default=1, help="of the clips' frames")
    parser.add_argument("--embedder", default="dlib")
    parser.add_argument("--pictures", type=Path, help="folder for the montages")
    options = parser.parse_args()
    need(*options.sets, *options.clips, *options.run, *options.planted)
    torch.set_num_threads(1)
    embedder = build_embedder(options.embedder)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        people = [
            Person(open_face_set(faces), unseen_faces(clip, work, options.every))
            for faces, clip in zip(options.sets, options.clips, strict=True)
        ]
        planted = list(options.planted)
        if not planted:
            planted = [
                plant(pair, work / f"planted_{i}", options.minutes)
                for i, pair in enumerate(zip(people[::2], people[1::2], strict=True))
            ]
        for kind, paths in (("memoriser", planted), ("healthy", options.run)):
            for path in paths:
                # What a memoriser learned last is what it is about; its best on unseen faces is not
                # planted.
                run = load_run(path, "last" if kind == "memoriser" else "best")
                for side in SIDES:
                    rows += measured(run, side, kind, people, embedder, options.pictures)
        print(table(rows))
        found = retrieval(people, embedder)
        print(found)
    keep(options.out, {"rows": rows, "retrieval": found})


def unseen_faces(clip: Path, work: Path, every: int) -> FaceSet:
    extract_faces(find_footage([clip]), work / clip.stem, load_config().extract)
    faces = open_face_set(work / clip.stem)
    return replace(faces, faces=faces.faces[::every])


def plant(pair: Sequence[Person], folder: Path, minutes: float) -> Path:
    """A run on 20 faces of two people, as they are."""
    sets = []
    for person, side in zip(pair, SIDES, strict=True):
        few = folder / side
        few.mkdir(parents=True)
        faces = person.faces.faces
        for i in np.linspace(0, len(faces) - 1, PLANTED_FACES).round().astype(int):
            shutil.copy(faces[i].path, few)
        sets.append(open_face_set(few))
    config = load_config("quick64", [*FROM_SCRATCH, *PLANTED, f"training.minutes={minutes}"])
    train(sets[0], sets[1], folder / "run", config)
    return folder / "run"


def measured(
    run: TrainedRun,
    side: Side,
    kind: str,
    people: Sequence[Person],
    embedder: Embedder,
    pictures: Path | None,
) -> list[dict[str, Any]]:
    """A row of figures, or none when the side's person has no clip here."""
    known = known_faces(run, side)
    clips = {face.record.clip_fingerprint for face in known.faces}
    own = [p for p in people if clips <= {f.record.clip_fingerprint for f in p.faces.faces}]
    if not own:
        return []
    person, size = own[0], run.config.model.size
    crops, masks = person.unseen.crops(size, 0.0), person.unseen.masks(size, 0.0)
    seen = known.only(known.seen)
    records = [[face.record for face in faces] for faces in (seen.faces, person.unseen.faces)]
    inside = ~coverage(*(attributes_of(r) for r in records)).outside
    outputs = rebuild(run.model, crops, side)
    started = time.perf_counter()
    found = memorisation(
        run,
        known,
        outputs,
        crops,
        masks,
        inside,
        crop_embedder(embedder, run.manifest.coverage),
        embedder.metric,
        others=[p.faces.crops(size, 0.0) for p in people if p is not person],
        rng=np.random.default_rng(SEED),
    )
    seconds = time.perf_counter() - started
    if pictures is not None:
        sheet = montage_sheet(montage(found, outputs, crops))
        write_image(pictures / f"{kind}_{person.name.split('.')[0]}.png", sheet)
    return [row(found, kind, person.name, run.step, seconds)]


def row(found: Memorisation, kind: str, clip: str, step: int, seconds: float) -> dict[str, Any]:
    numbers = {k: v for k, v in found.to_json().items() if k not in ("per_frame", "reasons")}
    return {"kind": kind, "clip": clip, "step": step, "seconds": round(seconds, 1), **numbers}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as lines: plain figures, those of unavoidable error taken out, what is in range."""
    lines = [
        "kind       clip                    step  seen frames  plain ratio  novelty inside outside"
        "  score  diverse near-seen person  retrieval pixels   s"
    ]
    for r in rows:
        inside, outside = r["inside_training_range"], r["outside_training_range"]
        middle = r["interpolation"]
        figures = [
            r["generalising_share"], r["distance_ratio"], r["novelty_rebuilt"],
            inside["novelty_rebuilt"], outside["novelty_rebuilt"], r["score"],
            middle["diversity"], middle["near_seen_share"], middle["same_person_share"],
            r["retrieval"], r["retrieval_by_pixels"],
        ]  # fmt: skip
        shown = "  ".join("   -" if f is None else f"{f:5.2f}" for f in figures)
        head = f"{r['kind']:10} {r['clip'][:22]:22} {r['step']:5} {r['seen_faces']:5} {r['frames']}"
        lines.append(f"{head:51}  {shown}  {r['verdict']}  {r['seconds']:.0f}")
    return "\n".join(lines)


def retrieval(people: Sequence[Person], embedder: Embedder) -> dict[str, float]:
    """Unseen faces found among all people by one face of each: by embedding, and by pixels."""
    embed = crop_embedder(embedder, people[0].faces.coverage)
    middles, queries = [], []
    for person in people:
        middle = person.faces.faces[len(person.faces.faces) // 2]
        middles.append(replace(person.faces, faces=[middle]).crops(RETRIEVAL_PX, 0.0)[0])
        queries.append(person.unseen.crops(RETRIEVAL_PX, 0.0))
    gallery = [embed(middle)[None] for middle in middles]
    by_vector, by_pixels = [], []
    for own, crops in enumerate(queries):
        order = [own, *(i for i in range(len(people)) if i != own)]
        vectors = np.stack([embed(crop) for crop in crops])
        share = retrieval_top1(vectors, [gallery[i] for i in order], embedder.metric)
        gaps = l1_distances(flat(crops), flat(np.stack([middles[i] for i in order])))
        by_vector += [share] * len(crops)
        by_pixels += (gaps.argmin(1) == 0).tolist()
    return {
        "people": float(len(people)),
        "faces": float(len(by_vector)),
        "by_embedding": float(np.mean(by_vector)),
        "by_pixels": float(np.mean(by_pixels)),
    }


def flat(crops: np.ndarray) -> np.ndarray:
    small = [cv2.resize(c, (PLAIN_PX,) * 2, interpolation=cv2.INTER_AREA) for c in crops]
    return (np.stack(small).reshape(len(crops), -1) / 255).astype(np.float32)


if __name__ == "__main__":
    enter(main)
