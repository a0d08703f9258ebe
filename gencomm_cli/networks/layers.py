"""Layers under names, and layers that start at zero."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from torch import nn

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
