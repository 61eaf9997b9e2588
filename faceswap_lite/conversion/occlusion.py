"""What is before a face: told by the mask network, steady over time, sharp where the picture is.

The network says how much of each pixel is visible face. What of the outline it leaves out is hidden
by something, and that stays the clip's own: the outline's own edge is not moved or softened there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from ..geometry import compose, invert_similarity
from ..models.clear_share import Share, clear_shares
from ..models.mask_network import MaskNetwork
from .blend import Layer, clear_layer

# Landmarks are steadied more from this hidden share of the face on, up to the second.
PULLS_AWAY = 0.03, 0.15
# Neighbouring frames whose pictures differ by this much, at a place, have little to say of it.
SAME_PICTURE = 6.0
# Of the guided filter: its window to each side, in pixels of the network's crop, and the variance
# of colours that is no edge.
GUIDED_PX, NO_EDGE = 3, 1e-4
# The filter leaves a veil of so much at most on either side of an edge.
VEIL = 0.2
# A face of which no place is hidden by more than this is left alone.
FAINT = 0.02


class MaskView(NamedTuple):
    """A face as the mask network is shown it."""

    frame_to_crop: Float[np.ndarray, "2 3"]
    crop: UInt8[np.ndarray, "m m 3"]
    outline: Float[np.ndarray, "m m"]


@dataclass(frozen=True)
class Occlusion:
    """What of a face nothing is before: `clear` is 1 there, also beyond the outline."""

    view: MaskView
    clear: Share

    @property
    def hidden(self) -> float:
        """The share of the outline that something is before."""
        outline = self.view.outline
        return float((outline * (1 - self.clear)).sum() / max(outline.sum(), 1e-6))

    @property
    def steadier(self) -> float:
        """Over how many times as many frames the landmarks are to be smoothed, which what is before
        the face pulls away."""
        low, high = PULLS_AWAY
        return 1 + float(np.clip((self.hidden - low) / (high - low), 0, 1))

    def clear_in(
        self, frame_to_crop: Float[np.ndarray, "2 3"], size: int
    ) -> Float32[np.ndarray, "{size} {size}"]:
        """`clear` in another crop of the frame."""
        return cv2.warpAffine(
            self.clear,
            compose(invert_similarity(self.view.frame_to_crop), frame_to_crop),
            (size, size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )


def find_occlusions(network: MaskNetwork, views: Sequence[MaskView]) -> list[Occlusion]:
    """What is before each face, each by itself."""
    if not views:
        return []
    crops, outlines = np.stack([v.crop for v in views]), np.stack([v.outline for v in views])
    clear = clear_shares(network, crops, outlines)
    return [Occlusion(view, share) for view, share in zip(views, clear, strict=True)]


def steady_share(
    seen: Sequence[Occlusion | None], weights: Sequence[float] | Float[np.ndarray, " n"], here: int
) -> Share:
    """What nothing is before in the frame at `here`, averaged over its neighbours in time wherever
    their pictures are as its own.

    So the edge of what rests is steadied, and a hand that moves is neither smeared nor late. Where
    nothing changes from the frame before to the one after, what this one alone says is left out.
    None: the face is not in that frame.
    Raises: ValueError when it is not in the frame at `here`.
    """
    own = seen[here]
    if own is None:
        raise ValueError(f"frame {here} of the window has no mask")
    near = {i: one for i, one in enumerate(seen) if one is not None and weights[i] > 0}
    alike = {i: _alike(one.view.crop, own.view.crop) for i, one in near.items()}
    shares = {i: one.clear for i, one in near.items()}
    if here - 1 in near and here + 1 in near:
        before, after = shares[here - 1], shares[here + 1]
        settled = np.clip(own.clear, np.minimum(before, after), np.maximum(before, after))
        rests = np.minimum(alike[here - 1], alike[here + 1])
        shares[here] = own.clear + rests * (settled - own.clear)
    counts = np.stack([np.float32(weights[i]) * alike[i] for i in near])
    return (counts * np.stack(list(shares.values()))).sum(0) / counts.sum(0)


def _alike(one: UInt8[np.ndarray, "m m 3"], other: UInt8[np.ndarray, "m m 3"]) -> Share:
    """1 where two pictures show the same, 0 where they do not."""
    gap = cv2.blur(one.astype(np.float32) - other.astype(np.float32), (5, 5))
    furthest = np.abs(gap).max(-1)
    return np.exp(-0.5 * np.square(furthest / SAME_PICTURE))


def keep_what_is_before(
    layer: Layer, frame: np.ndarray, occlusion: Occlusion, clear: Share
) -> Layer | None:
    """The layer where `clear` (the occlusion's, made steady) lets it show; None: nothing shows.

    Its edges are moved to those of the frame's picture, in the frame's own pixels.
    Source: He, Sun and Tang 2010, "Guided image filtering", with a guide of three channels, fitted
    at the crop's size and applied at the frame's (He and Sun 2015, "Fast guided filter").
    """
    if clear.min() > 1 - FAINT:
        return layer
    rows, columns = layer.rows, layer.columns
    guide = frame[rows, columns].astype(np.float32) / np.float32(np.iinfo(frame.dtype).max)
    to_crop = occlusion.view.frame_to_crop.copy()
    to_crop[:, 2] += to_crop[:, :2] @ (layer.left, layer.top)
    planes = cv2.warpAffine(
        guided_planes(occlusion.view.crop.astype(np.float32) / 255, clear),
        to_crop,
        (guide.shape[1], guide.shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    share = (planes[..., :3] * guide).sum(-1) + planes[..., 3]
    return clear_layer(layer, np.clip((share - VEIL) / (1 - 2 * VEIL), 0, 1))


def guided_planes(
    guide: Float32[np.ndarray, "m m 3"], share: Share
) -> Float32[np.ndarray, "m m 4"]:
    """At each place factors of red, green and blue and what is added: near it, their sum is the
    share as far as colours tell it."""

    def mean(picture: np.ndarray) -> np.ndarray:
        return cv2.blur(picture, (2 * GUIDED_PX + 1,) * 2, borderType=cv2.BORDER_REFLECT_101)

    color, level = mean(guide), mean(share)
    factors = np.zeros_like(guide)
    # Where the share is even, it is its own mean.
    busy = mean(share * share) - level * level > 1e-4
    if busy.any():
        both = guide[..., :, None] * guide[..., None, :]  # (m, m, 3, 3)
        spread = mean(both.reshape(*share.shape, 9)).reshape(both.shape)[busy]
        spread -= color[busy][:, :, None] * color[busy][:, None, :]
        together = mean(guide * share[..., None])[busy] - (color * level[..., None])[busy]
        noise = NO_EDGE * np.eye(3, dtype=np.float32)
        factors[busy] = np.linalg.solve(spread + noise, together[..., None])[..., 0]
    added = level - (factors * color).sum(-1)
    return mean(np.dstack([factors, added]))
