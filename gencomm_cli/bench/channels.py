"""A bench's channels by name: ``awgn``, ``rayleigh``, ``block``, ``multipath``, and ``multipath:clip=0.8:cp=0`` with options, among
them those of paths: ``multipath:tdl=a:speed=120``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_args

from gencomm_cli.bench.rows import canonical
from gencomm_cli.channels.fading import Kind
from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.options import build, options_of

_FLAGS = {"awgn": "--awgn", "rayleigh": "--rayleigh", "block": "--block-rayleigh", "multipath": "--multipath"}
_OPTIONS = {name: option.kind for name, option in options_of(OfdmConfig).items()}
_PLAIN = "no-interleaver"


@dataclass(frozen=True)
class Channel:
    """The channel's kind, its OFDM where it is multipath, and the model of its paths where there is one."""

    kind: Kind
    ofdm: OfdmConfig | None = None
    paths: PathModel | None = None


def parse(text: str) -> Channel:
    """The channel of that name.

    Raises:
        InputError: no such channel, or options that it has not.
    """
    kind, *options = text.split(":")
    if kind not in get_args(Kind) or (options and kind != "multipath"):
        raise InputError(f"--channels: {text!r} is not awgn, rayleigh, block, multipath or multipath:NAME=VALUE:NAME=VALUE")
    values: dict[str, Any] = {}
    of_paths = {option.switch: name for name, option in options_of(PathModel).items()}
    given: dict[str, str] = {}
    for option in options:
        name, _, value = option.partition("=")
        if option == _PLAIN:
            values["interleaver"] = False
        elif name in of_paths:
            given[of_paths[name]] = value
        else:
            try:
                values[name] = _OPTIONS[name](value)
            except (KeyError, ValueError):
                known = ", ".join((*_OPTIONS, *of_paths))
                raise InputError(f"--channels: {option!r} is not NAME=VALUE with NAME of {known}, or {_PLAIN}") from None
    if kind != "multipath":
        return Channel(kind)  # type: ignore[arg-type]
    try:
        return Channel("multipath", OfdmConfig(**values), build(PathModel, given) if given else None)
    except OptionError as error:
        raise InputError(f"--channels: {text!r} has {error.flagged}") from None


def name(text: str) -> str:
    """The one name of a channel: options in a fixed order, and none that is at its default. Raises as :func:`parse`."""
    channel = parse(text)
    return ":".join((channel.kind, *(option if option == _PLAIN else f"{option}={value}" for option, value in _changed(channel))))


def flags(text: str) -> list[object]:
    """The channel as flags of ``roundtrip``. Raises as :func:`parse`."""
    channel = parse(text)
    words: list[object] = [_FLAGS[channel.kind]]
    for option, value in _changed(channel):
        words += [f"--{option}"] if option == _PLAIN else [f"--{option}", value]
    return words


def _changed(channel: Channel) -> list[tuple[str, str]]:
    """Options that are not at their default, with their values as text."""
    changed: list[tuple[str, str]] = []
    if channel.ofdm is not None:
        differing = [field for field in fields(channel.ofdm) if getattr(channel.ofdm, field.name) != field.default]
        changed += [
            (_PLAIN if field.name == "interleaver" else field.name, f"{getattr(channel.ofdm, field.name):g}") for field in differing
        ]
    if (paths := channel.paths) is not None:
        options = options_of(PathModel)
        plain = PathModel(**{key: getattr(paths, key) for key, option in options.items() if option.choices})
        for key, option in options.items():
            value = getattr(paths, key)
            if value is not None and (option.choices or value != getattr(plain, key)):
                changed.append((option.switch, canonical(value)))
    return changed
