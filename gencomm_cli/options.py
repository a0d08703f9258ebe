"""Options: frozen dataclasses, declared once. Imports nothing heavy: ``--help`` comes through here.

A field is declared with all that anybody needs to know of it::

    @dataclass(frozen=True)
    class Receiver(SamplerOptions):
        zeta: Annotated[float | None, Flag("How strongly the received signal weighs.", metavar="Z", low=0, high=1e6)] = None

Flags of the commands, their help, what `bench --option` can sweep, the checks of type and range (of a file's header too), and the
error for a flag that nobody reads all follow from these declarations (:func:`options_of`) and are written nowhere else.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from gencomm_cli.errors import OptionError

Options = TypeVar("Options")


@dataclass(frozen=True)
class Flag:
    """How a field is given on a command line.

    Attributes:
        help: one sentence, with the unit if the value has one. metavar: what stands for the value in the help.
        low, high: the least and the largest value, both allowed.
        parse: what makes a value of a text, where the field's type does not say it; raises ValueError.
        sweep: whether `bench --option` may try several values.
        also: older names of the flag, which still work.
    """

    help: str
    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    parse: Callable[[str], Any] | None = None
    sweep: bool = True
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """One field of an options dataclass: ``kind`` is its type (``str`` for one of ``choices``), ``default`` its default."""

    name: str
    flag: Flag
    kind: type
    choices: tuple[str, ...]
    default: Any

    @property
    def switch(self) -> str:
        """Its name on the command line, less the dashes."""
        return self.name.replace("_", "-")

    def parse(self, text: str) -> Any:
        """The value that a text stands for; on and off are those of a switch.

        Raises:
            OptionError: none does.
        """
        try:
            if self.kind is bool:
                return {"on": True, "off": False}[text]
            value = (self.flag.parse or self.kind)(text)
        except (ValueError, KeyError):
            raise OptionError(self.name, f"{text!r} is not a value that it can have{self._right()}") from None
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raises OptionError where a value is not of the option's type, none of its choices, or out of its range."""
        if value is None or value is self.default:
            return
        if self.choices and value not in self.choices:
            raise OptionError(self.name, f"{value!r} is not one of its values{self._right()}")
        number = self.kind in (int, float)
        if number and (isinstance(value, bool) or not isinstance(value, int if self.kind is int else int | float)):
            raise OptionError(self.name, f"{value!r} is not a number{self._right()}")
        low, high = self.flag.low, self.flag.high
        if number and not ((low is None or value >= low) and (high is None or value <= high)):
            raise OptionError(self.name, f"{value:g} is out of range{self._right()}")
        if self.kind is bool and not isinstance(value, bool):
            raise OptionError(self.name, f"{value!r} is not on or off")

    def words(self, text: str) -> list[str]:
        """The command line's words for a value's text, as ``bench`` has it."""
        if self.kind is bool:
            on = self.parse(text)
            return [] if on is self.default else [f"--{self.switch}" if on else f"--no-{self.switch}"]
        return [f"--{self.switch}", text]

    def _right(self) -> str:
        low, high = self.flag.low, self.flag.high
        if self.choices:
            return f"; there is: {', '.join(self.choices)}"
        if low is not None:
            return f"; {low:g} or more" if high is None else f"; {low:g} to {high:g}"
        return f"; {self.flag.metavar} is expected" if self.flag.metavar else ""


def options_of(cls: type) -> Mapping[str, Option]:
    """The fields of an options dataclass that are flags, by name, in their order."""
    return _options_of(cls)  # mypy takes a dataclass's type for one that no cache can have as a key


@cache
def _options_of(cls: type) -> Mapping[str, Option]:
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for field in fields(cls):
        kind, *extras = get_args(hints[field.name]) or (None,)
        flag = next((extra for extra in extras if isinstance(extra, Flag)), None)
        if flag is None:
            continue
        if get_origin(kind) in (Union, types.UnionType):
            kind = next(each for each in get_args(kind) if each is not type(None))
        choices = tuple(get_args(kind)) if get_origin(kind) is Literal else ()
        kind = str if choices else get_origin(kind) or kind
        found[field.name] = Option(field.name, flag, kind, choices, None if field.default is MISSING else field.default)
    return found


def build(cls: type[Options], given: Mapping[str, Any]) -> Options:
    """The options with the values that are given; a text is parsed where the field's own type is another.

    Raises:
        OptionError: a value that cannot be, or a name that is none of the fields.
    """
    known = options_of(cls)
    if unknown := [name for name in given if name not in known]:
        raise OptionError(unknown[0], f"is not read here; there is: {', '.join(known) or 'nothing'}")
    return cls(**{name: _value(known[name], value) for name, value in given.items()})


def _value(option: Option, value: Any) -> Any:
    """Of a text what it stands for; of a whole number, where any number may stand, the same as a float."""
    if isinstance(value, str) and (option.kind is not str or option.flag.parse is not None):
        return option.parse(value)
    return float(value) if option.kind is float and type(value) is int else value


def check_values(options: Any) -> None:
    """Checks every field of an options object. Raises OptionError."""
    for name, option in options_of(type(options)).items():
        option.check(getattr(options, name))


def ratio(text: str | float) -> float:
    """``0.0026``, or a fraction such as ``1/384``. Raises ValueError."""
    above, _, below = str(text).partition("/")
    try:
        return float(above) / float(below or 1)
    except ZeroDivisionError:
        raise ValueError(f"{text} divides by zero") from None
