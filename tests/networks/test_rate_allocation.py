"""Rates against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from gencomm_cli.networks.rate_allocation import (
    GROUPS,
    RATES,
    group_means,
    group_sums,
    quantise,
    solve_beta,
    spread,
    symbols_of,
    uniform,
)


def test_there_are_two_to_the_n_rates() -> None:
    assert len(RATES) == 2**4
    assert list(RATES) == sorted(set(RATES))
    assert RATES[0] >= 1


def test_quantise_takes_the_nearest_rate() -> None:
    wanted = np.random.default_rng(0).uniform(0, 80, 500)
    nearest = np.abs(np.array(RATES)[None] - wanted[:, None]).argmin(1)
    assert np.array_equal(quantise(wanted), nearest)
    assert quantise(np.array([0.0, 1e9])).tolist() == [0, 15]
    assert quantise(np.array([1.5])).tolist() == [0]  # the lower of two


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (8, 4)])
def test_groups(group: int, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).uniform(0, 100, shape)
    sums, means = group_sums(values, group), group_means(values, group)
    for row in range(sums.shape[0]):
        for column in range(sums.shape[1]):
            part = values[row * group : (row + 1) * group, column * group : (column + 1) * group]
            assert sums[row, column] == pytest.approx(part.sum())
            assert means[row, column] == pytest.approx(part.mean())
    levels = quantise(means)
    wide = spread(levels, group, shape)
    assert wide.shape == shape
    assert all(wide[row, column] == levels[row // group, column // group] for row, column in np.ndindex(shape))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (32, 48)])
def test_uniform_allocation_uses_what_it_may(shape: tuple[int, int]) -> None:
    count = shape[0] * shape[1]
    for symbols in np.unique(np.linspace(count, 70 * count, 23).astype(int)):
        levels = uniform(int(symbols), shape)
        used, low = symbols_of(levels), int(levels.min())
        assert levels.max() - low <= 1
        assert used <= symbols
        assert symbols - used < RATES[min(low + 1, 15)] - RATES[low] or low == 15
        assert np.array_equal(uniform(used, shape), levels)  # as the receiver will find them
        if 0 < (levels > low).mean() < 1:  # evenly spread: every stretch has its share
            high = np.cumsum(levels.ravel() > low)
            assert np.abs(high - (levels > low).mean() * np.arange(1, count + 1)).max() <= 1
    with pytest.raises(ValueError, match="at least 1"):
        uniform(count - 1, shape)


def test_beta_is_the_largest_that_fits() -> None:
    information = np.random.default_rng(2).gamma(2.0, 40, (9, 11))
    for symbols in (99, 300, 1000, 3000):
        beta = solve_beta(information, symbols)
        assert symbols_of(quantise(beta * information)) <= symbols
        assert symbols_of(quantise((beta + 1e-6) * information)) > symbols
    assert symbols_of(quantise(solve_beta(information, 1e9) * information)) == 64 * information.size
    assert solve_beta(information, 98) == 0


def test_beta_counts_what_the_cost_counts() -> None:
    information = np.full((2, 2), 10.0)
    assert symbols_of(quantise(solve_beta(information, 50, lambda levels: symbols_of(levels) + 10) * information)) == 40
