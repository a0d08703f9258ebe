"""The x-prediction U-Net of LRISC (arXiv:2504.21577, section III-A) around its linear optimum.

    x_n, c ─► block DCT ─► LMMSE estimate of x_0 ────────────────────────────────────┬─► X_θ
                  ▲  └──► whitened ─► U-Net, contexts c_0 … ─► in units of its error ┘
                  └ v: variances of x_0 − c, from the contexts: by frequency, place, rate and SNR

x_0 given what was received is taken to be Gaussian, of the coarse image's mean c and of variances v in the discrete cosine
transform of blocks: that much a network then need not learn (Karras et al., arXiv:2206.00364, precondition for the same reason),
and what the sampler adds is coloured and placed as the missing detail is, however many steps it takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.diffusion.cosine import alpha_bar_at
from gencomm_cli.networks.autoencoder import ResidualBlock
from gencomm_cli.networks.conditional_unet import Attention
from gencomm_cli.networks.config import Config
from gencomm_cli.networks.layers import zeroed

BLOCK = 8
"""Side of the transform's blocks in pixels."""
LOG_VARIANCES = (-14.0, 1.0)
"""Between which log v is held."""


@dataclass(frozen=True)
class ResidualUNetConfig(Config):
    """Constructor arguments of :class:`ResidualUNet`.

    Attributes:
        widths, depths: channels and residual blocks of each level on either way; the first is at half the picture's resolution.
        context_widths: of the contexts of these levels, and of coarser ones that are left out.
    """

    widths: tuple[int, ...] = (64, 128, 160)
    depths: tuple[int, ...] = (2, 2, 1)
    context_widths: tuple[int, ...] = (64, 128, 128, 128)
    time_width: int = 64


class TimedBlock(ResidualBlock):
    """A residual block whose inner features are shifted by the noise level's embedding [B, T]."""

    def __init__(self, width: int, time_width: int) -> None:
        super().__init__(width)
        self.shift = nn.Linear(time_width, width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        inner = self.first(F.silu(x)) + self.shift(time)[:, :, None, None]
        return x + self.gain * self.second(F.silu(inner))


class TimedUNet(nn.Module):
    """A U-Net without normalisation, from half the picture's resolution down; attention at the lowest one alone.

    Args:
        images: that are seen together, of three channels each. time: width of the noise level's embedding.
    """

    def __init__(self, images: int, widths: Sequence[int], depths: Sequence[int], time: int) -> None:
        super().__init__()
        self.multiple = max(BLOCK, 2 ** len(widths))
        self.time = nn.Sequential(nn.Linear(1, 4 * time), nn.SiLU(), nn.Linear(4 * time, time), nn.SiLU())
        self.first = nn.Conv2d(images * 3 * 4, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(before, after, 3, 2, 1) for before, after in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(after, before, 4, 2, 1) for before, after in pairwise(widths))
        self.downs, self.ups = (
            nn.ModuleList(
                nn.ModuleList(TimedBlock(width, time) for _ in range(depth)) for width, depth in zip(widths, depths, strict=True)
            )
            for _ in range(2)
        )
        self.attention = Attention(widths[-1])
        self.last = nn.Sequential(nn.SiLU(), zeroed(nn.Conv2d(widths[0], 12, 3, padding=1)))

    def network(self, x: Tensor, level: Tensor, contexts: Sequence[Tensor] = ()) -> Tensor:
        """[B, 3 · images, H, W] → [B, 3, H, W].

        Args:
            level: log ᾱ/(1 − ᾱ) [B]. contexts: what is added to the features on the way down, the finest first.
        """
        time, skips = self.time((level[:, None] / 4).to(x.dtype)), []
        h = self.first(F.pixel_unshuffle(x, 2))
        for index, blocks in enumerate(self.downs):
            h = self.down[index - 1](h) if index else h
            h = h + contexts[index] if contexts else h
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, time)
            skips.append(h)
        h = self.attention(skips.pop())
        for index in reversed(range(len(self.ups))):
            for block in self.ups[index]:  # type: ignore[attr-defined]
                h = block(h, time)
            if index:
                h = self.up[index - 1](h) + skips.pop()
        return F.pixel_shuffle(self.last(h), 2)


class ResidualUNet(TimedUNet):
    """X_θ(x_n, ẑ, n/N): the clean image, from a noisy one, the contexts and the coarse image that stand for ẑ; in [−1, 1]."""

    def __init__(self, config: ResidualUNetConfig) -> None:
        super().__init__(2, config.widths, config.depths, config.time_width)
        self.config = config
        self.contexts = nn.ModuleList(
            nn.Conv2d(before, after, 1) for before, after in zip(config.context_widths, config.widths, strict=False)
        )
        self.log_variances = zeroed(nn.Conv2d(config.context_widths[2], 3 * BLOCK**2, 1))

    @torch.no_grad()
    def start_linear(self, residuals: Tensor) -> None:
        """Sets v to what it is over x_0 − c of images like these [N, 3, H, W], wherever and at whatever rate and SNR."""
        self.log_variances.bias.copy_(to_blocks(residuals).square().mean((0, 2, 3)).log())  # type: ignore[union-attr]

    def variances(self, contexts: Sequence[Tensor]) -> Tensor:
        """v [B, 3 · 64, H/8, W/8], in the order of :func:`to_blocks`."""
        return self.log_variances(contexts[2]).float().clamp(*LOG_VARIANCES).exp()

    def surprise(self, residual: Tensor, contexts: Sequence[Tensor]) -> Tensor:
        """−log p(x_0 − c) in nats a number, but for a constant, under the variances v: the loss that they learn by, alone.

        Args:
            residual: x_0 − c [B, 3, H, W].
        """
        v = self.variances([context.detach() for context in contexts])
        return 0.5 * (v.log() + to_blocks(residual.detach()).square() / v).mean()

    def forward(self, x: Tensor, time: Tensor, contexts: Sequence[Tensor], coarse: Tensor) -> Tensor:
        """X_θ(x_n, ẑ, n/N).

        Args:
            x: [B, 3, H, W], sides multiples of ``multiple``. time: n/N in 0 … 1, [B].
            contexts: [B, width, H/2^(level + 1), W/2^(level + 1)]. coarse: c [B, 3, H, W].

        The networks may have a number format of their own; the result has x's.
        """
        dtype = next(self.parameters()).dtype
        contexts = [context.to(dtype) for context in contexts]
        with torch.autocast(x.device.type, enabled=False):
            a = alpha_bar_at(time).clamp(1e-6, 1 - 1e-6).float()
            level, a = torch.logit(a), a[:, None, None, None]
        v = self.variances(contexts).detach()
        with torch.autocast(x.device.type, enabled=False):
            seen = to_blocks(x.float() - a.sqrt() * coarse.float())
            white, linear, error = gaussian_estimate(seen, v, a)
        added = [context(given) for context, given in zip(self.contexts, contexts, strict=False)]
        out = self.network(torch.cat([from_blocks(white), coarse.float()], 1).to(dtype), level, added)
        with torch.autocast(x.device.type, enabled=False):
            return (coarse + from_blocks(linear + error * to_blocks(out.float()))).to(x.dtype)


def gaussian_estimate(seen: Tensor, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What ``seen`` = √ᾱ s + √(1 − ᾱ) ε says of independent s ~ N(0, v): itself in units of its deviation, the mean of s given it
    (a Wiener filter), and the standard deviation of s around that, elementwise."""
    total = v * a + 1 - a
    return seen / total.sqrt(), v * a.sqrt() / total * seen, (v * (1 - a) / total).sqrt()


def to_blocks(image: Tensor, side: int = BLOCK) -> Tensor:
    """The orthonormal cosine transform of square blocks of brightness and two colour differences: [B, 3 side², H/side, W/side]."""
    return F.conv2d(image, _basis(side, image.device), stride=side)


def from_blocks(values: Tensor, side: int = BLOCK) -> Tensor:
    """Inverse of :func:`to_blocks`."""
    return F.conv_transpose2d(values, _basis(side, values.device), stride=side)


@lru_cache(maxsize=8)
def _basis(side: int, device: torch.device) -> Tensor:
    """[3 side², 3, side, side], float32."""
    place = torch.arange(side, dtype=torch.float64)
    cosines = torch.cos(math.pi / side * (place + 0.5) * place[:, None]) * (2 / side) ** 0.5
    cosines[0] /= 2**0.5
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    colours /= colours.square().sum(1, keepdim=True).sqrt()
    basis = torch.einsum("kc,iy,jx->kijcyx", colours, cosines, cosines)
    return basis.reshape(3 * side**2, 3, side, side).float().to(device)
