"""What a face's points say: where its eyes, nose and mouth are, its pose, how far it opens them.

Points are in any unit, y down. The canonical face is upright, its eyes a distance of 1 apart, the
origin midway between them. Its five points are ArcFace's 112-pixel template (Deng et al. 2019, the
reference used by its networks) made symmetrical; the mesh points were measured in it: the mean over
nine people of frontal frames that were fitted by their five points, made symmetrical.
"""

from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ..geometry import fit_similarity

LandmarksPack = Literal["mesh", "five", "ibug68"]
_Points = Float[np.ndarray, "n 2"]

# Picture-left eye, picture-right eye, nose tip, picture-left and picture-right mouth corner.
CANONICAL_FIVE: Float[np.ndarray, "5 2"] = np.array(
    [[-0.5, 0.0], [0.5, 0.0], [0.0, 0.5715], [-0.4141, 1.1546], [0.4141, 1.1546]]
)

# Mesh points that expressions hardly move (corners of the eyes, bridge and base of the nose, ends
# of the brows, temples, cheekbones, forehead): x, y, and z away from the viewer.
MESH_RIGID: dict[int, tuple[float, float, float]] = {
    33: (-0.731, 0.062, 0.085),
    263: (0.731, 0.062, 0.085),
    133: (-0.287, 0.079, 0.000),
    362: (0.287, 0.079, 0.000),
    168: (0.000, -0.031, -0.269),
    6: (0.000, 0.087, -0.345),
    197: (0.000, 0.198, -0.430),
    195: (0.000, 0.300, -0.524),
    9: (0.000, -0.287, -0.287),
    151: (0.000, -0.565, -0.228),
    193: (-0.124, -0.008, -0.199),
    417: (0.124, -0.008, -0.199),
    55: (-0.200, -0.163, -0.239),
    285: (0.200, -0.163, -0.239),
    46: (-0.857, -0.135, 0.020),
    276: (0.857, -0.135, 0.020),
    143: (-0.995, 0.161, 0.314),
    372: (0.995, 0.161, 0.314),
    156: (-0.959, -0.026, 0.224),
    383: (0.959, -0.026, 0.224),
    118: (-0.723, 0.382, -0.018),
    347: (0.723, 0.382, -0.018),
    50: (-0.779, 0.605, -0.037),
    280: (0.779, 0.605, -0.037),
    101: (-0.555, 0.475, -0.112),
    330: (0.555, 0.475, -0.112),
    129: (-0.337, 0.654, -0.193),
    358: (0.337, 0.654, -0.193),
    2: (0.000, 0.786, -0.390),
    98: (-0.274, 0.765, -0.259),
    327: (0.274, 0.765, -0.259),
}
# Rings of mesh points, in order around the opening.
MESH_LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
MESH_RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)

# Where the five points of a head lie in depth too: measured like the canonical face.
_FIVE_MODEL = np.column_stack([
    (-0.513, 0.513, 0.0, -0.435, 0.435),
    (0.045, 0.045, 0.640, 1.155, 1.155),
    (0.0, 0.0, -0.63, -0.087, -0.087),
])  # fmt: skip
# iBUG-68: corners of the eyes, bridge and tip and base of the nose.
IBUG_MODEL: dict[int, tuple[float, float, float]] = {
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

# Which mesh point stands for each of iBUG's 68.
_MESH_TO_IBUG68 = (
    127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 435, 323, 454, 356, 70, 63, 105,
    66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153,
    144, 362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82,
    13, 312, 308, 317, 14, 87,
)  # fmt: skip

_MESH_LIP_PAIRS = ((13, 14), (82, 87), (312, 317))
_MESH_LID_PAIRS = (
    ((159, 145), (158, 153), (160, 144), (33, 133)),
    ((386, 374), (385, 380), (387, 373), (263, 362)),
)
_IBUG_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))
_IBUG_LID_PAIRS = (((37, 41), (38, 40), (36, 39)), ((43, 47), (44, 46), (42, 45)))


def five_points(landmarks: _Points, pack: LandmarksPack) -> Float[np.ndarray, "5 2"]:
    """Picture-left eye, picture-right eye, nose tip, picture-left, picture-right mouth corner."""
    if pack == "five":
        return landmarks
    if pack == "mesh":
        eyes = [landmarks[list(ring)].mean(0) for ring in (MESH_LEFT_EYE, MESH_RIGHT_EYE)]
        return np.stack([*eyes, landmarks[1], landmarks[61], landmarks[291]])
    eyes = [landmarks[36:42].mean(0), landmarks[42:48].mean(0)]
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


def ibug68_of(
    landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack
) -> Float[np.ndarray, "68 2"]:
    """The 68 points, of the mesh those that stand for them. Raises: ValueError for `five`."""
    if pack == "five":
        raise ValueError("five points do not tell where the 68 are")
    return landmarks[list(_MESH_TO_IBUG68)] if pack == "mesh" else landmarks


def eye_distance(five: Float[np.ndarray, "5 2"]) -> float:
    """How far apart the eyes of the five points are, in their unit."""
    return float(np.linalg.norm(five[1] - five[0]))


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


def estimate_pose(landmarks: _Points, pack: LandmarksPack) -> Pose:
    """The head's pose; 0 is the canonical face's.

    Of a face that looks along -z and is first pitched, then yawed, then rolled: so roll is what
    upright alignment takes out, and yaw and pitch say where the face then looks.
    """
    rotation = fit_head(landmarks, pack).rotation
    yaw = np.arcsin(np.clip(rotation[2, 0], -1, 1))
    pitch = np.arctan2(-rotation[2, 1], rotation[2, 2])
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    return Pose(*np.degrees([yaw, pitch, roll]).tolist())


class Head(NamedTuple):
    """picture = scale * (rotation @ canonical)[:2] + shift; canonical points as above."""

    rotation: Float[np.ndarray, "3 3"]
    scale: float
    shift: Float[np.ndarray, " 2"]


def fit_head(landmarks: _Points, pack: LandmarksPack) -> Head:
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


def mouth_opening(landmarks: _Points, pack: LandmarksPack) -> float | None:
    """The gap between the inner lips, in eye distances; None for `five`."""
    if pack == "five":
        return None
    pairs = _MESH_LIP_PAIRS if pack == "mesh" else _IBUG_LIP_PAIRS
    return _mean_distance(landmarks, pairs) / eye_distance(five_points(landmarks, pack))


def eye_opening(landmarks: _Points, pack: LandmarksPack) -> float | None:
    """The gap between the lids in widths of the eye, the mean of both eyes; None for `five`."""
    if pack == "five":
        return None
    eyes = _MESH_LID_PAIRS if pack == "mesh" else _IBUG_LID_PAIRS
    gaps = [_mean_distance(landmarks, e[:-1]) / _mean_distance(landmarks, e[-1:]) for e in eyes]
    return float(np.mean(gaps))


def read_points(landmarks: _Points, pack: LandmarksPack) -> dict[str, float]:
    """yaw_deg, pitch_deg, roll_deg as in Pose; mouth and eyes, unless `pack` does not show them."""
    read = asdict(estimate_pose(landmarks, pack))
    mouth, eyes = mouth_opening(landmarks, pack), eye_opening(landmarks, pack)
    return read if mouth is None or eyes is None else {**read, "mouth": mouth, "eyes": eyes}


def landmark_nme(points: _Points, reference: _Points, interocular: float) -> float:
    """Normalised mean error: mean distance of the points, in distances between the eyes.

    `interocular` is the reference's, in the unit of the points.
    Raises: ValueError when it is not above 0.
    """
    if not interocular > 0:
        raise ValueError("the distance between the eyes must be above 0")
    return float(np.linalg.norm(points - reference, axis=1).mean() / interocular)


def _mean_distance(landmarks: _Points, pairs: tuple[tuple[int, int], ...]) -> float:
    ends = landmarks[np.array(pairs)]  # (pairs, 2, 2)
    return float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).mean())


def _pose_points(
    landmarks: _Points, pack: LandmarksPack
) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, "k 3"]]:
    if pack == "five":
        return np.asarray(landmarks, np.float64), _FIVE_MODEL
    model = MESH_RIGID if pack == "mesh" else IBUG_MODEL
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
