"""The run folder: what it was made from, and how others load what it learned."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from .. import __version__
from ..config import Config, TrainingConfig, WeightsName, dump_config, load_config
from ..curation.decisions import sampling_weights
from ..errors import FaceswapError
from ..faces.align import COVERAGES, LandmarksPack
from ..faces.face_set import FaceSet, face_key
from ..faces.given_masks import masks_fingerprint
from ..models.architectures import build_model
from ..models.autoencoder import SIDES, Side, SwapAutoencoder
from ..outputs import claim, file_sha256, job_id, read_json, write_json, write_text
from .checkpoints import (
    RunState,
    as_state,
    checkpoint_facts,
    checkpoint_folder,
    load_into,
    load_weights,
    newest_good,
    remove_after,
)
from .split import FaceGroup, read_roles, share_out

FACTS_FILE = "run.json"
CONFIG_FILE = "config.yaml"
CURVE_FILE, SWEEP_FILE = "find_lr.png", "find_lr.json"

# A resumed run may change these. Most say when to stop, look and save, not what is learned; the
# last two are how a person steers a run under way: by ending the warp, and by adding faces.
FREE_ON_RESUME = (
    "steps", "minutes", "keep", "log_every", "save_every", "preview_every", "heldout_every",
    "patience", "accumulate", "device", "precision", "compile", "threads", "warp_until",
    "late_ramp",
)  # fmt: skip

# But not the one that the run's schedule goes by.
SCHEDULE_GOES_BY = {"cosine": {"steps"}, "one_cycle": {"steps"}, "plateau": {"heldout_every"}}


class IdentityFacts(BaseModel):
    """One side's face set, as training saw it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    def center(self) -> Float[np.ndarray, " d"] | None:
        """The mean embedding of the set's faces, or None when the set has no embeddings."""
        return None if self.centroid is None else np.array(self.centroid)


class RunFacts(BaseModel):
    """What a run was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    tool: str = f"faceswap_lite {__version__}"
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
    consent: str = ""
    """Who agreed to this swap, when and to what."""

    @field_validator("coverage")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in COVERAGES:
            raise ValueError(f"unknown coverage {name}")
        return name


@dataclass(frozen=True)
class TrainedRun:
    """A run loaded for use: `model` is in eval mode, on the CPU."""

    path: Path
    model: SwapAutoencoder
    config: Config
    facts: RunFacts
    step: int
    """Of the loaded weights."""
    fingerprint: str
    """16 hex digits of the loaded weights' sha256."""


def describe_identity(faces: FaceSet) -> IdentityFacts:
    """A face set's facts, with the mean of its embeddings."""
    records = [face.record for face in faces.faces]
    places = sorted(f"{r.clip_fingerprint} {r.frame_index} {r.track}" for r in records)
    embeddings = faces.embeddings()
    return IdentityFacts(
        path=str(faces.path.resolve()),
        faces=len(records),
        fingerprint=job_id(places=places),
        clips=sorted({r.clip_fingerprint for r in records}),
        embedder=faces.embedder,
        weights=_weights_of(faces),
        masks=masks_fingerprint(faces),
        centroid=None if embeddings is None else embeddings.mean(0).tolist(),
    )


def _weights_of(faces: FaceSet) -> dict[str, float]:
    weights = sampling_weights(faces)
    if weights is None:
        return {}
    pairs = zip(faces.faces, weights.tolist(), strict=True)
    return {face_key(face.record): weight for face, weight in pairs if weight != 1}


def describe_run(source: FaceSet, target: FaceSet, config: Config) -> RunFacts:
    """The facts of a run on these sets.

    Raises: FaceswapError when the sets cannot be trained together.
    """
    if source.path.resolve() == target.path.resolve():
        raise FaceswapError(f"{source.path}: is source and target at once; a swap needs two people")
    for what in ("pack", "coverage"):
        of_source, of_target = getattr(source, what), getattr(target, what)
        if of_source != of_target:
            name = {"pack": "landmarks", "coverage": "coverage"}[what]
            raise FaceswapError(
                f"{source.path} was made with {name} {of_source}, {target.path} with {of_target}: "
                f"their faces are placed differently; extract one of them again"
            )
    if source.pack == "five":
        # Five points are the detector's own, and every detector has its own idea of a nose.
        names = {f.record.detector for faces in (source, target) for f in faces.faces}
        if len(names) > 1:
            raise FaceswapError(
                f"{source.path} and {target.path}: five points of {', '.join(sorted(names))} "
                "do not go together; extract again with one extract.detector"
            )
    base = _base_facts(config)
    goes_by = SCHEDULE_GOES_BY.get(config.training.schedule, set())
    fixed = config.training.model_dump(exclude=set(FREE_ON_RESUME) - goes_by)
    sides = {}
    for name, faces in (("source", source), ("target", target)):
        groups = share_out(_known_groups(base, faces), faces.places(), config.training, step=0)
        own = describe_identity(faces)
        clips = sorted({*own.clips, *(getattr(base, name).clips if base else [])})
        sides[name] = own.model_copy(update={"groups": groups, "clips": clips})
    return RunFacts(
        job=job_id(
            source=sides["source"].path,
            target=sides["target"].path,
            model=config.model.model_dump(),
            init=config.init.model_dump(),
            training=fixed,
        ),
        landmarks_pack=source.pack,
        detector=target.faces[0].record.detector,
        coverage=source.coverage,
        source=sides["source"],
        target=sides["target"],
        consent=config.consent.strip() or _consent_of(base, sides["source"]),
    )


def _consent_of(base: RunFacts | None, source: IdentityFacts) -> str:
    """The base's consent, as long as the face that is put on is still the same person's."""
    return base.consent if base is not None and base.source.path == source.path else ""


def _base_facts(config: Config) -> RunFacts | None:
    """The facts of the run that `config.init` names; a resumed run no longer needs it."""
    if config.init.run is None or not (Path(config.init.run) / FACTS_FILE).is_file():
        return None
    return read_facts(Path(config.init.run))


def _known_groups(base: RunFacts | None, faces: FaceSet) -> list[FaceGroup]:
    """The roles that these faces' clips had in the base: its weights know what it has seen."""
    if base is None:
        return []
    clips = {record.clip_fingerprint for record in (face.record for face in faces.faces)}
    groups = [*base.source.groups, *base.target.groups]
    return [group for group in groups if group.clip in clips]


@dataclass(frozen=True)
class TakenUp:
    """What `take_up` decided. `start`: the checkpoint's step to go on from; None: from nothing."""

    action: Literal["start", "resume", "done"]
    start: int | None
    facts: RunFacts


def take_up(
    run: Path,
    facts: RunFacts,
    sets: dict[Side, FaceSet],
    config: Config,
    *,
    why_stop: Callable[[RunState], str],
    overwrite: bool,
    say: Callable[[str], None],
) -> TakenUp:
    """Decide what becomes of a run folder, and make it ready to be trained in.

    Raises: FaceswapError when it is another job's, or nothing of ours, or no checkpoint is good.
    """
    found = read_facts(run) if (run / FACTS_FILE).is_file() else None
    start, problems = newest_good(run)
    if problems and start is None:
        raise FaceswapError(f"{run}: no checkpoint is good ({problems[0]}); or pass --overwrite")
    for problem in problems:
        say(f"warning: {problem}; going on from step {start}")
    finished = start is not None and bool(why_stop(as_state(checkpoint_facts(run, start))))
    # A range test by itself is no run: training begins beside it.
    if run.is_dir() and {p.name for p in run.iterdir()} <= {CURVE_FILE, SWEEP_FILE}:
        return TakenUp("start", None, facts)
    job = found.job if found else None
    if found is not None and job != facts.job and not overwrite:
        raise FaceswapError(
            f"{run}: is a run of other settings ({_differences(run, found, facts, config)}); "
            "choose another name, take the old settings, or pass --overwrite, which starts anew"
        )
    action = claim(run, facts.job, job, finished=finished, overwrite=overwrite)
    if action == "start":
        if found is None and run.exists():
            raise FaceswapError(f"{run}: is not a run folder and not empty; choose another name")
        _clear(run)
        return TakenUp("start", None, facts)
    if found is not None:
        # Given late, it counts all the same: for a run that is finished, too.
        consent = config.consent.strip() or found.consent or facts.consent
        if action == "resume":
            facts = carry_on(found, facts, sets, config.training, start or 0, say)
            facts = facts.model_copy(update={"consent": consent})
            remove_after(run, start)
        elif consent != found.consent:
            facts = found.model_copy(update={"consent": consent})
            write_json(run / FACTS_FILE, facts.model_dump())
    return TakenUp(action, start, facts)


def _differences(run: Path, found: RunFacts, facts: RunFacts, config: Config) -> str:
    """What a run's folder and a new call do not agree on, the first few."""
    pairs: list[tuple[str, Any, Any]] = [
        (side, getattr(found, side).path, getattr(facts, side).path) for side in SIDES
    ]
    before = load_config(run / CONFIG_FILE)
    for section in ("model", "init", "training"):
        old, new = (getattr(c, section).model_dump() for c in (before, config))
        fixed = set(new) - (set(FREE_ON_RESUME) if section == "training" else set())
        fixed |= SCHEDULE_GOES_BY.get(config.training.schedule, set()) if "lr" in new else set()
        pairs += [(f"{section}.{key}", old.get(key), new[key]) for key in new if key in fixed]
    changed = [f"{name} {old} there, {new} now" for name, old, new in pairs if old != new]
    return "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")


def _clear(run: Path) -> None:
    """Remove what an earlier run wrote into this folder, and nothing else."""
    for name in ("checkpoints", "previews", "tensorboard"):
        shutil.rmtree(run / name, ignore_errors=True)
    for name in ("log.jsonl", "preview.png", CURVE_FILE, SWEEP_FILE, CONFIG_FILE, FACTS_FILE):
        (run / name).unlink(missing_ok=True)


def carry_on(
    found: RunFacts,
    facts: RunFacts,
    sets: dict[Side, FaceSet],
    config: TrainingConfig,
    step: int,
    say: Callable[[str], None],
) -> RunFacts:
    """The facts of a run resumed at `step`: today's, its own rate, all it ever learned from.

    Faces keep their roles; those that have joined since are shared out, and said.
    """
    sides: dict[str, IdentityFacts] = {}
    for name, faces in sets.items():
        before, now = getattr(found, name), getattr(facts, name)
        groups = share_out(before.groups, faces.places(), config, step)
        if before.fingerprint != now.fingerprint:
            joined, left, heldout = _count_changes(before, now, faces, groups)
            over = f" over {config.late_ramp} steps" if config.late_ramp else ""
            say(
                f"note: {now.path} changed since this run began: {joined} faces joined, "
                f"{heldout} of them held out or beside these, {left} left; new ones come in{over}"
            )
        if before.masks != now.masks:
            say(
                f"note: {now.path}: the masks of its faces are not those that this run last saw; "
                "it goes on with today's"
            )
        clips = sorted({*before.clips, *now.clips})
        # What the run began with holds, whatever was decided since: a resumed run is the same run.
        begun = read_roles(before.groups)
        records = [face.record for face in faces.faces]
        joined_keys = {
            face_key(r) for r in records if (r.clip_fingerprint, r.frame_index) not in begun
        }
        joined_weights = {key: w for key, w in now.weights.items() if key in joined_keys}
        update = {"clips": clips, "groups": groups, "weights": before.weights | joined_weights}
        sides[name] = now.model_copy(update=update)
    return facts.model_copy(update={**sides, "lineage": found.lineage, "lr": found.lr})


def _count_changes(
    before: IdentityFacts, now: IdentityFacts, faces: FaceSet, groups: list[FaceGroup]
) -> tuple[int, int, int]:
    """How many faces joined, how many left, and how many of the former are not trained on."""
    known, roles = read_roles(before.groups), read_roles(groups)
    new = [place for place in faces.places() if place not in known] if known else []
    # Who left and came back is known, yet joins.
    joined = max(len(new), now.faces - before.faces)
    unseen = sum(roles[place][0] != "seen" for place in new)
    return joined, before.faces + joined - now.faces, unseen


def write_run(run: Path, facts: RunFacts, config: Config) -> None:
    """Write what a run is made from into its folder."""
    run.mkdir(parents=True, exist_ok=True)
    # The facts first: they are what makes the folder ours.
    write_json(run / FACTS_FILE, facts.model_dump())
    write_text(run / CONFIG_FILE, dump_config(config))


def read_facts(run: Path) -> RunFacts:
    """A run folder's facts. Raises: FaceswapError when it is not one."""
    if not (run / FACTS_FILE).is_file():
        raise FaceswapError(f"{run}: is not a run folder ({FACTS_FILE} is missing)")
    try:
        return RunFacts.model_validate(read_json(run / FACTS_FILE))
    except ValidationError as error:
        raise FaceswapError(
            f"{run / FACTS_FILE}: was not written by this version ({error.error_count()} faults)"
        ) from error


def load_run(run: Path, weights: WeightsName = "best") -> TrainedRun:
    """The newest good checkpoint of a run, with averaged weights.

    Best: those of the lowest held-out loss so far; the last ones as long as there is none.
    Raises: FaceswapError when the folder is no run, holds no good checkpoint, or its weights do
    not fit its config.
    """
    facts = read_facts(run)
    config = load_config(run / CONFIG_FILE)
    step, problems = newest_good(run)
    if step is None:
        reason = problems[0] if problems else "it has no checkpoint yet; train it first"
        raise FaceswapError(f"{run}: {reason}")
    best = as_state(checkpoint_facts(run, step)).best
    name, of_step = ("ema", step) if weights == "last" or best is None else ("best", best.step)
    model = build_model(config.model)
    file = checkpoint_folder(run, step) / f"{name}.safetensors"
    load_into(model, load_weights(run, step, name), file)
    return TrainedRun(run, model.eval(), config, facts, of_step, file_sha256(file)[:16])
