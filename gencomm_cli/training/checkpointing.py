"""Gradient checkpointing: activations are computed again in the backward pass instead of being kept, which takes a third more time
and far less memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@contextlib.contextmanager
def checkpointed(modules: Iterable[nn.Module]) -> Iterator[None]:
    """What is within keeps of these networks' activations only those between their blocks.

    diffusers' and transformers' networks do it themselves; of others, each block of a sequence is wrapped: a module of several
    layers that lies in a ModuleList or a Sequential. Blocks with batch normalisation, which would count each batch twice, are left
    alone.
    """
    with contextlib.ExitStack() as stack:
        for module in modules:
            _turn_on(module, stack)
        yield


def _turn_on(module: nn.Module, stack: contextlib.ExitStack) -> None:
    if getattr(module, "_supports_gradient_checkpointing", False):  # diffusers'
        module.enable_gradient_checkpointing()  # type: ignore[operator]
        stack.callback(module.disable_gradient_checkpointing)  # type: ignore[arg-type]
    elif getattr(module, "supports_gradient_checkpointing", False):  # transformers'
        module.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        stack.callback(module.gradient_checkpointing_disable)  # type: ignore[arg-type]
    else:
        sequence = isinstance(module, nn.ModuleList | nn.Sequential)
        for child in module.children():
            if sequence and _is_block(child):
                child.forward = partial(_forward, child.forward)
                stack.callback(delattr, child, "forward")
            else:
                _turn_on(child, stack)


def _is_block(module: nn.Module) -> bool:
    layers = [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]
    return len(layers) > 1 and not any(isinstance(part, (*NORMS, nn.ModuleList)) for part in module.modules())


def _forward(forward: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*arguments, **options)
    return checkpoint(forward, *arguments, use_reentrant=False, **options)
