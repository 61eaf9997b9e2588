"""The df autoencoder: one encoder and inter for both identities, a decoder for each.

Flags, as the field names them: u normalises the code; d doubles the resolution in the last layer;
t has one more stage down and up, with residual blocks; c exchanges the activation for x cos x.
"""

import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Side
from .autoencoder import TwoDecoders
from .layers import Activation, Down, Residual, Up, leaky, pixel_norm, x_cos_x


def _activation(flags: str) -> Activation:
    return x_cos_x if "c" in flags else leaky


class DfEncoder(nn.Module):
    """Four (flag t: five) strided convolutions, flattened."""

    def __init__(self, dims: int, flags: str):
        super().__init__()
        act = _activation(flags)
        residual_act = act if "c" in flags else None
        widths = [3, dims, 2 * dims, 4 * dims, 8 * dims]
        if "t" in flags:
            widths.append(8 * dims)
        blocks: list[nn.Module] = [Down(a, b, act) for a, b in itertools.pairwise(widths)]
        if "t" in flags:
            blocks.insert(1, Residual(dims, residual_act))
            blocks.append(Residual(8 * dims, residual_act))
        self.blocks = nn.Sequential(*blocks)
        self.normalise = "u" in flags

    def forward(self, faces: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n"]:
        """The flat code of faces in [0, 1]."""
        code = self.blocks(faces).flatten(1)
        return pixel_norm(code) if self.normalise else code


class DfInter(nn.Module):
    """Two dense layers, narrow between them, and (without flag t) one upscale."""

    def __init__(self, inputs: int, dims: int, outputs: int, edge: int, flags: str):
        super().__init__()
        self.dense1 = nn.Linear(inputs, dims)
        self.dense2 = nn.Linear(dims, edge * edge * outputs)
        self.up = Up(outputs, outputs, _activation(flags)) if "t" not in flags else nn.Identity()
        self.shape = (outputs, edge, edge)

    def narrow(self, flat: Float[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """What the encoder puts out, through the narrow place."""
        return self.dense1(flat)

    def widen(self, code: Float[Tensor, "b d"]) -> Float[Tensor, "b c l l"]:
        """The code as a small feature map."""
        return self.up(self.dense2(code).view(-1, *self.shape))

    def forward(self, flat: Float[Tensor, "b n"]) -> Float[Tensor, "b c l l"]:
        """Both at once."""
        return self.widen(self.narrow(flat))


class DfDecoder(nn.Module):
    """Upscales with residual blocks; a thinner branch of upscales paints the mask."""

    def __init__(self, inputs: int, dims: int, mask_dims: int, flags: str, mask_head: bool):
        super().__init__()
        act = _activation(flags)
        residual_act = act if "c" in flags else None
        steps = (8, 8, 4, 2) if "t" in flags else (8, 4, 2)
        widths = [inputs, *(k * dims for k in steps)]
        blocks: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            blocks += [Up(a, b, act), Residual(b, residual_act)]
        self.blocks = nn.Sequential(*blocks)
        self.doubles_size = "d" in flags
        self.out = nn.Conv2d(2 * dims, 3, 1)
        self.out_more = nn.ModuleList(
            nn.Conv2d(2 * dims, 3, 3, padding=1) for _ in range(3 if self.doubles_size else 0)
        )
        self.mask: nn.Sequential | None = None
        if mask_head:
            widths = [inputs, *(k * mask_dims for k in steps)]
            if self.doubles_size:
                widths.append(mask_dims)
            ups = [Up(a, b, act) for a, b in itertools.pairwise(widths)]
            self.mask = nn.Sequential(*ups, nn.Conv2d(widths[-1], 1, 1))

    def forward(
        self, code: Float[Tensor, "b c l l"]
    ) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 1 s s"] | None]:
        """The face in [0, 1] and, with a mask head, its mask in [0, 1]."""
        x = self.blocks(code)
        face = F.pixel_shuffle(self._four_out(x), 2) if self.doubles_size else self.out(x)
        mask = torch.sigmoid(self.mask(code)) if self.mask is not None else None
        return torch.sigmoid(face), mask

    def _four_out(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b 12 h w"]:
        """Four pictures of half the side, their channels interleaved: one convolution for all.

        The first one's kernel is a single pixel, as published; it is framed with zeros.
        """
        convs: list[Any] = [self.out, *self.out_more]
        weights = [F.pad(self.out.weight, (1, 1, 1, 1)), *(conv.weight for conv in convs[1:])]
        weight = torch.stack(weights, 1).flatten(0, 1)
        bias = torch.stack([conv.bias for conv in convs], 1).flatten()
        return F.conv2d(x, weight, bias, padding=1)


class Df(TwoDecoders):
    """Its code is what the inter's first dense layer puts out."""

    inter: DfInter

    def __init__(self, encoder: DfEncoder, inter: DfInter, decoders: dict[Side, nn.Module]):
        super().__init__(encoder, inter, decoders)

    def encode(self, faces: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n"]:
        """The code that both decoders understand."""
        return self.inter.narrow(self.encoder(faces))

    def widen(self, code: Float[Tensor, "b n"]) -> Float[Tensor, "b c l l"]:
        """The small feature map that the decoders begin with."""
        return self.inter.widen(code)
