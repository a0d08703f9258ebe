"""EfficientNet-V2 (Tan & Le, 2021) as a semantic encoder: the image to a 16-channel embedding, 32 times smaller along each side.

State-dict keys are torchvision's (``efficientnet_v2_s().features``) and Stable Cascade's (``backbone.*``, ``mapper.*``), so that
published weights load unchanged; torchvision itself is not needed. Stochastic depth, which acts in training alone and has no
weights, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, which the published weights were trained with."""

FACTOR = 32
"""Pixels of the encoder's input per position of the embedding along each side."""

NORM_EPS = 1e-3

Kind = Literal["fused", "mb"]


@dataclass(frozen=True)
class Stage:
    """A row of that paper's table 4: ``layers`` blocks with 3 × 3 convolutions, of which the first one has the stride.

    Attributes:
        kind: ``fused`` (Fused-MBConv), or ``mb`` (MBConv with squeeze-and-excitation).
        expand: how many times wider a block is inside.
    """

    kind: Kind
    expand: int
    stride: int
    channels: int
    layers: int


V2_S = (
    Stage("fused", 1, 1, 24, 2), Stage("fused", 4, 2, 48, 4), Stage("fused", 4, 2, 64, 4),
    Stage("mb", 4, 2, 128, 6), Stage("mb", 6, 1, 160, 9), Stage("mb", 6, 2, 256, 15),
)  # fmt: skip
"""EfficientNet-V2-S."""


def _conv(inside: int, outside: int, kernel: int, stride: int = 1, *, groups: int = 1, active: bool = True) -> nn.Sequential:
    """Convolution, batch normalisation and (``active``) SiLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside, NORM_EPS),
    ]
    return nn.Sequential(*layers, *([nn.SiLU(inplace=True)] if active else []))


class _SqueezeExcitation(nn.Module):
    """Every channel is scaled by what an MLP makes of all channels' means."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(F.silu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class _Block(nn.Module):
    """Fused-MBConv or MBConv, with a shortcut where input and output have the same shape."""

    def __init__(self, stage: Stage, inside: int, stride: int) -> None:
        super().__init__()
        wide, outside = inside * stage.expand, stage.channels
        self.shortcut = stride == 1 and inside == outside
        if stage.kind == "mb":
            layers: list[nn.Module] = [
                _conv(inside, wide, 1),
                _conv(wide, wide, 3, stride, groups=wide),
                _SqueezeExcitation(wide, max(1, inside // 4)),
                _conv(wide, outside, 1, active=False),
            ]
        elif stage.expand > 1:
            layers = [_conv(inside, wide, 3, stride), _conv(wide, outside, 1, active=False)]
        else:
            layers = [_conv(inside, outside, 3, stride)]
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return x + out if self.shortcut else out


def features(stages: Sequence[Stage] = V2_S, stem: int = 24, width: int = 1280) -> nn.Sequential:
    """The feature extractor: image [B, 3, H, W] → [B, width, H/32, W/32] with V2-S's strides.

    Args:
        stages: its rows. stem: channels of the first convolution. width: channels of the last one.
    """
    layers: list[nn.Module] = [_conv(3, stem, 3, 2)]
    inside = stem
    for stage in stages:
        blocks = []
        for index in range(stage.layers):
            blocks.append(_Block(stage, inside, stage.stride if index == 0 else 1))
            inside = stage.channels
        layers.append(nn.Sequential(*blocks))
    return nn.Sequential(*layers, _conv(inside, width, 1))


class EfficientNetEncoder(nn.Module):
    """Z = E(X) (SC-SIC's section 3.1): features, then a 1 × 1 mapper whose channels are normalised to mean 0, variance 1.

    Args:
        channels: of Z. stages, stem, width: of :func:`features`; a stage may be given as a list of its fields.

    Raises:
        ValueError: the stages do not divide the image's sides by 32.
    """

    def __init__(
        self, channels: int = 16, stages: Sequence[Stage | Sequence[object]] = V2_S, stem: int = 24, width: int = 1280
    ) -> None:
        super().__init__()
        rows = [stage if isinstance(stage, Stage) else Stage(*stage) for stage in stages]  # type: ignore[arg-type]
        total = 2 * math.prod(row.stride for row in rows)
        if total != FACTOR:
            raise ValueError(f"stages: divide the sides by {total}; strides that make it {FACTOR} are needed")
        self.channels = channels
        self.backbone = features(rows, stem, width)
        self.mapper = nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=False))

    def forward(self, image: Tensor) -> Tensor:
        """Image [B, 3, H, W] in [0, 1], sides multiples of 32, to Z [B, channels, H/32, W/32]."""
        mean, deviation = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        return self.mapper(self.backbone((image - mean) / deviation))
