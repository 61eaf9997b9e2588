"""The mask network's answer to crops of any size: what of each face is seen."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from .crops import AT_ONCE
from .mask_network import MASK_SIZE, MaskNetwork


@torch.no_grad()
def visible_face(
    network: MaskNetwork, crops: UInt8[np.ndarray, "n s s 3"], outlines: Float[np.ndarray, "n s s"]
) -> Float[np.ndarray, "n s s"]:
    """Each pixel's share of visible face, 0 to 1, float32; never above the outline's."""
    weights = next(network.parameters())
    answers = [np.empty((0, *outlines.shape[1:]), np.float32)]
    for start in range(0, len(crops), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        pixels = torch.from_numpy(np.stack([_resized(crop) for crop in crops[part]]))
        outline = np.stack([_resized(one.astype(np.float32)) for one in outlines[part]])[:, None]
        logits = network(
            pixels.to(weights.device).permute(0, 3, 1, 2).to(weights.dtype) / 255,
            torch.from_numpy(outline).to(weights),
        )
        shares = torch.sigmoid(logits.float())[:, 0].cpu().numpy()
        answers += [
            np.minimum(_resized(share, len(one)), one)[None].astype(np.float32)
            for share, one in zip(shares, outlines[part], strict=True)
        ]
    return np.concatenate(answers)


def _resized(picture: np.ndarray, size: int = MASK_SIZE) -> np.ndarray:
    if len(picture) == size:
        return picture
    smooth = cv2.INTER_AREA if len(picture) > size else cv2.INTER_LINEAR
    return cv2.resize(picture, (size, size), interpolation=smooth)
