"""Presets: folders ``models/<method>/<preset>/`` that name the weights of a method; found, parsed and verified here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.methods import spec_of, specs
from gencomm_cli.textfiles import read_json, read_text

FORMAT, VERSION = "gencomm-preset", 1
ENVIRONMENT = "GENCOMM_MODELS"


@dataclass(frozen=True)
class Component:
    """One network of a preset.

    Attributes:
        name: what the method calls it (``vae``, ``unet``, ``jscc``, …).
        class_name: class that is built from ``config`` (``AutoencoderKL``, ``CLIPTextModel``, …).
        path: its weights (safetensors), or None for a pretrained model.
        sha256: of the weights file, lower-case hex; of a pretrained model's ``files`` as :func:`combined_hash` has it, empty where
            it is not pinned.
        config: constructor arguments; of a pretrained model, at most those that are wanted before it is loaded.
        pretrained: local folder or hub id to load from instead of ``path``, with ``subfolder``, ``revision`` (of the hub: a
            commit) and ``variant`` (``fp16`` for weights named ``….fp16.safetensors``).
        files: every file that a pinned pretrained model is made of, by its name below ``pretrained``, with its SHA-256.
    """

    name: str
    class_name: str
    path: Path | None
    sha256: str
    config: Mapping[str, Any]
    pretrained: str | None = None
    subfolder: str | None = None
    revision: str | None = None
    variant: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """A method's components and settings.

    ``weights_sha256`` is the SHA-256 of the components' lower-case hex digests, sorted and joined by newlines.
    """

    method: str
    name: str
    folder: Path
    components: Mapping[str, Component]
    settings: Mapping[str, Any]
    weights_sha256: str

    @property
    def card(self) -> str:
        """The model card, or a line that says there is none."""
        path = self.folder / "README.md"
        return read_text(path) if path.is_file() else f"{self.method}/{self.name}: no card"


def models_root() -> Path:
    """The shipped presets: inside an installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "models"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "models"


def user_root() -> Path:
    """The presets that the user added: the folder that ``GENCOMM_MODELS`` names, or ``gencomm/models`` among the user's data."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or Path(os.path.expanduser("~")) / ".local" / "share") / "gencomm" / "models"


def combined_hash(digests: list[str]) -> str:
    """SHA-256 of sorted hex digests joined by newlines."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _component(folder: Path, name: str, entry: Any) -> Component:
    """One entry of a config; its file lies in the preset's folder, in the models folder around it, or in the shipped one."""
    if not isinstance(entry, dict) or not isinstance(entry.get("class"), str) or not isinstance(entry.get("config", {}), dict):
        raise InputError(f"{folder}/config.json: component {name} needs a class and a config")
    pretrained, file = entry.get("pretrained"), entry.get("file")
    if isinstance(pretrained, str):
        files, words = entry.get("files", {}), {key: entry.get(key) for key in ("subfolder", "revision", "variant")}
        if not isinstance(files, dict) or not all(isinstance(word, str | None) for word in (*words.values(), *files.values())):
            raise InputError(
                f"{folder}/config.json: component {name} needs text for subfolder, revision, variant, and files by name"
            )
        if any(Path(file).is_absolute() or ".." in Path(file).parts for file in files):
            raise InputError(f"{folder}/config.json: component {name} names files outside {pretrained}; `gencomm models add` again")
        sha256 = combined_hash(list(files.values())) if files else str(entry.get("sha256", ""))
        return Component(name, entry["class"], None, sha256, entry.get("config", {}), pretrained, files=files, **words)
    if not isinstance(file, str) or not isinstance(entry.get("sha256"), str):
        raise InputError(f"{folder}/config.json: component {name} needs file and sha256, or pretrained")
    places = [(folder, file), (folder, Path(file).name), (folder.resolve().parent.parent, file), (models_root(), file)]
    for root, relative in places:
        path = root / relative
        if os.path.isfile(path) and path.resolve().is_relative_to(root.resolve()):
            return Component(name, entry["class"], path, entry["sha256"], entry.get("config", {}))
    raise InputError(f"{folder}/config.json: component {name} ({file}) is neither in the preset's folder nor in its models/ folder")


def load_config(folder: Path) -> Preset:
    """Parses a preset folder; nothing is hashed yet.

    Raises:
        InputError: no such folder, or its ``config.json`` is not a preset's.
    """
    path = folder / "config.json"
    if not os.path.isfile(path):
        raise InputError(f"{folder}: not a preset; a preset folder holds config.json and weights")
    try:
        config = read_json(path)
    except InputError as error:
        raise InputError(f"{error}; it should be a preset's config") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT or config.get("version") != VERSION:
        raise InputError(f"{path}: not a preset of format {FORMAT} {VERSION}")
    entries = config.get("components")
    if (
        not isinstance(entries, dict)
        or not isinstance(config.get("method"), str)
        or not isinstance(config.get("settings", {}), dict)
    ):
        raise InputError(f"{path}: a preset needs method, components and settings")
    components = {name: _component(folder, name, entry) for name, entry in entries.items()}
    digests = [
        component.sha256 or hashlib.sha256(str(component.pretrained).encode()).hexdigest() for component in components.values()
    ]
    name = str(config.get("name", folder.name))
    return Preset(config["method"], name, folder, components, config.get("settings", {}), combined_hash(digests))


def roots() -> list[Path]:
    """The folders that presets are looked for in: the shipped ones, those of installed packages, and the user's."""
    return [models_root(), *(spec.presets for spec in specs().values() if spec.presets is not None), user_root()]


def available(say: Callable[[str], None] | None = None) -> list[Preset]:
    """Shipped presets, then those that the user added, by method and name; less hidden folders, as macOS leaves them beside others.

    Args:
        say: takes a line for each that is damaged, and left out then; None: InputError.
    """
    found = []
    for folder in (path.parent for root in roots() for path in sorted(root.glob("*/*/config.json"))):
        if folder.parent.name == "shared" or folder.name.startswith(".") or folder.parent.name.startswith("."):
            continue
        try:
            found.append(load_config(folder))
        except InputError as error:
            if say is None:
                raise
            say(f"left out: {error}")
    return found


def folder_of(method: str, name: str) -> Path | None:
    """Where the preset of that name is: among the shipped ones, or those that the user added; None for neither."""
    if not is_name(name):
        return None
    folders = (root / method / name for root in roots())
    return next((folder for folder in folders if os.path.isfile(folder / "config.json")), None)


def is_name(text: str) -> bool:
    """Whether ``text`` can name a preset, rather than a folder."""
    return text.replace("-", "").replace("_", "").replace(".", "").isalnum() and not text.startswith(".")


def find(method: str, preset: str) -> Preset:
    """The preset with that name, or in that folder.

    Raises:
        InputError: there is none, or it belongs to another method.
    """
    folder = folder_of(method, preset) or Path(preset)
    if not os.path.isdir(folder):
        names = ", ".join(found.name for found in available(lambda _: None) if found.method == method)
        where = f"`gencomm train {method}`" if spec_of(method).training else "`gencomm models import`"
        there = f"there is: {names}" if names else f"its weights are not shipped, {where} makes some"
        raise InputError(f"--preset {preset}: no such preset of {method} and no such folder; {there}")
    found = load_config(folder)
    if found.method != method:
        raise InputError(f"--preset {preset}: belongs to {found.method}, not to {method}")
    return found


def find_any(name: str, *methods: str) -> Preset:
    """The preset in that folder, whatever method it is of, else the one of that name that the first of these methods has.

    Raises:
        InputError: there is none.
    """
    if Path(name, "config.json").is_file():
        return load_config(Path(name))
    return find(next((method for method in methods if folder_of(method, name)), methods[-1]), name)


def require(preset: Preset, *names: str) -> None:
    """Raises InputError where the preset lacks one of the named components."""
    if missing := set(names) - set(preset.components):
        right = f"{preset.method} needs them all"
        if missing <= {"control", "jscc"} and is_pretrained(preset):
            right += (
                f": `gencomm train {preset.method} --start {preset.name}` makes these, `models add` takes them from other presets"
            )
        raise InputError(f"preset {preset.name}: lacks {', '.join(sorted(missing))}; {right}")


def is_pretrained(preset: Preset) -> bool:
    """Whether it stands on models that others trained, which are used as they are."""
    return any(component.pretrained is not None for component in preset.components.values())


def verify(preset: Preset, *names: str) -> None:
    """Checks the SHA-256 of every component, or of those named, that has a file of its own.

    Pretrained ones are checked by :mod:`gencomm_cli.presets.files` when they are loaded.

    Raises:
        ModelMismatch: a file is not the one that the preset names.
    """
    for name in names or preset.components:
        component = preset.components[name]
        if component.path is not None and file_hash(component.path) != component.sha256:
            raise ModelMismatch(f"{component.path}: SHA-256 differs from the preset's; the weights are damaged: install them again")
