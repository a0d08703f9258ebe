"""Reads vectors that hold a published program's numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

VECTORS = Path(__file__).parent / "vectors"


def load(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the program was run with, and the arrays."""
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    meta = json.loads(str(arrays.pop("meta_json"))) if "meta_json" in arrays else {}
    return meta, {key: torch.from_numpy(value) for key, value in arrays.items()}


def load_state(module: nn.Module, vector: dict[str, Tensor]) -> None:
    """Puts a vector's weights (one flat array, with their names) into a module that must have exactly these."""
    names = vector["state_names"].numpy().tobytes().decode().split("\n")
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    assert set(names) == set(shapes)
    values = vector["state"].split([shapes[name].numel() for name in names])
    module.load_state_dict({name: value.view(shapes[name]).float() for name, value in zip(names, values, strict=True)})
