"""Deep image structure and texture similarity (Ding, Ma, Wang and Simoncelli, 2020) in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.metrics.vgg import POOLS, TAPS, WIDTHS, vgg16

C1 = C2 = 1e-6
CHANNELS = (3, *WIDTHS)

MIN_SIDE = 16
"""Shorter images have no features after the fourth pooling."""


class L2Pool(nn.Module):
    """Root of the Hann-weighted mean square over 3×3 pixels, every second one (the paper's eq. 4)."""

    def forward(self, x: Tensor) -> Tensor:
        hann = x.new_tensor([0.25, 0.5, 0.25])
        window = torch.outer(hann, hann).expand(x.shape[1], 1, 3, 3)
        return (F.conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class DISTS(nn.Module):
    """Distance between images that forgives other samples of the same texture.

    The module starts with random weights and equal α and β; :func:`gencomm_cli.metrics.weights.load_dists` fills them in.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg16()
        for index in POOLS:
            self.features[index] = L2Pool()
        self.alpha = nn.Parameter(torch.full((1, sum(CHANNELS), 1, 1), 0.1))
        self.beta = nn.Parameter(torch.full((1, sum(CHANNELS), 1, 1), 0.1))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def embed(self, image: Tensor) -> list[Tensor]:
        """The image [B, 3, H, W] in [0, 1] itself and the features of the five stages."""
        x = (image - self.mean) / self.std
        out = [image]
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in TAPS:
                out.append(x)
        return out

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Distance [B] between two batches [B, 3, H, W] in [0, 1] at their own size (eqs. 5 to 7); H and W at least 16."""
        total = self.alpha.sum() + self.beta.sum()
        weights = zip((self.alpha / total).split(CHANNELS, 1), (self.beta / total).split(CHANNELS, 1), strict=True)
        similarity = first.new_zeros(len(first))
        for a, b, (alpha, beta) in zip(self.embed(first), self.embed(second), weights, strict=True):
            mean_a, mean_b = a.mean((2, 3), keepdim=True), b.mean((2, 3), keepdim=True)
            variance_a, variance_b = (a - mean_a).square().mean((2, 3), True), (b - mean_b).square().mean((2, 3), True)
            covariance = ((a - mean_a) * (b - mean_b)).mean((2, 3), True)
            texture = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
            structure = (2 * covariance + C2) / (variance_a + variance_b + C2)
            similarity = similarity + (alpha * texture + beta * structure).sum((1, 2, 3))
        return 1 - similarity
