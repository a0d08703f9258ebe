"""DiffCom's priors: guided-diffusion's U-Net in diffusers' layout, and the two kinds of prediction."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models import UNet2DModel
from torch import Tensor

from gencomm_cli.diffusion.cosine import cosine_time
from gencomm_cli.diffusion.schedule import linear
from gencomm_cli.diffusion.steps import AncestralStep
from gencomm_cli.methods.diffcom.guided_diffusion import RELEASED, arguments, to_diffusers
from gencomm_cli.methods.diffcom.pixel_prior import clean_prior, noise_prior, pixel_prior, sides_multiple
from gencomm_cli.methods.diffcom.released_guided_diffusion import architecture
from gencomm_cli.presets import Component
from tests.support.published import VECTORS, recorded, recorded_state

SIZES: dict[str, Any] = {
    "size": 16, "width": 32, "blocks": 1, "multipliers": (1, 2), "attention": (16, 8), "head_channels": 16
}  # fmt: skip


def published(state: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
    """guided-diffusion's network of ``SIZES`` in plain functions, from its own tensor names."""

    def layer(name: str, x: Tensor) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if weight.ndim == 1:
            return F.group_norm(x, 32, weight, bias, 1e-5)
        if weight.ndim == 2:
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2) if weight.ndim == 4 else F.conv1d(x, weight, bias)

    def residual(name: str, x: Tensor, resize: str = "") -> Tensor:
        h = F.silu(layer(f"{name}.in_layers.0", x))
        if resize:
            x, h = (F.avg_pool2d(y, 2) if resize == "down" else F.interpolate(y, scale_factor=2.0) for y in (x, h))
        h = layer(f"{name}.in_layers.2", h)
        scale, shift = layer(f"{name}.emb_layers.1", F.silu(time))[:, :, None, None].chunk(2, 1)
        h = layer(f"{name}.out_layers.3", F.silu(layer(f"{name}.out_layers.0", h) * (1 + scale) + shift))
        return h + (layer(f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in state else x)

    def attention(name: str, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        q, k, v = layer(f"{name}.qkv", layer(f"{name}.norm", tokens)).unflatten(1, (-1, 3 * 16)).split(16, 2)
        weights = torch.einsum("bhct,bhcs->bhts", q, k).div(4).softmax(-1)
        return x + layer(f"{name}.proj_out", torch.einsum("bhts,bhcs->bhct", weights, v).flatten(1, 2)).view_as(x)

    angles = t[:, None] * torch.exp(-math.log(1e4) * torch.arange(16) / 16)
    time = layer("time_embed.2", F.silu(layer("time_embed.0", torch.cat([angles.cos(), angles.sin()], 1))))
    h = layer("input_blocks.0.0", x)
    skips = [h]
    for number in (1, 2, 3):
        h = residual(f"input_blocks.{number}.0", h, "down" if number == 2 else "")
        h = attention(f"input_blocks.{number}.1", h) if number != 2 else h
        skips.append(h)
    h = residual("middle_block.2", attention("middle_block.1", residual("middle_block.0", h)))
    for number in range(4):
        h = attention(f"output_blocks.{number}.1", residual(f"output_blocks.{number}.0", torch.cat([h, skips.pop()], 1)))
        h = residual("output_blocks.1.2", h, "up") if number == 1 else h
    return layer("out.2", F.silu(layer("out.0", h)))


def test_the_published_network_in_diffusers_layout() -> None:
    """Also compared once with the published program's own output, to 3e-6."""
    torch.manual_seed(0)
    config = arguments(**SIZES)
    unet = UNet2DModel(**config).eval()
    names = {"time_embed.0": (128, 32), "time_embed.2": (128, 128), "input_blocks.0.0": (32, 3, 3, 3), "out.0": (32,)}
    names |= {"out.2": (6, 32, 3, 3)}

    def block(name: str, before: int, after: int, attended: bool = True) -> None:
        names.update({
            f"{name}.0.in_layers.0": (before,), f"{name}.0.in_layers.2": (after, before, 3, 3),
            f"{name}.0.emb_layers.1": (2 * after, 128), f"{name}.0.out_layers.0": (after,),
            f"{name}.0.out_layers.3": (after, after, 3, 3),
        })  # fmt: skip
        if before != after:
            names[f"{name}.0.skip_connection"] = (after, before, 1, 1)
        if attended:
            names.update(
                {f"{name}.1.norm": (after,), f"{name}.1.qkv": (3 * after, after, 1), f"{name}.1.proj_out": (after, after, 1)}
            )

    block("input_blocks.1", 32, 32)
    block("input_blocks.2", 32, 32, attended=False)
    block("input_blocks.3", 32, 64)
    block("middle_block", 64, 64)
    block("middle", 64, 64, attended=False)  # middle_block.2
    block("up", 64, 64, attended=False)  # output_blocks.1.2
    for number, (before, after) in enumerate([(128, 64), (96, 64), (96, 32), (64, 32)]):
        block(f"output_blocks.{number}", before, after)
    renamed = {"middle.0": "middle_block.2", "up.0": "output_blocks.1.2"}
    state = {}
    for name, shape in names.items():
        for short, long in renamed.items():
            name = long + name.removeprefix(short) if name.startswith(f"{short}.") else name
        state[f"{name}.weight"] = torch.randn(shape) * (0.2 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5) + (
            len(shape) == 1
        )
        state[f"{name}.bias"] = torch.randn(shape[0]) * 0.1
    unet.load_state_dict(to_diffusers(state, config))
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 987])
    with torch.no_grad():
        torch.testing.assert_close(unet(x, t).sample, published(state, x, t), atol=2e-5, rtol=1e-4)


def test_released_tensors_fit_the_full_size() -> None:
    released = json.loads((VECTORS / "diffcom_unet_keys_ffhq_10m.json").read_text())
    config = arguments(**RELEASED["ffhq_10m"])
    with torch.device("meta"):
        ours = UNet2DModel(**config).state_dict()
        converted = to_diffusers({name: torch.empty(shape) for name, shape in released.items()}, config)
    assert {name: value.shape for name, value in converted.items()} == {name: value.shape for name, value in ours.items()}
    with pytest.raises(ValueError, match="is not in a network of these sizes"):
        to_diffusers({"label_emb.weight": torch.zeros(1)}, config)


def test_noise_prediction_inverts_the_forward_process_and_is_clamped() -> None:
    alpha_bar = linear()
    clean, noise = torch.rand(1, 3, 4, 4) * 1.8 - 0.9, torch.randn(1, 3, 4, 4)
    asked: list[int] = []

    def unet(x: Tensor, t: Tensor) -> Tensor:
        asked.append(int(t))
        return torch.cat([noise, torch.full_like(noise, -0.5)], 1)

    for t in (1, 300, 1000):
        a = float(alpha_bar[t])
        x_0, v = noise_prior(unet, alpha_bar)(a**0.5 * clean + (1 - a) ** 0.5 * noise, t)
        torch.testing.assert_close(x_0, clean, atol=2e-3 if t == 1000 else 1e-5, rtol=0)
        assert v is not None
        assert torch.equal(v, torch.full_like(noise, 0.25))
    assert asked == [0, 299, 999]
    assert float(noise_prior(unet, alpha_bar)(10 + noise, 1)[0].max()) == 1


def test_an_image_prediction_gets_the_time_of_equal_noise() -> None:
    alpha_bar = linear()

    def curve(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2

    asked: list[float] = []

    def network(x: Tensor, time: Tensor) -> Tensor:
        asked.append(float(time))
        return 2 * x

    x = torch.full((1, 3, 2, 2), 0.8)
    for t in (1, 40, 500, 1000):
        assert torch.equal(clean_prior(network, alpha_bar)(x, t)[0], torch.ones_like(x))
        assert curve(asked[-1]) == pytest.approx(float(alpha_bar[t]), rel=1e-3, abs=1e-6)
    assert cosine_time(1.0) == pytest.approx(0, abs=1e-9)


def test_recorded_numbers_of_the_network_and_of_a_step() -> None:
    """Their weights in diffusers' layout, found from their shapes; x̂_{0|t}, its variance, and the unguided step that follows."""
    _, vector = recorded("diffcom_unet_a")
    state = recorded_state(vector, "sd.")
    sizes = architecture(Path("unet.pt"), state, {"image_size": 32, "num_head_channels": 16})
    unet = UNet2DModel(**sizes).eval().requires_grad_(False)
    unet.load_state_dict(to_diffusers(state, sizes))
    torch.testing.assert_close(unet(vector["in.x"], vector["in.t"]).sample, vector["out.model"], atol=5e-5, rtol=0)
    alpha_bar = linear()
    prior = pixel_prior(unet, alpha_bar)
    assert sides_multiple(Component("prior", "UNet2DModel", None, "", sizes)) == 2
    for item, t in enumerate(vector["in.t"].tolist()):
        here = slice(item, item + 1)
        step = AncestralStep(float(alpha_bar[t + 1]), float(alpha_bar[t]))
        x_0, v = prior(vector["in.x"][here], t + 1)
        torch.testing.assert_close(x_0, vector["out.pred_xstart"][here], atol=1e-3, rtol=0)
        deviation = step.deviation(v)
        assert isinstance(deviation, Tensor)
        torch.testing.assert_close(2 * deviation.log(), vector["out.log_variance"][here], atol=2e-4, rtol=0)
        found = step.mean(vector["in.x"][here], x_0) + deviation * vector["in.noise"][here]
        torch.testing.assert_close(found, vector["out.sample"][here], atol=1e-4, rtol=0)
