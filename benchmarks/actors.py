"""The renderer's speed on one core, and how well the package's networks find the actors.

    python benchmarks/actors.py [--frames 60] [--size 256]

YuNet and the landmark mesh need their weights; MTCNN's come with facenet-pytorch.
"""

import time
from typing import Any

import cv2
import numpy as np
import torch

from _door import enter, keep, line_of, parser_of
from faceswap_lite.actors.cast import ACTORS, ActorIdentity, random_actor
from faceswap_lite.actors.performance import random_performance
from faceswap_lite.actors.render import RenderedActor, render_actor
from faceswap_lite.faces.pack import FacePack, build_pack
from faceswap_lite.metrics.distributions import correlation
from faceswap_lite.metrics.landmarks import eye_distance, five_points

# The landmarks of each detector, and the score from which a face counts as found.
PACKS = {"mtcnn": ("five", 0.9), "yunet": ("mesh", 0.6)}
MIN_SCORE = 0.3
# The inner lips' middles and the outer corners of the eyes, of the mesh's points.
LIPS, EYES = (13, 14), (33, 263)
RANDOM_ACTORS = 4

Cast = dict[str, list[tuple[float, RenderedActor]]]
"""Frames of each person, with the true opening of the mouth."""


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    packs = {name: build_pack(name, landmarks, "none") for name, (landmarks, _) in PACKS.items()}
    figures: dict[str, Any] = {"frames_a_second": speeds(options.frames, options.size)}
    people = cast(options.frames, options.size)
    for name, pack in packs.items():
        figures[name] = found(name, pack, people)
    keep(options.out, figures)


def speeds(frames: int, size: int) -> dict[str, float]:
    print(f"frames a second at {size} px, one core (process time)")
    states = random_performance(frames, 25, seed=3)
    figures = {}
    for name, actor in ACTORS.items():
        render_actor(actor, states[0], size)
        start = time.process_time()
        for state in states:
            render_actor(actor, state, size)
        figures[name] = frames / (time.process_time() - start)
        print(f"  {name:8s} {figures[name]:6.1f}")
    return figures


def cast(frames: int, size: int) -> Cast:
    """The named and some random actors, yaw to 45 degrees."""
    some = (random_actor(seed) for seed in range(RANDOM_ACTORS))
    people: list[ActorIdentity] = [*ACTORS.values(), *some]
    rendered = {}
    for number, actor in enumerate(people):
        states = random_performance(frames, 8, seed=50 + number, max_yaw_deg=45)
        rendered[actor.name] = [
            (s.mouth, render_actor(actor, s, size, background=number)) for s in states
        ]
    return rendered


def found(name: str, pack: FacePack, people: Cast) -> dict[str, dict[str, Any]]:
    """By person: share found, median score, error of the detector's points; the mesh's mouth."""
    sure = PACKS[name][1]
    print(f"{name}: share found at score >= {sure}, median score, median distance of the five")
    print("  points in eye distances, correlation of the mesh's mouth with the true one")
    figures = {}
    for person, frames in people.items():
        scores, off, gaps, mouths = [], [], [], []
        for mouth, frame in frames:
            faces = pack.detector(frame.image, MIN_SCORE)
            if not faces:
                scores.append(0.0)
                continue
            face = max(faces, key=lambda face: face.confidence)
            scores.append(face.confidence)
            true = five_points(frame.landmarks.astype(np.float64), "ibug68")
            off.append(np.linalg.norm(face.five - true, axis=1) / eye_distance(true))
            if pack.landmarks_name == "mesh":
                points = pack.landmarker(frame.image, face).points
                lips, eyes = (np.linalg.norm(points[a] - points[b]) for a, b in (LIPS, EYES))
                gaps.append(lips / eyes)
                mouths.append(mouth)
        row: dict[str, Any] = {
            "found": float(np.mean(np.array(scores) >= sure)),
            "score": float(np.median(scores)),
            "five_off": np.median(off, axis=0).round(3).tolist() if off else [],
        }
        if gaps:
            row["mouth_r"] = correlation(np.array(gaps), np.array(mouths))
        figures[person] = row
        print(f"  {person:9s} {line_of(row)}")
    return figures


if __name__ == "__main__":
    enter(main)
