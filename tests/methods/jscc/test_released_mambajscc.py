"""MambaJSCC, imported from two whole pickled modules, against its published layer list, scan, pairing and normalisation."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.errors import InputError
from gencomm_cli.networks.mamba import MambaConfig
from gencomm_cli.networks.mambajscc import MambaJSCC
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import convert
from tests.support.released import Import, Shapes, Weights, layer_norm, linear, recorded


@dataclass(frozen=True)
class Design:
    """What the authors' networks are told. ``adaptive``: ``ssm`` (the SNR enters the scan), ``no``, ``attn`` (a ModNet)."""

    adaptive: str
    dims: tuple[int, ...] = (8, 12)
    depths: tuple[int, ...] = (1, 2)
    states: int = 4
    code: int = 4


FULL = Design("ssm", (128, 192, 256, 320), (2, 2, 6, 2), 16, 32)
PERIOD = 2048
"""Tokens after which the published kernel puts the SNR in dB in place of the first state."""


def scan(weights: Weights, name: str, x: Tensor, snr: float, design: Design) -> Tensor:
    """h ← exp(δA) h + δ B u, y = C h + D u, along the rows and back: [B, C, H, W] → [B, H, W, C]."""
    batch, width, rows, columns = x.shape
    rank, states, length = ceil(width / 2 / 16), design.states, rows * columns
    flat = x.flatten(2)
    u = torch.stack([flat, flat.flip(2)], 1)  # [B, 2, C, L]
    mixed = torch.einsum("bkdl,kcd->bkcl", u, weights(f"{name}.x_proj_weight", 2, rank + 2 * states, width))
    steps, inputs, outputs = mixed.split([rank, states, states], 2)
    step = torch.einsum("bkrl,kdr->bkdl", steps, weights(f"{name}.dt_projs_weight", 2, width, rank))
    step = F.softplus(step + weights(f"{name}.dt_projs_bias", 2, width)[..., None])
    decay = -weights(f"{name}.A_logs", 2 * width, states).exp().view(2, width, states)
    direct = weights(f"{name}.Ds", 2 * width, mean=1.0).view(2, width, 1)
    h, found = x.new_zeros(batch, 2, width, states), []
    for t in range(length if x.device.type == "cpu" else 1):  # names and shapes need no steps
        if design.adaptive == "ssm" and t and t % PERIOD == 0:
            h[..., 0] = snr
        h = (step[..., t, None] * decay).exp() * h + (step * u)[..., t, None] * inputs[:, :, None, :, t]
        found.append((h * outputs[:, :, None, :, t]).sum(3))
    y = (torch.stack(found, 3) if len(found) == length else u) + direct * u
    merged: Tensor = (y[:, 0] + y[:, 1].flip(2)).transpose(1, 2).unflatten(1, (rows, columns))
    return merged


def blocks(weights: Weights, name: str, x: Tensor, depth: int, snr: float, design: Design) -> Tensor:
    width = x.shape[3]
    for number in range(depth):
        block = f"{name}.blocks.{number}"
        branch, gate = linear(weights, f"{block}.op.in_proj", layer_norm(weights, f"{block}.norm", x), 4 * width, False).chunk(2, 3)
        kernels, bias = weights(f"{block}.op.conv2d.weight", 2 * width, 1, 3, 3), weights(f"{block}.op.conv2d.bias", 2 * width)
        branch = F.gelu(F.conv2d(branch.permute(0, 3, 1, 2), kernels, bias, padding=1, groups=2 * width))
        y = layer_norm(weights, f"{block}.op.out_norm", scan(weights, f"{block}.op", branch, snr, design))
        x = x + linear(weights, f"{block}.op.out_proj", y * F.gelu(gate), width, False)
        hidden = F.gelu(linear(weights, f"{block}.extent.fc1", layer_norm(weights, f"{block}.norm_extent", x), width))
        x = x + linear(weights, f"{block}.extent.fc2", hidden, width)
    return x


def modulated(weights: Weights, name: str, x: Tensor, snr: float) -> Tensor:
    """The channel ModNet that SwinJSCC has too."""
    width = x.shape[3]
    hidden, y = int(1.5 * width), x
    for index in range(7):
        factor = torch.full((1, 1), snr, device=x.device)
        for place in (0, 2, 4):
            factor = linear(weights, f"{name}.bm_list.{index}.fc.{place}", factor, hidden)
            factor = factor.sigmoid() if place == 4 else factor.relu()
        y = linear(weights, f"{name}.sm_list.{index}", y, hidden) * factor
    return x * linear(weights, f"{name}.sm_list.7", y, width).sigmoid()


def pointwise(weights: Weights, name: str, x: Tensor, after: int) -> Tensor:
    return F.conv2d(x, weights(f"{name}.weight", after, x.shape[1], 1, 1), weights(f"{name}.bias", after))


def encode(weights: Weights, image: Tensor, snr: float, design: Design) -> Tensor:
    """[B, C, h, w], at its own power."""
    first = design.dims[0]
    kernels, bias = weights("encoder.patch_embed.0.weight", first, 3, 2, 2), weights("encoder.patch_embed.0.bias", first)
    x = layer_norm(weights, "encoder.patch_embed.2", F.conv2d(image, kernels, bias, 2).permute(0, 2, 3, 1))
    for stage, depth in enumerate(design.depths):
        name = f"encoder.layers.{stage}"
        x = blocks(weights, name, x, depth, snr, design)
        if stage < len(design.dims) - 1:
            around = [x[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
            x = layer_norm(weights, f"{name}.downsample.norm", torch.cat(around, 3))
            x = linear(weights, f"{name}.downsample.reduction", x, design.dims[stage + 1], False)
    x = modulated(weights, "encoder", x, snr) if design.adaptive == "attn" else x
    return pointwise(weights, "encoder.head", x.permute(0, 3, 1, 2), design.code)


def decode(weights: Weights, code: Tensor, snr: float, design: Design) -> Tensor:
    x = pointwise(weights, "decoder.head", code, design.dims[-1]).permute(0, 2, 3, 1)
    x = modulated(weights, "decoder", x, snr) if design.adaptive == "attn" else x
    for layer, stage in enumerate(reversed(range(len(design.dims)))):
        name, after = f"decoder.layers.{layer}", design.dims[stage - 1] if stage else 3
        x = layer_norm(weights, f"{name}.upsample.norm", blocks(weights, name, x, design.depths[stage], snr, design))
        x = linear(weights, f"{name}.upsample.increment", x, 4 * after, False)
        x = F.pixel_shuffle(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return x.permute(0, 3, 1, 2)


def save_modules(folder: Path, state: Mapping[str, Tensor], adaptive: str, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """``encoder…`` and ``decoder…`` as the program saves them: objects of classes that are not here when they are read."""
    paths = []
    with monkeypatch.context() as patch:
        program = ModuleType("models.network")
        patch.setitem(sys.modules, "models", ModuleType("models"))
        patch.setitem(sys.modules, "models.network", program)
        for part in ("encoder", "decoder"):
            for kind in ("Layer", f"Mamba_{part}"):
                setattr(program, kind, type(kind, (nn.Module,), {"__module__": "models.network"}))
            whole: nn.Module = getattr(program, f"Mamba_{part}")()
            for name, tensor in state.items():
                if name.startswith(f"{part}."):
                    *path, last = name.split(".")
                    inside: Any = whole
                    for step in path:
                        if step not in inside._modules:
                            inside.add_module(step, program.Layer())
                        inside = inside._modules[step]
                    inside.register_parameter(last, nn.Parameter(tensor))
            paths.append(folder / f"{part}OUTCHANS4_extentMLP_adp{adaptive}_SNR[1, 3]_typerayleigh.pt")
            torch.save(whole, paths[-1])
    return paths


@pytest.mark.parametrize(("adaptive", "size"), [("ssm", (64, 136)), ("no", (32, 48)), ("attn", (32, 32))])
@torch.no_grad()
def test_the_imported_codec_computes_what_the_published_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: Import, adaptive: str, size: tuple[int, int]
) -> None:
    design, weights, snr = Design(adaptive), Weights(), 13.0
    random = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, *size, generator=random)
    latent = encode(weights, image, snr, design)
    power = 2 * latent.square().mean()
    noise = 0.1 * torch.randn(latent.shape, generator=random)
    picture = decode(weights, latent + noise * power.sqrt(), snr, design)  # the power is restored
    assert picture.std() > 0.01
    if adaptive == "ssm":  # more than a period of tokens: the SNR is heard
        assert not torch.allclose(encode(weights, image, 1.0, design), latent, atol=1e-3)
    codec = cast(MambaJSCC, imported(*save_modules(tmp_path, weights, adaptive, monkeypatch))["codec"])
    told, count = torch.tensor([snr]), codec.symbols(1, size)
    upper, lower = latent.chunk(2, 2)  # the rows' upper half is real, the lower imaginary
    code = torch.complex(upper, lower).flatten(1)
    torch.testing.assert_close(codec.code(image, count, told), code, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(codec.encode(image, count, told), code / power.sqrt(), atol=1e-5, rtol=1e-4)
    heard = code + torch.complex(*noise.chunk(2, 2)).flatten(1) * power.sqrt()
    torch.testing.assert_close(codec.decode(heard, size, told), picture, atol=1e-5, rtol=1e-4)
    assert codec.conventions.restored


def released(design: Design) -> list[Checkpoint]:
    shapes = Shapes()
    code = encode(shapes, torch.empty(1, 3, 64, 64, device="meta"), 1.0, design)
    decode(shapes, code, 1.0, design)
    return [
        Checkpoint(Path(f"{part}.pt"), {name: tensor for name, tensor in shapes.items() if name.startswith(part)})
        for part in ("encoder", "decoder")
    ]


def test_the_transcription_has_the_recorded_names() -> None:
    lists = recorded("mambajscc_released_keys")
    for checkpoint, part in zip(released(FULL), ("encoder", "decoder"), strict=True):
        found = {name: list(tensor.shape) for name, tensor in checkpoint.tensors.items()}
        assert found == lists[part]


def test_the_published_size_and_what_is_missing() -> None:
    config = MambaConfig(3, 32, (128, 192, 256, 320), (2, 2, 6, 2), adaptation="released")
    files = released(FULL)
    assert MambaConfig(**convert(files, None, {"adaptation": "ssm"}).components[0].config["mamba"]) == config
    with pytest.raises(InputError, match="adaptation is None, of ssm, no, attn"):
        convert(files, None, {})
    with pytest.raises(InputError, match="0 files with MambaJSCC's decoder; give the encoder's and the decoder's"):
        convert(files[:1], None, {"adaptation": "ssm"})
