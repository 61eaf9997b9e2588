"""How a run goes, in its log: the held-out looks, and the training loss between them."""

import json
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..errors import FaceswapError
from ..outputs import write_text

LOG_FILE = "log.jsonl"

_NO_RECORD = (
    ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError,
)  # fmt: skip
"""What a line that is no record of a run is known by."""


@dataclass(frozen=True)
class History:
    """A row for each look at the held-out faces; the last two are of training's own lines.

    NaN where the log does not say, as in logs of runs before PSNR and SSIM were logged. PSNR in dB
    and SSIM are means over unwarped faces, inside the mask, of the averaged weights.
    """

    step: Int[np.ndarray, " n"]
    seconds: Float[np.ndarray, " n"]
    heldout: Float[np.ndarray, " n"]
    """The loss on both sides' held-out faces."""
    heldout_source: Float[np.ndarray, " n"]
    heldout_target: Float[np.ndarray, " n"]
    heldout_source_psnr_db: Float[np.ndarray, " n"]
    heldout_target_psnr_db: Float[np.ndarray, " n"]
    seen_source_psnr_db: Float[np.ndarray, " n"]
    seen_target_psnr_db: Float[np.ndarray, " n"]
    heldout_source_ssim: Float[np.ndarray, " n"]
    heldout_target_ssim: Float[np.ndarray, " n"]
    loss_step: Int[np.ndarray, " m"]
    loss: Float[np.ndarray, " m"]
    """The training loss, warped faces and all, of single steps."""

    def __len__(self) -> int:
        return len(self.step)


def read_history(run: Path) -> History:
    """The history in a run's log. Without a log it is empty: weights can be judged without one.

    A last line that a kill has cut off does not count.
    Raises: FaceswapError when another line is no record.
    """
    path = run / LOG_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise FaceswapError(f"{path}: cannot be read ({error}); restore it, or remove it") from None
    records = _read_records(path, text)
    looks = [record for record in records if record.get("heldout") is not None]
    steps = [record for record in records if record.get("loss") is not None]
    columns: dict[str, np.ndarray] = {}
    for name in (field.name for field in fields(History)):
        rows = steps if name in ("loss_step", "loss") else looks
        if name in ("step", "loss_step"):
            columns[name] = np.array([row["step"] for row in rows], np.int64)
        else:
            columns[name] = np.array([row.get(name, np.nan) for row in rows], np.float64)
    return History(**columns)


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    """What a record says of a history's columns."""
    names = {field.name for field in fields(History)} - {"step"}
    there = {name: float(record[name]) for name in names if record.get(name) is not None}
    return {"step": float(np.int64(int(record["step"]))), **there}


def _read_records(path: Path, text: str) -> list[dict[str, float]]:
    """The records by rising step: of a step that was done twice, the later line counts."""
    lines = text.splitlines()
    known: dict[tuple[bool, float], dict[str, float]] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            numbers = _numbers(record)
            key = ("heldout" in record, numbers["step"])
        except _NO_RECORD:
            if number == len(lines):
                break
            raise FaceswapError(
                f"{path}: line {number} is not a record of a run; restore the file, or remove it"
            ) from None
        known[key] = numbers
    return [known[key] for key in sorted(known, key=lambda key: key[1])]


def _is_until(line: str, step: int) -> bool:
    """Whether a line is a record of a step up to this one, and not of a look at a run's end.

    That look is made because the run ends, and a run that goes on has not ended there.
    """
    with suppress(*_NO_RECORD):
        record = json.loads(line)
        return _numbers(record)["step"] <= step and not record.get("ended")
    return False


class RunLog:
    """The log in lines of JSON, and TensorBoard beside it."""

    def __init__(self, run: Path, step: int) -> None:
        # Heavy, and nobody who only reads a log wants it.
        from torch.utils.tensorboard import SummaryWriter

        path = run / LOG_FILE
        if path.exists():
            # Lines after `step` are dropped: those steps will be done again, and so will the look
            # before the first. So is what is no line.
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if step else []
            kept = [line for line in lines if _is_until(line, step)]
            write_text(path, "".join(line + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def write(self, record: dict[str, Any], seconds: float) -> None:
        """One line, and its values on the board."""
        self._file.write(json.dumps({**record, "seconds": round(seconds, 2)}) + "\n")
        self._file.flush()
        for name, value in record.items():
            if name not in ("step", "ended") and value is not None:
                self._board.add_scalar(name.replace("_", "/", 1), value, record["step"])

    def close(self) -> None:
        """Flush what is left."""
        self._file.close()
        self._board.close()
