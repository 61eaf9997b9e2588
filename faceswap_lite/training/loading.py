"""Faces in memory: a set decoded once, in the roles that a run gave its faces."""

from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..config import Side
from ..errors import FaceswapError
from ..faces.face_set import FaceSet, face_key
from ..faces.user_masks import multiply_masks, user_mask_views
from ..models.crops import AT_ONCE
from ..models.mask_network import MaskNetwork, clear_shares
from ..runs.manifest import RunManifest
from ..runs.split import FaceGroup, read_roles
from .batches import SideData

YAW_BIN_DEG = 10.0
"""Width of the bins that pose balance counts faces in."""

MAX_POSE_WEIGHT = 10.0
"""No face is drawn this many times as often as one of the commonest pose: a lone profile is soon
known by heart, and may be a mistake."""


def load_pixels(
    faces: FaceSet, size: int, network: MaskNetwork | None = None
) -> tuple[UInt8[Tensor, "n 5 m m"], float]:
    """All faces as red, green, blue, mask, features, and the stored side in sides of the view.

    Where a person drew a mask of a face, mask and features are cut by it; elsewhere by what
    `network` sees before the face (None: nothing).
    """
    margin = min(face.record.margin for face in faces.faces)
    crops = faces.crops(size, margin)  # (n, m, m, 3)
    extra = np.stack([faces.masks(size, margin), faces.features(size, margin)], -1)
    drawn = user_mask_views(faces, size, margin)
    for place, given in drawn.items():
        # Features too: a hand before the mouth is not to be learned as one.
        extra[place] = multiply_masks(extra[place], given[..., None])
    if network is not None:
        _leave_out_hidden(crops, extra, size, network, drawn)
    pixels = torch.from_numpy(np.concatenate([crops, extra], -1)).permute(0, 3, 1, 2).contiguous()
    return pixels, crops.shape[1] / size


def _leave_out_hidden(
    crops: UInt8[np.ndarray, "n m m 3"],
    extra: UInt8[np.ndarray, "n m m 2"],
    size: int,
    network: MaskNetwork,
    drawn: Container[int],
) -> None:
    """Cut masks and features by what the network sees before the faces, but for `drawn` ones."""
    low = (crops.shape[1] - size) // 2
    inner = slice(low, low + size)
    for start in range(0, len(crops), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        shown, cut = crops[part, inner, inner], extra[part, inner, inner]
        clear = clear_shares(network, shown, cut[..., 0] / np.float32(255))
        for place, share in enumerate(clear):
            if start + place not in drawn:
                given = np.round(share * 255).astype(np.uint8)
                cut[place] = multiply_masks(cut[place], given[..., None])


def load_sides(
    sets: Mapping[Side, FaceSet],
    manifest: RunManifest,
    size: int,
    pose_balance: float,
    network: MaskNetwork | None = None,
) -> dict[Side, SideData]:
    """Both sides' faces, in the roles and with the weights that the manifest gives them.

    Raises: FaceswapError when too few faces are left to train on.
    """
    known = {side: manifest.of(side) for side in sets}
    return {
        side: load_side(faces, size, pose_balance, known[side].groups, known[side].weights, network)
        for side, faces in sets.items()
    }


def load_side(
    faces: FaceSet,
    size: int,
    pose_balance: float,
    groups: Sequence[FaceGroup],
    decided: Mapping[str, float] = MappingProxyType({}),
    network: MaskNetwork | None = None,
) -> SideData:
    """A face set decoded once, at the model's size plus margin, in the roles of `groups`.

    `decided`: by their keys, the weights of faces that are to be drawn more or less often than
    others; the balance of poses comes on top. `network`: what it sees before a face is not learned
    as one.
    Raises: FaceswapError when too few faces are left to train on.
    """
    pixels, edge_with_margin = load_pixels(faces, size, network)
    known = read_roles(groups)
    roles = [known[place] for place in faces.places()]
    seen, heldout = (
        [i for i, (role, _) in enumerate(roles) if role == wanted] for wanted in ("seen", "heldout")
    )
    if len(seen) < 2 or not heldout:
        raise FaceswapError(
            f"{faces.path}: {len(pixels)} faces leave {len(seen)} to train on and {len(heldout)} "
            "held out; add faces, or lower training.heldout.share and training.heldout.gap"
        )
    poses = [faces.faces[i].record.pose for i in seen]
    yaw = np.array([np.nan if pose is None else pose.yaw_deg for pose in poses])
    known_weights = np.array([decided.get(face_key(faces.faces[i].record), 1.0) for i in seen])
    weights = pose_weights(yaw, pose_balance) * known_weights / known_weights.mean()
    return SideData(
        seen=pixels[seen],
        heldout=pixels[heldout],
        edge_with_margin=edge_with_margin,
        weights=torch.from_numpy(weights),
        since=torch.tensor([roles[i][1] for i in seen]),
        names=[faces.faces[i].path.name for i in seen],
    )


def pose_weights(yaw_deg: Float[np.ndarray, " n"], strength: float) -> Float[np.ndarray, " n"]:
    """How often to draw each face, mean 1, so that rare yaws catch up with common ones.

    `strength` 0: all alike; 1: every bin of YAW_BIN_DEG as often as any other, within
    MAX_POSE_WEIGHT. A face without a pose (NaN) weighs 1.
    """
    weights = np.ones(len(yaw_deg))
    known = ~np.isnan(yaw_deg)
    if not known.any():
        return weights
    bins = np.floor(yaw_deg[known] / YAW_BIN_DEG + 0.5)  # the middle one is about 0 degrees
    _, places, counts = np.unique(bins, return_inverse=True, return_counts=True)
    balanced = (1 / counts[places]) ** strength
    balanced = np.minimum(balanced, MAX_POSE_WEIGHT * balanced.min())
    weights[known] = balanced / balanced.mean()
    return weights
