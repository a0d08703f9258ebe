"""A bench's channels by name: ``awgn``, ``rayleigh``, ``block``, ``multipath``, and ``multipath:clip=0.8:cp=0`` with options."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

from gencomm_cli.channels.fading import Kind
from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.errors import InputError

_FLAGS = {"awgn": "--awgn", "rayleigh": "--rayleigh", "block": "--block-rayleigh", "multipath": "--multipath"}
_OPTIONS = {"clip": float, "cp": int, "carriers": int, "pilots": int, "taps": int, "decay": float}
_PLAIN = "no-interleaver"


def parse(text: str) -> tuple[Kind, OfdmConfig | None]:
    """The channel's kind, and its OFDM where it is multipath.

    Raises:
        InputError: no such channel, or options that it has not.
    """
    kind, *options = text.split(":")
    if kind not in get_args(Kind) or (options and kind != "multipath"):
        raise InputError(f"--channels: {text!r} is not awgn, rayleigh, block, multipath or multipath:NAME=VALUE:NAME=VALUE")
    values: dict[str, float] = {}
    for option in options:
        name, _, value = option.partition("=")
        if option == _PLAIN:
            values["interleaver"] = False
            continue
        try:
            values[name] = _OPTIONS[name](value)
        except (KeyError, ValueError):
            raise InputError(f"--channels: {option!r} is not NAME=VALUE with NAME of {', '.join(_OPTIONS)}, or {_PLAIN}") from None
    return kind, OfdmConfig(**values) if kind == "multipath" else None  # type: ignore[return-value, arg-type]


def name(text: str) -> str:
    """The one name of a channel: options in a fixed order, and none that is at its default. Raises as :func:`parse`."""
    kind, ofdm = parse(text)
    return ":".join((kind, *(f"{option}={value:g}" if option != _PLAIN else option for option, value in _changed(ofdm))))


def flags(text: str) -> list[object]:
    """The channel as flags of ``roundtrip``. Raises as :func:`parse`."""
    kind, ofdm = parse(text)
    words: list[object] = [_FLAGS[kind]]
    for option, value in _changed(ofdm):
        words += [f"--{option}"] if option == _PLAIN else [f"--{option}", f"{value:g}"]
    return words


def _changed(ofdm: OfdmConfig | None) -> list[tuple[str, float]]:
    if ofdm is None:
        return []
    changed = [field.name for field in fields(ofdm) if getattr(ofdm, field.name) != field.default]
    return [(_PLAIN if option == "interleaver" else option, getattr(ofdm, option)) for option in changed]
