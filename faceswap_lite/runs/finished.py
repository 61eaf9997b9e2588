"""What finishing a run leaves in it: `RUN/finish`, beside the weights that it began with.

The run's own checkpoints stay as they are. A finished run is used with the weights in here, as long
as its best ones are those that the finish began with.
"""

import shutil
from pathlib import Path
from typing import Any

from ..errors import FaceswapError
from ..outputs import file_sha256, is_broken, read_json, sealed, write_json

FOLDER, UNDONE = "finish", "finish_undone"
_FACTS, _WEIGHTS = "finish.json", "finished.safetensors"


def finish_folder(run: Path) -> Path:
    """Where a run's finish lies."""
    return run / FOLDER


def finished_file(run: Path) -> Path:
    """The whole network's weights after the finish."""
    return finish_folder(run) / _WEIGHTS


def read_finish(run: Path) -> dict[str, Any]:
    """What a run's finish says of itself; empty: there is none, or it is damaged."""
    try:
        facts = read_json(finish_folder(run) / _FACTS)
    except FaceswapError:
        return {}
    return facts if isinstance(facts, dict) and not is_broken(facts) else {}


def write_finish(run: Path, facts: dict[str, Any]) -> None:
    """Last of all: from then on the finish counts, if it has left weights."""
    digest = file_sha256(finished_file(run)) if finished_file(run).is_file() else None
    write_json(finish_folder(run) / _FACTS, sealed({**facts, "weights": digest}))


def finished_weights(run: Path, began_with: str) -> tuple[Path | None, str]:
    """The finished weights of a run whose best ones have this fingerprint, and what is wrong there.

    None: the run is not finished, or has trained on since.
    """
    facts, file = read_finish(run), finished_file(run)
    if facts.get("began_with") != began_with or facts.get("weights") is None:
        return None, ""
    try:
        whole = file_sha256(file) == facts["weights"]
    except OSError:
        return None, f"{file}: is missing"
    return (file, "") if whole else (None, f"{file}: is damaged")


def undo_finish(run: Path) -> str:
    """Set a run's finish aside; a line that says so, empty where there is none.

    What an earlier undo has set aside goes.
    """
    folder, aside = finish_folder(run), run / UNDONE
    if not folder.is_dir():
        return ""
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    return f"{run}: its finish is set aside as {UNDONE}; it is used as it was before"
