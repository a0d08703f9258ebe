"""``examples/claims.py``: its sweeps can be run, its figures are those of the rows, and it makes the page."""

from __future__ import annotations

import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

from gencomm_cli import app
from gencomm_cli.bench.photographs import Photograph
from gencomm_cli.bench.plan import Sweep, jobs
from tests.support.commands import commands

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return runpy.run_path(str(EXAMPLES / "claims.py"))


def test_every_sweep_has_the_lines_of_every_claim(script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No claim asks for a row that no bench makes."""
    planned: list[Sweep] = []
    monkeypatch.setattr(app, "app", commands())
    monkeypatch.setenv("GENCOMM_DEBUG", "1")
    monkeypatch.setattr("gencomm_cli.bench.run.run", lambda sweep, *_, **__: planned.append(sweep) or [])
    bench = script["Bench"](tmp_path, {}, frozenset({"a.png"}))
    cells = {}
    for name in script["SWEEPS"]:
        assert app.run(["bench", "run", "a.png", *shlex.split(bench.command(name))]) == 0
        cells[name] = [cell for job in jobs(planned[-1], [Photograph("a.png", "a house", "")]) for cell in job.cells]
    claims = script["CLAIMS"]
    for which in (which for claim in claims for _, which in claim.terms):
        assert any(which.takes(cell) for cell in cells[which.sweep]), which
    assert {sweep for claim in claims for sweep in claim.sweeps} == set(cells)
    assert len({claim.name for claim in claims}) == len(claims) >= 25
