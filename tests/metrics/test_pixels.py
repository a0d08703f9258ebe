"""PSNR, SSIM, MS-SSIM and GMSD against closed forms, plain NumPy loops and two libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter1d
from torch import Tensor

from gencomm_cli.metrics.gmsd import gmsd
from gencomm_cli.metrics.psnr import psnr
from gencomm_cli.metrics.ssim import MIN_SIDE_MULTI_SCALE, SCALE_WEIGHTS, ms_ssim, ssim


def _pair(height: int, width: int, batch: int = 2, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Smooth random images and noisy copies, float64 [B, 3, H, W] in [0, 1]."""
    rng = np.random.default_rng(7)
    base = gaussian_filter1d(gaussian_filter1d(rng.random((batch, 3, height, width)), 2, axis=2), 2, axis=3)
    base = (base - base.min()) / (base.max() - base.min())
    return torch.tensor(base), torch.tensor(np.clip(base + noise * rng.normal(size=base.shape), 0, 1))


def test_psnr_of_a_constant_error_is_its_decibels() -> None:
    image = torch.full((2, 3, 8, 9), 0.5)
    shifted = image.clone()
    shifted[0] += 0.1
    shifted[1, 0] += 0.01
    found = psnr(image, shifted)
    assert found[0] == pytest.approx(20.0, abs=1e-4)
    assert found[1] == pytest.approx(40.0 + 10 * np.log10(3), abs=1e-3)


def test_psnr_of_equal_images_is_infinite() -> None:
    image, _ = _pair(5, 7)
    assert torch.isposinf(psnr(image, image)).all()


def test_psnr_of_one_grey_level_in_one_sample() -> None:
    first = torch.zeros(1, 3, 16, 16)
    second = first.clone()
    second[0, 1, 3, 4] = 1 / 255
    assert psnr(first, second).item() == pytest.approx(20 * np.log10(255) + 10 * np.log10(3 * 256), abs=1e-4)


def _ssim_by_hand(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """SSIM and contrast-structure of one channel [H, W], window by window."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / 4.5)
    weights = np.outer(window, window) / window.sum() ** 2
    a, b = (np.lib.stride_tricks.sliding_window_view(x, (11, 11)) for x in (first, second))

    def mean(x: np.ndarray) -> np.ndarray:
        return np.asarray((x * weights).sum((2, 3), keepdims=True))

    mean_a, mean_b = mean(a), mean(b)
    covariance = mean((a - mean_a) * (b - mean_b))
    structure = (2 * covariance + 0.0009) / (mean((a - mean_a) ** 2) + mean((b - mean_b) ** 2) + 0.0009)
    whole = structure * (2 * mean_a * mean_b + 0.0001) / (mean_a**2 + mean_b**2 + 0.0001)
    return float(whole.mean()), float(structure.mean())


def test_ssim_equals_window_by_window_sums() -> None:
    first, second = _pair(17, 23)
    found = ssim(first, second)
    assert found is not None
    for index in range(2):
        by_hand = [_ssim_by_hand(first[index, c].numpy(), second[index, c].numpy())[0] for c in range(3)]
        assert found[index].item() == pytest.approx(np.mean(by_hand), abs=1e-9)


def test_ssim_of_constants_is_the_luminance_factor() -> None:
    found = ssim(torch.full((1, 3, 20, 20), 0.25, dtype=torch.float64), torch.full((1, 3, 20, 20), 0.75, dtype=torch.float64))
    assert found is not None
    assert found.item() == pytest.approx((2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4), abs=1e-9)


def test_ms_ssim_equals_the_product_over_scales() -> None:
    first, second = _pair(177, 179, batch=1, noise=0.3)
    found = ms_ssim(first, second)
    assert found is not None
    values = []
    for channel in range(3):
        a, b = first[0, channel].numpy(), second[0, channel].numpy()
        product = 1.0
        for scale, weight in enumerate(SCALE_WEIGHTS):
            whole, structure = _ssim_by_hand(a, b)
            product *= max(whole if scale == 4 else structure, 0) ** weight
            height, width = a.shape[0] // 2, a.shape[1] // 2
            a, b = (x[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3)) for x in (a, b))
        values.append(product)
    assert found.item() == pytest.approx(np.mean(values), abs=1e-9)


def test_ms_ssim_of_a_negative_is_zero_not_nan() -> None:
    first, _ = _pair(MIN_SIDE_MULTI_SCALE, MIN_SIDE_MULTI_SCALE, batch=1)
    found = ms_ssim(first, 1 - first)
    assert found is not None
    assert found.item() == 0


@pytest.mark.parametrize("size", [(10, 40), (40, 10)])
def test_ssim_is_undefined_below_one_window(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    assert ssim(image, image) is None
    assert ssim(torch.rand(1, 3, 11, 11), torch.rand(1, 3, 11, 11)) is not None


def test_ms_ssim_is_undefined_below_176() -> None:
    image = torch.rand(1, 3, 175, 300)
    assert ms_ssim(image, image) is None
    image = torch.rand(1, 3, 176, 300)
    found = ms_ssim(image, image)
    assert found is not None
    assert found.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [(40, 60), (177, 233)])
def test_torchmetrics_agrees_inside_its_padding(size: tuple[int, int]) -> None:
    """torchmetrics reflects the borders; only its map without them is comparable."""
    functional = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed")
    first, second = _pair(*size)
    _, full = functional.structural_similarity_index_measure(
        second, first, data_range=1.0, reduction="none", return_full_image=True
    )
    found = ssim(first, second)
    assert found is not None
    torch.testing.assert_close(found, full[..., 5:-5, 5:-5].mean((1, 2, 3)), atol=1e-5, rtol=0)
    theirs = functional.peak_signal_noise_ratio(second, first, data_range=1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr(first, second).double(), theirs, atol=1e-4, rtol=0)


def test_scikit_image_agrees() -> None:
    """With the paper's Gaussian window; its truncation at 3.5 σ gives the same 11 taps. Its mean leaves the same borders out."""
    library = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    first, second = _pair(57, 83)
    found = ssim(first, second)
    assert found is not None
    for index in range(2):
        a, b = first[index].numpy(), second[index].numpy()
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        theirs = library.structural_similarity(a, b, channel_axis=0, data_range=1.0, **options)
        assert found[index].item() == pytest.approx(theirs, abs=1e-4)
        assert psnr(first, second)[index].item() == pytest.approx(library.peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-4)


def test_pytorch_msssim_agrees() -> None:
    """Sides that stay even through four halvings: elsewhere it pads odd sides with zeros."""
    library = pytest.importorskip("pytorch_msssim", reason="pytorch_msssim is not installed")
    first, second = _pair(192, 224)
    found, found_ms = ssim(first, second), ms_ssim(first, second)
    assert found is not None
    assert found_ms is not None
    torch.testing.assert_close(found, library.ssim(first, second, data_range=1, size_average=False), atol=1e-5, rtol=0)
    torch.testing.assert_close(found_ms, library.ms_ssim(first, second, data_range=1, size_average=False), atol=1e-5, rtol=0)


def _gmsd_by_hand(first: np.ndarray, second: np.ndarray) -> float:
    """GMSD of RGB images [H, W, 3] in [0, 1] by the paper's MATLAB recipe: conv2 with ones(2)/4, every second pixel, Prewitt."""

    def gradient(image: np.ndarray) -> np.ndarray:
        grey = 255 * image @ [0.299, 0.587, 0.114]
        small = (grey[:-1, :-1] + grey[1:, :-1] + grey[:-1, 1:] + grey[1:, 1:])[::2, ::2] / 4
        kernel = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]]) / 3
        across, down = (convolve(small, k, mode="constant") for k in (kernel, kernel.T))
        magnitude: np.ndarray = np.hypot(across, down)
        return magnitude

    a, b = gradient(first), gradient(second)
    similarity = (2 * a * b + 170) / (a**2 + b**2 + 170)
    return float(np.sqrt(((similarity - similarity.mean()) ** 2).mean()))


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_gmsd_equals_the_papers_recipe(size: tuple[int, int]) -> None:
    first, second = _pair(*size)
    found = gmsd(first, second)
    assert found is not None
    for index in range(2):
        by_hand = _gmsd_by_hand(first[index].permute(1, 2, 0).numpy(), second[index].permute(1, 2, 0).numpy())
        assert found[index].item() == pytest.approx(by_hand, abs=1e-9)


def test_gmsd_of_equal_images_is_zero_and_noise_is_worse_than_less_noise() -> None:
    first, noisy = _pair(64, 64)
    _, less = _pair(64, 64, noise=0.02)
    same, mild, strong = gmsd(first, first), gmsd(first, less), gmsd(first, noisy)
    assert same is not None
    assert mild is not None
    assert strong is not None
    assert same.abs().max() == 0
    assert (mild < strong).all()
    assert gmsd(torch.rand(1, 3, 1, 9), torch.rand(1, 3, 1, 9)) is None


def test_a_batch_gives_what_its_images_give_alone() -> None:
    first, second = _pair(180, 190, batch=3)
    for metric in (psnr, ssim, ms_ssim, gmsd):
        whole = metric(first, second)
        assert whole is not None
        assert whole.shape == (3,)
        for index in range(3):
            alone = metric(first[index : index + 1], second[index : index + 1])
            assert alone is not None
            torch.testing.assert_close(alone[0], whole[index])
