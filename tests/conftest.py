"""Where tests find real media and weights, both optional, and the actors they share."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faceswap_lite.actors.clip import render_clip
from faceswap_lite.config import Config, ConvertConfig, RenderConfig
from faceswap_lite.config_files import load_config
from faceswap_lite.conversion.convert import ConvertSummary, convert_clip
from faceswap_lite.conversion.writers import FileOutputs, Tracks
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.media.marks import Signing
from faceswap_lite.media.reading import as_clip
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.trained import TrainedRun
from faceswap_lite.training.train import train

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


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """The folder of other tools' files, or a skip that says how to name it."""
    return _folder("FACESWAP_LITE_FIXTURES", "fixtures", "other tools' files")


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
    "model.mask_dims=4", "training.batch=4", "training.log_every=1", "training.heldout.every=10",
    "training.preview_every=1000", "training.save_every=1000", "training.schedule.warmup_steps=5",
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
        extract_faces(find_footage([folder / f"{name}.mp4"]), folder / name, config.extract)
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


def convert_file(
    run: TrainedRun, clip: Path, out: Path, config: ConvertConfig, *,
    tracks: Tracks | None = None, signing: Signing | None = None, **more: Any,
) -> ConvertSummary:  # fmt: skip
    """`convert_clip` from file to file."""
    outputs = FileOutputs(out, tracks or Tracks(), signing)
    return convert_clip(run, as_clip(clip), outputs, config, **more)


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


FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1400,1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium, or a skip that says what is missing."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    program = next(filter(None, found), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with its chromedriver: the page's controls are not tried")
    options = selenium.ChromeOptions()
    options.binary_location = program
    downloads, profile = (tmp_path_factory.mktemp(name) for name in ("downloads", "profile"))
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    chrome.downloads = downloads
    chrome.set_script_timeout(10)
    yield chrome
    chrome.quit()


class Page:
    """The page as a person uses it: what is shown, and what is clicked."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.browser = browser
        browser.get_log("browser")
        browser.get(path.as_uri())

    def all(self, css: str) -> list[Any]:
        return self.browser.find_elements("css selector", css)

    def one(self, css: str) -> Any:
        return self.browser.find_element("css selector", css)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)
