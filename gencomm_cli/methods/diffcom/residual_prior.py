"""The unconditional pixel prior of nano's recipe, around a Wiener filter.

    x_t ─► block DCT ─► Wiener filter ─────────────────────────────► x̂_{0|t}
                  └──► whitened ─► U-Net ─► in units of its error ─────┘

The filter is the best linear estimate from one block, in closed form for every noise level (variances v of the discrete cosine
transform). The network adds nothing at the start and learns what no such filter can.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gencomm_cli.networks.config import Config
from gencomm_cli.networks.residual_unet import TimedUNet, from_blocks, gaussian_estimate, to_blocks


@dataclass(frozen=True)
class ResidualPriorConfig(Config):
    """Constructor arguments of :class:`ResidualPrior`.

    Attributes:
        widths, depths: channels and residual blocks of each level on either way; the first is at half the picture's resolution.
        block: side of the filter's blocks in pixels.
    """

    widths: tuple[int, ...] = (64, 128, 192, 256)
    depths: tuple[int, ...] = (1, 2, 2, 2)
    time_width: int = 64
    block: int = 16

    @property
    def multiple(self) -> int:
        """Pixels that both sides of an image are multiples of."""
        return max(self.block, int(2 ** len(self.widths)))


class ResidualPrior(TimedUNet):
    """x̂_{0|t} = E[x_0 | x_t] of images [B, 3, H, W] in [−1, 1]."""

    mean: Tensor
    log_variances: Tensor

    def __init__(self, config: ResidualPriorConfig) -> None:
        super().__init__(1, config.widths, config.depths, config.time_width)
        self.config, self.multiple = config, config.multiple
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("log_variances", torch.zeros(3 * config.block**2, 1, 1))

    @torch.no_grad()
    def start_linear(self, images: Tensor) -> None:
        """Sets mean and variances to those of images like these [N, 3, H, W] in [−1, 1]."""
        self.mean.copy_(images.mean((0, 2, 3))[:, None, None])
        self.log_variances.copy_(
            to_blocks(images - self.mean, self.config.block).square().mean((0, 2, 3)).clamp_min(1e-9).log()[:, None, None]
        )

    def wiener(self, x: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the filter makes of x_t: itself whitened, the estimate, both [B, 3, H, W]; and the deviations of its error, which
        are those of the coefficients of :func:`to_blocks`."""
        mean, v = self.mean.float(), self.log_variances.float().exp()
        level = a.float()[:, None, None, None]
        white, linear, error = gaussian_estimate(to_blocks(x.float() - level.sqrt() * mean, self.config.block), v, level)
        return from_blocks(white, self.config.block), mean + from_blocks(linear, self.config.block), error

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        """x̂_{0|t}, float32.

        Args:
            x: x_t, sides multiples of ``multiple``. a: ᾱ_t [B].

        The network may have a number format of its own.
        """
        a = a.clamp(1e-6, 1 - 1e-6)
        with torch.autocast(x.device.type, enabled=False):
            white, linear, error = self.wiener(x, a)
        out = self.network(white.to(self.first.weight.dtype), torch.logit(a))
        with torch.autocast(x.device.type, enabled=False):
            return linear + from_blocks(error * to_blocks(out.float(), self.config.block), self.config.block)
