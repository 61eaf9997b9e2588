"""A patch discriminator: tells a person's true faces from painted ones, place by place."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTH = 48


class PatchDiscriminator(nn.Module):
    """Four convolutions, two of them with stride 2: each answer sees a patch of 22 px.

    After Isola et al. 2017, "Image-to-image translation with conditional adversarial networks",
    section 3.2.2; weights are normalised as in Miyato et al. 2018, "Spectral normalization".
    """

    def __init__(self, width: int = WIDTH):
        super().__init__()
        shapes = ((3, width, 4, 2), (width, 2 * width, 4, 2), (2 * width, 2 * width, 3, 1))
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in shapes:
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, 1))]
            layers += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(2 * width, 1, 3, 1, 1)))

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 1 q q"]:
        """How true each place looks, at a quarter of the side; no bounds."""
        return self.layers(pictures)
