"""``gencomm models add``: presets over pretrained models in diffusers' layout, in a local folder or on the hub.

The preset itself is small: it points at the models, with the hub's commit where they are on the hub, and the SHA-256 of every file.
What is there is checked by the models' own configurations before anything is written; nothing large is loaded or fetched.
Which models a method wants, and what must fit, its own module says (:class:`Composer`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from diffusers import ConfigMixin
from torch import nn

from gencomm_cli import presets
from gencomm_cli.errors import InputError, OptionError, one_line
from gencomm_cli.methods import spec_of, specs
from gencomm_cli.methods.options import SourceOptions
from gencomm_cli.outputs import check_folder, utf8
from gencomm_cli.presets import Component, Preset
from gencomm_cli.presets.build import builders, pretrained_class
from gencomm_cli.presets.files import digest
from gencomm_cli.presets.finite import check_finite
from gencomm_cli.presets.weights import check_files, readable
from gencomm_cli.presets.write import taken, whole, write_preset
from gencomm_cli.textfiles import read_json

Say = Callable[[str], None]
LAYOUT = "diffusers' layout, as a pipeline's save_pretrained writes it"
LARGE = 10**8
"""Bytes of a file that takes a while to hash."""
KEEP = ("block_out_channels", "patch_size")
"""What methods want to know of a denoiser before it is loaded."""


@dataclass(frozen=True)
class Source:
    """A folder with models.

    Attributes:
        name: what a preset calls it. files: below it. path: where one of them is; what lies on the hub is fetched for it, once.
        revision: the commit, of what is from the hub. hashes: SHA-256 of files, as far as the hub says them.
        say: takes a line for a file that takes a while to hash. local: its files are on this machine.
    """

    name: str
    files: frozenset[str]
    path: Callable[[str], Path]
    say: Say
    revision: str | None = None
    hashes: Mapping[str, str | None] = field(default_factory=dict)
    local: bool = True

    def sha256(self, file: str) -> str:
        """As the hub has it, else by hashing it, if that has not been done before."""
        if known := self.hashes.get(file):
            return known
        path = self.path(file)
        if (size := path.stat().st_size) > LARGE:
            self.say(f"{file}: {size / 1e9:.1f} GB, hashed once")
        return digest(path)


def _folder(folder: Path, say: Say) -> Source:
    """A folder on this machine."""
    found = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
    files = frozenset(path.relative_to(folder).as_posix() for path in found if path.is_file())
    return Source(str(folder), files, lambda file: folder / file, say)


def _repository(name: str, revision: str | None, say: Say) -> Source:
    """A repository of the hub at one commit; weights stay there until the preset is used.

    Raises:
        InputError: the hub does not know it, or does not answer.
    """
    from huggingface_hub import HfApi, hf_hub_download

    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: no such folder, and the hub does not give it ({one_line(error)}); give a local folder") from None
    except Exception as error:  # the hub's client has errors of its own, from one release to the next
        raise InputError(f"{name}: the hub does not answer ({one_line(error)}); give a local folder") from None

    def fetched(file: str) -> Path:
        try:
            return Path(hf_hub_download(name, file, revision=info.sha))
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{name}: {file} cannot be fetched ({one_line(error)}); give a local folder") from None

    hashes = {each.rfilename: each.lfs.sha256 if each.lfs else None for each in info.siblings or ()}  # of large files alone
    return Source(name, frozenset(hashes), fetched, say, info.sha, hashes, local=False)


def open_source(text: str, revision: str | None, say: Say) -> Source:
    """The folder of that name, or the hub's repository; where the hub does not give it, what is in its cache.

    Raises:
        InputError: it is neither.
    """
    if Path(text).is_dir():
        return _folder(Path(text).resolve(), say)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        raise InputError(f"{text}: no such folder, and no hub id (OWNER/NAME) either; give one of the two, in {LAYOUT}")
    try:
        return _repository(text, revision, say)
    except InputError:
        from huggingface_hub import snapshot_download

        try:
            snapshot = Path(snapshot_download(text, revision=revision, local_files_only=True))
        except (OSError, ValueError, RuntimeError):  # it is not there either
            pass
        else:
            return replace(_folder(snapshot, say), name=text, revision=snapshot.name)
        raise


@dataclass(frozen=True)
class Model:
    """One pretrained model of a source: its configuration, and the component that a preset names it by."""

    config: Mapping[str, Any]
    component: Component

    @cached_property
    def blueprint(self) -> nn.Module:
        """The network without numbers."""
        name, config = self.component.class_name, dict(self.config)
        builder = pretrained_class(name)
        try:
            with torch.device("meta"):
                if isinstance(builder, type) and issubclass(builder, ConfigMixin):
                    return cast(nn.Module, cast(Any, builder).from_config(config))
                return builders()[name](**config)
        except (TypeError, ValueError, RuntimeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{self.component.subfolder}/config.json: no {name} has this configuration ({one_line(error)})"
            ) from None


@dataclass(frozen=True)
class Composition:
    """What a preset over pretrained models is made of.

    Attributes:
        components: by their names: pretrained ones, and some of other presets, whose files the preset takes along.
        settings: of the preset. untrained: components that it lacks yet, which are to be trained.
    """

    components: Mapping[str, Component]
    settings: Mapping[str, Any] = field(default_factory=dict)
    untrained: tuple[str, ...] = ()


class Composer(Protocol):
    """A method's module: ``pretrained`` of its spec."""

    def compose(self, source: Source, options: Any) -> Composition:
        """The models of ``source`` that the method wants, seen to fit one another; ``options`` are of the spec's ``sources``.

        Raises:
            InputError: one is missing, of another kind, or does not fit.
        """


def component(source: Source, name: str, class_name: str, files: list[str], config: Mapping[str, Any], **words: Any) -> Component:
    """A pretrained component of these files, hashed; ``words`` are its other fields."""
    hashes = {file: source.sha256(file) for file in sorted(files)}
    combined = presets.combined_hash(list(hashes.values()))
    return Component(name, class_name, None, combined, config, source.name, revision=source.revision, files=hashes, **words)


def document(source: Source, file: str) -> dict[str, Any]:
    """A JSON object of a source. Raises InputError where it is missing or is none."""
    if file not in source.files:
        raise InputError(f"{source.name}: lacks {file}; give a local folder or a hub id in {LAYOUT}")
    found = None
    with contextlib.suppress(InputError):
        found = read_json(source.path(file))
    if not isinstance(found, dict):
        raise InputError(f"{source.name}: {file} is not a JSON object; fetch it again from where you have it")
    return found


def model(source: Source, name: str, class_name: str, subfolder: str, variant: str | None = None) -> Model:
    """The model in ``subfolder``, whose configuration says that it is a ``class_name``.

    Raises:
        InputError: it is missing, is another kind of model, or has no safetensors.
    """
    config = document(source, f"{subfolder}/config.json")
    found = config.get("_class_name") or next(iter(config.get("architectures") or [None]))
    if str(found).lower() != class_name.lower():
        raise InputError(f"{source.name}: {subfolder}/config.json is of a {found}; {class_name} belongs there")
    weights, taken = _weights(source, subfolder, variant)
    kept = {key: config[key] for key in KEEP if key in config}
    files = [f"{subfolder}/config.json", *weights]
    result = Model(config, component(source, name, class_name, files, kept, subfolder=subfolder, variant=taken))
    if source.local:
        _check_numbers(source, result, [file for file in weights if file.endswith(".safetensors")])
    return result


def _weights(source: Source, subfolder: str, variant: str | None) -> tuple[list[str], str | None]:
    """Files of a model's weights, and their variant: the one asked for, else none, else the only one there is."""
    inside = {file.rpartition("/")[2] for file in source.files if file.startswith(f"{subfolder}/")}
    for stem in ("diffusion_pytorch_model", "model"):
        shards = f"{stem}.safetensors.index.json"
        if variant is None and shards in inside and f"{stem}.safetensors" not in inside:
            parts = document(source, f"{subfolder}/{shards}").get("weight_map")
            names = sorted({str(part) for part in parts.values()}) if isinstance(parts, dict) else []
            if not names or not inside.issuperset(names):
                raise InputError(f"{source.name}: {subfolder}/{shards} names files that are not there; fetch the folder again")
            return [f"{subfolder}/{file}" for file in (shards, *names)], None
        found = {match[1]: file for file in inside if (match := re.fullmatch(rf"{stem}(?:\.(\w+))?\.safetensors", file))}
        taken = variant if variant is not None or None in found or len(found) != 1 else next(iter(found))
        if taken in found:
            return [f"{subfolder}/{found[taken]}"], taken
    if any(file.endswith((".bin", ".ckpt", ".pth")) for file in inside):
        raise InputError(
            f"{source.name}: {subfolder} has pickled weights alone; give a copy with .safetensors (save_pretrained writes them)"
        )
    asked = f" of variant {variant}" if variant else ""
    raise InputError(
        f"{source.name}: {subfolder} has no weights{asked} (.safetensors); give a local folder or a hub id in {LAYOUT}"
    )


def _check_numbers(source: Source, model: Model, weights: list[str]) -> None:
    """Refuses weights that are not finite, or hold another number of numbers than the configuration asks for. (Names differ between
    releases.)"""
    held = 0
    for file in weights:
        with readable(source.path(file), InputError) as opened:
            for name in opened.keys():  # noqa: SIM118
                tensor = opened.get_tensor(name)  # mapped, not read
                check_finite({name: tensor}, f"{source.path(file)}: {model.component.name}")
                held += tensor.numel() if tensor.is_floating_point() else 0
    wanted = sum(tensor.numel() for tensor in model.blueprint.state_dict().values() if tensor.is_floating_point())
    if held != wanted:
        raise InputError(
            f"{source.name}: {model.component.subfolder} holds {held} numbers, and its config.json asks for {wanted}; "
            "config and weights are of different models"
        )


def fit(source: Source, what: str, one: object, other: object) -> None:
    """Raises InputError where two things that must be equal, ``what`` in words, are not."""
    if one != other:
        raise InputError(f"{source.name}: {what}: {one} is not {other}; these are not parts of one model")


def from_preset(method: str, part: str, given: str) -> tuple[Preset, Component]:
    """A preset, and a component of it that has its own file: a preset of the method, of another over the same models, or a folder.

    Raises:
        InputError: there is none; the flag is the component's name. ModelMismatch: its file is damaged.
    """
    bases = {spec.name: spec.sources.base for spec in specs().values() if spec.sources is not None}
    methods = (method, *(other for other in bases if other != method and bases[other] == bases[method]))
    folder = next((path for each in methods if (path := presets.folder_of(each, given)) is not None), Path(given))
    preset = presets.load_config(folder)
    found = preset.components.get(part)
    if found is None or found.path is None:
        raise InputError(f"--{part} {given}: that preset has no {part} of its own; `gencomm train` or `models import` makes one")
    alone = replace(preset, components={part: found})
    presets.verify(alone)
    check_files(alone)
    return preset, found


def add(method: str, name: str, options: SourceOptions, out: Path | None, say: Say) -> Path:
    """Writes the preset and returns its folder, ``out/METHOD/NAME``.

    Args:
        options: of the class that the method's spec names.
        out: a models folder; the user's (:func:`gencomm_cli.presets.user_root`) if None.

    Raises:
        InputError: a component is missing or does not fit, or there is such a preset already.
    """
    folder = (out or presets.user_root()) / method / name
    if not presets.is_name(name):
        raise InputError(f"--name {name}: is no name; use letters, digits, - and _")
    if folder.exists() or presets.folder_of(method, name) is not None:
        raise InputError(f"--name {name}: there is such a preset of {method} already; take another name, or delete {folder}")
    check_folder(folder)
    base = getattr(options, options.base)
    if base is None:
        raise OptionError(options.base, f"{method} stands on it, and on nothing else; give a local folder or a hub id in {LAYOUT}")
    source = open_source(base, options.revision, say)
    composer = cast(Composer, import_module(spec_of(method).pretrained))
    made = composer.compose(source, options)
    at = f" at commit {source.revision}" if source.revision else ""
    card = f"# {method}/{name}\n\nAdded by `gencomm models add`, over {source.name}{at}. Its licence is theirs.\n"
    with whole(folder) as temporary:
        write_preset(temporary, method, {part: taken(each) for part, each in made.components.items()}, made.settings, name)
        (temporary / "README.md").write_bytes(utf8(card))
    if made.untrained:
        missing = " and ".join(made.untrained)
        say(f"{method}/{name}: has no {missing} yet; `gencomm train {method} --start {name}` trains them")
    return folder
