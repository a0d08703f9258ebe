"""Likelihoods are probabilities: they sum to one, and are what the cumulative functions say."""

from __future__ import annotations

import math

import pytest
import torch

from gencomm_cli.networks.entropy import LEAST, FactorisedPrior, bits, gaussian_likelihood, lower_bound, noisy
from gencomm_cli.networks.transform import Hyperprior


@pytest.mark.parametrize("offset", [0.0, 0.3, -0.49])
@pytest.mark.parametrize("scale", [0.1, 1.0, 7.5])
def test_gaussian_likelihoods_sum_to_one(offset: float, scale: float) -> None:
    z = torch.arange(-200, 201, dtype=torch.float64) + offset
    total = gaussian_likelihood(z, torch.tensor(0.2), torch.tensor(scale)).sum()
    assert total == pytest.approx(1, abs=401 * LEAST + 1e-12)


def test_gaussian_likelihood_is_a_difference_of_cumulative_functions() -> None:
    z, mean, scale = torch.randn(3, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scale = scale.exp() + 0.1
    normal = torch.distributions.Normal(mean, scale)
    expected = normal.cdf(z + 0.5) - normal.cdf(z - 0.5)
    torch.testing.assert_close(gaussian_likelihood(z, mean, scale), expected.clamp_min(LEAST), rtol=1e-7, atol=1e-14)


def test_far_tails_keep_their_digits() -> None:
    p = gaussian_likelihood(torch.tensor([5.0], dtype=torch.float64), torch.zeros(1), torch.ones(1))
    assert float(p) == pytest.approx(0.5 * (math.erfc(4.5 / 2**0.5) - math.erfc(5.5 / 2**0.5)), rel=1e-12)
    assert float(gaussian_likelihood(torch.tensor([1e4]), torch.zeros(1), torch.ones(1))) == pytest.approx(LEAST)


def test_gaussian_density_convolved_with_a_uniform_one() -> None:
    """Eq. 2 by numerical integration."""
    u = torch.linspace(-0.5, 0.5, 100_001, dtype=torch.float64)
    density = torch.exp(-((0.8 - u - 0.1) ** 2) / (2 * 0.3**2)) / (0.3 * math.sqrt(2 * math.pi))
    p = gaussian_likelihood(*torch.tensor([0.8, 0.1, 0.3], dtype=torch.float64))
    assert float(p) == pytest.approx(float(torch.trapezoid(density, u)), rel=1e-8)


def prior() -> FactorisedPrior:
    torch.manual_seed(3)
    found = FactorisedPrior(4)
    for factors in found.a:
        torch.nn.init.normal_(factors)
    return found.double().requires_grad_(False)


def test_factorised_prior_is_a_distribution() -> None:
    found = prior()
    y = torch.arange(-400, 401, dtype=torch.float64).view(1, 1, 1, -1).expand(1, 4, 1, -1) + 0.2
    cumulative = torch.sigmoid(found(y))
    assert (cumulative.diff(dim=-1) >= 0).all()
    likelihood = found.likelihood(y)
    torch.testing.assert_close(likelihood.sum(-1), torch.ones(1, 4, 1, dtype=torch.float64), atol=1e-5, rtol=0)
    step = torch.sigmoid(found(y + 0.5)) - torch.sigmoid(found(y - 0.5))
    torch.testing.assert_close(likelihood, step.clamp_min(LEAST), atol=1e-12, rtol=1e-5)


def test_medians_are_found() -> None:
    found = prior()
    found.medians.requires_grad_(True)
    optimizer = torch.optim.Adam([found.medians], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        found.median_loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert torch.sigmoid(found(found.medians)).sub(0.5).abs().max() < 0.02
    assert all(parameter.grad is None for name, parameter in found.named_parameters() if name != "_medians")


def test_lower_bound_lets_what_is_too_small_grow() -> None:
    x = torch.tensor([0.5, -1.0, -1.0], requires_grad=True)
    lower_bound(x, 0.0).mul(torch.tensor([1.0, 1.0, -1.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0, -1.0]  # −1 would fall further, unless the gradient raises it


def test_rounding_and_its_stand_in() -> None:
    z, transform = torch.rand(1, 4, 10, 25) * 8 - 4, Hyperprior(4, (4, 4, 4))
    torch.nn.init.constant_(transform.prior.medians, 0.3)
    assert (noisy(z) - z).abs().max() <= 0.5
    assert noisy(z).sub(z).var() == pytest.approx(1 / 12, rel=0.15)
    rounded = transform.round_hyper(z)
    assert (rounded - 0.3 - (rounded - 0.3).round()).abs().max() < 1e-5
    assert (rounded - z).abs().max() <= 0.5 + 1e-6
    assert bits(torch.tensor(0.25)) == 2
