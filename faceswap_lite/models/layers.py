"""The blocks that the field's autoencoders are made of.

Sizes and constants are the published ones (leak 0.1, residual leak 0.2), so that weights of other
tools can be carried over layer by layer. `PixelShuffle` orders channels (c, r, r); tools that order
them (r, r, c) need their output channels permuted on import.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.1
RESIDUAL_LEAK = 0.2

Activation = Callable[[Tensor], Tensor]


def leaky(x: Tensor) -> Tensor:
    """Leaky rectifier with the field's slope."""
    return F.leaky_relu(x, LEAK)


def x_cos_x(x: Tensor) -> Tensor:
    """The activation of flag c."""
    return x * torch.cos(x)


def pixel_norm(code: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Each code scaled to a root mean square of one (Karras et al. 2018, section 4.2)."""
    return code * torch.rsqrt(code.square().mean(1, keepdim=True) + 1e-6)


class Down(nn.Module):
    """5x5 convolution with stride 2, then the activation: half the side."""

    def __init__(self, inputs: int, outputs: int, activation: Activation = leaky):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)
        self.activation = activation

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Features at half the side."""
        return self.activation(self.conv(x))


class Up(nn.Module):
    """3x3 convolution to four times the channels, the activation, pixel shuffle: twice the side."""

    def __init__(self, inputs: int, outputs: int, activation: Activation = leaky):
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)
        self.activation = activation

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Features at twice the side."""
        return F.pixel_shuffle(self.activation(self.conv(x)), 2)


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, channels: int, activation: Activation | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = activation or (lambda x: F.leaky_relu(x, RESIDUAL_LEAK))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Features of the same shape."""
        inner = self.conv2(self.activation(self.conv1(x)))
        return self.activation(x + inner)
