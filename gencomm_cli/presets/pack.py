"""Weights in 8 bits: a preset at half the size, for a repository or a slow line.

A matrix or kernel W [out, …] is stored as int8 with one scale a row: W ≈ q · s, s = max|W_row| / 127, so that no weight is off by
more than half a step (0.4 % of its row's largest). What has fewer than two dimensions, and small tensors, stay in half precision.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gencomm_cli.errors import InputError
from gencomm_cli.outputs import check_folder
from gencomm_cli.presets import file_hash, load_config
from gencomm_cli.presets.finite import check_finite
from gencomm_cli.presets.write import store, whole, write_config
from gencomm_cli.textfiles import read_json

SCALE = ".8bit_scale"
"""Suffix of the float32 [out] tensor beside each int8 one."""

SMALLEST = 1024
"""Tensors of fewer elements are left alone: nothing is gained by them."""


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights, large matrices as int8 with a scale a row; what is packed already stays."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.ndim < 2 or tensor.numel() < SMALLEST:
            stored[name] = tensor
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        stored[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(tensor.shape)
        stored[name + SCALE] = scale
    return stored


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as float32, whether they were packed or not.

    Raises:
        ValueError: a scale has no matrix of as many rows.
    """
    restored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.endswith(SCALE):
            restored[name] = tensor.float()
    for name in tensors.keys() - restored.keys():
        matrix, scale = restored.get(name.removesuffix(SCALE)), tensors[name].float()
        if matrix is None or matrix.ndim < 2 or scale.shape != matrix.shape[:1]:
            raise ValueError(f"{name} has no matrix of {tuple(scale.shape)} rows")
        matrix *= scale.view(-1, *[1] * (matrix.ndim - 1))
    return restored


def pack_folder(source: Path, target: Path) -> list[Path]:
    """Copies a folder of presets (``models/`` as ``gencomm train`` writes it) its networks packed, its configs' hashes renewed.

    Returns:
        The weights files written.

    Raises:
        InputError: ``source`` holds no preset, ``target`` exists and is not empty, or a file is not safetensors.
        ModelMismatch: weights are not finite.
    """
    if not any(source.rglob("config.json")):
        raise InputError(f"{source}: no preset in it; give a models folder as `gencomm train` writes it")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: exists; name a new folder")
    check_folder(target)
    configs: dict[Path, Any] = {}
    for path in source.rglob("config.json"):
        load_config(path.parent)
        configs[path.relative_to(source)] = read_json(path)
    components = [one for document in configs.values() for one in document["components"].values() if "file" in one]
    named, hashes, written = {one.get("sha256") for one in components}, {}, []
    with whole(target) as temporary:
        for path in sorted(path for path in source.rglob("*") if path.is_file() and not path.is_relative_to(temporary)):
            copy = temporary / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix != ".safetensors" or (digest := file_hash(path)) not in named:  # the captioner's tables are no network
                shutil.copyfile(path, copy)
                continue
            try:
                tensors = load_file(path)
                check_finite(tensors, str(path))
                store(packed(tensors), copy)
            except SafetensorError as error:
                raise InputError(f"{path}: not safetensors ({str(error).splitlines()[0]})") from None
            hashes[digest] = file_hash(copy)
            written.append(target / path.relative_to(source))
        for one in components:
            one["sha256"] = hashes.get(one.get("sha256"), one.get("sha256"))
        for relative, document in configs.items():
            write_config((temporary / relative).parent, document)
    return written
