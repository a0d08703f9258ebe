"""Natural image quality evaluator (Mittal, Soundararajan and Bovik, 2013), which needs no reference.

Follows the authors' MATLAB release: blocks of 96×96 without overlap, two scales, and the mean and covariance that they fitted
to pristine photographs. The luminance is the rounded Y of MATLAB's rgb2ycbcr, as BasicSR takes it.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 96
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Neighbours whose products are modelled: right, below, and both diagonals."""


@cache
def _shapes() -> tuple[Tensor, Tensor]:
    """Shape parameters 0.2, 0.201, … 10 of a generalised Gaussian, and (E|x|)²/E[x²] of each: float64 [9801]."""
    shape = torch.arange(200, 10001, dtype=torch.float64) / 1000
    return shape, (2 * torch.lgamma(2 / shape) - torch.lgamma(1 / shape) - torch.lgamma(3 / shape)).exp()


def _fit(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape, left and right scale, each [...], of an asymmetric generalised Gaussian fitted by moments to ``samples`` [..., n]."""
    shapes, ratios = (table.to(samples.device) for table in _shapes())
    squares = samples.square()
    left, right = (((squares * side).sum(-1) / side.sum(-1)).sqrt() for side in (samples < 0, samples > 0))
    balance = left / right
    ratio = samples.abs().mean(-1).square() / squares.mean(-1)
    ratio = ratio * (balance**3 + 1) * (balance + 1) / (balance.square() + 1).square()
    shape = shapes[(ratios - ratio[..., None]).abs().argmin(-1)]
    scale = ((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2).exp()
    return shape, left * scale, right * scale


def _features(luminance: Tensor, side: int) -> Tensor:
    """The paper's 18 features of each block of ``side`` pixels: float64 [B, blocks, 18] of ``luminance`` [B, 1, H, W]."""
    offsets = torch.arange(-3, 4, dtype=torch.float64, device=luminance.device)
    window = torch.exp(-offsets.square() / (2 * (7 / 6) ** 2))
    window = torch.outer(window, window)[None, None] / window.sum() ** 2
    padded = F.pad(luminance, (3, 3, 3, 3), mode="replicate")
    mean = F.conv2d(padded, window)
    deviation = (F.conv2d(padded.square(), window) - mean.square()).abs().sqrt()
    normal = (luminance - mean) / (deviation + 1)
    blocks = normal.unfold(2, side, side).unfold(3, side, side).flatten(1, 3)
    shape, left, right = _fit(blocks.flatten(2))
    features = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = _fit((blocks * blocks.roll(shift, (2, 3))).flatten(2))
        mean = (right - left) * (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp()
        features += [shape, mean, left, right]
    return torch.stack(features, -1)


def _halve(x: Tensor) -> Tensor:
    """``x`` [B, 1, H, W] (even sides) at half its size, as MATLAB's imresize: antialiased bicubic, mirrored borders."""
    kernel = x.new_tensor([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    for dimension in (2, 3):
        size = x.shape[dimension]
        x = torch.cat([x.narrow(dimension, 0, 3).flip(dimension), x, x.narrow(dimension, size - 3, 3).flip(dimension)], dimension)
        x = (x.unfold(dimension, 8, 2) * kernel).sum(-1)
    return x


def niqe(image: Tensor, mean: Tensor, covariance: Tensor) -> Tensor | None:
    """NIQE, float64 [B], of images [B, 3, H, W] in [0, 1]: lower is more natural.

    Args:
        image: any size; what is left over beside whole blocks of 96×96 is not looked at.
        mean, covariance: float64 [36] and [36, 36] of pristine images, as published.

    Returns:
        The paper's eq. 10; None where fewer than two blocks fit, NaN for an image with fewer than two blocks that are not flat.
    """
    rows, columns = image.shape[2] // BLOCK, image.shape[3] // BLOCK
    if rows * columns < 2:
        return None
    image = image[..., : rows * BLOCK, : columns * BLOCK].double()
    weights = image.new_tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1)
    luminance = ((image * weights).sum(1, keepdim=True) + 16).round()
    features = torch.cat([_features(luminance, BLOCK), _features(_halve(luminance), BLOCK // 2)], -1)
    return torch.stack([_distance(each, mean.to(image), covariance.to(image)) for each in features])


def _distance(features: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Mahalanobis distance of the pristine Gaussian to that of ``features`` [blocks, 36]; blocks with a NaN drop out."""
    whole = features[~features.isnan().any(1)]
    if len(whole) < 2:
        return features.new_tensor(float("nan"))
    difference = mean - features.nanmean(0)
    return (difference @ torch.linalg.pinv((covariance + whole.T.cov()) / 2, hermitian=True) @ difference).sqrt()
