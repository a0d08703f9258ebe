"""The prior around a Wiener filter: what it starts at, and how it is measured."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from gencomm_cli.diffusion.schedule import linear
from gencomm_cli.diffusion.steps import noised
from gencomm_cli.methods.diffcom.pixel_prior import pixel_prior
from gencomm_cli.methods.diffcom.residual_prior import ResidualPrior, ResidualPriorConfig
from gencomm_cli.networks.residual_unet import from_blocks, to_blocks
from tests.support.presets import randomise

SMALL = ResidualPriorConfig((8, 8), (1, 1), 8, block=8)
ALPHA_BAR = linear()


def started() -> tuple[ResidualPrior, torch.Tensor, torch.Tensor]:
    """A prior at its start, images [8, 3, 64, 64] of Gaussian blocks, and their variances."""
    generator = torch.Generator().manual_seed(0)
    variances = torch.logspace(0, -4, 192)[:, None, None]
    images = from_blocks(variances.sqrt() * torch.randn(8, 192, 8, 8, generator=generator)) + 0.2
    prior = ResidualPrior(SMALL).eval().requires_grad_(False)
    prior.start_linear(images)
    return prior, images, variances


@pytest.mark.parametrize("t", [10, 200, 800])
def test_at_the_start_it_is_the_posterior_mean_of_gaussian_blocks(t: int) -> None:
    prior, images, variances = started()
    a = ALPHA_BAR[t].float()
    torch.manual_seed(0)
    made = prior(noised(images, a, torch.randn_like(images)), a.expand(8))
    expected = float((variances * (1 - a) / (variances * a + 1 - a)).sum()) / 192
    assert float((made - images).square().mean()) == pytest.approx(expected, rel=0.05)


def test_the_network_adds_in_units_of_the_error_and_knows_the_noise() -> None:
    prior, images, _ = started()
    linear_part = {t: prior(images, ALPHA_BAR[t].float().expand(8)) for t in (10, 200)}
    randomise(prior, 0)
    added = {t: prior(images, ALPHA_BAR[t].float().expand(8)) - linear_part[t] for t in (10, 200)}
    sizes = {t: float(one.square().mean().sqrt()) for t, one in added.items()}
    assert 0 < sizes[10] < 0.5 * sizes[200]
    assert not torch.allclose(to_blocks(added[10]) / sizes[10], to_blocks(added[200]) / sizes[200], atol=0.1)
    half = ResidualPrior(SMALL).to(torch.bfloat16)
    half.load_state_dict(prior.state_dict())
    both = [network(images, ALPHA_BAR[10].float().expand(8)) for network in (prior, half.requires_grad_(False))]
    torch.testing.assert_close(*both, atol=0.02, rtol=0)
    assert both[1].dtype == torch.float32


def test_as_a_prior_it_is_clamped_and_has_gradients() -> None:
    network, images, _ = started()
    randomise(network, 0)
    x = (5 * images).requires_grad_()
    x_0, v = pixel_prior(network, ALPHA_BAR)(x, 100)
    assert v is None
    assert float(x_0.detach().abs().max()) == 1.0
    (x_0.square().sum()).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_the_gain_on_wiener_filters_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start gains nothing on blocks; the filter of whole pictures is the better one where what is said is of whole pictures."""
    folder = Path(__file__).parents[3] / "examples"
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    script = runpy.run_path(str(folder / "prior_gain.py"), run_name="prior_gain")
    network, images, _ = started()
    ((noisy, blocks, _, prior, gain),) = script["gains"](pixel_prior(network, ALPHA_BAR), images, [200])
    assert prior == pytest.approx(blocks, abs=1e-3)
    assert blocks > noisy + 3
    assert gain <= 1e-3
    smooth = torch.nn.functional.interpolate(torch.randn(8, 3, 4, 4).clamp(-1, 1), (64, 64), mode="bicubic")
    ((_, blocks, whole, _, _),) = script["gains"](pixel_prior(network, ALPHA_BAR), smooth, [400])
    assert whole > blocks + 1
