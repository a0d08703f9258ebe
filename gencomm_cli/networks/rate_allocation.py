"""How many symbols each embedding of a latent takes (LRISC, arXiv:2504.21577, eq. 3): k_i = Q(−β log2 p(z_i | ŷ)).

A level is an index into the list of rates V = {v_1, …, v_2^n}; the level ``len(V)`` stands for an embedding of which nothing is
sent, because it lies outside the picture. One level may serve a group of g × g embeddings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RATES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
"""V in complex symbols: 2^4 levels."""
GROUPS = (1, 2, 4)

Floats = NDArray[np.float64]
Levels = NDArray[np.int64]


def quantise(wanted: Floats) -> Levels:
    """Q (eq. 3): the level of the nearest rate (the lower of two), elementwise."""
    middles = (np.array(RATES[1:]) + np.array(RATES[:-1])) / 2
    return np.searchsorted(middles, wanted).astype(np.int64)


def group_sums(values: Floats, group: int) -> Floats:
    """Sums of [rows, columns] over groups of ``group``²; those at the far edges may be smaller."""
    rows, columns = values.shape
    padded = np.pad(values, ((0, -rows % group), (0, -columns % group)))
    return padded.reshape(-(-rows // group), group, -(-columns // group), group).sum((1, 3))


def group_means(values: Floats, group: int) -> Floats:
    """Means over groups, likewise."""
    return group_sums(values, group) / group_sums(np.ones_like(values), group)


def spread(levels: Levels, group: int, shape: tuple[int, int]) -> Levels:
    """Levels of groups to levels of embeddings [rows, columns]."""
    return levels.repeat(group, 0).repeat(group, 1)[: shape[0], : shape[1]]


def uniform(symbols: int, shape: tuple[int, int]) -> Levels:
    """The uniform allocation of at most ``symbols``: every embedding [rows, columns] at one of two neighbouring rates, the higher
    ones evenly spread, as many as fit. Both ends compute it from the number of symbols.

    Raises:
        ValueError: there are fewer symbols than the lowest rate takes.
    """
    count = shape[0] * shape[1]
    if symbols < count * RATES[0]:
        raise ValueError(f"{symbols} symbols for {count} embeddings that take at least {RATES[0]} each")
    low = max(level for level, rate in enumerate(RATES) if rate * count <= symbols)
    if low == len(RATES) - 1:
        return np.full(shape, low, np.int64)
    upper = min(count, (symbols - RATES[low] * count) // (RATES[low + 1] - RATES[low]))
    places = np.arange(count + 1, dtype=np.int64) * upper // count
    return (low + np.diff(places)).reshape(shape)


def symbols_of(levels: Levels) -> int:
    """K_z (eq. 3): symbols that embeddings of such levels take."""
    return int(np.array([*RATES, 0])[levels].sum())


def solve_beta(information: Floats, symbols: float, cost: Callable[[Levels], float] = symbols_of) -> float:
    """The largest β of eq. 3 (to 40 bisections) at which the levels Q(β · information) cost at most ``symbols``; 0 where none do.

    Args:
        information: −log2 p of each group. cost: of the groups' levels; their symbols if not given.
    """
    low, high = 0.0, 2 * RATES[-1] / max(float(information.min()), 1e-6)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(quantise(middle * information)) <= symbols else (low, middle)
    return low
