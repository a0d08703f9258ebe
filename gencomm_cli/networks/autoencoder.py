"""The latent space of the small presets: an autoencoder around principal component analysis (PCA)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.layers import zeroed


class ResidualBlock(nn.Module):
    """x + a · conv(silu(conv(x))), without normalisation: the gain a, one a channel, starts small and is learned."""

    def __init__(self, width: int, gain: float = 0.1) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.gain = nn.Parameter(torch.full((width, 1, 1), gain))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.second(F.silu(self.first(F.silu(x))))


def resolutions(
    channels: int, widths: Sequence[int], depths: Sequence[int], change: Callable[[int, int], list[nn.Module]]
) -> list[nn.Module]:
    """Layers from ``channels`` on: at each resolution residual blocks, and ``change`` (channels before, after) between two."""
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1)]
    for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        layers += change(widths[level - 1], width) if level else []
        layers += [ResidualBlock(width) for _ in range(depth)]
    return layers


def narrowing(channels: int, widths: Sequence[int], depths: Sequence[int]) -> list[nn.Module]:
    """Layers from [B, channels, H, W] to [B, widths[-1], H/2^(n − 1), W/2^(n − 1)], n = len(widths), folding in between."""
    return resolutions(
        channels, widths, depths, lambda before, after: [nn.PixelUnshuffle(2), nn.Conv2d(4 * before, after, 3, padding=1)]
    )


def widening(channels: int, widths: Sequence[int], depths: Sequence[int]) -> list[nn.Module]:
    """The reverse of :func:`narrowing`: from [B, channels, h, w] to [B, widths[-1], 2^(n − 1)·h, 2^(n − 1)·w]."""
    return resolutions(
        channels, widths, depths, lambda before, after: [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2)]
    )


def unfolding(width: int, edge: int, fold: int) -> list[nn.Module]:
    """Layers from [B, width, h, w] to an image [B, 3, fold·h, fold·w]; the last one, of ``edge`` channels, is zero."""
    final = zeroed(nn.Conv2d(edge, 3, 3, padding=1))
    return [nn.SiLU(), nn.Conv2d(width, edge * fold**2, 3, padding=1), nn.PixelShuffle(fold), nn.SiLU(), final]


class Autoencoder(nn.Module):
    """Image [B, 3, H, W] in [0, 1] ↔ latent [B, C, H/f, W/f] of zero mean and unit variance in each channel.

    ::

        x ─┬─ Vᵀ(x − μ)/σ ─┬─► z ─┬─ σVz + μ ─┬─► x̂
           └──── f(x) ─────┘      └─── g(z) ──┘

    V, μ and σ are the principal components of f×f blocks. The last layers of f and g are zero at the start, so that training begins
    at the best linear code of C numbers a block.

    Args:
        channels: latent channels C. factor: image pixels per latent position along each side, f; a power of two.
        encoder_widths, encoder_depths: channels and residual blocks of f, from the finest resolution to 1/f of the image's.
        decoder_widths, decoder_depths: those of g, from 1/f on; the last resolution is folded out to the image's by one
            convolution. edge: channels there.
    """

    basis: Tensor
    mean: Tensor
    spread: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        channels: int = 8,
        factor: int = 8,
        encoder_widths: Sequence[int] = (96, 192),
        encoder_depths: Sequence[int] = (3, 2),
        decoder_widths: Sequence[int] = (256, 128, 64),
        decoder_depths: Sequence[int] = (4, 5, 4),
        edge: int = 16,
    ) -> None:
        super().__init__()
        self.channels, self.factor = channels, factor
        self.fold = factor // 2 ** (len(encoder_widths) - 1)
        self.register_buffer("basis", torch.zeros(channels, 3, factor, factor))  # V, one component after the other
        self.register_buffer("mean", torch.zeros(3, 1, 1))  # μ, the same for every pixel of a block
        self.register_buffer("spread", torch.ones(channels))  # σ
        self.register_buffer("shift", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))
        down = narrowing(3 * self.fold**2, encoder_widths, encoder_depths)
        last = zeroed(nn.Conv2d(encoder_widths[-1], channels, 3, padding=1))
        self.encoder = nn.Sequential(nn.PixelUnshuffle(self.fold), *down, nn.SiLU(), last)
        self.unfold = factor // 2 ** (len(decoder_widths) - 1)
        up = widening(channels, decoder_widths, decoder_depths)
        self.decoder = nn.Sequential(*up, *unfolding(decoder_widths[-1], edge, self.unfold))

    def encode(self, image: Tensor) -> Tensor:
        """z = E(x); H and W multiples of f."""
        with torch.autocast(image.device.type, enabled=False):  # the linear part is exact in any number format of the rest
            linear = F.conv2d(image - self.mean, self.basis, stride=self.factor) / self.spread[:, None, None]
        return (linear + self.encoder(image - self.mean) - self.shift) / self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """x̂ = D(z), not clamped, so that training sees gradients outside [0, 1]."""
        latent = latent * self.scale + self.shift
        with torch.autocast(latent.device.type, enabled=False):
            linear = F.conv_transpose2d(latent.float() * self.spread[:, None, None], self.basis.float(), stride=self.factor)
        return linear.to(latent.dtype) + self.mean + self.decoder(latent)

    @torch.no_grad()
    def start(self, blocks: Tensor) -> None:
        """Sets V, μ and σ by PCA of blocks [N, 3, f, f]."""
        rows = blocks.double()
        self.mean.copy_(rows.mean((0, 2, 3))[:, None, None])
        rows = (rows - self.mean.double()).flatten(1)
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        best = values.argsort(descending=True)[: self.channels]
        self.basis.copy_(vectors[:, best].T.reshape(self.basis.shape))
        self.spread.copy_(values[best].sqrt())

    @torch.no_grad()
    def normalise(self, latents: Tensor) -> None:
        """From now on latents like these [N, C, h, w] have zero mean and unit variance in each channel."""
        mean, deviation = latents.mean((0, 2, 3))[:, None, None], latents.std((0, 2, 3))[:, None, None]
        self.shift.add_(self.scale * mean)
        self.scale.mul_(deviation)
