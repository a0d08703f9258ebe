"""A bench folder of before the redesign: it is reported, merged and gone on with, and its rows' commands give what the rows say."""

from __future__ import annotations

import csv
import json
import lzma
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gencomm_cli
from tests.compatibility.record import BENCH, ROWS, SWEEP, words
from tests.support.commands import Result

Here = Callable[..., Result]
RECORDED: list[dict[str, Any]] = [json.loads(line) for line in lzma.decompress(ROWS.read_bytes()).splitlines()]
METHODS = ("textguided", "textguided:coarse", "separate", "diffcom")
DECIBELS = 0.1
"""What the PSNR of another CPU's picture may differ by."""


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder ``out``, as the command of SWEEP wrote it; rows count as done for the version that made them alone."""
    monkeypatch.setattr(gencomm_cli, "__version__", RECORDED[0]["cell"]["version"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/rows.jsonl").write_bytes(lzma.decompress(ROWS.read_bytes()))
    return tmp_path / "out"


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, (folder / "rows.jsonl").read_text().splitlines())}


def of(method: str) -> list[dict[str, Any]]:
    return [row for row in RECORDED if row["cell"]["method"] in (method, f"{method}:avif")]


def needs_same_codec() -> None:
    """Skips where images are coded by another version than the rows': those are other cells."""
    from gencomm_cli.methods.separate.codecs import CODECS

    before, today = of("separate")[-1]["classical"]["tool"], CODECS["avif"].version()
    if before != today:
        pytest.skip(f"recorded with {before}; here is {today}")


@pytest.mark.parametrize("method", [*METHODS, "all"])
def test_the_same_command_finds_every_row_done(here: Here, stored: Path, method: str) -> None:
    """Nothing is sent again: times and memory of all rows stay."""
    if method in ("separate", "all"):
        needs_same_codec()
    command = words(SWEEP)
    if method != "all":
        command[command.index("--methods") + 1] = method
    if method != "diffcom" and method != "all":
        del command[command.index("--option") : command.index("--option") + 2]
    done = here(*command, "--json")
    assert done.returncode == 0, done.stderr
    count = len(RECORDED if method == "all" else of(method))
    assert f"{count} rows done, 0 left" in done.stderr.decode()
    assert sum(json.loads(done.stdout)["rows"].values()) == count
    found = rows(stored)
    assert set(found) == {row["id"] for row in RECORDED}
    for row in RECORDED:
        assert found[row["id"]] | row == found[row["id"]]  # there may be further fields


def test_the_report_reads_every_row(here: Here, stored: Path) -> None:
    pytest.importorskip("matplotlib")
    done = here("bench", "report", stored)
    assert done.returncode == 0, done.stderr
    assert b"left out" not in done.stderr
    page, table = (stored / "report.html").read_text(), (stored / "table.md").read_text()
    for method in {row["cell"]["method"] for row in RECORDED}:
        assert method in page
        assert method in table
    with (stored / "rows.csv").open(newline="") as opened:
        listed = {line["id"]: line for line in csv.DictReader(opened)}
    assert set(listed) == {row["id"] for row in RECORDED}
    for row in RECORDED:
        if row["metrics"]:
            assert float(listed[row["id"]]["metrics.psnr"]) == pytest.approx(row["metrics"]["psnr"], abs=1e-3)


def test_folders_merge(here: Here, stored: Path) -> None:
    done = here("bench", "merge", stored, "-o", "joined")
    assert done.returncode == 0, done.stderr
    assert set(rows(Path("joined"))) == {row["id"] for row in RECORDED}


@pytest.mark.parametrize("method", METHODS)
def test_a_row_s_command_gives_the_row_s_picture(here: Here, stored: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if method == "separate":
        needs_same_codec()
    row = of(method)[-1]
    original = stored / "originals" / row["cell"]["image"]
    original.parent.mkdir()
    original.write_bytes((BENCH / "photos" / original.name).read_bytes())
    monkeypatch.chdir(stored)
    program, *arguments = shlex.split(row["command"])
    assert program == "gencomm"
    done = here(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["metrics"]["psnr"] == pytest.approx(row["metrics"]["psnr"], abs=DECIBELS)
    assert printed["cbr"] | row["cbr"] == row["cbr"]
