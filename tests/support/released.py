"""Published programs as plain functions, and what `models import` makes of their checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli import presets
from gencomm_cli.presets.build import build
from gencomm_cli.released.checkpoint import read_checkpoint
from gencomm_cli.released.conversion import convert, write_preset
from tests.support.published import VECTORS


class Weights(dict[str, Tensor]):
    """A state dict that a transcription fills while it runs for the first time: random numbers under the authors' names."""

    def __call__(self, name: str, *shape: int, mean: float = 0.0) -> Tensor:
        if name not in self:
            random = torch.Generator().manual_seed(len(self))
            scale = 0.1 if len(shape) == 1 else torch.Size(shape[1:]).numel() ** -0.5
            self[name] = mean + scale * torch.randn(shape, generator=random)
        assert tuple(self[name].shape) == shape
        return self[name]


class Shapes(Weights):
    """The same names and shapes without numbers: a network of any size costs nothing."""

    def __call__(self, name: str, *shape: int, mean: float = 0.0) -> Tensor:
        assert tuple(self.setdefault(name, torch.empty(shape, device="meta")).shape) == shape
        return self[name]

    def listed(self) -> dict[str, tuple[int, ...]]:
        """To be compared with a recorded list."""
        return {name: tuple(tensor.shape) for name, tensor in self.items()}


def recorded(name: str) -> Any:
    """Names and shapes that the authors' program gave its tensors at the released size."""
    return json.loads((VECTORS / f"{name}.json").read_text())


def linear(weights: Weights, name: str, x: Tensor, after: int, bias: bool = True) -> Tensor:
    return F.linear(x, weights(f"{name}.weight", after, x.shape[-1]), weights(f"{name}.bias", after) if bias else None)


def layer_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    width = x.shape[-1]
    return F.layer_norm(x, (width,), weights(f"{name}.weight", width, mean=1.0), weights(f"{name}.bias", width))


def batch_norm(weights: Weights, name: str, x: Tensor, eps: float = 1e-5, affine: bool = True) -> Tensor:
    """With the statistics of training, and the counter that a file has beside them."""
    width = x.shape[1]
    mean, variance = weights(f"{name}.running_mean", width), weights(f"{name}.running_var", width, mean=1.0)
    weights.setdefault(f"{name}.num_batches_tracked", torch.tensor(7))
    if not affine:
        return F.batch_norm(x, mean, variance, eps=eps)
    return F.batch_norm(x, mean, variance, weights(f"{name}.weight", width, mean=1.0), weights(f"{name}.bias", width), eps=eps)


Import = Callable[..., dict[str, nn.Module]]


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """Saves state dicts as their authors do, imports them as one preset, and builds it from its folder: the networks by name.

    What is given as a path lies there already.
    """

    def call(*given: Mapping[str, Tensor] | Path, config: Mapping[str, Any] | None = None) -> dict[str, nn.Module]:
        files = [each if isinstance(each, Path) else tmp_path / f"{number}.pt" for number, each in enumerate(given)]
        for path, each in zip(files, given, strict=True):
            if not isinstance(each, Path):
                torch.save(dict(each), path)
        checkpoints = [read_checkpoint(path) for path in files]
        conversion = convert(checkpoints, None, config or {})
        names = set().union(*(each.tensors for each in checkpoints))
        assert {theirs for theirs, _ in conversion.mapped} | {theirs for theirs, _ in conversion.dropped} == names
        write_preset(conversion, tmp_path / "preset", "preset", files)
        preset = presets.load_config(tmp_path / "preset")
        presets.verify(preset)
        return {name: build(component, torch.device("cpu")) for name, component in preset.components.items()}

    return call
