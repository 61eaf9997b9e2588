"""What is measured of one frame: its face rebuilt, whose it is, what it shows, how it sits.

Each function gives some of a frame's columns, and none where the frame does not allow them.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from ..conversion.blend import Layer
from ..conversion.composite import composite
from ..conversion.painted import PaintedFace, PaintedFrame
from ..faces.align import align, cut_crop
from ..faces.attributes import Reader
from ..faces.crop_landmarker import READ_PX
from ..faces.detect import Detection
from ..faces.pack import DEFAULT_MIN_CONFIDENCE
from ..geometry import compose, invert_similarity, transform_points
from ..media.clips import as_uint8
from ..metrics.landmarks import eye_distance, five_points, landmark_nme, read_points
from ..metrics.pictures import laplacian_rms, ms_ssim, psnr_db, sharpness_ratio, ssim
from ..metrics.screen import flow_between, mean_lab, seam_delta_e, warp_error
from ..runs.trained import TrainedRun
from .metric import Row, Scene

# Room around the face in which it is compared over time, pixels: how far a flow may look.
_FLOW_PX = 16
DETAIL_PX = 128
"""Side of the crops that fine detail is compared in."""
# Each side of a mask's edge, in face sides: what the eye takes in at once.
_SEAM = 0.03
# iBUG-68: the lips; each eye. And the room around their points, in eye distances.
_BOXED = {"mouth": ((48, 68),), "eyes": ((36, 42), (42, 48))}
_BOX_ROOM = 0.15


def rebuilding(scene: Scene) -> Row:
    """How well the target's own decoder rebuilds a face it never saw, at the model's size."""
    face, lpips = scene.moment.face, scene.tools.lpips
    if face is None:
        return {}
    true = face.true
    row = {
        "psnr_db": psnr_db(face.rebuilt, true, face.seen),
        "ssim": ssim(face.rebuilt, true, face.seen),
        "ms_ssim": ms_ssim(face.rebuilt, true, face.seen),
        "frame_psnr_db": frame_psnr_db(face, scene.moment.target),
    }
    if lpips is not None:
        row["lpips"] = lpips(face.rebuilt, true)
    return row


def frame_psnr_db(face: PaintedFace, frame: UInt8[np.ndarray, "h w 3"]) -> float:
    """The rebuilt face, warped to where it was cut from, against the frame, where face is seen."""
    edge = len(face.rebuilt)
    corners = np.array([[0.0, 0.0], [edge, 0.0], [edge, edge], [0.0, edge]]) - 0.5
    corners = transform_points(corners, invert_similarity(face.frame_to_crop))
    size = (frame.shape[1], frame.shape[0])
    left, top = np.clip(np.floor(corners.min(0)), 0, size).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(0)) + 1, 0, size).astype(int).tolist()
    if right <= left or bottom <= top:
        return float("nan")
    to_crop = compose(np.array([[1.0, 0.0, left], [0.0, 1.0, top]]), face.frame_to_crop)
    shape, inverse = (right - left, bottom - top), cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(
        face.rebuilt, to_crop, shape,
        flags=cv2.INTER_CUBIC | inverse, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    seen = cv2.warpAffine(face.seen, to_crop, shape, flags=cv2.INTER_LINEAR | inverse)
    part = frame[top:bottom, left:right].astype(np.float32) / 255
    return psnr_db(np.clip(back, 0, 1), part, seen)


def identity_row(scene: Scene) -> Row:
    """Is a face found where one was painted, and whose is it?"""
    moment, tools = scene.moment, scene.tools
    if moment.face is None:
        return {}
    name = scene.run.manifest.landmarks_pack
    five = five_points(moment.face.placement.landmarks, name)
    found = _nearest(tools.pack.detector(moment.shown, DEFAULT_MIN_CONFIDENCE), five)
    if found is None or tools.judge is None or not moment.judged:
        return {"detected": float(found is not None)}
    landmarks = tools.pack.landmarker(moment.shown, found)
    judged = tools.judge(moment.shown, five_points(landmarks.points, name))
    return {
        "detected": 1.0,
        "to_source": judged.to_source,
        "to_target": judged.to_target,
        "top1": float(judged.source_is_nearest),
    }


def _nearest(found: list[Detection], five: np.ndarray) -> Detection | None:
    """The detection whose points are nearest to `five`, if it is the same face at all."""
    gaps = [float(np.abs(detection.five - five).mean()) for detection in found]
    if not gaps or min(gaps) > 0.5 * eye_distance(five):
        return None
    return found[int(np.argmin(gaps))]


def reading(scene: Scene) -> Row:
    """Pose, expression and sharpness of the swap and of the target, read in one view of both."""
    moment, reader, face = scene.moment, scene.tools.reader, scene.moment.face
    if face is None:
        return {}
    crops = _to_read(scene.run, face, moment.shown, moment.target)
    swap_points, points = (reader.landmarks(crop) for crop in crops)
    swap_crop = cut_crop(moment.shown, face.frame_to_crop, scene.run.config.model.size)
    row = {
        **_shape(swap_points, reader, ""),
        **_shape(points, reader, "target_"),
        "sharpness": sharpness_ratio(swap_crop, face.crop, face.seen),
        "detail": _detail(scene.run, face, moment.shown),
    }
    if swap_points is not None and points is not None:
        eyes = eye_distance(five_points(points, reader.pack))
        row["nme"] = landmark_nme(swap_points, points, eyes)
    return row


def _to_read(run: TrainedRun, face: PaintedFace, *images: np.ndarray) -> list[np.ndarray]:
    """The face in each image, cut alike, at the reader's size."""
    of = run.manifest
    matrix = align(face.placement.landmarks, of.landmarks_pack, of.coverage, READ_PX)
    return [cut_crop(image, matrix, READ_PX) for image in images]


def _detail(run: TrainedRun, face: PaintedFace, shown: np.ndarray) -> float:
    """How much fine detail the swap's face has, at a size that is the same for all models."""
    of, size = run.manifest, (DETAIL_PX, DETAIL_PX)
    matrix = align(face.placement.landmarks, of.landmarks_pack, of.coverage, DETAIL_PX)
    inside = cv2.resize(face.hull, size, interpolation=cv2.INTER_AREA)
    return laplacian_rms(cut_crop(shown, matrix, DETAIL_PX), inside)


def _shape(points: Float[np.ndarray, "n 2"] | None, reader: Reader, prefix: str) -> Row:
    if points is None:
        return {}
    return {prefix + name: value for name, value in read_points(points, reader.pack).items()}


def blending(scene: Scene) -> Row:
    """The step across the mask's edge and the mean colour inside, of swap and target."""
    moment, layer = scene.moment, scene.moment.layer
    if layer is None:
        return {}
    rows, columns = _around(layer, moment.target.shape, margin=8)
    alpha = _in_frame(layer, layer.alpha, rows, columns)
    # The edge of what is before the face is the clip's own, and no seam.
    whole = alpha if layer.whole is None else _in_frame(layer, layer.whole, rows, columns)
    width = max(1.5, _SEAM * float(np.sqrt((whole >= 0.5).sum())))
    row: Row = {}
    for prefix, image in (("", moment.shown), ("target_", moment.target)):
        part = image[rows, columns]
        row[f"{prefix}seam_delta_e"] = seam_delta_e(part, whole, width, alpha >= 0.5 * whole)
        for name, value in zip("lab", mean_lab(part, alpha), strict=True):
            row[f"{prefix}lab_{name}"] = float(value)
    return row


def occluding(scene: Scene) -> Row:
    """How much of the target's face something is before."""
    face = scene.moment.face
    return {} if face is None or face.occlusion is None else {"hidden": face.occlusion.hidden}


def movement(scene: Scene) -> Row:
    """What does not move with the target's own flow, of swap and target; nothing across a cut."""
    before, moment, layer = scene.before, scene.moment, scene.moment.layer
    # A face that appears tears nothing.
    if layer is None or before is None or before.layer is None:
        return {}
    rows, columns = _around(layer, moment.target.shape, margin=_FLOW_PX)
    alpha = _in_frame(layer, layer.alpha, rows, columns)
    flow, believed = flow_between(before.target[rows, columns], moment.target[rows, columns])
    weights = alpha * believed
    pairs = {"": (before.shown, moment.shown), "target_": (before.target, moment.target)}
    return {
        f"{prefix}warp": warp_error(earlier[rows, columns], later[rows, columns], flow, weights)
        for prefix, (earlier, later) in pairs.items()
    }


def _around(layer: Layer, shape: tuple[int, ...], margin: int) -> tuple[slice, slice]:
    """The layer's rectangle of the frame, with room around it."""
    rows = slice(max(0, layer.rows.start - margin), min(shape[0], layer.rows.stop + margin))
    columns = slice(
        max(0, layer.columns.start - margin), min(shape[1], layer.columns.stop + margin)
    )
    return rows, columns


def _in_frame(
    layer: Layer, alpha: Float[np.ndarray, "a b 1"], rows: slice, columns: slice
) -> Float[np.ndarray, "h w"]:
    shown = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    top, left = layer.top - rows.start, layer.left - columns.start
    height, width = alpha.shape[:2]
    shown[top : top + height, left : left + width] = alpha[..., 0]
    return shown


def against_truth(scene: Scene) -> Row:
    """Against the true swap. A frame whose face was missed is measured as it stayed."""
    moment, tools, truth = scene.moment, scene.tools, scene.truth
    if truth is None or moment.twin_raw is None or moment.twin_matched is None:
        return {}
    frame, face = moment.made.frame, moment.face
    raw = frame.image
    if face is not None:
        plain = scene.convert.color.model_copy(update={"kind": "none"})
        without = scene.convert.model_copy(update={"color": plain})
        raw = composite(PaintedFrame(frame, [face]), without)
    twin, matched = moment.twin_raw.image, as_uint8(moment.twin_matched.image)
    inside = truth.face_masks[frame.index] / 255.0
    row = {
        "truth_psnr_db": psnr_db(raw, twin, inside),
        "truth_ssim": ssim(raw, twin, inside),
        "unswapped_psnr_db": psnr_db(frame.image, twin, inside),
        "truth_matched_psnr_db": psnr_db(moment.shown, matched, inside),
    }
    for name, box in expression_boxes(truth.landmarks[frame.index], inside.shape).items():
        row[f"truth_{name}_psnr_db"] = psnr_db(moment.shown, matched, box)
    if face is None:
        return row
    crops = _to_read(scene.run, face, moment.shown, matched)
    row["truth_sharpness"] = sharpness_ratio(*crops)
    points, true_points = (tools.reader.landmarks(crop) for crop in crops)
    row |= _shape(true_points, tools.reader, "truth_")
    if points is not None and true_points is not None:
        eyes = eye_distance(five_points(true_points, tools.reader.pack))
        row["truth_nme"] = landmark_nme(points, true_points, eyes)
    if tools.lpips is not None:
        row["truth_lpips"] = tools.lpips(*crops)
    return row


def expression_boxes(
    landmarks: Float[np.ndarray, "68 2"], shape: tuple[int, ...]
) -> dict[str, Float[np.ndarray, "h w"]]:
    """Masks of upright boxes around the mouth and both eyes, by an actor's true points."""
    room = _BOX_ROOM * eye_distance(five_points(landmarks, "ibug68"))
    boxes = {}
    for name, parts in _BOXED.items():
        boxes[name] = np.zeros(shape[:2], np.float32)
        for start, stop in parts:
            points = landmarks[start:stop]
            left, top = np.maximum(np.round(points.min(0) - room), 0).astype(int)
            right, bottom = np.maximum(np.round(points.max(0) + room) + 1, 0).astype(int)
            boxes[name][top:bottom, left:right] = 1
    return boxes
