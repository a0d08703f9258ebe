"""Frozen dataclasses as JSON objects and back. Every field that comes from outside passes a rule: a function from what JSON has to
what the dataclass holds, which raises ValueError with what is wrong."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gencomm_cli.errors import InputError

Rule = Callable[[Any], Any]
LeftOut = Mapping[type, Collection[str]]
"""Fields of each class that JSON does not have where they hold their default."""


def read(where: str, value: object, rules: Mapping[str, Rule], left_out: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a JSON object, each by its rule; those of ``left_out`` may be missing.

    Raises:
        InputError: no object, or a field is missing, unknown or against its rule; ``where`` says where.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where} is not a JSON object")
    found = {}
    for name, check in rules.items():
        if name in value:
            try:
                found[name] = check(value[name])
            except ValueError as error:
                raise InputError(f"{where}.{name}: {error}") from None
        elif name not in left_out:
            raise InputError(f"{where}.{name} is missing")
    for name in value:
        if name not in rules:
            raise InputError(f"{where}.{name[:60]!r} is a field that this version of gencomm does not know")
    return found


def write(record: Any, left_out: LeftOut) -> dict[str, Any]:
    """A dataclass as a JSON object: infinity is ``"inf"``, a complex number [real, imaginary]."""
    omitted, fields = left_out.get(type(record), ()), dataclasses.fields(record)
    names = [field.name for field in fields if field.name not in omitted or getattr(record, field.name) != field.default]
    return {name: _plain(getattr(record, name), left_out) for name in names}


def _plain(value: Any, left_out: LeftOut) -> Any:
    if dataclasses.is_dataclass(value):
        return write(value, left_out)
    if isinstance(value, complex):
        return [value.real, value.imag]
    return "inf" if value == math.inf else value


def rule(holds: Callable[[Any], bool], what: str, convert: Rule | None = None) -> Rule:
    """The rule that ``holds`` says yes of a value, and what it is then converted to."""

    def checked(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"{repr(value)[:60]} is not {what}")
        return value if convert is None else convert(value)

    return checked


def integer(low: int, high: int) -> Rule:
    return rule(lambda value: type(value) is int and low <= value <= high, f"an integer from {low} to {high}")


def number(low: float, high: float) -> Rule:
    return rule(lambda value: type(value) in (int, float) and low <= value <= high, f"a number from {low:g} to {high:g}", float)


def one_of(*allowed: Any) -> Rule:
    """One of these values; true is not 1."""
    what = " or ".join(map(repr, allowed))
    return rule(lambda value: type(value) is not bool and value in allowed, what, lambda value: allowed[allowed.index(value)])


def matching(pattern: str, what: str) -> Rule:
    return rule(lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value, re.ASCII)), what)


def pair(each: Rule, what: str, convert: Rule) -> Rule:
    """[a, b], both by the rule ``each``."""
    return rule(lambda value: isinstance(value, list) and len(value) == 2, what, lambda value: convert(tuple(map(each, value))))


def or_null(given: Rule) -> Rule:
    return lambda value: None if value is None else given(value)


boolean = rule(lambda value: isinstance(value, bool), "true or false")
name = matching(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", "a name of letters, digits, dots and dashes")
