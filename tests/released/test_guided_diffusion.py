"""guided-diffusion's U-Net, imported beside a codec, against its published layer list."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.errors import ModelMismatch
from tests.released import test_adjscc
from tests.released.conftest import Import, Weights

HEAD = 16


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, weights(f"{name}.weight", x.shape[1], mean=1.0), weights(f"{name}.bias", x.shape[1]))


def layer(weights: Weights, name: str, x: Tensor, after: int, kernel: int = 3) -> Tensor:
    kernels, bias = weights(f"{name}.weight", after, x.shape[1], kernel, kernel), weights(f"{name}.bias", after)
    return F.conv2d(x, kernels, bias, padding=kernel // 2)


def linear(weights: Weights, name: str, x: Tensor, after: int) -> Tensor:
    return F.linear(x, weights(f"{name}.weight", after, x.shape[1]), weights(f"{name}.bias", after))


def resized(x: Tensor, resize: str) -> Tensor:
    return F.avg_pool2d(x, 2) if resize == "down" else F.interpolate(x, scale_factor=2) if resize == "up" else x


def residual(weights: Weights, name: str, x: Tensor, time: Tensor, after: int, resize: str = "") -> Tensor:
    """With scale and shift by the time, and with a skip that is resized too (``resblock_updown``)."""
    h = resized(F.silu(norm(weights, f"{name}.in_layers.0", x)), resize)
    h = layer(weights, f"{name}.in_layers.2", h, after)
    scale, shift = linear(weights, f"{name}.emb_layers.1", F.silu(time), 2 * after)[:, :, None, None].chunk(2, 1)
    h = F.silu(norm(weights, f"{name}.out_layers.0", h) * (1 + scale) + shift)
    h = layer(weights, f"{name}.out_layers.3", h, after)
    x = resized(x, resize)
    return h + (x if x.shape[1] == after else layer(weights, f"{name}.skip_connection", x, after, 1))


def attention(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Heads first, each with its q, k and v (``QKVAttentionLegacy``); 1-D convolutions."""
    channels, flat = x.shape[1], norm(weights, f"{name}.norm", x).flatten(2)
    qkv = F.conv1d(flat, weights(f"{name}.qkv.weight", 3 * channels, channels, 1), weights(f"{name}.qkv.bias", 3 * channels))
    heads = qkv.unflatten(1, (-1, 3 * HEAD))
    q, k, v = heads.chunk(3, 2)
    seen = torch.einsum("bhct,bhcs->bhts", q, k).div(math.sqrt(HEAD)).softmax(-1)
    out = torch.einsum("bhts,bhcs->bhct", seen, v).flatten(1, 2)
    return x + F.conv1d(
        out, weights(f"{name}.proj_out.weight", channels, channels, 1), weights(f"{name}.proj_out.bias", channels)
    ).view_as(x)


def unet(weights: Weights, x: Tensor, t: Tensor, width: int, multipliers: list[int], blocks: int, attended: set[int]) -> Tensor:
    rates = torch.exp(-math.log(10000) * torch.arange(width // 2) / (width // 2))
    angles = t[:, None].float() * rates
    time = linear(weights, "time_embed.0", torch.cat([angles.cos(), angles.sin()], 1), 4 * width)
    time = linear(weights, "time_embed.2", F.silu(time), 4 * width)
    h = layer(weights, "input_blocks.0.0", x, width)
    kept, number = [h], 1
    for level, multiplier in enumerate(multipliers):
        for _ in range(blocks):
            h = residual(weights, f"input_blocks.{number}.0", h, time, width * multiplier)
            if level in attended:
                h = attention(weights, f"input_blocks.{number}.1", h)
            kept.append(h)
            number += 1
        if level < len(multipliers) - 1:
            h = residual(weights, f"input_blocks.{number}.0", h, time, width * multiplier, "down")
            kept.append(h)
            number += 1
    h = residual(weights, "middle_block.0", h, time, h.shape[1])
    h = residual(weights, "middle_block.2", attention(weights, "middle_block.1", h), time, h.shape[1])
    number = 0
    for level, multiplier in reversed(list(enumerate(multipliers))):
        for block in range(blocks + 1):
            h = residual(weights, f"output_blocks.{number}.0", torch.cat([h, kept.pop()], 1), time, width * multiplier)
            if level in attended:
                h = attention(weights, f"output_blocks.{number}.1", h)
            if level and block == blocks:
                h = residual(weights, f"output_blocks.{number}.{1 + (level in attended)}", h, time, width * multiplier, "up")
            number += 1
    return layer(weights, "out.2", F.silu(norm(weights, "out.0", h)), 6)


def codec() -> Weights:
    weights = Weights()
    code = test_adjscc.encode(weights, torch.rand(1, 3, 8, 8), 1.0)
    test_adjscc.decode(weights, code, 1.0)
    return weights


@pytest.mark.parametrize(
    ("multipliers", "blocks", "attended"),
    [([1, 2], 1, {1}), ([1, 1, 2], 2, {0, 2}), ([1, 2], 1, set())],
    ids=["faces", "two", "none"],
)
def test_the_imported_prior_computes_what_the_published_one_does(
    imported: Import, multipliers: list[int], blocks: int, attended: set[int]
) -> None:
    weights, random = Weights(), torch.Generator().manual_seed(1)
    x, t = torch.randn(2, 3, 16, 24, generator=random), torch.tensor([3, 700])
    wanted = unet(weights, x, t, 32, multipliers, blocks, attended)
    networks = imported(codec(), weights, config={"image_size": 16, "num_head_channels": HEAD})
    assert sorted(networks) == ["codec", "prior"]
    torch.testing.assert_close(networks["prior"](x, t).sample, wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.update({"label_emb.weight": torch.ones(10, 128)}), "class-conditional"),
        (lambda state: state.update({"out.2.weight": torch.ones(3, 32, 3, 3)}), "predicts no variance"),
        (lambda state: state.update({"output_blocks.999999999.0.x": torch.ones(1)}), "another U-Net"),
        (lambda state: state.update({"input_blocks.1.0.emb_layers.1.weight": torch.ones(32, 128)}), "another U-Net"),
        (lambda state: state.update({"out.2.weight": torch.ones(())}), "looks like guided-diffusion"),
        (lambda state: state.pop("middle_block.1.qkv.weight"), "is missing"),
        (lambda state: state.update({"more.weight": torch.ones(1)}), "more.weight is in no"),
    ],
)
def test_other_networks_get_one_line(imported: Import, change: Any, reason: str) -> None:
    weights = Weights()
    unet(weights, torch.randn(1, 3, 4, 4), torch.tensor([3]), 32, [1, 2], 1, set())
    change(weights)
    with pytest.raises(ModelMismatch, match=reason) as caught:
        imported(codec(), weights, config={"num_head_channels": HEAD})
    assert "\n" not in str(caught.value)
