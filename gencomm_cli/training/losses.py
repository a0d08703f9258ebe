"""Losses of pictures that several methods train with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.errors import InputError
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.metrics.weights import folder, load_lpips


def load_perceptual(metric_weights: Path | None, device: torch.device) -> list[LPIPS]:
    """Both LPIPS backbones: trained with one alone, a network learns to game it.

    Raises:
        InputError: their weights are not at hand.
    """
    where = folder(metric_weights)
    if where is None:
        raise InputError("--metric-weights: training needs LPIPS weights; run `gencomm models get lpips-alex` and lpips-squeeze")
    return [load_lpips(backbone, where).to(device) for backbone in ("alex", "squeeze")]


def perceptual_loss(
    backbones: Sequence[LPIPS],
    made: Tensor,
    image: Tensor,
    generator: np.random.Generator,
    side: int | None = None,
    *,
    textures: bool = False,
) -> Tensor:
    """Mean LPIPS over images [B, 3, H, W] in [0, 1] and backbones, of a random square of ``side`` pixels after a random roll; or
    the distance of their ``textures``."""
    made, image = rolled(made, image, generator)
    if side is not None:
        made, image = cut(made, image, side, generator)
    return torch.stack([lpips(made, image, textures=textures).mean() for lpips in backbones]).mean()


def psnr(mse: Tensor) -> float:
    """In dB, of pictures in [0, 1]: a figure to log."""
    return float(-10 * mse.detach().log10())


def fold_pattern(error: Tensor, fold: int, cells: int = 8) -> Tensor:
    """Power of the part of an error [B, C, H, W] that repeats with the fold's period over cells × cells folds, or all there are.

    Each of the fold² pixel phases is averaged over such a neighbourhood; what differs between the phases' means is the net that a
    small folded decoder lays over flat areas, which neither MSE nor LPIPS minds. Zero for a fold of 1.
    """
    cells = min(cells, *(side // fold for side in error.shape[2:]))
    phases = F.avg_pool2d(F.pixel_unshuffle(error, fold), cells).unflatten(1, (error.shape[1], fold**2))
    return (phases - phases.mean(2, keepdim=True)).square().mean()


def rolled(first: Tensor, second: Tensor, generator: np.random.Generator, most: int = 16) -> tuple[Tensor, Tensor]:
    """Both images rolled by the same random offset below ``most`` pixels.

    The strides of LPIPS's backbones (4 pixels in AlexNet's first layer) would leave a pattern of that period in what is trained
    with it.
    """
    shifts = [int(generator.integers(most)) for _ in range(2)]
    return torch.roll(first, shifts, (2, 3)), torch.roll(second, shifts, (2, 3))


def cut(first: Tensor, second: Tensor, side: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same random square of both images, of ``side`` pixels or all there are."""
    top, left = (int(generator.integers(max(length - side, 0) + 1)) for length in first.shape[2:])
    area = (..., slice(top, top + side), slice(left, left + side))
    return first[area], second[area]
