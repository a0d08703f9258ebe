"""Wavelet colour fix: the refined picture's detail over the coarse picture's colours, as DiffJSCC's authors finish theirs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 5


def blur(image: Tensor, radius: int) -> Tensor:
    """One level of the à-trous transform: the binomial kernel [1 2 1]ᵀ[1 2 1]/16 with its taps ``radius`` apart, edges repeated."""
    row = torch.tensor([0.25, 0.5, 0.25], dtype=image.dtype, device=image.device)
    kernel = torch.outer(row, row).expand(image.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(image, (radius,) * 4, mode="replicate"), kernel, dilation=radius, groups=image.shape[1])


def low_frequencies(image: Tensor) -> Tensor:
    """What is left of an image [B, C, H, W] after five blurs with radii 1 … 16; the rest of it is detail."""
    for level in range(LEVELS):
        image = blur(image, 2**level)
    return image


def colour_fix(refined: Tensor, coarse: Tensor) -> Tensor:
    """Detail of ``refined``, colours of ``coarse`` [B, C, H, W]; not clamped."""
    return refined - low_frequencies(refined) + low_frequencies(coarse)
