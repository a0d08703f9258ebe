"""A SwinJSCC set to a linear code does what KLT, √λ powers and LMMSE do."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from gencomm_cli.networks.swinjscc import SwinJSCC, SwinJSCCConfig
from gencomm_cli.training.linear_start import start_linear, token_statistics

SIDE, REALS = 16, 32


def smooth_images(count: int) -> torch.Tensor:
    """Images in 0 … 1 with a falling spectrum and correlated colours."""
    torch.manual_seed(0)
    noise = torch.randn(count, 3, 64, 64)
    spectrum = torch.fft.rfft2(noise) / (1 + 60 * torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None]))
    colour = torch.tensor([[1.0, 0.3, 0.1], [1.0, -0.2, 0.1], [1.0, -0.1, -0.3]])
    return 0.5 + 0.25 * torch.einsum("ij,bjyx->biyx", colour, torch.fft.irfft2(spectrum, s=(64, 64)))


def linear_code(images: torch.Tensor, noise: torch.Tensor, n0: float) -> torch.Tensor:
    """The same code by its formulas: blocks as columns, E|z|² = 1 over each image."""
    mean = images.mean((0, 2, 3))
    covariance = token_statistics(images, SIDE)[1]
    values, vectors = torch.linalg.eigh(covariance)
    order = values.argsort(descending=True)[:REALS]
    values, basis = values[order], vectors[:, order].T.float()
    blocks = F.unfold(images - mean[:, None, None], SIDE, stride=SIDE)
    sent = values.pow(-0.25).float()[:, None] * (basis @ blocks)
    scale = (0.5 / sent.square().mean((1, 2), keepdim=True)).sqrt()
    received = scale * sent + noise
    amplitude = (values.pow(-0.5) * 0.5 / values.sqrt().mean()).sqrt()
    weights = (amplitude * values / (amplitude.square() * values + n0 / 2)).float()[:, None]
    restored = F.fold(basis.T @ (weights * received), (64, 64), SIDE, stride=SIDE)
    return restored + mean[:, None, None]


def test_it_is_the_linear_code_within_the_layer_norms_error() -> None:
    config = SwinJSCCConfig(dims=(32, 48, 64, 96), depths=(1, 2, 1, 1), heads=(2, 3, 4, 6), window=2, trained_size=64)
    code, images, n0 = SwinJSCC(config).eval(), smooth_images(64), 0.1
    statistics = [token_statistics(images, 2**stage)[1] for stage in range(1, 5)]
    start_linear(code, images.mean((0, 2, 3)), statistics, REALS, -10 * math.log10(n0))
    tokens = (64 // SIDE) ** 2
    with torch.no_grad():
        z = code.encode(images, REALS * tokens // 2, torch.full((64,), 10.0))
        clean = code.decode(z, (64, 64), torch.full((64,), 10.0))
        errors = (clean - linear_code(images, torch.zeros(64, REALS, tokens), n0)).square().mean()
    loss = (linear_code(images, torch.zeros(64, REALS, tokens), n0) - images).square().mean()
    assert errors < 0.1 * loss
    noisy = z + math.sqrt(n0 / 2) * torch.complex(torch.randn(z.shape), torch.randn(z.shape))
    with torch.no_grad():
        ours = (code.decode(noisy, (64, 64), torch.full((64,), 10.0)) - images).square().mean()
    theirs = (linear_code(images, math.sqrt(n0 / 2) * torch.randn(64, REALS, tokens), n0) - images).square().mean()
    assert abs(10 * torch.log10(ours / theirs)) < 0.3
