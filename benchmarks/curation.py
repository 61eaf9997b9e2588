"""How well `curate` finds what does not belong, and what that is worth: injected outliers.

    python benchmarks/curation.py kinds  --media FOLDER   # precision and recall by kind
    python benchmarks/curation.py people --media FOLDER   # a look-alike; two people mixed
    python benchmarks/curation.py effect --media FOLDER   # training on polluted, curated, clean
    python benchmarks/curation.py keep   --media FOLDER   # the best 200 of 1,500
    python benchmarks/curation.py speed  --media FOLDER   # 5,000 faces: seconds and memory

Face sets and runs are kept in workspace/curation, so that what was done is not done twice.
Outliers are made of genuine crops and then go the way of every face: landmarks, alignment,
embedding are found anew on what was altered.
"""

import argparse
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from _door import clips_of, enter, line_of, need_weights, parser_of
from faceswap_lite.actors.clip import render_clip
from faceswap_lite.config import CurateConfig, ExtractConfig, RenderConfig
from faceswap_lite.curation.choose import choose_best
from faceswap_lite.curation.measures import measure_faces
from faceswap_lite.curation.verdicts import judge_faces
from faceswap_lite.faces.align import frontal_to_crop
from faceswap_lite.faces.candidates import Footage, record_and_crop
from faceswap_lite.faces.detect import Detection
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import FaceSet, StoredFace, open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.faces.pack import FacePack, FoundFace, build_pack
from faceswap_lite.faces.records import write_crop
from faceswap_lite.geometry import transform_points
from faceswap_lite.media.clips import Frame
from faceswap_lite.media.reading import open_clip
from faceswap_lite.metrics.landmarks import CANONICAL_FIVE, five_points
from faceswap_lite.outputs import whole_folder, write_json
from faceswap_lite.runs.load import load_run
from faceswap_lite.training.train import train
from study_training import loss_on, quick

WORK = Path("workspace/curation")
KINDS = ("other person", "misaligned", "blurred", "occluded", "no face")
PEOPLE = {
    "franck": "franck_train_*.mp4",
    "grid_s1": "grid_s1_train_*.mp4",
    "lsman3": "lsman3_train_*.mp4",
    "lsman2": "lsman2_train_*.mp4",
    "lpd9": "lpd9_train_*.mp4",
}
# What each bench wants below --media.
TRAIN = [f"video/{pattern}" for pattern in PEOPLE.values()]
NO_FACES_STILLS = "stills/noface/*.*"
LOOKALIKES = ("video/grid_raw/grid_lbbc2a.mpg", "video/grid_raw/grid_brbk7n.mpg")
WANTED = {
    "kinds": [*TRAIN, NO_FACES_STILLS],
    "people": [*TRAIN, *LOOKALIKES],
    "effect": [*TRAIN, NO_FACES_STILLS, "video/franck_eval_1.mp4"],
    "keep": [*TRAIN, "video/grid_s1_eval_1.mp4"],
    "speed": TRAIN,
}
SHARE = 0.17
CROP = ExtractConfig()
WHITE = (255, 255, 255)

Picture = UInt8[np.ndarray, "s s 3"]


def main() -> None:
    parser = parser_of(__doc__, media=True, folder="docs/curation")
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="of each training")
    options = parser.parse_args()
    clips_of(options.media, *WANTED[options.bench])
    NO_FACES[:] = sorted(options.media.glob(NO_FACES_STILLS))
    need_weights("yunet", "mesh")
    write_json(options.out / f"{options.bench}.json", BENCHES[options.bench](options))


# Benches.


def bench_kinds(options: argparse.Namespace) -> dict[str, Any]:
    """Precision, recall by kind, and how many rare faces stay, on five people and two actors."""
    real = {name: faces_of(options, name) for name in PEOPLE}
    sets: list[tuple[str, list[StoredFace], list[StoredFace]]] = []
    for name, faces in real.items():
        strangers = [f for other, s in real.items() if other != name for f in spread(s, 60)]
        sets.append((name, spread(faces, 300), strangers))
    sets += [(f"actor {name}", spread(actor_faces(name), 300), []) for name in ("bruno", "dara")]
    rows = []
    for name, own, strangers in sets:
        for seed in range(options.seeds):
            folder = WORK / f"kinds_{name.replace(' ', '_')}_{seed}"
            kinds = polluted(folder, own, strangers, seed)
            rows.append({"set": name, "seed": seed, **score(open_face_set(folder), kinds)})
            print(line_of(rows[-1]), flush=True)
    numbers = [key for key, value in rows[0].items() if isinstance(value, float)]
    mean = {
        key: float(np.mean([r[key] for r in rows if r.get(key) is not None])) for key in numbers
    }
    print(line_of({"set": "all", **mean}))
    return {"rows": rows, "mean": mean}


def bench_people(options: argparse.Namespace) -> dict[str, Any]:
    """Strangers who look alike; and two people, half and half."""
    own, other = (extracted([options.media / clip], Path(clip).stem) for clip in LOOKALIKES)
    folder = WORK / "people_lookalike"
    mixed(folder, own.faces, spread(other, 15))
    faces = open_face_set(folder)
    decisions = judge_faces(faces, measure_faces(faces), CurateConfig()).decisions
    strangers = [face.record.clip_name == Path(LOOKALIKES[1]).name for face in faces.faces]
    found = [not d.kept for d in decisions]
    alike = {
        "strangers_found": share(found, strangers),
        "own_rejected": share(found, [not stranger for stranger in strangers]),
    }
    print(alike)
    names, rows = list(PEOPLE), []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            folder = WORK / f"people_{first}_{second}"
            mixed(folder, *(spread(faces_of(options, n), 150) for n in (first, second)))
            faces = open_face_set(folder)
            judgement = judge_faces(faces, measure_faces(faces), CurateConfig())
            is_first = np.array([f.record.clip_name.startswith(first) for f in faces.faces])
            right = np.mean((judgement.person == judgement.person[is_first][0]) == is_first)
            rows.append(
                {"pair": f"{first} + {second}", "people": judgement.people, "right": float(right)}
            )
            print(rows[-1], judgement.notes, flush=True)
    return {"alike": alike, "mixed": rows}


def bench_effect(options: argparse.Namespace) -> dict[str, Any]:
    """Held-out loss on an unseen clip after training on the polluted, curated and clean set."""
    name = "franck"
    others = {other: faces_of(options, other) for other in ("grid_s1", "lsman3", "lpd9")}
    own = spread(faces_of(options, name), 300)
    strangers = [face for faces in others.values() for face in spread(faces, 60)]
    target = WORK / "effect_target"
    mixed(target, spread(others["grid_s1"], 300))
    unseen = extracted(clips_of(options.media, f"video/{name}_eval_1.mp4"), f"{name}_eval")
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        folders = {
            kind: WORK / f"effect_{name}_{kind}_{seed}" for kind in ("polluted", "clean", "curated")
        }
        polluted(folders["polluted"], own, strangers, seed)
        mixed(folders["clean"], own)
        faces = open_face_set(folders["polluted"])
        decisions = judge_faces(
            faces, measure_faces(faces), CurateConfig(duplicates=False)
        ).decisions
        mixed(
            folders["curated"], [f for f, d in zip(faces.faces, decisions, strict=True) if d.kept]
        )
        losses = {}
        for kind, folder in folders.items():
            run = WORK / f"effect_{name}_{kind}_{seed}_run"
            losses[kind] = loss_after(folder, target, run, unseen, options.steps, seed)
        rows.append({"set": name, "seed": seed, **losses})
        print(rows[-1], flush=True)
    mean = {k: float(np.mean([r[k] for r in rows])) for k in ("polluted", "curated", "clean")}
    gap = mean["polluted"] - mean["clean"]
    spread_of_gap = float(np.std([r["polluted"] - r["clean"] for r in rows], ddof=1))
    closed = (mean["polluted"] - mean["curated"]) / gap if gap > 0 else None
    summary = {name: {**mean, "gap": gap, "spread": spread_of_gap, "closed": closed}}
    print(summary)
    return {"rows": rows, "summary": summary}


def bench_keep(options: argparse.Namespace) -> dict[str, Any]:
    """Training on the chosen 200 of 1,500 faces, on 200 at random, and on all."""
    faces = faces_of(options, "grid_s1")
    unseen = extracted(clips_of(options.media, "video/grid_s1_eval_1.mp4"), "grid_s1_eval")
    target = WORK / "keep_target"
    mixed(target, spread(faces_of(options, "franck"), 300))
    measures = measure_faces(faces)
    decisions = judge_faces(faces, measures, CurateConfig()).decisions
    chosen = choose_best(faces, measures, decisions, 200)
    rows = []
    for seed in range(options.seeds):
        random = np.random.default_rng(seed).choice(len(faces.faces), 200, replace=False)
        groups = {"all": range(len(faces.faces)), "chosen": chosen, "random": sorted(random)}
        losses = {}
        for kind, places in groups.items():
            folder = WORK / f"keep_{kind}" / (str(seed) if kind == "random" else "set")
            mixed(folder, [faces.faces[place] for place in places])
            run = WORK / f"keep_{kind}_{seed}_run"
            losses[kind] = loss_after(folder, target, run, unseen, options.steps, seed)
        rows.append({"seed": seed, **losses})
        print(rows[-1], flush=True)
    kinds = ("all", "chosen", "random")
    mean = {kind: float(np.mean([row[kind] for row in rows])) for kind in kinds}
    deviation = {kind: float(np.std([row[kind] for row in rows], ddof=1)) for kind in kinds}
    print(mean, deviation)
    return {"rows": rows, "mean": mean, "spread": deviation}


def bench_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory of judging 5,000 faces, the first time and the second."""
    folder, count = WORK / "speed", 5000
    every = [face for name in PEOPLE for face in faces_of(options, name).faces]
    if not folder.is_dir():
        with whole_folder(folder) as partial:
            for number in range(count):
                face = every[number % len(every)]
                if number < len(every):
                    shutil.copy(face.path, partial / f"{number:05d}.png")
                else:
                    record = face.record.model_copy(update={"frame_index": number})
                    write_crop(partial / f"{number:05d}.png", read(face), record)
    faces = open_face_set(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        judge_faces(faces, measure_faces(faces), CurateConfig())
        seconds.append(time.monotonic() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        "faces": len(faces.faces),
        "first_s": seconds[0],
        "second_s": seconds[1],
        "peak_mib": peak,
        "before_mib": before,
    }
    print(result)
    return result


def loss_after(
    source: Path, target: Path, run: Path, unseen: FaceSet, steps: int, seed: int
) -> float:
    """The source's loss on faces that training never saw, after so many steps."""
    train(open_face_set(source), open_face_set(target), run, quick(steps=steps, seed=seed))
    return loss_on(load_run(run, "last"), unseen, "source")


# Outliers.


def polluted(
    folder: Path, own: Sequence[StoredFace], strangers: Sequence[StoredFace], seed: int
) -> dict[str, str]:
    """A face set of `own` and of outliers, SHARE of it; which kind each file is, "" for genuine."""
    rng = np.random.default_rng([seed, 17])
    kinds = [kind for kind in KINDS if strangers or kind != "other person"]
    files = {f"own_{place:04d}.png": "" for place in range(len(own))}
    count = round(len(own) * SHARE / (1 - SHARE))
    names = {f"out_{place:04d}.png": kinds[place % len(kinds)] for place in range(count)}
    if folder.is_dir():
        return files | names
    pack = build_pack("yunet", "mesh", own[0].record.embedder or "none")
    order = rng.permutation(len(own))
    who = rng.permutation(len(strangers))
    with whole_folder(folder) as partial:
        for face, file in zip(own, files, strict=True):
            shutil.copy(face.path, partial / file)
        for place, (file, kind) in enumerate(names.items()):
            if kind == "other person":
                shutil.copy(strangers[who[place % len(who)]].path, partial / file)
                continue
            altered = None
            while altered is None:
                face = own[order[place % len(order)]]
                altered = alter(kind, read(face), face, pack, 10**6 + place, rng)
            write_crop(partial / file, altered.crop, altered.record)
    return files | names


@dataclass(frozen=True)
class Altered:
    """An outlier: its crop and its record."""

    record: Any
    crop: Picture


def alter(
    kind: str,
    crop: Picture,
    face: StoredFace,
    pack: FacePack,
    number: int,
    rng: np.random.Generator,
) -> Altered | None:
    """An outlier of that kind made of a genuine crop; None when no face would be found on it."""
    record = face.record
    points = transform_points(record.landmarks.astype(np.float64), record.frame_to_crop)
    to_crop = frontal_to_crop(record.coverage, record.size, record.margin)
    five = transform_points(CANONICAL_FIVE, to_crop)
    eyes = float(five[1, 0] - five[0, 0])
    box = np.concatenate([five.mean(0) - 1.1 * eyes, five.mean(0) + 1.3 * eyes])
    detection = Detection(box, record.confidence, five)
    picture = PAINTERS[kind](crop, eyes, rng)
    if kind == "misaligned":
        points = transform_points(points, mistake(five.mean(0), eyes, rng))
    elif kind != "no face":
        found = pack.landmarker(picture, detection)
        if (found.presence or 0) < 0.2:
            return None
        points = found.points
    embedding = None
    if pack.embedder is not None:
        embedding = pack.embedder(picture, five_points(points, "mesh"))
    frame = Frame(number, number, Fraction(number, 25), picture)
    path = Path("outliers")
    footage = Footage(path, "outliers", partial(open_clip, path), prefix="outliers")
    config = CROP.model_copy(update={"crop_coverage": record.coverage, "margin": record.margin})
    made, cut = record_and_crop(
        frame, FoundFace(detection, points, embedding, None), 0, footage, pack, "outliers", config
    )
    return Altered(made, cut)


def mistake(centre: np.ndarray, eyes: float, rng: np.random.Generator) -> np.ndarray:
    """A similarity as a landmarker's mistake: turned, of another size, or beside the face."""
    angle, scale, shift = 0.0, 1.0, np.zeros(2)
    sign = rng.choice([-1, 1], 2)
    match rng.integers(3):
        case 0:
            angle = np.radians(sign[0] * rng.uniform(12, 30))
        case 1:
            scale = np.exp(sign[0] * rng.uniform(0.18, 0.35))
        case _:
            shift = sign * rng.uniform(0.15, 0.4, 2) * eyes
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, centre + shift - turn @ centre])


def blurred(crop: Picture, eyes: float, rng: np.random.Generator) -> Picture:
    """Out of focus, or moved while the shutter was open."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.05, 0.1) * eyes)
    length = int(rng.uniform(0.2, 0.35) * eyes)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
    streak = cv2.warpAffine(kernel, turn, (length, length))
    return cv2.filter2D(crop, -1, streak / streak.sum())


def occluded(crop: Picture, eyes: float, rng: np.random.Generator) -> Picture:
    """A hand, a microphone or a caption in front of the face."""
    size = len(crop)
    x, y = rng.uniform(0.35, 0.65) * size, rng.uniform(0.35, 0.7) * size
    picture = crop.copy()
    match rng.integers(3):
        case 0:
            mask, angle = np.zeros((size, size), np.uint8), rng.uniform(0, 180)
            across = np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle))])
            for finger in range(4):
                at = np.array([x, y]) + across * (finger - 1.5) * 0.25 * eyes
                axes = (int(rng.uniform(0.6, 0.9) * eyes), int(0.14 * eyes))
                cv2.ellipse(mask, at.astype(int).tolist(), axes, angle, 0, 360, 255, -1)
            skin = rng.uniform([150, 100, 80], [230, 170, 140])
            grain = cv2.GaussianBlur(rng.normal(0, 60, (size, size)), (0, 0), 4)
            hand = np.clip(skin + grain[:, :, None], 0, 255)
            alpha = cv2.GaussianBlur(mask, (0, 0), 1.5)[:, :, None] / 255
            picture = (crop * (1 - alpha) + hand * alpha).astype(np.uint8)
        case 1:
            color = rng.uniform(10, 70, 3).tolist()
            foot = (int(x + rng.uniform(-0.7, 0.7) * eyes), size - 1)
            cv2.line(picture, (int(x), int(y)), foot, color, int(0.25 * eyes))
            cv2.circle(picture, (int(x), int(y)), int(rng.uniform(0.37, 0.55) * eyes), color, -1)
        case _:
            half = rng.uniform([0.5, 0.23], [0.9, 0.38]) * eyes
            low, high = ((np.array([x, y]) + s * half).astype(int).tolist() for s in (-1, 1))
            cv2.rectangle(picture, low, high, rng.uniform(0, 255, 3).tolist(), -1)
            foot = (low[0] + 3, int(y + 0.1 * eyes))
            cv2.putText(picture, "LIVE 24", foot, cv2.FONT_HERSHEY_SIMPLEX, 0.011 * eyes, WHITE, 2)
    return picture


def no_face(crop: Picture, eyes: float, rng: np.random.Generator) -> Picture:
    """A part of a picture without people, or of this one's corner."""
    size = len(crop)
    if rng.random() < 0.8:
        with Image.open(NO_FACES[rng.integers(len(NO_FACES))]) as still:
            picture = np.asarray(still.convert("RGB"))
    else:
        picture = crop[: size // 4, : size // 4]
    side = int(rng.uniform(0.4, 1) * min(picture.shape[:2]))
    top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
    patch = picture[top : top + side, left : left + side]
    return cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR)


def untouched(crop: Picture, eyes: float, rng: np.random.Generator) -> Picture:
    return crop


PAINTERS: dict[str, Callable[[Picture, float, np.random.Generator], Picture]] = {
    "misaligned": untouched,
    "blurred": blurred,
    "occluded": occluded,
    "no face": no_face,
}
NO_FACES: list[Path] = []
"""Stills without people."""


# Sets and figures.


def score(faces: FaceSet, kinds: dict[str, str]) -> dict[str, float | None]:
    """How the decisions on a polluted set agree with what is known of it."""
    decisions = judge_faces(faces, measure_faces(faces), CurateConfig()).decisions
    kind = np.array([kinds[face.path.name] for face in faces.faces])
    repeats = np.array([d.reason == "duplicate" for d in decisions])
    # That a frame is there twice is true of the clip: it is told apart from both kinds of error.
    rejected = np.array([not d.kept for d in decisions]) & ~repeats
    genuine = (kind == "") & ~repeats
    yaw = np.array([abs(f.record.pose.yaw_deg) if f.record.pose else 0 for f in faces.faces])
    mouth = np.array([f.record.mouth_opening or 0 for f in faces.faces])
    rare = genuine & (
        (yaw >= np.quantile(yaw[genuine], 0.9)) | (mouth >= np.quantile(mouth[genuine], 0.9))
    )
    return {
        "precision": float((kind != "")[rejected].mean()),
        "recall": float(rejected[kind != ""].mean()),
        **{k: share(rejected, kind == k) for k in KINDS},
        "rare kept": 1 - float(rejected[rare].mean()),
        "genuine kept": 1 - float(rejected[genuine].mean()),
        "repeats": float(repeats[kind == ""].mean()),
    }


def share(found: Sequence[bool] | np.ndarray, among: Sequence[bool] | np.ndarray) -> float | None:
    chosen = np.asarray(found)[np.asarray(among)]
    return float(chosen.mean()) if len(chosen) else None


def faces_of(options: argparse.Namespace, name: str) -> FaceSet:
    return extracted(clips_of(options.media, f"video/{PEOPLE[name]}"), name)


def actor_faces(name: str) -> FaceSet:
    clips = []
    for take in range(4):
        clip = WORK / f"actor_{name}_{take}.mp4"
        render_clip(
            RenderConfig(actor=name, twin=None, frames=90, rate=8, size=256, seed=400 + take), clip
        )
        clips.append(clip)
    # Face networks hardly tell actors apart: who it is plays no part.
    return extracted(clips, f"actor_{name}", ExtractConfig(embedder="none"))


def extracted(clips: Sequence[Path], name: str, config: ExtractConfig = CROP) -> FaceSet:
    extract_faces(find_footage(clips), WORK / f"faces_{name}", config)
    return open_face_set(WORK / f"faces_{name}")


def mixed(folder: Path, *groups: Sequence[StoredFace]) -> None:
    """A face set of copies of these."""
    if folder.is_dir():
        return
    with whole_folder(folder) as partial:
        for number, group in enumerate(groups):
            for face in group:
                shutil.copy(face.path, partial / f"{number}_{face.path.name}")


def spread(faces: FaceSet, count: int) -> list[StoredFace]:
    """So many faces, evenly over the set."""
    places = np.linspace(0, len(faces.faces) - 1, min(count, len(faces.faces))).astype(int)
    return [faces.faces[place] for place in places]


def read(face: StoredFace) -> Picture:
    with Image.open(face.path) as picture:
        return np.asarray(picture.convert("RGB"))


BENCHES = {
    "kinds": bench_kinds,
    "people": bench_people,
    "effect": bench_effect,
    "keep": bench_keep,
    "speed": bench_speed,
}


if __name__ == "__main__":
    enter(main)
