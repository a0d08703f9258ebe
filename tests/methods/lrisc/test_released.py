"""CDC, imported, against its published layer list: the transform with its hyperprior, and the U-Net."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.networks.conditional_unet import ConditionalUNet, UNetConfig
from gencomm_cli.networks.transform import NonlinearTransform, TransformConfig
from gencomm_cli.released.checkpoint import Checkpoint, read_checkpoint
from gencomm_cli.released.conversion import convert
from tests.support.released import Import, Shapes, Weights, linear, recorded

TRANSFORM, UNET = "context_fn", "denoise_fn"


@dataclass(frozen=True)
class Design:
    """What the authors' networks are built with: channels of each level, and of the U-Net's embedding of time."""

    encoder: tuple[int, ...] = (8, 12, 16)
    decoder: tuple[int, ...] = (10, 8, 6)
    last: int = 6
    hyper: tuple[int, int, int] = (12, 12, 14)
    unet: tuple[int, ...] = (8, 12, 16, 20)
    time: int = 16


SMALL = Design()
FULL = Design((64, 128, 192, 256), (192, 128, 64, 64), 64, (256, 256, 256), (64, 128, 192, 256, 320, 384), 64)


def conv(weights: Weights, name: str, x: Tensor, after: int, kernel: int, stride: int = 1, bias: bool = True) -> Tensor:
    kernels = weights(f"{name}.weight", after, x.shape[1], kernel, kernel)
    return F.conv2d(x, kernels, weights(f"{name}.bias", after) if bias else None, stride, kernel // 2)


def doubled(weights: Weights, name: str, x: Tensor, after: int, kernel: int = 4) -> Tensor:
    """A transposed convolution of stride 2."""
    kernels, bias = weights(f"{name}.weight", x.shape[1], after, kernel, kernel), weights(f"{name}.bias", after)
    return F.conv_transpose2d(x, kernels, bias, 2, kernel // 2 - (kernel == 4), kernel % 2)


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Of every pixel over its channels."""
    scale, shift = weights(f"{name}.g", 1, x.shape[1], 1, 1, mean=1.0), weights(f"{name}.b", 1, x.shape[1], 1, 1)
    return (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt() * scale + shift


def residual(weights: Weights, name: str, x: Tensor, after: int, time: Tensor | None = None, kernel: int = 3) -> Tensor:
    h = norm(weights, f"{name}.block1.block.1", conv(weights, f"{name}.block1.block.0", x, after, kernel)).relu()
    if time is not None:
        h = h + linear(weights, f"{name}.mlp.1", F.leaky_relu(time, 0.2), after)[:, :, None, None]
    h = norm(weights, f"{name}.block2.block.1", conv(weights, f"{name}.block2.block.0", h, after, 3)).relu()
    return h + (x if x.shape[1] == after else conv(weights, f"{name}.res_conv", x, after, 1))


def attention(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Linear attention with one head: keys are normalised over the positions."""
    width = x.shape[1]
    qkv = conv(weights, f"{name}.fn.fn.to_qkv", norm(weights, f"{name}.fn.norm", x), 3 * width, 1, bias=False)
    q, k, v = qkv.flatten(2).chunk(3, 1)
    context = torch.einsum("bdn,ben->bde", k.softmax(2), v)
    out = torch.einsum("bde,bdn->ben", context, q * width**-0.5).view(x.shape)
    return x + conv(weights, f"{name}.fn.fn.to_out", out, width, 1)


def latent(weights: Weights, x: Tensor, design: Design) -> Tensor:
    for level, width in enumerate(design.encoder):
        name = f"{TRANSFORM}.enc.{level}"
        x = residual(weights, f"{name}.0", x, width, kernel=3 if level else 7)
        x = conv(weights, f"{name}.1.conv", x, width, 3, 2)
    return x


def contexts(weights: Weights, z: Tensor, design: Design) -> list[Tensor]:
    """Finest first."""
    found: list[Tensor] = []
    for level, width in enumerate(design.decoder):
        name = f"{TRANSFORM}.dec.{level}"
        inner = design.last if level == len(design.decoder) - 1 else width
        z = doubled(weights, f"{name}.1.conv", residual(weights, f"{name}.0", z, inner), width)
        found.insert(0, z)
    return found


def logits(weights: Weights, y: Tensor) -> Tensor:
    """Of P(Y ≤ y), channel by channel."""
    width, sizes = y.shape[1], (1, 3, 3, 3, 1)
    x = y.transpose(0, 1).unsqueeze(-1)
    for layer, (before, after) in enumerate(pairwise(sizes)):
        name = f"{TRANSFORM}.prior.affine.{layer}"
        matrix, bias = weights(f"{name}.weight", width, 1, 1, before, after), weights(f"{name}.bias", width, 1, 1, 1, after)
        x = x @ F.softplus(matrix) + bias
        if layer < 3:
            x = x + weights(f"{TRANSFORM}.prior.a.{layer}", width, 1, 1, 1, after).tanh() * x.tanh()
    return x.squeeze(-1).transpose(0, 1)


def hyperprior(weights: Weights, z: Tensor, design: Design) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ŷ, its likelihood, and the mean and the deviation that it gives of z."""
    name, (first, second, last) = f"{TRANSFORM}.hyper", design.hyper
    h = F.leaky_relu(conv(weights, f"{name}_enc.0.0", z, first, 3), 0.2)
    h = F.leaky_relu(conv(weights, f"{name}_enc.1.0", h, second, 5, 2), 0.2)
    y = conv(weights, f"{name}_enc.2.0", h, last, 5, 2)
    medians = weights(f"{TRANSFORM}.prior._medians", 1, last, 1, 1)
    y = (y - medians).round() + medians
    likelihood = logits(weights, y + 0.5).sigmoid() - logits(weights, y - 0.5).sigmoid()
    h = F.leaky_relu(doubled(weights, f"{name}_dec.0.0", y, second, 5), 0.2)
    h = F.leaky_relu(doubled(weights, f"{name}_dec.1.0", h, first, 5), 0.2)
    mean, deviation = conv(weights, f"{name}_dec.2.0", h, 2 * z.shape[1], 3).chunk(2, 1)
    return y, likelihood, mean, deviation.clamp(min=0.1)


def unet(weights: Weights, x: Tensor, time: Tensor, given: list[Tensor], design: Design) -> Tensor:
    """The clean picture; ``time``: n/N of each picture."""
    hidden = F.gelu(linear(weights, f"{UNET}.time_mlp.0", time[:, None], 4 * design.time))
    t = linear(weights, f"{UNET}.time_mlp.2", hidden, design.time)
    kept = []
    for level, width in enumerate(design.unet):
        name = f"{UNET}.downs.{level}"
        x = torch.cat([x, given[level]], 1) if level < len(given) else x
        x = residual(weights, f"{name}.0", x, width, t, 3 if level else 7)
        x = attention(weights, f"{name}.2", residual(weights, f"{name}.1", x, width, t))
        kept.append(x)
        x = conv(weights, f"{name}.3.conv", x, width, 3, 2) if level < len(design.unet) - 1 else x
    width = design.unet[-1]
    x = attention(weights, f"{UNET}.mid_attn", residual(weights, f"{UNET}.mid_block1", x, width, t))
    x = residual(weights, f"{UNET}.mid_block2", x, width, t)
    for level, width in enumerate(reversed(design.unet[:-1])):
        name = f"{UNET}.ups.{level}"
        x = residual(weights, f"{name}.0", torch.cat([x, kept.pop()], 1), width, t)
        x = doubled(weights, f"{name}.3.conv", attention(weights, f"{name}.2", residual(weights, f"{name}.1", x, width, t)), width)
    return conv(weights, f"{UNET}.final_conv.1", norm(weights, f"{UNET}.final_conv.0", x), 3, 7)


def schedule(steps: int = 8193) -> Tensor:
    """ᾱ of the cosine schedule; its places are a little further apart than whole steps."""
    place = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    curve = ((place + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    betas = 1 - curve[1:] / curve[:-1]
    return (1 - betas.clamp(max=0.999)).cumprod(0).float()


def fill(weights: Weights, image: Tensor, design: Design) -> None:
    """Every tensor of the training object, without the averaging's prefix."""
    z = latent(weights, image, design)
    hyperprior(weights, z, design)
    unet(weights, image, torch.zeros(1, device=image.device), contexts(weights, z, design), design)


def released(design: Design = SMALL) -> Weights:
    weights = Weights()
    fill(weights, torch.rand(1, 3, 32, 32), design)
    return Weights(weights | {"train_alphas_cumprod": schedule(), "loss_fn_vgg.lin0.model.1.weight": torch.ones(1, 4, 1, 1)})


@torch.no_grad()
@pytest.mark.parametrize("design", [SMALL, replace(SMALL, last=8)], ids=["as published", "out_channels is not dim"])
def test_the_imported_networks_compute_what_the_published_ones_do(imported: Import, design: Design) -> None:
    weights, random = released(design), torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 64, 32, generator=random) * 2 - 1
    noise, time = torch.randn(1, 3, 64, 32, generator=random), torch.tensor([0.4])
    z = latent(weights, image, design)
    y, likelihood, mean, deviation = hyperprior(weights, z, design)
    ladder = contexts(weights, z, design)
    clean = unet(weights, noise, time, ladder, design)
    assert clean.std() > 0.01
    networks = imported(weights)
    ours, refiner = cast(NonlinearTransform, networks["transform"]), cast(ConditionalUNet, networks["unet"])
    torch.testing.assert_close(ours.encode(image), z, atol=1e-5, rtol=1e-4)
    rounded = ours.round_hyper(ours.hyper_encode(z))
    torch.testing.assert_close(rounded, y, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.prior.likelihood(rounded), likelihood, atol=1e-5, rtol=1e-4)
    for one, other in zip(ours.hyper_decode(rounded), (mean, deviation), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    normal = torch.distributions.Normal(mean.double(), deviation.double())
    bits = -(normal.cdf(z.double() + 0.5) - normal.cdf(z.double() - 0.5)).clamp(min=1e-9).log2().sum(1)
    torch.testing.assert_close(ours.information(z), bits.float(), atol=1e-4, rtol=1e-4)
    for one, other in zip(ours.contexts(z), ladder, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    coarse = ours.image(z, ladder)
    torch.testing.assert_close(refiner(noise, time, ladder, coarse), clean, atol=1e-5, rtol=1e-4)
    assert coarse.abs().max() == 0  # grey, until it is trained


def test_the_transcription_has_the_recorded_names() -> None:
    shapes = Shapes()
    fill(shapes, torch.empty(1, 3, 64, 64, device="meta"), FULL)
    names = recorded("cdc_xparam_full_keys")
    assert shapes.listed() == {name: tuple(shape) for name, shape in names.items() if not name.startswith("train_")}


def test_the_averaged_copy_is_taken_and_the_rest_reported(tmp_path: Path) -> None:
    tensors = released()
    averaged = {f"ema_model.{name}": tensor for name, tensor in tensors.items()}
    trained = {f"online_model.{name}": torch.zeros_like(tensor) for name, tensor in tensors.items()}
    path = tmp_path / "cdc.pt"
    torch.save({"step": 7, "ema": averaged | trained | {"initted": torch.tensor(True), "step": torch.tensor(7)}}, path)
    conversion = convert([read_checkpoint(path)], None, {})
    reasons = dict(conversion.dropped)
    assert reasons["online_model.denoise_fn.time_mlp.0.weight"] == "beside the averaged weights"
    assert reasons["train_alphas_cumprod"] == "a buffer of the noise schedule, which is computed"
    assert reasons["loss_fn_vgg.lin0.model.1.weight"] == "LPIPS, the loss of training"
    assert conversion.settings == {"steps": 65, "start_noise": 0.8}
    assert "transform.to_latent.weight = 1" in conversion.missed
    component = next(each for each in conversion.components if each.name == "unet")
    assert torch.equal(component.tensors["time_mlp.0.weight"], tensors["denoise_fn.time_mlp.0.weight"])


def test_the_full_size_is_recognised() -> None:
    shapes = Shapes()
    fill(shapes, torch.empty(1, 3, 64, 64, device="meta"), FULL)
    tensors = {**shapes, "train_alphas_cumprod": schedule()}
    conversion = convert([Checkpoint(Path("cdc.pt"), tensors)], None, {})
    found = {each.name: each.config for each in conversion.components}
    assert TransformConfig.from_json(found["transform"]) == TransformConfig(coarse=True)
    assert UNetConfig.from_json(found["unet"]) == UNetConfig()


def test_another_schedule_and_a_damaged_file() -> None:
    tensors = released()
    with pytest.raises(InputError, match="its schedule has 20000 steps, not the 8193"):
        convert([Checkpoint(Path("cdc.pt"), {**tensors, "train_alphas_cumprod": torch.rand(20000)})], None, {})
    tensors.pop("context_fn.hyper_enc.1.0.bias")
    with pytest.raises(ModelMismatch, match="is it whole"):
        convert([Checkpoint(Path("cdc.pt"), tensors)], None, {})
