"""Rate indices as bits: they come back, cost what their model says, and are the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gencomm_cli.networks.rate_allocation import GROUPS, RATES, Levels
from gencomm_cli.networks.rate_indices import RateTables, decode, encode, entropy_bits, estimate, most_bits, neighbours


def grids(count: int, shape: tuple[int, int] = (16, 24), seed: int = 0) -> list[Levels]:
    """Smooth random fields of levels."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        field = rng.normal(0, 1, shape).cumsum(0) * 0.3 + rng.normal(0, 1, shape).cumsum(1) * 0.3 + rng.uniform(0, 15)
        out.append(np.rint(field).clip(0, 15).astype(np.int64))
    return out


@pytest.fixture(scope="module")
def tables() -> RateTables:
    found = RateTables()
    for place in range(len(GROUPS)):
        found.frequencies[place] = torch.from_numpy(estimate(grids(60, seed=place)))
    return found


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 9), (32, 48)])
def test_levels_come_back(tables: RateTables, group: int, shape: tuple[int, int]) -> None:
    groups = tuple(-(-side // group) for side in shape)
    for levels in grids(2, (groups[0], groups[1]), seed=9):
        payload = encode(levels, group, tables)
        found = decode(payload, shape, tables)
        assert found is not None
        assert np.array_equal(found[0], levels)
        assert found[1] == group
        ideal = entropy_bits(levels, tables.table(group))
        assert len(payload) <= 1.02 * ideal + 8
        assert len(payload) <= most_bits(levels, tables.table(group))


def test_the_model_is_worth_having(tables: RateTables) -> None:
    levels = grids(1, seed=77)[0]
    assert entropy_bits(levels, tables.table(2)) < 0.75 * 4 * levels.size


def test_the_ideal_length_by_hand(tables: RateTables) -> None:
    levels, table = grids(1, (3, 4), seed=5)[0], tables.table(1)
    total = 0.0
    for row, column in np.ndindex(3, 4):
        left = levels[row, column - 1] if column else 16
        above = levels[row - 1, column] if row else 16
        counts = table[left, above]
        total -= np.log2(counts[levels[row, column]] / counts.sum())
    assert entropy_bits(levels, table) == pytest.approx(total)


def test_the_same_bits_on_every_machine() -> None:
    """Tables of integers made by a formula; the payload was made once and must never change."""
    made = RateTables()
    place = torch.arange(made.frequencies.numel()).view(made.frequencies.shape)
    made.frequencies.copy_(1 + place * 7919 % 1009)
    levels = np.arange(24).reshape(4, 6) * 5 % 16
    payload = encode(levels, 4, made)
    assert len(payload) == 116
    assert np.packbits(payload).tobytes().hex() == "824102a5b4b9d57d4897432ac75a10"


def test_hostile_payloads_are_refused_and_nothing_else(tables: RateTables) -> None:
    rng = np.random.default_rng(1)
    levels = grids(1, (8, 12), seed=3)[0]
    payload = encode(levels, 1, tables)
    for _ in range(200):
        tampered = payload.copy()
        tampered[rng.integers(len(payload))] ^= 1
        found = decode(tampered, (8, 12), tables)
        assert found is None or not np.array_equal(found[0], levels) or found[1] != 1
    for length in (0, 1, 2, 5, 300):
        decode(rng.integers(0, 2, length).astype(np.uint8), (8, 12), tables)
    assert decode(np.array([1, 1, 0, 0], np.uint8), (8, 12), tables) is None  # there is no fourth size of group


def test_estimated_frequencies_follow_the_counts() -> None:
    levels = np.full((4, 4), 3, np.int64)
    table = estimate([levels] * 50)
    assert (table > 0).all()
    assert table.shape == (17, 17, 16)
    assert table[3, 3].argmax() == 3
    assert table[3, 3, 3] / table[3, 3].sum() > 0.95
    assert table[5, 1].argmax() == 3  # a context that was never met, with the same sum of neighbours
    assert table[9, 9].max() == table[9, 9].min()  # and one of which nothing is known
    left, above = neighbours(levels)
    assert left[:, 0].tolist() == [len(RATES)] * 4 == above[0].tolist()
