"""HaarPSI against its authors' recipe in SciPy, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor

from gencomm_cli.metrics.haarpsi import haarpsi


def _pair(height: int, width: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(5)
    base = rng.random((2, 3, height, width))
    return torch.tensor(base), torch.tensor(np.clip(base + noise * rng.normal(size=base.shape), 0, 1))


def _same(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """MATLAB's conv2(image, kernel, 'same'): SciPy centres even kernels one sample earlier, hence the half turns."""
    turned: np.ndarray = np.rot90(convolve2d(np.rot90(image, 2), np.rot90(kernel, 2), "same"), 2)
    return turned


def _by_hand(first: np.ndarray, second: np.ndarray) -> float:
    """The authors' haar_psi for two colour images [3, H, W] in 0..255."""
    mix = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

    def planes(image: np.ndarray) -> list[np.ndarray]:
        return [_same(np.tensordot(row, image, 1), np.ones((2, 2)) / 4)[::2, ::2] for row in mix]

    def wavelet(plane: np.ndarray, scale: int) -> list[np.ndarray]:
        kernel = 2.0**-scale * np.ones((2**scale, 2**scale))
        kernel[: kernel.shape[0] // 2] *= -1
        return [np.abs(_same(plane, kernel)), np.abs(_same(plane, kernel.T))]

    def alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        similarity: np.ndarray = (2 * a * b + 30) / (a**2 + b**2 + 30)
        return similarity

    a, b = planes(first), planes(second)
    local, weights = [], []
    for direction in (0, 1):
        local.append(sum(alike(wavelet(a[0], s)[direction], wavelet(b[0], s)[direction]) for s in (1, 2)) / 2)
        weights.append(np.maximum(wavelet(a[0], 3)[direction], wavelet(b[0], 3)[direction]))
    smooth = [[np.abs(_same(plane, np.ones((2, 2)) / 4)) for plane in each[1:]] for each in (a, b)]
    local.append((alike(smooth[0][0], smooth[1][0]) + alike(smooth[0][1], smooth[1][1])) / 2)
    weights.append((weights[0] + weights[1]) / 2)
    sigmoid = 1 / (1 + np.exp(-4.2 * np.array(local)))
    mean = (sigmoid * np.array(weights)).sum() / np.array(weights).sum()
    return float((np.log(mean / (1 - mean)) / 4.2) ** 2)


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (16, 17)])
def test_equals_the_authors_recipe(size: tuple[int, int]) -> None:
    first, second = _pair(*size)
    found = haarpsi(first, second)
    assert found is not None
    for index in range(2):
        by_hand = _by_hand(255 * first[index].numpy(), 255 * second[index].numpy())
        assert found[index].item() == pytest.approx(by_hand, abs=1e-9)


def test_equal_images_have_one_and_more_noise_has_less() -> None:
    first, noisy = _pair(40, 40)
    _, less = _pair(40, 40, noise=0.02)
    black = torch.zeros(2, 3, 40, 40)
    for image in (first, first.float(), black):
        same = haarpsi(image, image)
        assert same is not None
        torch.testing.assert_close(same, torch.ones_like(same), atol=1e-5, rtol=0)
    mild, strong = haarpsi(first, less), haarpsi(first, noisy)
    assert mild is not None
    assert strong is not None
    assert (strong < mild).all()
    assert (mild < 1).all()


@pytest.mark.parametrize("size", [(15, 40), (40, 15)])
def test_is_undefined_below_16_pixels(size: tuple[int, int]) -> None:
    assert haarpsi(torch.rand(1, 3, *size), torch.rand(1, 3, *size)) is None
