"""Published programs as plain functions, and what `models import` makes of their checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gencomm_cli import presets
from gencomm_cli.diffusion.components import build
from gencomm_cli.released.checkpoint import read_checkpoint
from gencomm_cli.released.conversion import convert, write_preset


class Weights(dict[str, Tensor]):
    """A state dict that a transcription fills while it runs for the first time: random numbers under the authors' names."""

    def __call__(self, name: str, *shape: int, mean: float = 0.0) -> Tensor:
        if name not in self:
            random = torch.Generator().manual_seed(len(self))
            scale = 0.1 if len(shape) == 1 else torch.Size(shape[1:]).numel() ** -0.5
            self[name] = mean + scale * torch.randn(shape, generator=random)
        assert tuple(self[name].shape) == shape
        return self[name]


Import = Callable[..., dict[str, nn.Module]]


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """Saves state dicts as their authors do, imports them as one preset, and builds it from its folder: the networks by name."""

    def call(*states: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> dict[str, nn.Module]:
        files = [tmp_path / f"{number}.pt" for number in range(len(states))]
        for path, state in zip(files, states, strict=True):
            torch.save(dict(state), path)
        conversion = convert([read_checkpoint(path) for path in files], None, config or {})
        assert {theirs for theirs, _ in conversion.mapped} | {theirs for theirs, _ in conversion.dropped} == set().union(*states)
        write_preset(conversion, tmp_path / "preset", "preset", files)
        preset = presets.load_config(tmp_path / "preset")
        presets.verify(preset)
        return {name: build(component, torch.device("cpu")) for name, component in preset.components.items()}

    return call
