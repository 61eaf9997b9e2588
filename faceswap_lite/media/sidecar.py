"""The file beside an output, `OUT.json`: what it was made from.

It tells accidents and honest edits. Who alters a clip on purpose can write a new sidecar: against
that, sign (`credentials.py`).
"""

from pathlib import Path
from typing import Any

from ..outputs import short_name, write_json
from .clips import clip_fingerprint


def sidecar_path(out: Path) -> Path:
    """Where an output's sidecar lies: beside it, its whole name and `.json`."""
    return out.with_name(short_name(out.name, 250) + ".json")


def output_name(facts: dict[str, Any], sidecar: Path, path: Path) -> str | None:
    """Which of the outputs that a sidecar tells of lies at `path`; None: none of them.

    Those in the clip's folder are known by their place in it, so that it may be moved or copied.
    """
    outputs = facts.get("outputs")
    if not isinstance(outputs, dict) or not all(isinstance(o, str) for o in outputs.values()):
        return None
    here, home, clip = path.resolve(), sidecar.parent.resolve(), Path(outputs.get("swap", ""))
    for name, told in outputs.items():
        inside = Path(told).is_relative_to(clip.parent)
        if told == str(here) or (inside and home / Path(told).relative_to(clip.parent) == here):
            return name
    return None


def write_sidecar(out: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the facts of a finished output beside it; what was written, `output_sha256` added.

    `facts` has a `job`; the hash is of the file's bytes, of a folder its `clip_fingerprint`, so
    nothing may be written into the output afterwards.
    Raises: FaceswapError when the output cannot be read or the disk refuses.
    """
    if "job" not in facts:
        raise ValueError("a sidecar without a job is never found again")
    written = {**facts, "output_sha256": clip_fingerprint(out)}
    write_json(sidecar_path(out), written)
    return written
