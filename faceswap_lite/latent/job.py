"""What all latent tools share: the given face, the sheet and its files, numbers in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from .. import __version__
from ..errors import FaceswapError, UsageError
from ..faces.face_set import FaceSet, StoredFace
from ..faces.records import read_record
from ..media.images import write_image
from ..media.marks import SyntheticMark
from ..models.crops import encode
from ..outputs import claim, file_sha256, found_job
from ..runs.trained import TrainedRun
from .sheets import Row, face_sheet

Say = Callable[[str], None]


_UNITS = {"yaw_deg": ("°", 1), "pitch_deg": ("°", 1), "hue_deg": ("°", 1)}


@dataclass(frozen=True)
class GivenFace:
    """One crop as the model is shown it."""

    crop: UInt8[np.ndarray, "s s 3"]
    mask: UInt8[np.ndarray, "s s"]
    code: Float[np.ndarray, " d"]


def read_face(run: TrainedRun, path: Path) -> GivenFace:
    """A crop of a face set, cut as the run's faces are.

    Raises: FaceswapError when the file is no crop with a record, or one of another coverage.
    """
    if not path.is_file():
        raise FaceswapError(f"{path}: no such file; name a crop of a face set")
    record = read_record(path)
    if record is None:
        raise FaceswapError(f"{path}: holds no face record; name a crop of a face set")
    if record.coverage != run.manifest.coverage:
        raise FaceswapError(
            f"{path}: shows coverage {record.coverage}, {run.path} was trained on "
            f"{run.manifest.coverage}; extract it again"
        )
    face = StoredFace(path, record)
    one = FaceSet(path.parent, [face], [], record.landmarks_pack, record.coverage, None)
    crops = one.crops(run.config.model.size, 0.0)
    masks = one.masks(run.config.model.size, 0.0)
    return GivenFace(crops[0], masks[0], encode(run.model, crops)[0].astype(np.float64))


def sheet_files(out: Path, *others: str) -> list[Path]:
    """The sheet and what lies beside it under other suffixes. Raises: UsageError unless a .png."""
    if out.suffix.lower() != ".png":
        raise UsageError(f"{out}: the sheet is a .png")
    return [out, *(out.with_suffix(suffix) for suffix in others)]


def is_done(files: Sequence[Path], job: str, overwrite: bool) -> bool:
    """Whether all is there already; refuses files of others."""
    found = found_job(files[1]).get("job")
    acts = [claim(file, job, found, finished=True, overwrite=overwrite) for file in files]
    return all(act == "done" for act in acts)


def write_sheet(out: Path, title: str, rows: Sequence[Row], run: TrainedRun, job: str) -> None:
    """Write a sheet that says it is synthetic, and by which job."""
    mark = SyntheticMark(version=__version__, run=run.fingerprint, job=job)
    write_image(out, face_sheet(title, rows), mark=mark)


def file_hash(path: Path) -> str:
    """Of a crop's bytes. Raises: FaceswapError when there is none."""
    if not path.is_file():
        raise FaceswapError(f"{path}: no such file; name a crop of a face set")
    return file_sha256(path)


def json_number(value: float) -> float | None:
    """A number for JSON, which holds no NaN."""
    return float(value) if np.isfinite(value) else None


def shown_value(value: float, attribute: str, sign: bool = False) -> str:
    """A reading in words, with its unit."""
    if not np.isfinite(value):
        return "unread"
    unit, decimals = _UNITS.get(attribute, ("", 3))
    return f"{value:{'+' if sign else ''}.{decimals}f}{unit}"
