"""A released checkpoint under this project's names: what was mapped, dropped and missed, and the preset that is written of it.

Each kind of checkpoint has a module with ``recognises(tensors)`` and ``convert(checkpoints, config)`` in the folder of its method,
whose spec names it (``importers``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from gencomm_cli import presets
from gencomm_cli.console import say
from gencomm_cli.errors import InputError, ModelMismatch, OptionError, one_line
from gencomm_cli.methods import importers
from gencomm_cli.outputs import check_folder, utf8
from gencomm_cli.presets import write
from gencomm_cli.presets.build import build_tokenizer, builders
from gencomm_cli.presets.finite import check_finite
from gencomm_cli.released.checkpoint import Checkpoint


@dataclass(frozen=True)
class ConvertedComponent:
    """One network of the preset: name, class and config as in :class:`gencomm_cli.presets.Component`, and its state dict.

    ``pretrained``: the folder it is loaded from in place of tensors.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    pretrained: str | None = None


@dataclass(frozen=True)
class Conversion:
    """What became of one kind of checkpoint.

    Attributes:
        method: the method that the preset is for. components, settings: of the preset.
        mapped: (their name, ours), a pair for each tensor of ours that came from theirs.
        dropped: (their name, why it is not needed).
        missed: ours that theirs have nothing for, each with the value that does the same (a bias of zero, …).
        conventions: lines for the card: how the authors normalise, pair, count SNR, equalise, and where this differs here.
        lacks: lines on what the files do not hold and the method needs, and where it comes from.
        needs: components that files of another kind must bring in the same call, each with what to say where they do not.
    """

    method: str
    components: tuple[ConvertedComponent, ...]
    settings: Mapping[str, Any]
    mapped: tuple[tuple[str, str], ...]
    dropped: tuple[tuple[str, str], ...] = ()
    missed: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)


class Converter(Protocol):
    """The module of a kind of checkpoint."""

    def recognises(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether names and shapes are those of this kind."""

    def convert(self, checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
        """Checkpoints of this kind (more than one where the authors split a model) and what ``--config`` holds, as ours.

        Raises:
            InputError: a file or an entry of the config is missing. ModelMismatch: the tensors are not of this kind.
        """


def converter(kind: str) -> Converter:
    """The converter of a kind. Raises OptionError where there is none."""
    if kind not in importers():
        raise OptionError("kind", f"{kind} is unknown; there is: {', '.join(importers())}")
    return cast(Converter, import_module(importers()[kind]))


def recognised(checkpoint: Checkpoint, kind: str | None = None) -> tuple[str, Checkpoint]:
    """The first kind that knows a checkpoint's tensors by their names, and the checkpoint or the part of it whose names these are.

    Args:
        kind: the one that it must be; None for any.

    Raises:
        InputError: no kind, or not the one that was asked for, knows them.
    """
    kinds = list(importers())
    if kind is not None:
        converter(kind)
    for part in checkpoint.parts():
        fitting = [name for name in tuple(kinds) if _fits(name, part, kinds)]
        if fitting and kind not in (None, *fitting):
            raise InputError(f"{checkpoint.path}: is not of kind {kind}; it looks like {fitting[0]}")
        if fitting:
            return kind or fitting[0], part
    count, few = len(checkpoint.tensors), ", ".join(list(checkpoint.tensors)[:3])
    raise InputError(f"{checkpoint.path}: of no kind that is known ({count} tensors: {few}, …); known: {', '.join(importers())}")


def _fits(kind: str, part: Checkpoint, kinds: list[str]) -> bool:
    """Whether a kind knows these tensors; one that is broken leaves ``kinds``, with a line."""
    try:
        return converter(kind).recognises(part.tensors)
    except Exception as error:  # other people's code raises anything
        say(f"{kind}: its importer is left out ({type(error).__name__}: {one_line(error)})")
        kinds.remove(kind)
        return False


def only(checkpoints: Sequence[Checkpoint], kind: str) -> Checkpoint:
    """The one file of a kind whose models are one file each. Raises InputError where there are more."""
    if len(checkpoints) > 1:
        names = ", ".join(str(checkpoint.path) for checkpoint in checkpoints)
        raise InputError(f"models import: {names} are all of kind {kind}, and a preset has one; import them one by one")
    return checkpoints[0]


def convert(checkpoints: Sequence[Checkpoint], kind: str | None, config: Mapping[str, Any]) -> Conversion:
    """All files of one call as one preset's networks, seen to fit the classes that they are for.

    Args:
        kind: of all files; None to recognise each.

    Raises:
        InputError: a file is of no known kind, or they make no preset together. ModelMismatch: tensors are missing or misshapen.
    """
    kinds: dict[str, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        found, part = recognised(checkpoint, kind)
        kinds.setdefault(found, []).append(part)
    conversions = []
    for each, files in kinds.items():
        try:
            conversions.append(converter(each).convert(files, config))
            for component in conversions[-1].components:
                check(component)
                check_finite(component.tensors, f"{files[0].path}: {component.name}")
        except (LookupError, ValueError, TypeError, ArithmeticError, RuntimeError) as error:  # of shapes that no network has
            reason = one_line(error)[:120]
            raise ModelMismatch(f"{files[0].path}: looks like {each}, but does not fit ({reason}); is it whole?") from None
    whole = joined(conversions)
    left = tuple(pair for parts in kinds.values() for part in parts for pair in part.dropped)
    return replace(whole, dropped=left + whole.dropped)


def joined(conversions: Sequence[Conversion]) -> Conversion:
    """Several kinds as one preset: of their method, or of the one that asks for what the others hold (:attr:`Conversion.needs`).

    Raises:
        InputError: they make no preset together.
    """
    names = [component.name for conversion in conversions for component in conversion.components]
    asked = {name: line for conversion in conversions for name, line in conversion.needs.items()}
    methods = {each.method for each in conversions if not {component.name for component in each.components} <= asked.keys()}
    if len(methods) > 1 or len(set(names)) < len(names):
        raise InputError(f"models import: these files make no preset together ({', '.join(names)}); import them one by one")
    if missing := [line for name, line in asked.items() if name not in names]:
        raise InputError(f"models import: {missing[0]}")
    listed = ("components", "mapped", "dropped", "missed", "conventions", "lacks")
    together = {name: tuple(chain.from_iterable(getattr(each, name) for each in conversions)) for name in listed}
    settings = {name: value for each in conversions for name, value in each.settings.items()}
    return Conversion(methods.pop(), settings=settings, needs=asked, **together)


def with_tokenizer(conversion: Conversion, folder: Path) -> Conversion:
    """The preset with a tokeniser that is loaded from a folder, as transformers keeps it.

    Raises:
        InputError: it has no text model, there is no tokeniser in the folder, or one of more tokens than the text model knows.
    """
    text = next((component for component in conversion.components if component.name == "text_encoder"), None)
    if text is None:
        raise InputError("--tokenizer: these files have no text model; leave it out")
    tokenizer = ConvertedComponent("tokenizer", "PreTrainedTokenizerFast", {}, {}, str(folder.absolute()))
    size = len(build_tokenizer(presets.Component(tokenizer.name, tokenizer.class_name, None, "", {}, tokenizer.pretrained)))
    if size > text.config["vocab_size"]:
        raise InputError(f"--tokenizer {folder}: has {size} tokens, and the text model knows {text.config['vocab_size']}")
    kept = tuple(line for line in conversion.lacks if not line.startswith("tokenizer:"))
    return replace(conversion, components=(*conversion.components, tokenizer), lacks=kept)


def check(component: ConvertedComponent) -> None:
    """Builds the component's class without memory, and compares names and shapes.

    Raises:
        ModelMismatch: a tensor is missing, misshapen or too many. ValueError: there is no such network.
    """
    with torch.device("meta"):
        module: nn.Module = builders()[component.class_name](**component.config)
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    here = {name: tuple(tensor.shape) for name, tensor in component.tensors.items()}
    wrong = [f"{name} is {here[name]} instead of {shape}" for name, shape in wanted.items() if here.get(name, shape) != shape]
    wrong = [f"{name} is missing" for name in wanted if name not in here] + wrong
    wrong += [f"{name} is unknown" for name in here if name not in wanted]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ModelMismatch(
            f"{component.name}: the checkpoint does not fit {component.class_name} ({wrong[0]}{more}); is it whole?"
        )


def write_preset(conversion: Conversion, folder: Path, name: str, sources: Sequence[Path], *, force: bool = False) -> None:
    """Writes weights, ``config.json``, a card and the list of all tensors; the folder appears whole or not at all.

    Args:
        sources: the files that were imported, named in the card with their SHA-256. force: replaces the files of an older preset.

    Raises:
        InputError: the folder holds something and ``force`` is not set, or it cannot be written.
    """
    size = sum(tensor.nbytes for each in conversion.components for tensor in each.tensors.values())
    check_target(folder, sources, force, size)
    parts: dict[str, write.Part | presets.Component] = {}
    for each in conversion.components:
        if each.pretrained is not None:
            parts[each.name] = presets.Component(each.name, each.class_name, None, "", {}, each.pretrained)
        else:
            parts[each.name] = write.Part(each.class_name, each.config, each.tensors)
    rows = [("mapped", *pair) for pair in conversion.mapped] + [("dropped", *pair) for pair in conversion.dropped]
    rows += [("missed", "", ours) for ours in conversion.missed]
    with write.whole(folder) as temporary:
        write.write_preset(temporary, conversion.method, parts, conversion.settings, name)
        (temporary / "README.md").write_bytes(utf8(_card(conversion, name, sources)))
        (temporary / "tensors.tsv").write_bytes(utf8("".join("\t".join(row) + "\n" for row in rows)))


def check_target(folder: Path, sources: Sequence[Path], force: bool, size: int = 0) -> None:
    """Says before any work is done that a preset of ``size`` bytes cannot be written to ``folder``. Raises InputError."""
    check_folder(folder, size)
    if not folder.absolute().parent.is_dir():
        raise InputError(f"{folder}: there is no folder {folder.parent}; make it first")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise InputError(f"{folder}: not empty; name a new folder, or pass --force to replace the preset in it")
    if folder.is_dir() and any(source.parent.samefile(folder) for source in sources):
        raise InputError(f"{folder}: holds what is imported, which might be replaced; name another folder")


def _card(conversion: Conversion, name: str, sources: Sequence[Path]) -> str:
    lines = [
        f"# {conversion.method}/{name}",
        "",
        "Imported by `gencomm models import` from what others released and trained; their terms hold.",
    ]
    lines += ["", *(f"- `{path.name}`, SHA-256 {presets.file_hash(path)}" for path in sources)]
    if conversion.conventions:
        lines += ["", "## Conventions", "", *(f"- {line}" for line in conversion.conventions)]
    lines += ["", "## Tensors", "", *report(conversion), "", "`tensors.tsv` lists them all."]
    return "\n".join(lines) + "\n"


def report(conversion: Conversion) -> list[str]:
    """Lines for people: how many tensors were mapped, which were dropped and why (as many as share a reason), which were missed."""
    reasons: dict[str, list[str]] = {}
    for key, reason in conversion.dropped:
        reasons.setdefault(reason, []).append(key)
    made = ", ".join(f"{each.name} ({each.class_name})" for each in conversion.components)
    lines = [f"mapped {len({theirs for theirs, _ in conversion.mapped})}: {made}"]
    lines += [f"dropped {len(keys)}: {reason} ({_few(keys)})" for reason, keys in reasons.items()]
    if conversion.missed:
        lines.append(
            f"missed {len(conversion.missed)}: not in the files, filled with what does the same ({_few(conversion.missed)})"
        )
    return lines + [f"lacks {line}" for line in conversion.lacks]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
