"""One frame of an actor: pose the grids, light their textures, draw them, mix with the backdrop."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from . import body, surface
from .backdrop import paint_backdrop
from .cast import ActorIdentity
from .head import (
    EYE_RADIUS,
    Eye,
    expressed,
    find_eyes,
    grid_normals,
    grid_triangles,
    head_grid,
    identity_shape,
    lid_rise,
)
from .performance import ActorState
from .raster import rasterise
from .true_landmarks import landmark_points

# Samples a pixel side.
_SAMPLES = 2
# Frames look at one bank of noise through a window that jumps this far.
_GRAIN_SHIFT = 193
# Distance of the camera, in head units: about 0.9 m.
_CAMERA = 14.0
# The nape, about which the head turns.
_PIVOT = np.array([0.0, -0.9, -0.35])


@dataclass(frozen=True)
class RenderedActor:
    """A frame and its exact truth."""

    image: UInt8[np.ndarray, "s s 3"]
    face_mask: Float[np.ndarray, "s s"]  # 0..1: what a swap repaints
    landmarks: Float[np.ndarray, "68 2"]  # iBUG-68 order, pixels


_Grid = Float[np.ndarray, "r c 3"]
_Normals = Float[np.ndarray, "i j 3"]
_Triangles = Int[np.ndarray, "m 3"]
_Points = Float[np.ndarray, "n 2"]


class _Part(NamedTuple):
    """A grid of points in the scene, its paint and how it is drawn."""

    points: _Grid
    normals: _Normals  # on the grid's points, or finer
    paint: surface.Paint
    triangles: _Triangles
    share: UInt8[np.ndarray, "h w"] | int = 0  # of the face
    culled: bool = False  # its back is never seen
    tangents: _Grid | None = None  # along the hair
    sheet: bool = False  # thin, seen from both sides


def render_actor(
    identity: ActorIdentity,
    state: ActorState,
    size: int,
    *,
    background: int = 0,
    face_of: ActorIdentity | None = None,
    skin_of: ActorIdentity | None = None,
) -> RenderedActor:
    """A square frame of `identity` in `state`, before the backdrop of seed `background`.

    `face_of`: whose face (shape, features, irises, brows, skin) is worn inside the face region;
    hair, ears, neck, clothes, light and backdrop stay `identity`'s. `skin_of`: whose skin tone that
    face has (default: its own). Outside the face masks of the two, a frame with and one without
    another's face are equal pixel by pixel. The same arguments give the same bytes.
    """
    face_of = face_of or identity
    skin_of = skin_of or face_of
    head_turn = _rotation(state.yaw_deg, state.pitch_deg, state.roll_deg)
    # The body goes along a little.
    body_turn = _rotation(0.15 * state.yaw_deg, 0.0, 0.12 * state.roll_deg)
    # Texels a grid cell: about one a sample.
    detail = int(np.clip(round(size / 64), 2, 8))
    posed = expressed(_shape(identity, face_of), _eyes(identity, face_of), state)
    parts = _head_parts(identity, face_of, skin_of, state, posed, detail)
    parts = [_turned(part, head_turn) for part in parts]
    parts += _body_parts(identity, head_turn, body_turn, detail)
    camera = _Camera(size, state)
    image, face_mask = _draw(parts, camera, state, paint_backdrop(background, size))
    points = (landmark_points(face_of, posed) - _PIVOT) @ head_turn.T + _PIVOT
    return RenderedActor(image, face_mask, camera.pixels(points)[:, :2].astype(np.float32))


def _rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Float[np.ndarray, "3 3"]:
    (sy, sp, sr), (cy, cp, cr) = (
        f(np.deg2rad([yaw_deg, pitch_deg, roll_deg])) for f in (np.sin, np.cos)
    )
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return roll @ yaw @ pitch


@lru_cache(maxsize=64)
def _shape(wearer: ActorIdentity, face_of: ActorIdentity) -> _Grid:
    """The neutral head of `wearer` with the face of `face_of`."""
    own = identity_shape(wearer)
    if face_of == wearer:
        return own
    return own + surface.face_weight(wearer)[..., None] * (identity_shape(face_of) - own)


@lru_cache(maxsize=64)
def _eyes(wearer: ActorIdentity, face_of: ActorIdentity) -> tuple[Eye, Eye]:
    return find_eyes(_shape(wearer, face_of))


def _head_parts(
    wearer: ActorIdentity,
    face_of: ActorIdentity,
    skin_of: ActorIdentity,
    state: ActorState,
    posed: _Grid,
    detail: int,
) -> list[_Part]:
    """Everything that turns with the head, in the head's frame."""
    grid = head_grid()
    shape = _shape(wearer, face_of)
    skull = posed + body.hair_lift(wearer)
    seams = (grid.eye_row, grid.mouth_row)
    texture, share = surface.paint_head(wearer, face_of, skin_of, detail)
    normals = grid_normals(skull, seams, closed=True)
    parts = [
        _Part(skull, normals, texture, grid.triangles, share, True, _down(skull, seams)),
        *_eye_parts(face_of, _eyes(wearer, face_of), state, detail),
        *_mouth_parts(body.lips_middle(shape), posed, state.mouth, detail),
    ]
    if wearer.hair_style not in ("long", "bob"):
        for lateral in (-1, 1):
            points = body.ear(identity_shape(wearer), wearer, lateral)
            texture = surface.paint_ear(wearer, *points.shape[:2], detail)
            parts.append(_plain(points, texture, flip=lateral < 0))
    return parts


def _eye_parts(
    face_of: ActorIdentity, eyes: tuple[Eye, Eye], state: ActorState, detail: int
) -> list[_Part]:
    parts = []
    for lateral, eye in zip((-1, 1), eyes, strict=True):
        points = body.eyeball(eye, lateral)
        directions = _eye_directions(detail + detail // 2)
        along = np.clip(np.abs(directions[..., 0]) / 0.80, 0, 1)
        lid = lid_rise(state) * (1 - along**2.3) / EYE_RADIUS
        # The eyes turn with the head, and a little against it, toward the camera.
        gaze = (
            24 * state.gaze_x - 0.25 * state.yaw_deg,
            16 * state.gaze_y - 0.25 * state.pitch_deg,
        )
        texture = surface.paint_eyeball(face_of, directions, gaze, lid, -lateral)
        parts.append(
            _Part(points, directions, texture, grid_triangles(*points.shape[:2]), 255, True)
        )
    return parts


@lru_cache(maxsize=8)
def _eye_directions(detail: int) -> Float[np.ndarray, "h w 3"]:
    unit = surface.to_texels(body.eye_directions(), detail)
    return unit / np.linalg.norm(unit, axis=-1, keepdims=True)


def _mouth_parts(
    lips: Float[np.ndarray, "3"], posed: _Grid, mouth: float, detail: int
) -> list[_Part]:
    if mouth <= 0.0:
        return []
    cave = body.mouth_cave(posed)
    tongue = body.tongue(lips, mouth)
    parts = [
        _plain(cave, surface.paint_cave(*cave.shape[:2], detail), share=255, sheet=True),
        _plain(tongue, surface.paint_tongue(*tongue.shape[:2], detail), share=255, sheet=True),
    ]
    for upper in (True, False):
        row = body.teeth(lips, mouth, upper)
        texture = surface.paint_teeth(*row.shape[:2], 2 * detail, upper)
        parts.append(_plain(row, texture, share=255, sheet=True))
    return parts


def _body_parts(
    wearer: ActorIdentity, head_turn: np.ndarray, body_turn: np.ndarray, detail: int
) -> list[_Part]:
    """What stands still, or follows the head only in part, in the scene."""
    back = body_turn.T @ head_turn
    neck = body.neck(wearer, np.eye(3)) - _PIVOT
    share = np.clip((neck[..., 1] + _PIVOT[1] + 2.35) / 1.1, 0, 1)[..., None]
    neck = (neck + share * share * (3 - 2 * share) * (neck @ back.T - neck) + _PIVOT).astype(
        np.float32
    )
    chest = body.shoulders(wearer)
    cloth = surface.paint_shoulders(wearer, *chest.shape[:2], detail)
    skin = surface.paint_neck(wearer, *neck.shape[:2], max(2, detail // 2))
    parts = [
        _plain(neck, skin, culled=True, closed=True),
        _plain(chest, cloth, culled=True, closed=True),
    ]
    curtain = body.hair_curtain(wearer)
    if curtain is not None:
        hanging = curtain - _PIVOT
        share = np.clip((hanging[..., 1] + _PIVOT[1] + 3.4) / 2.4, 0, 1)[..., None]
        turned = hanging @ back.T
        curtain = (hanging + share * (turned - hanging) + _PIVOT).astype(np.float32)
        texture = surface.paint_curtain(wearer, *curtain.shape[:2], detail)
        parts.append(_plain(curtain, texture)._replace(tangents=_down(curtain), sheet=True))
    return [_turned(part, body_turn) for part in parts]


def _plain(
    points: _Grid,
    texture: surface.Paint,
    *,
    share: int = 0,
    culled: bool = False,
    closed: bool = False,
    flip: bool = False,
    sheet: bool = False,
) -> _Part:
    normals = grid_normals(points, closed=closed)
    normals = -normals if flip else normals
    triangles = grid_triangles(*points.shape[:2])
    return _Part(points, normals, texture, triangles, share, culled, sheet=sheet)


def _down(points: _Grid, seams: tuple[int, ...] = ()) -> _Grid:
    """Unit tangents along the columns: the way hair lies. `seams`: rows that end in a gap."""
    step = np.diff(points, axis=0)
    step = np.concatenate([step, step[-1:]])
    for row in seams:
        step[row] = step[row - 1]
    return step / np.maximum(np.linalg.norm(step, axis=-1, keepdims=True), 1e-6)


def _turned(part: _Part, turn: np.ndarray) -> _Part:
    matrix, center = turn.T.astype(np.float32), _PIVOT.astype(np.float32)
    return part._replace(
        points=(part.points - center) @ matrix + center,
        normals=part.normals @ matrix,
        tangents=None if part.tangents is None else part.tangents @ matrix,
    )


class _Camera:
    """From the scene to the frame."""

    def __init__(self, size: int, state: ActorState):
        self.size = size
        # The pupils, 1.2 before the origin, are 0.18 frame sides apart.
        self.scale = 0.18 * size * state.scale * (_CAMERA - 1.2)
        self.center = np.array([(0.5 + state.shift_x) * size, (0.475 + state.shift_y) * size]) - 0.5

    def pixels(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """(x, y) in pixels and nearness."""
        factor = self.scale / (_CAMERA - points[..., 2])
        x = self.center[0] + factor * points[..., 0]
        y = self.center[1] - factor * points[..., 1]
        return np.stack([x, y, points[..., 2]], -1).astype(np.float32)


def _draw(
    parts: list[_Part], camera: _Camera, state: ActorState, backdrop: Float[np.ndarray, "s s 3"]
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """The frame and its face mask: all parts in one pass at twice the resolution."""
    size, fine = camera.size, camera.size * _SAMPLES
    atlas, points, triangles, uv = _assemble(parts, camera, state)
    # Samples lie at the middles of the quarters of a pixel.
    points[:, :2] = (points[:, :2] + 0.5) * _SAMPLES - 0.5
    surface = rasterise(points, triangles, uv, fine, fine)
    samples = cv2.remap(atlas, surface.u, surface.v, cv2.INTER_LINEAR)
    covered = np.where(surface.nearness > -np.inf, np.uint8(255), np.uint8(0))
    picture = cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA)
    cover = cv2.resize(covered, (size, size), interpolation=cv2.INTER_AREA)
    behind = (255 - cover).astype(np.float32) / 255
    tone = np.sqrt(_key_color(state) * min(0.5 * state.light + 0.5 * state.ambient, 1.4))
    image = np.asarray(cv2.multiply(cv2.merge([behind * float(t) for t in tone]), backdrop))
    image = image + picture[..., :3]
    if state.noise > 0:
        image += state.noise * _grain(size, state.noise_seed)
    np.clip(np.rint(image, out=image), 0, 255, out=image)
    return image.astype(np.uint8), picture[..., 3].astype(np.float32) / 255


def _grain(size: int, seed: int) -> Float[np.ndarray, "s s 3"]:
    """Camera noise of standard deviation about 1, mostly common to the three channels."""
    bank = _grain_bank(size + _GRAIN_SHIFT)
    x, y = np.random.default_rng(seed).integers(0, _GRAIN_SHIFT, 2)
    return bank[y : y + size, x : x + size]


@lru_cache(maxsize=4)
def _grain_bank(lateral: int) -> Float[np.ndarray, "b b 3"]:
    rng = np.random.default_rng(0x6124)
    common = rng.standard_normal((lateral, lateral, 1), np.float32)
    return 0.8 * common + 0.5 * rng.standard_normal((lateral, lateral, 3), np.float32)


def _assemble(
    parts: list[_Part], camera: _Camera, state: ActorState
) -> tuple[UInt8[np.ndarray, "h w 4"], Float[np.ndarray, "n 3"], _Triangles, _Points]:
    """All textures lit in one atlas; all points on the frame; all triangles; their places."""
    heights = [part.paint.color.shape[0] for part in parts]
    width = max(part.paint.color.shape[1] for part in parts)
    atlas = np.zeros((sum(heights), width, 4), np.uint8)
    points, triangles, uv = [], [], []
    top = count = 0
    for part, height in zip(parts, heights, strict=True):
        columns = part.paint.color.shape[1]
        _light(part, state, atlas[top : top + height, :columns])
        on_frame = camera.pixels(part.points).reshape(-1, 3)
        kept = part.triangles
        if part.culled:
            corners = on_frame[:, :2].take(kept, axis=0)  # (m, 3, x y)
            p, q = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
            # Rows run down, columns to the right, pixel rows down: fronts turn against the clock.
            kept = kept[p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] < 0]
        points.append(on_frame)
        triangles.append(kept + count)
        uv.append(_texel_places(part, top))
        top += height
        count += len(on_frame)
    return atlas, np.concatenate(points), np.concatenate(triangles), np.concatenate(uv)


def _texel_places(part: _Part, top: int) -> _Points:
    rows, columns = part.points.shape[:2]
    height, width = part.paint.color.shape[:2]
    u = (np.arange(columns, dtype=np.float32) + 0.5) * (width / columns) - 0.5
    v = (np.arange(rows, dtype=np.float32) + 0.5) * (height / rows) - 0.5 + top
    return np.stack(np.broadcast_arrays(u[None, :], v[:, None]), -1).reshape(-1, 2)


def _key_color(state: ActorState) -> np.ndarray:
    return np.array([1 + 0.10 * state.warmth, 1.0, 1 - 0.12 * state.warmth])


class _Range(NamedTuple):
    """A stretch of a grid's rows or columns, and of the texture's."""

    points: slice
    texels: slice


_ALL = (_Range(slice(None), slice(None)), _Range(slice(None), slice(None)))


def _seen(normals: _Normals, texels: tuple[int, ...]) -> tuple[_Range, _Range]:
    """The rows and columns of a grid that may face the camera."""
    # Perspective and interpolation show a little more than the normals say.
    toward = normals[..., 2] > -0.25
    ranges = []
    for axis, fine in enumerate(texels):
        hit = np.flatnonzero(toward.any(1 - axis))
        low, high = (int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 1)
        factor = fine // toward.shape[axis]
        ranges.append(_Range(slice(low, high), slice(low * factor, high * factor)))
    return ranges[0], ranges[1]


def _light(part: _Part, state: ActorState, out: UInt8[np.ndarray, "h w 4"]) -> None:
    """Write the lit texture of a part, and its share of the face, into `out`."""
    texture = part.paint
    normals = part.normals
    away = normals[..., 2:] < 0
    if part.sheet:
        normals = np.where(away, -normals, normals)
    # What turns away from the camera need not be lit.
    rows, columns = _seen(normals, texture.color.shape[:2]) if part.culled else _ALL
    fine_rows, fine_columns = rows.texels, columns.texels
    normals = normals[rows.points, columns.points]
    tangents = part.tangents
    if tangents is not None:
        tangents = tangents[rows.points, columns.points]
    color = texture.color[fine_rows, fine_columns]
    size = (color.shape[1], color.shape[0])
    diffuse, shines = _shade(normals, tangents, state)
    if part.sheet and tangents is not None:
        # Little light gets under hanging hair.
        inside = np.where(away[..., 0], np.float32(0.22), np.float32(1))
        diffuse *= inside[..., None]
        shines[2] *= inside * inside
    broad, tight = (cv2.resize(shine, size) for shine in shines[:2])
    extra = texture.broad[fine_rows, fine_columns] * broad
    extra = extra + texture.tight[fine_rows, fine_columns] * tight
    lit = cv2.resize(diffuse, size)
    if texture.hair is not None:
        # Most of the highlight along hair has the hair's own colour.
        along = texture.hair[fine_rows, fine_columns] * cv2.resize(shines[2], size)
        extra = extra + 0.035 * along
        cv2.add(lit, cv2.merge([along, along, along]), dst=lit)
    cv2.multiply(lit, color, dst=lit)
    cv2.add(lit, cv2.merge([extra, extra, extra]), dst=lit)
    out[fine_rows, fine_columns, :3] = cv2.convertScaleAbs(cv2.sqrt(lit, dst=lit), alpha=255)
    out[..., 3] = part.share


def _shade(
    normals: _Normals, tangents: _Normals | None, state: ActorState
) -> tuple[_Normals, list[Float[np.ndarray, "i j"]]]:
    """Diffuse light by colour, and the highlights: broad, tight, along hair."""
    yaw, pitch = np.deg2rad([state.light_yaw_deg, state.light_pitch_deg])
    key = np.array(
        [np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], np.float32
    )
    fill = np.array([-0.75 * np.sign(yaw or 1.0), 0.05, 0.65], np.float32)
    toward = normals @ key
    half = key + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    glint = np.clip(normals @ half, 0, 1)
    sky = 0.5 + 0.5 * normals[..., 1]
    soft = np.clip(normals @ fill, 0, None)
    edge = 1 - np.clip(normals[..., 2], 0, 1)
    color = _key_color(state).astype(np.float32)
    around = state.ambient * (0.20 + 0.16 * sky + 0.13 * soft)
    diffuse = np.empty((*toward.shape, 3), np.float32)
    # Light seeps through skin: the terminator is softer and redder than on clay.
    for channel, wrap in enumerate((0.28, 0.18, 0.14)):
        lit = np.clip((toward + wrap) / (1 + wrap), 0, None)
        tint = (1.0, 1.0, 1.05)[channel]
        diffuse[..., channel] = state.light * 0.92 * color[channel] * lit + around * tint
    fresnel = state.light * (0.6 + 1.2 * edge * edge * edge)
    shines = [0.105 * fresnel * cv2.pow(glint, 14), 0.70 * fresnel * cv2.pow(glint, 90)]
    if tangents is not None:
        along = tangents @ half
        across = cv2.pow(np.clip(1 - along * along, 0, 1), 12)
        shines.append(state.light * 1.1 * across * np.clip(toward + 0.3, 0, 1))
    return diffuse, shines
