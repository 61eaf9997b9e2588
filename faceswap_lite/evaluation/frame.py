"""What is measured of one frame: its face rebuilt, whose it is, what it shows, how it sits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..config import ConvertConfig
from ..conversion.blend import Layer
from ..conversion.composite import Composite, composite
from ..conversion.painted import PaintedFace, PaintedFrame
from ..faces.align import align, cut_crop, five_points
from ..faces.detect import Detection
from ..faces.pack import DEFAULT_MIN_SCORE, FacePack, as_uint8
from ..faces.pose import estimate_pose, eye_opening, mouth_opening
from ..latent.readings import READ_PX, Reader
from ..media.clips import Frame
from ..media.truth import ClipTruth
from ..metrics.faces import landmark_nme
from ..metrics.pictures import ms_ssim, psnr_db, sharpness_ratio, ssim
from ..metrics.screen import flow_between, mean_lab, seam_delta_e, warp_error
from ..runs.trained import TrainedRun
from .judge import Judge

# Room around the face in which it is compared over time, pixels: how far a flow may look.
_FLOW_PX = 16
# Each side of a mask's edge, in face sides: what the eye takes in at once.
_SEAM = 0.03

Perceptual = Callable[[np.ndarray, np.ndarray], float]
"""A perceptual distance of two pictures, RGB, bytes or floats in [0, 1]."""

Row = dict[str, float]
"""A frame's numbers by their columns' names; one that it does not have is left out."""


@dataclass(frozen=True)
class Instruments:
    """What one worker measures with."""

    pack: FacePack
    reader: Reader
    judge: Judge | None
    lpips: Perceptual | None


@dataclass(frozen=True)
class Moment:
    """A frame with all that is beside it: `swap` and the twins are of clips of the same length.

    `number`: of the face among the clip's; `judged`: the judge is asked about it.
    """

    made: Composite
    swap: Frame | None
    twin_raw: Frame | None
    twin_matched: Frame | None
    number: int
    judged: bool

    @property
    def face(self) -> PaintedFace | None:
        """The leftmost painted face."""
        return self.made.painted.faces[0] if self.made.painted.faces else None

    @property
    def layer(self) -> Layer | None:
        """What shows of it."""
        return self.made.layers[0] if self.made.layers else None

    @property
    def shown(self) -> np.ndarray:
        """The swapped frame, 8 bits."""
        return as_uint8(self.swap.image if self.swap is not None else self.made.image)

    @property
    def target(self) -> np.ndarray:
        """The frame as it was, 8 bits."""
        return as_uint8(self.made.frame.image)


def measure_frame(
    moment: Moment,
    before: Moment | None,
    run: TrainedRun,
    convert: ConvertConfig,
    tools: Instruments,
    truth: ClipTruth | None,
) -> Row:
    """All that can be measured of a frame. `before`: the one before it, for what moves."""
    row: Row = {"found": float(moment.face is not None)}
    if moment.face is not None:
        row |= _rebuilding(moment.face, tools)
        row |= _likeness(moment, run, tools)
        row |= _points(moment, run, tools)
    if moment.layer is not None:
        row |= _blending(moment, moment.layer)
        # A face that appears tears nothing.
        if before is not None and before.layer is not None:
            row |= _movement(before, moment, moment.layer)
    if truth is not None and moment.twin_raw is not None and moment.twin_matched is not None:
        row |= _against_truth(moment, run, convert, tools, truth)
    return row


def _rebuilding(face: PaintedFace, tools: Instruments) -> Row:
    """How well the target's own decoder rebuilds a face it never saw, at the model's size."""
    true = face.true
    row = {
        "psnr_db": psnr_db(face.rebuilt, true, face.hull),
        "ssim": ssim(face.rebuilt, true, face.hull),
        "ms_ssim": ms_ssim(face.rebuilt, true, face.hull),
    }
    if tools.lpips is not None:
        row["lpips"] = tools.lpips(face.rebuilt, true)
    return row


def _likeness(moment: Moment, run: TrainedRun, tools: Instruments) -> Row:
    """Is a face found where one was painted, and whose is it?"""
    assert moment.face is not None
    name = run.manifest.landmarks_pack
    five = five_points(moment.face.placement.landmarks, name)
    distance = float(np.linalg.norm(five[1] - five[0]))
    found = _nearest(tools.pack.detector(moment.shown, DEFAULT_MIN_SCORE), five, distance)
    if found is None or tools.judge is None or not moment.judged:
        return {"detected": float(found is not None)}
    landmarks = tools.pack.landmarker(moment.shown, found)
    likeness = tools.judge(moment.shown, five_points(landmarks.points, name))
    return {
        "detected": 1.0,
        "to_source": likeness.to_source,
        "to_target": likeness.to_target,
        "top1": float(likeness.source_is_nearest),
    }


def _nearest(found: list[Detection], five: np.ndarray, distance: float) -> Detection | None:
    """The detection whose points are nearest to `five`, if it is the same face at all."""
    gaps = [float(np.abs(detection.five - five).mean()) for detection in found]
    if not gaps or min(gaps) > 0.5 * distance:
        return None
    return found[int(np.argmin(gaps))]


def _points(moment: Moment, run: TrainedRun, tools: Instruments) -> Row:
    """Pose, expression and sharpness of the swap and of the target, read in one view of both."""
    face = moment.face
    assert face is not None
    matrix = align(
        face.placement.landmarks, run.manifest.landmarks_pack, run.manifest.coverage, READ_PX
    )
    shown, target = (cut_crop(image, matrix, READ_PX) for image in (moment.shown, moment.target))
    swap_points, points = (tools.reader.landmarks(crop) for crop in (shown, target))
    size = run.config.model.size
    swap_crop = cut_crop(moment.shown, face.frame_to_crop, size)
    row = {
        **_shape(swap_points, tools.reader, ""),
        **_shape(points, tools.reader, "target_"),
        "sharpness": sharpness_ratio(swap_crop, face.crop, face.hull),
    }
    if swap_points is not None and points is not None:
        row["nme"] = _nme(swap_points, points, tools.reader)
    return row


def _shape(points: Float[np.ndarray, "n 2"] | None, reader: Reader, prefix: str) -> Row:
    if points is None:
        return {}
    pose = estimate_pose(points, reader.pack)
    row = {"yaw_deg": pose.yaw_deg, "pitch_deg": pose.pitch_deg, "roll_deg": pose.roll_deg}
    openings = {
        "mouth": mouth_opening(points, reader.pack),
        "eyes": eye_opening(points, reader.pack),
    }
    row |= {name: value for name, value in openings.items() if value is not None}
    return {prefix + name: value for name, value in row.items()}


def _nme(
    points: Float[np.ndarray, "n 2"], reference: Float[np.ndarray, "n 2"], reader: Reader
) -> float:
    five = five_points(reference, reader.pack)
    return landmark_nme(points, reference, float(np.linalg.norm(five[1] - five[0])))


def _blending(moment: Moment, layer: Layer) -> Row:
    """The step across the mask's edge and the mean colour inside, of swap and target."""
    rows, columns = _around(layer, moment.target.shape, margin=8)
    alpha = _alpha_in(layer, rows, columns)
    width = max(1.5, _SEAM * float(np.sqrt((alpha >= 0.5).sum())))
    row: Row = {}
    for prefix, image in (("", moment.shown), ("target_", moment.target)):
        part = image[rows, columns]
        row[f"{prefix}seam_delta_e"] = seam_delta_e(part, alpha, width)
        for name, value in zip("lab", mean_lab(part, alpha), strict=True):
            row[f"{prefix}lab_{name}"] = float(value)
    return row


def _movement(before: Moment, moment: Moment, layer: Layer) -> Row:
    """What does not move with the target's own flow, of swap and target; nothing across a cut."""
    rows, columns = _around(layer, moment.target.shape, margin=_FLOW_PX)
    alpha = _alpha_in(layer, rows, columns)
    flow, believed = flow_between(before.target[rows, columns], moment.target[rows, columns])
    weights = alpha * believed
    return {
        f"{prefix}warp": warp_error(earlier[rows, columns], later[rows, columns], flow, weights)
        for prefix, earlier, later in (
            ("", before.shown, moment.shown),
            ("target_", before.target, moment.target),
        )
    }


def _around(layer: Layer, shape: tuple[int, ...], margin: int) -> tuple[slice, slice]:
    """The layer's rectangle of the frame, with room around it."""
    rows = slice(max(0, layer.rows.start - margin), min(shape[0], layer.rows.stop + margin))
    columns = slice(
        max(0, layer.columns.start - margin), min(shape[1], layer.columns.stop + margin)
    )
    return rows, columns


def _alpha_in(layer: Layer, rows: slice, columns: slice) -> Float[np.ndarray, "h w"]:
    alpha = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    top, left = layer.top - rows.start, layer.left - columns.start
    height, width = layer.alpha.shape[:2]
    alpha[top : top + height, left : left + width] = layer.alpha[..., 0]
    return alpha


def _against_truth(
    moment: Moment,
    run: TrainedRun,
    convert: ConvertConfig,
    tools: Instruments,
    truth: ClipTruth,
) -> Row:
    """Against the true swap. A frame whose face was missed is measured as it stayed."""
    assert moment.twin_raw is not None and moment.twin_matched is not None
    frame, face = moment.made.frame, moment.face
    raw = frame.image
    if face is not None:
        without = convert.model_copy(update={"color": "none"})
        raw = composite(PaintedFrame(frame, [face]), without)
    twin, matched = moment.twin_raw.image, moment.twin_matched.image
    inside = truth.face_masks[frame.index] / 255.0
    row = {
        "truth_psnr_db": psnr_db(raw, twin, inside),
        "truth_ssim": ssim(raw, twin, inside),
        "unswapped_psnr_db": psnr_db(frame.image, twin, inside),
        "truth_matched_psnr_db": psnr_db(moment.shown, as_uint8(matched), inside),
    }
    if face is None:
        return row
    matrix = align(
        face.placement.landmarks, run.manifest.landmarks_pack, run.manifest.coverage, READ_PX
    )
    crops = [cut_crop(as_uint8(image), matrix, READ_PX) for image in (moment.shown, matched)]
    row["truth_sharpness"] = sharpness_ratio(*crops)
    points, true_points = (tools.reader.landmarks(crop) for crop in crops)
    row |= _shape(true_points, tools.reader, "truth_")
    if points is not None and true_points is not None:
        row["truth_nme"] = _nme(points, true_points, tools.reader)
    if tools.lpips is not None:
        row["truth_lpips"] = tools.lpips(*crops)
    return row
