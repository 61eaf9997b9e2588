"""The mask of a swap, in the crop: which pixels of the painted face are shown, and how much."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ..faces.user_masks import UserMasks
from ..media.clips import Frame
from .painted import PaintedFace

Mask = Float[np.ndarray, "s s"]

# How far, in face sides, colours are carried beyond the painted face's edge (sigma).
CARRIED = 0.04
CARRIED_EDGE_PX = 96
# A colour is a wall's when its green or blue lies by so much more above its red than in the face,
# in shares of its brightest channel; unless it is as dark as hair, in shares of the face's.
WALL, ALL_WALL = 0.25, 0.5
DARK, LIGHT = 0.3, 0.6
# Walls are looked for this near to the mask's edge (sigma), in face sides.
WALL_SIGMA = 0.07
# Soft edges are drawn this many pixels wide (up to twice as many) and then enlarged.
MIN_EDGE_PX = 12


def hull_mask(face: PaintedFace, frame: Frame, given: UserMasks | None) -> Mask:
    """The landmarks' mask alone: steady, blind to hair and hands."""
    return face.hull


def learned_mask(face: PaintedFace, frame: Frame, given: UserMasks | None) -> Mask:
    """The model's mask alone: may see hair and hands, may have holes."""
    return face.own


def product_mask(face: PaintedFace, frame: Frame, given: UserMasks | None) -> Mask:
    """Only what both masks show."""
    return face.both


def blend_alpha(
    mask: Mask,
    *,
    erode: float,
    feather: float,
    top: float | int = 0,
    bottom: float | int = 0,
    left: float | int = 0,
    right: float | int = 0,
) -> Float[np.ndarray, "s s"]:
    """The alpha of a swap: its four sides moved by `move_edges`, then the edge by `soft_alpha`."""
    return soft_alpha(move_edges(mask, top, bottom, left, right), erode, feather)


def steady_mask(
    masks: Sequence[Mask | None], weights: Sequence[float] | Float[np.ndarray, " n"]
) -> Float[np.ndarray, "s s"]:
    """The weighted average of the masks of neighbouring frames, each in its own crop, float32.

    None (a frame without a face) is left out.
    Raises: ValueError when no mask with a weight above 0 is left.
    """
    found = [
        (mask, weight) for mask, weight in zip(masks, weights, strict=True) if mask is not None
    ]
    total = float(sum(weight for _, weight in found))
    if not total > 0:
        raise ValueError("no mask to average: all are None or have no weight")
    first = found[0][0]
    average = np.zeros(first.shape, np.float32)
    for mask, weight in found:
        average += np.float32(weight / total) * mask.astype(np.float32)
    return average


def carry_outwards(face: Float[np.ndarray, "s s 3"], own: Mask) -> Float[np.ndarray, "s s 3"]:
    """The painted face with its own colours carried on beyond its own mask.

    There a network paints the background that the person stood before; where the target's face is
    wider, or the mask is grown, a blue wall would show. A normalised average of what lies inside.
    """
    inside = np.clip(own, 0, 1).astype(np.float32)[..., None]
    layer: np.ndarray = np.dstack([face.astype(np.float32) * inside, inside])  # (s, s, 4)
    # So wide an average has no fine detail: a smaller picture makes it sooner.
    small_edge = min(len(own), CARRIED_EDGE_PX)
    small = cv2.resize(layer, (small_edge, small_edge), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), CARRIED * small_edge)
    blurred = cv2.resize(small, own.shape[::-1], interpolation=cv2.INTER_LINEAR)
    total = blurred[..., 3:]
    share = inside + (1 - inside) * (total < 1e-3)
    return share * face + (1 - share) * blurred[..., :3] / np.maximum(total, 1e-3)


def without_wall(face: Float[np.ndarray, "s s 3"], own: Mask) -> Float[np.ndarray, "s s"]:
    """The face's own mask less what shows a blue or green wall past its cheek, as masks often do.

    Told by hue, in the painted face before its colours are matched, and near the edge only: eyes
    may be as blue. Whatever is as blue there goes with it, a scarf, the arm of spectacles.
    """
    own = own.astype(np.float32)
    if own.max() <= 0.5:
        return own
    edge = min(len(own), CARRIED_EDGE_PX)
    small, inside = (
        cv2.resize(picture.astype(np.float32), (edge, edge), interpolation=cv2.INTER_AREA)
        for picture in (face, own)
    )
    red, green, blue = cv2.split(small)
    light = np.maximum(np.maximum(red, np.maximum(green, blue)), 0.02)
    cold = (np.maximum(green, blue) - red) / light
    cold, light = cold - np.median(cold[inside > 0.5]), light / np.median(light[inside > 0.5])
    wall: np.ndarray = np.clip((cold - WALL) / (ALL_WALL - WALL), 0, 1)
    wall *= np.clip((light - DARK) / (LIGHT - DARK), 0, 1)
    # Between wall and face their colours are mixed.
    wall = cv2.dilate(wall, np.ones((3, 3), np.uint8))
    depth = cv2.GaussianBlur(inside, (0, 0), WALL_SIGMA * edge, borderType=cv2.BORDER_CONSTANT)
    # At a straight edge the blurred mask is 0.5, a sigma inside 0.84.
    wall *= np.clip((0.95 - depth) / 0.15, 0, 1)
    return own * (1 - cv2.resize(wall, own.shape[::-1], interpolation=cv2.INTER_LINEAR))


def move_edges(
    mask: Mask, top: float | int, bottom: float | int, left: float | int, right: float | int
) -> Float[np.ndarray, "s s"]:
    """The mask with its sides moved outwards (above 0) or inwards, by fractions of the crop's side.

    The edges of the mask's own box (above half) move by that much, its middle stays, and between
    them the shift grows with the square of the distance: nothing folds, tears or steps, and moving
    one side leaves the half across from it as it was.
    """
    if not any((top, bottom, left, right)):
        return mask
    x0, y0, width, height = cv2.boundingRect((mask > 0.5).astype(np.uint8))
    if not width:
        return mask
    edge = mask.shape[0]
    x = _old_places(edge, x0 - 0.5, x0 + width - 0.5, left * edge, right * edge)
    y = _old_places(edge, y0 - 0.5, y0 + height - 0.5, top * edge, bottom * edge)
    grid = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return cv2.remap(mask.astype(np.float32), *grid, cv2.INTER_LINEAR, borderValue=0)


def _old_places(
    edge: int, low: float, high: float, low_px: float | int, high_px: float | int
) -> Float[np.ndarray, " {edge}"]:
    """Where each pixel of a line comes from, when its ends `low` and `high` move outwards."""
    middle, reach = (low + high) / 2, (high - low) / 2
    steps = np.arange(edge) - middle
    distance = np.abs(steps)

    def pulled(move: float | int) -> np.ndarray:
        if move < 0:
            # At least a pixel is left, so that the line keeps its order.
            return distance - move * np.square(distance / max(reach + move, 1.0))
        # The root of new = old + move * (old / reach)^2.
        return 2 * distance / (1 + np.sqrt(1 + 4 * move * distance / reach**2))

    return middle + np.where(steps < 0, -pulled(low_px), pulled(high_px))


def soft_alpha(mask: Mask, erode: float, feather: float) -> Float[np.ndarray, "s s"]:
    """The mask with its edge moved in and softened, float32 in [0, 1], 0 all along the border.

    `erode` (below 0: dilate) and `feather` are fractions of the crop's side, taken to whole pixels.
    The soft edge lies inside the mask: what `mask` hides stays hidden, and the crop's own border
    counts as the mask's edge, so that no square shows when a mask reaches it.
    """
    edge = mask.shape[0]
    alpha = np.clip(mask, 0, 1).astype(np.float32)
    steps = round(abs(erode) * edge)
    if steps:
        change = cv2.erode if erode > 0 else cv2.dilate
        # Outside the crop there is nothing: it takes part in an erosion and adds to no dilation.
        alpha = change(alpha, _disc(steps), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    alpha[[0, -1], :] = 0
    alpha[:, [0, -1]] = 0
    width = round(feather * edge)
    return alpha if width < 2 else _soften_inward(alpha, width)


def _soften_inward(mask: Mask, width_px: int) -> Float[np.ndarray, "s s"]:
    """The mask with an edge about `width_px` wide, all of it inside the old one."""
    # A wide edge has no fine detail, and a smaller picture makes it many times sooner.
    shrink = max(1, width_px // MIN_EDGE_PX)
    edge = mask.shape[0]
    small_edge = -(-edge // shrink)
    small = cv2.resize(mask, (small_edge, small_edge), interpolation=cv2.INTER_AREA)
    # An erosion by half the edge's width makes the room that a blur of the same reach then fills,
    # and no more, since both look at the same pixels.
    cone = _cone(round(width_px / shrink / 2))
    eroded = cv2.erode(
        small, (cone > 0).astype(np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    blurred = cv2.filter2D(eroded, -1, cone / cone.sum(), borderType=cv2.BORDER_CONSTANT)
    alpha = cv2.resize(blurred, (edge, edge), interpolation=cv2.INTER_LINEAR)
    # Large filters run by Fourier transform, which leaves dust where there is nothing.
    return np.where(alpha < 1e-4, np.float32(0), np.minimum(alpha, mask))


def _cone(radius_px: int) -> Float[np.ndarray, "k k"]:
    """A round kernel, highest in the middle, above 0 within the radius."""
    steps = np.arange(-radius_px, radius_px + 1)
    distance = np.hypot(*np.meshgrid(steps, steps))
    return np.maximum(radius_px + 1 - distance, 0).astype(np.float32)


def _disc(radius_px: int) -> UInt8[np.ndarray, "k k"]:
    edge = 2 * radius_px + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge))


MaskMaker = Callable[[PaintedFace, Frame, UserMasks | None], Mask]
"""From a painted face (both crops, landmarks, hull, learned mask, the frame's map to the crop), its
frame and the masks that a person drew, to how much of the crop is shown, 0 to 1, float32. Runs in
several threads at once. `steady_mask` and `blend_alpha` follow; drawn masks hold in any case."""

MASKS: dict[str, Callable[[], MaskMaker]] = {
    "hull": lambda: hull_mask,
    "learned": lambda: learned_mask,
    "product": lambda: product_mask,
    # What is before the face is taken off later, in the frame's own pixels (occlusion.py): there an
    # edge is not one of the face, to be moved and softened.
    "visible": lambda: product_mask,
}
"""Builders, called for every clip: one with weights keeps what it has loaded, and raises
FaceswapError where they cannot be had."""
