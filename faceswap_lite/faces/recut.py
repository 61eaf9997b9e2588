"""Faces of one crop geometry, cut anew in another that lies inside what was stored."""

from dataclasses import replace

import numpy as np

from ..errors import FaceswapError
from ..geometry import compose, invert_similarity, similarity_scale, transform_points
from .align import align
from .face_set import FaceSet, StoredFace

# So much of a crop may lie beyond the stored one: its border is repeated there.
_BEYOND = 0.01


def recut(faces: FaceSet, coverage: str) -> FaceSet:
    """The set as if its crops had been cut as `coverage`, with as much margin as there is.

    Raises: FaceswapError when some crops do not show enough around the face.
    """
    if coverage == faces.coverage:
        return faces
    room = np.array([_room(face, coverage) for face in faces.faces])
    if (lacking := room < -_BEYOND).any():
        raise FaceswapError(
            f"{faces.path}: is cut as {faces.coverage}, and {lacking.sum()} of {len(room)} crops "
            f"do not show all of {coverage}; extract again with "
            f"--set extract.crop_coverage={coverage}"
        )
    margin = max(0.0, float(np.floor(100 * room.min()) / 100))
    cut = [_cut(face, coverage, margin) for face in faces.faces]
    return replace(faces, faces=cut, coverage=coverage)


def _room(face: StoredFace, coverage: str) -> float:
    """How far the stored crop reaches beyond the other, in edges of that; below 0: not at all."""
    record = face.record
    to_crop = align(record.landmarks.astype(np.float64), record.landmarks_pack, coverage, 1.0)
    to_stored = compose(invert_similarity(to_crop), record.frame_to_crop)
    corners = transform_points(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), to_stored)
    centre = corners.mean(0)
    reach = np.abs(corners - centre).max(0)
    border = np.minimum(centre + 0.5, record.size - 0.5 - centre)
    return float(min((border / reach - 1) / 2))


def _cut(face: StoredFace, coverage: str, margin: float) -> StoredFace:
    record = face.record
    points, pack = record.landmarks.astype(np.float64), record.landmarks_pack
    to_stored = compose(
        invert_similarity(align(points, pack, coverage, 1.0, margin)), record.frame_to_crop
    )
    size = max(1, round(similarity_scale(to_stored)))
    matrix = align(points, pack, coverage, size, margin)
    update = {"coverage": coverage, "margin": margin, "size": size, "frame_to_crop": matrix}
    return StoredFace(face.path, record.model_copy(update=update), face.of_file)
