import torch

from faceswap_lite.config import AugmentConfig
from faceswap_lite.training.augmentation import central_views, draw_geometry, make_views

STILL = {"rotation_deg": 0, "zoom": 0, "shift": 0, "flip": 0, "brightness": 0, "contrast": 0}


def stored_faces(side: int = 83) -> torch.Tensor:
    """A smooth picture, the same in all five channels but for its mask."""
    ramp = torch.linspace(0, 255, side)
    picture = (ramp[None, :] * 0.7 + ramp[:, None] * 0.3).byte()
    return picture.expand(2, 5, side, side).contiguous()


def floats() -> torch.Tensor:
    return stored_faces().float() / 255


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_central_views_are_the_stored_crop_s_middle() -> None:
    stored = stored_faces(96)  # 64 px of view in 96: 16 px of margin a side
    views = central_views(stored, 64, 1.5)
    inner = stored[:, :3, 16:80, 16:80].float() / 255
    assert torch.allclose(views.face, inner, atol=1e-3)
    assert torch.allclose(views.warped, inner, atol=1e-3)


def test_the_warp_moves_the_input_alone() -> None:
    config = AugmentConfig(**STILL, warp=0.08)
    views = make_views(floats(), draw_geometry(2, config, generator()), 64, 1.3)
    plain = central_views(stored_faces(), 64, 1.3)
    assert torch.allclose(views.face, plain.face, atol=1e-6)
    assert (views.warped - plain.face).abs().mean() > 0.005


def test_face_mask_and_features_move_together() -> None:
    config = AugmentConfig(rotation_deg=20, zoom=0.1, shift=0.1, brightness=0, contrast=0)
    views = make_views(floats(), draw_geometry(2, config, generator(3)), 64, 1.3)
    assert torch.allclose(views.face[:, :1], views.mask, atol=1e-6)
    assert torch.allclose(views.mask, views.features, atol=1e-6)


def test_flip_mirrors() -> None:
    config = AugmentConfig(**{**STILL, "flip": 1}, warp=0)
    views = make_views(floats(), draw_geometry(2, config, generator()), 64, 1.3)
    plain = central_views(stored_faces(), 64, 1.3)
    assert torch.allclose(views.face, plain.face.flip(-1), atol=1e-3)


def test_rotation_turns_by_the_drawn_angle() -> None:
    """A quarter turn, put in by hand, is torch's own rot90."""
    config = AugmentConfig(**STILL, warp=0)
    geometry = draw_geometry(2, config, generator())
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(2, 2, 2)
    turned = make_views(floats(), type(geometry)(**{**vars(geometry), "matrix": quarter}), 64, 1.3)
    plain = central_views(stored_faces(), 64, 1.3)
    assert torch.allclose(turned.face, torch.rot90(plain.face, 1, (2, 3)), atol=1e-3)


def test_same_generator_same_views() -> None:
    config = AugmentConfig()
    first, again, other = (
        make_views(floats(), draw_geometry(2, config, generator(seed)), 64, 1.3).warped
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
