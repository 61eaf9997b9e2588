"""What is before a face: told by the mask network, steady over time, sharp where the picture is.

The network says how much of each pixel is visible face. What of the outline it leaves out is hidden
by something, and that stays the clip's own: the outline's own edge is not moved or softened there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from ..faces.align import align, cut_crop, within_frame
from ..faces.hull import face_mask
from ..geometry import compose, invert_similarity
from ..metrics.landmarks import LandmarksPack
from ..models.mask_network import MASK_SIZE, MaskNetwork, Share, clear_shares
from .blend import Layer, clear_layer, frame_box

# How much the network is shown, in eye distances, whatever a run's own crops show: enough of what
# comes in from beyond the face. It is in the middle of what it has learned (`full` to `whole`).
VIEW_EYES = 3.75
# Landmarks are steadied more from this hidden share of the face on, up to the second.
PULLS_AWAY = 0.03, 0.15
# Neighbouring frames whose pictures differ by this much, at a place, have little to say of it.
SAME_PICTURE = 6.0
# Over so many pixels of the network's crop pictures are compared.
ALIKE_PX = 5
# Of the guided filter: its window to each side, in pixels of the network's crop, and the variance
# of colours that is no edge.
GUIDED_PX, NO_EDGE = 3, 1e-4
# Shares that differ by less are the same: a step of eight bits.
EVEN = 1 / 255
# The filter leaves a veil of so much at most on either side of an edge. It is cut off, and the rest
# stretched: with less of it the edge of a hand is softer.
VEIL = 0.2
# A face of which no place is hidden by more than this is left alone.
FAINT = 0.02


class MaskView(NamedTuple):
    """A face as the mask network is shown it."""

    frame_to_crop: Float[np.ndarray, "2 3"]
    crop: UInt8[np.ndarray, "m m 3"]
    outline: Float[np.ndarray, "m m"]


def mask_view(
    image: UInt8[np.ndarray, "h w 3"], landmarks: Float[np.ndarray, "n 2"], pack: LandmarksPack
) -> MaskView:
    """The face as the mask network sees most of what is before it."""
    matrix = align(landmarks, pack, VIEW_EYES, MASK_SIZE)
    crop = cut_crop(image, matrix, MASK_SIZE)
    # A repeated border is no hand.
    shown = within_frame(image.shape[1], image.shape[0], matrix, MASK_SIZE)
    return MaskView(matrix, crop, face_mask(landmarks, pack, matrix, MASK_SIZE) * shown)


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
    apart = np.ptp([one.clear for one in near.values()], axis=0)
    rows, columns = _box(apart > EVEN, ALIKE_PX)
    if rows.start == rows.stop:
        return own.clear
    crops = {i: one.view.crop[rows, columns] for i, one in near.items()}
    shares = {i: one.clear[rows, columns] for i, one in near.items()}
    alike = {i: _alike(crop, crops[here]) for i, crop in crops.items()}
    if here - 1 in near and here + 1 in near:
        before, after = shares[here - 1], shares[here + 1]
        settled = np.clip(shares[here], np.minimum(before, after), np.maximum(before, after))
        rests = np.minimum(alike[here - 1], alike[here + 1])
        shares[here] = shares[here] + rests * (settled - shares[here])
    total = sum(np.float32(weights[i]) * alike[i] for i in near)
    steady = own.clear.copy()
    steady[rows, columns] = sum(np.float32(weights[i]) * alike[i] * shares[i] for i in near) / total
    return steady


def _alike(
    one: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]
) -> Float32[np.ndarray, "h w"]:
    """1 where two pictures show the same, 0 where they do not."""
    gap = cv2.blur(cv2.subtract(one, other, dtype=cv2.CV_32F), (ALIKE_PX, ALIKE_PX))
    furthest = reduce(cv2.max, map(np.abs, cv2.split(gap)))
    return cv2.exp(np.square(furthest) * np.float32(-0.5 / SAME_PICTURE**2))


def _box(places: Bool[np.ndarray, "h w"], margin: int) -> tuple[slice, slice]:
    """Rows and columns around all places, with a margin; empty ones where there are none."""
    left, top, width, height = cv2.boundingRect(places.astype(np.uint8))
    if not width:
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(top - margin, 0), top + height + margin),
        slice(max(left - margin, 0), left + width + margin),
    )


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
    # Where something is hidden and as far around it as the filter looks; beyond the crop it goes
    # on as at its edge.
    rows, columns = _box(clear < 1 - EVEN, 2 * GUIDED_PX)
    planes = guided_planes(
        occlusion.view.crop[rows, columns].astype(np.float32) / 255, clear[rows, columns]
    )
    to_crop = occlusion.view.frame_to_crop.copy()
    to_crop[:, 2] += to_crop[:, :2] @ (layer.left, layer.top) - (columns.start, rows.start)
    height, width = layer.alpha.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    if min(rows.start, columns.start) > 0 and max(rows.stop, columns.stop) < len(clear):
        left, top, right, bottom = frame_box(to_crop, planes.shape[:2], (height, width))
        if left >= right or top >= bottom:
            return layer
    to_crop[:, 2] += to_crop[:, :2] @ (left, top)
    red, green, blue, added = cv2.split(
        cv2.warpAffine(
            planes,
            to_crop,
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )
    place = slice(top, bottom), slice(left, right)
    guide = frame[layer.rows, layer.columns][place].astype(np.float32)
    guide /= np.iinfo(frame.dtype).max
    share = red * guide[..., 0] + green * guide[..., 1] + blue * guide[..., 2] + added
    shown = np.ones((height, width), np.float32)
    shown[place] = np.clip((share - VEIL) / (1 - 2 * VEIL), 0, 1)
    return clear_layer(layer, shown)


def guided_planes(
    guide: Float32[np.ndarray, "h w 3"], share: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 4"]:
    """At each place factors of red, green and blue and what is added: near it, their sum is the
    share as far as colours tell it."""

    def mean(picture: np.ndarray) -> np.ndarray:
        return cv2.blur(picture, (2 * GUIDED_PX + 1,) * 2, borderType=cv2.BORDER_REFLECT_101)

    color, level = mean(guide), mean(share)
    factors = np.zeros_like(guide)
    # Where the share is even, it is its own mean.
    busy = mean(share * share) - level * level > 1e-4
    if busy.any():
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        both = mean(cv2.merge([guide[..., i] * guide[..., j] for i, j in pairs]))[busy]
        spread = both[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
        spread -= color[busy][:, :, None] * color[busy][:, None, :]
        together = mean(guide * share[..., None])[busy] - (color * level[..., None])[busy]
        noise = NO_EDGE * np.eye(3, dtype=np.float32)
        factors[busy] = np.linalg.solve(spread + noise, together[..., None])[..., 0]
    added = level - (factors * color).sum(-1)
    return mean(np.dstack([factors, added]))
