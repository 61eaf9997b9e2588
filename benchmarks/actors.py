"""Prints the renderer's speed on one core, and how well face detectors find the actors.

    python benchmarks/actors.py [--frames 60] [--size 256]

YuNet and the landmark mesh need FACESWAP_LITE_WEIGHTS; MTCNN comes with facenet-pytorch.
"""

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np

from faceswap_lite.actors.identity import ACTORS, ActorIdentity, random_actor
from faceswap_lite.actors.performance import random_performance
from faceswap_lite.actors.render import RenderedActor, render_actor

IBUG_EYES = (range(36, 42), range(42, 48))


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Eyes' middles, nose tip, mouth corners of iBUG-68 landmarks."""
    eyes = [landmarks[list(eye)].mean(0) for eye in IBUG_EYES]
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


def report_speed(frames: int, size: int) -> None:
    print(f"frames a second at {size} px, one core (process time)")
    states = random_performance(frames, 25, seed=3)
    for name, actor in ACTORS.items():
        render_actor(actor, states[0], size)
        start = time.process_time()
        for state in states:
            render_actor(actor, state, size)
        print(f"  {name:8s} {frames / (time.process_time() - start):6.1f}")


def cast(frames: int, size: int) -> dict[str, list[tuple[float, RenderedActor]]]:
    """Frames (with the true mouth) of the named and of four random actors, yaw to 45 degrees."""
    people: list[ActorIdentity] = [*ACTORS.values(), *(random_actor(seed) for seed in range(4))]
    rendered = {}
    for number, actor in enumerate(people):
        states = random_performance(frames, 8, seed=50 + number, max_yaw_deg=45)
        rendered[actor.name] = [
            (s.mouth, render_actor(actor, s, size, background=number)) for s in states
        ]
    return rendered


def report_mtcnn(people: dict[str, list[tuple[float, RenderedActor]]]) -> None:
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(1)
    mtcnn = MTCNN(keep_all=True, device="cpu")
    print("mtcnn: share found at p >= 0.9, median p, median distance of the five points / eyes")
    for name, frames in people.items():
        _, scores, points = mtcnn.detect([frame.image for _, frame in frames], landmarks=True)
        best = [0.0 if p is None or p[0] is None else float(np.max(p)) for p in scores]
        off = [
            _five_error(found[int(np.argmax(p))], frame)
            for p, found, (_, frame) in zip(scores, points, frames, strict=True)
            if p is not None and p[0] is not None
        ]
        _print_row(name, np.array(best) >= 0.9, best, np.array(off))


def report_yunet(people: dict[str, list[tuple[float, RenderedActor]]], weights: Path) -> None:
    size = next(iter(people.values()))[0][1].image.shape[0]
    detector = cv2.FaceDetectorYN.create(
        str(weights / "yunet_n_640_640.onnx"), "", (size, size), 0.3, 0.3, 50
    )
    print("yunet: share found at score >= 0.6, median score, five points as above; mesh: mouth")
    mesh = cv2.dnn.readNetFromTFLite(str(weights / "face_landmark.tflite"))
    for name, frames in people.items():
        best, off, gaps, mouths = [], [], [], []
        for mouth, frame in frames:
            _, found = detector.detect(frame.image[..., ::-1].copy())
            if found is None:
                best.append(0.0)
                continue
            face = found[np.argmax(found[:, 14])]
            best.append(float(face[14]))
            off.append(_five_error(face[4:14].reshape(5, 2), frame))
            gaps.append(_mesh_gap(mesh, frame.image, face[:4]))
            mouths.append(mouth)
        tracked = float(np.corrcoef(gaps, mouths)[0, 1])
        _print_row(name, np.array(best) >= 0.6, best, np.array(off), f"mouth r {tracked:.2f}")


def _five_error(found: np.ndarray, frame: RenderedActor) -> np.ndarray:
    true = five_points(frame.landmarks)
    return np.linalg.norm(found.astype(float) - true, axis=1) / np.linalg.norm(true[1] - true[0])


def _mesh_gap(mesh: cv2.dnn.Net, image: np.ndarray, box: np.ndarray) -> float:
    """The inner lips' gap over the eyes' distance, as the 468-point mesh sees it."""
    x, y, width, height = box
    side = 1.5 * max(width, height)
    scale = 192 / side
    center = np.array([x + width / 2, y + height / 2])
    matrix = np.array([[scale, 0, 96 - scale * center[0]], [0, scale, 96 - scale * center[1]]])
    crop = cv2.warpAffine(image, matrix, (192, 192), borderMode=cv2.BORDER_REPLICATE)
    mesh.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
    outputs = mesh.forward(mesh.getUnconnectedOutLayersNames())
    points = next(o for o in outputs if o.size == 468 * 3).reshape(468, 3)
    eyes = np.linalg.norm(points[33] - points[263])
    return float(np.linalg.norm(points[13] - points[14]) / eyes)


def _print_row(
    name: str, hits: np.ndarray, best: list[float], off: np.ndarray, more: str = ""
) -> None:
    points = np.median(off, axis=0).round(3).tolist() if len(off) else []
    print(f"  {name:9s} {hits.mean():6.3f} {np.median(best):6.3f}  {points} {more}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    report_speed(options.frames, options.size)
    people = cast(options.frames, options.size)
    report_mtcnn(people)
    weights = os.environ.get("FACESWAP_LITE_WEIGHTS")
    if weights:
        report_yunet(people, Path(weights))
    else:
        print("yunet, mesh: left out, FACESWAP_LITE_WEIGHTS is not set")


if __name__ == "__main__":
    main()
