"""The rate indices as bits and back: constriction's range coder over integer tables, the same bits on every machine.

Each group's level is coded given those of its left and its upper neighbour. The payload begins with the size of the groups.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gencomm_cli.networks.rate_allocation import GROUPS, RATES, Levels
from gencomm_cli.text.range_coder import categorical, seal, unseal

GROUP_BITS = 2
TOTAL = 1 << 16
"""About the sum of a context's frequencies."""

Bits = NDArray[np.uint8]
Frequencies = NDArray[np.int64]


class RateTables(nn.Module):
    """Frequencies of levels, positive integers [group sizes, left, above, level]; ``left`` and ``above`` are ``len(RATES)`` where
    there is no such neighbour."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.ones(len(GROUPS), len(RATES) + 1, len(RATES) + 1, len(RATES), dtype=torch.int64))

    def table(self, group: int) -> Frequencies:
        """The table for groups of g × g: int64 [left, above, level]."""
        return self.frequencies[GROUPS.index(group)].cpu().numpy()


def neighbours(levels: Levels) -> tuple[Levels, Levels]:
    """Left and upper neighbour of each level [rows, columns]; ``len(RATES)`` where there is none."""
    padded = np.pad(levels, ((1, 0), (1, 0)), constant_values=len(RATES))
    return padded[1:, :-1], padded[:-1, 1:]


def estimate(grids: list[Levels]) -> Frequencies:
    """A table from observed levels [rows, columns] of groups of one size.

    Each context's counts are eked out by those of all contexts with the same sum of neighbours, and no frequency is zero.
    """
    edge = len(RATES)
    counts = np.zeros((edge + 1, edge + 1, edge))
    for levels in grids:
        np.add.at(counts, (*neighbours(levels), levels), 1)
    table = np.empty_like(counts)
    left, above = np.indices((edge + 1, edge + 1))
    for kind in range(4):  # which of the two neighbours are there
        has_left, has_above = kind & 1, kind >> 1
        chosen = ((left < edge) == has_left) & ((above < edge) == has_above)
        key = left * has_left + above * has_above
        for value in np.unique(key[chosen]):
            alike = chosen & (key == value)
            pooled = counts[alike].sum(0) + 1
            table[alike] = counts[alike] + 16 * pooled / pooled.sum()
    return np.maximum(1, np.rint(TOTAL * table / table.sum(-1, keepdims=True))).astype(np.int64)


def entropy_bits(levels: Levels, table: Frequencies) -> float:
    """Ideal length in bits of levels [rows, columns] of groups under their table."""
    contexts = table[neighbours(levels)]
    taken = np.take_along_axis(contexts, levels[..., None], -1)[..., 0]
    return float(np.log2(contexts.sum(-1) / taken).sum())


def most_bits(levels: Levels, table: Frequencies) -> int:
    """An upper bound on :func:`encode`'s payload: the coder ends within 2 bits, and its precision costs less than 1 ‰."""
    return math.ceil(1.001 * entropy_bits(levels, table)) + 2 + GROUP_BITS


def encode(levels: Levels, group: int, tables: RateTables) -> Bits:
    """Levels [rows, columns] of groups of g × g to a payload uint8 [n]."""
    import constriction

    table, encoder = tables.table(group), constriction.stream.queue.RangeEncoder()
    for left, above, level in zip(*(part.ravel() for part in (*neighbours(levels), levels)), strict=True):
        encoder.encode(int(level), categorical(table[left, above]))
    size = GROUPS.index(group)
    return np.concatenate((np.array([size >> 1, size & 1], np.uint8), seal(encoder)))


def decode(payload: Bits, shape: tuple[int, int], tables: RateTables) -> tuple[Levels, int] | None:
    """Levels of groups and g, for embeddings [rows, columns] = ``shape``; None where the payload is none of :func:`encode`'s."""
    if len(payload) < GROUP_BITS or (size := int(2 * payload[0] + payload[1])) >= len(GROUPS):
        return None
    group = GROUPS[size]
    table, decoder = tables.table(group), unseal(payload[GROUP_BITS:])
    rows, columns = (-(-side // group) for side in shape)
    padded = np.full((rows + 1, columns + 1), len(RATES), np.int64)
    try:
        for row in range(1, rows + 1):
            for column in range(1, columns + 1):
                model = categorical(table[padded[row, column - 1], padded[row - 1, column]])
                padded[row, column] = decoder.decode(model)
    except AssertionError:  # constriction asserts where the bits cannot come from an encoder
        return None
    levels = padded[1:, 1:]
    return (levels, group) if np.array_equal(encode(levels, group, tables), payload) else None
