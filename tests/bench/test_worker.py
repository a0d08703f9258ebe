"""What a worker measures, on systems that this is not."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import gencomm_cli
from gencomm_cli.bench.worker import peak_mib

POSIX = {"fcntl", "grp", "pwd", "resource", "termios"}
"""Modules of Python that Windows lacks."""


def test_peak_memory_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=3 * 2**20))
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(Process=lambda: process))
    monkeypatch.setattr(sys, "platform", "win32")
    assert peak_mib("cpu") == 3.0


def test_no_module_needs_what_windows_lacks() -> None:
    """At import; the one function that takes `resource` is the one above."""
    for path in Path(gencomm_cli.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        assert not names & POSIX, path
