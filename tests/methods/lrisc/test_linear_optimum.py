"""LRISC around its linear optimum: what it starts at, what its sampler adds, and that a picture crosses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gencomm_cli import presets
from gencomm_cli.diffusion.cosine import cosine_alpha_bar
from gencomm_cli.methods.base import Request
from gencomm_cli.methods.lrisc.method import LRISC, sample, visited
from gencomm_cli.methods.lrisc.options import Receiver, Transmitter
from gencomm_cli.methods.lrisc.train import draw_levels, fit_variances, through_channel
from gencomm_cli.networks.klt_latent import KLTLatentConfig, KLTLatentJSCC
from gencomm_cli.networks.linear_code import pilots, pilots_for
from gencomm_cli.networks.ntscc_codec import NTSCC
from gencomm_cli.networks.rate_allocation import RATES
from gencomm_cli.networks.residual_unet import ResidualUNet, ResidualUNetConfig, from_blocks, to_blocks
from gencomm_cli.training.channel import ChannelDraw, awgn
from tests.methods.lrisc.test_method import CPU, PHOTO, over, psnr
from tests.support.presets import RESIDUAL_LRISC, linear_lrisc, make_lrisc, scenes

__all__ = ["make_lrisc"]

SPREAD = torch.logspace(1, -1, 128)


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return linear_lrisc(RESIDUAL_LRISC)


@pytest.fixture(scope="module")
def lrisc(make_lrisc: Callable[..., Path]) -> LRISC:
    return LRISC.load(presets.load_config(make_lrisc(RESIDUAL_LRISC, spacing={"power": 2.0, "last": 0.02})), CPU)


def linear_code() -> KLTLatentJSCC:
    torch.manual_seed(0)
    code = KLTLatentJSCC(KLTLatentConfig(width=16, depth=1, heads=2, snr_width=8)).eval().requires_grad_(False)
    code.start_linear(SPREAD)
    return code


@torch.no_grad()
def test_the_transform_starts_at_the_principal_components(parts: dict[str, Any]) -> None:
    transform, pictures = parts["transform"], torch.from_numpy(scenes(64)).permute(0, 3, 1, 2).float() / 127.5 - 1
    z = transform.encode(pictures)
    out = transform.image(z, transform.contexts(z))
    blocks = pictures.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 256)
    rows = (blocks - blocks.mean((0, 2), keepdim=True)).flatten(1).double()
    values = torch.linalg.eigvalsh(rows.T @ rows / len(rows)).flip(0)
    assert float((out - pictures).square().mean()) == pytest.approx(float(values[128:].sum()) / 768, rel=0.05)
    assert transform.scale[0] > transform.scale[-1]


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
@torch.no_grad()
def test_the_code_starts_at_the_linear_bound(snr_db: float) -> None:
    """Lee & Petersen's error of Gaussian channels, 16 reals for each of very many embeddings."""
    code, levels = linear_code(), torch.full((2, 32, 32), 6)
    z = torch.randn(2, 128, 32, 32, generator=torch.Generator().manual_seed(1)) * SPREAD[:, None, None]
    received = through_channel(code, z, levels, levels, awgn(2, snr_db, CPU))
    nu, lam = 0.5 * 10 ** (-snr_db / 10), SPREAD[:16].square().double()
    best = min(  # over how many channels have power: p = c √λ − ν, Σ p = 8
        float((lam[:used].sqrt().sum().square() * nu / (8 + used * nu)) + lam[used:].sum()) for used in range(1, 17)
    )
    expected = best + float(SPREAD[16:].square().sum())
    error = (received[:, :128] - z).square().sum(1).mean()
    assert float(error) == pytest.approx(expected, rel=0.05)
    assert float(received[:, 128:].square().sum(1).mean()) == pytest.approx(expected, rel=0.05)  # the code knows its error


@torch.no_grad()
def test_contrast_arrives() -> None:
    """A picture of half the contrast is sent as large as others; pilots say so."""
    code, levels = linear_code(), torch.full((2, 16, 16), 6)
    z = torch.randn(1, 128, 16, 16).expand(2, -1, -1, -1) * SPREAD[:, None, None] * torch.tensor([1.0, 0.5])[:, None, None, None]
    still = ChannelDraw(torch.full((2,), 60.0), torch.full((2,), 10.0), torch.zeros(2, dtype=torch.int64))
    received = through_channel(code, z, levels, levels, still)
    torch.testing.assert_close(received[:, :8], z[:, :8], atol=0.2, rtol=0.02)


@torch.no_grad()
def test_what_is_sent_over_the_air_is_what_training_sends(parts: dict[str, Any]) -> None:
    codec = NTSCC(parts["transform"], parts["jscc"], parts["rates"]).eval()
    z = torch.randn(1, 128, 8, 8) * SPREAD[:, None, None]
    levels = torch.randint(0, len(RATES), (1, 8, 8), generator=torch.Generator().manual_seed(0))
    sent = codec.send(z, levels[0].numpy(), 10.0)
    assert float(sent.abs().square().mean()) == pytest.approx(1, rel=1e-4)
    count = int(torch.tensor(RATES)[levels].sum())
    assert len(sent) == count + int(pilots_for(torch.tensor(count)))
    own = codec.receive(sent, torch.full(sent.shape, 0.999999), levels[0].numpy(), (128, 128), 10.0)
    still = ChannelDraw(torch.tensor([60.0]), torch.tensor([10.0]), torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(own, through_channel(parts["jscc"], z, levels, levels, still), atol=0.1, rtol=0.02)


def test_gradients_reach_the_picture_and_back(parts: dict[str, Any]) -> None:
    """A posterior sampler (DiffCom's) follows them through both ends."""
    codec, levels = NTSCC(parts["transform"], parts["jscc"], parts["rates"]).eval(), np.full((4, 4), 6, np.int64)
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    sent = codec.send(codec.latent(x), levels, 10.0)
    received = codec.receive(0.9 * sent, torch.full(sent.shape, 0.9), levels, (64, 64), 10.0)
    (codec.coarse(received)[0] - 1).square().mean().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    assert float(x.grad.abs().sum()) > 0


def test_pilots_are_as_many_at_both_ends() -> None:
    for code in range(3000):
        assert pilots(code + int(pilots_for(torch.tensor(code)))) == int(pilots_for(torch.tensor(code)))


def test_variances_follow_the_rates() -> None:
    """Embeddings with twice the amplitude get more symbols, and are expected to be larger at both ends."""
    code, generator = linear_code().requires_grad_(True), torch.Generator().manual_seed(0)
    loud = (torch.rand(64, 1, 4, 4, generator=generator) < 0.5).float() + 0.5
    z = torch.randn(64, 128, 4, 4, generator=generator) * SPREAD[:, None, None] * loud
    information = 20 + 200 * loud[:, 0]
    fit_variances(code, z, information)
    levels, _ = draw_levels(information, 8, np.random.default_rng(5))
    many = levels.flatten(1) > levels.flatten(1).double().mean(1, keepdim=True)
    spread = code.spread(levels, 8).detach()[..., 20]
    adaptive = (levels.view(8, -1).max(1).values - levels.view(8, -1).min(1).values > 1).repeat_interleave(8)
    assert float(spread[adaptive][many[adaptive]].mean() / spread[adaptive][~many[adaptive]].mean()) > 1.5


def gaussian_unet(variances: torch.Tensor) -> ResidualUNet:
    unet = ResidualUNet(ResidualUNetConfig((8, 8, 8), (1, 1, 1), (8, 8, 8, 8), 8)).eval().requires_grad_(False)
    unet.log_variances.bias.copy_(variances.log())  # type: ignore[union-attr]
    return unet


def test_blocks_are_orthonormal() -> None:
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(from_blocks(to_blocks(x)), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(to_blocks(x).square().sum(), x.square().sum())


def test_more_steps_add_what_is_missing_and_no_white_noise() -> None:
    """At the start the sampler ends in the coarse picture after one step, and in a sample of the Gaussian after many: coloured as
    what is missing is, not white."""
    variances = torch.full((192,), 1e-6)
    variances[1:20] = 0.04  # of brightness, at low frequencies
    unet, coarse = gaussian_unet(variances), torch.zeros(4, 3, 64, 64)
    contexts = [torch.zeros(4, 8, 32 >> level, 32 >> level) for level in range(4)]

    def made(steps: int) -> torch.Tensor:
        noise = torch.randn(coarse.shape, generator=torch.Generator().manual_seed(0))
        visit = visited(steps, power=2.0, last=0.02)
        predict = lambda x, time: unet(x, torch.full((4,), time), contexts, coarse)  # noqa: E731
        return to_blocks(sample(noise, visit, cosine_alpha_bar(), predict)).square().mean((0, 2, 3))

    one, five, many = made(1), made(5), made(40)
    assert float(one.sum()) < 0.01 * float(variances.sum())
    for power, least in ((five, 0.3), (many, 0.8)):
        assert least < float(power[1:20].mean()) / 0.04 < 1.2
        assert float(power[20:].sum()) < 0.01 * float(power[1:20].sum())


def test_what_is_missing_is_learnt_from_the_contexts() -> None:
    unet = gaussian_unet(torch.full((192,), 0.1)).requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(unet.parameters(), 5e-2)
    for _ in range(100):
        loud = (torch.rand(16, 1, 4, 4, generator=generator) < 0.5).float()
        contexts = [torch.zeros(16, 8, 16, 16), torch.zeros(16, 8, 8, 8), loud.expand(-1, 8, -1, -1)]
        residual = from_blocks(torch.randn(16, 192, 4, 4, generator=generator) * (0.1 + 0.4 * loud))
        optimizer.zero_grad()
        unet.surprise(residual, contexts).backward()
        optimizer.step()
    found = unet.variances([*contexts[:2], torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 8, 1, 1)]).detach()
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.tensor([0.01, 0.25]), rtol=0.2, atol=0)
    assert all(parameter.grad is None for name, parameter in unet.named_parameters() if not name.startswith("log_variances"))


@pytest.mark.parametrize("kind", ["awgn", "rayleigh", "block"])
def test_a_picture_crosses(lrisc: LRISC, kind: str) -> None:
    sent = lrisc.encode(PHOTO, Request(1500, 20.0, "awgn" if kind == "awgn" else "rayleigh", Transmitter()))
    assert sent.side is not None
    assert sent.symbols.size + sent.side_symbols.size <= 1500
    received = dataclasses.replace(over(sent, 0.01, kind, seed=2), tx_snr_db=20.0)
    decoded = lrisc.decode(received, Receiver(samples=2), seed=0)
    assert decoded.side_ok is True
    assert psnr(decoded.coarse) > 25
    assert psnr(decoded.refined[0]) > 22
    assert not np.array_equal(decoded.refined[0], decoded.refined[1])
    lost = lrisc.decode(dataclasses.replace(received, side_symbols=-received.side_symbols), Receiver(), seed=0)
    assert lost.side_ok is False
    assert psnr(lost.coarse) > 10


@pytest.mark.parametrize("budget", [64, 65, 100, 199, 200, 1098, 4096])
def test_the_uniform_allocation_keeps_the_budget(lrisc: LRISC, budget: int) -> None:
    sent = lrisc.encode(PHOTO, Request(budget + 1, 10.0, "awgn", Transmitter(allocation="uniform")))
    assert budget - 12 <= sent.symbols.size <= budget + 1
    assert lrisc.decode(over(sent, 0.1), Receiver(coarse=True), seed=0).coarse.shape == PHOTO.shape


def test_parameters_start_at_nothing() -> None:
    for module in (gaussian_unet(torch.ones(192)), linear_code()):
        last = module.last[-1] if isinstance(module, ResidualUNet) else module.scale_out
        assert not any(parameter.any() for parameter in nn.Module.parameters(last))  # type: ignore[arg-type]
