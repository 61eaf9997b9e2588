"""What becomes of a run folder: start, go on, or refuse; told once."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config import AUGMENTED, Config, FinishConfig, ModelConfig, Side, TrainingConfig, options_of
from ..config_files import load_config
from ..curation.decisions import sampling_weights
from ..errors import FaceswapError
from ..faces.face_set import FaceSet, face_key
from ..faces.geometries import find_geometry
from ..faces.recut import recut
from ..outputs import job_id, write_json
from ..renames import CONSTANTS, under_old_names
from ..runs.bases import SUFFIX, read_base
from ..runs.checkpoints import (
    RunState,
    as_state,
    checkpoint_facts,
    drop_old,
    latest_valid_checkpoint,
    set_aside_newer,
)
from ..runs.finished import FOLDER, UNDONE, undo_finish
from ..runs.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    IdentityFacts,
    RunManifest,
    describe_identity,
    is_same_person,
    is_same_set,
    read_manifest,
)
from ..runs.mask_weights import MASK_FILE
from ..runs.split import FaceGroup, assign_split, read_roles
from .initial import FRESH, OURS, start_fingerprint
from .stopping import why_stop

# A resumed run may change these. Most say when to stop, look and save, not what is learned; the
# last two are how a person steers a run under way: by ending the warp, and by adding faces.
FREE_ON_RESUME = (
    *(f"finish.{name}" for name in FinishConfig.model_fields),
    "steps", "minutes", "keep", "log_every", "save_every", "preview_every", "heldout.every",
    "patience", "accumulate", "device", "precision", "compile", "threads", "augment.warp_until",
    "late_ramp",
)  # fmt: skip

# But not the one that the run's schedule goes by.
SCHEDULE_GOES_BY = {"cosine": {"steps"}, "one_cycle": {"steps"}, "plateau": {"heldout.every"}}

CURVE_FILE, SWEEP_FILE = "find_lr.png", "find_lr.json"


def as_begun(run: Path, config: Config) -> Config:
    """The config for a run that has begun: what it began with, how fast that learns, and how it
    augments are its own unless the caller says otherwise. So runs from before these had other
    defaults go on.
    """
    if not ((run / MANIFEST_FILE).is_file() and (run / CONFIG_FILE).is_file()):
        return config
    before = load_config(run / CONFIG_FILE)
    had = {
        key: getattr(before.init, key)
        for key in ("run", "code_rate", "settle_steps")
        if key not in config.init.model_fields_set
    }
    init, training = config.init.model_copy(update=had), config.training
    if "kind" not in training.augment.model_fields_set:
        # All values of augmentation go together.
        their = {name: getattr(before.training.augment, name) for name in ("kind", *AUGMENTED)}
        augment = training.augment.model_copy(update=their)
        training = training.model_copy(update={"augment": augment})
    return config.model_copy(update={"init": init, "training": training})


def as_cut(
    run: Path, sets: dict[Side, FaceSet], say: Callable[[str], None], overwrite: bool = False
) -> dict[Side, FaceSet]:
    """The sets with their faces cut alike: as the run's are, or, in a new one, as one set's are.

    Raises: FaceswapError when their crops do not show enough for that.
    """
    if not overwrite and (run / MANIFEST_FILE).is_file():
        coverage = read_manifest(run).coverage
        cut = {side: recut(faces, coverage) for side, faces in sets.items()}
    else:
        cut = _cut_alike(sets)
    for side, faces in sets.items():
        if faces.coverage != (coverage := cut[side].coverage):
            say(f"{faces.path}: its faces, cut as {faces.coverage}, are cut anew as {coverage}")
    return cut


def _cut_alike(sets: dict[Side, FaceSet]) -> dict[Side, FaceSet]:
    for coverage in dict.fromkeys(faces.coverage for faces in sets.values()):
        with suppress(FaceswapError):
            return {side: recut(faces, coverage) for side, faces in sets.items()}
    source, target = sets["source"], sets["target"]
    raise FaceswapError(
        f"{source.path} is cut as {source.coverage}, {target.path} as {target.coverage}, and "
        "neither shows all that the other does; extract one of them again with "
        f"--set extract.crop_coverage={target.coverage}, or {source.coverage}"
    )


def describe_run(source: FaceSet, target: FaceSet, config: Config) -> RunManifest:
    """The manifest of a run on these sets.

    Raises: FaceswapError when the sets cannot be trained together.
    """
    if source.path.resolve() == target.path.resolve():
        raise FaceswapError(f"{source.path}: is source and target at once; a swap needs two people")
    for what, name in (("pack", "landmarks"), ("coverage", "coverage")):
        of_source, of_target = getattr(source, what), getattr(target, what)
        if what == "pack" and _lie_alike(source, target):
            continue
        if of_source != of_target:
            raise FaceswapError(
                f"{source.path} was made with {name} {of_source}, {target.path} with {of_target}: "
                f"their faces are placed differently; extract one of them again"
            )
    if source.pack == "five":
        # Five points are the detector's own, and every detector has its own idea of a nose.
        names = {f.record.detector for faces in (source, target) for f in faces.faces}
        if len(names) > 1:
            raise FaceswapError(
                f"{source.path} and {target.path}: five points of "
                f"{', '.join(sorted(names))} cannot be mixed; extract again with the same "
                "extract.detector"
            )
    base, learned = _base_manifest(config), _groups_of_base(config)
    sides = {}
    for name, faces in (("source", source), ("target", target)):
        known = _known_groups(learned, faces)
        groups = assign_split(known, faces.places(), config.training.heldout, step=0)
        own = describe_identity(faces)
        before = getattr(base, name).clips if base else {group.clip for group in learned}
        clips = sorted({*own.clips, *before})
        told = {"groups": groups, "clips": clips, "weights": _weights_of(faces)}
        sides[name] = own.model_copy(update=told)
    return RunManifest(
        # Not the sets, which may grow, nor where anything lies.
        job=job_id(
            model=_as_jobs_know(config.model),
            init=config.init.model_dump(exclude={"run"}),
            training=under_old_names("training", _fixed_options(config.training))
            | {name.removeprefix("training."): value for name, value in CONSTANTS.items()},
        ),
        # A clip's faces are found by the mesh, which stands for the 68 points.
        landmarks_pack="mesh" if source.pack == "ibug68" else source.pack,
        detector=target.faces[0].record.detector,
        coverage=source.coverage,
        source=sides["source"],
        target=sides["target"],
        consent=config.consent.strip() or _consent_of(base, sides),
    )


def _as_jobs_know(model: ModelConfig) -> dict[str, Any]:
    """A network's options; those that came later, where they are what all networks had before."""
    later = ("encoder_widths", "code_widths", "decoder_widths")
    fields = type(model).model_fields
    return model.model_dump(exclude={n for n in later if getattr(model, n) == fields[n].default})


def _lie_alike(source: FaceSet, target: FaceSet) -> bool:
    """Whether the faces of two sets are placed alike: the mesh stands for the 68 points, where
    these place them.
    """
    packs = {source.pack, target.pack}
    return packs <= {"mesh", "ibug68"} and find_geometry(source.coverage) is not None


def _weights_of(faces: FaceSet) -> dict[str, float]:
    weights = sampling_weights(faces)
    if weights is None:
        return {}
    pairs = zip(faces.faces, weights.tolist(), strict=True)
    return {face_key(face.record): weight for face, weight in pairs if weight != 1}


def _consent_of(base: RunManifest | None, sides: dict[str, IdentityFacts]) -> str:
    """The base's consent, as long as the face that is put on is still the same person's."""
    if base is None:
        return ""
    same = is_same_person(base.source, sides["source"], base.target)
    if same is None:
        same = base.source.fingerprint == sides["source"].fingerprint
    return base.consent if same else ""


def _is_same_base(config: Config, before: Config, found: RunManifest) -> bool:
    """Whether a run began with these weights, wherever they lie now; they may be gone by now."""
    if config.init.run == before.init.run or FRESH in (config.init.run, before.init.run):
        return config.init.run == before.init.run
    if not found.lineage:
        return False
    return start_fingerprint(config, found.coverage) == found.lineage[-1]["fingerprint"]


def _fixed_options(options: TrainingConfig) -> dict[str, Any]:
    """Training options that a resumed run may not change."""
    free = {*FREE_ON_RESUME} - SCHEDULE_GOES_BY.get(options.schedule.kind, set())
    return {name: value for name, value in options_of(options).items() if name not in free}


def _base_manifest(config: Config) -> RunManifest | None:
    """The manifest of the run that `config.init` names; a resumed run no longer needs it."""
    if config.init.run in (OURS, FRESH) or not (Path(config.init.run) / MANIFEST_FILE).is_file():
        return None
    return read_manifest(Path(config.init.run))


def _groups_of_base(config: Config) -> list[FaceGroup]:
    """The roles of all real faces that the first weights come from, of a run or a base's file."""
    if base := _base_manifest(config):
        return [*base.source.groups, *base.target.groups]
    path = Path(config.init.run)
    if path.suffix != SUFFIX or not path.is_file():
        return []
    return [FaceGroup.model_validate(group) for group in read_base(path).recipe.get("groups", [])]


def _known_groups(learned: list[FaceGroup], faces: FaceSet) -> list[FaceGroup]:
    """Those of these faces' clips: the weights know what they have seen."""
    clips = {face.record.clip_fingerprint for face in faces.faces}
    return [group for group in learned if group.clip in clips]


@dataclass(frozen=True)
class TakenUp:
    """What `take_up` decided. `start`: the checkpoint's step to go on from; None: from nothing."""

    action: Literal["start", "resume", "done"]
    start: int | None
    manifest: RunManifest
    state: RunState = field(default_factory=RunState)
    """Where the run stood at that step."""


def take_up(
    run: Path,
    sets: dict[Side, FaceSet],
    config: Config,
    *,
    overwrite: bool,
    say: Callable[[str], None],
) -> TakenUp:
    """Decide what becomes of a run folder, and make it ready to be trained in.

    Raises: FaceswapError when the sets do not go together, or the folder is a run of other settings
    or faces, nothing of ours, or holds no good checkpoint.
    """
    manifest = describe_run(sets["source"], sets["target"], config)
    found = read_manifest(run) if (run / MANIFEST_FILE).is_file() else None
    start, problems = latest_valid_checkpoint(run)
    if overwrite:
        problems = []
    if problems and start is None:
        raise FaceswapError(f"{run}: there is no valid checkpoint ({problems[0]}); {_way_out(run)}")
    for problem in problems:
        say(f"warning: {problem}; going on from step {start}")
    state = RunState() if start is None else as_state(checkpoint_facts(run, start))
    # A range test by itself is no run: training begins beside it.
    if run.is_dir() and {p.name for p in run.iterdir()} <= {CURVE_FILE, SWEEP_FILE}:
        return TakenUp("start", None, manifest)
    # With neither config nor checkpoint a kill came between a run's first two files.
    begun = found is not None and (start is not None or (run / CONFIG_FILE).is_file())
    differences = []
    if found is not None and begun and not overwrite:
        differences = _differences(run, found, manifest, config)
    if differences:
        told = "; ".join(differences[:3]) + ("; ..." if len(differences) > 3 else "")
        raise FaceswapError(
            f"{run}: is a run with other settings ({told}); choose another name, use its "
            f"settings (--config {run / CONFIG_FILE}), or pass --overwrite, which starts "
            "over"
        )
    if found is None and run.exists():
        raise FaceswapError(f"{run}: not made by this command, and not empty; choose another name")
    action: Literal["start", "resume", "done"] = "start"
    if begun and not overwrite:
        action = "done" if start is not None and why_stop(state, config.training) else "resume"
    if action == "start":
        clear_run(run)
        return TakenUp("start", None, manifest)
    if found is not None:
        # Given late, it counts all the same: for a run that is finished, too.
        consent = config.consent.strip() or found.consent or manifest.consent
        if action == "resume":
            manifest = carry_on(found, manifest, sets, config.training, start or 0, say)
            manifest = manifest.model_copy(update={"consent": consent})
            for line in set_aside_newer(run, start):
                say(f"note: {line}")
            if line := undo_finish(run):
                say(f"note: {line}; training goes on from there")
        elif consent != found.consent:
            manifest = found.model_copy(update={"consent": consent})
            write_json(run / MANIFEST_FILE, manifest.model_dump())
    # What a kill left that came as old ones went.
    drop_old(run, config.training.keep)
    return TakenUp(action, start, manifest, state)


def _way_out(run: Path) -> str:
    """What to do about a run that cannot go on."""
    if latest_valid_checkpoint(run, "last")[0] is None:
        return "--overwrite starts over"
    return f"its weights are whole: --init {run} --run ANOTHER starts from them"


def _differences(run: Path, found: RunManifest, manifest: RunManifest, config: Config) -> list[str]:
    """What a run's folder and a new call do not agree on; empty: it is this call's run.

    An option that the run was made without counts as its default.
    """
    changed = []
    for side, other in (("source", found.target), ("target", found.source)):
        before_set, now_set = getattr(found, side), getattr(manifest, side)
        if not before_set.is_nobody and not is_same_set(before_set, now_set, other):
            told = f"{before_set.path} there, {now_set.path} now"
            if before_set.path == now_set.path:
                told = (
                    f"{now_set.path} holds faces of other clips, or of another person, than it did"
                )
            changed.append(f"{side} {told}")
    # An imported run's own tool had points of another kind, of which nothing of it depends.
    names = ("coverage",) if found.source.is_nobody else ("coverage", "landmarks_pack")
    for name in names:
        old, new = getattr(found, name), getattr(manifest, name)
        changed += [] if old == new else [f"{name} {old} there, {new} now"]
    if not (run / CONFIG_FILE).is_file():
        return [*changed, *([] if found.job == manifest.job else [f"{CONFIG_FILE} is missing"])]
    before = load_config(run / CONFIG_FILE)
    fixed = {
        "model": config.model.model_dump(),
        "init": config.init.model_dump(exclude={"run"}),
        "training": _fixed_options(config.training),
    }
    if found.source.is_nobody:
        # How it is trained here is decided when it first is.
        fixed = {"model": fixed["model"]}
    elif not _is_same_base(config, before, found):
        changed.append(f"init.run {before.init.run} there, {config.init.run} now")
    for section, new in fixed.items():
        old = options_of(getattr(before, section))
        changed += [
            f"{section}.{key} {old[key]} there, {new[key]} now"
            for key in new
            if old[key] != new[key]
        ]
    return changed


def clear_run(run: Path) -> None:
    """Remove what an earlier run wrote into this folder, and nothing else."""
    for name in ("checkpoints", "previews", "tensorboard", FOLDER, UNDONE):
        shutil.rmtree(run / name, ignore_errors=True)
    files = ("log.jsonl", "preview.png", CURVE_FILE, SWEEP_FILE, MASK_FILE)
    for name in (*files, CONFIG_FILE, MANIFEST_FILE):
        (run / name).unlink(missing_ok=True)


def carry_on(
    found: RunManifest,
    manifest: RunManifest,
    sets: dict[Side, FaceSet],
    config: TrainingConfig,
    step: int,
    say: Callable[[str], None],
) -> RunManifest:
    """The manifest of a run resumed at `step`: today's, its own rate, all it ever learned from.

    Faces keep their roles; those that have joined since are shared out, and said.
    """
    sides: dict[str, IdentityFacts] = {}
    for name, faces in sets.items():
        before, now = getattr(found, name), getattr(manifest, name)
        groups = assign_split(before.groups, faces.places(), config.heldout, step)
        if before.fingerprint != now.fingerprint and not before.is_nobody:
            joined, left, heldout = _count_changes(before, now, faces, groups)
            over = f" over {config.late_ramp} steps" if config.late_ramp else ""
            say(
                f"note: {now.path} changed since this run began: {joined} faces joined, "
                f"{heldout} of them held out or next to held-out ones, {left} left; new "
                f"ones come in{over}"
            )
        if before.masks != now.masks and not before.is_nobody:
            say(
                f"note: {now.path}: the masks of its faces have changed since this run last "
                "saw them; it continues with the new ones"
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
    return manifest.model_copy(
        update={**sides, "lineage": found.lineage, "lr": found.lr, "mask": found.mask}
    )


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
