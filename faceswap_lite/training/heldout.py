"""The held-out look: how the averaged weights do on faces that they never learned from."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..config import LossConfig, Side
from ..models.autoencoder import SIDES, SwapAutoencoder
from .augmentation import central_views
from .batches import SideData
from .losses import ssim_map
from .step import side_loss

Precision = Callable[[], AbstractContextManager[None]]
"""What networks are run in: the training's own, so that a look costs no more than it must."""

HELDOUT_FACES = 128
"""Held-out faces of each side that a held-out loss looks at, spread evenly over all."""

SEEN_FACES = 32
"""Seen faces of each side that are rebuilt beside them: their figure hardly scatters."""

# As metrics/pictures.py has them: the window of Wang et al. 2004, and the greatest dB.
_SSIM_WINDOW_PX, _MAX_PSNR_DB = 11, 100.0


def heldout_loss(
    average: SwapAutoencoder, data: SideData, size: int, loss: LossConfig, side: Side
) -> float:
    """The loss of the averaged weights on one side's held-out faces, unwarped."""
    return _look(average, data.heldout, HELDOUT_FACES, data, size, loss, side).loss


def heldout_figures(
    average: SwapAutoencoder,
    data: SideData,
    size: int,
    loss: LossConfig,
    side: Side,
    precision: Precision = nullcontext,
) -> dict[str, float | None]:
    """`heldout_loss`, and how well the averaged weights rebuild faces, named as in the log.

    PSNR in dB and SSIM, inside the mask, a mean over unwarped faces, as metrics/pictures.py has
    them: of held-out faces, and the PSNR of seen ones, so that the gap between the two is known.
    None: no face has a mask.
    """
    heldout, seen = (
        _look(average, faces, maximum, data, size, loss, side, precision)
        for faces, maximum in ((data.heldout, HELDOUT_FACES), (data.seen, SEEN_FACES))
    )
    return {
        f"heldout_{side}": heldout.loss,
        f"heldout_{side}_psnr_db": heldout.psnr_db,
        f"heldout_{side}_ssim": heldout.ssim,
        f"seen_{side}_psnr_db": seen.psnr_db,
    }


class _Look(NamedTuple):
    """Means over the faces that were looked at."""

    loss: float
    psnr_db: float | None
    ssim: float | None


@torch.no_grad()
def _look(
    average: SwapAutoencoder,
    faces: UInt8[Tensor, "n 5 m m"],
    maximum: int,
    data: SideData,
    size: int,
    loss: LossConfig,
    side: Side,
    precision: Precision = nullcontext,
) -> _Look:
    """How the weights do on at most `maximum` of these faces, spread evenly over all."""
    device = next(average.parameters()).device
    chosen = torch.linspace(0, len(faces) - 1, min(maximum, len(faces))).long()
    total, psnr_db, ssim = 0.0, [], []
    for part in chosen.split(32):
        views = central_views(faces[part].to(device), size, data.edge_with_margin)
        with precision():
            face, mask = average.paint(views.warped, side)
        # Losses are sums: half precision would round errors of a hundredth away.
        painted = face.float(), None if mask is None else mask.float()
        terms = side_loss(painted, views, loss)
        total += sum(float(term) for term in terms.values()) * len(part)
        figures = psnr_and_ssim(painted[0], views.face, views.mask)
        psnr_db.append(figures[0])
        ssim.append(figures[1])
    return _Look(total / len(chosen), _known_mean(psnr_db), _known_mean(ssim))


def psnr_and_ssim(
    image: Float[Tensor, "b 3 s s"], face: Float[Tensor, "b 3 s s"], mask: Float[Tensor, "b 1 s s"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Each picture's PSNR in dB and SSIM, inside the mask; NaN where that is empty.

    metrics/pictures.py in torch: training looks at batches where they lie; a test holds both equal.
    """
    edge = _SSIM_WINDOW_PX // 2
    errors = _mean_inside((image - face).square(), mask)
    psnr_db = (-10 * errors.clamp(min=1e-12).log10()).clamp(max=_MAX_PSNR_DB)
    likeness = ssim_map(image, face, _SSIM_WINDOW_PX)
    return psnr_db, _mean_inside(likeness, mask[..., edge:-edge, edge:-edge])


def _mean_inside(
    values: Float[Tensor, "b 3 h w"], weight: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, " b"]:
    return (values * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3)))


def _known_mean(parts: list[Float[Tensor, " _"]]) -> float | None:
    values = torch.cat(parts)
    return float(values.nanmean()) if not values.isnan().all() else None


def heldout_losses(
    average: Any,
    sides: dict[Side, SideData],
    size: int,
    loss: LossConfig,
    precision: Precision = nullcontext,
) -> dict[str, Any]:
    """The figures of both sides, and the sum of their losses: what a run is judged by."""
    figures: dict[str, Any] = {}
    for side in SIDES:
        figures |= heldout_figures(average, sides[side], size, loss, side, precision)
    return {"heldout": sum(figures[f"heldout_{side}"] for side in SIDES), **figures}
