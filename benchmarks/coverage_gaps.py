"""How well coverage finds the target's frames that the source was never seen like, on actors.

    python benchmarks/coverage_gaps.py [--pairs 24] [--seed 1000] [--work FOLDER]

Source clips turn little, target clips far; the renderer knows by how much. Outside: the true value
of a target's frame is beyond the least or the greatest true value of its source's own frames.
Judged by the flag of the same attribute, of frames in which a face was found, pooled over pairs.
The bars are for yaw: at least 0.9 of the frames outside flagged, at most 0.05 of those inside.
Pitch and mouth are told for information: random performances put few frames outside.

YuNet and the landmark mesh need their weights. What is rendered and extracted stays in --work.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from _door import enter, keep, need_weights, parser_of
from _performance import load_performance
from faceswap_lite.actors.clip import render_clip
from faceswap_lite.config import ExtractConfig, RenderConfig
from faceswap_lite.curation.pose_coverage import Attributes, attributes_of, coverage
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage

# Named and random people, in turn on either side: eight pairs, each with every source yaw.
PEOPLE = ("ada", "bruno", "random:1", "random:2", "random:3", "random:4", "random:5", "random:6")
SOURCE_YAW_DEG = (12.0, 18.0, 24.0)
TARGET_YAW_DEG = 45.0
MIN_OUTSIDE, MAX_INSIDE = 0.9, 0.05
# So far outside, a miss matters.
FAR_DEG = 3.0
# The state's name of each attribute's truth; openings in the renderer's own units.
TRUTHS = {"yaw_deg": "yaw_deg", "pitch_deg": "pitch_deg", "mouth": "mouth"}


@dataclass(frozen=True)
class Seen:
    """A clip's faces: what the estimators say, and the truth of the same frames."""

    frames: int
    attributes: Attributes
    truth: dict[str, np.ndarray]


def see(clip: Path, config: RenderConfig) -> Seen:
    """Render and extract (what is done already is kept), and put the truth beside the faces."""
    render_clip(config, clip)
    faces = clip.with_suffix("")
    extract_faces(find_footage([clip]), faces, ExtractConfig())
    records = [face.record for face in open_face_set(faces).faces]
    shown = load_performance(clip)
    assert shown is not None
    states = [shown.states[record.frame_index] for record in records]
    return Seen(
        config.frames,
        attributes_of(records),
        {name: np.array([getattr(s, field) for s in states]) for name, field in TRUTHS.items()},
    )


def see_pair(number: int, options: argparse.Namespace) -> tuple[str, Seen, Seen]:
    source, target = PEOPLE[number % len(PEOPLE)], PEOPLE[(3 * number + 1) % len(PEOPLE)]
    yaw = SOURCE_YAW_DEG[number % len(SOURCE_YAW_DEG)]
    sides = {"source": (source, yaw), "target": (target, TARGET_YAW_DEG)}
    seen = [
        see(
            options.work / f"{options.seed}_{number:02d}_{side}.mp4",
            RenderConfig(
                actor=actor,
                twin=None,
                frames=options.frames,
                size=options.size,
                seed=options.seed + 2 * number + (side == "target"),
                max_yaw_deg=limit,
            ),
        )
        for side, (actor, limit) in sides.items()
    ]
    return f"{source} < {target}", seen[0], seen[1]


def flags_of(name: str, source: Seen, target: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Of each target face: whether it is flagged; how far outside it truly is (<= 0: inside)."""
    found = coverage(source.attributes, target.attributes).attributes[name]
    low, high = source.truth[name].min(), source.truth[name].max()
    beyond = np.maximum(low - target.truth[name], target.truth[name] - high)
    return found.below | found.above, beyond


def report(name: str, pairs: list[tuple[str, Seen, Seen]]) -> tuple[np.ndarray, np.ndarray]:
    """Prints a row a pair and the pooled one; returns the pooled `flags_of`."""
    decimals = 2 if name == "mouth" else 1
    print(f"\n{name}: share of the target's frames that is flagged (of how many)")
    print(f"  {'source < target':20s}{'true source':>15s}{'true target':>15s}", end="")
    print(f"{'outside':>16s}{'inside':>14s}")
    rows = []
    for title, source, target in pairs:
        rows.append(flags_of(name, source, target))
        ranges = [
            f"{seen.truth[name].min():.{decimals}f} to {seen.truth[name].max():.{decimals}f}"
            for seen in (source, target)
        ]
        print_row(title, ranges, *rows[-1])
    flags, beyond = (np.concatenate(column) for column in zip(*rows, strict=True))
    print_row("pooled", ["", ""], flags, beyond)
    return flags, beyond


def print_row(title: str, ranges: list[str], flags: np.ndarray, beyond: np.ndarray) -> None:
    cells = (share(flags[beyond > 0]), share(flags[beyond <= 0]))
    print(f"  {title:20s}{ranges[0]:>15s}{ranges[1]:>15s}{cells[0]:>16s}{cells[1]:>14s}")


def share(flags: np.ndarray) -> str:
    value = f"{flags.mean():.3f}" if len(flags) else "    -"
    return f"{value} ({len(flags):3d})"


def judge(flags: np.ndarray, beyond: np.ndarray) -> dict[str, float]:
    outside, inside = flags[beyond > 0].mean(), flags[beyond <= 0].mean()
    met = outside >= MIN_OUTSIDE and inside <= MAX_INSIDE
    print(
        f"\nyaw, pooled: {outside:.3f} of the frames outside flagged (bar {MIN_OUTSIDE}), "
        f"{inside:.3f} of those inside (bar {MAX_INSIDE}): {'met' if met else 'NOT met'}"
    )
    far = flags[beyond > FAR_DEG]
    print(f"outside by more than {FAR_DEG:.0f} degrees: {share(far)} flagged")
    return {"outside": float(outside), "inside": float(inside), "far_outside": float(far.mean())}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--frames", type=int, default=70)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--work", type=Path, default=Path("workspace/coverage_gaps"))
    options = parser.parse_args()
    need_weights("yunet", "mesh")
    cv2.setNumThreads(1)
    pairs = [see_pair(number, options) for number in range(options.pairs)]
    found = sum(len(target.attributes) for _, _, target in pairs)
    print(f"faces in {found} of {sum(target.frames for _, _, target in pairs)} target frames")
    pooled = {name: report(name, pairs) for name in TRUTHS}
    keep(options.out, {"seed": options.seed, "yaw": judge(*pooled["yaw_deg"])})


if __name__ == "__main__":
    enter(main)
