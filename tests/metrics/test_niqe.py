"""NIQE against block-by-block loops after the authors' MATLAB release, with a made-up pristine model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter
from scipy.special import gamma

from gencomm_cli.metrics.niqe import _fit, _halve, niqe


def _pristine() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    spread = rng.normal(size=(60, 36))
    return rng.random(36), np.cov(spread, rowvar=False)


def _image(height: int, width: int) -> np.ndarray:
    """Correlated noise with an even grey patch in a corner, uint8 [H, W, 3]."""
    smooth = gaussian_filter(np.random.default_rng(2).normal(size=(height, width, 3)), (1.5, 1.5, 0))
    image: np.ndarray = np.clip(128 + 200 * smooth, 0, 255).astype(np.uint8)
    return image


def _aggd(block: np.ndarray) -> tuple[float, float, float]:
    shapes = np.arange(0.2, 10.001, 0.001)
    ratios = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    left, right = np.sqrt(np.mean(block[block < 0] ** 2)), np.sqrt(np.mean(block[block > 0] ** 2))
    balance = left / right
    ratio = np.mean(np.abs(block)) ** 2 / np.mean(block**2) * (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
    shape = shapes[np.argmin((ratios - ratio) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return float(shape), float(left * scale), float(right * scale)


def _cubic(distance: float) -> float:
    x = abs(distance)
    return 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0


def _imresize(image: np.ndarray) -> np.ndarray:
    """MATLAB's imresize(image, 0.5) as a matrix on each side: the kernel stretched twofold, indices mirrored at the borders."""

    def matrix(size: int) -> np.ndarray:
        found = np.zeros((size // 2, size))
        for row in range(size // 2):
            for tap in range(2 * row - 4, 2 * row + 6):
                mirrored = -1 - tap if tap < 0 else 2 * size - 1 - tap if tap >= size else tap
                found[row, mirrored] += 0.5 * _cubic(0.5 * (tap - (2 * row + 0.5)))
        return found

    resized: np.ndarray = matrix(image.shape[0]) @ image @ matrix(image.shape[1]).T
    return resized


def _by_hand(image: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    rows, columns = image.shape[0] // 96, image.shape[1] // 96
    plane = np.round(image[: rows * 96, : columns * 96] / 255 @ [65.481, 128.553, 24.966] + 16)
    window = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(window, window) / window.sum() ** 2
    table: list[list[float]] = [[] for _ in range(rows * columns)]
    for side in (96, 48):
        local = convolve(plane, window, mode="nearest")
        deviation = np.sqrt(np.abs(convolve(plane**2, window, mode="nearest") - local**2))
        normal = (plane - local) / (deviation + 1)
        for index in range(rows * columns):
            top, left = side * (index // columns), side * (index % columns)
            block = normal[top : top + side, left : left + side]
            shape, low, high = _aggd(block)
            table[index] += [shape, (low + high) / 2]
            for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                shape, low, high = _aggd(block * np.roll(block, shift, (0, 1)))
                table[index] += [shape, (high - low) * gamma(2 / shape) / gamma(1 / shape), low, high]
        plane = _imresize(plane)
    features = np.array(table)
    difference = mean - features.mean(0)
    inverse = np.linalg.pinv((covariance + np.cov(features, rowvar=False)) / 2)
    return float(np.sqrt(difference @ inverse @ difference))


def test_equals_block_by_block_loops() -> None:
    mean, covariance = _pristine()
    images = [_image(200, 301), _image(200, 301)[::-1, ::-1].copy()]
    batch = torch.tensor(np.stack(images)).permute(0, 3, 1, 2).double() / 255
    found = niqe(batch, torch.tensor(mean), torch.tensor(covariance))
    assert found is not None
    for image, value in zip(images, found.tolist(), strict=True):
        assert value == pytest.approx(_by_hand(image, mean, covariance), rel=1e-7)


def test_halving_is_matlabs_imresize() -> None:
    image = np.random.default_rng(0).random((12, 18))
    np.testing.assert_allclose(_halve(torch.tensor(image)[None, None])[0, 0].numpy(), _imresize(image), atol=1e-12)
    ramp = torch.arange(16.0, dtype=torch.float64).expand(1, 1, 16, 16)
    torch.testing.assert_close(_halve(ramp)[0, 0, 4, 2:-2], ramp[0, 0, 0, 4:-4:2] + 0.5)


def test_the_fit_finds_known_distributions() -> None:
    rng = np.random.default_rng(3)
    samples = torch.tensor(np.stack([2 * rng.normal(size=200_000), rng.laplace(scale=3.0, size=200_000)]))
    shape, left, right = _fit(samples)
    # A Gaussian is the shape 2 with scale σ√2, a Laplacian the shape 1 with its own scale.
    np.testing.assert_allclose(shape, [2, 1], rtol=0.02)
    np.testing.assert_allclose(left, [2 * np.sqrt(2), 3], rtol=0.02)
    np.testing.assert_allclose(right, [2 * np.sqrt(2), 3], rtol=0.02)


@pytest.mark.parametrize(("size", "defined"), [((95, 400), False), ((191, 96), False), ((192, 96), True)])
def test_two_blocks_are_needed(size: tuple[int, int], defined: bool) -> None:
    mean, covariance = (torch.tensor(each) for each in _pristine())
    found = niqe(torch.tensor(_image(*size)).permute(2, 0, 1)[None] / 255, mean, covariance)
    assert (found is not None) == defined


def test_flat_blocks_do_not_count() -> None:
    """An image without structure has no NIQE; one with flat blocks is measured by the others, as the authors' nancov does."""
    mean, covariance = (torch.tensor(each) for each in _pristine())
    flat = niqe(torch.zeros(1, 3, 192, 192), mean, covariance)
    assert flat is not None
    assert flat.isnan().all()
    half = torch.zeros(1, 3, 192, 288)
    half[..., :96, :] = torch.tensor(_image(96, 288)).permute(2, 0, 1) / 255
    half[..., 96:, :96] = 0
    found = niqe(half, mean, covariance)
    assert found is not None
    assert torch.isfinite(found).all()
