"""Rates that meet a budget, side symbols included, and reach the receiver or are known to be lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gencomm_cli.channels.fading import draw_noise, transmit
from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Received
from gencomm_cli.networks.ntscc_codec import MOST_SIDE, NTSCC, Allocation
from gencomm_cli.networks.rate_allocation import GROUPS, group_means, quantise, spread, symbols_of, uniform
from gencomm_cli.networks.rate_indices import RateTables
from gencomm_cli.networks.tensors import padded_size, to_tensor
from gencomm_cli.text.payload import PayloadFormat
from tests.support.presets import linear_lrisc, scenes


@pytest.fixture(scope="module")
def codec() -> NTSCC:
    parts = linear_lrisc()
    tables = parts["rates"]
    assert isinstance(tables, RateTables)
    near = np.exp(-np.abs(np.arange(17)[:, None, None] + np.arange(17)[None, :, None] - 2 * np.arange(16)))
    tables.frequencies.copy_(torch.from_numpy(np.rint(1 + 1e4 * near)))  # a level is near the mean of its neighbours
    return NTSCC(parts["transform"], parts["jscc"], tables).eval().requires_grad_(False)  # type: ignore[arg-type]


def information(shape: tuple[int, int] = (32, 48), seed: int = 0) -> np.ndarray:
    """A quiet and a busy half."""
    rng = np.random.default_rng(seed)
    found = rng.gamma(20, 1, shape)
    found[:, shape[1] // 2 :] *= 5
    return found


@pytest.mark.parametrize("budget", [3000, 3893, 12288, 24576, 49152])
@pytest.mark.parametrize("snr_db", [1.0, 20.0, None])
def test_the_budget_is_met(codec: NTSCC, budget: int, snr_db: float | None) -> None:
    known = information()
    found = codec.allocate(known, budget, snr_db=snr_db, fading="unknown" if snr_db is None else "awgn")
    assert budget * 0.99 <= found.symbols <= budget
    assert found.side_symbols.size <= MOST_SIDE * budget
    if found.side is None:
        assert snr_db is None or budget == 3000
        assert np.array_equal(found.levels, uniform(budget, known.shape))  # type: ignore[arg-type]
        return
    assert found.levels[:, 24:].mean() > found.levels[:, :24].mean()
    finer = GROUPS[: GROUPS.index(found.group)]  # type: ignore[arg-type]
    for group in finer:  # a smaller group would not have fitted
        assert codec._fit(known, group, budget, snr_db, "unknown" if snr_db is None else "awgn", MOST_SIDE) is None
        smaller = codec._fit(known, group, budget, snr_db, "unknown" if snr_db is None else "awgn", 1.0)
        assert smaller is None or smaller.side_symbols.size > 0.98 * MOST_SIDE * budget


def test_small_pictures(codec: NTSCC) -> None:
    for shape in ((1, 1), (2, 3), (8, 8)):
        for budget in (shape[0] * shape[1], 400, 10**6):
            if budget >= shape[0] * shape[1]:
                found = codec.allocate(information(shape), budget, snr_db=10, fading="awgn")
                assert found.symbols <= budget
        with pytest.raises(RateError, match="too few"):
            codec.allocate(information(shape), shape[0] * shape[1] - 1, snr_db=10, fading="awgn")


def test_beta_is_eq_3(codec: NTSCC) -> None:
    known = information((9, 10))
    found = codec.at_beta(known, 0.2, snr_db=10, fading="awgn")
    assert found.group is not None
    assert np.array_equal(found.levels, spread(quantise(0.2 * group_means(known, found.group)), found.group, (9, 10)))
    more = codec.at_beta(known, 0.4, snr_db=10, fading="awgn")
    assert symbols_of(more.levels) > symbols_of(found.levels)


def test_uniform_if_asked_for(codec: NTSCC) -> None:
    found = codec.allocate(information(), 12288, snr_db=10, fading="awgn", kind="uniform")
    assert found.side is None
    assert np.unique(found.levels).size == 1  # 12288 is 8 for each


def received(codec: NTSCC, found: Allocation, n0: float, size: tuple[int, int] = (512, 768)) -> tuple[np.ndarray, bool | None]:
    noise = draw_noise(found.side_symbols.size, np.random.default_rng(1))
    side = transmit(found.side_symbols, None, noise, n0).astype(np.complex64)
    return codec.levels_at_receiver(arrived(symbols_of(found.levels), size, found.side, side, n0))


def arrived(symbols: int, size: tuple[int, int], side: PayloadFormat | None, side_symbols: np.ndarray, n0: float = 0.1) -> Received:
    return Received(np.zeros(symbols, np.complex64), None, n0, size, side_symbols=side_symbols, side=side)


def test_the_receiver_has_the_same_levels(codec: NTSCC) -> None:
    found = codec.allocate(information(), 12288, snr_db=10, fading="awgn")
    levels, ok = received(codec, found, 0.1)
    assert ok is True
    assert np.array_equal(levels, found.levels)
    alike = codec.allocate(information(), 12000, snr_db=10, fading="awgn", kind="uniform")
    levels, ok = received(codec, alike, 0.1)
    assert ok is None
    assert np.array_equal(levels, alike.levels)


def test_lost_levels_are_the_lowest(codec: NTSCC) -> None:
    levels, ok = received(codec, codec.allocate(information(), 12288, snr_db=10, fading="awgn"), 4.0)
    assert ok is False
    assert not levels.any()


def test_claims_that_do_not_fit(codec: NTSCC) -> None:
    found = codec.allocate(information(), 12288, snr_db=10, fading="awgn")
    with pytest.raises(InputError, match="the rates take"):
        codec.levels_at_receiver(arrived(symbols_of(found.levels) + 1, (512, 768), found.side, found.side_symbols))
    with pytest.raises(InputError, match="how they carry bits"):
        codec.levels_at_receiver(arrived(symbols_of(found.levels), (512, 768), None, found.side_symbols))
    with pytest.raises(InputError, match="fewer than the 1536"):
        codec.levels_at_receiver(arrived(1000, (512, 768), None, found.side_symbols[:0]))
    with pytest.raises(InputError, match="the rates take"):  # 64 each is all that a uniform allocation has
        codec.levels_at_receiver(arrived(64 * 1536 + 1, (512, 768), None, found.side_symbols[:0]))


@torch.no_grad()
def test_a_picture_crosses(codec: NTSCC) -> None:
    """The linear start: more where there is more to say, and better than the same rate everywhere."""
    picture = scenes(1, seed=5)[0]
    x, size = to_tensor(picture, codec.multiple, torch.device("cpu")), (128, 128)
    z = codec.latent(x)
    known = codec.information(z, size)
    assert known.shape == (8, 8)
    assert known[:, 4:].mean() > 1.2 * known[:, :4].mean()
    errors = {}
    for kind in ("adaptive", "uniform"):
        found = codec.allocate(known, 1200, snr_db=20, fading="awgn", kind=kind)  # type: ignore[arg-type]
        symbols = codec.send(z, found.levels, 20.0)
        assert symbols.shape == (symbols_of(found.levels),)
        assert float(symbols.abs().square().mean()) == pytest.approx(1, rel=1e-4)
        y = symbols + 0.03 * torch.randn(symbols.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
        coarse, contexts = codec.coarse(codec.receive(y, torch.full(symbols.shape, 0.99), found.levels, padded_size(size, 64)))
        errors[kind] = float(((coarse + 1) / 2 - x).square().mean())
        assert len(contexts) == 4
    assert errors["adaptive"] < errors["uniform"]
    assert errors["adaptive"] < 0.01


@torch.no_grad()
def test_what_lies_outside_the_picture_is_not_sent(codec: NTSCC) -> None:
    picture = scenes(1, seed=6)[0][:70, :100]
    z = codec.latent(to_tensor(picture, 64, torch.device("cpu")))
    assert z.shape[2:] == (8, 8)
    known = codec.information(z, (70, 100))
    assert known.shape == (5, 7)
    found = codec.allocate(known, 140, snr_db=10, fading="awgn")
    assert found.symbols <= 140
    symbols = codec.send(z, found.levels, None)
    assert codec.receive(symbols, torch.ones(len(symbols)), found.levels, (128, 128)).shape == (1, 128, 8, 8)


def test_gradients_reach_the_picture(codec: NTSCC) -> None:
    """A posterior sampler follows them through the same code."""
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    symbols = codec.send(codec.latent(x), np.full((4, 4), 6, np.int64), 10.0)
    symbols.abs()[3].backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0
