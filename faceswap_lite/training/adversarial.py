"""Adversarial losses: pure functions of a discriminator's answers.

Answers are (b, 1, q, q), where a patch that looks true is above one that looks painted; `inside` is
where they count, of the same shape.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from .losses import weighted_mean

Real = Float[Tensor, "b 1 q q"]
Fake = Float[Tensor, "c 1 q q"]
Faces = Float[Tensor, "b 3 s s"]
Masks = Float[Tensor, "b 1 s s"]

SHIFT, LIGHT = 0.06, 0.1
"""How far real and painted faces are moved (in sides) and brightened alike before a discriminator
that has few faces to learn from sees them."""

BLUR_PX = 5
"""Side of the box that pictures are averaged over, twice, before they are held to one another."""

DETAIL_PX = 9
"""Side of the squares in which detail is compared place by place."""

MAX_DETAIL = 1.1
"""How much of the detail that true faces have at a place a swap may have there."""


class Adversary(NamedTuple):
    """Both sides of the game, each a loss to lower: `discriminator` of answers on true and on
    painted faces, `generator` of those on painted ones alone."""

    discriminator: Callable[[Real, Real, Fake, Fake], Tensor]
    generator: Callable[[Fake, Fake, float], Tensor]


def _least_squares(real: Real, inside: Real, fake: Fake, fake_inside: Fake) -> Tensor:
    """Mao et al. 2017, "Least squares generative adversarial networks", eq. 9, with 1 and 0."""
    return weighted_mean((real - 1).square(), inside) + weighted_mean(fake.square(), fake_inside)


def _least_squares_generator(fake: Fake, inside: Fake, label: float) -> Tensor:
    return weighted_mean((fake - label).square(), inside)


def _bce(real: Real, inside: Real, fake: Fake, fake_inside: Fake) -> Tensor:
    """Goodfellow et al. 2014, the non-saturating form."""
    return weighted_mean(F.softplus(-real), inside) + weighted_mean(F.softplus(fake), fake_inside)


def _bce_generator(fake: Fake, inside: Fake, label: float) -> Tensor:
    wanted = torch.full_like(fake, label)
    return weighted_mean(F.binary_cross_entropy_with_logits(fake, wanted, reduction="none"), inside)


def _hinge(real: Real, inside: Real, fake: Fake, fake_inside: Fake) -> Tensor:
    """Lim and Ye 2017, "Geometric GAN"; a painted face is one below -1."""
    return weighted_mean(F.relu(1 - real), inside) + weighted_mean(F.relu(1 + fake), fake_inside)


def _hinge_generator(fake: Fake, inside: Fake, label: float) -> Tensor:
    return -weighted_mean(fake, inside)


ADVERSARIES: dict[str, Adversary] = {
    "least_squares": Adversary(_least_squares, _least_squares_generator),
    "bce": Adversary(_bce, _bce_generator),
    "hinge": Adversary(_hinge, _hinge_generator),
}

MIDDLE = {"least_squares": 0.5, "bce": 0.0, "hinge": 0.0}
"""Above it an answer says "true"."""


def accuracy(kind: str, real: Real, inside: Real, fake: Fake, fake_inside: Fake) -> float:
    """The share of the discriminator's answers that are right; 0.5 is guessing."""
    right_real = weighted_mean((real > MIDDLE[kind]).float(), inside)
    right_fake = weighted_mean((fake <= MIDDLE[kind]).float(), fake_inside)
    return float(right_real + right_fake) / 2


def patches_inside(mask: Float[Tensor, "b 1 s s"], edge: int) -> Float[Tensor, "b 1 {edge} {edge}"]:
    """1 where an answer's patch lies inside the mask, else 0; `edge` answers a side."""
    window = mask.shape[-1] // edge * 2 + 1
    inner = F.avg_pool2d(mask, window, 1, window // 2)
    return (F.adaptive_avg_pool2d(inner, edge) > 0.8).float()


def low_pass(picture: Float[Tensor, "b k s s"]) -> Float[Tensor, "b k s s"]:
    """What is left of a picture without its fine detail: two box filters."""
    for _ in range(2):
        picture = F.avg_pool2d(picture, BLUR_PX, 1, BLUR_PX // 2, count_include_pad=False)
    return picture


def fine_detail(picture: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 1 s s"]:
    """What a discriminator sees of a picture: its brightness without what `low_pass` keeps.

    Light and colour of a swap are the clip's. A discriminator that sees them tells swaps by them,
    and has them painted over: red stains about the nose, on the way to "as sharp as true faces".
    """
    brightness = picture.mean(1, keepdim=True)
    return brightness - low_pass(brightness)


def detail_wanted(swapped: Faces, shown: Masks, rebuilt: Faces, inside: Masks) -> float:
    """The share of its weight that the adversary has: 1 where swapped faces are 10 % less sharp
    than rebuilt ones, or more; 0 where they are 10 % sharper.

    Rebuilt faces are held to the detail of true ones and are as sharp as the decoder can be and be
    right; what a swap has beyond them is invented.
    """
    sharp = [
        float(weighted_mean(laplacian(faces.detach()).square(), inner(mask)).sqrt())
        for faces, mask in ((swapped, shown), (rebuilt, inside))
    ]
    return min(max(0.5 + 5 * (1 - sharp[0] / max(sharp[1], 1e-9)), 0.0), 1.0)


def local_detail(picture: Faces) -> Float[Tensor, "b 1 s s"]:
    """How much fine detail there is about each place: RMS of the brightness' Laplacian."""
    squares = laplacian(picture.mean(1, keepdim=True)).square()
    return mean_about(squares).add(1e-6).sqrt()


def detail_in_excess(swapped: Faces, shown: Masks, true: Faces) -> Float[Tensor, ""]:
    """By how much swaps have more detail than true faces, place by place; crops are aligned.

    A judge of patches does not ask where it sees them. Where a decoder has hardly been, at the
    wing of a nose that turns away, it is driven to paint specks, which no mean over a face shows.
    """
    usual = mean_about(local_detail(true).mean(0, keepdim=True))
    return weighted_mean(F.relu(local_detail(swapped) - MAX_DETAIL * usual), shown)


def mean_about(values: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
    """Means over squares about each place."""
    return F.avg_pool2d(values, DETAIL_PX, 1, DETAIL_PX // 2, count_include_pad=False)


def inner(mask: Masks) -> Masks:
    """1 where a place lies inside the mask with all that is around it, else 0."""
    return (F.avg_pool2d(mask, 9, 1, 4) > 0.95).float()


def laplacian(picture: Float[Tensor, "b k s s"]) -> Float[Tensor, "b k s s"]:
    """The finest detail: four times what a pixel has more than the mean of its four neighbours."""
    wide = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    around = wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
    return 4 * picture - around


def augmented_alike(
    pictures: Float[Tensor, "b 3 s s"], masks: Float[Tensor, "b 1 s s"], generator: torch.Generator
) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 1 s s"]]:
    """Pictures and masks moved by whole pixels and brightened at random, mirrored half the time.

    Source: Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training": true
    and painted faces alike, so that nothing of it is learned by the generator.
    """
    count = len(pictures)
    draws = torch.rand(count, 4, generator=generator).to(pictures.device)
    theta = torch.zeros(count, 2, 3, device=pictures.device)
    theta[:, 0, 0] = torch.where(draws[:, 0] < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = 1
    size = pictures.shape[-1]
    theta[:, :, 2] = ((draws[:, 1:3] * 2 - 1) * SHIFT * size).round() * 2 / size
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    inside = F.grid_sample(masks, grid, padding_mode="zeros", align_corners=False)
    light = (draws[:, 3] * 2 - 1) * LIGHT
    return moved + light[:, None, None, None], inside
