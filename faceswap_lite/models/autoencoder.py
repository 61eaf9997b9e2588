"""One shared encoder and a decoder for each identity: the model of face swapping."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import ModelConfig
from .df import DfDecoder, DfEncoder, DfInter
from .layers import LEAK
from .original import OriginalDecoder, OriginalEncoder

Side = Literal["source", "target"]
SIDES: tuple[Side, Side] = ("source", "target")

Painted = tuple[Tensor, Tensor | None]
"""Faces (b, 3, s, s) in [0, 1] and, with a mask head, their masks (b, 1, s, s) in [0, 1]."""


class SwapAutoencoder(nn.Module):
    """Rebuilds each identity through its own decoder; a swap takes the other's.

    Faces are float RGB in [0, 1], (b, 3, size, size).
    """

    def __init__(self, encoder: nn.Module, inter: nn.Module, decoders: dict[Side, nn.Module]):
        super().__init__()
        self.encoder = encoder
        self.inter = inter
        self.decoder_source = decoders["source"]
        self.decoder_target = decoders["target"]

    def encode(self, faces: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c l l"]:
        """The code that both decoders understand."""
        return self.inter(self.encoder(faces))

    def decode(self, code: Float[Tensor, "b c l l"], side: Side) -> Painted:
        """The face and, where the model has mask heads, the mask, by this side's decoder."""
        return (self.decoder_source if side == "source" else self.decoder_target)(code)

    def paint(self, faces: Float[Tensor, "b 3 s s"], side: Side) -> Painted:
        """Faces of anyone, painted as this side's identity."""
        return self.decode(self.encode(faces), side)

    def forward(
        self, source: Float[Tensor, "b 3 s s"], target: Float[Tensor, "c 3 s s"]
    ) -> tuple[Painted, Painted]:
        """A training pass: each side rebuilt by its own decoder, the encoder run once for both."""
        codes = self.encode(torch.cat([source, target]))
        return (
            self.decode(codes[: len(source)], "source"),
            self.decode(codes[len(source) :], "target"),
        )


def build_original(config: ModelConfig) -> SwapAutoencoder:
    """The 2017 net. Its dims are fixed."""
    decoders: dict[Side, nn.Module] = {side: OriginalDecoder(config.mask_head) for side in SIDES}
    return SwapAutoencoder(OriginalEncoder(), nn.Identity(), decoders)


def build_df(config: ModelConfig) -> SwapAutoencoder:
    """The df net at the config's size, dims and flags."""
    flags = config.flags
    code_side = config.size // (32 if "t" in flags else 16)
    lowest = config.size // (32 if "d" in flags else 16)
    inter = DfInter(
        8 * config.encoder_dims * code_side**2,
        config.inter_dims,
        config.inter_dims,
        lowest,
        flags,
    )
    decoders: dict[Side, nn.Module] = {
        side: DfDecoder(
            config.inter_dims, config.decoder_dims, config.mask_dims, flags, config.mask_head
        )
        for side in SIDES
    }
    return SwapAutoencoder(DfEncoder(config.encoder_dims, flags), inter, decoders)


def build_model(config: ModelConfig, seed: int = 0) -> SwapAutoencoder:
    """A fresh model; the same config and seed give the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ARCHITECTURES[config.architecture](config)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # He et al. 2015. With the field's Glorot initialiser the code's signal fades on its
                # way through the pixel-shuffle layers, and a short run learns a mean face only.
                leak = LEAK if isinstance(module, nn.Conv2d) else 1.0
                nn.init.kaiming_uniform_(module.weight, a=leak)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return model


def count_parameters(model: nn.Module) -> int:
    """How many numbers training sets."""
    return sum(parameter.numel() for parameter in model.parameters())


ARCHITECTURES: dict[str, Callable[[ModelConfig], SwapAutoencoder]] = {
    "original": build_original,
    "df": build_df,
}
