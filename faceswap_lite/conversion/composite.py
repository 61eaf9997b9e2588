"""Painted faces back into their frames: colours matched, masked, blended once, steady over time.

A frame waits until its neighbours are painted, since colours and masks are averaged over them.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Shaped

from ..config import ConvertConfig
from ..faces.given_masks import GivenMasks
from ..media import Frame
from .blend import Layer, gate_layer, lay_over, place_face
from .color import COLOR_MATCHERS, ColorMap, apply_color_map, relight, steady_color_map
from .detail import add_grain, match_sharpness, measure_grain
from .mask import base_mask, blend_alpha, steady_mask
from .paint import PaintedFace, PaintedFrame
from .smoothing import neighbour_weights, reach

Picture = Shaped[np.ndarray, "h w 3"]

# What a single frame may suffer without ending the clip.
_FRAME_ERRORS = (ValueError, cv2.error, np.linalg.LinAlgError, FloatingPointError)


@dataclass(frozen=True)
class Composite:
    """A finished frame: `layers` is what was laid over it; `failed` says why nothing was."""

    painted: PaintedFrame
    image: Picture
    layers: list[Layer]
    failed: str | None = None

    @property
    def frame(self) -> Frame:
        """The frame as it was."""
        return self.painted.frame


@dataclass(frozen=True)
class _Look:
    """What a face's neighbours in time want of it."""

    stretch: int
    color_map: ColorMap
    mask: Float[np.ndarray, "s s"]


@dataclass(frozen=True)
class _Waiting:
    painted: PaintedFrame
    looks: list[Future[_Look]]


def composite_frames(
    painted_frames: Iterable[PaintedFrame], config: ConvertConfig, masks: GivenMasks | None = None
) -> Iterator[Composite]:
    """The finished frames, in order, worked on side by side. One that fails passes through."""
    span = reach(max(config.color_steady, config.mask_steady))
    workers = max(1, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        window: deque[_Waiting] = deque()
        going: deque[Future[Composite]] = deque()
        ready = 0
        for painted in painted_frames:
            looks = [pool.submit(_look_at, face, config) for face in painted.faces]
            window.append(_Waiting(painted, looks))
            if len(window) - ready > span:
                going.append(pool.submit(_finish, list(window), ready, config, masks))
                ready += 1
            if ready > span:
                window.popleft()
                ready -= 1
            while len(going) > workers:
                yield going.popleft().result()
        for place in range(ready, len(window)):
            going.append(pool.submit(_finish, list(window), place, config, masks))
        for future in going:
            yield future.result()


def composite(painted: PaintedFrame, config: ConvertConfig) -> Picture:
    """One frame with its painted faces in place, without its neighbours."""
    looks: list[Future[_Look]] = []
    for face in painted.faces:
        future: Future[_Look] = Future()
        future.set_result(_look_at(face, config))
        looks.append(future)
    return _finish([_Waiting(painted, looks)], 0, config, None).image


def _look_at(face: PaintedFace, config: ConvertConfig) -> _Look:
    target = face.crop.astype(np.float32) / 255
    inside = face.hull if face.learned is None else face.hull * face.learned
    color_map = COLOR_MATCHERS[config.color](face.face, target, inside)
    mask = base_mask(face.hull, face.learned, config.mask)
    return _Look(face.placement.stretch, color_map, mask)


def _finish(
    window: list[_Waiting], place: int, config: ConvertConfig, masks: GivenMasks | None
) -> Composite:
    painted = window[place].painted
    before = painted.frame.image
    if painted.failed is not None or not painted.faces:
        return Composite(painted, before, [], painted.failed)
    try:
        layers = _layers(window, place, config, masks)
        image = before.copy()
        lay_over(image, layers, config.blend)
    except _FRAME_ERRORS as error:
        reason = f"frame {painted.frame.index}: {' '.join(str(error).split())}"
        return Composite(painted, before, [], reason)
    return Composite(painted, image, layers)


def _layers(
    window: list[_Waiting], place: int, config: ConvertConfig, masks: GivenMasks | None
) -> list[Layer]:
    frame = window[place].painted.frame
    looks = [[future.result() for future in waiting.looks] for waiting in window]
    given = None if masks is None else masks.frame_mask(frame.index, frame.image.shape[:2])
    steps = np.array([w.painted.frame.index - frame.index for w in window], np.float64)
    layers = []
    for number, face in enumerate(window[place].painted.faces):
        stretch = face.placement.stretch
        # The same face in the frames around; None where it is not, and beyond a cut.
        mine = [next((look for look in some if look.stretch == stretch), None) for some in looks]
        color_map = steady_color_map(
            [None if look is None else look.color_map for look in mine],
            neighbour_weights(steps, config.color_steady).tolist(),
            place,
        )
        mask = steady_mask(
            [None if look is None else look.mask for look in mine],
            neighbour_weights(steps, config.mask_steady).tolist(),
        )
        layer = _layer(frame, face, color_map, mask, config, number)
        if layer is not None and given is not None:
            layer = gate_layer(layer, given)
        if layer is not None:
            layers.append(layer)
    return layers


def _layer(
    frame: Frame,
    face: PaintedFace,
    color_map: ColorMap,
    mask: Float[np.ndarray, "s s"],
    config: ConvertConfig,
    number: int,
) -> Layer | None:
    picture = apply_color_map(face.face, color_map)
    target = face.crop.astype(np.float32) / 255
    inside = face.hull if face.learned is None else face.hull * face.learned
    if config.relight > 0:
        picture = relight(picture, target, inside, config.relight)
    if config.sharpen > 0:
        picture = match_sharpness(picture, target, inside, config.sharpen)
    alpha = blend_alpha(
        mask,
        erode=config.erode,
        feather=config.feather,
        top=config.top,
        bottom=config.bottom,
        left=config.left,
        right=config.right,
    )
    matrix = scaled(face.frame_to_crop, config.scale, len(alpha))
    layer = place_face(frame.image.shape[:2], picture, alpha, matrix)
    if layer is not None and config.grain > 0:
        # Of the frame and the face alone, so that a frame painted again is the same.
        rng = np.random.default_rng([frame.index, number])
        grain = measure_grain(frame.image, layer)
        layer = add_grain(layer, grain, rng, config.grain)
    return layer


def scaled(
    frame_to_crop: Float[np.ndarray, "2 3"], scale: float, size: int
) -> Float[np.ndarray, "2 3"]:
    """The map for a face painted `scale` times as large about the crop's middle."""
    middle = (size - 1) / 2
    matrix = frame_to_crop / scale
    matrix[:, 2] += middle * (1 - 1 / scale)
    return matrix
