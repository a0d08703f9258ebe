"""Reads vectors that hold a published program's numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDED = "GENCOMM_TEST_VECTORS"
"""Names a folder of vectors as they were recorded, among them those that are too large to be kept here."""


def load(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the program was run with, and the arrays."""
    return _read(VECTORS / f"{name}.npz")


def recorded(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The same of a vector that is not kept here; the test is skipped where it is not there."""
    path = Path(os.environ.get(RECORDED, "")) / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"{RECORDED} names no folder with {name}.npz, which is too large to be kept beside the tests")
    return _read(path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with np.load(path, allow_pickle=False) as archive:
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


def recorded_state(vector: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """A recorded vector's weights by their published names, less the tables that are computed from sizes."""
    computed = ("attn_mask", "relative_position_index")
    return {
        name.removeprefix(prefix): value
        for name, value in vector.items()
        if name.startswith(prefix) and not name.endswith(computed)
    }
