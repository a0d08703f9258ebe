"""A method's docstring says which function each of its paper's equations is."""

from __future__ import annotations

import importlib
import re
from operator import attrgetter
from types import ModuleType


def resolve_names(module: ModuleType) -> None:
    """Every name in single backquotes is there: in the module, in its folder, or in the package below ``gencomm_cli``."""
    names = re.findall(r"(?<!`)`([\w.]+)`(?!`)", module.__doc__ or "")
    assert names
    for name in names:
        assert any(_there(f"{place}.{name}") for place in (module.__name__, module.__package__, "gencomm_cli")), name


def _there(path: str) -> bool:
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        try:
            if end < len(parts):
                attrgetter(".".join(parts[end:]))(found)
        except AttributeError:
            return False
        return True
    return False
