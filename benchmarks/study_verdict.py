"""Is the verdict right? Staged runs on rendered actors, whose fault is known beforehand.

    python benchmarks/study_verdict.py [--work FOLDER] [--out docs/evaluation]

Stopped early; healthy; over-fitted (few faces, no augmentation); data-limited (the source never
opens its mouth); and the healthy run on clips darkened to 15 % and turned beyond all that it was
trained on. Five points of MTCNN, as the demo has them; the renderer's landmarks tell how far
mouths are open. What was rendered and trained is kept: the same command goes on.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from _door import FROM_SCRATCH, enter, parser_of
from faceswap_lite.actors.clip import render_clip
from faceswap_lite.config import Config
from faceswap_lite.config_files import load_config
from faceswap_lite.curation.pose_coverage import attributes_of, coverage
from faceswap_lite.evaluation.explain import Background, evidence_of, study_run
from faceswap_lite.evaluation.out_of_distribution import brightness_of, known_attributes
from faceswap_lite.evaluation.verdict import Evidence, FindingKind, verdict
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.truth import truth_path
from faceswap_lite.media.writing import ClipWriter
from faceswap_lite.metrics.intervals import Interval
from faceswap_lite.metrics.pictures import psnr_db
from faceswap_lite.models.autoencoder import SIDES
from faceswap_lite.models.crops import rebuild
from faceswap_lite.outputs import whole_folder, write_json
from faceswap_lite.runs.load import load_run
from faceswap_lite.training.train import train

SOURCE, TARGET = "dara", "bruno"
TAKES = {"source": 20, "target": 12}
YAW_DEG, FAR_YAW_DEG = 25.0, 70.0
DARK = 0.15
# The inner lips' gap in eye distances: below it, nobody would call a mouth open.
CLOSED = 0.06
FEW_TAKES = 3

SMALL = (
    "model.size=32", "model.encoder_dims=16", "model.inter_dims=32", "model.decoder_dims=8",
    "model.mask_dims=6", "training.threads=1", "training.minutes=null", "training.lr=2e-3",
    "training.heldout.every=25", "training.heldout.share=0.2", "training.heldout.gap=3",
    "training.preview_every=100000", "training.save_every=500", "training.precision=32-true",
)  # fmt: skip
TINY = (
    "model.encoder_dims=8", "model.inter_dims=16", "model.decoder_dims=4", "model.mask_dims=4",
    "training.lr=4e-3", "training.heldout.every=50",
)  # fmt: skip
PLAIN = tuple(
    f"training.augment.{name}=0"
    for name in ("rotation_deg", "zoom", "shift", "warp", "brightness", "contrast")
)


@dataclass(frozen=True)
class Stage:
    """A run: its face sets, its length, and what is changed of the config."""

    source: str
    target: str
    steps: int
    changes: tuple[str, ...] = ()


STAGES = {
    "early": Stage("source", "target", 250),
    "over": Stage("source_few", "target_few", 2000, (*PLAIN, "training.heldout.by=clip")),
    "limited": Stage("source_closed", "target", 1200),
    # So small a model that it has learned what it can within minutes.
    "healthy": Stage("source", "target", 8000, TINY),
}
CLIPS = ("unseen", "dark", "turned")


class Case(NamedTuple):
    """What was staged, on which clip it is judged, and what the verdict has to be."""

    run: str
    clip: str
    right: FindingKind


CASES = {
    "stopped early": Case("early", "unseen", "still_improving"),
    "healthy": Case("healthy", "unseen", "plateau"),
    "over-fitted: few faces, no augmentation": Case("over", "unseen", "over_fitting"),
    "data-limited: no open mouths in the source": Case("limited", "unseen", "data_limited"),
    "out of range: darkened to 15 %": Case("healthy", "dark", "out_of_range"),
    "out of range: turned beyond the source's p99": Case("healthy", "turned", "out_of_range"),
}


def main() -> None:
    parser = parser_of(__doc__, folder="docs/evaluation")
    parser.add_argument("--work", type=Path, default=Path("workspace/verdict"))
    options = parser.parse_args()
    stage_faces(options.work)
    known = {}
    for name in STAGES:
        run = load_run(stage_run(options.work, name), "best")
        known[name] = study_run(run, run.config.convert)
    rows = []
    for title, case in CASES.items():
        found = verdict(evidence_on(known[case.run], options.work / f"clip_{case.clip}"))
        rows.append({"staged": title, "right": found.kind == case.right, **found.to_json()})
        print(f"{title:46} {found.kind:16} {'right' if rows[-1]['right'] else 'WRONG'}")
        print(f"    {found.sentence}")
        for finding in found.further:
            print(f"    further: {finding.sentence}")
    write_json(options.out / "verdict.json", {"rows": rows})


def config_of(*changes: str) -> Config:
    return load_config("demo", (*FROM_SCRATCH, *SMALL, *changes))


def stage_faces(work: Path) -> None:
    """Takes of both people, the clips to judge, and the face sets of all of them."""
    config = config_of()
    takes: dict[str, list[Path]] = {}
    for side, actor in (("source", SOURCE), ("target", TARGET)):
        takes[side] = [work / f"{side}_{take}.mp4" for take in range(TAKES[side])]
        for take, clip in enumerate(takes[side]):
            seed = 100 * (1 + (side == "target")) + take
            part = {"actor": actor, "twin": None, "seed": seed, "max_yaw_deg": YAW_DEG}
            render_clip(config.render.model_copy(update=part), clip)
        extract_faces(find_footage(takes[side]), work / side, config.extract)
        extract_faces(find_footage(takes[side][:FEW_TAKES]), work / f"{side}_few", config.extract)
    keep_closed(work / "source", work / "source_closed")
    for seed, name, yaw in ((6, "unseen", YAW_DEG), (7, "turned", FAR_YAW_DEG)):
        part = {"actor": TARGET, "twin": None, "seed": seed, "frames": 80, "max_yaw_deg": yaw}
        render_clip(config.render.model_copy(update=part), work / f"{name}.mp4")
    darken(work / "unseen.mp4", work / "dark.mp4")
    for name in CLIPS:
        extract_faces(find_footage([work / f"{name}.mp4"]), work / f"clip_{name}", config.extract)


def keep_closed(faces: Path, out: Path) -> None:
    """The faces of a set whose mouths are closed, as a set of their own."""
    if out.exists():
        return
    with whole_folder(out) as building:
        for face in open_face_set(faces).faces:
            if face.record.mouth_opening is not None and face.record.mouth_opening <= CLOSED:
                shutil.copy(face.path, building)


def darken(clip: Path, out: Path) -> None:
    """The clip at DARK of its brightness, as a camera would have it, with its truth beside it."""
    if out.exists():
        return
    shutil.copyfile(truth_path(clip), truth_path(out))
    with open_clip(clip) as reader, ClipWriter(out, like=reader.info) as writer:
        for frame in reader:
            writer.write(np.round(frame.image * DARK).astype(frame.image.dtype), frame.pts)


def stage_run(work: Path, name: str) -> Path:
    """Train a staged run, or find it done."""
    stage, run = STAGES[name], work / f"run_{name}"
    config = config_of(f"training.steps={stage.steps}", *stage.changes)
    sets = [open_face_set(work / faces) for faces in (stage.source, stage.target)]
    train(sets[0], sets[1], run, config)
    return run


def evidence_on(known: Background, clip: Path) -> Evidence:
    """What is known of a run and of a clip's faces, as the evaluate stage has it."""
    run, faces = known.run, open_face_set(clip)
    crops, masks = faces.crops(run.config.model.size, 0.0), faces.masks(run.config.model.size, 0.0)
    shown = attributes_of([face.record for face in faces.faces], brightness_of(crops, masks))
    covers = {side: coverage(known_attributes(known.known[side]), shown) for side in SIDES}
    assert known.trust is not None
    pairs = zip(rebuild(run.model, crops, "target"), crops / 255, masks, strict=True)
    clip_db = Interval(float(np.mean([psnr_db(*pair) for pair in pairs])))
    return evidence_of(known, clip_db, covers, known.trust.judge(run, crops, masks))


if __name__ == "__main__":
    enter(main)
