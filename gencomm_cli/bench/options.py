"""Options of the receiver that only some methods have, as a bench sweeps them: ``guidance-lambda=0,10`` is two settings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gencomm_cli.errors import InputError
from gencomm_cli.methods import METHODS, READS


def _words(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(text.split("+"))


def _switch(text: str) -> bool:
    return {"on": True, "off": False}[text]


PARSERS: dict[str, Callable[[str], Any]] = {
    "start-step": int, "spacing": str, "parameterization": str, "guidance-lambda": float, "guidance-form": str,
    "colour-fix": _switch, "condition": _words, "captioner": str, "variant": str, "likelihood": str, "zeta": float, "gamma": float,
    "zeta-h": float, "tau": float, "eta": float, "confirm": str, "blind-h": str, "blind-form": str, "pick": str,
}  # fmt: skip
"""What turns an option's text into its value in ``DecodeOptions``."""


def axes(texts: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """``NAME=VALUE,VALUE`` for each option: its name and the values to try.

    Raises:
        InputError: no such option, a value that it cannot have, or the same option twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name, tried = name.strip(), tuple(dict.fromkeys(value.strip() for value in values.split(",")))
        if name not in PARSERS or name in found or any(not value or value.split() != [value] for value in tried):
            raise InputError(f"--option: {text!r} is not NAME=VALUE,VALUE with a NAME, given once, of {', '.join(PARSERS)}")
        for value in tried:
            try:
                PARSERS[name](value)
            except (ValueError, KeyError):
                raise InputError(f"--option {name}: {value!r} is not a value that it can have") from None
        found[name] = tried
    return tuple(found.items())


def settings(method: str, swept: Sequence[tuple[str, tuple[str, ...]]]) -> list[str]:
    """All combinations of the options that ``method`` reads, as ``A=1 B=2``; "" alone where it reads none.

    ``captioner`` is the receiver's here, so that only a method which captions there has it.
    """
    reads = READS.get(method, frozenset())
    if "caption_from" not in reads:
        reads = reads - {"captioner"}
    of_method = [[f"{name}={value}" for value in values] for name, values in swept if name.replace("-", "_") in reads]
    return [" ".join(combination) for combination in itertools.product(*of_method)]


def check_used(methods: Iterable[str], swept: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Raises InputError where an option is read by none of the methods."""
    methods = list(methods)
    for name, values in swept:
        if all(settings(method, [(name, values)]) == [""] for method in methods):
            readers = [method for method in METHODS if settings(method, [(name, values)]) != [""]]
            raise InputError(f"--option {name}: none of these methods reads it; it is for {' and '.join(readers)}")


def decode_arguments(options: str) -> dict[str, Any]:
    """The options as fields of ``DecodeOptions``."""
    return {name.replace("-", "_"): PARSERS[name](value) for name, value in _pairs(options)}


def flags(options: str) -> list[str]:
    """The options as flags of ``roundtrip``."""
    words: list[str] = []
    for name, value in _pairs(options):
        if name == "colour-fix":
            words.append(f"--{name}" if _switch(value) else f"--no-{name}")
        else:
            words += [f"--{name}", value.replace("+", ",") if name == "condition" else value]
    return words


def _pairs(options: str) -> Iterator[tuple[str, str]]:
    for option in options.split():
        name, _, value = option.partition("=")
        yield name, value
