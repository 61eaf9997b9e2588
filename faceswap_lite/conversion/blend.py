"""Putting a painted face back: only the face's own rectangle of the frame is touched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8, UInt16

FramePixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]

# Below this share a face cannot be seen, and the frame's pixel is left exactly as it was.
MIN_ALPHA = 1e-3
# Cubic interpolation reads two pixels to each side.
REACH_PX = 2
# The coarsest band's pixel is this part of the face's side: it fades over about a fifth of it.
PIXELS_PER_FACE = 14


@dataclass(frozen=True)
class Layer:
    """What is laid over a frame: a rectangle of it, its corner in frame pixels.

    Colour is RGB in [0, 1] of the frame's whole range, straight (not times alpha), and says nothing
    where alpha is 0. Alpha is exactly 0 where nothing shows.
    """

    left: int
    top: int
    color: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w 1"]
    whole: Float32[np.ndarray, "h w 1"] | None = None
    """Alpha as it would be with nothing before the face; None: nothing is."""

    @property
    def rows(self) -> slice:
        """Its rows in the frame."""
        return slice(self.top, self.top + self.alpha.shape[0])

    @property
    def columns(self) -> slice:
        """Its columns in the frame."""
        return slice(self.left, self.left + self.alpha.shape[1])


def place_face(
    frame_shape: tuple[int, int],
    face: Float[np.ndarray, "s s 3"],
    alpha: Float[np.ndarray, "s s"],
    frame_to_crop: Float[np.ndarray, "2 3"],
) -> Layer | None:
    """The layer that shows the face in a frame of (height, width), or None when nothing shows.

    `face` is RGB in [0, 1], `alpha` 0 to 1. Parts of the face outside the frame are left out. The
    face is interpolated times alpha and divided by it again, so that what lies hidden under alpha 0
    never bleeds into the edge.
    Raises: ValueError when `frame_to_crop` cannot be inverted.
    """
    scale = _frame_pixels_per_crop_pixel(frame_to_crop)
    if not alpha.max() > MIN_ALPHA:
        return None
    # A smaller picture needs its finest detail taken out first. The blur grows smoothly from
    # nothing, so that a face whose size crosses 1:1 does not blink.
    blur_px = 0.4 * np.sqrt(max(0.0, scale**-2 - 1))

    left, top, right, bottom = _shown_box(alpha, margin=int(np.ceil(3 * blur_px)) + REACH_PX)
    face, alpha = face[top:bottom, left:right], alpha[top:bottom, left:right]
    matrix = frame_to_crop - np.array([[0, 0, left], [0, 0, top]])
    x0, y0, x1, y1 = frame_box(matrix, alpha.shape, frame_shape)
    if x0 >= x1 or y0 >= y1:
        return None
    matrix[:, 2] += matrix[:, :2] @ (x0, y0)

    thin = alpha.astype(np.float32)
    shown: np.ndarray = np.dstack([face.astype(np.float32) * _wide(thin), thin])  # (h, w, 4)
    if blur_px > 0.2:  # a kernel of less than that is a single 1
        shown = cv2.GaussianBlur(shown, (0, 0), blur_px, borderType=cv2.BORDER_CONSTANT)
    shown = cv2.warpAffine(
        shown,
        matrix,
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    share = np.where(shown[..., 3] > MIN_ALPHA, shown[..., 3], np.float32(0))
    if not share.any():
        return None
    # Cubic overshoot leaves the range of colours and of alpha; both are brought back.
    straight = _wide(1 / np.maximum(share, np.float32(MIN_ALPHA))) * shown[..., :3]
    return Layer(x0, y0, np.clip(straight, 0, 1), np.minimum(share, np.float32(1))[..., None])


def gate_layer(layer: Layer, given: Float[np.ndarray, "h w"]) -> Layer | None:
    """The layer where the frame's mask `given` (1: may be swapped, 0: never) lets it show.

    Alpha is multiplied by it, as it is: nothing softens or moves its edge. None: nothing shows.
    """
    return _gated(layer, np.clip(given[layer.rows, layer.columns], 0, 1))


def clear_layer(layer: Layer, clear: Float[np.ndarray, "h w"]) -> Layer | None:
    """The layer where nothing is before its face (`clear`, of its rectangle, is 1).

    None: nothing shows.
    """
    seen = _gated(layer, clear)
    return None if seen is None else replace(seen, whole=layer.alpha)


def _gated(layer: Layer, gate: Float[np.ndarray, "h w"]) -> Layer | None:
    gated = layer.alpha * gate[..., None].astype(np.float32)
    gated[gated <= MIN_ALPHA] = 0
    return replace(layer, alpha=gated) if gated.any() else None


def alpha_over(frame: FramePixels, layer: Layer) -> FramePixels:
    """A new frame with the layer over it: alpha times its colour, the rest the frame's.

    Pixels where alpha is 0 are those of `frame`, bit for bit.
    Source: Porter and Duff 1984, "over".
    """
    below, gap = _below_and_gap(frame, layer)
    return _with_rectangle(frame, layer, below + _wide(layer.alpha) * gap)


def multiband_over(frame: FramePixels, layer: Layer) -> FramePixels:
    """A new frame with the layer over it: detail by alpha, broad light and colour over a wider rim.

    The rim grows inwards only, up to about a fifth of the face: like `alpha_over`, this keeps
    pixels where alpha is 0 bit for bit, so that hair and hands take no tint of the face. Alpha
    weighs the finest band once; each coarser band has a wider edge of its own instead of it.
    Source: Burt and Adelson 1983, "A multiresolution spline with application to image mosaics": the
    bands of (layer - frame), each times its own weight, on the frame. The bands are averages of
    what alpha shows (normalised by alpha), and are weighed in the frame's own resolution.
    """
    below, gap = _below_and_gap(frame, layer)
    octaves = np.log2(max(1.0, float(np.sqrt(layer.alpha.sum())) / PIXELS_PER_FACE))
    levels = int(np.ceil(octaves))
    weight = layer.alpha[..., 0]
    added = _wide(weight) * gap
    # A face cut by the frame's border goes on beyond it; elsewhere alpha has come to 0.
    margin = 2 ** (levels + 1)
    margins = (margin, margin, margin, margin)
    shown = cv2.merge([*cv2.split(added), weight])
    pyramid = [cv2.copyMakeBorder(shown, *margins, cv2.BORDER_REPLICATE)]
    for _ in range(levels):
        pyramid.append(cv2.pyrDown(pyramid[-1]))

    # The sum of weight[k] * (low[k] - low[k + 1]), where low[0] is the gap itself.
    for level in range(1, levels + 1):
        share = pyramid[level][..., 3]
        averages = pyramid[level][..., :3] / np.maximum(share, 1e-4)[..., None]
        low: np.ndarray = np.dstack([averages, cv2.erode(share, np.ones((3, 3), np.uint8))])
        for finer in reversed(pyramid[:level]):
            low = cv2.pyrUp(low, dstsize=finer.shape[1::-1])
        low = low[margin:-margin, margin:-margin]
        wider = np.clip(low[..., 3], 0, weight)
        if level == levels:
            # The last band comes in by degrees, so that a growing face does not blink.
            wider = weight + np.float32(octaves - (levels - 1)) * (wider - weight)
        added -= _wide(weight - wider) * low[..., :3]
        weight = wider
    return _with_rectangle(frame, layer, below + added)


Blender = Callable[[FramePixels, Layer], FramePixels]
BLENDERS: dict[str, Blender] = {"alpha": alpha_over, "multiband": multiband_over}


def lay_over(frame: FramePixels, layers: Sequence[Layer], blend: str = "alpha") -> None:
    """Writes the layers over `frame` itself, in their order, each by `BLENDERS[blend]`.

    Touches the layers' rectangles only: a large frame costs what a small one does.
    """
    for layer in layers:
        rectangle = frame[layer.rows, layer.columns]
        rectangle[:] = BLENDERS[blend](rectangle, replace(layer, left=0, top=0))


def layer_rgba(
    frame_shape: tuple[int, int], layers: Sequence[Layer], dtype: type
) -> Shaped[np.ndarray, "h w 4"]:
    """The layers alone, each over those before it, for a compositor: RGB, straight alpha.

    `dtype` is uint8 or uint16, of its whole range. Where nothing shows all four are 0.
    """
    out: np.ndarray = np.zeros((*frame_shape, 4), dtype)
    if layers:
        rows, columns, shown = _stack(layers)
        share = shown[..., 3:]
        # Alpha is either 0 or more than MIN_ALPHA: this divides by nothing smaller.
        straight = np.dstack([shown[..., :3] / np.maximum(share, MIN_ALPHA), share])
        picture = np.rint(np.iinfo(dtype).max * straight)
        picture[picture[..., 3] == 0] = 0
        out[rows, columns] = picture
    return out


def layer_mask(
    frame_shape: tuple[int, int], layers: Sequence[Layer], dtype: type
) -> Shaped[np.ndarray, "h w 3"]:
    """The layers' alpha in all, a grey picture of `dtype` (uint8 or uint16): white is all face."""
    out: np.ndarray = np.zeros((*frame_shape, 3), dtype)
    if layers:
        rows, columns, shown = _stack(layers)
        out[rows, columns] = np.rint(np.iinfo(dtype).max * shown[..., 3:])
    return out


def _wide(share: Float32[np.ndarray, "h w *_"]) -> Float32[np.ndarray, "h w 3"]:
    """The share for each of three channels: numpy multiplies whole arrays ten times as fast."""
    return cv2.merge([share, share, share])


def _below_and_gap(
    frame: FramePixels, layer: Layer
) -> tuple[Float32[np.ndarray, "a b 3"], Float32[np.ndarray, "a b 3"]]:
    """The frame under the layer, and layer minus frame, in the frame's units."""
    below = frame[layer.rows, layer.columns].astype(np.float32)
    return below, layer.color * np.float32(np.iinfo(frame.dtype).max) - below


def _with_rectangle(
    frame: FramePixels, layer: Layer, mixed: Float32[np.ndarray, "a b 3"]
) -> FramePixels:
    out = frame.copy()
    out[layer.rows, layer.columns] = np.rint(np.clip(mixed, 0, np.iinfo(frame.dtype).max))
    return out


def _stack(layers: Sequence[Layer]) -> tuple[slice, slice, Float32[np.ndarray, "h w 4"]]:
    """Rows and columns of the box around all layers, and there RGB times alpha, and alpha."""
    top, left = min(layer.rows.start for layer in layers), min(x.columns.start for x in layers)
    bottom, right = max(x.rows.stop for x in layers), max(x.columns.stop for x in layers)
    shown = np.zeros((bottom - top, right - left, 4), np.float32)
    for layer in layers:
        height, width = layer.alpha.shape[:2]
        y, x = layer.top - top, layer.left - left
        below = shown[y : y + height, x : x + width]
        below *= 1 - layer.alpha
        below += np.dstack([layer.color * layer.alpha, layer.alpha])
    return slice(top, bottom), slice(left, right), shown


def _frame_pixels_per_crop_pixel(frame_to_crop: Float[np.ndarray, "2 3"]) -> float:
    area = abs(float(np.linalg.det(frame_to_crop[:, :2])))
    if not area > 1e-12:
        raise ValueError("frame_to_crop cannot be inverted: it flattens the frame")
    return area**-0.5


def _shown_box(alpha: Float[np.ndarray, "s s"], margin: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of what alpha shows, with a margin, inside the crop."""
    left, top, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    return (
        max(left - margin, 0),
        max(top - margin, 0),
        min(left + width + margin, alpha.shape[1]),
        min(top + height + margin, alpha.shape[0]),
    )


def frame_box(
    frame_to_crop: Float[np.ndarray, "2 3"], crop_shape: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) in the frame of a crop's outline, inside the frame."""
    height, width = crop_shape
    x, y = (-0.5, width - 0.5), (-0.5, height - 0.5)
    corners = np.array([[x[i], y[j]] for i in (0, 1) for j in (0, 1)])
    points = (corners - frame_to_crop[:, 2]) @ np.linalg.inv(frame_to_crop[:, :2]).T
    x0, y0 = (int(value) for value in np.floor(points.min(0)))
    x1, y1 = (int(value) + 1 for value in np.ceil(points.max(0)))
    return max(x0, 0), max(y0, 0), min(x1, shape[1]), min(y1, shape[0])
