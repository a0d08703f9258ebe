"""guided-diffusion's U-Net, imported beside a codec, against its published layer list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.errors import InputError, ModelMismatch
from tests.methods.diffcom import test_released_adjscc as test_adjscc
from tests.support.released import Import, Shapes, Weights, recorded

HEAD = 16


@dataclass(frozen=True)
class Design:
    """What the authors' ``create_model`` gets. ``attended``: levels. ``updown``: ``resblock_updown``."""

    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attended: frozenset[int] = frozenset({1})
    updown: bool = True
    scale_shift: bool = True
    new_order: bool = False


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, weights(f"{name}.weight", x.shape[1], mean=1.0), weights(f"{name}.bias", x.shape[1]))


def layer(weights: Weights, name: str, x: Tensor, after: int, kernel: int = 3) -> Tensor:
    kernels, bias = weights(f"{name}.weight", after, x.shape[1], kernel, kernel), weights(f"{name}.bias", after)
    return F.conv2d(x, kernels, bias, padding=kernel // 2)


def linear(weights: Weights, name: str, x: Tensor, after: int) -> Tensor:
    return F.linear(x, weights(f"{name}.weight", after, x.shape[1]), weights(f"{name}.bias", after))


def resized(x: Tensor, resize: str) -> Tensor:
    return F.avg_pool2d(x, 2) if resize == "down" else F.interpolate(x, scale_factor=2) if resize == "up" else x


def residual(weights: Weights, name: str, x: Tensor, time: Tensor, after: int, design: Design, resize: str = "") -> Tensor:
    """The skip is resized too."""
    h = resized(F.silu(norm(weights, f"{name}.in_layers.0", x)), resize)
    h = layer(weights, f"{name}.in_layers.2", h, after)
    embedded = linear(weights, f"{name}.emb_layers.1", F.silu(time), (1 + design.scale_shift) * after)[:, :, None, None]
    if design.scale_shift:
        scale, shift = embedded.chunk(2, 1)
        h = F.silu(norm(weights, f"{name}.out_layers.0", h) * (1 + scale) + shift)
    else:
        h = F.silu(norm(weights, f"{name}.out_layers.0", h + embedded))
    h = layer(weights, f"{name}.out_layers.3", h, after)
    x = resized(x, resize)
    return h + (x if x.shape[1] == after else layer(weights, f"{name}.skip_connection", x, after, 1))


def resample(weights: Weights, name: str, x: Tensor, time: Tensor, design: Design, resize: str) -> Tensor:
    """By a residual block, or by a convolution: of stride 2, or after the nearest neighbours."""
    if design.updown:
        return residual(weights, name, x, time, x.shape[1], design, resize)
    if resize == "up":
        return layer(weights, f"{name}.conv", resized(x, "up"), x.shape[1])
    return layer(weights, f"{name}.op", x, x.shape[1])[:, :, ::2, ::2]


def attention(weights: Weights, name: str, x: Tensor, design: Design) -> Tensor:
    """Head by head, each with its q, k and v (``QKVAttentionLegacy``), or all q, k, v in turn (``QKVAttention``)."""
    channels, flat = x.shape[1], norm(weights, f"{name}.norm", x).flatten(2)
    qkv = F.conv1d(flat, weights(f"{name}.qkv.weight", 3 * channels, channels, 1), weights(f"{name}.qkv.bias", 3 * channels))
    if design.new_order:
        q, k, v = (part.unflatten(1, (-1, HEAD)) for part in qkv.chunk(3, 1))
    else:
        q, k, v = qkv.unflatten(1, (-1, 3 * HEAD)).chunk(3, 2)
    seen = torch.einsum("bhct,bhcs->bhts", q, k).div(math.sqrt(HEAD)).softmax(-1)
    out = torch.einsum("bhts,bhcs->bhct", seen, v).flatten(1, 2)
    last = weights(f"{name}.proj_out.weight", channels, channels, 1), weights(f"{name}.proj_out.bias", channels)
    return x + F.conv1d(out, *last).view_as(x)


def unet(weights: Weights, x: Tensor, t: Tensor, width: int, design: Design) -> Tensor:
    rates = torch.exp(-math.log(10000) * torch.arange(width // 2) / (width // 2))
    angles = t[:, None].float() * rates
    time = linear(weights, "time_embed.0", torch.cat([angles.cos(), angles.sin()], 1), 4 * width)
    time = linear(weights, "time_embed.2", F.silu(time), 4 * width)
    h = layer(weights, "input_blocks.0.0", x, width)
    kept, number = [h], 1
    for level, multiplier in enumerate(design.multipliers):
        for _ in range(design.blocks):
            h = residual(weights, f"input_blocks.{number}.0", h, time, width * multiplier, design)
            if level in design.attended:
                h = attention(weights, f"input_blocks.{number}.1", h, design)
            kept.append(h)
            number += 1
        if level < len(design.multipliers) - 1:
            h = resample(weights, f"input_blocks.{number}.0", h, time, design, "down")
            kept.append(h)
            number += 1
    h = residual(weights, "middle_block.0", h, time, h.shape[1], design)
    h = residual(weights, "middle_block.2", attention(weights, "middle_block.1", h, design), time, h.shape[1], design)
    number = 0
    for level, multiplier in reversed(list(enumerate(design.multipliers))):
        for block in range(design.blocks + 1):
            h = residual(weights, f"output_blocks.{number}.0", torch.cat([h, kept.pop()], 1), time, width * multiplier, design)
            if level in design.attended:
                h = attention(weights, f"output_blocks.{number}.1", h, design)
            if level and block == design.blocks:
                h = resample(weights, f"output_blocks.{number}.{1 + (level in design.attended)}", h, time, design, "up")
            number += 1
    return layer(weights, "out.2", F.silu(norm(weights, "out.0", h)), 6)


def codec() -> Weights:
    weights = Weights()
    code = test_adjscc.encode(weights, torch.rand(1, 3, 8, 8), 1.0)
    test_adjscc.decode(weights, code, 1.0)
    return weights


DESIGNS = {
    "faces": Design(),
    "two blocks": Design((1, 1, 2), 2, frozenset({0, 2})),
    "no attention but in the middle": Design(attended=frozenset()),
    "convolutions that resize": Design(updown=False),
    "time added": Design(scale_shift=False, blocks=2),
    "all older choices": Design(updown=False, scale_shift=False, new_order=True),
}


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_the_imported_prior_computes_what_the_published_one_does(imported: Import, design: Design) -> None:
    weights, random = Weights(), torch.Generator().manual_seed(1)
    x, t = torch.randn(2, 3, 16, 24, generator=random), torch.tensor([3, 700])
    wanted = unet(weights, x, t, 32, design)
    config = {"image_size": 16, "num_head_channels": HEAD, "use_new_attention_order": design.new_order}
    if not design.updown:
        config |= {"num_head_channels": -1, "num_heads": 64 // HEAD}
    networks = imported(codec(), weights, config=config)
    assert sorted(networks) == ["codec", "prior"]
    torch.testing.assert_close(networks["prior"](x, t).sample, wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "width", "design"),
    [
        ("ffhq_10m", 128, Design((1, 1, 2, 2, 4, 4), 1, frozenset({4}))),
        ("256x256_diffusion_uncond", 256, Design((1, 1, 2, 2, 4, 4), 2, frozenset({3, 4, 5}))),
    ],
)
def test_the_transcription_has_the_recorded_names(name: str, width: int, design: Design) -> None:
    shapes = Shapes()
    with torch.device("meta"):
        unet(shapes, torch.empty(1, 3, 32, 32), torch.empty(1), width, design)
    assert shapes.listed() == {key: tuple(shape) for key, shape in recorded(f"diffcom_unet_keys_{name}").items()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.update({"label_emb.weight": torch.ones(10, 128)}), "class-conditional"),
        (lambda state: state.update({"out.2.weight": torch.ones(3, 32, 3, 3)}), "predicts no variance"),
        (lambda state: state.update({"output_blocks.999999999.0.x": torch.ones(1)}), "not a U-Net of equal levels"),
        (lambda state: state.update({"input_blocks.1.0.emb_layers.1.weight": torch.ones(32, 128)}), "time_emb_proj.bias is"),
        (lambda state: state.pop("input_blocks.3.0.out_layers.3.weight"), "looks like guided-diffusion, but .*out_layers"),
        (lambda state: state.update({"out.2.weight": torch.ones(())}), "looks like guided-diffusion"),
        (lambda state: state.pop("middle_block.1.qkv.weight"), "is missing"),
        (lambda state: state.update({"more.weight": torch.ones(1)}), "more.weight is in no"),
    ],
)
def test_other_networks_get_one_line(imported: Import, change: Any, reason: str) -> None:
    weights = Weights()
    unet(weights, torch.randn(1, 3, 4, 4), torch.tensor([3]), 32, Design())
    change(weights)
    with pytest.raises(ModelMismatch, match=reason) as caught:
        imported(codec(), weights, config={"num_head_channels": HEAD})
    assert "\n" not in str(caught.value)


def test_heads_that_do_not_fit(imported: Import) -> None:
    weights = Weights()
    unet(weights, torch.randn(1, 3, 4, 4), torch.tensor([3]), 32, Design(attended=frozenset({0, 1})))
    for config in ({}, {"num_head_channels": 48}, {"num_head_channels": -1, "num_heads": 2}, {"num_head_channels": "many"}):
        with pytest.raises(ModelMismatch, match="not made of heads of one size"):
            imported(codec(), weights, config=config)
    with pytest.raises(InputError, match="--config: image_size 'big' is not a number"):
        imported(codec(), weights, config={"image_size": "big"})
