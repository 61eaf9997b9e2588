"""What a run gains by the package's base: side by side with the way of before, on clips never seen.

    python benchmarks/starts.py pairs --work FOLDER --media FOLDER
    python benchmarks/starts.py few --work FOLDER --media FOLDER
    python benchmarks/starts.py frame --work FOLDER --media FOLDER
    python benchmarks/starts.py augment --work FOLDER --media FOLDER
    python benchmarks/starts.py rates --work FOLDER --media FOLDER

pairs: eight directions between two and three people (a run serves both): quick64 as it was at REV
(c0de366) for 8 minutes; quick64 from the base after 12 s, 40 s and 8 minutes; quick128 after 20.
few: 60 faces of one take a side, quick128, 4 minutes, beside all faces for as long.
frame: quick64 against quick128, 10 minutes on two cores, in the frame's own pixels, three seeds.
augment: quick64 on 60, 300 and all faces, 2 minutes, augmentation from none to much and `auto`.
rates: quick128 on the same, 4 minutes, encoder and inter at the whole rate and at less.

Minutes are counted in steps (STEPS_A_MINUTE, of one quiet thread), so that other work on the
machine does not count; those of REV are by the clock. What is in --work is not done again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _door import clips_of, enter, keep, line_of, need_weights, parser_of
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.figures import Curve, write_line_figure
from faceswap_lite.runs.log import read_history

REV = "c0de366"
ROOT = Path(__file__).resolve().parent.parent
PAIRS = (("franck", "grid_s1"), ("lpd9", "lsman2"), ("lpd9", "lsman3"), ("lsman2", "lsman3"))
PEOPLE = tuple(dict.fromkeys(person for pair in PAIRS for person in pair))
FIGURES = (
    "heldout_psnr_db", "heldout_frame_psnr_db", "identity_margin_positive", "identity_to_source",
    "yaw_correlation", "yaw_spread_ratio", "mouth_correlation", "mouth_spread_ratio",
    "eyes_correlation", "sharpness_ratio",
)  # fmt: skip
EVERY = 2
STEPS_A_MINUTE = {"quick64": 590, "quick128": 182}


def main() -> None:
    parser = parser_of(__doc__, media=True)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--work", type=Path, default=Path("workspace/starts"))
    parser.add_argument("--pairs", nargs="+", help="only these, as SOURCE-TARGET")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time")
    options = parser.parse_args()
    clips_of(options.media, *(f"video/{person}_eval_1.mp4" for person in PEOPLE))
    options.work = options.work.resolve()
    options.media = options.media.resolve()
    need_weights("yunet", "mesh", "mobilefacenet")
    keep(options.out, PARTS[options.part](options))


# The commands.


def command(*words: Any, at: Path = ROOT, threads: int = 1) -> None:
    """Call the package of a checkout. Raises: FaceswapError with its last line."""
    environment = {**os.environ, "PYTHONPATH": str(at), "OMP_NUM_THREADS": str(threads)}
    called = [sys.executable, "-m", "faceswap_lite", *map(str, words)]
    done = subprocess.run(called, capture_output=True, text=True, cwd=at, env=environment)
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"{words[0]}: ended with {done.returncode}"]
        raise FaceswapError(told[-1].removeprefix("error: "))


def before(work: Path) -> Path:
    """A checkout of REV."""
    at = work / REV
    if not at.is_dir():
        git = ["git", "-C", str(ROOT), "worktree", "add", "--detach", str(at), REV]
        if subprocess.run(git, capture_output=True).returncode:
            raise FaceswapError(f"{REV}: cannot be checked out (a shallow clone?)")
    return at


def faces(options: argparse.Namespace, person: str, pattern: str = "*") -> Path:
    """A person's face set, curated; made where it is not there."""
    out: Path = options.work / "sets" / f"{person}{'' if pattern == '*' else '_' + pattern}"
    if not out.with_suffix(".done").exists():
        clips = clips_of(options.media, f"video/{person}_train_{pattern}.mp4")
        print(f"extracting {out.name}", flush=True)
        command("extract", *clips, "--out", out, threads=2)
        command("curate", out, "--apply", threads=2)
        out.with_suffix(".done").touch()
    return out


def some(options: argparse.Namespace, person: str, name: str, places: Callable[[int], Any]) -> Path:
    """Some faces of a person's first take, as a set."""
    out: Path = options.work / "sets" / f"{person}_{name}"
    if not out.is_dir():
        whole = open_face_set(faces(options, person, "1"))
        unfinished = out.with_suffix(".partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        in_order = sorted(whole.faces, key=lambda face: face.record.frame_index)
        for face in [in_order[place] for place in places(len(in_order))]:
            shutil.copy2(face.path, unfinished / face.path.name)
        unfinished.rename(out)
    return out


def trained(
    run: Path, sets: tuple[Path, Path], preset: str, minutes: float, seed: int, *changes: str,
    at: Path = ROOT, threads: int = 1,
) -> Path:  # fmt: skip
    """A run trained for that long in all; a copy of it as it is then."""
    kept = run.with_name(f"{run.name}_{minutes:g}")
    if not kept.is_dir():
        print(f"training {kept.name}", flush=True)
        given = [*changes, f"training.seed={seed}", f"training.threads={threads}"]
        words = [word for change in given for word in ("--set", change)]
        places = ["--source", sets[0], "--target", sets[1], "--run", run]
        long = ["--minutes", str(minutes)]
        if at == ROOT:
            steps = round(minutes * threads * STEPS_A_MINUTE[preset])
            long = ["--set", f"training.steps={steps}"]
        command("train", *places, "--config", preset, *long, *words, at=at, threads=threads)
        shutil.copytree(run, kept.with_suffix(".partial"), dirs_exist_ok=True)
        kept.with_suffix(".partial").rename(kept)
    return kept


def judged(options: argparse.Namespace, run: Path, person: str, swap: str) -> dict[str, Any]:
    """The figures of one direction on the unseen clip of whoever is in it."""
    out = run / f"{swap}.json"
    if not out.exists():
        (clip,) = clips_of(options.media, f"video/{person}_eval_1.mp4")
        words = ["--run", run, "--clip", clip, "--out", out, "--set", f"evaluate.every={EVERY}"]
        words += ["--set", f"convert.swap={swap}", "--set", "evaluate.judge=dlib"]
        # What training is worth shows in what is painted.
        words += ["--set", "convert.mouth=source", "--set", "convert.eyes=source"]
        command("evaluate", *words, "--set", "evaluate.memory=false")
    found = json.loads(out.read_text())["results"][0]["metrics"]
    return {name: found[name]["value"] for name in FIGURES}


def both_ways(
    options: argparse.Namespace, run: Path, pair: tuple[str, str]
) -> dict[str, dict[str, Any]]:
    """The figures of a run's two directions."""
    source, target = pair
    return {
        f"{source} onto {target}": judged(options, run, target, "source-to-target"),
        f"{target} onto {source}": judged(options, run, source, "target-to-source"),
    }


def together(options: argparse.Namespace, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """All jobs, so many at a time; their results in order."""
    with ThreadPoolExecutor(options.at_once) as pool:
        return list(pool.map(lambda job: job(), jobs))


# The parts.


def bench_pairs(options: argparse.Namespace) -> dict[str, Any]:
    """The way of before beside ours, at several moments."""
    old = before(options.work)
    pairs = [pair for pair in PAIRS if not options.pairs or "-".join(pair) in options.pairs]
    sets = {person: faces(options, person) for pair in pairs for person in pair}

    def go(pair: tuple[str, str], kind: str) -> dict[str, Any]:
        name, both = "_".join(pair), (sets[pair[0]], sets[pair[1]])
        run, found = options.work / "runs" / f"{kind}_{name}", {}
        for minutes in MOMENTS[kind]:
            at = old if kind == "before" else ROOT
            preset = "quick128" if kind == "quick128" else "quick64"
            kept = trained(run, both, preset, minutes, 0, at=at)
            found[f"{kind} {60 * minutes:.0f} s"] = both_ways(options, kept, pair)
        return found

    found = together(options, [partial(go, pair, kind) for pair in pairs for kind in MOMENTS])
    table: dict[str, dict[str, Any]] = {}
    for part in found:
        for moment, ways in part.items():
            table.setdefault(moment, {}).update(ways)
    for moment, ways in table.items():
        for way, figures in ways.items():
            print(f"{moment:14} {way:20} {line_of(figures)}")
        medians = {name: median(figures[name] for figures in ways.values()) for name in FIGURES}
        print(f"{moment:14} {'median':20} {line_of(medians)}\n")
    if options.out:
        draw(options, pairs[0], options.out.with_suffix(".png"))
    return table


def draw(options: argparse.Namespace, pair: tuple[str, str], out: Path) -> None:
    """How well held-out faces are rebuilt, by the seconds of training."""
    curves = {}
    for kind in MOMENTS:
        run = options.work / "runs" / f"{kind}_{'_'.join(pair)}"
        history = read_history(run)
        if not len(history):
            continue
        decibels = (history.heldout_source_psnr_db + history.heldout_target_psnr_db) / 2
        later = history.seconds > 0
        name = f"quick64 of {REV}" if kind == "before" else f"{kind}, from the base"
        curves[name] = Curve(history.seconds[later].tolist(), decibels[later].tolist())
    write_line_figure(
        out,
        curves,
        title=f"{pair[0]} and {pair[1]}: held-out faces rebuilt, one thread",
        x_label="seconds of training",
        y_label="PSNR, dB",
        log_x=True,
    )


MOMENTS = {"before": (8.0,), "quick64": (0.2, 2 / 3, 8.0), "quick128": (20.0,)}


def bench_few(options: argparse.Namespace) -> dict[str, Any]:
    """60 faces of one take, spread and in a row, beside all faces for as long."""
    cases: dict[str, tuple[tuple[str, str], Callable[[str], Path]]] = {}
    for pair in (("franck", "grid_s1"), ("lpd9", "lsman3")):
        name = "-".join(pair)
        cases[f"all {name}"] = pair, lambda person: faces(options, person)
        cases[f"60 spread {name}"] = (
            pair, lambda person: some(options, person, "spread", lambda n: range(0, n, 6)[:60]),
        )  # fmt: skip
        cases[f"60 in a row {name}"] = (
            pair, lambda person: some(options, person, "row", lambda n: range(min(n, 60))),
        )  # fmt: skip
    sets = {case: (of(pair[0]), of(pair[1])) for case, (pair, of) in cases.items()}

    def go(case: str) -> dict[str, Any]:
        run = options.work / "few" / case.replace(" ", "_")
        return both_ways(options, trained(run, sets[case], "quick128", 4.0, 0), cases[case][0])

    found = dict(zip(cases, together(options, [partial(go, case) for case in cases]), strict=True))
    for case, ways in found.items():
        for way, figures in ways.items():
            print(f"{case:26} {way:20} {line_of(figures)}")
    return found


def bench_frame(options: argparse.Namespace) -> dict[str, Any]:
    """The two presets after ten minutes on two cores."""
    pair, found = PAIRS[0], {}
    sets = faces(options, pair[0]), faces(options, pair[1])
    for seed in range(3):
        for preset in ("quick64", "quick128"):
            run = options.work / "frame" / f"{preset}_{seed}"
            kept = trained(run, sets, preset, 10.0, seed, threads=2)
            for way, figures in both_ways(options, kept, pair).items():
                found[f"{preset} seed {seed} {way}"] = figures
                print(f"{preset:9} seed {seed} {way:20} {line_of(figures)}", flush=True)
    return found


AUGMENTATIONS = {
    "none": [f"training.augment.{name}=0" for name in
             ("rotation_deg", "zoom", "shift", "warp", "brightness", "contrast")],
    "weak": ["training.augment={rotation_deg: 2, zoom: 0.02, shift: 0.01, warp: 0.01}"],
    "full": ["training.augment.kind=hand"],
    "auto": [],
}  # fmt: skip


RATES = {rate: [f"init.code_rate={rate}"] for rate in ("1", "0.3", "0.1", "0.03")}


def bench_augment(options: argparse.Namespace) -> dict[str, Any]:
    """Augmentation by the size of the set."""
    return by_size(options, "augment", "quick64", 2.0, AUGMENTATIONS)


def bench_rates(options: argparse.Namespace) -> dict[str, Any]:
    """The rate of what makes codes, by the size of the set."""
    return by_size(options, "rates", "quick128", 4.0, RATES)


def by_size(
    options: argparse.Namespace, part: str, preset: str, minutes: float, kinds: dict[str, list[str]]
) -> dict[str, Any]:
    """Every kind of training on 60, 300 and all faces, three seeds; the median of each."""
    pair = PAIRS[0]
    sizes = {
        "60": lambda person: some(options, person, "spread", lambda n: range(0, n, 6)[:60]),
        "300": lambda person: some(options, person, "300", lambda n: range(min(n, 300))),
        "all": lambda person: faces(options, person),
    }
    sets = {size: (of(pair[0]), of(pair[1])) for size, of in sizes.items()}

    def go(size: str, kind: str, seed: int) -> dict[str, Any]:
        run = options.work / part / f"{size}_{kind}_{seed}"
        kept = trained(run, sets[size], preset, minutes, seed, *kinds[kind])
        return both_ways(options, kept, pair)

    cases = [(s, k, seed) for s in sizes for k in kinds for seed in range(3)]
    results = together(options, [partial(go, *case) for case in cases])
    found = {" ".join(map(str, c)): ways for c, ways in zip(cases, results, strict=True)}
    for size in sizes:
        for kind in kinds:
            rows = [f for seed in range(3) for f in found[f"{size} {kind} {seed}"].values()]
            print(f"{size:4} {kind:5} {line_of({n: median(r[n] for r in rows) for n in FIGURES})}")
    return found


PARTS = {
    "pairs": bench_pairs, "few": bench_few, "frame": bench_frame, "augment": bench_augment,
    "rates": bench_rates,
}  # fmt: skip


if __name__ == "__main__":
    enter(main)
