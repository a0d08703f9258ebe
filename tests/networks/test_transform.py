"""The transform and its hyperprior against the published program's numbers; the linear start against plain linear algebra."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gencomm_cli.networks.entropy import bits, gaussian_likelihood
from gencomm_cli.networks.transform import NonlinearTransform, TransformConfig
from tests.networks.test_conditional_unet import vectors

NANO = TransformConfig((8, 8, 8, 16), (True, True, True, False), (4, 8, 8, 8), (8, 8, 8), fold=2, kernel=3, coarse=True)


@torch.no_grad()
def test_published_numbers() -> None:
    found = vectors("compressor")
    transform = NonlinearTransform(TransformConfig((8, 16, 24, 32), context_widths=(8, 8, 16, 24), hyper_widths=(32, 32, 32)))
    transform.load_state_dict({key.removeprefix("sd."): value for key, value in found.items() if key.startswith("sd.")})

    def same(ours: Tensor, name: str, tolerance: float = 3e-5) -> None:
        torch.testing.assert_close(ours, found[f"out.{name}"], atol=tolerance, rtol=0)

    image = found["in.image"]
    z = transform.encode(image)
    y = transform.hyper_encode(z)
    same(z, "latent")
    same(y, "hyper_latent")
    y = transform.round_hyper(y)
    mean, scale = transform.hyper_decode(y)
    same(y, "q_hyper_latent")
    same(mean, "mean")
    same(scale, "scale")
    rounded = torch.round(z - mean) + mean
    likelihoods = gaussian_likelihood(rounded, mean, scale), transform.prior.likelihood(y)
    same(rounded, "q_latent")
    same(likelihoods[0], "latent_likelihood")
    same(likelihoods[1], "hyper_likelihood")
    same(torch.sigmoid(transform.prior(found["in.prior_grid"])), "prior_cdf")
    same(transform.prior.likelihood(found["in.prior_grid"]), "prior_likelihood")
    rate = torch.stack([bits(part).sum() for part in likelihoods]).sum() / image[0, 0].numel()
    assert rate == pytest.approx(float(found["out.bpp"]), rel=1e-5)
    for level, context in enumerate(transform.contexts(rounded)):
        same(context, f"context{level}", 2e-4)


def test_sizes() -> None:
    transform = NonlinearTransform(NANO)
    assert (NANO.factor, NANO.multiple) == (16, 64)
    z = transform.encode(torch.rand(2, 3, 64, 128))
    assert z.shape == (2, 16, 4, 8)
    assert transform.information(z).shape == (2, 4, 8)
    contexts = transform.contexts(z)
    assert [tuple(context.shape[1:]) for context in contexts] == [(4, 32, 64), (8, 16, 32), (8, 8, 16), (8, 4, 8)]
    assert transform.image(z, contexts).shape == (2, 3, 64, 128)
    assert TransformConfig().factor == 16


def test_linear_start_is_the_klt() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(768, 20, generator=generator) * torch.linspace(2, 0.1, 20)
    blocks = (torch.randn(500, 20, generator=generator) @ basis.T) * 0.05 + 0.1
    mean, covariance = blocks.double().mean(0), blocks.double().T.cov()
    transform = NonlinearTransform(NANO)
    transform.start_linear(mean, covariance, step=0.25)
    image = blocks[:16].view(4, 4, 3, 16, 16).permute(2, 0, 3, 1, 4).reshape(1, 3, 64, 64)
    with torch.no_grad():
        z = transform.encode(image)
        back = transform.image(z, transform.contexts(z))
    values, vectors_ = torch.linalg.eigh(covariance)
    top = vectors_[:, -16:]
    centred = blocks[:16].double() - mean
    channel_mean = mean.view(3, 256).mean(1).repeat_interleave(256)
    expected = (centred @ top @ top.T + channel_mean).float().view(4, 4, 3, 16, 16).permute(2, 0, 3, 1, 4).reshape(1, 3, 64, 64)
    torch.testing.assert_close(back, expected, atol=2e-3, rtol=0)
    power = z[0].flatten(1).square().mean(1)
    assert power[0] > power[-1]
    assert (centred @ top[:, -1] / 0.25).abs().float().sort().values == pytest.approx(
        z[0, 0].flatten().abs().sort().values, abs=1e-3
    )
    with torch.no_grad():
        _, scale = transform.hyper_decode(transform.round_hyper(transform.hyper_encode(z)))
    assert float(scale[0, 0, 0, 0]) == pytest.approx(float(values[-1].sqrt() / 0.25), rel=1e-4)
