"""Head pose and expression from landmarks."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .align import MESH_RIGID, LandmarksPack, five_points
from .geometry import fit_similarity

# Where the points lie in depth, in eye distances: measured like the canonical face (align.py).
_FIVE_MODEL = np.array(
    [
        [-0.513, 0.045, 0.0],
        [0.513, 0.045, 0.0],
        [0.0, 0.640, -0.63],
        [-0.435, 1.155, -0.087],
        [0.435, 1.155, -0.087],
    ]
)
# iBUG-68: corners of the eyes, bridge and tip and base of the nose.
_IBUG_MODEL: dict[int, tuple[float, float, float]] = {
    36: (-0.731, 0.062, 0.085),
    39: (-0.287, 0.079, 0.0),
    42: (0.287, 0.079, 0.0),
    45: (0.731, 0.062, 0.085),
    27: (0.0, -0.031, -0.269),
    28: (0.0, 0.198, -0.430),
    29: (0.0, 0.411, -0.621),
    30: (0.0, 0.550, -0.665),
    31: (-0.208, 0.727, -0.326),
    33: (0.0, 0.786, -0.390),
    35: (0.208, 0.727, -0.326),
}

_MESH_LIP_PAIRS = ((13, 14), (82, 87), (312, 317))
_MESH_LID_PAIRS = (
    ((159, 145), (158, 153), (160, 144), (33, 133)),
    ((386, 374), (385, 380), (387, 373), (263, 362)),
)
_IBUG_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))
_IBUG_LID_PAIRS = (((37, 41), (38, 40), (36, 39)), ((43, 47), (44, 46), (42, 45)))


@dataclass(frozen=True)
class Pose:
    """Degrees. yaw > 0: the face turns to the picture's right; pitch > 0: it looks up;
    roll > 0: the head leans clockwise in the picture.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float

    def rounded(self) -> "Pose":
        """To a hundredth of a degree, for files."""
        return Pose(round(self.yaw_deg, 2), round(self.pitch_deg, 2), round(self.roll_deg, 2))


def estimate_pose(landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack) -> Pose:
    """The head's pose; 0 is the mean frontal face of align.py."""
    return _angles(fit_head(landmarks, pack).rotation)


class Head(NamedTuple):
    """picture = scale * (rotation @ canonical)[:2] + shift; canonical points as in align.py."""

    rotation: Float[np.ndarray, "3 3"]
    scale: float
    shift: Float[np.ndarray, " 2"]


def fit_head(landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack) -> Head:
    """The weak-perspective view of the mean head that fits the points best (least squares).

    Gauss-Newton from the frontal pose.
    """
    points, model = _pose_points(landmarks, pack)
    flat = fit_similarity(model[:, :2], points)
    # Start: turned in the picture plane only.
    scale = float(np.hypot(flat[0, 0], flat[1, 0]))
    rotation = np.eye(3)
    rotation[:2, :2] = flat[:, :2] / scale
    shift = flat[:, 2]
    for _ in range(15):
        turned = model @ rotation.T
        residual = points - (scale * turned[:, :2] + shift)
        step = np.linalg.lstsq(_jacobian(turned, scale), residual.ravel(), rcond=None)[0]
        # A step beyond half a radian leaves the range in which it was computed.
        step[:3] *= min(1.0, 0.5 / (np.linalg.norm(step[:3]) + 1e-12))
        rotation = _rotation(step[:3]) @ rotation
        scale = max(scale + step[3], 0.1 * scale)
        shift = shift + step[4:]
        if np.linalg.norm(step[:3]) < 1e-6:
            break
    return Head(rotation, scale, shift)


def mouth_opening(landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack) -> float | None:
    """The gap between the inner lips, in eye distances; None for `five`."""
    if pack == "five":
        return None
    eyes = five_points(landmarks, pack)[:2]
    pairs = _MESH_LIP_PAIRS if pack == "mesh" else _IBUG_LIP_PAIRS
    return _mean_distance(landmarks, pairs) / float(np.linalg.norm(eyes[1] - eyes[0]))


def eye_opening(landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack) -> float | None:
    """The gap between the lids in widths of the eye, the mean of both eyes; None for `five`."""
    if pack == "five":
        return None
    eyes = _MESH_LID_PAIRS if pack == "mesh" else _IBUG_LID_PAIRS
    return float(
        np.mean(
            [_mean_distance(landmarks, e[:-1]) / _mean_distance(landmarks, e[-1:]) for e in eyes]
        )
    )


def _mean_distance(
    landmarks: Float[np.ndarray, "n 2"], pairs: tuple[tuple[int, int], ...]
) -> float:
    ends = landmarks[np.array(pairs)]  # (pairs, 2, 2)
    return float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).mean())


def _pose_points(
    landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack
) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, "k 3"]]:
    if pack == "five":
        return np.asarray(landmarks, np.float64), _FIVE_MODEL
    model = MESH_RIGID if pack == "mesh" else _IBUG_MODEL
    return np.asarray(landmarks[list(model)], np.float64), np.array(list(model.values()))


def _jacobian(turned: Float[np.ndarray, "k 3"], scale: float) -> Float[np.ndarray, "m 6"]:
    """Rows x0, y0, x1, ...; columns: rotation vector, scale, shift."""
    x, y, z = turned.T
    rows = np.zeros((len(turned), 2, 6))
    rows[:, 0, 1], rows[:, 0, 2], rows[:, 0, 3], rows[:, 0, 4] = scale * z, -scale * y, x, 1
    rows[:, 1, 0], rows[:, 1, 2], rows[:, 1, 3], rows[:, 1, 5] = -scale * z, scale * x, y, 1
    return rows.reshape(-1, 6)


def _rotation(vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _angles(rotation: Float[np.ndarray, "3 3"]) -> Pose:
    """Of a face that looks along -z and is first pitched, then yawed, then rolled.

    So roll is what upright alignment takes out, and yaw and pitch say where the face then looks.
    """
    yaw = np.arcsin(np.clip(rotation[2, 0], -1, 1))
    pitch = np.arctan2(-rotation[2, 1], rotation[2, 2])
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    yaw, pitch, roll = np.degrees([yaw, pitch, roll])
    return Pose(float(yaw), float(pitch), float(roll))
