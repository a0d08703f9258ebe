"""The paper's equations one by one: noise and its prediction, power, pairing, what every real gets, the gain, the sampler."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from gencomm_cli.channels.fading import draw_gain, draw_noise, transmit
from gencomm_cli.diffusion.cosine import amplitudes, log_snr
from gencomm_cli.methods.scsic import method as scsic_method
from gencomm_cli.methods.scsic.method import (
    GAIN,
    LIMIT,
    Target,
    clean_and_noise,
    denoising_error,
    guide,
    noised_at,
    sample,
    times,
    to_embedding,
    to_symbols,
)
from tests.support.docstrings import resolve_names
from tests.support.published import load


def test_the_forward_process_and_its_loss() -> None:
    """Eqs. 3 and 4 by hand, at a level for each sample: the power is 1 throughout, and the right prediction has no error."""
    x_0, epsilon = torch.randn(2, 3, 4, 50, 60, generator=torch.Generator().manual_seed(0))
    level = log_snr(torch.tensor([0.1, 0.5, 0.9]))
    x_t = noised_at(x_0, level, epsilon)
    for index, (a, b) in enumerate(zip(*amplitudes(level), strict=True)):
        torch.testing.assert_close(x_t[index], a * x_0[index] + b * epsilon[index])
    torch.testing.assert_close(x_t.square().mean((1, 2, 3)), torch.ones(3), atol=0.05, rtol=0)
    wrong = torch.zeros_like(epsilon)
    torch.testing.assert_close(denoising_error(wrong, x_0, epsilon, level, "epsilon"), epsilon.square().mean((1, 2, 3)))
    for target in ("epsilon", "v"):
        a, b = amplitudes(level.view(-1, 1, 1, 1))
        right = epsilon if target == "epsilon" else a * epsilon - b * x_0
        assert denoising_error(right, x_0, epsilon, level, target).abs().max() == 0  # type: ignore[arg-type]
        clean, noise = clean_and_noise(x_t, right, level.view(-1, 1, 1, 1), target)  # type: ignore[arg-type]
        torch.testing.assert_close(clean, x_0, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(noise, epsilon, atol=1e-4, rtol=1e-3)


def embedding(batch: int = 2, size: tuple[int, int] = (12, 12), scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(batch, 16, *size, generator=torch.Generator().manual_seed(0)) + 0.3


def test_unit_power_for_every_image_and_the_way_back() -> None:
    z = embedding() * torch.tensor([0.4, 3.0]).view(2, 1, 1, 1)
    symbols, gain = to_symbols(z)
    assert symbols.shape == (2, 16 * 144 // 2)
    torch.testing.assert_close(symbols.abs().square().mean(1), torch.ones(2))
    torch.testing.assert_close(gain, z.square().mean((1, 2, 3)).sqrt())
    torch.testing.assert_close(to_embedding(symbols, None, gain, 16, (12, 12)), z)


@pytest.mark.parametrize("snr_db", [1.0, 15.0])
def test_a_real_has_the_snr_of_its_symbol_and_awgn_passes_unscaled(snr_db: float) -> None:
    """Eqs. 5 and 6: Ẑ − Z is noise of variance P / SNR, with P the mean square of Z's reals, and independent of Z."""
    z, n0 = embedding(1, (96, 96), 1.7), 10 ** (-snr_db / 10)
    symbols, gain = to_symbols(z)
    noise = torch.from_numpy(draw_noise(symbols.shape[1], np.random.default_rng(0)))[None]
    epsilon = to_embedding(transmit(symbols, None, noise, n0), None, gain, 16, (96, 96)) - z  # type: ignore[type-var]
    power, variance = float(z.square().mean()), float(epsilon.square().mean())
    assert 10 * math.log10(power / variance) == pytest.approx(snr_db, abs=0.05)
    halves = epsilon.chunk(2, 1)
    assert float(halves[0].var() / halves[1].var()) == pytest.approx(1, abs=0.03)
    assert abs(float((epsilon * z).mean())) < 0.01 * power


def test_the_equaliser_is_unbiased_and_a_deep_fade_is_bounded() -> None:
    z = embedding(1)
    symbols, gain = to_symbols(z)
    rng = np.random.default_rng(3)
    fading = torch.from_numpy(draw_gain("rayleigh", symbols.shape[1], rng))[None]
    noise = torch.from_numpy(np.stack([draw_noise(symbols.shape[1], rng) for _ in range(400)]))
    received = transmit(symbols, fading, noise, 0.05)  # type: ignore[type-var]
    usable = (fading.abs() > 0.5).reshape(8, 12, 12)
    estimate = to_embedding(received, fading.expand_as(received), gain, 16, (12, 12)).mean(0)
    bias = (estimate - z[0]).chunk(2, 0)
    spread = float(gain) * math.sqrt(0.05 / 0.25 / 400)
    assert all(float(half[usable].abs().max()) < 6 * spread for half in bias)
    dead = to_embedding(torch.ones_like(symbols), torch.full_like(symbols, 1e-12), gain, 16, (12, 12))
    assert float(dead.abs().max()) == pytest.approx(LIMIT * float(gain))
    assert torch.isfinite(to_embedding(symbols, torch.zeros_like(symbols), gain, 16, (12, 12))).all()


def test_the_gain_in_five_bits() -> None:
    def received(gain: float) -> float:
        return GAIN.receive(GAIN.send(gain), None, 0.1) or 0.0

    for db in np.linspace(-6, 6, 50):
        gain = 10 ** (db / 20)
        assert abs(20 * math.log10(received(gain) / gain)) <= 0.2 + 1e-9
    assert received(1.0) == 1.0
    assert [received(1e-6), received(1e6)] == pytest.approx([10 ** (-6.4 / 20), 10 ** (6 / 20)])


@pytest.mark.parametrize(("run", "weight"), [("ddpm3", None), ("ddpm3_cfg", 1.5)])
def test_published_trajectories(run: str, weight: float | None) -> None:
    meta, vector = load("cascade_gdf_a")
    assert meta["runs"][run]["timesteps"] == 3
    condition, predictions = vector["cond"], list[Tensor]()

    def toy(x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        return 0.97 * x + 0.02 * torch.tanh(condition) + 0.01 * time.view(-1, 1, 1, 1)

    def predict(x: Tensor, time: Tensor) -> Tensor:
        made = toy(x, time, condition)
        predictions.append(made if weight is None else guide(made, toy(x, time, torch.zeros_like(condition)), weight, 0.7))
        return predictions[-1]

    for done in range(1, 4):  # a run that is cut short gives the x̂_0 of its last step
        x_0 = sample(vector["x_init"], times(3)[: done + 1], predict, vector["noise"].__getitem__)
        torch.testing.assert_close(x_0, vector[f"x0_{run}"][done - 1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(predictions[-1], vector[f"pred_{run}"][done - 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", ["epsilon", "v"])
def test_targets_say_the_same(target: Target) -> None:
    x_0, epsilon = torch.randn(2, 3, 4, 5, 6)
    for level in log_snr(torch.tensor([0.1, 0.5, 0.9])):
        a, b = amplitudes(level)
        predicted = epsilon if target == "epsilon" else a * epsilon - b * x_0
        clean, noise = clean_and_noise(a * x_0 + b * epsilon, predicted, level, target)
        torch.testing.assert_close(clean, x_0, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(noise, epsilon, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("target", ["epsilon", "v"])
@pytest.mark.parametrize("ancestral", [True, False])
def test_a_gaussian_prior_comes_out_with_its_mean_and_variance(target: Target, ancestral: bool) -> None:
    """Data N(m, d²) has x̂_0 = m + √ᾱ d² (x − √ᾱ m)/(ᾱ d² + 1 − ᾱ); many exact steps must give that distribution back."""
    mean, deviation = 0.7, 0.5
    generator = torch.Generator().manual_seed(0)
    grid = times(100)

    def predict(x: Tensor, time: Tensor) -> Tensor:
        a, b = amplitudes(log_snr(time[:1]))
        x_0 = mean + a * deviation**2 * (x - a * mean) / (a**2 * deviation**2 + b**2)
        epsilon = (x - a * x_0) / b
        return epsilon if target == "epsilon" else a * epsilon - b * x_0

    def draw(index: int) -> Tensor:
        return torch.randn(1, 1, 100, 100, generator=generator)

    x = sample(draw(-1), grid, predict, draw if ancestral else None, target=target)
    assert float(x.mean()) == pytest.approx(mean, abs=0.03)
    assert float(x.std()) == pytest.approx(deviation, abs=0.02)


def test_the_shift_the_progress_and_a_single_step() -> None:
    seen: list[float] = []
    calls: list[tuple[int, int]] = []

    def predict(x: Tensor, time: Tensor) -> Tensor:
        assert time.shape == (2,)
        seen.append(float(time[0]))
        return x

    x = torch.ones(2, 1, 2, 2)
    sample(x, times(4), predict, shift=2.0, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(later < earlier for earlier, later in pairwise(seen))
    assert seen[1] > 0.75  # a shifted schedule is noisier at the same time
    a, b = amplitudes(log_snr(torch.tensor(1.0)))
    torch.testing.assert_close(sample(x, times(1), lambda x, t: 0.5 * x), x * (1 - 0.5 * b) / a)


def test_guidance() -> None:
    conditional, unconditional = torch.randn(2, 1, 4, 8, 8)
    torch.testing.assert_close(guide(conditional, unconditional, 1.0), conditional)
    torch.testing.assert_close(guide(conditional, unconditional, 3.0, 0.0), unconditional + 3 * (conditional - unconditional))
    assert float(guide(conditional, unconditional, 3.0, 1.0).std()) == pytest.approx(float(conditional.std()), rel=1e-5)


def test_the_docstring_names_what_is_there() -> None:
    resolve_names(scsic_method)
