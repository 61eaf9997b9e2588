"""What a training step is made of: the gradient of a batch, and the held-out look beside it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..config import TrainingConfig
from ..errors import FaceswapError
from ..models.autoencoder import SIDES, Side, SwapAutoencoder
from .augment import Views, central_views
from .batches import SideData
from .losses import reconstruction_loss, ssim_map

HELDOUT_FACES = 128
"""Held-out faces of each side that a held-out loss looks at, spread evenly over all."""

SEEN_FACES = 32
"""Seen faces of each side that are rebuilt beside them: their figure hardly scatters."""

# As metrics/pictures.py has them: the window of Wang et al. 2004, and the greatest dB.
_SSIM_WINDOW_PX, _MAX_PSNR_DB = 11, 100.0

Terms = dict[Side, dict[str, Tensor]]
"""The weighted terms of both sides' losses; their sum is what training lowers."""


def accumulate_gradient(
    fabric: Fabric,
    model: Any,
    optimizer: Any,
    views: dict[Side, Views],
    options: TrainingConfig,
    parts: int,
) -> Terms:
    """Leave the batch's gradient in the model, worked out in `parts`; return the loss's terms.

    Each identity is rebuilt by its own path from the one shared code. Any number of parts, and of
    processes, gives the same gradient: faces count alike.
    """
    optimizer.zero_grad(set_to_none=True)
    sums: Terms = {side: {} for side in SIDES}
    pieces = list(zip(*(_split(views[side], parts) for side in SIDES), strict=True))
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        with fabric.no_backward_sync(model, enabled=not last):
            painted = model(piece[0].warped, piece[1].warped)
            shares = []
            for place, side in enumerate(SIDES):
                share = len(piece[place].face) / len(views[side].face)
                for name, term in side_loss(painted[place], piece[place], options).items():
                    shares.append(share * term)
                    known = sums[side].get(name, torch.zeros_like(term))
                    sums[side][name] = known + share * term.detach()
            fabric.backward(torch.stack(shares).sum())
    return sums


def gradient_within_memory(
    gradient: Callable[[int], Terms], parts: int, most: int, say: Callable[[str], None]
) -> tuple[Terms, int]:
    """`gradient` of as few parts as the memory lets through, from `parts` on; and that number.

    Raises: FaceswapError when not even single faces fit.
    """
    while True:
        try:
            return gradient(parts), parts
        except torch.OutOfMemoryError:
            if parts >= most:
                raise FaceswapError(
                    "out of memory with one face at a time; choose a smaller model.size or dims"
                ) from None
        torch.cuda.empty_cache()
        parts = min(2 * parts, most)
        say(f"out of memory: each batch is worked through in {parts} parts from here on")


def everywhere(fabric: Fabric, terms: Terms) -> Terms:
    """The mean of the terms over all processes."""
    mean: Any = fabric.all_reduce(terms)
    return terms if fabric.world_size == 1 else mean


def side_loss(
    painted: tuple[Tensor, Tensor | None], views: Views, options: TrainingConfig
) -> dict[str, Tensor]:
    """One side's loss terms under the config's weights."""
    return reconstruction_loss(
        painted,
        views.face,
        views.mask,
        views.features,
        dssim_weight=options.dssim_weight,
        mse_weight=options.mse_weight,
        mask_weight=options.mask_weight,
        features_weight=options.features_weight,
        background_weight=options.background_weight,
        l1_weight=options.l1_weight,
        gradient_weight=options.gradient_weight,
        frequency_weight=options.frequency_weight,
    )


def heldout_loss(
    average: SwapAutoencoder, data: SideData, size: int, options: TrainingConfig, side: Side
) -> float:
    """The loss of the averaged weights on one side's held-out faces, unwarped."""
    return _look(average, data.heldout, HELDOUT_FACES, data, size, options, side).loss


def heldout_figures(
    average: SwapAutoencoder, data: SideData, size: int, options: TrainingConfig, side: Side
) -> dict[str, float | None]:
    """`heldout_loss`, and how well the averaged weights rebuild faces, named as in the log.

    PSNR in dB and SSIM, inside the mask, a mean over unwarped faces, as metrics/pictures.py has
    them: of held-out faces, and the PSNR of seen ones, so that the gap between the two is known.
    None: no face has a mask.
    """
    heldout = _look(average, data.heldout, HELDOUT_FACES, data, size, options, side)
    seen = _look(average, data.seen, SEEN_FACES, data, size, options, side)
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
    most: int,
    data: SideData,
    size: int,
    options: TrainingConfig,
    side: Side,
) -> _Look:
    """How the weights do on at most `most` of these faces, spread evenly over all."""
    device = next(average.parameters()).device
    chosen = torch.linspace(0, len(faces) - 1, min(most, len(faces))).long()
    total, psnr_db, ssim = 0.0, [], []
    for part in chosen.split(32):
        views = central_views(faces[part].to(device), size, data.side_with_margin)
        painted = average.paint(views.warped, side)
        terms = side_loss(painted, views, options)
        total += sum(float(term) for term in terms.values()) * len(part)
        # Half precision would round errors of a hundredth away.
        figures = psnr_and_ssim(painted[0].float(), views.face, views.mask)
        psnr_db.append(figures[0])
        ssim.append(figures[1])
    return _Look(total / len(chosen), _known_mean(psnr_db), _known_mean(ssim))


def psnr_and_ssim(
    image: Float[Tensor, "b 3 s s"], face: Float[Tensor, "b 3 s s"], mask: Float[Tensor, "b 1 s s"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Each picture's PSNR in dB and SSIM, inside the mask: metrics/pictures.py in torch.

    NaN where the mask is empty.
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


def refuse_nonfinite_loss(
    terms: Terms, step: int, rate: float, faces: Callable[[], dict[Side, list[str]]]
) -> None:
    """Stop before a loss that is no number can be saved.

    Raises: FaceswapError naming the terms and, by `faces`, the batch.
    """
    bad = [(s, name) for s in SIDES for name, term in terms[s].items() if not term.isfinite()]
    if not bad:
        return
    parts = ", ".join(f"{side}'s {name}" for side, name in bad)
    batch = "; ".join(f"{side} {', '.join(names)}" for side, names in faces().items())
    raise FaceswapError(
        f"step {step}: the loss is no longer a number ({parts}; rate {rate:.1e}; faces: {batch}); "
        "the last checkpoint is good: try training.lr three times lower, or "
        "training.precision=32-true"
    )


def refuse_nonfinite_weights(network: nn.Module, step: int) -> None:
    """Stop before weights that are no numbers can be saved.

    The loss is that of the weights before a step's update; what is saved are those after it.
    Raises: FaceswapError naming the parts.
    """
    bad = [
        name
        for name, part in network.named_children()
        if not all(bool(p.isfinite().all()) for p in part.parameters())
    ]
    if bad:
        raise FaceswapError(
            f"step {step}: the weights of {', '.join(bad)} are no longer numbers; the last "
            "checkpoint is good: try training.lr three times lower, or training.precision=32-true"
        )


def _split(views: Views, parts: int) -> Iterator[Views]:
    """The views in `parts` parts of nearly the same size."""
    chunks = [
        torch.tensor_split(tensor, parts)
        for tensor in (views.warped, views.face, views.mask, views.features)
    ]
    return (Views(*chunk) for chunk in zip(*chunks, strict=True))
