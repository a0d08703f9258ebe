"""Layers under names, and layers that start at zero."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Layer = TypeVar("Layer", bound=nn.Module)


def named(**layers: nn.Module) -> nn.Sequential:
    """One layer after the other, under the names that a state dict has for them."""
    return nn.Sequential(OrderedDict(layers))


def mlp(width: int, inner: int) -> nn.Sequential:
    """Two fully connected layers of a transformer block, ``fc1`` and ``fc2``."""
    return named(fc1=nn.Linear(width, inner), gelu=nn.GELU(), fc2=nn.Linear(inner, width))


def zeroed(layer: Layer) -> Layer:
    """The layer with weights and bias of zero: what it ends adds nothing at the start."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def parameter(shape: tuple[int, ...], values: Callable[[], Tensor]) -> nn.Parameter:
    """One that starts as ``values``, but without any on the device "meta", where networks are put together to be counted: the first
    arithmetic there costs a second and a half of imports."""
    return nn.Parameter(torch.empty(shape) if torch.get_default_device().type == "meta" else values())
