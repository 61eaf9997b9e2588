"""A step's gradient: in parts, within memory, over processes; and what stops a run."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cast
from safetensors.torch import load_file
from test_train import checkpoint_tensors, log_lines, run_steps, with_training

from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.metrics.pictures import psnr_db, ssim
from faceswap_lite.models.architectures import build_model
from faceswap_lite.models.autoencoder import SIDES
from faceswap_lite.runs.checkpoints import list_checkpoints
from faceswap_lite.runs.hardware import build_fabric
from faceswap_lite.training import step as step_module
from faceswap_lite.training.augmentation import central_views
from faceswap_lite.training.batches import sample_views
from faceswap_lite.training.heldout import SEEN_FACES, heldout_figures, heldout_loss, psnr_and_ssim
from faceswap_lite.training.loading import load_side
from faceswap_lite.training.optimizers import build_optimizer
from faceswap_lite.training.resume import describe_run
from faceswap_lite.training.step import (
    accumulate_gradient,
    gradient_within_memory,
    refuse_nonfinite_loss,
)
from faceswap_lite.training.train import train


def gradient_of(cast: Cast, parts: int, share: tuple[int, int] = (0, 1)) -> list[torch.Tensor]:
    config = with_training(cast.config, batch=6)
    sets = {"source": open_face_set(cast.source), "target": open_face_set(cast.target)}
    facts = describe_run(sets["source"], sets["target"], config)
    sides = {
        side: load_side(sets[side], 32, config.training.pose_balance, getattr(facts, side).groups)
        for side in SIDES
    }
    network = build_model(config.model, 0)
    fabric = build_fabric("cpu", "32-true")
    options = config.training
    optimizer = build_optimizer(network, options.optimizer, options.base_rate)
    model, optimizer = fabric.setup(network, optimizer)
    views = {
        side: sample_views(sides, 32, config.training, 3, side, torch.device("cpu"), share)
        for side in SIDES
    }
    accumulate_gradient(fabric, model, optimizer, views, config.training.loss, parts)
    return [p.grad for p in network.parameters() if p.grad is not None]


def assert_same_direction(
    ones: list[torch.Tensor], others: list[torch.Tensor], within: float = 1e-5
) -> None:
    one, other = (torch.cat([g.flatten() for g in grads]) for grads in (ones, others))
    assert (one - other).norm() < within * one.norm()


def test_a_batch_in_parts_has_the_same_gradient(cast: Cast) -> None:
    whole = gradient_of(cast, 1)
    assert sum(float(g.norm()) for g in whole) > 0
    for parts in (2, 4):
        assert_same_direction(whole, gradient_of(cast, parts))


def test_shares_of_a_batch_add_up_to_it(cast: Cast) -> None:
    shares = [gradient_of(cast, 1, (rank, 3)) for rank in range(3)]
    assert not torch.allclose(shares[0][0], shares[1][0])
    mean = [torch.stack(of_one).mean(0) for of_one in zip(*shares, strict=True)]
    assert_same_direction(gradient_of(cast, 1), mean)


def test_psnr_and_ssim_in_torch_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    face, mask = rng.random((5, 3, 40, 40)), rng.random((5, 1, 40, 40)) ** 3
    image = np.clip(face + rng.normal(0, 0.1, face.shape) * mask, 0, 1)
    image[1] = face[1]
    mask[2, :, :20] = 0
    mask[4] = 0
    tensors = (torch.from_numpy(array).float() for array in (image, face, mask))
    found_db, found_ssim = (values.numpy() for values in psnr_and_ssim(*tensors))
    pairs = [
        (one.transpose(1, 2, 0), other.transpose(1, 2, 0), weight[0])
        for one, other, weight in zip(image, face, mask, strict=True)
    ]
    np.testing.assert_allclose(found_db, [psnr_db(*pair) for pair in pairs], atol=1e-3)
    np.testing.assert_allclose(found_ssim, [ssim(*pair) for pair in pairs], atol=1e-5)
    assert found_db[1] == 100 and np.isnan(found_db[4]) and np.isnan(found_ssim[4])


def test_a_look_at_heldout_faces_measures_seen_ones_beside_them(cast: Cast) -> None:
    config = cast.config
    faces = open_face_set(cast.source)
    groups = describe_run(faces, open_face_set(cast.target), config).source.groups
    data = load_side(faces, 32, config.training.pose_balance, groups)
    assert len(data.seen) > SEEN_FACES
    rows = {name: getattr(data, name)[:SEEN_FACES] for name in ("seen", "weights", "since")}
    data = replace(data, **rows)
    average = build_model(config.model, 0)
    weights = config.training.loss
    figures = heldout_figures(average, data, 32, weights, "source")
    assert figures["heldout_source"] == heldout_loss(average, data, 32, weights, "source")
    for name, pixels in (("heldout", data.heldout), ("seen", data.seen)):
        views = central_views(pixels, 32, data.edge_with_margin)
        with torch.no_grad():
            painted = average.paint(views.warped, "source")[0]
        figures_of_each = [
            psnr_db(one.permute(1, 2, 0).numpy(), other.permute(1, 2, 0).numpy(), mask[0].numpy())
            for one, other, mask in zip(painted, views.face, views.mask, strict=True)
        ]
        mean = np.mean(figures_of_each)
        assert figures[f"{name}_source_psnr_db"] == pytest.approx(mean, abs=1e-3)


def test_faces_without_a_mask_have_no_figures(cast: Cast) -> None:
    config = cast.config
    faces = open_face_set(cast.source)
    groups = describe_run(faces, open_face_set(cast.target), config).source.groups
    data = load_side(faces, 32, config.training.pose_balance, groups)
    average = build_model(config.model, 0)
    whole = heldout_figures(average, data, 32, config.training.loss, "source")
    data.seen[0, 3] = 0
    data.heldout[:, 3] = 0
    figures = heldout_figures(average, data, 32, config.training.loss, "source")
    assert figures["heldout_source_psnr_db"] is None and figures["heldout_source_ssim"] is None
    # The other seen faces still count.
    seen = figures["seen_source_psnr_db"]
    assert seen is not None and seen == pytest.approx(whole["seen_source_psnr_db"], abs=1.0)
    assert seen != whole["seen_source_psnr_db"]


def hungry(limit: int) -> Callable[[int], Any]:
    def gradient(parts: int) -> Any:
        if parts < limit:
            raise torch.OutOfMemoryError("no")
        return {}

    return gradient


def test_out_of_memory_works_through_smaller_parts_and_says_so() -> None:
    said: list[str] = []
    assert gradient_within_memory(hungry(3), 1, 8, said.append) == ({}, 4)
    assert [line.split(" into ")[1] for line in said] == [
        "2 parts from here on",
        "4 parts from here on",
    ]
    with pytest.raises(FaceswapError, match="one face at a time"):
        gradient_within_memory(hungry(99), 1, 8, said.append)


def test_a_run_goes_on_when_memory_runs_out(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_steps(cast, tmp_path / "parts", steps=3, accumulate=2)
    real = step_module.side_loss

    def greedy(painted: Any, views: Any, options: Any) -> Any:
        if len(views.face) > 2:
            raise torch.OutOfMemoryError("no")
        return real(painted, views, options)

    def no_look(_average: Any, _data: Any, _size: int, _options: Any, side: str, *_: Any) -> Any:
        return {f"heldout_{side}": 1.0, f"heldout_{side}_psnr_db": None}

    monkeypatch.setattr("faceswap_lite.training.heldout.heldout_figures", no_look)
    monkeypatch.setattr(step_module, "side_loss", greedy)
    run_steps(cast, tmp_path / "run", steps=3)
    ours, parts = (checkpoint_tensors(tmp_path / name, 3) for name in ("run", "parts"))
    assert all(torch.equal(ours[n], parts[n]) for n in ours if n.startswith("model."))


def test_a_loss_that_is_no_number_names_its_part_and_its_faces() -> None:
    fine, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    terms: Any = {"source": {"mse": fine}, "target": {"mse": fine, "mask": bad}}
    files: Any = {"source": ["a_1.png"], "target": ["b_7.png", "b_9.png"]}
    with pytest.raises(FaceswapError) as caught:
        refuse_nonfinite_loss(terms, 12, 1e-3, lambda: files)
    for word in ("step 12", "target's mask", "b_7.png, b_9.png", "training.lr", "1.0e-03"):
        assert word in str(caught.value)
    assert "mse" not in str(caught.value)
    refuse_nonfinite_loss({"source": {"mse": fine}, "target": {}}, 12, 1e-3, lambda: files)


IN_PROCESSES = """
import os
import sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from safetensors.torch import save_file
from conftest import TINY
from test_step import gradient_of
from test_train import with_training
from faceswap_lite.config_files import load_config
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.training.train import train
source, target, out = (Path(name) for name in sys.argv[2:5])
steps = int(sys.argv[5])
config = with_training(
    load_config("demo", TINY), steps=steps, batch=6, device="cpu", precision="32-true"
)
if steps:
    print(train(open_face_set(source), open_face_set(target), out, config))
else:
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    cast = SimpleNamespace(source=source, target=target, config=config)
    grads = gradient_of(cast, 2, (rank, ranks))
    if rank == 0:
        save_file({str(place): grad for place, grad in enumerate(grads)}, out)
"""


def in_processes(cast: Cast, out: Path, steps: int, processes: int) -> None:
    """A training, or with no steps the gradient of a batch, as torchrun starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tests = str(Path(__file__).resolve().parent)
    command = [sys.executable, "-c", IN_PROCESSES, tests, str(cast.source), str(cast.target)]
    command += [str(out), str(steps)]
    ranks = [
        subprocess.Popen(
            command,
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "GROUP_RANK": "0",
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_RUN_ID": "test",
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    for process in ranks:
        told, _ = process.communicate(timeout=300)
        assert process.returncode == 0, told


def test_processes_have_the_gradient_of_the_whole_batch(cast: Cast, tmp_path: Path) -> None:
    in_processes(cast, tmp_path / "gradient.safetensors", 0, 2)
    found = load_file(tmp_path / "gradient.safetensors")
    mean = [found[str(place)] for place in range(len(found))]
    assert_same_direction(gradient_of(cast, 1), mean)


def test_processes_train_like_one_and_resume_with_another_number(
    cast: Cast, tmp_path: Path
) -> None:
    config = with_training(cast.config, steps=6, batch=6, precision="32-true")
    source, target = open_face_set(cast.source), open_face_set(cast.target)
    train(source, target, tmp_path / "one", config, say=lambda line: None)
    in_processes(cast, tmp_path / "two", 3, 2)
    assert list_checkpoints(tmp_path / "two") == [3]
    in_processes(cast, tmp_path / "two", 4, 3)
    train(source, target, tmp_path / "two", config, say=lambda line: None)
    one, two = (checkpoint_tensors(tmp_path / name, 6) for name in ("one", "two"))
    names = [name for name in one if name.startswith("model.")]
    # Adam divides by the root of tiny squares: what is rounded differently grows a hundredfold.
    assert_same_direction([one[n] for n in names], [two[n] for n in names], within=1e-3)
    for ours, theirs in zip(*(log_lines(tmp_path / n) for n in ("one", "two")), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
