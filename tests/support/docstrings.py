"""A method's docstring says which function each of its paper's equations is, and its page in docs/papers the rest."""

from __future__ import annotations

import importlib
import json
import re
from functools import reduce
from operator import attrgetter, getitem
from pathlib import Path
from types import ModuleType


def resolve_names(module: ModuleType) -> None:
    """Every name in single backquotes is there: in the module, in its folder, or in the package below ``gencomm_cli``."""
    names = re.findall(r"(?<!`)`([\w.]+)`(?!`)", module.__doc__ or "")
    assert names
    for name in names:
        assert _known(module, name), name


def resolve_page(module: ModuleType) -> None:
    """Every dotted name of the page is there, too, or a key of the method's recipes, or of a stage of them."""
    folder = Path(str(module.__file__)).parent
    recipes = [json.loads((folder / f"{name}.json").read_text()) for name in ("nano", "paper")]
    page = (folder.parents[2] / "docs" / "papers" / f"{folder.name}.md").read_text()
    names = [name for name in re.findall(r"`([A-Za-z_]\w*(?:\.\w+)+)`", page) if not re.search(r"\.(py|json|sh|md|pt)$", name)]
    assert names
    for name in names:
        assert _known(module, name) or any(_has(recipe, name.split(".")) for recipe in recipes), name


def _known(module: ModuleType, name: str) -> bool:
    return any(_there(f"{place}.{name}") for place in (module.__name__, module.__package__, "gencomm_cli"))


def _has(recipe: object, keys: list[str]) -> bool:
    try:
        reduce(getitem, keys, recipe)  # type: ignore[arg-type]
    except (KeyError, TypeError):
        return isinstance(recipe, dict) and any(_has(part, keys) for part in recipe.values())
    return True


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
