"""Putting a painted face back: only the face's own rectangle of the frame is touched."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16

Frame = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]

# Below this share a face cannot be seen, and the frame's pixel is left exactly as it was.
LEAST_ALPHA = 1e-3
# Cubic interpolation reads two pixels to each side.
REACH_PX = 2


def paste_face(
    frame: Frame,
    face: Float[np.ndarray, "s s 3"],
    alpha: Float[np.ndarray, "s s"],
    frame_to_crop: Float[np.ndarray, "2 3"],
) -> Frame:
    """A new frame, of the same type, that shows the face as far as `alpha` (0 to 1) lets it.

    `face` is RGB in [0, 1] of the frame's whole range. Pixels where alpha is 0 are those of
    `frame`, bit for bit. Parts of the face outside the frame are left out.
    Source: Porter and Duff 1984, "over"; the face is interpolated times alpha and divided by it
    again, so that what lies hidden under alpha 0 never bleeds into the edge, and alpha is applied
    once.
    Raises: ValueError when `frame_to_crop` cannot be inverted.
    """
    scale = _frame_pixels_per_crop_pixel(frame_to_crop)
    out = frame.copy()
    if not alpha.max() > LEAST_ALPHA:
        return out
    # A smaller picture needs its finest detail taken out first. The blur grows smoothly from
    # nothing, so that a face whose size crosses 1:1 does not blink.
    blur_px = 0.4 * np.sqrt(max(0.0, scale**-2 - 1))

    left, top, right, bottom = _shown_box(alpha, margin=int(np.ceil(3 * blur_px)) + REACH_PX)
    face, alpha = face[top:bottom, left:right], alpha[top:bottom, left:right]
    matrix = frame_to_crop - np.array([[0, 0, left], [0, 0, top]])
    x0, y0, x1, y1 = _frame_box(matrix, alpha.shape, frame.shape)
    if x0 >= x1 or y0 >= y1:
        return out
    matrix[:, 2] += matrix[:, :2] @ (x0, y0)

    layer: np.ndarray = np.dstack([face, np.ones_like(alpha)]).astype(np.float32)  # (h, w, 4)
    layer *= alpha[..., None]
    if blur_px > 0.2:  # a kernel of less than that is a single 1
        layer = cv2.GaussianBlur(layer, (0, 0), blur_px, borderType=cv2.BORDER_CONSTANT)
    layer = cv2.warpAffine(
        layer,
        matrix,
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    share = np.where(layer[..., 3:] > LEAST_ALPHA, layer[..., 3:], 0)
    # Cubic overshoot leaves the range of colours and of alpha; both are brought back.
    color = np.clip(layer[..., :3] / np.maximum(share, LEAST_ALPHA), 0, 1)
    below = frame[y0:y1, x0:x1].astype(np.float32)
    whole = np.iinfo(frame.dtype).max
    mixed = below + np.minimum(share, 1) * (color * whole - below)
    out[y0:y1, x0:x1] = np.rint(mixed)
    return out


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


def _frame_box(
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
