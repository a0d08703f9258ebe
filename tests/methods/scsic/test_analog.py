"""Analog transmission: power, pairing, the noise that every real gets, the gain."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gencomm_cli.channels.fading import draw_gain, draw_noise, transmit
from gencomm_cli.methods.scsic.analog import LIMIT, denormalise, gain_index, gain_of, normalise, pairs, unpairs


def embedding(batch: int = 2, size: tuple[int, int] = (12, 12), scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(batch, 16, *size, generator=torch.Generator().manual_seed(0)) + 0.3


def test_unit_power_for_every_image_and_the_way_back() -> None:
    z = embedding() * torch.tensor([0.4, 3.0]).view(2, 1, 1, 1)
    symbols, gain = normalise(z)
    assert symbols.shape == (2, 16 * 144 // 2)
    torch.testing.assert_close(symbols.abs().square().mean(1), torch.ones(2))
    torch.testing.assert_close(gain, z.square().mean((1, 2, 3)).sqrt())
    torch.testing.assert_close(denormalise(symbols, None, gain, 16, (12, 12)), z)
    torch.testing.assert_close(unpairs(pairs(z), 16, (12, 12)), z, rtol=0, atol=0)


@pytest.mark.parametrize("snr_db", [1.0, 15.0])
def test_a_real_has_the_snr_of_its_symbol_and_awgn_passes_unscaled(snr_db: float) -> None:
    """Eqs. 5 and 6: Ẑ − Z is noise of variance P / SNR, with P the mean square of Z's reals, and independent of Z."""
    z, n0 = embedding(1, (96, 96), 1.7), 10 ** (-snr_db / 10)
    symbols, gain = normalise(z)
    noise = torch.from_numpy(draw_noise(symbols.shape[1], np.random.default_rng(0)))[None]
    epsilon = denormalise(transmit(symbols, None, noise, n0), None, gain, 16, (96, 96)) - z  # type: ignore[type-var]
    power, variance = float(z.square().mean()), float(epsilon.square().mean())
    assert 10 * math.log10(power / variance) == pytest.approx(snr_db, abs=0.05)
    halves = epsilon.chunk(2, 1)
    assert float(halves[0].var() / halves[1].var()) == pytest.approx(1, abs=0.03)
    assert abs(float((epsilon * z).mean())) < 0.01 * power


def test_the_equaliser_is_unbiased_and_a_deep_fade_is_bounded() -> None:
    z = embedding(1)
    symbols, gain = normalise(z)
    rng = np.random.default_rng(3)
    fading = torch.from_numpy(draw_gain("rayleigh", symbols.shape[1], rng))[None]
    noise = torch.from_numpy(np.stack([draw_noise(symbols.shape[1], rng) for _ in range(400)]))
    received = transmit(symbols, fading, noise, 0.05)  # type: ignore[type-var]
    usable = (fading.abs() > 0.5).reshape(8, 12, 12)
    estimate = denormalise(received, fading.expand_as(received), gain, 16, (12, 12)).mean(0)
    bias = (estimate - z[0]).chunk(2, 0)
    spread = float(gain) * math.sqrt(0.05 / 0.25 / 400)
    assert all(float(half[usable].abs().max()) < 6 * spread for half in bias)
    dead = denormalise(torch.ones_like(symbols), torch.full_like(symbols, 1e-12), gain, 16, (12, 12))
    assert float(dead.abs().max()) == pytest.approx(LIMIT * float(gain))
    assert torch.isfinite(denormalise(symbols, torch.zeros_like(symbols), gain, 16, (12, 12))).all()


def test_the_gain_in_five_bits() -> None:
    for db in np.linspace(-6, 6, 50):
        gain = 10 ** (db / 20)
        assert abs(20 * math.log10(gain_of(gain_index(gain)) / gain)) <= 0.2 + 1e-9
    assert gain_of(None) == gain_of(gain_index(1.0)) == 1.0
    assert [gain_index(1e-6), gain_index(1e6)] == [0, 31]
