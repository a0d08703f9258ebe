"""The order of the house: imports run downward, none in a circle, and no method's name stands outside the methods."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "gencomm_cli"
FLOORS = (
    ("", "errors", "options", "seeds", "console", "interrupts", "outputs", "textfiles"),
    ("channels", "channels.*", "text", "text.*", "rates"),
    ("symbols", "symbols.*", "reception", "images", "colours", "photographs", "datasets"),
    ("methods", "methods.options", "methods.spec", "methods.base", "methods.*.options", "methods.?*:package"),
    ("radio", "radio.*"),
    ("presets", "presets.*", "text.captioners", "text.retrieval", "metrics", "metrics.*", "diffusion", "diffusion.*"),
    ("networks", "networks.*"),
    ("training", "training.*", "released", "released.*"),
    ("methods.*",),
    ("pipeline",),
    ("bench", "bench.*"),
    ("ui", "ui.*"),
    ("commands", "commands.*"),
    ("app", "__main__"),
)
"""From the ground up. What a method says of itself (its package and its options) lies below the weights and networks that it names;
its implementation, training and importers lie above them. The package itself offers the pipeline, and imports it when asked."""


@cache
def modules() -> dict[str, Path]:
    """Every module by its name below the package, '' for the package itself."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, *, everywhere: bool) -> set[str]:
    """The modules of the package that a file imports when it is loaded, or ``everywhere`` in it, but for types."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not everywhere:
            return
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            base = node.module.removeprefix(PACKAGE).removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                found.add(full if full in modules() else base)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return found


def floor(module: str) -> int:
    """The floor of a module: that which has its very name, else the first whose pattern fits."""
    for number, patterns in enumerate(FLOORS):
        if module in patterns:
            return number
    for number, patterns in enumerate(FLOORS):
        for pattern in patterns:
            name, _, kind = pattern.partition(":")
            if fnmatch(module, name) and (kind != "package" or modules()[module].name == "__init__.py"):
                return number
    raise AssertionError(f"{module} has no floor; give it one in FLOORS")


@pytest.mark.parametrize("module", modules())
def test_imports_run_downward(module: str) -> None:
    upward = {other for other in imports(modules()[module], everywhere=True) if floor(other) > floor(module)}
    assert not upward


def test_nobody_imports_in_a_circle() -> None:
    edges = {module: imports(path, everywhere=False) - {module} for module, path in modules().items()}
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module in done:
            return
        for other in edges[module]:
            walk(other, (*way, module))
        done.add(module)

    for module in edges:
        walk(module, ())


def test_methods_do_not_import_one_another() -> None:
    for module, path in modules().items():
        own = re.match(r"methods\.(\w+)", module)
        if own is None or own[1] in ("options", "spec", "base"):
            continue
        others = {match[1] for each in imports(path, everywhere=True) if (match := re.match(r"methods\.(\w+)\.", each))}
        assert others <= {own[1]}, module


def test_no_method_is_named_outside_its_folder() -> None:
    names = re.compile(r"\b(textguided|diffjscc|lrisc|diffcom|scsic)\b")
    files = {
        path.relative_to(ROOT / PACKAGE).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.suffix in (".py", ".json", ".md", ".html") and not path.is_relative_to(ROOT / PACKAGE / "methods")
    }
    naming = {name for name in files if names.search((ROOT / PACKAGE / name).read_text("utf-8"))}
    assert naming <= {"__init__.py"}, naming  # the default method
