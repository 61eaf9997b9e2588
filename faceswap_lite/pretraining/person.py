"""A decoder that is told whom to paint, so that the code need not say it.

Who somebody is scales and shifts every feature of the decoder (Perez et al. 2018, "FiLM", eq. 2).
Scales and shifts of one person can be folded into the convolutions: what is left is a plain
decoder.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..models.autoencoder import Painted, SwapAutoencoder

_HIDDEN = 256
_OUT_CHANNELS = 3
"""A convolution that puts out no more than a picture has paints; it is left as it is."""


class PersonPainter(nn.Module):
    """A network whose two sides are one, and that paints whom it is told to.

    `network`: both sides share their paths (`tie_sides`). `people`: how many numbers tell a
    rendered person; `sets`: how many real people there are beside them, each a row to be learned.
    """

    def __init__(self, network: SwapAutoencoder, people: int, sets: int = 0):
        super().__init__()
        self.network = network
        self.of_traits = nn.Linear(people, _HIDDEN)
        self.of_set = nn.Embedding(max(sets, 1), _HIDDEN)
        self._widths = [conv.out_channels for conv in _painting(network)]
        last = nn.Linear(_HIDDEN, 2 * sum(self._widths))
        self.features = nn.Sequential(
            nn.LeakyReLU(0.1), nn.Linear(_HIDDEN, _HIDDEN), nn.LeakyReLU(0.1), last
        )
        # At first everybody is the same.
        for weights in (last.weight, last.bias, self.of_set.weight):
            nn.init.zeros_(weights)

    def forward(self, faces: Float[Tensor, "b 3 s s"], people: Float[Tensor, "b h"]) -> Painted:
        """Faces painted as other people."""
        told = self._told(people)
        hooks = [
            conv.register_forward_hook(_modulation(scale, shift))
            for conv, (scale, shift) in zip(_painting(self.network), told, strict=True)
        ]
        try:
            return self.network.paint(faces, "source")
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def fold(self, person: Float[Tensor, " h"]) -> None:
        """Make the network one that paints this person when it is told nothing."""
        told = self._told(person[None])
        for conv, (scale, shift) in zip(_painting(self.network), told, strict=True):
            conv.weight.mul_((1 + scale[0])[:, None, None, None])
            assert conv.bias is not None, "all of ours have one"
            conv.bias.mul_(1 + scale[0]).add_(shift[0])

    def _told(
        self, people: Float[Tensor, "b h"]
    ) -> list[tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]]:
        """Scale (beyond 1) and shift of the channels of each convolution that paints."""
        told = self.features(people).split([2 * width for width in self._widths], 1)
        pairs = (part.chunk(2, 1) for part in told)
        return [(scale, shift) for scale, shift in pairs]


def _painting(network: SwapAutoencoder) -> list[nn.Conv2d]:
    """The convolutions of the one decoder, but for those that put out pictures and masks."""
    return [
        part
        for name, part in network.named_modules()
        if name.startswith("decoder")
        and isinstance(part, nn.Conv2d)
        and part.out_channels > _OUT_CHANNELS
    ]


def _modulation(
    scale: Float[Tensor, "b c"], shift: Float[Tensor, "b c"]
) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def modulate(_module: nn.Module, _given: object, out: Tensor) -> Tensor:
        return out * (1 + scale)[:, :, None, None] + shift[:, :, None, None]

    return modulate
