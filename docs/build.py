"""Builds the manual: gathers pages and cards in build/manual, writes the reference of the commands, and runs Zensical on it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).parents[1]
PAGES = (
    "*.md",
    "LICENSE",
    "CITATION.cff",
    "docs/**/*.md",
    "docs/figures/*",
    "docs/schemas/*",
    "models/**/README.md",
    "examples/**/*",
)
WIDTH = 90
"""Of the commands' help, in characters."""


def reference() -> str:
    """Every command: its help, word for word, and so its examples and flags."""
    from gencomm_cli.app import app

    def each(command: Any, name: str, parent: Any) -> Iterator[str]:
        context = command.make_context(name, [], parent, resilient_parsing=True, terminal_width=WIDTH)
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
        for child_name, child in getattr(command, "commands", {}).items():
            yield from each(child, child_name, context)

    return "# Commands\n\nWhat `--help` says, of every command.\n\n" + "\n".join(each(typer.main.get_command(app), "gencomm", None))


def gather(target: Path, source: Path) -> None:
    """Copies what the manual shows and links to into ``target``, each file at its place in the repository, and the package into
    ``source``, its docstrings in plain Markdown."""
    shutil.rmtree(target.parent, ignore_errors=True)
    for path in (path for pattern in PAGES for path in ROOT.glob(pattern) if path.is_file() and "__pycache__" not in path.parts):
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (target / "docs" / "commands.md").write_text(reference(), "utf-8")
    for path in ROOT.glob("gencomm_cli/**/*.py"):
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(re.sub(r":[a-z]+:`~?([\w.]+)`", r"`\1`", path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    gather(ROOT / "build" / "manual" / "pages", ROOT / "build" / "manual" / "source")
    sys.exit(subprocess.call([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT))
