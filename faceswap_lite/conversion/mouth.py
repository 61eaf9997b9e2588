"""Whose inner mouth a swap shows: the painted one, or the clip's own where the painted one lags.

A decoder that was never shown its person's mouth wide open paints it nearly shut, whatever its code
says. So the painted lips are moved as far apart as the clip's, and the clip's teeth and tongue are
set between them.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from ..config import ConvertConfig
from ..errors import FaceswapError
from ..faces.landmarks import build_mesh
from ..faces.mouth import with_mouth
from ..faces.reading import Reader
from ..metrics.landmarks import mouth_opening
from ..models.autoencoder import Side
from ..models.crops import decode
from ..outputs import read_json, write_json
from ..runs.known import known_faces
from ..runs.trained import TrainedRun
from .painted import PaintedFace

FOLDER = "mouth"
"""In a run's folder: how painted mouths follow, by weights and side."""

MEASURED_FACES = 128
FEWEST_FACES = 20
LEAST_CORRELATION = 0.8
SPREADS = (0.7, 1.3)
"""Between them, and from that correlation on, a painted mouth follows well enough."""
GAINS = (0.6, 1.5)
"""Other lips part by so much more or less at most: what asks for more is an error of reading."""

Picture = Float[np.ndarray, "s s 3"]


@dataclass(frozen=True)
class Follows:
    """How the painted mouth follows that of faces which the run knows, by one instrument."""

    correlation: float
    spread: float
    """Standard deviation of the lips' gap, over the known faces'."""
    gain: float
    """Of the clip's gaps: with it, given lips read as wide open as the clip's."""

    @property
    def well(self) -> bool:
        """Whether nothing needs to be mended."""
        return self.correlation >= LEAST_CORRELATION and SPREADS[0] <= self.spread <= SPREADS[1]


@dataclass(frozen=True)
class ClipMouth:
    """Gives painted faces the inner mouth of the clip's."""

    reader: Reader
    gain: float = 1.0

    def given_to(self, face: PaintedFace) -> PaintedFace:
        """The face with it. One whose lips cannot be found, painted or true, stays as it is."""
        there = self.points(face.crop)
        return (
            face if there is None else replace(face, face=self.shown(face.face, face.true, there))
        )

    def shown(self, painted: Picture, true: Picture, points: Float[np.ndarray, "468 2"]) -> Picture:
        """A painted crop with the mouth of the true one, whose points are in its pixels."""
        found = self.points(painted)
        return painted if found is None else with_mouth(painted, found, true, points, self.gain)

    def points(
        self, picture: Picture | UInt8[np.ndarray, "s s 3"]
    ) -> Float[np.ndarray, "468 2"] | None:
        """The mesh points of a crop, in its pixels."""
        found = self.reader.landmarks(picture)
        return None if found is None else found * len(picture) - 0.5


def choose_mouth(
    run: TrainedRun, config: ConvertConfig, say: Callable[[str], None] = print
) -> ClipMouth | None:
    """What gives painted faces the clip's mouth; None: they keep their own.

    `config.mouth` auto: as the painted mouth follows that of the run's known faces, which is
    measured once and kept with the run.
    Raises: FaceswapError when the clip's mouth is wanted, and the mesh's weights cannot be had.
    """
    # Of a run of five points nobody has the mesh's weights, and none are fetched for it unasked.
    five = run.manifest.landmarks_pack != "mesh"
    if config.mouth == "source" or (config.mouth == "auto" and five):
        return None
    reader = Reader(run.manifest.coverage)
    if reader.pack != "mesh":
        if config.mouth == "target":
            build_mesh()  # tells what is missing, and how to get it
        return None
    try:
        follows = _kept(run, config, reader)
    except FaceswapError as error:
        say(f"note: whether painted mouths follow cannot be told ({error})")
        return ClipMouth(reader) if config.mouth == "target" else None
    if config.mouth == "auto" and follows.well:
        return None
    if config.mouth == "auto":
        say(
            f"painted mouths follow by {follows.correlation:.2f}, {follows.spread:.2f} times as "
            "wide: the clip's own is set in (--set convert.mouth=source keeps the painted one)"
        )
    return ClipMouth(reader, follows.gain)


def _kept(run: TrainedRun, config: ConvertConfig, reader: Reader) -> Follows:
    """How this run's mouths follow, as measured before or now."""
    path = run.path / FOLDER / f"{run.fingerprint}_{config.painted_side}.json"
    try:
        kept = read_json(path)
        return Follows(**{field.name: float(kept[field.name]) for field in fields(Follows)})
    except (FaceswapError, KeyError, TypeError, ValueError):
        follows = measure(run, config.painted_side, config.shown_side, reader)
    _keep(path, follows)
    return follows


def _keep(path: Path, follows: Follows) -> None:
    """A run's folder that may not be written to only costs the next call its measuring."""
    try:
        path.parent.mkdir(exist_ok=True)
        write_json(path, asdict(follows))
    except (OSError, FaceswapError):
        pass


def measure(run: TrainedRun, painted: Side, shown: Side, reader: Reader) -> Follows:
    """How the mouth that one side's decoder paints follows that of the other side's known faces.

    Raises: FaceswapError when the face set is gone or changed, or too few faces can be read.
    """
    known = known_faces(run, shown, MEASURED_FACES)
    mouth = ClipMouth(reader)
    rows = []
    for crop, picture in zip(known.crops, decode(run.model, known.codes, painted), strict=True):
        there, own = mouth.points(crop), mouth.points(picture)
        given = (
            None
            if there is None
            else mouth.points(mouth.shown(picture, crop / np.float32(255), there))
        )
        if there is not None and own is not None and given is not None:
            rows.append([mouth_opening(points, "mesh") for points in (there, own, given)])
    if len(rows) < FEWEST_FACES:
        raise FaceswapError(f"{run.path}: lips were found in {len(rows)} painted faces")
    clip, own, given = np.array(rows, np.float64).T
    spread = max(float(clip.std()), 1e-6)
    gain = float(np.clip(spread / max(float(given.std()), 1e-6), *GAINS))
    correlation = float(np.corrcoef(clip, own)[0, 1]) if own.std() > 0 else 0.0
    return Follows(round(correlation, 3), round(float(own.std()) / spread, 3), round(gain, 3))
