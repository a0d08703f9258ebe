"""A bench's channels by name: ``awgn``, ``rayleigh``, ``block``, ``multipath``, and ``multipath:clip=0.8:cp=0`` with options, among
them those of paths: ``multipath:tdl=a:speed=120``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import get_args

from gencomm_cli.bench.rows import canonical
from gencomm_cli.channels.fading import Kind
from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.options import build, options_of

_FLAGS = {"awgn": "--awgn", "rayleigh": "--rayleigh", "block": "--block-rayleigh", "multipath": "--multipath"}


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
    if kind != "multipath":
        return Channel(kind)  # type: ignore[arg-type]
    given: dict[type, dict[str, str]] = {OfdmConfig: {}, PathModel: {}}
    for option in options:
        switch, _, value = option.partition("=")
        if switch.startswith("no-"):
            switch, value = switch.removeprefix("no-"), "off"
        name = switch.replace("-", "_")
        for cls, values in given.items():
            if name in options_of(cls):
                values[name] = value
                break
        else:
            known = ", ".join(each.switch for cls in given for each in options_of(cls).values())
            raise InputError(f"--channels: {option!r} is not NAME=VALUE with NAME of {known}, or no-interleaver")
    try:
        paths = build(PathModel, given[PathModel]) if given[PathModel] else None
        return Channel("multipath", build(OfdmConfig, given[OfdmConfig]), paths)
    except OptionError as error:
        raise InputError(f"--channels: {text!r} has {error.flagged}") from None


def name(text: str) -> str:
    """The one name of a channel: options in a fixed order, and none that is at its default. Raises as :func:`parse`."""
    channel = parse(text)
    return ":".join((channel.kind, *("=".join(words).removeprefix("--") for words in _changed(channel))))


def flags(text: str) -> list[str]:
    """The channel as flags of ``roundtrip``. Raises as :func:`parse`."""
    channel = parse(text)
    return [_FLAGS[channel.kind], *chain.from_iterable(_changed(channel))]


def _changed(channel: Channel) -> Iterator[list[str]]:
    """The command line's words for each option that is not at its default; which model it is of has none."""
    for given in filter(None, (channel.ofdm, channel.paths)):
        options = options_of(type(given))
        plain = type(given)(**{key: getattr(given, key) for key, option in options.items() if option.choices})
        for key, option in options.items():
            value = getattr(given, key)
            if value is not None and (option.choices or value != getattr(plain, key)):
                yield option.words("off" if value is False else canonical(value))
