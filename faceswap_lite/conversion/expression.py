"""Mouths and eyes that follow: the painted face's own, or moved as the clip's where they lag.

A decoder that was never shown its person's mouth wide open paints it nearly shut, whatever its code
says. So painted lips are moved as far apart as the clip's, with the clip's teeth and tongue between
them, and painted lids as far as the clip's in the painted person's own measure.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np
from jaxtyping import Float, UInt8

from ..config import ConvertConfig, Side
from ..errors import FaceswapError
from ..faces.crop_landmarker import CropLandmarker
from ..faces.landmarkers import build_mesh
from ..faces.openings import Crop, Points, lid_gaps, with_lids, with_mouth
from ..metrics.landmarks import eye_opening, mouth_opening
from ..models.crops import decode
from ..outputs import read_json, write_json
from ..runs.known import known_faces
from ..runs.trained import TrainedRun
from .painted import PaintedFace

FOLDER = "expression"
"""In a run's folder: how painted mouths and eyes follow, by weights and side."""

READING = 2
"""Another way of measuring makes another file."""

MEASURED_FACES = 128
MIN_READ_FACES = 20
MIN_CORRELATION = 0.9
SPREADS = (0.7, 1.3)
"""Between them, and from that correlation on, what is painted follows well enough."""
GAINS = (0.6, 1.6)
"""Another person opens them by so much more or less at most; beyond is an error of reading."""
TOLD = 0.02
"""Eye distances. Lips that move less do not tell how wide given ones read: a blurred picture hides
such gaps, and none of those of a smile."""


@dataclass(frozen=True)
class Follows:
    """How painted mouths, or eyes, follow those of faces that the run knows, by one instrument."""

    correlation: float
    spread: float
    """Standard deviation of the gap, over the known faces'."""
    gain: float
    """Of the clip's gaps. Lips: given ones read as wide open as the clip's. Lids: what the painted
    person shows in the middle, over what the clip's does."""


_FOLLOWS = [part.name for part in fields(Follows)]


@dataclass(frozen=True)
class ClipExpression:
    """Moves painted lips or lids, or both, as the clip's. `mouth`, `eyes`: gains; None: not."""

    reader: CropLandmarker = field(compare=False)
    mouth: float | None = None
    eyes: float | None = None

    def facts(self) -> dict[str, float]:
        """What makes the pictures, for a job."""
        return {k: v for k, v in (("mouth", self.mouth), ("eyes", self.eyes)) if v is not None}

    def given_to(self, face: PaintedFace) -> PaintedFace:
        """The face with it. One whose points cannot be found, painted or true, stays as it is."""
        # Not near the placed points: from there gaps are read a third wider, or a fifth narrower.
        there = self.points(face.crop)
        if there is None:
            return face
        return replace(face, face=self.shown(face.face, face.true, there))

    def shown(self, painted: Crop, true: Crop, points: Points) -> Crop:
        """A painted crop as the true one, whose points are in its pixels."""
        own = self.points(painted, points)
        if own is None:
            return painted
        if self.eyes is not None:
            painted = with_lids(painted, own, self.eyes * lid_gaps(points))
        if self.mouth is not None:
            painted = with_mouth(painted, own, true, points, self.mouth)
        return painted

    def points(
        self, picture: Crop | UInt8[np.ndarray, "s s 3"], near: Points | None = None
    ) -> Points | None:
        """The mesh points of a crop, in its pixels; `near`: about where they lie."""
        size = len(picture)
        found = self.reader.landmarks(picture, None if near is None else (near + 0.5) / size)
        return None if found is None else found * size - 0.5


def choose_expression(
    run: TrainedRun, config: ConvertConfig, say: Callable[[str], None] = print
) -> ClipExpression | None:
    """What moves painted mouths and eyes as the clip's; None: they stay as they are painted.

    `config.mouth` and `config.eyes` auto: as the painted ones follow those of the run's known
    faces, which is measured once and kept with the run.
    Raises: FaceswapError when the clip's are wanted, and the mesh's weights cannot be had.
    """
    wanted = {"mouth": config.mouth, "eyes": config.eyes}
    # Of a run of five points nobody has the mesh's weights, and none are fetched for it unasked.
    asked = "target" in wanted.values()
    auto = "auto" in wanted.values() and run.manifest.landmarks_pack == "mesh"
    if not asked and not auto:
        return None
    reader = CropLandmarker(run.manifest.coverage)
    if reader.pack != "mesh":
        if asked:
            build_mesh()  # tells what is missing, and how to get it
        return None
    try:
        follows = _kept(run, config, reader)
    except FaceswapError as error:
        say(f"note: cannot tell whether painted mouths and eyes follow the clip's ({error})")
        follows = {}
    gains: dict[str, float] = {}
    for name, whose in wanted.items():
        found = follows.get(name)
        if whose == "target":
            gains[name] = 1.0 if found is None else found.gain
        elif whose == "auto" and auto and found is not None and not follows_well(found):
            gains[name] = found.gain
            say(
                f"painted {name.removesuffix('s')}s follow the clip's with a correlation of "
                f"{found.correlation:.2f} and {found.spread:.2f} times its spread: moved as "
                f"in the clip (to keep them as painted: --set convert.{name}=source)"
            )
    return ClipExpression(reader, **gains) if gains else None


def follows_well(found: Follows) -> bool:
    """Whether a painted mouth, or painted eyes, need no mending."""
    return found.correlation >= MIN_CORRELATION and SPREADS[0] <= found.spread <= SPREADS[1]


def _kept(run: TrainedRun, config: ConvertConfig, reader: CropLandmarker) -> dict[str, Follows]:
    """How this run's mouths and eyes follow, as measured before or now."""
    path = run.path / FOLDER / f"{run.fingerprint}_{config.painted_side}_{READING}.json"
    try:
        kept = read_json(path).items()
        return {name: Follows(*(float(found[n]) for n in _FOLLOWS)) for name, found in kept}
    except (FaceswapError, AttributeError, KeyError, TypeError, ValueError):
        follows = measure(run, config.painted_side, config.shown_side, reader)
    try:
        path.parent.mkdir(exist_ok=True)
        write_json(path, {name: asdict(found) for name, found in follows.items()})
    except (OSError, FaceswapError):
        pass  # a run's folder that may not be written to only costs the next call its measuring
    return follows


def measure(
    run: TrainedRun, painted: Side, shown: Side, reader: CropLandmarker
) -> dict[str, Follows]:
    """How what one side's decoder paints follows the other side's known faces: mouth and eyes.

    Raises: FaceswapError when the face set is gone or changed, or too few faces can be read.
    """
    known = known_faces(run, shown, MEASURED_FACES)
    clip = ClipExpression(reader, mouth=1.0)
    rows = []
    for crop, picture in zip(known.crops, decode(run.model, known.codes, painted), strict=True):
        there = clip.points(crop)
        own = None if there is None else clip.points(picture, there)
        if there is None or own is None:
            continue
        given = clip.points(clip.shown(picture, crop / np.float32(255), there))
        if given is not None:
            mouths = [mouth_opening(points, "mesh") for points in (there, own, given)]
            rows.append([*mouths, eye_opening(there, "mesh"), eye_opening(own, "mesh")])
    if len(rows) < MIN_READ_FACES:
        raise FaceswapError(
            f"{run.path}: points were found in only {len(rows)} painted faces, {MIN_READ_FACES} "
            "are needed"
        )
    mouth, own_mouth, given_mouth, eyes, own_eyes = np.array(rows, np.float64).T
    rest = float(np.median(own_eyes)) / max(float(np.median(eyes)), 1e-6)
    return {
        "mouth": _compared(mouth, own_mouth, lip_gain(mouth, given_mouth)),
        "eyes": _compared(eyes, own_eyes, rest),
    }


def lip_gain(clip: Float[np.ndarray, " n"], given: Float[np.ndarray, " n"]) -> float:
    """How much wider lips are to be given that read as `given` where the clip's read as `clip`.

    1 where neither moves.
    """
    return float(np.hypot(clip.std(), TOLD) / np.hypot(given.std(), TOLD))


def _compared(
    clip: Float[np.ndarray, " n"], painted: Float[np.ndarray, " n"], gain: float
) -> Follows:
    spread = float(painted.std()) / max(float(clip.std()), 1e-6)
    moves = painted.std() > 0 and clip.std() > 0
    correlation = float(np.corrcoef(clip, painted)[0, 1]) if moves else 0.0
    return Follows(round(correlation, 3), round(spread, 3), round(float(np.clip(gain, *GAINS)), 3))
