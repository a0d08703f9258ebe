"""Numbers that weights must not hold."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gencomm_cli.errors import ModelMismatch


def check_finite(tensors: Mapping[str, Tensor], network: str) -> None:
    """Refuses what a broken download or an overflow in half precision leaves: one such number makes every picture black or grey.

    Args:
        network: whose weights these are, for the error.

    Raises:
        ModelMismatch: a number is NaN or infinite.
    """
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise ModelMismatch(f"{network}: {name} holds NaN or infinite numbers; fetch or train these weights again")


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are. In one pass and without memory of its size, as weights may have gigabytes."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.is_meta or not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    if tensor.element_size() == 1:  # torch knows no limits of 8-bit floats
        tensor = tensor.float()
    return all(bool(bound.isfinite()) for bound in tensor.aminmax())
