"""LPIPS with weights drawn at random, against torchmetrics' copy of the authors' network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from skimage.data import astronaut
from torchmetrics.functional.image import lpips as other

from faceswap_lite.errors import FaceswapError
from faceswap_lite.metrics.perceptual import build_lpips

# Both compute in float32; they differ in the tiny number that keeps a division from zero.
SAME = 1e-6

HEADS = Path(other.__file__).parent / "lpips_models" / "alex.pth"


@pytest.fixture(scope="module")
def network() -> other._LPIPS:
    """torchmetrics' network: random AlexNet under the authors' own heads."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = other._LPIPS(pretrained=True, net="alex", pnet_rand=True)
    return network


@pytest.fixture(scope="module")
def tensors(network: other._LPIPS) -> dict[str, torch.Tensor]:
    held = {}
    for name, value in network.state_dict().items():
        if name.startswith("net.slice"):
            name = "features." + name.split(".", 2)[2]
        if name.startswith(("features.", "lin")):
            held[name] = value.clone()
    return held


@pytest.fixture(scope="module")
def lpips(tensors, tmp_path_factory) -> Callable[[np.ndarray, np.ndarray], float]:
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(tensors, path)
    return build_lpips(path)


def pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    picture = astronaut()[20 : 20 + height, 150 : 150 + width]
    noise = np.random.default_rng(0).normal(0, 40, picture.shape)
    return picture, np.clip(picture + noise, 0, 255).astype(np.uint8)


def theirs(network: other._LPIPS, a: np.ndarray, b: np.ndarray, size=None) -> float:
    x, y = (torch.from_numpy(p / 255.0).float().permute(2, 0, 1)[None] for p in (a, b))
    if size:
        x, y = (F.interpolate(z, size, mode="bilinear", align_corners=False) for z in (x, y))
    return float(network(x, y, normalize=True))


@pytest.mark.parametrize(("height", "width"), [(128, 128), (64, 90), (201, 77)])
def test_lpips_equals_torchmetrics(network, lpips, height: int, width: int) -> None:
    a, b = pair(height, width)
    expected = theirs(network, a, b)
    assert expected > 0.01
    assert lpips(a, b) == pytest.approx(expected, abs=SAME)
    assert lpips(a / 255.0, b / 255.0) == pytest.approx(expected, abs=SAME)


def test_small_pictures_are_enlarged_in_proportion(network, lpips) -> None:
    a, b = pair(32, 48)
    assert lpips(a, b) == pytest.approx(theirs(network, a, b, (64, 96)), abs=SAME)


def test_lpips_is_zero_for_equal_grows_with_noise_and_does_not_mind_the_order(lpips) -> None:
    a, b = pair(96, 96)
    half = np.round(a + (b.astype(float) - a) / 2).astype(np.uint8)
    assert lpips(a, a) == 0
    assert lpips(a, b) > lpips(a, half) > 0
    assert lpips(a, b) == pytest.approx(lpips(b, a), abs=SAME)


@pytest.mark.parametrize("layout", ["pth", "folder"])
def test_weights_as_others_give_them(tensors, lpips, tmp_path: Path, layout: str) -> None:
    a, b = pair(64, 64)
    if layout == "pth":
        path = tmp_path / "both.pth"
        torch.save(tensors, path)
    else:
        path = tmp_path
        features = {name: value for name, value in tensors.items() if name.startswith("features")}
        # torchvision's file holds the classifier too, which is not needed.
        features["classifier.6.bias"] = torch.zeros(1000)
        torch.save(features, path / "alexnet-owt-7be5be79.pth")
        (path / "alex.pth").write_bytes(HEADS.read_bytes())
        (path / "README.md").write_text("where they come from")
    assert build_lpips(path)(a, b) == lpips(a, b)


def test_building_draws_nothing_from_the_global_generator(tensors, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "all.safetensors")
    before = torch.random.get_rng_state()
    build_lpips(tmp_path / "all.safetensors")
    assert torch.equal(before, torch.random.get_rng_state())


class Malicious:
    """Runs a command when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_what_does_not_fit_is_refused_in_one_line(tensors, tmp_path: Path) -> None:
    def refused(path: Path, match: str) -> None:
        with pytest.raises(FaceswapError, match=match) as caught:
            build_lpips(path)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)

    refused(tmp_path / "none.pth", "no such file")
    refused(tmp_path / "none.safetensors", "no such file")
    for name in ("garbage.pth", "garbage.safetensors"):
        (tmp_path / name).write_bytes(b"garbage" * 9)
        refused(tmp_path / name, "cannot be read")
    torch.save([1, 2], tmp_path / "list.pth")
    refused(tmp_path / "list.pth", "cannot be read")
    torch.save(Malicious(tmp_path / "harm"), tmp_path / "malicious.pth")
    refused(tmp_path / "malicious.pth", "cannot be read")
    assert not (tmp_path / "harm").exists()
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has no features.0.weight")
    refused(HEADS, "has no features.0.weight")
    headless = {name: value for name, value in tensors.items() if name.startswith("features")}
    save_file(headless, tmp_path / "headless.safetensors")
    refused(tmp_path / "headless.safetensors", "has no lin0.model.1.weight")
    wide = tensors | {"lin2.model.1.weight": torch.ones(1, 256, 1, 1)}
    save_file(wide, tmp_path / "wide.safetensors")
    refused(tmp_path / "wide.safetensors", r"lin2.model.1.weight is \(1, 256, 1, 1\) in place of")
