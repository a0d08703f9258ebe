"""Folders of presets with their weights packed, as :mod:`~gencomm_cli.presets.bits` has it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gencomm_cli.errors import InputError
from gencomm_cli.outputs import check_folder
from gencomm_cli.presets import file_hash, load_config
from gencomm_cli.presets.bits import packed
from gencomm_cli.presets.build import builders
from gencomm_cli.presets.finite import check_finite
from gencomm_cli.presets.write import store, whole, write_config
from gencomm_cli.textfiles import read_json


def buffers(component: Mapping[str, Any]) -> set[str]:
    """Names of the buffers of a network that is built from its configuration; none of a class that is not known here."""
    known = builders()
    if component.get("class") not in known:
        return set()
    with torch.device("meta"):
        return {name for name, _ in known[component["class"]](**component["config"]).named_buffers()}


def pack_folder(source: Path, target: Path, bits: int = 8, others: Mapping[str, int] | None = None) -> list[Path]:
    """Copies a folder of presets (``models/`` as ``gencomm train`` writes it) its networks packed, its configs' hashes renewed.

    Args:
        bits: of each weight, 4 to 8. others: of the networks that have these names in their presets.

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
    named = [(name, one) for document in configs.values() for name, one in document["components"].items() if "file" in one]
    if unknown := set(others or {}) - {name for name, _ in named}:
        there = ", ".join(dict.fromkeys(name for name, _ in named))
        raise InputError(f"--bits: no network is called {', '.join(sorted(unknown))}; there is: {there}")
    hashed = {one.get("sha256"): (name, one) for name, one in named}
    hashes: dict[str, str] = {}
    written = []
    with whole(target) as temporary:
        for path in sorted(path for path in source.rglob("*") if path.is_file() and not path.is_relative_to(temporary)):
            copy = temporary / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix != ".safetensors" or (digest := file_hash(path)) not in hashed:  # the captioner's tables are no network
                shutil.copyfile(path, copy)
                continue
            try:
                tensors = load_file(path)
                check_finite(tensors, str(path))
                name, one = hashed[digest]
                store(packed(tensors, (others or {}).get(name, bits), buffers(one)), copy)
            except SafetensorError as error:
                raise InputError(f"{path}: not safetensors ({str(error).splitlines()[0]})") from None
            hashes[digest] = file_hash(copy)
            written.append(target / path.relative_to(source))
        for _, one in named:
            one["sha256"] = hashes.get(one.get("sha256"), one.get("sha256"))
        for relative, document in configs.items():
            write_config((temporary / relative).parent, document)
    return written
