"""Residual diffusion against the paper's equations in float64 and against an analytic Gaussian."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from gencomm_cli.diffusion.schedule import sampling_steps, scaled_linear
from gencomm_cli.diffusion.steps import noised
from gencomm_cli.methods.textguided.method import (
    StartTable,
    clean_from_noise,
    clean_from_u,
    ddim_step,
    diffuse,
    diffusion_loss,
    residual_weight,
    sample,
)

ALPHA_BAR = scaled_linear()
START = 500


def fields(count: int = 3) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(2, 4, 6, 6, dtype=torch.float64) for _ in range(count))


def test_the_papers_starts_and_their_clamps() -> None:
    table = StartTable()
    assert [table(cbr) for cbr in (0.0020, 0.0033, 0.0059, 0.011)] == [600, 500, 400, 300]
    assert table(0.0001) == 600
    assert table(0.5) == 300
    assert 500 < table((0.0020 * 0.0033) ** 0.5) < 600


def test_a_start_table_over_snr_interpolates_both_ways() -> None:
    table = StartTable(cbr=(0.001, 0.01), snr_db=(0.0, 10.0), steps=((600, 400), (300, 100)))
    assert table(0.001, 5) == 500
    assert table(0.01, 20) == 100
    assert table(10**-2.5, 5) == 350


@pytest.mark.parametrize("t", [1, 100, 400, 500])
def test_both_forms_of_eq_7(t: int) -> None:
    z_0, z_c, noise = fields()
    z_t, u = diffuse(z_0, z_c, noise, torch.tensor([t, t]), torch.tensor([START, START]), ALPHA_BAR)
    a, gamma = ALPHA_BAR[t], residual_weight(ALPHA_BAR, START)
    kappa = a.sqrt() - (1 - a).sqrt() * gamma
    assert torch.allclose(z_t, a.sqrt() * z_c + kappa * (z_0 - z_c) + (1 - a).sqrt() * noise)
    assert torch.allclose(clean_from_u(z_t, u, a), z_0)
    if t < START:
        assert torch.allclose(clean_from_noise(z_t, z_c, noise, a, gamma), z_0)
    else:
        assert float(kappa) == pytest.approx(0, abs=1e-12)  # the state at N_s holds no z_0: it is eq. 5
        assert torch.allclose(z_t, noised(z_c, a, noise))
    assert float(diffusion_loss(u, noise)) == pytest.approx(float(gamma**2 * (z_c - z_0).square().mean()))


def test_a_step_keeps_the_marginal_of_eq_7() -> None:
    """With the true ẑ_0 a DDIM step carries z_t to z_t' of eq. 7 with the same noise: a, b solve the system (12)."""
    z_0, z_c, noise = fields()
    starts = torch.tensor([START, START])
    here, there = (diffuse(z_0, z_c, noise, torch.tensor([t, t]), starts, ALPHA_BAR)[0] for t in (300, 200))
    assert torch.allclose(ddim_step(here, z_0, ALPHA_BAR[300], ALPHA_BAR[200]), there)
    assert torch.allclose(ddim_step(here, z_0, ALPHA_BAR[300], ALPHA_BAR[0]), z_0)


@pytest.mark.parametrize("parameterization", ["u", "paper"])
@pytest.mark.parametrize("spacing", ["uniform", "quadratic"])
def test_an_oracle_network_recovers_the_source(
    parameterization: Literal["u", "paper"], spacing: Literal["uniform", "quadratic"]
) -> None:
    z_0, z_c, noise = fields()
    gamma = residual_weight(ALPHA_BAR, START)

    def oracle(z: Tensor, t: int) -> Tensor:
        u = (z - ALPHA_BAR[t].sqrt() * z_0) / (1 - ALPHA_BAR[t]).sqrt()
        return u if parameterization == "u" else u - gamma * (z_c - z_0)

    out = sample(z_c, noise, sampling_steps(START, 5, spacing), ALPHA_BAR, oracle, parameterization=parameterization)
    assert torch.allclose(out, z_0, atol=1e-9)


def test_a_shorter_grid_ends_in_the_state_of_its_last_step() -> None:
    z_0, z_c, noise = fields()
    starts = torch.tensor([START, START])

    def oracle(z: Tensor, t: int) -> Tensor:
        return (z - ALPHA_BAR[t].sqrt() * z_0) / (1 - ALPHA_BAR[t]).sqrt()

    grid = sampling_steps(START, 5)
    for stop in range(5):
        expected, _ = diffuse(z_0, z_c, noise, torch.tensor([grid[stop]] * 2), starts, ALPHA_BAR)
        assert torch.allclose(sample(z_c, noise, grid[: stop + 1], ALPHA_BAR, oracle), expected)


def test_the_gradient_reaches_through_every_step() -> None:
    """DDIM is linear in the predictions: z̃_0 = z_Ns/√ᾱ_Ns − Σ_i û_i (σ_i/√ᾱ_i − σ_{i+1}/√ᾱ_{i+1}), whatever they are."""
    z_0, z_c, noise = fields()
    grid = sampling_steps(START, 5)
    shifts = torch.zeros(5, dtype=z_0.dtype, requires_grad=True)
    out = sample(z_c, noise, grid, ALPHA_BAR, lambda z, t: torch.ones_like(z) * shifts[grid.index(t)])
    (gradient,) = torch.autograd.grad(out[0, 0, 0, 0], shifts)
    ratio = ((1 - ALPHA_BAR) / ALPHA_BAR).sqrt()[torch.tensor(grid)]
    assert torch.allclose(gradient, ratio[1:] - ratio[:-1], atol=1e-9)


def test_many_steps_sample_an_analytic_gaussian() -> None:
    """z_0 ~ N(m, s²) with z_c = m known exactly: E[u | z_t] is affine, so the sampler's law is known and tends to the true one."""
    mean, deviation = 0.7, 0.5
    torch.manual_seed(1)
    z_c, noise = torch.full((1, 1, 300, 300), mean, dtype=torch.float64), torch.randn(1, 1, 300, 300, dtype=torch.float64)

    def posterior(z: Tensor, t: int) -> Tensor:
        a = ALPHA_BAR[t]
        clean = mean + deviation**2 * a.sqrt() / (a * deviation**2 + 1 - a) * (z - a.sqrt() * mean)
        return (z - a.sqrt() * clean) / (1 - a).sqrt()

    def spread(count: int, spacing: Literal["uniform", "quadratic"]) -> float:
        out = sample(z_c, noise, sampling_steps(START, count, spacing), ALPHA_BAR, posterior)
        assert float(out.mean()) == pytest.approx(mean, abs=0.01)
        return float(out.std())

    # The start has variance 1 − ᾱ in place of 1 − ᾱ + ᾱ s²: what the flow preserves of that is the limit for many steps.
    a = float(ALPHA_BAR[START])
    limit = deviation * math.sqrt((1 - a) / (1 - a + a * deviation**2))
    assert spread(START, "uniform") == pytest.approx(limit, rel=0.01)
    assert spread(5, "uniform") < spread(5, "quadratic") < limit * 1.001  # few uniform steps are under-dispersed


def test_guidance_mixes_the_clean_estimates() -> None:
    z_c, noise, other = fields()
    steps = sampling_steps(START, 1)

    def conditional(z: Tensor, t: int) -> Tensor:
        return z * 0.1

    def unconditional(z: Tensor, t: int) -> Tensor:
        return other

    def run(guidance: float) -> Tensor:
        return sample(z_c, noise, steps, ALPHA_BAR, conditional, unconditional, guidance=guidance)

    assert torch.allclose(run(3.0), run(0.0) + 3 * (run(1.0) - run(0.0)))
    a = ALPHA_BAR[START]
    z = a.sqrt() * z_c + (1 - a).sqrt() * noise
    assert torch.allclose(run(0.0), clean_from_u(z, other, a))
