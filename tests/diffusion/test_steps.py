"""Reverse steps against diffusers' schedulers."""

from __future__ import annotations

import pytest
import torch
from diffusers.schedulers import DDIMScheduler, DDPMScheduler

from gencomm_cli.diffusion.schedule import linear
from gencomm_cli.diffusion.steps import AncestralStep, ddim_step, min_snr_weight, noised, signal_to_noise

ALPHA_BAR = linear()
X, X_0 = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def test_the_linear_schedule_is_ddpms() -> None:
    scheduler = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02)
    torch.testing.assert_close(ALPHA_BAR[1:].float(), scheduler.alphas_cumprod, rtol=2e-4, atol=0)
    torch.testing.assert_close(signal_to_noise(ALPHA_BAR[1:]) * (1 - ALPHA_BAR[1:]), ALPHA_BAR[1:])


def test_min_snr_weights_in_closed_form() -> None:
    a = torch.tensor([0.99, 0.9, 5 / 6, 0.8, 0.01], dtype=torch.float64)
    expected = torch.tensor([5 / 99, 5 / 9, 1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(min_snr_weight(a), expected)
    torch.testing.assert_close(min_snr_weight(a, 1.0), torch.tensor([1 / 99, 1 / 9, 0.2, 0.25, 1.0], dtype=torch.float64))
    assert bool((min_snr_weight(a, float("inf")) == 1).all())
    x_0, noise, t = X_0.double(), X.double(), 300  # the error of ẑ_0 counts min(SNR, γ) times
    a_t = ALPHA_BAR[t]
    z_t, guess = noised(x_0, float(a_t), noise), noise + 0.1
    of_x_0 = ((z_t - (1 - a_t).sqrt() * guess) / a_t.sqrt() - x_0).square().mean()
    torch.testing.assert_close(min_snr_weight(a_t) * (guess - noise).square().mean(), signal_to_noise(a_t).clamp_max(5) * of_x_0)


@pytest.mark.parametrize("t", [1, 40, 1000])
def test_noise_takes_its_share(t: int) -> None:
    a = float(ALPHA_BAR[t])
    scheduler = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02)
    expected = scheduler.add_noise(X_0, X, torch.tensor([t - 1]))
    torch.testing.assert_close(noised(X_0, a, X), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_ddim(index: int) -> None:
    scheduler = DDIMScheduler(1000, beta_start=1e-4, beta_end=0.02, prediction_type="sample", clip_sample=False)
    scheduler.set_timesteps(5)
    t, s = (int(each) for each in scheduler.timesteps[index : index + 2])
    expected = scheduler.step(X_0, t, X, eta=0.0).prev_sample
    found = ddim_step(X, X_0, float(ALPHA_BAR[t + 1]), float(ALPHA_BAR[s + 1]))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_the_ancestral_step_over_left_out_steps(index: int) -> None:
    scheduler = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, prediction_type="sample", clip_sample=False)
    scheduler.set_timesteps(5)
    t, s = (int(each) for each in scheduler.timesteps[index : index + 2])
    step = AncestralStep(float(ALPHA_BAR[t + 1]), float(ALPHA_BAR[s + 1]))
    noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(3))
    expected = scheduler.step(X_0, t, X, generator=torch.Generator().manual_seed(3)).prev_sample
    found = step.mean(X, X_0) + step.deviation(None) * noise
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    assert step.deviation(torch.zeros(1)) == pytest.approx(step.variance**0.5)
    assert step.deviation(torch.ones(1)) == pytest.approx(step.beta**0.5)
