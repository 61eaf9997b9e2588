"""Painted faces back into their frames: colours matched, masked, blended once, steady over time.

A frame waits until its neighbours are painted, since colours and masks are averaged over them.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Shaped

from ..config import ConvertConfig
from ..faces.user_masks import UserMasks
from ..geometry import similarity_scale
from ..media.clips import Frame
from .blend import Layer, gate_layer, lay_over, place_face
from .color_map import ColorMap, steady_color_map
from .color_matchers import COLOR_MATCHERS, relight
from .detail import add_grain, match_sharpness, measure_grain
from .mask import MASKS, MaskMaker, blend_alpha, carry_outwards, steady_mask, without_wall
from .occlusion import Occlusion, keep_what_is_before, steady_share
from .painted import PaintedFace, PaintedFrame
from .temporal_smoothing import neighbour_weights, reach

GREY = 0.01
"""Of the range from black to white: a face whose channels differ by less on average has no colour,
and what is painted over it gets none."""

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

    segment: int
    color_map: ColorMap
    mask: Float[np.ndarray, "s s"]
    occlusion: Occlusion | None


class _Neighbour(NamedTuple):
    frame: int
    looks: list[Future[_Look]]


def composite_frames(
    painted_frames: Iterable[PaintedFrame], config: ConvertConfig, masks: UserMasks | None = None
) -> Iterator[Composite]:
    """The finished frames, in order, worked on side by side. One that fails passes through."""
    span = steadying_reach(config)
    make_mask = MASKS[config.mask.kind]()
    workers = _workers()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[PaintedFrame] = deque()
        around: deque[_Neighbour] = deque()
        going: deque[Future[Composite]] = deque()
        ready = 0

        def finish_next() -> None:
            nonlocal ready
            # Just the span, however many came before: a sum over more of them has other bits.
            neighbours = list(around)[max(0, ready - span) : ready + span + 1]
            going.append(pool.submit(_finish, waiting.popleft(), neighbours, config, masks))
            ready += 1
            if ready > span:
                around.popleft()
                ready -= 1

        for painted in painted_frames:
            looks = [
                pool.submit(_look_at, face, painted.frame, masks, make_mask, config)
                for face in painted.faces
            ]
            waiting.append(painted)
            around.append(_Neighbour(painted.frame.index, looks))
            if len(waiting) > span:
                finish_next()
            while len(going) > workers:
                yield going.popleft().result()
        while waiting:
            finish_next()
        while going:
            yield going.popleft().result()


def composite(painted: PaintedFrame, config: ConvertConfig) -> Picture:
    """One frame with its painted faces in place, without its neighbours."""
    (made,) = composite_frames([painted], config)
    return made.image


def steadying_reach(config: ConvertConfig) -> int:
    """How many frames to each side a frame's colours and masks are averaged with."""
    return reach(max(config.color.steady, config.mask.steady))


def _workers() -> int:
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    # Each holds frames; more of them than this find nothing to do.
    return min(cores, 8)


def _look_at(
    face: PaintedFace,
    frame: Frame,
    masks: UserMasks | None,
    make_mask: MaskMaker,
    config: ConvertConfig,
) -> _Look:
    return _Look(
        segment=face.placement.segment,
        color_map=COLOR_MATCHERS[config.color.kind](face.face, face.true, face.inside),
        mask=make_mask(face, frame, masks),
        occlusion=face.occlusion,
    )


def _finish(
    painted: PaintedFrame,
    neighbours: list[_Neighbour],
    config: ConvertConfig,
    masks: UserMasks | None,
) -> Composite:
    before = painted.frame.image
    if painted.failed is not None or not painted.faces:
        return Composite(painted, before, [], painted.failed)
    try:
        layers = _layers(painted, neighbours, config, masks)
        image = before.copy()
        lay_over(image, layers, config.blend)
    except _FRAME_ERRORS as error:
        reason = f"frame {painted.frame.index}: {' '.join(str(error).split())}"
        return Composite(painted, before, [], reason)
    return Composite(painted, image, layers)


def _layers(
    painted: PaintedFrame,
    neighbours: list[_Neighbour],
    config: ConvertConfig,
    masks: UserMasks | None,
) -> list[Layer]:
    frame = painted.frame
    here = [neighbour.frame for neighbour in neighbours].index(frame.index)
    looks = [_looks_of(neighbour, mine=i == here) for i, neighbour in enumerate(neighbours)]
    steps = np.array([neighbour.frame - frame.index for neighbour in neighbours], np.float64)
    for_color = neighbour_weights(steps, config.color.steady).tolist()
    for_mask = neighbour_weights(steps, config.mask.steady).tolist()
    given = (
        None
        if masks is None
        else masks.frame_mask(frame.index, frame.image.shape[:2], frame.number)
    )
    layers = []
    for number, face in enumerate(painted.faces):
        segment = face.placement.segment
        # The same face in the frames around; None where it is not, and beyond a cut.
        same = [next((look for look in some if look.segment == segment), None) for some in looks]
        color_maps = [
            look.color_map if look is not None and weight > 0 else None
            for look, weight in zip(same, for_color, strict=True)
        ]
        color_map = steady_color_map(color_maps, for_color, here)
        mask = steady_mask([None if look is None else look.mask for look in same], for_mask)
        layer = _layer(frame, face, color_map, mask, config, number)
        if layer is not None and given is not None:
            layer = gate_layer(layer, given)
        elif layer is not None and face.occlusion is not None:
            occlusions = [None if look is None else look.occlusion for look in same]
            clear = steady_share(occlusions, for_mask, here)
            layer = keep_what_is_before(layer, frame.image, face.occlusion, clear)
        if layer is not None:
            layers.append(layer)
    return layers


def _looks_of(neighbour: _Neighbour, *, mine: bool) -> list[_Look]:
    """The looks of a frame's faces; one that failed fails its own frame, and no other."""
    looks = []
    for future in neighbour.looks:
        error = future.exception()
        if mine or error is None or not isinstance(error, _FRAME_ERRORS):
            looks.append(future.result())
    return looks


def _layer(
    frame: Frame,
    face: PaintedFace,
    color_map: ColorMap,
    mask: Float[np.ndarray, "s s"],
    config: ConvertConfig,
    number: int,
) -> Layer | None:
    picture = carry_outwards(color_map.apply(face.face), without_wall(face.face, face.own))
    if config.color.relight > 0:
        picture = relight(picture, face.true, face.inside, config.color.relight)
    if np.ptp(face.true, axis=-1).mean() < GREY:
        picture = np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1)
    alpha = blend_alpha(
        mask,
        erode=config.mask.erode,
        feather=config.mask.feather,
        top=config.mask.top,
        bottom=config.mask.bottom,
        left=config.mask.left,
        right=config.mask.right,
    )
    matrix = scaled(face.frame_to_crop, config.scale, len(alpha))
    layer = place_face(frame.image.shape[:2], picture, alpha, matrix)
    if layer is not None and max(config.sharpen, config.soften, config.grain) > 0:
        grain = measure_grain(frame.image, layer)
        layer = match_sharpness(
            layer, frame.image, grain,
            sharpen=config.sharpen, soften=config.soften, enlarged=1 / similarity_scale(matrix),
        )  # fmt: skip
        # Of the frame and the face alone, so that a frame painted again is the same.
        rng = np.random.default_rng([frame.index, number])
        layer = add_grain(layer, frame.image, grain, rng, config.grain)
    return layer


def scaled(
    frame_to_crop: Float[np.ndarray, "2 3"], scale: float, size: int
) -> Float[np.ndarray, "2 3"]:
    """The map for a face painted `scale` times as large about the crop's middle."""
    middle = (size - 1) / 2
    matrix = frame_to_crop / scale
    matrix[:, 2] += middle * (1 - 1 / scale)
    return matrix
