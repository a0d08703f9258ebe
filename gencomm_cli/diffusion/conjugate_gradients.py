"""The conjugate gradient method (Hestenes & Stiefel, 1952) for a batch of systems that are known by their products alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float = 1e-6) -> Tensor:
    """A⁻¹ b for each row of b [B, n], where ``product`` is a positive definite A.

    A row that is solved is left alone. On a CPU it ends when all are; a GPU would have to be waited for, to know that.
    """

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(1, keepdim=True)

    solution, residual, direction = torch.zeros_like(b), b, b
    square = first = dot(b, b)
    for _ in range(iterations):
        left = square > tolerance**2 * first
        if b.device.type == "cpu" and not bool(left.any()):
            break
        image = product(direction)
        rate = torch.where(left, square / dot(direction, image).clamp_min(1e-30), 0)
        solution, residual = solution + rate * direction, residual - rate * image
        square, before = dot(residual, residual), square
        direction = residual + square / before.clamp_min(1e-30) * direction
    return solution
