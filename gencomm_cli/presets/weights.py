"""Weights from safetensors into networks; apart from diffusers and transformers, which take seconds to import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from gencomm_cli.errors import ModelMismatch
from gencomm_cli.presets import Component, Preset
from gencomm_cli.presets.files import located
from gencomm_cli.presets.pack import unpacked

Network = TypeVar("Network", bound=nn.Module)


def filled(module: Network, component: Component, device: torch.device) -> Network:
    """``module`` with the component's weights, in evaluation mode on ``device``, float32, its parameters frozen.

    Raises:
        ModelMismatch: the weights do not fit the module, or are not finite.
    """
    assert component.path is not None
    try:
        tensors = unpacked(load_file(component.path))
        check_finite(tensors, f"{component.path}: {component.name}")
        module.load_state_dict(tensors)
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise ModelMismatch(f"{component.path}: does not fit its config ({str(error).splitlines()[0]})") from None
    return module.to(device).eval().requires_grad_(False)


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
    return all(bool(bound.isfinite()) for bound in tensor.aminmax())


def check_files(preset: Preset) -> None:
    """Refuses a preset whose files of weights hold numbers that are not finite. Raises ModelMismatch."""
    for component in preset.components.values():
        own = [] if component.path is None else [component.path]
        theirs = [located(component) / name for name in component.files] if component.files else []
        for path in (path for path in (*own, *theirs) if path.suffix == ".safetensors"):
            with readable(path) as opened:
                for name in opened.keys():  # noqa: SIM118
                    check_finite({name: opened.get_tensor(name)}, f"{path}: {component.name}")


@contextmanager
def readable(path: Path) -> Iterator[Any]:
    """A file of safetensors, opened. Raises ModelMismatch where it is none."""
    try:
        with safe_open(path, "pt") as opened:
            yield opened
    except (SafetensorError, OSError) as error:
        raise ModelMismatch(f"{path}: not safetensors ({str(error).splitlines()[0][:200]}); fetch it again") from None
