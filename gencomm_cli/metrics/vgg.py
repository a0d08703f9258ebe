"""The convolutions of VGG16 (Simonyan and Zisserman, 2015) with torchvision's state-dict keys, for LPIPS and DISTS."""

from __future__ import annotations

from torch import nn

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five stages, which have 2, 2, 3, 3 and 3 convolutions."""

TAPS = (3, 8, 15, 22, 29)
"""Index of the last ReLU of each stage: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""

POOLS = (4, 9, 16, 23)
"""Index of the pooling between two stages. torchvision's fifth, which nothing here follows, is left out."""


def vgg16() -> nn.Sequential:
    """The 30 layers up to relu5_3, with random weights; input [B, 3, H, W] with H and W at least 16."""
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in zip(WIDTHS, (2, 2, 3, 3, 3), strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)
