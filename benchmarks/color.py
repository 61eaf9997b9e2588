"""How near a swap's colours come to the truth, by matcher: the package's, and those that went.

    python benchmarks/color.py pairs                  # without a network: 32 pairs of actors
    python benchmarks/color.py casts --media FOLDER   # one face under two lights or grades
    python benchmarks/color.py speed                  # the colour step beside the former default's

pairs: a twin's face in its own skin tone is what was painted, the actor's what it replaces, and the
twin's in the actor's tone is the truth (PSNR in the eroded face mask); three lights each, then with
the painted face lit from elsewhere, then exposed and balanced otherwise. Half of the pairs were
developed on, the other half is for reporting. casts: real faces, blurred, under a gain in linear
light that jitters from frame to frame; "graded": under a gain, offset and gamma of coded values.
Trained swaps are `color_runs.py`'s.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from _color import DEFAULT, FORMER, METHODS, matched, means, psnr_db, single, yardsticks
from _door import clips_of, enter, keep, line_of, need_weights, parser_of
from faceswap_lite.actors.cast import ACTORS, find_actor
from faceswap_lite.actors.performance import ActorState, random_performance
from faceswap_lite.actors.render import render_actor
from faceswap_lite.conversion.color_matchers import relight
from faceswap_lite.conversion.skin import to_coded, to_linear
from faceswap_lite.faces.align import align, cut_crop
from faceswap_lite.faces.hull import face_mask
from faceswap_lite.faces.pack import FacePack, build_pack
from faceswap_lite.media.clips import as_uint8
from faceswap_lite.media.images import write_image
from faceswap_lite.media.reading import open_clip


def main() -> None:
    parser = parser_of(__doc__, media=True)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--frames", type=int, default=60, help="casts: of each clip")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "bench_color")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    keep(options.out, PARTS[options.part](options))


# Without a network.

LIGHTS: dict[str, dict[str, Any]] = {
    "soft": {"light_yaw_deg": -15, "light_pitch_deg": 30, "light": 0.9, "ambient": 1.15},
    "side": {"light_yaw_deg": 60, "light_pitch_deg": 20, "light": 1.15, "ambient": 0.55},
    "warm": {"light_yaw_deg": -40, "light_pitch_deg": 40, "ambient": 0.9, "warmth": 1.0},
}
ELSEWHERE: dict[str, dict[str, Any]] = {
    "soft": {"light_yaw_deg": 45, "light_pitch_deg": 30, "ambient": 0.9, "warmth": -0.4},
    "side": {"light_yaw_deg": -30, "light_pitch_deg": 35, "light": 0.9, "ambient": 1.1},
    "warm": {"light_yaw_deg": 30, "light_pitch_deg": 30, "light": 1.0, "warmth": -0.6},
}
# The lightest and the darkest, beards, make-up, freckles, tans, each painted onto the one before.
STRANGERS = (5, 39, 7, 2, 11, 20, 52, 55, 49, 33, 46, 28)
MOMENTS = (3, 23, 43)


@dataclass(frozen=True)
class Pair:
    """Whose face is painted onto whom."""

    target: str
    source: str
    developed: bool
    seed: int

    @property
    def named(self) -> bool:
        """Of the named actors, and not of random ones."""
        return self.target in ACTORS


def all_pairs() -> list[Pair]:
    """All ordered pairs of named actors, each developed on in one direction; random ones."""
    names = list(ACTORS)
    pairs = [
        Pair(a, b, (j - i) % len(names) in (1, 2), len(names) * i + j)
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if a != b
    ]
    for k, seed in enumerate(STRANGERS):
        other = STRANGERS[(k + 1) % len(STRANGERS)]
        pairs.append(Pair(f"random:{seed}", f"random:{other}", k % 2 == 0, 100 + k))
    return pairs


def bench_pairs(options: argparse.Namespace) -> dict[str, Any]:
    shown = [pair for pair in all_pairs() if (pair.target, pair.source) in SHOWN]
    if options.out is not None and shown:
        write_image(options.out.with_suffix(".png"), pairs_sheet(shown))
    with ProcessPoolExecutor() as pool:
        rows = [row for some in pool.map(pair_rows, all_pairs()) for row in some]
    report: dict[str, Any] = {"rows": rows}
    for case in ("as it is", "lit from elsewhere", "exposed otherwise"):
        for half in (True, False):
            for named in (True, False):
                some = [
                    row
                    for row in rows
                    if (row["case"], row["developed"], row["named"]) == (case, half, named)
                ]
                if not some:
                    continue
                title = f"{case}, {'named' if named else 'random'}, "
                title += "developed on" if half else "unseen"
                report[title] = summary([row["db"] for row in some])
                print(f"{title}\n  {line_of(report[title]['mean'])}", flush=True)
                print(f"  {line_of({k: v for k, v in report[title].items() if k != 'mean'})}")
    return report


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    others = [name for name in METHODS if name != DEFAULT]
    below = [row["true gain, skin only"] - row[DEFAULT] for row in rows]
    return {
        "mean": means(rows),
        "pairs": len(rows),
        "above every other mode": sum(row[DEFAULT] > max(row[m] for m in others) for row in rows),
        "below true gain, skin only: mean": float(np.mean(below)),
        "below it at worst": float(np.max(below)),
    }


def pair_rows(pair: Pair) -> list[dict[str, Any]]:
    """A row of each case, in decibels, the mean over lights and moments."""
    cv2.setNumThreads(1)
    found: dict[str, list[dict[str, float]]] = {}
    for shot in shots_of(pair):
        for case, face in shot.painted.items():
            outs = {
                name: np.clip(fit(face, shot.true, single(shot.inside)).apply(face), 0, 1)
                for name, fit in METHODS.items()
            } | yardsticks(face, shot.true, shot.truth, shot.inside)
            found.setdefault(case, []).append(
                {name: psnr_db(out, shot.truth, shot.inside) for name, out in outs.items()}
            )
    facts = {"target": pair.target, "source": pair.source, "named": pair.named}
    return [
        {**facts, "developed": pair.developed, "case": case, "db": means(rows)}
        for case, rows in found.items()
    ]


@dataclass(frozen=True)
class Shot:
    """A moment of a pair: what is there, what should be, and what was painted, by case."""

    true: np.ndarray
    truth: np.ndarray
    inside: np.ndarray
    painted: dict[str, np.ndarray]


def shots_of(pair: Pair) -> Iterator[Shot]:
    """In each light some moments."""
    rng = np.random.default_rng(pair.seed)
    target, source = find_actor(pair.target), find_actor(pair.source)
    for number, (name, light) in enumerate(LIGHTS.items()):
        states = random_performance(60, 10.0, 1000 + 97 * pair.seed + number)
        for moment in MOMENTS:
            state = replace(states[moment], **light)
            backdrop = 3 * pair.seed + number

            def view(state: ActorState = state, backdrop: int = backdrop, **worn: Any) -> Any:
                return render_actor(target, state, 192, background=backdrop, **worn)

            views = [view(), view(face_of=source), view(face_of=source, skin_of=target)]
            elsewhere = view(state=replace(state, **ELSEWHERE[name]), face_of=source)
            mask = np.maximum.reduce([v.face_mask for v in views])
            rows, columns = np.nonzero(mask)
            box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            inside = (cv2.erode(mask, np.ones((5, 5))) > 0.78)[box]
            if inside.sum() < 200:
                continue
            true, painted, truth, lit = (
                v.image[box].astype(np.float32) / 255 for v in (*views, elsewhere)
            )
            cast = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.08, 3))
            exposed = to_coded(single(to_linear(painted) * cast))
            faces = {"as it is": painted, "lit from elsewhere": lit, "exposed otherwise": exposed}
            yield Shot(true, truth, inside, faces)


SHOWN = {
    ("ada", "dara"), ("dara", "chen"), ("bruno", "ada"),
    ("chen", "bruno"), ("ewa", "dara"), ("ewa", "chen"),
}  # fmt: skip


def pairs_sheet(pairs: list[Pair]) -> np.ndarray:
    """Pairs below one another: target, painted, former match, default, truth; lit elsewhere."""
    rows = []
    for pair in pairs:
        cells: list[np.ndarray] = []
        shot = next(shots_of(pair))
        inside = single(shot.inside)
        alpha = cv2.GaussianBlur(inside, (0, 0), 1.5)[..., None]
        for case in ("as it is", "lit from elsewhere"):
            face = shot.painted[case]
            outs = []
            for name in (FORMER, DEFAULT):
                out = METHODS[name](face, shot.true, inside).apply(face)
                outs.append(shot.true + alpha * (out - shot.true))
            shown = [face, *outs] if cells else [shot.true, face, *outs, shot.truth]
            cells += [cv2.resize(np.clip(cell, 0, 1), (128, 144)) for cell in shown]
        rows.append(np.hstack(cells))
    return np.round(255 * np.vstack(rows)).astype(np.uint8)


# Casts of one face.

SIZE = 128
CLIPS = (
    *("franck_train_1", "franck_eval_1", "grid_s1_train_1", "grid_s1_eval_1"),
    *("lpd9_train_1", "lsman2_train_1", "lsman3_train_1"),
)
BLUR_PX = 1.2
RING_PX = 4
# In linear light, and with headroom: what a camera's white cut off no gain brings back.
LIGHT_GAIN, LIGHT_JITTER, HEADROOM = 0.18, 0.04, 0.75
# Of coded values, so that `none` is as bad as swaps are.
GAIN, OFFSET, GAMMA = 0.09, 0.027, 0.10
GAIN_JITTER, OFFSET_JITTER, GAMMA_JITTER = 0.019, 0.0075, 0.019


@dataclass(frozen=True)
class Crops:
    """Aligned faces of one clip: pictures and masks in [0, 1]."""

    name: str
    faces: np.ndarray  # (n, s, s, 3)
    masks: np.ndarray  # (n, s, s)


@dataclass(frozen=True)
class Scene:
    """Successive frames: what was painted, what it replaces, what it should look like."""

    images: list[np.ndarray]
    references: list[np.ndarray]
    ideals: list[np.ndarray]
    ideal_labs: list[np.ndarray]
    """Lab colours of the ideal inside the mask."""
    masks: list[np.ndarray]


def bench_casts(options: argparse.Namespace) -> dict[str, Any]:
    """A row for each case and matcher, steadied and not."""
    files = clips_of(options.media, *(f"video/{name}.mp4" for name in CLIPS))
    need_weights("yunet", "mesh")
    pack = build_pack("yunet", "mesh", "none")
    clips = [crops_of(file, pack, options.frames, options.cache) for file in files]
    rows = []
    for case in CASES:
        scenes = [scene(crops, case, seed) for seed, crops in enumerate(clips)]
        for name in (*METHODS, f"{DEFAULT} + relight"):
            for steady in (False, True):
                figures = [play(one, name, steady) for one in scenes]
                row: dict[str, Any] = {"case": case, "matcher": name, "steady": steady}
                rows.append(row | means(figures))
                print(line_of(rows[-1]), flush=True)
    return {"rows": rows}


Cast = Callable[[np.ndarray], np.ndarray]


def in_light(rng: np.random.Generator) -> Cast:
    gain = rng.uniform(1 - LIGHT_GAIN, 1 + LIGHT_GAIN, 3)

    def cast(face: np.ndarray) -> np.ndarray:
        return to_coded(single(to_linear(face) * gain * (1 + rng.normal(0, LIGHT_JITTER, 3))))

    return cast


def graded(rng: np.random.Generator) -> Cast:
    gain, offset = rng.uniform(1 - GAIN, 1 + GAIN, 3), rng.uniform(-OFFSET, OFFSET, 3)
    gamma = rng.uniform(1 - GAMMA, 1 + GAMMA)

    def cast(face: np.ndarray) -> np.ndarray:
        face = face * (gain + rng.normal(0, GAIN_JITTER, 3))
        face = np.clip(face + offset + rng.normal(0, OFFSET_JITTER, 3), 0, 1)
        return single(np.clip(face ** (gamma + rng.normal(0, GAMMA_JITTER)), 0, 1))

    return cast


def dark_lower_face(face: np.ndarray) -> np.ndarray:
    """A beard on the painted face, where the target has none."""
    shade = np.clip((np.arange(SIZE) - 0.66 * SIZE) / 6, 0, 1)[:, None, None]
    return single(face * (1 - 0.4 * shade))


def as_it_is(face: np.ndarray) -> np.ndarray:
    return face


def ramp(face: np.ndarray) -> np.ndarray:
    return single(face * np.linspace(0.9, 1.1, SIZE)[None, :, None])


# What the painted face shows, what light alone falls on it, and the cast.
CASES: dict[str, tuple[Cast, Cast, Callable[[np.random.Generator], Cast]]] = {
    "light": (as_it_is, as_it_is, in_light),
    "light, different content": (dark_lower_face, as_it_is, in_light),
    "graded": (as_it_is, as_it_is, graded),
    "graded, lighting ramp": (as_it_is, ramp, graded),
    "graded, different content": (dark_lower_face, as_it_is, graded),
}


def scene(crops: Crops, case: str, seed: int) -> Scene:
    content, light, cast_of = CASES[case]
    cast = cast_of(np.random.default_rng(seed))
    images, references, ideals = [], [], []
    for crop in crops.faces:
        # A gain of light needs headroom; see LIGHT_GAIN.
        face = single(crop)
        if cast_of is in_light:
            face = to_coded(single(HEADROOM * to_linear(crop)))
        ideal = content(cv2.GaussianBlur(face, (0, 0), BLUR_PX))
        images.append(cast(light(ideal)))
        references.append(face)
        ideals.append(ideal)
    labs = [rgb2lab(ideal[mask > 0]) for ideal, mask in zip(ideals, crops.masks, strict=True)]
    return Scene(images, references, ideals, labs, list(crops.masks))


def play(scene: Scene, name: str, steady: bool) -> dict[str, float]:
    """Errors against the ideal (CIEDE2000), flicker of the mean Lab error, milliseconds a face."""
    triples = list(zip(scene.images, scene.references, scene.masks, strict=True))
    outs, milliseconds = matched(triples, METHODS[name.removesuffix(" + relight")], steady)
    if name.endswith("relight"):
        outs = [
            relight(out, reference, mask, 1.0)
            for out, (_, reference, mask) in zip(outs, triples, strict=True)
        ]
    errors, ring_errors, drifts = [], [], []
    for out, reference, ideal_lab, ideal, mask in zip(
        outs, scene.references, scene.ideal_labs, scene.ideals, scene.masks, strict=True
    ):
        inside = mask > 0
        lab, weights = rgb2lab(out[inside]), mask[inside]
        errors.append(np.average(deltaE_ciede2000(lab, ideal_lab), weights=weights))
        drifts.append(np.average(lab - ideal_lab, axis=0, weights=weights))
        # The ring is seen in place: the face over the frame with a soft edge.
        alpha, ring = soft_edge(mask)
        shown, wanted = (reference + alpha[..., None] * (face - reference) for face in (out, ideal))
        ring_errors.append(
            deltaE_ciede2000(rgb2lab(shown[ring][None]), rgb2lab(wanted[ring][None])).mean()
        )
    steps = np.linalg.norm(np.diff(drifts, axis=0), axis=1)
    return {
        "delta_e": float(np.mean(errors)),
        "ring": float(np.mean(ring_errors)),
        "flicker": float(steps.mean()),
        "ms": milliseconds,
    }


def soft_edge(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How opaque the face is (nothing outside the mask), and the ring about the mask's border."""
    solid = (mask > 0.5).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING_PX + 1, 2 * RING_PX + 1))
    ring = (cv2.dilate(solid, kernel) > 0) & (cv2.erode(solid, kernel, borderValue=0) == 0)
    inner = cv2.erode(solid, np.ones((3, 3), np.uint8), borderValue=0)
    alpha = cv2.GaussianBlur(inner.astype(np.float32), (0, 0), RING_PX / 2)
    return alpha, ring


def crops_of(clip: Path, pack: FacePack, frames: int, cache: Path) -> Crops:
    """Crops of a clip's first faces, cut once."""
    file = cache / f"{clip.stem}_{frames}.npz"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        faces, masks = zip(*cut_faces(clip, pack, frames), strict=True)
        np.savez(file, faces=np.stack(faces), masks=np.stack(masks))
    kept = np.load(file)
    return Crops(clip.stem, kept["faces"], kept["masks"])


def cut_faces(clip: Path, pack: FacePack, frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first faces of a clip with their masks."""
    found = 0
    with open_clip(clip) as reader:
        for frame in reader:
            for face in pack.find(frame.image)[:1]:
                matrix = align(face.landmarks, pack.landmarks_name, "full", SIZE)
                crop = cut_crop(as_uint8(frame.image), matrix, SIZE) / np.float32(255)
                mask = face_mask(face.landmarks, pack.landmarks_name, matrix, SIZE)
                yield crop, mask.astype(np.float32)
                found += 1
            if found == frames:
                return


# Speed.


def bench_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of fit, steadying and application, one core, in turns, by the crop's side."""
    actor, twin = find_actor("bruno"), find_actor("dara")
    states = random_performance(17, 25.0, 0)
    report: dict[str, Any] = {}
    for side in (64, 128, 256):
        triples = []
        for state in states:
            true, painted = (
                render_actor(actor, state, side, face_of=face) for face in (actor, twin)
            )
            face, reference = (single(v.image) / 255 for v in (painted, true))
            triples.append((face, reference, single(painted.face_mask)))
        took: dict[str, list[float]] = {FORMER: [], DEFAULT: []}
        for _ in range(9):
            for name, times in took.items():
                times.append(matched(triples, METHODS[name])[1])
        medians = {name: float(np.median(times)) for name, times in took.items()}
        report[f"{side} px"] = medians | {"ratio": medians[DEFAULT] / medians[FORMER]}
        print(f"{side} px  {line_of(report[f'{side} px'])}", flush=True)
    return report


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "pairs": bench_pairs,
    "casts": bench_casts,
    "speed": bench_speed,
}


if __name__ == "__main__":
    enter(main)
