"""A model of another tool, or a run in one file, becomes a run: the `import` stage for models."""

from collections.abc import Callable
from pathlib import Path

from ..config import Config, ExtractConfig, InitConfig
from ..errors import FaceswapError
from ..outputs import claim, file_sha256, job_id, one_writer
from ..runs.checkpoints import RunState, latest_valid_checkpoint, save_checkpoint
from ..runs.manifest import MANIFEST_FILE, NOBODY, RunManifest, read_manifest, write_run
from ..training.resume import clear_run
from .bundles import SUFFIX as BUNDLE_SUFFIX
from .bundles import Bundle, read_bundle
from .deepfacelab import find_model, read_deepfacelab
from .faceswap_models import SUFFIXES, read_faceswap
from .foreign import ForeignModel


@one_writer(lambda run, **_: [run])
def import_model(
    path: Path, run: Path, *, overwrite: bool = False, say: Callable[[str], None] = print
) -> None:
    """Make a run of the model at `path`, which any command takes; it knows no person.

    Raises: FaceswapError when it is no model that is known, is damaged, or does not fit together;
    or `run` is another job's.
    """
    if not path.exists():
        raise FaceswapError(f"{path}: no such model")
    model: ForeignModel | Bundle
    model = read_bundle(path) if path.suffix == BUNDLE_SUFFIX else read_model(path)
    job = model.manifest.job if isinstance(model, Bundle) else _job_of(model)
    found = read_manifest(run).job if (run / MANIFEST_FILE).is_file() else None
    state = claim(
        run, job, found, finished=latest_valid_checkpoint(run)[0] is not None, overwrite=overwrite
    )
    if state == "done":
        say(f"{run}: already done")
        return
    if state == "start":
        clear_run(run)
    if isinstance(model, Bundle):
        _write(run, model)
        say(f"{run}: step {model.step}, as it was exported")
        return
    _write(run, _as_run(model, job))
    config = model.model
    flags = f"-{config.flags}" if config.flags else ""
    say(f"{path}: {model.origin}, {config.size} px, {model.iterations:,} iterations")
    for line in model.lines():
        say(line)
    say(
        f"{run}: {config.architecture}{flags}, faces cut as {model.coverage}; it knows no person: "
        "convert swaps the only face, or the one that --face or --like names"
    )


def read_model(path: Path) -> ForeignModel:
    """The model at a path, by its kind. Raises: FaceswapError when it is of none that is known."""
    if data_file := find_model(path):
        return read_deepfacelab(data_file)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return read_faceswap(path)
    raise FaceswapError(
        f"{path}: is no model that can be imported: a folder with a DeepFaceLab model's files, its "
        "..._data.dat, or FaceSwap's .keras or .h5"
    )


def _job_of(model: ForeignModel) -> str:
    return job_id(files=[file_sha256(file) for file in model.files], tool=model.origin)


def _as_run(model: ForeignModel, job: str) -> Bundle:
    parts = sorted({name.partition(".")[0] for name in model.weights})
    lineage = {
        "run": f"imported {model.origin} {model.name}",
        "step": model.iterations,
        "fingerprint": job,
        "parts": parts,
    }
    manifest = RunManifest(
        job=job,
        landmarks_pack="mesh",
        detector="auto",
        coverage=model.coverage,
        source=NOBODY,
        target=NOBODY,
        lineage=[lineage],
    )
    config = Config(
        model=model.model,
        init=InitConfig(run="none"),
        extract=ExtractConfig(crop_coverage=model.coverage),
    )
    return Bundle(config, manifest, 0, model.weights)


def _write(run: Path, given: Bundle) -> None:
    write_run(run, given.manifest, given.config)
    weights = {"model": given.weights, "ema": given.weights}
    state = RunState(step=given.step)
    save_checkpoint(run, state, weights, None, given.manifest.lineage, keep=1)
