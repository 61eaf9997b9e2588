"""The run folder's manifest: what a run was made from."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from ..config import Config, Side, dump_config
from ..errors import FaceswapError
from ..faces.align import coverage_eyes
from ..faces.face_set import FaceSet
from ..faces.user_masks import masks_fingerprint
from ..metrics.landmarks import LandmarksPack
from ..outputs import TOOL, job_id, read_json, write_json, write_text
from .split import FaceGroup

MANIFEST_FILE = "run.json"
CONFIG_FILE = "config.yaml"


class IdentityFacts(BaseModel):
    """One side's face set, as training saw it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    path: str
    faces: int
    fingerprint: str
    clips: list[str]
    """Fingerprints of the clips that the faces came from."""
    embedder: str | None
    centroid: list[float] | None
    groups: list[FaceGroup] = []
    """Which faces are seen and held out, and since when; those that have left included."""
    weights: dict[str, float] = {}
    """Faces, by their keys, that curate wants drawn more or less often than others (1)."""
    masks: str = ""
    """What changes with the masks that a person drew of these faces; empty: there are none."""

    @property
    def is_nobody(self) -> bool:
        """Whether no faces are known: an imported run does not say whose it was made of."""
        return not self.faces

    @property
    def center(self) -> Float[np.ndarray, " d"] | None:
        """The mean embedding of the set's faces, or None when the set has no embeddings."""
        return None if self.centroid is None else np.array(self.centroid)


NOBODY = IdentityFacts(
    path="", faces=0, fingerprint="", clips=[], embedder=None, centroid=None
)  # fmt: skip


class RunManifest(BaseModel):
    """What a run was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: int = 2
    """1: `job` named the folders of the face sets, too; no resume goes by it."""
    tool: str = TOOL
    job: str
    landmarks_pack: LandmarksPack
    detector: str
    coverage: str
    source: IdentityFacts
    target: IdentityFacts
    lineage: list[dict[str, Any]] = []
    """The runs that the first weights came from, oldest first: see `initial.py`."""
    lr: float | None = None
    """The rate that a range test named for this run; None where the config has one."""
    mask: str = ""
    """Fingerprint of the run's own mask network; empty: it has none."""
    consent: str = ""
    """Who agreed to this swap, when and to what."""

    def of(self, side: Side) -> IdentityFacts:
        """One side's face set."""
        return self.source if side == "source" else self.target

    @field_validator("coverage")
    @classmethod
    def _is_known(cls, name: str) -> str:
        coverage_eyes(name)
        return name

    @model_validator(mode="after")
    def _one_embedder_one_length(self) -> "RunManifest":
        lengths = {
            (facts.embedder, len(facts.centroid))
            for facts in (self.source, self.target)
            if facts.centroid is not None
        }
        if len({embedder for embedder, _ in lengths}) < len(lengths):
            raise ValueError("centroids of one embedder have two lengths")
        return self


def set_fingerprint(faces: FaceSet) -> str:
    """16 hex digits of which faces a set holds, wherever it lies and whatever they are called."""
    records = [face.record for face in faces.faces]
    return job_id(places=sorted(f"{r.clip_fingerprint} {r.frame_index} {r.track}" for r in records))


def is_same_set(before: IdentityFacts, now: IdentityFacts, other: IdentityFacts) -> bool:
    """Whether a face set is the one that a run knows, wherever it lies and whoever joined since.

    Of clips that it knows and, where embeddings tell, of the same person: at most half as far away
    as `other`, the run's other person, who may be in the same clips.
    """
    if now.fingerprint in (before.fingerprint, other.fingerprint):
        return now.fingerprint == before.fingerprint
    known = {group.clip for group in before.groups} or set(before.clips)
    return not known.isdisjoint(now.clips) and is_same_person(before, now, other) is not False


def is_same_person(before: IdentityFacts, now: IdentityFacts, other: IdentityFacts) -> bool | None:
    """By the mean embeddings, as `is_same_set` has it; None where these cannot tell."""
    own, mine, theirs = before.center, now.center, other.center
    alike = before.embedder == now.embedder == other.embedder
    if own is None or mine is None or theirs is None or not alike:
        return None
    if not len(own) == len(mine) == len(theirs):
        return None
    return bool(np.linalg.norm(mine - own) <= np.linalg.norm(theirs - own) / 2)


def describe_identity(faces: FaceSet) -> IdentityFacts:
    """A face set's facts, with the mean of its embeddings."""
    records = [face.record for face in faces.faces]
    embeddings = faces.embeddings()
    return IdentityFacts(
        path=str(faces.path.resolve()),
        faces=len(records),
        fingerprint=set_fingerprint(faces),
        clips=sorted({r.clip_fingerprint for r in records}),
        embedder=faces.embedder,
        masks=masks_fingerprint(faces),
        centroid=None if embeddings is None else embeddings.mean(0).tolist(),
    )


def write_run(run: Path, manifest: RunManifest, config: Config) -> None:
    """Write what a run is made from into its folder."""
    run.mkdir(parents=True, exist_ok=True)
    # The manifest first: it is what makes the folder ours.
    write_json(run / MANIFEST_FILE, manifest.model_dump())
    write_text(run / CONFIG_FILE, dump_config(config))


def read_manifest(run: Path) -> RunManifest:
    """A run folder's manifest. Raises: FaceswapError when it is not one."""
    if not (run / MANIFEST_FILE).is_file():
        raise FaceswapError(f"{run}: is not a run folder ({MANIFEST_FILE} is missing)")
    try:
        return RunManifest.model_validate(read_json(run / MANIFEST_FILE))
    except ValidationError as error:
        raise FaceswapError(
            f"{run / MANIFEST_FILE}: was not written by this version ({error.error_count()} faults)"
        ) from error
