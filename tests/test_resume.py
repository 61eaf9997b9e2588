"""A run knows its face sets and its base by what they hold, not by where they lie."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cast, silent
from test_train import checkpoint_tensors, log_lines, run_steps, with_training

from faceswap_lite.config_files import load_config
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.runs.checkpoints import find_damage, list_checkpoints
from faceswap_lite.runs.known import known_faces, open_known_set
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.manifest import IdentityFacts, is_same_set
from faceswap_lite.training.fit import fit_run
from faceswap_lite.training.train import train


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


def test_the_other_person_s_set_is_refused(cast: Cast, tmp_path: Path) -> None:
    """Known by what it holds, and by its clips when it has changed."""
    run_steps(cast, tmp_path / "run", steps=2)
    there = moved(cast, tmp_path / "there")
    turned = replace(there, source=there.target, target=there.source)
    with pytest.raises(FaceswapError, match=r"other settings \(source .* there, .* now"):
        run_steps(turned, tmp_path / "run", steps=3)
    sorted(there.target.glob("*.png"))[3].unlink()
    with pytest.raises(FaceswapError, match="source"):
        run_steps(replace(there, source=there.target), tmp_path / "run", steps=3)


def test_other_faces_at_the_old_place_are_refused(cast: Cast, tmp_path: Path) -> None:
    here = moved(cast, tmp_path / "here")
    run_steps(here, tmp_path / "run", steps=2)
    shutil.rmtree(here.source)
    extract_faces(find_footage([cast.unseen_clip]), here.source, cast.config.extract)
    with pytest.raises(FaceswapError, match="holds faces of other clips, or of another person"):
        run_steps(here, tmp_path / "run", steps=3)
    with pytest.raises(FaceswapError, match="holds other faces than the source's"):
        open_known_set(load_run(tmp_path / "run"), "source")


def facts(fingerprint: str, center: list[float] | None, clip: str = "a") -> IdentityFacts:
    return IdentityFacts(path="x", faces=9, fingerprint=fingerprint, clips=[clip],
                         embedder=center and "net", centroid=center)  # fmt: skip


def test_of_two_people_in_one_clip_embeddings_tell_who_it_is() -> None:
    ada, bruno = facts("1", [1.0, 0.0]), facts("2", [0.0, 1.0])
    assert is_same_set(ada, facts("3", [0.9, 0.1]), bruno)
    assert not is_same_set(ada, facts("3", [0.1, 0.9]), bruno)
    # Somebody else again, as far from both.
    assert not is_same_set(ada, facts("3", [-0.7, -0.7]), bruno)
    assert not is_same_set(ada, facts("3", [0.9, 0.1], clip="b"), bruno)
    # Nothing tells them apart but their places.
    assert is_same_set(ada, facts("3", None), bruno) and not is_same_set(ada, bruno, bruno)


def test_a_kill_between_a_new_run_s_two_files_begins_anew(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=2)
    shutil.rmtree(tmp_path / "run/checkpoints")
    (tmp_path / "run/config.yaml").unlink()
    assert run_steps(cast, tmp_path / "run", steps=3, lr=2e-3).step == 3
    # A config that somebody has lost costs no training.
    (tmp_path / "run/config.yaml").unlink()
    with pytest.raises(FaceswapError, match=r"config\.yaml is missing"):
        run_steps(cast, tmp_path / "run", steps=4)
    assert run_steps(cast, tmp_path / "run", steps=4, lr=2e-3).step == 4
    assert [line["step"] for line in log_lines(tmp_path / "run") if "loss" in line] == [1, 2, 3, 4]


def test_a_kill_while_old_checkpoints_go_leaves_none_half(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path) -> None:
        next(path.glob("ema*")).unlink()
        raise InterruptedError

    run = tmp_path / "run"
    run_steps(cast, run, steps=2, save_every=1)
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(shutil, "rmtree", killed)
        run_steps(cast, run, steps=3, save_every=1)
    assert list_checkpoints(run) == [2, 3]
    assert all(find_damage(run, step) == {} for step in (2, 3))
    # Given again it is done, and what was left is gone.
    run_steps(cast, run, steps=3, save_every=1)
    assert len(list((run / "checkpoints").iterdir())) == 2


def test_overwrite_asks_nothing_of_what_it_replaces(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=2)
    (tmp_path / "run/config.yaml").write_text("model: {no_such: 1}\n")
    sets = open_face_set(cast.source), open_face_set(cast.target)
    config = with_training(cast.config, steps=1)
    assert train(*sets, tmp_path / "run", config, overwrite=True, say=silent).step == 1


def test_a_workspace_that_moved_and_changed_is_still_found(cast: Cast, tmp_path: Path) -> None:
    here = moved(cast, tmp_path / "a")
    run_steps(here, tmp_path / "a/run", steps=2)
    (tmp_path / "a").rename(tmp_path / "b")
    sorted((tmp_path / "b/target").glob("*.png"))[3].unlink()
    run = load_run(tmp_path / "b/run")
    assert open_known_set(run, "target").path == tmp_path / "b/target"
    with pytest.raises(FaceswapError, match="has changed"):
        known_faces(run, "target")


def test_an_option_that_a_run_was_made_without_counts_as_its_default(
    cast: Cast, tmp_path: Path
) -> None:
    run_steps(cast, tmp_path / "run", steps=2)
    config = tmp_path / "run/config.yaml"
    kept = [line for line in config.read_text().splitlines() if line.split(":")[0] != "    l1"]
    config.write_text("\n".join(kept) + "\n")
    assert run_steps(cast, tmp_path / "run", steps=3).step == 3
    config.write_text("\n".join(kept) + "\n")
    with pytest.raises(FaceswapError, match=r"training\.loss\.l1 0\.0 there, 0\.5 now"):
        run_steps(cast, tmp_path / "run", steps=4, loss={"l1": 0.5})


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
    changes = ("training.steps=2", "training.schedule.warmup_steps=1", "training.threads=1",
               "training.heldout.every=1")  # fmt: skip
    config = load_config("fit", changes)
    fit_run(tmp_path / "b/run", cast.target, tmp_path / "b/fit", config, say=silent)
    assert load_run(tmp_path / "b/fit").manifest.source.path == str(tmp_path / "b/source")
