import itertools

import pytest
import torch

from faceswap_lite.config import ModelConfig
from faceswap_lite.models.architectures import ARCHITECTURES, build_model, count_parameters
from faceswap_lite.models.df import DfDecoder
from faceswap_lite.models.layers import (
    LEAK,
    RESIDUAL_LEAK,
    Down,
    Residual,
    Up,
    leaky,
    pixel_norm,
    x_cos_x,
)
from faceswap_lite.models.liae import Liae

FIELD_128 = {
    "size": 128, "encoder_dims": 64, "inter_dims": 256, "decoder_dims": 64, "mask_dims": 22,
}  # fmt: skip
TINY = {"size": 64, "encoder_dims": 8, "inter_dims": 16, "decoder_dims": 4, "mask_dims": 4}
FLAGS = ["".join(f) for n in range(5) for f in itertools.combinations("udtc", n)]
# What paints, or codes, the target alone.
TARGET_ONLY = {"original": "decoder_target", "df": "decoder_target", "liae": "inter_B"}


def tiny(name: str, flags: str = "ud", mask_head: bool = True) -> ModelConfig:
    settings = {**TINY, "flags": "" if name == "original" else flags, "mask_head": mask_head}
    return ModelConfig.model_validate({"architecture": name, **settings})


def test_original_has_the_published_number_of_parameters() -> None:
    config = ModelConfig(architecture="original", size=64, mask_head=False)
    assert count_parameters(build_model(config)) == 82_062_470


def test_df_128_has_the_published_number_of_parameters() -> None:
    assert count_parameters(build_model(ModelConfig(flags="", **FIELD_128))) == 57_538_432


def test_liae_ud_128_has_the_published_number_of_parameters() -> None:
    config = ModelConfig(architecture="liae", flags="ud", **FIELD_128)
    assert count_parameters(build_model(config)) == 82_376_555


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("original", ["encoder", "decoder_source", "decoder_target"]),
        ("df", ["encoder", "inter", "decoder_source", "decoder_target"]),
        ("liae", ["encoder", "inter_AB", "inter_B", "decoder"]),
    ],
)
def test_weights_are_named_by_their_part(name: str, parts: list[str]) -> None:
    names = build_model(tiny(name)).state_dict()
    assert list(dict.fromkeys(key.split(".")[0] for key in names)) == parts


@pytest.mark.parametrize("mask_head", [True, False])
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("name", ["df", "liae"])
def test_paints_at_its_size_under_every_flag(name: str, flags: str, mask_head: bool) -> None:
    model = build_model(tiny(name, flags, mask_head))
    painted = model(torch.rand(2, 3, 64, 64), torch.rand(3, 3, 64, 64))
    for (face, mask), count in zip(painted, (2, 3), strict=True):
        assert face.shape == (count, 3, 64, 64)
        assert face.min() >= 0 and face.max() <= 1
        assert (mask.shape == (count, 1, 64, 64)) if mask_head else (mask is None)


@pytest.mark.parametrize("name", ["df", "liae"])
@pytest.mark.parametrize("flags", FLAGS)
def test_flag_c_exchanges_every_activation(name: str, flags: str) -> None:
    blocks = [m for m in build_model(tiny(name, flags)).modules() if isinstance(m, Down | Up)]
    assert {block.activation for block in blocks} == {x_cos_x if "c" in flags else leaky}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_weight_is_left_without_a_gradient(name: str) -> None:
    model = build_model(tiny(name))
    faces = torch.rand(1, 3, 64, 64)
    painted = model(faces, faces)
    sum(part.mean() for side in painted for part in side).backward()
    dead = [key for key, p in model.named_parameters() if p.grad is None]
    assert dead == []


@pytest.mark.parametrize(
    ("name", "faces_seen"),
    [
        ("df", {"encoder": [5], "inter.up": [5], "decoder_source": [2], "decoder_target": [3]}),
        ("liae", {"encoder": [5], "inter_AB": [5], "inter_B": [3], "decoder": [5]}),
    ],
)
def test_training_runs_no_part_for_nothing(name: str, faces_seen: dict[str, list[int]]) -> None:
    model = build_model(tiny(name))
    seen: dict[str, list[int]] = {part: [] for part in faces_seen}
    for part in faces_seen:
        model.get_submodule(part).register_forward_hook(
            lambda m, args, out, part=part: seen[part].append(len(args[0]))
        )
    model(torch.rand(2, 3, 64, 64), torch.rand(3, 3, 64, 64))
    assert seen == faces_seen


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_paint_is_the_path_of_that_side(name: str) -> None:
    model = build_model(tiny(name)).eval()
    faces = torch.rand(1, 3, 64, 64)
    source, target = model(faces, faces)
    # A batch of two codes may round differently from a batch of one.
    torch.testing.assert_close(model.paint(faces, "source"), source, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.paint(faces, "target"), target, atol=1e-5, rtol=0)
    assert not torch.allclose(source[0], target[0], atol=1e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_swap_takes_the_source_s_path(name: str) -> None:
    model = build_model(tiny(name)).eval()
    faces = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        swap, rebuilt = model.paint(faces, "source")[0], model.paint(faces, "target")[0]
        for weight in model.get_submodule(TARGET_ONLY[name]).parameters():
            weight.mul_(-1)
        assert torch.equal(model.paint(faces, "source")[0], swap)
        assert not torch.allclose(model.paint(faces, "target")[0], rebuilt, atol=1e-3)


def test_liae_codes_the_source_as_ab_ab_and_the_target_as_b_ab() -> None:
    model = build_model(tiny("liae")).eval()
    assert isinstance(model, Liae)
    source, target = torch.rand(2, 3, 64, 64), torch.rand(3, 3, 64, 64)
    codes: list[torch.Tensor] = []
    model.decoder.register_forward_pre_hook(lambda m, args: codes.append(args[0]))
    with torch.no_grad():
        ab_of_source = model.inter_AB(model.encoder(source))
        ab_of_target = model.inter_AB(model.encoder(target))
        b_of_target = model.inter_B(model.encoder(target))
        model(source, target)
        model.paint(target, "source")
    as_source = torch.cat([ab_of_source, ab_of_source], 1)
    as_target = torch.cat([b_of_target, ab_of_target], 1)
    swap = torch.cat([ab_of_target, ab_of_target], 1)
    trained, swapped = codes
    # Batches of other sizes may round differently.
    torch.testing.assert_close(trained, torch.cat([as_source, as_target]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(swapped, swap, atol=1e-5, rtol=1e-4)


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


@pytest.mark.parametrize("flags", ["d", "ud"])
def test_four_output_convolutions_are_run_as_one(flags: str) -> None:
    """The picture, and every gradient, of the four run one by one and interleaved."""
    torch.manual_seed(0)
    decoder = DfDecoder(16, 4, 2, flags, mask_head=False)
    code = torch.randn(2, 16, 8, 8)
    wanted = torch.sigmoid(_interleaved(decoder, decoder.blocks(code)))
    painted, _ = decoder(code)
    torch.testing.assert_close(painted, wanted, atol=1e-6, rtol=1e-5)
    parts = [decoder.out, *decoder.out_more]
    weights = [p for part in parts for p in part.parameters()]
    for one, other in zip(
        torch.autograd.grad(painted.square().sum(), weights),
        torch.autograd.grad(wanted.square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def _interleaved(decoder: DfDecoder, x: torch.Tensor) -> torch.Tensor:
    """Picture k of the four has the pixels of row k // 2 and column k % 2 of every square."""
    pictures = [conv(x) for conv in (decoder.out, *decoder.out_more)]
    b, c, h, w = pictures[0].shape
    whole = torch.empty(b, c, 2 * h, 2 * w)
    for k, picture in enumerate(pictures):
        whole[:, :, k // 2 :: 2, k % 2 :: 2] = picture
    return whole
