"""Where the tests find real media and weights; both are optional and neither is in the repository."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _folder(variable: str, name: str, what: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
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
