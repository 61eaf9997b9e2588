"""Consent: recorded with a run, told when it is not, changed without training anew."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cast
from test_train import with_training

from faceswap_lite.about import describe
from faceswap_lite.config_files import load_config
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.manifest import read_manifest
from faceswap_lite.training.fit import fit_run
from faceswap_lite.training.train import train

TEXT = "Anna Berg, 3 May 2026: this film, until 2027"
ASKED = 'no consent recorded: --set consent="who, when, to what"'


def run_with(cast: Cast, run: Path, steps: int, consent: str = "") -> list[str]:
    """Train to a step; what was said."""
    said: list[str] = []
    config = with_training(cast.config, steps=steps).model_copy(update={"consent": consent})
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    train(source, target, run, config, say=said.append)
    return said


def test_consent_is_recorded_and_its_lack_is_said(cast: Cast, tmp_path: Path) -> None:
    given, lacking = tmp_path / "given", tmp_path / "lacking"
    assert ASKED not in run_with(cast, given, 2, f" {TEXT}\n")
    assert run_with(cast, lacking, 2).count(ASKED) == 1
    assert json.loads((given / "run.json").read_text())["consent"] == TEXT
    assert load_run(given).manifest.consent == TEXT and load_run(lacking).manifest.consent == ""
    assert f"consent   {TEXT}" in describe(given).splitlines()
    assert "consent   nothing recorded" in describe(lacking).splitlines()
    # Who agreed changes nothing of what is learned.
    assert read_manifest(given).job == read_manifest(lacking).job
    assert load_run(given).fingerprint == load_run(lacking).fingerprint


def test_consent_may_come_and_change_later(cast: Cast, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_with(cast, run, 2)
    assert ASKED not in run_with(cast, run, 4, TEXT)
    assert (read_manifest(run).consent, load_run(run, "last").step) == (TEXT, 4)
    # None given now: what was given stays, and nothing is asked.
    assert ASKED not in run_with(cast, run, 6)
    assert read_manifest(run).consent == TEXT
    # A run that is finished takes it too, and takes no step.
    before = read_manifest(run)
    run_with(cast, run, 6, "withdrawn on 4 May")
    assert read_manifest(run) == before.model_copy(update={"consent": "withdrawn on 4 May"})
    assert load_run(run, "last").step == 6


def test_runs_of_older_versions_are_read(cast: Cast, tmp_path: Path) -> None:
    run_with(cast, tmp_path / "run", 2, TEXT)
    facts = json.loads((tmp_path / "run/run.json").read_text())
    del facts["consent"]
    (tmp_path / "run/run.json").write_text(json.dumps(facts))
    assert load_run(tmp_path / "run").manifest.consent == ""
    assert "consent   nothing recorded" in describe(tmp_path / "run")


@pytest.mark.parametrize("own", ["", "Bo alone"])
def test_a_fit_has_its_own_consent_or_the_bases(cast: Cast, tmp_path: Path, own: str) -> None:
    base, run = tmp_path / "base", tmp_path / "fit"
    run_with(cast, base, 4, TEXT)
    changes = ["training.steps=2", "training.heldout.every=1", "training.schedule.warmup_steps=1"]
    config = load_config("fit", [*changes, "training.threads=1", f"consent={own}"])
    said: list[str] = []
    fit_run(base, cast.target, run, config, say=said.append)
    assert load_run(run).manifest.consent == (own or TEXT)
    assert ASKED not in said
    # Again, without a word: its own stays, whatever the base has.
    fit_run(base, cast.target, run, config.model_copy(update={"consent": ""}), say=said.append)
    assert load_run(run).manifest.consent == (own or TEXT)


def test_weights_of_another_swap_bring_no_consent(cast: Cast, tmp_path: Path) -> None:
    base = tmp_path / "base"
    run_with(cast, base, 2, TEXT)
    init = cast.config.init.model_copy(update={"run": str(base)})
    swapped = replace(
        cast,
        source=cast.target,
        target=cast.source,
        config=cast.config.model_copy(update={"init": init}),
    )
    assert ASKED in run_with(swapped, tmp_path / "other", 2)
    assert read_manifest(tmp_path / "other").consent == ""
