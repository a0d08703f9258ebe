"""Weights from safetensors into networks; apart from diffusers and transformers, which take seconds to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook, register_module_parameter_registration_hook

from gencomm_cli.errors import GencommError, ModelMismatch, one_line
from gencomm_cli.presets import Component, Preset
from gencomm_cli.presets.bits import numbers, unpacked
from gencomm_cli.presets.files import located
from gencomm_cli.presets.finite import check_finite

Network = TypeVar("Network", bound=nn.Module)


def filled(make: Callable[[], Network], component: Component, device: torch.device) -> Network:
    """The module that ``make`` makes, with the component's weights, in evaluation mode on ``device``, float32, parameters frozen.

    It is made without memory first, as far as the numbers in the file go: a configuration cannot ask for more.

    Raises:
        ModelMismatch: there is no such module, the weights do not fit it, or are not finite.
    """
    assert component.path is not None
    with readable(component.path) as opened:
        held = numbers({name: opened.get_slice(name).get_shape() for name in opened.keys()})  # noqa: SIM118
    try:
        with torch.device("meta"), at_most(held):
            make()
        module = make()
    except ModelMismatch:
        raise
    except Exception as error:  # constructors are many, and each raises what it likes for sizes that cannot be
        raise ModelMismatch(f"{component.path}: no network has its config ({type(error).__name__}: {one_line(error)})") from None
    try:
        tensors = unpacked(load_file(component.path))
        check_finite(tensors, f"{component.path}: {component.name}")
        module.load_state_dict(tensors)
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise ModelMismatch(f"{component.path}: does not fit its config ({one_line(error)})") from None
    return module.to(device).eval().requires_grad_(False)


@contextmanager
def at_most(numbers: int) -> Iterator[None]:
    """Refuses networks of many more parameters or modules than ``numbers``, as they are put together. (Some are made larger than
    they stay: control modules.)

    Raises:
        ModelMismatch: there are more.
    """
    left = {"numbers": 4 * numbers + 10**6, "parts": 10_000 + numbers}

    def count(module: nn.Module, name: str, added: nn.Module | nn.Parameter | None) -> None:
        left["parts"] -= 1
        left["numbers"] -= added.numel() if isinstance(added, Tensor) else 0
        if min(left.values()) < 0:
            raise ModelMismatch(f"the network of this config is larger than its weights, which have {numbers} numbers")

    hooks = register_module_parameter_registration_hook(count), register_module_module_registration_hook(count)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


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
def readable(path: Path, error: type[GencommError] = ModelMismatch) -> Iterator[Any]:
    """A file of safetensors, opened. Raises ``error`` where it is none."""
    try:
        with safe_open(path, "pt") as opened:
            yield opened
    except (SafetensorError, OSError) as problem:
        raise error(f"{path}: not safetensors ({one_line(problem)}); fetch it again") from None
