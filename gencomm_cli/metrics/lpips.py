"""LPIPS v0.1 (Zhang et al., 2018) with AlexNet, SqueezeNet 1.1 or VGG16 features, in plain torch.

The backbones carry torchvision's state-dict keys, so published weights load unchanged; torchvision itself is not needed.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.metrics import vgg

Backbone = Literal["alex", "squeeze", "vgg"]

MIN_SIDE = 32
"""Shorter images have no features after AlexNet's third pooling."""


class _Fire(nn.Module):
    """SqueezeNet's fire module: 1x1 squeeze, then 1x1 and 3x3 expansions side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


def _alexnet() -> tuple[nn.Sequential, tuple[int, ...], tuple[int, ...]]:
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    return layers, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256)


def _squeezenet() -> tuple[nn.Sequential, tuple[int, ...], tuple[int, ...]]:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    layers = nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool(),
        _Fire(64, 16, 64), _Fire(128, 16, 64), pool(),
        _Fire(128, 32, 128), _Fire(256, 32, 128), pool(),
        _Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256),
    )  # fmt: skip
    return layers, (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512)


def _vgg() -> tuple[nn.Sequential, tuple[int, ...], tuple[int, ...]]:
    return vgg.vgg16(), vgg.TAPS, vgg.WIDTHS


_BACKBONES = {"alex": _alexnet, "squeeze": _squeezenet, "vgg": _vgg}


class LPIPS(nn.Module):
    """Learned perceptual distance between images.

    Args:
        backbone: ``"alex"``, ``"squeeze"`` or ``"vgg"``.

    The module starts with random weights; :func:`gencomm_cli.metrics.weights.load_lpips` fills them in.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.features, self.taps, widths = _BACKBONES[backbone]()
        self.heads = nn.ParameterList([nn.Parameter(torch.full((1, width, 1, 1), 1.0 / width)) for width in widths])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)

    def embed(self, image: Tensor) -> list[Tensor]:
        """Unit-length features of ``image`` [B, 3, H, W] in [0, 1], one tensor a tapped layer."""
        x = ((2 * image - 1) - self.shift) / self.scale
        out = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                norm = x.float().square().sum(1, keepdim=True).sqrt()
                out.append(x / (norm + 1e-10))
        return out

    def forward(self, first: Tensor, second: Tensor, *, textures: bool = False) -> Tensor:
        """Distance [B] between two batches [B, 3, H, W] in [0, 1]; H and W at least 32.

        Args:
            textures: of features averaged over cells of 16 pixels, the last layer's positions: of which strokes there are, wherever
                in a cell they lie. Not LPIPS then, but a distance that is 0 between two samples of one texture.
        """
        both = [self.embed(first), self.embed(second)]
        if textures:
            rows, columns = both[0][-1].shape[2:]
            both = [[F.adaptive_avg_pool2d(each.float(), (rows, columns)) for each in some] for some in both]
        pairs = zip(*both, self.heads, strict=True)
        return torch.stack([((a - b).float().square() * head).sum(1).mean((1, 2)) for a, b, head in pairs]).sum(0)
