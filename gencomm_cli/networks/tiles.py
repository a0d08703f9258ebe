"""Large pictures in tiles, for networks whose memory would otherwise grow with the picture, or with its square."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles of one size begin that cover 0 … ``length``, evenly spread, at least ``overlap`` shared with each neighbour."""
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def window(tile: int, overlap: int) -> Tensor:
    """Weight of a tile's positions along one side, float32 [tile]: it rises over ``overlap`` at either end, and is never zero."""
    ramp = (torch.arange(1, tile + 1) / (overlap + 1)).clamp_max(1)
    return torch.minimum(ramp, ramp.flip(0))


def tiled(network: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int, multiple: int = 1) -> Tensor:
    """``network`` on each tile of ``x`` [B, C, H, W], blended where they overlap; its output has another number of positions
    along each side, the same ratio for both.

    Args:
        tile, overlap: positions of ``x`` along each side; a smaller picture is one tile.
        multiple: of it are all sizes and all places of tiles: what the network makes one position of.
    """
    units = (tile // multiple, overlap // multiple)
    tops, lefts = ([multiple * start for start in starts(side // multiple, *units)] for side in x.shape[2:])
    height, width = min(tile, x.shape[2]), min(tile, x.shape[3])
    total, weights = None, None
    for top in tops:
        for left in lefts:
            part = network(x[:, :, top : top + height, left : left + width])
            rows, columns = part.shape[2:]

            def scaled(position: int, rows: int = rows) -> int:
                return position * rows // height

            if total is None or weights is None:
                total = part.new_zeros(*part.shape[:2], scaled(x.shape[2]), scaled(x.shape[3]))
                weights = part.new_zeros(1, 1, *total.shape[2:])
                shape = window(rows, scaled(overlap))[:, None] * window(columns, scaled(overlap))
                weight = shape.to(part)
            here = (..., slice(scaled(top), scaled(top) + rows), slice(scaled(left), scaled(left) + columns))
            total[here] += weight * part
            weights[here] += weight
    assert total is not None
    assert weights is not None
    return total / weights
