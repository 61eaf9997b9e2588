"""The liae autoencoder: one encoder and one decoder for both identities, told apart by the code.

The decoder's code has two halves. inter_AB sees every face; inter_B sees the target's faces only.
The source is coded [AB, AB], the target [B, AB]. A swap codes the target's faces as the source's:
[AB, AB]. The parts and the flags are df's.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..config import Side
from .autoencoder import Painted, SwapAutoencoder
from .df import DfDecoder, DfEncoder, DfInter


class Liae(SwapAutoencoder):
    """Tells the identities apart by what stands in the first half of the decoder's code."""

    # Both decode what stands beside them: with one of them, both sides are the same.
    tied_parts = ("inter_AB", "inter_B")
    code_parts = ("encoder",)
    painters: ClassVar[dict[Side, str]] = {"source": "decoder", "target": "decoder"}

    def __init__(self, encoder: DfEncoder, inter_ab: DfInter, inter_b: DfInter, decoder: DfDecoder):
        super().__init__()
        self.encoder = encoder
        # Weights are carried over by the field's names of the parts.
        self.inter_AB = inter_ab
        self.inter_B = inter_b
        self.decoder = decoder

    def encode(self, faces: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n"]:
        """What passes the narrow places of inter_AB and, behind it, of inter_B."""
        flat = self.encoder(faces)
        return torch.cat([self.inter_AB.narrow(flat), self.inter_B.narrow(flat)], 1)

    def decode(self, code: Float[Tensor, "b n"], side: Side) -> Painted:
        """The face and, with a mask head, the mask, coded as this side's faces are."""
        of_ab, of_b = code.chunk(2, 1)
        shared = self.inter_AB.widen(of_ab)  # (b, c, l, l)
        own = shared if side == "source" else self.inter_B.widen(of_b)
        return self.decoder(torch.cat([own, shared], 1))  # of (b, 2c, l, l)

    def forward(
        self, source: Float[Tensor, "b 3 s s"], target: Float[Tensor, "c 3 s s"]
    ) -> tuple[Painted, Painted]:
        """A training pass: each part run once, inter_B on the target's faces alone."""
        flat = self.encoder(torch.cat([source, target]))
        shared = self.inter_AB(flat)  # (b + c, d, l, l)
        own = torch.cat([shared[: len(source)], self.inter_B(flat[len(source) :])])
        face, mask = self.decoder(torch.cat([own, shared], 1))
        split = [len(source), len(target)]
        masks = mask.split(split) if mask is not None else (None, None)
        of_source, of_target = zip(face.split(split), masks, strict=True)
        return of_source, of_target
