import math

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.data import astronaut
from skimage.filters import gaussian
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.transform import resize
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as torch_ms_ssim,
)
from torchmetrics.functional.image import peak_signal_noise_ratio as torch_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as torch_ssim

from _measures import delta_e
from faceswap_lite.media.clips import as_uint8
from faceswap_lite.metrics.distributions import correlation, spread_ratio
from faceswap_lite.metrics.landmarks import eye_distance, landmark_nme
from faceswap_lite.metrics.pictures import (
    MAX_PSNR_DB,
    as_float,
    ms_ssim,
    psnr_db,
    scales_that_fit,
    sharpness_ratio,
    ssim,
)

# The same formulas in another order of additions.
SAME = 1e-6
# torchmetrics computes in float32.
SAME_FLOAT32 = 1e-4


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return astronaut()[20:148, 150:278]


@pytest.fixture(scope="module")
def noisy(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 12, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def left_half(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape[:2])
    mask[:, : shape[1] // 2] = 1
    return mask


def as_torch(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture / 255.0).permute(2, 0, 1)[None]


def test_psnr_equals_scikit_image_and_torchmetrics(picture: np.ndarray, noisy: np.ndarray) -> None:
    value = psnr_db(noisy, picture)
    assert value == pytest.approx(peak_signal_noise_ratio(picture, noisy), abs=SAME)
    other = float(torch_psnr(as_torch(noisy), as_torch(picture), data_range=1.0))
    assert value == pytest.approx(other, abs=SAME_FLOAT32)


def test_psnr_of_a_planted_error() -> None:
    black, grey = np.zeros((20, 20, 3)), np.full((20, 20, 3), 0.1)
    assert psnr_db(black, grey) == pytest.approx(20.0)


def test_psnr_of_equal_pictures_is_the_finite_most(picture: np.ndarray) -> None:
    assert psnr_db(picture, picture) == MAX_PSNR_DB


def test_psnr_weighs_by_a_soft_mask() -> None:
    a, b = np.zeros((10, 10, 3)), np.zeros((10, 10, 3))
    a[:, :5] = 0.1
    mask = np.where(left_half(a.shape) > 0, 0.25, 0.75)
    assert psnr_db(a, b, mask) == pytest.approx(-10 * np.log10(0.25 * 0.01))


def test_ssim_equals_scikit_image_and_torchmetrics(picture: np.ndarray, noisy: np.ndarray) -> None:
    value = ssim(noisy, picture)
    reference = structural_similarity(
        noisy,
        picture,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )
    assert value == pytest.approx(reference, abs=SAME)
    # torchmetrics averages the border in, which Wang's windows do not reach.
    _, full = torch_ssim(as_torch(noisy), as_torch(picture), data_range=1.0, return_full_image=True)
    assert value == pytest.approx(float(full[..., 5:-5, 5:-5].mean()), abs=SAME_FLOAT32)


def test_ssim_is_the_mean_of_scikit_images_map_in_the_mask(
    picture: np.ndarray, noisy: np.ndarray
) -> None:
    mask = np.random.default_rng(1).random(picture.shape[:2])
    _, full = structural_similarity(
        noisy,
        picture,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    inner = np.s_[5:-5, 5:-5]
    expected = np.average(full.mean(2)[inner], weights=mask[inner])
    assert ssim(noisy, picture, mask) == pytest.approx(expected, abs=SAME)


def test_ssim_refuses_pictures_smaller_than_its_window() -> None:
    small = np.zeros((10, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="window"):
        ssim(small, small)


@pytest.mark.parametrize("measure", [psnr_db, ssim, delta_e, sharpness_ratio])
def test_what_lies_outside_the_mask_changes_nothing(measure, picture, noisy) -> None:
    mask = left_half(picture.shape)
    ruined = noisy.copy()
    # Windows and Laplacians of pixels at the mask's edge reach a little over it.
    ruined[:, picture.shape[1] // 2 + 6 :] = 0
    assert measure(ruined, picture, mask) == pytest.approx(measure(noisy, picture, mask), abs=SAME)
    assert measure(ruined, picture) != pytest.approx(measure(noisy, picture), rel=0.01)


@pytest.mark.parametrize("measure", [psnr_db, ssim, ms_ssim, delta_e, sharpness_ratio])
def test_every_way_to_store_a_picture_gives_one_figure(measure, picture, noisy) -> None:
    value = measure(noisy, picture, left_half(picture.shape))
    assert measure(noisy / 255.0, picture / 255.0, left_half(picture.shape) > 0) == pytest.approx(
        value, rel=SAME
    )
    mask8 = (255 * left_half(picture.shape)).astype(np.uint8)
    # 65535 / 255 is the whole number 257.
    wide = noisy.astype(np.uint16) * 257
    assert measure(wide, picture, mask8) == pytest.approx(value, rel=SAME)


@pytest.mark.parametrize("measure", [psnr_db, ssim, ms_ssim, delta_e, sharpness_ratio])
def test_an_empty_mask_has_no_figure(measure, picture, noisy) -> None:
    assert math.isnan(measure(noisy, picture, np.zeros(picture.shape[:2])))


def test_sharpness_ratio_falls_with_blur_and_ignores_brightness(picture: np.ndarray) -> None:
    soft = [
        sharpness_ratio(gaussian(picture, sigma, channel_axis=2), picture) for sigma in (0.5, 1, 2)
    ]
    assert 1 > soft[0] > soft[1] > soft[2] > 0
    sharp = picture / 255 * 0.5
    assert sharpness_ratio(sharp + 0.3, sharp) == pytest.approx(1, abs=1e-4)  # float32
    assert sharpness_ratio(2 * sharp, sharp) == pytest.approx(2, abs=1e-4)


def test_sharpness_ratio_over_a_flat_reference_is_no_figure(picture: np.ndarray) -> None:
    assert math.isnan(sharpness_ratio(picture, np.full_like(picture, 90)))


def test_delta_e_of_planted_colours() -> None:
    black, white = np.zeros((6, 6, 3), np.uint8), np.full((6, 6, 3), 255, np.uint8)
    assert delta_e(black, white) == pytest.approx(100, abs=1e-3)
    half = white.copy()
    half[:, :3] = 0
    assert delta_e(half, white) == pytest.approx(50, abs=1e-3)
    assert delta_e(half, white, left_half(half.shape)) == pytest.approx(100, abs=1e-3)


def test_delta_e_equals_scikit_image(picture: np.ndarray, noisy: np.ndarray) -> None:
    expected = deltaE_ciede2000(rgb2lab(noisy), rgb2lab(picture)).mean()
    assert delta_e(noisy, picture) == pytest.approx(expected, rel=SAME)


def test_bytes_as_floats_are_the_same_bytes_again() -> None:
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(as_uint8(as_float(every)), every)
    assert as_uint8(every) is every
    np.testing.assert_array_equal(as_uint8(np.array([-0.1, 0.5, 1.1])), [0, 128, 255])


def test_landmark_nme_counts_in_distances_between_the_eyes() -> None:
    five = np.array([[10, 10], [50, 10], [30, 35], [15, 55], [45, 55]], float)
    assert eye_distance(five) == 40
    moved = five + np.array([3, 4])
    assert landmark_nme(moved, five, eye_distance(five)) == pytest.approx(5 / 40)
    # The unit does not matter.
    assert landmark_nme(9 * moved, 9 * five, eye_distance(9 * five)) == pytest.approx(5 / 40)
    with pytest.raises(ValueError, match="between the eyes"):
        landmark_nme(moved, five, 0.0)


def test_correlation_equals_numpy_and_drops_missing_frames() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=50)
    b = 0.6 * a + rng.normal(size=50)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert correlation(a, -3 * a + 7) == pytest.approx(-1)
    holed = a.copy()
    holed[::7] = np.nan
    kept = np.isfinite(holed)
    assert correlation(holed, b) == pytest.approx(np.corrcoef(a[kept], b[kept])[0, 1])


def test_correlation_survives_tiny_and_huge_values() -> None:
    a = np.array([1.0, 2, 4, 3])
    b = np.array([2.0, 3, 9, 5])
    expected = np.corrcoef(a, b)[0, 1]
    assert correlation(1e-200 * a, 1e150 * b) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0], [3.0, 5.0]),
        ([1.0, 2.0, np.nan], [3.0, 5.0, 6.0]),
        ([0.1, 0.1, 0.1, 0.1], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0, 4.0], [0.1 + 0.2, 0.3, 0.3, 0.3]),
        ([], []),
    ],
)
def test_no_correlation_of_too_few_or_of_what_does_not_vary(a: list, b: list) -> None:
    assert correlation(np.array(a), np.array(b)) is None


def test_spread_ratio_shows_what_is_held_back() -> None:
    wave = np.sin(np.linspace(0, 9, 40))
    assert spread_ratio(0.3 * wave + 5, wave) == pytest.approx(0.3)
    holed = wave.copy()
    holed[5] = np.nan
    assert spread_ratio(0.3 * holed, wave) == pytest.approx(0.3)
    assert spread_ratio(np.zeros(40), wave) == 0
    assert spread_ratio(wave, np.ones(40)) is None
    assert spread_ratio(wave[:2], wave[:2]) is None


def big(picture: np.ndarray, edge_px: int) -> np.ndarray:
    return np.round(255 * resize(picture, (edge_px, edge_px))).astype(np.uint8)


def test_ms_ssim_equals_torchmetrics_where_borders_weigh_little() -> None:
    picture = astronaut()[:256, :256]
    noise = np.random.default_rng(0).normal(0, 25, picture.shape)
    noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
    # torchmetrics raises the mean of all channels to the powers, and averages mirrored borders of
    # structure in at all scales but the coarsest: both move the third decimal only.
    other = float(torch_ms_ssim(as_torch(noisy), as_torch(picture), data_range=1.0))
    assert ms_ssim(noisy, picture) == pytest.approx(other, abs=4e-3)
    assert abs(ms_ssim(noisy, picture) - ssim(noisy, picture)) > 0.2


def test_ms_ssim_is_the_weighted_product_of_torchmetrics_maps() -> None:
    picture = big(astronaut()[:256, :256], 96)
    noise = np.random.default_rng(0).normal(0, 25, picture.shape)
    noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
    mask = np.random.default_rng(1).random(picture.shape[:2])
    x, y, weights = as_torch(noisy), as_torch(picture), torch.from_numpy(mask)[None, None]
    powers = np.array([0.0448, 0.2856, 0.3001, 0.2363])
    product = np.ones(3)
    # 96 px hold four windows: 96, 48, 24 and 12 px.
    for scale, power in enumerate(powers / powers.sum()):
        likeness, structure = torch_ssim_maps(x, y)
        values = likeness if scale == 3 else structure
        inner = weights[..., 5:-5, 5:-5]
        product *= ((values * inner).sum((0, 2, 3)) / inner.sum()).numpy() ** power
        x, y, weights = (torch.nn.functional.avg_pool2d(z, 2) for z in (x, y, weights))
    assert ms_ssim(noisy, picture, mask) == pytest.approx(product.mean(), abs=SAME)


def torch_ssim_maps(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """SSIM and its structure of the windows that lie inside, by plain convolution."""
    line = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = torch.outer(line, line)[None, None] / line.sum() ** 2

    def mean(z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(z.transpose(0, 1), window).transpose(0, 1)

    mx, my = mean(x), mean(y)
    vx, vy, c = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    structure = (2 * c + 0.03**2) / (vx + vy + 0.03**2)
    return structure * (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2), structure


def test_ms_ssim_uses_the_scales_that_fit() -> None:
    assert [scales_that_fit(side) for side in (10, 11, 21, 22, 64, 88, 175, 176)] == [
        *(0, 1, 1, 2, 3, 4, 4, 5)
    ]
    picture = astronaut()[20:40, 150:171]
    noisy = np.clip(picture + np.random.default_rng(0).normal(0, 12, picture.shape), 0, 255)
    # One scale left is SSIM, each channel for itself.
    noisy = noisy.astype(np.uint8)
    assert ms_ssim(noisy, picture) == pytest.approx(ssim(noisy, picture), abs=SAME)
    small = np.zeros((10, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="window"):
        ms_ssim(small, small)


def test_ms_ssim_of_equal_and_of_opposite_pictures(picture: np.ndarray) -> None:
    assert ms_ssim(picture, picture) == pytest.approx(1)
    assert ms_ssim(255 - picture, picture) == pytest.approx(0, abs=0.05)


def test_ms_ssim_forgives_fine_blur_more_than_ssim_does(picture: np.ndarray) -> None:
    soft = gaussian(picture, 1, channel_axis=2)
    assert 1 > ms_ssim(soft, picture) > ssim(soft, picture)


def test_ms_ssim_keeps_to_its_mask(picture: np.ndarray, noisy: np.ndarray) -> None:
    mask = left_half(picture.shape)
    ruined = noisy.copy()
    # At the coarsest of four scales the window reaches 5 px, 40 of the finest.
    ruined[:, 64 + 40 :] = 0
    value = ms_ssim(noisy, picture, mask)
    assert ms_ssim(ruined, picture, mask) == pytest.approx(value, abs=SAME)
    assert ms_ssim(ruined, picture) < ms_ssim(noisy, picture) - 0.01
    # At that scale the windows' middles are the pixels from 40 to 88.
    mask[:, 40:] = 0
    assert math.isnan(ms_ssim(noisy, picture, mask))
