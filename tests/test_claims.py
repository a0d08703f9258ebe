"""``examples/claims.py``: its sweeps can be run, its figures are those of the rows, and it makes the page."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import app
from gencomm_cli.bench.photographs import Photograph
from gencomm_cli.bench.plan import Sweep, jobs
from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.bench.store import read_rows
from tests.support.commands import commands, picture

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

    def plan(sweep: Sweep, *_: object, **__: object) -> list[Row]:
        planned.append(sweep)
        return []

    monkeypatch.setattr("gencomm_cli.bench.run.run", plan)
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


def row(image: str, repeat: int, method: str, snr_db: float = 10.0, **metrics: float) -> Row:
    cell = Cell(image, "", method, "", "", "awgn", snr_db, 0.0033, repeat=repeat)
    return Row(cell, "ok", metrics=dict(metrics), cbr={"image": 0.003, "side": 0.0005})


def test_a_figure_is_the_paired_difference(script: dict[str, Any]) -> None:
    """Pictures weigh alike whatever their repeats, SNRs are averaged, and what one line lacks counts in neither."""
    line, values, figure = script["Line"], script["values"], script["figure"]
    ours = [row(name, r, "a", snr, psnr=20 + r + snr) for name in "xyz" for r in range(2) for snr in (0.0, 10.0)]
    theirs = [row("x", r, "b", psnr=20.0 + 2 * r) for r in range(2)] + [row("y", 0, "b", psnr=21.0)]
    lines = line("s", "a"), line("s", "b"), line("s", "a", (("snr_db", 10.0),))
    a, b, at_10 = ([each for each in (*ours, *theirs) if which.takes(each.cell)] for which in lines)
    assert (len(a), len(b), len(at_10)) == (12, 3, 6)
    found = figure([(1.0, values(a, "psnr")), (-1.0, values(b, "psnr"))])
    assert found.mean == pytest.approx(((5 + 4) / 2 + 4) / 2)
    assert (found.pictures, found.samples) == (2, 3)
    assert figure([(1.0, values(a, "psnr")), (-1.0, {})]) is None
    assert values(b, "success") == {("x", 0): 100.0, ("x", 1): 100.0, ("y", 0): 100.0}
    assert values(b, "cbr")["x", 0] == pytest.approx(0.0035)
    assert values([Row(ours[0].cell, "outage")], "lost") == {("x", 0): 100.0}


def test_the_interval_is_that_of_the_mean(script: dict[str, Any]) -> None:
    """Of the means of many pictures' values: ±1.96 σ/√n; of one picture, of its repeats."""
    rng = np.random.default_rng(0)
    groups = [[value] for value in rng.normal(3, 2, 200)]
    low, high = script["bootstrap"](groups)
    mean, half = np.mean(groups), 1.96 * np.std(groups) / 200**0.5
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.05)
    alone = script["bootstrap"]([[1.0, 2.0, 3.0, 4.0]])
    assert 1.0 <= alone[0] < 2.5 < alone[1] <= 4.0
    pictures = script["bootstrap"]([[0.0] * 50, [10.0] * 50])  # many repeats do not stand for many pictures
    assert pictures == (0.0, 10.0)


@pytest.mark.parametrize(
    ("wanted", "interval", "pictures", "expected"),
    [
        ("below", (-2.0, -1.0), 6, "**holds**"), ("below", (-2.0, 1.0), 6, "not decided"),
        ("below", (1.0, 2.0), 6, "does not hold"),
        ("above", (1.0, 2.0), 6, "**holds**"), ("above", (-2.0, -1.0), 6, "does not hold"), ("above", (0.0, 0.0), 6, "**holds**"),
        ("below", (-2.0, -1.0), 5, "too few pictures"),
    ],
)  # fmt: skip
def test_verdicts(script: dict[str, Any], wanted: str, interval: tuple[float, float], pictures: int, expected: str) -> None:
    claim = next(claim for claim in script["CLAIMS"] if claim.terms)
    found = script["Figure"](0.0, interval, pictures, pictures, (0.0, 0.0))
    assert script["verdict"](replace(claim, wanted=wanted, bound=0.0), found) == expected
    moved = replace(claim, wanted=wanted, bound=5.0)
    shifted = script["Figure"](5.0, (interval[0] + 5, interval[1] + 5), pictures, pictures, (0.0, 0.0))
    assert script["verdict"](moved, shifted) == expected
    assert script["verdict"](claim, None) == "not measured"
    assert script["verdict"](replace(claim, terms=()), None) == "cannot be tested at nano size"


def test_the_page_of_a_run(
    script: dict[str, Any], tmp_path: Path, make_lrisc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It benches a tiny preset on six pictures, goes on where it was stopped, and says what holds."""
    (photos := tmp_path / "photos").mkdir()
    for index in range(6):
        Image.fromarray(np.roll(picture(64, 64), 9 * index, 1)).save(photos / f"{index}.png")
    monkeypatch.setattr(app, "app", commands())
    sweep = script["SWEEPS"]["lrisc-rates"]
    monkeypatch.setitem(script["SWEEPS"], "lrisc-rates", replace(sweep, flags=sweep.flags.replace("crop:256", "none")))
    page = tmp_path / "claims.md"
    asked = [photos, "--only", "lrisc-allocation", "diffjscc-miou", "--preset", f"lrisc={make_lrisc()}", "--out", tmp_path / "runs"]

    def run(*more: object) -> str:
        monkeypatch.setattr("sys.argv", ["claims.py", *map(str, (*asked, "--page", page, "--device", "cpu", *more))])
        script["main"]()
        return page.read_text("utf-8")

    assert "Of 2 claims: 1 not measured, 1 cannot be tested at nano size." in run("--minutes", 0)
    assert "too few pictures" in run("--images", 2)
    text = run()
    assert len(read_rows(tmp_path / "runs" / "lrisc-rates")) == 12
    found = re.search(
        r"PSNR \(dB\) of `lrisc`, allocation adaptive − `lrisc`, allocation uniform: above 0 \| (\S+) \[(\S+), (\S+)\]", text
    )
    assert found is not None, text
    figure, low, high = map(float, found.groups())
    assert low - 0.005 <= figure <= high + 0.005  # the ends are rounded more coarsely
    assert re.search(r", 6 pictures \| – \| (\*\*holds\*\*|not decided|does not hold) \| `--only lrisc-allocation` \|", text)
