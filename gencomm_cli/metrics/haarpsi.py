"""Haar wavelet-based perceptual similarity index (Reisenhofer, Bosse, Kutyniok and Wiegand, 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

C, ALPHA = 30.0, 4.2
"""The paper's constants, for values in 0..255."""

MIN_SIDE = 16
"""Below it the coarsest wavelet (8×8, on the halved image) does not fit."""

YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def _wavelets(luminance: Tensor, scale: int) -> Tensor:
    """Magnitudes [B, 2, H, W] of the horizontal and vertical Haar coefficients of ``luminance`` [B, 1, H, W], as conv2 'same'."""
    side = 2**scale
    kernel = luminance.new_full((side, side), 1 / side)
    kernel[: side // 2] *= -1
    before, after = side // 2 - 1, side // 2
    return F.conv2d(F.pad(luminance, (before, after, before, after)), torch.stack([kernel, kernel.T])[:, None]).abs()


def _similarity(first: Tensor, second: Tensor) -> Tensor:
    return (2 * first * second + C) / (first.square() + second.square() + C)


def _maps(image: Tensor) -> tuple[list[Tensor], Tensor]:
    """Wavelet magnitudes [B, 2, H, W] at the three scales, and chroma magnitudes [B, 2, H, W], of the halved image in YIQ."""
    yiq = torch.einsum("kc,bchw->bkhw", image.new_tensor(YIQ), 255 * image)
    height, width = yiq.shape[-2:]
    yiq = F.avg_pool2d(F.pad(yiq, (0, width % 2, 0, height % 2)), 2)
    chroma = F.avg_pool2d(F.pad(yiq[:, 1:], (0, 1, 0, 1)), 2, stride=1).abs()
    return [_wavelets(yiq[:, :1], scale) for scale in (1, 2, 3)], chroma


def haarpsi(first: Tensor, second: Tensor) -> Tensor | None:
    """HaarPSI, float [B], of images [B, 3, H, W] in [0, 1]: 1 for equal images, towards 0 for unlike ones; None below 16 pixels.

    Eqs. 10 to 13 of the paper with its chroma extension and its halving of the image. Borders are padded with zeros, as the
    authors' conv2(…, 'same') does.
    """
    if min(first.shape[-2:]) < MIN_SIDE:
        return None
    (fine1, middle1, coarse1), chroma1 = _maps(first)
    (fine2, middle2, coarse2), chroma2 = _maps(second)
    local = (_similarity(fine1, fine2) + _similarity(middle1, middle2)) / 2
    local = torch.cat([local, _similarity(chroma1, chroma2).mean(1, keepdim=True)], 1)
    weights = torch.maximum(coarse1, coarse2)
    weights = torch.cat([weights, weights.mean(1, keepdim=True)], 1)
    total = weights.sum((1, 2, 3))
    score = ((ALPHA * local).sigmoid() * weights).sum((1, 2, 3)) / total
    # Two black images have no weights; they are equal.
    score = torch.where(total > 0, score, torch.full_like(score, ALPHA).sigmoid())
    return (score.logit() / ALPHA).square()
