"""Options of the receiver beside those that a cell has fields for, as a bench sweeps them: ``guidance-lambda=0,10`` is two
settings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, get_args

from gencomm_cli.channels.estimation import Estimator
from gencomm_cli.errors import InputError
from gencomm_cli.methods import METHODS, READS, variant_reads
from gencomm_cli.pipeline import check_snr


def _words(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(text.split("+"))


def _switch(text: str) -> bool:
    return {"on": True, "off": False}[text]


def _samples(text: str) -> int:
    return {str(count): count for count in range(1, 65)}[text]


def _estimator(text: str) -> str:
    return {name: name for name in get_args(Estimator)}[text]


def _rx_snr(text: str) -> float:
    return check_snr("--rx-snr", float(text))


PARSERS: dict[str, Callable[[str], Any]] = {
    "start-step": int, "spacing": str, "parameterization": str, "guidance-lambda": float, "guidance-form": str,
    "colour-fix": _switch, "condition": _words, "captioner": str, "variant": str, "likelihood": str, "zeta": float, "gamma": float,
    "zeta-h": float, "tau": float, "eta": float, "confirm": str, "blind-h": str, "blind-form": str, "pick": str,
    "samples": _samples, "estimator": _estimator, "rx-snr": _rx_snr,
}  # fmt: skip
"""What turns an option's text into its value."""
OF_CHANNEL = ("estimator", "rx-snr")
"""What every receiver reads, with a sampler or without; the others are fields of ``DecodeOptions``."""


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
    if "best" in found.get("pick", ()) and found.get("samples", ("1",)) == ("1",):
        raise InputError("--option pick: best is one of several; add --option samples=4")
    return tuple(found.items())


def settings(method: str, swept: Sequence[tuple[str, tuple[str, ...]]], *, sampled: bool = True) -> list[str]:
    """All combinations of the options that ``method`` reads, as ``A=1 B=2``; "" alone where it reads none.

    Of a combination, what its own variant of diffcom does not read is left out, and ``pick`` of a single sample.

    Args:
        sampled: there is a sampler at work; if not, only what every receiver reads is swept.
    """
    of_method = [
        [f"{name}={value}" for value in values]
        for name, values in swept
        if name in OF_CHANNEL or (sampled and _reads(method, name))
    ]
    return list(dict.fromkeys(map(_without_idle, itertools.product(*of_method))))


def _reads(method: str, name: str) -> bool:
    """``captioner`` is the receiver's here, so that only a method which captions there reads it."""
    reads = READS.get(method, frozenset())
    return name.replace("-", "_") in (reads if "caption_from" in reads else reads - {"captioner"})


def _without_idle(combination: Sequence[str]) -> str:
    chosen = dict(_pairs(" ".join(combination)))
    idle = {"pick"} if chosen.get("samples", "1") == "1" else set()
    if variant := chosen.get("variant"):
        likelihood, blind_h = chosen.get("likelihood", ""), chosen.get("blind-h", "")
        idle |= {name for name in chosen if not variant_reads(name.replace("-", "_"), variant, likelihood, blind_h)}
    return " ".join(f"{name}={value}" for name, value in chosen.items() if name not in idle)


def check_used(methods: Iterable[str], swept: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Raises InputError where an option is read by none of the methods."""
    methods = list(methods)
    for name, _ in swept:
        if name not in OF_CHANNEL and not any(_reads(method, name) for method in methods):
            readers = [method for method in METHODS if _reads(method, name)]
            raise InputError(f"--option {name}: none of these methods reads it; it is for {' and '.join(readers)}")


def of_channel(options: str) -> str:
    """Those of the options that every receiver reads."""
    return " ".join(f"{name}={value}" for name, value in _pairs(options) if name in OF_CHANNEL)


def channel_arguments(options: str) -> dict[str, Any]:
    """Their values: ``estimator`` and ``rx_snr``, where they are given."""
    return {name.replace("-", "_"): PARSERS[name](value) for name, value in _pairs(options) if name in OF_CHANNEL}


def decode_arguments(options: str) -> dict[str, Any]:
    """The others as fields of ``DecodeOptions``."""
    return {name.replace("-", "_"): PARSERS[name](value) for name, value in _pairs(options) if name not in OF_CHANNEL}


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
