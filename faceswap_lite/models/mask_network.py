"""The mask network: from a crop and the face's outline to what of the face is seen; and how far it
is believed, which tells what is before the face.

A U-Net (Ronneberger et al. 2015) on pixels folded to half the side, with the outline beside them.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from .crops import AT_ONCE

MASK_SIZE = 128
"""Side of the crops that it looks at, px."""

WIDTHS = (16, 24, 48, 96, 128)
"""Channels at 64, 32, 16, 8 and 4 px."""

_FOLD = 2

# What is before a face comes in from beyond its outline, or is larger than this share of it: less
# amid the face is an eye, a tooth, a glint.
ISLAND = 0.015

Share = Float32[np.ndarray, "m m"]

# The network's answers so near to 0 and 1 are taken for these: it is never quite sure.
UNSURE = 0.15
# What is less of the outline than this is its edge, which says nothing.
EDGE = 0.9
# Beyond the outline, what is known at its edge goes on: a blur, in sides of the crop.
CARRIED_SIGMA = 0.015
# An answer that hides more of a face than this must show where that ends: across the edge of what
# hides it, the picture changes this many times as much as it does all over the face.
MUCH_HIDDEN, EDGE_STANDS_OUT = 0.5, 1.3


class _Block(nn.Module):
    """A 3x3 convolution, batch normalisation, a rectifier."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return F.relu(self.norm(self.conv(x)))


class MaskNetwork(nn.Module):
    """Which pixels of a crop are visible face."""

    def __init__(self) -> None:
        super().__init__()
        inputs = [4 * _FOLD**2, *WIDTHS[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(_Block(a, b), _Block(b, b)) for a, b in zip(inputs, WIDTHS, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Sequential(_Block(deep + side, side), _Block(side, side))
            for side, deep in zip(WIDTHS[-2::-1], WIDTHS[:0:-1], strict=True)
        )
        self.last = nn.Conv2d(WIDTHS[0], _FOLD**2, 3, padding=1)

    def forward(
        self, pixels: Float[Tensor, "b 3 s s"], outline: Float[Tensor, "b 1 s s"]
    ) -> Float[Tensor, "b 1 s s"]:
        """Logits of each pixel's share of visible face; pixels and outline in [0, 1]."""
        x = F.pixel_unshuffle(torch.cat([2 * pixels - 1, 2 * outline - 1], 1), _FOLD)
        sides = []
        for depth, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if depth else x)
            sides.append(x)
        for block, side in zip(self.up, sides[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), side], 1))
        return F.pixel_shuffle(self.last(x), _FOLD)


def clear_shares(
    network: MaskNetwork, crops: UInt8[np.ndarray, "n s s 3"], outlines: Float[np.ndarray, "n s s"]
) -> Float32[np.ndarray, "n s s"]:
    """How much of each place nothing is before: 1 on visible face, and beyond the outline as at
    its edge; of each face by itself."""
    small = _at(crops, MASK_SIZE), _at(outlines.astype(np.float32), MASK_SIZE)
    answers = visible_face(network, *small)
    for place, (answer, crop, outline) in enumerate(zip(answers, *small, strict=True)):
        answers[place] = believed_share(answer, crop, outline)
    return _at(answers, crops.shape[1])


@torch.no_grad()
def visible_face(
    network: MaskNetwork, crops: UInt8[np.ndarray, "n s s 3"], outlines: Float[np.ndarray, "n s s"]
) -> Float32[np.ndarray, "n s s"]:
    """The network's answer: each pixel's share of visible face, 0 to 1; never above the outline's.

    Of crops of any size.
    """
    weights = next(network.parameters())
    answers = [np.empty((0, *outlines.shape[1:]), np.float32)]
    for start in range(0, len(crops), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        outline = outlines[part].astype(np.float32)
        pixels = torch.from_numpy(_at(crops[part], MASK_SIZE)).to(weights.device)
        logits = network(
            pixels.permute(0, 3, 1, 2).to(weights.dtype) / 255,
            torch.from_numpy(_at(outline, MASK_SIZE)[:, None]).to(weights),
        )
        shares = torch.sigmoid(logits.float())[:, 0].cpu().numpy()
        answers.append(np.minimum(_at(shares, crops.shape[1]), outline))
    return np.concatenate(answers)


def believed_share(
    visible: Float[np.ndarray, "m m"], crop: UInt8[np.ndarray, "m m 3"],
    outline: Float[np.ndarray, "m m"],
) -> Share:  # fmt: skip
    """The share of the outline that is visible, carried on beyond it; 1 where the answer collapsed.

    Turned heads are what a network knows least, and it may find no face in one. Whatever hides so
    much of a face has an edge that can be seen; where none is, the outline stands.
    """
    known = (outline > EDGE).astype(np.float32)
    sure = (visible / np.maximum(outline, EDGE) - UNSURE) / (1 - 2 * UNSURE)
    share: Share = np.clip(sure, 0, 1).astype(np.float32) * known
    share = np.maximum(share, _islands(share, known))
    much = (known - share).sum() > MUCH_HIDDEN * known.sum()
    if much and not _ends_at_an_edge(share, known, crop):
        return np.ones_like(share)
    around, total = (
        cv2.GaussianBlur(part, (0, 0), CARRIED_SIGMA * len(share), borderType=cv2.BORDER_CONSTANT)
        for part in (share, known)
    )
    beyond = (around + 1e-3) / (total + 1e-3)
    return known * share + (1 - known) * np.minimum(beyond, 1)


def _islands(share: Share, known: Share) -> Share:
    """1 on small hidden places amid the face, and close around them."""
    hidden = ((share < 0.5) & (known > 0)).astype(np.uint8)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(hidden, connectivity=8)
    small = facts[:, cv2.CC_STAT_AREA] < ISLAND * known.sum()
    # Beyond the crop there is no face either.
    inner = cv2.erode(known, np.ones((3, 3)), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    small[0], small[np.unique(labels[inner == 0])] = False, False
    found = small[labels].astype(np.float32)
    return cv2.dilate(found, np.ones((5, 5))) * known if count > 1 else found


def _ends_at_an_edge(share: Share, known: Share, crop: UInt8[np.ndarray, "m m 3"]) -> bool:
    near = np.ones((5, 5), np.uint8)
    face = cv2.erode(known, near) > 0
    hidden = (share < 0.5).astype(np.uint8)
    edge = face & (cv2.dilate(hidden, near) > cv2.erode(hidden, near))
    if not edge.any():
        return False
    smooth = cv2.GaussianBlur(crop.astype(np.float32), (0, 0), 1.0)
    slope = np.hypot(cv2.Sobel(smooth, -1, 1, 0), cv2.Sobel(smooth, -1, 0, 1)).max(-1)
    return bool(slope[edge].mean() > EDGE_STANDS_OUT * slope[face].mean())


def _at(pictures: np.ndarray, size: int) -> np.ndarray:
    if pictures.shape[1] == size:
        return pictures
    smooth = cv2.INTER_AREA if pictures.shape[1] > size else cv2.INTER_LINEAR
    resized = np.empty((len(pictures), size, size, *pictures.shape[3:]), pictures.dtype)
    for place, picture in enumerate(pictures):
        resized[place] = cv2.resize(picture, (size, size), interpolation=smooth)
    return resized
