"""A patch discriminator: tells the detail of a person's true faces from that of painted ones."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTH = 48

INPUT_RMS = 0.25
"""What true detail is scaled to. Layers of a bounded slope cannot tell small differences apart:
detail as it comes, of .03, took four times as many steps to be judged."""


class PatchDiscriminator(nn.Module):
    """Four convolutions, two of them with stride 2: each answer sees a patch of 22 px.

    After Isola et al. 2017, "Image-to-image translation with conditional adversarial networks",
    section 3.2.2; weights are normalised as in Miyato et al. 2018, "Spectral normalization".
    """

    def __init__(self, width: int = WIDTH):
        super().__init__()
        shapes = ((1, width, 4, 2), (width, 2 * width, 4, 2), (2 * width, 2 * width, 3, 1))
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in shapes:
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, 1))]
            layers += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(2 * width, 1, 3, 1, 1)))
        self.true_rms: Tensor
        self.register_buffer("true_rms", torch.tensor(INPUT_RMS))
        """RMS of true faces' detail, which is scaled to INPUT_RMS."""

    def forward(self, detail: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 q q"]:
        """How true each place of the detail looks, at a quarter of the side; no bounds."""
        return self.layers(detail * (INPUT_RMS / self.true_rms))
