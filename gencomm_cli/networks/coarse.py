"""The coarse picture by a head of its own, so that the autoencoder's decoder need not serve two aims."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.autoencoder import ResidualBlock
from gencomm_cli.networks.layers import zeroed


class CoarseHead(nn.Module):
    """Coarse latent z_c [B, C, H, W] → image [B, 3, f·H, f·W], not clamped.

    The best linear estimate from 3×3 positions, and a residual that is zero at the start.

    Args:
        channels: of the latent. factor: image pixels per latent position along each side, f. width, depth: of the residual.
    """

    def __init__(self, channels: int = 8, factor: int = 8, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Conv2d(channels, 3 * factor**2, 3, padding=1)
        last = zeroed(nn.Conv2d(width, 3 * factor**2, 3, padding=1))
        blocks = [ResidualBlock(width) for _ in range(depth)]
        self.residual = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), *blocks, nn.SiLU(), last)

    def forward(self, latent: Tensor) -> Tensor:
        return F.pixel_shuffle(self.linear(latent) + self.residual(latent), self.factor)

    @torch.no_grad()
    def start(self, latents: Tensor, images: Tensor) -> None:
        """Sets the linear part by least squares over latents [N, C, H, W] and their images."""
        rows = F.unfold(latents, 3).transpose(1, 2).flatten(0, 1).double()
        inner = F.pixel_unshuffle(images, self.factor)[:, :, 1:-1, 1:-1].permute(0, 2, 3, 1).flatten(0, 2).double()
        means = rows.mean(0), inner.mean(0)
        rows, inner = rows - means[0], inner - means[1]
        ridge = 1e-3 * len(rows) * torch.eye(rows.shape[1], dtype=torch.float64, device=rows.device)
        weights = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ inner).T
        self.linear.weight.copy_(weights.view(self.linear.weight.shape))
        self.linear.bias.copy_(means[1] - weights @ means[0])  # type: ignore[union-attr]

    def importance(self) -> Tensor:
        """How much an error in each channel of the latent counts in the picture [C]: the linear part's energies, of mean 1."""
        energy = self.linear.weight.detach().square().sum((0, 2, 3))
        return energy / energy.mean()
