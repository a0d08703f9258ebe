"""SwinJSCC, imported in its four modes, against its published layer list, normalisation and choice of channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.errors import InputError
from gencomm_cli.networks.swinjscc import SwinJSCC, SwinJSCCConfig
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import convert
from tests.support.published import load
from tests.support.released import Import, Shapes, Weights, layer_norm, linear

MODES = ("wo_SAandRA", "w_SA", "w_RA", "w_SAandRA")


@dataclass(frozen=True)
class Design:
    """What the authors' ``SwinJSCC`` is told. ``side``: of the training images. ``code``: C where the rate is fixed."""

    mode: str
    dims: tuple[int, ...] = (8, 12, 16)
    depths: tuple[int, ...] = (2, 2, 1)
    heads: tuple[int, ...] = (2, 3, 4)
    window: int = 4
    side: int = 32
    code: int = 6

    @property
    def snr(self) -> bool:
        return self.mode in ("w_SA", "w_SAandRA")

    @property
    def rate(self) -> bool:
        return self.mode in ("w_RA", "w_SAandRA")


FULL = Design("w_SAandRA", (128, 192, 256, 320), (2, 2, 6, 2), (4, 6, 8, 10), 8, 256, 96)


def windows(x: Tensor, side: int) -> Tensor:
    """[B, H, W, C] → [B, windows, side², C], row by row."""
    batch, rows, columns, width = x.shape
    parts = [
        x[:, top : top + side, left : left + side].reshape(batch, side**2, width)
        for top in range(0, rows, side)
        for left in range(0, columns, side)
    ]
    return torch.stack(parts, 1)


def together(parts: Tensor, rows: int, columns: int, side: int) -> Tensor:
    batch, _, _, width = parts.shape
    squares = parts.view(batch, rows // side, columns // side, side, side, width)
    return torch.cat([torch.cat(list(row.unbind(1)), 2) for row in squares.unbind(1)], 1)


@lru_cache
def shift_mask(rows: int, columns: int, side: int) -> Tensor:
    """−100 between tokens of a window that were not neighbours before the shift [windows, side², side²]."""
    regions = torch.zeros(1, rows, columns, 1)
    cuts = (slice(0, -side), slice(-side, -(side // 2)), slice(-(side // 2), None))
    for number, (down, across) in enumerate((down, across) for down in cuts for across in cuts):
        regions[:, down, across] = number
    inside = windows(regions, side)[0, :, :, 0]
    return torch.where(inside[:, None] == inside[:, :, None], 0.0, -100.0)


@lru_cache
def relative_index(side: int) -> Tensor:
    """Row of the table for every pair of tokens: (Δrow + side − 1)(2 side − 1) + Δcolumn + side − 1."""
    tokens = [(row, column) for row in range(side) for column in range(side)]
    return torch.tensor([
        [(a[0] - b[0] + side - 1) * (2 * side - 1) + a[1] - b[1] + side - 1 for b in tokens] for a in tokens
    ])  # fmt: skip


def block(weights: Weights, name: str, x: Tensor, heads: int, side: int, shift: int, trained: int) -> Tensor:
    """A Swin block; ``trained``: tokens a side in the training images, of whose mask the file has a copy."""
    _, rows, columns, width = x.shape
    table = weights(f"{name}.attn.relative_position_bias_table", (2 * side - 1) ** 2, heads)
    index = weights.setdefault(f"{name}.attn.relative_position_index", relative_index(side))
    inside = windows(layer_norm(weights, f"{name}.norm1", x).roll((-shift, -shift), (1, 2)), side)
    qkv = linear(weights, f"{name}.attn.qkv", inside, 3 * width)
    q, k, v = qkv.unflatten(-1, (3, heads, width // heads)).permute(3, 0, 1, 4, 2, 5)
    scores = q * (width // heads) ** -0.5 @ k.transpose(-1, -2) + table[index].permute(2, 0, 1)
    if shift:
        weights.setdefault(f"{name}.attn_mask", shift_mask(trained, trained, side))
        scores = scores + shift_mask(rows, columns, side)[:, None].to(scores.device)
    seen = (scores.softmax(-1) @ v).transpose(2, 3).flatten(3)
    seen = together(linear(weights, f"{name}.attn.proj", seen, width), rows, columns, side)
    x = x + seen.roll((shift, shift), (1, 2))
    hidden = F.gelu(linear(weights, f"{name}.mlp.fc1", layer_norm(weights, f"{name}.norm2", x), 4 * width))
    return x + linear(weights, f"{name}.mlp.fc2", hidden, width)


def blocks(weights: Weights, name: str, x: Tensor, design: Design, stage: int) -> Tensor:
    """Every second block shifts its windows, unless one window was the whole picture in training."""
    trained = design.side // 2 ** (stage + 1)
    side = min(design.window, trained)
    for number in range(design.depths[stage]):
        shift = side // 2 if number % 2 and trained > design.window else 0
        x = block(weights, f"{name}.blocks.{number}", x, design.heads[stage], side, shift, trained)
    return x


def gates(weights: Weights, name: str, x: Tensor, told: float, number: str = "") -> Tensor:
    """A channel ModNet: 7 times a linear layer and factors that stand for what it is told; then what x is multiplied by."""
    width = x.shape[-1]
    hidden, y = int(1.5 * width), x
    for index in range(7):
        y = linear(weights, f"{name}.sm_list{number}.{index}", y, hidden)
        modulator = f"{name}.bm_list{number}.{index}.fc"
        factor = linear(weights, f"{modulator}.0", torch.full((1, 1), told, device=x.device, dtype=x.dtype), hidden).relu()
        factor = linear(weights, f"{modulator}.2", factor, hidden).relu()
        y = y * linear(weights, f"{modulator}.4", factor, hidden).sigmoid()
    return linear(weights, f"{name}.sm_list{number}.7", y, width).sigmoid()


def encode(weights: Weights, image: Tensor, snr: float, rate: float, design: Design) -> tuple[Tensor, Tensor]:
    """Features [B, rows, columns, C] and the gates of the rate modulation."""
    first = design.dims[0]
    kernels, bias = weights("encoder.patch_embed.proj.weight", first, 3, 2, 2), weights("encoder.patch_embed.proj.bias", first)
    x = F.conv2d(image, kernels, bias, 2).permute(0, 2, 3, 1)
    for stage, width in enumerate(design.dims):
        name = f"encoder.layers.{stage}"
        if stage:
            around = [x[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
            x = layer_norm(weights, f"{name}.downsample.norm", torch.cat(around, 3))
            x = linear(weights, f"{name}.downsample.reduction", x, width, False)
        x = blocks(weights, name, x, design, stage)
    x = layer_norm(weights, "encoder.norm", x)
    if not design.rate:  # the modes at one rate have a ModNet whether they use it or not
        factor = gates(weights, "encoder", x, snr)
        x = x * factor if design.snr else x
        return linear(weights, "encoder.head_list", x, design.code), torch.ones(())
    if design.snr:
        x = x * gates(weights, "encoder", x, snr, "1")
    factor = gates(weights, "encoder", x, rate)
    return x * factor, factor


def decode(weights: Weights, x: Tensor, snr: float, design: Design) -> Tensor:
    x = x if design.rate else linear(weights, "decoder.head_list", x, design.dims[-1])
    if design.snr or not design.rate:
        factor = gates(weights, "decoder", x, snr)
        x = x * factor if design.snr else x
    for layer, stage in enumerate(reversed(range(len(design.dims)))):
        name, after = f"decoder.layers.{layer}", design.dims[stage - 1] if stage else 3
        x = layer_norm(weights, f"{name}.upsample.norm", blocks(weights, name, x, design, stage))
        x = linear(weights, f"{name}.upsample.increment", x, 4 * after, False)
        x = F.pixel_shuffle(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return x.permute(0, 3, 1, 2)


def released(design: Design, new: type[Weights] = Shapes) -> Weights:
    """The whole file."""
    weights = new()
    side = min(design.side, design.window * 2 ** len(design.dims))  # of whole windows
    image = torch.zeros(1, 3, side, side, device="meta" if new is Shapes else "cpu")
    features, _ = encode(weights, image, 1.0, 1.0, design)
    decode(weights, features, 1.0, design)
    weights["distortion_loss.MS_SSIM.window"] = torch.ones(3, 1, 11, 11)
    return weights


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_the_imported_codec_computes_what_the_published_one_does(imported: Import, mode: str) -> None:
    design, weights, snr, rate = Design(mode), Weights(), 7.0, 5
    random = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 32, 64, generator=random)  # wider than the training images
    features, factors = encode(weights, image, snr, rate, design)
    channels = None
    if design.rate:
        scores = factors.sum((0, 1, 2))
        best = scores.sort(descending=True)
        assert best.values[rate - 1] - best.values[rate] > 1e-3  # else rounding would choose
        channels = torch.zeros(16, dtype=torch.bool).index_fill(0, best.indices[:rate], True)
        features = features[..., channels]
    flat = features.flatten()  # token by token; the first half is real
    count = len(flat) // 2
    power = 2 * flat.square().mean()
    noise = 0.1 * torch.randn(flat.shape, generator=random)
    heard = flat / power.sqrt() + noise  # of unit power with what the channel adds; then its power is restored
    there = torch.zeros(1, 4, 8, 16 if design.rate else design.code)
    there[..., slice(None) if channels is None else channels] = (heard * power.sqrt()).view(1, 4, 8, -1)
    picture = decode(weights, there, snr, design)
    assert picture.std() > 0.01
    weights["distortion_loss.MS_SSIM.window"] = torch.ones(3, 1, 11, 11)
    codec = cast(SwinJSCC, imported(weights, config=None if design.rate else {"snr": design.snr})["codec"])
    told, size = torch.tensor([snr]), (32, 64)
    assert codec.conventions.restored
    assert codec.symbols(count, size) == count
    code = codec.code(image, count, told, channels)
    torch.testing.assert_close(code, torch.complex(flat[:count], flat[count:])[None], atol=1e-5, rtol=1e-4)
    if channels is None:
        unit = flat / power.sqrt()
        torch.testing.assert_close(
            codec.encode(image, count, told), torch.complex(unit[:count], unit[count:])[None], atol=1e-5, rtol=1e-4
        )
    else:
        assert torch.equal(codec.choose(image, count, told), channels)
    received = torch.complex(heard[:count], heard[count:])[None] * power.sqrt()
    torch.testing.assert_close(codec.decode(received, size, told, channels), picture, atol=1e-5, rtol=1e-4)


def test_the_transcription_has_the_recorded_names() -> None:
    arguments, vector = load("swinjscc_sara_a")
    names = vector["state_names"].numpy().tobytes().decode().split("\n")
    given = arguments["encoder_kwargs"]
    dims, depths, heads = (tuple(given[name]) for name in ("embed_dims", "depths", "num_heads"))
    shapes = released(Design("w_SAandRA", dims, depths, heads, given["window_size"], given["img_size"][0]))
    computed = ("attn_mask", "relative_position_index", "MS_SSIM.window")  # which are not kept with the recorded numbers
    learnt = {name: tensor for name, tensor in shapes.items() if not name.endswith(computed)}
    assert set(names) == set(learnt)
    assert len(vector["state"]) == sum(tensor.numel() for tensor in learnt.values())


@pytest.mark.parametrize("mode", MODES)
def test_the_file_name_says_what_the_tensors_do_not(mode: str) -> None:
    design = replace(FULL, mode=mode)
    tensors = dict(released(design))
    conversion = convert([Checkpoint(Path(f"SwinJSCC_{mode}_AWGN_HRimage_snr10.model"), tensors)], None, {"choice": "bitonic"})
    found = SwinJSCCConfig.from_json(conversion.components[0].config)
    assert (found.dims, found.depths, found.heads) == (design.dims, design.depths, design.heads)
    assert (found.window, found.trained_size) == (8, 256)
    assert (found.snr, found.code_channels) == (design.snr, None if design.rate else 96)
    assert found.choice == "bitonic"
    if not design.rate:
        with pytest.raises(InputError, match=r"keep the released name, or give --config with snr: true"):
            convert([Checkpoint(Path("best.model"), tensors)], None, {})
    with pytest.raises(InputError, match="choice is old; stable or bitonic"):
        convert([Checkpoint(Path("w_SA.model"), tensors)], None, {"choice": "old"})
