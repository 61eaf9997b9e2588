"""The A/B autoencoder of 2017: the net the field began with. 64 px, 82,062,470 parameters."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Side
from .autoencoder import TwoDecoders
from .layers import Down, Up


class OriginalEncoder(nn.Module):
    """Four strided convolutions, two dense layers with nothing between them, one upscale."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 128, 256, 512, 1024)
        self.downs = nn.Sequential(*(SameDown(a, b) for a, b in itertools.pairwise(widths)))
        self.dense1 = nn.Linear(1024 * 4 * 4, 1024)
        self.dense2 = nn.Linear(1024, 1024 * 4 * 4)
        self.up = Up(1024, 512)

    def forward(self, faces: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b 1024"]:
        """The shared code of faces in [0, 1]."""
        return self.dense1(self.downs(faces).flatten(1))  # of (b, 16384)

    def widen(self, code: Float[Tensor, "b 1024"]) -> Float[Tensor, "b 512 8 8"]:
        """The code as a small feature map."""
        return self.up(self.dense2(code).view(-1, 1024, 4, 4))


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

    def __init__(self, mask_head: bool) -> None:
        super().__init__()
        self.ups = nn.Sequential(Up(512, 256), Up(256, 128), Up(128, 64))
        self.out = nn.Conv2d(64, 3, 5, padding=2)
        self.mask: nn.Sequential | None = None
        if mask_head:
            self.mask = nn.Sequential(
                Up(512, 256), Up(256, 128), Up(128, 64), nn.Conv2d(64, 1, 5, padding=2)
            )

    def forward(
        self, code: Float[Tensor, "b 512 8 8"]
    ) -> tuple[Float[Tensor, "b 3 64 64"], Float[Tensor, "b 1 64 64"] | None]:
        """The face in [0, 1] and, with a mask head, its mask in [0, 1]."""
        face = torch.sigmoid(self.out(self.ups(code)))
        return face, torch.sigmoid(self.mask(code)) if self.mask is not None else None


class Original(TwoDecoders):
    """All that both sides share is its encoder; the inter is empty."""

    encoder: OriginalEncoder

    def __init__(self, decoders: dict[Side, nn.Module]) -> None:
        super().__init__(OriginalEncoder(), nn.Identity(), decoders)

    def encode(self, faces: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b 1024"]:
        """The code that both decoders understand."""
        return self.encoder(faces)

    def widen(self, code: Float[Tensor, "b 1024"]) -> Float[Tensor, "b 512 8 8"]:
        """The small feature map that the decoders begin with."""
        return self.encoder.widen(code)
