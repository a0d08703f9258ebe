"""Which tensor went where: found out by sending numbers through a renaming instead of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Renaming = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def traced(rename: Renaming, theirs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[tuple[str, str]]]:
    """``rename`` of their tensors, and the pairs (their name, our name); what ``rename`` adds itself is in no pair.

    Every tensor is replaced by one of its shape that is filled with its number from 1, and the renaming is run on these once more.
    It may cut and reshape tensors, and add ones that are zero.

    Raises:
        LookupError: a tensor that is renamed is not there.
    """
    names = list(theirs)
    numbers = {name: torch.tensor(index, dtype=torch.int32).expand(theirs[name].shape) for index, name in enumerate(names, 1)}
    numbered = rename(numbers)
    if lost := next((ours for ours, number in numbered.items() if number is None), None):  # diffusers' renamings ask with get()
        raise LookupError(f"nothing for {lost}")
    found = {ours: int(number[(0,) * number.dim()]) for ours, number in numbered.items()}
    return rename(theirs), [(names[index - 1], ours) for ours, index in found.items() if index]


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
