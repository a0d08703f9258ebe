"""Pictures of tokens as Swin transformers have them (Liu et al., 2021): in square windows, shifted round or not, to attend in, and
at one resolution after the other."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


@lru_cache(maxsize=64)
def hidden(rows: int, columns: int, side: int, shift: int) -> Tensor:
    """Pairs of a window's positions that do not see one another, as they come from far ends of the shifted picture: bool
    [windows, side², side²]."""
    down, right = (torch.arange(length) >= length - shift for length in (rows, columns))
    regions = to_windows((2 * down[:, None] + right.int())[None, :, :, None], side, 0)[0, :, :, 0]
    return regions[:, :, None] != regions[:, None]


def relative_places(side: int) -> Tensor:
    """Which of the (2 side − 1)² relative positions each pair of a window's positions has: int64 [side², side²]."""
    along = torch.arange(side, device="cpu")  # not on "meta", see :func:`~gencomm_cli.networks.layers.parameter`
    grid = torch.cartesian_prod(along, along)
    offset = grid[:, None] - grid[None] + side - 1
    return offset[..., 0] * (2 * side - 1) + offset[..., 1]


class PatchMerging(nn.Module):
    """Halves the resolution: [B, H, W, C] → [B, H/2, W/2, C'], C and C' as ``before`` and ``after`` say."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * before, after, bias=False), nn.LayerNorm(4 * before)

    def forward(self, x: Tensor) -> Tensor:
        neighbours = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(neighbours, -1)))


class PatchSplitting(nn.Module):
    """Multiplies the resolution by ``factor``: [B, H, W, C] → [B, factor·H, factor·W, C']."""

    def __init__(self, before: int, after: int, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.increment, self.norm = nn.Linear(before, after * factor**2, bias=False), nn.LayerNorm(before)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.increment(self.norm(x)).permute(0, 3, 1, 2), self.factor).permute(0, 2, 3, 1)
