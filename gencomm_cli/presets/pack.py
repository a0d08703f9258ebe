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


def pack_folder(source: Path, target: Path, bits: int = 8) -> list[Path]:
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
    named, hashes, written = {one.get("sha256"): one for one in components}, {}, []
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
                store(packed(tensors, bits, buffers(named[digest])), copy)
            except SafetensorError as error:
                raise InputError(f"{path}: not safetensors ({str(error).splitlines()[0]})") from None
            hashes[digest] = file_hash(copy)
            written.append(target / path.relative_to(source))
        for one in components:
            one["sha256"] = hashes.get(one.get("sha256"), one.get("sha256"))
        for relative, document in configs.items():
            write_config((temporary / relative).parent, document)
    return written
