"""What a bench sweeps: options of the methods that are declared with ``Flag.sweep``, and what a receiver knows of the channel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from gencomm_cli import pipeline
from gencomm_cli.bench.rows import KEYED, Chosen, canonical
from gencomm_cli.channels.estimation import Estimator
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.methods import specs
from gencomm_cli.methods.options import Flag, Option, ReceiverOptions, TransmitterOptions, build, options_of, ratio
from gencomm_cli.methods.spec import MethodSpec

Axes = tuple[tuple[str, tuple[str, ...]], ...]
"""Options by name, each with the values to try."""


def _snr(text: str) -> float:
    return pipeline.check_snr("option rx-snr", float(text))


@dataclass(frozen=True)
class ChannelOptions:
    """What every receiver knows of the channel."""

    estimator: Annotated[Estimator, Flag("What makes gains of pilots.")] = "lmmse"
    rx_snr: Annotated[float | None, Flag("SNR that the receiver is given.", metavar="DB", parse=_snr)] = None


def options_for(spec: MethodSpec, *, coarse: bool = False) -> dict[str, Option]:
    """Every option of a method by name, less the receiver's own for its image before diffusion (``coarse``)."""
    ends = (ChannelOptions, spec.transmitter, *(() if coarse else (spec.receiver,)))
    return {name: option for cls in ends for name, option in options_of(cls).items()}


def swept_of(spec: MethodSpec, *, coarse: bool = False) -> dict[str, Option]:
    """Those of them that can be swept."""
    return {name: option for name, option in options_for(spec, coarse=coarse).items() if option.flag.sweep}


@cache
def readers() -> Mapping[str, Mapping[str, Option]]:
    """By the name of each option that can be swept: the methods that read it, and what it is there."""
    found: dict[str, dict[str, Option]] = {}
    for spec in specs().values():
        for name, option in swept_of(spec).items():
            found.setdefault(name, {})[spec.name] = option
    return found


def flag(name: str) -> str:
    """How an option is swept on the command line: ``--steps``, or ``--option zeta-h``."""
    own = (f"--{key.replace('_', '-')}" for key, keyed in KEYED.items() if keyed.option == name)
    return next(own, f"--option {name.replace('_', '-')}")


def refusal(error: OptionError) -> InputError:
    """The error with the option as :func:`flag` has it."""
    return InputError(f"{flag(error.field)}: {error.problem}")


def axes(texts: Iterable[str]) -> Axes:
    """``NAME=VALUE,VALUE`` for each option; numbers also as :func:`numbers` has them.

    Raises:
        InputError: no such option, a value that it cannot have, or the same option twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        words, _, values = text.partition("=")
        name = words.strip().replace("-", "_")
        option = next(iter(readers().get(name, {}).values()), None)
        if option is not None and option.kind in (int, float) and values:
            tried = tuple(map(canonical, numbers(flag(name), values)))
        else:
            tried = tuple(dict.fromkeys(value.strip() for value in values.split(",")))
        if option is None or name in found or any(not value or value.split() != [value] for value in tried):
            known = ", ".join(sorted(name.replace("_", "-") for name in readers()))
            raise InputError(f"--option: {text!r} is not NAME=VALUE,VALUE with a NAME, given once, of {known}")
        for value in tried:
            _check(name, value)
        found[name] = tried
    return tuple(found.items())


def _check(name: str, value: str) -> None:
    """Raises InputError where no method could read the value."""
    for option in readers()[name].values():
        try:
            option.parse(value)
            return
        except OptionError as error:
            problem = error
    raise refusal(problem)


def combinations(spec: MethodSpec, swept: Axes, fixed: Chosen = (), *, coarse: bool = False) -> list[Chosen]:
    """Every combination of the values of options that a method reads, less what changes nothing given the rest and ``fixed``.

    Raises:
        InputError: another method could read such a value, this one cannot.
    """
    return list(dict.fromkeys(_less_idle(spec, chosen, fixed) for chosen in products(spec, swept, coarse=coarse)))


def products(spec: MethodSpec, swept: Axes, *, coarse: bool = False) -> Iterable[Chosen]:
    """The same with what changes nothing."""
    read = swept_of(spec, coarse=coarse)
    return itertools.product(*([(name, value) for value in values] for name, values in swept if name in read))


def _less_idle(spec: MethodSpec, chosen: Chosen, fixed: Chosen) -> Chosen:
    known = options_for(spec)
    try:
        given = {name: known[name].parse(text) for name, text in (*fixed, *chosen)}
    except OptionError as error:
        raise refusal(error) from None
    idle = spec.transmitter.idle(given) | spec.receiver.idle(given)
    return tuple(pair for pair in chosen if pair[0] not in idle)


def built(spec: MethodSpec, given: Mapping[str, str]) -> tuple[TransmitterOptions, ReceiverOptions, ChannelOptions]:
    """The options that the texts stand for.

    Raises:
        InputError: they contradict each other, or the method does not read one.
    """
    of_channel = {name: text for name, text in given.items() if name in options_of(ChannelOptions)}
    try:
        of_method = {name: text for name, text in given.items() if name not in of_channel}
        transmitter, receiver = pipeline.settled(spec, of_method, "transmitter", "receiver")
        return transmitter, receiver, build(ChannelOptions, of_channel)
    except OptionError as error:
        raise refusal(error) from None


def numbers(flag: str, text: str) -> tuple[float, ...]:
    """``1,5,10``, ``1/384,1/96``, ``inf``, and ranges ``-5:1:15`` (start:step:stop, both ends in).

    Raises:
        InputError: anything else.
    """
    found: list[float] = []
    try:
        for part in text.split(","):
            values = [ratio(value) for value in part.split(":")]
            if any(map(math.isnan, values)):
                raise ValueError
            if len(values) == 1:
                found += values
                continue
            start, step, stop = values
            count = math.floor((stop - start) / step + 1e-9) + 1
            if not 1 <= count <= 10_000:
                raise ValueError
            found += [round(start + index * step, 9) for index in range(count)]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(f"{flag}: {text!r} is not a list of numbers; give 1,5,10 or start:step:stop, as in -5:1:15") from None
    return tuple(dict.fromkeys(found))
