"""The A/B autoencoder of 2017: the net the field began with. 64 px, 82,062,470 parameters.

Its widths are options: the field's lighter versions are the same net.
"""

import itertools
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Side
from .autoencoder import TwoDecoders
from .layers import Down, Up

SIZE = 64
_CODE_EDGE = 4


class OriginalEncoder(nn.Module):
    """Strided convolutions, two dense layers with nothing between them, one upscale."""

    def __init__(self, widths: Sequence[int], code: int, wide: int, outputs: int) -> None:
        super().__init__()
        ends = (3, *widths)
        self.downs = nn.Sequential(*(SameDown(a, b) for a, b in itertools.pairwise(ends)))
        lowest = SIZE >> len(widths)
        self.dense1 = nn.Linear(widths[-1] * lowest * lowest, code)
        self.dense2 = nn.Linear(code, wide * _CODE_EDGE * _CODE_EDGE)
        self.up = Up(wide, outputs)

    def forward(self, faces: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b n"]:
        """The shared code of faces in [0, 1]."""
        return self.dense1(self.downs(faces).flatten(1))

    def widen(self, code: Float[Tensor, "b n"]) -> Float[Tensor, "b c 8 8"]:
        """The code as a small feature map."""
        return self.up(self.dense2(code).unflatten(1, (-1, _CODE_EDGE, _CODE_EDGE)))


class SameDown(Down):
    """A Down with the padding of a strided 'same' convolution: one pixel before, two behind."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        self.conv.padding = (0, 0)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Features at half the side."""
        return super().forward(F.pad(x, (1, 2, 1, 2)))


class OriginalDecoder(nn.Module):
    """Three upscales and a 5x5 convolution; a second, thin branch paints the mask."""

    def __init__(self, widths: Sequence[int], mask_head: bool) -> None:
        super().__init__()

        def ups() -> Iterator[nn.Module]:
            return (Up(a, b) for a, b in itertools.pairwise(widths))

        self.ups = nn.Sequential(*ups())
        self.out = nn.Conv2d(widths[-1], 3, 5, padding=2)
        self.mask: nn.Sequential | None = None
        if mask_head:
            self.mask = nn.Sequential(*ups(), nn.Conv2d(widths[-1], 1, 5, padding=2))

    def forward(
        self, code: Float[Tensor, "b c 8 8"]
    ) -> tuple[Float[Tensor, "b 3 64 64"], Float[Tensor, "b 1 64 64"] | None]:
        """The face in [0, 1] and, with a mask head, its mask in [0, 1]."""
        face = torch.sigmoid(self.out(self.ups(code)))
        return face, torch.sigmoid(self.mask(code)) if self.mask is not None else None


class Original(TwoDecoders):
    """All that both sides share is its encoder; the inter is empty."""

    encoder: OriginalEncoder

    def __init__(self, encoder: OriginalEncoder, decoders: dict[Side, nn.Module]) -> None:
        super().__init__(encoder, nn.Identity(), decoders)

    def encode(self, faces: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b n"]:
        """The code that both decoders understand."""
        return self.encoder(faces)

    def widen(self, code: Float[Tensor, "b n"]) -> Float[Tensor, "b c 8 8"]:
        """The small feature map that the decoders begin with."""
        return self.encoder.widen(code)
