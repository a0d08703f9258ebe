"""Whether the numbers of a recipe, which people write, are what a stage takes."""

from __future__ import annotations

import types
from dataclasses import Field
from typing import Any, Literal, Union, get_args, get_origin

LEAST = {"steps": 1, "batch": 1, "crop": 1, "pictures": 1, "accumulate": 1, "log_every": 1}
"""Of numbers that count something; others are not negative."""
SIGNED = frozenset({"snr_db"})
"""Numbers that may be negative."""


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of a field's type; a list is a tuple, and a whole number a float."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in inside)
    if origin is Literal:
        return value in inside
    if origin is tuple:
        listed = isinstance(value, list | tuple)
        if listed and inside[-1] is Ellipsis:
            return len(value) > 0 and all(fits(each, inside[0]) for each in value)
        return listed and len(value) == len(inside) and all(map(fits, value, inside))
    if hint in (int, float):
        return type(value) is int or type(value) is hint
    return hint is Any or isinstance(value, origin or hint)


def wrong(field: Field[Any], hint: Any, value: Any) -> str:
    """What a field should be and is not; "" where ``value`` will do."""
    if not fits(value, hint):
        return f"{field.name}: {value!r} is no {getattr(hint, '__name__', None) or str(hint)}".replace("typing.", "")
    least = LEAST.get(field.name, 0)
    numbers = [each for each in (value if isinstance(value, list | tuple) else [value]) if type(each) in (int, float)]
    if field.name not in SIGNED and any(each < least for each in numbers):
        return f"{field.name}: {value!r} is too small; {least} or more"
    return ""
