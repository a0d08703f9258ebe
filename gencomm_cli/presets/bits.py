"""Weights in 4 to 8 bits: a preset at a third or half of the size, for a repository or a slow line.

A matrix or kernel W [out, in, …] is stored as whole numbers with one scale a row: W ≈ q · s. With 8 bits s = max|W_row| / 127, so
that no weight is off by more than half a step (0.4 % of its row's largest). With fewer the largest weights of a row are clipped
where its squared error becomes smaller by that, and eight neighbours along ``in`` share as many bytes as each has bits.
Buffers, which hold what was computed of data (a linear code's basis), vectors and small tensors stay in half precision.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

SCALE = ".{}bit_scale"
"""Suffix of the float32 [out] tensor beside each packed one; int8 for 8 bits, else uint8."""

_SCALED = re.compile(r"(.*)\.([4-8])bit_scale")

CLIPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of a row's largest weight beyond which weights may be clipped."""

SMALLEST = 1024
"""Tensors of fewer elements are left alone: nothing is gained by them."""


def packed(tensors: Mapping[str, Tensor], bits: int = 8, exact: Collection[str] = ()) -> dict[str, Tensor]:
    """The same weights, large matrices in so many bits with a scale a row; what is packed already stays, and what is ``exact``.

    A matrix whose second dimension is no multiple of eight takes 8 bits.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.ndim < 2 or tensor.numel() < SMALLEST or name in exact:
            stored[name] = tensor
            continue
        its_bits = bits if tensor.shape[1] % 8 == 0 else 8
        rows = tensor.float().flatten(1)
        codes, scale = _quantised(rows, its_bits)
        whole_numbers = codes.to(torch.int8).reshape(tensor.shape)
        stored[name] = whole_numbers if its_bits == 8 else _joined(whole_numbers, its_bits)
        stored[name + SCALE.format(its_bits)] = scale
    return stored


def _quantised(rows: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes and scales [out] of rows [out, n]: of each row the clip of least squared error; 8 bits clip nothing."""
    top = 2 ** (bits - 1) - 1
    largest = rows.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / top
    scales = torch.stack([largest * clip for clip in (CLIPS if bits < 8 else CLIPS[:1])])
    errors = torch.stack([((rows / s[:, None]).round().clamp(-top, top) * s[:, None] - rows).square().sum(1) for s in scales])
    scale = scales.gather(0, errors.argmin(0, keepdim=True))[0]
    return (rows / scale[:, None]).round().clamp(-top, top), scale


def _joined(codes: Tensor, bits: int) -> Tensor:
    """int8 [out, in, …] → uint8 [out, in · bits / 8, …]: eight neighbours' numbers, above their least, one after the other."""
    eights = (codes.long() + 2 ** (bits - 1)).unflatten(1, (-1, 8))
    words = sum(eights[:, :, i] << bits * i for i in range(8))
    return torch.stack([words >> 8 * byte & 255 for byte in range(bits)], 2).flatten(1, 2).to(torch.uint8)  # type: ignore[operator]


def _parted(stored: Tensor, bits: int) -> Tensor:
    """The inverse of :func:`_joined`, as float32."""
    eights = stored.long().unflatten(1, (-1, bits))
    words = sum(eights[:, :, byte] << 8 * byte for byte in range(bits))
    parts = [words >> bits * i & 2**bits - 1 for i in range(8)]  # type: ignore[operator]
    return torch.stack(parts, 2).flatten(1, 2).float() - 2 ** (bits - 1)


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as float32, whether they were packed or not.

    Raises:
        ValueError: a scale has no matrix of as many rows, or that is of other bits.
    """
    scales = {match[1]: (int(match[2]), tensors[name].float()) for name in tensors if (match := _SCALED.fullmatch(name))}
    restored = {name: tensor for name, tensor in tensors.items() if not _SCALED.fullmatch(name)}
    for name, (bits, scale) in scales.items():
        matrix = restored.get(name)
        if matrix is None or matrix.ndim < 2 or scale.shape != matrix.shape[:1]:
            raise ValueError(f"{name}{SCALE.format(bits)} has no matrix of {tuple(scale.shape)} rows")
        if bits < 8 and (matrix.dtype != torch.uint8 or matrix.shape[1] % bits):
            raise ValueError(f"{name} is no matrix of {bits} bits")
        restored[name] = (_parted(matrix, bits) if bits < 8 else matrix.float()) * scale.view(-1, *[1] * (matrix.ndim - 1))
    return {name: tensor.float() for name, tensor in restored.items()}


def numbers(shapes: Mapping[str, Sequence[int]]) -> int:
    """How many weights a file holds whose tensors have these shapes."""
    bits = {match[1]: int(match[2]) for name in shapes if (match := _SCALED.fullmatch(name))}
    return sum(math.prod(shape) * 8 // bits.get(name, 8) for name, shape in shapes.items())
