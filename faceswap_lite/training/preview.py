"""Preview sheets: what the model makes of faces it trains on and of faces it never saw."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..models.autoencoder import SwapAutoencoder
from .augmentation import central_views
from .batches import SideData

PREVIEW_COLUMNS = ("source", "rebuilt", "target", "rebuilt", "swap")
PREVIEW_CELL_PX = 128
BAR_PX, ROWS = 20, 4


@torch.no_grad()
def preview_sheet(
    model: SwapAutoencoder, source: SideData, target: SideData, size: int
) -> UInt8[np.ndarray, "h w 3"]:
    """A sheet of ROWS seen and ROWS held-out faces.

    Columns: source, source rebuilt, target, target rebuilt, and the swap (the target's face painted
    by the source's decoder).
    """
    device = next(model.parameters()).device
    bands = [_bar(*PREVIEW_COLUMNS)]
    for title in ("seen in training", "held out"):
        pools = [s.seen if title.startswith("seen") else s.heldout for s in (source, target)]
        # Spread evenly; repeated when there are fewer.
        some = [pool[torch.linspace(0, len(pool) - 1, ROWS).long()] for pool in pools]
        faces = [
            central_views(own.to(device), size, side.edge_with_margin)
            for own, side in zip(some, (source, target), strict=True)
        ]
        columns = [
            faces[0].face,
            model.paint(faces[0].face, "source")[0],
            faces[1].face,
            model.paint(faces[1].face, "target")[0],
            model.paint(faces[1].face, "source")[0],
        ]
        bands += [_bar(title), np.concatenate([_strip(column) for column in columns], 1)]
    return np.concatenate(bands)


def _strip(faces: Float[Tensor, "b 3 s s"]) -> UInt8[np.ndarray, "h w 3"]:
    pixels = (faces.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    cells = [
        cv2.resize(p, (PREVIEW_CELL_PX, PREVIEW_CELL_PX), interpolation=cv2.INTER_CUBIC)
        for p in pixels
    ]
    return np.concatenate(cells)


def _bar(*labels: str) -> UInt8[np.ndarray, "h w 3"]:
    bar = np.full((BAR_PX, PREVIEW_CELL_PX * len(PREVIEW_COLUMNS), 3), 32, np.uint8)
    for place, label in enumerate(labels):
        where = (6 + place * PREVIEW_CELL_PX, BAR_PX - 6)
        cv2.putText(bar, label, where, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230,) * 3, 1, cv2.LINE_AA)
    return bar
