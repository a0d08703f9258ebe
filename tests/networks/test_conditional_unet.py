"""The x-prediction U-Net against the published program's numbers, and its linear part against numerical integration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gencomm_cli.diffusion.cosine import alpha_bar_at
from gencomm_cli.networks.conditional_unet import Attention, ChannelNorm, ConditionalUNet, LinearAttention, UNetConfig

PUBLISHED = UNetConfig(widths=(8, 16, 24, 32, 40, 48), context_widths=(8, 8, 16, 24), time_width=8)
"""The sizes of the vectors; the paper's are eight times as wide."""


def vectors(part: str) -> dict[str, Tensor]:
    with np.load(Path(__file__).parent.parent / "vectors" / "cdc_a.npz", allow_pickle=False) as archive:
        return {
            key.removeprefix(f"{part}."): torch.from_numpy(archive[key].astype(np.float32))
            for key in archive.files
            if key.startswith(f"{part}.")
        }


def published() -> tuple[ConditionalUNet, dict[str, Tensor], list[Tensor]]:
    """The network with the vectors' weights, the vectors, and the contexts."""
    found = vectors("unet")
    network = ConditionalUNet(PUBLISHED)
    network.load_state_dict({key.removeprefix("sd."): value for key, value in found.items() if key.startswith("sd.")})
    return network.eval().requires_grad_(False), found, [found[f"in.context{level}"] for level in range(4)]


def test_published_numbers() -> None:
    network, found, contexts = published()
    torch.testing.assert_close(network(found["in.x"], found["in.time"][:, 0], contexts), found["out.x0"], atol=3e-5, rtol=0)


def test_the_default_is_the_papers_size() -> None:
    with torch.device("meta"):
        network = ConditionalUNet(UNetConfig())
    assert [stage[0].block1.block[0].out_channels for stage in network.downs] == [64 * j for j in range(1, 7)]  # type: ignore[index, union-attr]
    assert [stage[0].block1.block[0].in_channels for stage in network.downs] == [67, 128, 256, 384, 256, 320]  # type: ignore[index, union-attr]


@pytest.mark.parametrize("fold", [1, 2])
def test_sizes_and_missing_contexts(fold: int) -> None:
    network = ConditionalUNet(UNetConfig((8,) * 6, (4, 8, 8, 8), fold=fold, kernel=3, time_width=8)).eval()
    size = (network.config.multiple, 2 * network.config.multiple)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        out = network(x, torch.tensor([0.2, 0.9]), network.no_contexts(2, size))
        again = network(x[1:], torch.tensor([0.9]), network.no_contexts(1, size))
    assert out.shape == x.shape
    torch.testing.assert_close(out[1:], again, atol=1e-5, rtol=1e-4)  # each picture of a batch has its own time


@pytest.mark.parametrize("mean", [None, 0.3])
def test_the_linear_part_is_the_posterior_mean(mean: float | None) -> None:
    network = ConditionalUNet(UNetConfig((8,) * 6, (4, 8, 8, 8), kernel=3, time_width=8, variances=(0.02, 0.25)))
    for parameter in network.final_conv[1].parameters():
        nn.init.zeros_(parameter)
    time = torch.tensor([0.4])
    size = (32, 32)
    coarse = None if mean is None else torch.full((1, 3, *size), mean)
    with torch.no_grad():
        out = network(torch.full((1, 3, *size), 0.7), time, network.no_contexts(1, size), coarse)
    variance, centre = (0.25, 0.0) if mean is None else (0.02, mean)
    a = float(alpha_bar_at(time))
    x_0 = torch.linspace(-5, 5, 200_001, dtype=torch.float64)
    weight = torch.exp(-((x_0 - centre) ** 2) / (2 * variance) - (0.7 - a**0.5 * x_0) ** 2 / (2 * (1 - a)))
    torch.testing.assert_close(out, torch.full_like(out, float((x_0 * weight).sum() / weight.sum())), atol=1e-5, rtol=0)


def test_attention_by_hand() -> None:
    torch.manual_seed(0)
    attention, x = Attention(4), torch.randn(1, 4, 2, 3)
    inner, norm = attention.fn
    assert isinstance(inner, LinearAttention)
    h = norm(x).flatten(2)[0].T  # [positions, C]
    weight = inner.to_qkv.weight[:, :, 0, 0]
    q, k, v = (h @ part.T for part in weight.chunk(3))
    expected = torch.zeros(6, 4)
    for position in range(6):  # Σ_p softmax over positions of k, per channel, times v, then read out by q
        for c in range(4):
            share = torch.exp(k[:, c]) / torch.exp(k[:, c]).sum()
            expected[position] += q[position, c] / 2 * (share[:, None] * v).sum(0)
    out = torch.nn.functional.conv2d(expected.T.reshape(1, 4, 2, 3), inner.to_out.weight, inner.to_out.bias)
    torch.testing.assert_close(attention(x), x + out)


def test_channel_norm_by_hand() -> None:
    x = torch.randn(2, 5, 3, 4)
    norm = ChannelNorm(5)
    nn.init.normal_(norm.g)
    nn.init.normal_(norm.b)
    deviation = (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), (x - x.mean(1, keepdim=True)) / deviation * norm.g + norm.b)
