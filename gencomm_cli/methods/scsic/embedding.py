"""What surrounds SC-SIC's embedding Z but its encoder and stage B: the scaled image, a look at Z, its reliability.

All without diffusers, which takes seconds to import and of which the transmitter needs nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.methods.scsic.efficientnet import FACTOR


class Previewer(nn.Module):
    """A look at Z without diffusion: [B, channels, h, w] → picture [B, 3, 8h, 8w]. The layers are those of Stable Cascade's
    previewer, under its names.

    Args:
        channels: of Z. hidden: of the first layers; a multiple of 4.
    """

    def __init__(self, channels: int = 16, hidden: int = 512) -> None:
        super().__init__()

        def active(layer: nn.Module, width: int) -> list[nn.Module]:
            return [layer, nn.GELU(), nn.BatchNorm2d(width)]

        layers = active(nn.Conv2d(channels, hidden, 1), hidden) + active(nn.Conv2d(hidden, hidden, 3, padding=1), hidden)
        width = hidden
        for narrower in (hidden // 2, hidden // 4, hidden // 4):
            layers += active(nn.ConvTranspose2d(width, narrower, 2, stride=2), narrower)
            layers += active(nn.Conv2d(narrower, narrower, 3, padding=1), narrower)
            width = narrower
        self.blocks = nn.Sequential(*layers, nn.Conv2d(width, 3, 1))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.blocks(z)
        return out


def resize(image: Tensor, grid: tuple[int, int], antialias: bool) -> Tensor:
    """The image [B, 3, H, W] as the encoder sees it: 32 pixels a position of the embedding's ``grid``.

    Args:
        antialias: a proper low-pass (bilinear) filter. Without it the nearest pixel is taken, as in Stable Cascade.
    """
    size = (FACTOR * grid[0], FACTOR * grid[1])
    if antialias:
        return F.interpolate(image, size, mode="bilinear", antialias=True).clamp(0, 1)
    return F.interpolate(image, size, mode="nearest")


def preview(previewer: Previewer, z: Tensor, size: tuple[int, int]) -> Tensor:
    """The previewer's picture of Z, stretched to [B, 3, H, W]."""
    return F.interpolate(previewer(z), size, mode="bicubic", antialias=True)


def with_reliability(z: Tensor, reliability: Tensor) -> Tensor:
    """Ẑ [B, C, h, w] and, as one more channel, the mean of each position's reals of the symbols' ``reliability`` [B, C·h·w / 2]."""
    plane = reliability.float().reshape(len(z), z.shape[1] // 2, *z.shape[2:]).mean(1, keepdim=True)
    return torch.cat([z, plane], 1)
