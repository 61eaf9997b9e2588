import pytest
import torch

from faceswap_lite.config import ModelConfig
from faceswap_lite.models import ARCHITECTURES, build_model, count_parameters
from faceswap_lite.models.layers import LEAK, RESIDUAL_LEAK, Down, Residual, pixel_norm

FIELD_128 = {
    "size": 128, "encoder_dims": 64, "inter_dims": 256, "decoder_dims": 64, "mask_dims": 22,
}  # fmt: skip


def test_original_has_the_published_number_of_parameters() -> None:
    config = ModelConfig(architecture="original", mask_head=False)
    assert count_parameters(build_model(config)) == 82_062_470


def test_df_128_has_the_published_number_of_parameters() -> None:
    assert count_parameters(build_model(ModelConfig(flags="", **FIELD_128))) == 57_538_432


@pytest.mark.parametrize("flags", ["", "u", "d", "ud", "t", "udt", "udtc"])
def test_df_paints_at_its_size_under_every_flag(flags: str) -> None:
    config = ModelConfig(
        flags=flags, size=64, encoder_dims=8, inter_dims=16, decoder_dims=4, mask_dims=4
    )
    source, target = build_model(config)(torch.rand(2, 3, 64, 64), torch.rand(3, 3, 64, 64))
    assert source[0].shape == (2, 3, 64, 64)
    assert target[1].shape == (3, 1, 64, 64)
    assert source[0].min() >= 0 and source[0].max() <= 1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_weight_is_left_without_a_gradient(name: str) -> None:
    flags = "" if name == "original" else "ud"
    model = build_model(ModelConfig(architecture=name, flags=flags))
    faces = torch.rand(1, 3, 64, 64)
    painted = model(faces, faces)
    sum(part.mean() for side in painted for part in side).backward()
    dead = [key for key, p in model.named_parameters() if p.grad is None]
    assert dead == []


def test_paint_is_the_decoder_of_that_side() -> None:
    model = build_model(ModelConfig()).eval()
    faces = torch.rand(1, 3, 64, 64)
    source, target = model(faces, faces)
    # A batch of two codes may round differently from a batch of one.
    assert torch.allclose(model.paint(faces, "source")[0], source[0], atol=1e-5)
    assert torch.allclose(model.paint(faces, "target")[0], target[0], atol=1e-5)
    assert not torch.allclose(source[0], target[0], atol=1e-3)


def test_same_seed_same_weights() -> None:
    config = ModelConfig(encoder_dims=8, inter_dims=16, decoder_dims=4, mask_dims=4)
    first, again, other = (build_model(config, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_leaks_are_the_field_s() -> None:
    assert (LEAK, RESIDUAL_LEAK) == (0.1, 0.2)
    down = Down(1, 1)
    down.conv.weight.data.zero_()
    assert down.conv.bias is not None
    down.conv.bias.data.fill_(-1.0)
    assert down(torch.zeros(1, 1, 4, 4)).unique().item() == pytest.approx(-0.1)
    residual = Residual(1)
    for conv in (residual.conv1, residual.conv2):
        conv.weight.data.zero_()
        assert conv.bias is not None
        conv.bias.data.zero_()
    assert residual(torch.full((1, 1, 2, 2), -1.0)).unique().item() == pytest.approx(-0.2)


def test_pixel_norm_has_unit_mean_square() -> None:
    code = pixel_norm(torch.randn(3, 500) * 7)
    assert torch.allclose(code.square().mean(1), torch.ones(3), atol=1e-4)
