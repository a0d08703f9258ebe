"""The EfficientNet-V2-S encoder against torchvision's published facts, a block written out by hand, and torchvision itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gencomm_cli.methods.scsic.efficientnet import DEVIATION, MEAN, V2_S, EfficientNetEncoder, Stage, features
from tests.support.presets import randomise

PUBLISHED_PARAMETERS = 21_458_488
"""``num_params`` of torchvision's ``EfficientNet_V2_S_Weights.IMAGENET1K_V1``, its classifier of 1280 × 1000 + 1000 included."""


TABLE = (
    ("fused", 1, 24, 2), ("fused", 4, 48, 4), ("fused", 4, 64, 4), ("mb", 4, 128, 6), ("mb", 6, 160, 9), ("mb", 6, 256, 15),
)  # fmt: skip
"""EfficientNet-V2 (Tan & Le, 2021), table 4: kind of block, expansion, channels, layers; strides have no part in the shapes."""

Shapes = dict[str, tuple[int, ...]]


def torchvision_shapes() -> Shapes:
    """Every tensor of ``efficientnet_v2_s().features`` by torchvision's names, written from its published layout: a stage is
    ``features.{stage}.{block}.block.{step}``; a step is a convolution (0) and a normalisation (1), or squeeze-and-excitation."""
    shapes: Shapes = {}

    def step(name: str, outside: int, inside: int, kernel: int) -> None:
        shapes[f"{name}.0.weight"] = (outside, inside, kernel, kernel)
        shapes.update({f"{name}.1.{kind}": (outside,) for kind in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.1.num_batches_tracked"] = ()

    step("0", 24, 3, 3)
    inside = 24
    for stage, (kind, expand, outside, layers) in enumerate(TABLE, 1):
        for block in range(layers):
            name, wide, squeezed = f"{stage}.{block}.block", inside * expand, inside // 4
            if kind == "mb":
                step(f"{name}.0", wide, inside, 1)
                step(f"{name}.1", wide, 1, 3)  # depthwise
                shapes |= {f"{name}.2.fc1.weight": (squeezed, wide, 1, 1), f"{name}.2.fc1.bias": (squeezed,)}
                shapes |= {f"{name}.2.fc2.weight": (wide, squeezed, 1, 1), f"{name}.2.fc2.bias": (wide,)}
                step(f"{name}.3", outside, wide, 1)
            elif expand == 1:
                step(f"{name}.0", outside, inside, 3)
            else:
                step(f"{name}.0", wide, inside, 3)
                step(f"{name}.1", outside, wide, 1)
            inside = outside
    step("7", 1280, inside, 1)
    return shapes


def cascade_encoder_shapes() -> Shapes:
    """Every tensor of Stable Cascade's ``effnet_encoder.safetensors``: the same as ``backbone``, and a mapper to 16 channels whose
    normalisation has no weights of its own."""
    mapper: Shapes = {
        "mapper.0.weight": (16, 1280, 1, 1), "mapper.1.running_mean": (16,), "mapper.1.running_var": (16,),
        "mapper.1.num_batches_tracked": (),
    }  # fmt: skip
    return {f"backbone.{name}": shape for name, shape in torchvision_shapes().items()} | mapper


def test_the_published_size_names_and_shapes() -> None:
    theirs = torchvision_shapes()
    counts = {name: math.prod(shape) for name, shape in theirs.items()}
    learnt = sum(count for name, count in counts.items() if "running" not in name and "batches" not in name)
    assert learnt == PUBLISHED_PARAMETERS - (1280 * 1000 + 1000) == 20_177_488
    with torch.device("meta"):
        encoder = EfficientNetEncoder()
    assert {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()} == cascade_encoder_shapes()


def test_against_torchvision() -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed; it has no build for every machine")
    theirs, ours = models.efficientnet_v2_s().features.eval(), features().eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-5, atol=1e-6)


def test_a_block_of_each_kind_written_out() -> None:
    stages = (Stage("fused", 1, 1, 4, 1), Stage("fused", 4, 2, 4, 2), Stage("mb", 4, 2, 8, 2))
    net = features(stages, 4, 12).double().eval()
    randomise(net, 1)
    weights = {name: tensor.double() for name, tensor in net.state_dict().items()}

    def conv(x: torch.Tensor, name: str, stride: int = 1, groups: int = 1) -> Any:
        kernel = weights[f"{name}.0.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
        scale = weights[f"{name}.1.weight"] / (weights[f"{name}.1.running_var"] + 1e-3).sqrt()
        shift = weights[f"{name}.1.bias"] - weights[f"{name}.1.running_mean"] * scale
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    def swish(x: torch.Tensor) -> torch.Tensor:
        return x / (1 + torch.exp(-x))

    def mb(x: torch.Tensor, name: str, stride: int) -> Any:
        x = swish(conv(x, f"{name}.block.0"))
        x = swish(conv(x, f"{name}.block.1", stride, groups=x.shape[1]))
        mean = x.mean((2, 3))
        hidden = swish(mean @ weights[f"{name}.block.2.fc1.weight"][:, :, 0, 0].T + weights[f"{name}.block.2.fc1.bias"])
        scale = hidden @ weights[f"{name}.block.2.fc2.weight"][:, :, 0, 0].T + weights[f"{name}.block.2.fc2.bias"]
        return conv(x / (1 + torch.exp(-scale))[..., None, None], f"{name}.block.3")

    image = torch.rand(2, 3, 32, 48, dtype=torch.float64)
    x = swish(conv(image, "0", 2))
    x = x + swish(conv(x, "1.0.block.0"))
    x = conv(swish(conv(x, "2.0.block.0", 2)), "2.0.block.1")
    x = x + conv(swish(conv(x, "2.1.block.0")), "2.1.block.1")
    x = mb(x, "3.0", 2)
    x = x + mb(x, "3.1", 1)
    expected = swish(conv(x, "4"))
    with torch.no_grad():
        torch.testing.assert_close(net(image), expected, rtol=1e-10, atol=1e-12)


def test_the_encoder_normalises_its_input_and_its_channels() -> None:
    rows = [["fused", 1, 1, 4, 1], ["fused", 2, 2, 4, 1], ["fused", 2, 2, 8, 1], ["mb", 2, 2, 8, 1], ["mb", 2, 2, 8, 1]]
    encoder = EfficientNetEncoder(6, rows, 4, 16)
    randomise(encoder, 2)
    image = torch.rand(8, 3, 64, 96)
    z = encoder.train()(image)
    assert z.shape == (8, 6, 2, 3)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(6), atol=1e-3, rtol=0)
    encoder.eval()
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    torch.testing.assert_close(encoder(image), encoder.mapper(encoder.backbone((image - mean) / deviation)))
    with pytest.raises(ValueError, match="divide the sides by 16"):
        EfficientNetEncoder(6, V2_S[:-1])
