"""The network: a linear transform of blocks, and the one that undoes it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlockTransform(nn.Module):
    """Image [B, 3, H, W] in [0, 1] ↔ coefficients [B, C, H/f, W/f] of unit variance, the largest components first.

    Args:
        channels: C, how many components of a block there are to send. factor: side f of a block in pixels.
    """

    basis: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, channels: int = 48, factor: int = 8) -> None:
        super().__init__()
        self.channels, self.factor = channels, factor
        self.register_buffer("basis", torch.zeros(channels, 3, factor, factor))
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("spread", torch.ones(channels))
        self.synthesis = nn.Parameter(torch.zeros(channels, 3, factor, factor))

    def encode(self, image: Tensor) -> Tensor:
        """c = Vᵀ(x − μ)/σ; H and W multiples of f."""
        return F.conv2d(image - self.mean, self.basis, stride=self.factor) / self.spread[:, None, None]

    def decode(self, coefficients: Tensor) -> Tensor:
        """x̂ = Uσc + μ, of the first components [B, n, H/f, W/f], n ≤ C; U starts as V and is learned."""
        count = coefficients.shape[1]
        weighted = coefficients * self.spread[:count, None, None]
        return F.conv_transpose2d(weighted, self.synthesis[:count], stride=self.factor) + self.mean

    @torch.no_grad()
    def fit(self, blocks: Tensor) -> None:
        """Sets V = U, μ and σ by the principal components of blocks [N, 3, f, f]."""
        self.mean.copy_(blocks.mean((0, 2, 3))[:, None, None])
        rows = (blocks - self.mean).flatten(1).double()
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        best = values.argsort(descending=True)[: self.channels]
        self.basis.copy_(vectors[:, best].T.reshape(self.basis.shape))
        self.synthesis.copy_(self.basis)
        self.spread.copy_(values[best].clamp(min=1e-9).sqrt())
