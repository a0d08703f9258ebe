"""How many symbols each embedding of a latent takes (paper 002, eq. 3): k_i = Q(−β log2 p(z_i | ŷ)).

A level is an index into the list of rates V = {v_1, …, v_2^n}; the level ``len(V)`` stands for an embedding of which nothing is
sent, because it lies outside the picture. One level may serve a group of g × g embeddings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
"""V in complex symbols: 2^4 levels."""
GROUPS = (1, 2, 4)

Floats = NDArray[np.float64]
Levels = NDArray[np.int64]


def quantise(wanted: Floats, rates: tuple[int, ...] = RATES) -> Levels:
    """Q: the level of the nearest rate (the lower of two), elementwise."""
    middles = (np.array(rates[1:]) + np.array(rates[:-1])) / 2
    return np.searchsorted(middles, wanted).astype(np.int64)


def group_means(information: Floats, group: int) -> Floats:
    """Mean of [rows, columns] over groups of ``group``²; those at the far edges may be smaller."""
    rows, columns = information.shape
    padded = np.pad(information, ((0, -rows % group), (0, -columns % group)), constant_values=np.nan)
    means: Floats = np.nanmean(padded.reshape(-(-rows // group), group, -(-columns // group), group), axis=(1, 3))
    return means


def spread(levels: Levels, group: int, shape: tuple[int, int]) -> Levels:
    """Levels of groups to levels of embeddings [rows, columns]."""
    return levels.repeat(group, 0).repeat(group, 1)[: shape[0], : shape[1]]


def uniform(symbols: int, shape: tuple[int, int], rates: tuple[int, ...] = RATES) -> Levels:
    """The uniform allocation of at most ``symbols``: every embedding [rows, columns] at one of two neighbouring rates, the higher
    ones evenly spread, as many as fit. Both ends compute it from the number of symbols.

    Raises:
        ValueError: there are fewer symbols than the lowest rate takes.
    """
    count = shape[0] * shape[1]
    if symbols < count * rates[0]:
        raise ValueError(f"{symbols} symbols for {count} embeddings that take at least {rates[0]} each")
    low = max(level for level, rate in enumerate(rates) if rate * count <= symbols)
    if low == len(rates) - 1:
        return np.full(shape, low, np.int64)
    upper = min(count, (symbols - rates[low] * count) // (rates[low + 1] - rates[low]))
    places = np.arange(count + 1, dtype=np.int64) * upper // count
    return (low + np.diff(places)).reshape(shape)


def symbols_of(levels: Levels, rates: tuple[int, ...] = RATES) -> int:
    """K_z: symbols that embeddings of such levels take, −1 and the like apart."""
    return int(np.array([*rates, 0])[levels].sum())


def solve_beta(information: Floats, symbols: float, rates: tuple[int, ...] = RATES) -> float:
    """The largest β (to 40 bisections) at which Σ Q(β · information) is at most ``symbols``.

    ``information`` [...]: −log2 p of each group. β is 0 where the lowest rates are too many already.
    """
    low, high = 0.0, 2 * rates[-1] / max(float(information.min()), 1e-6)
    for _ in range(40):
        middle = (low + high) / 2
        fits = symbols_of(quantise(middle * information, rates), rates) <= symbols
        low, high = (middle, high) if fits else (low, middle)
    return low
