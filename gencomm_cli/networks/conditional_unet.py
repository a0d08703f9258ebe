"""The x-prediction U-Net of LRISC, conditioned on a latent at several scales (arXiv:2504.21577, section III-A; Yang & Mandt, 2023).

    contexts  c_0 ────┐      c_1 ────┐      c_2 ────┐      c_3 ────┐
    x_n ──► [cat, 2 ResNet, attention] ▼ [cat, …] ▼ [cat, …] ▼ [cat, …] ▼ […] ▼ […] ─► ResNet, attention, ResNet
    X(x_n, n/N) ◄── 7×7 ◄── norm ◄─ ▲ [2 ResNet, attention] ◄── ▲ […] ◄── … ◄── ▲ […] ◄───────────┘

As in the published program, the lowest level has no unit on the way up: the middle has its place. (LRISC's paper says six units
either way.)

Modules carry the state dict's names of the published program (``downs.0.0.block1.block.0.weight``, …).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.diffusion.cosine import alpha_bar_at
from gencomm_cli.networks.config import Config
from gencomm_cli.networks.layers import named


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)
        return F.layer_norm(last, last.shape[3:], self.g.flatten(), self.b.flatten(), 1e-5).permute(0, 3, 1, 2)


def _block(before: int, after: int, kernel: int) -> nn.Module:
    """Convolution, normalisation, ReLU."""
    return named(block=nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2), ChannelNorm(after), nn.ReLU()))


class ResnetBlock(nn.Module):
    """Two convolutions beside a skip; the embedding of time, if there is one, is added between them."""

    def __init__(self, before: int, after: int, time_width: int = 0, kernel: int = 3) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.LeakyReLU(0.2), nn.Linear(time_width, after)) if time_width else None
        self.block1 = _block(before, after, kernel)
        self.block2 = _block(after, after, 3)
        self.res_conv = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.block1(x)
        if self.mlp is not None:
            h = h + self.mlp(time)[:, :, None, None]
        return self.block2(h) + self.res_conv(x)


class LinearAttention(nn.Module):
    """Attention in time linear in the positions: keys are normalised over positions, then summarised [Shen et al., 2021]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = channels**-0.5
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.to_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).flatten(2).chunk(3, 1)
        summary = k.softmax(-1) @ v.transpose(1, 2)  # [B, channels of k, channels of v]
        return self.to_out((summary.transpose(1, 2) @ (q * self.scale)).unflatten(2, x.shape[2:]))


class Attention(nn.Module):
    """x + attention of the normalised x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fn = named(fn=LinearAttention(channels), norm=ChannelNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        attention, norm = self.fn
        return x + attention(norm(x))


def downsample(channels: int) -> nn.Module:
    """Halves the picture by a strided convolution."""
    return named(conv=nn.Conv2d(channels, channels, 3, 2, 1))


def upsample(channels: int, after: int) -> nn.Module:
    """Doubles the picture by a transposed convolution."""
    return named(conv=nn.ConvTranspose2d(channels, after, 4, 2, 1))


@dataclass(frozen=True)
class UNetConfig(Config):
    """Constructor arguments of :class:`ConditionalUNet`; the defaults are the paper's sizes.

    Attributes:
        widths: channels of each level. context_widths: of the contexts of the first levels.
        fold: the image is taken apart into fold × fold phases, stacked as channels (1: not).
        kernel: of the first and the last convolution.
        variances: (v_c, v_u), see :meth:`ConditionalUNet.forward`; None for the bare network, as published.
        outer_skip: the first level's features join the last ones too, in one more ResNet block. Published, they do not; but of a
            folded image they hold all the detail.
    """

    widths: tuple[int, ...] = (64, 128, 192, 256, 320, 384)
    context_widths: tuple[int, ...] = (64, 64, 128, 192)
    fold: int = 1
    kernel: int = 7
    time_width: int = 64
    variances: tuple[float, float] | None = None
    outer_skip: bool = False

    @property
    def multiple(self) -> int:
        """Pixels that both sides of an image are multiples of."""
        return int(self.fold * 2 ** (len(self.widths) - 1))


class ConditionalUNet(nn.Module):
    """X_θ(x_n, ẑ, n/N): the clean image, from a noisy one and the contexts that stand for ẑ; images in [−1, 1]."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config, self.multiple = config, config.multiple
        widths, time = config.widths, config.time_width
        contexts = [*config.context_widths, *[0] * (len(widths) - len(config.context_widths))]
        pixels = 3 * config.fold**2
        self.time_mlp = nn.Sequential(nn.Linear(1, 4 * time), nn.GELU(), nn.Linear(4 * time, time))
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, (before, after) in enumerate(pairwise((pixels, *widths))):
            self.downs.append(
                nn.ModuleList([
                    ResnetBlock(before + contexts[level], after, time, config.kernel if level == 0 else 3),
                    ResnetBlock(after, after, time),
                    Attention(after),
                    downsample(after) if level < len(widths) - 1 else nn.Identity(),
                ])
            )  # fmt: skip
        self.mid_block1 = ResnetBlock(widths[-1], widths[-1], time)
        self.mid_attn = Attention(widths[-1])
        self.mid_block2 = ResnetBlock(widths[-1], widths[-1], time)
        for after, before in reversed(list(pairwise(widths))):
            blocks = ResnetBlock(2 * before, after, time), ResnetBlock(after, after, time)
            self.ups.append(nn.ModuleList([*blocks, Attention(after), upsample(after, after)]))
        self.outer = ResnetBlock(2 * widths[0], widths[0], time) if config.outer_skip else None
        self.final_conv = nn.Sequential(
            ChannelNorm(widths[0]), nn.Conv2d(widths[0], pixels, config.kernel, padding=config.kernel // 2)
        )

    def no_contexts(self, batch: int, size: tuple[int, int]) -> list[Tensor]:
        """What stands for contexts where there is no condition: zeros, for images of ``size`` (H, W)."""
        fold, device = self.config.fold, next(self.parameters()).device
        return [
            torch.zeros(batch, width, size[0] // fold >> level, size[1] // fold >> level, device=device)
            for level, width in enumerate(self.config.context_widths)
        ]

    def network(self, x: Tensor, time: Tensor, contexts: Sequence[Tensor]) -> Tensor:
        """The bare U-Net: x [B, 3, H, W], time [B], contexts [B, width, H/fold/2^level, W/fold/2^level] → [B, 3, H, W].

        Contexts that are finer than the folded image come first and are left out.
        """
        contexts = contexts[len(contexts) - len(self.config.context_widths) :]
        t = self.time_mlp(time[:, None])
        h = F.pixel_unshuffle(x, self.config.fold)
        skips = []
        for level, parts in enumerate(self.downs):
            first, second, attention, down = cast(nn.ModuleList, parts)
            if level < len(contexts):
                h = torch.cat([h, contexts[level]], 1)
            h = attention(second(first(h, t), t))
            skips.append(h)
            h = down(h)
        h = self.mid_block2(self.mid_attn(self.mid_block1(h, t)), t)
        for parts in self.ups:
            first, second, attention, up = cast(nn.ModuleList, parts)
            h = up(attention(second(first(torch.cat([h, skips.pop()], 1), t), t)))
        if self.outer is not None:
            h = self.outer(torch.cat([h, skips.pop()], 1), t)
        return F.pixel_shuffle(self.final_conv(h), self.config.fold)

    def forward(self, x: Tensor, time: Tensor, contexts: Sequence[Tensor], coarse: Tensor | None = None) -> Tensor:
        """X_θ(x_n, ẑ, n/N).

        With ``variances`` the network adds to the linear estimate c + g (x_n − √ᾱ c), g = v √ᾱ / (v ᾱ + 1 − ᾱ): the mean of
        x_0 given x_n where x_0 has mean c and variance v (c = ``coarse``, v = v_c; without a condition 0 and v_u). That much
        a small network then need not learn (Karras et al., 2022, precondition for the same reason).

        Args:
            x: [B, 3, H, W], sides multiples of ``config.multiple``. time: n/N in 0 … 1, [B].
            contexts: as in :meth:`network`. coarse: an estimate of x_0 [B, 3, H, W], or None.

        The bare network may have a number format of its own; the result has x's.
        """
        dtype = next(self.parameters()).dtype
        out = self.network(x.to(dtype), time.to(dtype), [context.to(dtype) for context in contexts]).to(x.dtype)
        if self.config.variances is None:
            return out
        v = self.config.variances[0 if coarse is not None else 1]
        a = alpha_bar_at(time).to(x.dtype)[:, None, None, None]
        c = torch.zeros_like(x) if coarse is None else coarse
        return out + c + v * a.sqrt() / (v * a + 1 - a) * (x - a.sqrt() * c)
