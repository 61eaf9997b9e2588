"""Architectures by name, built from the config."""

from collections.abc import Callable

import torch
from torch import nn

from ..config import ModelConfig, Side
from .autoencoder import SIDES, SwapAutoencoder
from .df import Df, DfDecoder, DfEncoder, DfInter
from .layers import LEAK
from .liae import Liae
from .original import Original, OriginalDecoder, OriginalEncoder


def build_original(config: ModelConfig) -> SwapAutoencoder:
    """The 2017 net at the config's widths."""
    widths = config.decoder_widths
    decoders: dict[Side, nn.Module] = {
        side: OriginalDecoder(widths, config.mask_head) for side in SIDES
    }
    return Original(
        OriginalEncoder(config.encoder_widths, *config.code_widths, widths[0]), decoders
    )


def build_df(config: ModelConfig) -> SwapAutoencoder:
    """The df net at the config's size, dims and flags."""
    inter = _inter(config, config.inter_dims)
    decoders: dict[Side, nn.Module] = {side: _decoder(config, config.inter_dims) for side in SIDES}
    return Df(DfEncoder(config.encoder_dims, config.flags), inter, decoders)


def build_liae(config: ModelConfig) -> SwapAutoencoder:
    """The liae net at the config's size, dims and flags. Its inters put out twice df's channels."""
    outputs = 2 * config.inter_dims
    return Liae(
        DfEncoder(config.encoder_dims, config.flags),
        _inter(config, outputs),
        _inter(config, outputs),
        _decoder(config, 2 * outputs),
    )


def _inter(config: ModelConfig, outputs: int) -> DfInter:
    flags = config.flags
    code_edge = config.size // (32 if "t" in flags else 16)
    lowest = config.size // (32 if "d" in flags else 16)
    return DfInter(
        8 * config.encoder_dims * code_edge**2, config.inter_dims, outputs, lowest, flags
    )


def _decoder(config: ModelConfig, inputs: int) -> DfDecoder:
    return DfDecoder(inputs, config.decoder_dims, config.mask_dims, config.flags, config.mask_head)


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
    "liae": build_liae,
}
