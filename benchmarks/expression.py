"""How well mouths and eyes follow: as they are painted, as the clip's, and as `auto` chooses.

    python benchmarks/expression.py people --work FOLDER --media FOLDER
    python benchmarks/expression.py actors --work FOLDER

people: eight directions between two and three people, on clips never seen; runs and face sets are
those of `starts.py pairs`, if --work is the same. actors: four pairs, against the true swap.
What is not in --work is made: runs of quick128, --minutes each on one thread.
"""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _door import clips_of, enter, keep, line_of, need_weights, parser_of
from faceswap_lite.actors.clip import render_clip
from faceswap_lite.config import load_config
from starts import PAIRS, command, faces, together, trained

KINDS = ("source", "target", "auto")
"""Of convert.mouth and convert.eyes."""
FOLLOW = (
    "mouth_correlation", "mouth_spread_ratio", "eyes_correlation", "eyes_spread_ratio",
    "yaw_correlation", "yaw_spread_ratio", "identity_to_source", "identity_margin_positive",
    "warp_error_ratio",
)  # fmt: skip
TRUE = (
    "truth_mouth_error", "truth_mouth_correlation", "truth_mouth_psnr_db", "truth_eyes_error",
    "truth_eyes_psnr_db", "truth_matched_psnr_db", "truth_landmark_nme",
)  # fmt: skip
CASTS = (("dara", "bruno"), ("ewa", "chen"), ("random:46", "ada"), ("bruno", "random:7"))
TAKES, TAKE_FRAMES, UNSEEN_FRAMES = 10, 40, 120


def main() -> None:
    parser = parser_of(__doc__, media=True)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--work", type=Path, default=Path("workspace/starts"))
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, a run")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    options.work = options.work.resolve()
    need_weights("yunet", "mesh", "mobilefacenet")
    keep(options.out, PARTS[options.part](options))


def judged(
    options: argparse.Namespace, run: Path, clip: Path, names: tuple[str, ...], swap: str
) -> dict[str, dict[str, Any]]:
    """The figures of a run on a clip, by whose mouth and eyes are shown."""
    found = {}
    for kind in options.kinds:
        out = run / f"expression_{swap}_{kind}.json"
        if not out.exists():
            words = ["--run", run, "--clip", clip, "--out", out, "--set", "evaluate.memory=false"]
            words += ["--set", f"convert.swap={swap}"]
            words += ["--set", f"convert.mouth={kind}", "--set", f"convert.eyes={kind}"]
            judge = [] if names is TRUE else ["--set", "evaluate.judge=dlib"]
            command("evaluate", *words, *judge)
        metrics = json.loads(out.read_text())["results"][0]["metrics"]
        found[kind] = {name: metrics[name]["value"] for name in names}
    return found


def bench_people(options: argparse.Namespace) -> dict[str, Any]:
    """Eight directions between people."""
    options.media = options.media.resolve()

    def go(pair: tuple[str, str]) -> dict[str, Any]:
        sets = faces(options, pair[0]), faces(options, pair[1])
        run = options.work / "runs" / f"quick128_{'_'.join(pair)}"
        kept = trained(run, sets, "quick128", options.minutes, 0)
        found = {}
        ways = (*pair, "source-to-target"), (*pair[::-1], "target-to-source")
        for source, target, swap in ways:
            (clip,) = clips_of(options.media, f"video/{target}_eval_1.mp4")
            found[f"{source} onto {target}"] = judged(options, kept, clip, FOLLOW, swap)
        return found

    return _told(options, together(options, [partial(go, pair) for pair in PAIRS]), FOLLOW)


def bench_actors(options: argparse.Namespace) -> dict[str, Any]:
    """Four pairs of actors, against the source in the target's place."""

    def go(cast: tuple[str, str]) -> dict[str, Any]:
        folder = options.work / "actors" / "_".join(cast).replace(":", "")
        clip, sets = folder / "unseen.mp4", (folder / "source", folder / "target")
        if not sets[1].is_dir():
            for takes, faces_of in zip(_rendered(folder, *cast).values(), sets, strict=True):
                command("extract", *takes, "--out", faces_of)
        run = trained(folder / "run", sets, "quick128", options.minutes, 0)
        return {" onto ".join(cast): judged(options, run, clip, TRUE, "source-to-target")}

    return _told(options, together(options, [partial(go, cast) for cast in CASTS]), TRUE)


def _rendered(folder: Path, source: str, target: str) -> dict[str, list[Path]]:
    """Takes of both actors, each under its own light; and a clip of the target with its twin."""
    base, seed = load_config().render, 10 * sum(map(ord, source + target))
    folder.mkdir(parents=True, exist_ok=True)
    takes = {}
    for number, (side, actor) in enumerate((("source", source), ("target", target)), 1):
        takes[side] = [folder / f"{side}_{take}.mp4" for take in range(1, TAKES + 1)]
        for take, clip in enumerate(takes[side]):
            part = {"actor": actor, "twin": None, "frames": TAKE_FRAMES}
            part |= {"seed": seed + 100 * number + take}
            render_clip(base.model_copy(update=part), clip)
    part = {"actor": target, "twin": source, "frames": UNSEEN_FRAMES, "seed": seed + 777}
    render_clip(base.model_copy(update=part), folder / "unseen.mp4")
    return takes


def _told(
    options: argparse.Namespace, parts: list[dict[str, Any]], names: tuple[str, ...]
) -> dict[str, Any]:
    found = {way: kinds for part in parts for way, kinds in part.items()}
    for kind in options.kinds:
        rows = {way: figures[kind] for way, figures in found.items()}
        middle = {name: median(_known(row[name] for row in rows.values())) for name in names}
        for way, row in {**rows, "median": middle}.items():
            print(f"{kind:7} {way:22} {line_of(row)}")
    return found


def _known(values: Iterator[float | None]) -> list[float]:
    return [value for value in values if value is not None] or [float("nan")]


PARTS = {"people": bench_people, "actors": bench_actors}


if __name__ == "__main__":
    enter(main)
