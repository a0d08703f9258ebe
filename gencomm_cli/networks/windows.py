"""Pictures of tokens in square windows, shifted round or not, as Swin transformers attend in them (Liu et al., 2021)."""

from __future__ import annotations

import torch
from torch import Tensor


def to_windows(x: Tensor, side: int, shift: int) -> Tensor:
    """[B, rows, columns, C], moved up and left by ``shift`` → [B, windows, side², C]; ``side`` divides rows and columns."""
    batch, rows, columns, channels = x.shape
    tiles = x.roll((-shift, -shift), (1, 2)).view(batch, rows // side, side, columns // side, side, channels)
    return tiles.transpose(2, 3).reshape(batch, -1, side**2, channels)


def from_windows(tiles: Tensor, shape: tuple[int, ...], side: int, shift: int) -> Tensor:
    """Undoes :func:`to_windows` for an x of that ``shape``."""
    batch, rows, columns, channels = shape
    tiles = tiles.view(batch, rows // side, columns // side, side, side, channels)
    return tiles.transpose(2, 3).reshape(shape).roll((shift, shift), (1, 2))


def relative_places(side: int) -> Tensor:
    """Which of the (2 side − 1)² relative positions each pair of a window's positions has: int64 [side², side²]."""
    along = torch.arange(side, device="cpu")  # not on "meta", see :func:`~gencomm_cli.networks.layers.parameter`
    grid = torch.cartesian_prod(along, along)
    offset = grid[:, None] - grid[None] + side - 1
    return offset[..., 0] * (2 * side - 1) + offset[..., 1]
