"""The loop on rendered actors: resume, kills, splits, refusals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cast, silent
from safetensors.torch import load_file
from typer.testing import CliRunner

from faceswap_lite.about import describe
from faceswap_lite.cli import app
from faceswap_lite.config import Config, dump_config
from faceswap_lite.config_files import load_config
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.runs.checkpoints import (
    Best,
    RunState,
    checkpoint_facts,
    checkpoint_folder,
    flatten_optimizer,
    latest_valid_checkpoint,
    list_checkpoints,
    restore_optimizer,
)
from faceswap_lite.runs.load import load_run
from faceswap_lite.runs.manifest import read_manifest
from faceswap_lite.runs.split import read_roles
from faceswap_lite.training.loop import TrainSummary
from faceswap_lite.training.train import train

PRESETS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))


def with_training(config: Config, **options: Any) -> Config:
    training = config.training.model_copy(update={"minutes": None})
    for name, value in options.items():
        if isinstance(value, dict):
            value = getattr(training, name).model_copy(update=value)
        training = training.model_copy(update={name: value})
    return config.model_copy(update={"training": training})


def run_steps(cast: Cast, run: Path, **options: Any) -> TrainSummary:
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    config = with_training(cast.config, **options)
    return train(source, target, run, config, say=lambda line: None)


def log_lines(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return lines


def checkpoint_tensors(run: Path, step: int) -> dict[str, torch.Tensor]:
    return {
        f"{file.stem}.{name}": tensor
        for file in sorted(checkpoint_folder(run, step).glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


# No gain is ever enough for this one: the rate drops at steps 20 and 40, and cools down between.
JUMPY_PLATEAU = {
    "schedule": {
        "kind": "plateau",
        "plateau_threshold": 0.9,
        "plateau_patience": 0,
        "plateau_cooldown": 1,
    }
}


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": {"kind": "constant"}},
        {"schedule": {"kind": "cosine"}},
        {"schedule": {"kind": "step", "step_every": 15}},
        {"schedule": {"kind": "one_cycle"}},
        JUMPY_PLATEAU,
        {
            "pose_balance": 1.0,
            "augment": {"color_transfer": 0.5, "hue": 0.1, "value": 0.2, "warp_until": 30},
        },
        {"loss": {"l1": 1.0, "gradient": 1.0, "frequency": 1.0}},
        {"optimizer": {"kind": "adamw"}, "schedule": {"kind": "cosine"}},
        {"optimizer": {"kind": "adabelief", "ema_decay": 0.0}},
        {"optimizer": {"kind": "schedulefree"}},
        {"optimizer": {"ema_decay": 0.9}, "accumulate": 3, "source_share": 0.3, "patience": 100},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_resume_repeats_an_uninterrupted_run(
    cast: Cast, tmp_path: Path, options: dict[str, Any]
) -> None:
    run_steps(cast, tmp_path / "once", steps=40, **options)
    if options.get("schedule", {}).get("kind") in ("cosine", "one_cycle"):
        # These end at `steps`, so they are stopped by a checkpoint in the middle, not by steps.
        run_steps(cast, tmp_path / "twice", steps=40, save_every=23, keep=9, **options)
        shutil.rmtree(checkpoint_folder(tmp_path / "twice", 40))
    else:
        run_steps(cast, tmp_path / "twice", steps=23, **options)
    assert list_checkpoints(tmp_path / "twice") == [23]
    summary = run_steps(cast, tmp_path / "twice", steps=40, **options)
    assert summary.step == 40
    once, twice = (checkpoint_tensors(tmp_path / name, 40) for name in ("once", "twice"))
    assert once.keys() == twice.keys()
    assert any(name.startswith("optimizer.") for name in once)
    assert any(name.startswith("best.") for name in once)
    assert [name for name in once if not torch.equal(once[name], twice[name])] == []
    assert log_lines(tmp_path / "once") == log_lines(tmp_path / "twice")


def test_a_run_goes_on_with_faces_that_join_it(cast: Cast, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(cast.target, faces, ignore=shutil.ignore_patterns(".*"))
    cast = replace(cast, target=faces)
    once, twice = tmp_path / "once", tmp_path / "twice"
    options = {
        "late_ramp": 15,
        "pose_balance": 0.5,
        "augment": {"color_transfer": 0.5, "hue": 0.05},
    }
    for run in (once, twice):
        run_steps(cast, run, steps=12, **options)
    before = read_manifest(once).target
    # Another clip's faces, and one that leaves.
    for crop in sorted(cast.source.glob("*.png")):
        shutil.copy(crop, faces / f"new_{crop.name}")
    sorted(faces.glob("[!n]*.png"))[3].unlink()
    said: list[str] = []
    config = with_training(cast.config, steps=30, **options)
    train(open_face_set(cast.source), open_face_set(faces), once, config, say=said.append)
    assert "40 faces joined, 6 of them" in said[0] and "1 left" in said[0]
    run_steps(cast, twice, steps=17, **options)
    run_steps(cast, twice, steps=30, **options)
    tensors, again = (checkpoint_tensors(run, 30) for run in (once, twice))
    assert [name for name in tensors if not torch.equal(tensors[name], again[name])] == []
    assert log_lines(once) == log_lines(twice)
    # Nobody changed sides, and who came is known with the step.
    roles, old = read_roles(read_manifest(twice).target.groups), read_roles(before.groups)
    assert {place: roles[place] for place in old} == old
    assert {roles[place][1] for place in roles if place not in old} == {12}


def test_a_run_may_end_its_warp_on_the_way(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=4)
    assert run_steps(cast, tmp_path / "run", steps=6, augment={"warp_until": 4}).step == 6


def test_a_plateau_lowers_the_rate_and_says_so(cast: Cast, tmp_path: Path) -> None:
    said: list[str] = []
    config = with_training(cast.config, steps=45, lr=1e-3, **JUMPY_PLATEAU)
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    train(source, target, tmp_path / "run", config, say=said.append)
    lines = log_lines(tmp_path / "run")
    rates = {line["step"]: line["lr"] for line in lines if "lr" in line}
    assert [rates[step] for step in (20, 21, 40, 41)] == [1e-3, 5e-4, 5e-4, 2.5e-4]
    scales = {line["step"]: line["plateau_scale"] for line in lines if "plateau_scale" in line}
    assert scales == {10: 1.0, 20: 0.5, 30: 0.5, 40: 0.25}
    drops = [line for line in said if "no gain" in line]
    assert len(drops) == 2
    assert "step 20" in drops[0] and "from 1 to 0.5 of training.lr" in drops[0]


def test_a_look_at_heldout_faces_is_logged_and_changes_nothing(cast: Cast, tmp_path: Path) -> None:
    said: list[str] = []
    config = with_training(cast.config, steps=8, heldout={"every": 2})
    train(
        open_face_set(cast.source), open_face_set(cast.target), tmp_path / "often", config,
        say=said.append,
    )  # fmt: skip
    run_steps(cast, tmp_path / "never", steps=8, heldout={"every": 100})
    often, never = (checkpoint_tensors(tmp_path / name, 8) for name in ("often", "never"))
    assert [name for name in never if not torch.equal(often[name], never[name])] == []
    looks = [line for line in log_lines(tmp_path / "often") if "heldout" in line]
    assert [line["step"] for line in looks] == [0, 2, 4, 6, 8]
    for side in ("source", "target"):
        for name in (f"heldout_{side}_psnr_db", f"seen_{side}_psnr_db"):
            assert all(5 < line[name] < 50 for line in looks)
            assert looks[-1][name] > looks[0][name]
        assert all(-1 <= line[f"heldout_{side}_ssim"] <= 1 for line in looks)
    last = looks[-1]
    decibels = (last["heldout_source_psnr_db"] + last["heldout_target_psnr_db"]) / 2
    assert any(f"held out {last['heldout']:.3f} ({decibels:.1f} dB)" in line for line in said)


def test_the_best_weights_are_those_of_the_lowest_heldout_loss(cast: Cast, tmp_path: Path) -> None:
    """After step 30 the rate is absurd, so that what comes then is worse."""
    run_steps(cast, tmp_path / "run", steps=30, lr=3e-3)
    good = checkpoint_tensors(tmp_path / "run", 30)
    assert load_run(tmp_path / "run").step == load_run(tmp_path / "run", "last").step == 30
    # The same run goes on, as far as its folder knows.
    config = with_training(cast.config, steps=60, lr=0.3)
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    (tmp_path / "run" / "config.yaml").write_text(dump_config(config))
    train(source, target, tmp_path / "run", config, say=lambda line: None)
    heldout = {
        line["step"]: line["heldout"] for line in log_lines(tmp_path / "run") if "heldout" in line
    }
    assert heldout[60] > heldout[30] == min(heldout.values())
    best, last = load_run(tmp_path / "run"), load_run(tmp_path / "run", "last")
    assert (best.step, last.step) == (30, 60)
    assert best.fingerprint != last.fingerprint
    for name, tensor in best.model.state_dict().items():
        assert torch.equal(tensor, good[f"ema.{name}"])


def test_the_look_at_a_runs_end_counts(cast: Cast, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_steps(cast, run, steps=25, lr=3e-3)
    facts = checkpoint_facts(run, 25)
    assert facts["best"]["step"] == 20, "a resumed run knows the regular looks alone"
    assert facts["heldout"] < facts["best"]["heldout"]
    assert load_run(run).step == 25
    # Where its own weights are damaged, the best of the regular looks stand in.
    own = checkpoint_folder(run, 25) / "ema.safetensors"
    whole = own.read_bytes()
    own.write_bytes(whole[:-8])
    said: list[str] = []
    assert load_run(run, say=said.append).step == 20 and "ema.safetensors" in said[0]
    own.write_bytes(whole)
    assert f"best      step 25, held-out loss {facts['heldout']:.3f}" in describe(run)
    # An end that is worse than the look before does not; nor does one from before looks were kept.
    config = with_training(cast.config, steps=33, lr=0.3)
    (run / "config.yaml").write_text(dump_config(config))
    train(open_face_set(cast.source), open_face_set(cast.target), run, config, say=silent)
    assert load_run(run).step == checkpoint_facts(run, 33)["best"]["step"] < 33
    state = RunState(25, best=Best(20, 1.0), heldout=0.9)
    assert (state.lowest, replace(state, heldout=None).lowest) == (Best(25, 0.9), state.best)
    assert replace(state, heldout=float("nan")).lowest == state.best


def test_patience_ends_a_run_that_has_stopped_to_gain(cast: Cast, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "lr": 1e-12,
        "schedule": {"warmup_steps": 0},
        "optimizer": {"ema_decay": 0.0, "clip_norm": 0.0},
        "patience": 2,
    }
    summary = run_steps(cast, tmp_path / "run", steps=500, **options)
    heldout = [line["heldout"] for line in log_lines(tmp_path / "run") if "heldout" in line]
    best = heldout[1:].index(min(heldout[1:]))
    assert summary.step == 10 * (best + 1 + 2) < 500
    assert "no better held-out loss" in summary.reason
    again = run_steps(cast, tmp_path / "run", steps=500, **options)
    assert again.reason == "already done"


def test_what_the_schedule_goes_by_is_part_of_the_job(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=3, **JUMPY_PLATEAU)
    run_steps(cast, tmp_path / "run", steps=4, **JUMPY_PLATEAU)
    with pytest.raises(FaceswapError, match="--overwrite"):
        run_steps(cast, tmp_path / "run", steps=5, heldout={"every": 7}, **JUMPY_PLATEAU)
    run_steps(cast, tmp_path / "cycle", steps=3, schedule={"kind": "one_cycle"})
    with pytest.raises(FaceswapError, match="--overwrite"):
        run_steps(cast, tmp_path / "cycle", steps=4, schedule={"kind": "one_cycle"})


def test_training_learns_and_its_loss_lines_are_finite(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=60, lr=3e-3)
    lines = log_lines(tmp_path / "run")
    losses = [line["loss"] for line in lines if "loss" in line]
    heldout = [line["heldout"] for line in lines if "heldout" in line]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert heldout[-1] < heldout[0]
    assert (tmp_path / "run" / "preview.png").is_file()
    # Whoever may read the log may read the weights.
    files = [tmp_path / "run" / "log.jsonl", *checkpoint_folder(tmp_path / "run", 60).iterdir()]
    assert len({file.stat().st_mode for file in files}) == 1


def test_the_same_command_again_does_nothing(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=5)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    assert run_steps(cast, tmp_path / "run", steps=5).reason == "already done"
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    assert before == after


def test_another_job_needs_overwrite(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=3)
    with pytest.raises(FaceswapError, match="--overwrite"):
        run_steps(cast, tmp_path / "run", steps=6, lr=1e-4)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FaceswapError, match="not made by this command"):
        run_steps(cast, tmp_path / "mine", steps=3)
    # Not even then: this folder was never ours.
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    with pytest.raises(FaceswapError, match="not empty"):
        train(source, target, tmp_path / "mine", cast.config, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_damaged_checkpoint_is_passed_over(cast: Cast, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_steps(cast, run, steps=6, save_every=3)
    weights = checkpoint_folder(run, 6) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    step, problems = latest_valid_checkpoint(run)
    assert step == 3
    assert "damaged" in problems[0]
    # Its averaged weights are whole; with those broken too, an earlier one's are taken.
    said: list[str] = []
    assert load_run(run, "last", say=said.append).step == 6
    assert len(said) == 1 and str(weights) in said[0] and "step_00000006/ema" in said[0]
    (weights.parent / "ema.safetensors").unlink()
    assert load_run(run, "last", say=silent).step == 3
    assert run_steps(cast, run, steps=6).step == 6
    assert latest_valid_checkpoint(run) == (6, [])
    aside = run / "checkpoints" / "step_00000006.damaged"
    assert (aside / "model.safetensors").is_file()


def test_with_a_broken_optimizer_a_run_still_converts_and_others_begin_with_it(
    cast: Cast, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_steps(cast, run, steps=2)
    broken = checkpoint_folder(run, 2) / "optimizer.safetensors"
    broken.write_bytes(broken.read_bytes()[:-7])
    command = ["convert", "--run", str(run), "--clip", str(cast.unseen_clip)]
    out = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "swap.mp4")])
    assert out.exit_code == 0 and (tmp_path / "swap.mp4").is_file()
    assert f"warning: {broken}: is damaged; going on with step_00000002/ema" in out.output
    with pytest.raises(FaceswapError, match="its weights are whole: --init"):
        run_steps(cast, run, steps=4)
    (broken.parent / "state.json").write_text("[]")
    with pytest.raises(FaceswapError, match=r"state.json: is damaged.*--overwrite starts over"):
        run_steps(cast, run, steps=4)
    with pytest.raises(FaceswapError, match="there is no valid checkpoint"):
        load_run(run)
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    config = with_training(cast.config, steps=2)
    assert train(source, target, run, config, overwrite=True, say=silent).step == 2


def test_weights_of_another_architecture_are_refused(cast: Cast, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_steps(cast, run, steps=2)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("inter_dims: 16", "inter_dims: 24"))
    with pytest.raises(FaceswapError, match="do not fit the architecture") as caught:
        load_run(run)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FaceswapError, match="is not a run folder"):
        load_run(tmp_path)


def test_source_and_target_must_differ(cast: Cast, tmp_path: Path) -> None:
    faces = open_face_set(cast.source)
    with pytest.raises(FaceswapError, match="two people"):
        train(faces, faces, tmp_path / "run", cast.config)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_before_it_is_saved(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "run", steps=4, save_every=2, lr=1e-3)
    with pytest.raises(FaceswapError, match="no longer") as caught:
        run_steps(cast, tmp_path / "bad", steps=50, save_every=2, lr=1e30)
    assert "encoder" in str(caught.value) or "source's dssim" in str(caught.value)
    assert all(
        torch.isfinite(tensor).all()
        for step in list_checkpoints(tmp_path / "bad")
        for tensor in checkpoint_tensors(tmp_path / "bad", step).values()
    )


def test_the_optimiser_is_restored_in_the_memory_order_of_its_weights() -> None:
    """GPUs train channels-last; a file keeps no memory order, and fused kernels go by it."""

    def new() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = torch.nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
        return net, torch.optim.Adam(net.parameters(), lr=0.1, fused=True)

    def step(net: torch.nn.Module, adam: torch.optim.Optimizer, seed: int) -> None:
        picture = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
        adam.zero_grad()
        net(picture).square().mean().backward()
        adam.step()

    net, adam = new()
    step(net, adam, 1)
    again, restored = new()
    again.load_state_dict(net.state_dict())
    tensors, facts = flatten_optimizer(adam.state_dict())
    saved = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    restore_optimizer(restored, saved, facts)
    step(net, adam, 2)
    step(again, restored, 2)
    for one, other in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_shipped_config_trains(cast: Cast, tmp_path: Path, path: Path) -> None:
    """Three steps at batch 2 on a CPU, a few GB of memory."""
    config = with_training(load_config(path), steps=3, batch=2, device="cpu", keep=1)
    run = tmp_path / "run"
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    assert train(source, target, run, config, say=lambda line: None).step == 3
    loaded = load_run(run)
    assert loaded.config.model == config.model
    faces = torch.rand(1, 3, config.model.size, config.model.size)
    with torch.no_grad():
        painted, _ = loaded.model.paint(faces, "source")
    assert painted.shape == faces.shape and bool(painted.isfinite().all())
    # Checkpoints of the large ones are gigabytes.
    shutil.rmtree(run)


TRAIN_FOREVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from test_train import with_training
from faceswap_lite.config_files import load_config
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.training.train import train
from conftest import TINY
config = with_training(load_config("demo", TINY), steps=100_000, save_every=2, keep=2)
source, target = open_face_set(Path(sys.argv[1])), open_face_set(Path(sys.argv[2]))
print("begun", flush=True)
try:
    train(source, target, Path(sys.argv[3]), config, say=lambda line: print(line, flush=True))
except KeyboardInterrupt:
    sys.exit(130)
"""


def start_training(cast: Cast, run: Path) -> "subprocess.Popen[str]":
    tests = str(Path(__file__).resolve().parent)
    command = [sys.executable, "-c", TRAIN_FOREVER, str(cast.source), str(cast.target), str(run)]
    process = subprocess.Popen(
        [*command, tests], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    while "held out" not in (line := process.stdout.readline()):
        assert line, "training ended before it began"
    return process


def test_ctrl_c_saves_and_leaves_with_130(cast: Cast, tmp_path: Path) -> None:
    process = start_training(cast, tmp_path / "run")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    step, problems = latest_valid_checkpoint(tmp_path / "run")
    assert step is not None and problems == []
    assert run_steps(cast, tmp_path / "run", steps=step + 1).step == step + 1


def test_a_kill_leaves_a_good_checkpoint(cast: Cast, tmp_path: Path) -> None:
    """Two kills here; benchmarks/faults.py does more, of every command."""
    run = tmp_path / "run"
    for pause in (0.55, 0.83):
        process = start_training(cast, run)
        time.sleep(pause)
        process.kill()
        process.wait()
        step, problems = latest_valid_checkpoint(run)
        assert problems == []
    assert step is not None
    assert run_steps(cast, run, steps=step + 1).step == step + 1


@pytest.mark.slow
def test_a_compiled_run_learns_the_same_and_resumes(cast: Cast, tmp_path: Path) -> None:
    run_steps(cast, tmp_path / "compiled", steps=4, compile=True)
    run_steps(cast, tmp_path / "compiled", steps=6, compile=True)
    run_steps(cast, tmp_path / "plain", steps=6)
    compiled, plain = (
        [line["loss"] for line in log_lines(tmp_path / name) if "loss" in line][-1]
        for name in ("compiled", "plain")
    )
    # Fused kernels round bf16 otherwise.
    assert compiled == pytest.approx(plain, rel=0.01)
    names = [checkpoint_tensors(tmp_path / name, 6).keys() for name in ("compiled", "plain")]
    assert names[0] == names[1]
