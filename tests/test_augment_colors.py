import colorsys

import numpy as np
import pytest
import torch

from faceswap_lite.training.color_augmentation import MAX_TRANSFER_GAIN, jitter_hsv, transfer_colors

# float32 against Python's doubles.
ROUNDING = 2e-6


def random_faces(count: int, seed: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 24, 24, generator=generator) * (high - low) + low


@pytest.mark.parametrize(
    ("hue", "saturation", "value"),
    [(0.0, 1.0, 1.0), (0.13, 1.0, 1.0), (-0.4, 1.4, 1.0), (0.5, 0.3, 1.3), (0.05, 1.2, 0.6)],
)
def test_hsv_jitter_is_that_of_colorsys(hue: float, saturation: float, value: float) -> None:
    faces = random_faces(1, 0)
    faces[0, :, 0] = 0.5  # greys
    faces[0, 0, 1] = faces[0, 1, 1]  # two channels alike
    faces[0, :, 2] = faces[0, :, 2].round()  # corners of the cube, black and white among them
    changed = jitter_hsv(faces, *(torch.tensor([x]) for x in (hue, saturation, value)))
    for before, after in zip(faces[0].flatten(1).T, changed[0].flatten(1).T, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before.tolist())
        expected = colorsys.hsv_to_rgb((h + hue) % 1, min(1, s * saturation), min(1, v * value))
        assert after.tolist() == pytest.approx(expected, abs=ROUNDING)


def test_every_face_has_its_own_jitter() -> None:
    faces = random_faces(1, 1).expand(2, -1, -1, -1)
    changed = jitter_hsv(faces, torch.tensor([0.0, 0.2]), torch.ones(2), torch.ones(2))
    assert torch.allclose(changed[0], faces[0], atol=ROUNDING)
    assert not torch.allclose(changed[1], faces[1], atol=0.05)


def along_axes(faces: torch.Tensor, masks: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread along Reinhard's axes, by NumPy, of every second pixel."""
    axes = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ [[1, 1, 1], [1, 1, -2], [1, -1, 0]]
    numbers = []
    for face, mask in zip(faces.double().numpy(), masks.double().numpy(), strict=True):
        colors = np.einsum("ij,jhw->hwi", axes, face)[::2, ::2].reshape(-1, 3)
        weights = mask[0, ::2, ::2].ravel()
        mean = np.average(colors, axis=0, weights=weights)
        spread = np.sqrt(np.average((colors - mean) ** 2, axis=0, weights=weights))
        numbers.append((mean, spread))
    means, spreads = zip(*numbers, strict=True)
    return np.array(means), np.array(spreads)


def test_transfer_gives_the_reference_s_mean_and_spread() -> None:
    faces, references = random_faces(3, 2, 0.3, 0.5), random_faces(3, 3, 0.4, 0.7)
    masks, reference_masks = random_faces(3, 4)[:, :1], random_faces(3, 5)[:, :1]
    changed = transfer_colors(faces, masks, references, reference_masks)
    for got, wanted in zip(
        along_axes(changed, masks), along_axes(references, reference_masks), strict=True
    ):
        assert got == pytest.approx(wanted, abs=1e-4)


def test_transfer_looks_inside_the_masks_alone() -> None:
    faces, references = random_faces(1, 6, 0.3, 0.5), random_faces(1, 7, 0.4, 0.7)
    mask = torch.zeros(1, 1, 24, 24)
    mask[..., 4:20, 4:20] = 1
    plain = transfer_colors(faces, mask, references, mask)
    loud = references.clone()
    loud[..., :4, :] = 1
    assert torch.equal(transfer_colors(faces, mask, loud, mask), plain)
    # What is outside is mapped with the rest.
    assert not torch.allclose(plain[..., :4, :], faces[..., :4, :], atol=0.05)


def test_transfer_of_a_face_toward_itself_changes_nothing() -> None:
    faces, mask = random_faces(2, 8), torch.ones(2, 1, 24, 24)
    assert torch.allclose(transfer_colors(faces, mask, faces, mask), faces, atol=ROUNDING)


def test_a_face_without_a_mask_stays_and_a_flat_one_does_not_become_noise() -> None:
    faces, references = random_faces(2, 9, 0.49, 0.51), random_faces(2, 10)
    masks = torch.ones(2, 1, 24, 24)
    masks[0] = 0
    changed = transfer_colors(faces, masks, references, torch.ones(2, 1, 24, 24))
    assert torch.allclose(changed[0], faces[0], atol=ROUNDING)
    before, after = (face[1].flatten(1).var(1).sum() for face in (faces, changed))
    assert before < after < (MAX_TRANSFER_GAIN * 1.05) ** 2 * before


def test_a_batch_of_none_is_none() -> None:
    none = random_faces(0, 0)
    assert transfer_colors(none, none[:, :1], none, none[:, :1]).shape == (0, 3, 24, 24)
