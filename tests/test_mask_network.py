"""The mask network, its answers and its file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from faceswap_lite.errors import FaceswapError
from faceswap_lite.models.mask_network import MASK_SIZE, MaskNetwork, visible_face
from faceswap_lite.runs.mask_weights import read_mask, shipped_mask, write_mask


def fresh(seed: int = 0) -> MaskNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskNetwork().eval()


def test_it_is_small_and_answers_at_the_size_of_its_input() -> None:
    network = fresh()
    assert sum(weights.numel() for weights in network.parameters()) <= 1_500_000
    shape = (2, 1, MASK_SIZE, MASK_SIZE)
    answer = network(torch.rand(2, 3, MASK_SIZE, MASK_SIZE), torch.rand(shape))
    assert answer.shape == shape
    assert answer.std() > 0


@pytest.mark.parametrize("size", [48, MASK_SIZE, 200])
def test_answers_have_the_size_of_the_crops_and_stay_inside_the_outline(size: int) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (3, size, size, 3), np.uint8)
    outlines = np.zeros((3, size, size), np.float32)
    outlines[:, size // 4 : -size // 4, size // 4 : -size // 4] = 0.8
    visible = visible_face(fresh(), crops, outlines)
    assert visible.shape == outlines.shape and visible.dtype == np.float32
    assert (visible <= outlines).all() and (visible >= 0).all() and visible.any()
    alone = visible_face(fresh(), crops[1:2], outlines[1:2])
    assert np.allclose(alone[0], visible[1], atol=1e-5)
    assert visible_face(fresh(), crops[:0], outlines[:0]).shape == (0, size, size)


def test_a_file_gives_the_same_answers_and_tells_its_recipe(tmp_path: Path) -> None:
    file, network = tmp_path / "mask.safetensors", fresh(3)
    write_mask(file, network, {"seed": 3})
    assert file.stat().st_size <= 4 * 2**20
    stored = read_mask(file)
    assert stored.recipe == {"seed": 3} and len(stored.fingerprint()) == 16
    pixels, outline = torch.rand(1, 3, 128, 128), torch.rand(1, 1, 128, 128)
    again = stored.network()
    assert not again.training
    # Half precision.
    assert torch.allclose(again(pixels, outline), network(pixels, outline), atol=0.02)


def test_what_is_no_mask_networks_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mask.safetensors"
    with pytest.raises(FaceswapError, match="cannot be read"):
        read_mask(file)
    file.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(FaceswapError, match="holds no weights of a mask network"):
        read_mask(file)


def test_sixteen_bits_of_weights_see_the_same() -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
    outlines = np.zeros((2, 128, 128), np.float32)
    outlines[:, 20:110, 30:100] = 1
    whole, short = shipped_mask().network(), shipped_mask().network().bfloat16()
    one, other = (visible_face(network, crops, outlines) for network in (whole, short))
    assert other.dtype == np.float32
    assert 0 < np.abs(one - other).mean() < 0.005 < one.std()
