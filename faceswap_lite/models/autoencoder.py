"""What every model of face swapping can do, and its plainest form: a decoder for each identity."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import Side

SIDES: tuple[Side, Side] = ("source", "target")

Painted = tuple[Tensor, Tensor | None]
"""Faces (b, 3, s, s) in [0, 1] and, with a mask head, their masks (b, 1, s, s) in [0, 1]."""


class SwapAutoencoder(nn.Module, ABC):
    """Rebuilds each identity by its own path from one shared code; a swap takes the other's path.

    Faces are float RGB in [0, 1], (b, 3, size, size). A code is what passes the narrowest place of
    the network: a row of numbers, which can be compared, mixed and moved.
    """

    tied_parts: ClassVar[tuple[str, str]]
    """The part that is the source's alone, and the one of the same shape that is the target's."""

    code_parts: ClassVar[tuple[str, ...]]
    """The parts that make codes, for both identities alike."""

    painters: ClassVar[dict[Side, str]]
    """The last part of each side's path, which paints pictures; liae has one for both."""

    def tie_sides(self) -> None:
        """Tie the two sides' weights: what is learned from then on is learned for both."""
        kept, copied = self.tied_parts
        setattr(self, copied, getattr(self, kept))

    @abstractmethod
    def encode(self, faces: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n"]:
        """The code that the paths of both sides understand."""

    @abstractmethod
    def decode(self, code: Float[Tensor, "b n"], side: Side) -> Painted:
        """The face and, where the model has a mask head, the mask, by this side's path."""

    def paint(self, faces: Float[Tensor, "b 3 s s"], side: Side) -> Painted:
        """Faces of anyone, painted as this side's identity."""
        return self.decode(self.encode(faces), side)

    @abstractmethod
    def forward(
        self, source: Float[Tensor, "b 3 s s"], target: Float[Tensor, "c 3 s s"]
    ) -> tuple[Painted, Painted]:
        """A training pass: each side rebuilt by its own path, the encoder run once for both."""


class TwoDecoders(SwapAutoencoder):
    """One encoder and inter for both identities, a decoder for each."""

    tied_parts = ("decoder_source", "decoder_target")
    code_parts = ("encoder", "inter")
    painters: ClassVar[dict[Side, str]] = {"source": "decoder_source", "target": "decoder_target"}

    def __init__(self, encoder: nn.Module, inter: nn.Module, decoders: dict[Side, nn.Module]):
        super().__init__()
        self.encoder = encoder
        self.inter = inter
        self.decoder_source = decoders["source"]
        self.decoder_target = decoders["target"]

    @abstractmethod
    def widen(self, code: Float[Tensor, "b n"]) -> Float[Tensor, "b c l l"]:
        """The small feature map that the decoders begin with."""

    def decode(self, code: Float[Tensor, "b n"], side: Side) -> Painted:
        """The face and, where the model has mask heads, the mask, by this side's decoder."""
        return (self.decoder_source if side == "source" else self.decoder_target)(self.widen(code))

    def forward(
        self, source: Float[Tensor, "b 3 s s"], target: Float[Tensor, "c 3 s s"]
    ) -> tuple[Painted, Painted]:
        """A training pass: all but the decoders run once for both sides."""
        wide = self.widen(self.encode(torch.cat([source, target])))  # (b + c, d, l, l)
        return self.decoder_source(wide[: len(source)]), self.decoder_target(wide[len(source) :])
