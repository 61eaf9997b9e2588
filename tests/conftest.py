"""Where tests find real media and weights, both optional, and the actors they share."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faceswap_lite.actors import render_clip
from faceswap_lite.config import Config, RenderConfig, load_config
from faceswap_lite.faces import extract_faces, open_face_set
from faceswap_lite.training import TrainedRun, load_run
from faceswap_lite.training.loop import train

ROOT = Path(__file__).resolve().parent.parent


def _folder(variable: str, name: str, what: str) -> Path:
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not folder.is_dir():
        pytest.skip(f"no {what}: set {variable} to the folder that holds them")
    return folder.resolve()


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """The folder of real clips and stills, or a skip that says how to name it."""
    return _folder("FACESWAP_LITE_MEDIA", "media", "real clips")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The folder of face-network weights, or a skip that says how to name it."""
    return _folder("FACESWAP_LITE_WEIGHTS", "weights", "weights")


@pytest.fixture
def with_weights(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights folder, made known to the code under test."""
    monkeypatch.setenv("FACESWAP_LITE_WEIGHTS", str(weights_dir))
    return weights_dir


@dataclass(frozen=True)
class Cast:
    """Clips and face sets of two actors, and a config small enough to train in seconds."""

    source: Path
    target: Path
    source_clip: Path
    target_clip: Path
    unseen_clip: Path
    config: Config


# Small enough for seconds, and everything that a real config has.
TINY = (
    "model.size=32", "model.encoder_dims=8", "model.inter_dims=16", "model.decoder_dims=6",
    "model.mask_dims=4", "training.batch=4", "training.log_every=1", "training.heldout_every=10",
    "training.preview_every=1000", "training.save_every=1000", "training.warmup_steps=5",
    "training.threads=1",
)  # fmt: skip


@pytest.fixture(scope="session")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Cast:
    """Two rendered actors, extracted with what pip alone brings (MTCNN and five points)."""
    folder = tmp_path_factory.mktemp("cast")
    config = load_config("demo", TINY)
    parts = {
        "source": RenderConfig(actor="bruno", twin="ada", frames=40, seed=1),
        "target": RenderConfig(actor="ada", twin="bruno", frames=40, seed=2),
        "unseen": RenderConfig(actor="ada", twin="bruno", frames=12, seed=3),
    }
    for name, part in parts.items():
        render_clip(part, folder / f"{name}.mp4")
    for name in ("source", "target"):
        extract_faces([folder / f"{name}.mp4"], folder / name, config.extract)
    return Cast(
        source=folder / "source",
        target=folder / "target",
        source_clip=folder / "source.mp4",
        target_clip=folder / "target.mp4",
        unseen_clip=folder / "unseen.mp4",
        config=config,
    )


def figures_of(report: dict[str, Any], result: int = 0) -> dict[str, Any]:
    """The figures of one result of a report, by name."""
    return {name: row["value"] for name, row in report["results"][result]["metrics"].items()}


def silent(line: str) -> None:
    """What a stage has to say, unsaid."""


@pytest.fixture(scope="session")
def run(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A short training of the cast: enough for the swap to be seen."""
    folder = tmp_path_factory.mktemp("run") / "run"
    given = {"steps": 150, "lr": 3e-3, "batch": 8}
    training = cast.config.training.model_copy(update=given)
    config = cast.config.model_copy(update={"training": training})
    train(open_face_set(cast.source), open_face_set(cast.target), folder, config, say=silent)
    return load_run(folder)
