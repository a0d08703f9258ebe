"""Stable Cascade, imported, against the published layer lists of its four networks, under the names of their files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.errors import InputError
from gencomm_cli.methods.scsic import released as stable_cascade
from gencomm_cli.methods.scsic.cascade import StageA, StageB
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import convert
from tests.methods.scsic.test_efficientnet import TABLE, cascade_encoder_shapes
from tests.support.released import Import, Shapes, Weights, batch_norm, linear, recorded


def conv(weights: Weights, name: str, x: Tensor, after: int, kernel: int = 1, stride: int = 1, bias: bool = True) -> Tensor:
    kernels = weights(f"{name}.weight", after, x.shape[1], kernel, kernel)
    padding = 0 if kernel == stride else (kernel - 1) // 2
    return F.conv2d(x, kernels, weights(f"{name}.bias", after) if bias else None, stride, padding)


def doubled(weights: Weights, name: str, x: Tensor, after: int, kernel: int = 2) -> Tensor:
    """A transposed convolution of stride 2."""
    kernels, bias = weights(f"{name}.weight", x.shape[1], after, kernel, kernel), weights(f"{name}.bias", after)
    return F.conv_transpose2d(x, kernels, bias, 2, kernel // 2 - 1)


def flat_norm(x: Tensor) -> Tensor:
    """Of every pixel over its channels, without weights."""
    return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), eps=1e-6).permute(0, 3, 1, 2)


def last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


# EfficientNet-V2-S


def step(weights: Weights, name: str, x: Tensor, after: int, kernel: int, stride: int = 1, groups: int = 1) -> Tensor:
    kernels = weights(f"{name}.0.weight", after, x.shape[1] // groups, kernel, kernel)
    return batch_norm(weights, f"{name}.1", F.conv2d(x, kernels, None, stride, kernel // 2, groups=groups), eps=1e-3)


def embed(weights: Weights, image: Tensor, channels: int = 16) -> Tensor:
    """Z [B, ``channels``, H/32, W/32] of an image in 0 … 1."""
    mean, deviation = (
        torch.tensor(values, device=image.device).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    x = F.silu(step(weights, "backbone.0", (image - mean) / deviation, 24, 3, 2))
    for stage, ((kind, expand, after, layers), stride) in enumerate(zip(TABLE, (1, 2, 2, 2, 1, 2), strict=True), 1):
        for number in range(layers):
            name, before, pace = f"backbone.{stage}.{number}.block", x.shape[1], 1 if number else stride
            if kind == "mb":
                h = F.silu(step(weights, f"{name}.0", x, expand * before, 1))
                h = F.silu(step(weights, f"{name}.1", h, expand * before, 3, pace, expand * before))
                squeezed = F.silu(conv(weights, f"{name}.2.fc1", h.mean((2, 3), keepdim=True), before // 4))
                h = h * conv(weights, f"{name}.2.fc2", squeezed, expand * before).sigmoid()
                h = step(weights, f"{name}.3", h, after, 1)
            elif expand > 1:
                h = step(weights, f"{name}.1", F.silu(step(weights, f"{name}.0", x, expand * before, 3, pace)), after, 1)
            else:
                h = F.silu(step(weights, f"{name}.0", x, after, 3, pace))
            x = x + h if pace == 1 and before == after else h
    x = conv(weights, "mapper.0", F.silu(step(weights, "backbone.7", x, 1280, 1)), channels, bias=False)
    return batch_norm(weights, "mapper.1", x, affine=False)


# Stage A


def plain(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Its residual block."""
    width, gammas = x.shape[1], weights(f"{name}.gammas", 6)
    h = flat_norm(x) * (1 + gammas[0]) + gammas[1]
    kernels, bias = weights(f"{name}.depthwise.1.weight", width, 1, 3, 3), weights(f"{name}.depthwise.1.bias", width)
    x = x + F.conv2d(F.pad(h, (1, 1, 1, 1), "replicate"), kernels, bias, groups=width) * gammas[2]
    h = last(flat_norm(x) * (1 + gammas[3]) + gammas[4])
    h = linear(weights, f"{name}.channelwise.2", F.gelu(linear(weights, f"{name}.channelwise.0", h, 4 * width)), width)
    return x + first(h) * gammas[5]


def a_encode(weights: Weights, image: Tensor, width: int, levels: int = 2) -> Tensor:
    """The latent [B, 4, H/4, W/4], not quantised, divided by 0.43."""
    x = conv(weights, "in_block.1", F.pixel_unshuffle(image, 2), width // 2 ** (levels - 1))
    for level in range(levels):
        if level:
            x = conv(weights, f"down_blocks.{2 * level - 1}", x, 2 * x.shape[1], 4, 2)
        x = plain(weights, f"down_blocks.{2 * level}", x)
    place = f"down_blocks.{2 * levels - 1}"
    return batch_norm(weights, f"{place}.1", conv(weights, f"{place}.0", x, 4, bias=False)) / 0.43


def a_decode(weights: Weights, latent: Tensor, width: int, blocks: int, levels: int = 2) -> Tensor:
    x, place = conv(weights, "up_blocks.0.0", latent * 0.43, width), 1
    for level in range(levels):
        for _ in range(1 if level else blocks):
            x, place = plain(weights, f"up_blocks.{place}", x), place + 1
        if level < levels - 1:
            x, place = doubled(weights, f"up_blocks.{place}", x, x.shape[1] // 2, 4), place + 1
    return F.pixel_shuffle(conv(weights, "out_block.0", x, 12), 2)


# Stage B


@dataclass(frozen=True)
class Design:
    """What the authors' ``StageB`` is made of. ``heads``: 0 where a level does not attend.
    ``blocks``, ``repeats``: of the levels going down, then of those going up."""

    widths: tuple[int, ...] = (16, 128)
    heads: tuple[int, ...] = (0, 2)
    blocks: tuple[tuple[int, ...], tuple[int, ...]] = ((1, 2), (2, 1))
    repeats: tuple[tuple[int, ...], tuple[int, ...]] = ((1, 1), (2, 2))
    condition: int = 12
    text: int = 20
    words: int = 3
    time: int = 8


LITE = Design((320, 576, 1152, 1152), (0, 0, 18, 18), ((2, 4, 14, 4), (4, 14, 4, 2)), ((1,) * 4, (2,) * 4), 1280, 1280, 4, 64)


def sinusoids(t: Tensor, width: int) -> Tensor:
    rates = torch.exp(torch.arange(width // 2, device=t.device).float() * -(math.log(10000) / (width // 2 - 1)))
    angles = (t * 10000)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def residual(weights: Weights, name: str, x: Tensor, skip: Tensor | None) -> Tensor:
    width = x.shape[1]
    kernels, bias = weights(f"{name}.depthwise.weight", width, 1, 3, 3), weights(f"{name}.depthwise.bias", width)
    h = flat_norm(F.conv2d(x, kernels, bias, padding=1, groups=width))
    h = last(h if skip is None else torch.cat([h, skip], 1))
    h = F.gelu(linear(weights, f"{name}.channelwise.0", h, 4 * width))
    power = h.square().sum((1, 2), keepdim=True).sqrt()
    gamma, beta = (weights(f"{name}.channelwise.2.{part}", 1, 1, 1, 4 * width) for part in ("gamma", "beta"))
    h = gamma * (h * power / (power.mean(3, keepdim=True) + 1e-6)) + beta + h
    return x + first(linear(weights, f"{name}.channelwise.4", h, width))


def timed(weights: Weights, name: str, x: Tensor, t: Tensor) -> Tensor:
    """Scaled and shifted by the time, and by a second number that is always zero here."""
    width = x.shape[1]
    mapped = linear(weights, f"{name}.mapper", t, 2 * width)
    mapped = mapped + linear(weights, f"{name}.mapper_sca", sinusoids(torch.zeros(len(t), device=t.device), t.shape[1]), 2 * width)
    scale, shift = mapped[:, :, None, None].chunk(2, 1)
    return x * (1 + scale) + shift


def attention(weights: Weights, name: str, x: Tensor, text: Tensor, heads: int) -> Tensor:
    """Of every pixel, to all pixels and the text."""
    width, queries = x.shape[1], flat_norm(x).flatten(2).transpose(1, 2)
    seen = torch.cat([queries, linear(weights, f"{name}.kv_mapper.1", F.silu(text), width)], 1)
    inside = f"{name}.attention.attn"
    packed, bias = weights(f"{inside}.in_proj_weight", 3 * width, width), weights(f"{inside}.in_proj_bias", 3 * width)
    matrices, offsets = packed.chunk(3), bias.chunk(3)
    q, k, v = (
        F.linear(part, matrix, offset).unflatten(2, (heads, -1)).transpose(1, 2)
        for part, matrix, offset in zip((queries, seen, seen), matrices, offsets, strict=True)
    )
    out = ((q @ k.transpose(2, 3) * (width // heads) ** -0.5).softmax(3) @ v).transpose(1, 2).flatten(2)
    return x + linear(weights, f"{inside}.out_proj", out, width).transpose(1, 2).reshape(x.shape)


def mapped(weights: Weights, name: str, x: Tensor, width: int) -> Tensor:
    return flat_norm(conv(weights, f"{name}.2", F.gelu(conv(weights, f"{name}.0", x, 4 * width)), width))


def stretched(x: Tensor, over: Tensor) -> Tensor:
    return F.interpolate(x, over.shape[2:], mode="bilinear", align_corners=True)


def stage_b(weights: Weights, x: Tensor, time: Tensor, z: Tensor, text: Tensor, design: Design) -> Tensor:
    """Its prediction for the latent x [B, 4, H, W] at ``time`` 0 … 1, given Z and the text [B, 1, C]."""
    base, t = design.widths[0], sinusoids(time, design.time)
    words = linear(weights, "clip_mapper", text, design.words * design.condition).unflatten(2, (design.words, -1)).flatten(1, 2)
    words = F.layer_norm(words, (design.condition,), eps=1e-6)

    def level(side: str, place: int, stage: int, h: Tensor, skip: Tensor | None) -> Tensor:
        number = int(side == "up")
        for turn in range(repeats := design.repeats[number][place]):
            index = 0
            for block in range(design.blocks[number][place]):
                name = f"{side}_blocks.{place}"
                h = residual(weights, f"{name}.{index}", h, None if block else skip)
                h, index = timed(weights, f"{name}.{index + 1}", h, t), index + 2
                if design.heads[stage]:
                    h, index = attention(weights, f"{name}.{index}", h, words, design.heads[stage]), index + 1
            if turn < repeats - 1:
                h = conv(weights, f"{side}_repeat_mappers.{place}.{turn}", h, h.shape[1])
        return h

    h = flat_norm(conv(weights, "embedding.1", F.pixel_unshuffle(x, 2), base))
    h = h + mapped(weights, "effnet_mapper", stretched(z, h), base)
    h = h + stretched(mapped(weights, "pixels_mapper", x.new_zeros(len(x), 3, 8, 8), base), h)  # no pixels are given
    kept: list[Tensor] = []
    for stage, width in enumerate(design.widths):
        if stage:
            h = conv(weights, f"down_downscalers.{stage}.1", flat_norm(h), width, 2, 2)
        h = level("down", stage, stage, h, None)
        kept.append(h)
    for place, stage in enumerate(reversed(range(len(design.widths)))):
        h = level("up", place, stage, h, kept[stage] if place else None)
        if stage:
            h = doubled(weights, f"up_upscalers.{place}.1", flat_norm(h), design.widths[stage - 1])
    return F.pixel_shuffle(conv(weights, "clf.1", flat_norm(h), 16), 2)


def preview(weights: Weights, z: Tensor, hidden: int) -> Tensor:
    """The previewer's picture [B, 3, 8h, 8w]."""
    place = 0

    def active(layer: Callable[..., Tensor], x: Tensor, *sizes: int) -> Tensor:
        nonlocal place
        x = batch_norm(weights, f"blocks.{place + 2}", F.gelu(layer(weights, f"blocks.{place}", x, *sizes)))
        place += 3
        return x

    x = active(conv, active(conv, z, hidden), hidden, 3)
    for width in (hidden // 2, hidden // 4, hidden // 4):
        x = active(conv, active(doubled, x, width), width, 3)
    return conv(weights, f"blocks.{place}", x, 3)


def released(new: type[Weights], design: Design, width: int, blocks: int) -> list[Weights]:
    """Stage A, stage B and the encoder, as their files have them."""
    a, b, encoder = new(), new(), new()
    a_decode(a, a_encode(a, torch.zeros(1, 3, 16, 16), width), width, blocks)
    a("vquantizer.codebook.weight", 8192, 4)
    stage_b(b, torch.zeros(1, 4, 16, 16), torch.zeros(1), torch.zeros(1, 16, 2, 2), torch.zeros(1, 1, design.text), design)
    embed(encoder, torch.zeros(1, 3, 32, 32))
    return [a, b, encoder]


@torch.no_grad()
def test_the_imported_networks_compute_what_the_published_ones_do(imported: Import) -> None:
    encoder, vqgan, unet, previewer = Weights(), Weights(), Weights(), Weights()
    random, design = torch.Generator().manual_seed(1), Design()
    image, time = torch.rand(1, 3, 64, 32, generator=random), torch.tensor([0.4])
    z = embed(encoder, image)
    latent = a_encode(vqgan, image, 16)
    noisy = torch.randn(latent.shape, generator=random)
    picture = a_decode(vqgan, noisy, 16, 2)
    vqgan("vquantizer.codebook.weight", 8, 4)
    predicted = stage_b(unet, noisy, time, z, torch.zeros(1, 1, design.text), design)
    coarse = preview(previewer, z, 16)
    for each in (z, latent, picture, predicted, coarse):
        assert each.std() > 0.01
    extra = {"channel_context_mapper.0.weight": torch.ones(4, 3, 1, 1), "channel_context_mapper.0.bias": torch.ones(4)}
    networks = imported(
        encoder,
        vqgan | {"vquantizer.ema_element_count": torch.ones(8)},
        unet | extra,
        previewer,
        config={"scale_factor": 0.43, "head_width": 64, "s": 0.02},
    )
    torch.testing.assert_close(networks["encoder"](image), z, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(networks["previewer"](z), coarse, atol=1e-5, rtol=1e-4)
    first_stage = StageA(cast(Any, networks["stage_a"]))
    torch.testing.assert_close(first_stage.encode(image), latent, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first_stage.decode(noisy), picture, atol=1e-5, rtol=1e-4)
    # its time is given by sines and cosines of up to 4000 in single precision
    torch.testing.assert_close(StageB(cast(Any, networks["stage_b"]))(noisy, time, z), predicted, atol=1e-4, rtol=1e-4)


def test_the_published_files_are_recognised_at_their_full_size() -> None:
    with torch.device("meta"):
        tensors = released(Shapes, LITE, 384, 12)
    lists = recorded("cascade_released_keys")
    for each, part in zip(tensors[:2], ("stage_a", "stage_b_lite"), strict=True):
        assert cast(Shapes, each).listed() == {name: tuple(shape) for name, shape in lists[part]["state_dict"].items()}
    assert cast(Shapes, tensors[2]).listed() == cascade_encoder_shapes()
    conversion = convert([Checkpoint(Path(f"{index}.safetensors"), each) for index, each in enumerate(tensors)], None, {})
    packed = sum("in_proj" in name for name in tensors[1])  # tensors that become three
    assert len(conversion.mapped) == sum(map(len, tensors)) + 2 * packed
    assert conversion.dropped == ()
    found = {each.name: each.config for each in conversion.components}
    assert found["stage_b"]["block_out_channels"] == [320, 576, 1152, 1152]
    assert found["stage_b"]["num_attention_heads"][2:] == [18, 18]
    assert found["stage_a"]["bottleneck_blocks"] == 12
    assert conversion.lacks[0].startswith("previewer")


def test_all_three_files_are_needed_and_each_once() -> None:
    marks = {name: {mark: torch.zeros(1) for mark in marks} for name, marks in stable_cascade.MARKS.items()}
    with pytest.raises(InputError, match=r"stage_a.safetensors, stage_b\*.safetensors is missing; give"):
        convert([Checkpoint(Path("e.safetensors"), marks["encoder"])], None, {})
    with pytest.raises(InputError, match=r"b\.safetensors: is a second stage_b beside a\.safetensors"):
        convert([Checkpoint(Path(f"{name}.safetensors"), marks["stage_b"]) for name in "ab"], None, {})
