"""What all latent tools share: the given face, the job with its sheet and files, numbers in words.

A job leaves a sheet (.png), its numbers (.json) and perhaps more under the same name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ..errors import FaceswapError, UsageError
from ..faces.face_set import FaceSet, StoredFace
from ..faces.records import read_record
from ..media.clips import as_uint8
from ..media.images import write_image
from ..media.marks import SyntheticMark
from ..media.sheets import CELL_PX, QUIET, Sheet, font_of_px
from ..models.crops import encode
from ..outputs import VERSION, beside, claim, file_sha256, found_job, job_id, write_json
from ..runs.trained import TrainedRun

Say = Callable[[str], None]

GAP_PX, TITLE_PX, NAME_PX, LINE_PX = 8, 44, 26, 22
"""Of a sheet: between cells; heights of its title, of a row's name, of the line below a cell."""

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


@dataclass(frozen=True)
class SheetRow:
    """Faces side by side: floats in [0, 1] or bytes. `lines`: a few words below each."""

    name: str
    faces: Float[np.ndarray, "n s s 3"] | UInt8[np.ndarray, "n s s 3"]
    lines: Sequence[str]


@dataclass(frozen=True)
class SheetJob:
    """A job of a run: its name, the files that it leaves (sheet, numbers, more), who is told."""

    run: TrainedRun
    name: str
    files: Sequence[Path]
    say: Say

    def found(self, overwrite: bool) -> dict[str, Any] | None:
        """Its numbers, when all is there already; refuses files of others."""
        numbers = found_job(self.files[1])
        by = numbers.get("job")
        acts = [claim(f, self.name, by, finished=True, overwrite=overwrite) for f in self.files]
        if any(act != "done" for act in acts):
            return None
        self.say(f"{self.files[0]}: already done")
        return numbers

    def write(
        self, numbers: dict[str, Any], title: str, rows: Sequence[SheetRow]
    ) -> dict[str, Any]:
        """Write numbers and sheet, which say by which job and that it is synthetic; the numbers."""
        numbers = {"job": self.name, "run": self.run.fingerprint, **numbers}
        mark = SyntheticMark(version=VERSION, run=self.run.fingerprint, job=self.name)
        # The numbers first: they name the job, so that after a kill the same call goes on.
        write_json(self.files[1], numbers)
        write_image(self.files[0], face_sheet(title, rows), mark=mark)
        self.say(f"written to {self.files[0]} and {self.files[1]}")
        return numbers


def sheet_files(out: Path, **_: Any) -> list[Path]:
    """All that may be written when the sheet goes to `out`."""
    return beside(out, ".json", ".safetensors")


def sheet_job(run: TrainedRun, out: Path, say: Say, *others: str, **facts: Any) -> SheetJob:
    """The job of these facts, with its sheet at `out`; `others`: suffixes beside .png and .json.

    Raises: UsageError unless `out` is a .png.
    """
    if out.suffix.lower() != ".png":
        raise UsageError(f"{out}: the sheet is a .png")
    files = beside(out, ".json", *others)
    return SheetJob(run, job_id(run=run.fingerprint, **facts), files, say)


def face_sheet(title: str, rows: Sequence[SheetRow]) -> UInt8[np.ndarray, "h w 3"]:
    """The rows below each other, as wide as the longest of them."""
    texts = [(title, 20), *((row.name, 15) for row in rows)]
    wide = max(len(row.faces) for row in rows) * (CELL_PX + GAP_PX)
    # No words are cut: a sheet of few faces grows with them.
    width = max(wide, *(int(font_of_px(size=px).getlength(text)) + GAP_PX for text, px in texts))
    step = NAME_PX + CELL_PX + LINE_PX + GAP_PX
    sheet = Sheet(GAP_PX + width, TITLE_PX + len(rows) * step)
    sheet.write(title, GAP_PX, TITLE_PX / 2, 20)
    for place, row in enumerate(rows):
        top = TITLE_PX + place * step
        sheet.write(row.name, GAP_PX, top + NAME_PX / 2, 15)
        for column, (face, line) in enumerate(zip(row.faces, row.lines, strict=True)):
            left = GAP_PX + column * (CELL_PX + GAP_PX)
            sheet.put(as_uint8(face), left, top + NAME_PX)
            sheet.write(line, left, top + NAME_PX + CELL_PX + LINE_PX / 2, 13, QUIET)
    return sheet.pixels


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
