"""A look at SC-SIC's embedding without diffusion. Without diffusers too, which takes seconds to import."""

from __future__ import annotations

from torch import Tensor, nn


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
        return self.blocks(z)
