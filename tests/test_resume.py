"""A run knows its face sets and its base by what they hold, not by where they lie."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cast, silent
from test_train import checkpoint_tensors, run_steps, with_training

from faceswap_lite.config import load_config
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.runs.known import known_faces, open_known_set
from faceswap_lite.runs.trained import load_run
from faceswap_lite.training.fit import fit_run
from faceswap_lite.training.loop import train


def moved(cast: Cast, place: Path) -> Cast:
    """The cast's face sets, copied to another place."""
    for name in ("source", "target"):
        shutil.copytree(getattr(cast, name), place / name)
    return replace(cast, source=place / "source", target=place / "target")


def test_a_moved_workspace_goes_on_bit_for_bit(cast: Cast, tmp_path: Path) -> None:
    here = moved(cast, tmp_path / "here")
    run_steps(here, tmp_path / "here/run", steps=2)
    (tmp_path / "here").rename(tmp_path / "there")
    there = replace(cast, source=tmp_path / "there/source", target=tmp_path / "there/target")
    assert run_steps(there, tmp_path / "there/run", steps=4).step == 4
    run_steps(cast, tmp_path / "whole", steps=4)
    gone_on, whole = (
        checkpoint_tensors(path, 4) for path in (tmp_path / "there/run", tmp_path / "whole")
    )
    assert gone_on.keys() == whole.keys()
    # Chance is drawn by step: only the order of two saves differs from an unbroken run.
    assert all((gone_on[name] == whole[name]).all() for name in whole)
    run = load_run(tmp_path / "there/run")
    assert open_known_set(run, "target").path == tmp_path / "there/target"


def test_a_moved_run_finds_its_sets_beside_it(cast: Cast, tmp_path: Path) -> None:
    run_steps(moved(cast, tmp_path / "a"), tmp_path / "a/runs/run", steps=2)
    (tmp_path / "a").rename(tmp_path / "b")
    run = load_run(tmp_path / "b/runs/run")
    assert not Path(run.manifest.source.path).exists()
    assert open_known_set(run, "source").path == tmp_path / "b/source"
    assert len(known_faces(run, "target")) > 10
    shutil.rmtree(tmp_path / "b/source")
    with pytest.raises(FaceswapError, match="no such face set"):
        known_faces(run, "source")


def test_a_set_that_grew_elsewhere_is_still_the_run_s(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=2)
    there = moved(cast, tmp_path / "there")
    sorted(there.source.glob("*.png"))[3].unlink()
    assert run_steps(there, tmp_path / "run", steps=3).step == 3


@pytest.mark.parametrize("swapped", [("target", "source"), ("source", "other")])
def test_other_people_are_refused(cast: Cast, tmp_path: Path, swapped: tuple[str, str]) -> None:
    """Even where they were extracted from the same clip, or lie at the same place."""
    run_steps(cast, tmp_path / "run", steps=2)
    there = moved(cast, tmp_path / "there")
    shutil.copytree(cast.target, tmp_path / "there/other")
    other = replace(there, source=tmp_path / "there" / swapped[0],
                    target=tmp_path / "there" / swapped[1])  # fmt: skip
    if swapped == ("source", "other"):
        other = replace(other, source=tmp_path / "there/other", target=there.target)
    with pytest.raises(FaceswapError, match=r"source .*other settings|other settings \(source"):
        run_steps(other, tmp_path / "run", steps=3)


def test_an_option_that_a_run_was_made_without_counts_as_its_default(
    cast: Cast, tmp_path: Path
) -> None:
    run_steps(cast, tmp_path / "run", steps=2)
    config = tmp_path / "run/config.yaml"
    kept = [line for line in config.read_text().splitlines() if "l1_weight" not in line]
    config.write_text("\n".join(kept) + "\n")
    assert run_steps(cast, tmp_path / "run", steps=3).step == 3
    config.write_text("\n".join(kept) + "\n")
    with pytest.raises(FaceswapError, match=r"training\.l1_weight 0\.0 there, 0\.5 now"):
        run_steps(cast, tmp_path / "run", steps=4, l1_weight=0.5)


def test_a_moved_base_is_known_by_its_weights(cast: Cast, tmp_path: Path) -> None:
    for name, seed in (("base", 1), ("other", 2)):
        run_steps(cast, tmp_path / name, steps=2, seed=seed)

    def go_on(base: str, steps: int) -> int:
        init = cast.config.init.model_copy(update={"run": str(tmp_path / base)})
        config = with_training(cast.config.model_copy(update={"init": init}), steps=steps)
        sets = open_face_set(cast.source), open_face_set(cast.target)
        return train(*sets, tmp_path / "run", config, say=silent).step

    assert go_on("base", 2) == 2
    shutil.move(tmp_path / "base", tmp_path / "moved")
    assert go_on("moved", 3) == 3
    with pytest.raises(FaceswapError, match=r"init\.run"):
        go_on("other", 4)


def test_a_fit_of_a_moved_base_finds_its_source(cast: Cast, tmp_path: Path) -> None:
    run_steps(moved(cast, tmp_path / "a"), tmp_path / "a/run", steps=4)
    (tmp_path / "a").rename(tmp_path / "b")
    changes = ("training.steps=2", "training.warmup_steps=1", "training.threads=1",
               "training.heldout_every=1")  # fmt: skip
    config = load_config("fit", changes)
    fit_run(tmp_path / "b/run", cast.target, tmp_path / "b/fit", config, say=silent)
    assert load_run(tmp_path / "b/fit").manifest.source.path == str(tmp_path / "b/source")
