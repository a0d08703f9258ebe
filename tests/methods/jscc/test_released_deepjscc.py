"""Deep-JSCC-PyTorch, imported, against its published layer list, normalisation and noise."""

from __future__ import annotations

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.networks.convolutional import ConvolutionalJSCC
from tests.support.released import Import, Weights

VERSIONS = pytest.mark.parametrize(("padded", "reals"), [(True, 8), (False, 5)], ids=["2024", "2023"])


def encode(weights: Weights, x: Tensor, padded: bool, reals: int) -> Tensor:
    """√k z/‖z‖, k the number of reals: each of power 1."""
    for number, (after, stride) in enumerate([(16, 2), (32, 2), (32, 1), (32, 1), (reals, 1)], 1):
        name, edge = f"encoder.conv{number}", 2 if padded or stride == 1 else 0
        kernels = weights(f"{name}.conv.weight", after, x.shape[1], 5, 5)
        x = F.prelu(F.conv2d(x, kernels, weights(f"{name}.conv.bias", after), stride, edge), weights(f"{name}.prelu.weight", 1))
    unit: Tensor = x * x[0].numel() ** 0.5 / x.square().sum((1, 2, 3), keepdim=True).sqrt()
    return unit


def decode(weights: Weights, x: Tensor, padded: bool) -> Tensor:
    for number, (after, stride) in enumerate([(32, 1), (32, 1), (32, 1), (16, 2), (3, 2)], 1):
        name = f"decoder.tconv{number}"
        kernel, edge, more = (5, 2, stride - 1) if padded or stride == 1 else (6, 0, 0)
        kernels, bias = (
            weights(f"{name}.transconv.weight", x.shape[1], after, kernel, kernel),
            weights(f"{name}.transconv.bias", after),
        )
        x = F.conv_transpose2d(x, kernels, bias, stride, edge, more)
        x = x.sigmoid() if number == 5 else F.prelu(x, weights(f"{name}.activate.weight", 1))
    return x


@VERSIONS
def test_the_imported_codec_computes_what_the_published_one_does(imported: Import, padded: bool, reals: int) -> None:
    weights, snr, side = Weights(), 7.0, 36
    image = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    sent = encode(weights, image, padded, reals)
    noise = torch.randn(sent.shape, generator=torch.Generator().manual_seed(2))
    variance = 10 ** (-snr / 10) / (2 if padded else 1)  # of a real of power 1
    picture = decode(weights, sent + variance**0.5 * noise, padded)
    assert picture.std() > 0.01
    codec = cast(ConvolutionalJSCC, imported(weights)["codec"])
    told, count = torch.full((2,), snr), codec.symbols(1, (side, side))
    z = codec.encode(image, count, told)
    torch.testing.assert_close(z.abs().square().mean(1), torch.ones(2))
    odd = sent[0].numel() % 2
    # A zero that makes the last pair whole takes 1/k of the power.
    torch.testing.assert_close(codec.conventions.unpair(z, sent.shape[1:]), sent, atol=1e-5, rtol=2 / sent[0].numel() * odd + 1e-5)
    n0 = 10 ** (-(snr + codec.conventions.snr_offset_db) / 10)  # the Es/N0 that stands for their SNR
    assert n0 == pytest.approx(2 * variance / 2, rel=1e-4)  # of a symbol: noise of two reals over a power of 2
    y = z + (n0 / 2) ** 0.5 * codec.conventions.pair(noise)
    torch.testing.assert_close(codec.decode(y, (side, side), told), picture, atol=5e-4 if odd else 1e-5, rtol=0)
