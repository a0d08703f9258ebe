"""Writes presets: every folder with a ``config.json`` is made here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from gencomm_cli.errors import InputError
from gencomm_cli.interrupts import held
from gencomm_cli.outputs import replacing, umask, unfinished, utf8, write_files
from gencomm_cli.presets import FORMAT, VERSION, Component, Preset, file_hash, load_config
from gencomm_cli.presets.finite import check_finite, is_finite


@dataclass(frozen=True)
class Part:
    """A component whose file is to be written.

    Attributes:
        class_name, config: as in :class:`~gencomm_cli.presets.Component`.
        weights: a network, stored in half precision; tensors, stored as they are; or a file, taken as it is.
        folder: where the file goes, inside the models folder around the preset; None: the preset's own folder.
    """

    class_name: str
    config: Mapping[str, Any]
    weights: nn.Module | Mapping[str, Tensor] | Path
    folder: Path | None = None


def taken(component: Component, folder: Path | None = None) -> Part | Component:
    """A component of another preset; where it has a file of its own, that is taken along, to ``folder`` as :class:`Part` has it."""
    return component if component.path is None else Part(component.class_name, component.config, component.path, folder)


def write_preset(
    folder: Path, method: str, parts: Mapping[str, Part | Component], settings: Mapping[str, Any], name: str | None = None
) -> Preset:
    """Writes a preset of ``parts``, by their names, into ``folder``, and returns it.

    A :class:`~gencomm_cli.presets.Component` is named and not copied: it is pretrained, or its file lies in the models folder
    around the preset already, as a sibling's does.

    Args:
        name: of the preset; None: the folder's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)  # until the weights are there it is no preset, even if it is killed
    components = {part: _entry(folder, part, content) for part, content in parts.items()}
    document = {
        "format": FORMAT, "version": VERSION, "method": method, "name": name or folder.name, "components": components,
        "settings": dict(settings),
    }  # fmt: skip
    write_config(folder, document)
    return load_config(folder)


def write_config(folder: Path, document: Mapping[str, Any]) -> None:
    """Writes ``config.json``."""
    write_files({folder / "config.json": utf8(json.dumps(document, indent=1) + "\n")})


def store(tensors: Mapping[str, Tensor], path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes tensors as safetensors, in place of what is there; their types of numbers stay.

    Raises:
        InputError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        try:
            save_file(_apart(tensors), temporary, dict(notes or {}) or None)
        except SafetensorError as error:  # as of a full disk
            raise InputError(f"{path}: cannot be written ({error}); choose another place") from None


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A new folder to fill beside ``folder``, whose name it takes when the block ends well; else it goes.

    Into a folder that is there the files are moved one by one: its ``config.json`` goes first and comes last, as a folder without
    it is no preset.

    Raises:
        InputError: it cannot be written.
    """
    temporary = unfinished(folder.absolute().parent)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.mkdir(0o700)
            yield temporary
            if folder.is_dir():
                with held():
                    (folder / "config.json").unlink(missing_ok=True)
                    for path in sorted(temporary.iterdir(), key=lambda path: path.name == "config.json"):
                        os.replace(path, folder / path.name)
                    temporary.rmdir()
            else:
                temporary.chmod(0o777 & ~umask())
                os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); name another folder") from None


def _entry(folder: Path, name: str, part: Part | Component) -> dict[str, Any]:
    """A component as ``config.json`` has it, its file written."""
    if isinstance(part, Component) and part.path is None:
        words = {word: getattr(part, word) for word in ("pretrained", "subfolder", "revision", "variant")}
        return {
            "class": part.class_name, **{word: text for word, text in words.items() if text is not None}, "sha256": part.sha256,
            "files": dict(part.files), "config": dict(part.config),
        }  # fmt: skip
    path = part.path if isinstance(part, Component) else _file(part, (part.folder or folder) / name)
    assert path is not None
    root = folder if path.is_relative_to(folder) else folder.parent.parent
    return {
        "class": part.class_name, "file": str(path.relative_to(root)), "sha256": file_hash(path), "config": dict(part.config)
    }  # fmt: skip


def _file(part: Part, place: Path) -> Path:
    """Writes a part's file to ``place``, which lacks the suffix; what is a file already is linked where the file system can, and
    keeps its name in a folder that presets share.

    Raises:
        ModelMismatch: weights are not finite.
    """
    if not isinstance(part.weights, Path):
        path = place.with_name(f"{place.name}.safetensors")
        tensors = halved(part.weights) if isinstance(part.weights, nn.Module) else part.weights
        check_finite(tensors, f"{path}: {place.name}")
        store(tensors, path)
        return path
    path = place.with_name(part.weights.name if part.folder else place.name + part.weights.suffix)
    if path.exists() and path.samefile(part.weights):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(part.weights, path)
    except OSError:
        with replacing(path) as temporary:
            shutil.copyfile(part.weights, temporary)
    return path


def halved(module: nn.Module) -> dict[str, Tensor]:
    """A network's numbers in half precision, as presets hold them; tensors of numbers that it cannot hold stay as they are."""
    tensors = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    return {
        name: half if value.is_floating_point() and is_finite(half := value.half()) else value for name, value in tensors.items()
    }


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors that own their memory, as safetensors wants them."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        if tensor.data_ptr() in seen or tensor.untyped_storage().nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        seen.add(tensor.data_ptr())
        out[name] = tensor
    return out
