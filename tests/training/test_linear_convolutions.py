"""An ADJSCC set to a linear code sends the KLT of its blocks and restores them as linear regression does."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from gencomm_cli.networks.adjscc import ADJSCC, ADJSCCConfig
from gencomm_cli.training.linear_convolutions import SLOPE, start_linear_convolutions
from gencomm_cli.training.linear_start import token_statistics
from tests.training.test_linear_start import smooth_images

CHANNELS, SNR_DB = 6, 10.0


def started(images: torch.Tensor, width: int = 48) -> ADJSCC:
    code = ADJSCC(ADJSCCConfig(CHANNELS, width, rate_adaptive=True)).eval()
    start_linear_convolutions(code, images, [token_statistics(images, side)[1] for side in (2, 4)], SNR_DB)
    return code


def test_what_it_sends_is_the_strongest_coefficients_at_powers_of_the_root() -> None:
    images = smooth_images(32)
    with torch.no_grad():
        sent = started(images).jscc_encoder(images, torch.full((32,), SNR_DB)).flatten(2)
    values, vectors = torch.linalg.eigh(token_statistics(images, 4)[1])
    values, basis = values.flip(0)[:CHANNELS], vectors.flip(1)[:, :CHANNELS].T.float()
    blocks = basis @ F.unfold(images - images.mean((0, 2, 3))[:, None, None], 4, stride=4)
    wanted = values.pow(-0.25).float()[:, None] * blocks
    ratios = (sent * wanted).sum((0, 2)) / wanted.square().sum((0, 2))  # the sign of an eigenvector is free, the scale is one
    torch.testing.assert_close(sent, ratios[:, None] * wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ratios.abs(), ratios.abs().mean().expand(CHANNELS), atol=1e-5, rtol=1e-4)


def test_what_it_restores_is_as_good_as_linear_regression_of_the_pixels() -> None:
    fitted, fresh = smooth_images(48), smooth_images(64)[48:]
    code = started(fitted)
    known = torch.full((48,), SNR_DB)

    def received(images: torch.Tensor) -> torch.Tensor:
        z = code.encode(images, 3 * 256, known[: len(images)])
        return z + math.sqrt(0.05) * torch.complex(torch.randn(z.shape), torch.randn(z.shape))

    def neighbours(z: torch.Tensor) -> torch.Tensor:
        reals = code.conventions.unpair(z, (2 * z.shape[1],)).unflatten(1, (CHANNELS, 16, 16))
        seen = F.unfold(reals, 5, padding=2)
        return torch.cat([seen, torch.ones_like(seen[:, :1])], 1).transpose(1, 2).flatten(0, 1)

    with torch.no_grad():
        pixels = F.unfold(fitted, 4, stride=4).transpose(1, 2).flatten(0, 1)
        weights = torch.linalg.lstsq(neighbours(received(fitted)), pixels).solution
        z = received(fresh)
        by_regression = F.fold((neighbours(z) @ weights).unflatten(0, (16, -1)).transpose(1, 2), (64, 64), 4, stride=4)
        ours = 0.5 + torch.logit(code.decode(z, (64, 64), known[:16])) / SLOPE
    losses = [float((picture - fresh).square().mean()) for picture in (ours, by_regression)]
    assert abs(10 * math.log10(losses[0] / losses[1])) < 0.5


def test_features_that_the_code_does_not_need_keep_their_weights() -> None:
    images = smooth_images(8)
    code = started(images, 64)
    weights = dict(code.jscc_encoder.named_parameters())
    assert weights["conv_block1.0.weight"][12:].abs().min(0).values.max() > 0
    assert not weights["conv_block2.0.weight"][:48, 12:].any()
