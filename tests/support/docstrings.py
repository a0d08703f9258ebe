"""A method's docstring says which function each of its paper's equations is."""

from __future__ import annotations

import importlib
import re
from operator import attrgetter
from types import ModuleType


def resolve_names(module: ModuleType) -> None:
    """Every name in single backquotes is there: in the module, in a neighbour of it, or in the package below ``gencomm_cli``."""
    names = re.findall(r"(?<!`)`([\w.]+)`(?!`)", module.__doc__ or "")
    assert names
    for name in names:
        first = name.partition(".")[0]
        if hasattr(module, first):
            attrgetter(name)(module)
            continue
        place = module.__name__.rpartition(".")[0] if first == "train" else "gencomm_cli"
        path = f"{place}.{name}".split(".")
        for end in range(len(path) - 1, 0, -1):
            try:
                found = importlib.import_module(".".join(path[:end]))
            except ModuleNotFoundError:
                continue
            attrgetter(".".join(path[end:]))(found)
            break
