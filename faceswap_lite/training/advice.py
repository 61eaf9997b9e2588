"""What curation knows of two sets before they are trained on: gaps, weights, what it rejects."""

import os
from collections.abc import Callable
from pathlib import Path

from ..curation.applying import returned_faces
from ..curation.decisions import RARE, read_decisions, sampling_weights
from ..curation.pose_coverage import attributes_of, coverage, coverage_lines
from ..faces.face_set import FaceSet, face_key
from ..runs.checkpoints import list_checkpoints


def advise(
    source: FaceSet, target: FaceSet, run: Path, overwrite: bool, say: Callable[[str], None] = print
) -> None:
    """Tell what of the sets of a run that begins cannot be used, what they lack, and what was
    decided about their faces.
    """
    # Of several processes the first one speaks.
    if os.environ.get("RANK", "0") != "0" or (list_checkpoints(run) and not overwrite):
        return
    for side, faces in (("source", source), ("target", target)):
        for problem in faces.problems:
            say(f"{side}: {problem}")
    records = ([face.record for face in faces.faces] for faces in (source, target))
    for line in coverage_lines(coverage(*(attributes_of(some) for some in records))):
        say(line)
    for side, faces in (("source", source), ("target", target)):
        weights = sampling_weights(faces)
        if weights is not None:
            rare = int((weights >= RARE).sum())
            say(f"{side}: faces are drawn as curate weighed them, {rare} of them as rare ones")
        if pending := pending_rejections(faces):
            say(
                f"{side}: {pending} faces that curate rejects are in the set: "
                f"faceswap-lite curate {faces.path} --apply sets them aside"
            )


def pending_rejections(faces: FaceSet) -> int:
    """How many faces of the set are to be rejected and still lie in it."""
    rejected = {d.key for d in read_decisions(faces.path) if not d.kept}
    # Moved back by hand since: the user has decided, the next call takes it down.
    rejected -= returned_faces(faces.path)
    return sum(face_key(face.record) in rejected for face in faces.faces)
