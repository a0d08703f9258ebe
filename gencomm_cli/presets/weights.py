"""Weights from safetensors into networks; apart from diffusers and transformers, which take seconds to import."""

from __future__ import annotations

from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gencomm_cli.errors import ModelMismatch
from gencomm_cli.presets import Component
from gencomm_cli.presets.pack import unpacked

Network = TypeVar("Network", bound=nn.Module)


def filled(module: Network, component: Component, device: torch.device) -> Network:
    """``module`` with the component's weights, in evaluation mode on ``device``, float32, its parameters frozen.

    Raises:
        ModelMismatch: the weights do not fit the module.
    """
    assert component.path is not None
    try:
        module.load_state_dict(unpacked(load_file(component.path)))
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise ModelMismatch(f"{component.path}: does not fit its config ({str(error).splitlines()[0]})") from None
    return module.to(device).eval().requires_grad_(False)
