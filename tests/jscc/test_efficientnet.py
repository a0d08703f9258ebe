"""The EfficientNet-V2-S encoder against torchvision's published facts, a block written out by hand, and torchvision itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gencomm_cli.jscc.efficientnet import DEVIATION, MEAN, V2_S, EfficientNetEncoder, Stage, features
from tests.methods.conftest import randomise

PUBLISHED_PARAMETERS = 21_458_488
"""``num_params`` of torchvision's ``EfficientNet_V2_S_Weights.IMAGENET1K_V1``, its classifier of 1280 × 1000 + 1000 included."""


def test_the_published_size_and_names() -> None:
    with torch.device("meta"):
        encoder = EfficientNetEncoder()
    count = sum(p.numel() for p in encoder.backbone.parameters())
    assert count == PUBLISHED_PARAMETERS - (1280 * 1000 + 1000) == 20_177_488
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    # A Fused-MBConv that does not expand, one that does, an MBConv, the last convolution and the mapper.
    for name, shape in {
        "backbone.0.0.weight": (24, 3, 3, 3),
        "backbone.0.1.running_var": (24,),
        "backbone.1.1.block.0.0.weight": (24, 24, 3, 3),
        "backbone.2.0.block.0.0.weight": (96, 24, 3, 3),
        "backbone.2.0.block.1.0.weight": (48, 96, 1, 1),
        "backbone.4.0.block.0.0.weight": (256, 64, 1, 1),
        "backbone.4.0.block.1.0.weight": (256, 1, 3, 3),
        "backbone.4.0.block.2.fc1.weight": (16, 256, 1, 1),
        "backbone.4.0.block.2.fc2.bias": (256,),
        "backbone.6.14.block.3.0.weight": (256, 1536, 1, 1),
        "backbone.7.0.weight": (1280, 256, 1, 1),
        "backbone.7.1.num_batches_tracked": (),
        "mapper.0.weight": (16, 1280, 1, 1),
        "mapper.1.running_mean": (16,),
    }.items():
        assert shapes[name] == shape, name
    assert not {"mapper.0.bias", "mapper.1.weight", "backbone.0.0.bias"} & set(shapes)
    assert [len(stage) for stage in list(encoder.backbone)[1:-1]] == [2, 4, 4, 6, 9, 15]  # type: ignore[arg-type]


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
