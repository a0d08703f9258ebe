"""Structural similarity (Wang et al., 2004) and its multi-scale form (Wang, Simoncelli and Bovik, 2003).

Windows are Gaussian (11 taps, σ = 1.5) and only those that lie inside the image count. Each RGB channel is compared by
itself and the results are averaged, as pytorch_msssim and torchmetrics do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = 11
SIGMA = 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first."""

MIN_SIDE = TAPS
MIN_SIDE_MULTI_SCALE = TAPS * 2 ** (len(SCALE_WEIGHTS) - 1)
"""176: the shortest side that still holds a window after four halvings."""

C1, C2 = 0.01**2, 0.03**2


def _blur(x: Tensor) -> Tensor:
    """Gaussian means over every window inside ``x`` [B, C, H, W] → [B, C, H - 10, W - 10]."""
    offsets = torch.arange(TAPS, dtype=x.dtype, device=x.device) - TAPS // 2
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window = (window / window.sum()).expand(x.shape[1], 1, 1, TAPS)
    return F.conv2d(F.conv2d(x, window, groups=x.shape[1]), window.transpose(2, 3), groups=x.shape[1])


def _terms(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast-structure factor alone, each [B, C], averaged over windows."""
    mean1, mean2 = _blur(first), _blur(second)
    variance1 = _blur(first.square()) - mean1.square()
    variance2 = _blur(second.square()) - mean2.square()
    covariance = _blur(first * second) - mean1 * mean2
    structure = (2 * covariance + C2) / (variance1 + variance2 + C2)
    luminance = (2 * mean1 * mean2 + C1) / (mean1.square() + mean2.square() + C1)
    return (luminance * structure).mean((2, 3)), structure.mean((2, 3))


def ssim(first: Tensor, second: Tensor) -> Tensor | None:
    """SSIM, float [B], of images [B, C, H, W] in [0, 1]; None where a side is shorter than 11 pixels."""
    if min(first.shape[-2:]) < MIN_SIDE:
        return None
    return _terms(first, second)[0].mean(1)


def ms_ssim(first: Tensor, second: Tensor) -> Tensor | None:
    """MS-SSIM over five scales, float [B], of images [B, C, H, W] in [0, 1]; None where a side is shorter than 176 pixels.

    Negative factors are cut at 0, so that their fractional powers exist. Between scales the image is averaged over 2×2
    pixels; the last row or column of an odd side is dropped, as torchmetrics does.
    """
    if min(first.shape[-2:]) < MIN_SIDE_MULTI_SCALE:
        return None
    product = torch.ones(first.shape[:2], dtype=first.dtype, device=first.device)
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
        whole, structure = _terms(first, second)
        factor = whole if scale == len(SCALE_WEIGHTS) - 1 else structure
        product = product * factor.clamp(min=0) ** weight
    return product.mean(1)
