"""FID and KID against closed forms, SciPy's matrix root and double loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from gencomm_cli.metrics.fid import fid, frechet_distance, statistics
from gencomm_cli.metrics.kid import kid, mmd2


def test_distance_of_diagonal_gaussians_is_the_closed_form() -> None:
    mean, spread1, spread2 = np.array([1.0, -2, 0.5]), np.array([1.0, 4, 0]), np.array([9.0, 0.25, 2])
    expected = 1 + 4 + 0.25 + ((np.sqrt(spread1) - np.sqrt(spread2)) ** 2).sum()
    found = frechet_distance(mean, np.diag(spread1), np.zeros(3), np.diag(spread2))
    assert found == pytest.approx(expected, rel=1e-12)


def test_distance_equals_scipys_matrix_root() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 20, 20))
    sigma1, sigma2 = a @ a.T, b @ b.T
    mean = rng.normal(size=20)
    root = sqrtm(sigma1 @ sigma2)
    expected = mean @ mean + np.trace(sigma1 + sigma2 - 2 * root.real)
    assert frechet_distance(mean, sigma1, np.zeros(20), sigma2) == pytest.approx(expected, rel=1e-6)
    turned, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    rotated = frechet_distance(turned @ mean, turned @ sigma1 @ turned.T, np.zeros(20), turned @ sigma2 @ turned.T)
    assert rotated == pytest.approx(expected, rel=1e-6)


def test_singular_covariances_are_no_trouble() -> None:
    """Five samples in 40 dimensions: tr (Σ1·Σ2)^½ is the sum of singular values of the centred samples' products."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(5, 40)), rng.normal(size=(6, 40)) + 0.3
    a, b = (x - x.mean(0) for x in (first, second))
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt(4 * 5)
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + (a**2).sum() / 4 + (b**2).sum() / 5 - 2 * shared
    found = fid(first, second)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.note == "5 samples for 40 dimensions: biased upwards"
    assert fid(first, first).value == pytest.approx(0, abs=1e-6)


def test_fid_of_samples_nears_that_of_their_gaussians() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(20_000, 4)), 2 * rng.normal(size=(20_000, 4)) + 1
    found = fid(first, second)
    assert found.value == pytest.approx(4 * 1 + 4 * (2 - 1) ** 2, rel=0.05)
    assert found.note == ""


def test_statistics_are_mean_and_unbiased_covariance() -> None:
    features = np.array([[1.0, 2], [3, 2], [5, 8]])
    mean, covariance = statistics(features)
    np.testing.assert_allclose(mean, [3, 4])
    np.testing.assert_allclose(covariance, [[4, 6], [6, 12]])


def _mmd2_by_hand(first: np.ndarray, second: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    n, m = len(first), len(second)
    value = sum(kernel(first[i], first[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    value += sum(kernel(second[i], second[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return value - 2 * sum(kernel(x, y) for x in first for y in second) / (n * m)


def test_mmd2_equals_double_loops() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(9, 5)), rng.normal(size=(12, 5)) + 0.5
    assert mmd2(first, second) == pytest.approx(_mmd2_by_hand(first, second), rel=1e-12)


def test_kid_draws_subsets_and_is_unbiased() -> None:
    rng = np.random.default_rng(4)
    first, second, shifted = rng.normal(size=(300, 8)), rng.normal(size=(300, 8)), rng.normal(size=(300, 8)) + 1
    same, other = kid(first, second, 50, 40, seed=1), kid(first, shifted, 50, 40, seed=1)
    assert same.value is not None
    assert same.deviation is not None
    assert other.value is not None
    assert abs(same.value) < 3 * same.deviation / np.sqrt(50) + 0.05
    assert other.value > 1
    assert kid(first, shifted, 50, 40, seed=1) == other
    assert kid(first, shifted, 50, 40, seed=2) != other


def test_kid_of_whole_sets_is_one_mmd() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, 30, 6))
    found = kid(first, second, 3, 30)
    assert found.value == pytest.approx(_mmd2_by_hand(first, second), rel=1e-9)
    assert found.deviation == pytest.approx(0, abs=1e-12)
    assert found.note == ""
    small = kid(first, second)
    assert small.value == pytest.approx(found.value, rel=1e-9)
    assert small.note == "subsets of 30 samples, not 1000: there are no more"


def test_one_sample_is_not_enough() -> None:
    one, many = np.zeros((1, 4)), np.ones((5, 4))
    assert fid(one, many).value is None
    assert "at least 2" in fid(one, many).note
    assert kid(many, one).value is None
    assert kid(many, one).deviation is None
