"""DiffCom's ADJSCC, imported, against its published layer list and channel."""

from __future__ import annotations

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.networks.adjscc import ADJSCC
from tests.support.released import Import, Shapes, Weights, recorded

WIDTH, C = 20, 4


def gdn(weights: Weights, name: str, x: Tensor, inverse: bool = False) -> Tensor:
    """x / √(β + γ x²), or times it; β and γ are stored as roots over a pedestal of 2⁻³⁶, bounded from below."""
    channels = x.shape[1]
    beta, gamma = weights(f"{name}.beta", channels), weights(f"{name}.gamma", channels, channels)
    beta = torch.maximum(beta, torch.tensor((1e-6 + 2.0**-36) ** 0.5)) ** 2 - 2.0**-36
    gamma = torch.maximum(gamma, torch.tensor(2.0**-18)) ** 2 - 2.0**-36
    norm = torch.sqrt(torch.einsum("ij,bjhw->bihw", gamma, x * x) + beta[:, None, None])
    return x * norm if inverse else x / norm


def attend(weights: Weights, name: str, x: Tensor, snr: float) -> Tensor:
    known = torch.cat([torch.full((len(x), 1), snr), x.mean((2, 3))], 1)
    hidden = (WIDTH + 1) // 16
    inner = F.linear(known, weights(f"{name}.fc1.weight", hidden, WIDTH + 1), weights(f"{name}.fc1.bias", hidden)).relu()
    scale = F.linear(inner, weights(f"{name}.fc2.weight", WIDTH, hidden), weights(f"{name}.fc2.bias", WIDTH)).sigmoid()
    return x * scale[:, :, None, None]


def encode(weights: Weights, x: Tensor, snr: float) -> Tensor:
    for number, (kernel, stride) in enumerate([(9, 2), (5, 2), (5, 1), (5, 1)], 1):
        block = f"Encoder.conv_block{number}"
        kernels = weights(f"{block}.0.weight", WIDTH, x.shape[1], kernel, kernel)
        x = gdn(weights, f"{block}.1", F.conv2d(x, kernels, weights(f"{block}.0.bias", WIDTH), stride, kernel // 2))
        x = attend(weights, f"Encoder.attention{number}", F.prelu(x, weights(f"{block}.2.weight", 1)), snr)
    block = "Encoder.conv_block5"
    return gdn(
        weights, f"{block}.1", F.conv2d(x, weights(f"{block}.0.weight", C, WIDTH, 5, 5), weights(f"{block}.0.bias", C), 1, 2)
    )


def decode(weights: Weights, x: Tensor, snr: float) -> Tensor:
    for number, (kernel, stride) in enumerate([(5, 1), (5, 1), (5, 1), (5, 2), (9, 2)], 1):
        block = f"Decoder.upconv_block{number}"
        kernels, bias = weights(f"{block}.0.weight", x.shape[1], WIDTH, kernel, kernel), weights(f"{block}.0.bias", WIDTH)
        x = F.conv_transpose2d(x, kernels, bias, stride, kernel // 2, stride - 1)
        x = F.prelu(gdn(weights, f"{block}.1", x, inverse=True), weights(f"{block}.2.weight", 1))
        x = attend(weights, f"Decoder.attention{number}", x, snr)
    block = "Decoder.conv_block_out.1"
    x = F.conv2d(F.pad(x, (3, 3, 3, 3), "reflect"), weights(f"{block}.weight", 3, WIDTH, 7, 7), weights(f"{block}.bias", 3))
    return x.sigmoid()


def test_the_transcription_has_the_recorded_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.methods.diffcom.test_released_adjscc.WIDTH", 256)
    names, shapes = recorded("diffcom_adjscc_full_keys"), Shapes()
    monkeypatch.setattr("tests.methods.diffcom.test_released_adjscc.C", names["jscc_encoder.conv_block5.1.beta"][0][0])
    with torch.device("meta"):
        decode(shapes, encode(shapes, torch.empty(1, 3, 16, 16), 1.0), 1.0)
    ours = {
        name.replace("Encoder", "jscc_encoder").replace("Decoder", "jscc_decoder"): shape for name, shape in shapes.listed().items()
    }
    assert ours == {name: tuple(shape) for name, (shape, _) in names.items()}


def test_the_imported_codec_computes_what_the_published_one_does(imported: Import) -> None:
    weights, snr = Weights(), 5.0
    image = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, C * 6 * 8, generator=torch.Generator().manual_seed(2))
    features = encode(weights, image, snr).flatten(1)
    sent = features / (2 * features.square().mean()).sqrt()  # real and imaginary parts take turns: E|z|² = 1
    received = sent + noise * (10 ** (-snr / 10) / 2) ** 0.5
    picture = decode(weights, received.view(1, C, 6, 8), snr)
    spread = picture.std()
    assert spread > 0.01  # a flat picture would show nothing
    codec = cast(ADJSCC, imported({**weights, "distortion_loss.window": torch.ones(3)})["codec"])
    snr_db, count = torch.tensor([snr]), C * 6 * 8 // 2
    z = codec.encode(image, count, snr_db)
    torch.testing.assert_close(z, torch.complex(sent[:, ::2], sent[:, 1::2]), atol=1e-6, rtol=1e-4)
    y = z + torch.complex(noise[:, ::2], noise[:, 1::2]) * (10 ** (-snr / 10) / 2) ** 0.5
    torch.testing.assert_close(codec.decode(y, (24, 32), snr_db), picture, atol=1e-6, rtol=1e-5)
