"""What curation knows of two sets before they are trained on: gaps, weights, what it rejects."""

from collections.abc import Callable

from ..faces.face_set import FaceSet, face_key
from .applying import returned_faces
from .coverage import attributes_of, coverage
from .curate import coverage_lines
from .decisions import read_decisions, sampling_weights
from .verdicts import RARE


def say_what_is_known(source: FaceSet, target: FaceSet, say: Callable[[str], None] = print) -> None:
    """Tell what the sets lack, and what was decided about their faces."""
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
