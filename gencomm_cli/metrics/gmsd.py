"""Gradient magnitude similarity deviation (Xue, Zhang, Mou and Bovik, 2013)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

C = 170.0
"""The paper's stabiliser T, for luminance in 0..255."""

MIN_SIDE = 2

LUMINANCE = (0.299, 0.587, 0.114)


def _gradient(image: Tensor) -> Tensor:
    """Prewitt gradient magnitude [B, 1, H/2, W/2] of the luminance (0..255) of ``image`` [B, 3, H, W], averaged over 2×2 first."""
    weights = torch.tensor(LUMINANCE, dtype=image.dtype, device=image.device).view(1, 3, 1, 1)
    luminance = F.avg_pool2d(255 * (image * weights).sum(1, keepdim=True), 2)
    column = torch.tensor([1.0, 0.0, -1.0], dtype=image.dtype, device=image.device).expand(3, 3) / 3
    return F.conv2d(luminance, torch.stack([column, column.T])[:, None], padding=1).square().sum(1, keepdim=True).sqrt()


def gmsd(first: Tensor, second: Tensor) -> Tensor | None:
    """GMSD, float [B], of images [B, 3, H, W] in [0, 1]: 0 for equal images, larger is worse; None where a side has one pixel.

    Borders are padded with zeros, as the authors' conv2(…, 'same') does.
    """
    if min(first.shape[-2:]) < MIN_SIDE:
        return None
    a, b = _gradient(first), _gradient(second)
    similarity = (2 * a * b + C) / (a.square() + b.square() + C)
    return similarity.std((1, 2, 3), correction=0)
