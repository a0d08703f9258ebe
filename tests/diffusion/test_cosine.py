"""The cosine schedule against the published program's numbers."""

from __future__ import annotations

import math

import pytest
import torch

from gencomm_cli.diffusion.cosine import STEPS, alpha_bar_at, amplitudes, cosine_alpha_bar, cosine_time, log_snr, time_of
from tests.networks.test_conditional_unet import vectors
from tests.support.published import load


def test_published_levels() -> None:
    _, vector = load("cascade_gdf_a")
    t, level = vector["t"], vector["logSNR_shift1"]
    for shift in ("1", "2", "0.5"):
        torch.testing.assert_close(log_snr(t, float(shift)), vector[f"logSNR_shift{shift}"], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(amplitudes(level), ("vp_a", "vp_b"), strict=True):
        torch.testing.assert_close(ours, vector[theirs], rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(time_of(level), vector["noise_cond"], rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(log_snr(torch.tensor([1.0, 0.0])), vector["limits"].float(), rtol=1e-5, atol=0)
    torch.testing.assert_close(time_of(log_snr(t))[1:-1], t[1:-1], rtol=1e-7, atol=2e-5)  # the ends are clamped


@pytest.mark.parametrize("steps", [8193, 20000, 1000])
def test_published_schedule(steps: int) -> None:
    found, bar = vectors("schedule"), cosine_alpha_bar(steps).float()
    torch.testing.assert_close(bar[::257], found[f"alphas_cumprod.T{steps}.every257"], rtol=1e-6, atol=0)
    torch.testing.assert_close(bar[-5:], found[f"alphas_cumprod.T{steps}.last5"], rtol=1e-6, atol=0)


def test_closed_form_follows_the_product() -> None:
    times = torch.arange(STEPS) / STEPS
    torch.testing.assert_close(alpha_bar_at(times), cosine_alpha_bar(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("time", [0.0, 0.1, 0.5, 0.99])
def test_the_time_of_a_noise_level(time: float) -> None:
    level = float(alpha_bar_at(torch.tensor([time - 1 / STEPS], dtype=torch.float64)))
    assert cosine_time(level) == pytest.approx(time, abs=1e-9)


@pytest.mark.parametrize("s", [0.008, 0.02])
def test_levels_of_another_s(s: float) -> None:
    """Against ᾱ = (cos²((t + s)/(1 + s) · π/2) / cos²(s/(1 + s) · π/2)) in float64."""
    t = torch.linspace(0.05, 0.9, 18, dtype=torch.float64)
    alpha_bar = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2 / math.cos(s / (1 + s) * math.pi / 2) ** 2
    level = log_snr(t, s=s)
    torch.testing.assert_close(level, (alpha_bar / (1 - alpha_bar)).log())
    torch.testing.assert_close(time_of(level, s), t)
