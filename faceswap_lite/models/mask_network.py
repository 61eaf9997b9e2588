"""The mask network: from a crop and the face's outline to what of the face is seen.

A U-Net (Ronneberger et al. 2015) on pixels folded to half the side, with the outline beside them.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

MASK_SIZE = 128
"""Side of the crops that it looks at, px."""

WIDTHS = (16, 24, 48, 96, 128)
"""Channels at 64, 32, 16, 8 and 4 px."""

_FOLD = 2


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
